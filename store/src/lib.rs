//! What Postgres holds: every SQL statement of labelstream, and the checkpoint store.
//!
//! One file a subject, in the order in which a deployment meets them: [`Store::connect`], the
//! schema, the position of a partition ([`Store::claim`]), a batch written behind the fence
//! ([`Store::write`]), the registry of models, the labels of people and the rounds that learn from
//! them, dead letters, the status for people; beside them [`checkpoints`], the directories that the
//! registry points to.

mod address;
mod columns;
mod connect;
mod error;
mod route;
mod schema;

mod copy;
mod crashes;
mod fence;
mod gaps;
mod positions;
mod stream;
mod write;

mod checkpoint_lock;
mod collect;
mod listen;
mod load_status;
mod models;
mod promote;

mod conclude;
mod labels;
mod picks;
mod questions;
mod rescore;
mod round_lease;
mod rounds;

mod changes;
mod checks;
mod dead_letters;
mod drift;
mod overview;
mod predictions;
mod search;
mod shadow;
mod status;

pub mod checkpoints;

pub use changes::{Change, Guideline, Trainer};
pub use checkpoint_lock::CheckpointLock;
pub use conclude::{Concluded, Conclusion};
pub use connect::Store;
pub use dead_letters::{DeadLetter, DeadLetterFilter, DeadLetterId, RawRecord};
pub use drift::{DriftHour, DriftReference, Seen};
pub use error::StoreError;
pub use labels::{Label, NewLabel};
pub use listen::Listener;
pub use load_status::{LoadReport, LoadStatus};
pub use models::{Model, ModelStatus, NewModel, Version};
pub use overview::{Count, DeadExample, DeadReason, EndToEnd};
pub use picks::{Audited, Draw, Drawn, Pick, Way};
pub use positions::{LastRecord, Taken, Wanted};
pub use predictions::Predicted;
pub use promote::{Deployed, Deployment};
pub use questions::{Asker, LabelCounts, Question, Queue, Subject, SuspectLabel};
pub use rescore::{PredictionKey, RescorePage, RescorePass, Rescored};
pub use round_lease::{Begun, LabelsSeen, NewRound, RoundLease};
pub use rounds::{Round, RoundRequest, Trigger, Verdict};
pub use route::servers_of;
pub use schema::Schema;
pub use search::{Cursor, Found, Picked, ReviewHistory, Search, SearchPage, ShadowSaid};
pub use shadow::{Shadow, ShadowCount, ShadowRow};
pub use status::{PartitionStatus, Status};
pub use stream::{Claim, Epoch, NextOffset, Outcome, Stream};
pub use write::{DeadLetterRow, PredictionRow, Write};
