//! The server's process: found, adopted, replaced, and what is said when that cannot be.

use std::os::unix::fs::PermissionsExt;
use taffrail_core::desired::Mark;

use bytes::Bytes;
use nkeys::KeyPair;
use taffrail_agent::bus::Bus as _;
use taffrail_hub::bus::Bus as _;
use taffrail_hub::nats::{Error, Keys, Managed, jwt};

use crate::ground::{Ground, kill, now, settings};

#[tokio::test]
async fn a_missing_program_says_what_to_install() {
    let directory = tempfile::tempdir().unwrap();
    let keys = Keys::open(directory.path()).unwrap();
    let mut settings = settings(directory.path().join("nats"), 0);
    settings.search = directory.path().display().to_string();
    let error = Managed::start(settings, &keys, now()).await.unwrap_err();
    assert!(matches!(error, Error::NoProgram { .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains("2.14") && said.contains("https://nats.io/download"), "{said}");
}

#[tokio::test]
async fn a_server_that_is_too_old_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("nats-server");
    std::fs::write(&program, "#!/bin/sh\necho nats-server: v2.9.10\n").unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let keys = Keys::open(directory.path()).unwrap();
    let mut settings = settings(directory.path().join("nats"), 0);
    settings.program = Some(program);
    let error = Managed::start(settings, &keys, now()).await.unwrap_err();
    assert!(matches!(&error, Error::TooOld { found } if found == "2.9.10"), "{error}");
}

#[tokio::test]
async fn a_port_that_another_server_has_is_refused() {
    let other = Ground::start().await;
    let directory = tempfile::tempdir().unwrap();
    let keys = Keys::open(directory.path()).unwrap();
    let settings = settings(directory.path().join("nats"), other.port);
    let error = Managed::start(settings, &keys, now()).await.unwrap_err();
    assert!(matches!(error, Error::Foreign { .. }), "{error}");
}

/// Starts a server in a runtime that then ends as a killed hub does: nobody looks after the server.
fn abandoned(ground: Ground) -> (Ground, u32) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut ground = runtime.block_on(async move {
        let mut ground = ground;
        ground.start_server().await;
        ground
    });
    let pid = ground.server.take().unwrap().state().borrow().pid;
    runtime.shutdown_background();
    (ground, pid)
}

#[test]
fn a_server_left_by_a_crash_is_adopted_and_kept_up() {
    let directory = tempfile::tempdir().unwrap();
    let keys = Keys::open(&directory.path().join("keys")).unwrap();
    let ground = Ground { directory, keys: keys.into(), server: None, port: 0 };
    let (mut ground, left) = abandoned(ground);
    tokio::runtime::Runtime::new().unwrap().block_on(async move {
        ground.start_server().await;
        let server = ground.server.take().unwrap();
        assert_eq!(server.state().borrow().pid, left, "the same process goes on");
        ground.hub().await.ensure().await.unwrap();
        kill(left);
        let fresh = crate::ground::until(server.state(), |server| server.up && server.restarts == 1).await;
        assert_ne!(fresh.pid, left, "an adopted server is kept up too");
        server.stop().await;
        assert!(tokio::net::TcpStream::connect(("127.0.0.1", ground.port)).await.is_err(), "stopped is gone");
    });
}

#[test]
fn a_server_left_with_other_settings_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let keys = Keys::open(&directory.path().join("keys")).unwrap();
    let ground = Ground { directory, keys: keys.into(), server: None, port: 0 };
    let (mut ground, left) = abandoned(ground);
    tokio::runtime::Runtime::new().unwrap().block_on(async move {
        let mut settings = settings(ground.directory.path().join("nats"), ground.port);
        settings.store_bytes_max *= 2;
        let server = Managed::start(settings, &ground.keys, now()).await.unwrap();
        assert_ne!(server.state().borrow().pid, left);
        ground.server = Some(server);
        ground.hub().await.ensure().await.unwrap();
    });
}

/// The credentials file of a user of the system account, as an operator of NATS hands it over.
fn system_credentials(ground: &Ground) -> String {
    let seed = std::fs::read_to_string(ground.directory.path().join("keys/system.nk")).unwrap();
    let account = KeyPair::from_seed(seed.trim()).unwrap();
    let user = KeyPair::new_user();
    let about = jwt::About { subject: &user.public_key(), name: "sys", at: now(), expires: None };
    let jwt = jwt::encode(&account, about, jwt::whole_user()).unwrap();
    let seed = user.seed().unwrap();
    format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         *** keep safe ***\n\n-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_uses_a_server_of_others_that_trusts_its_signing_key() {
    let mut ground = Ground::start().await;
    let home = ground.directory.path().to_owned();
    std::fs::write(home.join("system.creds"), system_credentials(&ground)).unwrap();
    let own = home.join("own");
    let signing = home.join("keys/operator-signing.nk");
    ground.keys = Keys::bootstrap(&own, &signing, &home.join("system.creds")).unwrap().into();
    let cluster = ground.cluster("one");
    let accounts = ground.accounts().await;
    accounts.push_hub(now()).await.unwrap();
    accounts.push(&cluster, now()).await.unwrap();
    let hub = ground.hub().await;
    hub.ensure().await.unwrap();
    hub.publish_index(&cluster.account, Bytes::from_static(b"index"), Some(0), Mark::default())
        .await
        .unwrap();
    assert_eq!(ground.agent(&cluster.account).await.index().await.unwrap().unwrap(), "index");

    let started = Managed::start(settings(home.join("other"), 0), &ground.keys, now()).await;
    assert!(matches!(started, Err(Error::NotOurServer)));
    let broken = Keys::bootstrap(&own, &signing, &signing).unwrap_err();
    assert!(matches!(broken, Error::NoCredential { .. }), "{broken}");
}
