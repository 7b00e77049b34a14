//! A cluster's API server: objects with owners of their fields, controllers that take their time, and what is watched.

use crate::random::Random;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use taffrail_core::desired::Mark;
use taffrail_core::health::{Health, Judgement};
use taffrail_core::id::{AccountKey, AppId};
use taffrail_core::object::{Key, Owned};
use taffrail_core::sync::{Applied, Deleted, Fingerprint, Inspected, LostField, Object, Problem};

/// Field manager of a person.
const PERSON: &str = "kubectl-edit";

/// One live object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live {
    /// Its identity.
    pub(crate) uid: u64,
    /// Its version.
    pub(crate) version: u64,
    /// Fields: value, and the manager if it is not us.
    pub(crate) fields: BTreeMap<String, (String, Option<&'static str>)>,
    /// Our label.
    pub(crate) part_of: Option<AppId>,
    /// Who applied it last, whatever became of the label.
    pub(crate) applied_by: Option<AppId>,
    /// A deletion waits for a finalizer.
    pub(crate) deleting: bool,
    /// From when on a workload is healthy, if it is not sick.
    pub(crate) healthy_at: u64,
    /// It carries `Prune=false`.
    pub(crate) keep: bool,
    /// Nobody has to delete it: its app was let go, the journal that knew it is lost, or Git asked for it to be kept and the
    /// agent heard of that.
    pub(crate) excused: bool,
}

/// The API server of one cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Api {
    /// Live objects.
    pub(crate) objects: BTreeMap<Key, Live>,
    /// Inventories by app, as agents stored them.
    pub(crate) inventories: BTreeMap<AppId, BTreeSet<Key>>,
    /// The mirrored mark, its account and incarnation.
    pub(crate) mark: Option<(AccountKey, Mark, u64)>,
    version: u64,
}

/// Kinds whose objects have a finalizer.
fn waits(key: &Key) -> bool {
    key.kind == "Secret" || key.kind == "Namespace"
}

fn counted(key: &Key) -> bool {
    key.kind == "Deployment"
}

impl Live {
    fn owned(&self) -> u64 {
        let ours = self.fields.iter().filter(|(_, (_, by))| by.is_none()).map(|(path, _)| path.clone());
        let label = self.part_of.iter().map(|_| String::from(".metadata.labels"));
        Owned::from_paths(ours.chain(label)).fingerprint()
    }

    /// What a watch shows of it.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            uid: self.uid.to_string(),
            version: self.version,
            owned: self.owned(),
            deleting: self.deleting,
        }
    }

    /// Its fields, whoever has them.
    pub(crate) fn values(&self) -> BTreeMap<String, String> {
        self.fields.iter().map(|(path, (value, _))| (path.clone(), value.clone())).collect()
    }

    /// Whether every field is as wanted and ours.
    pub(crate) fn equals(&self, wanted: &BTreeMap<String, String>) -> bool {
        let ours = self.fields.iter().filter(|(_, (_, by))| by.is_none());
        let ours: BTreeMap<&String, &String> = ours.map(|(path, (value, _))| (path, value)).collect();
        ours == wanted.iter().collect()
    }
}

/// A request that failed.
pub(crate) fn problem(message: &str) -> Problem {
    Problem { cause: None, message: message.to_owned() }
}

fn fields(value: &Value) -> BTreeMap<String, String> {
    let data = value.get("data").and_then(Value::as_object);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    data.into_iter().flatten().map(|(path, value)| (path.clone(), text(value))).collect()
}

impl Api {
    fn tick(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    fn judge(key: &Key, live: &Live, now: u64) -> Judgement {
        if !counted(key) {
            return Judgement { counted: false, ..Judgement::new(Health::Healthy, "") };
        }
        if live.fields.get("image").is_some_and(|(value, _)| value == "sick") {
            Judgement::new(Health::Degraded, "it does not start")
        } else if live.healthy_at <= now {
            Judgement::new(Health::Healthy, "")
        } else {
            Judgement::new(Health::Progressing, "starting")
        }
    }

    /// Server-side apply by force, as the agent's shell asks for it.
    pub(crate) fn apply(
        &mut self,
        app: &AppId,
        object: &Object,
        value: &Value,
        look_first: bool,
        now: u64,
        random: &mut Random,
    ) -> Result<Applied, Problem> {
        let key = &object.key;
        let home = Key {
            group: String::new(),
            kind: "Namespace".into(),
            namespace: String::new(),
            name: key.namespace.clone(),
        };
        if !key.namespace.is_empty() && self.objects.get(&home).is_none_or(|home| home.deleting) {
            return Err(problem("the namespace is not there"));
        }
        let wanted = fields(value);
        let created = !self.objects.contains_key(key);
        let version = self.tick();
        let live =
            self.objects.entry(key.clone()).or_insert_with(|| Live { uid: version, ..Live::default() });
        let before = live.clone();
        let foreign = |(path, value): (&String, &String)| {
            let (had, by) = before.fields.get(path)?;
            let manager = (*by)?;
            (look_first || had != value)
                .then(|| LostField { path: path.clone(), manager: manager.to_owned() })
        };
        let mut taken: Vec<LostField> = wanted.iter().filter_map(foreign).collect();
        if look_first && !created {
            let gone = wanted.keys().filter(|path| !before.fields.contains_key(*path));
            taken.extend(gone.map(|path| LostField { path: path.clone(), manager: PERSON.to_owned() }));
            if before.part_of.is_none() {
                taken.push(LostField { path: ".metadata.labels".into(), manager: PERSON.to_owned() });
            }
        }
        live.fields.retain(|path, (_, by)| by.is_some() || wanted.contains_key(path));
        live.fields.extend(wanted.iter().map(|(path, value)| (path.clone(), (value.clone(), None))));
        live.part_of = Some(app.clone());
        live.applied_by = Some(app.clone());
        (live.keep, live.excused) = (object.keep, false);
        let changed = created || before.fields != live.fields || before.part_of != live.part_of;
        if changed {
            live.version = version;
            if counted(key) && (created || before.fields != live.fields) {
                live.healthy_at = now + random.pick(&[200, 1_000, 3_000, 20_000]);
            }
        }
        let judgement = if counted(key) {
            Judgement::new(Health::Progressing, "applied")
        } else {
            Self::judge(key, live, now)
        };
        let fingerprint = live.fingerprint();
        Ok(Applied { fingerprint, judgement, taken, created })
    }

    /// Deletes an object under its uid; without one only an object that carries our mark, as the agent's shell does.
    pub(crate) fn delete(&mut self, app: &AppId, key: &Key, uid: &str) -> Deleted {
        let version = self.tick();
        let Some(live) = self.objects.get_mut(key) else { return Deleted::Gone };
        let same =
            if uid.is_empty() { live.part_of.as_ref() == Some(app) } else { live.uid.to_string() == uid };
        if !same {
            return Deleted::Gone;
        }
        if live.deleting {
            return Deleted::Pending;
        }
        if waits(key) {
            (live.deleting, live.version) = (true, version);
            return Deleted::Pending;
        }
        self.objects.remove(key);
        Deleted::Gone
    }

    /// Somebody deletes an object; whether it waits for its finalizer now.
    pub(crate) fn end(&mut self, key: &Key) -> bool {
        let version = self.tick();
        let Some(live) = self.objects.get_mut(key).filter(|live| !live.deleting) else { return false };
        if waits(key) {
            (live.deleting, live.version) = (true, version);
        } else {
            self.objects.remove(key);
        }
        waits(key)
    }

    /// A finalizer is done: the object goes, and with a namespace what lies in it. Says what went.
    pub(crate) fn finalize(&mut self, key: &Key) -> Vec<Key> {
        if self.objects.get(key).is_none_or(|live| !live.deleting) {
            return Vec::new();
        }
        self.tick();
        let inside = |of: &Key| of == key || (key.kind == "Namespace" && of.namespace == key.name);
        let gone: Vec<Key> = self.objects.keys().filter(|of| inside(of)).cloned().collect();
        for key in &gone {
            self.objects.remove(key);
        }
        gone
    }

    /// Makes a namespace if it is missing; whether it did.
    pub(crate) fn ensure_namespace(&mut self, name: &str) -> Option<Key> {
        let key = crate::git::key("", "Namespace", name);
        if self.objects.contains_key(&key) {
            return None;
        }
        let version = self.tick();
        self.objects.insert(key.clone(), Live { uid: version, version, ..Live::default() });
        Some(key)
    }

    /// A look at an object.
    pub(crate) fn inspect(&self, key: &Key, against: Option<&Value>, now: u64) -> Inspected {
        let Some(live) = self.objects.get(key) else { return Inspected::Missing };
        let mut lost = Vec::new();
        if let Some(value) = against {
            for path in fields(value).keys() {
                match live.fields.get(path) {
                    Some((_, None)) => {}
                    Some((_, Some(by))) => {
                        lost.push(LostField { path: path.clone(), manager: (*by).to_owned() });
                    }
                    None => lost.push(LostField { path: path.clone(), manager: PERSON.to_owned() }),
                }
            }
            if live.part_of.is_none() {
                lost.push(LostField { path: ".metadata.labels".into(), manager: PERSON.to_owned() });
            }
        }
        Inspected::Found { fingerprint: live.fingerprint(), judgement: Self::judge(key, live, now), lost }
    }

    /// A workload's status changed.
    pub(crate) fn touch(&mut self, key: &Key) {
        let version = self.tick();
        if let Some(live) = self.objects.get_mut(key) {
            live.version = version;
        }
    }

    /// Somebody writes a field, or takes one of ours away.
    pub(crate) fn edit(&mut self, key: &Key, random: &mut Random) {
        let version = self.tick();
        let Some(live) = self.objects.get_mut(key) else { return };
        let paths: Vec<String> = live.fields.keys().cloned().collect();
        let Some(path) = paths.get(random.place(paths.len())) else { return };
        live.version = version;
        if random.per_mille(200) {
            live.fields.remove(path);
        } else {
            live.fields.insert(path.clone(), (format!("edited{}", random.below(100)), Some(PERSON)));
        }
    }

    /// Somebody takes our label off.
    pub(crate) fn unlabel(&mut self, key: &Key) {
        let version = self.tick();
        if let Some(live) = self.objects.get_mut(key) {
            (live.part_of, live.version) = (None, version);
        }
    }

    /// Somebody makes an object of their own.
    pub(crate) fn squat(&mut self, key: &Key) {
        let version = self.tick();
        let fields = BTreeMap::from([("f0".to_owned(), ("theirs".to_owned(), Some(PERSON)))]);
        self.objects.entry(key.clone()).or_insert(Live { uid: version, version, fields, ..Live::default() });
    }
}
