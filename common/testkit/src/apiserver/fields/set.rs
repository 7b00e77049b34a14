//! Sets of field paths and their form on the wire, `fieldsV1`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::schema::{Ref, Schema, Shape};

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Element {
    /// A field of a struct or a key of a map.
    Field(String),
    /// An item of a keyed list: the key fields as a JSON object with sorted names.
    Key(String),
    /// An item of a set: its value as JSON.
    Value(String),
    /// An item of a list by position.
    Index(usize),
}

impl Element {
    fn parse(text: &str) -> Option<Element> {
        let (mark, rest) = text.split_once(':')?;
        match mark {
            "f" => Some(Element::Field(rest.to_owned())),
            "k" => Some(Element::Key(canonical(rest)?)),
            "v" => Some(Element::Value(canonical(rest)?)),
            "i" => rest.parse().ok().map(Element::Index),
            _ => None,
        }
    }

    fn encode(&self) -> String {
        match self {
            Element::Field(name) => format!("f:{name}"),
            Element::Key(key) => format!("k:{key}"),
            Element::Value(value) => format!("v:{value}"),
            Element::Index(index) => format!("i:{index}"),
        }
    }

    fn show(&self, out: &mut String) {
        match self {
            Element::Field(name) => {
                out.push('.');
                out.push_str(name);
            }
            Element::Key(key) => {
                let fields: BTreeMap<String, Value> = serde_json::from_str(key).unwrap_or_default();
                let pairs: Vec<String> =
                    fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
                let _infallible = write!(out, "[{}]", pairs.join(","));
            }
            Element::Value(value) => {
                let _infallible = write!(out, "[={value}]");
            }
            Element::Index(index) => {
                let _infallible = write!(out, "[{index}]");
            }
        }
    }
}

fn canonical(json: &str) -> Option<String> {
    serde_json::from_str::<Value>(json).ok().map(|value| value.to_string())
}

/// The way the API server prints a path: `.spec.containers[name="app"].image`.
pub(crate) fn show(path: &[Element]) -> String {
    let mut out = String::new();
    for element in path {
        element.show(&mut out);
    }
    out
}

/// A set of paths. A path is a member, or leads to members, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSet {
    pub(crate) members: BTreeSet<Element>,
    pub(crate) children: BTreeMap<Element, FieldSet>,
}

impl FieldSet {
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.values().all(FieldSet::is_empty)
    }

    pub(crate) fn insert(&mut self, path: &[Element]) {
        match path {
            [] => {}
            [last] => {
                self.members.insert(last.clone());
            }
            [first, rest @ ..] => self.children.entry(first.clone()).or_default().insert(rest),
        }
    }

    pub(crate) fn remove(&mut self, path: &[Element]) {
        match path {
            [] => {}
            [last] => {
                self.members.remove(last);
            }
            [first, rest @ ..] => {
                if let Some(child) = self.children.get_mut(first) {
                    child.remove(rest);
                    if child.is_empty() {
                        self.children.remove(first);
                    }
                }
            }
        }
    }

    pub(crate) fn has(&self, element: &Element) -> bool {
        self.members.contains(element)
    }

    pub(crate) fn below(&self, element: &Element) -> Option<&FieldSet> {
        self.children.get(element).filter(|child| !child.is_empty())
    }

    pub(crate) fn union(&self, other: &FieldSet) -> FieldSet {
        let mut out = self.clone();
        out.members.extend(other.members.iter().cloned());
        for (element, child) in &other.children {
            let merged = out.children.get(element).map_or_else(|| child.clone(), |own| own.union(child));
            out.children.insert(element.clone(), merged);
        }
        out
    }

    pub(crate) fn intersection(&self, other: &FieldSet) -> FieldSet {
        let members = self.members.intersection(&other.members).cloned().collect();
        let children = self.children.iter().filter_map(|(element, child)| {
            let both = child.intersection(other.children.get(element)?);
            (!both.is_empty()).then(|| (element.clone(), both))
        });
        FieldSet { members, children: children.collect() }
    }

    pub(crate) fn difference(&self, other: &FieldSet) -> FieldSet {
        let members = self.members.difference(&other.members).cloned().collect();
        let children = self.children.iter().filter_map(|(element, child)| {
            let left = other.children.get(element).map_or_else(|| child.clone(), |o| child.difference(o));
            (!left.is_empty()).then(|| (element.clone(), left))
        });
        FieldSet { members, children: children.collect() }
    }

    /// Only (or all but) the paths below the named top-level fields.
    pub(crate) fn keep(&self, wanted: impl Fn(&str) -> bool) -> FieldSet {
        let named = |element: &Element| matches!(element, Element::Field(name) if wanted(name));
        FieldSet {
            members: self.members.iter().filter(|element| named(element)).cloned().collect(),
            children: self
                .children
                .iter()
                .filter(|(element, _)| named(element))
                .map(|(element, child)| (element.clone(), child.clone()))
                .collect(),
        }
    }

    /// The set with every struct field that leads to a member made a member itself.
    pub(crate) fn with_named_parents(&self, schema: &Schema, of: &Ref) -> FieldSet {
        let shape = schema.resolve(of);
        let mut out = FieldSet { members: self.members.clone(), children: BTreeMap::new() };
        for (element, child) in &self.children {
            let below = match (&*shape, element) {
                (Shape::Struct { fields, open, .. }, Element::Field(name)) => {
                    if let Some(field) = fields.get(name) {
                        out.members.insert(element.clone());
                        Some(field.of.clone())
                    } else {
                        open.clone()
                    }
                }
                (Shape::Map { element: of, .. } | Shape::List { element: of, .. }, _) => Some(of.clone()),
                (Shape::Untyped | Shape::Opaque, _) => Some(of.clone()),
                _ => None,
            };
            let grown = below.map_or_else(|| child.clone(), |of| child.with_named_parents(schema, &of));
            out.children.insert(element.clone(), grown);
        }
        out
    }

    /// All members, each as a full path.
    pub(crate) fn paths(&self) -> Vec<Vec<Element>> {
        let mut out = Vec::new();
        self.walk(&mut Vec::new(), &mut out);
        out
    }

    fn walk(&self, prefix: &mut Vec<Element>, out: &mut Vec<Vec<Element>>) {
        for member in &self.members {
            let mut path = prefix.clone();
            path.push(member.clone());
            out.push(path);
        }
        for (element, child) in &self.children {
            prefix.push(element.clone());
            child.walk(prefix, out);
            prefix.pop();
        }
    }

    /// Reads `fieldsV1`. What cannot be read is left out, as an unknown future element would be.
    pub(crate) fn decode(fields: &Value) -> FieldSet {
        let mut out = FieldSet::default();
        let Some(entries) = fields.as_object() else { return out };
        for (name, below) in entries {
            let Some(element) = Element::parse(name) else { continue };
            let leaf = below.as_object().is_none_or(|map| map.is_empty() || map.contains_key("."));
            if leaf {
                out.members.insert(element.clone());
            }
            let child = FieldSet::decode(below);
            if !child.is_empty() {
                out.children.insert(element, child);
            }
        }
        out
    }

    /// Writes `fieldsV1`.
    pub(crate) fn encode(&self) -> Value {
        let mut out = Map::new();
        for member in &self.members {
            out.insert(member.encode(), Value::Object(Map::new()));
        }
        for (element, child) in self.children.iter().filter(|(_, child)| !child.is_empty()) {
            let Value::Object(mut below) = child.encode() else { continue };
            if self.members.contains(element) {
                below.insert(".".to_owned(), Value::Object(Map::new()));
            }
            out.insert(element.encode(), Value::Object(below));
        }
        Value::Object(out)
    }
}
