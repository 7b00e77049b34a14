//! What must hold at the end of every story, whatever happened in it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::fleet::{BOUND, Fleet, Member};
use super::{Chains, each_once, in_order, wait_for};

/// The one error that any story may cause on purpose.
const MEANT: &str = "nats-server ended, will be started again";

/// Every event that an agent counted is in the log once and in order, no index has a mark twice, no part of the hub
/// complains, and no program wrote of an error.
///
/// # Errors
/// What does not hold.
pub async fn audit(fleet: &Fleet) -> Result<()> {
    let (stay, gone): (Vec<&Member>, Vec<&Member>) = {
        let removed = fleet.hub.events(&["--kind", "ClusterRemoved"]).await?;
        let is_gone = |member: &&Member| removed.iter().any(|event| event["cluster"] == member.name);
        fleet.members.iter().partition(|member| !is_gone(member))
    };
    for member in &stay {
        each_is_logged(fleet, member).await?;
    }
    let events = fleet.hub.events(&[]).await?;
    let chains = in_order(&events)?;
    for member in &gone {
        // One that was emptied first is let go after its last word. To one that was cut off a receipt is a promise, too.
        let of = |event: &&Value| event["kind"] == "ClusterLeaving" && event["cluster"] == member.name;
        let emptied = events.iter().any(|event| of(&event));
        let stated = member.agent.metric(if emptied { "events" } else { "events_receipted" }).await?;
        let logged = newest(&chains, member.name)?;
        ensure!(stated <= logged, "{} counts {stated} events, the log has {logged}", member.name);
    }
    let check = fleet.hub.cli(&["check", "-o", "json"]).await?;
    ensure!(check.code == 0, "taffrail check: {}{}", check.stdout, check.stderr);
    // A cluster that was removed is shut out, and its agent may say so.
    for log in stay.iter().map(|member| member.agent.log_file()).chain([fleet.hub.log_file()]) {
        let text = fs::read_to_string(&log).with_context(|| format!("read {}", log.display()))?;
        let meant = |line: &str| fleet.settings.meant.iter().chain([&MEANT]).any(|it| line.contains(it));
        let is_bad = |line: &&str| line.contains("panicked at") || (line.contains("ERROR") && !meant(line));
        let bad = text.lines().find(is_bad);
        ensure!(bad.is_none(), "{}: {}", log.display(), bad.unwrap_or_default());
    }
    Ok(())
}

/// Waits until an agent holds a receipt for each event that it counted, and the log holds as many and no more.
async fn each_is_logged(fleet: &Fleet, member: &Member) -> Result<()> {
    let what = format!("{} has a receipt for each event", member.name);
    wait_for(&what, BOUND, async || {
        let stated = member.agent.metric("events").await?;
        let receipted = member.agent.metric("events_receipted").await?;
        ensure!(stated == receipted, "{stated} events, {receipted} of them with a receipt");
        let logged = newest(&each_once(&fleet.hub.events(&["--cluster", member.name]).await?)?, member.name)?;
        ensure!(logged == stated, "{stated} events, {logged} of them in the log");
        Ok(Some(()))
    })
    .await
}

/// How many events of a cluster's newest journal are in the log.
fn newest(chains: &Chains, cluster: &str) -> Result<u64> {
    let newest = chains.iter().rfind(|((name, _), _)| name == cluster);
    newest.map(|(_, last)| *last).with_context(|| format!("{cluster} has no event in the log"))
}

/// No process has a file of this folder on its command line any more.
///
/// # Errors
/// Somebody is, after the bound.
pub async fn nobody_is_left(folder: &Path) -> Result<()> {
    let folder = folder.to_string_lossy().into_owned();
    wait_for("every process of the fleet has ended", BOUND, async || {
        for entry in fs::read_dir("/proc")?.flatten() {
            // A process that ends while it is looked at has no command line.
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command);
            ensure!(!command.contains(&folder), "{} runs", command.replace('\0', " "));
        }
        Ok(Some(()))
    })
    .await
}
