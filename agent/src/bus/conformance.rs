//! The suite that every bus of an agent passes. It panics at the first promise that does not hold.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use taffrail_core::digest::Digest;
use tokio::time::timeout;

use super::{Bus, Error, SEND_MAX};

/// Longest wait for anything that follows from what was done.
const BOUND: Duration = Duration::from_secs(20);

/// A request that the suite has [`Other`] answer; with any other there is no answer.
pub const ASKED: &[u8] = b"events";
/// What [`Other`] answers to it.
pub const ANSWER: &[u8] = b"receipt";

/// The other side of the bus, played by whoever runs the suite.
#[async_trait]
pub trait Other: Send + Sync {
    /// Publishes an index for the agent.
    async fn publish(&self, body: Bytes);

    /// Stores `body` as the sealed bundle `id`, whether that is its digest or not.
    async fn put_bundle(&self, id: Digest, body: Bytes);

    /// Cuts the agent off, and returns when it has noticed.
    async fn cut(&self);

    /// Lets the agent connect again.
    async fn join(&self);
}

/// Checks every promise of [`Bus`] on a bus without indexes and bundles.
///
/// # Panics
/// At the first promise that does not hold.
pub async fn keeps_every_promise(bus: &dyn Bus, other: &dyn Other) {
    bundles(bus, other).await;
    requests(bus).await;
    indexes(bus, other).await;
}

async fn bundles(bus: &dyn Bus, other: &dyn Other) {
    let digest = |body: &[u8]| {
        let digest = ring::digest::digest(&ring::digest::SHA256, body);
        Digest::from_slice(digest.as_ref()).expect("32 bytes")
    };
    let large = Bytes::from((0..1_300_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>());
    for body in [Bytes::from_static(b"small"), Bytes::new(), large] {
        let id = digest(&body);
        let missing = bus.bundle(&id).await;
        assert!(matches!(missing, Err(Error::Missing { part: 0, .. })), "there is none yet: {missing:?}");
        other.put_bundle(id, body.clone()).await;
        assert_eq!(bus.bundle(&id).await.expect("a bundle"), body, "the bytes are those stored");
    }
    let wrong = Digest([7; 32]);
    other.put_bundle(wrong, Bytes::from_static(b"something else")).await;
    let damaged = bus.bundle(&wrong).await;
    assert!(matches!(damaged, Err(Error::Damaged { .. })), "other bytes are not the bundle: {damaged:?}");
}

async fn requests(bus: &dyn Bus) {
    let answered = bus.send(Bytes::from_static(ASKED), None).await;
    assert_eq!(answered.expect("an answer"), ANSWER, "the answer is the one to these bytes");
    let unanswered = bus.send(Bytes::from_static(b"nobody knows this"), None).await;
    assert!(matches!(unanswered, Err(Error::Send(_))), "no answer is an error: {unanswered:?}");
    let large = bus.send(Bytes::from(vec![0; SEND_MAX + 1]), None).await;
    assert!(matches!(large, Err(Error::TooLarge { .. })), "too much is refused: {large:?}");
}

async fn indexes(bus: &dyn Bus, other: &dyn Other) {
    assert_eq!(bus.index().await.expect("read none"), None, "there is none yet");
    let mut early = bus.indexes();
    other.publish(Bytes::from_static(b"first")).await;
    assert_eq!(next(&mut early).await, "first", "one that comes live is yielded");
    assert_eq!(bus.index().await.expect("read"), Some(Bytes::from_static(b"first")), "the last one is read");
    let mut late = bus.indexes();
    assert_eq!(next(&mut late).await, "first", "the last one is yielded at the start");
    other.publish(Bytes::from_static(b"second")).await;
    for stream in [&mut early, &mut late] {
        assert_eq!(next(stream).await, "second", "every stream yields each");
    }
    other.cut().await;
    assert!(!bus.link().borrow().up, "a cut is told");
    other.publish(Bytes::from_static(b"meanwhile")).await;
    other.join().await;
    for stream in [&mut early, &mut late] {
        assert_eq!(next(stream).await, "meanwhile", "what was published during a cut follows after it");
    }
    assert!(bus.link().borrow().up, "it is back");
    other.cut().await;
    other.join().await;
    other.publish(Bytes::from_static(b"last")).await;
    for stream in [&mut early, &mut late] {
        assert_eq!(next(stream).await, "last", "the same bytes are not yielded twice in a row");
    }
    assert_eq!(bus.index().await.expect("read"), Some(Bytes::from_static(b"last")), "the last one is read");
}

async fn next(indexes: &mut BoxStream<'static, Bytes>) -> Bytes {
    timeout(BOUND, indexes.next()).await.expect("an index in time").expect("indexes come for ever")
}
