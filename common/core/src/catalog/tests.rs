//! What declarations give, and that the published lists are the tables.

use alloc::{format, string::String, string::ToString, vec::Vec};
use serde_json::{Value, json};

use super::{
    Destination, MaxDeletes, Render, dialect,
    fields::{
        APP_ANNOTATIONS, APP_FIELDS, APP_OPTIONS, APPLICATION_FIELDS, FIELDS, OBJECT_ANNOTATIONS,
        OBJECT_OPTIONS, Row, Verdict,
    },
    object_rules::{Prune, judge},
    parse,
};

/// An Application as people write it, with `change` merged over it.
fn application(change: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": "payments-api"},
        "spec": {
            "source": {"repoURL": "https://git.example.com/shop.git", "path": "./apps//payments-api/"},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": "payments"},
        },
    });
    merge(&mut object, change);
    object
}

fn app(change: &Value) -> Value {
    let mut object = application(&json!({"apiVersion": "taffrail.dev/v1alpha1", "kind": "App"}));
    object["spec"]["destination"] = json!({"namespace": "payments"});
    object["spec"]["clusters"] = json!({"matchLabels": {"env": "prod"}});
    merge(&mut object, change);
    object
}

fn merge(object: &mut Value, change: &Value) {
    match (object, change) {
        (Value::Object(fields), Value::Object(changes)) => {
            for (name, change) in changes {
                merge(fields.entry(name.clone()).or_insert(Value::Null), change);
            }
        }
        (object, change) => *object = change.clone(),
    }
}

#[test]
fn a_plain_application_is_read() {
    let parsed = parse(&application(&json!({}))).unwrap();
    let declared = parsed.declared;
    assert!(parsed.warnings.is_empty());
    assert_eq!(declared.name.as_str(), "payments-api");
    assert_eq!(declared.path, "apps/payments-api");
    assert_eq!(declared.target_revision, "HEAD");
    assert_eq!((declared.render, declared.destination), (Render::Auto, Destination::Here));
    assert_eq!(declared.namespace.as_deref(), Some("payments"));
    assert!(!declared.sync.automated && !declared.sync.prune && declared.max_deletes.is_none());
}

#[test]
fn an_app_chooses_clusters_by_label() {
    let declared = parse(&app(&json!({}))).unwrap().declared;
    let Destination::Selector(selector) = declared.destination else {
        panic!("{:?}", declared.destination);
    };
    assert_eq!(selector.requirements().len(), 1);
    let named = app(&json!({"spec": {"clusters": null, "destination": {"name": "eu-1"}}}));
    assert!(matches!(parse(&named).unwrap().declared.destination, Destination::Cluster(_)));
}

#[test]
fn switches_have_the_defaults_of_argo_cd() {
    for (policy, wanted) in [
        (json!({}), [false, false, false, false, false]),
        (json!({"automated": null}), [false, false, false, false, false]),
        (json!({"automated": {}}), [true, false, false, false, false]),
        (json!({"automated": {"enabled": false, "prune": true}}), [false, true, false, false, false]),
        (
            json!({"automated": {"prune": true, "selfHeal": true, "allowEmpty": true}}),
            [true, true, true, true, false],
        ),
        (
            json!({"automated": {"prune": true}, "syncOptions": ["Prune=false", "CreateNamespace=true"]}),
            [true, false, false, false, true],
        ),
        (json!({"syncOptions": ["CreateNamespace=true", "CreateNamespace=false"]}), [false; 5]),
    ] {
        let sync = parse(&application(&json!({"spec": {"syncPolicy": policy}}))).unwrap().declared.sync;
        let found = [sync.automated, sync.prune, sync.self_heal, sync.allow_empty, sync.create_namespace];
        assert_eq!(found, wanted, "{policy}");
    }
}

#[test]
fn texts_and_names_end_where_their_bounds_say() {
    let revision = |text: String| json!({"spec": {"source": {"targetRevision": text}}});
    let namespace = |text: &str| json!({"spec": {"destination": {"namespace": text}}});
    let deletes = |text: &str| json!({"metadata": {"annotations": {"taffrail.dev/max-deletes": text}}});
    for (change, good) in [
        (revision("x".repeat(2_000)), true),
        (revision("x".repeat(2_001)), false),
        (revision("main\u{7f}".into()), false),
        (revision("main\n".into()), false),
        (namespace(&"a".repeat(63)), true),
        (namespace(&"a".repeat(64)), false),
        (namespace("a-1"), true),
        (namespace("-a"), false),
        (namespace("a-"), false),
        (namespace("a_b"), false),
        (deletes("100%"), true),
        (deletes("101%"), false),
        (deletes("0"), true),
        (deletes("-1"), false),
    ] {
        assert_eq!(parse(&application(&change)).is_ok(), good, "{change}");
    }
}

#[test]
fn renderers_are_chosen_by_the_source() {
    for (source, wanted) in [
        (json!({}), Render::Auto),
        (json!({"directory": {}}), Render::Directory { recurse: false }),
        (json!({"directory": {"recurse": true}}), Render::Directory { recurse: true }),
    ] {
        let found = parse(&application(&json!({"spec": {"source": source}}))).unwrap().declared.render;
        assert_eq!(found, wanted, "{source}");
    }
}

#[test]
fn what_has_no_effect_is_warned_of() {
    let parsed = parse(&application(&json!({
        "metadata": {
            "namespace": "argocd",
            "finalizers": ["resources-finalizer.argocd.argoproj.io"],
            "annotations": {"argocd.argoproj.io/sync-wave": "3", "example.com/owner": "me", "taffrail.dev/max-deletes": "25%"},
        },
        "spec": {
            "project": "default",
            "revisionHistoryLimit": 3,
            "syncPolicy": {"retry": {"limit": 2}, "syncOptions": ["Validate=false", "ServerSideApply=true"]},
        },
    })))
    .unwrap();
    let pointers: Vec<&str> = parsed.warnings.iter().map(|warning| warning.pointer.as_str()).collect();
    assert_eq!(
        pointers,
        [
            "/metadata/annotations/argocd.argoproj.io~1sync-wave",
            "/metadata/finalizers",
            "/metadata/namespace",
            "/spec/project",
            "/spec/revisionHistoryLimit",
            "/spec/syncPolicy/retry",
            "/spec/syncPolicy/syncOptions/0",
        ]
    );
    assert_eq!(parsed.declared.max_deletes, Some(MaxDeletes::Percent(25)));
}

#[test]
fn what_would_be_missed_is_refused_with_its_place() {
    let spec = |value: Value| json!({"spec": value});
    for (object, pointer) in [
        (application(&spec(json!({"sources": []}))), "/spec/sources"),
        (application(&spec(json!({"source": {"helm": {}}}))), "/spec/source/helm"),
        (application(&spec(json!({"source": {"kustomize": {}}}))), "/spec/source/kustomize"),
        (
            application(&spec(json!({"source": {"directory": {"include": "*"}}}))),
            "/spec/source/directory/include",
        ),
        (application(&spec(json!({"source": {"path": "../x"}}))), "/spec/source/path"),
        (application(&spec(json!({"source": {"path": "/x"}}))), "/spec/source/path"),
        (application(&spec(json!({"source": {"path": null}}))), "/spec/source/path"),
        (application(&spec(json!({"source": {"repoURL": ""}}))), "/spec/source/repoURL"),
        (application(&spec(json!({"source": {"targetRevision": 1}}))), "/spec/source/targetRevision"),
        (application(&spec(json!({"source": []}))), "/spec/source"),
        (application(&spec(json!({"surprise": 1}))), "/spec/surprise"),
        (application(&spec(json!({"clusters": {}}))), "/spec/clusters"),
        (application(&spec(json!({"destination": {"name": "x"}}))), "/spec/destination"),
        (application(&spec(json!({"destination": {"server": null}}))), "/spec/destination"),
        (
            application(&spec(json!({"destination": {"server": "https://1.2.3.4"}}))),
            "/spec/destination/server",
        ),
        (application(&spec(json!({"destination": {"namespace": "A"}}))), "/spec/destination/namespace"),
        (application(&spec(json!({"syncPolicy": {"automated": true}}))), "/spec/syncPolicy/automated"),
        (
            application(&spec(json!({"syncPolicy": {"automated": {"prune": "yes"}}}))),
            "/spec/syncPolicy/automated/prune",
        ),
        (
            application(&spec(json!({"syncPolicy": {"syncOptions": ["Prune=false", "Replace=true"]}}))),
            "/spec/syncPolicy/syncOptions/1",
        ),
        (
            application(&spec(json!({"syncPolicy": {"syncOptions": ["Surprise=1"]}}))),
            "/spec/syncPolicy/syncOptions/0",
        ),
        (application(&spec(json!({"ignoreDifferences": []}))), "/spec/ignoreDifferences"),
        (application(&json!({"operation": {}})), "/operation"),
        (application(&json!({"metadata": {"name": "A_b"}})), "/metadata/name"),
        (
            application(&json!({"metadata": {"annotations": {"taffrail.dev/x": ""}}})),
            "/metadata/annotations/taffrail.dev~1x",
        ),
        (
            application(&json!({"metadata": {"annotations": {"taffrail.dev/max-deletes": "101%"}}})),
            "/metadata/annotations/taffrail.dev~1max-deletes",
        ),
        (application(&json!({"metadata": {"annotations": {"a": 1}}})), "/metadata/annotations/a"),
        (app(&spec(json!({"project": "default"}))), "/spec/project"),
        (app(&spec(json!({"clusters": null}))), "/spec/clusters"),
        (app(&spec(json!({"clusters": {"matchLabels": {"-": "x"}}}))), "/spec/clusters/matchLabels/-"),
        (app(&spec(json!({"destination": {"name": "x"}}))), "/spec/destination"),
        (app(&spec(json!({"rollout": {}}))), "/spec/rollout"),
    ] {
        assert_eq!(parse(&object).unwrap_err().pointer, pointer, "{object}");
    }
}

#[test]
fn other_objects_declare_no_app() {
    for (version, kind) in
        [("v1", "ConfigMap"), ("argoproj.io/v1alpha1", "AppProject"), ("taffrail.dev/v1", "App")]
    {
        assert_eq!(dialect(&json!({"apiVersion": version, "kind": kind})), None);
    }
    assert!(parse(&json!({"kind": "ConfigMap"})).is_err());
    assert!(parse(&json!([])).is_err());
}

#[test]
fn objects_say_by_annotation_what_may_be_done_with_them() {
    let annotated = |name: &str, value: &str| json!({"metadata": {"annotations": {name: value}}});
    let options = "argocd.argoproj.io/sync-options";
    for (object, wanted) in [
        (json!({}), Ok((Prune::Allowed, 0))),
        (annotated("example.com/x", "y"), Ok((Prune::Allowed, 0))),
        (annotated(options, "Prune=false"), Ok((Prune::Never, 0))),
        (annotated(options, " Validate=false , Prune=false,"), Ok((Prune::Never, 1))),
        (annotated(options, "Prune=confirm"), Ok((Prune::Never, 1))),
        (annotated("helm.sh/resource-policy", "keep"), Ok((Prune::Never, 0))),
        (annotated("kustomize.toolkit.fluxcd.io/prune", "disabled"), Ok((Prune::Never, 0))),
        (annotated("argocd.argoproj.io/sync-wave", "-1"), Ok((Prune::Allowed, 1))),
        (annotated(options, "Surprise=true"), Err(())),
        (annotated(options, "Replace=true"), Err(())),
        (annotated("argocd.argoproj.io/hook", "PreSync"), Err(())),
        (annotated("helm.sh/hook", "pre-install"), Err(())),
        (annotated("argocd.argoproj.io/new-thing", "x"), Err(())),
        (annotated("taffrail.dev/commit", "x"), Err(())),
        (annotated("helm.sh/resource-policy", "other"), Err(())),
        (json!({"metadata": {"annotations": {"a": true}}}), Err(())),
    ] {
        let found = judge(&object).map(|(prune, warnings)| (prune, warnings.len())).map_err(drop);
        assert_eq!(found, wanted, "{object}");
    }
}

const DOCUMENT: &str = include_str!("../../../../docs/COMPATIBILITY.md");

#[test]
fn the_published_lists_are_the_tables() {
    let mut missing = Vec::new();
    for (place, table) in [
        ("", FIELDS),
        ("", APPLICATION_FIELDS),
        ("", APP_FIELDS),
        ("syncOptions ", APP_OPTIONS),
        ("sync-options ", OBJECT_OPTIONS),
        ("app ", APP_ANNOTATIONS),
        ("object ", OBJECT_ANNOTATIONS),
    ] {
        missing
            .extend(table.iter().filter_map(|row| line(place, *row)).filter(|line| !DOCUMENT.contains(line)));
    }
    assert!(missing.is_empty(), "docs/COMPATIBILITY.md lacks:\n{}", missing.join("\n"));
}

/// The row as the document prints it; `None` for a section.
fn line(place: &str, (name, verdict): Row) -> Option<String> {
    let name = name.strip_prefix('/').map_or_else(|| name.to_string(), |name| name.replace('/', "."));
    match verdict {
        Verdict::Section => None,
        Verdict::Honoured => Some(format!("| {place}`{name}` |")),
        Verdict::Warned(why) | Verdict::Refused(why) => Some(format!("| {place}`{name}` | {why} |")),
    }
}

fn any_json() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z/.%0-9=]{0,12}|\\PC{0,8}".prop_map(Value::from),
    ];
    let names = "metadata|spec|source|path|repoURL|syncPolicy|automated|syncOptions|destination|clusters|matchLabels|annotations|name|server|\\PC{0,6}";
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(names, inner, 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest::proptest! {
    #[test]
    fn no_declaration_makes_the_parser_panic(change in any_json()) {
        for mut object in [application(&json!({})), app(&json!({}))] {
            merge(&mut object["spec"], &change);
            drop(parse(&object));
            merge(&mut object, &change);
            drop(parse(&object));
            drop(judge(&object));
        }
        drop(parse(&change));
        drop(crate::selector::Selector::parse(&change));
    }

    #[test]
    fn what_is_read_twice_is_the_same(change in any_json()) {
        let object = application(&json!({"metadata": {"annotations": change}}));
        proptest::prop_assert_eq!(parse(&object), parse(&object));
    }
}
