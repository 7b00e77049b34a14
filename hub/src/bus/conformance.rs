//! The suite that every bus passes. It panics at the first promise that does not hold.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use taffrail_core::desired::Mark;
use taffrail_core::digest::Digest;
use taffrail_core::id::AccountKey;

use super::{BUNDLE_MAX, Bus, Ensured, Error, INDEX_MAX};

/// Longest wait for a request and its receipt.
const BOUND: Duration = Duration::from_secs(20);

/// What an agent's request comes to: the receipt, or `None` if there is none.
pub type Asked = BoxFuture<'static, Option<Bytes>>;

/// Checks every promise of [`Bus`] on an empty bus. `ask` sends a request with the credentials of a cluster;
/// `accounts` are two clusters for which it can.
///
/// # Panics
/// At the first promise that does not hold.
pub async fn keeps_every_promise(
    bus: &dyn Bus,
    accounts: &[AccountKey; 2],
    ask: &(dyn Fn(AccountKey, Bytes, Option<String>) -> Asked + Send + Sync),
) {
    assert_eq!(bus.ensure().await.expect("ensure"), Ensured::Refill, "an empty bus needs everything");
    assert_eq!(bus.ensure().await.expect("ensure again"), Ensured::Kept, "nothing is lost in between");
    indexes(bus, accounts).await;
    bundles(bus).await;
    requests(bus, accounts, ask).await;
    assert_eq!(bus.ensure().await.expect("ensure at last"), Ensured::Kept, "what we removed is not lost");
}

async fn indexes(bus: &dyn Bus, [one, other]: &[AccountKey; 2]) {
    assert_eq!(bus.last_index(one).await.expect("read none"), None, "there is no index yet");
    let mark = Mark { epoch: 1, generation: 7 };
    let first = bus
        .publish_index(one, Bytes::from_static(b"first"), Some(0), Mark::default())
        .await
        .expect("publish");
    let second =
        bus.publish_index(one, Bytes::from_static(b"second"), Some(first), mark).await.expect("publish");
    assert!(second > first, "numbers grow");
    let late = bus.publish_index(one, Bytes::from_static(b"late"), Some(first), Mark::default()).await;
    assert!(matches!(late, Err(Error::Conflict { .. })), "an expectation holds: {late:?}");
    let stored = bus.last_index(one).await.expect("read").expect("stored");
    assert_eq!(
        (stored.sequence, stored.body.as_ref()),
        (second, b"second".as_slice()),
        "the last one is read"
    );
    assert_eq!(bus.last_index(other).await.expect("read other"), None, "clusters do not mix");
    let third = bus
        .publish_index(other, Bytes::from_static(b"third"), None, Mark::default())
        .await
        .expect("publish unasked");
    assert!(third > second, "numbers grow over clusters");
    let large = Bytes::from(vec![0; INDEX_MAX + 1]);
    let refused = bus.publish_index(one, large, None, Mark::default()).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "too much is refused: {refused:?}");
    bus.publish_index(other, Bytes::from(vec![7; INDEX_MAX]), None, Mark::default())
        .await
        .expect("the most is taken");
    for _ in 0..2 {
        bus.remove_index(one).await.expect("remove");
        assert_eq!(bus.last_index(one).await.expect("read removed"), None, "removed is gone");
    }
    assert!(bus.last_index(other).await.expect("read other").is_some(), "only the one named is removed");
    let again = bus
        .publish_index(one, Bytes::from_static(b"again"), Some(0), Mark::default())
        .await
        .expect("publish after removal");
    assert!(again > third, "numbers are not given twice");
}

async fn bundles(bus: &dyn Bus) {
    let (small, large, empty) = (Digest([1; 32]), Digest([2; 32]), Digest([3; 32]));
    assert!(!bus.has_bundle(&small).await.expect("look"), "there is none yet");
    for _ in 0..2 {
        bus.put_bundle(&small, Bytes::from_static(b"small")).await.expect("put");
    }
    bus.put_bundle(&large, Bytes::from(vec![9; 3_000_000])).await.expect("put in parts");
    bus.put_bundle(&empty, Bytes::new()).await.expect("put nothing");
    for id in [&small, &large, &empty] {
        assert!(bus.has_bundle(id).await.expect("look"), "{id} is stored");
    }
    assert_eq!(
        bus.list_bundles().await.expect("list"),
        BTreeSet::from([small, large, empty]),
        "all are listed"
    );
    for _ in 0..2 {
        bus.remove_bundle(&large).await.expect("remove");
        assert!(!bus.has_bundle(&large).await.expect("look"), "removed is gone");
    }
    assert_eq!(bus.list_bundles().await.expect("list"), BTreeSet::from([small, empty]), "the others stay");
    let refused = bus.put_bundle(&large, Bytes::from(vec![0; BUNDLE_MAX + 1])).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "too much is refused: {refused:?}");
}

async fn requests(
    bus: &dyn Bus,
    accounts: &[AccountKey; 2],
    ask: &(dyn Fn(AccountKey, Bytes, Option<String>) -> Asked + Send + Sync),
) {
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned();
    let mut requests = bus.requests().await.expect("listen");
    for (number, account) in accounts.iter().enumerate() {
        let body = Bytes::from(format!("events {number}"));
        let traced = (number == 0).then(|| trace.clone());
        let asked = ask(account.clone(), body.clone(), traced.clone());
        let answered = async {
            let request = requests.next().await.expect("a request arrives");
            assert_eq!((&request.account, &request.body), (account, &body), "the request names its cluster");
            assert_eq!(request.traceparent, traced, "the trace comes along");
            request.reply(Bytes::from(format!("receipt {number}"))).await.expect("reply");
        };
        let both = tokio::time::timeout(BOUND, futures::future::join(asked, answered)).await;
        let (receipt, ()) = both.expect("a request arrives and is answered in time");
        assert_eq!(receipt.expect("a receipt"), format!("receipt {number}"), "the reply reaches its asker");
    }
}
