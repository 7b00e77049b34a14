//! Values seen through their type: the set of their fields, and what the type does not allow.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::schema::{Field, Ref, Relation, Schema, Shape, Sort};
use super::set::{Element, FieldSet, show};

/// The shape that a value really has where its type leaves a choice, or where the value does not fit.
pub(crate) fn shape_of(schema: &Schema, of: &Ref, value: &Value) -> Arc<Shape> {
    let shape = schema.resolve(of);
    match (&*shape, value) {
        (Shape::Untyped, Value::Object(_)) => Arc::new(Shape::Map { atomic: false, element: of.clone() }),
        (Shape::Opaque, Value::Object(_)) => Arc::new(Shape::Map { atomic: true, element: of.clone() }),
        (Shape::Untyped | Shape::Opaque, Value::Array(_)) => {
            Arc::new(Shape::List { relation: Relation::Atomic, element: of.clone() })
        }
        (Shape::Untyped | Shape::Opaque, _) => Arc::new(Shape::Scalar(Sort::Any)),
        _ => shape,
    }
}

/// The type of one entry of a struct or map, and whether the struct names it.
pub(crate) fn entry_type(shape: &Shape, name: &str) -> (Option<Ref>, bool) {
    match shape {
        Shape::Struct { fields, open, .. } => match fields.get(name) {
            Some(field) => (Some(field.of.clone()), true),
            None => (open.clone(), false),
        },
        Shape::Map { element, .. } => (Some(element.clone()), false),
        _ => (None, false),
    }
}

/// Whether a list or map of this shape is owned as a whole.
pub(crate) fn is_atomic(shape: &Shape) -> bool {
    match shape {
        Shape::List { relation, .. } => *relation == Relation::Atomic,
        Shape::Map { atomic, .. } | Shape::Struct { atomic, .. } => *atomic,
        _ => true,
    }
}

/// The path element of a list's item. `None` where a keyed item has none of its keys, or a set's item is no scalar.
pub(crate) fn item_element(
    schema: &Schema,
    relation: &Relation,
    element: &Ref,
    item: &Value,
) -> Option<Element> {
    match relation {
        Relation::Atomic => None,
        Relation::Set => (!item.is_object() && !item.is_array()).then(|| Element::Value(item.to_string())),
        Relation::Keys(keys) => {
            let shape = schema.resolve(element);
            let mut found = Map::new();
            for key in keys {
                let default = || match &*shape {
                    Shape::Struct { fields, .. } => {
                        fields.get(key).and_then(|field: &Field| field.default.clone())
                    }
                    _ => None,
                };
                if let Some(value) = item.get(key).cloned().or_else(default) {
                    found.insert(key.clone(), value);
                }
            }
            (!found.is_empty()).then(|| Element::Key(Value::Object(found).to_string()))
        }
    }
}

/// All fields that a value sets, as server-side apply records them.
pub(crate) fn field_set(schema: &Schema, of: &Ref, value: &Value) -> FieldSet {
    let mut out = FieldSet::default();
    collect(schema, of, value, &mut Vec::new(), &mut out);
    out
}

fn collect(schema: &Schema, of: &Ref, value: &Value, path: &mut Vec<Element>, out: &mut FieldSet) {
    let shape = shape_of(schema, of, value);
    match (&*shape, value) {
        (Shape::List { relation, element }, Value::Array(items)) if *relation != Relation::Atomic => {
            for item in items {
                let Some(step) = item_element(schema, relation, element, item) else { continue };
                path.push(step);
                collect(schema, element, item, path, out);
                out.insert(path);
                path.pop();
            }
        }
        (Shape::Struct { atomic: false, .. } | Shape::Map { atomic: false, .. }, Value::Object(entries)) => {
            for (name, below) in entries {
                let (Some(below_type), known) = entry_type(&shape, name) else { continue };
                path.push(Element::Field(name.clone()));
                collect(schema, &below_type, below, path, out);
                let empty = below.is_null() || below.as_object().is_some_and(Map::is_empty);
                if empty || !known {
                    out.insert(path);
                }
                path.pop();
            }
        }
        (Shape::Struct { atomic: false, .. } | Shape::Map { atomic: false, .. }, Value::Null) => {}
        (Shape::List { relation, .. }, Value::Null) if *relation != Relation::Atomic => {}
        _ => out.insert(path),
    }
}

/// # Errors
/// A sentence for the first field that the type does not know, or that does not fit it, or that stands twice in a keyed list.
pub(crate) fn check(schema: &Schema, of: &Ref, value: &Value) -> Result<(), String> {
    check_at(schema, of, value, &mut Vec::new())
}

fn check_at(schema: &Schema, of: &Ref, value: &Value, path: &mut Vec<Element>) -> Result<(), String> {
    if value.is_null() {
        return Ok(());
    }
    let shape = shape_of(schema, of, value);
    match (&*shape, value) {
        (Shape::Scalar(sort), value) => {
            check_scalar(*sort, value).map_err(|why| format!("{}: {why}", show(path)))
        }
        (Shape::Quantity, Value::Object(_) | Value::Array(_)) => {
            Err(format!("{}: expected any scalar, got {}", show(path), go_short(value)))
        }
        (Shape::List { relation, element }, Value::Array(items)) => {
            let mut seen = std::collections::BTreeSet::new();
            for (index, item) in items.iter().enumerate() {
                let step = match item_element(schema, relation, element, item) {
                    Some(step) if !seen.insert(step.clone()) => {
                        return Err(format!("{}: duplicate entries for key {}", show(path), show(&[step])));
                    }
                    Some(step) => step,
                    None if *relation == Relation::Atomic => Element::Index(index),
                    None => {
                        let key = match relation {
                            Relation::Keys(keys) => keys.first().map_or("", String::as_str),
                            _ => "",
                        };
                        return Err(format!(
                            "{}: element {index}: associative list with keys has an element that omits key field {key:?} (and doesn't have default value)",
                            show(path)
                        ));
                    }
                };
                path.push(step);
                check_at(schema, element, item, path)?;
                path.pop();
            }
            Ok(())
        }
        (Shape::Struct { .. } | Shape::Map { .. }, Value::Object(entries)) => {
            for (name, below) in entries {
                path.push(Element::Field(name.clone()));
                let (Some(below_type), _) = entry_type(&shape, name) else {
                    return Err(format!("{}: field not declared in schema", show(path)));
                };
                check_at(schema, &below_type, below, path)?;
                path.pop();
            }
            Ok(())
        }
        (Shape::List { .. }, _) => {
            Err(format!("{}: expected list, got &{{{}}}", show(path), go_short(value)))
        }
        (Shape::Struct { .. } | Shape::Map { .. }, _) => {
            Err(format!("{}: expected map, got &{{{}}}", show(path), go_short(value)))
        }
        _ => Ok(()),
    }
}

fn check_scalar(sort: Sort, value: &Value) -> Result<(), String> {
    let kind = match value {
        Value::Bool(_) => "bool",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        _ => "map[string]interface {}",
    };
    match (sort, value) {
        (Sort::Text, Value::String(_))
        | (Sort::Number, Value::Number(_))
        | (Sort::Flag, Value::Bool(_))
        | (Sort::Any, Value::String(_) | Value::Number(_) | Value::Bool(_)) => Ok(()),
        (Sort::Text, _) => {
            Err(format!("expected string, got &value.valueUnstructured{{Value:{}}}", go_long(value)))
        }
        (Sort::Number, _) => Err(format!("expected numeric (int or float), got {kind}")),
        (Sort::Flag, _) => Err(format!("expected boolean, got &{{{}}}", go_short(value))),
        (Sort::Any, _) => Err(format!("expected any scalar, got &{{{}}}", go_short(value))),
    }
}

/// A value as the API server's sentences print it.
fn go_short(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(go_short).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs: Vec<String> =
                map.iter().map(|(name, value)| format!("{name}:{}", go_short(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

/// A value with its types, as the API server's sentences print it.
fn go_long(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::Array(items) => {
            format!("[]interface {{}}{{{}}}", items.iter().map(go_long).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let pairs: Vec<String> =
                map.iter().map(|(name, value)| format!("{name:?}:{}", go_long(value))).collect();
            format!("map[string]interface {{}}{{{}}}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}
