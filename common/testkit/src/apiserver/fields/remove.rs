//! A value without the fields of a set.

use serde_json::{Map, Value};

use super::schema::{Ref, Relation, Schema, Shape};
use super::set::{Element, FieldSet};
use super::typed::{entry_type, is_atomic, item_element, shape_of};

/// The value without the members of the set. A granular part that becomes empty becomes null.
pub(crate) fn remove(schema: &Schema, of: &Ref, value: &Value, set: &FieldSet) -> Value {
    let shape = shape_of(schema, of, value);
    if is_atomic(&shape) && !matches!(&*shape, Shape::Scalar(_) | Shape::Quantity) {
        // An atomic part is removed by its parent, never in pieces.
        return value.clone();
    }
    match (&*shape, value) {
        (Shape::List { relation, element }, Value::Array(items)) if !items.is_empty() => {
            let kept = remove_items(schema, relation, element, items, set);
            if kept.is_empty() { Value::Null } else { Value::Array(kept) }
        }
        (Shape::Map { .. } | Shape::Struct { .. }, Value::Object(entries)) if !entries.is_empty() => {
            let mut out = Map::new();
            for (name, below) in entries {
                let step = Element::Field(name.clone());
                if set.has(&step) {
                    continue;
                }
                let kept = match (set.below(&step), entry_type(&shape, name).0) {
                    (Some(subset), Some(of)) => remove(schema, &of, below, subset),
                    _ => below.clone(),
                };
                out.insert(name.clone(), kept);
            }
            if out.is_empty() { Value::Null } else { Value::Object(out) }
        }
        _ => value.clone(),
    }
}

fn remove_items(
    schema: &Schema,
    relation: &Relation,
    element: &Ref,
    items: &[Value],
    set: &FieldSet,
) -> Vec<Value> {
    items
        .iter()
        .filter_map(|item| {
            let Some(step) = item_element(schema, relation, element, item) else { return Some(item.clone()) };
            if set.has(&step) {
                return None;
            }
            Some(
                set.below(&step).map_or_else(|| item.clone(), |subset| remove(schema, element, item, subset)),
            )
        })
        .collect()
}
