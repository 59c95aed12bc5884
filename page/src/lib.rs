//! The page for the people in the loop: those who label, those who watch the stream, and those who
//! decide which model serves.
//!
//! It holds no state: all of it is in Postgres, and any number of pages may run. The files are what
//! a request passes: `server` has the routes, `guard` lets it in or not, `people` says who asks,
//! `visit` how that person reads; then the view itself: `label`, `stream`, `search`, `models`,
//! `ask`. The views share `app`; what everybody sees who looks is asked for once (`live`, `registry`). Pages are made on the server, from the templates in `templates/`; without the script they
//! work, with it keys work and figures stay new.

mod config;
mod run;
mod server;

mod app;

mod guard;
mod limits;
mod people;
mod visit;

mod label;
mod label_studio;

mod live;
mod search;
mod stream;

mod ask;
mod explanation;
mod models;
mod opened;
mod registry;

mod chart;
mod failure;
mod failure_page;
mod fresh;
mod show;

pub use config::Config;
pub use label_studio::{is_export, labels_of, tasks};
pub use run::run;
