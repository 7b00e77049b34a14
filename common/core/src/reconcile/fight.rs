//! Back-off against whoever keeps taking the same field: per object and field, never for the whole app.

use crate::object::Key;
use crate::time::{At, Span};
use crate::timers::Timers;
use alloc::collections::BTreeMap;
use alloc::string::String;

/// Pauses before the n-th heal of the same field; the last one repeats. The first two are free: one edit, and one more
/// by a person who did not believe it. The rest follows Argo CD's self-heal wait (2 s, factor 3, at most 300 s).
const PAUSES: [Span; 8] = [
    Span(0),
    Span(0),
    Span::secs(2),
    Span::secs(6),
    Span::secs(18),
    Span::secs(54),
    Span::secs(162),
    Span::secs(300),
];

/// A field that was quiet for this long starts again without a pause.
const QUIET: Span = Span::secs(600);

/// What is remembered of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Round {
    heals: u32,
    last: At,
}

/// What is remembered of the fields that were healed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fights {
    rounds: BTreeMap<Key, BTreeMap<String, Round>>,
    /// Objects by the time of their last heal.
    last: Timers<Key>,
}

impl Fights {
    /// Whether anything is remembered of an object.
    pub fn knows(&self, key: &Key) -> bool {
        self.rounds.contains_key(key)
    }

    /// From when on the drift of these fields may be healed: the earliest that any of them allows, so that an edit of a
    /// field nobody fights over never waits for one that is fought over. No fields means the whole object.
    pub fn allowed_at(&self, key: &Key, fields: &[String]) -> At {
        let rounds = self.rounds.get(key);
        let of = |field: &str| {
            let round = rounds.and_then(|rounds| rounds.get(field));
            round.map_or(At(0), |round| round.last.plus(pause(round.heals)))
        };
        if fields.is_empty() {
            of("")
        } else {
            fields.iter().map(|field| of(field)).min().unwrap_or_default()
        }
    }

    /// Notes a heal; returns how often the most fought field was healed lately.
    pub fn healed(&mut self, key: &Key, fields: &[String], at: At) -> u32 {
        self.forget_quiet(key, at);
        let rounds = self.rounds.entry(key.clone()).or_default();
        let whole = [String::new()];
        let fields = if fields.is_empty() { &whole[..] } else { fields };
        let mut most = 0;
        for field in fields {
            let round = rounds.entry(field.clone()).or_insert(Round { heals: 0, last: at });
            *round = Round { heals: round.heals + 1, last: at };
            most = most.max(round.heals);
        }
        self.last.set(key, Some(at));
        most
    }

    /// Forgets objects that were quiet, and the quiet fields of the one that is healed.
    fn forget_quiet(&mut self, key: &Key, at: At) {
        while let Some(quiet) = self.last.pop_due(At(at.0.saturating_sub(QUIET.0))) {
            self.rounds.remove(&quiet);
        }
        if let Some(rounds) = self.rounds.get_mut(key) {
            rounds.retain(|_, round| at.since(round.last) < QUIET);
        }
    }

    /// Forgets an object.
    pub fn forget(&mut self, key: &Key) {
        self.rounds.remove(key);
        self.last.remove(key);
    }
}

fn pause(heals: u32) -> Span {
    let last = PAUSES.len() - 1;
    PAUSES[usize::try_from(heals).map_or(last, |heals| heals.min(last))]
}
