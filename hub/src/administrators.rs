//! Who may order: the keyring, and the first administrator's context.

use crate::api::auth::Keyring;
use crate::api::context;
use crate::config::Config;
use anyhow::Context as _;
use std::path::{Path, PathBuf};

/// Opens the keyring; at the first start the administrator's context is put where the CLI finds it, and said.
pub(crate) fn open(config: &Config, ca_pem: &str) -> anyhow::Result<Keyring> {
    let opened = Keyring::open(&config.data_dir.join("tokens.json"))?;
    if let Some(token) = &opened.fresh {
        let path = config
            .admin_context
            .clone()
            .or_else(cli_context)
            .context("find a place for the administrator's context: set admin.context-file")?;
        write_context(&path, config, ca_pem, token)?;
        tracing::info!(path = %path.display(), "administrator's context written: `taffrail check` uses it");
    }
    Ok(opened.keyring)
}

fn write_context(
    path: &Path,
    config: &Config,
    ca_pem: &str,
    token: &crate::api::service::Secret,
) -> anyhow::Result<()> {
    let name = config.names.first().map_or("hub", String::as_str);
    context::write(path, &context::Context { name, hub: &config.url, ca: ca_pem, token })?;
    Ok(())
}

/// Where the CLI of this user looks.
fn cli_context() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let base = base.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")))?;
    Some(base.join("taffrail").join("config.yaml"))
}
