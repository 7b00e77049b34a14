//! Golden bytes: what is stored is a promise, kind by kind; and every fact survives its encoding.

use super::{Decoded, Place, decode, decode_header, encode_agent, encode_hub};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use taffrail_core::catalog::{Declared, Destination, Listing, MaxDeletes, Render, Root, SyncPolicy};
use taffrail_core::cluster::{Chain, Number};
use taffrail_core::desired::{Change, Entry, Mark, Policy, Withdrawal};
use taffrail_core::digest::Digest;
use taffrail_core::epoch::{Evidence, Grant, GrantKind};
use taffrail_core::event::agent::{Journal, LostEvents, Phase, Refusal, Status, Trouble};
use taffrail_core::event::{Actor, AgentEvent, AgentFact, Context, HubEvent, HubFact};
use taffrail_core::health::{Cause, Health};
use taffrail_core::id::{AccountKey, AppId, AppName, ClusterName, CommitId, SourceName};
use taffrail_core::object::Key;
use taffrail_core::planner::{Part, Variant};
use taffrail_core::selector::{Operator, Requirement, Selector};
use taffrail_core::source::Track;
use taffrail_core::time::At;

const MARK: Mark = Mark { epoch: 1, generation: 7 };

fn commit(digit: char) -> CommitId {
    CommitId::parse(&digit.to_string().repeat(40)).unwrap()
}

fn cluster(name: &str) -> ClusterName {
    ClusterName::parse(name).unwrap()
}

fn source() -> SourceName {
    SourceName::parse("fleet").unwrap()
}

fn account() -> AccountKey {
    AccountKey::parse(&format!("A{}", "B".repeat(55))).unwrap()
}

fn app() -> AppId {
    AppId::parse("fleet/payments-api").unwrap()
}

fn track() -> Track {
    Track { url: "https://git.example.org/fleet".into(), revision: "main".into() }
}

fn variant() -> Variant {
    Variant { track: track(), path: "apps/payments-api".into(), render: Render::Kustomize, part: Part::Rest }
}

fn key() -> Key {
    Key { group: "apps".into(), kind: "Deployment".into(), namespace: "pay".into(), name: "api".into() }
}

fn declared(destination: Destination, render: Render, max_deletes: Option<MaxDeletes>) -> Declared {
    let sync = SyncPolicy { automated: true, prune: true, self_heal: true, ..SyncPolicy::default() };
    Declared {
        name: AppName::parse("payments-api").unwrap(),
        repo_url: track().url,
        path: "apps/payments-api".into(),
        target_revision: "main".into(),
        render,
        destination,
        namespace: Some("pay".into()),
        sync,
        max_deletes,
    }
}

fn listing() -> Listing {
    let values = || BTreeSet::from(["eu".to_owned(), "us".to_owned()]);
    let asked = [
        ("region", Operator::In(values())),
        ("tier", Operator::NotIn(values())),
        ("live", Operator::Exists),
        ("test", Operator::DoesNotExist),
    ];
    let requirements =
        asked.map(|(key, operator)| Requirement { key: key.to_owned(), operator }).into_iter().collect();
    let apps = vec![
        declared(Destination::Here, Render::Auto, None),
        declared(Destination::Cluster(cluster("eu-1")), Render::Kustomize, Some(MaxDeletes::Count(3))),
        declared(
            Destination::Selector(Selector::new(requirements)),
            Render::Directory { recurse: true },
            Some(MaxDeletes::Percent(40)),
        ),
    ];
    Listing { apps, rest: true, notes: vec!["clusters/eu-1/apps.yaml:9: project is not looked at".into()] }
}

fn entry(withdrawn: Option<Withdrawal>) -> Entry {
    let policy = Policy {
        namespace: "pay".into(),
        create_namespace: true,
        prune: true,
        self_heal: true,
        allow_empty: false,
        max_deletes: MaxDeletes::Percent(20),
    };
    Entry {
        since: MARK,
        digest: Digest([1; 32]),
        sealed: Digest([2; 32]),
        commit: commit('a'),
        policy,
        approved: withdrawn.is_none().then_some(Digest([1; 32])),
        withdrawn,
        trace: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
    }
}

fn change(entry: Option<Entry>) -> Change {
    Change { app: app(), entry, reason: "a commit changes it".into() }
}

/// One sample of every fact of the hub.
fn hub_samples() -> Vec<HubFact> {
    let labels = BTreeMap::from([("region".to_owned(), "eu".to_owned())]);
    vec![
        HubFact::Started { version: "0.1.0".into(), epoch: 1 },
        HubFact::SourceAdded { source: source(), track: track(), path: "fleet".into() },
        HubFact::SourceRemoved { source: source() },
        HubFact::SourceAllowed { track: track(), commit: commit('b') },
        HubFact::CommitSeen {
            track: track(),
            also: vec!["HEAD".into()],
            previous: Some(commit('c')),
            author: "Ada <ada@example.org>".into(),
            subject: "Raise the replicas".into(),
            committed_at: At(1_700_000_000_000),
        },
        HubFact::HistoryRewritten { track: track(), old: commit('a'), new: commit('b') },
        HubFact::CatalogChanged {
            source: source(),
            root: Root::Cluster(cluster("eu-1")),
            listing: Some(listing()),
        },
        HubFact::CatalogUnreadable {
            source: source(),
            root: Root::Directory,
            file: Some("apps.yaml".into()),
            line: Some(3),
            cause: "a second source is not supported".into(),
        },
        HubFact::BundleSealed {
            variant: variant(),
            digest: Digest([1; 32]),
            sealed: Digest([2; 32]),
            size: 4_096,
            objects: 7,
            inputs: vec!["apps/payments-api".into()],
        },
        HubFact::RenderFailed {
            variant: variant(),
            file: Some("a.yaml".into()),
            document: Some(2),
            line: Some(17),
            cause: "unclosed bracket".into(),
        },
        HubFact::ClusterInvited { labels, token: Digest([3; 32]), expires_at: At(1_700_000_360_000) },
        HubFact::ClusterJoined {
            account: account(),
            event_key: [4; 32],
            box_key: "XBOX".into(),
            user_key: "UUSER".into(),
            token: Digest([3; 32]),
            agent_version: "0.1.0".into(),
            kubernetes_version: "v1.35.4".into(),
        },
        HubFact::JoinRefused { token: Digest([5; 32]), reason: "the token has been used".into() },
        HubFact::ClusterRenamed { from: cluster("eu-1"), to: cluster("eu-2") },
        HubFact::ClusterLeaving,
        HubFact::ClusterRemoved { account: Some(account()) },
        HubFact::ClusterSilent { heard_at: At(1_700_000_000_000) },
        HubFact::ClusterBack { silent_ms: 42_000 },
        HubFact::IndexRaised {
            mark: MARK,
            changes: vec![
                change(Some(entry(None))),
                change(Some(entry(Some(Withdrawal::Orphan)))),
                change(Some(entry(Some(Withdrawal::Cascade)))),
                change(None),
            ],
        },
        HubFact::SyncRequested { clusters: vec![cluster("eu-1")], reason: "the window is open".into() },
        HubFact::Approved { digest: Digest([1; 32]), reason: "they may go".into() },
        HubFact::EventRefused {
            account: account(),
            reason: "the signature is another".into(),
            incarnation: 2,
            seq: 9,
        },
    ]
    .into_iter()
    .chain(epoch_samples())
    .collect()
}

/// One sample of every fact about epochs.
fn epoch_samples() -> Vec<HubFact> {
    let (first, last) = (Number { incarnation: 2, seq: 10 }, Number { incarnation: 3, seq: 4 });
    let grant = Grant { epoch: 2, kind: GrantKind::Restore, signature: vec![7; 64] };
    vec![
        HubFact::RestoreKeyMade { key: [8; 32] },
        HubFact::LogBehind { evidence: Evidence::Index { found: MARK, known: Mark::default() } },
        HubFact::EpochRaised { grant },
        HubFact::EventsLost { first, last },
        HubFact::ClusterAdopted {
            mark: Mark { epoch: 2, generation: 9 },
            held: MARK,
            changes: vec![change(Some(entry(None))), change(None)],
            chain: Chain { incarnation: 3, seq: 4, hash: Digest([6; 32]) },
        },
    ]
}

/// Other evidence than the sample's, for the same kind.
#[test]
fn all_evidence_survives_its_encoding() {
    let (first, last) = (Number { incarnation: 2, seq: 10 }, Number { incarnation: 3, seq: 4 });
    for evidence in [
        Evidence::EpochFile { found: 2, known: 1 },
        Evidence::Bus { found: MARK, known: Mark::default() },
        Evidence::Receipt { found: last, known: first },
    ] {
        let event = HubEvent { context: context(), fact: HubFact::LogBehind { evidence } };
        let (header, payload) = encode_hub(&event);
        let header = decode_header(&header).unwrap();
        assert!(header.must_understand, "an older hub must not go on over it");
        assert_eq!(decode(&header, &payload).unwrap(), Decoded::Hub(event));
    }
}

/// One sample of every fact of an agent.
fn agent_samples() -> Vec<AgentFact> {
    let started =
        |journal| AgentFact::Started { version: "0.1.0".into(), kubernetes: "v1.35.4".into(), journal };
    let trouble = Trouble { object: key(), cause: Some(Cause::ImagePull), message: "no such image".into() };
    let status = Status {
        since: MARK,
        digest: Digest([1; 32]),
        phase: Phase::Synced,
        health: Health::Degraded,
        message: "no such image".into(),
        troubles: vec![trouble],
        objects: 7,
        held: vec![key()],
        flaps: 2,
    };
    let fields = vec![".spec.replicas".to_owned()];
    vec![
        started(Journal::New),
        started(Journal::Lost(LostEvents::None)),
        started(Journal::Lost(LostEvents::Range { incarnation: 2, from: 40, through: 51 })),
        started(Journal::Lost(LostEvents::Unknown)),
        AgentFact::InstanceChanged(status),
        AgentFact::DriftBegun {
            object: key(),
            fields: fields.clone(),
            manager: "kubectl-edit".into(),
            gone: false,
        },
        AgentFact::DriftHealed {
            object: key(),
            fields: fields.clone(),
            manager: "kubectl-edit".into(),
            lasted_ms: 13,
            attempts: 1,
        },
        AgentFact::FieldsTaken { object: key(), manager: "helm".into(), fields },
        AgentFact::Pruned { objects: vec![key()] },
        AgentFact::Withdrawn { since: None, deleted: 5, kept: 1 },
        AgentFact::IndexRefused { mark: MARK, reason: Refusal::Lower },
        AgentFact::IndexRefused { mark: MARK, reason: Refusal::Equivocation },
        AgentFact::FactsFolded { kind: "DriftHealed".into(), count: 12, since: At(5), until: At(9) },
        AgentFact::ClusterWentBack { was: 5230, is: 4711 },
    ]
}

/// Kinds that got a field since their golden bytes were written: the name of the new form, and a sample.
fn later_forms() -> Vec<(&'static str, AgentFact)> {
    vec![("Withdrawn-since", AgentFact::Withdrawn { since: Some(MARK), deleted: 5, kept: 1 })]
}

fn context() -> Context {
    Context::new(Actor::Person("ada".into()), At(1_700_000_000_001))
        .cluster(&cluster("eu-1"))
        .app(&app())
        .commit(&commit('a'))
        .cause(Some(41))
        .trace(Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()))
}

fn place() -> Place {
    Place { account: account(), incarnation: 2, seq: 9, previous: Digest([6; 32]) }
}

/// Header and payload of every kind.
fn encoded() -> BTreeMap<&'static str, (Vec<u8>, Vec<u8>)> {
    let pair = |(header, payload): (bytes::Bytes, bytes::Bytes)| (header.to_vec(), payload.to_vec());
    let hub = hub_samples().into_iter().map(|fact| {
        let kind = fact.kind();
        (kind, pair(encode_hub(&HubEvent { context: context(), fact })))
    });
    let agent = agent_samples().into_iter().map(|fact| {
        let kind = fact.kind();
        (kind, pair(encode_agent(&AgentEvent { context: context(), fact }, &place())))
    });
    let later = later_forms()
        .into_iter()
        .map(|(name, fact)| (name, pair(encode_agent(&AgentEvent { context: context(), fact }, &place()))));
    hub.chain(agent).chain(later).collect()
}

fn hex(bytes: &[u8]) -> String {
    Digits(bytes).to_string()
}

struct Digits<'a>(&'a [u8]);

impl std::fmt::Display for Digits<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

/// A golden file that is missing is written, to be looked at and committed; one that differs is never changed.
#[test]
fn every_kind_has_golden_bytes_that_never_change() {
    let folder = Path::new("golden");
    let mut written = Vec::new();
    for (kind, (header, payload)) in encoded() {
        let path = folder.join(format!("{kind}.v1.hex"));
        let now = format!("{}\n{}\n", hex(&header), hex(&payload));
        if let Ok(golden) = std::fs::read_to_string(&path) {
            assert_eq!(golden, now, "the stored form of {kind} changed: {}", path.display());
        } else {
            std::fs::write(&path, now).unwrap();
            written.push(kind);
        }
    }
    assert!(written.is_empty(), "new golden bytes were written, look at them and commit them: {written:?}");
}

#[test]
fn every_fact_survives_its_encoding() {
    for fact in hub_samples() {
        let event = HubEvent { context: context(), fact };
        let (header, payload) = encode_hub(&event);
        let read = decode_header(&header).unwrap();
        assert_eq!((read.kind.as_str(), read.place.as_ref()), (event.fact.kind(), None));
        assert_eq!(decode(&read, &payload).unwrap(), Decoded::Hub(event));
    }
    for fact in agent_samples().into_iter().chain(later_forms().into_iter().map(|(_, fact)| fact)) {
        let event = AgentEvent { context: context(), fact };
        let (header, payload) = encode_agent(&event, &place());
        let read = decode_header(&header).unwrap();
        assert_eq!((read.kind.as_str(), read.place.clone()), (event.fact.kind(), Some(place())));
        assert_eq!(decode(&read, &payload).unwrap(), Decoded::Agent(event));
    }
}

#[test]
fn a_kind_that_is_not_known_is_kept_and_no_error() {
    let event = HubEvent { context: context(), fact: HubFact::ClusterLeaving };
    let (header, payload) = encode_hub(&event);
    let mut read = decode_header(&header).unwrap();
    read.kind = "CommitBisected".into();
    assert_eq!(decode(&read, &payload).unwrap(), Decoded::Unknown);
    read.place = Some(place());
    assert_eq!(decode(&read, &payload).unwrap(), Decoded::Unknown);
}

proptest! {
    #[test]
    fn no_bytes_make_a_header_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(header) = decode_header(&bytes) {
            let _ = decode(&header, &bytes);
        }
    }

    #[test]
    fn no_change_of_one_byte_makes_a_payload_panic(at in 0usize..2_000, byte in any::<u8>()) {
        for (header, payload) in encoded().into_values() {
            let read = decode_header(&header).unwrap();
            let mut changed = payload.clone();
            if let Some(place) = changed.get_mut(at) {
                *place = byte;
            }
            let _ = decode(&read, &changed);
        }
    }
}
