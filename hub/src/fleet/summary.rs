//! What happened, in one sentence.

use super::instance::object_name;
use taffrail_core::catalog::Root;
use taffrail_core::desired::{Change, Withdrawal};
use taffrail_core::event::agent::{Journal, LostEvents, Refusal, Status};
use taffrail_core::event::{AgentFact, HubFact};
use taffrail_core::id::CommitId;
use taffrail_proto::event::{Decoded, Header};

/// Most things that one sentence lists; it counts the rest.
const LISTED_MAX: usize = 5;

/// The sentence for an event; `cluster` is the name of the cluster that it is about.
pub(super) fn of(header: &Header, fact: &Decoded, cluster: &str) -> String {
    let commit = header.context.commit.as_ref();
    match fact {
        Decoded::Hub(event) => hub(&event.fact, header, commit, cluster),
        Decoded::Agent(event) => agent(&event.fact, header, commit, cluster),
        Decoded::Unknown => {
            format!("An event of the kind {}, which this version does not know.", header.kind)
        }
    }
}

fn hub(fact: &HubFact, header: &Header, commit: Option<&CommitId>, cluster: &str) -> String {
    let at = short(commit);
    let app = app(header);
    match fact {
        HubFact::Started { version, epoch } => format!("The hub started: version {version}, epoch {epoch}."),
        HubFact::SourceAdded { source, track, .. } => format!("Source {source} follows {track}."),
        HubFact::SourceRemoved { source } => format!("Source {source} is no longer followed."),
        HubFact::SourceAllowed { track, commit } => {
            format!("The rewritten history of {track} was accepted at {}.", commit.short())
        }
        HubFact::CommitSeen { author, subject, .. } => format!("Commit {at} by {author}: {subject}"),
        HubFact::HistoryRewritten { track, old, new } => {
            format!(
                "The history of {track} was rewritten: {} no longer leads to {}.",
                old.short(),
                new.short()
            )
        }
        HubFact::CatalogChanged { root, listing: Some(listing), .. } => {
            let rest = if listing.rest { ", and objects beside them" } else { "" };
            format!("{} declares {} apps at {at}{rest}.", root_name(root), listing.apps.len())
        }
        HubFact::CatalogChanged { root, listing: None, .. } => {
            format!("{} is gone from Git at {at}.", root_name(root))
        }
        HubFact::CatalogUnreadable { root, file, line, cause, .. } => {
            format!(
                "{} cannot be read at {at}: {}{cause}",
                root_name(root),
                place(file.as_deref(), None, *line)
            )
        }
        HubFact::BundleSealed { variant, digest, objects, .. } => {
            format!("Rendered {variant} at {at}: {objects} objects, bundle {}.", digest.short())
        }
        HubFact::RenderFailed { variant, file, document, line, cause } => {
            format!(
                "{variant} cannot be rendered at {at}: {}{cause}",
                place(file.as_deref(), *document, *line)
            )
        }
        HubFact::ClusterInvited { .. } => format!("Cluster {cluster} may join with a one-time token."),
        HubFact::ClusterJoined { agent_version, .. } => {
            format!("Cluster {cluster} joined with agent {agent_version}.")
        }
        HubFact::JoinRefused { reason, .. } => format!("An attempt to join was refused: {reason}."),
        HubFact::ClusterRenamed { from, to } => format!("Cluster {from} is called {to} from now on."),
        HubFact::ClusterLeaving => format!("Cluster {cluster} is being emptied before it leaves."),
        HubFact::ClusterRemoved { .. } => format!("Cluster {cluster} is no longer part of the fleet."),
        HubFact::ClusterSilent { .. } => format!("Cluster {cluster} is silent: nothing is known of it now."),
        HubFact::ClusterBack { silent_ms } => {
            format!("Cluster {cluster} is heard again after {}.", time(*silent_ms))
        }
        HubFact::IndexRaised { mark, changes } => {
            format!("Index {mark} of {cluster}: {}.", list(changes.iter().map(change)))
        }
        HubFact::SyncRequested { clusters, .. } => {
            format!("A sync of {app} was asked for on {}.", list(clusters.iter().map(ToString::to_string)))
        }
        HubFact::Approved { digest, .. } => {
            format!("Deletions of {app} on {cluster} were approved for bundle {}.", digest.short())
        }
        HubFact::EventRefused { reason, seq, .. } => {
            format!("Events from number {seq} were refused: {reason}.")
        }
        other => epoch(other, cluster),
    }
}

fn epoch(fact: &HubFact, cluster: &str) -> String {
    match fact {
        HubFact::RestoreKeyMade { .. } => {
            String::from("The restore key was made; it belongs off this machine.")
        }
        HubFact::LogBehind { evidence } if cluster.is_empty() => {
            format!("The hub only reads, its log is too old: {evidence}.")
        }
        HubFact::LogBehind { evidence } => {
            format!("The hub only reads, its log is too old for cluster {cluster}: {evidence}.")
        }
        HubFact::EpochRaised { grant } => {
            format!("Epoch {} begins by a grant of the restore key ({}).", grant.epoch, grant.kind.name())
        }
        HubFact::EventsLost { first, last } => {
            format!(
                "Events {first} to {last} of {cluster} are lost with the log that was replaced by a backup."
            )
        }
        HubFact::ClusterAdopted { held, changes, .. } => {
            let count = changes.len();
            format!(
                "Cluster {cluster} showed that it holds index {held}: {count} entries differed and were taken over."
            )
        }
        _ => String::new(),
    }
}

/// What an agent found of its journal, as the end of a sentence.
fn found(journal: &Journal) -> String {
    match journal {
        Journal::Found => "its journal was there".to_owned(),
        Journal::New => "with a new journal".to_owned(),
        Journal::Lost(LostEvents::Unknown) => "its journal is lost".to_owned(),
        Journal::Lost(LostEvents::None) => "its journal is lost, and no event with it".to_owned(),
        Journal::Lost(LostEvents::Range { incarnation, from, through }) => {
            format!("its journal is lost with events {from} to {through} of incarnation {incarnation}")
        }
    }
}

fn agent(fact: &AgentFact, header: &Header, commit: Option<&CommitId>, cluster: &str) -> String {
    let app = app(header);
    match fact {
        AgentFact::Started { version, kubernetes, journal } => {
            format!(
                "The agent of {cluster} started: version {version}, Kubernetes {kubernetes}, {}.",
                found(journal)
            )
        }
        AgentFact::InstanceChanged(status) => {
            format!("{app} on {cluster} is {}.", instance(status, commit))
        }
        AgentFact::DriftBegun { object, gone: true, .. } => {
            format!("{} of {app} on {cluster} is gone.", object_name(object))
        }
        AgentFact::DriftBegun { object, fields, manager, .. } => {
            format!(
                "{} of {app} on {cluster} was changed{}{}.",
                object_name(object),
                by(manager),
                what(fields)
            )
        }
        AgentFact::DriftHealed { object, fields, manager, lasted_ms, .. } => format!(
            "{} of {app} on {cluster} is as applied again after {}{}{}.",
            object_name(object),
            time(*lasted_ms),
            what(fields),
            if manager.is_empty() { String::new() } else { format!(", taken by {manager}") },
        ),
        AgentFact::FieldsTaken { object, manager, fields } => {
            format!(
                "Applying {} on {cluster} took fields from {manager}{}.",
                object_name(object),
                what(fields)
            )
        }
        AgentFact::Pruned { objects } => {
            format!(
                "Deleted objects of {app} on {cluster} that left Git: {}.",
                list(objects.iter().map(object_name))
            )
        }
        AgentFact::Withdrawn { deleted, kept, .. } => {
            format!("{app} is gone from {cluster}: {deleted} objects deleted, {kept} left.")
        }
        AgentFact::IndexRefused { mark, reason } => {
            let why = match reason {
                Refusal::BadSignature => "its signature is not the hub's",
                Refusal::OtherCluster => "it is for another cluster",
                Refusal::Lower => "it is older than the one held",
                Refusal::Equivocation => "another index of the same number was taken before",
                Refusal::NoGrant => "its epoch is higher, and nothing allows that",
                Refusal::NoCheckpoint => {
                    "its epoch is higher by a failover, and no checkpoint proves the log"
                }
            };
            format!("The agent of {cluster} refused index {mark}: {why}.")
        }
        AgentFact::ClusterWentBack { was, is } => {
            format!("{cluster} was restored from a backup (version {is} after {was}): all is verified again.")
        }
        AgentFact::FactsFolded { kind, count, .. } => {
            let of = if header.context.app.is_some() { format!(" of {app}") } else { String::new() };
            format!("The agent of {cluster} had no room for {count} events {kind}{of}; the newest follows.")
        }
    }
}

fn instance(status: &Status, commit: Option<&CommitId>) -> String {
    let at = commit.map(|commit| format!(" at {}", commit.short())).unwrap_or_default();
    let message = if status.message.is_empty() { String::new() } else { format!(": {}", status.message) };
    format!("{} and {}{at}{message}", status.phase, status.health)
}

fn change(change: &Change) -> String {
    let name = &change.app.name;
    match &change.entry {
        None => format!("{name} leaves it"),
        Some(entry) => match entry.withdrawn {
            Some(Withdrawal::Cascade) => format!("{name} is withdrawn with its objects ({})", change.reason),
            Some(Withdrawal::Orphan) => format!("{name} is withdrawn ({})", change.reason),
            None => format!("{name} at {} ({})", entry.commit.short(), change.reason),
        },
    }
}

fn root_name(root: &Root) -> String {
    match root {
        Root::Cluster(name) => format!("The root of cluster {name}"),
        Root::Directory => String::from("The source's own directory"),
    }
}

fn app(header: &Header) -> String {
    header.context.app.as_ref().map_or_else(|| String::from("an app"), |app| app.name.to_string())
}

fn short(commit: Option<&CommitId>) -> &str {
    commit.map_or("an unknown commit", CommitId::short)
}

fn place(file: Option<&str>, document: Option<u32>, line: Option<u32>) -> String {
    let Some(file) = file else { return String::new() };
    let line = line.map(|line| format!(":{line}")).unwrap_or_default();
    let document = document.map(|document| format!(" (document {document})")).unwrap_or_default();
    format!("{file}{line}{document}: ")
}

fn by(manager: &str) -> String {
    if manager.is_empty() { String::new() } else { format!(" by {manager}") }
}

fn what(fields: &[String]) -> String {
    if fields.is_empty() { String::new() } else { format!(": {}", list(fields.iter().cloned())) }
}

fn list(things: impl ExactSizeIterator<Item = String>) -> String {
    let count = things.len();
    let mut shown: Vec<String> = things.take(LISTED_MAX).collect();
    if count > LISTED_MAX {
        shown.push(format!("and {} more", count - LISTED_MAX));
    }
    shown.join(", ")
}

/// A length of time, as short as people say it.
fn time(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}
