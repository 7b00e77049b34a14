//! The repository: commits, what their trees declare, and what people push.

use crate::plan::Push;
use crate::random::Random;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use taffrail_core::catalog::MaxDeletes;
use taffrail_core::id::CommitId;
use taffrail_core::object::Key;

/// Address of the one repository.
pub(crate) const URL: &str = "https://git.example/fleet";

/// The revisions that exist; both name the branch's head.
pub(crate) const REVISIONS: [&str; 2] = ["HEAD", "main"];

/// An object as a tree holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    /// Its fields.
    pub(crate) fields: BTreeMap<String, String>,
    /// It carries `Prune=false`.
    pub(crate) keep: bool,
}

/// What a directory renders to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Folder {
    /// By key.
    pub(crate) objects: BTreeMap<Key, Object>,
    /// It cannot be rendered.
    pub(crate) broken: bool,
}

/// An app as a root declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "these are the switches of the published format")]
pub(crate) struct Declared {
    /// Its name, its folder and its namespace.
    pub(crate) name: String,
    /// Which of the two revisions it follows.
    pub(crate) revision: &'static str,
    /// Switches.
    pub(crate) automated: bool,
    /// Deletes what left.
    pub(crate) prune: bool,
    /// Heals.
    pub(crate) self_heal: bool,
    /// May become empty.
    pub(crate) allow_empty: bool,
    /// Makes its namespace.
    pub(crate) create_namespace: bool,
    /// Bound of deletions.
    pub(crate) max_deletes: MaxDeletes,
}

/// One tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    /// Apps by number of the cluster.
    pub(crate) roots: BTreeMap<usize, Vec<Declared>>,
    /// Roots that cannot be read.
    pub(crate) garbled: BTreeSet<usize>,
    /// Apps for every cluster.
    pub(crate) shared: Vec<Declared>,
    /// Folders by name of the app.
    pub(crate) folders: BTreeMap<String, Folder>,
    /// Changes that nobody reads.
    pub(crate) readme: u64,
}

/// One commit.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    /// Its id.
    pub(crate) id: CommitId,
    /// Place of its parent.
    pub(crate) parent: Option<usize>,
    /// Its tree.
    pub(crate) tree: Tree,
}

/// The repository.
#[derive(Clone, Debug)]
pub(crate) struct Git {
    /// Every commit that was ever pushed.
    pub(crate) commits: Vec<Commit>,
    /// Where the branch stands.
    pub(crate) head: usize,
}

/// Key of an object of an app.
pub(crate) fn key(app: &str, kind: &str, name: &str) -> Key {
    let (group, namespace) = match kind {
        "Deployment" => ("apps", app),
        "Namespace" => ("", ""),
        _ => ("", app),
    };
    Key { group: group.into(), kind: kind.into(), namespace: namespace.into(), name: name.into() }
}

/// The object as a renderer writes it.
pub(crate) fn value(key: &Key, object: &Object) -> Value {
    let version = if key.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", key.group) };
    let mut metadata = json!({ "name": key.name });
    if !key.namespace.is_empty() {
        metadata["namespace"] = json!(key.namespace);
    }
    if object.keep {
        metadata["annotations"] = json!({ "argocd.argoproj.io/sync-options": "Prune=false" });
    }
    json!({ "apiVersion": version, "kind": key.kind, "metadata": metadata, "data": object.fields })
}

impl Git {
    /// A repository with a few apps for these clusters.
    pub(crate) fn new(clusters: usize, random: &mut Random) -> Git {
        let mut tree = Tree::default();
        for cluster in 0..clusters {
            let apps = (0..random.between(1, 2)).map(|number| format!("app{}", number + cluster as u64 % 2));
            tree.roots.insert(cluster, apps.map(|name| declared(&name, random)).collect());
        }
        if random.per_mille(500) {
            tree.shared.push(declared("shared", random));
        }
        let names: Vec<String> =
            tree.roots.values().flatten().chain(&tree.shared).map(|app| app.name.clone()).collect();
        for name in names {
            let folder = folder(&name, random);
            tree.folders.entry(name).or_insert(folder);
        }
        let first = Commit { id: id(0), parent: None, tree };
        Git { commits: Vec::from([first]), head: 0 }
    }

    /// The commit at the head.
    pub(crate) fn at_head(&self) -> &Commit {
        &self.commits[self.head]
    }

    /// A commit by its id.
    pub(crate) fn commit(&self, id: &CommitId) -> Option<&Commit> {
        self.commits.iter().find(|commit| commit.id == *id)
    }

    /// Whether `older` is reached from `newer` by parents.
    pub(crate) fn descends(&self, newer: &CommitId, older: &CommitId) -> bool {
        let mut at = self.commits.iter().position(|commit| commit.id == *newer);
        while let Some(place) = at {
            if self.commits[place].id == *older {
                return true;
            }
            at = self.commits[place].parent;
        }
        false
    }

    /// A commit with this tree on top of `parent` becomes the head.
    pub(crate) fn commit_on(&mut self, parent: usize, tree: Tree) -> &Commit {
        let id = id(self.commits.len());
        self.commits.push(Commit { id, parent: Some(parent), tree });
        self.head = self.commits.len() - 1;
        self.at_head()
    }

    /// Somebody pushes.
    pub(crate) fn push(&mut self, what: Push, random: &mut Random) {
        let mut tree = self.at_head().tree.clone();
        if what == Push::Revert {
            let back = random.place(self.commits.len());
            tree = self.commits[back].tree.clone();
        } else {
            change(&mut tree, what, random);
        }
        self.commit_on(self.head, tree);
    }

    /// Somebody wants an object back.
    pub(crate) fn give_back(&mut self, app: &str, key: Key, fields: BTreeMap<String, String>) {
        let mut tree = self.at_head().tree.clone();
        if let Some(folder) = tree.folders.get_mut(app) {
            folder.objects.insert(key, Object { fields, keep: false });
        }
        self.commit_on(self.head, tree);
    }

    /// Somebody moves the branch to a history that lacks its head.
    pub(crate) fn force(&mut self, random: &mut Random) {
        let Some(parent) = self.at_head().parent else { return };
        let mut tree = self.commits[parent].tree.clone();
        change(&mut tree, Push::Field, random);
        self.commit_on(parent, tree);
    }

    /// Somebody mends whatever is broken.
    pub(crate) fn mend(&mut self, clusters: usize, random: &mut Random) {
        let mut tree = self.at_head().tree.clone();
        tree.garbled.clear();
        for cluster in 0..clusters {
            tree.roots.entry(cluster).or_default();
        }
        if tree.roots.values().all(Vec::is_empty) && tree.shared.is_empty() {
            let app = declared("app0", random);
            tree.roots.entry(0).or_default().push(app);
        }
        for app in tree.roots.values().flatten().chain(&tree.shared) {
            tree.folders.entry(app.name.clone()).or_default();
        }
        for (name, folder) in &mut tree.folders {
            folder.broken = false;
            for object in folder.objects.values_mut() {
                object.fields.retain(|_, value| value != "sick");
            }
            let object =
                Object { fields: BTreeMap::from([("k".into(), random.bits().to_string())]), keep: false };
            folder.objects.insert(key(name, "ConfigMap", "mended"), object);
        }
        self.commit_on(self.head, tree);
    }
}

fn id(number: usize) -> CommitId {
    CommitId::parse(&format!("{number:040x}")).expect("forty hexadecimal characters are an id")
}

fn declared(name: &str, random: &mut Random) -> Declared {
    Declared {
        name: name.to_owned(),
        revision: if random.per_mille(800) { "HEAD" } else { "main" },
        automated: random.per_mille(850),
        prune: random.per_mille(850),
        self_heal: random.per_mille(800),
        allow_empty: random.per_mille(300),
        create_namespace: true,
        max_deletes: random.pick(&[MaxDeletes::Percent(20), MaxDeletes::Percent(50), MaxDeletes::Count(2)]),
    }
}

fn folder(app: &str, random: &mut Random) -> Folder {
    let mut folder = Folder::default();
    for _ in 0..random.between(1, 5) {
        grow(&mut folder, app, random);
    }
    folder
}

fn grow(folder: &mut Folder, app: &str, random: &mut Random) {
    let (kind, name) = match random.below(10) {
        0..5 => ("ConfigMap", format!("c{}", random.below(8))),
        5..8 => ("Deployment", format!("d{}", random.below(3))),
        8 => ("Secret", format!("slow{}", random.below(2))),
        _ => ("Namespace", format!("{app}-extra{}", random.below(2))),
    };
    let fields = (0..random.between(1, 3)).map(|field| (format!("f{field}"), random.below(100).to_string()));
    let object = Object { fields: fields.collect(), keep: random.per_mille(80) };
    folder.objects.insert(key(app, kind, &name), object);
}

fn change(tree: &mut Tree, what: Push, random: &mut Random) {
    let names: Vec<String> = tree.folders.keys().cloned().collect();
    let Some(name) = names.get(random.place(names.len())).cloned() else { return };
    let Some(folder) = tree.folders.get_mut(&name) else { return };
    let keys: Vec<Key> = folder.objects.keys().cloned().collect();
    let some = keys.get(random.place(keys.len())).cloned();
    match what {
        Push::Field => {
            let object = some.and_then(|key| folder.objects.get_mut(&key));
            if let Some(object) = object {
                object.fields.insert(format!("f{}", random.below(4)), random.below(1_000).to_string());
            }
        }
        Push::Grow => grow(folder, &name, random),
        Push::Shrink => drop(some.map(|key| folder.objects.remove(&key))),
        Push::Purge => {
            let kept = keys.first().cloned();
            folder.objects.retain(|key, _| Some(key) == kept.as_ref());
        }
        Push::Hollow => folder.objects.clear(),
        Push::Break => folder.broken = !folder.broken,
        Push::Sicken => {
            let workload = keys.iter().find(|key| key.kind == "Deployment");
            if let Some(object) = workload.and_then(|key| folder.objects.get_mut(key)) {
                object.fields.insert("image".into(), "sick".into());
            }
        }
        Push::Place => place(tree, random),
        Push::Garble => {
            let cluster = random.place(tree.roots.len());
            if !tree.garbled.remove(&cluster) {
                tree.garbled.insert(cluster);
            }
        }
        Push::Void => {
            tree.roots.clear();
            tree.shared.clear();
        }
        Push::Policy => {
            let apps = tree.roots.values_mut().flatten().chain(&mut tree.shared);
            for app in apps.filter(|app| app.name == name) {
                *app = Declared { revision: app.revision, ..declared(&name, random) };
            }
        }
        Push::Revert | Push::Readme | Push::Return => tree.readme += 1,
    }
}

fn place(tree: &mut Tree, random: &mut Random) {
    let cluster = random.place(tree.roots.len());
    let Some(root) = tree.roots.get_mut(&cluster) else { return };
    let name = format!("app{}", random.below(3));
    if let Some(at) = root.iter().position(|app| app.name == name) {
        root.remove(at);
        return;
    }
    root.push(declared(&name, random));
    root.sort_by(|one, other| one.name.cmp(&other.name));
    let fresh = folder(&name, random);
    tree.folders.entry(name).or_insert(fresh);
}
