//! A hundred clusters at once, and one that asks for more than its share.

use super::*;
use crate::bus;
use crate::driver::sender::{join, sign};
use crate::driver::{Driver, Performer, replay};
use crate::log::Memory;
use taffrail_core::node::hub::{Effect, Hub, Settings};
use taffrail_core::time::Span;
use taffrail_proto::report::{Answer, open_answer};
use taffrail_testkit::sender::Sender;
use tokio::task::yield_now;

/// Clusters that reconnect at once.
const CLUSTERS: usize = 100;

/// Requests of the one that floods.
const FLOOD: usize = 250;

/// Yields after which whatever can happen has happened: far more than the tasks of the test.
const YIELDS: usize = 2_000;

struct Nothing;

impl Performer for Nothing {
    fn perform(&mut self, _: Effect) {}
}

#[tokio::test]
async fn a_flood_of_one_cluster_takes_no_place_from_a_hundred_that_reconnect() {
    let home = tempfile::tempdir().unwrap();
    let log = Arc::new(Memory::default());
    let hub = Hub::new(replay(&*log).unwrap(), Settings { lease: Span::secs(3_600) });
    let (driver, handle, _) = Driver::new(hub, log.clone());
    let stop = CancellationToken::new();
    let (bus, vault) = (bus::Memory::default(), Arc::new(Vault::open(home.path()).unwrap()));
    let driving = stop.clone();
    tokio::spawn(async move { driver.run(&mut Nothing, driving).await });
    let mut agents: Vec<Sender> = (0..=CLUSTERS).map(Sender::new).collect();
    for agent in &agents {
        join(agent, &handle).await;
    }
    let listening = tokio::spawn(ingest(Arc::new(bus.clone()), handle, vault.clone(), stop.clone()));
    yield_now().await;
    log.hold();
    let ask = |agent: &mut Sender| {
        let (bus, account, body) = (bus.clone(), agent.account.clone(), sign(agent, 10));
        tokio::spawn(async move { bus.ask(account, body, None).await })
    };
    let mut flooder = agents.pop().unwrap();
    let flood: Vec<_> = (0..FLOOD).map(|_| ask(&mut flooder)).collect();
    let asked: Vec<_> = agents.iter_mut().map(ask).collect();
    for _ in 0..YIELDS {
        yield_now().await;
    }
    assert!(asked.iter().all(|asked| !asked.is_finished()), "no answer before the disk has it");
    log.release();
    for (agent, asked) in agents.iter().zip(asked) {
        let answer = asked.await.unwrap().expect("nobody is dropped");
        let (answer, _) = open_answer(&answer, &agent.account, &vault.signer.public()).unwrap();
        assert!(matches!(answer, Answer::Receipt { seq: 3, .. }), "{answer:?}");
    }
    let mut answered = 0;
    for asked in flood {
        answered += usize::from(asked.await.unwrap().is_some());
    }
    assert!((1..=OF_ONE_AT_ONCE).contains(&answered), "{answered} of the flood were answered");
    stop.cancel();
    listening.await.unwrap().unwrap();
}
