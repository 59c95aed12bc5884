//! Which of the least certain predictions a person should look at first.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet, VecDeque};

use store::Predicted;

use crate::near_copies::near_copies;

/// Up to `limit` of the candidates, which come least certain first: the predicted classes take
/// turns, and what nearly copies a review that was picked before is passed over, for a second label
/// of it would teach little.
pub(super) fn least_certain(candidates: Vec<Predicted>, limit: usize) -> Vec<Predicted> {
    let texts: Vec<&str> = candidates.iter().map(|candidate| candidate.text.as_str()).collect();
    let copies = both_ways(near_copies(&texts));
    let mut classes: BTreeMap<String, Class> = BTreeMap::new();
    for (index, candidate) in candidates.into_iter().enumerate() {
        classes.entry(candidate.label.clone()).or_default().waiting.push_back((index, candidate));
    }
    let (mut picked, mut passed_over) = (Vec::new(), HashSet::<usize>::new());
    while picked.len() < limit {
        let waiting = classes.values_mut().filter(|class| !class.waiting.is_empty());
        let Some(class) = waiting.min_by(|one, other| one.turn(other)) else { break };
        let Some((index, candidate)) = class.waiting.pop_front() else { break };
        if !passed_over.contains(&index) {
            class.picked += 1;
            passed_over.extend(&copies[index]);
            picked.push(candidate);
        }
    }
    picked
}

/// The candidates of one predicted class.
#[derive(Default)]
struct Class {
    waiting: VecDeque<(usize, Predicted)>,
    picked: usize,
}

impl Class {
    /// Whose turn it is: the class that had the fewest; among equals, the one that is least
    /// certain.
    fn turn(&self, other: &Self) -> Ordering {
        let score = |class: &Self| class.waiting.front().map_or(f32::INFINITY, |(_, candidate)| candidate.score);
        self.picked.cmp(&other.picked).then(score(self).total_cmp(&score(other)))
    }
}

/// From the earlier copies of each text to all of them.
fn both_ways(mut copies: Vec<Vec<usize>>) -> Vec<Vec<usize>> {
    for later in 0..copies.len() {
        for earlier in copies[later].clone() {
            copies[earlier].push(later);
        }
    }
    copies
}

#[cfg(test)]
mod tests {
    use store::Version;

    use super::*;

    fn predicted(text: &str, label: &str, score: f32) -> Predicted {
        Predicted {
            kafka_offset: 0,
            record_time: None,
            review_id: text.to_owned(),
            text: text.to_owned(),
            label: label.to_owned(),
            score,
            version: Version(1),
            classified_at: chrono::Utc::now(),
        }
    }

    fn texts(picked: &[Predicted]) -> Vec<&str> {
        picked.iter().map(|predicted| predicted.text.as_str()).collect()
    }

    #[test]
    fn the_predicted_classes_take_turns_and_the_least_certain_comes_first() {
        let candidates = vec![
            predicted("味道还行", "差评", 0.51),
            predicted("送来是凉的", "差评", 0.52),
            predicted("下次再点", "差评", 0.53),
            predicted("酒店很旧", "好评", 0.60),
        ];
        assert_eq!(texts(&least_certain(candidates.clone(), 3)), ["味道还行", "酒店很旧", "送来是凉的"]);
        assert_eq!(least_certain(candidates, 10).len(), 4, "a class that has no more leaves its turns to the others");
    }

    #[test]
    fn a_near_copy_of_a_picked_review_is_passed_over() {
        let candidates = vec![
            predicted("黄焖鸡米饭很好吃，送餐也快", "好评", 0.51),
            predicted("黄焖鸡米饭很好吃！！送餐也快。", "好评", 0.52),
            predicted("黄焖鸡米饭太咸了，再也不点", "差评", 0.53),
            predicted("黄焖鸡米饭很好吃 送餐也快", "差评", 0.54),
        ];
        assert_eq!(texts(&least_certain(candidates, 10)), ["黄焖鸡米饭很好吃，送餐也快", "黄焖鸡米饭太咸了，再也不点"]);
    }
}
