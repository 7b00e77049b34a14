//! What the tree of a source declares: a root per cluster, and apps of our own dialect side by side.

use super::Tools;
use crate::git::Tree;
use crate::render::{self, yaml};
use std::collections::BTreeMap;
use std::sync::Arc;
use taffrail_core::catalog::resolve::join;
use taffrail_core::catalog::{Dialect, Listing, Reading, Render, Root, Unreadable, dialect, parse};
use taffrail_core::id::{ClusterName, CommitId, SourceName};
use taffrail_core::node::hub::Input;
use taffrail_core::source::Track;

/// The directory of a source that holds a root per cluster.
const CLUSTERS: &str = "clusters";

/// Names of a kustomization file, in kustomize's order.
const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// What is to be read.
pub(super) struct Job {
    pub(super) source: SourceName,
    pub(super) track: Track,
    pub(super) path: String,
    pub(super) commit: CommitId,
    pub(super) cause: u64,
    pub(super) trace: Option<String>,
}

/// Reads every root of a source at a commit.
pub(super) async fn read(tools: Arc<Tools>, job: Job) -> anyhow::Result<Input> {
    let mirror = tools.mirrors.get(&job.track.url)?;
    let tree = mirror.read_tree(&job.commit, "").await?;
    let mut roots = BTreeMap::new();
    for name in cluster_roots(&tree, &job.path) {
        let path = join(&job.path, &format!("{CLUSTERS}/{name}"));
        roots.insert(Root::Cluster(name), cluster_root(&tools, &tree, path).await?);
    }
    if let Some(listing) = directory(&tree, &job.path)? {
        roots.insert(Root::Directory, listing);
    }
    let Job { source, commit, cause, trace, .. } = job;
    Ok(Input::Read(Reading { source, commit, roots, cause: Some(cause), trace }))
}

/// Names of the clusters that have a directory with a kustomization.
fn cluster_roots(tree: &Tree, path: &str) -> Vec<ClusterName> {
    let base = join(path, CLUSTERS);
    let mut names: Vec<ClusterName> = Vec::new();
    for (file, _) in tree.under(&base) {
        let Some((name, rest)) = file.get(base.len() + 1..).and_then(|rest| rest.split_once('/')) else {
            continue;
        };
        if let (true, Ok(name)) = (KUSTOMIZATIONS.contains(&rest), ClusterName::parse(name)) {
            names.push(name);
        }
    }
    names.sort();
    names.dedup();
    names
}

async fn cluster_root(
    tools: &Arc<Tools>,
    tree: &Tree,
    path: String,
) -> anyhow::Result<Result<Listing, Unreadable>> {
    let job = render::Job { tree: tree.clone(), path, render: Render::Kustomize };
    match tools.renderer.render(job).await {
        Err(error) if error.is_transient() => Err(error.into()),
        Err(error) => Ok(Err(unreadable(&error))),
        Ok(rendered) => Ok(listing(&rendered.objects, tree, true)),
    }
}

fn unreadable(error: &render::Error) -> Unreadable {
    Unreadable {
        file: Some(error.file.clone()).filter(|file| !file.is_empty()),
        line: Some(error.line).filter(|line| *line > 0),
        cause: error.cause.clone(),
    }
}

/// Reads the declarations that lie directly in the source's directory; `None` if there is none.
fn directory(tree: &Tree, path: &str) -> anyhow::Result<Option<Result<Listing, Unreadable>>> {
    let base = if path.is_empty() { 0 } else { path.len() + 1 };
    let mut documents = Vec::new();
    for (file, _) in tree.under(path) {
        let name = &file[base..];
        let is_manifest = [".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending));
        if name.contains('/') || !is_manifest || KUSTOMIZATIONS.contains(&name) {
            continue;
        }
        let Some(bytes) = tree.load(file)? else { continue };
        match yaml::read(&bytes, file) {
            Ok(found) => {
                documents.extend(found.into_iter().filter(|document| dialect(&document.value).is_some()));
            }
            Err(error) => {
                let (file, line) = (Some(error.file.clone()), Some(error.line));
                return Ok(Some(Err(Unreadable { file, line, cause: error.cause })));
            }
        }
    }
    Ok((!documents.is_empty()).then(|| listing(&documents, tree, false)))
}

/// Sorts documents into apps and the rest. One refused declaration makes the whole root unreadable: it keeps what it
/// declared before, so that a typing error removes nothing.
fn listing(documents: &[yaml::Document], tree: &Tree, whole_root: bool) -> Result<Listing, Unreadable> {
    let mut listing = Listing::default();
    for document in documents {
        let Some(kind) = dialect(&document.value) else {
            listing.rest |= whole_root;
            continue;
        };
        let place = |pointer: &str| place(document, tree, pointer);
        match parse(&document.value) {
            Ok(parsed) => {
                listing.notes.extend(parsed.warnings.iter().map(|warning| {
                    let (file, line) = place(&warning.pointer);
                    format!("{file}:{line}: {warning}")
                }));
                listing.apps.push(parsed.declared);
            }
            Err(refused) => {
                let (file, line) = place(&refused.pointer);
                let what = match kind {
                    Dialect::Application => "Application",
                    Dialect::App => "App",
                };
                let cause = format!("{what} is refused: {refused}");
                return Err(Unreadable { file: Some(file), line: Some(line), cause });
            }
        }
    }
    listing.apps.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = listing.apps.windows(2).find(|pair| pair[0].name == pair[1].name) {
        let cause = format!("app {} is declared twice", pair[0].name);
        return Err(Unreadable { file: None, line: None, cause });
    }
    Ok(listing)
}

/// File and line of a field, as near as the file says.
fn place(document: &yaml::Document, tree: &Tree, pointer: &str) -> (String, u32) {
    let text = tree.load(&document.file).ok().flatten();
    let line = text.and_then(|text| yaml::line_of(&text, document.document, pointer));
    (document.file.clone(), line.unwrap_or(document.line))
}
