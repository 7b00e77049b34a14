//! What tests start from: names, digests, declarations, and facts with as few words as possible.

use crate::catalog::{Declared, Destination, Listing, MaxDeletes, Placement, Render, SyncPolicy};
use crate::cluster::{Batch, Chain, JoinRequest, Link};
use crate::desired::MAX_DELETES;
use crate::digest::Digest;
use crate::event::{Actor, Context, HubEvent, HubFact};
use crate::id::{AccountKey, AppId, AppName, ClusterName, CommitId, SourceName};
use crate::planner::{Part, Variant};
use crate::selector::{Operator, Requirement, Selector};
use crate::source::{Sighting, Track};
use crate::time::At;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

pub(crate) const URL: &str = "https://git.example.com/fleet.git";

pub(crate) fn commit(letter: char) -> CommitId {
    CommitId::parse(&letter.to_string().repeat(40)).unwrap()
}

pub(crate) fn digest(number: u8) -> Digest {
    Digest([number; 32])
}

pub(crate) fn source(name: &str) -> SourceName {
    SourceName::parse(name).unwrap()
}

pub(crate) fn cluster(name: &str) -> ClusterName {
    ClusterName::parse(name).unwrap()
}

pub(crate) fn app(text: &str) -> AppId {
    AppId::parse(text).unwrap()
}

pub(crate) fn account(letter: char) -> AccountKey {
    AccountKey::parse(&("A".to_string() + &letter.to_string().repeat(55))).unwrap()
}

pub(crate) fn person() -> Actor {
    Actor::Person("sam".into())
}

pub(crate) fn track(revision: &str) -> Track {
    Track { url: URL.into(), revision: revision.into() }
}

pub(crate) fn sighting(track: &Track, letter: char, descends: bool) -> Sighting {
    Sighting {
        track: track.clone(),
        also: Vec::new(),
        commit: commit(letter),
        head: None,
        descends,
        author: "Ada <ada@example.com>".into(),
        subject: "Change it".into(),
        committed_at: At(5),
        trace: None,
    }
}

/// The same look, judged against the head in force.
pub(crate) fn judged(state: &crate::source::State, sighting: Sighting) -> Sighting {
    let head = state.head(&sighting.track).map(|head| head.commit.clone());
    Sighting { head, ..sighting }
}

pub(crate) fn event(fact: HubFact) -> HubEvent {
    HubEvent { context: Context::new(person(), At(1)), fact }
}

pub(crate) fn about(name: &str, fact: HubFact) -> HubEvent {
    HubEvent { context: Context::new(person(), At(1)).cluster(&cluster(name)), fact }
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_string(), (*value).to_string())).collect()
}

pub(crate) fn selector(key: &str, value: &str) -> Selector {
    let values = BTreeSet::from([value.to_string()]);
    Selector::new(Vec::from([Requirement { key: key.into(), operator: Operator::In(values) }]))
}

pub(crate) fn automated() -> SyncPolicy {
    SyncPolicy { automated: true, prune: true, self_heal: true, ..SyncPolicy::default() }
}

pub(crate) fn declared(name: &str, destination: Destination) -> Declared {
    Declared {
        name: AppName::parse(name).unwrap(),
        repo_url: URL.into(),
        path: "apps/".to_string() + name,
        target_revision: "main".into(),
        render: Render::Auto,
        destination,
        namespace: None,
        sync: automated(),
        max_deletes: None,
    }
}

pub(crate) fn listing(apps: Vec<Declared>) -> Listing {
    Listing { apps, rest: false, notes: Vec::new() }
}

pub(crate) fn variant(path: &str) -> Variant {
    let (track, path) = (track("main"), path.into());
    Variant { track, path, render: Render::Auto, part: Part::All }
}

pub(crate) fn placement(path: &str) -> Placement {
    Placement {
        variant: variant(path),
        namespace: "web".into(),
        sync: automated(),
        max_deletes: MAX_DELETES,
        cause: 1,
    }
}

pub(crate) const FIVE: MaxDeletes = MaxDeletes::Count(5);

pub(crate) fn join_request(token: u8, letter: char) -> JoinRequest {
    JoinRequest {
        token: digest(token),
        account: account(letter),
        event_key: [u8::try_from(letter).unwrap(); 32],
        box_key: "X".to_string() + &letter.to_string(),
        user_key: "U".to_string() + &letter.to_string(),
        agent_version: "1".into(),
        kubernetes_version: "1.35".into(),
    }
}

/// Hash of the `seq`-th header of a chain; zero before the first.
pub(crate) fn hash(incarnation: u64, seq: u64) -> Digest {
    let mut bytes = [0; 32];
    if seq > 0 {
        bytes[..8].copy_from_slice(&incarnation.to_be_bytes());
        bytes[8..16].copy_from_slice(&seq.to_be_bytes());
    }
    Digest(bytes)
}

pub(crate) fn link(incarnation: u64, seq: u64) -> Link {
    Link {
        seq,
        previous: hash(incarnation, seq - 1),
        hash: hash(incarnation, seq),
        header: Vec::from(seq.to_be_bytes()),
        payload: Vec::from([7]),
    }
}

pub(crate) fn batch(incarnation: u64, seqs: impl IntoIterator<Item = u64>) -> Batch {
    let links = seqs.into_iter().map(|seq| link(incarnation, seq)).collect();
    Batch { incarnation, links, ..Batch::default() }
}

pub(crate) fn chain(incarnation: u64, seq: u64) -> Chain {
    Chain { incarnation, seq, hash: hash(incarnation, seq) }
}
