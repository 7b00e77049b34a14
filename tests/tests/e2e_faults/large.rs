//! Ten thousand objects in one app, on real control planes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use taffrail_tests::harness::apps::{App, config_map, roots};
use taffrail_tests::harness::fleet::{Fleet, Settings, tell_with};
use taffrail_tests::harness::{live, wait_for};

use super::{AGENTS, HUB};

/// The app.
const MANY: &str = "many";
/// Its objects on each cluster.
const OBJECTS: usize = 10_000;
/// Longest time for all of them on all clusters: three API servers share two cores with everything else.
const DELIVERED_MAX: Duration = Duration::from_mins(30);

#[tokio::test]
async fn ten_thousand_objects_are_delivered_and_a_change_of_one_writes_one() {
    let settings = Settings { hub: HUB, agents: AGENTS, ..Settings::default() };
    tell_with("large", settings, async |fleet| {
        let mut files = roots(fleet, &[App::automated(MANY)]);
        files.extend(all(fleet, "1"));
        let first = fleet.git.commit("very many objects", &files)?;
        fleet.hub.done(&["source", "add", &fleet.git.url()]).await?;
        delivered(fleet, &first).await?;
        let before = versions(fleet).await?;
        let second = fleet.push("one of them", &all(fleet, "2")).await?;
        delivered(fleet, &second).await?;
        let after = versions(fleet).await?;
        for (before, after) in before.iter().zip(&after) {
            ensure!(before[0] != after[0], "the object that changed was not written");
            ensure!(before[1..] == after[1..], "others were written: {before:?}, {after:?}");
        }
        let lab = fleet.member("lab");
        let path = live::config_map(&lab.namespace, "one-9999");
        lab.live.edit(&path, "kubectl-edit", &json!({"data": {"value": "by hand"}})).await?;
        lab.live.until(&path, "it is healed", |it| it["data"]["value"] == "same").await.map(drop)
    })
    .await;
}

/// The app's only file on each cluster; the first object has this value.
fn all(fleet: &Fleet, value: &str) -> Vec<(String, String)> {
    let of = |number: usize| if number == 0 { value } else { "same" };
    let documents = (0..OBJECTS).map(|number| config_map(&format!("one-{number}"), of(number)).to_string());
    let text = documents.collect::<Vec<_>>().join("\n---\n");
    let file = |name: &str| (format!("apps/{MANY}/{name}/all.yaml"), text.clone());
    fleet.members.iter().map(|member| file(member.name)).collect()
}

async fn delivered(fleet: &Fleet, commit: &str) -> Result<()> {
    wait_for("all objects are delivered", DELIVERED_MAX, async || {
        fleet.healthy(MANY, commit).await?;
        Ok(Some(()))
    })
    .await
}

/// The versions of some objects by cluster, the one that changes first.
async fn versions(fleet: &Fleet) -> Result<Vec<Vec<String>>> {
    let mut all = Vec::new();
    for member in &fleet.members {
        let mut versions = Vec::new();
        for number in (0..OBJECTS).step_by(OBJECTS / 10) {
            let path = live::config_map(&member.namespace, &format!("one-{number}"));
            versions.push(live::version(&member.live.get(&path).await.context("an object of many")?));
        }
        all.push(versions);
    }
    Ok(all)
}
