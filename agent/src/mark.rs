//! The high-water mark, mirrored in a Secret of its own, so that a lost disk cannot be rolled back; parked events lie beside it.

use crate::driver::Shown;
use crate::kube::ApiError;
use crate::kube::secret::{Expect, Store};
use std::collections::BTreeMap;
use std::time::Duration;
use taffrail_core::desired::Mark;
use taffrail_core::id::AccountKey;
use taffrail_runtime::supervise::{Kind, Stage, Supervisor};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Name of the Secret in the agent's namespace; its role names it.
pub const SECRET: &str = "taffrail-mark";

/// Pause after a write that failed.
const AGAIN: Duration = Duration::from_secs(5);

/// Name of the parked events in the Secret.
const PARKED: &str = "parked";

/// What the Secret says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirrored {
    /// Highest index that this cluster took.
    pub held: Mark,
    /// Incarnation of the journal that took it.
    pub incarnation: u64,
    /// Events without a receipt, as the last end packed them.
    pub parked: Option<Vec<u8>>,
}

/// The Secret of one membership.
#[derive(Clone)]
pub struct Place {
    store: Store,
    account: AccountKey,
}

impl Place {
    /// In the namespace of `store`.
    pub fn new(store: Store, account: AccountKey) -> Place {
        Place { store, account }
    }

    /// Reads what this membership mirrored; nothing if there is none, or if it is of an earlier one.
    ///
    /// # Errors
    /// [`ApiError`] if it cannot be read: then nothing may be taken.
    pub async fn read(&self) -> Result<Mirrored, ApiError> {
        let Some(mut stored) = self.store.get(SECRET).await? else { return Ok(Mirrored::default()) };
        if !self.owns(&stored.data) {
            return Ok(Mirrored::default());
        }
        let number = |name: &str| {
            let text = stored.data.get(name).and_then(|bytes| std::str::from_utf8(bytes).ok());
            text.and_then(|text| text.parse().ok()).unwrap_or_default()
        };
        let held = Mark { epoch: number("epoch"), generation: number("generation") };
        let incarnation = number("incarnation");
        Ok(Mirrored { held, incarnation, parked: stored.data.remove(PARKED) })
    }

    /// Writes the number of a journal before anything is numbered in it: a journal that is lost at once must not be followed
    /// by one of the same number, because its events would be taken for forgeries.
    ///
    /// # Errors
    /// [`ApiError`] if it cannot be written: then nothing may be numbered.
    pub async fn claim(&self, mirrored: &Mirrored, incarnation: u64) -> Result<(), ApiError> {
        if mirrored.incarnation == incarnation {
            return Ok(());
        }
        self.put_mark(mirrored.held, incarnation).await
    }

    /// Writes the mark after every index that was taken, and again when the cluster was restored, until `stop`.
    pub async fn mirror(&self, incarnation: u64, mut shown: watch::Receiver<Shown>, stop: CancellationToken) {
        let mut written = None;
        loop {
            let Shown { held, times_back, .. } = *shown.borrow_and_update();
            let now = Some((held, times_back));
            let failed = written != now && {
                match self.put_mark(held, incarnation).await {
                    Ok(()) => written = now,
                    Err(error) => tracing::warn!(error = %error, "mark not mirrored, will retry"),
                }
                written != now
            };
            tokio::select! {
                changed = shown.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(AGAIN), if failed => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Replaces the mark.
    ///
    /// # Errors
    /// [`ApiError`] if it may not be there.
    pub async fn put_mark(&self, held: Mark, incarnation: u64) -> Result<(), ApiError> {
        let numbers = [("epoch", held.epoch), ("generation", held.generation), ("incarnation", incarnation)];
        self.change(|data| {
            for (name, number) in numbers {
                data.insert(name.to_owned(), number.to_string().into_bytes());
            }
        })
        .await
    }

    /// Replaces the parked events.
    ///
    /// # Errors
    /// [`ApiError`] if they may not be there.
    pub async fn put_parked(&self, packed: Option<Vec<u8>>) -> Result<(), ApiError> {
        self.change(|data| match packed {
            Some(packed) => drop(data.insert(PARKED.to_owned(), packed)),
            None => drop(data.remove(PARKED)),
        })
        .await
    }

    /// Changes the Secret from what is there. What an earlier membership left in it goes.
    async fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Vec<u8>>)) -> Result<(), ApiError> {
        let stored = self.store.get(SECRET).await?;
        let expect = stored.as_ref().map_or(Expect::Absent, |stored| Expect::Version(stored.version.clone()));
        let mut data = stored.map(|stored| stored.data).filter(|data| self.owns(data)).unwrap_or_default();
        data.insert("account".to_owned(), self.account.as_str().as_bytes().to_vec());
        change(&mut data);
        self.store.put(SECRET, &data, &expect).await?;
        Ok(())
    }

    fn owns(&self, data: &BTreeMap<String, Vec<u8>>) -> bool {
        data.get("account").is_some_and(|of| of == self.account.as_str().as_bytes())
    }
}

/// Starts the task that keeps the mark of a membership in the cluster.
pub fn spawn(supervisor: &mut Supervisor, place: Place, incarnation: u64, shown: watch::Receiver<Shown>) {
    supervisor.spawn("mark", Kind::Service, Stage::Work, move |stop| async move {
        place.mirror(incarnation, shown, stop).await;
        Ok(())
    });
}
