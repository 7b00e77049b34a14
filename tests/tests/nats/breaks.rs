//! What breaks: the server killed, its streams wiped, credentials renewed in the middle.

use std::sync::Arc;
use taffrail_core::desired::Mark;

use bytes::Bytes;
use futures::StreamExt;
use taffrail_agent::bus::Bus as _;
use taffrail_hub::bus::{Bus as _, Ensured, ensured};
use tokio::time::timeout;

use crate::ground::{BOUND, Ground, kill, now, until, until_up};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_comes_back_with_its_streams_and_its_clients() {
    let ground = Ground::start().await;
    let cluster = ground.cluster("one");
    ground.accounts().await.push(&cluster, now()).await.unwrap();
    let hub = Arc::new(ground.hub().await);
    let mut answers = std::pin::pin!(ensured(hub.clone()));
    assert_eq!(timeout(BOUND, answers.next()).await.unwrap(), Some(Ensured::Refill));
    let sequence = hub
        .publish_index(&cluster.account, Bytes::from_static(b"before"), Some(0), Mark::default())
        .await
        .unwrap();
    let agent = ground.agent(&cluster.account).await;
    let mut indexes = agent.indexes();
    assert_eq!(timeout(BOUND, indexes.next()).await.unwrap().unwrap(), "before");
    let mut requests = hub.requests().await.unwrap();

    let server = ground.server.as_ref().unwrap().state();
    let old = server.borrow().pid;
    kill(old);
    let fresh = until(server, |server| server.up && server.restarts == 1).await;
    assert_ne!(fresh.pid, old);

    assert_eq!(timeout(BOUND, answers.next()).await.unwrap(), Some(Ensured::Kept));
    until(agent.link(), |link| link.up && link.connects == 2).await;
    hub.publish_index(&cluster.account, Bytes::from_static(b"after"), Some(sequence), Mark::default())
        .await
        .unwrap();
    assert_eq!(timeout(BOUND, indexes.next()).await.unwrap().unwrap(), "after");
    let answer = async {
        let request = timeout(BOUND, requests.next()).await.unwrap().unwrap();
        request.reply(Bytes::from_static(b"receipt")).await.unwrap();
    };
    let (receipt, ()) = futures::future::join(agent.send(Bytes::from_static(b"events"), None), answer).await;
    assert_eq!(receipt.unwrap(), "receipt");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wiped_streams_ask_for_a_refill() {
    let mut ground = Ground::start().await;
    let cluster = ground.cluster("one");
    ground.accounts().await.push(&cluster, now()).await.unwrap();
    let hub = Arc::new(ground.hub().await);
    let mut answers = std::pin::pin!(ensured(hub.clone()));
    assert_eq!(timeout(BOUND, answers.next()).await.unwrap(), Some(Ensured::Refill));
    hub.publish_index(&cluster.account, Bytes::from_static(b"before"), None, Mark::default()).await.unwrap();
    let agent = ground.agent(&cluster.account).await;
    let mut indexes = agent.indexes();
    assert_eq!(timeout(BOUND, indexes.next()).await.unwrap().unwrap(), "before");

    ground.server.take().unwrap().stop().await;
    std::fs::remove_dir_all(ground.directory.path().join("nats/jetstream")).unwrap();
    ground.start_server().await;
    assert_eq!(timeout(BOUND, answers.next()).await.unwrap(), Some(Ensured::Refill));
    assert_eq!(hub.last_index(&cluster.account).await.unwrap(), None);
    hub.publish_index(&cluster.account, Bytes::from_static(b"again"), Some(0), Mark::default())
        .await
        .unwrap();
    assert_eq!(timeout(BOUND, indexes.next()).await.unwrap().unwrap(), "again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_published_while_the_agent_was_cut_off_is_read_when_it_is_back() {
    let ground = Ground::start().await;
    let mut cluster = ground.cluster("one");
    let accounts = ground.accounts().await;
    accounts.push(&cluster, now()).await.unwrap();
    let hub = ground.hub().await;
    hub.ensure().await.unwrap();
    hub.publish_index(&cluster.account, Bytes::from_static(b"before"), None, Mark::default()).await.unwrap();
    let user = ground.user(&cluster.account);
    let agent = ground.agent_as(&cluster.account, &user).await;
    let mut indexes = agent.indexes();
    assert_eq!(timeout(BOUND, indexes.next()).await.unwrap().unwrap(), "before");

    cluster.revoked.insert(user.key.clone(), now());
    accounts.push(&cluster, now()).await.unwrap();
    until(agent.link(), |link| !link.up).await;
    hub.publish_index(&cluster.account, Bytes::from_static(b"meanwhile"), None, Mark::default())
        .await
        .unwrap();
    let renewed = ground.user(&cluster.account);
    agent.renew(&renewed.jwt, &renewed.seed).await.unwrap();
    assert_eq!(timeout(BOUND, indexes.next()).await.unwrap().unwrap(), "meanwhile");
    until_up(agent.link()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_is_renewed_without_losing_the_subscription() {
    let ground = Ground::start().await;
    let cluster = ground.cluster("one");
    ground.accounts().await.push(&cluster, now()).await.unwrap();
    let hub = ground.hub().await;
    hub.ensure().await.unwrap();
    hub.publish_index(&cluster.account, Bytes::from_static(b"before"), None, Mark::default()).await.unwrap();
    let agent = ground.agent(&cluster.account).await;
    let mut indexes = agent.indexes();
    assert_eq!(timeout(BOUND, indexes.next()).await.unwrap().unwrap(), "before");
    let renewed = ground.user(&cluster.account);
    agent.renew(&renewed.jwt, &renewed.seed).await.unwrap();
    until(agent.link(), |link| link.up && link.connects == 2).await;
    hub.publish_index(&cluster.account, Bytes::from_static(b"after"), None, Mark::default()).await.unwrap();
    assert_eq!(timeout(BOUND, indexes.next()).await.unwrap().unwrap(), "after");
}
