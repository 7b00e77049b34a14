//! What the hub knows and takes orders for, behind the ports of the API and of the join door.
//!
//! ```text
//!  api::Fleet ──► FleetService ──► Handle::look  ──► rows (clusters, apps, sources), one state per answer
//!                              ├─► Log           ──► events, history
//!                              └─► Handle::order ──► Outcome, once durable
//!  join::Admission ──► Admit ──► Handle::join ──► credentials
//! ```
//! Nothing is kept here: every answer is made of the state and the log, and says at which log index.

mod admit;
mod apps;
mod check;
mod clusters;
mod detail;
mod drift;
mod event_row;
mod events;
mod history;
mod instance;
mod invite;
mod name;
mod objects;
mod orders;
mod refused;
mod sight;
mod sources;
mod summary;
#[cfg(test)]
mod tests;

use crate::api::Error;
use crate::api::service::{
    Answer, AppName, Apps, Detail, Events, Fleet, Found, Invitation, Invited, Order, Outcome,
};
use crate::driver::Handle;
use crate::log::Log;
use crate::perform::{Mirrors, Watch};
use async_trait::async_trait;
use std::path::PathBuf;
use std::sync::Arc;
use taffrail_core::id::ClusterName;
use taffrail_core::node::hub::Hub;
use taffrail_core::time::{At, Span};
use taffrail_proto::v1::{AppRow, ClusterRow, HistoryRow, Part, SourceRow, View};
use taffrail_runtime::nats::Link;
use tokio::sync::watch;

pub use admit::Admit;

/// What the operator sets.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Silence after which nothing is known of a cluster.
    pub lease: Span,
    /// How long a join token is valid.
    pub token_ttl: Span,
    /// Where agents reach the hub, for the join manifest.
    pub hub_url: String,
    /// The authority that agents trust, PEM, for the join manifest.
    pub ca_pem: String,
    /// Image of the agent where an invitation names none.
    pub image: String,
    /// The folder whose disk is looked at.
    pub data_dir: PathBuf,
}

/// The port of the API over the driver and the log.
#[derive(Clone)]
#[expect(
    clippy::module_name_repetitions,
    reason = "where it is wired, `Service` alone would be one of several"
)]
pub struct FleetService {
    /// The way to the driver.
    pub handle: Handle,
    /// The log.
    pub log: Arc<dyn Log>,
    /// The watcher of repositories.
    pub watch: Arc<Watch>,
    /// Mirrors and their logins.
    pub mirrors: Arc<Mirrors>,
    /// The last durable log index.
    pub shown: watch::Receiver<u64>,
    /// The connection to NATS.
    pub link: watch::Receiver<Link>,
    /// What the operator sets.
    pub settings: Settings,
}

/// As of when a look holds.
fn view(hub: &Hub, at: At) -> View {
    let state = hub.state();
    View { state_index: state.index, as_of_ms: state.appended_at.0, now_ms: at.0 }
}

impl FleetService {
    /// Looks at one state and says as of when it was.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Hub, At) -> T + Send + 'static,
    ) -> Result<Answer<T>, Error> {
        let looked = self.handle.look(move |hub, at| (view(hub, at), question(hub, at))).await;
        let (view, value) = looked.map_err(|_| stopping())?;
        Ok(Answer { view, value })
    }

    /// Reads the log off the async threads.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Log) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let log = Arc::clone(&self.log);
        let done = tokio::task::spawn_blocking(move || work(&*log)).await;
        done.map_err(|error| internal("reading the log", &error))?
    }
}

/// The driver ended: so does the process.
fn stopping() -> Error {
    Error::Unavailable { cause: String::from("The hub is stopping.") }
}

/// Something inside failed: said whole in the hub's own log, and its first cause to the caller.
fn internal(action: &str, error: &(dyn std::error::Error + 'static)) -> Error {
    let mut causes = vec![error.to_string()];
    let mut next = error.source();
    while let Some(source) = next {
        causes.push(source.to_string());
        next = source.source();
    }
    tracing::error!(action, error = causes.join(": "), "answer failed");
    Error::Internal { action: action.to_owned(), cause: causes.swap_remove(0) }
}

#[async_trait]
impl Fleet for FleetService {
    async fn clusters(&self) -> Result<Answer<Vec<ClusterRow>>, Error> {
        let lease = self.settings.lease;
        self.ask(move |hub, at| clusters::rows(sight::Sight { hub, at, lease })).await
    }

    async fn apps(&self, which: &Apps, detail: Detail) -> Result<Answer<Vec<AppRow>>, Error> {
        self.app_rows(which.clone(), detail).await
    }

    async fn sources(&self) -> Result<Answer<Vec<SourceRow>>, Error> {
        self.source_rows().await
    }

    async fn events(&self, which: &Events) -> Result<Answer<Found>, Error> {
        self.find_events(which.clone()).await
    }

    fn tail(&self) -> watch::Receiver<u64> {
        self.shown.clone()
    }

    async fn history(
        &self,
        app: &AppName,
        cluster: Option<&ClusterName>,
        limit: usize,
    ) -> Result<Answer<(Vec<HistoryRow>, bool)>, Error> {
        self.deliveries(app.clone(), cluster.cloned(), limit).await
    }

    async fn check(&self) -> Answer<Vec<Part>> {
        self.parts().await
    }

    async fn submit(&self, order: Order) -> Result<Outcome, Error> {
        self.carry_out(order).await
    }

    async fn invite(&self, invitation: Invitation) -> Result<Invited, Error> {
        self.let_in(invitation).await
    }
}
