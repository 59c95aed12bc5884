//! The position of a partition: claimed, moved over a gap, marked as halted.

use crate::stream::{Claim, Epoch, NextOffset, Outcome, Stream};
use crate::{Store, StoreError};

impl Store {
    /// Takes a partition over from whoever held it and says where to read on; every older claim is fenced from now on.
    ///
    /// `owner` is for people (host and process); `if_new` is the position of a partition that was never claimed.
    pub async fn claim(
        &self,
        stream: &Stream,
        partition: i32,
        owner: &str,
        if_new: NextOffset,
    ) -> Result<Claim, StoreError> {
        todo!()
    }

    /// Records that the offsets from the claim's position up to `to` can never be read, and moves the position there.
    pub async fn record_gap(
        &self,
        stream: &Stream,
        claim: &Claim,
        to: NextOffset,
        reason: &str,
    ) -> Result<Outcome, StoreError> {
        todo!()
    }

    /// Leaves word of why a partition stands still, for `labelstream status`.
    pub async fn record_halt(
        &self,
        stream: &Stream,
        partition: i32,
        epoch: Epoch,
        error: &str,
    ) -> Result<Outcome, StoreError> {
        todo!()
    }
}
