//! Facts become rows of the outbox.

use crate::journal::{OutboxRow, Write};
use taffrail_core::event::AgentEvent;
use taffrail_proto::event::{Numbered, Numbering};

/// Numbers events on from the last one; `None` if there are none.
pub(super) fn number(numbering: &mut Numbering, events: Vec<AgentEvent>) -> Option<Write> {
    if events.is_empty() {
        return None;
    }
    let row = |event| {
        let Numbered { seq, header, payload } = numbering.number(event);
        OutboxRow { seq, header, payload }
    };
    let rows = events.into_iter().map(row).collect();
    Some(Write::AppendEvents { rows, last_hash: numbering.last_hash })
}
