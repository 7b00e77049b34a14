//! Ownership, judged by what the real API server writes.

use serde_json::{Value, json};

use super::managers::{Caller, Managers, Reach, Typing};
use super::schema::{built_in, named};
use super::set::FieldSet;

const NOW: &str = "2026-01-01T00:00:00Z";

fn typing<'a>(schema: &'a super::schema::Schema, of: &'a super::schema::Ref) -> Typing<'a> {
    Typing { schema, of, api_version: "apps/v1", reach: Reach::AllBut("status") }
}

fn apply(
    managers: &mut Managers,
    live: &Value,
    config: &Value,
    name: &str,
    force: bool,
) -> Result<Value, Vec<String>> {
    let (schema, of) = (built_in(), named("apps.v1.Deployment"));
    let caller = Caller { name, subresource: "", force, now: NOW };
    managers.apply(typing(&schema, &of), live, config, &caller).map_err(|conflicts| {
        conflicts.into_iter().map(|found| format!("{}: {}", found.manager, found.path)).collect()
    })
}

fn deployment(replicas: Option<u64>, image: &str) -> Value {
    let mut out = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "app", "image": image, "ports": [{"containerPort": 80}]},
    ]}}}});
    if let Some(replicas) = replicas {
        out["spec"]["replicas"] = json!(replicas);
    }
    out
}

#[test]
fn an_apply_owns_what_it_names_and_keys_hold_defaults() {
    let mut managers = Managers::default();
    apply(&mut managers, &json!({}), &deployment(Some(1), "a"), "taffrail", false).unwrap();
    let entry = managers.0.values().next().unwrap();
    let port = r#"k:{"containerPort":80,"protocol":"TCP"}"#;
    let expected = json!({"f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {
        r#"k:{"name":"app"}"#: {
            ".": {}, "f:name": {}, "f:image": {}, "f:ports": {port: {".": {}, "f:containerPort": {}}},
        },
    }}}}});
    assert_eq!(entry.set.encode(), expected);
    assert_eq!(FieldSet::decode(&expected), entry.set);
}

#[test]
fn a_field_that_is_applied_no_more_goes_unless_another_owns_it() {
    let mut managers = Managers::default();
    let live = apply(&mut managers, &json!({}), &deployment(Some(1), "a"), "one", false).unwrap();
    let mut shared = managers.clone();
    let left = apply(&mut managers, &live, &deployment(None, "a"), "one", false).unwrap();
    assert_eq!(left["spec"].get("replicas"), None);
    apply(&mut shared, &live, &json!({"spec": {"replicas": 1}}), "two", false).unwrap();
    let left = apply(&mut shared, &live, &deployment(None, "a"), "one", false).unwrap();
    assert_eq!(left["spec"]["replicas"], json!(1));
}

#[test]
fn a_foreign_field_conflicts_until_forced() {
    let (schema, of) = (built_in(), named("apps.v1.Deployment"));
    let mut managers = Managers::default();
    let live = apply(&mut managers, &json!({}), &deployment(Some(1), "a"), "taffrail", false).unwrap();
    let mut edited = live.clone();
    edited["spec"]["replicas"] = json!(5);
    managers.update(typing(&schema, &of), &live, &edited, "kubectl-edit", "", NOW);
    let refused = apply(&mut managers.clone(), &edited, &deployment(Some(1), "a"), "taffrail", false);
    assert_eq!(refused.unwrap_err(), [r#""kubectl-edit" using apps/v1: .spec.replicas"#]);
    let healed = apply(&mut managers, &edited, &deployment(Some(1), "a"), "taffrail", true).unwrap();
    assert_eq!(healed["spec"]["replicas"], json!(1));
    assert_eq!(managers.0.len(), 1, "the displaced manager owns nothing more");
}

#[test]
fn keyed_lists_keep_the_order_of_the_applied_and_the_place_of_others() {
    let container = |name: &str| json!({"name": name, "image": "a"});
    let list = |names: &[&str]| {
        let containers: Vec<Value> = names.iter().map(|name| container(name)).collect();
        json!({"spec": {"template": {"spec": {"containers": containers}}}})
    };
    let (schema, of) = (built_in(), named("apps.v1.Deployment"));
    for (live, applied, expected) in [
        (vec!["a", "b"], vec!["b"], vec!["a", "b"]),
        (vec!["a", "b"], vec!["b", "a"], vec!["b", "a"]),
        (vec!["a", "b", "c"], vec!["c", "d", "a"], vec!["b", "c", "d", "a"]),
        (vec!["x", "a"], vec!["a", "n"], vec!["x", "a", "n"]),
    ] {
        let merged = super::merge::merge(&schema, &of, &list(&live), &list(&applied));
        assert_eq!(merged, list(&expected), "{live:?} with {applied:?}");
    }
}
