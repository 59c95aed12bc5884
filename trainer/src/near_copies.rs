//! Texts that are nearly the same: Jaccard similarity of their character 3-grams, exactly, and
//! without comparing all pairs.
//!
//! Two sets of which the greater part is common share one of their first few members in any fixed
//! order, so only those are indexed: Chaudhuri, Ganti and Kaushik, "A primitive operator for
//! similarity joins in data cleaning" (ICDE 2006). With the rarest first, few texts share them.

use std::collections::HashMap;

use crate::prepare::key;

/// From this similarity on, two texts are near-copies: a word exchanged in a sentence of twenty
/// characters.
pub const SIMILARITY: f64 = 0.8;

/// For each text, the earlier ones that it nearly copies, by index, in order.
pub fn near_copies<T: AsRef<str>>(texts: &[T]) -> Vec<Vec<usize>> {
    let shingles = number_by_rarity(texts.iter().map(|text| shingles(&key(text.as_ref()))).collect());
    let mut holders: HashMap<u32, Vec<usize>> = HashMap::new();
    let mut found = Vec::with_capacity(texts.len());
    let mut compared = vec![usize::MAX; texts.len()];
    for (text, mine) in shingles.iter().enumerate() {
        let mut copied = Vec::new();
        for shingle in &mine[..prefix(mine.len())] {
            for &earlier in holders.get(shingle).into_iter().flatten() {
                let is_new = std::mem::replace(&mut compared[earlier], text) != text;
                if is_new && similar(mine, &shingles[earlier]) {
                    copied.push(earlier);
                }
            }
        }
        for shingle in &mine[..prefix(mine.len())] {
            holders.entry(*shingle).or_default().push(text);
        }
        copied.sort_unstable();
        found.push(copied);
    }
    found
}

/// The runs of three characters of a key, each packed into a number; a shorter key is its own.
fn shingles(key: &str) -> Vec<u64> {
    // A character has 21 bits.
    let pack = |run: &[char]| run.iter().fold(0, |packed, character| packed << 21 | u64::from(u32::from(*character)));
    let characters: Vec<char> = key.chars().collect();
    match characters.len() {
        0 => Vec::new(),
        1 | 2 => vec![pack(&characters)],
        _ => characters.windows(3).map(pack).collect(),
    }
}

/// Shingles as smaller numbers, the rarest the smallest; each text's sorted, without repetitions.
fn number_by_rarity(texts: Vec<Vec<u64>>) -> Vec<Vec<u32>> {
    let mut counts: HashMap<u64, usize> = HashMap::new();
    for shingle in texts.iter().flatten() {
        *counts.entry(*shingle).or_default() += 1;
    }
    let mut order: Vec<(usize, u64)> = counts.into_iter().map(|(shingle, count)| (count, shingle)).collect();
    order.sort_unstable();
    let numbers: HashMap<u64, u32> = (0..).zip(order).map(|(number, (_, shingle))| (shingle, number)).collect();
    let number = |shingles: Vec<u64>| {
        let mut numbered: Vec<u32> = shingles.iter().map(|shingle| numbers[shingle]).collect();
        numbered.sort_unstable();
        numbered.dedup();
        numbered
    };
    texts.into_iter().map(number).collect()
}

/// How many of the first shingles two near-copies cannot both lack: at least `SIMILARITY` of them
/// are common.
fn prefix(count: usize) -> usize {
    // A little less than the product, so that rounding never hides a pair.
    count - ((SIMILARITY * count as f64 - 1e-9).ceil() as usize).min(count) + usize::from(count > 0)
}

fn similar(one: &[u32], other: &[u32]) -> bool {
    let (shorter, longer) = (one.len().min(other.len()), one.len().max(other.len()));
    if (shorter as f64) < SIMILARITY * longer as f64 {
        return false;
    }
    let (mut common, mut left, mut right) = (0, 0, 0);
    while left < one.len() && right < other.len() {
        match one[left].cmp(&other[right]) {
            std::cmp::Ordering::Less => left += 1,
            std::cmp::Ordering::Greater => right += 1,
            std::cmp::Ordering::Equal => {
                common += 1;
                left += 1;
                right += 1;
            }
        }
    }
    let together = one.len() + other.len() - common;
    together > 0 && common as f64 >= SIMILARITY * together as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn an_exchanged_word_makes_a_near_copy_and_another_sentence_does_not() {
        let texts = [
            "送餐很快，味道也不错，下次还会再来的，推荐给大家试试看",
            "送餐太慢了，等了两个小时",
            "送餐很快，味道也不错！下次还会再来的，推荐给大家试试吧",
            "送餐很快 味道也不错 下次还会再来的 推荐给大家试试看",
        ];
        assert_eq!(near_copies(&texts), [vec![], vec![], vec![0], vec![0, 2]]);
    }

    #[test]
    fn short_texts_are_near_copies_only_of_themselves() {
        let none = Vec::<usize>::new();
        assert_eq!(
            near_copies(&["好吃", "好吃！", "很好吃", "", "", "很好吃啊"]),
            [&none, &vec![0], &none, &none, &none, &none].map(Clone::clone)
        );
    }

    fn runs(key: &str) -> BTreeSet<String> {
        let characters: Vec<char> = key.chars().collect();
        let length = characters.len().min(3);
        characters.windows(length.max(1)).map(|run| run.iter().collect()).collect()
    }

    /// The definition, pair by pair.
    fn compared_one_by_one(texts: &[String]) -> Vec<Vec<usize>> {
        let sets: Vec<BTreeSet<String>> = texts.iter().map(|text| runs(&key(text))).collect();
        let similar = |one: &BTreeSet<String>, other: &BTreeSet<String>| {
            let (common, together) = (one.intersection(other).count(), one.union(other).count());
            together > 0 && common * 10 >= together * 8
        };
        (0..texts.len())
            .map(|text| (0..text).filter(|earlier| similar(&sets[text], &sets[*earlier])).collect())
            .collect()
    }

    proptest! {
        #[test]
        fn no_near_copy_is_missed_and_none_is_invented(texts in prop::collection::vec("[ab]{0,3}[abc]{0,14}", 0..40)) {
            prop_assert_eq!(near_copies(&texts), compared_one_by_one(&texts));
        }
    }
}
