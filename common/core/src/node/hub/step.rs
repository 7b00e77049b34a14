//! The step: one input in, events, replies and effects out.

use super::command;
use super::debt::{Book, Debt};
use super::durable::Durable;
use super::input::{Append, Input, Outcome, Outputs, Rendered, Reply, Settings};
use super::reading::Newer;
use crate::catalog::{self, Destination, Reading, Root};
use crate::cluster::Vitals;
use crate::desired::Mark;
use crate::event::{Actor, Context, HubEvent, HubFact};
use crate::id::{AccountKey, AppId, ClusterName, CommitId, SourceName};
use crate::planner::Variant;
use crate::source::{self, Track};
use crate::time::At;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

/// The hub.
#[derive(Clone, Debug)]
pub struct Hub {
    pub(super) durable: Durable,
    /// What the log goes on with, if this version does not know it.
    pub(super) newer: Option<Newer>,
    pub(super) settings: Settings,
    pub(super) out: Outputs,
    pub(super) book: Book,
    pub(super) heard: BTreeMap<ClusterName, At>,
    pub(super) vitals: BTreeMap<ClusterName, Vitals>,
    pub(super) deadlines: BTreeSet<(At, ClusterName)>,
    /// By account: when a refusal of its events was recorded, when the last one was, and why.
    pub(super) refusals: BTreeMap<AccountKey, (At, At, String)>,
    pub(super) started_at: At,
    pub(super) dirty: BTreeSet<ClusterName>,
    pub(super) uses: BTreeMap<ClusterName, BTreeSet<Variant>>,
    pub(super) users: BTreeMap<Variant, BTreeSet<ClusterName>>,
    /// The app that a variant is rendered for; the first one where several share it.
    pub(super) apps: BTreeMap<Variant, AppId>,
    pub(super) refused: BTreeMap<ClusterName, BTreeMap<AppId, String>>,
    pub(super) read_at: BTreeMap<SourceName, CommitId>,
    pub(super) rendered_at: BTreeMap<Variant, CommitId>,
    pub(super) voided: BTreeSet<SourceName>,
    /// Which clusters have an app, as they were last planned.
    pub(super) placed: BTreeMap<AppId, BTreeSet<ClusterName>>,
    /// Which apps a cluster has, as it was last planned.
    pub(super) has: BTreeMap<ClusterName, BTreeSet<AppId>>,
    /// Revisions that were looked at in this run.
    pub(super) looked: BTreeSet<Track>,
    /// Clusters that this run has not heard of: what they hold may be newer than the log, so their indexes stay.
    pub(super) unheard: BTreeSet<ClusterName>,
    pub(super) followed: BTreeSet<Track>,
    pub(super) refollow: bool,
}

impl Hub {
    /// A hub over a replayed state; what is volatile starts as unknown.
    pub fn new(durable: Durable, settings: Settings) -> Hub {
        Hub {
            durable,
            newer: None,
            settings,
            out: Outputs::default(),
            book: Book::default(),
            heard: BTreeMap::new(),
            vitals: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            refusals: BTreeMap::new(),
            started_at: At::default(),
            dirty: BTreeSet::new(),
            uses: BTreeMap::new(),
            users: BTreeMap::new(),
            apps: BTreeMap::new(),
            refused: BTreeMap::new(),
            read_at: BTreeMap::new(),
            rendered_at: BTreeMap::new(),
            voided: BTreeSet::new(),
            placed: BTreeMap::new(),
            has: BTreeMap::new(),
            looked: BTreeSet::new(),
            unheard: BTreeSet::new(),
            followed: BTreeSet::new(),
            refollow: true,
        }
    }

    /// The durable state.
    pub fn state(&self) -> &Durable {
        &self.durable
    }

    /// When a cluster was last heard of by this process.
    pub fn heard_at(&self, cluster: &ClusterName) -> Option<At> {
        self.heard.get(cluster).copied()
    }

    /// What a cluster's agent last said of itself; nothing after a restart, until it is heard.
    pub fn vitals(&self, cluster: &ClusterName) -> Option<Vitals> {
        self.vitals.get(cluster).copied()
    }

    /// Apps that Git names for a cluster and that cannot be placed, with the reason.
    pub fn refused(&self, cluster: &ClusterName) -> Option<&BTreeMap<AppId, String>> {
        self.refused.get(cluster)
    }

    /// Whether everything that was owed is paid.
    pub fn is_idle(&self) -> bool {
        self.book.is_empty() && self.dirty.is_empty()
    }

    /// Everything that is owed and not known to be paid: open, waiting or in flight.
    pub fn debts(&self) -> BTreeSet<Debt> {
        self.book.all()
    }

    /// Takes one input.
    pub fn step(&mut self, input: Input, at: At) -> Outputs {
        let at = at.max(self.durable.appended_at);
        self.out = Outputs { first: self.durable.index + 1, appended_at: at, ..Outputs::default() };
        let raises = matches!(&input, Input::Ordered { command: command::Command::RaiseEpoch(_), .. });
        if self.read_only().is_some() && (!raises || self.newer.is_some()) {
            self.refuse(input, at);
            return core::mem::take(&mut self.out);
        }
        self.take(input, at);
        if self.read_only().is_none() {
            self.settle(at);
            self.ask(at);
        }
        core::mem::take(&mut self.out)
    }

    /// When `Wake` is due: the only timer.
    pub fn next_wake(&self) -> Option<At> {
        if self.read_only().is_some() {
            return None;
        }
        let silence = self.deadlines.first().map(|(at, _)| *at);
        let planning = (!self.dirty.is_empty()).then_some(At(0));
        [silence, self.book.next_wake(), planning].into_iter().flatten().min()
    }

    fn take(&mut self, input: Input, at: At) {
        match input {
            Input::Started { version, epoch } => self.start(version, epoch, at),
            Input::RestoreKey(key) => self.restore_key(key, at),
            Input::Witnessed(marks) => {
                for (account, mark) in marks {
                    let name = self.durable.clusters.accounts.get(&account).cloned();
                    if let Some(name) = name.filter(|_| self.read_only().is_none()) {
                        self.witnessed(&name, mark, at);
                    }
                }
            }
            Input::Sighted(sighting) => {
                self.looked(&sighting);
                if let Some(event) = source::sight(&self.durable.sources, &sighting, at) {
                    self.record(event);
                }
            }
            Input::Read(reading) => self.read(&reading, at),
            Input::Rendered(rendered) => self.rendered(rendered, at),
            Input::Published { cluster, mark } => self.published(&cluster, mark),
            Input::AccountSet(account) => self.book.settle(&Debt::Account(account)),
            Input::Refill => self.refill(),
            Input::Failed(debt) => self.failed(&debt, at),
            Input::Ordered { token, actor, command } => self.order(token, &actor, &command, at),
            Input::Joining { token, request } => self.join(token, &request, at),
            Input::Batched { token, account, batch, facts } => self.batch(token, &account, batch, facts, at),
            Input::Forged { token, account, reason, incarnation, seq } => {
                self.forged(token, &account, reason, incarnation, seq, at);
            }
            Input::Wake => self.wake(at),
        }
    }

    /// After a start everything volatile is unknown: every cluster is planned, published and given a lease of grace.
    fn start(&mut self, version: String, file: u64, at: At) {
        self.started_at = at;
        let epoch = match self.epoch_at_start(file) {
            Ok(epoch) => epoch,
            Err(evidence) => return self.fall_behind(None, evidence, at),
        };
        self.record(HubEvent {
            context: Context::new(Actor::Hub, at),
            fact: HubFact::Started { version, epoch },
        });
        let names: Vec<ClusterName> = self.durable.clusters.clusters.keys().cloned().collect();
        for name in names {
            self.deadlines.insert((at.plus(self.settings.lease), name.clone()));
            self.dirty.insert(name);
        }
        self.unheard = self.durable.clusters.accounts.values().cloned().collect();
        let sources: Vec<SourceName> = self.durable.sources.sources.keys().cloned().collect();
        for source in sources {
            self.book.owe(&Debt::Read(source));
        }
        self.refill();
    }

    fn refill(&mut self) {
        let accounts = self.durable.clusters.accounts.keys().chain(self.durable.clusters.revoked.keys());
        for account in accounts {
            self.book.owe_now(&Debt::Account(account.clone()));
        }
        for name in self.durable.planner.fleet.keys() {
            self.book.owe_now(&Debt::Publish(name.clone()));
        }
    }

    fn read(&mut self, reading: &Reading, at: At) {
        self.book.settle(&Debt::Read(reading.source.clone()));
        let voided = self.voided.remove(&reading.source);
        let Some(source) = self.durable.sources.sources.get(&reading.source) else { return };
        let head = self.durable.sources.head(&source.track);
        if voided || head.is_none_or(|head| head.commit != reading.commit) {
            self.book.owe(&Debt::Read(reading.source.clone()));
            return;
        }
        self.read_at.insert(reading.source.clone(), reading.commit.clone());
        if self.restored() {
            self.every_cluster();
        }
        for event in catalog::read(&self.durable.catalog, reading, at) {
            self.record(event);
        }
    }

    fn rendered(&mut self, rendered: Rendered, at: At) {
        let Rendered { variant, commit, outcome } = rendered;
        self.book.settle(&Debt::Render(variant.clone()));
        let head = self.durable.sources.head(&variant.track);
        // Of an older commit, or of what nobody uses any more.
        if head.is_none_or(|head| head.commit != commit) || !self.users.contains_key(&variant) {
            self.book.owe(&Debt::Render(variant));
            return;
        }
        let mut context = Context::new(Actor::Hub, at)
            .commit(&commit)
            .cause(head.map(|head| head.index))
            .trace(head.and_then(|head| head.trace.clone()));
        context.app = self.apps.get(&variant).cloned();
        self.rendered_at.insert(variant.clone(), commit.clone());
        if self.restored() {
            self.dirty.extend(self.users.get(&variant).into_iter().flatten().cloned());
        }
        let known = self.durable.planner.bundles.get(&variant);
        let failed_here =
            self.durable.planner.failures.get(&variant).is_some_and(|failure| failure.commit == commit);
        match outcome {
            Outcome::Sealed { digest, sealed, size, objects, inputs }
                if known.is_none_or(|bundle| bundle.digest != digest || bundle.inputs != inputs)
                    || self.durable.planner.failures.contains_key(&variant) =>
            {
                let fact = HubFact::BundleSealed { variant, digest, sealed, size, objects, inputs };
                self.record(HubEvent { context, fact });
            }
            Outcome::Failed { file, document, line, cause } if !failed_here => {
                let fact = HubFact::RenderFailed { variant, file, document, line, cause };
                self.record(HubEvent { context, fact });
            }
            _ => {}
        }
    }

    fn failed(&mut self, debt: &Debt, at: At) {
        if let Debt::Read(source) = debt {
            self.voided.remove(source);
        }
        self.book.fail(debt, at);
    }

    fn published(&mut self, cluster: &ClusterName, mark: Mark) {
        self.book.settle(&Debt::Publish(cluster.clone()));
        let desired = self.durable.planner.fleet.get(cluster);
        if desired.is_some_and(|desired| desired.index.mark != mark) {
            self.book.owe(&Debt::Publish(cluster.clone()));
        }
    }

    fn order(&mut self, token: u64, actor: &Actor, command: &command::Command, at: At) {
        let placed = |app: &AppId| self.placed(app);
        let reply = match command::decide(&self.durable, command, actor, at, placed) {
            Err(rejected) => Reply::Rejected(rejected),
            Ok(events) => {
                let changed = !events.is_empty();
                let index = if changed { self.durable.index + 1 } else { self.durable.index };
                for event in events {
                    self.record(event);
                }
                Reply::Done { index, changed }
            }
        };
        self.out.replies.push((token, reply));
    }

    /// Appends a fact of the hub and applies it.
    pub(super) fn record(&mut self, event: HubEvent) {
        let index = self.durable.index + 1;
        self.reached(&event.fact);
        self.durable.hub_event(index, self.out.appended_at, &event);
        self.reached(&event.fact);
        self.touched(&event);
        self.out.appends.push(Append::Own(event));
    }

    /// Marks the clusters for which a root declares something; called before and after it changes.
    fn reached(&mut self, fact: &HubFact) {
        let HubFact::CatalogChanged { source, root, .. } = fact else { return };
        let Some(listed) = self.durable.catalog.roots.get(&(source.clone(), root.clone())) else { return };
        let clusters = &self.durable.clusters.clusters;
        if let Root::Cluster(own) = root {
            self.dirty.insert(own.clone());
        }
        for app in &listed.listing.apps {
            match &app.destination {
                Destination::Here => {}
                Destination::Cluster(name) => {
                    self.dirty.insert(name.clone());
                }
                Destination::Selector(selector) => {
                    let matching = clusters.iter().filter(|(_, cluster)| selector.matches(&cluster.labels));
                    self.dirty.extend(matching.map(|(name, _)| name.clone()));
                }
            }
        }
    }

    /// Marks what a fact makes due.
    fn touched(&mut self, event: &HubEvent) {
        let cluster = event.context.cluster.as_ref();
        match &event.fact {
            HubFact::CommitSeen { track, also, .. } => {
                for revision in also.iter().chain([&track.revision]) {
                    self.moved(&Track { url: track.url.clone(), revision: revision.clone() });
                }
            }
            HubFact::SourceAllowed { track, .. } => self.moved(track),
            HubFact::SourceAdded { source, .. } => {
                self.refollow = true;
                self.book.owe_now(&Debt::Read(source.clone()));
                self.every_cluster();
            }
            HubFact::SourceRemoved { source } => {
                self.refollow = true;
                self.read_at.remove(source);
                if self.book.is_asked(&Debt::Read(source.clone())) {
                    self.voided.insert(source.clone());
                }
                self.every_cluster();
            }
            HubFact::BundleSealed { variant, .. } => {
                self.dirty.extend(self.users.get(variant).into_iter().flatten().cloned());
            }
            HubFact::IndexRaised { .. } => {
                if let Some(name) = cluster {
                    self.book.owe(&Debt::Publish(name.clone()));
                }
            }
            HubFact::ClusterJoined { account, .. } => {
                self.book.owe(&Debt::Account(account.clone()));
                self.dirty.extend(cluster.cloned());
            }
            HubFact::ClusterRemoved { account } => {
                if let Some(account) = account {
                    self.book.owe(&Debt::Account(account.clone()));
                }
                if let Some(name) = cluster {
                    self.forget(name);
                }
            }
            HubFact::ClusterRenamed { from, to } => {
                if let Some(heard) = self.heard.remove(from) {
                    self.heard.insert(to.clone(), heard);
                }
                let unheard = self.unheard.contains(from);
                self.forget(from);
                self.unheard.extend(unheard.then(|| to.clone()));
                self.deadlines.insert((self.out.appended_at.plus(self.settings.lease), to.clone()));
                self.dirty.insert(to.clone());
                self.book.owe(&Debt::Publish(to.clone()));
            }
            HubFact::ClusterAdopted { .. } => {
                if let Some(name) = cluster {
                    self.book.owe(&Debt::Publish(name.clone()));
                    self.dirty.insert(name.clone());
                }
            }
            HubFact::SyncRequested { clusters, .. } => self.dirty.extend(clusters.iter().cloned()),
            HubFact::Approved { .. } | HubFact::ClusterLeaving | HubFact::ClusterInvited { .. } => {
                self.dirty.extend(cluster.cloned());
            }
            _ => {}
        }
    }

    fn moved(&mut self, track: &Track) {
        let sources = self.durable.sources.sources.iter().filter(|(_, source)| source.track == *track);
        let reads: Vec<Debt> = sources.map(|(name, _)| Debt::Read(name.clone())).collect();
        // Variants are ordered by their track first.
        let first = Variant::first_of(track);
        let renders = self.users.range(first..).map(|(variant, _)| variant);
        let renders: Vec<Debt> =
            renders.take_while(|variant| variant.track == *track).cloned().map(Debt::Render).collect();
        for debt in reads.into_iter().chain(renders) {
            self.book.owe_now(&debt);
        }
    }

    pub(super) fn every_cluster(&mut self) {
        self.dirty.extend(self.durable.clusters.clusters.keys().cloned());
    }

    fn forget(&mut self, cluster: &ClusterName) {
        self.use_variants(cluster, BTreeSet::new());
        self.uses.remove(cluster);
        self.place(cluster, BTreeSet::new());
        self.refollow = true;
        self.heard.remove(cluster);
        self.refused.remove(cluster);
        self.vitals.remove(cluster);
        self.dirty.remove(cluster);
        self.unheard.remove(cluster);
    }

    pub(super) fn dirty(&mut self, name: ClusterName) {
        self.dirty.insert(name);
    }
}
