//! `completion`: scripts for shells, which ask this command for live names.

use taffrail_proto::v1::{ListAppsRequest, ListClustersRequest};

use super::Session;
use crate::args;
use crate::error::{Error, Exit};
use crate::output::Out;

/// `completion`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  taffrail completion bash > ~/.local/share/bash-completion/completions/taffrail\n  \
    taffrail completion fish > ~/.config/fish/completions/taffrail.fish\n\n\
    bash and fish also offer the names of apps, clusters and sources."
)]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// `__complete`.
#[derive(Debug, clap::Args)]
pub struct NamesArgs {
    /// Of what
    #[arg(value_enum)]
    kind: Kind,
}

/// What has names.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Kind {
    /// Apps.
    Apps,
    /// Clusters.
    Clusters,
    /// Sources.
    Sources,
}

/// Adds live names to what the generated function offers.
const BASH_NAMES: &str = r#"
_taffrail_names() {
    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" kind=""
    _taffrail "$@"
    case "$word" in -*) return ;; esac
    case "$before" in
        --cluster) kind=clusters ;;
        --app | app | sync | approve | wait | history) kind=apps ;;
        --source | source | sources | allow) kind=sources ;;
        cluster | clusters | rename) kind=clusters ;;
        remove) [ "${COMP_WORDS[COMP_CWORD-2]}" = source ] && kind=sources || kind=clusters ;;
    esac
    if [ -n "$kind" ]; then
        COMPREPLY+=($(compgen -W "$(taffrail __complete "$kind" 2>/dev/null)" -- "$word"))
    fi
}
complete -F _taffrail_names -o bashdefault -o default taffrail
"#;

/// The same for fish.
const FISH_NAMES: &str = r#"
complete -c taffrail -n "__fish_seen_subcommand_from app sync approve wait history" -f -a "(taffrail __complete apps 2>/dev/null)"
complete -c taffrail -n "__fish_seen_subcommand_from rename clusters" -f -a "(taffrail __complete clusters 2>/dev/null)"
complete -c taffrail -n "__fish_seen_subcommand_from allow sources" -f -a "(taffrail __complete sources 2>/dev/null)"
complete -c taffrail -l cluster -x -a "(taffrail __complete clusters 2>/dev/null)"
"#;

/// Carries `completion` out.
///
/// # Errors
/// Nothing can be written.
pub fn run(args: &Args, out: &mut Out) -> Result<Exit, Error> {
    let mut script: Vec<u8> = Vec::new();
    clap_complete::generate(args.shell, &mut args::definition(), "taffrail", &mut script);
    out.raw(&String::from_utf8_lossy(&script))?;
    match args.shell {
        clap_complete::Shell::Bash => out.raw(BASH_NAMES)?,
        clap_complete::Shell::Fish => out.raw(FISH_NAMES)?,
        _ => {}
    }
    Ok(Exit::Ok)
}

/// Carries `__complete` out: names, one per line.
///
/// # Errors
/// The hub refuses, fails or cannot be reached.
pub async fn names(args: &NamesArgs, session: &mut Session<'_>) -> Result<Exit, Error> {
    let mut client = session.client().await?;
    let names: Vec<String> = match args.kind {
        Kind::Apps => {
            client.apps(ListAppsRequest::default()).await?.1.into_iter().map(|row| row.name).collect()
        }
        Kind::Clusters => {
            client.clusters(ListClustersRequest::default()).await?.1.into_iter().map(|row| row.name).collect()
        }
        Kind::Sources => client.sources("").await?.1.into_iter().map(|row| row.name).collect(),
    };
    names.iter().try_for_each(|name| session.out.line(name))?;
    Ok(Exit::Ok)
}
