//! What two values of one type differ in.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::schema::{Ref, Relation, Schema, Shape};
use super::set::{Element, FieldSet};
use super::typed::{entry_type, is_atomic, item_element, shape_of};

/// The paths by which the second value differs from the first.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) added: FieldSet,
    pub(crate) modified: FieldSet,
    pub(crate) removed: FieldSet,
}

impl Comparison {
    /// All paths with a new value.
    pub(crate) fn changed(&self) -> FieldSet {
        self.modified.union(&self.added)
    }

    /// The same, cut down to the top-level fields that `wanted` names.
    pub(crate) fn keep(&self, wanted: impl Fn(&str) -> bool) -> Comparison {
        Comparison {
            added: self.added.keep(&wanted),
            modified: self.modified.keep(&wanted),
            removed: self.removed.keep(&wanted),
        }
    }
}

/// Compares two values of one type.
pub(crate) fn compare(schema: &Schema, of: &Ref, before: &Value, after: &Value) -> Comparison {
    let mut out = Comparison::default();
    Walk { schema, out: &mut out }.visit(of, Some(before), Some(after), &mut Vec::new());
    out
}

struct Walk<'a> {
    schema: &'a Schema,
    out: &'a mut Comparison,
}

impl Walk<'_> {
    fn visit(&mut self, of: &Ref, before: Option<&Value>, after: Option<&Value>, path: &mut Vec<Element>) {
        let shape = match (before, after) {
            (_, Some(value)) if !value.is_null() => shape_of(self.schema, of, value),
            (Some(value), _) => shape_of(self.schema, of, value),
            _ => self.schema.resolve(of),
        };
        let leaf = is_atomic(&shape)
            || (is_bare(before) && is_bare(after))
            || !(fits(&shape, before) && fits(&shape, after));
        if leaf {
            self.leaf(before, after, path);
            return;
        }
        match &*shape {
            Shape::List { relation, element } => {
                let (before, after) = (before.and_then(Value::as_array), after.and_then(Value::as_array));
                self.list(relation, element, before, after, path);
            }
            Shape::Map { .. } | Shape::Struct { .. } => {
                let (before, after) = (before.and_then(Value::as_object), after.and_then(Value::as_object));
                self.map(&shape, before, after, path);
            }
            _ => {}
        }
        match (before, after) {
            (None, _) => self.out.added.insert(path),
            (_, None) => self.out.removed.insert(path),
            _ => {}
        }
    }

    fn leaf(&mut self, before: Option<&Value>, after: Option<&Value>, path: &[Element]) {
        match (before, after) {
            (None, _) => self.out.added.insert(path),
            (_, None) => self.out.removed.insert(path),
            (before, after) if before != after => self.out.modified.insert(path),
            _ => {}
        }
    }

    fn map(
        &mut self,
        shape: &Shape,
        before: Option<&Map<String, Value>>,
        after: Option<&Map<String, Value>>,
        path: &mut Vec<Element>,
    ) {
        let empty = Map::new();
        let (before, after) = (before.unwrap_or(&empty), after.unwrap_or(&empty));
        let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
        for name in names {
            let (Some(of), _) = entry_type(shape, name) else { continue };
            path.push(Element::Field(name.clone()));
            self.visit(&of, before.get(name), after.get(name), path);
            path.pop();
        }
    }

    fn list(
        &mut self,
        relation: &Relation,
        element: &Ref,
        before: Option<&Vec<Value>>,
        after: Option<&Vec<Value>>,
        path: &mut Vec<Element>,
    ) {
        let mut items: BTreeMap<Element, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
        for item in before.into_iter().flatten() {
            if let Some(step) = item_element(self.schema, relation, element, item) {
                items.entry(step).or_default().0.push(item);
            }
        }
        for item in after.into_iter().flatten() {
            if let Some(step) = item_element(self.schema, relation, element, item) {
                items.entry(step).or_default().1.push(item);
            }
        }
        for (step, (old, new)) in items {
            path.push(step);
            match (old.as_slice(), new.as_slice()) {
                ([] | [_], [] | [_]) => {
                    self.visit(element, old.first().copied(), new.first().copied(), path);
                }
                ([_, _, ..], [_, _, ..]) if old != new => self.out.modified.insert(path),
                ([_, _, ..], [_, _, ..]) => {}
                ([_, _, ..], _) => {
                    if let Some(new) = new.first() {
                        self.visit(element, None, Some(new), path);
                    }
                    self.out.removed.insert(path);
                }
                _ => {
                    if let Some(old) = old.first() {
                        self.visit(element, Some(old), None, path);
                    }
                    self.out.added.insert(path);
                }
            }
            path.pop();
        }
    }
}

fn is_bare(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}

fn fits(shape: &Shape, value: Option<&Value>) -> bool {
    match (shape, value) {
        (_, None | Some(Value::Null)) => true,
        (Shape::List { .. }, Some(value)) => value.is_array(),
        (Shape::Map { .. } | Shape::Struct { .. }, Some(value)) => value.is_object(),
        (_, Some(value)) => !value.is_array() && !value.is_object(),
    }
}
