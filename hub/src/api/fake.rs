//! A fleet in memory, for tests of the service around it.

use std::sync::Mutex;

use async_trait::async_trait;
use taffrail_core::id::ClusterName;
use taffrail_proto::v1::{
    AppRow, ClusterRow, ConnectionStatus, Done, EventRow, HealthStatus, HistoryRow, InstanceRow, Part,
    PartStatus, SourceRow, SyncStatus, View,
};
use tokio::sync::watch;

use super::Error;
use super::service::{
    Answer, AppName, Apps, Detail, Events, Fleet, Found, Invitation, Invited, Order, Outcome,
};

/// Three clusters, one of them silent; one app on all of them; events that tests append.
pub(super) struct Fake {
    pub(super) orders: Mutex<Vec<Order>>,
    pub(super) parts: Mutex<Vec<Part>>,
    events: Mutex<Vec<EventRow>>,
    tail: watch::Sender<u64>,
}

impl Fake {
    pub(super) fn new() -> Fake {
        let part = Part { name: "log".into(), message: "open".into(), ..Part::default() };
        Fake {
            orders: Mutex::default(),
            parts: Mutex::new(vec![Part { status: PartStatus::Ok as i32, ..part }]),
            events: Mutex::default(),
            tail: watch::Sender::new(0),
        }
    }

    /// Appends an event and makes it readable.
    pub(super) fn append(&self, cluster: &str) {
        let mut events = self.events.lock().unwrap();
        let index = events.len() as u64 + 1;
        events.push(EventRow { index, cluster: cluster.into(), ..EventRow::default() });
        self.tail.send_replace(index);
    }

    fn view(&self) -> View {
        View { state_index: *self.tail.borrow(), as_of_ms: 1_000, now_ms: 61_000 }
    }

    fn answer<T>(&self, value: T) -> Answer<T> {
        Answer { view: self.view(), value }
    }
}

const CLUSTERS: [(&str, ConnectionStatus); 3] = [
    ("us-1", ConnectionStatus::Connected),
    ("eu-1", ConnectionStatus::Connected),
    ("eu-2", ConnectionStatus::Silent),
];

#[async_trait]
impl Fleet for Fake {
    async fn clusters(&self) -> Result<Answer<Vec<ClusterRow>>, Error> {
        let row = |(name, connection): (&str, ConnectionStatus)| ClusterRow {
            name: name.into(),
            connection: connection as i32,
            labels: [("region".to_owned(), name[..2].to_owned())].into(),
            instances: 1,
            instances_synced: 1,
            instances_healthy: 1,
            ..ClusterRow::default()
        };
        Ok(self.answer(CLUSTERS.map(row).to_vec()))
    }

    async fn apps(&self, _which: &Apps, _detail: Detail) -> Result<Answer<Vec<AppRow>>, Error> {
        let instance = |(cluster, connection): (&str, ConnectionStatus)| InstanceRow {
            cluster: cluster.into(),
            connection: connection as i32,
            sync: SyncStatus::Synced as i32,
            health: HealthStatus::Healthy as i32,
            ..InstanceRow::default()
        };
        Ok(self.answer(vec![AppRow {
            name: "payments-api".into(),
            source: "fleet".into(),
            instances: CLUSTERS.map(instance).to_vec(),
            ..AppRow::default()
        }]))
    }

    async fn sources(&self) -> Result<Answer<Vec<SourceRow>>, Error> {
        Err(Error::Internal { action: "list sources".into(), cause: "the disk is on fire".into() })
    }

    async fn events(&self, which: &Events) -> Result<Answer<Found>, Error> {
        let events = self.events.lock().unwrap();
        let matching = |event: &&EventRow| {
            event.index > which.after_index
                && (which.filter.cluster.is_empty() || which.filter.cluster == event.cluster)
        };
        let all: Vec<EventRow> = events.iter().filter(matching).cloned().collect();
        let more = all.len() > which.limit;
        let events: Vec<EventRow> = all.into_iter().take(which.limit).collect();
        let end = *self.tail.borrow();
        let reached_index = if more { events.last().map_or(end, |event| event.index) } else { end };
        Ok(self.answer(Found { events, more, reached_index }))
    }

    fn tail(&self) -> watch::Receiver<u64> {
        self.tail.subscribe()
    }

    async fn history(
        &self,
        app: &AppName,
        _cluster: Option<&ClusterName>,
        _limit: usize,
    ) -> Result<Answer<(Vec<HistoryRow>, bool)>, Error> {
        Err(Error::NotFound { what: "app", name: app.name.to_string() })
    }

    async fn check(&self) -> Answer<Vec<Part>> {
        self.answer(self.parts.lock().unwrap().clone())
    }

    async fn submit(&self, order: Order) -> Result<Outcome, Error> {
        self.orders.lock().unwrap().push(order);
        let done = Done { event_index: 7, did: "done".into(), changed: true, warnings: Vec::new() };
        Ok(Outcome { done, name: "fleet".into(), clusters: vec!["eu-1".into()] })
    }

    async fn invite(&self, invitation: Invitation) -> Result<Invited, Error> {
        let done = Done { event_index: 8, ..Done::default() };
        Ok(Invited { done, manifest: format!("name: {}\n", invitation.name), expires_at_ms: 9 })
    }
}
