//! Few labels, many texts without: a teacher of n-grams and a pretrained encoder's vectors says
//! what the texts without labels are, and a student of n-grams alone, which serves at the speed of
//! any linear model, learns from all of them.
//!
//! Teacher and student are support vector machines, as the linear model is. A text without a label
//! teaches each class as much as the teacher finds it probable. The constants are those of
//! `bench/results/2026-11-26-few-labels.md`.

use anyhow::Result;
use classifier::linear::LinearModel;
use classifier::{Classes, Prediction};

use super::planes::{self, Said, costs};
use super::solver::{Plane, Rows};
use super::vocabulary::{self, Text, Vocabulary};
use super::{Answer, COST, FEW, Learned, LinearSettings, calibrated, calibration, folds};
use crate::dataset::Dataset;
use crate::lessons::Lessons;

/// What an error on a labeled text costs the student, and on one of which the teacher is sure: the
/// labels speak through the teacher too.
const OF_PEOPLE: f64 = 3.0;
const OF_TEACHER: f64 = 10.0;

/// What the sums of a teacher are multiplied by whose encoder was tuned on the labels: on folds it
/// would look surer than it is.
const OF_TUNED: f32 = 2.5;

/// What the teacher finds less probable is not taught.
const IMPROBABLE: f32 = 0.01;

/// Fits a student on the training examples and these texts without labels. `embed` makes a vector
/// of each text.
///
/// # Errors
/// What `embed` says.
pub(crate) fn learn(
    settings: &LinearSettings,
    dataset: &Dataset,
    unlabeled: &[String],
    embed: impl FnOnce(&[&str]) -> Result<Vec<Vec<f32>>>,
) -> Result<Learned> {
    let mut school = School::new(dataset, unlabeled, embed)?;
    if dataset.train.len() >= FEW {
        school.factor *= calibration::factor(&school.answers(settings, dataset)?);
    }
    school.graduate(settings, dataset)
}

/// The same with an encoder that was tuned on the training examples. No fold is without them, so
/// there are no answers to show.
///
/// # Errors
/// What `embed` says.
pub(crate) fn learn_of_tuned(
    settings: &LinearSettings,
    dataset: &Dataset,
    unlabeled: &[String],
    embed: impl FnOnce(&[&str]) -> Result<Vec<Vec<f32>>>,
) -> Result<Learned> {
    let mut school = School::new(dataset, unlabeled, embed)?;
    school.factor = OF_TUNED;
    Ok(Learned { answers: Vec::new(), ..school.graduate(settings, dataset)? })
}

/// The same of what a finished classifier has said. It may have learned from these labels, so there
/// are no answers to show.
pub(super) fn learn_of_lessons(settings: &LinearSettings, dataset: &Dataset, lessons: &Lessons) -> Result<Learned> {
    let texts: Vec<String> = lessons.unlabeled.iter().map(|(text, _)| text.clone()).collect();
    let said = lessons.unlabeled.iter().map(|(_, logits)| Prediction::from_logits(logits)).collect();
    let school =
        School { said: Some(said), ..School::new(dataset, &texts, |texts| Ok(vec![Vec::new(); texts.len()]))? };
    Ok(Learned { answers: Vec::new(), ..school.graduate(settings, dataset)? })
}

/// What teachers say of each training text that were fitted on the other folds; nothing where there
/// are too few texts for folds.
pub(super) fn of_teachers(settings: &LinearSettings, dataset: &Dataset, vectors: Vec<Vec<f32>>) -> Result<Vec<Answer>> {
    if dataset.train.len() < FEW {
        return Ok(Vec::new());
    }
    School::new(dataset, &[], |_| Ok(vectors))?.answers(settings, dataset)
}

/// The labeled texts, then those without labels.
struct School {
    classes: Classes,
    /// Of the labeled ones.
    truth: Vec<usize>,
    texts: Vec<Text>,
    vectors: Vec<Vec<f32>>,
    /// What the teacher's sums are multiplied by, so that they are as sure as they are right.
    factor: f32,
    /// What somebody else has said of the texts without labels; nothing where a teacher is fitted.
    said: Option<Vec<Prediction>>,
}

/// Planes over n-grams and the numbers of the encoder's vector.
struct Teacher {
    vocabulary: Vocabulary,
    planes: Vec<Plane>,
}

impl School {
    fn new(
        dataset: &Dataset,
        unlabeled: &[String],
        embed: impl FnOnce(&[&str]) -> Result<Vec<Vec<f32>>>,
    ) -> Result<Self> {
        let labeled = dataset.train.iter().map(|example| example.text.as_str());
        let all: Vec<&str> = labeled.chain(unlabeled.iter().map(String::as_str)).collect();
        Ok(Self {
            classes: Classes::new(&dataset.classes),
            truth: dataset.train.iter().map(|example| example.label).collect(),
            vectors: embed(&all)?,
            texts: vocabulary::read(all),
            factor: calibration::USUAL,
            said: None,
        })
    }

    /// The student of all labels, with its probabilities calibrated where there are enough texts.
    fn graduate(&self, settings: &LinearSettings, dataset: &Dataset) -> Result<Learned> {
        let (examples, model) = (&dataset.train, self.student(&|_| true)?);
        if examples.len() < FEW {
            return Ok(Learned { model: calibrated(&model, calibration::USUAL)?, answers: Vec::new() });
        }
        let answers = folds::answers(examples, &self.classes, settings.threads, |is_in| self.student(is_in))?;
        Ok(Learned { model: calibrated(&model, calibration::factor(&answers))?, answers })
    }

    /// What teachers say of the labeled texts that were fitted on the other folds.
    fn answers(&self, settings: &LinearSettings, dataset: &Dataset) -> Result<Vec<Answer>> {
        folds::each(&dataset.train, &self.classes, settings.threads, |is_in, left_out| {
            let teacher = self.teacher(is_in);
            let answer =
                |&index: &usize| Answer { index, prediction: teacher.says(self, index), truth: self.truth[index] };
            Ok(left_out.iter().map(answer).collect())
        })
    }

    fn teacher(&self, is_in: folds::IsIn<'_>) -> Teacher {
        let labeled: Vec<usize> = (0..self.truth.len()).filter(|index| is_in(*index)).collect();
        let texts: Vec<&Text> = labeled.iter().map(|index| &self.texts[*index]).collect();
        let vocabulary = Vocabulary::of(&texts);
        let mut rows = Rows::new(vocabulary.features.len() + self.vectors.first().map_or(0, Vec::len));
        labeled.iter().for_each(|index| rows.push(self.row(&vocabulary, *index)));
        let said = self.said(&labeled, COST);
        Teacher { planes: planes::planes(&rows, &said, self.classes.len()), vocabulary }
    }

    /// A text's n-grams, then its vector.
    fn row(&self, vocabulary: &Vocabulary, index: usize) -> impl Iterator<Item = (u32, f32)> {
        let first = vocabulary.features.len() as u32;
        let vector = (first..).zip(self.vectors[index].iter().copied());
        vocabulary.row(&self.texts[index]).into_iter().chain(vector)
    }

    /// What people say of these texts, which are rows in this order.
    fn said(&self, labeled: &[usize], cost: f64) -> Vec<Said> {
        let truth: Vec<usize> = labeled.iter().map(|index| self.truth[*index]).collect();
        let costs = costs(&truth, self.classes.len(), cost);
        truth.into_iter().zip(costs).enumerate().map(|(row, (class, cost))| Said { row, class, cost }).collect()
    }

    fn student(&self, is_in: folds::IsIn<'_>) -> Result<LinearModel> {
        let teacher = self.said.is_none().then(|| self.teacher(is_in));
        let mut taught: Vec<usize> = (0..self.truth.len()).filter(|index| is_in(*index)).collect();
        let mut said = Vec::new();
        for (row, index) in taught.iter().enumerate() {
            said.push(Said { row, class: self.truth[*index], cost: OF_PEOPLE });
        }
        let labeled = taught.len();
        taught.extend(self.truth.len()..self.texts.len());
        for (row, index) in taught.iter().enumerate().skip(labeled) {
            let answer = match &self.said {
                Some(said) => Some(said[index - self.truth.len()].clone()),
                None => teacher.as_ref().map(|teacher| teacher.says(self, *index)),
            };
            let probabilities = answer.into_iter().flat_map(|answer| answer.scores).enumerate();
            let probable = probabilities.filter(|(_, probability)| *probability >= IMPROBABLE);
            said.extend(probable.map(|(class, share)| Said { row, class, cost: OF_TEACHER * f64::from(share) }));
        }
        let texts: Vec<&Text> = taught.iter().map(|index| &self.texts[*index]).collect();
        let vocabulary = Vocabulary::of(&texts);
        let planes = planes::planes(&vocabulary.rows(&texts), &said, self.classes.len());
        planes::model(&self.classes, vocabulary, &planes)
    }
}

impl Teacher {
    fn says(&self, school: &School, index: usize) -> Prediction {
        let row: Vec<(u32, f32)> = school.row(&self.vocabulary, index).collect();
        let sums: Vec<f32> = self.planes.iter().map(|plane| plane.distance(&row) as f32 * school.factor).collect();
        Prediction::from_logits(&sums)
    }
}

#[cfg(test)]
mod tests {
    use classifier::linear::MAX_UNITS;

    use super::*;
    use crate::dataset::Example;
    use crate::linear;

    /// Texts of three classes: people have labeled some with one word, and all others use another.
    #[test]
    fn a_student_learns_from_texts_without_labels_what_the_labels_never_say() {
        let (labeled, other) = (["好", "差", "中"], ["赞", "烂", "平"]);
        let filler =
            |index: usize| "送餐很快味道一般".chars().cycle().skip(index % 8).take(3 + index % 5).collect::<String>();
        let text = |words: [&str; 3], index: usize| format!("{}{}", words[index % 3], filler(index));
        let example = |index| Example { text: text(labeled, index), label: index % 3 };
        let dataset = Dataset {
            classes: ["good", "bad", "mixed"].map(str::to_owned).to_vec(),
            train: (0..60).map(example).collect(),
            valid: Vec::new(),
            lessons: None,
        };
        let unlabeled: Vec<String> = (0..300).map(|index| text(other, index)).collect();
        // The encoder knows which words mean the same.
        let embed = |texts: &[&str]| {
            let vector = |text: &&str| {
                let class = (0..3).find(|class| text.contains(labeled[*class]) || text.contains(other[*class]));
                (0..3).map(|number| f32::from(Some(number) == class)).collect()
            };
            Ok(texts.iter().map(vector).collect())
        };
        let settings = LinearSettings { threads: 2 };
        let student = learn(&settings, &dataset, &unlabeled, embed).unwrap();
        assert_eq!(student.answers.len(), 60);
        let unseen: Vec<String> = (300..360).map(|index| text(other, index)).collect();
        let share_right = |model: &LinearModel| {
            let answers = model.classify(&unseen, MAX_UNITS).unwrap();
            answers.iter().zip(300..).filter(|(answer, index)| answer.best().0 == index % 3).count() as f64 / 60.0
        };
        assert!(share_right(&student.model) > 0.95, "{}", share_right(&student.model));
        let alone = linear::learn(&settings, &dataset).unwrap();
        assert!(share_right(&alone.model) < 0.7, "{}", share_right(&alone.model));
    }
}
