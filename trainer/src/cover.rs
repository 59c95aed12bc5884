//! Few texts that stand for many: each text should have one like it among those that are chosen.
//!
//! Greedy facility location: the next text is the one by which all texts together come nearest to
//! one that was chosen. It takes from the middle of each crowd, the largest first, and leaves what
//! is like nothing else for last (Wei, Iyer and Bilmes, "Submodularity in Data Subset Selection and
//! Active Learning", ICML 2015).

use std::collections::HashMap;
use std::path::Path;

use anyhow::Result;

use crate::embeddings::Embedder;
use crate::linear;

/// The indices of at most `limit` of the texts, the first choice first. What resembles a text of
/// `covered` need not be chosen. Texts are alike by their n-grams and, with `encoder` (a directory
/// of a pretrained BERT), by what they mean.
///
/// Time and memory grow with the square of the number of texts: meant for some thousands.
///
/// # Errors
/// What is wrong with the encoder.
pub fn cover(texts: &[&str], covered: &[&str], limit: usize, encoder: Option<&Path>) -> Result<Vec<usize>> {
    let all = [texts, covered].concat();
    let mut rows = linear::rows(&all);
    if let Some(encoder) = encoder {
        append(&mut rows, Embedder::open(encoder, None)?.embed(&all)?);
    }
    Ok(choose(&rows, texts.len(), limit))
}

/// Adds the numbers of vectors to rows, as features of their own.
fn append(rows: &mut [Vec<(u32, f32)>], vectors: Vec<Vec<f32>>) {
    let width = rows.iter().flatten().map(|(feature, _)| feature + 1).max().unwrap_or(0);
    for (row, vector) in rows.iter_mut().zip(vectors) {
        row.extend((width..).zip(vector));
    }
}

/// The first choice among the first `count` rows, and the next; those behind are covered already.
fn choose(rows: &[Vec<(u32, f32)>], count: usize, limit: usize) -> Vec<usize> {
    let alike = similarities(rows, count);
    let mut nearest = vec![0_f32; count];
    for known in &alike[count..] {
        approach(&mut nearest, known);
    }
    let mut chosen = Vec::new();
    while chosen.len() < limit.min(count) {
        let gain = |index: &usize| -> f32 {
            nearest.iter().zip(&alike[*index]).map(|(nearest, alike)| (alike - nearest).max(0.0)).sum()
        };
        let waiting = (0..count).filter(|index| !chosen.contains(index));
        let best =
            waiting.map(|index| (gain(&index), index)).reduce(|one, other| if other.0 > one.0 { other } else { one });
        let Some((_, best)) = best else { break };
        approach(&mut nearest, &alike[best]);
        chosen.push(best);
    }
    chosen
}

fn approach(nearest: &mut [f32], alike: &[f32]) {
    for (nearest, alike) in nearest.iter_mut().zip(alike) {
        *nearest = nearest.max(*alike);
    }
}

/// How alike each row is to each of the first `count`: the product of the two.
fn similarities(rows: &[Vec<(u32, f32)>], count: usize) -> Vec<Vec<f32>> {
    let mut holders: HashMap<u32, Vec<(usize, f32)>> = HashMap::new();
    for (index, row) in rows[..count].iter().enumerate() {
        for (feature, value) in row {
            holders.entry(*feature).or_default().push((index, *value));
        }
    }
    let alike = |row: &Vec<(u32, f32)>| {
        let mut alike = vec![0.0; count];
        for (feature, value) in row {
            for (index, other) in holders.get(feature).into_iter().flatten() {
                alike[*index] += value * other;
            }
        }
        alike
    };
    rows.iter().map(alike).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 8] = [
        "送餐很慢，等了一个小时",
        "酒店房间很旧",
        "送餐太慢了，等了很久",
        "zzz",
        "送餐慢，等了两个小时",
        "酒店的房间有点旧",
        "味道很好，下次再点",
        "送餐很慢，等了一个多小时",
    ];

    #[test]
    fn each_crowd_is_represented_the_largest_first_and_what_is_alone_last() {
        let chosen = cover(&TEXTS, &[], 4, None).unwrap();
        let crowd = |index: &usize| match index {
            0 | 2 | 4 | 7 => "food",
            1 | 5 => "hotel",
            _ => "alone",
        };
        let crowds: Vec<_> = chosen.iter().map(crowd).collect();
        assert_eq!(crowds, ["food", "hotel", "alone", "alone"]);
        assert_eq!(cover(&TEXTS, &[], 20, None).unwrap().len(), 8, "none is chosen twice");
    }

    #[test]
    fn what_means_the_same_to_an_encoder_is_one_crowd_whatever_its_letters() {
        let texts = ["慢", "香", "久", "脆", "迟"];
        let mut rows = linear::rows(&texts);
        let (slow, tasty) = (vec![1.0, 0.0], vec![0.0, 1.0]);
        append(&mut rows, vec![slow.clone(), tasty.clone(), slow.clone(), tasty, slow]);
        let chosen = choose(&rows, texts.len(), 2);
        assert!([0, 2, 4].contains(&chosen[0]) && [1, 3].contains(&chosen[1]), "{chosen:?}");
        let nowhere = Path::new("/nowhere/at/all");
        assert!(cover(&TEXTS, &[], 1, Some(nowhere)).is_err());
    }

    #[test]
    fn what_resembles_a_labeled_text_waits() {
        let chosen = cover(&TEXTS, &["送餐很慢，等了一个小时！"], 1, None).unwrap();
        assert!([1, 5].contains(&chosen[0]), "{chosen:?}");
    }
}
