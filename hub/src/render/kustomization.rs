//! Reads kustomizations to learn which files they use, and refuses what reaches beyond the repository.

use serde_json::Value;

use super::{
    Error, Reason,
    plan::{Found, Plan},
    yaml,
};
use crate::git::Tree;

/// Names of a kustomization.
pub(super) const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
/// Deepest nesting of kustomizations.
const DEPTH_MAX: usize = 64;
/// Fields that start programs or fetch.
const REFUSED: [(&str, &str); 5] = [
    ("helmCharts", "charts inside a kustomization are not supported"),
    ("helmChartInflationGenerator", "charts inside a kustomization are not supported"),
    ("helmGlobals", "charts inside a kustomization are not supported"),
    ("generators", "generator plugins are not supported"),
    ("validators", "validator plugins are not supported"),
];

/// The real path of the kustomization in `folder`, if there is one.
///
/// # Errors
/// If there are several.
pub(super) fn in_folder(tree: &Tree, folder: &str) -> Result<Option<String>, Error> {
    let mut found = NAMES.iter().map(|name| join(folder, name)).filter(|path| tree.get(path).is_some());
    match (found.next(), found.next()) {
        (Some(one), Some(other)) => {
            Err(Error::new(Reason::Manifest, &other, format!("{one} is a kustomization of the same folder")))
        }
        (one, _) => Ok(one),
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// Plans the kustomization in the folder `path` with all that it uses; the real path of the folder comes with it.
pub(super) fn plan(tree: &Tree, path: &str) -> Result<(Plan, String), Error> {
    let mut plan = Plan::default();
    let folder = match plan.resolve(tree, "", "", path)? {
        Found::Folder(folder) => folder,
        Found::File(_) => return Err(Error::new(Reason::Missing, path, "is a file, not a folder")),
        Found::Nothing(_) => return Err(Error::new(Reason::Missing, path, "is not in the repository")),
    };
    let mut walk = Walk { tree, plan, open: Vec::new(), done: Vec::new() };
    walk.folder("", &folder)?;
    Ok((walk.plan, folder))
}

struct Walk<'a> {
    tree: &'a Tree,
    plan: Plan,
    /// Folders whose kustomization is being read, outermost first.
    open: Vec<String>,
    done: Vec<String>,
}

impl Walk<'_> {
    /// Reads the kustomization of a folder that `user` names.
    fn folder(&mut self, user: &str, folder: &str) -> Result<(), Error> {
        if self.open.iter().any(|one| one == folder) {
            let way = self.open.join(" -> ");
            return Err(Error::new(Reason::Manifest, user, format!("a cycle: {way} -> {folder}")));
        }
        if self.open.len() >= DEPTH_MAX {
            let cause = format!("kustomizations nested deeper than {DEPTH_MAX}");
            return Err(Error::new(Reason::Limit, user, cause));
        }
        if self.done.iter().any(|one| one == folder) {
            return Ok(());
        }
        // Another name appearing beside the one in use makes a difference too.
        self.plan.inputs.extend(NAMES.iter().map(|name| join(folder, name)));
        let Some(name) = in_folder(self.tree, folder)? else {
            let cause = format!("the folder {folder:?} has no kustomization");
            return Err(Error::new(Reason::Missing, user, cause));
        };
        let Found::File(file) = self.plan.resolve(self.tree, user, "", &name)? else {
            return Err(Error::new(Reason::Missing, &name, "is a link that leads nowhere"));
        };
        let text = self.plan.take(self.tree, &file)?;
        self.open.push(folder.to_owned());
        for document in yaml::read(&text, &file)? {
            self.kustomization(&file, folder, &text, &document)?;
        }
        self.open.pop();
        self.done.push(folder.to_owned());
        Ok(())
    }

    fn kustomization(
        &mut self,
        file: &str,
        folder: &str,
        text: &[u8],
        document: &yaml::Document,
    ) -> Result<(), Error> {
        let value = &document.value;
        let at = |reason, pointer: &str, cause: String| Error {
            document: document.document,
            line: yaml::line_of(text, document.document, pointer).unwrap_or(document.line),
            ..Error::new(reason, file, cause)
        };
        for (field, why) in REFUSED {
            if value.get(field).is_some_and(|value| !value.is_null()) {
                return Err(at(Reason::Refused, &format!("/{field}"), format!("{field}: {why}")));
            }
        }
        for (pointer, wanted) in references(value) {
            let locate = |error: Error| {
                if error.file == file && error.line == 0 {
                    at(error.reason, &pointer, error.cause)
                } else {
                    error
                }
            };
            self.reference(file, folder, &wanted).map_err(locate)?;
        }
        Ok(())
    }

    fn reference(&mut self, file: &str, folder: &str, wanted: &Wanted) -> Result<(), Error> {
        let path = match wanted {
            Wanted::Inline(path) if is_inline(path) => return Ok(()),
            Wanted::Transformer(text) if is_inline(text) => {
                return self.transformer(file, folder, text.as_bytes());
            }
            Wanted::Any(path) | Wanted::Data(path) | Wanted::Inline(path) | Wanted::Transformer(path) => path,
        };
        if is_remote(path) {
            let cause = format!("{path:?} is remote: only files of the repository can be used");
            return Err(Error::new(Reason::Refused, file, cause));
        }
        match (self.plan.resolve(self.tree, file, folder, path)?, wanted) {
            (Found::Nothing(real), _) => Err(Error::new(
                Reason::Missing,
                file,
                format!("names {path:?}, but {real:?} is not in the repository"),
            )),
            (Found::Folder(real), Wanted::Any(_)) => self.folder(file, &real),
            (Found::Folder(real), _) => {
                Err(Error::new(Reason::Manifest, file, format!("names {path:?}, but {real:?} is a folder")))
            }
            (Found::File(real), Wanted::Any(_)) => {
                self.plan.take(self.tree, &real)?;
                if !self.plan.manifests.contains(&real) {
                    self.plan.manifests.push(real);
                }
                Ok(())
            }
            (Found::File(real), Wanted::Transformer(_)) => {
                let text = self.plan.take(self.tree, &real)?;
                self.transformer(&real, folder, &text)
            }
            (Found::File(real), Wanted::Data(_) | Wanted::Inline(_)) => {
                self.plan.take(self.tree, &real).map(drop)
            }
        }
    }

    /// Only built-in transformers are allowed: others are programs or containers.
    fn transformer(&mut self, file: &str, folder: &str, text: &[u8]) -> Result<(), Error> {
        for document in yaml::read(text, file)? {
            let value = &document.value;
            let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default();
            let is_builtin = value.get("apiVersion").and_then(Value::as_str) == Some("builtin");
            let annotations = value.pointer("/metadata/annotations").and_then(Value::as_object);
            let is_function =
                annotations.is_some_and(|all| all.keys().any(|key| key.starts_with("config.k")));
            if !is_builtin || is_function || !kind.ends_with("Transformer") {
                let cause =
                    format!("the transformer {kind:?} is not built in: programs and containers are not run");
                return Err(Error {
                    document: document.document,
                    line: document.line,
                    ..Error::new(Reason::Refused, file, cause)
                });
            }
            if let Some(path) = value.get("path").and_then(Value::as_str) {
                self.reference(file, folder, &Wanted::Data(path.to_owned()))?;
            }
            for path in strings(value.get("paths")) {
                self.reference(file, folder, &Wanted::Data(path.1))?;
            }
        }
        Ok(())
    }
}

/// A file or folder that a kustomization names.
enum Wanted {
    /// Manifests, or a folder with a kustomization.
    Any(String),
    /// A file that is read as it is.
    Data(String),
    /// A file, or a patch written in place.
    Inline(String),
    /// A transformer, in a file or in place.
    Transformer(String),
}

/// Everything that a kustomization names, with the JSON pointer of each.
fn references(value: &Value) -> Vec<(String, Wanted)> {
    let mut found = Vec::new();
    let mut list = |field: &str, wanted: fn(String) -> Wanted| {
        found.extend(strings(value.get(field)).map(|(at, text)| (format!("/{field}/{at}"), wanted(text))));
    };
    list("resources", Wanted::Any);
    list("bases", Wanted::Any);
    list("components", Wanted::Any);
    list("crds", Wanted::Data);
    list("configurations", Wanted::Data);
    list("patchesStrategicMerge", Wanted::Inline);
    list("transformers", Wanted::Transformer);
    for field in ["patches", "patchesJson6902", "replacements"] {
        for (at, item) in value.get(field).and_then(Value::as_array).into_iter().flatten().enumerate() {
            if let Some(path) = item.get("path").and_then(Value::as_str).filter(|path| !path.is_empty()) {
                found.push((format!("/{field}/{at}/path"), Wanted::Data(path.to_owned())));
            }
        }
    }
    if let Some(path) = value.pointer("/openapi/path").and_then(Value::as_str) {
        found.push(("/openapi/path".to_owned(), Wanted::Data(path.to_owned())));
    }
    for field in ["configMapGenerator", "secretGenerator"] {
        for (at, item) in value.get(field).and_then(Value::as_array).into_iter().flatten().enumerate() {
            for (index, file) in strings(item.get("files")) {
                let path = file.split_once('=').map_or(file.as_str(), |(_, path)| path).to_owned();
                found.push((format!("/{field}/{at}/files/{index}"), Wanted::Data(path)));
            }
            for (index, path) in strings(item.get("envs")) {
                found.push((format!("/{field}/{at}/envs/{index}"), Wanted::Data(path)));
            }
            if let Some(path) = item.get("env").and_then(Value::as_str).filter(|path| !path.is_empty()) {
                found.push((format!("/{field}/{at}/env"), Wanted::Data(path.to_owned())));
            }
        }
    }
    found
}

/// The texts of a list, with their positions.
fn strings(value: Option<&Value>) -> impl Iterator<Item = (usize, String)> {
    let items = value.and_then(Value::as_array).into_iter().flatten().enumerate();
    items.filter_map(|(at, item)| Some((at, item.as_str()?.to_owned())))
}

/// Whether a patch or transformer stands in place instead of in a file.
fn is_inline(text: &str) -> bool {
    text.contains('\n') || text.trim_start().starts_with('{')
}

/// Whether kustomize could take `path` for a URL, even where a file of that name exists.
fn is_remote(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let first = lower.split('/').next().unwrap_or_default();
    lower.contains("://")
        || first.contains([':', '@'])
        || lower.contains('?')
        || first == "github.com"
        || lower.starts_with("git::")
        || lower.contains("_git/")
}
