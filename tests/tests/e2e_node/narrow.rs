//! Rights in two namespaces: all that the agent needs there, and nothing outside.

use anyhow::{Result, ensure};
use serde_json::Value;
use taffrail_tests::harness::wait_for;

use super::ground::{BOUND, Ground, PART, root, with_ground, workload};
use super::rights;

const NAMESPACES: [&str; 2] = ["shop", "pay"];

#[tokio::test]
async fn an_agent_for_two_namespaces_delivers_and_heals_in_both() {
    with_ground("narrow", async |ground| {
        for namespace in NAMESPACES {
            ground.kubectl(&["create", "namespace", namespace], "").await?;
        }
        let first = ground.git.commit("first", &files(ground))?;
        ground.follow().await?;
        ground.install(&["--rights", "namespaces=shop,pay"]).await?;
        ground.agent("").await?;
        rights::of_the_agent(ground).await?;
        rights::of_an_applier_in(ground, &NAMESPACES).await?;
        for namespace in NAMESPACES {
            ground.healthy(namespace, &first).await?;
        }
        for namespace in NAMESPACES {
            drift_is_healed(ground, namespace).await?;
        }
        ground.audit().await
    })
    .await;
}

/// An app for each namespace, of the same name.
fn files(ground: &Ground) -> Vec<(String, String)> {
    let apps = NAMESPACES.map(|namespace| (namespace, namespace));
    let mut files = root(&ground.git.url(), &apps);
    files.extend(NAMESPACES.map(|app| workload(app, 1, "1", &format!("image: '{PART}'"))));
    for (_, text) in &mut files {
        // Its namespaces are there, and it could not make one.
        *text = text.replace("[CreateNamespace=true]", "[]");
    }
    files
}

async fn drift_is_healed(ground: &Ground, app: &str) -> Result<()> {
    let scale = ["scale", "deployment", app, "-n", app, "--replicas=0"];
    ground.kubectl(&scale, "").await?;
    let what = format!("drift of {app} is healed");
    let event = wait_for(&what, BOUND, async || {
        let events = ground.hub.events(&["--kind", "DriftHealed", "--app", app]).await?;
        Ok(events.into_iter().next())
    });
    let event: Value = event.await?;
    ensure!(event.to_string().contains(".spec.replicas"), "{event}");
    let read = ["get", "deployment", app, "-n", app, "-o", "jsonpath={.spec.replicas}"];
    ensure!(ground.kubectl(&read, "").await? == "1", "{app} is not as Git says");
    Ok(())
}
