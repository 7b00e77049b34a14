//! Tasks whose early end is noticed, and the order in which they leave.
//!
//! ```text
//! running ──signal, or a task that ended──► stop Intake ──► stop Work ──► stop Output ──► done
//! ```
//! A stage is told to stop only when every task of the stage before has ended, so that what was taken in is still worked
//! on, and what was worked out is still sent and stored.

use std::collections::BTreeMap;
use std::future::Future;

use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// What the end of a task means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Runs as long as the process: any end before the stop ends the process.
    Service,
    /// May end well at any time; only a failure ends the process.
    Job,
}

/// When a task is told to stop; earlier stages end first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Takes in what comes from outside: listeners, subscriptions, watches.
    Intake,
    /// Decides and performs.
    Work,
    /// Stores and sends: the log's writer, the outbox, NATS.
    Output,
}

const STAGES: [Stage; 3] = [Stage::Intake, Stage::Work, Stage::Output];

/// A task ended when it should not have.
#[derive(Debug, thiserror::Error)]
#[error("task {task} ended early")]
pub struct Ended {
    /// The task's name.
    pub task: &'static str,
    /// What it ended with.
    #[source]
    pub source: Cause,
}

/// What a task ended with.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// It returned although it should run as long as the process.
    #[error("it returned without being asked to")]
    Returned,
    /// It failed.
    #[error("{0:#}")]
    Failed(anyhow::Error),
    /// It panicked.
    #[error("it panicked: {0}")]
    Panicked(String),
}

struct Task {
    name: &'static str,
    kind: Kind,
    stage: Stage,
}

/// Starts tasks, waits for their end, and ends them in order.
pub struct Supervisor {
    stop: CancellationToken,
    stages: BTreeMap<Stage, CancellationToken>,
    running: JoinSet<anyhow::Result<()>>,
    tasks: BTreeMap<Id, Task>,
}

impl Supervisor {
    /// A supervisor that ends its tasks when `stop` is cancelled, and cancels it when a task ends early.
    pub fn new(stop: CancellationToken) -> Supervisor {
        let stages = STAGES.map(|stage| (stage, CancellationToken::new())).into();
        Supervisor { stop, stages, running: JoinSet::new(), tasks: BTreeMap::new() }
    }

    /// Starts a task. It gets the token of its stage and returns soon after that is cancelled.
    pub fn spawn<F, W>(&mut self, name: &'static str, kind: Kind, stage: Stage, work: W)
    where
        W: FnOnce(CancellationToken) -> F,
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let handle = self.running.spawn(work(self.stages[&stage].clone()));
        self.tasks.insert(handle.id(), Task { name, kind, stage });
    }

    /// Runs until the stop or an early end, then ends every stage in its order.
    ///
    /// # Errors
    /// The first task that ended early or failed, also while stopping.
    pub async fn run(mut self) -> Result<(), Ended> {
        let mut first = None;
        let stop = self.stop.clone();
        while first.is_none() && !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => {}
                ended = self.running.join_next_with_id() => match ended {
                    Some(ended) => first = self.judge(ended),
                    None => stop.cancel(),
                },
            }
        }
        if let Some(ended) = &first {
            tracing::error!(task = ended.task, error = %ended.source, "task ended early, stopping");
        }
        stop.cancel();
        for stage in STAGES {
            self.stages[&stage].cancel();
            while self.tasks.values().any(|task| task.stage <= stage) {
                let Some(ended) = self.running.join_next_with_id().await else { break };
                let failed = self.judge(ended);
                first = first.or(failed);
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Whether the end of a task is a failure of the process.
    fn judge(&mut self, ended: Result<(Id, anyhow::Result<()>), JoinError>) -> Option<Ended> {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let task = self.tasks.remove(&id)?;
        let asked = self.stages[&task.stage].is_cancelled();
        let source = match ended {
            Ok((_, Ok(()))) if task.kind == Kind::Job || asked => return None,
            Ok((_, Ok(()))) => Cause::Returned,
            Ok((_, Err(error))) => Cause::Failed(error),
            Err(error) => Cause::Panicked(panic_text(error)),
        };
        tracing::debug!(task = task.name, "task ended");
        Some(Ended { task: task.name, source })
    }
}

fn panic_text(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(payload) => match (payload.downcast_ref::<String>(), payload.downcast_ref::<&str>()) {
            (Some(text), _) => text.clone(),
            (_, Some(text)) => (*text).to_owned(),
            _ => "with something that is not a text".to_owned(),
        },
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    const BOUND: Duration = Duration::from_secs(30);

    async fn run(supervisor: Supervisor) -> Result<(), Ended> {
        tokio::time::timeout(BOUND, supervisor.run()).await.expect("the supervisor ends")
    }

    async fn wait(stop: CancellationToken) -> anyhow::Result<()> {
        stop.cancelled().await;
        Ok(())
    }

    #[tokio::test]
    async fn an_early_end_stops_the_process_and_is_named() {
        type End = fn() -> anyhow::Result<()>;
        let cases: [(&str, Kind, End, Option<&str>); 5] = [
            ("returns", Kind::Service, || Ok(()), Some("it returned without being asked to")),
            ("fails", Kind::Service, || anyhow::bail!("disk is full"), Some("disk is full")),
            ("panics", Kind::Service, || panic!("impossible"), Some("it panicked: impossible")),
            ("job-fails", Kind::Job, || anyhow::bail!("no"), Some("no")),
            ("job-ends", Kind::Job, || Ok(()), None),
        ];
        for (name, kind, end, cause) in cases {
            let stop = CancellationToken::new();
            let mut supervisor = Supervisor::new(stop.clone());
            supervisor.spawn(name, kind, Stage::Work, move |_| async move { end() });
            if cause.is_some() {
                supervisor.spawn("other", Kind::Service, Stage::Output, wait);
            }
            let ended = run(supervisor).await.err();
            let told = ended.as_ref().map(|ended| (ended.task, ended.source.to_string()));
            assert_eq!(told, cause.map(|cause| (name, cause.to_owned())));
            assert!(stop.is_cancelled());
        }
    }

    #[tokio::test]
    async fn stages_end_one_after_the_other() {
        let stop = CancellationToken::new();
        let mut supervisor = Supervisor::new(stop.clone());
        let order = Arc::new(Mutex::new(Vec::new()));
        for (name, stage) in [("output", Stage::Output), ("intake", Stage::Intake), ("work", Stage::Work)] {
            let order = order.clone();
            supervisor.spawn(name, Kind::Service, stage, move |stopped| async move {
                stopped.cancelled().await;
                tokio::task::yield_now().await;
                order.lock().unwrap().push(name);
                Ok(())
            });
        }
        stop.cancel();
        run(supervisor).await.unwrap();
        assert_eq!(*order.lock().unwrap(), ["intake", "work", "output"]);
    }
}
