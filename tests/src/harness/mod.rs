//! Hubs, agents and Git servers for suites and the demo: the unchanged programs, started and killed as in life.
//!
//! ```no_run
//! # async fn example(kubeconfig: &std::path::Path) -> anyhow::Result<()> {
//! use std::time::Duration;
//! use taffrail_tests::harness::{Agent, Folder, GitServer, Hub, HubOptions, join, wait_for};
//!
//! let folder = Folder::new("delivery")?;
//! let git = GitServer::start(&folder, "fleet").await?;
//! let hub = Hub::start(&folder.sub("hub")?, HubOptions::default()).await?;
//! let token = join(&hub, "eu-1", &[("region", "eu")]).await?;
//! let mut agent = Agent::start(&folder.sub("eu-1")?, kubeconfig, &hub, &token)?;
//! hub.done(&["source", "add", &git.url()]).await?;
//! let commit = git.commit("payments-api 1.5.0", &[("a.yaml", "...")])?;
//! hub.announce(&git.url()).await?;
//! wait_for("the commit is everywhere", Duration::from_secs(30), async || {
//!     let app = hub.json(&["get", "app", "payments-api"]).await?;
//!     Ok((app["commit"] == commit.as_str()).then_some(app))
//! })
//! .await?;
//! agent.kill();
//! agent.restart()?;
//! # Ok(())
//! # }
//! ```
//!
//! Every process is a group of its own with its output in a file of its folder. It ends when its value is dropped, when
//! the test panics, and when the test process is killed. A [`Folder`] vanishes with its value; when a test panics it
//! stays and shows the end of every log.

pub mod api;
pub mod apps;
pub mod audit;
pub mod fleet;
pub mod live;
pub mod load;
pub mod observer;

mod agent;
mod chains;
mod cli;
mod clock;
mod folder;
mod git;
mod hub;
mod process;
mod programs;
mod proxy;
mod random;
mod wait;

pub use agent::{Agent, AgentOptions, JoinToken, join};
pub use chains::{Chains, each_once, in_order};
pub use cli::{Cli, Feed, Output};
pub use clock::ShiftedClock;
pub use folder::Folder;
pub use git::GitServer;
pub use hub::{Door, Hub, HubOptions};
pub use programs::program;
pub use proxy::{Network, Proxy};
pub use random::Random;
pub use wait::wait_for;
