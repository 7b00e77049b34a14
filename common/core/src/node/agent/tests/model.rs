//! A cluster small enough to be believed: a map of objects that answers effects, shows watches, and can be made to fail.

use crate::catalog::MaxDeletes;
use crate::desired::{Entry, Index, Mark, Permit, Policy};
use crate::digest::Digest;
use crate::event::agent::{Journal, Phase};
use crate::event::{AgentEvent, AgentFact};
use crate::health::{Cause, Health, Judgement};
use crate::id::{AppId, CommitId};
use crate::node::agent::{Act, Agent, Held, Input, Outputs, Stored};
use crate::object::{Key, Owned};
use crate::sync::{
    Applied, Deleted, Effect, Fingerprint, Inspected, Instance, Limits, LostField, Object, Problem, Recalled,
    Step, Stray, Unstored,
};
use crate::time::{At, Span};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// More steps than this without time passing mean that somebody spins; each object may add [`STEPS_PER_OBJECT`].
const STEPS_MAX: usize = 1_000;
const STEPS_PER_OBJECT: usize = 8;

pub(super) fn digest(text: &str) -> Digest {
    let mut bytes = [0u8; 32];
    for (at, part) in bytes.chunks_exact_mut(8).enumerate() {
        part.copy_from_slice(&mixed(text.bytes().chain([u8::try_from(at).unwrap()])).to_be_bytes());
    }
    Digest(bytes)
}

/// FNV-1a.
fn mixed(bytes: impl Iterator<Item = u8>) -> u64 {
    let step = |sum: u64, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.fold(0xcbf2_9ce4_8422_2325, step)
}

fn number(digest: Digest) -> u64 {
    mixed(digest.0.into_iter())
}

pub(super) fn commit(letter: char) -> CommitId {
    CommitId::parse(&letter.to_string().repeat(40)).unwrap()
}

pub(super) fn app(name: &str) -> AppId {
    AppId::parse(&format!("fleet/{name}")).unwrap()
}

/// `Kind` or `Kind/name`; namespaced kinds lie in `web`.
pub(super) fn key(text: &str) -> Key {
    let (kind, name) = text.split_once('/').unwrap_or((text, "web"));
    let (group, namespace) = match kind {
        "Deployment" => ("apps", "web"),
        "CustomResourceDefinition" => ("apiextensions.k8s.io", ""),
        "Widget" => ("example.com", "web"),
        "Namespace" => ("", ""),
        _ => ("", "web"),
    };
    Key { group: group.into(), kind: kind.into(), namespace: namespace.into(), name: name.into() }
}

/// An object of a bundle; `revision` makes its content.
pub(super) fn object(text: &str, revision: &str) -> Object {
    let key = key(text);
    let content = digest(&format!("{key} {revision}"));
    Object { key, version: "v1".into(), content, keep: false }
}

pub(super) fn objects(texts: &[&str], revision: &str) -> Vec<Object> {
    texts.iter().map(|text| object(text, revision)).collect()
}

pub(super) fn policy() -> Policy {
    Policy {
        namespace: "web".into(),
        create_namespace: false,
        prune: true,
        self_heal: true,
        allow_empty: false,
        max_deletes: MaxDeletes::Percent(20),
    }
}

/// One live object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a property of its own")]
pub(super) struct Live {
    pub(super) uid: u64,
    pub(super) version: u64,
    pub(super) content: Digest,
    pub(super) commit: String,
    pub(super) taken: BTreeMap<String, String>,
    pub(super) unlabelled: bool,
    pub(super) finalizer: bool,
    pub(super) deleting: bool,
    /// It carries `Prune=false`.
    pub(super) keep: bool,
}

impl Live {
    fn owned(&self) -> u64 {
        if self.content == Digest::default() {
            return Owned::default().fingerprint();
        }
        let taken = self.taken.keys().map(|field| number(digest(field)));
        let label = u64::from(self.unlabelled);
        taken.fold(number(self.content).wrapping_add(label), |sum, field| sum ^ field)
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            uid: self.uid.to_string(),
            version: self.version,
            owned: self.owned(),
            deleting: self.deleting,
        }
    }
}

/// The model cluster.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) objects: BTreeMap<Key, Live>,
    pub(super) bundles: BTreeMap<Digest, Vec<Object>>,
    pub(super) health: BTreeMap<Key, (Health, Option<Cause>)>,
    pub(super) inventory: BTreeMap<AppId, BTreeSet<Key>>,
    /// What the agent's process read of each, or wrote, last.
    pub(super) read: BTreeMap<AppId, Option<BTreeSet<Key>>>,
    /// Requests about these keys fail, by kind of request.
    pub(super) failing: BTreeSet<(&'static str, Key)>,
    pub(super) no_bundles: bool,
    pub(super) no_store: bool,
    pub(super) needs_namespace: bool,
    pub(super) applies: Vec<(Key, CommitId)>,
    pub(super) deletes: Vec<Key>,
    pub(super) shown: VecDeque<Input>,
    clock: u64,
}

impl World {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Somebody takes a field.
    pub(super) fn edit(&mut self, text: &str, field: &str, manager: &str) {
        let version = self.tick();
        let Some(live) = self.objects.get_mut(&key(text)) else { return };
        live.version = version;
        live.taken.insert(field.into(), manager.into());
        self.show(&key(text));
    }

    /// Somebody gives back what was taken.
    pub(super) fn unedit(&mut self, text: &str) {
        let version = self.tick();
        let live = self.objects.get_mut(&key(text)).unwrap();
        live.version = version;
        live.taken.clear();
        self.show(&key(text));
    }

    /// Somebody else makes an object of this name.
    pub(super) fn make(&mut self, text: &str) {
        let version = self.tick();
        self.objects.insert(key(text), Live { uid: version, version, ..Live::default() });
    }

    /// The object changes in a way that is not ours, such as its status.
    pub(super) fn touch(&mut self, text: &str) {
        let version = self.tick();
        self.objects.get_mut(&key(text)).unwrap().version = version;
        self.show(&key(text));
    }

    /// Somebody deletes an object, or its finalizer is done. What lost our label was gone for the watches before.
    pub(super) fn delete(&mut self, text: &str) {
        if self.objects.remove(&key(text)).is_some_and(|live| !live.unlabelled) {
            self.shown.push_back(Input::Gone { key: key(text) });
        }
    }

    /// Somebody deletes an object, and a finalizer keeps it for now.
    pub(super) fn end(&mut self, text: &str) {
        let version = self.tick();
        if let Some(live) = self.objects.get_mut(&key(text)) {
            (live.version, live.deleting, live.finalizer) = (version, true, true);
            self.show(&key(text));
        }
    }

    /// Somebody takes our label off.
    pub(super) fn unlabel(&mut self, text: &str) {
        let version = self.tick();
        let live = self.objects.get_mut(&key(text)).unwrap();
        (live.version, live.unlabelled) = (version, true);
        self.shown.push_back(Input::Gone { key: key(text) });
    }

    fn show(&mut self, key: &Key) {
        let Some(live) = self.objects.get(key) else { return };
        if !live.unlabelled {
            let fingerprint = live.fingerprint();
            self.shown.push_back(Input::Seen { key: key.clone(), fingerprint });
        }
    }

    /// A watch of a kind begins: it shows what is there, and then says that this is all.
    pub(super) fn list(&mut self, (group, version, kind): &(String, String, String)) {
        let of_kind = |key: &&Key| key.group == *group && key.kind == *kind;
        let keys: Vec<Key> = self.objects.keys().filter(of_kind).cloned().collect();
        for key in &keys {
            self.show(key);
        }
        let kind = (group.clone(), version.clone(), kind.clone());
        self.shown.push_back(Input::Listed { kind, served: true });
    }

    /// What watches show when they start.
    pub(super) fn show_all(&mut self) {
        let keys: Vec<Key> = self.objects.keys().cloned().collect();
        for key in &keys {
            self.show(key);
        }
    }

    fn judge(&self, key: &Key) -> Judgement {
        let counted = matches!(key.kind.as_str(), "Deployment" | "CustomResourceDefinition");
        let (health, cause) = self.health.get(key).copied().unwrap_or((Health::Healthy, None));
        let judged = Judgement::new(health, if health == Health::Healthy { "" } else { "not well" });
        Judgement { counted: counted || self.health.contains_key(key), ..judged.because(cause) }
    }

    fn fails(&self, what: &'static str, key: &Key) -> Option<Problem> {
        let named = self.failing.contains(&(what, key.clone()));
        let homeless = what == "apply" && self.needs_namespace && !key.namespace.is_empty() && {
            let namespace = Key { kind: "Namespace".into(), name: key.namespace.clone(), ..Key::clone(key) };
            let namespace = Key { group: String::new(), namespace: String::new(), ..namespace };
            !self.objects.contains_key(&namespace)
        };
        let message = if homeless { "namespace not found" } else { "the API server says no" };
        (named || homeless).then(|| Problem { cause: None, message: message.into() })
    }

    fn apply(&mut self, object: &Object, commit: &CommitId, look_first: bool) -> Result<Applied, Problem> {
        if let Some(problem) = self.fails("apply", &object.key) {
            return Err(problem);
        }
        self.applies.push((object.key.clone(), commit.clone()));
        let version = self.tick();
        let created = !self.objects.contains_key(&object.key);
        let live = self.objects.entry(object.key.clone()).or_insert(Live { uid: version, ..Live::default() });
        let mut taken: Vec<LostField> = core::mem::take(&mut live.taken)
            .into_iter()
            .map(|(path, manager)| LostField { path, manager })
            .collect();
        if live.unlabelled && look_first {
            let (path, manager) = (".metadata.labels".into(), "kubectl-label".into());
            taken.push(LostField { path, manager });
        }
        let changes = created || live.content != object.content || !taken.is_empty() || live.unlabelled;
        if changes {
            live.version = version;
        }
        live.unlabelled = false;
        live.content = object.content;
        live.keep = object.keep;
        live.commit = commit.to_string();
        let fingerprint = live.fingerprint();
        let judged = self.judge(&object.key);
        let judgement = if judged.counted { Judgement::new(Health::Progressing, "applied") } else { judged };
        if changes {
            self.show(&object.key);
        }
        Ok(Applied { fingerprint, judgement, taken, created })
    }

    fn remove(&mut self, key: &Key, uid: &str) -> Result<Deleted, Problem> {
        if let Some(problem) = self.fails("delete", key) {
            return Err(problem);
        }
        let version = self.tick();
        let Some(live) = self.objects.get_mut(key) else { return Ok(Deleted::Gone) };
        if !uid.is_empty() && uid != live.uid.to_string() {
            return Ok(Deleted::Gone);
        }
        self.deletes.push(key.clone());
        if live.finalizer {
            (live.deleting, live.version) = (true, version);
            self.show(key);
            return Ok(Deleted::Pending);
        }
        self.objects.remove(key);
        self.shown.push_back(Input::Gone { key: key.clone() });
        Ok(Deleted::Gone)
    }

    fn inspect(&self, key: &Key, against: Option<&Object>) -> Inspected {
        if self.failing.contains(&("inspect", key.clone())) {
            return Inspected::Unreadable("timeout".into());
        }
        let Some(live) = self.objects.get(key) else { return Inspected::Missing };
        let mut lost: Vec<LostField> = Vec::new();
        if against.is_some() {
            let taken = live.taken.iter();
            lost.extend(taken.map(|(path, by)| LostField { path: path.clone(), manager: by.clone() }));
            if live.unlabelled {
                lost.push(LostField { path: ".metadata.labels".into(), manager: "kubectl-label".into() });
            }
        }
        Inspected::Found { fingerprint: live.fingerprint(), judgement: self.judge(key), lost }
    }

    /// What the inventory says beside a bundle.
    fn recall(&self, app: &AppId, left: &[Key], objects: &[Object]) -> Recalled {
        let (recalled, beyond) = Recalled::compare(self.inventory.get(app), left, objects);
        let stray = |key: &Key| {
            let live = self.objects.get(key).filter(|live| live.content != Digest::default())?;
            let (uid, keep) = (live.uid.to_string(), live.keep);
            Some(Stray { key: key.clone(), version: "v1".into(), uid, keep })
        };
        Recalled { strays: beyond.into_iter().filter_map(stray).collect(), ..recalled }
    }

    /// What etcd has, for [`World::restore`].
    pub(super) fn backup(&self) -> World {
        self.clone()
    }

    /// Objects, inventories and versions are as they were; watches say so and show everything of these kinds.
    pub(super) fn restore(&mut self, backup: World, kinds: &BTreeSet<(String, String, String)>) {
        let was = self.clock;
        let gone: Vec<Key> =
            self.objects.keys().filter(|key| !backup.objects.contains_key(*key)).cloned().collect();
        (self.objects, self.inventory, self.clock) = (backup.objects, backup.inventory, backup.clock);
        for kind in kinds {
            let is = self.clock;
            self.shown.push_back(Input::WentBack { kind: kind.clone(), was, is });
            let of_kind = |key: &&Key| key.group == kind.0 && key.kind == kind.2;
            self.shown.extend(gone.iter().filter(of_kind).map(|key| Input::Gone { key: key.clone() }));
            self.list(kind);
        }
    }

    /// Carries an effect out.
    pub(super) fn perform(&mut self, app: AppId, effect: Effect) -> Input {
        match effect {
            Effect::Load { run, entry, recall } => {
                let known = self.bundles.get(&entry.digest).filter(|_| !self.no_bundles).cloned();
                let recalled =
                    known.as_ref().zip(recall).map(|(objects, left)| self.recall(&app, &left, objects));
                if recalled.is_some() {
                    self.read.insert(app.clone(), self.inventory.get(&app).cloned());
                }
                let objects = known.ok_or_else(|| "no bundle".to_string());
                Input::Loaded { app, run, objects, recalled: recalled.unwrap_or_default() }
            }
            Effect::Store { run, keys } => {
                let keys: BTreeSet<Key> = keys.into_iter().map(|(key, _)| key).collect();
                let changed =
                    self.read.get(&app).is_some_and(|read| read.as_ref() != self.inventory.get(&app));
                let outcome = if self.no_store {
                    Err(Unstored::Failed(Problem { cause: None, message: "not stored".into() }))
                } else if changed {
                    Err(Unstored::Changed)
                } else {
                    self.read.insert(app.clone(), Some(keys.clone()));
                    self.inventory.insert(app.clone(), keys);
                    Ok(())
                };
                Input::Stored { app, run, outcome }
            }
            Effect::EnsureNamespace { run, namespace } => {
                let name = format!("Namespace/{namespace}");
                let version = self.tick();
                self.objects.entry(key(&name)).or_insert(Live { uid: version, version, ..Live::default() });
                Input::NamespaceEnsured { app, run, problem: None }
            }
            Effect::Apply { run, object, commit, look_first } => {
                let outcome = self.apply(&object, &commit, look_first);
                Input::Applied { app, run, object, commit, outcome }
            }
            Effect::Delete { run, key, uid, .. } => {
                let outcome = self.remove(&key, &uid);
                Input::Deleted { app, run, key, outcome }
            }
            Effect::Inspect { key, against, .. } => {
                let outcome = self.inspect(&key, against.as_ref());
                Input::Inspected { app, key, against: against.is_some(), outcome }
            }
            Effect::Forget { run } => {
                self.inventory.remove(&app);
                self.read.remove(&app);
                Input::Stored { app, run, outcome: Ok(()) }
            }
        }
    }
}

fn nothing() -> Stored {
    Stored { items: BTreeMap::new(), applied: None, stated: None }
}

/// An agent, its cluster, its journal, and what it said.
pub(super) struct Sim {
    pub(super) agent: Agent,
    pub(super) world: World,
    pub(super) journal: BTreeMap<AppId, Stored>,
    pub(super) held: Held,
    pub(super) waiting: Option<Held>,
    pub(super) stopped: Option<u64>,
    /// How often the agent asked to show the hub what it signed.
    pub(super) proofs: u32,
    pub(super) facts: Vec<AgentEvent>,
    pub(super) pending: VecDeque<(AppId, Effect)>,
    pub(super) watched: BTreeSet<(String, String, String)>,
    pub(super) now: At,
    pub(super) index: Index,
}

impl Sim {
    pub(super) fn new() -> Sim {
        let (held, journal) = (Held::default(), BTreeMap::new());
        let mut sim = Sim {
            agent: Agent::new(held.clone(), journal.clone(), Limits::default()),
            world: World::default(),
            journal,
            held,
            waiting: None,
            stopped: None,
            proofs: 0,
            facts: Vec::new(),
            pending: VecDeque::new(),
            watched: BTreeSet::new(),
            now: At(1_000_000),
            index: Index { mark: Mark { epoch: 1, generation: 0 }, entries: BTreeMap::new() },
        };
        sim.start();
        sim
    }

    fn start(&mut self) {
        let (version, kubernetes) = ("1".into(), "1.35".into());
        self.input(Input::Started { version, kubernetes, journal: Journal::Found });
    }

    /// The process ends with whatever is in flight, and starts again over its journal.
    pub(super) fn restart(&mut self) {
        self.pending.clear();
        self.agent = Agent::new(self.held.clone(), self.journal.clone(), Limits::default())
            .resuming(self.waiting.clone(), self.stopped);
        self.world.shown.clear();
        self.world.read.clear();
        self.watched.clear();
        self.start();
    }

    pub(super) fn input(&mut self, input: Input) {
        let out = self.agent.step(input, self.now);
        self.take(out);
    }

    fn take(&mut self, out: Outputs) {
        if out.took_index {
            self.held = self.agent.held().clone();
        }
        if out.took_index || out.kept_index {
            self.waiting = self.agent.waiting().cloned();
        }
        self.stopped = out.stopped.or(self.stopped);
        self.proofs += u32::from(out.prove);
        for name in out.dirty {
            if let Some(Instance { applied, stated, .. }) = self.agent.instance(&name) {
                let known = self.journal.entry(name).or_insert_with(nothing);
                (known.applied, known.stated) = (*applied, stated.clone());
            }
        }
        for (name, keys) in out.items {
            let Some(instance) = self.agent.instance(&name) else { continue };
            let known = self.journal.entry(name).or_insert_with(nothing);
            for key in keys {
                match instance.items.get(&key) {
                    Some(item) => drop(known.items.insert(key, item.clone())),
                    None => drop(known.items.remove(&key)),
                }
            }
        }
        out.gone.iter().for_each(|name| drop(self.journal.remove(name)));
        self.facts.extend(out.facts);
        for act in out.acts {
            match act {
                Act::Watch(kinds) => {
                    kinds.difference(&self.watched).for_each(|kind| self.world.list(kind));
                    self.watched = kinds;
                }
                Act::Instance { app, effect } => self.pending.push_back((app, effect)),
            }
        }
        self.check();
    }

    /// What must hold after every step; where a look reads many objects, after some of them.
    fn check(&self) {
        if !self.world.clock.is_multiple_of(1 + self.world.objects.len() as u64 / 64) {
            return;
        }
        let owners = self.agent.instances().map(|(_, instance)| instance);
        crate::invariant::inventories(owners).unwrap();
        self.agent.check().unwrap();
        for (name, instance) in self.agent.instances() {
            let known = self.journal.get(name).map(|stored| &stored.items);
            let keys = instance.items.keys().chain(known.into_iter().flat_map(BTreeMap::keys));
            for key in keys.filter(|key| !instance.unsaved().contains(*key)) {
                let saved = known.and_then(|known| known.get(key));
                assert_eq!(instance.items.get(key), saved, "{key} of {name} is journalled as it is");
            }
        }
    }

    /// Shows what the watches have.
    pub(super) fn watch(&mut self) {
        while let Some(input) = self.world.shown.pop_front() {
            self.input(input);
        }
    }

    /// Carries out one pending effect, by its place.
    pub(super) fn perform(&mut self, place: usize) {
        let (app, effect) = self.pending.remove(place).expect("an effect is pending");
        let input = self.world.perform(app, effect);
        self.input(input);
    }

    /// Carries out what is pending until what is `wanted` is the next, and takes that out without an answer.
    pub(super) fn hold_back(&mut self, wanted: impl Fn(&Effect) -> bool) -> (AppId, Effect) {
        while !self.pending.front().is_some_and(|(_, effect)| wanted(effect)) {
            self.perform(0);
        }
        self.pending.pop_front().unwrap()
    }

    /// The cluster is restored from a backup while the agent runs.
    pub(super) fn restore(&mut self, backup: World) {
        let kinds = self.watched.clone();
        self.world.restore(backup, &kinds);
    }

    /// Everything that can happen without time passing.
    pub(super) fn run(&mut self) {
        let objects = self.world.bundles.values().map(Vec::len).sum::<usize>() + self.world.objects.len();
        for _ in 0..STEPS_MAX + STEPS_PER_OBJECT * objects {
            self.watch();
            if !self.pending.is_empty() {
                self.perform(0);
            } else if self.agent.next_wake().is_some_and(|due| due <= self.now) {
                self.input(Input::Wake);
            } else {
                return;
            }
        }
        panic!("the agent spins: next wake {:?} at {:?}", self.agent.next_wake(), self.now);
    }

    /// Time passes, with nothing done but what it brings at its end.
    pub(super) fn wait(&mut self, span: Span) {
        self.now = self.now.plus(span);
        self.input(Input::Wake);
    }

    /// Time passes, with everything that happens in it.
    pub(super) fn pass(&mut self, span: Span) {
        let end = self.now.plus(span);
        self.run();
        while let Some(due) = self.agent.next_wake().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.input(Input::Wake);
            self.run();
        }
        self.now = end;
    }

    /// The entry of an app from here on; the index is sent by [`Sim::send`].
    pub(super) fn entry(&mut self, name: &str, letter: char, objects: Vec<Object>) -> &mut Entry {
        let text: String =
            objects.iter().flat_map(|object| [object.key.to_string(), object.content.to_string()]).collect();
        let bundle = digest(&format!("{letter}{text}"));
        self.world.bundles.insert(bundle, objects);
        let generation = self.index.mark.generation + 1;
        let entry = Entry {
            since: Mark { epoch: 1, generation },
            digest: bundle,
            sealed: bundle,
            commit: commit(letter),
            policy: policy(),
            approved: None,
            withdrawn: None,
            trace: None,
        };
        self.index.entries.insert(app(name), entry);
        self.index.entries.get_mut(&app(name)).unwrap()
    }

    /// Changes an entry and raises it.
    pub(super) fn change(&mut self, name: &str, change: impl FnOnce(&mut Entry)) {
        let generation = self.index.mark.generation + 1;
        let entry = self.index.entries.get_mut(&app(name)).unwrap();
        entry.since = Mark { epoch: 1, generation };
        change(entry);
        self.send();
    }

    /// Sends the index as its next generation.
    pub(super) fn send(&mut self) {
        self.index.mark.generation += 1;
        self.give(Permit::None);
    }

    /// Gives the index as it is, with what lets it in.
    pub(super) fn give(&mut self, permit: Permit) {
        let text = format!("index {}", self.index.mark);
        self.input(Input::Index { index: self.index.clone(), digest: digest(&text), permit });
    }

    /// Delivers a bundle and lets it come to rest.
    pub(super) fn deliver(&mut self, name: &str, letter: char, objects: Vec<Object>) {
        self.entry(name, letter, objects);
        self.send();
        self.pass(Span::secs(30));
    }

    pub(super) fn step_of(&self, name: &str) -> Option<Step> {
        self.agent.instance(&app(name)).map(Instance::step)
    }

    /// As it was stated last.
    pub(super) fn phase(&self, name: &str) -> Phase {
        self.agent.instance(&app(name)).unwrap().stated.as_ref().unwrap().phase
    }

    pub(super) fn message(&self, name: &str) -> String {
        self.agent.instance(&app(name)).unwrap().stated.as_ref().unwrap().message.clone()
    }

    /// Kinds of the facts since the last call, statuses with phase and health.
    pub(super) fn said(&mut self) -> Vec<String> {
        core::mem::take(&mut self.facts)
            .into_iter()
            .map(|event| match event.fact {
                AgentFact::InstanceChanged(status) => format!("{} {}", status.phase, status.health),
                fact => fact.kind().to_string(),
            })
            .collect()
    }

    pub(super) fn applied(&mut self) -> Vec<String> {
        core::mem::take(&mut self.world.applies).into_iter().map(|(key, _)| key.to_string()).collect()
    }

    pub(super) fn has(&self, text: &str) -> bool {
        self.has_key(&key(text))
    }

    pub(super) fn has_key(&self, key: &Key) -> bool {
        self.world.objects.contains_key(key)
    }
}
