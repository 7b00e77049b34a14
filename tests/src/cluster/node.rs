//! A real node beside a control plane: containerd, the unchanged kubelet, pods that are processes. Needs root.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::process::Command;

use super::block::Block;
use super::control_plane::{Cluster, Options};
use super::image::Image;
use super::process::Process;
use super::programs::Programs;
use super::{files, nodes};

/// How long a node may take until it takes pods: 2 s on an idle machine.
const START_MAX: Duration = Duration::from_mins(2);
/// How long it may take to end by itself: the kernel kills its processes at once, its cgroups go a moment later.
const END_MAX: Duration = Duration::from_secs(15);

/// A control plane with one real node. Dropping it ends every process, mount, interface and cgroup of it.
///
/// The node has namespaces of its own (processes, mounts, network), see `tests/clusters/kubelet`. Pods reach this machine
/// at [`Node::host`], and this machine reaches pods by their addresses.
#[derive(Debug)]
pub struct Node {
    process: Option<Process>,
    folder: Option<TempDir>,
    block: Block,
    cluster: Cluster,
}

impl Node {
    /// Starts control plane and node, and waits until pods can run. The image `part` is there: a program that waits, or
    /// that fails when it is told to.
    ///
    /// # Errors
    /// This is not root, a program is missing, or a part did not come up; the error shows the end of its log.
    pub async fn start(name: &str) -> Result<Node> {
        ensure!(rustix::process::geteuid().is_root(), "a real node needs root");
        let programs = Programs::find();
        let (kubelet, system) = (programs.kubelet()?, programs.node_system()?);
        let block = Block::free()?;
        let options = Options { name: name.to_owned(), real: Some(block), ..Options::default() };
        let cluster = Cluster::start(options).await?;
        let folder = files::folder()?;
        let part = Image::build("part", folder.path()).await?;
        let of_this_machine = fs::read_to_string(cluster.kubeconfig_path()).context("read the kubeconfig")?;
        let of_the_node = of_this_machine.replace(&cluster.address(), &block.kubernetes().to_string());
        fs::write(folder.path().join("kubeconfig"), of_the_node).context("write the node's kubeconfig")?;
        let arguments = [
            "node".to_owned(),
            format!("--folder={}", folder.path().display()),
            format!("--name={name}"),
            format!("--block={}", block.prefix()),
            format!("--api={}", cluster.address()),
            format!("--system={}", system.display()),
            format!("--pause={}", part.reference),
        ];
        let process = Process::start(&kubelet, folder.path(), "node", arguments)?;
        let mut node = Node { process: Some(process), folder: Some(folder), block, cluster };
        node.wait_until_usable().await.with_context(|| format!("start a node; {}", node.logs()))?;
        node.import(&part).await?;
        Ok(node)
    }

    /// Its control plane.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// This machine, as pods see it.
    pub fn host(&self) -> Ipv4Addr {
        self.block.host()
    }

    /// Puts an image where pods find it.
    ///
    /// # Errors
    /// containerd does not take it.
    pub async fn import(&self, image: &Image) -> Result<()> {
        let program = Programs::find().node_system()?.join("usr/bin/ctr");
        let socket = self.path().join("run/containerd/containerd.sock");
        let output = Command::new(program)
            .args(["--address".as_ref(), socket.as_os_str()])
            .args(["--namespace", "k8s.io", "images", "import"])
            .arg(&image.archive)
            .output()
            .await
            .context("start ctr")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "import {}: {said}", image.reference);
        Ok(())
    }

    /// What the containers of a namespace wrote, file by file.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn pod_logs(&self, namespace: &str) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let pods = fs::read_dir(self.path().join("log/pods")).context("list the logs of pods")?;
        for pod in pods.collect::<Result<Vec<_>, _>>()? {
            if pod.file_name().to_string_lossy().starts_with(&format!("{namespace}_")) {
                for container in fs::read_dir(pod.path())? {
                    for file in fs::read_dir(container?.path())? {
                        found.push(file?.path());
                    }
                }
            }
        }
        Ok(found)
    }

    /// The node's folder, which names its processes.
    pub fn path(&self) -> &Path {
        self.folder.as_ref().map_or(Path::new(""), TempDir::path)
    }

    async fn wait_until_usable(&mut self) -> Result<()> {
        let client = self.cluster.client().await?;
        let process = self.process.as_mut().context("the node was not started")?;
        let usable = nodes::wait_until_usable(&client, 1, START_MAX);
        tokio::select! {
            usable = usable => usable,
            ended = ended(process) => ended,
        }
    }

    fn logs(&self) -> String {
        let tail = |name: &str| {
            let text = fs::read_to_string(self.path().join(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("{name}:\n{}\n", lines[lines.len().saturating_sub(10)..].join("\n"))
        };
        ["node.log", "containerd.log", "kubelet.log"].map(tail).concat()
    }
}

/// Waits until a process has ended, and says why.
async fn ended(process: &mut Process) -> Result<()> {
    loop {
        process.check_running()?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            process.end(END_MAX);
        }
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            eprintln!("the node's logs are in {}", folder.keep().display());
        }
    }
}
