//! Appends of the core as records of the log.

use crate::log::{Keys, Record};
use taffrail_core::event::Context;
use taffrail_core::id::ClusterName;
use taffrail_core::node::hub::{Append, Foreign};
use taffrail_core::time::At;
use taffrail_proto::event::decode_header;
use taffrail_proto::stored::encode;

/// One append as a record. `signature` belongs to the last event of an agent's request.
pub(super) fn record(append: Append, at: At, signature: &[u8]) -> Record {
    let own = matches!(append, Append::Own(_));
    let keys = match &append {
        Append::Own(event) => keys(event.context.cluster.as_ref(), &event.context, event.fact.kind()),
        Append::Foreign(foreign) => foreign_keys(foreign),
    };
    let (header, payload) = encode(append, signature);
    Record { appended_at: at, header, payload, keys, own }
}

/// An agent's event is found under the name that its cluster has now. What was read at the edge is not read again.
fn foreign_keys(foreign: &Foreign) -> Keys {
    let cluster = Some(&foreign.cluster);
    match &foreign.event {
        Some(event) => keys(cluster, &event.context, event.fact.kind()),
        None => match decode_header(&foreign.link.header) {
            Ok(header) => keys(cluster, &header.context, &header.kind),
            Err(_) => Keys { cluster: cluster.map(text), ..Keys::default() },
        },
    }
}

fn keys(cluster: Option<&ClusterName>, context: &Context, kind: &str) -> Keys {
    Keys {
        cluster: cluster.map(text),
        app: context.app.as_ref().map(ToString::to_string),
        commit: context.commit.as_ref().map(|commit| commit.as_str().to_owned()),
        actor: Some(context.actor.to_string()),
        kind: kind.to_owned(),
    }
}

fn text(name: &ClusterName) -> String {
    name.as_str().to_owned()
}
