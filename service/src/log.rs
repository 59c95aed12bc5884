//! What is logged, and in which format.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// The log of a program: it goes to standard error.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Log {
    /// What to log: off, error, warn, info, debug or trace, also by part: consumer=debug,warn
    #[arg(id = "log", long = "log", env = "LABELSTREAM_LOG", value_name = "FILTER", value_parser = filter, global = true)]
    filter: Option<String>,

    /// How to log: text for people, json for machines (one object a line)
    #[arg(
        id = "log_format",
        long = "log-format",
        env = "LABELSTREAM_LOG_FORMAT",
        value_enum,
        value_name = "FORMAT",
        default_value_t = Format::Text,
        global = true
    )]
    format: Format,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

impl Log {
    /// Begins to log; `usual` is the filter where none is given.
    pub fn start(&self, usual: &str) {
        let filter = self.filter.as_deref().filter(|filter| !filter.is_empty()).unwrap_or(usual);
        let log = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter)).with_writer(std::io::stderr);
        match self.format {
            Format::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
            Format::Json => log.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
        }
    }

    /// Whether nothing at all is to be logged.
    pub fn is_off(&self) -> bool {
        self.filter.as_deref() == Some("off")
    }

    /// Whether machines read it.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }
}

fn filter(text: &str) -> Result<String, String> {
    EnvFilter::builder().parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}
