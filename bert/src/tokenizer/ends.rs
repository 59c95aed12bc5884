//! What a tokenizer puts before and after every text.

use serde_json::Value;
use tokenizers::Tokenizer;

/// The ids before every text, and those after it.
pub(super) type Ends = [Vec<u32>; 2];

/// What the post-processor of a `tokenizer.json` puts around a text.
///
/// # Errors
/// One that does something else than that.
pub(super) fn ends(tokenizer: &Tokenizer) -> Result<Ends, String> {
    let Some(processor) = tokenizer.get_post_processor() else { return Ok([Vec::new(), Vec::new()]) };
    let processor = serde_json::to_value(processor).map_err(|error| error.to_string())?;
    read(&processor).ok_or_else(|| {
        let kind = processor["type"].as_str().unwrap_or("unknown");
        format!("its post-processor, {kind}, does something else than to put tokens of type 0 around a text")
    })
}

fn read(processor: &Value) -> Option<Ends> {
    match processor["type"].as_str()? {
        "ByteLevel" => Some([Vec::new(), Vec::new()]),
        "BertProcessing" | "RobertaProcessing" => {
            Some([vec![id(&processor["cls"][1])?], vec![id(&processor["sep"][1])?]])
        }
        "TemplateProcessing" => {
            let mut ends = Ends::default();
            let mut texts = 0;
            for piece in processor["single"].as_array()? {
                let (kind, piece) = piece.as_object()?.iter().next()?;
                if piece["type_id"].as_u64()? != 0 {
                    return None;
                }
                if kind == "Sequence" {
                    texts += 1;
                } else {
                    let ids = processor["special_tokens"][piece["id"].as_str()?]["ids"].as_array()?;
                    for number in ids {
                        ends[usize::from(texts > 0)].push(id(number)?);
                    }
                }
            }
            (texts == 1).then_some(ends)
        }
        "Sequence" => {
            let inner: Vec<Ends> = processor["processors"].as_array()?.iter().map(read).collect::<Option<_>>()?;
            let mut all = Ends::default();
            for [before, after] in inner {
                all[0].splice(0..0, before);
                all[1].extend(after);
            }
            Some(all)
        }
        _ => None,
    }
}

fn id(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok()
}
