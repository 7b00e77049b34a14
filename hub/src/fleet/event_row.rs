//! Events of the log as rows.

use super::{detail, internal, summary};
use crate::api::Error;
use crate::log::Stored;
use std::collections::BTreeMap;
use taffrail_core::event::{AgentFact, HubFact};
use taffrail_core::id::{AccountKey, ClusterName, SourceName};
use taffrail_core::node::hub::Durable;
use taffrail_core::source::{Source, Track};
use taffrail_proto::event::{Decoded, Header, decode, decode_header};
use taffrail_proto::report::decode_body;
use taffrail_proto::v1::EventRow;

/// Names that events do not carry themselves: agents sign with their account, looks at Git name a revision.
pub(super) struct Names {
    accounts: BTreeMap<AccountKey, ClusterName>,
    sources: BTreeMap<SourceName, Source>,
}

impl Names {
    pub(super) fn of(state: &Durable) -> Names {
        Names { accounts: state.clusters.accounts.clone(), sources: state.sources.sources.clone() }
    }

    /// The cluster that an event is about; empty if none, or if its account was removed.
    pub(super) fn cluster(&self, header: &Header) -> String {
        let signed = header.place.as_ref().and_then(|place| self.accounts.get(&place.account));
        signed.or(header.context.cluster.as_ref()).map(ToString::to_string).unwrap_or_default()
    }

    /// The source that follows a revision, or else one of the same repository: apps may name revisions of their own.
    fn follower(&self, track: &Track) -> Option<String> {
        let exact = self.sources.iter().find(|(_, source)| source.track == *track);
        let related = || self.sources.iter().find(|(_, source)| track.same_repository(&source.track.url));
        exact.or_else(related).map(|(name, _)| name.to_string())
    }
}

/// Header and fact of an event.
pub(super) fn decoded(stored: &Stored) -> Result<(Header, Decoded), Error> {
    let action = "reading an event";
    let header = decode_header(&stored.header).map_err(|error| internal(action, &error))?;
    let (payload, _) = decode_body(&stored.payload).map_err(|error| internal(action, &error))?;
    // An agent's payload that cannot be read is in the log all the same: its header is what counts.
    let fact = match decode(&header, &payload) {
        Ok(fact) => fact,
        Err(_) if header.place.is_some() => Decoded::Unknown,
        Err(error) => return Err(internal(action, &error)),
    };
    Ok((header, fact))
}

/// An event as people and machines see it.
pub(super) fn row(stored: &Stored, names: &Names) -> Result<EventRow, Error> {
    let (header, fact) = decoded(stored)?;
    let cluster = names.cluster(&header);
    let context = &header.context;
    let place = header.place.as_ref();
    Ok(EventRow {
        index: stored.index,
        appended_at_ms: stored.appended_at.0,
        at_ms: context.at.0,
        summary: summary::of(&header, &fact, &cluster),
        detail_json: detail::of(&fact).to_string(),
        source: source(&header, &fact, names),
        reason: reason(&fact),
        cluster,
        app: context.app.as_ref().map(ToString::to_string).unwrap_or_default(),
        commit: context.commit.as_ref().map(ToString::to_string).unwrap_or_default(),
        actor: context.actor.to_string(),
        cause_index: context.cause.unwrap_or(0),
        incarnation: place.map_or(0, |place| place.incarnation),
        seq: place.map_or(0, |place| place.seq),
        traceparent: context.trace.clone().unwrap_or_default(),
        kind: header.kind,
    })
}

fn source(header: &Header, fact: &Decoded, names: &Names) -> String {
    let of_app = || header.context.app.as_ref().map(|app| app.source.to_string());
    let own = match fact {
        Decoded::Hub(event) => match &event.fact {
            HubFact::SourceAdded { source, .. }
            | HubFact::SourceRemoved { source }
            | HubFact::CatalogChanged { source, .. }
            | HubFact::CatalogUnreadable { source, .. } => Some(source.to_string()),
            HubFact::SourceAllowed { track, .. }
            | HubFact::CommitSeen { track, .. }
            | HubFact::HistoryRewritten { track, .. } => names.follower(track),
            HubFact::BundleSealed { variant, .. } | HubFact::RenderFailed { variant, .. } => {
                names.follower(&variant.track)
            }
            _ => None,
        },
        Decoded::Agent(_) | Decoded::Unknown => None,
    };
    own.or_else(of_app).unwrap_or_default()
}

fn reason(fact: &Decoded) -> String {
    match fact {
        Decoded::Hub(event) => match &event.fact {
            HubFact::SyncRequested { reason, .. }
            | HubFact::Approved { reason, .. }
            | HubFact::JoinRefused { reason, .. }
            | HubFact::EventRefused { reason, .. } => reason.clone(),
            _ => String::new(),
        },
        Decoded::Agent(event) => match &event.fact {
            AgentFact::IndexRefused { reason, .. } => reason.name().to_owned(),
            _ => String::new(),
        },
        Decoded::Unknown => String::new(),
    }
}
