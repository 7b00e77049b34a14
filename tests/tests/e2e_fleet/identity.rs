//! Who may join, and whose events are believed.

use std::fs;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use serde_json::{Value, json};
use taffrail_agent::bus::{Bus, Nats, Settings};
use taffrail_agent::journal::{Journal, Redb};
use taffrail_agent::run::journal_of;
use taffrail_core::cluster::Vitals;
use taffrail_core::id::AccountKey;
use taffrail_core::time::At;
use taffrail_proto::report::{Answer, Outgoing, encode_request, open_answer};
use taffrail_proto::sign::{PublicKey, SigningKey};
use taffrail_runtime::nats::{Login, Tls};
use taffrail_tests::harness::{Agent, Hub, HubOptions, JoinToken, join, wait_for};
use taffrail_tests::tree::APP;

use taffrail_tests::harness::fleet::{BOUND, Fleet, tell};
use taffrail_tests::harness::live;

#[tokio::test]
async fn only_those_who_were_invited_join_and_only_their_own_words_are_believed() {
    tell("identity", async |fleet| {
        fleet.first_delivery("payments-api:1.4.0").await?;
        tokens_work_once_in_time_and_here(fleet).await?;
        a_replayed_batch_gets_its_receipt_again(fleet).await?;
        a_forged_event_is_refused_and_recorded(fleet).await
    })
    .await;
}

/// Starts an agent with a token that is not good, and waits until it gives up.
async fn refused(fleet: &Fleet, hub: &Hub, folder: &str, token: &JoinToken) -> Result<()> {
    let folder = fleet.folder.sub(folder)?;
    let mut agent = Agent::start(&folder, &fleet.member("lab").kubeconfig, hub, token)?;
    let ended = wait_for("the agent gives up", BOUND, async || agent.ended()).await?;
    let log = fs::read_to_string(agent.log_file())?;
    ensure!(!ended.success(), "an agent without identity ended well: {log}");
    ensure!(!log.contains(&token.token), "the token stands in the agent's log");
    Ok(())
}

async fn tokens_work_once_in_time_and_here(fleet: &Fleet) -> Result<()> {
    let used = fleet.member("lab").token.clone();
    refused(fleet, &fleet.hub, "used", &used).await.context("a used token")?;
    let event = fleet.event(&["--kind", "JoinRefused"], |it| it["cluster"] == "lab").await?;
    ensure!(event["reason"].as_str().is_some_and(|why| why.contains("used")), "{event}");

    let set = vec![("join.token-ttl".to_owned(), "1s".to_owned())];
    let other =
        Hub::start(&fleet.folder.sub("other-hub")?, HubOptions { set, ..HubOptions::default() }).await?;
    let foreign = join(&other, "lab", &[]).await?;
    let foreign_here = JoinToken { ca_pem: used.ca_pem.clone(), ..foreign.clone() };
    refused(fleet, &fleet.hub, "foreign", &foreign_here).await.context("a foreign token")?;
    let event = fleet.event(&["--kind", "JoinRefused"], |it| it["cluster"] == "").await?;
    ensure!(event["reason"].as_str().is_some_and(|why| why.contains("not one of this hub")), "{event}");

    let expired = wait_for("the token has expired", BOUND, async || {
        let clusters = other.json(&["get", "clusters"]).await?;
        Ok(clusters["items"][0]["conditions"].to_string().contains("InvitationExpired").then_some(()))
    });
    expired.await?;
    refused(fleet, &other, "expired", &foreign).await.context("an expired token")?;
    let events = other.events(&["--kind", "JoinRefused"]).await?;
    ensure!(
        events.len() == 1 && events[0]["reason"].as_str().is_some_and(|why| why.contains("expired")),
        "{events:?}"
    );
    ensure!(fleet.hub.events(&["--kind", "ClusterJoined"]).await?.len() == 3, "somebody else joined");
    Ok(())
}

/// What an agent keeps: its keys and credentials, as they lie on its disk.
struct Stolen {
    account: AccountKey,
    event_key: SigningKey,
    hub_key: PublicKey,
    bus: Nats,
}

async fn steal(agent: &Agent) -> Result<Stolen> {
    let text = fs::read_to_string(agent.state_folder().join("identity.json")).context("read the identity")?;
    let kept: Value = serde_json::from_str(&text)?;
    let joined = &kept["joined"];
    let text = |value: &Value| value.as_str().map(str::to_owned).context("read the identity");
    let account = AccountKey::parse(&text(&joined["account"])?)?;
    let urls: Vec<String> = serde_json::from_value(joined["nats_urls"].clone())?;
    let bus = Nats::connect(Settings {
        urls,
        account: account.clone(),
        login: Login::new(&text(&joined["nats_jwt"])?, &text(&kept["user_seed"])?)?,
        ca_pem: Some(text(&joined["ca_pem"])?),
        tls: Tls::Required,
    });
    Ok(Stolen {
        account,
        event_key: SigningKey::from_seed_text(&text(&kept["event_seed"])?)?,
        hub_key: PublicKey::parse(&text(&joined["hub_key"])?)?,
        bus: bus.await?,
    })
}

impl Stolen {
    async fn send(&self, body: &[u8]) -> Result<Answer> {
        wait_for("the hub answers", BOUND, async || {
            let reply = self.bus.send(Bytes::copy_from_slice(body), None).await?;
            Ok(Some(open_answer(&reply, &self.account, &self.hub_key)?.0))
        })
        .await
    }
}

/// The batch of an agent that could not be sent yet, signed as the agent would.
fn unsent(agent: &Agent, stolen: &Stolen) -> Result<(Vec<u8>, Outgoing)> {
    let file = journal_of(&agent.state_folder().join("journal.redb"), &stolen.account);
    let (journal, _) = Redb::open(&file, 0)?;
    let snapshot = journal.load()?;
    let rows = journal.outbox_from(snapshot.receipted + 1, 256, 1 << 20)?;
    ensure!(!rows.is_empty(), "nothing waits in the outbox");
    let outgoing = Outgoing {
        account: stolen.account.clone(),
        incarnation: snapshot.incarnation,
        at: At(0),
        vitals: Vitals::default(),
        events: rows.into_iter().map(|row| (row.header, row.payload)).collect(),
        proof: None,
    };
    Ok((encode_request(&outgoing, &stolen.event_key), outgoing))
}

async fn a_replayed_batch_gets_its_receipt_again(fleet: &mut Fleet) -> Result<()> {
    // While the hub is away the agent heals on, and what it has to say waits in its journal.
    let stolen = steal(&fleet.member("lab").agent).await?;
    fleet.hub.kill();
    let lab = fleet.member("lab");
    let path = live::config_map(&lab.namespace, APP);
    lab.live.edit(&path, "kubectl-edit", &json!({"data": {"LOG_LEVEL": "debug"}})).await?;
    lab.live.until(&path, "is healed without the hub", |it| it["data"]["LOG_LEVEL"] == "info").await?;
    wait_for("the agent has written it down", BOUND, async || {
        let agent = &fleet.member("lab").agent;
        let (stated, receipted) = (agent.metric("events").await?, agent.metric("events_receipted").await?);
        Ok((stated >= receipted + 2).then_some(()))
    })
    .await?;
    fleet.member_mut("lab").agent.kill();
    let (body, sent) = unsent(&fleet.member("lab").agent, &stolen)?;
    fleet.hub.restart().await?;
    fleet.member_mut("lab").agent.restart()?;
    fleet.event(&["--kind", "DriftHealed", "--cluster", "lab"], |_| true).await?;

    let first = stolen.send(&body).await?;
    let Answer::Receipt { incarnation, seq, .. } = first else { anyhow::bail!("a replay got {first:?}") };
    ensure!(incarnation == sent.incarnation, "{first:?}");
    let again = stolen.send(&body).await?;
    let Answer::Receipt { seq: later, .. } = again else { anyhow::bail!("a replay got {again:?}") };
    ensure!(sent.events.len() as u64 <= seq && seq <= later, "{first:?}, then {again:?}");
    ensure!(fleet.hub.events(&["--kind", "DriftHealed", "--cluster", "lab"]).await?.len() == 1, "doubled");
    Ok(())
}

async fn a_forged_event_is_refused_and_recorded(fleet: &Fleet) -> Result<()> {
    let stolen = steal(&fleet.member("eu-1").agent).await?;
    let lab = steal(&fleet.member("lab").agent).await?;
    let agent = &fleet.member("eu-1").agent;
    let next = agent.metric("events").await? + 1;
    let account = &stolen.account;
    let forged = forged_event(account, next);
    // A key of one's own, in the name and with the credentials of eu-1.
    let body = encode_request(&forged, &SigningKey::generate()?);
    let answer = stolen.send(&body).await?;
    ensure!(matches!(&answer, Answer::Refused(_)), "a forged event got {answer:?}");
    let refused = fleet.event(&["--kind", "EventRefused", "--cluster", "eu-1"], |_| true).await?;
    ensure!(
        refused["detail"]["seq"] == next && refused["detail"]["account"] == account.as_str(),
        "{refused}"
    );

    // The words of another cluster, rightly signed by oneself.
    let body = encode_request(&forged, &lab.event_key);
    let answer = lab.send(&body).await?;
    ensure!(matches!(&answer, Answer::Refused(_)), "words in another's name got {answer:?}");
    fleet.event(&["--kind", "EventRefused", "--cluster", "lab"], |_| true).await?;

    let made_up = fleet.hub.events(&["--cluster", "eu-1", "--kind", "Withdrawn"]).await?;
    ensure!(made_up.is_empty(), "a forged event is in the log: {made_up:?}");
    // The agent itself is still believed.
    let eu = fleet.member("eu-1");
    let path = live::config_map(&eu.namespace, APP);
    eu.live.edit(&path, "kubectl-edit", &json!({"data": {"LOG_LEVEL": "debug"}})).await?;
    fleet.event(&["--kind", "DriftHealed", "--cluster", "eu-1"], |_| true).await?;
    Ok(())
}

fn forged_event(account: &AccountKey, seq: u64) -> Outgoing {
    use taffrail_core::event::{Actor, AgentEvent, AgentFact, Context as Of};
    use taffrail_proto::event::{Place, encode_agent};
    let fact = AgentFact::Withdrawn { since: None, deleted: 100, kept: 0 };
    let event = AgentEvent { context: Of::new(Actor::Agent, At(1)), fact };
    let place = Place {
        account: account.clone(),
        incarnation: 1,
        seq,
        previous: taffrail_core::digest::Digest::default(),
    };
    Outgoing {
        account: account.clone(),
        incarnation: 1,
        at: At(1),
        vitals: Vitals::default(),
        events: vec![encode_agent(&event, &place)],
        proof: None,
    }
}
