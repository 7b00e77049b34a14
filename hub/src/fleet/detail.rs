//! The payload of an event as JSON. These names are a promise to machines: fields are added, never changed.

use super::instance::object_name;
use serde_json::{Value, json};
use taffrail_core::catalog::{Declared, Destination, Listing, Root};
use taffrail_core::cluster::Number;
use taffrail_core::desired::{Change, Withdrawal};
use taffrail_core::digest::Digest;
use taffrail_core::event::agent::{Journal, LostEvents, Status};
use taffrail_core::event::{AgentFact, HubFact};
use taffrail_core::object::Key;
use taffrail_core::planner::{Part, Variant};
use taffrail_core::source::Track;
use taffrail_proto::event::Decoded;

/// The JSON for a fact; `{}` for a kind that this version does not know.
pub(super) fn of(fact: &Decoded) -> Value {
    match fact {
        Decoded::Hub(event) => hub(&event.fact),
        Decoded::Agent(event) => agent(&event.fact),
        Decoded::Unknown => json!({}),
    }
}

fn hub(fact: &HubFact) -> Value {
    match fact {
        HubFact::Started { version, epoch } => json!({"version": version, "epoch": epoch}),
        HubFact::SourceAdded { source, track: of, path } => {
            json!({"source": source.as_str(), "track": track(of), "path": path})
        }
        HubFact::SourceRemoved { source } => json!({"source": source.as_str()}),
        HubFact::SourceAllowed { track: of, commit } => {
            json!({"track": track(of), "commit": commit.as_str()})
        }
        HubFact::CommitSeen { track: of, also, previous, author, subject, committed_at } => json!({
            "also": also,
            "track": track(of),
            "previous": previous.as_ref().map(ToString::to_string),
            "author": author,
            "subject": subject,
            "committedAtMs": committed_at.0,
        }),
        HubFact::HistoryRewritten { track: of, old, new } => {
            json!({"track": track(of), "old": old.as_str(), "new": new.as_str()})
        }
        HubFact::CatalogChanged { source, root: of, listing: found } => {
            json!({"source": source.as_str(), "root": root(of), "listing": found.as_ref().map(listing)})
        }
        HubFact::CatalogUnreadable { source, root: of, file, line, cause } => {
            json!({"source": source.as_str(), "root": root(of), "file": file, "line": line, "cause": cause})
        }
        HubFact::BundleSealed { .. } | HubFact::RenderFailed { .. } => rendering(fact),
        HubFact::IndexRaised { mark, changes } => {
            json!({"mark": mark.to_string(), "changes": changes.iter().map(change).collect::<Vec<_>>()})
        }
        HubFact::SyncRequested { clusters, reason } => {
            json!({"clusters": texts(clusters), "reason": reason})
        }
        HubFact::Approved { digest, reason } => json!({"digest": digest.to_string(), "reason": reason}),
        _ => cluster(fact),
    }
}

fn rendering(fact: &HubFact) -> Value {
    match fact {
        HubFact::BundleSealed { variant: of, digest, sealed, size, objects, inputs } => json!({
            "variant": variant(of),
            "digest": digest.to_string(),
            "sealed": sealed.to_string(),
            "size": size,
            "objects": objects,
            "inputs": inputs,
        }),
        HubFact::RenderFailed { variant: of, file, document, line, cause } => {
            json!({"variant": variant(of), "file": file, "document": document, "line": line, "cause": cause})
        }
        _ => json!({}),
    }
}

fn cluster(fact: &HubFact) -> Value {
    match fact {
        HubFact::ClusterInvited { labels, token, expires_at } => {
            json!({"labels": labels, "token": token.to_string(), "expiresAtMs": expires_at.0})
        }
        HubFact::ClusterJoined {
            account,
            box_key,
            user_key,
            token,
            agent_version,
            kubernetes_version,
            ..
        } => json!({
            "account": account.as_str(),
            "boxKey": box_key,
            "userKey": user_key,
            "token": token.to_string(),
            "agentVersion": agent_version,
            "kubernetesVersion": kubernetes_version,
        }),
        HubFact::JoinRefused { token, reason } => json!({"token": token.to_string(), "reason": reason}),
        HubFact::ClusterRenamed { from, to } => json!({"from": from.as_str(), "to": to.as_str()}),
        HubFact::ClusterRemoved { account } => {
            json!({"account": account.as_ref().map(ToString::to_string)})
        }
        HubFact::ClusterSilent { heard_at } => json!({"heardAtMs": heard_at.0}),
        HubFact::ClusterBack { silent_ms } => json!({"silentMs": silent_ms}),
        HubFact::EventRefused { account, reason, incarnation, seq } => {
            json!({"account": account.as_str(), "reason": reason, "incarnation": incarnation, "seq": seq})
        }
        other => epoch(other),
    }
}

fn epoch(fact: &HubFact) -> Value {
    match fact {
        HubFact::RestoreKeyMade { key } => json!({"key": Digest(*key).to_string()}),
        HubFact::LogBehind { evidence } => json!({"evidence": evidence.to_string()}),
        HubFact::EpochRaised { grant } => json!({"epoch": grant.epoch, "kind": grant.kind.name()}),
        HubFact::EventsLost { first, last } => json!({"first": number(*first), "last": number(*last)}),
        HubFact::ClusterAdopted { mark, held, changes, chain } => json!({
            "mark": mark.to_string(),
            "held": held.to_string(),
            "changes": changes.iter().map(change).collect::<Vec<_>>(),
            "chain": number(chain.number()),
        }),
        _ => json!({}),
    }
}

fn number(of: Number) -> Value {
    json!({"incarnation": of.incarnation, "seq": of.seq})
}

fn agent(fact: &AgentFact) -> Value {
    match fact {
        AgentFact::Started { version, kubernetes, journal } => {
            let (journal, lost) = match journal {
                Journal::Found => ("found", None),
                Journal::New => ("new", None),
                Journal::Lost(LostEvents::Unknown) => ("lost", Some(json!("unknown"))),
                Journal::Lost(LostEvents::None) => ("lost", Some(json!("none"))),
                Journal::Lost(LostEvents::Range { incarnation, from, through }) => {
                    ("lost", Some(json!({"incarnation": incarnation, "from": from, "through": through})))
                }
            };
            let mut shown = json!({"version": version, "kubernetes": kubernetes, "journal": journal});
            if let Some(lost) = lost {
                shown["lostEvents"] = lost;
            }
            shown
        }
        AgentFact::InstanceChanged(said) => status(said),
        AgentFact::DriftBegun { object, fields, manager, gone } => {
            json!({"object": key(object), "fields": fields, "manager": manager, "gone": gone})
        }
        AgentFact::DriftHealed { object, fields, manager, lasted_ms, attempts } => json!({
            "object": key(object),
            "fields": fields,
            "manager": manager,
            "lastedMs": lasted_ms,
            "attempts": attempts,
        }),
        AgentFact::FieldsTaken { object, manager, fields } => {
            json!({"object": key(object), "manager": manager, "fields": fields})
        }
        AgentFact::Pruned { objects } => json!({"objects": keys(objects)}),
        AgentFact::Withdrawn { since, deleted, kept } => {
            json!({"since": since.map(|mark| mark.to_string()), "deleted": deleted, "kept": kept})
        }
        AgentFact::IndexRefused { mark, reason } => {
            json!({"mark": mark.to_string(), "reason": reason.name()})
        }
        AgentFact::ClusterWentBack { was, is } => json!({"was": was, "is": is}),
        AgentFact::FactsFolded { kind, count, since, until } => {
            json!({"kind": kind, "count": count, "sinceMs": since.0, "untilMs": until.0})
        }
    }
}

fn status(said: &Status) -> Value {
    let trouble = |trouble: &taffrail_core::event::agent::Trouble| {
        json!({
            "object": object_name(&trouble.object),
            "cause": trouble.cause.as_ref().map(ToString::to_string),
            "message": trouble.message,
        })
    };
    json!({
        "since": said.since.to_string(),
        "digest": said.digest.to_string(),
        "phase": said.phase.name(),
        "health": said.health.as_str(),
        "message": said.message,
        "troubles": said.troubles.iter().map(trouble).collect::<Vec<_>>(),
        "objects": said.objects,
        "held": keys(&said.held),
        "flaps": said.flaps,
    })
}

fn change(change: &Change) -> Value {
    let entry = change.entry.as_ref().map(|entry| {
        json!({
            "since": entry.since.to_string(),
            "digest": entry.digest.to_string(),
            "sealed": entry.sealed.to_string(),
            "commit": entry.commit.as_str(),
            "approved": entry.approved.map(|digest| digest.to_string()),
            "withdrawn": entry.withdrawn.map(|how| match how {
                Withdrawal::Cascade => "cascade",
                Withdrawal::Orphan => "orphan",
            }),
        })
    });
    json!({"app": change.app.to_string(), "reason": change.reason, "entry": entry})
}

fn listing(found: &Listing) -> Value {
    json!({
        "apps": found.apps.iter().map(declared).collect::<Vec<_>>(),
        "rest": found.rest,
        "notes": found.notes,
    })
}

fn declared(app: &Declared) -> Value {
    let destination = match &app.destination {
        Destination::Here => json!("here"),
        Destination::Cluster(name) => json!({"cluster": name.as_str()}),
        Destination::Selector(_) => json!("selector"),
    };
    json!({
        "name": app.name.as_str(),
        "repo": app.repo_url,
        "path": app.path,
        "revision": app.target_revision,
        "destination": destination,
        "namespace": app.namespace,
        "automated": app.sync.automated,
        "prune": app.sync.prune,
        "selfHeal": app.sync.self_heal,
    })
}

fn variant(of: &Variant) -> Value {
    json!({"track": track(&of.track), "path": of.path, "rest": of.part == Part::Rest})
}

fn track(of: &Track) -> Value {
    json!({"url": of.url, "revision": of.revision})
}

fn root(of: &Root) -> Value {
    match of {
        Root::Cluster(name) => json!({"cluster": name.as_str()}),
        Root::Directory => json!({}),
    }
}

fn key(of: &Key) -> Value {
    json!({"group": of.group, "kind": of.kind, "namespace": of.namespace, "name": of.name})
}

fn keys(of: &[Key]) -> Vec<Value> {
    of.iter().map(key).collect()
}

fn texts(of: &[impl ToString]) -> Vec<String> {
    of.iter().map(ToString::to_string).collect()
}
