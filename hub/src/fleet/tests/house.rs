//! The hub that the other files ask.

use crate::api::service::{
    AppName, Apps, Caller, Command, Detail, Fleet as _, Invitation, Order, Outcome, Rights,
};
use crate::driver::{Driver, Handle, Performer, wall};
use crate::fleet::{Admit, FleetService, Settings};
use crate::git::remote::Limits;
use crate::git::url::FileUrls;
use crate::join;
use crate::log::{Log, Memory};
use crate::nats::keys::Keys;
use crate::perform::{Mirrors, Vault, Watch};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use taffrail_core::catalog::{Declared, Destination, Listing, Reading, Render, Root, SyncPolicy};
use taffrail_core::cluster::{Batch, Link};
use taffrail_core::desired::Mark;
use taffrail_core::digest::Digest;
use taffrail_core::event::agent::{Phase, Status};
use taffrail_core::event::{Actor, AgentEvent, AgentFact, Context};
use taffrail_core::health::Health;
use taffrail_core::id::{self, AccountKey, AppId, ClusterName, CommitId, SourceName};
use taffrail_core::node::hub::{self as core, Durable, Effect, Hub, Input, Rendered};
use taffrail_core::planner::{Part, Variant};
use taffrail_core::source::{Sighting, Track};
use taffrail_core::time::{At, Span};
use taffrail_proto::event::{Place, encode_agent};
use taffrail_proto::join::{Joined, Token, UserKey};
use taffrail_proto::report::Incoming;
use taffrail_proto::seal::BoxKey;
use taffrail_proto::sign::{SigningKey, sha256};
use taffrail_proto::v1::{AppRow, InstanceRow, SourceRow};
use taffrail_runtime::nats::Link as NatsLink;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(super) const URL: &str = "https://git.example.com/team/fleet.git";

struct Nothing;

impl Performer for Nothing {
    fn perform(&mut self, _effect: Effect) {}
}

/// A hub whose world is the test.
pub(super) struct House {
    pub(super) service: FleetService,
    pub(super) admit: Admit,
    pub(super) log: Arc<Memory>,
    pub(super) folder: TempDir,
    chains: BTreeMap<String, (u64, Digest)>,
    _stop: DropGuard,
}

pub(super) fn commit(number: u8) -> CommitId {
    CommitId::parse(&format!("{number:02x}").repeat(20)).unwrap()
}

pub(super) fn cluster(name: &str) -> ClusterName {
    ClusterName::parse(name).unwrap()
}

pub(super) fn app(name: &str) -> AppName {
    AppName { source: None, name: id::AppName::parse(name).unwrap() }
}

pub(super) fn caller() -> Caller {
    Caller { name: "ada".into() }
}

fn track() -> Track {
    Track { url: URL.into(), revision: "HEAD".into() }
}

pub(super) fn variant(path: &str) -> Variant {
    Variant { track: track(), path: path.into(), render: Render::Auto, part: Part::All }
}

/// An app of the root that declares it.
pub(super) fn declared(name: &str, automated: bool) -> Declared {
    Declared {
        name: id::AppName::parse(name).unwrap(),
        repo_url: URL.into(),
        path: format!("apps/{name}"),
        target_revision: "HEAD".into(),
        render: Render::Auto,
        destination: Destination::Here,
        namespace: Some("web".into()),
        sync: SyncPolicy { automated, prune: true, self_heal: true, ..SyncPolicy::default() },
        max_deletes: None,
    }
}

/// Keys of an agent, the same for the same seed.
pub(super) fn agent_keys(seed: u8) -> join::Keys {
    let user = nkeys::KeyPair::new_user().public_key();
    join::Keys {
        user: UserKey::parse(&user).unwrap(),
        event: SigningKey::from_seed([seed; 32]).public(),
        boxed: BoxKey::generate().public(),
    }
}

pub(super) fn request(token: &Token, keys: &join::Keys) -> join::Request {
    join::Request {
        token_digest: token.digest(),
        keys: keys.clone(),
        agent_version: "0.1.0".into(),
        kubernetes_version: "v1.34.0".into(),
        cluster_uid: String::new(),
    }
}

impl House {
    pub(super) async fn new() -> House {
        let folder = tempfile::tempdir().unwrap();
        let log: Arc<Memory> = Arc::default();
        let lease = Span::secs(30);
        let hub = Hub::new(Durable::default(), core::Settings { lease });
        let (driver, handle, shown) = Driver::new(hub, log.clone());
        let stop = CancellationToken::new();
        let ended = stop.clone();
        tokio::spawn(async move { driver.run(&mut Nothing, ended).await });
        let service = service(folder.path(), &handle, &log, shown, lease);
        let admit = Admit {
            handle: handle.clone(),
            keys: Arc::new(Keys::open(&folder.path().join("nats")).unwrap()),
            vault: Arc::new(Vault::open(folder.path()).unwrap()),
            nats_urls: vec!["tls://hub.example.com:4222".into()],
            ca_pem: "PEM".into(),
            credential_ttl: Span::secs(3_600),
        };
        let chains = BTreeMap::new();
        let house = House { service, admit, log, folder, chains, _stop: stop.drop_guard() };
        house.input(Input::Started { version: "0.1.0".into(), epoch: 1 }).await;
        house
    }

    pub(super) async fn input(&self, input: Input) {
        self.service.handle.post().input(input).await.unwrap();
    }

    pub(super) async fn give(&self, command: Command) -> Result<Outcome, crate::api::Error> {
        let (by, reason) = (caller(), String::from("because"));
        self.service.submit(Order { command, by, reason, traceparent: None }).await
    }

    pub(super) async fn add_source(&self) {
        let command = Command::AddSource {
            url: URL.into(),
            path: String::new(),
            revision: String::new(),
            name: None,
            credential: None,
        };
        assert_eq!(self.give(command).await.unwrap().name, "fleet");
    }

    pub(super) async fn invite(&self, name: &str) -> Token {
        let invited = self.service.invite(invitation(name)).await.unwrap();
        let (_, rest) = invited.manifest.split_once("tjt_").unwrap();
        let text: String =
            rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
        Token::parse(&format!("tjt_{text}")).unwrap()
    }

    /// A cluster that was invited and joined.
    pub(super) async fn join(&self, name: &str) -> Joined {
        let token = self.invite(name).await;
        join::Admission::join(&self.admit, request(&token, &agent_keys(1))).await.unwrap()
    }

    /// The branch moved; `descends` is false for a rewritten history.
    pub(super) async fn push(&self, number: u8, descends: bool) {
        let head = self
            .admit
            .handle
            .look(|hub, _| hub.state().sources.head(&track()).map(|head| head.commit.clone()));
        self.input(Input::Sighted(Sighting {
            track: track(),
            also: Vec::new(),
            commit: commit(number),
            head: head.await.unwrap(),
            descends,
            author: "Ada <ada@example.com>".into(),
            subject: format!("Change {number}"),
            committed_at: At(1),
            trace: None,
        }))
        .await;
    }

    /// The root of a cluster was read at a commit.
    pub(super) async fn read(&self, number: u8, root: &str, apps: Vec<Declared>) {
        self.read_of("fleet", number, root, apps).await;
    }

    /// The root of a cluster in a source was read at a commit.
    pub(super) async fn read_of(&self, source: &str, number: u8, root: &str, apps: Vec<Declared>) {
        let listing = Listing { apps, ..Listing::default() };
        let roots = BTreeMap::from([(Root::Cluster(cluster(root)), Ok(listing))]);
        let source = SourceName::parse(source).unwrap();
        let reading = Reading { source, commit: commit(number), roots, cause: None, trace: None };
        self.input(Input::Read(reading)).await;
    }

    pub(super) async fn render(&self, number: u8, path: &str, outcome: core::Outcome) {
        self.input(Input::Rendered(Rendered { variant: variant(path), commit: commit(number), outcome }))
            .await;
    }

    /// A rendering that ended in a bundle whose digest is made of `number`.
    pub(super) async fn sealed(&self, number: u8, path: &str) {
        let (digest, sealed) = (Digest([number; 32]), Digest([number + 100; 32]));
        let outcome =
            core::Outcome::Sealed { digest, sealed, size: 9, objects: 1, inputs: vec![path.into()] };
        self.render(number, path, outcome).await;
    }

    /// What the index of a cluster says of an app.
    pub(super) async fn entry(&self, of: &str, app: &str) -> (AppId, Mark, Digest, CommitId) {
        let (of, app) = (cluster(of), AppId::parse(app).unwrap());
        let found = self.service.handle.look(move |hub, _| {
            let entry = &hub.state().planner.fleet[&of].index.entries[&app];
            (app, entry.since, entry.digest, entry.commit.clone())
        });
        found.await.unwrap()
    }

    /// The agent of a cluster tells how an app is that it was just given.
    pub(super) async fn say(&mut self, joined: &Joined, app: &str, change: impl FnOnce(&mut Status)) {
        let (app, since, digest, commit) = self.entry(&joined.cluster, app).await;
        let mut status = Status {
            since,
            digest,
            phase: Phase::Synced,
            health: Health::Healthy,
            message: String::new(),
            troubles: Vec::new(),
            objects: 1,
            held: Vec::new(),
            flaps: 0,
        };
        change(&mut status);
        let context = Context::new(Actor::Agent, wall()).app(&app).commit(&commit);
        self.tell(joined, AgentEvent { context, fact: AgentFact::InstanceChanged(status) }).await;
    }

    /// The agent of a cluster states a fact.
    pub(super) async fn tell(&mut self, joined: &Joined, event: AgentEvent) {
        let account = AccountKey::parse(&joined.account).unwrap();
        let (seq, previous) = self.chains.get(&joined.account).copied().unwrap_or_default();
        let place = Place { account: account.clone(), incarnation: 1, seq: seq + 1, previous };
        let (header, payload) = encode_agent(&event, &place);
        let hash = sha256(&header);
        self.chains.insert(joined.account.clone(), (seq + 1, hash));
        let link =
            Link { seq: seq + 1, previous, hash, header: (*header).into(), payload: (*payload).into() };
        let batch = Batch { incarnation: 1, links: vec![link], ..Batch::default() };
        let (facts, signature) = (vec![Some(event)], bytes::Bytes::from_static(b"signed"));
        let incoming = Incoming { batch, facts, signature, stated: None };
        let answered = self.service.handle.events(account, incoming).await.unwrap();
        assert!(matches!(answered.reply, core::Reply::Receipt { .. }), "{:?}", answered.reply);
    }

    pub(super) async fn app(&self, name: &str) -> AppRow {
        self.look_at(name, Detail::Instances).await
    }

    pub(super) async fn look_at(&self, name: &str, detail: Detail) -> AppRow {
        let which = Apps { app: Some(app(name)), ..Apps::default() };
        self.service.apps(&which, detail).await.unwrap().value.pop().unwrap()
    }

    pub(super) async fn instance(&self, name: &str, on: &str) -> InstanceRow {
        self.app(name).await.instances.into_iter().find(|row| row.cluster == on).unwrap()
    }

    pub(super) async fn source(&self) -> SourceRow {
        self.service.sources().await.unwrap().value.pop().unwrap()
    }
}

pub(super) fn invitation(name: &str) -> Invitation {
    Invitation {
        name: cluster(name),
        labels: BTreeMap::from([("region".into(), "eu".into())]),
        image: None,
        daemonset: false,
        rights: Rights::ClusterAdmin,
        by: caller(),
        reason: String::new(),
        traceparent: None,
    }
}

fn service(
    folder: &Path,
    handle: &Handle,
    log: &Arc<Memory>,
    shown: watch::Receiver<u64>,
    lease: Span,
) -> FleetService {
    let mirrors = Arc::new(Mirrors::new(folder.join("mirrors"), FileUrls::Refused, Limits::default()));
    let tracks = watch::channel(std::collections::BTreeSet::new()).1;
    FleetService {
        handle: handle.clone(),
        log: Arc::clone(log) as Arc<dyn Log>,
        watch: Arc::new(Watch::new(handle.clone(), Arc::clone(&mirrors), tracks)),
        mirrors,
        shown,
        link: watch::channel(NatsLink { up: true, connects: 1, refusals: 0 }).1,
        settings: Settings {
            lease,
            token_ttl: Span::secs(3_600),
            hub_url: "https://hub.example.com:8443".into(),
            ca_pem: "PEM".into(),
            image: "example.com/agent:1".into(),
            data_dir: folder.to_owned(),
        },
    }
}
