//! The hub's image: it runs without rights, on a root that cannot be written.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use taffrail_tests::cluster::Image;
use taffrail_tests::harness::wait_for;

use super::ground::{BOUND, Ground, is_ready, with_ground};

#[tokio::test]
async fn a_hub_runs_from_its_image_without_rights_and_with_a_read_only_root() {
    with_ground("images", async |ground| {
        let hub = Image::build("hub", ground.folder.path()).await?;
        ground.node.import(&hub).await?;
        std::fs::remove_file(&hub.archive).context("remove the archive")?;
        run(ground, &hub.reference).await
    })
    .await;
}

async fn run(ground: &Ground, image: &str) -> Result<()> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "hub", "labels": {"app": "hub"}},
        "spec": {
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsNonRoot": true, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "hub", "image": image,
                "env": [{"name": "TAFFRAIL_HUB_ADMIN_CONTEXT_FILE", "value": "/var/lib/taffrail-hub/context.yaml"}],
                "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8443, "scheme": "HTTPS"}, "periodSeconds": 1},
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [
                    {"name": "data", "mountPath": "/var/lib/taffrail-hub"}, {"name": "scratch", "mountPath": "/tmp"},
                ],
            }],
            "volumes": [{"name": "data", "emptyDir": {}}, {"name": "scratch", "emptyDir": {}}],
        },
    });
    ground.kubectl(&["apply", "-f", "-"], &pod.to_string()).await?;
    let ready = wait_for("the hub's pod is ready", BOUND, async || {
        let pod = ground.pods("default").get("hub").await?;
        ensure!(is_ready(&pod), "it is {}", serde_json::to_string(&pod.status)?);
        Ok(Some(()))
    });
    if let Err(error) = ready.await {
        let logs = ground.node.pod_logs("default")?;
        let said: Vec<String> = logs.iter().filter_map(|log| std::fs::read_to_string(log).ok()).collect();
        return Err(error.context(said.join("\n")));
    }
    Ok(())
}
