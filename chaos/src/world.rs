//! The world: one clock, one queue of what happens next, a network that cannot be trusted, and everybody in it.

use crate::broker::Broker;
use crate::check::Check;
use crate::git::Git;
use crate::hub::{self, HubJob};
use crate::identity::{Known, on_the_curve};
use crate::people::People;
use crate::plan::{Action, Fault, Mistake, Plan, Point, Push};
use crate::random::Random;
use crate::site::{Site, SiteJob};
use crate::situation::Situations;
use std::collections::BTreeMap;
use taffrail_proto::sign::PublicKey;

/// The world's time at its start, in milliseconds: late enough for clocks that go back.
pub(crate) const START: u64 = 1_000_000_000;

/// More than this in one history means that somebody spins.
const HAPPENINGS_MAX: u64 = 400_000;

/// Longest calm, in milliseconds: the longest pauses of hub and agents (60 s, 180 s, 300 s) and some rounds of them.
const CALM_MAX: u64 = 1_200_000;

/// Pause between two looks of the people in the calm, in milliseconds.
const LOOK: u64 = 2_000;

/// So often something comes back to Git in the calm: nothing after it would bring an object back that was forgotten.
const RETURNS_MAX: usize = 2;

/// What can happen.
#[derive(Debug)]
pub(crate) enum Happening {
    /// An action of the plan.
    Act(usize),
    /// A person gives an order, or gives it again.
    Order(u64),
    /// The hub's process starts.
    BootHub,
    /// Something within one life of the hub's process.
    Hub(u64, HubJob),
    /// A cluster's agent starts, or tries to join.
    BootSite(usize),
    /// Something within one life of an agent's process.
    Site(usize, u64, SiteJob),
    /// An API server takes a request of an agent's life.
    Api(usize, u64, crate::kube::Request),
    /// A controller of a cluster acts on an object.
    Controller(usize, taffrail_core::object::Key),
    /// A request of an agent arrives at the broker's other side.
    Events(u64, usize, taffrail_core::id::AccountKey, u64, bytes::Bytes),
    /// The hub lets an agent in.
    Joined(usize, u64, (taffrail_core::id::AccountKey, taffrail_core::id::ClusterName)),
    /// People look after things in the calm.
    Calm,
}

/// How a history ended.
#[derive(Debug)]
pub struct Outcome {
    /// What is wrong, if anything.
    pub failure: Option<String>,
    /// What occurred.
    pub seen: Situations,
    /// What happened, line by line, if it was asked for.
    pub story: Vec<String>,
    /// Milliseconds that passed in the world.
    pub lasted: u64,
    /// Things that happened.
    pub happenings: u64,
}

/// The beginning of what something looks like, for a line of the story.
pub(crate) fn cut(what: &impl std::fmt::Debug, most: usize) -> String {
    format!("{what:?}").chars().take(most).collect()
}

/// Everything.
pub(crate) struct World {
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    next: u64,
    pub(crate) random: Random,
    pub(crate) plan: Plan,
    pub(crate) calm: bool,
    pub(crate) calm_since: u64,
    pub(crate) done: bool,
    pub(crate) git: Git,
    pub(crate) broker: Broker,
    pub(crate) hub: hub::Place,
    pub(crate) sites: Vec<Site>,
    pub(crate) people: People,
    pub(crate) check: Check,
    pub(crate) seen: Situations,
    pub(crate) identities: u64,
    returned: usize,
    story: Option<Vec<String>>,
}

/// Lives a plan through. With `told` every step is written down.
pub fn live(plan: Plan, told: bool) -> Outcome {
    let mut world = World::new(plan, told);
    let mut happenings = 0;
    while let Some(((at, _), happening)) = world.queue.pop_first() {
        world.now = world.now.max(at);
        happenings += 1;
        world.happen(happening);
        world.check.must(happenings < HAPPENINGS_MAX, || "somebody spins".into());
        if world.check.failure.is_some() || world.done {
            break;
        }
    }
    let World { check, seen, story, now, .. } = world;
    let story = story.unwrap_or_default();
    Outcome { failure: check.failure, seen, story, lasted: now - START, happenings }
}

impl World {
    fn new(plan: Plan, told: bool) -> World {
        let mut random = Random::new(plan.seed ^ 0x5eed);
        let git = Git::new(plan.clusters, &mut random);
        let sites = (0..plan.clusters).map(Site::new).collect();
        let mut world = World {
            now: START,
            queue: BTreeMap::new(),
            next: 0,
            random,
            calm: false,
            calm_since: 0,
            done: false,
            git,
            broker: Broker::default(),
            hub: hub::Place::new(on_the_curve(plan.seed)),
            sites,
            people: People::default(),
            check: Check::default(),
            seen: Situations::default(),
            identities: 0,
            returned: 0,
            story: told.then(Vec::new),
            plan,
        };
        world.after(0, Happening::BootHub);
        world.found();
        for number in 0..world.plan.actions.len() {
            let at = world.plan.actions[number].0;
            world.after(5_000 + at, Happening::Act(number));
        }
        let span = world.plan.span;
        world.after(6_000 + span, Happening::Calm);
        world
    }

    /// What is known of a key in this history.
    pub(crate) fn known(&self, key: PublicKey) -> Known {
        Known { key, curve: on_the_curve(self.plan.seed) }
    }

    /// Notes a line of the story.
    pub(crate) fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            let at = self.now - START;
            story.push(format!("{:>4}.{:03} {}", at / 1_000, at % 1_000, line()));
        }
    }

    /// Something happens after so many milliseconds.
    pub(crate) fn after(&mut self, span: u64, happening: Happening) {
        self.next += 1;
        self.queue.insert((self.now + span, self.next), happening);
    }

    /// Whether a fault strikes now.
    pub(crate) fn strikes(&mut self, fault: Fault, per_mille: u64) -> bool {
        !self.calm && self.plan.faults.contains(&fault) && self.random.per_mille(per_mille)
    }

    /// Whether a mistake was put in.
    pub(crate) fn has(&self, mistake: Mistake) -> bool {
        self.plan.mistake == Some(mistake)
    }

    /// When a message between a cluster and the hub arrives, in milliseconds from now: never, once or twice.
    pub(crate) fn arrivals(&mut self, site: usize) -> Vec<u64> {
        if self.now < self.sites[site].cut_until {
            return Vec::new();
        }
        if self.strikes(Fault::Loss, 100) {
            self.seen.saw("a message was lost");
            return Vec::new();
        }
        let mut arrivals = vec![self.random.between(1, 20)];
        if self.strikes(Fault::Double, 100) {
            self.seen.saw("a message arrived twice");
            arrivals.push(self.random.between(1, 3_000));
        }
        for arrival in &mut arrivals {
            if self.strikes(Fault::Delay, 80) {
                self.seen.saw("a message arrived seconds late");
                *arrival += self.random.between(500, 20_000);
            }
        }
        arrivals
    }

    /// How long a disk takes for an fsync, in milliseconds.
    pub(crate) fn fsync(&mut self) -> u64 {
        if self.strikes(Fault::SlowDisk, 150) {
            self.random.between(200, 2_000)
        } else {
            self.random.between(1, 8)
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Act(number) => self.act(self.plan.actions[number].1),
            Happening::Order(number) => self.order(number),
            Happening::BootHub => self.boot_hub(),
            Happening::Hub(life, job) if life == self.hub.life && self.hub.process.is_some() => {
                self.hub_job(job);
            }
            Happening::BootSite(site) => self.boot_site(site),
            Happening::Site(site, life, job)
                if life == self.sites[site].life && self.sites[site].process.is_some() =>
            {
                self.site_job(site, job);
            }
            Happening::Api(site, life, request) => self.api(site, life, request),
            Happening::Controller(site, key) => self.controller(site, &key),
            // What is on its way to a hub does not wait for the one that is restored in its place.
            Happening::Events(restored, site, account, id, body) if restored == self.hub.restored => {
                self.hub_request(site, &account, id, body);
            }
            Happening::Hub(..) | Happening::Site(..) | Happening::Events(..) => {}
            Happening::Joined(site, identity, member) => self.joined(site, identity, member),
            Happening::Calm => self.keep_calm(),
        }
    }

    fn act(&mut self, action: Action) {
        if self.calm {
            return;
        }
        self.say(|| format!("-- {action:?}"));
        match action {
            Action::Push(Push::Return) => drop(self.give_back()),
            Action::Push(what) => {
                self.git.push(what, &mut self.random);
                self.pushed();
            }
            Action::ForcePush => {
                self.git.force(&mut self.random);
                self.pushed();
            }
            Action::CrashHub => self.crash_hub(),
            Action::CrashHubAt(point) => self.hub.armed = Some(point),
            Action::RestoreHub(share) => self.restore_hub(share),
            Action::CrashAgent(site) => self.crash_site(site),
            Action::CrashAgentAt(site, point) => self.sites[site].armed = Some(point),
            Action::LoseJournal(site) => self.lose_journal(site),
            Action::Wipe => self.wipe(),
            Action::Cut(site, span) => {
                if span > 3 * self.plan.heartbeat {
                    self.seen.saw("an agent was cut off for longer than the lease");
                }
                self.sites[site].cut_until = self.now + span;
            }
            Action::HubClock(by) => {
                self.seen.saw(if by < 0 { "a clock went back" } else { "a clock went forward" });
                self.hub.skew += by;
            }
            Action::AgentClock(site, by) => {
                self.seen.saw(if by < 0 { "a clock went back" } else { "a clock went forward" });
                self.sites[site].skew += by;
            }
            Action::Edit(_) | Action::Delete(_) | Action::Unlabel(_) | Action::Squat(_) => {
                self.meddle(action);
            }
            _ => self.ask(action),
        }
    }

    /// Whether a process that comes by this point was to die there.
    pub(crate) fn hub_dies(&mut self, point: Point) -> bool {
        let dies = self.hub.armed == Some(point);
        if dies {
            self.hub.armed = None;
        }
        dies
    }

    /// The same for an agent.
    pub(crate) fn site_dies(&mut self, site: usize, point: Point) -> bool {
        let dies = self.sites[site].armed == Some(point);
        if dies {
            self.sites[site].armed = None;
        }
        dies
    }

    /// The faults end; what is broken is mended; then everything must come to rest.
    fn keep_calm(&mut self) {
        if !self.calm {
            self.calm = true;
            self.calm_since = self.now;
            self.say(|| "-- calm".into());
            self.hub.armed = None;
            for site in &mut self.sites {
                (site.armed, site.cut_until) = (None, 0);
            }
            let clusters = self.plan.clusters;
            self.git.mend(clusters, &mut self.random);
            self.pushed();
        }
        match self.unrest() {
            None => {
                self.last_look();
                self.done = true;
            }
            Some(why) => {
                let lasted = self.now - self.calm_since;
                self.check
                    .must(lasted < CALM_MAX, || format!("no rest after {} s of calm: {why}", lasted / 1_000));
                if self.returned < RETURNS_MAX && self.random.per_mille(300) {
                    self.returned += usize::from(self.give_back());
                }
                self.look_after();
                self.after(LOOK, Happening::Calm);
            }
        }
    }
}
