//! A finished classifier teaches another.

use classifier::{Classifier, Device};
use trainer::linear::LinearSettings;
use trainer::{Base, Dataset, Distillation, Example, Hyperparameters, Teacher};

use crate::task::{Run, plain_settings, thorough};

/// What the labels use for good and bad, and what the teacher knows besides.
const LABELED: [&str; 2] = ["差", "好"];
const OTHER: [&str; 2] = ["烂", "赞"];

/// The word alone tells the class: pairs of texts have the same filler.
fn text(words: [&str; 2], index: usize) -> String {
    let pair = index / 2;
    let filler: String = "送餐很快味道一般".chars().cycle().skip(pair * 5 % 8).take(3 + pair * 3 % 11).collect();
    format!("{}{filler}", words[index % 2])
}

fn dataset(words: &[[&str; 2]], train: std::ops::Range<usize>) -> Dataset {
    let example = |index: usize| Example { text: text(words[index / 2 % 3 % words.len()], index), label: index % 2 };
    let valid = train.end..train.end + 40;
    Dataset {
        classes: ["bad", "good"].map(str::to_owned).to_vec(),
        train: train.map(example).collect(),
        valid: valid.map(example).collect(),
        lessons: None,
    }
}

/// A linear model that knows all four words, and texts without labels that have the other two.
fn teacher(home: &tempfile::TempDir) -> Teacher {
    let directory = home.path().join("teacher");
    trainer::linear::fit_linear(&LinearSettings::default(), &dataset(&[LABELED, OTHER], 0..400), &directory).unwrap();
    Teacher { directory, unlabeled: (1_000..1_300).map(|index| text(OTHER, index)).collect() }
}

/// How many texts with the other words a classifier has right, of 100.
fn right(classifier: &Classifier) -> usize {
    let texts: Vec<String> = (2_000..2_100).map(|index| text(OTHER, index)).collect();
    let predictions = classifier.classify(&texts).unwrap();
    predictions.iter().enumerate().filter(|(index, prediction)| prediction.best().0 == index % 2).count()
}

#[test]
fn a_small_network_learns_from_a_teacher_what_the_labels_never_say() {
    let home = tempfile::tempdir().unwrap();
    let labeled = dataset(&[LABELED], 0..200);
    let alone = Run::new(&thorough(), &labeled, &Base::NewBert);
    let taught = teacher(&home).teach(labeled, &Device::Cpu).unwrap();
    let settings = Hyperparameters { distillation: Some(Distillation::default()), ..thorough() };
    let student = Run::new(&settings, &taught, &Base::NewBert);
    assert!(student.summary.head.examples > 300, "{}", student.summary.head.examples);
    let open = |run: &Run| Classifier::open(&run.out(), &Device::Cpu).unwrap();
    let (alone, student) = (right(&open(&alone)), right(&open(&student)));
    assert!(student >= 95 && alone < 90, "alone {alone}, taught {student}");
}

#[test]
fn a_linear_student_does_too() {
    let home = tempfile::tempdir().unwrap();
    let labeled = dataset(&[LABELED], 0..200);
    let fit = |dataset: &Dataset, name: &str| {
        let out = home.path().join(name);
        trainer::linear::fit_linear(&LinearSettings::default(), dataset, &out).unwrap();
        right(&Classifier::open(&out, &Device::Cpu).unwrap())
    };
    let alone = fit(&labeled, "alone");
    let student = fit(&teacher(&home).teach(labeled, &Device::Cpu).unwrap(), "student");
    assert!(student >= 95 && alone < 90, "alone {alone}, taught {student}");
}

#[test]
fn texts_on_which_the_student_is_measured_are_not_taught() {
    let home = tempfile::tempdir().unwrap();
    let labeled = dataset(&[LABELED], 0..100);
    let mut teacher = teacher(&home);
    let known = labeled.valid.iter().chain(&labeled.train).map(|example| example.text.clone());
    teacher.unlabeled =
        known.chain(["  ".to_owned(), "送餐很快，真赞".to_owned(), "送餐很快，真赞".to_owned()]).collect();
    let taught = teacher.teach(labeled, &Device::Cpu).unwrap();
    let run = Run::new(&Hyperparameters { epochs: 1, ..plain_settings() }, &taught, &Base::NewBert);
    assert_eq!(run.summary.head.examples, 101);
}

#[test]
fn a_teacher_of_other_classes_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let other = Dataset { classes: ["bad", "great"].map(str::to_owned).to_vec(), ..dataset(&[LABELED], 0..50) };
    let error = teacher(&home).teach(other, &Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("the teacher knows no class \"great\"; it knows bad, good"), "{error}");
}
