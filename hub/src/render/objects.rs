//! Checks of rendered objects.

use std::collections::BTreeMap;

use serde_json::Value;
use taffrail_core::object::Key;

use super::{
    Error, Reason,
    yaml::{self, Document},
};
use crate::git::Tree;

/// Most objects of one app: an agent applies them one by one, and a larger app is better split.
const OBJECTS_MAX: usize = 10_000;

/// Checks that every document is an object with a name, that none stands twice, and sorts them by key.
pub(super) fn checked(documents: Vec<Document>) -> Result<Vec<Document>, Error> {
    if documents.len() > OBJECTS_MAX {
        let cause = format!("{} objects, more than {OBJECTS_MAX}", documents.len());
        return Err(Error::new(Reason::Limit, "", cause));
    }
    let mut sorted: BTreeMap<Key, Document> = BTreeMap::new();
    for document in documents {
        let key = key_of(&document).map_err(|cause| at(&document, cause))?;
        if let Some(first) = sorted.get(&key) {
            let cause = format!("{key} stands twice: also in {}, line {}", first.file, first.line);
            return Err(at(&document, cause));
        }
        sorted.insert(key, document);
    }
    Ok(sorted.into_values().collect())
}

fn at(document: &Document, cause: String) -> Error {
    Error {
        reason: Reason::Manifest,
        file: document.file.clone(),
        document: document.document,
        line: document.line,
        cause,
    }
}

fn key_of(document: &Document) -> Result<Key, String> {
    let value = &document.value;
    for (pointer, name) in [("/apiVersion", "apiVersion"), ("/kind", "kind")] {
        match value.pointer(pointer) {
            Some(Value::String(text)) if !text.is_empty() => {}
            None | Some(Value::Null) => return Err(format!("{name} is missing")),
            Some(_) => return Err(format!("{name} must be text")),
        }
    }
    let namespace = value.pointer("/metadata/namespace");
    if namespace.is_some_and(|namespace| !namespace.is_string() && !namespace.is_null()) {
        return Err("metadata.namespace must be text (quote it)".to_owned());
    }
    match value.pointer("/metadata/name") {
        Some(Value::String(name)) if !name.is_empty() => {}
        Some(Value::Null) | None if value.pointer("/metadata/generateName").is_some() => {
            return Err(
                "metadata.generateName is not supported: an object needs a name of its own".to_owned()
            );
        }
        Some(Value::String(_) | Value::Null) | None => return Err("metadata.name is missing".to_owned()),
        Some(_) => return Err("metadata.name must be text (quote it)".to_owned()),
    }
    Key::of(value).ok_or_else(|| "metadata.name is missing".to_owned())
}

/// Line of the field at `pointer` of an object, as well as it can be told: its own line for a file of the tree, the
/// start of the object for what a renderer printed.
pub fn locate(tree: &Tree, document: &Document, pointer: &str) -> u32 {
    let text = tree.load(&document.file).ok().flatten();
    text.and_then(|text| yaml::line_of(&text, document.document, pointer)).unwrap_or(document.line)
}
