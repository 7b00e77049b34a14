//! Named causes of a failing rollout, told long before any deadline passes.

use super::fields::{bounded, condition, list, number, text};
use crate::object::stamp;
use crate::time::{At, Span};
use alloc::format;
use alloc::string::String;
use core::fmt::{self, Write};
use serde_json::Value;

/// Why something does not become healthy. The order is the order of interest: the first of several is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// An image cannot be pulled.
    ImagePull,
    /// A container starts and ends again and again.
    CrashLoop,
    /// A container cannot be made, usually because a config map, secret or key that it names is missing.
    ContainerConfig,
    /// A container runs, and its readiness probe does not pass.
    NotReady,
    /// A policy or webhook refused an object.
    AdmissionDenied,
    /// A quota is used up.
    QuotaExceeded,
    /// No node fits.
    Unschedulable,
    /// The kind is not served: its definition is missing.
    MissingCrd,
    /// A Deployment made no progress for its deadline.
    ProgressDeadlineExceeded,
    /// A Job failed as often as it may.
    BackoffLimitExceeded,
    /// A Job ran longer than it may.
    DeadlineExceeded,
}

impl Cause {
    /// All causes, in order.
    pub const ALL: [Cause; 11] = [
        Cause::ImagePull,
        Cause::CrashLoop,
        Cause::ContainerConfig,
        Cause::NotReady,
        Cause::AdmissionDenied,
        Cause::QuotaExceeded,
        Cause::Unschedulable,
        Cause::MissingCrd,
        Cause::ProgressDeadlineExceeded,
        Cause::BackoffLimitExceeded,
        Cause::DeadlineExceeded,
    ];

    /// The stable name, as Kubernetes calls it where it has a name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Cause::ImagePull => "ImagePullBackOff",
            Cause::CrashLoop => "CrashLoopBackOff",
            Cause::ContainerConfig => "CreateContainerConfigError",
            Cause::NotReady => "ContainersNotReady",
            Cause::AdmissionDenied => "AdmissionDenied",
            Cause::QuotaExceeded => "QuotaExceeded",
            Cause::Unschedulable => "Unschedulable",
            Cause::MissingCrd => "MissingCRD",
            Cause::ProgressDeadlineExceeded => "ProgressDeadlineExceeded",
            Cause::BackoffLimitExceeded => "BackoffLimitExceeded",
            Cause::DeadlineExceeded => "DeadlineExceeded",
        }
    }

    /// Reads the stable name; `None` for any other text.
    pub fn parse(text: &str) -> Option<Cause> {
        Cause::ALL.into_iter().find(|cause| cause.as_str() == text)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// How long a container may run, after its probe's first delay, before it is named for not being ready: most are ready by
/// then, and a person who waits wants to know after ten seconds.
const READINESS_GRACE: Span = Span::secs(5);

/// The first cause in order of interest among pods, with the words for it; pods that are being deleted say nothing.
pub fn cause_of_pods(pods: &[Value], now: At) -> Option<(Cause, String)> {
    let leaving = |pod: &&Value| pod.pointer("/metadata/deletionTimestamp").is_some_and(|it| !it.is_null());
    let first = pods.iter().filter(|pod| !leaving(pod)).filter_map(|pod| named(pod, now)).min()?;
    Some((first.0, bounded(&format!("pod {}: {}", first.1, first.2))))
}

fn named(pod: &Value, now: At) -> Option<(Cause, &str, String)> {
    let (cause, words) = cause_of_pod(pod).or_else(|| not_ready(pod, now))?;
    Some((cause, text(pod, "/metadata/name"), words))
}

/// A container whose readiness probe had its time and does not pass. What it was told stands in no status; which probe it
/// is stands in the pod.
fn not_ready(pod: &Value, now: At) -> Option<(Cause, String)> {
    let unready = list(pod, "/status/containerStatuses").find_map(|status| {
        let is = |pointer: &str, flag: bool| status.pointer(pointer) == Some(&Value::Bool(flag));
        let since = stamp::at_of(text(status, "/state/running/startedAt"))?;
        let name = text(status, "/name");
        let container = list(pod, "/spec/containers").find(|it| text(it, "/name") == name)?;
        let probe = container.get("readinessProbe").filter(|probe| probe.is_object())?;
        let delay = u64::try_from(number(probe, "/initialDelaySeconds")).unwrap_or(0).saturating_mul(1_000);
        let late = now >= since.plus(Span(delay)).plus(READINESS_GRACE);
        (is("/ready", false) && is("/started", true) && late).then(|| (name, described(probe)))
    });
    let (name, probe) = unready?;
    let mut words = format!("container {name} runs, and its readiness probe ({probe}) does not pass");
    if let Some(ready) =
        condition(pod, "ContainersReady").filter(|it| it.is_false() && !it.message.is_empty())
    {
        let _ = write!(words, ": {}", ready.message);
    }
    Some((Cause::NotReady, bounded(&words)))
}

/// What a probe asks. Arguments of programs are left out: they may be secret.
fn described(probe: &Value) -> String {
    let port = |pointer: &str| match probe.pointer(pointer) {
        Some(Value::String(name)) => name.clone(),
        Some(number) => format!("{number}"),
        None => String::new(),
    };
    if probe.get("httpGet").is_some() {
        format!("HTTP {} at port {}", text(probe, "/httpGet/path"), port("/httpGet/port"))
    } else if probe.get("tcpSocket").is_some() {
        format!("TCP port {}", port("/tcpSocket/port"))
    } else if probe.get("grpc").is_some() {
        format!("gRPC port {}", port("/grpc/port"))
    } else {
        format!("program {}", text(probe, "/exec/command/0"))
    }
}

/// The cause that a refusal's message names: a quota, or a policy, webhook or pod security level that denied.
pub fn cause_of_message(message: &str) -> Option<Cause> {
    let quotas = ["exceeded quota: ", "failed quota: ", "unknown for quota: "];
    if quotas.iter().any(|mark| message.contains(mark)) {
        return Some(Cause::QuotaExceeded);
    }
    let marks = ["denied the request", "denied request", "violates PodSecurity", "admission webhook"];
    if marks.iter().any(|mark| message.contains(mark)) && !message.contains("failed calling webhook") {
        return Some(Cause::AdmissionDenied);
    }
    message.contains("no matches for kind").then_some(Cause::MissingCrd)
}

/// The cause that one pod shows, with words.
pub(super) fn cause_of_pod(pod: &Value) -> Option<(Cause, String)> {
    if let Some((cause, status)) = failing_containers(pod).min_by_key(|(cause, _)| *cause) {
        return Some((cause, words(cause, status)));
    }
    if let Some(status) = containers(pod).find(|status| ended_again(status)) {
        return Some((Cause::CrashLoop, words_of_end(status)));
    }
    let scheduled = condition(pod, "PodScheduled")?;
    let stuck = scheduled.is_false() && scheduled.reason == "Unschedulable";
    stuck.then(|| (Cause::Unschedulable, bounded(scheduled.words())))
}

/// Containers, init containers too, that wait for a reason that does not go away by waiting.
pub(super) fn failing_containers(pod: &Value) -> impl Iterator<Item = (Cause, &Value)> {
    containers(pod)
        .filter_map(|status| Some((cause_of_waiting(text(status, "/state/waiting/reason"))?, status)))
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    list(pod, "/status/initContainerStatuses").chain(list(pod, "/status/containerStatuses"))
}

/// Whether a container failed after it had been started again. A kubelet may say so for the whole of its back-off, half a minute
/// and more, before it says that it waits.
fn ended_again(status: &Value) -> bool {
    number(status, "/state/terminated/exitCode") != 0 && number(status, "/restartCount") > 0
}

fn words_of_end(status: &Value) -> String {
    let (name, restarts) = (text(status, "/name"), number(status, "/restartCount"));
    let end = status.pointer("/state/terminated").map(end).unwrap_or_default();
    bounded(&format!("container {name}: {end} after {restarts} restarts"))
}

/// How a container ended, from the `terminated` of one of its states.
fn end(terminated: &Value) -> String {
    format!("ended with code {} ({})", number(terminated, "/exitCode"), text(terminated, "/reason"))
}

/// Reasons as Argo CD tells them: `Err...`, `...Error`, `...BackOff`.
fn cause_of_waiting(reason: &str) -> Option<Cause> {
    match reason {
        "CrashLoopBackOff" | "RunContainerError" | "StartError" | "PostStartHookError" => {
            Some(Cause::CrashLoop)
        }
        "InvalidImageName" | "ImageInspectError" | "RegistryUnavailable" => Some(Cause::ImagePull),
        // ErrImagePull, ErrImageNeverPull, ImagePullBackOff and whatever a runtime invents beside them.
        _ if reason.starts_with("Err") || reason.ends_with("BackOff") => Some(Cause::ImagePull),
        _ if reason.ends_with("Error") => Some(Cause::ContainerConfig),
        _ => None,
    }
}

fn words(cause: Cause, status: &Value) -> String {
    let name = text(status, "/name");
    let (reason, message) = (text(status, "/state/waiting/reason"), text(status, "/state/waiting/message"));
    let mut words = match cause {
        Cause::ImagePull => format!("container {name}: {reason} of image {}", text(status, "/image")),
        _ => format!("container {name}: {reason}"),
    };
    if let Some(terminated) = status.pointer("/lastState/terminated").filter(|it| it.is_object()) {
        let _ = write!(words, ", {}", end(terminated));
    }
    if !message.is_empty() {
        let _ = write!(words, ": {message}");
    }
    bounded(&words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use serde_json::json;

    fn waiting(reason: &str) -> Value {
        json!({"phase": "Pending", "containerStatuses": [{"name": "web", "image": "web:2", "state": {"waiting": {"reason": reason}}}]})
    }

    fn pod(name: &str, status: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "status": status})
    }

    #[test]
    fn the_most_telling_pod_names_the_cause() {
        let crash = json!({"containerStatuses": [{"name": "web", "state": {"waiting": {"reason": "CrashLoopBackOff",
            "message": "back-off 10s"}}, "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]});
        let pods =
            [pod("c", &waiting("PodInitializing")), pod("b", &crash), pod("a", &json!({"phase": "Running"}))];
        let message = "pod b: container web: CrashLoopBackOff, ended with code 137 (OOMKilled): back-off 10s";
        let cause_of_pods = |pods: &[Value]| super::cause_of_pods(pods, At(0));
        assert_eq!(cause_of_pods(&pods), Some((Cause::CrashLoop, String::from(message))));

        let mut pods = Vec::from(pods);
        pods.push(pod("d", &waiting("ImagePullBackOff")));
        let message = "pod d: container web: ImagePullBackOff of image web:2";
        assert_eq!(cause_of_pods(&pods), Some((Cause::ImagePull, String::from(message))));

        pods[3]["metadata"]["deletionTimestamp"] = json!("2026-11-05T10:20:00Z");
        assert_eq!(cause_of_pods(&pods).map(|(cause, _)| cause), Some(Cause::CrashLoop));
        assert_eq!(cause_of_pods(&[]), None);
    }

    #[test]
    fn a_container_that_ended_again_is_named_before_the_kubelet_says_that_it_waits() {
        let ended = |code: u8, restarts: u8| {
            let status = json!({"containerStatuses": [{"name": "web", "restartCount": restarts,
                "state": {"terminated": {"exitCode": code, "reason": "Error"}}}]});
            super::cause_of_pods(&[pod("a", &status)], At(0))
        };
        let message = "pod a: container web: ended with code 3 (Error) after 2 restarts";
        assert_eq!(ended(3, 2), Some((Cause::CrashLoop, String::from(message))));
        assert_eq!(ended(3, 0), None, "the first end may be the last");
        assert_eq!(ended(0, 2), None);
    }

    #[test]
    fn a_container_that_runs_and_is_not_ready_is_named_once_its_probe_had_time() {
        let started = stamp::at_of("2026-11-05T10:20:00Z").unwrap();
        let pod = |probe: Value, ready: bool| {
            json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "web", "readinessProbe": probe}]},
                "status": {"containerStatuses": [{"name": "web", "ready": ready, "started": true,
                    "state": {"running": {"startedAt": "2026-11-05T10:20:00Z"}}}],
                    "conditions": [{"type": "ContainersReady", "status": "False",
                        "message": "containers with unready status: [web]"}]}})
        };
        let after = |pod: Value, seconds: u64| cause_of_pods(&[pod], started.plus(Span::secs(seconds)));
        let http = || json!({"httpGet": {"path": "/healthz", "port": 8080}, "initialDelaySeconds": 10});
        assert_eq!(after(pod(http(), false), 14), None);
        assert_eq!(after(pod(http(), true), 15), None);
        assert_eq!(after(pod(Value::Null, false), 15), None);
        let words = "pod a: container web runs, and its readiness probe (HTTP /healthz at port 8080) does not pass: \
                     containers with unready status: [web]";
        assert_eq!(after(pod(http(), false), 15), Some((Cause::NotReady, String::from(words))));
        for (probe, words) in [
            (json!({"tcpSocket": {"port": "http"}}), "(TCP port http)"),
            (json!({"grpc": {"port": 9}}), "(gRPC port 9)"),
            (json!({"exec": {"command": ["check", "--password=x"]}}), "(program check)"),
        ] {
            let (_, message) = after(pod(probe, false), 5).unwrap();
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn refusals_name_their_cause() {
        for (message, cause) in [
            ("pods \"x\" is forbidden: exceeded quota: q, requested: pods=1", Some(Cause::QuotaExceeded)),
            ("pods \"x\" is forbidden: status unknown for quota: q", Some(Cause::QuotaExceeded)),
            ("admission webhook \"v.example.com\" denied the request: no", Some(Cause::AdmissionDenied)),
            (
                "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
                Some(Cause::AdmissionDenied),
            ),
            ("failed calling webhook \"v.example.com\": context deadline exceeded", None),
            ("Internal error occurred: failed calling admission webhook: failed calling webhook", None),
            ("no matches for kind \"Widget\" in version \"example.com/v1\"", Some(Cause::MissingCrd)),
            ("something else", None),
        ] {
            assert_eq!(cause_of_message(message), cause, "{message}");
        }
    }
}
