//! Deliveries of an app: which commits were ordered, where, and what became of them.
//!
//! A delivery is a commit. Every change of an index has a mark of its own, and agents name that mark when they tell how
//! they are: so each word of an agent belongs to exactly one delivery.

use super::event_row::{Names, decoded};
use super::events::failed;
use super::name::resolve;
use super::{FleetService, internal};
use crate::api::Error;
use crate::api::service::{Answer, AppName};
use crate::log::{Filter, Log, Stored};
use std::collections::BTreeMap;
use taffrail_core::desired::Mark;
use taffrail_core::event::agent::{Phase, Status};
use taffrail_core::event::{Actor, AgentFact, HubEvent, HubFact};
use taffrail_core::health::Health;
use taffrail_core::id::{AppId, ClusterName};
use taffrail_core::node::hub::Durable;
use taffrail_core::time::At;
use taffrail_proto::event::Decoded;
use taffrail_proto::v1::HistoryRow;

/// Most changes of indexes, and most words of agents, that one answer looks at.
const LOOKED_AT_MAX: usize = 50_000;

/// Events read at once.
const PAGE: u32 = 2_000;

/// What became of a delivery on one cluster.
#[derive(Default)]
struct There {
    synced_at: Option<At>,
    was_healthy: bool,
    last: Option<(Phase, Health)>,
    message: String,
}

/// One delivery.
struct Delivery {
    commit: String,
    index: u64,
    ordered_at: At,
    cause: Option<u64>,
    clusters: BTreeMap<String, There>,
}

/// Deliveries, the newest first, and to which one a mark belongs.
#[derive(Default)]
struct Deliveries {
    list: Vec<Delivery>,
    marks: BTreeMap<(String, Mark), usize>,
}

impl FleetService {
    /// Deliveries of an app, the newest first.
    pub(super) async fn deliveries(
        &self,
        name: AppName,
        cluster: Option<ClusterName>,
        limit: usize,
    ) -> Result<Answer<(Vec<HistoryRow>, bool)>, Error> {
        let looked = self.ask(move |hub, _| Ok((known(hub.state(), &name)?, Names::of(hub.state())))).await?;
        let Answer { view, value } = looked;
        let (app, names) = value?;
        let before = view.state_index.saturating_add(1);
        let value = self.read(move |log| history(log, &app, cluster.as_ref(), limit, &names, before)).await?;
        Ok(Answer { view, value })
    }
}

/// The app that a name means. One that is gone from Git is found by its whole name: its deliveries stay in the log.
fn known(state: &Durable, name: &AppName) -> Result<AppId, Error> {
    match (resolve(state, name), &name.source) {
        (Err(Error::NotFound { .. }), Some(source)) => {
            Ok(AppId { source: source.clone(), name: name.name.clone() })
        }
        (found, _) => found,
    }
}

fn history(
    log: &dyn Log,
    app: &AppId,
    cluster: Option<&ClusterName>,
    limit: usize,
    names: &Names,
    before: u64,
) -> Result<(Vec<HistoryRow>, bool), Error> {
    let filter = Filter {
        cluster: cluster.map(ToString::to_string),
        kind: Some(String::from("IndexRaised")),
        before: Some(before),
        ..Filter::default()
    };
    let mut found = Deliveries::default();
    let cut = backwards(log, filter, |stored| {
        let (header, Decoded::Hub(HubEvent { fact: HubFact::IndexRaised { mark, changes }, .. })) =
            decoded(stored)?
        else {
            return Ok(true);
        };
        let place = names.cluster(&header);
        for change in changes.iter().filter(|change| change.app == *app) {
            let Some(entry) = change.entry.as_ref().filter(|entry| entry.withdrawn.is_none()) else {
                continue;
            };
            let event = (stored.index, stored.appended_at, header.context.cause);
            if !found.note(entry.commit.as_str(), &place, mark, event, limit) {
                return Ok(false);
            }
        }
        Ok(true)
    })?;
    words(log, app, cluster, &mut found, names, before)?;
    let rows = found.list.iter().enumerate().map(|(at, delivery)| row(log, delivery, at == 0));
    Ok((rows.collect::<Result<_, Error>>()?, cut))
}

impl Deliveries {
    /// Notes that a commit was ordered for a cluster; `false` if that would be one delivery too many.
    fn note(
        &mut self,
        commit: &str,
        cluster: &str,
        mark: Mark,
        (index, ordered_at, cause): (u64, At, Option<u64>),
        limit: usize,
    ) -> bool {
        let known = self.list.iter().position(|delivery| delivery.commit == commit);
        if known.is_none() && self.list.len() == limit {
            return false;
        }
        let at = known.unwrap_or(self.list.len());
        if known.is_none() {
            let (commit, clusters) = (commit.to_owned(), BTreeMap::new());
            self.list.push(Delivery { commit, index, ordered_at, cause, clusters });
        }
        let delivery = &mut self.list[at];
        // Events come newest first: what comes later here began it.
        (delivery.index, delivery.ordered_at, delivery.cause) = (index, ordered_at, cause);
        delivery.clusters.entry(cluster.to_owned()).or_default();
        self.marks.insert((cluster.to_owned(), mark), at);
        true
    }
}

/// Reads what agents said of an app into its deliveries, in the order in which they said it.
fn words(
    log: &dyn Log,
    app: &AppId,
    cluster: Option<&ClusterName>,
    found: &mut Deliveries,
    names: &Names,
    before: u64,
) -> Result<(), Error> {
    let Some(oldest) = found.list.iter().map(|delivery| delivery.index).min() else { return Ok(()) };
    let filter = Filter {
        cluster: cluster.map(ToString::to_string),
        app: Some(app.to_string()),
        kind: Some(String::from("InstanceChanged")),
        after: Some(oldest),
        before: Some(before),
        ..Filter::default()
    };
    let mut said: Vec<(String, At, Status)> = Vec::new();
    backwards(log, filter, |stored| {
        let (header, fact) = decoded(stored)?;
        if let Decoded::Agent(event) = fact
            && let AgentFact::InstanceChanged(status) = event.fact
        {
            said.push((names.cluster(&header), stored.appended_at, status));
        }
        Ok(true)
    })?;
    for (cluster, at, status) in said.into_iter().rev() {
        let Some(delivery) = found.marks.get(&(cluster.clone(), status.since)) else { continue };
        let Some(there) = found.list[*delivery].clusters.get_mut(&cluster) else { continue };
        if status.phase == Phase::Synced {
            there.synced_at.get_or_insert(at);
            there.was_healthy |= matches!(status.health, Health::Healthy | Health::Suspended);
        }
        there.last = Some((status.phase, status.health));
        there.message = status.message;
    }
    Ok(())
}

/// Walks the log backwards until `look` says that it has enough; `true` if it was cut short.
fn backwards(
    log: &dyn Log,
    mut filter: Filter,
    mut look: impl FnMut(&Stored) -> Result<bool, Error>,
) -> Result<bool, Error> {
    (filter.newest_first, filter.limit) = (true, PAGE);
    let mut looked = 0;
    loop {
        let page = log.query(&filter).map_err(failed)?;
        for stored in &page {
            if looked == LOOKED_AT_MAX || !look(stored)? {
                return Ok(true);
            }
            looked += 1;
        }
        match page.last() {
            Some(last) => filter.before = Some(last.index),
            None => return Ok(false),
        }
    }
}

impl There {
    fn failed(&self) -> bool {
        let bad = |(phase, health)| phase == Phase::Failed || health == Health::Degraded;
        !self.is_well() && self.last.is_some_and(bad)
    }

    fn parked(&self) -> bool {
        self.last.is_some_and(|(phase, _)| phase == Phase::Parked)
    }

    fn is_well(&self) -> bool {
        self.synced_at.is_some() && self.was_healthy
    }
}

fn row(log: &dyn Log, delivery: &Delivery, newest: bool) -> Result<HistoryRow, Error> {
    let places = &delivery.clusters;
    let count = |test: fn(&There) -> bool| {
        u32::try_from(places.values().filter(|there| test(there)).count()).unwrap_or(u32::MAX)
    };
    let all = |test: fn(&There) -> bool| places.values().all(test);
    let any = |test: fn(&There) -> bool| places.values().any(test);
    let outcome = match () {
        () if all(There::is_well) => "delivered",
        () if any(There::failed) => "failed",
        () if !newest => "superseded",
        () if any(There::parked) => "parked",
        () => "under way",
    };
    let finished = all(|there| there.synced_at.is_some())
        .then(|| places.values().filter_map(|there| there.synced_at).max())
        .flatten();
    // What was superseded before it was well still says what kept it from that.
    let unwell = |there: &There| !there.is_well() && !there.message.is_empty();
    let wrong = places.iter().find(|(_, there)| there.failed() || there.parked());
    let wrong = wrong.or_else(|| places.iter().find(|(_, there)| unwell(there)));
    let message = wrong.map(|(cluster, there)| format!("{cluster}: {}", there.message));
    let mut row = HistoryRow {
        commit: delivery.commit.clone(),
        ordered_at_ms: delivery.ordered_at.0,
        finished_at_ms: finished.map_or(0, |at| at.0),
        clusters_total: count(|_| true),
        clusters_synced: count(|there| there.synced_at.is_some()),
        clusters_healthy: count(There::is_well),
        clusters_failed: count(There::failed),
        event_index: delivery.index,
        outcome: outcome.to_owned(),
        actor: Actor::Hub.to_string(),
        message: message.filter(|_| outcome != "delivered").unwrap_or_default(),
        ..HistoryRow::default()
    };
    tell_commit(log, &mut row)?;
    if let Some(person) = orderer(log, delivery.cause)? {
        row.actor = person;
    }
    Ok(row)
}

/// Subject, author and time of the commit, as the hub saw it.
fn tell_commit(log: &dyn Log, row: &mut HistoryRow) -> Result<(), Error> {
    let filter = Filter {
        commit: Some(row.commit.clone()),
        kind: Some(String::from("CommitSeen")),
        limit: 1,
        ..Filter::default()
    };
    let found = log.query(&filter).map_err(failed)?;
    let Some(stored) = found.first() else { return Ok(()) };
    let (header, Decoded::Hub(HubEvent { fact: HubFact::CommitSeen { author, subject, .. }, .. })) =
        decoded(stored)?
    else {
        return Ok(());
    };
    (row.subject, row.author) = (subject, author);
    row.seen_at_ms = stored.appended_at.0;
    row.actor = header.context.actor.to_string();
    Ok(())
}

/// The person whose order raised the index, if it was one.
fn orderer(log: &dyn Log, cause: Option<u64>) -> Result<Option<String>, Error> {
    let Some(index) = cause else { return Ok(None) };
    let found = log.read(index, 1).map_err(|error| internal("reading the log", &error))?;
    let Some(stored) = found.first() else { return Ok(None) };
    let (header, _) = decoded(stored)?;
    let by_person = matches!(header.context.actor, Actor::Person(_));
    let about_app = matches!(header.kind.as_str(), "SyncRequested" | "Approved");
    Ok((by_person && about_app).then(|| header.context.actor.to_string()))
}
