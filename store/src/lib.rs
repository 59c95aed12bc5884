//! What Postgres holds: every SQL statement of labelstream, and the checkpoint store.
//!
//! One file a subject, in the order in which a deployment meets them: [`Store::connect`], the schema, the position of a
//! partition ([`Store::claim`]), a batch written behind the fence ([`Store::write`]), the registry of models, dead
//! letters, the status for people; beside them [`checkpoints`], the directories that the registry points to.

mod connect;
mod error;
mod schema;

mod copy;
mod fence;
mod positions;
mod stream;
mod write;

mod models;
mod promote;

mod dead_letters;
mod predictions;
mod status;

pub mod checkpoints;

pub use connect::Store;
pub use dead_letters::{DeadLetter, DeadLetterFilter, DeadLetterId, RawRecord};
pub use error::StoreError;
pub use models::{Model, ModelStatus, NewModel, Version};
pub use predictions::Predicted;
pub use promote::Deployment;
pub use schema::Schema;
pub use status::{PartitionStatus, Status};
pub use stream::{Claim, Epoch, NextOffset, Outcome, Stream};
pub use write::{DeadLetterRow, PredictionRow, Write};
