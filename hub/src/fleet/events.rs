//! Searching the log: by its keys where it has some, by looking where it has none.

use super::event_row::{Names, row};
use super::{FleetService, internal};
use crate::api::Error;
use crate::api::service::{Answer, Events, Found};
use crate::log::{self, Filter, Log, Stored};
use taffrail_core::time::At;
use taffrail_proto::v1::EventFilter;

/// Most events that one search looks at before it says where to go on: about a tenth of a second.
const LOOKED_AT_MAX: usize = 20_000;

/// Events read at once; few in tests, so that pages end where events go on.
const PAGE: usize = if cfg!(test) { 3 } else { 1_000 };

impl FleetService {
    /// Events that match, of one state.
    pub(super) async fn find_events(&self, which: Events) -> Result<Answer<Found>, Error> {
        let looked = self.ask(|hub, _| Names::of(hub.state())).await?;
        let Answer { view, value: names } = looked;
        let last = view.state_index;
        let value = self.read(move |log| search(log, &which, &names, last)).await?;
        Ok(Answer { view, value })
    }
}

/// Where a search stands.
struct Search<'a> {
    which: &'a Events,
    after: u64,
    before: u64,
}

fn search(log: &dyn Log, which: &Events, names: &Names, last: u64) -> Result<Found, Error> {
    let end = last.saturating_add(1);
    let before = if which.before_index == 0 { end } else { which.before_index.min(end) };
    let mut place = Search { which, after: which.after_index, before };
    let mut found = Found::default();
    let mut looked = 0;
    loop {
        let page = place.page(log)?;
        if page.is_empty() {
            found.reached_index =
                if which.newest_first { which.after_index } else { before.saturating_sub(1) };
            found.reached_index = found.reached_index.max(which.after_index);
            return Ok(found);
        }
        for stored in &page {
            if found.events.len() == which.limit || looked == LOOKED_AT_MAX {
                found.more = true;
                return Ok(found);
            }
            looked += 1;
            found.reached_index = stored.index;
            place.pass(stored.index);
            let row = row(stored, names)?;
            if which.filter.source.is_empty() || which.filter.source == row.source {
                found.events.push(row);
            }
        }
    }
}

impl Search<'_> {
    fn pass(&mut self, index: u64) {
        if self.which.newest_first {
            self.before = index;
        } else {
            self.after = index;
        }
    }

    /// The next events in order; empty at the end only.
    fn page(&self, log: &dyn Log) -> Result<Vec<Stored>, Error> {
        let kinds: Vec<Option<String>> = match self.which.filter.kinds.as_slice() {
            [] => vec![None],
            kinds => kinds.iter().cloned().map(Some).collect(),
        };
        let down = self.which.newest_first;
        let mut all: Vec<Stored> = Vec::new();
        let mut horizon: Option<u64> = None;
        for kind in kinds {
            let some = log.query(&self.filter(kind)).map_err(failed)?;
            // Beyond the last event of a page there may be more of its kind: only what lies before is complete.
            if let Some(reached) = some.last().map(|stored| stored.index) {
                let nearest = |other: u64| if down { other.max(reached) } else { other.min(reached) };
                horizon = Some(horizon.map_or(reached, nearest));
            }
            all.extend(some);
        }
        let Some(horizon) = horizon else { return Ok(Vec::new()) };
        all.retain(|stored| if down { stored.index >= horizon } else { stored.index <= horizon });
        all.sort_by_key(|stored| stored.index);
        all.dedup_by_key(|stored| stored.index);
        if down {
            all.reverse();
        }
        Ok(all)
    }

    fn filter(&self, kind: Option<String>) -> Filter {
        let EventFilter { cluster, app, commit, actor, from_ms, to_ms, source, .. } = &self.which.filter;
        let given = |text: &String| (!text.is_empty()).then(|| text.clone());
        let one_by_one = source.is_empty() && self.which.filter.kinds.len() < 2;
        let wanted = if one_by_one { (self.which.limit + 1).min(PAGE) } else { PAGE };
        Filter {
            cluster: given(cluster),
            app: given(app),
            commit: given(commit),
            actor: given(actor),
            kind,
            from: (*from_ms != 0).then_some(At(*from_ms)),
            to: (*to_ms != 0).then(|| At(to_ms.saturating_sub(1))),
            after: Some(self.after),
            before: Some(self.before),
            newest_first: self.which.newest_first,
            limit: u32::try_from(wanted).unwrap_or(u32::MAX),
        }
    }
}

/// What a failed query is told as.
pub(super) fn failed(error: log::Error) -> Error {
    match error {
        log::Error::Ambiguous { prefix, max } => Error::TooMuch {
            sentence: format!("more than {max} commits begin with {prefix}"),
            next: String::from("give more characters of the commit"),
        },
        other => internal("reading the log", &other),
    }
}
