//! A program's command line, with the flags that every program has.

use clap::{Args as _, Command, CommandFactory, FromArgMatches as _, Parser};

use crate::log::Log;

/// The whole command line of a program, the flags of its log included.
pub fn command<P: CommandFactory>() -> Command {
    let command = P::command();
    // To clap, the comment on a struct of flags is a new description of the program.
    let about = command.get_about().cloned().unwrap_or_default();
    Log::augment_args(command).about(about)
}

/// What the command line and the environment say; ends the program where they make no sense.
pub(crate) fn parse<P: Parser>() -> (P, Log) {
    let mut command = command::<P>();
    let mut matches = command.get_matches_mut();
    let parsed = Log::from_arg_matches_mut(&mut matches).and_then(|log| {
        let program = P::from_arg_matches_mut(&mut matches)?;
        Ok((program, log))
    });
    parsed.unwrap_or_else(|error| error.format(&mut command).exit())
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
