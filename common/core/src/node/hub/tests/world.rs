//! A hub, what it has appended and asked for, and short names for what happens to it.

use super::STEPS_MAX;
use crate::catalog::{Declared, Destination, Listing, Reading, Render, Root, SyncPolicy};
use crate::cluster::{self, Batch, Chain, JoinRequest, Link, Vitals};
use crate::digest::Digest;
use crate::event::{Actor, AgentEvent, AgentFact, Context, HubFact};
use crate::given::judged;
use crate::id::{AccountKey, AppId, AppName, ClusterName, CommitId, SourceName};
use crate::node::hub::{
    Append, Command, Debt, Durable, Effect, Hub, Input, Outcome, Outputs, Rendered, Reply, Settings,
};
use crate::planner::Variant;
use crate::source::{self, Sighting, Track};
use crate::time::{At, Span};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};

/// Silence after which a cluster is called silent.
pub(super) const LEASE: Span = Span::secs(30);

/// When every world begins.
pub(super) const DAWN: At = At(1_000_000);

/// One event as it was appended; for an agent's, on whose account and in which incarnation.
#[derive(Clone)]
pub(super) struct Logged {
    pub(super) at: At,
    pub(super) append: Append,
    pub(super) sender: Option<(AccountKey, u64)>,
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) hub: Hub,
    pub(super) now: At,
    pub(super) log: Vec<Logged>,
    pub(super) in_flight: BTreeSet<Debt>,
}

impl World {
    /// A hub that has just been started for the first time.
    pub(super) fn new() -> World {
        let hub = Hub::new(Durable::default(), Settings { lease: LEASE });
        let mut world = World { hub, now: DAWN, log: Vec::new(), in_flight: BTreeSet::new() };
        world.start();
        world
    }

    fn start(&mut self) -> Outputs {
        self.step(Input::Started { version: "1.0.0".into(), epoch: 1 })
    }

    /// A new process over the same log.
    pub(super) fn restart(&mut self) -> Outputs {
        self.hub = Hub::new(self.hub.state().clone(), Settings { lease: LEASE });
        self.in_flight.clear();
        self.start()
    }

    /// One step. Appends continue the log, and nothing is asked for that is being paid.
    pub(super) fn step(&mut self, input: Input) -> Outputs {
        let input = match input {
            Input::Sighted(seen) => Input::Sighted(judged(&self.hub.state().sources, seen)),
            other => other,
        };
        let sender = match &input {
            Input::Batched { account, batch, .. } => Some((account.clone(), batch.incarnation)),
            _ => None,
        };
        if let Some(debt) = paid(&input) {
            self.in_flight.remove(&debt);
        }
        let out = self.hub.step(input, self.now);
        assert_eq!(out.first, self.log.len() as u64 + 1, "appends continue the log");
        for append in &out.appends {
            let sender = matches!(append, Append::Foreign(_)).then(|| sender.clone()).flatten();
            self.log.push(Logged { at: out.appended_at, append: append.clone(), sender });
        }
        assert_eq!(self.hub.state().index, self.log.len() as u64);
        for debt in out.effects.iter().filter_map(debt) {
            assert!(self.in_flight.insert(debt.clone()), "asked twice: {debt:?}");
        }
        out
    }

    /// Lets time pass and wakes the hub whenever it asked for that.
    pub(super) fn pass(&mut self, span: Span) -> Vec<Outputs> {
        let end = self.now.plus(span);
        let mut outs = Vec::new();
        while let Some(wake) = self.hub.next_wake().filter(|wake| *wake <= end) {
            self.now = self.now.max(wake);
            outs.push(self.step(Input::Wake));
            assert!(outs.len() < STEPS_MAX, "the hub spins: {:?}", self.hub.debts());
        }
        self.now = end;
        outs
    }

    pub(super) fn order(&mut self, command: Command) -> Outputs {
        self.step(Input::Ordered { token: 7, actor: Actor::Person("ann".into()), command })
    }

    pub(super) fn cluster(&mut self, command: cluster::Command) -> Outputs {
        self.order(Command::Cluster(command))
    }

    pub(super) fn add(&mut self, source: &str) -> Outputs {
        let (source, track) = (source_name(source), track(source));
        self.order(Command::Source(source::Command::Add { source, track, path: String::new() }))
    }

    pub(super) fn push(&mut self, source: &str, commit: &CommitId) -> Outputs {
        self.step(Input::Sighted(sighting(source, commit)))
    }

    /// Invites a cluster and lets it join; its account is known to NATS afterwards.
    pub(super) fn enrol(&mut self, name: &str) {
        self.cluster(invite(name));
        self.step(Input::Joining { token: 7, request: request(name) });
        self.step(Input::AccountSet(account(name)));
    }

    /// Where the chain of an account stands.
    pub(super) fn chain(&self, account: &AccountKey) -> Chain {
        let known = self.hub.state().clusters.by_account(account);
        known.map(|(_, _, enrolment)| enrolment.chain).unwrap_or_default()
    }

    /// An agent says something, as the next event of its chain.
    pub(super) fn says(&mut self, name: &str, said: Option<AgentEvent>) -> Outputs {
        let account = account(name);
        let chain = self.chain(&account);
        let link = link(chain.seq + 1, chain.hash);
        let batch = Batch {
            vitals: Vitals::default(),
            incarnation: chain.incarnation.max(1),
            links: vec![link],
            proof: None,
        };
        self.step(Input::Batched { token: 7, account, batch, facts: vec![said] })
    }

    /// A sign of life of an agent that holds the newest index and has a receipt for everything.
    pub(super) fn heartbeat(&mut self, name: &str) -> Outputs {
        let state = self.hub.state();
        let of = state.clusters.by_account(&account(name)).map(|(name, ..)| name);
        let desired = of.and_then(|of| state.planner.fleet.get(of));
        let held = desired.map(|desired| desired.index.mark).unwrap_or_default();
        self.sign_of_life(name, Vitals { held, waiting: 0 })
    }

    pub(super) fn sign_of_life(&mut self, name: &str, vitals: Vitals) -> Outputs {
        let account = account(name);
        let incarnation = self.chain(&account).incarnation.max(1);
        let batch = Batch { vitals, incarnation, ..Batch::default() };
        self.step(Input::Batched { token: 7, account, batch, facts: Vec::new() })
    }

    /// The log folded again.
    pub(super) fn replay(&self) -> Durable {
        let mut state = Durable::default();
        for (Logged { at, append, sender }, index) in self.log.iter().zip(1..) {
            match (append, sender) {
                (Append::Own(event), _) => state.hub_event(index, *at, event),
                (Append::Foreign(said), Some((account, incarnation))) => {
                    let chain = Chain { incarnation: *incarnation, seq: said.link.seq, hash: said.link.hash };
                    state.agent_event(index, *at, account, chain, said.event.as_ref());
                }
                (Append::Foreign(said), None) => panic!("{said:?} came from nowhere"),
            }
        }
        state
    }
}

/// The debt that an effect pays.
pub(super) fn debt(effect: &Effect) -> Option<Debt> {
    match effect {
        Effect::Follow(_) => None,
        Effect::Read { source, .. } => Some(Debt::Read(source.clone())),
        Effect::Render { variant, .. } => Some(Debt::Render(variant.clone())),
        Effect::Publish { cluster, .. } => Some(Debt::Publish(cluster.clone())),
        Effect::SetAccount { account, .. } => Some(Debt::Account(account.clone())),
    }
}

/// The debt that an input says is paid, or not payable for now.
fn paid(input: &Input) -> Option<Debt> {
    match input {
        Input::Read(reading) => Some(Debt::Read(reading.source.clone())),
        Input::Rendered(rendered) => Some(Debt::Render(rendered.variant.clone())),
        Input::Published { cluster, .. } => Some(Debt::Publish(cluster.clone())),
        Input::AccountSet(account) => Some(Debt::Account(account.clone())),
        Input::Failed(debt) => Some(debt.clone()),
        _ => None,
    }
}

/// Kinds of the hub's appends with their causes; an agent's event is `Foreign`.
pub(super) fn facts(out: &Outputs) -> Vec<(&'static str, Option<u64>)> {
    let fact = |append: &Append| match append {
        Append::Own(event) => (event.fact.kind(), event.context.cause),
        Append::Foreign(_) => ("Foreign", None),
    };
    out.appends.iter().map(fact).collect()
}

/// The facts of the hub themselves.
pub(super) fn own(out: &Outputs) -> Vec<&HubFact> {
    let own = out.appends.iter().filter_map(|append| match append {
        Append::Own(event) => Some(&event.fact),
        Append::Foreign(_) => None,
    });
    own.collect()
}

/// Names of effects.
pub(super) fn asked(out: &Outputs) -> Vec<&'static str> {
    let name = |effect: &Effect| match effect {
        Effect::Follow(_) => "Follow",
        Effect::Read { .. } => "Read",
        Effect::Render { .. } => "Render",
        Effect::Publish { .. } => "Publish",
        Effect::SetAccount { .. } => "SetAccount",
    };
    out.effects.iter().map(name).collect()
}

pub(super) fn reply(out: &Outputs) -> &Reply {
    match out.replies.as_slice() {
        [(7, reply)] => reply,
        replies => panic!("one reply is due: {replies:?}"),
    }
}

pub(super) fn source_name(name: &str) -> SourceName {
    SourceName::parse(name).unwrap()
}

pub(super) fn name(name: &str) -> ClusterName {
    ClusterName::parse(name).unwrap()
}

pub(super) fn app(text: &str) -> AppId {
    AppId::parse(text).unwrap()
}

pub(super) fn track(source: &str) -> Track {
    Track { url: format!("https://git.example/{source}"), revision: "main".into() }
}

/// The commit of a number.
pub(super) fn commit(number: u8) -> CommitId {
    CommitId::parse(&format!("{number:040x}")).unwrap()
}

/// A digest of a text, good enough for a model.
pub(super) fn digest(text: &str) -> Digest {
    let mut hash = [0u8; 32];
    for (at, byte) in text.bytes().enumerate() {
        let place = at % 32;
        hash[place] = hash[place].wrapping_mul(31).wrapping_add(byte).wrapping_add(1);
    }
    Digest(hash)
}

/// The account of a cluster: its name in capitals, with `A` around it.
pub(super) fn account(cluster: &str) -> AccountKey {
    AccountKey::parse(&format!("{:A<56}", format!("A{}", cluster.to_uppercase()))).unwrap()
}

pub(super) fn invite(cluster: &str) -> cluster::Command {
    invite_by(cluster, digest(cluster))
}

/// An invitation by a token with this digest.
pub(super) fn invite_by(cluster: &str, token: Digest) -> cluster::Command {
    cluster::Command::Invite {
        cluster: name(cluster),
        labels: BTreeMap::from([("tier".into(), "edge".into())]),
        token,
        expires_at: DAWN.plus(Span::secs(3_600)),
    }
}

pub(super) fn request(cluster: &str) -> JoinRequest {
    JoinRequest {
        token: digest(cluster),
        account: account(cluster),
        event_key: digest(cluster).0,
        box_key: format!("box of {cluster}"),
        user_key: format!("user of {cluster}"),
        agent_version: "1.0.0".into(),
        kubernetes_version: "1.33".into(),
    }
}

pub(super) fn link(seq: u64, previous: Digest) -> Link {
    let header = format!("{seq} after {previous}");
    let hash = digest(&header);
    Link { seq, previous, hash, header: header.into_bytes(), payload: Vec::new() }
}

pub(super) fn says(about: Option<&AppId>, fact: AgentFact) -> AgentEvent {
    let mut context = Context::new(Actor::Agent, DAWN);
    context.app = about.cloned();
    AgentEvent { context, fact }
}

pub(super) fn sighting(source: &str, commit: &CommitId) -> Sighting {
    Sighting {
        track: track(source),
        also: Vec::new(),
        commit: commit.clone(),
        head: None,
        descends: true,
        author: "Ben".into(),
        subject: "Sell more".into(),
        committed_at: DAWN,
        trace: Some(format!("trace of {}", commit.short())),
    }
}

/// An app of a repository that goes to one cluster by itself.
pub(super) fn declared(app: &str, repository: &str, to: &str) -> Declared {
    Declared {
        name: AppName::parse(app).unwrap(),
        repo_url: track(repository).url,
        path: app.to_string(),
        target_revision: "main".into(),
        render: Render::Auto,
        destination: Destination::Cluster(name(to)),
        namespace: None,
        sync: SyncPolicy { automated: true, ..SyncPolicy::default() },
        max_deletes: None,
    }
}

/// A reading of a source's directory.
pub(super) fn reading(source: &str, commit: &CommitId, apps: Vec<Declared>, cause: u64) -> Reading {
    let listing = Listing { apps, rest: false, notes: Vec::new() };
    Reading {
        source: source_name(source),
        commit: commit.clone(),
        roots: BTreeMap::from([(Root::Directory, Ok(listing))]),
        cause: Some(cause),
        trace: None,
    }
}

/// The rendering of a variant at a commit, sealed.
pub(super) fn sealed(variant: &Variant, commit: &CommitId) -> Input {
    let content = format!("{variant} at {commit}");
    let outcome = Outcome::Sealed {
        digest: digest(&content),
        sealed: digest(&format!("sealed {content}")),
        size: 10,
        objects: 1,
        inputs: vec![variant.path.clone()],
    };
    Input::Rendered(Rendered { variant: variant.clone(), commit: commit.clone(), outcome })
}

/// The variants that a step asks to render.
pub(super) fn variants(out: &Outputs) -> Vec<Variant> {
    let variant = |effect: &Effect| match effect {
        Effect::Render { variant, .. } => Some(variant.clone()),
        _ => None,
    };
    out.effects.iter().filter_map(variant).collect()
}
