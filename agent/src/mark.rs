//! The high-water mark, mirrored in a Secret of its own, so that a lost disk cannot be rolled back.

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

/// What the Secret says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mirrored {
    /// Highest index that this cluster took.
    pub held: Mark,
    /// Incarnation of the journal that took it.
    pub incarnation: u64,
}

/// Reads the mirrored mark of this membership; zero if there is none, or if it is of an earlier one.
///
/// # Errors
/// [`ApiError`] if it cannot be read: then nothing may be taken.
pub async fn read(store: &Store, account: &AccountKey) -> Result<Mirrored, ApiError> {
    let Some(stored) = store.get(SECRET).await? else { return Ok(Mirrored::default()) };
    if stored.data.get("account").is_none_or(|of| of != account.as_str().as_bytes()) {
        return Ok(Mirrored::default());
    }
    let number = |name: &str| {
        let text = stored.data.get(name).and_then(|bytes| std::str::from_utf8(bytes).ok());
        text.and_then(|text| text.parse().ok()).unwrap_or_default()
    };
    let held = Mark { epoch: number("epoch"), generation: number("generation") };
    Ok(Mirrored { held, incarnation: number("incarnation") })
}

/// Starts the task that keeps the mark of a membership in the cluster.
pub fn spawn(
    supervisor: &mut Supervisor,
    store: Store,
    account: AccountKey,
    incarnation: u64,
    shown: watch::Receiver<Shown>,
) {
    supervisor.spawn("mark", Kind::Service, Stage::Work, move |stop| async move {
        mirror(store, account, incarnation, shown, stop).await;
        Ok(())
    });
}

/// Writes the mark after every index that was taken, until `stop`.
pub async fn mirror(
    store: Store,
    account: AccountKey,
    incarnation: u64,
    mut shown: watch::Receiver<Shown>,
    stop: CancellationToken,
) {
    let mut written = None;
    loop {
        let held = shown.borrow_and_update().held;
        let wanted = Mirrored { held, incarnation };
        let failed = written != Some(wanted) && {
            match write(&store, &account, wanted).await {
                Ok(()) => written = Some(wanted),
                Err(error) => tracing::warn!(error = %error, "mark not mirrored, will retry"),
            }
            written != Some(wanted)
        };
        tokio::select! {
            changed = shown.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN), if failed => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn write(store: &Store, account: &AccountKey, wanted: Mirrored) -> Result<(), ApiError> {
    let expect = store.get(SECRET).await?.map_or(Expect::Absent, |stored| Expect::Version(stored.version));
    let numbers = [
        ("epoch", wanted.held.epoch),
        ("generation", wanted.held.generation),
        ("incarnation", wanted.incarnation),
    ];
    let mut data: BTreeMap<String, Vec<u8>> =
        numbers.map(|(name, number)| (name.to_owned(), number.to_string().into_bytes())).into();
    data.insert("account".to_owned(), account.as_str().as_bytes().to_vec());
    store.put(SECRET, &data, &expect).await?;
    Ok(())
}
