//! Where the fetched and built programs are: the cache folder that `make setup` fills.

use std::env;
use std::path::PathBuf;

use anyhow::{Result, bail};

/// The folder of programs that `make setup` fills.
#[derive(Clone, Debug)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Looks where `scripts/env.sh` says: `TAFFRAIL_CACHE`, or `taffrail` in the user's cache folder.
    pub fn find() -> Self {
        let folder = |name| env::var_os(name).map(PathBuf::from);
        let user = || folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
        let cache =
            folder("TAFFRAIL_CACHE").or_else(|| user().map(|user| user.join("taffrail"))).unwrap_or_default();
        Self { folder: cache.join("bin") }
    }

    /// etcd and the Kubernetes servers in one program; an error says how to get it.
    pub fn control_plane(&self) -> Result<PathBuf> {
        self.get("control-plane")
    }

    /// The real kubelet, and the namespaces that a node lives in.
    pub fn kubelet(&self) -> Result<PathBuf> {
        self.get("kubelet")
    }

    /// The root below which containerd, runc and the CNI plugins were unpacked.
    pub fn node_system(&self) -> Result<PathBuf> {
        let system = self.folder.with_file_name("node");
        if !system.join("usr/bin/containerd").is_file() {
            bail!("containerd is not in {}: run `make setup` as root, with apt", system.display());
        }
        Ok(system)
    }

    /// The cache folder itself.
    pub(super) fn cache(&self) -> PathBuf {
        self.folder.parent().map(PathBuf::from).unwrap_or_default()
    }

    /// The fake kubelets.
    pub fn kwok(&self) -> Result<PathBuf> {
        self.get("kwok")
    }

    /// The message broker.
    pub fn nats_server(&self) -> Result<PathBuf> {
        self.get("nats-server")
    }

    /// The standalone kustomize.
    pub fn kustomize(&self) -> Result<PathBuf> {
        self.get("kustomize")
    }

    /// The kubectl of the cache, or else the machine's.
    pub fn kubectl(&self) -> Result<PathBuf> {
        let path = env::var_os("PATH").unwrap_or_default();
        let on_machine =
            || env::split_paths(&path).map(|folder| folder.join("kubectl")).find(|file| file.is_file());
        self.get("kubectl").or_else(|missing| on_machine().ok_or(missing))
    }

    fn get(&self, name: &str) -> Result<PathBuf> {
        let program = self.folder.join(name);
        if !program.is_file() {
            bail!("{name} is not in {}: run `make setup`", self.folder.display());
        }
        Ok(program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_says_how_to_get_it() {
        let programs = Programs { folder: PathBuf::from("/nowhere") };
        let error = programs.control_plane().unwrap_err().to_string();
        assert_eq!(error, "control-plane is not in /nowhere: run `make setup`");
    }
}
