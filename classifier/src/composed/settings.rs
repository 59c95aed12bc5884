//! `config.json` as candle-transformers wants it: with transformers' defaults (release 5.24) where a
//! file is silent, and without what candle-transformers does not do.

use bert::Classes;
use serde_json::{Map, Value, json};

use super::ComposedFamily;

/// The configuration, complete.
///
/// # Errors
/// A field with a value that would be ignored.
pub(super) fn complete(family: ComposedFamily, stored: &Value, classes: &Classes) -> Result<Value, String> {
    let mut fields = stored.as_object().cloned().ok_or("is no object")?;
    fields.retain(|_, value| !value.is_null());
    if fields.get("problem_type").is_some_and(|kind| kind != "single_label_classification") {
        return Err(format!("problem_type is {}: only one class a text is supported", fields["problem_type"]));
    }
    let defaults = match family {
        ComposedFamily::ModernBert => modernbert(&mut fields)?,
        ComposedFamily::DebertaV2 => deberta(&mut fields)?,
        ComposedFamily::Qwen3 => qwen(&mut fields)?,
    };
    for (name, value) in defaults {
        fields.entry(name).or_insert(value);
    }
    let names = classes.names().iter().enumerate();
    let by_number = names.clone().map(|(number, name)| (number.to_string(), json!(name)));
    fields.insert("id2label".to_owned(), by_number.collect::<Map<_, _>>().into());
    let numbers = |number: usize| match family {
        // Its own type for them.
        ComposedFamily::ModernBert => json!(number.to_string()),
        _ => json!(number),
    };
    let by_name = names.map(|(number, name)| (name.clone(), numbers(number)));
    fields.insert("label2id".to_owned(), by_name.collect::<Map<_, _>>().into());
    Ok(Value::Object(fields))
}

type Defaults = Vec<(&'static str, Value)>;

/// Refuses values that are not the one that is done.
fn only(fields: &Map<String, Value>, done: &[(&str, Value)]) -> Result<(), String> {
    for (name, value) in done {
        if let Some(other) = fields.get(*name).filter(|other| *other != value) {
            return Err(format!("{name} is {other}: only {value} is supported"));
        }
    }
    Ok(())
}

/// The base of rotary positions, of which newer files say it in another place.
fn rope_theta(fields: &Map<String, Value>, part: Option<&str>) -> Result<Option<Value>, String> {
    let Some(all) = fields.get("rope_parameters") else { return Ok(None) };
    let parameters = part.map_or(all, |part| &all[part]);
    match &parameters["rope_type"] {
        Value::Null => {}
        kind if kind == "default" => {}
        other => return Err(format!("rope_type is {other}: only \"default\" is supported")),
    }
    Ok(parameters.get("rope_theta").cloned())
}

fn modernbert(fields: &mut Map<String, Value>) -> Result<Defaults, String> {
    let gelu = json!("gelu");
    only(
        fields,
        &[
            ("hidden_activation", gelu.clone()),
            ("classifier_activation", gelu),
            ("attention_bias", json!(false)),
            ("mlp_bias", json!(false)),
            ("norm_bias", json!(false)),
            ("classifier_bias", json!(false)),
        ],
    )?;
    if let Some(epsilon) = fields.get("norm_eps").cloned() {
        fields.insert("layer_norm_eps".to_owned(), epsilon);
    }
    for (part, name) in [("full_attention", "global_rope_theta"), ("sliding_attention", "local_rope_theta")] {
        if let Some(theta) = rope_theta(fields, Some(part))? {
            fields.insert(name.to_owned(), theta);
        }
    }
    let every = fields.get("global_attn_every_n_layers").and_then(Value::as_u64);
    if let Some(kinds) = fields.get("layer_types").and_then(Value::as_array) {
        let is_full = |layer: usize| kinds.get(layer).is_some_and(|kind| kind == "full_attention");
        let every = every.or_else(|| (1..kinds.len()).find(|layer| is_full(*layer)).map(|layer| layer as u64));
        let every = every.unwrap_or(kinds.len().max(1) as u64);
        if (0..kinds.len()).any(|layer| is_full(layer) != (layer as u64).is_multiple_of(every)) {
            return Err("layer_types are not full attention in every n-th layer alone".to_owned());
        }
        fields.insert("global_attn_every_n_layers".to_owned(), every.into());
    }
    Ok(vec![
        ("layer_norm_eps", json!(1e-5)),
        ("pad_token_id", json!(50_283)),
        ("global_attn_every_n_layers", json!(3)),
        ("global_rope_theta", json!(160_000.0)),
        ("local_rope_theta", json!(10_000.0)),
        ("local_attention", json!(128)),
        ("classifier_pooling", json!("cls")),
    ])
}

fn deberta(fields: &mut Map<String, Value>) -> Result<Defaults, String> {
    let width = fields.get("hidden_size").cloned().unwrap_or_default();
    if fields.get("relative_attention") != Some(&json!(true)) {
        return Err("relative_attention is not true: only relative positions are supported".to_owned());
    }
    Ok(vec![
        ("hidden_act", json!("gelu")),
        ("hidden_dropout_prob", json!(0.1)),
        ("attention_probs_dropout_prob", json!(0.1)),
        ("initializer_range", json!(0.02)),
        ("layer_norm_eps", json!(1e-7)),
        ("type_vocab_size", json!(0)),
        ("max_relative_positions", json!(-1)),
        ("position_biased_input", json!(true)),
        ("pos_att_type", json!([])),
        ("pad_token_id", json!(0)),
        ("pooler_hidden_size", width),
        ("pooler_dropout", json!(0.0)),
        ("pooler_hidden_act", json!("gelu")),
    ])
}

fn qwen(fields: &mut Map<String, Value>) -> Result<Defaults, String> {
    only(fields, &[("use_sliding_window", json!(false)), ("hidden_act", json!("silu"))])?;
    if let Some(theta) = rope_theta(fields, None)? {
        fields.insert("rope_theta".to_owned(), theta);
    }
    let heads = fields.get("num_attention_heads").cloned().unwrap_or_default();
    Ok(vec![
        ("head_dim", json!(128)),
        ("attention_bias", json!(false)),
        ("num_key_value_heads", heads),
        ("sliding_window", Value::Null),
        ("max_window_layers", json!(28)),
        ("tie_word_embeddings", json!(false)),
        ("rope_theta", json!(10_000.0)),
        ("rms_norm_eps", json!(1e-6)),
        ("use_sliding_window", json!(false)),
        ("hidden_act", json!("silu")),
        ("max_position_embeddings", json!(32_768)),
    ])
}
