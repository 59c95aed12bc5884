//! The README's tables of the services' flags, made from the programs themselves.

use std::fmt::Write;

use clap::ArgAction;

/// A service that has flags of its own.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Service {
    /// Reviews from Kafka, labels into Postgres.
    Consumer,
    /// Labels into a better champion.
    Trainer,
}

/// A Markdown table: one row a flag, in the order of `--help`.
pub fn table(of: Service) -> String {
    let command = match of {
        Service::Consumer => service::command::<consumer::Config>(),
        Service::Trainer => service::command::<trainer::service::Config>(),
    };
    let mut table = String::from("| flag | environment | default | meaning |\n|---|---|---|---|\n");
    for flag in command.get_arguments().filter(|flag| !flag.is_hide_set()) {
        let (Some(long), Some(help)) = (flag.get_long(), flag.get_help()) else {
            continue;
        };
        let value = match flag.get_action() {
            ArgAction::SetTrue => String::new(),
            _ => flag.get_value_names().map_or(String::new(), |names| format!(" {}", names.join(" "))),
        };
        let environment = flag.get_env().map_or(String::new(), |name| format!("`{}`", name.to_string_lossy()));
        let defaults: Vec<_> = flag.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let default = match (flag.is_required_set(), defaults.join(" ")) {
            (true, _) => "required".to_owned(),
            (false, default) if default.is_empty() => String::new(),
            (false, default) => format!("`{default}`"),
        };
        let help = help.to_string().replace('|', "\\|").replace('\n', " ");
        // Writing to a string cannot fail.
        let _ = writeln!(table, "| `--{long}{value}` | {environment} | {default} | {help} |");
    }
    table
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::{Arg, Command};

    use super::{Service, table};

    /// A flag, and the command that has it.
    type Found = (String, Arg);

    /// The flags of all commands of the three programs that a person can see.
    fn all_flags() -> Vec<Found> {
        fn collect(path: &str, command: &Command, found: &mut Vec<Found>) {
            let path = format!("{path} {}", command.get_name());
            let of_clap = |flag: &&Arg| ["help", "version"].contains(&flag.get_id().as_str());
            let is_seen = |flag: &&Arg| flag.get_long().is_some() && !flag.is_hide_set();
            let flags = command.get_arguments().filter(|flag| is_seen(flag) && !of_clap(flag));
            found.extend(flags.map(|flag| (path.trim().to_owned(), flag.clone())));
            command.get_subcommands().for_each(|command| collect(&path, command, found));
        }
        let programs = [
            service::command::<consumer::Config>(),
            service::command::<trainer::service::Config>(),
            service::command::<crate::Program>(),
        ];
        let mut found = Vec::new();
        programs.iter().for_each(|program| collect("", program, &mut found));
        found
    }

    fn long(flag: &Arg) -> &str {
        flag.get_long().expect("only such flags were collected")
    }

    #[test]
    fn a_variable_means_the_same_wherever_it_is_read() {
        let mut readers: BTreeMap<String, Vec<Found>> = BTreeMap::new();
        for (path, flag) in all_flags() {
            if let Some(name) = flag.get_env() {
                readers.entry(name.to_string_lossy().into_owned()).or_default().push((path, flag));
            }
        }
        let meaning = |flag: &Arg| {
            let values = flag.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect::<Vec<_>>();
            let parser = flag.get_value_parser().type_id();
            format!("--{} {parser:?} {values:?} {:?}", long(flag), flag.get_value_delimiter())
        };
        let mut contradictions = Vec::new();
        for (name, flags) in readers {
            let (first, flag) = &flags[0];
            for (path, other) in flags[1..].iter().filter(|(_, other)| meaning(other) != meaning(flag)) {
                let [one, other] = [flag, other].map(meaning);
                contradictions.push(format!("{name}: {one} of `{first}`, {other} of `{path}`"));
            }
        }
        assert!(contradictions.is_empty(), "{contradictions:#?}");
    }

    #[test]
    fn every_setting_of_a_service_and_of_a_connection_has_a_variable() {
        let connections = [
            "brokers",
            "kafka-property",
            "kafka-config",
            "database-url",
            "database-connections",
            "checkpoints",
            "cache",
            "work",
            "log",
            "log-format",
        ];
        for (path, flag) in all_flags() {
            let named = flag.get_env().is_some_and(|name| name.to_string_lossy().starts_with("LABELSTREAM_"));
            let is_setting = ["consumer", "trainer"].contains(&&*path) || connections.contains(&long(&flag));
            assert!(named || !is_setting, "{path} --{}", long(&flag));
        }
    }

    #[test]
    fn every_command_that_talks_to_kafka_takes_its_properties() {
        let flags = all_flags();
        for (path, _) in flags.iter().filter(|(_, flag)| long(flag) == "brokers") {
            for property in ["kafka-property", "kafka-config"] {
                assert!(flags.iter().any(|(of, flag)| of == path && long(flag) == property), "{path} --{property}");
            }
        }
    }

    #[test]
    fn the_readme_has_every_flag_of_the_services_as_it_is() {
        let readme = include_str!("../../README.md");
        for (service, name) in [(Service::Consumer, "consumer"), (Service::Trainer, "trainer")] {
            let [begin, end] = ["", "/"].map(|slash| format!("<!-- {slash}configuration {name} -->"));
            let (_, after) = readme.split_once(&begin).expect("the README marks where the table begins");
            let (found, _) = after.split_once(&end).expect("the README marks where the table ends");
            assert_eq!(
                found.trim(),
                table(service).trim(),
                "put what `labelstream configuration {name}` prints between the marks"
            );
        }
    }
}
