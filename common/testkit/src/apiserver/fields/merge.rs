//! One value laid over another: granular parts are joined, atomic parts replaced.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::schema::{Ref, Relation, Schema, Shape};
use super::set::Element;
use super::typed::{entry_type, is_atomic, item_element, shape_of};

/// `over` laid over `under`.
pub(crate) fn merge(schema: &Schema, of: &Ref, under: &Value, over: &Value) -> Value {
    let shape = shape_of(schema, of, over);
    if is_atomic(&shape) {
        return over.clone();
    }
    match (&*shape, under, over) {
        (Shape::List { relation, element }, Value::Array(under), Value::Array(over)) => {
            Value::Array(merge_lists(schema, relation, element, under, over))
        }
        (Shape::Map { .. } | Shape::Struct { .. }, Value::Object(under), Value::Object(over)) => {
            let mut out: Map<String, Value> = under.clone();
            for (name, value) in over {
                let merged = match (under.get(name), entry_type(&shape, name).0) {
                    (Some(below), Some(of)) => merge(schema, &of, below, value),
                    _ => value.clone(),
                };
                out.insert(name.clone(), merged);
            }
            Value::Object(out)
        }
        _ => over.clone(),
    }
}

/// Joins two keyed lists: the order of `over` wins for its items, the items of `under` alone keep their places between.
fn merge_lists(
    schema: &Schema,
    relation: &Relation,
    element: &Ref,
    under: &[Value],
    over: &[Value],
) -> Vec<Value> {
    let index = |items: &[Value]| -> Vec<Option<Element>> {
        items.iter().map(|item| item_element(schema, relation, element, item)).collect()
    };
    let (under_steps, over_steps) = (index(under), index(over));
    let first = |steps: &[Option<Element>]| -> BTreeMap<Element, usize> {
        let known = steps.iter().enumerate().filter_map(|(at, step)| step.clone().map(|step| (step, at)));
        known.rev().collect()
    };
    let (in_under, in_over) = (first(&under_steps), first(&over_steps));
    let mut shared = over_steps.iter().flatten().filter(|step| in_under.contains_key(*step)).peekable();
    let mut done: BTreeSet<&Element> = BTreeSet::new();
    let mut out = Vec::with_capacity(over.len().max(under.len()));
    let join = |step: &Option<Element>, value: &Value| {
        let below = step.as_ref().and_then(|step| in_under.get(step)).map(|at| &under[*at]);
        below.map_or_else(|| value.clone(), |below| merge(schema, element, below, value))
    };
    let (mut left, mut right) = (0, 0);
    while left < under.len() || right < over.len() {
        if left < under.len() && right < over.len() {
            if under_steps[left].is_some() && under_steps[left] == over_steps[right] {
                out.push(join(&over_steps[right], &over[right]));
                done.extend(over_steps[right].as_ref());
                shared.next();
                left += 1;
                right += 1;
                continue;
            }
            let waits = under_steps[left].as_ref().is_some_and(|step| {
                in_over.contains_key(step) && shared.peek().is_some_and(|next| *next != step)
            });
            if waits {
                left += 1;
                continue;
            }
        }
        if left < under.len() {
            match under_steps[left].as_ref().filter(|step| in_over.contains_key(*step)) {
                None => {
                    out.push(under[left].clone());
                    left += 1;
                    continue;
                }
                Some(step) if done.contains(step) => left += 1,
                Some(_) => {}
            }
        }
        if right < over.len() {
            out.push(join(&over_steps[right], &over[right]));
            done.extend(over_steps[right].as_ref());
            if shared.peek().copied() == over_steps[right].as_ref() {
                shared.next();
            }
            right += 1;
        }
    }
    out
}
