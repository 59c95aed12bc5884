//! Which reviews people should label next: some drawn at random, so that what a model is worth can
//! be told, and the others those of which a person's word would teach most.

mod uncertain;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use store::{Draw, Drawn, Pick, Predicted, Store, Way};

use self::uncertain::least_certain;
use crate::cover::cover;
use crate::near_copies::near_copies;
use crate::second_opinion::second_opinion;

/// How the reviews are mixed.
#[derive(Debug, Clone, Default)]
pub struct Mix {
    /// Share that is drawn at random.
    pub audit_share: f64,
    /// Whether a linear model of all labels is asked too.
    pub has_second_opinion: bool,
    /// A directory of a pretrained encoder, which tells texts apart.
    pub encoder: Option<PathBuf>,
    /// Texts that people were asked about and have not answered: they are not asked again, unless
    /// they are drawn at random.
    pub asked: HashSet<String>,
}

/// Reviews that are looked at for those that are unlike the others.
pub const POOL: u32 = 1_000;
/// Labeled ones that they should be unlike.
const LABELED: usize = 500;
/// Newest labels that a second opinion rests on: more would take longer than a person waits.
const OPINION: u32 = 10_000;
/// Candidates for every review that is asked: near-copies and the largest class use some up.
const CANDIDATES: u32 = 20;

/// Reviews without a label, of which a person's word would teach most, at most `limit`; none while
/// no model has labeled anything. All picks are on record afterwards, those too that were drawn and
/// had a label already.
///
/// # Errors
/// The database's; an encoder that cannot be read.
pub async fn most_worth_labeling(store: &Store, limit: u32, mix: &Mix) -> Result<Vec<Pick>> {
    let mut draw = store.draw_predictions(POOL).await?;
    if draw.predictions.is_empty() {
        return Ok(Vec::new());
    }
    let audits = audit(&draw, (f64::from(limit) * mix.audit_share).ceil() as usize);
    let drawn = audits.len();
    let asked: Vec<Pick> = audits.iter().filter(|(_, is_labeled)| !is_labeled).map(|(pick, _)| pick.clone()).collect();
    let rest = limit as usize - asked.len();
    let is_new = |text: &str| !mix.asked.contains(text);
    let more = mix.asked.len() as u32;
    let mut uncertain = store.least_certain(CANDIDATES.saturating_mul(rest as u32).saturating_add(more)).await?;
    uncertain.retain(|predicted| is_new(&predicted.text));
    let mut contested = store.shadow_disagreements((rest as u32).saturating_add(more)).await?;
    contested.retain(|predicted| is_new(&predicted.text));
    let (drawn_first, mut others) = (draw.predictions.drain(..drawn).collect::<Vec<_>>(), draw.predictions);
    others.retain(|other| other.is_labeled || is_new(&other.predicted.text));
    draw.predictions = drawn_first.into_iter().chain(others).collect();
    let opinion = if mix.has_second_opinion { labels(store).await? } else { Vec::new() };
    let encoder = mix.encoder.clone();
    let choose =
        move || choose(asked, draw, drawn, Candidates { uncertain, contested }, &opinion, rest, encoder.as_deref());
    let asked = tokio::task::spawn_blocking(choose).await??;
    let known = audits.into_iter().filter(|(_, is_labeled)| *is_labeled).map(|(pick, _)| pick);
    store.record_picks(&known.chain(asked.iter().cloned()).collect::<Vec<_>>()).await?;
    Ok(asked)
}

/// Reviews that are worth a label for what models say of them.
struct Candidates {
    /// The champion's least certain ones.
    uncertain: Vec<Predicted>,
    /// Those on which a challenger contradicts the champion.
    contested: Vec<Predicted>,
}

/// The first of a draw, and which of them have a label.
fn audit(draw: &Draw, count: usize) -> Vec<(Pick, bool)> {
    let drawn = &draw.predictions[..count.min(draw.predictions.len())];
    let probability = (drawn.len() as f64 / draw.population).min(1.0);
    let audit = |Drawn { predicted, is_labeled }: &Drawn| {
        (Pick { probability: Some(probability), ..picked(predicted.clone(), Way::Audit) }, *is_labeled)
    };
    drawn.iter().map(audit).collect()
}

/// The audit's picks, then a quarter of the rest on which models disagree, a quarter that is unlike
/// the others, and what is least certain. What there is too little of, the others make up for.
fn choose(
    mut chosen: Vec<Pick>,
    draw: Draw,
    drawn: usize,
    candidates: Candidates,
    labels: &[(String, String)],
    rest: usize,
    encoder: Option<&Path>,
) -> Result<Vec<Pick>> {
    let limit = chosen.len() + rest;
    let (labeled, waiting): (Vec<Drawn>, Vec<Drawn>) =
        draw.predictions.into_iter().skip(drawn).partition(|drawn| drawn.is_labeled);
    let waiting: Vec<Predicted> = waiting.into_iter().map(|drawn| drawn.predicted).collect();
    let texts: Vec<&str> = waiting.iter().map(|predicted| predicted.text.as_str()).collect();
    let quarter = rest / 4;
    let by_labels = contested(&waiting, &texts, labels)?.into_iter().map(|index| waiting[index].clone());
    let contested = candidates.contested.into_iter().chain(by_labels);
    add(&mut chosen, contested.map(|predicted| picked(predicted, Way::Disagreement)), quarter);
    let labeled: Vec<&str> = labeled.iter().take(LABELED).map(|drawn| drawn.predicted.text.as_str()).collect();
    let apart = if rest == 0 { Vec::new() } else { cover(&texts, &labeled, rest, encoder)? };
    let mut apart = apart.into_iter().map(|index| picked(waiting[index].clone(), Way::Diverse));
    add(&mut chosen, apart.by_ref(), quarter);
    let missing = limit - chosen.len();
    let uncertain = least_certain(candidates.uncertain, missing + chosen.len()).into_iter();
    add(&mut chosen, uncertain.map(|predicted| picked(predicted, Way::Uncertain)), missing);
    let missing = limit - chosen.len();
    add(&mut chosen, apart, missing);
    Ok(chosen)
}

/// Those on which a linear model of all labels says something else than the champion, the surest
/// first.
fn contested(waiting: &[Predicted], texts: &[&str], labels: &[(String, String)]) -> Result<Vec<usize>> {
    let labels: Vec<(&str, &str)> = labels.iter().map(|(text, label)| (text.as_str(), label.as_str())).collect();
    let Some(said) = second_opinion(&labels, texts)? else { return Ok(Vec::new()) };
    let mut contested: Vec<(f32, usize)> = (said.into_iter().zip(waiting).enumerate())
        .filter(|(_, ((label, _), predicted))| *label != predicted.label)
        .map(|(index, ((_, score), predicted))| (score * predicted.score, index))
        .collect();
    contested.sort_by(|one, other| other.0.total_cmp(&one.0));
    Ok(contested.into_iter().map(|(_, index)| index).collect())
}

/// Adds at most `count` of the candidates, without those that nearly copy one that was chosen.
fn add(chosen: &mut Vec<Pick>, candidates: impl Iterator<Item = Pick>, count: usize) {
    let full = chosen.len() + count;
    if count == 0 {
        return;
    }
    for candidate in candidates {
        let texts: Vec<&str> = chosen.iter().chain([&candidate]).map(|pick| pick.text.as_str()).collect();
        let is_copy = near_copies(&texts).pop().is_some_and(|copied| !copied.is_empty());
        if !is_copy {
            chosen.push(candidate);
        }
        if chosen.len() == full {
            return;
        }
    }
}

/// Of reviews by id, which no model has labeled, those that stand for the others, at most `limit`.
/// They are on record afterwards.
///
/// # Errors
/// The database's; an encoder that cannot be read.
pub async fn that_cover(store: &Store, reviews: BTreeMap<String, String>, limit: u32, mix: &Mix) -> Result<Vec<Pick>> {
    let labels = labels(store).await?;
    let limit = limit as usize;
    let (encoder, asked) = (mix.encoder.clone(), mix.asked.clone());
    let choose = move || {
        let labeled: Vec<&str> = labels.iter().rev().take(LABELED).map(|(text, _)| text.as_str()).collect();
        let known: HashSet<&str> = labels.iter().map(|(text, _)| text.as_str()).collect();
        let waiting: Vec<(String, String)> =
            reviews.into_iter().filter(|(_, text)| !known.contains(text.as_str()) && !asked.contains(text)).collect();
        let texts: Vec<&str> = waiting.iter().map(|(_, text)| text.as_str()).collect();
        let apart = cover(&texts, &labeled, limit.saturating_mul(2), encoder.as_deref())?;
        let mut chosen = Vec::new();
        add(&mut chosen, apart.into_iter().map(|index| unlabeled(waiting[index].clone())), limit);
        Ok::<_, anyhow::Error>(chosen)
    };
    let chosen = tokio::task::spawn_blocking(choose).await??;
    store.record_picks(&chosen).await?;
    Ok(chosen)
}

fn unlabeled((review_id, text): (String, String)) -> Pick {
    Pick {
        review_id: Some(review_id),
        text,
        way: Way::Diverse,
        probability: None,
        version: None,
        prediction: None,
        score: None,
        classified_at: None,
    }
}

/// A prediction as a pick.
pub fn picked(predicted: Predicted, way: Way) -> Pick {
    Pick {
        review_id: Some(predicted.review_id),
        text: predicted.text,
        way,
        probability: None,
        version: Some(predicted.version),
        prediction: Some(predicted.label),
        score: Some(predicted.score),
        classified_at: Some(predicted.classified_at),
    }
}

/// The texts of the newest labels with what people said, the newest last.
async fn labels(store: &Store) -> Result<Vec<(String, String)>> {
    Ok(store.newest_labels(OPINION).await?.into_iter().map(|label| (label.text, label.label)).collect())
}
