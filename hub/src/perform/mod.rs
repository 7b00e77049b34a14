//! One function per effect of the hub; the only callers of ports that change the world.
//!
//! Every effect runs as a task of its own, bounded by kind, and posts what came of it. Paying a debt twice is safe.

mod collect;
mod ingest;
mod mirrors;
mod publish;
mod read;
mod render;
mod vault;
mod watch;

use crate::bus::Bus;
use crate::driver::{Handle, Performer, Post};
use crate::log::Log;
use crate::nats::accounts::{Accounts, Cluster};
use crate::render::Renderer;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use taffrail_core::id::AccountKey;
use taffrail_core::node::hub::{Debt, Effect, Input};
use taffrail_core::source::Track;
use taffrail_proto::index::Terms;
use taffrail_runtime::telemetry::adopt;
use tokio::sync::{Semaphore, watch as channel};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

pub use collect::collect;
pub use ingest::ingest;
pub use mirrors::{Credential, Mirrors};
pub use vault::Vault;
pub use watch::{GitStatus, Watch};

/// Publications at once: each waits for the broker's acknowledgement, which takes well under a millisecond nearby.
const PUBLISH_AT_ONCE: usize = 32;

/// Readings and renderings at once: they start processes.
const RENDER_AT_ONCE: usize = 4;

/// Everything that effects need.
pub struct Tools {
    /// The log: blobs.
    pub log: Arc<dyn Log>,
    /// The message bus.
    pub bus: Arc<dyn Bus>,
    /// NATS accounts.
    pub accounts: Arc<Accounts>,
    /// Keys of the hub.
    pub vault: Arc<Vault>,
    /// Mirrors by repository.
    pub mirrors: Arc<Mirrors>,
    /// Renderers.
    pub renderer: Arc<Renderer>,
    /// What the watcher looks at.
    pub tracks: channel::Sender<BTreeSet<Track>>,
}

/// Carries the hub's effects out.
pub struct Perform {
    tools: Arc<Tools>,
    handle: Handle,
    publishing: Arc<Semaphore>,
    rendering: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Perform {
    /// A performer whose tasks post to `handle`.
    pub fn new(tools: Arc<Tools>, handle: Handle, tasks: TaskTracker) -> Perform {
        let publishing = Arc::new(Semaphore::new(PUBLISH_AT_ONCE));
        let rendering = Arc::new(Semaphore::new(RENDER_AT_ONCE));
        Perform { tools, handle, publishing, rendering, tasks }
    }

    /// Runs a payment: what it found is posted; what it failed at is posted as failed, and said.
    fn pay<F>(&self, debt: Debt, bound: &Arc<Semaphore>, trace: Option<&str>, payment: F)
    where
        F: Future<Output = anyhow::Result<Input>> + Send + 'static,
    {
        let (post, bound): (Post, _) = (self.handle.post(), bound.clone());
        let span = tracing::info_span!("effect", debt = name(&debt));
        if let Some(trace) = trace {
            adopt(&span, trace);
        }
        let work = async move {
            let Ok(_permit) = bound.acquire_owned().await else { return };
            let input = payment.await.unwrap_or_else(|error| {
                tracing::warn!(error = format!("{error:#}"), "effect failed, will retry");
                Input::Failed(debt)
            });
            // The driver ends before its performer's tasks do; then nobody needs the result.
            drop(post.input(input).await);
        };
        self.tasks.spawn(work.instrument(span));
    }
}

fn name(debt: &Debt) -> String {
    match debt {
        Debt::Account(account) => format!("account {account}"),
        Debt::Publish(cluster) => format!("publish {cluster}"),
        Debt::Read(source) => format!("read {source}"),
        Debt::Render(variant) => format!("render {variant}"),
    }
}

impl Performer for Perform {
    fn perform(&mut self, effect: Effect) {
        let tools = self.tools.clone();
        match effect {
            Effect::Follow(tracks) => {
                tools.tracks.send_replace(tracks);
            }
            Effect::Read { source, track, path, commit, cause, trace } => {
                let debt = Debt::Read(source.clone());
                let job = read::Job { source, track, path, commit, cause, trace };
                let trace = job.trace.clone();
                self.pay(debt, &self.rendering, trace.as_deref(), read::read(tools, job));
            }
            Effect::Render { variant, commit, previous, trace } => {
                let debt = Debt::Render(variant.clone());
                let job = render::Job { variant, commit, previous };
                self.pay(debt, &self.rendering, trace.as_deref(), render::render(tools, job));
            }
            Effect::Publish { cluster, account, box_key, index, grant, adopted } => {
                let debt = Debt::Publish(cluster.clone());
                let job = publish::Job { cluster, account, box_key, index, terms: Terms { grant, adopted } };
                let trace = job.trace();
                self.pay(debt, &self.publishing, trace.as_deref(), publish::publish(tools, job));
            }
            Effect::SetAccount { account, user_key } => {
                let handle = self.handle.clone();
                let debt = Debt::Account(account.clone());
                self.pay(
                    debt,
                    &self.publishing,
                    None,
                    set_account(tools, handle, account, user_key.is_some()),
                );
            }
        }
    }
}

/// Puts an account in force, or takes it and its index away.
async fn set_account(
    tools: Arc<Tools>,
    handle: Handle,
    account: AccountKey,
    welcome: bool,
) -> anyhow::Result<Input> {
    let at = crate::driver::wall();
    if welcome {
        let of = account.clone();
        let name =
            handle.look(move |hub, _| hub.state().clusters.by_account(&of).map(|(name, ..)| name.clone()));
        if let Some(name) = name.await? {
            let cluster = Cluster { account: account.clone(), name, revoked: BTreeMap::new() };
            tools.accounts.push(&cluster, at).await?;
        }
    } else {
        tools.accounts.remove(&account, at).await?;
        tools.bus.remove_index(&account).await?;
    }
    Ok(Input::AccountSet(account))
}
