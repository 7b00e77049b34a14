//! What must hold at the end of every story, whatever happened in it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use taffrail_tests::harness::wait_for;

use super::fleet::{BOUND, Fleet};

/// Every agent's events are in the log once and without a gap, and no part of the hub complains.
pub(crate) async fn audit(fleet: &Fleet) -> Result<()> {
    wait_for("no event waits in an outbox", BOUND, async || {
        let clusters = fleet.hub.json(&["get", "clusters"]).await?;
        let rows = clusters["items"].as_array().context("clusters are a list")?;
        Ok(rows.iter().all(|row| row["outbox"] == 0).then_some(()))
    })
    .await?;
    let events = fleet.hub.events(&[]).await?;
    each_once(&events)?;
    for (position, event) in events.iter().enumerate() {
        ensure!(event["index"] == position + 1, "the log has no event {}", position + 1);
    }
    let check = fleet.hub.cli(&["check", "-o", "json"]).await?;
    ensure!(check.code == 0, "taffrail check: {}{}", check.stdout, check.stderr);
    Ok(())
}

/// Numbers count from 1 without gap and double, for each cluster and incarnation, in the order of the log.
pub(crate) fn each_once(events: &[Value]) -> Result<()> {
    let mut last: BTreeMap<(String, u64), u64> = BTreeMap::new();
    for event in events.iter().filter(|event| event["seq"] != 0) {
        let (Some(cluster), Some(incarnation), Some(seq)) =
            (event["cluster"].as_str(), event["incarnation"].as_u64(), event["seq"].as_u64())
        else {
            anyhow::bail!("an agent's event without cluster, incarnation or number: {event}")
        };
        let last = last.entry((cluster.to_owned(), incarnation)).or_default();
        ensure!(seq == *last + 1, "{cluster} (incarnation {incarnation}): {seq} follows {last} in the log");
        *last = seq;
    }
    ensure!(!last.is_empty(), "no agent has said anything");
    Ok(())
}
