//! Real Kubernetes control planes for tests, without containers: etcd, API server, controllers, scheduler, fake nodes;
//! and, as root, a real node with containers beside one.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use taffrail_tests::cluster::{Cluster, Options};
//!
//! let cluster = Cluster::start(Options::default()).await?;
//! let client = cluster.client().await?;
//! # Ok(())
//! # }
//! ```
//!
//! A cluster lives in a temporary folder and in process groups of its own. All of it ends when the value is dropped,
//! when the test panics, and when the test process is killed: each part holds the end of a pipe from that process.
//! What the fake kubelets do with a pod is told in `tests/clusters/stages.yaml`: the image name decides. On a [`Node`] the
//! unchanged kubelet and containerd decide.

mod block;
mod control_plane;
mod etcd;
mod files;
mod image;
mod node;
mod nodes;
pub(crate) mod ports;
mod process;
mod programs;

pub use block::Block;
pub use control_plane::{Cluster, Options};
pub use etcd::Backup;
pub use image::Image;
pub use node::Node;
pub use programs::Programs;
