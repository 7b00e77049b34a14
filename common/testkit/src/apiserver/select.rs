//! Label and field selectors.

use serde_json::Value;

use super::kinds::Kind;
use super::status::Status;

#[derive(Clone, Debug, PartialEq)]
enum Rule {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// Which objects a list or a watch shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Selector {
    labels: Vec<Rule>,
    fields: Vec<(String, String, bool)>,
}

impl Selector {
    /// # Errors
    /// 400 if a selector cannot be read.
    pub(crate) fn parse(kind: &Kind, labels: &str, fields: &str) -> Result<Selector, Status> {
        let labels = split(labels).into_iter().map(|text| parse_rule(&text)).collect::<Result<_, _>>()?;
        let fields: Vec<(String, String, bool)> = split(fields)
            .into_iter()
            .map(|text| {
                let equal = |wanted: bool, mark: &str| {
                    text.split_once(mark)
                        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned(), wanted))
                };
                equal(false, "!=")
                    .or_else(|| equal(true, "=="))
                    .or_else(|| equal(true, "="))
                    .ok_or_else(|| Status::bad_request(format!("invalid field selector {text:?}")))
            })
            .collect::<Result<_, _>>()?;
        if let Some((field, ..)) = fields.iter().find(|(field, ..)| !selectable(kind, field)) {
            return Err(Status::bad_request(format!("field label not supported: {field}")));
        }
        Ok(Selector { labels, fields })
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        let label = |name: &str| labels.and_then(|labels| labels.get(name)).and_then(Value::as_str);
        self.labels.iter().all(|rule| match rule {
            Rule::In(name, values) => {
                label(name).is_some_and(|value| values.iter().any(|wanted| wanted == value))
            }
            Rule::NotIn(name, values) => {
                !label(name).is_some_and(|value| values.iter().any(|wanted| wanted == value))
            }
            Rule::Exists(name) => label(name).is_some(),
            Rule::Absent(name) => label(name).is_none(),
        }) && self.fields.iter().all(|(path, wanted, equal)| {
            let pointer = format!("/{}", path.replace('.', "/"));
            let found = match object.pointer(&pointer) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Null) | None => String::new(),
                Some(other) => other.to_string(),
            };
            (found == *wanted) == *equal
        })
    }
}

/// Whether objects of a kind can be chosen by a field.
fn selectable(kind: &Kind, field: &str) -> bool {
    let more: &[&str] = match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Pod") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        ("", "Event") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("", "Secret") => &["type"],
        ("", "Namespace") => &["status.phase"],
        ("", "Node") => &["spec.unschedulable"],
        ("", "Service") => &["spec.clusterIP", "spec.type"],
        ("apps", "ReplicaSet") => &["status.replicas"],
        ("batch", "Job") => &["status.successful"],
        _ => &[],
    };
    matches!(field, "metadata.name" | "metadata.namespace") || more.contains(&field)
}

/// Splits at commas that do not stand in parentheses.
fn split(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut depth = 0_u32;
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        match out.last_mut() {
            Some(last) if c != ',' || depth > 0 => last.push(c),
            _ => out.push(String::new()),
        }
    }
    out.into_iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

fn parse_rule(text: &str) -> Result<Rule, Status> {
    let bad = || Status::bad_request(format!("unable to parse requirement: {text:?}"));
    let name = |name: &str| name.trim().to_owned();
    if let Some((before, set)) = text.split_once('(') {
        let values: Vec<String> = set.trim_end_matches(')').split(',').map(name).collect();
        let words: Vec<&str> = before.split_whitespace().collect();
        return match words.as_slice() {
            [key, "in"] => Ok(Rule::In(name(key), values)),
            [key, "notin"] => Ok(Rule::NotIn(name(key), values)),
            _ => Err(bad()),
        };
    }
    if let Some((key, value)) = text.split_once("!=") {
        return Ok(Rule::NotIn(name(key), vec![name(value)]));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Rule::In(name(key), vec![name(value)]));
    }
    if let Some(second) = text.split_whitespace().nth(1) {
        let why =
            format!("unable to parse requirement: found '{second}', expected: in, notin, =, ==, !=, gt, lt");
        return Err(Status::bad_request(why));
    }
    Ok(text.strip_prefix('!').map_or_else(|| Rule::Exists(name(text)), |key| Rule::Absent(name(key))))
}
