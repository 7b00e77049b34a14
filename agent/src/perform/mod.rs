//! One function per effect of the agent; the only callers of the ports that change the cluster.

mod load;
mod object;
mod recall;
mod seen;

use crate::bus::Bus;
use crate::driver::{Handle, Performer};
use crate::journal::Journal;
use crate::kube::inventory::{Inventories, Written};
use crate::kube::{Api, Gvk, Watches};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use taffrail_core::digest::Digest;
use taffrail_core::id::AppId;
use taffrail_core::node::agent::{Act, Input};
use taffrail_core::sync::{Effect, Problem, Recalled, Unstored};
use taffrail_proto::index::Verified;
use taffrail_proto::seal::BundleKey;
use taffrail_runtime::telemetry::adopt;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

pub use object::{fingerprint, problem};
pub use seen::hand_over;

/// Everything that effects need.
pub struct Tools {
    /// The cluster.
    pub api: Api,
    /// Inventories in the cluster.
    pub inventories: Inventories,
    /// What is watched.
    pub watches: Watches,
    /// The journal: bundles.
    pub journal: Arc<dyn Journal>,
    /// The bus: bundles.
    pub bus: Arc<dyn Bus>,
    /// Namespace of the agent's own objects.
    pub home: String,
    /// Keys that open bundles, by sealed id.
    pub keys: Mutex<BTreeMap<Digest, BundleKey>>,
}

/// Carries the agent's acts out.
pub struct Perform {
    tools: Arc<Tools>,
    handle: Handle,
    tasks: TaskTracker,
    traces: BTreeMap<AppId, String>,
}

impl Perform {
    /// A performer whose tasks post to `handle`.
    pub fn new(tools: Arc<Tools>, handle: Handle, tasks: TaskTracker) -> Perform {
        Perform { tools, handle, tasks, traces: BTreeMap::new() }
    }

    /// Runs an effect inside the trace of the commit that its app is at.
    fn run(&self, app: &AppId, work: impl Future<Output = Input> + Send + 'static) {
        let handle = self.handle.clone();
        let span = tracing::info_span!("effect", app = %app);
        if let Some(trace) = self.traces.get(app) {
            adopt(&span, trace);
        }
        let run = async move {
            handle.input(work.await).await;
        };
        self.tasks.spawn(run.instrument(span));
    }
}

impl Performer for Perform {
    fn perform(&mut self, act: Act) {
        let tools = self.tools.clone();
        match act {
            Act::Watch(kinds) => {
                let kinds = kinds.into_iter().map(|(group, version, kind)| Gvk { group, version, kind });
                tools.watches.set_kinds(kinds.collect());
            }
            Act::Instance { app, effect } => self.run(&app.clone(), effect_of(tools, app, effect)),
        }
    }

    fn took(&mut self, verified: &Verified) {
        let mut keys = self.tools.keys.lock().unwrap_or_else(PoisonError::into_inner);
        // What was taken over from before a restore carries no key again: the one that is known still opens it.
        let named = |id: &Digest| verified.index.entries.values().any(|entry| entry.sealed == *id);
        keys.retain(|id, _| named(id));
        keys.extend(&verified.keys);
        let traced = verified.index.entries.iter();
        self.traces = traced.filter_map(|(app, entry)| Some((app.clone(), entry.trace.clone()?))).collect();
    }
}

async fn effect_of(tools: Arc<Tools>, app: AppId, effect: Effect) -> Input {
    match effect {
        Effect::Load { run, entry, recall } => {
            let loaded = load::load(&tools, &app, &entry, recall.as_deref())
                .await
                .map_err(|error| format!("{error:#}"));
            let (objects, recalled) = match loaded {
                Ok((objects, recalled)) => (Ok(objects), recalled),
                Err(message) => (Err(message), Recalled::default()),
            };
            Input::Loaded { app, run, objects, recalled }
        }
        Effect::Store { run, keys } => {
            let members = keys.into_iter().map(|(key, _)| key).collect();
            let outcome = match tools.inventories.write(&app, &members).await {
                Ok(Written::Done) => Ok(()),
                Ok(Written::Changed) => Err(Unstored::Changed),
                Err(error) => Err(Unstored::Failed(problem(&error))),
            };
            Input::Stored { app, run, outcome }
        }
        Effect::EnsureNamespace { run, namespace } => {
            let problem: Option<Problem> = object::ensure_namespace(&tools, &namespace).await;
            Input::NamespaceEnsured { app, run, problem }
        }
        Effect::Apply { run, object, commit, look_first } => {
            let outcome = object::apply(&tools, &app, &object, &commit, look_first).await;
            Input::Applied { app, run, object, commit, outcome }
        }
        Effect::Delete { run, key, uid, .. } => {
            let outcome = object::delete(&tools, &app, &key, &uid).await;
            Input::Deleted { app, run, key, outcome }
        }
        Effect::Inspect { key, pods, against, .. } => {
            let asked = against.is_some();
            let outcome = object::inspect(&tools, &app, &key, pods, against).await;
            Input::Inspected { app, key, against: asked, outcome }
        }
        Effect::Forget { run } => {
            let removed = tools.inventories.remove(&app).await.inspect_err(|error| {
                tracing::warn!(app = %app, error = %error, "inventory of a withdrawn app not removed");
            });
            let outcome = removed.map_err(|error| Unstored::Failed(problem(&error)));
            Input::Stored { app, run, outcome }
        }
    }
}
