//! What a cluster's credential can reach: its own index, its own events, the sealed bundles, and nothing else.

use std::time::Duration;

use async_nats::{Client, Message};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use nkeys::KeyPair;
use serde_json::json;
use taffrail_agent::bus::Bus as _;
use taffrail_core::desired::Mark;
use taffrail_core::id::AccountKey;
use taffrail_core::time::Span;
use taffrail_hub::bus::Bus as _;
use taffrail_hub::nats::{Cluster, jwt};
use taffrail_proto::subject;
use taffrail_runtime::nats::Login;
use tokio::time::timeout;

use crate::ground::{BOUND, Ground, now, until, until_up};

/// How long a forbidden request is given; a permitted one is answered within a few milliseconds.
const QUIET: Duration = Duration::from_millis(250);

struct Scene {
    ground: Ground,
    own: Cluster,
    foreign: Cluster,
    hub: taffrail_hub::bus::Nats,
    client: Client,
}

/// Two clusters with an index each and a bundle, and a plain client with the first one's credential.
async fn scene() -> Scene {
    let ground = Ground::start().await;
    let (own, foreign) = (ground.cluster("own"), ground.cluster("foreign"));
    ground.accounts().await.push_all(&[own.clone(), foreign.clone()], now()).await.unwrap();
    let hub = ground.hub().await;
    hub.ensure().await.unwrap();
    for cluster in [&own, &foreign] {
        let body = Bytes::from(format!("index of {}", cluster.name));
        hub.publish_index(&cluster.account, body, None, Mark::default()).await.unwrap();
    }
    hub.put_bundle(&taffrail_core::digest::Digest([1; 32]), Bytes::from_static(b"sealed")).await.unwrap();
    let login = ground.user(&own.account).login();
    let client = ground.connect(login, Some(subject::inbox(&own.account))).await.unwrap().client;
    Scene { ground, own, foreign, hub, client }
}

async fn ask(client: &Client, subject: &str, body: &str) -> Option<Message> {
    let request = client.request(subject.to_owned(), Bytes::from(body.to_owned()));
    timeout(QUIET, request).await.ok()?.ok()
}

/// Every subject by which the server's administration, or another cluster's state, is reached.
fn forbidden(own: &AccountKey, foreign: &AccountKey) -> Vec<(String, &'static str)> {
    let consumer = r#"{"stream_name":"DESIRED","config":{"deliver_subject":"x","ack_policy":"none"}}"#;
    let mut list = vec![
        (subject::get_desired(foreign), ""),
        ("$JS.API.DIRECT.GET.DESIRED.taffrail.desired.*".to_owned(), ""),
        ("$JS.API.DIRECT.GET.DESIRED.taffrail.desired.>".to_owned(), ""),
        ("$JS.API.DIRECT.GET.DESIRED.>".to_owned(), ""),
        ("$JS.API.DIRECT.GET.BUNDLES.>".to_owned(), ""),
        (subject::events(foreign), "events"),
        (subject::EVENTS_ALL.to_owned(), "events"),
        (subject::desired(foreign), "index"),
        (subject::desired(own), "index"),
        (subject::bundle(&taffrail_core::digest::Digest([1; 32]), 0), "bundle"),
        ("$JS.API.INFO".to_owned(), ""),
        ("$JS.API.STREAM.NAMES".to_owned(), ""),
        ("$JS.API.STREAM.LIST".to_owned(), ""),
        ("$JS.API.STREAM.CREATE.MINE".to_owned(), r#"{"name":"MINE","subjects":["mine"]}"#),
        ("$JS.API.ACCOUNT.PURGE.x".to_owned(), ""),
        ("$SYS.REQ.SERVER.PING".to_owned(), ""),
        ("$SYS.REQ.CLAIMS.UPDATE".to_owned(), "x"),
        ("$SYS.REQ.CLAIMS.LIST".to_owned(), ""),
        (format!("$SYS.REQ.ACCOUNT.{foreign}.CONNZ"), ""),
        ("$SYS.REQ.USER.INFO".to_owned(), ""),
    ];
    for stream in ["DESIRED", "BUNDLES"] {
        list.extend([
            (format!("$JS.API.DIRECT.GET.{stream}"), r#"{"seq":1}"#),
            (format!("$JS.API.DIRECT.GET.{stream}"), r#"{"next_by_subj":"taffrail.desired.>"}"#),
            (format!("$JS.API.STREAM.INFO.{stream}"), ""),
            (format!("$JS.API.STREAM.DELETE.{stream}"), ""),
            (format!("$JS.API.STREAM.PURGE.{stream}"), ""),
            (format!("$JS.API.STREAM.MSG.GET.{stream}"), r#"{"seq":1}"#),
            (format!("$JS.API.STREAM.MSG.DELETE.{stream}"), r#"{"seq":1}"#),
            (format!("$JS.API.STREAM.UPDATE.{stream}"), "{}"),
            (format!("$JS.API.STREAM.SNAPSHOT.{stream}"), r#"{"deliver_subject":"x"}"#),
            (format!("$JS.API.CONSUMER.CREATE.{stream}"), consumer),
            (format!("$JS.API.CONSUMER.CREATE.{stream}.mine"), consumer),
            (format!("$JS.API.CONSUMER.DURABLE.CREATE.{stream}.mine"), consumer),
            (format!("$JS.API.CONSUMER.NAMES.{stream}"), ""),
            (format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.mine"), "1"),
            (format!("$JS.API.CONSUMER.DELETE.{stream}.mine"), ""),
            (format!("$JS.ACK.{stream}.mine.1.1.1.1.1"), "+ACK"),
            (format!("$JS.FC.{stream}.mine.x"), ""),
        ]);
    }
    list
}

/// Everything that must not have changed.
async fn standing(scene: &Scene) -> Vec<String> {
    let login = scene.ground.keys.hub_login(now()).unwrap();
    let client = scene.ground.connect(login, None).await.unwrap().client;
    let context = async_nats::jetstream::new(client);
    let mut names: Vec<String> = context.stream_names().map(Result::unwrap).collect().await;
    names.sort();
    let mut all = names.clone();
    for name in names {
        let mut info = context.get_stream(&name).await.unwrap().cached_info().clone();
        info.config.metadata.clear();
        let state = info.state;
        all.push(format!(
            "{name} {} {} {} {:?}",
            state.messages, state.last_sequence, state.consumer_count, info.config
        ));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_its_own_can_be_reached() {
    let scene = scene().await;
    let index = ask(&scene.client, &subject::get_desired(&scene.own.account), "").await.unwrap();
    assert_eq!(index.payload, "index of own");
    let bundle = subject::get_bundle(&taffrail_core::digest::Digest([1; 32]), 0);
    assert_eq!(ask(&scene.client, &bundle, "").await.unwrap().payload, "sealed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_forbidden_subject_is_answered_or_changes_anything() {
    let scene = scene().await;
    let before = standing(&scene).await;
    let asked = futures::stream::iter(forbidden(&scene.own.account, &scene.foreign.account))
        .map(|(subject, body)| {
            let client = scene.client.clone();
            async move { (ask(&client, &subject, body).await, subject) }
        })
        .buffer_unordered(8);
    let answered: Vec<_> = asked
        .filter_map(async |(answer, subject)| answer.map(|answer| (subject, answer.payload)))
        .collect()
        .await;
    assert!(answered.is_empty(), "{answered:?}");
    assert_eq!(standing(&scene).await, before);
    let index = scene.hub.last_index(&scene.foreign.account).await.unwrap().unwrap();
    assert_eq!(index.body, "index of foreign");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_subject_reaches_no_further_than_a_direct_one() {
    let scene = scene().await;
    let agent = scene.ground.agent(&scene.foreign.account).await;
    let mut indexes = agent.indexes();
    assert_eq!(timeout(BOUND, indexes.next()).await.unwrap().unwrap(), "index of foreign");
    let mut requests = scene.hub.requests().await.unwrap();
    let before = standing(&scene).await;

    let own = &scene.own.account;
    let permitted = [
        (subject::get_desired(own), ""),
        (subject::get_bundle(&taffrail_core::digest::Digest([1; 32]), 0), ""),
        (subject::events(own), "events"),
    ];
    let replies = forbidden(own, &scene.foreign.account);
    for (subject, body) in &permitted {
        for (reply, _) in replies.iter().filter(|(reply, _)| !reply.contains(['*', '>'])) {
            let body = Bytes::from(*body);
            scene.client.publish_with_reply(subject.clone(), reply.clone(), body).await.unwrap();
        }
    }
    let last = async { ask(&scene.client, &subject::events(own), "last").await };
    let answering = async {
        loop {
            let request = timeout(BOUND, requests.next()).await.unwrap().unwrap();
            assert_eq!(request.account, *own, "only its own events arrive");
            let done = request.body == "last";
            request.reply(Bytes::from_static(b"forged")).await.unwrap();
            if done {
                return;
            }
        }
    };
    let _ = futures::future::join(last, answering).await;

    assert_eq!(standing(&scene).await, before);
    let index = scene.hub.last_index(&scene.foreign.account).await.unwrap().unwrap();
    assert_eq!(index.body, "index of foreign");
    scene
        .hub
        .publish_index(&scene.foreign.account, Bytes::from_static(b"next"), None, Mark::default())
        .await
        .unwrap();
    assert_eq!(timeout(BOUND, indexes.next()).await.unwrap().unwrap(), "next", "nothing came in between");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_hears_its_own_index_alone() {
    let scene = scene().await;
    let (own, foreign) = (&scene.own.account, &scene.foreign.account);
    let mut heard = scene.client.subscribe(subject::desired(own)).await.unwrap();
    let mut overheard = Vec::new();
    let inbox = subject::inbox(foreign);
    let wanted = [
        subject::desired(foreign),
        subject::DESIRED_ALL.to_owned(),
        subject::EVENTS_ALL.to_owned(),
        format!("{inbox}.>"),
    ];
    for subject in wanted
        .into_iter()
        .chain(["taffrail.>", "_INBOX.>", "$JS.>", "$SYS.>", ">", "_R_.>"].map(String::from))
    {
        overheard.push(scene.client.subscribe(subject.clone()).await.unwrap());
        overheard.push(scene.client.queue_subscribe(subject, "hub".to_owned()).await.unwrap());
    }
    ask(&scene.client, &subject::get_desired(own), "")
        .await
        .expect("the server has taken what was sent before");
    let agent = scene.ground.agent(foreign).await;
    assert_eq!(agent.index().await.unwrap().unwrap(), "index of foreign");
    scene.hub.publish_index(foreign, Bytes::from_static(b"theirs"), None, Mark::default()).await.unwrap();
    scene.hub.publish_index(own, Bytes::from_static(b"ours"), None, Mark::default()).await.unwrap();
    assert_eq!(timeout(BOUND, heard.next()).await.unwrap().unwrap().payload, "ours");
    for mut ears in overheard {
        if let Some(Some(message)) = ears.next().now_or_never() {
            panic!("overheard {}: {:?}", message.subject, message.payload);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_widens_its_own_rights_is_refused() {
    let scene = scene().await;
    let account = &scene.own.account;
    let path = scene.ground.directory.path().join("keys/accounts").join(format!("{account}.nk"));
    let signing = KeyPair::from_seed(std::fs::read_to_string(path).unwrap().trim()).unwrap();
    let user = KeyPair::new_user();
    let about = jwt::About {
        subject: &user.public_key(),
        name: "wide",
        at: now(),
        expires: Some(now().plus(Span::secs(600))),
    };
    let mut body = jwt::scoped_user(account.as_str());
    body["pub"] = json!({ "allow": [">"] });
    let jwt = jwt::encode(&signing, about, body).unwrap();
    let login = Login::new(&jwt, &user.seed().unwrap()).unwrap();
    assert!(scene.ground.connect(login, None).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_cluster_cannot_be_entered() {
    let scene = scene().await;
    let user = scene.ground.user(&scene.own.account);
    let stolen = KeyPair::new_user().seed().unwrap();
    let wrong_key = Login::new(&user.jwt, &stolen).unwrap();
    assert!(scene.ground.connect(wrong_key, None).await.is_err(), "a JWT without its key is nothing");
    let path = scene.ground.directory.path().join("keys/accounts").join(format!("{}.nk", scene.own.account));
    let signing = KeyPair::from_seed(std::fs::read_to_string(path).unwrap().trim()).unwrap();
    let pair = KeyPair::new_user();
    let about = jwt::About { subject: &pair.public_key(), name: "x", at: now(), expires: None };
    let jwt = jwt::encode(&signing, about, jwt::scoped_user(scene.foreign.account.as_str())).unwrap();
    let login = Login::new(&jwt, &pair.seed().unwrap()).unwrap();
    assert!(scene.ground.connect(login, None).await.is_err(), "a key of one account signs for no other");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_user_is_cut_off_at_once_and_a_new_one_is_not() {
    let ground = Ground::start().await;
    let mut cluster = ground.cluster("one");
    let accounts = ground.accounts().await;
    accounts.push(&cluster, now()).await.unwrap();
    let user = ground.user(&cluster.account);
    let agent = ground.agent_as(&cluster.account, &user).await;
    until_up(agent.link()).await;

    cluster.revoked.insert(user.key.clone(), now());
    accounts.push(&cluster, now()).await.unwrap();
    until(agent.link(), |link| !link.up).await;
    assert!(ground.connect(user.login(), None).await.is_err());

    let renewed = ground.user(&cluster.account);
    agent.renew(&renewed.jwt, &renewed.seed).await.unwrap();
    until_up(agent.link()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_account_is_cut_off_for_good() {
    let ground = Ground::start().await;
    let cluster = ground.cluster("one");
    let accounts = ground.accounts().await;
    accounts.push(&cluster, now()).await.unwrap();
    let user = ground.user(&cluster.account);
    let agent = ground.agent_as(&cluster.account, &user).await;
    until_up(agent.link()).await;
    for _ in 0..2 {
        accounts.remove(&cluster.account, now()).await.unwrap();
    }
    until(agent.link(), |link| !link.up).await;
    assert!(ground.connect(user.login(), None).await.is_err());
    assert!(accounts.push(&cluster, now()).await.is_err());
}
