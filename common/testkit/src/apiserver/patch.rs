//! JSON patch, merge patch, and strategic merge patch.

use serde_json::{Map, Value, json};

use super::fields::schema::{Ref, Relation, Schema, Shape};
use super::fields::typed::entry_type;
use super::state::Target;
use super::status::Status;

/// How the body of a patch is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Json,
    Merge,
    Strategic,
}

/// The object that a patch makes of `live`.
///
/// # Errors
/// 400, 415 or 422 if the patch cannot be read or does not fit.
pub(crate) fn patch(dialect: Dialect, target: &Target, live: &Value, body: &Value) -> Result<Value, Status> {
    match dialect {
        Dialect::Merge => Ok(merge(live, body)),
        Dialect::Json => json_patch(live, body),
        Dialect::Strategic if target.kind.custom => Err(Status::unsupported(
            "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
        )),
        Dialect::Strategic => Ok(strategic(&target.kind.schema, &target.kind.of, live, body)),
    }
}

/// RFC 7386.
fn merge(live: &Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let mut out = live.as_object().cloned().unwrap_or_default();
    for (name, change) in changes {
        if change.is_null() {
            out.remove(name);
        } else {
            let below = merge(out.get(name).unwrap_or(&Value::Null), change);
            out.insert(name.clone(), below);
        }
    }
    Value::Object(out)
}

/// RFC 6902.
fn json_patch(live: &Value, body: &Value) -> Result<Value, Status> {
    let operations =
        body.as_array().ok_or_else(|| Status::bad_request("a JSON patch is a list of operations"))?;
    let mut out = live.clone();
    for operation in operations {
        let text = |field: &str| operation[field].as_str().unwrap_or_default();
        let missing = Status::bad_patch;
        let value = operation.get("value").cloned().unwrap_or(Value::Null);
        match text("op") {
            "add" => add(&mut out, text("path"), value).ok_or_else(missing)?,
            "remove" => {
                take(&mut out, text("path")).ok_or_else(missing)?;
            }
            "replace" => *out.pointer_mut(text("path")).ok_or_else(missing)? = value,
            "move" => {
                let moved = take(&mut out, text("from")).ok_or_else(missing)?;
                add(&mut out, text("path"), moved).ok_or_else(missing)?;
            }
            "copy" => {
                let copied = out.pointer(text("from")).cloned().ok_or_else(missing)?;
                add(&mut out, text("path"), copied).ok_or_else(missing)?;
            }
            "test" if out.pointer(text("path")).unwrap_or(&Value::Null) == &value => {}
            _ => return Err(Status::bad_patch()),
        }
    }
    Ok(out)
}

fn parent<'a>(out: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (before, last) = path.rsplit_once('/')?;
    Some((out.pointer_mut(before)?, last.replace("~1", "/").replace("~0", "~")))
}

fn add(out: &mut Value, path: &str, value: Value) -> Option<()> {
    if path.is_empty() {
        *out = value;
        return Some(());
    }
    let (parent, last) = parent(out, path)?;
    match parent {
        Value::Object(map) => {
            map.insert(last, value);
        }
        Value::Array(items) => {
            let at = if last == "-" { items.len() } else { last.parse().ok()? };
            if at > items.len() {
                return None;
            }
            items.insert(at, value);
        }
        _ => return None,
    }
    Some(())
}

fn take(out: &mut Value, path: &str) -> Option<Value> {
    let (parent, last) = parent(out, path)?;
    match parent {
        Value::Object(map) => map.remove(&last),
        Value::Array(items) => {
            let at: usize = last.parse().ok()?;
            (at < items.len()).then(|| items.remove(at))
        }
        _ => None,
    }
}

/// The key that a strategic merge joins a keyed list by: ports go by their number alone.
fn merge_key(relation: &Relation, field: &str) -> Option<String> {
    match relation {
        Relation::Keys(keys) => keys.first().cloned(),
        Relation::Set | Relation::Atomic if field == "finalizers" => None,
        _ => None,
    }
}

fn strategic(schema: &Schema, of: &Ref, live: &Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let shape = schema.resolve(of);
    match changes.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            let mut out = changes.clone();
            out.remove("$patch");
            return Value::Object(out);
        }
        Some("delete") => return json!({}),
        _ => {}
    }
    let mut out = live.as_object().cloned().unwrap_or_default();
    for (name, change) in changes {
        if name.starts_with('$') {
            directive(&mut out, name, change);
            continue;
        }
        if change.is_null() {
            out.remove(name);
            continue;
        }
        let below = out.get(name).cloned().unwrap_or(Value::Null);
        let merged = match entry_type(&shape, name).0 {
            Some(of) => strategic_entry(schema, &of, name, &below, change),
            None => merge(&below, change),
        };
        out.insert(name.clone(), merged);
    }
    Value::Object(out)
}

fn strategic_entry(schema: &Schema, of: &Ref, name: &str, live: &Value, change: &Value) -> Value {
    let shape = schema.resolve(of);
    match (&*shape, change) {
        (Shape::List { relation, element }, Value::Array(items)) => match merge_key(relation, name) {
            Some(key) => Value::Array(strategic_items(schema, element, &key, live, items)),
            None if *relation == Relation::Set => {
                let mut out = live.as_array().cloned().unwrap_or_default();
                out.extend(
                    items.iter().filter(|item| !live.as_array().is_some_and(|l| l.contains(item))).cloned(),
                );
                Value::Array(out)
            }
            None => change.clone(),
        },
        (Shape::Map { .. } | Shape::Struct { .. } | Shape::Untyped, Value::Object(_)) => {
            strategic(schema, of, live, change)
        }
        _ => change.clone(),
    }
}

fn strategic_items(schema: &Schema, element: &Ref, key: &str, live: &Value, items: &[Value]) -> Vec<Value> {
    let mut out = live.as_array().cloned().unwrap_or_default();
    if items.iter().any(|item| item["$patch"] == json!("replace") && item.get(key).is_none()) {
        return items.iter().filter(|item| item.get("$patch").is_none()).cloned().collect();
    }
    for item in items {
        let at = out.iter().position(|known| known.get(key) == item.get(key));
        match (at, item["$patch"] == json!("delete")) {
            (Some(at), true) => {
                out.remove(at);
            }
            (None, true) => {}
            (Some(at), false) => out[at] = strategic(schema, element, &out[at], item),
            (None, false) => out.push(strategic(schema, element, &json!({}), item)),
        }
    }
    out
}

fn directive(out: &mut Map<String, Value>, name: &str, change: &Value) {
    if let Some(list) = name.strip_prefix("$deleteFromPrimitiveList/") {
        let gone = change.as_array().cloned().unwrap_or_default();
        if let Some(Value::Array(items)) = out.get_mut(list) {
            items.retain(|item| !gone.contains(item));
        }
    }
    if name == "$retainKeys" {
        let kept = change.as_array().cloned().unwrap_or_default();
        out.retain(|field, _| kept.contains(&json!(field)));
    }
}
