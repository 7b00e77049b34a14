//! The hub's path from a request on the bus to its receipt, without Git and NATS.

use super::super::probe::cpu_us;
use super::super::sender::{check, join, sign};
use anyhow::{Context as _, Result};
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use taffrail_core::node::hub::{Effect, Hub, Input, Settings};
use taffrail_core::time::Span;
use taffrail_hub::bus;
use taffrail_hub::driver::{Driver, Handle, Performer, replay};
use taffrail_hub::log::{Log as _, RESERVE_MIN, Rocks};
use taffrail_hub::perform::{Vault, ingest};
use taffrail_proto::sign::PublicKey;
use taffrail_testkit::sender::Sender;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// A hub that ingests.
pub(super) struct Whole {
    bus: bus::Memory,
    handle: Handle,
    log: Arc<Rocks>,
    hub_key: PublicKey,
    agents: Vec<Sender>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<Result<()>>>,
}

/// What one trial showed.
pub(super) struct Trial {
    /// Events that got a receipt, per second.
    pub(super) per_second: f64,
    /// Fsyncs of the log per event.
    pub(super) syncs_per_event: f64,
    /// Processor time per event, of hub and writers together.
    pub(super) cpu_us_per_event: f64,
}

/// Effects are not part of the path.
struct Nothing;

impl Performer for Nothing {
    fn perform(&mut self, _: Effect) {}
}

impl Whole {
    /// Starts a hub in a fresh folder and enrols the clusters.
    pub(super) async fn start(folder: &Path, clusters: usize) -> Result<Whole> {
        let log = Arc::new(Rocks::open(
            &folder.join("log"),
            RESERVE_MIN,
            Box::new(|error| eprintln!("log ended: {error}")),
        )?);
        let durable = replay(&*log)?;
        let (driver, handle, _) =
            Driver::new(Hub::new(durable, Settings { lease: Span::secs(3_600) }), log.clone());
        let (stop, bus) = (CancellationToken::new(), bus::Memory::default());
        let vault = Arc::new(Vault::open(folder)?);
        let hub_key = vault.signer.public();
        let (driving, ingesting) = (stop.clone(), stop.clone());
        let driver = tokio::spawn(async move { driver.run(&mut Nothing, driving).await.map_err(Into::into) });
        handle.post().input(Input::Started { version: "bench".to_owned(), epoch: 1 }).await?;
        let agents = (0..clusters).map(Sender::new).collect::<Vec<Sender>>();
        for agent in &agents {
            join(agent, &handle).await?;
        }
        let listening = tokio::spawn(ingest(Arc::new(bus.clone()), handle.clone(), vault, ingesting));
        let tasks = vec![driver, listening];
        Ok(Whole { bus, handle, log, hub_key, agents, stop, tasks })
    }

    /// Each of so many writers sends so many requests, the next when it has the receipt.
    pub(super) async fn trial(&mut self, writers: usize, batch: usize, requests: usize) -> Result<Trial> {
        let mut signed = Vec::new();
        for agent in &mut self.agents[..writers] {
            let bodies = (0..requests).map(|_| sign(agent, batch)).collect::<Result<Vec<Bytes>>>()?;
            signed.push((agent.account.clone(), bodies));
        }
        let (syncs, used) = (self.log.syncs().all(), cpu_us()?);
        let (mut sending, start) = (JoinSet::new(), Instant::now());
        for (writer, (account, bodies)) in signed.into_iter().enumerate() {
            let bus = self.bus.clone();
            sending.spawn(async move {
                let mut last = None;
                for body in bodies {
                    last = Some(bus.ask(account.clone(), body, None).await.context("no answer")?);
                }
                anyhow::Ok((writer, last))
            });
        }
        let answers = sending.join_all().await;
        let (seconds, used) = (start.elapsed().as_secs_f64(), cpu_us()? - used);
        for answer in answers {
            let (writer, last) = answer?;
            check(&self.agents[writer], &last.context("no request was sent")?, &self.hub_key)?;
        }
        let events = f64::from(u32::try_from(writers * batch * requests)?);
        let syncs = f64::from(u32::try_from(self.log.syncs().all() - syncs)?);
        Ok(Trial {
            per_second: events / seconds,
            syncs_per_event: syncs / events,
            cpu_us_per_event: used / events,
        })
    }

    /// Ends the hub and checks that its log folds to what it knew.
    pub(super) async fn stop(self) -> Result<()> {
        let state = self.handle.look(|hub, _| hub.state().clone()).await?;
        self.stop.cancel();
        for task in self.tasks {
            task.await??;
        }
        anyhow::ensure!(replay(&*self.log)? == state, "the log folds to another state");
        Ok(())
    }
}
