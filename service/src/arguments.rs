//! A program's command line, with the flags that every program has.

use clap::{Args as _, Command, CommandFactory, FromArgMatches as _, Parser};

use crate::log::Log;
use crate::secret::without_credentials;

/// The whole command line of a program, the flags of its log included.
pub fn command<P: CommandFactory>() -> Command {
    let command = P::command();
    // To clap, the comment on a struct of flags is a new description of the program.
    let about = command.get_about().cloned().unwrap_or_default();
    without_values(Log::augment_args(command).about(about))
}

/// With help that names variables and shows no value: whoever adds a flag cannot forget it.
fn without_values(command: Command) -> Command {
    command.mut_args(|arg| arg.hide_env_values(true)).mut_subcommands(without_values)
}

/// What the command line and the environment say; ends the program where they make no sense.
pub(crate) fn parse<P: Parser>() -> (P, Log) {
    let mut command = command::<P>();
    let mut matches = command.try_get_matches_from_mut(std::env::args_os()).unwrap_or_else(|error| refuse(&error));
    let parsed = Log::from_arg_matches_mut(&mut matches).and_then(|log| {
        let program = P::from_arg_matches_mut(&mut matches)?;
        Ok((program, log))
    });
    parsed.unwrap_or_else(|error| refuse(&error.format(&mut command)))
}

/// As clap does, but a word that it quotes may be a URL with a password.
fn refuse(error: &clap::Error) -> ! {
    let said = error.to_string();
    let shown = without_credentials(&said);
    if shown == said {
        error.exit();
    }
    eprint!("{shown}");
    std::process::exit(error.exit_code());
}

/// The settings that `flags` say, and the defaults of all others. Required ones that are not given
/// are empty: they are for the caller to fill in. No flag's variable is asked; secrets that have no
/// flag are read from the environment all the same.
///
/// # Errors
/// Flags that the program does not have, or that have no such value.
pub fn defaults<P: Parser>(flags: &[String]) -> Result<P, clap::Error> {
    let mut command = P::command().no_binary_name(true).mut_args(|arg| {
        let is_required = arg.is_required_set();
        let arg = arg.env(None::<&'static str>);
        if is_required { arg.required(false).default_value("") } else { arg }
    });
    let mut matches = command.try_get_matches_from_mut(flags)?;
    P::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_of_no_command_shows_the_value_of_a_variable() {
        #[derive(Parser)]
        struct Program {
            #[command(subcommand)]
            command: Sub,
        }
        #[derive(clap::Subcommand)]
        enum Sub {
            Run {
                /// Where the file is
                // Every machine that tests has this variable.
                #[arg(long, env = "PATH")]
                file: String,
            },
        }
        let mut command = command::<Program>();
        let help = command.find_subcommand_mut("run").expect("it was declared").render_long_help().to_string();
        assert!(help.contains("[env: PATH]"), "{help}");
    }
}
