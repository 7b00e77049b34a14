//! Facts of the hub as payloads.

use super::epoch;
use super::parts::{
    change, listing, mark, read_change, read_listing, read_mark, read_root, read_track, read_variant, root,
    track, variant,
};
use crate::error::{Error, decode as message, digest, field, optional};
use crate::v1;
use prost::Message;
use taffrail_core::event::HubFact;
use taffrail_core::id::{AccountKey, ClusterName, CommitId, SourceName};
use taffrail_core::time::At;

/// The payload of a fact.
pub fn encode(fact: &HubFact) -> Vec<u8> {
    match fact.clone() {
        HubFact::Started { version, epoch } => v1::HubStarted { version, epoch }.encode_to_vec(),
        HubFact::SourceAdded { source, track: of, path } => {
            v1::SourceAdded { source: source.to_string(), track: Some(track(&of)), path }.encode_to_vec()
        }
        HubFact::SourceRemoved { source } => v1::SourceRemoved { source: source.to_string() }.encode_to_vec(),
        HubFact::SourceAllowed { track: of, commit } => {
            v1::SourceAllowed { track: Some(track(&of)), commit: commit.to_string() }.encode_to_vec()
        }
        HubFact::CommitSeen { track: of, also, previous, author, subject, committed_at } => v1::CommitSeen {
            track: Some(track(&of)),
            previous: previous.map(|commit| commit.to_string()).unwrap_or_default(),
            author,
            subject,
            committed_at_ms: committed_at.0,
            also,
        }
        .encode_to_vec(),
        HubFact::HistoryRewritten { track: of, old, new } => {
            v1::HistoryRewritten { track: Some(track(&of)), old: old.to_string(), new: new.to_string() }
                .encode_to_vec()
        }
        HubFact::CatalogChanged { source, root: of, listing: listed } => v1::CatalogChanged {
            source: source.to_string(),
            root: Some(root(&of)),
            listing: listed.as_ref().map(listing),
        }
        .encode_to_vec(),
        HubFact::CatalogUnreadable { source, root: of, file, line, cause } => {
            v1::CatalogUnreadable { source: source.to_string(), root: Some(root(&of)), file, line, cause }
                .encode_to_vec()
        }
        HubFact::BundleSealed { variant: of, digest, sealed, size, objects, inputs } => v1::BundleSealed {
            variant: Some(variant(&of)),
            digest: digest.0.to_vec(),
            sealed: sealed.0.to_vec(),
            size,
            objects,
            inputs,
        }
        .encode_to_vec(),
        HubFact::RenderFailed { variant: of, file, document, line, cause } => {
            v1::RenderFailed { variant: Some(variant(&of)), file, document, line, cause }.encode_to_vec()
        }
        other => encode_cluster(other),
    }
}

fn encode_cluster(fact: HubFact) -> Vec<u8> {
    match fact {
        HubFact::ClusterInvited { labels, token, expires_at } => {
            v1::ClusterInvited { labels, token: token.0.to_vec(), expires_at_ms: expires_at.0 }
                .encode_to_vec()
        }
        HubFact::ClusterJoined {
            account,
            event_key,
            box_key,
            user_key,
            token,
            agent_version,
            kubernetes_version,
        } => v1::ClusterJoined {
            account: account.to_string(),
            event_key: event_key.to_vec(),
            box_key,
            user_key,
            token: token.0.to_vec(),
            agent_version,
            kubernetes_version,
        }
        .encode_to_vec(),
        HubFact::JoinRefused { token, reason } => {
            v1::JoinRefused { token: token.0.to_vec(), reason }.encode_to_vec()
        }
        HubFact::ClusterRenamed { from, to } => {
            v1::ClusterRenamed { from: from.to_string(), to: to.to_string() }.encode_to_vec()
        }
        HubFact::ClusterLeaving => v1::ClusterLeaving {}.encode_to_vec(),
        HubFact::ClusterRemoved { account } => {
            v1::ClusterRemoved { account: account.map(|account| account.to_string()).unwrap_or_default() }
                .encode_to_vec()
        }
        HubFact::ClusterSilent { heard_at } => v1::ClusterSilent { heard_at_ms: heard_at.0 }.encode_to_vec(),
        HubFact::ClusterBack { silent_ms } => v1::ClusterBack { silent_ms }.encode_to_vec(),
        HubFact::IndexRaised { mark: to, changes } => {
            v1::IndexRaised { mark: Some(mark(to)), changes: changes.iter().map(change).collect() }
                .encode_to_vec()
        }
        HubFact::SyncRequested { clusters, reason } => {
            v1::SyncRequested { clusters: clusters.iter().map(ToString::to_string).collect(), reason }
                .encode_to_vec()
        }
        HubFact::Approved { digest, reason } => {
            v1::Approved { digest: digest.0.to_vec(), reason }.encode_to_vec()
        }
        HubFact::EventRefused { account, reason, incarnation, seq } => {
            v1::EventRefused { account: account.to_string(), reason, incarnation, seq }.encode_to_vec()
        }
        other => epoch::encode(&other).unwrap_or_else(|| unreachable!("every other fact is encoded before")),
    }
}

/// Reads a payload of a kind; `None` if the kind is not known.
///
/// # Errors
/// [`Error`] if the payload is not what the kind says.
pub fn decode(kind: &str, payload: &[u8]) -> Result<Option<HubFact>, Error> {
    let fact = match kind {
        "HubStarted" => {
            let raw: v1::HubStarted = message("HubStarted", payload)?;
            HubFact::Started { version: raw.version, epoch: raw.epoch }
        }
        "SourceAdded" => {
            let raw: v1::SourceAdded = message("SourceAdded", payload)?;
            let source = SourceName::parse(&raw.source)?;
            HubFact::SourceAdded { source, track: read_track(raw.track)?, path: raw.path }
        }
        "SourceRemoved" => {
            let raw: v1::SourceRemoved = message("SourceRemoved", payload)?;
            HubFact::SourceRemoved { source: SourceName::parse(&raw.source)? }
        }
        "SourceAllowed" => {
            let raw: v1::SourceAllowed = message("SourceAllowed", payload)?;
            HubFact::SourceAllowed { track: read_track(raw.track)?, commit: CommitId::parse(&raw.commit)? }
        }
        "CommitSeen" => {
            let raw: v1::CommitSeen = message("CommitSeen", payload)?;
            HubFact::CommitSeen {
                track: read_track(raw.track)?,
                also: raw.also,
                previous: optional(raw.previous)?,
                author: raw.author,
                subject: raw.subject,
                committed_at: At(raw.committed_at_ms),
            }
        }
        "HistoryRewritten" => {
            let raw: v1::HistoryRewritten = message("HistoryRewritten", payload)?;
            HubFact::HistoryRewritten {
                track: read_track(raw.track)?,
                old: CommitId::parse(&raw.old)?,
                new: CommitId::parse(&raw.new)?,
            }
        }
        other => return decode_catalog(other, payload),
    };
    Ok(Some(fact))
}

fn decode_catalog(kind: &str, payload: &[u8]) -> Result<Option<HubFact>, Error> {
    let fact = match kind {
        "CatalogChanged" => {
            let raw: v1::CatalogChanged = message("CatalogChanged", payload)?;
            HubFact::CatalogChanged {
                source: SourceName::parse(&raw.source)?,
                root: read_root(raw.root)?,
                listing: raw.listing.map(read_listing).transpose()?,
            }
        }
        "CatalogUnreadable" => {
            let raw: v1::CatalogUnreadable = message("CatalogUnreadable", payload)?;
            HubFact::CatalogUnreadable {
                source: SourceName::parse(&raw.source)?,
                root: read_root(raw.root)?,
                file: raw.file,
                line: raw.line,
                cause: raw.cause,
            }
        }
        "BundleSealed" => {
            let raw: v1::BundleSealed = message("BundleSealed", payload)?;
            HubFact::BundleSealed {
                variant: read_variant(raw.variant)?,
                digest: digest("BundleSealed", "digest", &raw.digest)?,
                sealed: digest("BundleSealed", "sealed", &raw.sealed)?,
                size: raw.size,
                objects: raw.objects,
                inputs: raw.inputs,
            }
        }
        "RenderFailed" => {
            let raw: v1::RenderFailed = message("RenderFailed", payload)?;
            HubFact::RenderFailed {
                variant: read_variant(raw.variant)?,
                file: raw.file,
                document: raw.document,
                line: raw.line,
                cause: raw.cause,
            }
        }
        other => return decode_cluster(other, payload),
    };
    Ok(Some(fact))
}

fn decode_cluster(kind: &str, payload: &[u8]) -> Result<Option<HubFact>, Error> {
    let fact = match kind {
        "ClusterInvited" => {
            let raw: v1::ClusterInvited = message("ClusterInvited", payload)?;
            let token = digest("ClusterInvited", "token", &raw.token)?;
            HubFact::ClusterInvited { labels: raw.labels, token, expires_at: At(raw.expires_at_ms) }
        }
        "ClusterJoined" => {
            let raw: v1::ClusterJoined = message("ClusterJoined", payload)?;
            let event_key = digest("ClusterJoined", "event_key", &raw.event_key)?.0;
            HubFact::ClusterJoined {
                account: AccountKey::parse(&raw.account)?,
                event_key,
                box_key: raw.box_key,
                user_key: raw.user_key,
                token: digest("ClusterJoined", "token", &raw.token)?,
                agent_version: raw.agent_version,
                kubernetes_version: raw.kubernetes_version,
            }
        }
        "JoinRefused" => {
            let raw: v1::JoinRefused = message("JoinRefused", payload)?;
            HubFact::JoinRefused { token: digest("JoinRefused", "token", &raw.token)?, reason: raw.reason }
        }
        "ClusterRenamed" => {
            let raw: v1::ClusterRenamed = message("ClusterRenamed", payload)?;
            HubFact::ClusterRenamed { from: ClusterName::parse(&raw.from)?, to: ClusterName::parse(&raw.to)? }
        }
        "ClusterLeaving" => HubFact::ClusterLeaving,
        "ClusterRemoved" => {
            let raw: v1::ClusterRemoved = message("ClusterRemoved", payload)?;
            HubFact::ClusterRemoved { account: optional(raw.account)? }
        }
        "ClusterSilent" => {
            let raw: v1::ClusterSilent = message("ClusterSilent", payload)?;
            HubFact::ClusterSilent { heard_at: At(raw.heard_at_ms) }
        }
        "ClusterBack" => {
            let raw: v1::ClusterBack = message("ClusterBack", payload)?;
            HubFact::ClusterBack { silent_ms: raw.silent_ms }
        }
        "IndexRaised" => {
            let raw: v1::IndexRaised = message("IndexRaised", payload)?;
            let changes = raw.changes.into_iter().map(read_change).collect::<Result<_, _>>()?;
            HubFact::IndexRaised { mark: read_mark(raw.mark), changes }
        }
        "SyncRequested" => {
            let raw: v1::SyncRequested = message("SyncRequested", payload)?;
            let clusters =
                raw.clusters.iter().map(|name| ClusterName::parse(name)).collect::<Result<_, _>>()?;
            HubFact::SyncRequested { clusters, reason: raw.reason }
        }
        "Approved" => {
            let raw: v1::Approved = message("Approved", payload)?;
            HubFact::Approved { digest: digest("Approved", "digest", &raw.digest)?, reason: raw.reason }
        }
        "EventRefused" => {
            let raw: v1::EventRefused = message("EventRefused", payload)?;
            HubFact::EventRefused {
                account: AccountKey::parse(&raw.account)
                    .map_err(|_| field("EventRefused", "account", &raw.account))?,
                reason: raw.reason,
                incarnation: raw.incarnation,
                seq: raw.seq,
            }
        }
        other => return epoch::decode(other, payload),
    };
    Ok(Some(fact))
}
