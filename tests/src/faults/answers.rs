//! What people wished for, and what they were answered.

use tokio::time::Instant;

/// Something a person wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A desktop of a pool.
    Start,
    /// To have it ended.
    Stop,
    /// To see it.
    Look,
}

/// A life of a desktop, as a broker tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// Where.
    pub host: String,
    /// Its number.
    pub number: u32,
    /// Which life.
    pub epoch: u64,
}

/// What became of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It runs.
    Running(Life),
    /// It has ended.
    Ended(Life),
    /// It failed to come up.
    Failed(String),
    /// Its display was seen.
    Seen,
    /// No, for this stable reason.
    Refused {
        /// Of the error.
        reason: String,
        /// For a person.
        message: String,
    },
    /// Nothing is known: the line broke, it took too long, or the broker itself
    /// does not know.
    Unknown(String),
}

/// A wish and its answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// "pool/user".
    pub desktop: String,
    /// What was wished.
    pub wish: Wish,
    /// Of which broker.
    pub broker: usize,
    /// When.
    pub asked: Instant,
    /// When that was answered.
    pub answered: Instant,
    /// The answer.
    pub outcome: Outcome,
}
