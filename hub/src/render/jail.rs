//! The jail: the hub starts itself with `render-jail`, closes files and network around itself, and becomes the renderer.

use std::{
    convert::Infallible,
    ffi::OsString,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    Scope, path_beneath_rules,
};
use rustix::process::{Rlimit, setrlimit};

use super::{Settings, child};

/// Name of the sub-command of the hub.
pub const COMMAND: &str = "render-jail";
/// What the system's loader needs for programs that are not linked statically.
const LIBRARIES: [&str; 5] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"];

/// How renderers are started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Jail {
    /// Through this program, the hub itself, which must answer to [`COMMAND`].
    Program(PathBuf),
    /// Directly, with limits but without closing files and network; for tests of other parts.
    Off,
}

impl Jail {
    /// The running hub as its own jail.
    ///
    /// # Errors
    /// If the system does not tell where the running program lies.
    pub fn here() -> std::io::Result<Jail> {
        std::env::current_exe().map(Jail::Program)
    }
}

/// Arguments that make the hub the jail of the renderer in `settings`, which may read `root`.
pub(super) fn arguments(settings: &Settings, root: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec![COMMAND.into()];
    arguments.push(settings.memory_bytes_max.to_string().into());
    arguments.push(settings.time_limit.as_secs().to_string().into());
    arguments.push(root.into());
    arguments.push(settings.kustomize.clone().into());
    arguments
}

/// Becomes the renderer: `MEMORY_BYTES CPU_SECONDS ROOT PROGRAM [ARGUMENT..]` follow the name of the sub-command.
///
/// Returns only if that failed, with the reason on standard error.
pub fn become_renderer(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let error = match enter(&arguments.into_iter().collect::<Vec<_>>()) {
        Err(error) => error,
        Ok(never) => match never {},
    };
    // The parent reads this as the renderer's message; if even that fails nobody is left to tell.
    drop(writeln!(std::io::stderr(), "render jail: {error}"));
    ExitCode::from(126)
}

fn enter(arguments: &[OsString]) -> Result<Infallible, Box<dyn std::error::Error>> {
    let [memory, cpu, root, program, rest @ ..] = arguments else {
        return Err("MEMORY_BYTES CPU_SECONDS ROOT PROGRAM are needed".into());
    };
    let number =
        |text: &OsString| text.to_str().and_then(|text| text.parse::<u64>().ok()).ok_or("not a number");
    let (memory, cpu) = (number(memory)?, number(cpu)?);
    close(Path::new(root), Path::new(program))?;
    for (resource, value) in child::limits(memory, cpu) {
        setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })?;
    }
    Err(Command::new(program).args(rest).env_clear().exec().into())
}

/// Leaves `root`, the program and the libraries to read, and no network. A kernel without Landlock closes less: the
/// refusals before the start and the limits still hold.
fn close(root: &Path, program: &Path) -> Result<(), landlock::RulesetError> {
    let (files, net) = (AccessFs::from_all(ABI::V5), AccessNet::from_all(ABI::V4));
    let read = AccessFs::from_read(ABI::V5);
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(files)?
        .handle_access(net)?
        .scope(Scope::from_all(ABI::V6))?
        .create()?
        .add_rules(path_beneath_rules([root], AccessFs::ReadFile | AccessFs::ReadDir))?
        .add_rules(path_beneath_rules([program], read))?
        .add_rules(path_beneath_rules(LIBRARIES, read))?
        .restrict_self()?;
    Ok(())
}
