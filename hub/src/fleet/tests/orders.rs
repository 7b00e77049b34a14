//! Orders that are carried out, and orders that are refused with a reason.

use super::house::{House, URL, app, cluster, declared};
use crate::api::service::{AppName, Command, Credential, Secret};
use taffrail_core::id::SourceName;

fn source(url: &str, path: &str, name: Option<&str>) -> Command {
    Command::AddSource {
        url: url.into(),
        path: path.into(),
        revision: String::new(),
        name: name.map(|name| SourceName::parse(name).unwrap()),
        credential: None,
    }
}

#[tokio::test]
async fn a_source_is_added_once_and_called_after_its_url() {
    let house = House::new().await;
    for (command, name, changed) in [
        (source(URL, "", None), "fleet", true),
        (source(URL, "./", None), "fleet", false),
        (source("https://GIT.example.com/team/fleet", "", None), "fleet", false),
        (source(URL, "env/", None), "fleet-2", true),
        (source("https://git.example.com/other/fleet", "", None), "fleet-3", true),
        (source(URL, "", Some("mine")), "mine", true),
    ] {
        let shown = format!("{command:?}");
        let outcome = house.give(command).await.unwrap();
        assert_eq!((outcome.name.as_str(), outcome.done.changed), (name, changed), "{shown}");
    }
}

#[tokio::test]
async fn wrong_orders_are_refused_with_a_code_and_change_nothing() {
    let house = House::new().await;
    house.add_source().await;
    house.join("paris").await;
    house.invite("rome").await;
    let before = *house.service.shown.borrow();
    let name = |text: &str| SourceName::parse(text).unwrap();
    for (command, code) in [
        (source("ssh://git@example.com/a", "", None), "API-003"),
        (source("git@example.com:a/b", "", None), "API-003"),
        (source("file:///tmp/a", "", None), "API-003"),
        (source(URL, "../up", None), "API-003"),
        (source(URL, "elsewhere", Some("fleet")), "API-004"),
        (Command::AllowSource { name: name("none") }, "API-002"),
        (Command::RemoveSource { name: name("none") }, "API-002"),
        (Command::RenameCluster { name: cluster("none"), new_name: cluster("x") }, "API-002"),
        (Command::RenameCluster { name: cluster("paris"), new_name: cluster("rome") }, "API-004"),
        (Command::RemoveCluster { name: cluster("rome"), cascade: true }, "API-005"),
        (Command::RemoveCluster { name: cluster("none"), cascade: false }, "API-002"),
        (Command::Sync { app: app("none"), clusters: vec![] }, "API-002"),
        (
            Command::Approve { app: app("none"), cluster: cluster("paris"), what: None, bundle: None },
            "API-002",
        ),
    ] {
        let shown = format!("{command:?}");
        let error = house.give(command).await.unwrap_err();
        assert_eq!(error.code(), code, "{shown}: {error:?}");
    }
    assert_eq!(*house.service.shown.borrow(), before);
}

#[tokio::test]
async fn a_login_lies_on_the_disk_before_the_source_is_followed_and_goes_with_it() {
    let house = House::new().await;
    let logins = || {
        let folder = std::fs::read_dir(house.folder.path().join("mirrors"));
        folder.map(|files| files.flatten().map(|file| file.path()).collect::<Vec<_>>()).unwrap_or_default()
    };
    let mut command = source(URL, "", None);
    if let Command::AddSource { credential, .. } = &mut command {
        *credential = Some(Credential::Token(Secret("hush".into())));
    }
    house.give(command).await.unwrap();
    let text = std::fs::read_to_string(&logins()[0]).unwrap();
    assert!(text.ends_with("hush"), "the token is kept beside the mirror");
    assert_eq!(house.source().await.credential, "token");
    house.give(Command::RemoveSource { name: SourceName::parse("fleet").unwrap() }).await.unwrap();
    assert_eq!(logins(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn an_app_of_two_sources_must_be_named_with_one() {
    let house = House::new().await;
    house.add_source().await;
    house.give(source(URL, "b", Some("other"))).await.unwrap();
    house.join("paris").await;
    house.push(1, true).await;
    house.read(1, "paris", vec![declared("api", false)]).await;
    house.read_of("other", 1, "paris", vec![declared("api", false)]).await;
    let sync = |name: AppName| Command::Sync { app: name, clusters: vec![] };
    let error = house.give(sync(app("api"))).await.unwrap_err();
    assert_eq!(error.code(), "API-003");
    let named = AppName { source: Some(SourceName::parse("fleet").unwrap()), ..app("api") };
    assert_eq!(house.give(sync(named)).await.unwrap().clusters, ["paris"]);
    let error = house
        .give(Command::Sync {
            app: AppName { source: Some(SourceName::parse("fleet").unwrap()), ..app("api") },
            clusters: vec![cluster("rome")],
        })
        .await
        .unwrap_err();
    assert_eq!(error.code(), "API-005", "not placed there");
}

#[tokio::test]
async fn a_cluster_is_emptied_before_it_leaves_if_that_is_asked_for() {
    let (mut house, joined) = super::rows::one_app(true).await;
    house.sealed(1, "apps/api").await;
    house.say(&joined, "fleet/api", |_| {}).await;
    house.give(Command::RemoveCluster { name: cluster("paris"), cascade: true }).await.unwrap();
    let row = house.instance("api", "paris").await;
    assert_eq!(row.withdrawn, "cascade");
    let kinds = super::questions::kinds(&house).await;
    assert!(!kinds.contains(&String::from("ClusterRemoved")), "{kinds:?}");
}
