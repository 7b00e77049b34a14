//! Reading orders: every name parsed, every text bounded, before anything is decided.

use std::collections::BTreeMap;

use taffrail_core::id::{self, BadName, ClusterName, SourceName};
use taffrail_proto::v1 as wire;
use tonic::metadata::MetadataMap;

use super::Error;
use super::selector::{is_key, is_value};
use super::service::{AppName, Apps, Caller, Command, Credential, Invitation, Order, Rights, Secret};

/// Longest free text in an order, in bytes: a reason is a sentence, a URL may be long.
const REASON_BYTES_MAX: usize = 1_024;
const TEXT_BYTES_MAX: usize = 2_048;
/// Longest secret, in bytes: tokens are short, keys in files are not.
const SECRET_BYTES_MAX: usize = 16 * 1024;
/// Most clusters in one order, and most labels of one cluster.
const CLUSTERS_MAX: usize = 10_000;
const LABELS_MAX: usize = 64;
/// Most namespaces that an agent's rights can be bound to.
const NAMESPACES_MAX: usize = 64;
/// Characters of a bundle's digest: as many as people are shown, up to all.
const BUNDLE_CHARS: std::ops::RangeInclusive<usize> = 12..=64;

/// What goes with every order beside its command.
pub(super) struct Given {
    by: Caller,
    reason: String,
    traceparent: Option<String>,
}

impl Given {
    pub(super) fn new(by: Caller, reason: &str, metadata: &MetadataMap) -> Result<Given, Error> {
        let traceparent = metadata.get("traceparent").and_then(|value| value.to_str().ok());
        Ok(Given {
            by,
            reason: bounded("reason", reason, REASON_BYTES_MAX)?,
            traceparent: traceparent.filter(|text| is_traceparent(text)).map(str::to_owned),
        })
    }

    pub(super) fn order(self, command: Command) -> Order {
        Order { command, by: self.by, reason: self.reason, traceparent: self.traceparent }
    }
}

pub(super) fn add_source(ask: wire::AddSourceRequest) -> Result<Command, Error> {
    if ask.url.is_empty() {
        return Err(Error::invalid("no URL is given", "", "taffrail help source add"));
    }
    let credential = match (ask.username.is_empty(), ask.secret.is_empty()) {
        (true, true) => None,
        (false, true) => {
            let cause = "a user name without a password logs nobody in";
            return Err(Error::invalid("no password is given", cause, "add --password-file"));
        }
        (no_user, false) => {
            if ask.secret.len() > SECRET_BYTES_MAX {
                return Err(Error::invalid(
                    "the secret is too long",
                    "the bound is 16 KiB",
                    "check the file",
                ));
            }
            let secret = Secret(ask.secret);
            Some(if no_user {
                Credential::Token(secret)
            } else {
                let username = bounded("user name", &ask.username, TEXT_BYTES_MAX)?;
                Credential::Password { username, password: secret }
            })
        }
    };
    Ok(Command::AddSource {
        url: bounded("URL", &ask.url, TEXT_BYTES_MAX)?,
        path: bounded("path", &ask.path, TEXT_BYTES_MAX)?,
        revision: bounded("revision", &ask.revision, TEXT_BYTES_MAX)?,
        name: (!ask.name.is_empty()).then(|| source_name(&ask.name)).transpose()?,
        credential,
    })
}

pub(super) fn invitation(ask: wire::InviteClusterRequest, given: Given) -> Result<Invitation, Error> {
    if ask.labels.len() > LABELS_MAX {
        return Err(Error::invalid(
            "too many labels",
            format!("the bound is {LABELS_MAX}"),
            "give fewer --label",
        ));
    }
    Ok(Invitation {
        name: cluster_name(&ask.name)?,
        labels: labels(ask.labels)?,
        image: optional(bounded("image", &ask.image, TEXT_BYTES_MAX)?),
        daemonset: ask.daemonset,
        rights: rights(&ask.rights)?,
        by: given.by,
        reason: given.reason,
        traceparent: given.traceparent,
    })
}

pub(super) fn sync(ask: &wire::SyncRequest) -> Result<Command, Error> {
    if ask.clusters.len() > CLUSTERS_MAX {
        return Err(Error::invalid(
            "too many clusters",
            format!("the bound is {CLUSTERS_MAX}"),
            "name none for all",
        ));
    }
    let clusters: Result<Vec<ClusterName>, Error> =
        ask.clusters.iter().map(|name| cluster_name(name)).collect();
    Ok(Command::Sync { app: app_name(&ask.app)?, clusters: clusters? })
}

pub(super) fn approve(ask: &wire::ApproveRequest) -> Result<Command, Error> {
    Ok(Command::Approve {
        app: app_name(&ask.app)?,
        cluster: cluster_name(&ask.cluster)?,
        what: optional(bounded("name of what is approved", &ask.what, TEXT_BYTES_MAX)?),
        bundle: optional(bundle(&ask.bundle)?),
    })
}

/// How the digest of a bundle begins: long enough that no other one begins so.
fn bundle(text: &str) -> Result<String, Error> {
    let hexadecimal = |letter: u8| matches!(letter, b'0'..=b'9' | b'a'..=b'f');
    if text.is_empty() || (BUNDLE_CHARS.contains(&text.len()) && text.bytes().all(hexadecimal)) {
        return Ok(text.to_owned());
    }
    let cause = "it is 12 to 64 hexadecimal characters";
    Err(Error::invalid("this is not the digest of a bundle", cause, "taffrail describe app NAME"))
}

pub(super) fn apps(app: &str, cluster: &str, source: &str) -> Result<Apps, Error> {
    Ok(Apps {
        app: (!app.is_empty()).then(|| app_name(app)).transpose()?,
        cluster: (!cluster.is_empty()).then(|| cluster_name(cluster)).transpose()?,
        source: (!source.is_empty()).then(|| source_name(source)).transpose()?,
    })
}

pub(super) fn cluster_name(text: &str) -> Result<ClusterName, Error> {
    ClusterName::parse(text).map_err(|bad| bad_name(&bad))
}

pub(super) fn source_name(text: &str) -> Result<SourceName, Error> {
    SourceName::parse(text).map_err(|bad| bad_name(&bad))
}

/// `name`, or `source/name`.
pub(super) fn app_name(text: &str) -> Result<AppName, Error> {
    let (source, name) = text.split_once('/').map_or((None, text), |(source, name)| (Some(source), name));
    Ok(AppName {
        source: source.map(source_name).transpose()?,
        name: id::AppName::parse(name).map_err(|bad| bad_name(&bad))?,
    })
}

fn labels(labels: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Error> {
    match labels.iter().find(|(key, value)| !is_key(key) || !is_value(value)) {
        None => Ok(labels),
        Some((key, value)) => Err(Error::invalid(
            format!("{key}={value} is not a label"),
            "keys and values are letters, digits, '-', '_' and '.', at most 63 of them",
            "taffrail help cluster join",
        )),
    }
}

fn rights(text: &str) -> Result<Rights, Error> {
    let bad = |cause: &str| {
        Error::invalid(format!("{text:?} names no rights"), cause, "write cluster-admin or namespaces=a,b")
    };
    if text.is_empty() || text == "cluster-admin" {
        return Ok(Rights::ClusterAdmin);
    }
    let list = text.strip_prefix("namespaces=").ok_or_else(|| bad("it is none of the two forms"))?;
    let names: Vec<String> = list.split(',').map(str::to_owned).collect();
    if names.len() > NAMESPACES_MAX {
        return Err(bad("it names more than 64 namespaces"));
    }
    // A namespace's name follows the same rule as a cluster's.
    match names.iter().find(|name| ClusterName::parse(name).is_err()) {
        Some(_) => Err(bad("a namespace has 1 to 63 of a-z, 0-9 and -")),
        None => Ok(Rights::Namespaces(names)),
    }
}

fn bounded(what: &str, text: &str, bytes_max: usize) -> Result<String, Error> {
    if text.len() > bytes_max {
        let cause = format!("it has {} bytes, the bound is {bytes_max}", text.len());
        return Err(Error::invalid(format!("the {what} is too long"), cause, "shorten it"));
    }
    if text.chars().any(char::is_control) {
        let sentence = format!("the {what} holds a control character");
        return Err(Error::invalid(sentence, "it would be shown on terminals", "write it as one line"));
    }
    Ok(text.to_owned())
}

fn optional(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn bad_name(bad: &BadName) -> Error {
    Error::invalid(format!("{:?} is not a valid {}", bad.text, bad.what), bad.rule, "taffrail help")
}

/// `00-<32 hex>-<16 hex>-<2 hex>` (W3C Trace Context, version 00).
fn is_traceparent(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [2, 32, 16, 2]
        && text.starts_with("00-")
        && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_have_two_forms() {
        assert_eq!(rights("").unwrap(), Rights::ClusterAdmin);
        assert_eq!(rights("namespaces=a,b").unwrap(), Rights::Namespaces(vec!["a".into(), "b".into()]));
        for text in ["admin", "namespaces=", "namespaces=a,", "namespaces=A"] {
            assert!(rights(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_app_may_be_named_with_its_source() {
        let named = app_name("fleet/payments-api").unwrap();
        assert_eq!((named.source.unwrap().as_str(), named.name.as_str()), ("fleet", "payments-api"));
        assert!(app_name("a/b/c").is_err() && app_name("").is_err());
    }

    #[test]
    fn a_source_has_a_password_a_token_or_nothing() {
        let ask = |username: &str, secret: &str| {
            add_source(wire::AddSourceRequest {
                url: "https://git.example.com/x".into(),
                username: username.into(),
                secret: secret.into(),
                ..wire::AddSourceRequest::default()
            })
        };
        assert!(matches!(ask("", ""), Ok(Command::AddSource { credential: None, .. })));
        assert!(matches!(
            ask("", "t"),
            Ok(Command::AddSource { credential: Some(Credential::Token(_)), .. })
        ));
        let password = ask("me", "hush").unwrap();
        assert!(matches!(
            &password,
            Command::AddSource { credential: Some(Credential::Password { .. }), .. }
        ));
        assert!(!format!("{password:?}").contains("hush"));
        assert!(ask("me", "").is_err());
    }

    #[test]
    fn a_reason_is_one_bounded_line() {
        let given = |reason: &str| Given::new(Caller { name: "a".into() }, reason, &MetadataMap::new());
        assert!(given("release 12").is_ok());
        assert!(given("a\nb").is_err() && given(&"x".repeat(1_025)).is_err());
    }

    #[test]
    fn only_a_well_formed_trace_goes_on() {
        assert!(is_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        assert!(
            !is_traceparent("00-x")
                && !is_traceparent("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        );
    }
}
