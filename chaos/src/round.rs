//! What one drain of an agent leads to.

use crate::disk::Write;
use taffrail_core::desired::Mark;
use taffrail_core::node::agent::{Act, Outputs};

/// What one drain leads to.
#[derive(Default)]
pub(crate) struct Round {
    /// All steps together, without their acts.
    pub(crate) out: Outputs,
    pub(crate) writes: Vec<Write>,
    /// Each with the index under which it was decided.
    pub(crate) acts: Vec<(Mark, Act)>,
}

impl Round {
    pub(crate) fn add(&mut self, mut out: Outputs, under: Mark) {
        self.acts.extend(out.acts.drain(..).map(|act| (under, act)));
        self.out.absorb(out);
    }
}
