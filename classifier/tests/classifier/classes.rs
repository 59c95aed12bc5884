//! Class names from `config.json` to predictions.

use classifier::{Classes, Classifier, Device, ModelConfig};

use super::fixtures::fixture;

#[test]
fn classes_without_names_are_numbered_as_transformers_numbers_them() {
    // transformers leaves `id2label` out of config.json where it would say just this.
    let classifier = Classifier::open(&fixture("old_names"), &Device::Cpu).unwrap();
    assert_eq!(classifier.classes().names(), ["LABEL_0", "LABEL_1"]);
    assert_eq!(Classifier::open(&fixture("gelu_new_10_classes"), &Device::Cpu).unwrap().classes().len(), 10);
}

#[test]
fn class_names_are_in_the_order_of_their_numbers() {
    let classifier = Classifier::open(&fixture("relu_cased"), &Device::Cpu).unwrap();
    let classes = classifier.classes();
    assert_eq!(classes.names(), ["差评", "好评"]);
    assert_eq!((classes.name(1), classes.index("好评"), classes.index("?")), ("好评", Some(1), None));

    let names: Vec<String> = (0..12).map(|id| format!("class {id}")).collect();
    let config = ModelConfig::small(10, Classes::new(names.clone()));
    // Twelve, because as strings "10" comes before "2".
    assert_eq!(ModelConfig::parse(&config.to_json()).unwrap().classes.names(), names);
}

#[test]
fn a_classifier_of_any_checkpoint_passes_its_canary() {
    for name in super::fixtures::fixtures() {
        Classifier::open(&fixture(&name), &Device::Cpu).unwrap().canary().unwrap();
    }
}
