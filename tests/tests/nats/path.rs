//! The whole path: hub and agents over account imports.

use std::sync::Arc;
use std::time::Instant;
use taffrail_core::desired::Mark;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use taffrail_agent::bus::{self as agent, Bus as _, Error, conformance as promises};
use taffrail_core::digest::Digest;
use taffrail_hub::bus::{self as hub, Bus as _, conformance};
use taffrail_hub::nats::Cluster;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::ground::{BOUND, Ground, User, now, until, until_up};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_keeps_every_promise() {
    let ground = Ground::start().await;
    let clusters = [ground.cluster("one"), ground.cluster("other")];
    ground.accounts().await.push_all(&clusters, now()).await.unwrap();
    let mut agents = Vec::new();
    for cluster in &clusters {
        agents.push((cluster.account.clone(), Arc::new(ground.agent(&cluster.account).await)));
    }
    let ask = |account, body, traceparent: Option<String>| {
        let (_, agent) = agents.iter().find(|(of, _)| *of == account).unwrap();
        let agent = agent.clone();
        let asked: conformance::Asked =
            Box::pin(async move { agent.send(body, traceparent.as_deref()).await.ok() });
        asked
    };
    let accounts = [clusters[0].account.clone(), clusters[1].account.clone()];
    conformance::keeps_every_promise(&ground.hub().await, &accounts, &ask).await;
}

/// The hub's side of one agent. Cut is an agent whose user is revoked; it joins again as another.
struct Other {
    ground: Ground,
    hub: hub::Nats,
    cluster: Mutex<Cluster>,
    user: Mutex<User>,
    agent: Arc<agent::Nats>,
}

#[async_trait]
impl promises::Other for Other {
    async fn publish(&self, body: Bytes) {
        let account = self.cluster.lock().await.account.clone();
        self.hub.publish_index(&account, body, None, Mark::default()).await.expect("publish");
    }

    async fn put_bundle(&self, id: Digest, body: Bytes) {
        self.hub.put_bundle(&id, body).await.expect("put");
    }

    async fn cut(&self) {
        let mut cluster = self.cluster.lock().await;
        cluster.revoked.insert(self.user.lock().await.key.clone(), now());
        self.ground.accounts().await.push(&cluster, now()).await.expect("push");
        until(self.agent.link(), |link| !link.up).await;
    }

    async fn join(&self) {
        let fresh = self.ground.user(&self.cluster.lock().await.account);
        self.agent.renew(&fresh.jwt, &fresh.seed).await.expect("renew");
        until_up(self.agent.link()).await;
        *self.user.lock().await = fresh;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_keeps_every_promise_to_agents() {
    let ground = Ground::start().await;
    let cluster = ground.cluster("one");
    ground.accounts().await.push(&cluster, now()).await.unwrap();
    let hub = ground.hub().await;
    hub.ensure().await.unwrap();
    let mut requests = hub.requests().await.unwrap();
    let user = ground.user(&cluster.account);
    let agent = Arc::new(ground.agent_as(&cluster.account, &user).await);
    let answering = tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            if request.body == promises::ASKED {
                request.reply(Bytes::from_static(promises::ANSWER)).await.unwrap();
            }
        }
    });
    let (cluster, user) = (Mutex::new(cluster), Mutex::new(user));
    let other = Other { ground, hub, cluster, user, agent: agent.clone() };
    promises::keeps_every_promise(&*agent, &other).await;
    answering.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_gets_its_index_and_the_bundles_it_names() {
    let ground = Ground::start().await;
    let (mine, other) = (ground.cluster("mine"), ground.cluster("other"));
    ground.accounts().await.push_all(&[mine.clone(), other.clone()], now()).await.unwrap();
    let hub = ground.hub().await;
    hub.ensure().await.unwrap();
    let agent = ground.agent(&mine.account).await;
    assert_eq!(agent.index().await.unwrap(), None);

    hub.publish_index(&other.account, Bytes::from_static(b"not mine"), None, Mark::default()).await.unwrap();
    hub.publish_index(&mine.account, Bytes::from_static(b"stored"), None, Mark::default()).await.unwrap();
    let mut indexes = agent.indexes();
    let mut next = async || timeout(BOUND, indexes.next()).await.expect("in time").expect("for ever");
    assert_eq!(next().await, "stored");
    for body in ["live 1", "live 2", "live 3"] {
        hub.publish_index(&mine.account, Bytes::from(body), None, Mark::default()).await.unwrap();
        assert_eq!(next().await, body);
    }

    let body = Bytes::from((0..1_300_000u32).map(|n| n.to_le_bytes()[0] ^ 0x5a).collect::<Vec<u8>>());
    let digest =
        |body: &[u8]| Digest::from_slice(ring::digest::digest(&ring::digest::SHA256, body).as_ref()).unwrap();
    let id = digest(&body);
    assert!(matches!(agent.bundle(&id).await, Err(Error::Missing { part: 0, .. })));
    hub.put_bundle(&id, body.clone()).await.unwrap();
    assert_eq!(agent.bundle(&id).await.unwrap(), body);
    hub.put_bundle(&Digest([0; 32]), body).await.unwrap();
    assert!(matches!(agent.bundle(&Digest([0; 32])).await, Err(Error::Damaged { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_without_a_hub_are_an_error_and_not_a_receipt() {
    let ground = Ground::start().await;
    let cluster = ground.cluster("one");
    ground.accounts().await.push(&cluster, now()).await.unwrap();
    let agent = ground.agent(&cluster.account).await;
    until_up(agent.link()).await;
    let sent = agent.send(Bytes::from_static(b"events"), None).await;
    assert!(matches!(sent, Err(Error::Send(_))), "{sent:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_clusters_are_known_to_the_server_within_seconds() {
    let ground = Ground::start().await;
    let clusters: Vec<_> = (0..50).map(|number| ground.cluster(&format!("cluster-{number}"))).collect();
    let accounts = ground.accounts().await;
    let begun = Instant::now();
    accounts.push_all(&clusters, now()).await.unwrap();
    let took = begun.elapsed();
    assert!(took < BOUND / 4, "{took:?}");
    for cluster in [&clusters[0], &clusters[49]] {
        until_up(ground.agent(&cluster.account).await.link()).await;
    }
}
