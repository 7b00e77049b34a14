//! Events without a receipt, kept in a Secret while no agent runs: a journal on an `emptyDir` ends with its pod.

use crate::kube::{ApiError, Kind};
use crate::mark;
use async_trait::async_trait;
use taffrail_core::event::agent::LostEvents;
use taffrail_proto::journal::{Chain, Parked, decode_parked, encode_parked};
use taffrail_runtime::telemetry::chain as chain_of;

/// Most bytes of packed events in the Secret; it holds 700 KiB at most, and the mark stands in it too.
pub const PARKED_BYTES_MAX: usize = 512 << 10;

/// Most bytes of unpacked events that are read back.
const UNPACKED_BYTES_MAX: usize = 64 << 20;

/// Compression level: the library's own default.
const LEVEL: i32 = 3;

/// Where parked events are kept.
#[async_trait]
pub trait Park: Send + Sync {
    /// Replaces what is parked; `None` forgets it. What does not fit is left out, the newest first.
    async fn park(&self, parked: Option<Parked>) -> Result<(), ApiError>;
}

#[async_trait]
impl Park for mark::Place {
    async fn park(&self, parked: Option<Parked>) -> Result<(), ApiError> {
        let bytes = parked.map(pack).transpose();
        let bytes =
            bytes.map_err(|error| ApiError::new("pack parked events", Kind::Other, error.to_string()))?;
        self.put_parked(bytes).await
    }
}

/// Packs parked events to at most [`PARKED_BYTES_MAX`]: those that do not fit are missing at the end.
///
/// # Errors
/// zstd has no memory.
pub fn pack(mut parked: Parked) -> std::io::Result<Vec<u8>> {
    loop {
        let bytes = zstd::bulk::compress(&encode_parked(&parked), LEVEL)?;
        let count: usize = parked.chains.iter().map(|chain| chain.events.len()).sum();
        if count == 0 || bytes.len() <= PARKED_BYTES_MAX {
            return Ok(bytes);
        }
        // In proportion, and a tenth less: two or three rounds.
        let keep = (count * PARKED_BYTES_MAX / bytes.len() * 9 / 10).min(count - 1);
        cut(&mut parked.chains, keep);
    }
}

/// Leaves the first `keep` events. A chain stays where it began, so that it says what is missing.
fn cut(chains: &mut [Chain], mut keep: usize) {
    for chain in chains {
        chain.events.truncate(keep);
        keep -= chain.events.len();
    }
}

/// Reads what [`pack`] wrote; `None` if it is no such thing.
pub fn unpack(bytes: &[u8]) -> Option<Parked> {
    let read = || -> Result<Parked, String> {
        let unpacked =
            zstd::bulk::decompress(bytes, UNPACKED_BYTES_MAX).map_err(|error| error.to_string())?;
        decode_parked(&unpacked).map_err(|error| chain_of(&error))
    };
    read().inspect_err(|error| tracing::error!(error, "parked events cannot be read")).ok()
}

/// What the loss of a journal of `incarnation` took with it. Only a run that ended as it should has parked.
pub fn lost(parked: Option<&Parked>, incarnation: u64) -> LostEvents {
    let Some(parked) = parked.filter(|parked| parked.incarnation == incarnation) else {
        return LostEvents::Unknown;
    };
    let chain = parked.chains.iter().find(|chain| chain.incarnation == incarnation);
    let kept = chain.map_or(0, |chain| (chain.from + chain.events.len() as u64).saturating_sub(1));
    if kept >= parked.last_seq {
        return LostEvents::None;
    }
    LostEvents::Range { incarnation, from: kept + 1, through: parked.last_seq }
}

/// What is to be sent first: events that the journal of `incarnation` does not hold itself.
pub fn before(parked: Option<Parked>, incarnation: u64) -> Option<Parked> {
    let mut parked = parked?;
    parked.chains.retain(|chain| chain.incarnation < incarnation && !chain.events.is_empty());
    Some(parked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use taffrail_proto::sign::random;

    fn chain(incarnation: u64, from: u64, count: usize) -> Chain {
        let event = |_| {
            let noise: [u8; 1_000] = random().unwrap();
            (Bytes::from_static(b"header"), Bytes::copy_from_slice(&noise))
        };
        Chain { incarnation, from, events: (0..count).map(event).collect() }
    }

    #[test]
    fn what_fits_comes_back_and_what_does_not_is_named() {
        for (count, whole) in [(3, true), (2_000, false)] {
            let last_seq = 9 + count as u64;
            let parked =
                Parked { chains: vec![chain(1, 4, 2), chain(2, 10, count)], incarnation: 2, last_seq };
            let bytes = pack(parked.clone()).unwrap();
            assert!(bytes.len() <= PARKED_BYTES_MAX, "{}", bytes.len());
            let read = unpack(&bytes).unwrap();
            assert_eq!(read.chains[0], parked.chains[0], "the older come first");
            let kept = read.chains[1].events.len();
            assert_eq!(read.chains[1].events, parked.chains[1].events[..kept]);
            let lost = lost(Some(&read), 2);
            if whole {
                assert_eq!((kept, lost), (count, LostEvents::None));
            } else {
                assert!(kept > 400, "{kept}");
                let from = 10 + kept as u64;
                assert_eq!(lost, LostEvents::Range { incarnation: 2, from, through: last_seq });
            }
        }
    }

    #[test]
    fn only_a_run_that_parked_says_what_was_lost() {
        let parked = |last_seq| Parked { chains: vec![chain(2, 5, 0)], incarnation: 2, last_seq };
        assert_eq!(lost(None, 2), LostEvents::Unknown);
        assert_eq!(lost(Some(&parked(4)), 3), LostEvents::Unknown, "a later run ended otherwise");
        assert_eq!(lost(Some(&parked(4)), 2), LostEvents::None);
        let range = LostEvents::Range { incarnation: 2, from: 5, through: 7 };
        assert_eq!(lost(Some(&parked(7)), 2), range);
        assert_eq!(unpack(b"no such thing"), None);
    }

    #[test]
    fn a_journal_that_holds_its_events_sends_them_itself() {
        let parked = Parked { chains: vec![chain(1, 4, 2), chain(2, 1, 1)], incarnation: 2, last_seq: 1 };
        let first = |incarnation| -> Vec<u64> {
            let before = before(Some(parked.clone()), incarnation).unwrap();
            before.chains.iter().map(|chain| chain.incarnation).collect()
        };
        assert_eq!((first(2), first(3)), (vec![1], vec![1, 2]));
    }
}
