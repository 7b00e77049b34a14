//! A whole shell in memory: it keeps the log, replays it beside the hub after every input, and pays debts or fails to.

use super::STEPS_MAX;
use crate::catalog::{Listing, Reading, Root};
use crate::cluster::{self, Batch, Chain};
use crate::event::agent::{Phase, Status};
use crate::event::{Actor, AgentEvent, AgentFact, Context};
use crate::given::{
    account, batch, cluster as named, commit, digest, join_request, judged, labels, sighting, source,
};
use crate::health::Health;
use crate::id::{AppId, CommitId};
use crate::invariant::{self, Paid};
use crate::node::hub::{
    Append, Command, Debt, Durable, Effect, Hub, Input, Outcome, Outputs, Rendered, Reply, Settings,
};
use crate::planner::{Part, Variant};
use crate::source::{self, Track};
use crate::time::{At, Span};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

pub(super) const LEASE: Span = Span::secs(30);

/// What a commit holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    pub(super) roots: BTreeMap<Root, Listing>,
    /// What a path renders to; 0 fails. Absent paths render to 1.
    pub(super) renders: BTreeMap<String, u8>,
}

#[derive(Clone)]
pub(super) struct Sim {
    pub(super) hub: Hub,
    pub(super) log: Vec<Append>,
    pub(super) replayed: Durable,
    pub(super) trees: BTreeMap<CommitId, Tree>,
    pub(super) pending: VecDeque<Effect>,
    pub(super) paid: Paid,
    pub(super) followed: BTreeSet<Track>,
    pub(super) failing: bool,
    pub(super) now: At,
    pub(super) replies: BTreeMap<u64, Reply>,
    token: u64,
}

fn settings() -> Settings {
    Settings { lease: LEASE }
}

impl Sim {
    pub(super) fn new() -> Sim {
        let mut sim = Sim {
            hub: Hub::new(Durable::default(), settings()),
            log: Vec::new(),
            replayed: Durable::default(),
            trees: BTreeMap::new(),
            pending: VecDeque::new(),
            paid: Paid::default(),
            followed: BTreeSet::new(),
            failing: false,
            now: At(1_000_000),
            replies: BTreeMap::new(),
            token: 0,
        };
        sim.started();
        sim
    }

    fn started(&mut self) {
        self.step(Input::Started { version: "1".into(), epoch: 1 });
    }

    /// The process ends, with whatever was in flight, and starts over its log. What others hold stays.
    pub(super) fn restart(&mut self) {
        self.pending.clear();
        self.replies.clear();
        self.paid = Paid::default();
        self.hub = Hub::new(self.replayed.clone(), settings());
        self.started();
    }

    pub(super) fn step(&mut self, input: Input) -> Outputs {
        let incarnation = match &input {
            Input::Batched { batch, .. } => batch.incarnation,
            _ => 0,
        };
        let foreign = match &input {
            Input::Batched { account, .. } => Some(account.clone()),
            _ => None,
        };
        let input = match input {
            Input::Sighted(seen) => Input::Sighted(judged(&self.replayed.sources, seen)),
            other => other,
        };
        let before = self.replayed.clone();
        let out = self.hub.step(input, self.now);
        assert_eq!(out.first, self.log.len() as u64 + 1, "the first index");
        for append in &out.appends {
            self.log.push(append.clone());
            let index = self.log.len() as u64;
            match append {
                Append::Own(event) => self.replayed.hub_event(index, out.appended_at, event),
                Append::Foreign(of) => {
                    let account = foreign.as_ref().expect("events of agents come in batches");
                    let chain = Chain { incarnation, seq: of.link.seq, hash: of.link.hash };
                    self.replayed.agent_event(index, out.appended_at, account, chain, of.event.as_ref());
                }
            }
        }
        assert_eq!(*self.hub.state(), self.replayed, "what evolve makes of the log, and nothing else");
        invariant::fleet(&self.replayed.clusters).unwrap();
        invariant::desired(&self.replayed.planner).unwrap();
        invariant::forward(&before, &self.replayed).unwrap();
        self.replies.extend(out.replies.clone());
        self.pending.extend(out.effects.clone());
        out
    }

    /// A full scan finds nothing that the book does not hold.
    pub(super) fn check_debts(&self) {
        let debts = self.hub.debts();
        let owed = invariant::owed(&self.replayed, &self.paid);
        let missing: Vec<&Debt> = owed.difference(&debts).collect();
        assert!(missing.is_empty(), "owed and not in the book: {missing:?}");
    }

    /// A full scan finds the clusters that the hub keeps by app.
    pub(super) fn check_placed(&self, app: &AppId) {
        let has = |(name, cluster): &(&crate::id::ClusterName, &cluster::Cluster)| {
            self.replayed.placements(name, cluster).0.contains_key(app)
        };
        let scanned = self.replayed.clusters.clusters.iter().filter(has).map(|(name, _)| name.clone());
        assert_eq!(self.hub.placed(app), scanned.collect::<Vec<_>>(), "{app}");
    }

    /// Carries one effect out.
    pub(super) fn perform(&mut self, place: usize) {
        let Some(effect) = self.pending.remove(place) else { return };
        let debt = match &effect {
            Effect::Follow(tracks) => {
                self.followed.clone_from(tracks);
                return;
            }
            Effect::Read { source, .. } => Debt::Read(source.clone()),
            Effect::Render { variant, .. } => Debt::Render(variant.clone()),
            Effect::Publish { cluster, .. } => Debt::Publish(cluster.clone()),
            Effect::SetAccount { account, .. } => Debt::Account(account.clone()),
        };
        if self.failing {
            self.step(Input::Failed(debt));
            return;
        }
        let input = match effect {
            Effect::Follow(_) => return,
            Effect::Read { source, commit, cause, trace, .. } => {
                let track = self.hub.state().sources.sources.get(&source).map(|source| source.track.clone());
                if track.is_some_and(|track| self.is_head(&track, &commit)) {
                    self.paid.read.insert(source.clone(), commit.clone());
                }
                let roots = self.trees.get(&commit).map(|tree| tree.roots.clone()).unwrap_or_default();
                let roots = roots.into_iter().map(|(root, listing)| (root, Ok(listing))).collect();
                Input::Read(Reading { source, commit, roots, cause: Some(cause), trace })
            }
            Effect::Render { variant, commit, previous, .. } => {
                if self.is_head(&variant.track, &commit) && self.hub.users.contains_key(&variant) {
                    self.paid.rendered.insert(variant.clone(), commit.clone());
                }
                let outcome = self.render(&variant, &commit, previous.map(|previous| previous.digest));
                Input::Rendered(Rendered { variant, commit, outcome })
            }
            Effect::Publish { cluster, index, .. } => {
                self.paid.published.insert(cluster.clone(), index.mark);
                Input::Published { cluster, mark: index.mark }
            }
            Effect::SetAccount { account, user_key } => {
                self.paid.accounts.insert(account.clone(), user_key);
                Input::AccountSet(account)
            }
        };
        self.step(input);
    }

    /// What is made for an older commit pays nothing.
    fn is_head(&self, track: &Track, commit: &CommitId) -> bool {
        self.hub.state().sources.head(track).is_some_and(|head| head.commit == *commit)
    }

    fn render(&self, variant: &Variant, commit: &CommitId, known: Option<crate::digest::Digest>) -> Outcome {
        let number =
            self.trees.get(commit).and_then(|tree| tree.renders.get(&variant.path)).copied().unwrap_or(1);
        let made = if variant.part == Part::Rest { digest(200) } else { digest(number) };
        if number == 0 {
            let cause = String::from("bad indent");
            return Outcome::Failed { file: None, document: None, line: None, cause };
        }
        if known == Some(made) {
            return Outcome::Unchanged;
        }
        let inputs = Vec::from([variant.path.clone()]);
        Outcome::Sealed { digest: made, sealed: digest(number + 100), size: 9, objects: 3, inputs }
    }

    /// Everything that can happen without time passing.
    pub(super) fn run(&mut self) {
        for _ in 0..STEPS_MAX {
            if !self.pending.is_empty() {
                self.perform(0);
            } else if self.hub.next_wake().is_some_and(|due| due <= self.now) {
                self.step(Input::Wake);
            } else {
                return;
            }
        }
        panic!("the hub spins: {:?}", self.hub.debts());
    }

    /// Time passes, with everything that happens in it.
    pub(super) fn pass(&mut self, span: Span) {
        let end = self.now.plus(span);
        self.run();
        while let Some(due) = self.hub.next_wake().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.step(Input::Wake);
            self.run();
        }
        self.now = end;
    }

    /// A person's order and its reply.
    pub(super) fn order(&mut self, command: Command) -> Reply {
        self.token += 1;
        let token = self.token;
        self.step(Input::Ordered { token, actor: Actor::Person("sam".into()), command });
        self.replies.remove(&token).expect("an order is answered")
    }

    pub(super) fn add_source(&mut self, name: &str) -> Reply {
        let (source, track) = (source(name), crate::given::track("main"));
        self.order(Command::Source(source::Command::Add { source, track, path: String::new() }))
    }

    /// A branch moves: the tree of the commit, and the look that finds it.
    pub(super) fn push(&mut self, letter: char, tree: Tree) {
        self.trees.insert(commit(letter), tree);
        self.step(Input::Sighted(sighting(&crate::given::track("main"), letter, true)));
    }

    pub(super) fn invite(&mut self, name: &str, token: u8) -> Reply {
        let (cluster, expires_at) = (named(name), self.now.plus(Span::secs(3_600)));
        let labels = labels(&[("env", name)]);
        let token = digest(token);
        self.order(Command::Cluster(cluster::Command::Invite { cluster, labels, token, expires_at }))
    }

    pub(super) fn join(&mut self, token: u8, letter: char) -> Reply {
        self.token += 1;
        self.step(Input::Joining { token: self.token, request: join_request(token, letter) });
        self.replies.remove(&self.token).expect("who joins is answered")
    }

    /// An agent sends events; heartbeats have none.
    pub(super) fn send(&mut self, letter: char, batch: Batch, facts: Vec<Option<AgentEvent>>) -> Reply {
        self.token += 1;
        let (token, account) = (self.token, account(letter));
        self.step(Input::Batched { token, account, batch, facts });
        self.replies.remove(&self.token).expect("who sends is answered")
    }

    pub(super) fn heartbeat(&mut self, letter: char, incarnation: u64) -> Reply {
        self.send(letter, batch(incarnation, []), Vec::new())
    }

    /// The agent's next event.
    pub(super) fn say(&mut self, letter: char, app: &AppId, fact: AgentFact) -> Reply {
        let chain = self.hub.state().clusters.by_account(&account(letter)).unwrap().2.chain;
        let incarnation = chain.incarnation.max(1);
        let event = AgentEvent { context: Context::new(Actor::Agent, At(1)).app(app), fact };
        self.send(letter, batch(incarnation, [chain.seq + 1]), Vec::from([Some(event)]))
    }

    /// The agent's report of an app.
    pub(super) fn report(&mut self, letter: char, app: &AppId, phase: Phase) -> Reply {
        let name = self.hub.state().clusters.accounts[&account(letter)].clone();
        let entry = &self.hub.state().planner.fleet[&name].index.entries[app];
        let status = Status {
            since: entry.since,
            digest: entry.digest,
            phase,
            health: Health::Healthy,
            message: String::new(),
            troubles: Vec::new(),
            objects: 3,
            held: Vec::new(),
            flaps: 0,
        };
        self.say(letter, app, AgentFact::InstanceChanged(status))
    }

    /// Kinds of the events since `from`.
    pub(super) fn kinds(&self, from: usize) -> Vec<&'static str> {
        let kind = |append: &Append| match append {
            Append::Own(event) => event.fact.kind(),
            Append::Foreign(_) => "of an agent",
        };
        self.log[from..].iter().map(kind).collect()
    }

    /// Kinds of the effects that wait to be carried out.
    pub(super) fn asked(&self) -> Vec<String> {
        let name = |effect: &Effect| match effect {
            Effect::Follow(tracks) => alloc::format!("follow {}", tracks.len()),
            Effect::Read { source, .. } => alloc::format!("read {source}"),
            Effect::Render { variant, commit, .. } => {
                alloc::format!("render {} {}", variant.path, commit.short())
            }
            Effect::Publish { cluster, index, .. } => alloc::format!("publish {cluster} {}", index.mark),
            Effect::SetAccount { user_key, .. } => alloc::format!("account {}", user_key.is_some()),
        };
        self.pending.iter().map(name).collect()
    }
}

/// A tree with one root per name, each with these apps.
pub(super) fn tree(roots: &[(&str, &[&str])]) -> Tree {
    let root = |(name, apps): &(&str, &[&str])| {
        let declared = apps.iter().map(|app| crate::given::declared(app, crate::catalog::Destination::Here));
        (Root::Cluster(named(name)), crate::given::listing(declared.collect()))
    };
    Tree { roots: roots.iter().map(root).collect(), renders: BTreeMap::new() }
}

/// A source, a cluster that joined, and one app on it, all delivered.
pub(super) fn delivered() -> Sim {
    let mut sim = Sim::new();
    sim.add_source("fleet");
    sim.invite("prod", 1);
    sim.join(1, 'B');
    sim.push('a', tree(&[("prod", &["web"])]));
    sim.run();
    sim
}
