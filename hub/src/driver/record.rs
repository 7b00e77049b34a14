//! Appends of the core as records of the log.

use crate::log::{Keys, Record};
use taffrail_core::event::Context;
use taffrail_core::node::hub::{Append, Foreign};
use taffrail_core::time::At;
use taffrail_proto::event::decode_header;
use taffrail_proto::stored::encode;

/// One append as a record. `signature` belongs to the last event of an agent's request.
pub(super) fn record(append: &Append, at: At, signature: &[u8]) -> Record {
    let (header, payload) = encode(append, signature);
    let keys = match append {
        Append::Own(event) => keys(&event.context, event.fact.kind()),
        Append::Foreign(foreign) => foreign_keys(foreign),
    };
    Record { appended_at: at, header, payload, keys, own: matches!(append, Append::Own(_)) }
}

/// An agent's event is found under the name that its cluster has now. What was read at the edge is not read again.
fn foreign_keys(foreign: &Foreign) -> Keys {
    let mut found = match &foreign.event {
        Some(event) => keys(&event.context, event.fact.kind()),
        None => decode_header(&foreign.link.header)
            .map(|header| keys(&header.context, &header.kind))
            .unwrap_or_default(),
    };
    found.cluster = Some(foreign.cluster.to_string());
    found
}

fn keys(context: &Context, kind: &str) -> Keys {
    Keys {
        cluster: context.cluster.as_ref().map(ToString::to_string),
        app: context.app.as_ref().map(ToString::to_string),
        commit: context.commit.as_ref().map(ToString::to_string),
        actor: Some(context.actor.to_string()),
        kind: kind.to_owned(),
    }
}
