//! One etcd, shared by the clusters that were started together, and copies of what it has.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::process::Process;
use super::programs::Programs;
use super::{files, ports};

/// Where etcd keeps what it has, in its folder.
const DATA: &str = "data";

#[derive(Debug)]
pub(super) struct Etcd {
    port: u16,
    program: PathBuf,
    arguments: Vec<String>,
    process: Option<Process>,
    folder: TempDir,
}

/// A copy of what an etcd had.
#[derive(Debug)]
pub struct Backup(TempDir);

impl Etcd {
    /// A new one that runs.
    pub(super) fn new(programs: &Programs) -> Result<Self> {
        let folder = files::folder()?;
        let port = ports::free()?;
        let clients = format!("http://127.0.0.1:{port}");
        let peers = format!("http://127.0.0.1:{}", ports::free()?);
        let arguments = vec![
            "etcd".to_owned(),
            format!("--data-dir={DATA}"),
            "--unsafe-no-fsync".to_owned(), // nobody's data; only a benchmark of durability would mind
            "--log-level=warn".to_owned(),
            format!("--listen-client-urls={clients}"),
            format!("--advertise-client-urls={clients}"),
            format!("--listen-peer-urls={peers}"),
            format!("--initial-advertise-peer-urls={peers}"),
            format!("--initial-cluster=default={peers}"),
        ];
        let mut etcd = Self { port, program: programs.control_plane()?, arguments, process: None, folder };
        etcd.start()?;
        Ok(etcd)
    }

    /// Where API servers reach it.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Its process, while it runs.
    pub(super) fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Starts it with what it has.
    pub(super) fn start(&mut self) -> Result<()> {
        self.process = Some(Process::start(&self.program, self.folder.path(), "etcd", &self.arguments)?);
        Ok(())
    }

    /// Ends it and waits for its end.
    pub(super) fn stop(&mut self) {
        self.process = None;
    }

    /// A copy of what it has. It must not run.
    pub(super) fn copy(&self) -> Result<Backup> {
        let backup = files::folder()?;
        copy(&self.folder.path().join(DATA), &backup.path().join(DATA))?;
        Ok(Backup(backup))
    }

    /// Puts a copy in the place of what it has. It must not run.
    pub(super) fn replace(&self, backup: &Backup) -> Result<()> {
        let data = self.folder.path().join(DATA);
        fs::remove_dir_all(&data).context("remove etcd's data")?;
        copy(&backup.0.path().join(DATA), &data)
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target).context("copy a file of etcd")?;
        }
    }
    Ok(())
}
