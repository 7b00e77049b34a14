//! The tables of health, row by row.

use super::*;
use serde_json::json;

const NOW: At = At(1_793_874_030_000); // 2026-11-05T10:20:30Z

/// Judges an object of a kind made of `spec` and `status`, generation 2.
fn judged(api_version: &str, kind: &str, spec: &Value, status: &Value) -> Judgement {
    let metadata = json!({"name": "it", "generation": 2, "creationTimestamp": "2026-11-05T10:20:00Z"});
    judge(
        &json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec, "status": status}),
        NOW,
    )
}

type Row = (&'static str, Value, Value, Health, Option<Cause>);

fn check(api_version: &str, kind: &str, rows: &[Row]) {
    for (row, spec, status, health, cause) in rows {
        let judgement = judged(api_version, kind, spec, status);
        assert_eq!((judgement.health, judgement.cause), (*health, *cause), "{kind}: {row}: {judgement:?}");
        assert!(judgement.counted, "{kind}: {row}");
    }
}

use Health::{Degraded, Healthy, Missing, Progressing, Suspended, Unknown};

#[test]
fn deployments_follow_the_table() {
    let done = json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3});
    let with = |changes: Value| {
        let mut status = done.clone();
        status.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        status
    };
    let three = || json!({"replicas": 3});
    let late = json!({"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"});
    let quota = json!({"type": "ReplicaFailure", "status": "True", "message": "pods \"a\" is forbidden: exceeded quota: q"});
    check(
        "apps/v1",
        "Deployment",
        &[
            ("done", three(), done.clone(), Healthy, None),
            ("replicas default to one", json!({}), json!({"observedGeneration": 2}), Progressing, None),
            ("scaled to zero", json!({"replicas": 0}), json!({"observedGeneration": 2}), Healthy, None),
            ("paused", json!({"paused": true, "replicas": 3}), json!({}), Suspended, None),
            ("new spec unseen", three(), with(json!({"observedGeneration": 1})), Progressing, None),
            ("no status yet", three(), json!({}), Progressing, None),
            ("updated < spec", three(), with(json!({"updatedReplicas": 2})), Progressing, None),
            ("replicas > updated", three(), with(json!({"replicas": 4})), Progressing, None),
            ("available < updated", three(), with(json!({"availableReplicas": 2})), Progressing, None),
            (
                "deadline",
                three(),
                with(json!({"conditions": [late]})),
                Degraded,
                Some(Cause::ProgressDeadlineExceeded),
            ),
            (
                "an old deadline of an unseen spec",
                three(),
                with(json!({"observedGeneration": 1, "conditions": [late]})),
                Progressing,
                None,
            ),
            (
                "quota before the deadline",
                three(),
                with(json!({"updatedReplicas": 0, "conditions": [quota]})),
                Progressing,
                Some(Cause::QuotaExceeded),
            ),
            (
                "quota after the deadline",
                three(),
                with(json!({"conditions": [late, quota]})),
                Degraded,
                Some(Cause::QuotaExceeded),
            ),
        ],
    );
}

#[test]
fn stateful_sets_follow_the_table() {
    let spec = |strategy: Value| json!({"replicas": 3, "updateStrategy": strategy});
    let rolling =
        |partition: i64| spec(json!({"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}));
    let status = |ready: i64, updated: i64, current: &str| {
        json!({"observedGeneration": 2, "readyReplicas": ready, "updatedReplicas": updated,
            "currentRevision": current, "updateRevision": "b"})
    };
    check(
        "apps/v1",
        "StatefulSet",
        &[
            ("never observed", rolling(0), json!({}), Progressing, None),
            (
                "new spec unseen",
                rolling(0),
                json!({"observedGeneration": 1, "readyReplicas": 3}),
                Progressing,
                None,
            ),
            ("ready < spec", rolling(0), status(2, 3, "b"), Progressing, None),
            ("updated < spec - partition", rolling(1), status(3, 1, "a"), Progressing, None),
            ("partition met, revisions not compared", rolling(1), status(3, 2, "a"), Healthy, None),
            (
                "no block, old revision",
                spec(json!({"type": "RollingUpdate"})),
                status(3, 3, "a"),
                Progressing,
                None,
            ),
            (
                "no block, new revision",
                spec(json!({"type": "RollingUpdate"})),
                status(3, 3, "b"),
                Healthy,
                None,
            ),
            ("OnDelete", spec(json!({"type": "OnDelete"})), status(3, 0, "a"), Healthy, None),
        ],
    );
}

#[test]
fn daemon_sets_and_replica_sets_follow_the_table() {
    let status = |updated: i64, available: i64| json!({"observedGeneration": 2, "desiredNumberScheduled": 2, "updatedNumberScheduled": updated, "numberAvailable": available});
    let none = || json!({});
    let on_delete = || json!({"updateStrategy": {"type": "OnDelete"}});
    check(
        "apps/v1",
        "DaemonSet",
        &[
            ("done", none(), status(2, 2), Healthy, None),
            ("updated < desired", none(), status(1, 2), Progressing, None),
            ("available < desired", none(), status(2, 1), Progressing, None),
            ("OnDelete", on_delete(), status(0, 0), Healthy, None),
            ("new spec unseen", on_delete(), none(), Progressing, None),
        ],
    );
    let failure = |message: &str| json!({"observedGeneration": 2, "conditions": [{"type": "ReplicaFailure", "status": "True", "message": message}]});
    let denied = "pods \"a\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot";
    check(
        "apps/v1",
        "ReplicaSet",
        &[
            (
                "done",
                json!({"replicas": 2}),
                json!({"observedGeneration": 2, "availableReplicas": 2}),
                Healthy,
                None,
            ),
            ("available < spec", json!({"replicas": 2}), json!({"observedGeneration": 2}), Progressing, None),
            ("new spec unseen", none(), json!({"observedGeneration": 1}), Progressing, None),
            ("refused pods", none(), failure("who knows"), Degraded, None),
            ("refused by policy", none(), failure(denied), Degraded, Some(Cause::AdmissionDenied)),
        ],
    );
}

#[test]
fn jobs_follow_the_table() {
    let status = |kind: &str, reason: &str| json!({"conditions": [{"type": kind, "status": "True", "reason": reason}]});
    let none = || json!({});
    check(
        "batch/v1",
        "Job",
        &[
            ("running", none(), json!({"active": 1}), Progressing, None),
            ("complete", none(), status("Complete", ""), Healthy, None),
            ("suspended", none(), status("Suspended", ""), Suspended, None),
            ("failed", none(), status("Failed", "PodFailurePolicy"), Degraded, None),
            (
                "backoff",
                none(),
                status("Failed", "BackoffLimitExceeded"),
                Degraded,
                Some(Cause::BackoffLimitExceeded),
            ),
            (
                "deadline",
                none(),
                status("Failed", "DeadlineExceeded"),
                Degraded,
                Some(Cause::DeadlineExceeded),
            ),
            (
                "not failed",
                none(),
                json!({"conditions": [{"type": "Failed", "status": "False"}]}),
                Progressing,
                None,
            ),
        ],
    );
    let (early, late) = ("2026-11-05T10:00:00Z", "2026-11-05T10:05:00Z");
    let runs = |scheduled: &str, succeeded: &str| json!({"lastScheduleTime": scheduled, "lastSuccessfulTime": succeeded});
    check(
        "batch/v1",
        "CronJob",
        &[
            ("never ran", none(), none(), Healthy, None),
            ("succeeded after its schedule", none(), runs(early, late), Healthy, None),
            ("did not succeed since", none(), runs(late, early), Degraded, None),
            ("never succeeded", none(), json!({"lastScheduleTime": early}), Degraded, None),
            ("running", none(), json!({"lastScheduleTime": late, "active": [{"name": "it"}]}), Healthy, None),
            ("suspended", json!({"suspend": true}), runs(late, early), Healthy, None),
        ],
    );
}

fn waiting(reason: &str) -> Value {
    json!({"phase": "Pending", "containerStatuses": [{"name": "web", "image": "web:2", "state": {"waiting": {"reason": reason}}}]})
}

#[test]
fn pods_follow_the_table() {
    let (always, never) = (|| json!({"restartPolicy": "Always"}), || json!({"restartPolicy": "Never"}));
    let running = |ready: &str, last: Value| {
        json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [{"name": "web", "lastState": last}]})
    };
    let died = || json!({"terminated": {"exitCode": 1, "reason": "Error"}});
    let stuck = json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}]});
    let init = json!({"phase": "Pending", "initContainerStatuses": [{"name": "init", "state": {"waiting": {"reason": "ErrImagePull"}}}]});
    check(
        "v1",
        "Pod",
        &[
            ("pending", always(), json!({"phase": "Pending"}), Progressing, None),
            ("no phase", always(), json!({}), Progressing, None),
            ("container is made", always(), waiting("ContainerCreating"), Progressing, None),
            ("image pull", always(), waiting("ImagePullBackOff"), Degraded, Some(Cause::ImagePull)),
            ("first image pull", always(), waiting("ErrImagePull"), Degraded, Some(Cause::ImagePull)),
            ("crash loop", always(), waiting("CrashLoopBackOff"), Degraded, Some(Cause::CrashLoop)),
            (
                "configuration",
                always(),
                waiting("CreateContainerConfigError"),
                Degraded,
                Some(Cause::ContainerConfig),
            ),
            (
                "image pull without restarts",
                never(),
                waiting("ImagePullBackOff"),
                Progressing,
                Some(Cause::ImagePull),
            ),
            ("init container", always(), init, Degraded, Some(Cause::ImagePull)),
            ("unschedulable for 30 s", always(), stuck, Progressing, Some(Cause::Unschedulable)),
            ("ready", always(), running("True", died()), Healthy, None),
            ("not ready yet", always(), running("False", json!({})), Progressing, None),
            ("not ready after a restart", always(), running("False", died()), Degraded, None),
            ("running to an end", never(), running("True", json!({})), Progressing, None),
            ("succeeded", never(), json!({"phase": "Succeeded"}), Healthy, None),
            ("failed", never(), json!({"phase": "Failed", "reason": "Evicted"}), Degraded, None),
            ("unknown", always(), json!({"phase": "Unknown"}), Unknown, None),
        ],
    );
}

#[test]
fn kinds_without_pods_follow_the_table() {
    let none = || json!({});
    let address = || json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
    let balancer = || json!({"type": "LoadBalancer"});
    check(
        "v1",
        "PersistentVolumeClaim",
        &[
            ("bound", none(), json!({"phase": "Bound"}), Healthy, None),
            ("pending", none(), json!({"phase": "Pending"}), Progressing, None),
            ("lost", none(), json!({"phase": "Lost"}), Degraded, None),
            ("strange", none(), json!({"phase": "Half"}), Unknown, None),
        ],
    );
    check(
        "v1",
        "Service",
        &[
            ("cluster address", json!({"type": "ClusterIP"}), none(), Healthy, None),
            ("load balancer without address", balancer(), json!({"loadBalancer": {}}), Progressing, None),
            ("load balancer with address", balancer(), address(), Healthy, None),
        ],
    );
    check(
        "networking.k8s.io/v1",
        "Ingress",
        &[("no address", none(), none(), Progressing, None), ("address", none(), address(), Healthy, None)],
    );
}

fn conditioned(kind: &str, status: &str, reason: &str) -> Value {
    json!({"conditions": [{"type": kind, "status": status, "reason": reason}]})
}

#[test]
fn kinds_with_conditions_follow_the_table() {
    let none = || json!({});
    check(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        &[
            ("nothing yet", none(), none(), Progressing, None),
            ("able", none(), conditioned("AbleToScale", "True", "ReadyForNewScale"), Healthy, None),
            ("limited", none(), conditioned("ScalingLimited", "True", "TooFewReplicas"), Healthy, None),
            ("no scale", none(), conditioned("AbleToScale", "False", "FailedGetScale"), Degraded, None),
            (
                "no metric",
                none(),
                conditioned("ScalingActive", "False", "FailedGetResourceMetric"),
                Degraded,
                None,
            ),
            ("disabled", none(), conditioned("ScalingActive", "False", "ScalingDisabled"), Progressing, None),
        ],
    );
    check(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        &[
            ("nothing yet", none(), none(), Progressing, None),
            ("installing", none(), conditioned("Established", "False", "Installing"), Progressing, None),
            ("not established", none(), conditioned("Established", "False", "NotAccepted"), Degraded, None),
            ("established", none(), conditioned("Established", "True", ""), Healthy, None),
            (
                "names taken",
                none(),
                conditioned("NamesAccepted", "False", "ListKindConflict"),
                Degraded,
                None,
            ),
        ],
    );
    check(
        "apiregistration.k8s.io/v1",
        "APIService",
        &[
            ("nothing yet", none(), none(), Progressing, None),
            (
                "not available",
                none(),
                conditioned("Available", "False", "MissingEndpoints"),
                Progressing,
                None,
            ),
            ("available", none(), conditioned("Available", "True", "Passed"), Healthy, None),
        ],
    );
    for (kind, version) in [("Widget", "example.com/v1"), ("Service", "serving.knative.dev/v1")] {
        check(
            version,
            kind,
            &[
                ("no status", none(), none(), Healthy, None),
                ("unseen spec", none(), json!({"observedGeneration": 1}), Progressing, None),
                ("a seen one", none(), json!({"observedGeneration": 2}), Healthy, None),
                ("reconciling", none(), conditioned("Reconciling", "True", ""), Progressing, None),
                ("stalled", none(), conditioned("Stalled", "True", ""), Degraded, None),
                ("not ready", none(), conditioned("Ready", "False", ""), Progressing, None),
                ("ready unknown", none(), conditioned("Ready", "Unknown", ""), Progressing, None),
                ("ready", none(), conditioned("Ready", "True", ""), Healthy, None),
            ],
        );
    }
    let budget = conditioned("Ready", "False", "");
    check("policy/v1", "PodDisruptionBudget", &[("always", none(), budget, Healthy, None)]);
}

#[test]
fn an_object_that_is_being_deleted_progresses_and_names_its_finalizer() {
    for kind in ["ConfigMap", "Deployment", "Widget"] {
        let metadata =
            json!({"deletionTimestamp": "2026-11-05T10:20:00Z", "finalizers": ["example.com/hold"]});
        let judgement = judge(&json!({"apiVersion": "v1", "kind": kind, "metadata": metadata}), NOW);
        assert_eq!(judgement.health, Progressing);
        assert_eq!(judgement.message, "Pending deletion, waiting for finalizer example.com/hold");
        assert!(judgement.counted);
    }
}

#[test]
fn kinds_without_a_check_and_ignored_objects_do_not_count() {
    for (version, kind) in [
        ("v1", "ConfigMap"),
        ("v1", "Secret"),
        ("v1", "Namespace"),
        ("rbac.authorization.k8s.io/v1", "ClusterRole"),
        ("networking.k8s.io/v1", "NetworkPolicy"),
    ] {
        let judgement = judged(version, kind, &json!({}), &json!({}));
        assert_eq!((judgement.health, judgement.counted), (Healthy, false), "{kind}");
    }
    let annotations = json!({"argocd.argoproj.io/ignore-healthcheck": "true"});
    let object = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"annotations": annotations},
        "status": {"phase": "Lost"}});
    assert!(!judge(&object, NOW).counted);
}

#[test]
fn the_worst_of_what_counts_is_the_health_of_the_app() {
    let of = |health| Judgement::new(health, "");
    let uncounted = Judgement { counted: false, ..of(Unknown) };
    assert_eq!(worst(&[]), Healthy);
    assert_eq!(worst(&[of(Healthy), of(Degraded), of(Missing)]), Degraded);
    assert_eq!(worst(&[of(Suspended), of(Healthy), uncounted.clone()]), Suspended);
    assert_eq!(worst(&[of(Unknown), of(Degraded)]), Unknown);

    assert_eq!(of_app([]), Healthy);
    assert_eq!(of_app([None, None]), Missing);
    assert_eq!(of_app([None, Some(&of(Progressing))]), Progressing);
    assert_eq!(of_app([Some(&Judgement::missing())]), Missing);
    assert_eq!(of_app([None, Some(&uncounted)]), Healthy);
}

#[test]
fn words_and_causes_are_read_back() {
    for health in [Healthy, Suspended, Progressing, Missing, Degraded, Unknown] {
        assert_eq!(Health::parse(health.as_str()), Some(health));
    }
    for cause in Cause::ALL {
        assert_eq!(Cause::parse(cause.as_str()), Some(cause));
    }
    assert_eq!((Health::parse("healthy"), Cause::parse("")), (None, None));
}

#[test]
fn messages_are_bounded_and_on_one_line() {
    let long = "\u{e9}\n".repeat(1_000);
    let judgement = Judgement::new(Unknown, &long);
    assert!(judgement.message.len() <= MESSAGE_BYTES_MAX && judgement.message.ends_with("..."));
    assert!(!judgement.message.contains('\n'));
}

fn trees() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        Just(json!("True")),
        Just(json!("Always")),
        Just(json!("2026-11-05T10:00:00Z")),
        Just(json!([])),
    ];
    let names =
        &["status", "spec", "conditions", "type", "replicas", "phase", "reason", "state", "waiting"][..];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(prop::sample::select(names), inner, 0..4)
                .prop_map(|map| map.into_iter().map(|(name, value)| (String::from(name), value)).collect()),
        ]
    })
}

proptest::proptest! {
    #[test]
    fn no_object_makes_it_panic(spec in trees(), status in trees(), kind in 0usize..13) {
        let (version, kind) = [
            ("apps/v1", "Deployment"), ("apps/v1", "StatefulSet"), ("apps/v1", "DaemonSet"), ("apps/v1", "ReplicaSet"),
            ("batch/v1", "Job"), ("batch/v1", "CronJob"), ("v1", "Pod"), ("v1", "PersistentVolumeClaim"),
            ("v1", "Service"), ("networking.k8s.io/v1", "Ingress"), ("autoscaling/v2", "HorizontalPodAutoscaler"),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition"), ("example.com/v1", "Widget"),
        ][kind];
        let judgement = judged(version, kind, &spec, &status);
        proptest::prop_assert!(judgement.message.len() <= MESSAGE_BYTES_MAX);
    }
}
