//! Two servers given the same requests must give the same answers, down to `managedFields` and the words of refusals.
//!
//! The requests stand in `alike.yaml`, each with a sentence. What every server makes up for itself (identifiers, versions,
//! times, addresses) is blotted out before answers are compared.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::target::until;

const REQUESTS: &str = include_str!("alike.yaml");

/// Fields that each server makes up.
const BLOTTED: &[&str] = &[
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "time",
    "lastTransitionTime",
    "lastUpdateTime",
    "lastPhaseTransitionTime",
    "lastProbeTime",
    "clusterIP",
    "clusterIPs",
    "nodePort",
    "healthCheckNodePort",
    "continue",
];

/// The list of who owns which fields.
const MANAGERS: &str = "managedFields";

/// One request of the table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// What it shows.
    pub name: String,
    /// Method and path with parameters: `GET /api/v1/...`; `WAIT` asks until it is served.
    pub send: String,
    /// Content type; JSON unless said otherwise.
    #[serde(default)]
    pub content: Option<String>,
    /// Accepted type, unless it is JSON.
    #[serde(default)]
    pub accept: Option<String>,
    /// The body.
    #[serde(default)]
    pub body: Option<Value>,
    /// Pointers whose values are known to differ, each with the reason as its value.
    #[serde(default)]
    pub differs: Map<String, Value>,
}

/// All requests of the table, in their order.
///
/// # Errors
/// If the table cannot be read.
pub fn requests() -> Result<Vec<Request>> {
    serde_saphyr::from_str(REQUESTS).context("read the table of requests")
}

/// Sends a request; gives code and body, blotted.
///
/// # Errors
/// If there is no answer.
pub async fn answer(client: &Client, request: &Request) -> Result<Value> {
    let (method, path) = request.send.split_once(' ').context("a method and a path")?;
    if method == "WAIT" {
        let served = Request { send: format!("GET {path}"), ..request.clone() };
        return until("it is served", || async {
            let answer = Box::pin(answer(client, &served)).await?;
            Ok((answer["code"] == json!(200)).then(|| json!({})))
        })
        .await;
    }
    let mut builder = http::Request::builder().method(method).uri(path).header("user-agent", "alike/1.0");
    builder = builder.header("accept", request.accept.as_deref().unwrap_or("application/json"));
    if request.body.is_some() {
        builder = builder.header("content-type", request.content.as_deref().unwrap_or("application/json"));
    }
    let bytes = request.body.as_ref().map(|body| body.to_string().into_bytes()).unwrap_or_default();
    let response = client.send(builder.body(Body::from(bytes))?).await.context("send the request")?;
    let code = response.status().as_u16();
    let body = response.into_body().collect_bytes().await.context("read the answer")?;
    let body = serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body)));
    Ok(json!({"code": code, "body": blot(body)}))
}

/// Where two answers differ: pointer, first, second.
pub fn differences(first: &Value, second: &Value) -> Vec<(String, Value, Value)> {
    let mut out = Vec::new();
    if first["code"] == second["code"] {
        compare("", first, second, &mut out);
    } else {
        // Answers of two sorts have nothing to be compared field by field.
        let gist = |answer: &Value| {
            json!([answer["code"], answer["body"].get("message").unwrap_or(&answer["body"])])
        };
        out.push((String::new(), gist(first), gist(second)));
    }
    out
}

fn compare(at: &str, first: &Value, second: &Value, out: &mut Vec<(String, Value, Value)>) {
    match (first, second) {
        (Value::Object(a), Value::Object(b)) => {
            for name in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                let none = Value::Null;
                let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                compare(&at, a.get(name).unwrap_or(&none), b.get(name).unwrap_or(&none), out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{at}/{index}"), a, b, out);
            }
        }
        (a, b) if a != b => out.push((at.to_owned(), a.clone(), b.clone())),
        _ => {}
    }
}

fn blot(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let entries = map.into_iter().map(|(name, value)| {
                let made_up = BLOTTED.contains(&name.as_str()) && !value.is_object() && !value.is_null();
                let value = if name == MANAGERS { timeless(value) } else { value };
                let value = if made_up { json!("*") } else { blot(value) };
                (name, value)
            });
            Value::Object(entries.collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(blot).collect()),
        Value::String(text) => Value::String(blot_identifiers(&text)),
        other => other,
    }
}

/// Managers stand in the order of their times, whole seconds that each server makes up: two requests may fall into one second
/// here and into two there.
///
/// A list that is not in the order of its own times stays as it is, and shows.
fn timeless(mut managers: Value) -> Value {
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    if let Some(entries) = managers.as_array_mut()
        && entries.is_sorted_by_key(|entry| ["operation", "time", "manager"].map(|name| text(entry, name)))
    {
        entries.sort_by_key(|entry| ["operation", "manager", "subresource"].map(|name| text(entry, name)));
    }
    managers
}

/// Takes identifiers such as `0b7d9f5c-…` out of a sentence.
fn blot_identifiers(text: &str) -> String {
    let identifier = |word: &str| {
        word.len() == 36
            && word.bytes().enumerate().all(|(at, byte)| match at {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            })
    };
    let apart = |c: char| !c.is_ascii_alphanumeric() && c != '-';
    text.split_inclusive(apart)
        .map(|piece| {
            let word = piece.trim_end_matches(apart);
            if identifier(word) { piece.replace(word, "*") } else { piece.to_owned() }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managers_are_alike_in_whichever_second_they_wrote_and_neither_in_another_order_nor_with_other_fields()
    {
        let entry = |manager: &str, time: &str, field: &str| json!({"operation": "Update", "manager": manager, "time": time, "fieldsV1": {field: {}}});
        let answer =
            |entries: Vec<Value>| json!({"code": 200, "body": blot(json!({"managedFields": entries}))});
        let one = answer(vec![entry("a", "10", "f:x"), entry("b", "10", "f:y")]);
        let later = answer(vec![entry("b", "10", "f:y"), entry("a", "11", "f:x")]);
        assert_eq!(differences(&one, &later), []);
        let disordered = answer(vec![entry("b", "10", "f:y"), entry("a", "10", "f:x")]);
        assert_eq!(differences(&one, &disordered).len(), 6);
        let other = answer(vec![entry("a", "10", "f:y"), entry("b", "10", "f:x")]);
        assert_eq!(differences(&one, &other).len(), 4);
    }
}
