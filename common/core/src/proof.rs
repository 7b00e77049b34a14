//! When an agent shows the hub the hub's own earlier words: its signed index, its last receipt.

use crate::time::{At, Span};

/// Shortest pause between two proofs for the same reason: a proof is as large as an index, and one that arrived is enough.
const PROOF_EVERY: Span = Span::secs(10);

/// The reasons for a proof, and which of them the hub has heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasons {
    asked: u64,
    carried: u64,
    heard: u64,
    behind: bool,
    last: Option<At>,
}

impl Reasons {
    /// Decisions have asked for a proof so many times in all. Each is a reason at once.
    pub fn asked(&mut self, times: u64) {
        self.asked = times;
    }

    /// The hub says less than it signed: a reason after the pause.
    pub fn hub_is_behind(&mut self) {
        self.behind = true;
    }

    /// Whether a request carries a proof now. An index of a restored hub that `waits` for the adoption is a reason after
    /// each pause, until it waits no more.
    pub fn is_due(&self, waits: bool, now: At) -> bool {
        let again = self.last.is_none_or(|last| now.since(last) >= PROOF_EVERY);
        self.asked != self.heard || ((waits || self.behind) && again)
    }

    /// A request carries one.
    pub fn carried(&mut self) {
        self.carried = self.asked;
    }

    /// The hub has answered that request. What asked meanwhile is still a reason.
    pub fn heard(&mut self, now: At) {
        self.heard = self.carried;
        self.behind = false;
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_asks_while_a_proof_is_under_way_gets_one_of_its_own() {
        let mut reasons = Reasons::default();
        reasons.asked(1);
        assert!(reasons.is_due(false, At(0)));
        reasons.carried();
        reasons.asked(2);
        reasons.heard(At(1));
        assert!(reasons.is_due(false, At(1)), "the second was not in it");
        reasons.carried();
        reasons.heard(At(2));
        assert!(!reasons.is_due(false, At(100_000)));
    }

    #[test]
    fn a_reason_that_stays_is_shown_again_after_a_pause() {
        let mut reasons = Reasons::default();
        assert!(reasons.is_due(true, At(0)));
        reasons.carried();
        reasons.heard(At(1));
        assert!(!reasons.is_due(true, At(10_000)));
        assert!(reasons.is_due(true, At(10_001)));
        assert!(!reasons.is_due(false, At(10_001)));
        reasons.hub_is_behind();
        assert!(reasons.is_due(false, At(10_001)));
        reasons.heard(At(10_002));
        assert!(!reasons.is_due(false, At(100_000)));
    }
}
