//! What is in each image, and how it is started.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::closure;
use super::layer::File;

/// The user of every image, without rights and without a name elsewhere: the one that the join YAML names.
pub(super) const USER: u64 = 65_532;
/// Certificate authorities of this machine, for Git over HTTPS.
const AUTHORITIES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];
/// Where the image has them.
const AUTHORITIES_INSIDE: &str = "etc/ssl/certs/ca-certificates.crt";
const PROGRAMS: &str = "usr/bin";

/// Where files come from.
pub(super) struct Places {
    /// The repository.
    pub(super) root: PathBuf,
    /// What cargo built.
    pub(super) built: PathBuf,
    /// What `scripts/setup.sh` got.
    pub(super) tools: Option<PathBuf>,
}

/// One image.
pub(super) struct Recipe {
    /// Its name after `taffrail/`.
    pub(super) name: String,
    /// Its tag: the version of the workspace.
    pub(super) tag: String,
    /// Programs, the one that is started first.
    programs: Vec<PathBuf>,
    /// Folders that the user may write to; with a root that cannot be written, volumes come there.
    folders: Vec<&'static str>,
    /// Whether it speaks to servers that the machine's authorities vouch for.
    authorities: bool,
    title: &'static str,
    /// Ports that it listens on.
    ports: &'static [&'static str],
}

impl Recipe {
    /// The recipe of that name.
    pub(super) fn find(name: &str, places: &Places) -> Result<Recipe> {
        let tag = version(&places.root)?;
        let built = |name: &str| existing(places.built.join(name), "cargo build");
        let tool = |name: &str| {
            let tools = places.tools.as_ref().context("TAFFRAIL_CACHE is not set: use make")?;
            existing(tools.join(name), "make setup")
        };
        let (programs, folders, title) = match name {
            "agent" => {
                (vec![built("taffrail-agent")?], vec!["var/lib/taffrail-agent", "tmp"], "Taffrail agent")
            }
            "hub" => (
                vec![built("taffrail-hub")?, tool("nats-server")?, tool("kustomize")?],
                vec!["var/lib/taffrail-hub", "tmp"],
                "Taffrail hub",
            ),
            "part" => (vec![tool("part")?], vec![], "A container of Taffrail's tests"),
            _ => bail!("there is no image {name}: agent, hub and part are known"),
        };
        let is_hub = name == "hub";
        Ok(Recipe {
            name: name.to_owned(),
            tag,
            programs,
            folders,
            authorities: is_hub,
            title,
            ports: if is_hub { &["8443/tcp", "4222/tcp"] } else { &[] },
        })
    }

    /// Name and tag.
    pub(super) fn reference(&self) -> String {
        format!("taffrail.dev/{}:{}", self.name, self.tag)
    }

    /// Everything in the image, by its path there.
    pub(super) fn files(&self) -> Result<Vec<File>> {
        let text = |path: &str, text: String| File::new(path, 0o644, text.into_bytes());
        let mut files = vec![
            text("etc/passwd", format!("taffrail:x:{USER}:{USER}:taffrail:/:/\n")),
            text("etc/group", format!("taffrail:x:{USER}:\n")),
            text("etc/nsswitch.conf", "hosts: files dns\n".to_owned()),
        ];
        for folder in &self.folders {
            files.push(File::folder(folder));
        }
        for program in &self.programs {
            let bytes = without_debug(program)?;
            files.push(File::new(&inside(program)?, 0o755, bytes));
        }
        files.extend(closure::libraries(&self.programs)?);
        if self.authorities {
            let path = AUTHORITIES.iter().find(|path| Path::new(path).exists());
            let path = path.context("find the certificate authorities of this machine")?;
            let bytes = fs::read(path).with_context(|| format!("read {path}"))?;
            files.push(File::new(AUTHORITIES_INSIDE, 0o644, bytes));
        }
        Ok(files)
    }

    /// How a container of the image is started.
    pub(super) fn settings(&self) -> Result<Value> {
        let first = self.programs.first().context("an image has a program")?;
        Ok(json!({
            "User": format!("{USER}:{USER}"),
            "Entrypoint": [format!("/{}", inside(first)?)],
            "Env": [format!("PATH=/{PROGRAMS}")],
            "WorkingDir": "/",
            "ExposedPorts": self.ports.iter().map(|port| (*port, json!({}))).collect::<BTreeMap<_, _>>(),
            "Labels": {
                "org.opencontainers.image.title": self.title,
                "org.opencontainers.image.version": self.tag,
                "org.opencontainers.image.licenses": "Apache-2.0",
            },
        }))
    }
}

fn inside(program: &Path) -> Result<String> {
    let name = program.file_name().and_then(|name| name.to_str()).context("a program has a name")?;
    Ok(format!("{PROGRAMS}/{name}"))
}

fn existing(path: PathBuf, how: &str) -> Result<PathBuf> {
    ensure!(path.is_file(), "{} is not there: {how}", path.display());
    Ok(path)
}

/// A program without what only a debugger reads, which is four fifths of it; names for backtraces stay.
fn without_debug(program: &Path) -> Result<Vec<u8>> {
    let stripped = tempfile::NamedTempFile::new().context("make a temporary file")?;
    let output =
        Command::new("strip").arg("--strip-debug").arg("-o").arg(stripped.path()).arg(program).output();
    let output = output.context("start strip")?;
    ensure!(
        output.status.success(),
        "strip {}: {}",
        program.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    fs::read(stripped.path()).context("read what strip left")
}

/// The version in the root manifest.
fn version(root: &Path) -> Result<String> {
    let path = root.join("Cargo.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("version = "));
    Ok(line.context("find the version of the workspace")?.trim_matches('"').to_owned())
}
