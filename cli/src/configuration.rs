//! The README's tables of the services' flags, made from the programs themselves.

use std::fmt::Write;

use clap::{ArgAction, CommandFactory};

/// A service that has flags of its own.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Service {
    /// Reviews from Kafka, labels into Postgres.
    Consumer,
    /// Labels into a better champion.
    Trainer,
}

/// A Markdown table: one row a flag, in the order of `--help`.
pub fn table(service: Service) -> String {
    let command = match service {
        Service::Consumer => consumer::Config::command(),
        Service::Trainer => trainer::service::Config::command(),
    };
    let mut table = String::from("| flag | environment | default | meaning |\n|---|---|---|---|\n");
    for flag in command.get_arguments() {
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
    use super::{Service, table};

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
