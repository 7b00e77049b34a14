//! A cluster that is away catches up in one step.

use anyhow::{Result, ensure};
use serde_json::Value;
use taffrail_tests::harness::wait_for;
use taffrail_tests::tree::APP;

use taffrail_tests::harness::fleet::{BOUND, Fleet, tell};
use taffrail_tests::harness::live;

/// Commits that the cluster does not see.
const MISSED: usize = 20;

#[tokio::test]
async fn a_cluster_that_was_away_for_twenty_commits_catches_up_with_one_apply() {
    tell("distance", async |fleet| {
        fleet.first_delivery("payments-api:1.4.0").await?;
        let us = fleet.member("us-1");
        let config = live::config_map(&us.namespace, APP);
        let before = us.live.get(&config).await?;
        fleet.member_mut("us-1").agent.stop().await?;
        let last = fleet.hub.events(&[]).await?.last().map_or(Value::Null, |event| event["index"].clone());

        let mut head = String::new();
        for number in 1..=MISSED {
            let text = format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {APP}\ndata:\n  CURRENCIES: EUR\n  LOG_LEVEL: level-{number}\n"
            );
            head = fleet.push(&format!("commit {number}"), &[("apps/payments-api/base/config.yaml", text)]).await?;
            fleet.event(&["--kind", "CommitSeen", "--commit", &head], |_| true).await?;
        }
        for name in ["lab", "eu-1"] {
            fleet.instance(APP, name, "follows", |it| it["sync"] == "Synced" && it["runningCommit"] == head).await?;
        }
        let us = fleet.member("us-1");
        ensure!(live::version(&us.live.get(&config).await?) == live::version(&before), "written without an agent");

        fleet.member_mut("us-1").agent.restart()?;
        fleet.healthy(APP, &head).await?;
        it_was_one_step(fleet, &last, &head).await?;
        let us = fleet.member("us-1");
        let written = us.live.writes_since(&before).await?;
        ensure!(written.len() == 1, "{MISSED} commits became {} writes: {written:?}", written.len());
        ensure!(written[0]["data"]["LOG_LEVEL"] == format!("level-{MISSED}"), "{}", written[0]);
        Ok(())
    })
    .await;
}

/// What the agent said of the app since `after`: on its way, and there.
async fn it_was_one_step(fleet: &Fleet, after: &Value, head: &str) -> Result<()> {
    let after = after.to_string();
    let filter = ["--cluster", "us-1", "--app", APP, "--kind", "InstanceChanged", "--after", &after];
    let said = wait_for("the agent has said that it is there", BOUND, async || {
        let events = fleet.hub.events(&filter).await?;
        let there =
            |event: &Value| event["detail"]["phase"] == "Synced" && event["detail"]["health"] == "Healthy";
        Ok(events.last().is_some_and(there).then_some(events))
    });
    let said = said.await?;
    let mut phases: Vec<(&Value, &Value)> =
        said.iter().map(|it| (&it["detail"]["phase"], &it["detail"]["since"])).collect();
    phases.dedup();
    ensure!(phases.len() == 2 && phases[0].0 == "Syncing" && phases[1].0 == "Synced", "{phases:?}");
    ensure!(phases[0].1 == phases[1].1, "more than one index: {phases:?}");
    ensure!(said.iter().all(|event| event["commit"] == head), "an older commit was delivered: {said:?}");
    Ok(())
}
