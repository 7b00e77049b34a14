//! People: they give orders, give them again until they are answered, and look after things in the calm.

use crate::hub::{HubJob, Question};
use crate::hub_work::root_name;
use crate::identity::{Identity, Key, box_key, on_the_curve};
use crate::plan::Action;
use crate::world::{Happening, World};
use std::collections::BTreeMap;
use std::sync::Arc;
use taffrail_core::cluster::{self, JoinRequest};
use taffrail_core::digest::Digest;
use taffrail_core::event::agent::Phase;
use taffrail_core::id::{AccountKey, AppId, ClusterName, SourceName};
use taffrail_core::node::hub::{Command, Durable, Rejected, Reply};
use taffrail_core::source::{self, Track};
use taffrail_core::time::{At, Span};

/// How long a person waits for a reply before they ask again, in milliseconds.
const AGAIN: u64 = 5_000;

/// Pause between two attempts of an agent to join, in milliseconds.
const JOIN_AGAIN: u64 = 1_500;

/// How long a token may be used.
const TOKEN_ENDS: Span = Span::secs(400_000);

/// Orders that were not answered yet.
#[derive(Debug, Default)]
pub(crate) struct People {
    orders: BTreeMap<u64, Order>,
    next: u64,
}

#[derive(Clone, Debug)]
struct Order {
    command: Command,
    invites: Option<(usize, Identity)>,
}

/// The name of the source.
pub(crate) fn source_name() -> SourceName {
    SourceName::parse("fleet").expect("a word is a name")
}

/// An account like the hub makes them: all different.
fn account(number: u64) -> AccountKey {
    let letter = |place: u32| char::from(b'A' + u8::try_from(number / 26_u64.pow(place) % 26).unwrap_or(0));
    let tail: String = (0..4).rev().map(letter).collect();
    AccountKey::parse(&format!("A{}{tail}", "B".repeat(51))).expect("56 letters are an account")
}

impl World {
    /// The fleet's first day.
    pub(crate) fn found(&mut self) {
        let track = Track { url: crate::git::URL.into(), revision: "HEAD".into() };
        let add = source::Command::Add { source: source_name(), track, path: String::new() };
        self.give(Command::Source(add), None);
        for site in 0..self.sites.len() {
            self.invite(site);
        }
    }

    fn give(&mut self, command: Command, invites: Option<(usize, Identity)>) {
        self.people.next += 1;
        let number = self.people.next;
        self.people.orders.insert(number, Order { command, invites });
        let pause = self.random.between(1, 400);
        self.after(pause, Happening::Order(number));
    }

    /// Gives an order, or gives it again.
    pub(crate) fn order(&mut self, number: u64) {
        let Some(Order { command, .. }) = self.people.orders.get(&number).cloned() else { return };
        self.after(AGAIN, Happening::Order(number));
        if self.hub.process.is_some() {
            self.hub_after(1, HubJob::Order(number, Box::new(command)));
        }
    }

    /// The hub replied to an order.
    pub(crate) fn ordered(&mut self, number: u64, reply: &Reply) {
        let Some(Order { command, invites }) = self.people.orders.remove(&number) else { return };
        self.say(|| format!("reply to {command:?}: {reply:?}"));
        if matches!(reply, Reply::Rejected(Rejected::OtherBundle { .. })) {
            self.seen.saw("an approval was overtaken by a newer bundle");
        }
        if let (Some((site, identity)), Reply::Done { .. }) = (invites, reply) {
            if self.sites[site].identity.is_some() {
                self.seen.saw("a cluster joined again");
                self.crash_site(site);
                self.sites[site].journal = None;
                self.sites[site].api.objects.values_mut().for_each(|live| live.excused = true);
            }
            self.sites[site].identity = Some(identity);
            self.after(1, Happening::BootSite(site));
        }
    }

    fn invite(&mut self, site: usize) {
        // Whoever wants a cluster in the fleet gives no order again that it should go.
        let name = root_name(site);
        self.people.orders.retain(|_, order| match &order.command {
            Command::Cluster(cluster::Command::Remove(of) | cluster::Command::Empty(of)) => *of != name,
            _ => true,
        });
        self.identities += 1;
        let number = self.identities;
        let mut seed = [9; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        let token = Digest(seed);
        let key = Key::new(seed, on_the_curve(self.plan.seed));
        let identity = Identity { number, token, key: Arc::new(key), member: None };
        let expires_at = At(self.now).plus(TOKEN_ENDS);
        let (cluster, labels) = (name, BTreeMap::from([("site".into(), site.to_string())]));
        let invite = cluster::Command::Invite { cluster, labels, token, expires_at };
        self.give(Command::Cluster(invite), Some((site, identity)));
    }

    /// An agent that nobody let in yet asks to join, again until it is answered.
    pub(crate) fn try_to_join(&mut self, site: usize, identity: &Identity) {
        self.after(JOIN_AGAIN, Happening::BootSite(site));
        self.identities += 1;
        let request = JoinRequest {
            token: identity.token,
            account: account(self.identities),
            event_key: identity.key.public().0,
            box_key: box_key(identity.number).1.as_str().to_owned(),
            user_key: format!("U{}", identity.number),
            agent_version: "1".into(),
            kubernetes_version: "1.35".into(),
        };
        for arrival in self.arrivals(site) {
            self.hub_after(arrival, HubJob::Join(site, identity.number, Box::new(request.clone())));
        }
    }

    /// The hub let an agent in.
    pub(crate) fn joined(&mut self, site: usize, number: u64, member: (AccountKey, ClusterName)) {
        let Some(identity) = &mut self.sites[site].identity else { return };
        if identity.number == number && identity.member.is_none() {
            identity.member = Some(member);
        }
    }

    fn state(&self) -> Option<&Durable> {
        self.hub.process.as_ref().map(|process| process.hub.state())
    }

    /// What the hub calls a cluster now, if it is of the fleet.
    pub(crate) fn name_of(&self, site: usize) -> Option<ClusterName> {
        let account = self.sites[site].account()?;
        self.state()?.clusters.accounts.get(account).cloned()
    }

    /// A person does what the plan says.
    pub(crate) fn ask(&mut self, action: Action) {
        match action {
            Action::Allow => self.give(Command::Source(source::Command::Allow(source_name())), None),
            Action::Approve => self.approve_all(),
            Action::Sync => {
                let apps: Vec<String> = self.git.at_head().tree.folders.keys().cloned().collect();
                if let Some(name) = apps.get(self.random.place(apps.len())).cloned() {
                    self.sync(&name);
                }
            }
            Action::Look => {
                self.raise_epoch();
                self.question(Question::Status);
            }
            Action::Invite(site) if self.hub.process.is_some() && self.name_of(site).is_none() => {
                self.invite(site);
            }
            Action::Remove(site) => {
                if let Some(name) = self.name_of(site) {
                    self.let_go(site);
                    self.give(Command::Cluster(cluster::Command::Remove(name)), None);
                }
            }
            Action::Empty(site) => {
                if let Some(name) = self.name_of(site) {
                    self.let_go(site);
                    self.seen.saw("a cluster was emptied");
                    self.give(Command::Cluster(cluster::Command::Empty(name)), None);
                }
            }
            Action::Rename(site) => {
                let Some(from) = self.name_of(site) else { return };
                self.identities += 1;
                let to = ClusterName::parse(&format!("r{}", self.identities)).expect("a letter and a number");
                let rename = cluster::Command::Rename { from, to, root_in_git: false };
                self.give(Command::Cluster(rename), None);
            }
            _ => {}
        }
    }

    fn let_go(&mut self, site: usize) {
        if let Some(account) = self.sites[site].account().cloned() {
            self.check.emptied(account);
        }
    }

    fn app(name: &str) -> AppId {
        AppId::parse(&format!("fleet/{name}")).expect("names of apps are plain")
    }

    fn sync(&mut self, name: &str) {
        let sync = Command::Sync { app: Self::app(name), clusters: Vec::new(), reason: "now".into() };
        self.give(sync, None);
    }

    /// Approves whatever agents hold back.
    fn approve_all(&mut self) {
        let Some(state) = self.state() else { return };
        let mut held = Vec::new();
        let (mut parked, mut protected) = (false, false);
        for (cluster, desired) in &state.planner.fleet {
            for (app, report) in &desired.reports {
                parked |= report.status.phase == Phase::Parked;
                protected |= !report.status.held.is_empty();
                if report.status.phase == Phase::Parked || !report.status.held.is_empty() {
                    held.push((cluster.clone(), app.clone(), report.status.digest));
                }
            }
        }
        if parked {
            self.seen.saw("an app was parked by a guard");
        }
        if protected {
            self.seen.saw("a protected object was held");
        }
        for (cluster, app, bundle) in held {
            self.check.meant(app.clone(), bundle);
            self.give(Command::Approve { app, cluster, bundle: Some(bundle), reason: "meant".into() }, None);
        }
    }

    /// Whether a cluster's entry of a manual app is not the newest rendering.
    fn is_behind(&self, site: &crate::site::Site, name: &str) -> bool {
        let Some(state) = self.state() else { return false };
        let wanted = self.wanted(site, state).into_iter().find(|declared| declared.name == name);
        let Some(wanted) = wanted else { return false };
        let newest = state
            .planner
            .bundles
            .iter()
            .find(|(variant, _)| variant.path == name && variant.track.revision == wanted.revision);
        let index = site.process.as_ref().and_then(|process| process.index());
        let entry = index.and_then(|index| index.entries.get(&Self::app(name)));
        let digest = entry.filter(|entry| entry.withdrawn.is_none()).map(|entry| entry.digest);
        newest.is_some_and(|(_, bundle)| digest != Some(bundle.digest))
    }

    /// In the calm people allow, approve and sync until nothing waits for them.
    pub(crate) fn look_after(&mut self) {
        self.raise_epoch();
        if !self.people.orders.is_empty() {
            return;
        }
        let Some(state) = self.state() else { return };
        if state.sources.tracks.values().any(|track| track.parked.is_some()) {
            self.give(Command::Source(source::Command::Allow(source_name())), None);
        }
        self.approve_all();
        self.question(Question::Status);
        let tree = self.git.at_head().tree.clone();
        let manual = tree.roots.values().flatten().chain(&tree.shared).filter(|app| !app.automated);
        let names: std::collections::BTreeSet<String> = manual.map(|app| app.name.clone()).collect();
        for name in names {
            if self.sites.iter().any(|site| self.is_behind(site, &name)) {
                self.sync(&name);
            }
        }
    }
}
