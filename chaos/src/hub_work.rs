//! What the hub does beside its loop: looks at Git, reads, renders, seals, publishes, sets accounts.

use crate::git::{self, Declared, REVISIONS, Tree, URL};
use crate::hub::{Found, HubJob, Question};
use crate::identity::{self, on_the_curve};
use crate::plan::Fault;
use crate::site::SiteJob;
use crate::world::{Happening, World, cut};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use taffrail_core::catalog::{self, Destination, Listing, Reading, Render, Root, SyncPolicy, Unreadable};
use taffrail_core::desired::{Entry, Index};
use taffrail_core::digest::Digest;
use taffrail_core::id::{AccountKey, AppName, ClusterName, CommitId, SourceName};
use taffrail_core::node::hub::{Append, Debt, Effect, Hub, Input, Outcome, Previous, Rendered};
use taffrail_core::planner::Variant;
use taffrail_core::selector::Selector;
use taffrail_core::source::{Sighting, Track};
use taffrail_core::time::{At, Span};
use taffrail_proto::bundle;
use taffrail_proto::index::{self, Terms};
use taffrail_proto::seal::{BundleKey, SealingSecret, seal_bundle};
use taffrail_proto::sign::PublicKey;

/// What the process remembers of its work.
#[derive(Debug, Default)]
pub(crate) struct Work {
    offered: BTreeSet<Digest>,
    keys: BTreeMap<Digest, (Digest, BundleKey)>,
    tracks: BTreeSet<Track>,
    looking: bool,
    again: bool,
    poll: u64,
}

/// A look at Git, step by step.
#[derive(Debug)]
pub(crate) enum Look {
    /// The pause is over, if it is still the one that counts.
    Poll(u64),
    /// The server said where revisions point.
    Listed(Vec<(Track, CommitId)>),
    /// What moved was fetched.
    Fetched(Vec<(Track, CommitId, Option<CommitId>)>),
    /// It ended, well or not.
    Ended,
}

/// The hub's sealing secret: 32 zeros.
fn secret() -> &'static SealingSecret {
    static SECRET: OnceLock<SealingSecret> = OnceLock::new();
    let text = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    SECRET
        .get_or_init(|| SealingSecret::parse(text).expect("43 characters and a sign are 32 bytes in base64"))
}

/// Looks at a state, as the hub's shell does.
pub(crate) fn answer(hub: &Hub, question: Question, at: At, lease: Span, now: u64) -> Found {
    let state = hub.state();
    match question {
        Question::Key(request) => {
            let known = state.clusters.by_account(request.account());
            let key = known.map(|(_, _, enrolment)| (PublicKey(enrolment.event_key), state.planner.epoch));
            let key = key.ok_or_else(|| state.clusters.stranger(request.account()));
            Found::Key(request, key)
        }
        Question::News(seen) => Found::News(
            seen.into_iter()
                .filter_map(|(track, commit)| {
                    let known = state.sources.tracks.get(&track);
                    let head = known.and_then(|known| known.head.as_ref()).map(|head| head.commit.clone());
                    let parked = known.and_then(|known| known.parked.clone());
                    let old = !hub.wants_look(&track)
                        && ((head.as_ref() == Some(&commit) && parked.is_none())
                            || parked.as_ref() == Some(&commit));
                    (!old).then_some((track, commit, head))
                })
                .collect(),
        ),
        Question::Status => {
            let connected = state.clusters.clusters.iter().filter_map(|(name, cluster)| {
                let enrolment = cluster.enrolment.as_ref()?;
                let reports =
                    state.planner.fleet.get(name).into_iter().flat_map(|desired| desired.reports.values());
                let logged = reports.map(|said| said.at).max().unwrap_or_default().max(enrolment.joined_at);
                let heard = hub.heard_at(name).or(cluster.silent_since).unwrap_or(logged);
                let connected = at.since(heard) <= lease && cluster.silent_since.is_none();
                connected.then(|| enrolment.account.clone())
            });
            Found::Status(connected.collect(), now)
        }
    }
}

impl World {
    fn work(&mut self) -> Option<&mut Work> {
        self.hub.process.as_mut().map(|process| &mut process.work)
    }

    pub(crate) fn found_out(&mut self, found: Found) {
        match found {
            Found::Key(request, key) => self.keyed(request, key),
            Found::News(moved) if moved.is_empty() => self.look_at_git(Look::Ended),
            Found::News(moved) => {
                let pause = self.random.between(1, 200);
                self.hub_after(pause, HubJob::Look(Look::Fetched(moved)));
            }
            Found::Status(accounts, at) => {
                let lease = 3 * self.plan.heartbeat;
                let age = self.hub_age();
                for account in accounts {
                    // An agent that just joined counts as heard, and so does everybody after a start.
                    if age > lease + 5_000 {
                        self.check.shown_connected(&account, at, lease + 5_000);
                    }
                }
            }
        }
    }

    /// The watcher is told what to look at.
    pub(crate) fn follow(&mut self, tracks: BTreeSet<Track>) {
        let Some(work) = self.work() else { return };
        work.tracks = tracks;
        self.hint();
    }

    /// Look now.
    pub(crate) fn hint(&mut self) {
        let Some(work) = self.work() else { return };
        if work.looking {
            work.again = true;
            return;
        }
        work.poll += 1;
        let poll = work.poll;
        self.hub_after(1, HubJob::Look(Look::Poll(poll)));
    }

    /// Somebody pushed; a webhook may tell the hub.
    pub(crate) fn pushed(&mut self) {
        if self.calm || self.random.per_mille(600) {
            self.hint();
        }
    }

    pub(crate) fn look_at_git(&mut self, look: Look) {
        let (interval, now_broken) = (self.plan.poll, self.strikes(Fault::GitErrors, 250));
        let pause = self.random.between(1, 300);
        let heads: Vec<CommitId> = vec![self.git.at_head().id.clone()];
        let Some(work) = self.work() else { return };
        match look {
            Look::Poll(poll) if poll != work.poll || work.looking => {}
            Look::Poll(_) => {
                work.looking = true;
                let known = work.tracks.iter().filter(|track| REVISIONS.contains(&track.revision.as_str()));
                let listed = known.map(|track| (track.clone(), heads[0].clone())).collect();
                let next = if now_broken { Look::Ended } else { Look::Listed(listed) };
                self.hub_after(pause, HubJob::Look(next));
            }
            Look::Listed(listed) => self.question(Question::News(listed)),
            Look::Fetched(moved) => {
                if !now_broken {
                    self.sight(moved);
                }
                self.look_at_git(Look::Ended);
            }
            Look::Ended => {
                work.looking = false;
                work.poll += 1;
                let poll = work.poll;
                let wait = if std::mem::take(&mut work.again) { 1 } else { interval };
                self.hub_after(wait, HubJob::Look(Look::Poll(poll)));
            }
        }
    }

    /// Revisions that moved together are seen together, as the hub's watcher does.
    fn sight(&mut self, moved: Vec<(Track, CommitId, Option<CommitId>)>) {
        let mut groups: BTreeMap<(CommitId, Option<CommitId>), Vec<Track>> = BTreeMap::new();
        for (track, commit, head) in moved {
            groups.entry((commit, head)).or_default().push(track);
        }
        for ((commit, head), mut tracks) in groups {
            let track = tracks.remove(0);
            let descends = head.as_ref().is_none_or(|head| self.git.descends(&commit, head));
            let seen = Sighting {
                track,
                head: head.clone(),
                also: tracks.iter().map(|track| track.revision.clone()).collect(),
                commit,
                descends,
                author: "ada <ada@example.com>".into(),
                subject: "change".into(),
                committed_at: At(self.now),
                trace: None,
            };
            if descends {
                self.post_hub(Input::Sighted(seen));
                continue;
            }
            for track in tracks {
                self.post_hub(Input::Sighted(Sighting { track, also: Vec::new(), ..seen.clone() }));
            }
            self.post_hub(Input::Sighted(Sighting { also: Vec::new(), ..seen }));
        }
    }

    /// The broker forgets everything and is back at once.
    pub(crate) fn wipe(&mut self) {
        self.seen.saw("the broker was wiped");
        self.broker = crate::broker::Broker::default();
        let pause = self.random.between(100, 3_000);
        self.hub_after(pause, HubJob::Ensure);
    }

    /// After a connection the streams are made; if they were not there, everything is to be published again.
    pub(crate) fn ensure_streams(&mut self) {
        if std::mem::replace(&mut self.broker.streams, true) {
            return;
        }
        let Some(process) = &mut self.hub.process else { return };
        process.work.offered.clear();
        let accounts: Vec<AccountKey> = process.hub.state().clusters.accounts.keys().cloned().collect();
        self.broker.accounts.extend(accounts);
        self.post_hub(Input::Refill);
    }

    /// Carries an effect out and posts what came of it.
    pub(crate) fn pay(&mut self, effect: Effect) {
        let (debt, fault) = match &effect {
            Effect::Follow(_) => return,
            Effect::Read { source, .. } => (Debt::Read(source.clone()), Fault::GitErrors),
            Effect::Render { variant, .. } => (Debt::Render(variant.clone()), Fault::GitErrors),
            Effect::Publish { cluster, .. } => (Debt::Publish(cluster.clone()), Fault::BrokerErrors),
            Effect::SetAccount { account, .. } => (Debt::Account(account.clone()), Fault::BrokerErrors),
        };
        if self.strikes(fault, 150) {
            return self.paid(Input::Failed(debt));
        }
        let input = match effect {
            Effect::Follow(_) => return,
            Effect::Read { source, commit, cause, trace, .. } => self.read(source, commit, cause, trace),
            Effect::Render { variant, commit, previous, .. } => {
                self.render(variant, commit, previous.as_ref())
            }
            Effect::Publish { cluster, account, box_key, index, grant, adopted } => {
                let terms = Terms { grant, adopted };
                let published = self.publish(&cluster, &account, &box_key, &index, &terms);
                published.unwrap_or(Input::Failed(debt.clone()))
            }
            Effect::SetAccount { account, user_key } => {
                if user_key.is_some() {
                    self.broker.accounts.insert(account.clone());
                } else {
                    self.broker.accounts.remove(&account);
                    self.broker.indexes.remove(&account);
                    self.broker.marks.remove(&account);
                }
                Input::AccountSet(account)
            }
        };
        let lost = self.strikes(fault, 100);
        if lost {
            self.seen.saw("an effect of the hub was done twice");
        }
        self.paid(if lost { Input::Failed(debt) } else { input });
    }

    fn paid(&mut self, input: Input) {
        if matches!(input, Input::Failed(_)) {
            self.seen.saw("an effect of the hub failed");
        }
        let slow = matches!(input, Input::Read(_) | Input::Rendered(_));
        let pause = if slow { self.random.pick(&[2, 20, 200, 2_000]) } else { self.random.between(1, 20) };
        self.hub_after(pause, HubJob::Post(Box::new(input)));
    }

    fn read(&mut self, source: SourceName, commit: CommitId, cause: u64, trace: Option<String>) -> Input {
        let tree = self.git.commit(&commit).map(|commit| commit.tree.clone()).unwrap_or_default();
        let mut roots = BTreeMap::new();
        for (cluster, apps) in &tree.roots {
            let root = if tree.garbled.contains(cluster) {
                self.seen.saw("a root could not be read");
                Err(Unreadable { file: None, line: None, cause: "bad indent".into() })
            } else {
                Ok(listing(apps, &Destination::Here))
            };
            roots.insert(Root::Cluster(root_name(*cluster)), root);
        }
        if !tree.shared.is_empty() {
            let everywhere = Destination::Selector(Selector::default());
            roots.insert(Root::Directory, Ok(listing(&tree.shared, &everywhere)));
        }
        Input::Read(Reading { source, commit, roots, cause: Some(cause), trace })
    }

    fn render(&mut self, variant: Variant, commit: CommitId, previous: Option<&Previous>) -> Input {
        let tree = self.git.commit(&commit).map(|commit| commit.tree.clone()).unwrap_or_default();
        if *self.git.at_head().id.as_str() != *commit.as_str() {
            self.seen.saw("an older rendering came after a newer head");
        }
        if previous.is_some_and(|previous| self.untouched(previous, &variant, &tree)) {
            return Input::Rendered(Rendered { variant, commit, outcome: Outcome::Unchanged });
        }
        let folder = tree.folders.get(&variant.path).filter(|folder| !folder.broken);
        let Some(folder) = folder else {
            self.seen.saw("a rendering failed");
            let cause = String::from("bad kustomization");
            let outcome = Outcome::Failed { file: None, document: None, line: None, cause };
            return Input::Rendered(Rendered { variant, commit, outcome });
        };
        let objects: Vec<_> = folder.objects.iter().map(|(key, object)| git::value(key, object)).collect();
        let encoded = bundle::encode(&objects).expect("a few objects are a bundle");
        let truth = folder.objects.iter().map(|(key, object)| (key.clone(), object.keep)).collect();
        self.check.rendered(encoded.digest, truth);
        self.hub.log.blobs.insert(encoded.digest, encoded.compressed.clone());
        let sealed = self.seal(encoded.digest, &encoded.compressed);
        let outcome = Outcome::Sealed {
            digest: encoded.digest,
            sealed,
            size: encoded.content.len() as u64,
            objects: u32::try_from(objects.len()).unwrap_or(u32::MAX),
            inputs: vec![variant.path.clone()],
        };
        Input::Rendered(Rendered { variant, commit, outcome })
    }

    fn untouched(&self, previous: &Previous, variant: &Variant, tree: &Tree) -> bool {
        let before = self.git.commit(&previous.commit);
        before.is_some_and(|before| before.tree.folders.get(&variant.path) == tree.folders.get(&variant.path))
    }

    /// Seals a bundle and puts it on the bus, if the bus takes it.
    fn seal(&mut self, digest: Digest, compressed: &[u8]) -> Digest {
        let sealed = seal_bundle(secret(), digest, compressed);
        if self.broker.streams {
            self.broker.bundles.insert(sealed.id, sealed.bytes.into());
            self.work().map(|work| work.offered.insert(sealed.id));
        }
        self.work().map(|work| work.keys.insert(digest, (sealed.id, sealed.key)));
        sealed.id
    }

    fn publish(
        &mut self,
        cluster: &ClusterName,
        account: &AccountKey,
        box_key: &str,
        index: &Index,
        terms: &Terms,
    ) -> Option<Input> {
        let mut keys = BTreeMap::new();
        // As in the hub: what was taken over from before a restore has no key.
        let epoch = index.mark.epoch;
        let keyed = |entry: &&Entry| entry.withdrawn.is_none() && entry.since.epoch == epoch;
        for entry in index.entries.values().filter(keyed) {
            keys.insert(entry.sealed, self.offer(entry.digest, entry.sealed)?);
        }
        if !self.broker.streams {
            return None;
        }
        self.check.published(cluster, account, index);
        let signed = index::sign(index, account, &self.hub.signer, &keys, terms);
        let sealed = identity::seal(box_key, &signed, on_the_curve(self.plan.seed))?;
        self.broker.indexes.insert(account.clone(), sealed.clone());
        self.broker.marks.insert(account.clone(), index.mark);
        self.say(|| format!("the hub publishes {} of {cluster}", index.mark));
        self.live(account, &sealed);
        Some(Input::Published { cluster: cluster.clone(), mark: index.mark })
    }

    /// The bus shows a new index to whoever listens.
    fn live(&mut self, account: &AccountKey, sealed: &Bytes) {
        let listens = |site: &crate::site::Site| site.account() == Some(account);
        let Some(site) = self.sites.iter().position(listens) else { return };
        for arrival in self.arrivals(site) {
            let life = self.sites[site].life;
            let comes = SiteJob::Index(self.hub.restored, sealed.clone());
            self.after(arrival, Happening::Site(site, life, comes));
        }
    }

    /// Makes sure that a bundle is on the bus; its key.
    fn offer(&mut self, content: Digest, sealed: Digest) -> Option<BundleKey> {
        let work = self.work()?;
        let known = work.keys.get(&content).filter(|(id, _)| *id == sealed).map(|(_, key)| *key);
        if let (Some(key), true) = (known, work.offered.contains(&sealed)) {
            return Some(key);
        }
        let Some(stored) = self.hub.log.blobs.get(&content).cloned() else {
            self.check.must(false, || format!("bundle {} is named and not kept", content.short()));
            return None;
        };
        let again = self.seal(content, &stored);
        self.check.must(again == sealed, || "a bundle seals to another id".into());
        self.work()?.keys.get(&content).map(|(_, key)| *key)
    }

    /// What the log gets shows which situations occurred.
    pub(crate) fn witness(&mut self, append: &Append) {
        use taffrail_core::event::{AgentFact, HubFact};
        match append {
            Append::Own(event) => {
                let (fact, cluster) = (&event.fact, &event.context.cluster);
                self.say(|| format!("log: {}", cut(&(cluster, fact), 600)));
                match fact {
                    HubFact::HistoryRewritten { .. } => self.seen.saw("a history was rewritten"),
                    HubFact::SourceAllowed { .. } => self.seen.saw("a rewritten history was allowed"),
                    HubFact::ClusterBack { .. } => self.seen.saw("a cluster fell silent and came back"),
                    HubFact::ClusterRenamed { .. } => self.seen.saw("a cluster was renamed"),
                    HubFact::ClusterRemoved { .. } => self.seen.saw("a cluster was removed"),
                    HubFact::LogBehind { .. } => self.seen.saw("a restored hub found out that it is too old"),
                    HubFact::EventsLost { .. } => self.seen.saw("events with receipts were lost with a log"),
                    HubFact::ClusterAdopted { .. } => self.seen.saw("a restored hub adopted a cluster"),
                    HubFact::Approved { digest, .. } => {
                        self.seen.saw("a person approved deletions");
                        let known = self.hub.process.as_ref().map(|process| process.hub.state());
                        let cluster = cluster.as_ref().and_then(|name| known?.clusters.clusters.get(name));
                        let account =
                            cluster.and_then(|known| Some(known.enrolment.as_ref()?.account.clone()));
                        if let (Some(account), Some(app)) = (account, event.context.app.clone()) {
                            self.check.approved(account, app, *digest);
                        }
                    }
                    _ => {}
                }
            }
            Append::Foreign(foreign) => {
                let Some(event) = &foreign.event else { return };
                let (from, seq) = (&foreign.cluster, foreign.link.seq);
                self.say(|| format!("log: {from} #{seq} {}", cut(&(&event.context.app, &event.fact), 600)));
                match &event.fact {
                    AgentFact::Withdrawn { .. } => self.seen.saw("an app was withdrawn"),
                    AgentFact::DriftHealed { .. } => self.seen.saw("a drift was healed"),
                    AgentFact::FieldsTaken { .. } => {
                        self.seen.saw("an object of somebody else was taken over");
                    }
                    AgentFact::Pruned { .. } => self.seen.saw("an object was pruned"),
                    AgentFact::IndexRefused { .. } => self.seen.saw("a lower index was refused"),
                    _ => {}
                }
            }
        }
    }
}

/// The name of the cluster whose root this is, whatever it is called now.
pub(crate) fn root_name(cluster: usize) -> ClusterName {
    ClusterName::parse(&format!("c{cluster}")).expect("a letter and a number are a name")
}

fn listing(apps: &[Declared], destination: &Destination) -> Listing {
    let apps = apps.iter().map(|app| catalog::Declared {
        name: AppName::parse(&app.name).expect("names of apps are plain"),
        repo_url: URL.into(),
        path: app.name.clone(),
        target_revision: app.revision.into(),
        render: Render::Kustomize,
        destination: destination.clone(),
        namespace: Some(app.name.clone()),
        sync: SyncPolicy {
            automated: app.automated,
            prune: app.prune,
            self_heal: app.self_heal,
            allow_empty: app.allow_empty,
            create_namespace: app.create_namespace,
        },
        max_deletes: Some(app.max_deletes),
    });
    Listing { apps: apps.collect(), rest: false, notes: Vec::new() }
}
