//! The offline key, and the order that needs it: a new epoch after the hub was restored from a backup.

use crate::config::Config;
use crate::driver::{Driver, Performer, replay};
use crate::log::{self, Log, Rocks, read_epoch, write_epoch};
use crate::perform::Vault;
use anyhow::{Context as _, bail};
use std::path::Path;
use std::sync::Arc;
use taffrail_core::epoch::{GrantKind, highest};
use taffrail_core::event::Actor;
use taffrail_core::node::hub::{Command, Durable, Effect, Hub, Reply, Settings};
use taffrail_core::time::Span;
use taffrail_proto::grant;
use taffrail_proto::sign::{PublicKey, SigningKey};
use taffrail_runtime::secret;
use tokio_util::sync::CancellationToken;

/// File of the offline key in the data folder, until somebody moves it away.
pub const KEY_FILE: &str = "restore.key";

/// File of the hub epoch in the data folder.
pub const EPOCH_FILE: &str = "epoch";

/// Public half of the offline key, if the log does not name it yet: of the key in the folder, which is made if there is
/// none.
///
/// # Errors
/// When the file cannot be read or written, or holds no key.
pub fn offline_key(folder: &Path, known: &Durable) -> anyhow::Result<Option<PublicKey>> {
    if known.epochs.restore_key.is_some() {
        return Ok(None);
    }
    let path = folder.join(KEY_FILE);
    if let Some(text) = secret::read(&path)? {
        return Ok(Some(SigningKey::from_seed_text(&text).context("read the restore key")?.public()));
    }
    let fresh = SigningKey::generate()?;
    secret::write(&path, &fresh.seed_text().context("keep the restore key")?)?;
    tracing::warn!(path = %path.display(), "restore key made: move this file off this machine and keep it safe");
    Ok(Some(fresh.public()))
}

/// What the epoch file says, brought up to what the log says.
///
/// # Errors
/// When it cannot be read or written.
pub fn epoch_file(folder: &Path, known: &Durable) -> anyhow::Result<u64> {
    let path = folder.join(EPOCH_FILE);
    let (found, known) = (read_epoch(&path)?, known.planner.epoch.max(1));
    match found {
        Some(found) if found >= known => Ok(found),
        _ => {
            write_epoch(&path, known)?;
            Ok(known)
        }
    }
}

/// Carries no effect out: the hub that is started next owes all of them.
struct Nothing;

impl Performer for Nothing {
    fn perform(&mut self, _: Effect) {}
}

/// What is missing in a log out of a backup, as its witness saw it.
fn gap(against: &log::Error) -> Option<String> {
    match against {
        log::Error::Lost { last, witnessed, .. } => Some(format!(
            "The log ends at event {last}; events {} to {witnessed} are not in it. What agents still hold of them they \
             send again, the rest is named by EventsLost.\n",
            last + 1
        )),
        log::Error::OtherHistory { index, .. } => {
            Some(format!("The log differs at event {index} from the one that was here before.\n"))
        }
        _ => None,
    }
}

/// Begins a new epoch over the log of a hub that does not run. Returns what is to be said.
///
/// # Errors
/// When the hub runs, the key is another, or something cannot be read or written.
pub async fn restore(config: &Config, key_file: &Path) -> anyhow::Result<String> {
    let key = secret::read_given(key_file)?;
    let key = SigningKey::from_seed_text(&key).context("read the restore key")?;
    let folder = config.data_dir.join("log");
    let (log, against) = Rocks::open_restored(&folder, config.reserve_bytes, Box::new(|_| {}))?;
    let log: Arc<dyn Log> = Arc::new(log);
    let folding = log.clone();
    let durable = tokio::task::spawn_blocking(move || replay(&*folding)).await??;
    match durable.epochs.restore_key {
        None => bail!(
            "RESTORE-001: the log names no restore key: it is older than restore keys. \
             Next: join its clusters again (taffrail cluster join NAME)"
        ),
        Some(known) if known != key.public().0 => bail!(
            "RESTORE-002: {} is not the restore key of this hub. Next: taffrail-hub restore --key FILE",
            key_file.display()
        ),
        Some(_) => {}
    }
    let file = epoch_file(&config.data_dir, &durable)?;
    let epoch = highest(&durable.epochs, durable.planner.epoch).max(file) + 1;
    let fleet = Vault::open(&config.data_dir)?.signer.public();
    let granted = grant::sign(&key, &fleet, epoch, GrantKind::Restore);
    let clusters = durable.clusters.accounts.len();

    let (driver, handle, _) = Driver::new(Hub::new(durable, Settings { lease: Span::secs(30) }), log);
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let running = tokio::spawn(async move { driver.run(&mut Nothing, stopping).await });
    let by = Actor::Person(String::from("operator"));
    let answered = handle.order(by, Command::RaiseEpoch(granted)).await?;
    stop.cancel();
    running.await??;
    match answered.reply {
        Reply::Done { index, .. } => {
            write_epoch(&config.data_dir.join(EPOCH_FILE), epoch)?;
            let gap = against.as_ref().and_then(gap).unwrap_or_default();
            Ok(format!(
                "{gap}Epoch {epoch} begins with event {index}. {clusters} clusters will show what they hold; \
                 nothing changes on one before that is logged.\n\
                 Next: start the hub, then: taffrail check\n"
            ))
        }
        other => bail!("begin epoch {epoch}: {other:?}"),
    }
}
