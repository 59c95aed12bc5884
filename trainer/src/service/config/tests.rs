//! What the trainer can be told, and what it refuses.

use super::*;
use clap::Parser as _;

fn parsed(flags: &[&str]) -> Result<Config, clap::Error> {
    let needed = ["trainer", "--database-url", "postgres://me:secret@host/labels", "--checkpoints", "/checkpoints"];
    Config::try_parse_from([&needed[..], flags].concat())
}

#[test]
fn the_token_is_never_on_the_command_line() {
    assert!(parsed(&["--token", "guessed"]).is_err());
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    parsed(&[]).unwrap().check().unwrap();
    let bad = [
        (&["--held-out", "0"][..], "held-out"),
        (&["--held-out", "1"], "held-out"),
        (&["--gate-by", "auc"], "gate-by auc"),
        (&["--gate-by", "macro-f1", "--margin", "0.1"], "margin"),
        (&["--data-parallel", "0"], "data-parallel"),
        (&["--margin", "-0.1"], "margin"),
        (&["--lease", "0"], "lease"),
        (&["--base", "/nowhere/at/all"], "/nowhere/at/all"),
        (&["--epochs", "0"], "epochs"),
    ];
    for (flags, name) in bad {
        let flags: Vec<String> = flags.chunks(2).map(|pair| format!("{}={}", pair[0], pair[1])).collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let error = parsed(&flags).unwrap().check().unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    for flags in [["--schedule=every day"], ["--time-zone=Mars"], ["--niceness=20"], ["--class-recall=bad"]] {
        assert!(parsed(&flags).is_err(), "{flags:?}");
    }
}

#[test]
fn a_class_may_have_an_equals_sign_or_a_comma_in_its_name() {
    let config = parsed(&["--class-recall", "a=b=0.5,bad=0.9"]).unwrap();
    let floors = config.policy().recall_floors;
    assert_eq!(floors, [("a=b".to_owned(), 0.5), ("bad".to_owned(), 0.9)].into());
    let config = parsed(&["--class-recall", "\"a,b=0.5\",bad=0.9", "--classes", "\"a,b\",bad"]).unwrap();
    assert_eq!(config.policy().recall_floors.keys().collect::<Vec<_>>(), ["a,b", "bad"]);
    assert_eq!(config.classes.unwrap(), ["a,b", "bad"]);
}

#[test]
fn the_place_of_a_rounds_state_tells_nothing_of_the_password() {
    let other = DatabaseArguments::new("postgres://me:other@host/labels");
    let config = parsed(&["--work", "/work"]).unwrap();
    assert_eq!(Config { database: other, ..config.clone() }.rounds_directory(), config.rounds_directory());
    let other = DatabaseArguments::new("host=host user=me password=other dbname=labels");
    assert_eq!(Config { database: other, ..config.clone() }.rounds_directory(), config.rounds_directory());
}
