//! Random histories: the log becomes the same state again, and when everything is paid there is nothing left to plan.

use super::STEPS_MAX;
use super::world::*;
use crate::catalog::{Destination, Listing, Reading, Root, Unreadable};
use crate::cluster;
use crate::cluster::{Batch, JoinRequest};
use crate::desired::Mark;
use crate::event::AgentFact;
use crate::event::agent::Journal;
use crate::id::{ClusterName, CommitId};
use crate::node::hub::{Command, Effect, Input, Outcome, Outputs, Rendered, Reply};
use crate::selector::Selector;
use crate::source;
use crate::time::Span;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;
use serde_json::json;

const SOURCES: [&str; 2] = ["shop", "tools"];
const CLUSTERS: [&str; 2] = ["east", "west"];

#[derive(Clone, Debug)]
enum Move {
    Add(usize),
    Drop(usize),
    Allow(usize),
    Push { source: usize, content: u8, descends: bool },
    Invite(usize),
    Join(usize),
    Rename(usize, usize),
    Remove(usize),
    Empty(usize),
    Sync(usize),
    Speak { cluster: usize, what: u8 },
    Pay(u8),
    Fail(u8),
    Pass(u16),
    Refill,
    Restart,
}

fn moves() -> impl Strategy<Value = Move> {
    let one = || 0..2_usize;
    let push = (one(), any::<u8>(), prop::bool::weighted(0.9));
    prop_oneof![
        3 => one().prop_map(Move::Add),
        1 => one().prop_map(Move::Drop),
        1 => one().prop_map(Move::Allow),
        4 => push.prop_map(|(source, content, descends)| Move::Push { source, content, descends }),
        2 => one().prop_map(Move::Invite),
        3 => one().prop_map(Move::Join),
        1 => (one(), one()).prop_map(|(from, to)| Move::Rename(from, to)),
        1 => one().prop_map(Move::Remove),
        1 => one().prop_map(Move::Empty),
        1 => one().prop_map(Move::Sync),
        6 => (one(), 0..6_u8).prop_map(|(cluster, what)| Move::Speak { cluster, what }),
        16 => any::<u8>().prop_map(Move::Pay),
        2 => any::<u8>().prop_map(Move::Fail),
        3 => (0..40_000_u16).prop_map(Move::Pass),
        1 => Just(Move::Refill),
        1 => Just(Move::Restart),
    ]
}

/// The world around the hub: repositories, and effects that were asked for.
struct Story {
    world: World,
    pushed: Vec<(usize, u8)>,
    pending: Vec<Effect>,
    marks: BTreeMap<ClusterName, Mark>,
    /// By place in `CLUSTERS`: whom its newest invitation is for, and who last joined by it. Tokens and accounts are
    /// made for one join each, so no two are alike.
    invited: [String; 2],
    agents: [String; 2],
    joins: usize,
}

impl Story {
    fn new() -> Story {
        let nobody = || CLUSTERS.map(String::from);
        Story {
            world: World::new(),
            pushed: Vec::new(),
            pending: Vec::new(),
            marks: BTreeMap::new(),
            invited: nobody(),
            agents: nobody(),
            joins: 0,
        }
    }

    /// Somebody who was not there before, of a cluster.
    fn newcomer(&mut self, of: usize) -> String {
        self.joins += 1;
        let letter =
            |place: u32| char::from(b'a' + u8::try_from(self.joins / 26_usize.pow(place) % 26).unwrap());
        format!("{}{}{}", CLUSTERS[of], letter(1), letter(0))
    }

    fn invite(&mut self, of: usize) {
        self.invited[of] = self.newcomer(of);
        let token = digest(&self.invited[of]);
        self.order(Command::Cluster(invite_by(CLUSTERS[of], token)));
    }

    /// An agent of the invited cluster asks to join, for the first time or again; the hub made an account for it.
    fn join(&mut self, of: usize) {
        let agent = self.newcomer(of);
        let token = digest(&self.invited[of]);
        let request = JoinRequest { token, account: account(&agent), ..request(CLUSTERS[of]) };
        let out = self.world.step(Input::Joining { token: 7, request });
        if matches!(reply(&out), Reply::Joined { account: of, .. } if *of == account(&agent)) {
            self.agents[of] = agent;
        }
        self.note(out);
    }

    fn note(&mut self, out: Outputs) -> usize {
        let effects = out.effects.into_iter().filter(|effect| debt(effect).is_some());
        self.pending.extend(effects);
        let fleet = &self.world.hub.state().planner.fleet;
        self.marks = fleet.iter().map(|(name, desired)| (name.clone(), desired.index.mark)).collect();
        out.appends.len()
    }

    fn step(&mut self, input: Input) -> usize {
        let out = self.world.step(input);
        self.note(out)
    }

    fn order(&mut self, command: Command) {
        let out = self.world.order(command);
        self.note(out);
    }

    fn restart(&mut self) -> usize {
        self.pending.clear();
        let out = self.world.restart();
        self.note(out)
    }

    fn make(&mut self, made: &Move) {
        match *made {
            Move::Add(of) => {
                let out = self.world.add(SOURCES[of]);
                self.note(out);
            }
            Move::Drop(of) => self.order(Command::Source(source::Command::Remove(source_name(SOURCES[of])))),
            Move::Allow(of) => self.order(Command::Source(source::Command::Allow(source_name(SOURCES[of])))),
            Move::Push { source, content, descends } if self.pushed.len() < 250 => {
                self.pushed.push((source, content));
                let at = number(self.pushed.len());
                self.step(Input::Sighted(source::Sighting { descends, ..sighting(SOURCES[source], &at) }));
            }
            Move::Push { .. } => {}
            Move::Invite(of) => self.invite(of),
            Move::Join(of) => self.join(of),
            Move::Rename(from, to) => {
                let (from, to) = (name(CLUSTERS[from]), name(CLUSTERS[to]));
                self.order(Command::Cluster(cluster::Command::Rename { from, to, root_in_git: false }));
            }
            Move::Remove(of) => self.order(Command::Cluster(cluster::Command::Remove(name(CLUSTERS[of])))),
            Move::Empty(of) => self.order(Command::Cluster(cluster::Command::Empty(name(CLUSTERS[of])))),
            Move::Sync(of) => {
                let (app, clusters) = (app(["shop/web", "tools/api"][of]), Vec::new());
                self.order(Command::Sync { app, clusters, reason: "now".into() });
            }
            Move::Speak { cluster, what } => self.speak(cluster, what),
            Move::Pay(which) => {
                if !self.pending.is_empty() {
                    self.pay(usize::from(which) % self.pending.len());
                }
            }
            Move::Fail(which) => {
                if !self.pending.is_empty() {
                    let effect = self.pending.remove(usize::from(which) % self.pending.len());
                    self.step(Input::Failed(debt(&effect).unwrap()));
                }
            }
            Move::Pass(millis) => self.pass(Span(millis.into())),
            Move::Refill => {
                self.step(Input::Refill);
            }
            Move::Restart => {
                self.restart();
            }
        }
    }

    fn pass(&mut self, span: Span) {
        for out in self.world.pass(span) {
            self.note(out);
        }
    }

    fn speak(&mut self, of: usize, what: u8) {
        let leaving = self.withdrawing(of);
        let of = self.agents[of].as_str();
        let started = || AgentFact::Started {
            version: "2.0.0".into(),
            kubernetes: "1.34".into(),
            journal: Journal::Found,
        };
        let out = match (what, leaving.first()) {
            (0, _) => self.world.heartbeat(of),
            (1, _) => self.world.says(of, Some(says(None, started()))),
            (2, _) => self.world.says(of, None),
            (3, Some(app)) => self
                .world
                .says(of, Some(says(Some(app), AgentFact::Withdrawn { since: None, deleted: 1, kept: 0 }))),
            (4, _) => {
                let links = vec![link(self.world.chain(&account(of)).seq + 3, digest("gap"))];
                let batch = Batch { incarnation: 1, links, ..Batch::default() };
                self.world.step(Input::Batched { token: 7, account: account(of), batch, facts: vec![None] })
            }
            _ => {
                let (account, reason) = (account(of), "no signature".into());
                self.world.step(Input::Forged { token: 7, account, reason, incarnation: 1, seq: 1 })
            }
        };
        self.note(out);
    }

    /// Apps that an account's cluster is told to let go and has not confirmed.
    fn withdrawing(&self, of: usize) -> Vec<crate::id::AppId> {
        let state = self.world.hub.state();
        let cluster = state.clusters.accounts.get(&account(&self.agents[of]));
        let desired = cluster.and_then(|name| state.planner.fleet.get(name));
        let entries = desired.into_iter().flat_map(|desired| &desired.index.entries);
        entries.filter(|(_, entry)| entry.withdrawn.is_some()).map(|(app, _)| app.clone()).collect()
    }

    /// Pays one effect as the real world would. The number of events that it leads to.
    fn pay(&mut self, which: usize) -> usize {
        let input = match self.pending.remove(which) {
            Effect::Follow(_) => return 0,
            Effect::Read { source, commit, cause, trace, .. } => {
                let roots = self.roots(&commit);
                Input::Read(Reading { source, commit, roots, cause: Some(cause), trace })
            }
            Effect::Render { variant, commit, .. } => {
                if self.content(&commit) & 0xC0 == 0xC0 {
                    let cause = "not YAML".into();
                    let outcome = Outcome::Failed { file: None, document: None, line: None, cause };
                    Input::Rendered(Rendered { variant, commit, outcome })
                } else {
                    sealed(&variant, &commit)
                }
            }
            Effect::Publish { cluster, index, .. } => Input::Published { cluster, mark: index.mark },
            Effect::SetAccount { account, .. } => Input::AccountSet(account),
        };
        self.step(input)
    }

    /// Pays whatever is owed, and what that leads to. The number of events.
    fn pay_all(&mut self) -> usize {
        let mut events = 0;
        for _ in 0..STEPS_MAX {
            if self.pending.is_empty() {
                return events;
            }
            events += self.pay(0);
        }
        panic!("the hub spins: {:?}", self.pending);
    }

    fn content(&self, commit: &CommitId) -> u8 {
        let at = usize::from_str_radix(commit.as_str(), 16).unwrap();
        self.pushed[at - 1].1
    }

    /// What the tree of a commit declares.
    fn roots(&self, at: &CommitId) -> BTreeMap<Root, Result<Listing, Unreadable>> {
        let content = self.content(at);
        let has = |bit: u8| content & (1 << bit) != 0;
        let mut apps = Vec::new();
        if has(0) {
            let everywhere =
                Destination::Selector(Selector::parse(&json!({"matchLabels": {"tier": "edge"}})).unwrap());
            let mut web = declared("web", if has(5) { "tools" } else { "shop" }, "west");
            web.sync.automated = has(2);
            apps.push(crate::catalog::Declared { destination: everywhere, ..web });
        }
        if has(1) {
            apps.push(declared("api", "tools", "east"));
        }
        let directory = if content == 0x33 {
            Err(Unreadable { file: None, line: None, cause: "broken".into() })
        } else {
            Ok(Listing { apps, rest: false, notes: Vec::new() })
        };
        let mut roots = BTreeMap::from([(Root::Directory, directory)]);
        if has(3) {
            let rest = Listing { apps: Vec::new(), rest: has(4), notes: Vec::new() };
            roots.insert(Root::Cluster(name("west")), Ok(rest));
        }
        roots
    }

    fn replays(&self) {
        assert_eq!(&self.world.replay(), self.world.hub.state());
    }

    /// Faults end: everything is paid and every removal confirmed until nothing happens any more.
    fn come_to_rest(&mut self) {
        for _ in 0..50 {
            self.pass(Span::secs(61));
            let mut events = self.pay_all();
            for of in 0..CLUSTERS.len() {
                while !self.withdrawing(of).is_empty() {
                    self.speak(of, 3);
                    events += 1;
                    assert!(events < STEPS_MAX, "a removal is never confirmed");
                }
            }
            if events == 0 && self.world.hub.is_idle() {
                return;
            }
        }
        panic!("no rest: {:?}", self.world.hub.debts());
    }
}

fn number(count: usize) -> CommitId {
    commit(u8::try_from(count).unwrap())
}

proptest! {
    #[test]
    fn any_history_replays_to_the_same_state_and_comes_to_rest(
        moves in prop::collection::vec(moves(), 1..120)
    ) {
        let mut story = Story::new();
        for made in &moves {
            let before = story.marks.clone();
            story.make(made);
            let fleet = &story.world.hub.state().clusters.clusters;
            for (name, mark) in before {
                let now = story.marks.get(&name);
                prop_assert!(now.is_none_or(|now| *now >= mark) || !fleet.contains_key(&name));
            }
        }
        story.replays();
        story.come_to_rest();
        story.replays();

        // A new process looks at everything again, and finds that all of it is so already.
        prop_assert_eq!(story.restart(), 1, "only the start");
        prop_assert_eq!(story.pay_all(), 0);
        prop_assert!(story.world.hub.is_idle());
    }
}
