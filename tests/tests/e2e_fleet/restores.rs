//! The hub's disk is replaced by an older backup: it finds out, only reads, and takes over what its fleet holds.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use taffrail_tests::harness::wait_for;

use taffrail_tests::harness::apps::{App, config_map, everywhere, paths, roots};
use taffrail_tests::harness::fleet::{BOUND, Fleet, Settings, tell_with};
use taffrail_tests::harness::live;

/// The app that the backup knows.
const KNOWN: &str = "ledger";
/// The app that came after the backup.
const LATER: &str = "mail";
/// What agents say of a hub that only reads or misses events.
const MEANT: &[&str] =
    &["hub refused the events", "hub misses events that were receipted", "index of a restored hub waits"];

#[tokio::test]
async fn a_restored_hub_takes_over_what_its_fleet_holds_and_rolls_nothing_back() {
    let settings = Settings { meant: MEANT, ..Settings::default() };
    tell_with("restores", settings, async |fleet| {
        let mut files = roots(fleet, &[App::automated(KNOWN)]);
        files.extend(page(fleet, KNOWN, "front", "1"));
        files.extend(page(fleet, KNOWN, "back", "1"));
        let first = fleet.git.commit("first", &files)?;
        fleet.hub.done(&["source", "add", &fleet.git.url()]).await?;
        fleet.healthy(KNOWN, &first).await?;

        let (key, backup) = back_up(fleet).await.context("back up")?;
        let newest = two_more_commits(fleet, &first).await.context("after the backup")?;
        let before = objects(fleet).await?;

        fleet.hub.stop().await?;
        fs::remove_dir_all(fleet.hub.data_dir())?;
        copy(&backup, &fleet.hub.data_dir())?;
        it_only_reads(fleet).await.context("read-only")?;
        ensure!(objects(fleet).await? == before, "a hub that only reads changed something");

        fleet.hub.stop().await?;
        let other = fleet.folder.path().join("other.key");
        write_secret(&other, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")?;
        let refused = fleet.hub.program(&["restore", "--key", &text(&other)]).await;
        ensure!(refused.is_err_and(|error| error.to_string().contains("RESTORE-002")), "another key");
        let said = fleet.hub.program(&["restore", "--key", &text(&key)]).await?;
        ensure!(said.starts_with("Epoch 2 begins"), "{said}");
        fleet.hub.restart().await?;

        taken_over(fleet).await.context("adoption")?;
        for app in [KNOWN, LATER] {
            fleet.healthy(app, &newest[app]).await?;
        }
        ensure!(objects(fleet).await? == before, "something was written or deleted");
        let next = fleet.push("next", &page(fleet, KNOWN, "front", "next")).await?;
        fleet.healthy(KNOWN, &next).await?;
        for member in &fleet.members {
            let object = member.live.get(&live::config_map(&member.namespace, "front")).await?;
            ensure!(object["data"]["value"] == "next", "{}: {object}", member.name);
        }
        Ok(())
    })
    .await;
}

fn page(fleet: &Fleet, app: &str, name: &str, value: &str) -> Vec<(String, String)> {
    everywhere(fleet, app, &config_map(name, value))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Moves the restore key away, as the hub advises, and copies its folder while it does not run.
async fn back_up(fleet: &mut Fleet) -> Result<(std::path::PathBuf, std::path::PathBuf)> {
    fleet.hub.stop().await?;
    let (key, backup) = (fleet.folder.path().join("offline.key"), fleet.folder.path().join("backup"));
    fs::rename(fleet.hub.data_dir().join("restore.key"), &key).context("move the key away")?;
    copy(&fleet.hub.data_dir(), &backup)?;
    fleet.hub.restart().await?;
    ensure!(!fleet.hub.data_dir().join("restore.key").exists(), "no second key is made");
    Ok((key, backup))
}

/// Copies a folder with everything in it, modes too.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn write_secret(path: &Path, content: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, content)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).context("protect a key")
}

/// A value changes, an object goes, and an app comes: the newest commit of each app.
async fn two_more_commits(
    fleet: &Fleet,
    first: &str,
) -> Result<std::collections::BTreeMap<&'static str, String>> {
    fleet.push("second", &page(fleet, KNOWN, "front", "2")).await?;
    let changed = fleet.push_without("third", &paths(fleet, KNOWN, "configmap-back")).await?;
    ensure!(changed != first);
    for member in &fleet.members {
        member.live.until_gone(&live::config_map(&member.namespace, "back")).await?;
    }
    fleet.healthy(KNOWN, &changed).await?;
    let mut files = roots(fleet, &[App::automated(KNOWN), App::automated(LATER)]);
    files.extend(page(fleet, LATER, "inbox", "1"));
    let added = fleet.push("fourth", &files).await?;
    fleet.healthy(LATER, &added).await?;
    Ok([(KNOWN, changed), (LATER, added)].into())
}

/// Uid and version of every object of both apps, and who is gone.
async fn objects(fleet: &Fleet) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for member in &fleet.members {
        for name in ["front", "back", "inbox"] {
            let object = member.live.find(&live::config_map(&member.namespace, name)).await?;
            found.push(object.map_or_else(|| format!("no {name}"), |object| live::version(&object)));
        }
    }
    Ok(found)
}

/// The restored hub is shown what it signed, and says so wherever it is asked.
async fn it_only_reads(fleet: &mut Fleet) -> Result<()> {
    fleet.hub.begin()?;
    let found = wait_for("the hub only reads", BOUND, async || {
        let (status, text) = fleet.hub.get("/readyz?verbose").await?;
        ensure!(status == 503 && text.contains("[-] epoch: Read-only"), "{status} {text}");
        Ok(Some(()))
    });
    found.await?;
    let check = fleet.hub.cli(&["check"]).await?;
    ensure!(check.code != 0 && check.stdout.contains("taffrail-hub restore"), "{check:?}");
    let refused = fleet.hub.cli(&["sync", KNOWN]).await?;
    ensure!(refused.code != 0 && refused.stderr.contains("API-009"), "{refused:?}");
    let metric = wait_for("the metric says so", BOUND, async || {
        let (_, text) = fleet.hub.get("/metrics").await?;
        ensure!(text.contains("taffrail_hub_read_only 1"), "{text}");
        Ok(Some(()))
    });
    metric.await?;
    let behind = fleet.hub.events(&["--kind", "LogBehind"]).await?;
    ensure!(behind.len() == 1, "{behind:?}");
    Ok(())
}

/// Every cluster was adopted, and what the backup does not have is named.
async fn taken_over(fleet: &Fleet) -> Result<()> {
    for member in &fleet.members {
        let adopted = fleet.event(&["--kind", "ClusterAdopted", "--cluster", member.name], |_| true).await?;
        ensure!(adopted["detail"]["changes"].to_string().contains(LATER), "{adopted}");
        let lost = fleet.event(&["--kind", "EventsLost", "--cluster", member.name], |_| true).await?;
        let seq = |end: &str| lost["detail"][end]["seq"].as_u64().unwrap_or_default();
        let known = fleet.hub.events(&["--cluster", member.name]).await?;
        let index = lost["index"].as_u64();
        let earlier = known.iter().filter(|event: &&Value| event["index"].as_u64() < index);
        let newest = earlier.filter_map(|event| event["seq"].as_u64()).max();
        ensure!(newest == Some(seq("first") - 1) && seq("first") <= seq("last"), "{lost} after {newest:?}");
    }
    let raised = fleet.hub.events(&["--kind", "EpochRaised"]).await?;
    ensure!(raised.len() == 1 && raised[0]["detail"]["epoch"] == 2, "{raised:?}");
    wait_for("check has nothing to say", BOUND, async || {
        let check = fleet.hub.cli(&["check"]).await?;
        ensure!(check.stdout.contains("Epoch 2."), "{check:?}");
        Ok(Some(()))
    })
    .await
}
