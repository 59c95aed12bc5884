//! The trainer service: labels to a better champion.
//!
//! `run` starts and stops things and looks for what is due; `triggers` says when that is, as a pure
//! function; `round` is one round from top to bottom, over `lease` (the right to work on it),
//! `champion` (what serves), `fitting` (a candidate and a linear baseline), `comparison`
//! (everyone's answers on the texts of `judging`, for the gate) and `publish`. `copy` is the work
//! of other processes that train with it, `collect` deletes checkpoints that nobody will want,
//! `drift` looks at what the champion sees. `http` takes labels and answers for health and
//! `metrics`.

mod config;
mod copy;
mod run;

mod triggers;

mod champion;
mod comparison;
mod conclusion;
mod drift;
mod fitting;
mod judging;
mod lease;
mod publish;
mod round;

mod collect;

mod http;
mod metrics;

pub use config::{ClassRecall, Config, From};
pub use drift::look;
pub use run::run;
pub use triggers::Schedule;
