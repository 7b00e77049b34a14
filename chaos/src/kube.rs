//! What an agent asks of its API server, what that answers, and what watches show.

use crate::api::{Live, problem};
use crate::plan::{Action, Fault, Mistake};
use crate::site::SiteJob;
use crate::world::{Happening, World, cut};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use taffrail_core::desired::Mark;
use taffrail_core::id::AppId;
use taffrail_core::node::agent::Input;
use taffrail_core::object::Key;
use taffrail_core::sync::{Deleted, Effect, Fingerprint, Inspected, Problem, Unstored};

/// Requests of a dead process that still reach the server, in milliseconds after its death.
const ECHO: u64 = 200;

/// A request on its way to the API server.
#[derive(Debug)]
pub(crate) struct Request {
    app: AppId,
    effect: Effect,
    /// The body that is applied or compared, as the journal had it when the request left.
    body: Option<Value>,
}

/// One kind that is watched.
#[derive(Debug)]
pub(crate) struct Watch {
    number: u64,
    listed: bool,
    last: u64,
    known: BTreeMap<Key, Fingerprint>,
}

/// Group, version and kind.
type Kind = (String, String, String);

fn kind_of(key: &Key) -> Kind {
    (key.group.clone(), "v1".into(), key.kind.clone())
}

impl World {
    /// A request leaves.
    pub(crate) fn request(&mut self, site: usize, app: AppId, effect: Effect) {
        let pause = if self.strikes(Fault::SlowApi, 100) {
            self.random.between(500, 15_000)
        } else {
            self.random.between(1, 30)
        };
        let content = match &effect {
            Effect::Apply { object, .. } | Effect::Inspect { against: Some(object), .. } => {
                Some(object.content)
            }
            _ => None,
        };
        let at = &self.sites[site];
        let body = content.and_then(|content| at.journal.as_ref()?.body(content));
        let body = body.and_then(|body| serde_json::from_slice(body).ok());
        let life = at.life;
        if content.is_some() && body.is_none() {
            // A newer index took the bundle away: the act belongs to a run that is over.
            if let Some(answer) = failed(app, effect) {
                self.post_site(site, answer);
            }
            return;
        }
        self.after(pause, Happening::Api(site, life, Request { app, effect, body }));
    }

    /// The judge hears of a deletion when it leaves the driver: from then on it is waited for before anything else is done.
    pub(crate) fn may_delete(&mut self, site: usize, under: Mark, app: &AppId, key: &Key) {
        let Some(account) = self.sites[site].account().cloned() else { return };
        let stored = self.sites[site].api.inventories.get(app).cloned().unwrap_or_default();
        let index = self.check.taken_at(&account, under);
        let digest = index.and_then(|index| Some(index.entries.get(app)?.digest));
        let objects = &self.sites[site].api.objects;
        let counts = |key: &&Key| {
            let live = objects.get(*key);
            live.is_some_and(|live| {
                live.applied_by.as_ref() == Some(app) && !live.excused && !live.keep && !live.deleting
            })
        };
        let in_bundle = |key: &&Key| digest.is_some_and(|digest| self.check.holds(&digest, key));
        let leaving = stored.iter().filter(counts).filter(|key| !in_bundle(key)).count();
        self.check.deletes((&account, under), app, key, stored.len(), leaving);
    }

    /// The API server takes a request, whoever still waits for the answer.
    pub(crate) fn api(&mut self, site: usize, life: u64, request: Request) {
        let dead = self.sites[site].life != life || self.sites[site].process.is_none();
        if dead {
            let late = self.sites[site].life != life || self.now - self.sites[site].died_at > ECHO;
            if late || self.random.per_mille(500) {
                return;
            }
            if matches!(request.effect, Effect::Apply { .. }) {
                self.seen.saw("an agent died in the middle of an apply");
            }
        }
        let Request { app, effect, body } = request;
        self.say(|| format!("api {site}: {app} {}", cut(&effect, 160)));
        let answer = if self.strikes(Fault::ApiErrors, 120) {
            self.seen.saw("an API request failed");
            failed(app, effect)
        } else {
            self.done(site, app, effect, body.as_ref())
        };
        let Some(answer) = answer else { return };
        if !dead {
            let pause = if self.strikes(Fault::SlowApi, 50) {
                self.random.between(100, 4_000)
            } else {
                self.random.between(1, 20)
            };
            self.site_after(site, pause, SiteJob::Post(Box::new(answer)));
        }
    }

    fn done(&mut self, site: usize, app: AppId, effect: Effect, body: Option<&Value>) -> Option<Input> {
        let now = self.now;
        let lost = self.strikes(Fault::LostAnswers, 120);
        let answer = match effect {
            Effect::Load { .. } => return None,
            Effect::Store { run, keys } => {
                let keys = keys.into_iter().map(|(key, _)| key).collect();
                self.sites[site].api.inventories.insert(app.clone(), keys);
                let outcome = if lost { Err(Unstored::Failed(problem("no answer"))) } else { Ok(()) };
                Input::Stored { app, run, outcome }
            }
            Effect::EnsureNamespace { run, namespace } => {
                if let Some(key) = self.sites[site].api.ensure_namespace(&namespace) {
                    self.changed(site, &key);
                }
                Input::NamespaceEnsured { app, run, problem: lost.then(|| problem("no answer")) }
            }
            Effect::Apply { run, object, commit, look_first } => {
                let known =
                    self.sites[site].api.inventories.get(&app).is_some_and(|keys| keys.contains(&object.key));
                self.check
                    .must(known, || format!("{app} applies {} before its inventory names it", object.key));
                let api = &mut self.sites[site].api;
                let outcome = api.apply(&app, &object, body?, look_first, now, &mut self.random);
                let healthy_at = api.objects.get(&object.key).map(|live| live.healthy_at);
                self.changed(site, &object.key);
                if let Some(at) = healthy_at.filter(|at| *at > now && object.key.kind == "Deployment") {
                    self.after(at - now, Happening::Controller(site, object.key.clone()));
                }
                let outcome = if lost { Err(problem("no answer")) } else { outcome };
                Input::Applied { app, run, object, commit, outcome }
            }
            Effect::Delete { run, key, uid, .. } => {
                let outcome = self.remove(site, &app, &key, &uid);
                let outcome = if lost { Err(problem("no answer")) } else { outcome };
                Input::Deleted { app, run, key, outcome }
            }
            Effect::Inspect { key, against, .. } => {
                let found = self.sites[site].api.inspect(&key, against.as_ref().and(body), now);
                let outcome = if lost { Inspected::Unreadable("no answer".into()) } else { found };
                Input::Inspected { app, key, against: against.is_some(), outcome }
            }
            Effect::Forget { run } => {
                self.sites[site].api.inventories.remove(&app);
                let outcome = if lost { Err(Unstored::Failed(problem("no answer"))) } else { Ok(()) };
                Input::Stored { app, run, outcome }
            }
        };
        if lost {
            self.seen.saw("an API answer was lost after it took effect");
        }
        Some(answer)
    }

    fn remove(&mut self, site: usize, app: &AppId, key: &Key, uid: &str) -> Result<Deleted, Problem> {
        let before = self.sites[site].api.objects.get(key).cloned();
        let outcome = Ok(self.sites[site].api.delete(app, key, uid));
        let after = self.sites[site].api.objects.get(key);
        let gone = before.is_some() && after.is_none_or(|live| live.deleting);
        if let Some(before) = before.filter(|_| gone) {
            self.check.must(before.applied_by.is_some(), || {
                format!("{app} deletes {key}, which somebody else made")
            });
            self.check.must(!before.keep, || format!("{app} deletes {key}, which is to be kept"));
        }
        self.changed(site, key);
        if outcome == Ok(Deleted::Pending) {
            self.seen.saw("a pruned object waited for its finalizer");
            let pause = self.finalizer();
            self.after(pause, Happening::Controller(site, key.clone()));
        }
        outcome
    }

    /// A controller acts: a workload became ready, or a finalizer is done.
    pub(crate) fn controller(&mut self, site: usize, key: &Key) {
        let gone = self.sites[site].api.finalize(key);
        if gone.is_empty() {
            self.sites[site].api.touch(key);
            self.changed(site, key);
        }
        for key in gone {
            self.changed(site, &key);
        }
    }

    /// Somebody else changes a cluster.
    pub(crate) fn meddle(&mut self, action: Action) {
        let (Action::Edit(site) | Action::Delete(site) | Action::Unlabel(site) | Action::Squat(site)) =
            action
        else {
            return;
        };
        let key = if matches!(action, Action::Squat(_)) {
            let named: Vec<Key> = self
                .git
                .at_head()
                .tree
                .folders
                .values()
                .flat_map(|folder| folder.objects.keys().cloned())
                .collect();
            let Some(key) = named.get(self.random.place(named.len())).cloned() else { return };
            key
        } else {
            let ours = self.sites[site].api.objects.iter();
            let ours = ours.filter(|(_, live)| live.applied_by.is_some());
            let keys: Vec<Key> = ours.map(|(key, _)| key.clone()).collect();
            let Some(key) = keys.get(self.random.place(keys.len())).cloned() else { return };
            key
        };
        self.say(|| format!("somebody: {action:?} {key}"));
        let api = &mut self.sites[site].api;
        match action {
            Action::Edit(_) => api.edit(&key, &mut self.random),
            Action::Unlabel(_) => api.unlabel(&key),
            Action::Squat(_) => {
                if !key.namespace.is_empty() {
                    api.ensure_namespace(&key.namespace);
                }
                api.squat(&key);
            }
            _ => self.delete(site, &key),
        }
        self.changed(site, &key);
    }

    /// Somebody deletes an object of ours; some wait for their finalizers.
    fn delete(&mut self, site: usize, key: &Key) {
        let pause = self.finalizer();
        let api = &mut self.sites[site].api;
        if api.objects.get(key).is_some_and(|live| live.part_of.is_none()) {
            self.seen.saw("an object without our label was deleted");
        }
        if api.end(key) {
            self.after(pause, Happening::Controller(site, key.clone()));
        }
    }

    /// How long a finalizer takes, in milliseconds.
    fn finalizer(&mut self) -> u64 {
        let most = self.random.pick(&[1_000, 6_000, 30_000]);
        self.random.between(300, most)
    }

    /// Somebody wants back in Git what is being deleted in some cluster. Whether there was such a thing.
    pub(crate) fn give_back(&mut self) -> bool {
        let tree = &self.git.at_head().tree;
        let going = self.sites.iter().flat_map(|site| site.api.objects.iter()).filter_map(|(key, live)| {
            let app = live.applied_by.as_ref().filter(|_| live.deleting)?.name.to_string();
            let folder = tree.folders.get(&app)?;
            (!folder.objects.contains_key(key)).then(|| (app, key.clone(), live.values()))
        });
        let going: Vec<_> = going.collect();
        let Some((app, key, fields)) = going.get(self.random.place(going.len())).cloned() else {
            return false;
        };
        self.seen.saw("what was being deleted came back to Git");
        self.say(|| format!("-- {key} comes back"));
        self.git.give_back(&app, key, fields);
        self.pushed();
        true
    }

    /// The watcher is told what to watch.
    pub(crate) fn watch(&mut self, site: usize, kinds: BTreeSet<Kind>) {
        let Some(process) = self.process(site) else { return };
        process.watches.retain(|kind, _| kinds.contains(kind));
        let fresh: Vec<Kind> = kinds.into_iter().filter(|kind| !process.watches.contains_key(kind)).collect();
        for kind in fresh {
            self.list_again(site, kind, 5);
        }
    }

    fn list_again(&mut self, site: usize, kind: Kind, pause: u64) {
        let pause = pause + self.random.between(1, 200);
        let Some(process) = self.process(site) else { return };
        process.next_watch += 1;
        let number = process.next_watch;
        let fresh = Watch { number, listed: false, last: 0, known: BTreeMap::new() };
        let watch = process.watches.entry(kind.clone()).or_insert(fresh);
        (watch.number, watch.listed) = (number, false);
        self.site_after(site, pause, SiteJob::List(kind, number));
    }

    /// A watch lists: what differs is told, and what is not there any more is gone.
    pub(crate) fn list(&mut self, site: usize, kind: &Kind, number: u64) {
        let half = self.has(Mistake::HalfList) && self.random.per_mille(300);
        let errors = self.strikes(Fault::ApiErrors, 200);
        let labelled = |(key, live): &(&Key, &Live)| live.part_of.is_some() && kind_of(key) == *kind;
        let live = self.sites[site].api.objects.iter().filter(labelled);
        let mut now: BTreeMap<Key, Fingerprint> =
            live.map(|(key, live)| (key.clone(), live.fingerprint())).collect();
        if half {
            now.pop_last();
        }
        let Some(process) = self.process(site) else { return };
        let Some(watch) = process.watches.get_mut(kind).filter(|watch| watch.number == number) else {
            return;
        };
        if errors && !half {
            return self.list_again(site, kind.clone(), 500);
        }
        watch.listed = true;
        let before = std::mem::replace(&mut watch.known, now.clone());
        for (key, fingerprint) in now {
            if before.get(&key) != Some(&fingerprint) {
                self.post_site(site, Input::Seen { key, fingerprint });
            }
        }
        let known =
            self.process(site).and_then(|process| process.watches.get(kind)).map(|watch| watch.known.clone());
        let known = known.unwrap_or_default();
        for key in before.into_keys().filter(|key| !known.contains_key(key)) {
            self.post_site(site, Input::Gone { key });
        }
        self.post_site(site, Input::Listed { kind: kind.clone(), served: true });
    }

    /// An object changed: whoever watches its kind will see it, in order.
    pub(crate) fn changed(&mut self, site: usize, key: &Key) {
        let kind = kind_of(key);
        let breaks = self.strikes(Fault::WatchBreaks, 60);
        let (pause, now) = (self.random.between(1, 60), self.now);
        let live = self.sites[site].api.objects.get(key).filter(|live| live.part_of.is_some());
        let print = live.map(Live::fingerprint);
        let Some(process) = self.process(site) else { return };
        let Some(watch) = process.watches.get_mut(&kind).filter(|watch| watch.listed) else { return };
        if breaks {
            self.seen.saw("a watch listed again");
            return self.list_again(site, kind, 1_000);
        }
        watch.last = watch.last.max(now + pause);
        let (wait, number) = (watch.last - now, watch.number);
        self.site_after(site, wait, SiteJob::Shown(kind, number, key.clone(), print));
    }

    /// A watch shows a change, if it tells anything new.
    pub(crate) fn show(
        &mut self,
        site: usize,
        kind: &Kind,
        number: u64,
        key: Key,
        print: Option<Fingerprint>,
    ) {
        let Some(process) = self.process(site) else { return };
        let Some(watch) = process.watches.get_mut(kind).filter(|watch| watch.number == number) else {
            return;
        };
        match print {
            Some(fingerprint) => {
                if watch.known.insert(key.clone(), fingerprint.clone()) != Some(fingerprint.clone()) {
                    self.post_site(site, Input::Seen { key, fingerprint });
                }
            }
            None => {
                if watch.known.remove(&key).is_some() {
                    self.post_site(site, Input::Gone { key });
                }
            }
        }
    }
}

/// A request that was refused without any effect.
fn failed(app: AppId, effect: Effect) -> Option<Input> {
    let no = || problem("the API server says no");
    Some(match effect {
        Effect::Store { run, .. } | Effect::Forget { run } => {
            Input::Stored { app, run, outcome: Err(Unstored::Failed(no())) }
        }
        Effect::EnsureNamespace { run, .. } => Input::NamespaceEnsured { app, run, problem: Some(no()) },
        Effect::Apply { run, object, commit, .. } => {
            Input::Applied { app, run, object, commit, outcome: Err(no()) }
        }
        Effect::Delete { run, key, .. } => Input::Deleted { app, run, key, outcome: Err(no()) },
        Effect::Inspect { key, against, .. } => {
            let outcome = Inspected::Unreadable("the API server says no".into());
            Input::Inspected { app, key, against: against.is_some(), outcome }
        }
        Effect::Load { .. } => return None,
    })
}
