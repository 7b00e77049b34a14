//! NATS subject, stream and header names, built and parsed here only.

use taffrail_core::digest::Digest;
use taffrail_core::id::AccountKey;

/// Stream of desired indexes: the last message of each cluster's subject.
pub const DESIRED: &str = "DESIRED";
/// Stream of sealed bundles, in parts.
pub const BUNDLES: &str = "BUNDLES";
/// Every cluster's desired index.
pub const DESIRED_ALL: &str = "taffrail.desired.*";
/// Every part of every bundle.
pub const BUNDLES_ALL: &str = "taffrail.bundle.*.*";
/// Every cluster's events.
pub const EVENTS_ALL: &str = "taffrail.events.*";
/// Reading the last index of any cluster.
pub const GET_DESIRED_ALL: &str = "$JS.API.DIRECT.GET.DESIRED.taffrail.desired.*";
/// Reading any part of any bundle.
pub const GET_BUNDLES_ALL: &str = "$JS.API.DIRECT.GET.BUNDLES.taffrail.bundle.*.*";
/// Place of the account key in [`GET_DESIRED_ALL`], counted from 1.
pub const GET_DESIRED_ACCOUNT: u32 = 8;
/// Place of the account key in [`DESIRED_ALL`] and [`EVENTS_ALL`], counted from 1.
pub const ACCOUNT: u32 = 3;
/// Queue group of the hubs that answer events.
pub const HUB_QUEUE: &str = "hub";
/// Subject of the system account that takes a new or changed account.
pub const CLAIMS_UPDATE: &str = "$SYS.REQ.CLAIMS.UPDATE";
/// Subject of the system account that takes the end of accounts.
pub const CLAIMS_DELETE: &str = "$SYS.REQ.CLAIMS.DELETE";
/// Header of each part of a bundle: how many parts there are.
pub const HEADER_PARTS: &str = "Taffrail-Parts";
/// Header of each part of a bundle: length of the whole, in bytes.
pub const HEADER_LENGTH: &str = "Taffrail-Length";
/// Header of an index: its mark, in the clear and unsigned.
pub const HEADER_MARK: &str = "Taffrail-Mark";
/// Header that carries the trace (W3C Trace Context).
pub const HEADER_TRACE: &str = "traceparent";

/// Length of the cluster's mark in its inbox prefix, in characters: 60 bits, enough to tell apart in a trace.
/// It keeps nothing secret; accounts keep inboxes apart.
const INBOX_MARK: usize = 12;

/// A subject that is not one of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a subject of {what}")]
pub struct NotOurs {
    /// What kind of subject was asked for.
    pub what: &'static str,
    /// What was given.
    pub text: String,
}

/// The subject of one cluster's desired index.
pub fn desired(account: &AccountKey) -> String {
    format!("taffrail.desired.{account}")
}

/// The subject of one part of a sealed bundle; parts count from 0.
pub fn bundle(id: &Digest, part: u32) -> String {
    format!("taffrail.bundle.{id}.{part}")
}

/// All parts of one sealed bundle.
pub fn bundle_parts(id: &Digest) -> String {
    format!("taffrail.bundle.{id}.*")
}

/// The subject of one cluster's events: the request holds events, the reply is the receipt.
pub fn events(account: &AccountKey) -> String {
    format!("taffrail.events.{account}")
}

/// Asks for the last index of one cluster.
pub fn get_desired(account: &AccountKey) -> String {
    format!("$JS.API.DIRECT.GET.{DESIRED}.{}", desired(account))
}

/// Asks for one part of a sealed bundle.
pub fn get_bundle(id: &Digest, part: u32) -> String {
    format!("$JS.API.DIRECT.GET.{BUNDLES}.{}", bundle(id, part))
}

/// Prefix of the inboxes of one cluster's agent, without a dot at the end.
pub fn inbox(account: &AccountKey) -> String {
    format!("_INBOX_{}", &account.as_str()[1..=INBOX_MARK])
}

/// The cluster that a subject of events belongs to.
///
/// # Errors
/// [`NotOurs`] for any other subject.
pub fn parse_events(subject: &str) -> Result<AccountKey, NotOurs> {
    account_after("taffrail.events.", subject).ok_or_else(|| bad("events", subject))
}

/// The cluster that a subject of desired state belongs to.
///
/// # Errors
/// [`NotOurs`] for any other subject.
pub fn parse_desired(subject: &str) -> Result<AccountKey, NotOurs> {
    account_after("taffrail.desired.", subject).ok_or_else(|| bad("desired state", subject))
}

/// The sealed bundle and the part that a subject names.
///
/// # Errors
/// [`NotOurs`] for any other subject, also for a part with a leading zero or sign.
pub fn parse_bundle(subject: &str) -> Result<(Digest, u32), NotOurs> {
    let read = || {
        let (id, part) = subject.strip_prefix("taffrail.bundle.")?.split_once('.')?;
        let number: u32 = part.parse().ok()?;
        (number.to_string() == part).then_some((Digest::parse(id).ok()?, number))
    };
    read().ok_or_else(|| bad("a bundle", subject))
}

fn account_after(prefix: &str, subject: &str) -> Option<AccountKey> {
    AccountKey::parse(subject.strip_prefix(prefix)?).ok()
}

fn bad(what: &'static str, subject: &str) -> NotOurs {
    NotOurs { what, text: subject.chars().take(200).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> AccountKey {
        AccountKey::parse(&format!("A{}", "B2".repeat(27) + "C")).unwrap()
    }

    #[test]
    fn what_is_built_is_parsed_again() {
        let id = Digest([7; 32]);
        assert_eq!(parse_events(&events(&account())), Ok(account()));
        assert_eq!(parse_desired(&desired(&account())), Ok(account()));
        assert_eq!(parse_bundle(&bundle(&id, 12)), Ok((id, 12)));
    }

    #[test]
    fn the_account_key_stands_where_the_exports_say() {
        let place = |subject: String, count: u32| {
            subject.split('.').nth(count as usize - 1).map(str::to_owned) == Some(account().to_string())
        };
        assert!(place(desired(&account()), ACCOUNT));
        assert!(place(events(&account()), ACCOUNT));
        assert!(place(get_desired(&account()), GET_DESIRED_ACCOUNT));
    }

    #[test]
    fn other_subjects_are_refused() {
        let id = Digest([7; 32]);
        for subject in
            ["", "taffrail.events.", "taffrail.events.*", "taffrail.desired.A", "x.taffrail.events.A"]
        {
            assert!(parse_events(subject).is_err(), "{subject}");
        }
        for part in ["", "+1", "01", "-1", "1.2", "4294967296", "*"] {
            assert!(parse_bundle(&format!("taffrail.bundle.{id}.{part}")).is_err(), "{part}");
        }
        assert!(parse_events(&format!("{}.x", events(&account()))).is_err());
    }

    #[test]
    fn an_inbox_is_one_token() {
        assert!(!inbox(&account()).contains('.'));
    }
}
