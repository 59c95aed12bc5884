//! The token that a request must show.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use crate::Secret;

/// Where the token is: in a file or in the environment, never on the command line.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct TokenArguments {
    /// A file that holds the token that POST /labels asks for; or set LABELSTREAM_TOKEN
    #[arg(id = "token_file", long = "token-file", env = "LABELSTREAM_TOKEN_FILE", value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// The token that the environment holds.
    #[arg(skip = std::env::var("LABELSTREAM_TOKEN").ok().map(Secret::from))]
    pub token: Option<Secret>,
}

impl TokenArguments {
    /// The token; `None` if there is none.
    ///
    /// # Errors
    /// A file that cannot be read. An empty token is an error, not an open door.
    pub fn read(&self) -> Result<Option<Secret>> {
        let token = match &self.file {
            Some(file) => {
                let read = std::fs::read_to_string(file).with_context(|| format!("the token file {}", file.display()));
                Some(read?)
            }
            None => self.token.as_ref().map(|token| token.expose().to_owned()),
        };
        let token = token.map(|token| Secret::from(token.trim()));
        ensure!(token.as_ref().is_none_or(|token| !token.expose().is_empty()), "the token of POST /labels is empty");
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_comes_from_the_environment_or_a_file_and_is_never_empty_or_shown() {
        let none = TokenArguments::default();
        assert_eq!(none.read().unwrap(), None);
        let told = TokenArguments { token: Some("secret".into()), ..none };
        assert_eq!(told.read().unwrap(), Some("secret".into()));
        assert!(!format!("{told:?}").contains("secret"));

        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, "from the file\n").unwrap();
        let mut filed = TokenArguments { file: Some(file.clone()), ..told };
        assert_eq!(filed.read().unwrap(), Some("from the file".into()));
        std::fs::write(&file, "\n").unwrap();
        assert!(filed.read().is_err());
        filed.file = Some(directory.path().join("nothing"));
        assert!(filed.read().is_err());
    }
}
