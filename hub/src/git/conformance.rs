//! Promises of a mirror, checked on real repositories over `git http-backend` and over `file`.

use std::time::Duration;

use taffrail_core::id::CommitId;
use taffrail_testkit::githttp::{GitHttp, Manner, Work};

use super::{
    Address, Credentials, Error, GixMirror, Mirror, Mode, Remote, Secret, remote::Limits, url::FileUrls,
};

/// A server with one repository, and a mirror of it.
struct Stage {
    server: GitHttp,
    work: Work,
    folder: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("srv");
        let work = Work::create(&root, "app.git", &folder.path().join("work")).unwrap();
        Stage { server: GitHttp::start(&root).await.unwrap(), work, folder }
    }

    fn mirror(&self, credentials: Option<(&str, &str)>) -> GixMirror {
        self.mirror_of(&self.server.url("app.git"), credentials)
    }

    fn mirror_of(&self, url: &str, credentials: Option<(&str, &str)>) -> GixMirror {
        let url = Address::parse(url, FileUrls::Allowed).unwrap();
        let credentials = credentials.map(|(username, password)| Credentials {
            username: username.to_owned(),
            password: Secret::new(password),
        });
        let limits = Limits {
            connect: Duration::from_secs(2),
            look: Duration::from_secs(2),
            fetch: Duration::from_secs(20),
        };
        GixMirror::open(&self.folder.path().join("mirror"), Remote { url, credentials }, limits).unwrap()
    }

    fn publish(&self, message: &str, files: &[(&str, &str)]) -> CommitId {
        CommitId::parse(&self.work.publish(message, files).unwrap()).unwrap()
    }

    fn head(&self) -> CommitId {
        CommitId::parse(&self.work.git(&["rev-parse", "HEAD"]).unwrap()).unwrap()
    }
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

#[tokio::test]
async fn a_mirror_follows_more_pushes_than_it_could_hold_when_it_was_opened() {
    let stage = Stage::new().await;
    stage.publish("first", &[("a.yaml", "a: 0\n")]);
    let mirror = stage.mirror(None);
    for number in 1..=80 {
        let pushed = stage.publish("next", &[("a.yaml", &format!("a: {number}\n"))]);
        let found = mirror
            .advance(&["main".to_owned()])
            .await
            .unwrap_or_else(|error| panic!("{number}: {}", chain(&error)));
        assert_eq!(found["main"], Some(pushed), "{number}");
    }
}

#[tokio::test]
async fn a_lock_that_a_killed_hub_left_does_not_stop_its_mirror() {
    let stage = Stage::new().await;
    stage.publish("first", &[("a.yaml", "a: 1\n")]);
    stage.mirror(None).advance(&["HEAD".to_owned()]).await.unwrap();
    let refs = stage.folder.path().join("mirror/refs/taffrail");
    let mut left = 0;
    for name in std::fs::read_dir(&refs).unwrap().flatten().map(|entry| entry.path()) {
        std::fs::write(name.with_extension("lock"), "").unwrap();
        left += 1;
    }
    assert!(left > 0, "a mirror keeps a reference for each revision");
    let pushed = stage.publish("second", &[("a.yaml", "a: 2\n")]);
    assert_eq!(stage.mirror(None).advance(&["HEAD".to_owned()]).await.unwrap()["HEAD"], Some(pushed));
}

#[tokio::test]
async fn a_commit_travels_from_the_server_into_memory() {
    let stage = Stage::new().await;
    let first = stage.publish("First light\n\nBody.", &[("a/x.yaml", "x: 1\n"), ("b/y.yaml", "y: 1\n")]);
    let mirror = stage.mirror(None);
    assert_eq!(mirror.look("HEAD").await.unwrap(), Some(first.clone()));
    assert_eq!(mirror.look("main").await.unwrap(), Some(first.clone()));
    assert_eq!(mirror.look("").await.unwrap(), Some(first.clone()));
    assert!(mirror.meta(&first).await.is_err(), "looking transfers no objects");
    assert_eq!(mirror.fetch("main").await.unwrap(), first);
    let meta = mirror.meta(&first).await.unwrap();
    assert_eq!((meta.subject.as_str(), meta.author_name.as_str()), ("First light", "Ada Tester"));
    assert!(meta.parents.is_empty() && meta.committed_at.0 > 1_500_000_000_000, "{meta:?}");

    stage.work.git(&["rm", "-q", "b/y.yaml"]).unwrap();
    let second = stage.publish("Second", &[("a/x.yaml", "x: 2\n"), ("a/deep/z.yaml", "z: 1\n")]);
    assert_eq!(mirror.look("main").await.unwrap(), Some(second.clone()));
    assert_eq!(mirror.fetch("main").await.unwrap(), second);
    assert!(mirror.is_ancestor(&first, &second).await.unwrap());
    assert!(mirror.is_ancestor(&second, &second).await.unwrap());
    assert!(!mirror.is_ancestor(&second, &first).await.unwrap());
    let changed = mirror.changed_paths(&first, &second).await.unwrap();
    assert_eq!(changed, ["a/deep/z.yaml", "a/x.yaml", "b/y.yaml"]);
    assert!(mirror.changed_paths(&first, &first).await.unwrap().is_empty());
    let tree = mirror.read_tree(&second, "").await.unwrap();
    assert_eq!(tree.entries().keys().collect::<Vec<_>>(), ["a/deep/z.yaml", "a/x.yaml"]);
    assert_eq!(tree.load("a/x.yaml").unwrap().unwrap(), "x: 2\n");
    let part = mirror.read_tree(&second, "a/deep").await.unwrap();
    assert_eq!(part.entries().keys().collect::<Vec<_>>(), ["a/deep/z.yaml"]);
    assert!(matches!(mirror.read_tree(&second, "b").await, Err(Error::NoSuchPath { .. })));
    assert_ne!(mirror.oid_at(&first, "a").await.unwrap(), mirror.oid_at(&second, "a").await.unwrap());
    assert_eq!(mirror.oid_at(&second, "nowhere/x").await.unwrap(), None);
}

#[tokio::test]
async fn revisions_that_stand_still_cost_one_connection_and_new_ones_come_with_it() {
    let stage = Stage::new().await;
    let first = stage.publish("First", &[("x", "1")]);
    let mirror = stage.mirror(None);
    let revisions = ["HEAD", "main", "nowhere", first.as_str()].map(str::to_owned);
    let found = mirror.advance(&revisions).await.unwrap();
    let wanted = [Some(first.clone()), Some(first.clone()), None, Some(first.clone())];
    assert_eq!(revisions.iter().map(|name| found[name].clone()).collect::<Vec<_>>(), wanted);
    assert_eq!(mirror.meta(&first).await.unwrap().subject, "First", "what is new is local afterwards");

    let before = stage.server.seen().len();
    mirror.advance(&revisions).await.unwrap();
    let asked = stage.server.seen()[before..].to_vec();
    assert_eq!(asked.len(), 2, "an advertisement and one listing of references: {asked:?}");
    let second = stage.publish("Second", &[("x", "2")]);
    let found = mirror.advance(&revisions).await.unwrap();
    assert_eq!((&found["main"], &found[first.as_str()]), (&Some(second), &Some(first)));
}

#[tokio::test]
async fn a_rewritten_branch_is_no_descendant_and_the_old_commit_stays() {
    let stage = Stage::new().await;
    let base = stage.publish("Base", &[("x", "0")]);
    let old = stage.publish("Old", &[("x", "1")]);
    let mirror = stage.mirror(None);
    assert_eq!(mirror.fetch("main").await.unwrap(), old);
    stage.work.git(&["reset", "-q", "--hard", base.as_str()]).unwrap();
    stage.work.write("x", "2").unwrap();
    let new = CommitId::parse(&stage.work.commit("New").unwrap()).unwrap();
    stage.work.push("+main").unwrap();
    assert_eq!(mirror.fetch("main").await.unwrap(), new);
    assert!(!mirror.is_ancestor(&old, &new).await.unwrap());
    assert!(mirror.is_ancestor(&base, &new).await.unwrap());
    assert_eq!(mirror.read_tree(&old, "").await.unwrap().load("x").unwrap().unwrap(), "1");
}

#[tokio::test]
async fn histories_without_a_common_root_are_no_descendants() {
    let stage = Stage::new().await;
    let old = stage.publish("Old", &[("x", "1")]);
    let mirror = stage.mirror(None);
    mirror.fetch("main").await.unwrap();
    stage.work.git(&["checkout", "-q", "--orphan", "other"]).unwrap();
    let new = CommitId::parse(&stage.work.commit("Other").unwrap()).unwrap();
    stage.work.push("+other:main").unwrap();
    assert_eq!(mirror.fetch("main").await.unwrap(), new);
    assert!(!mirror.is_ancestor(&old, &new).await.unwrap());
}

#[tokio::test]
async fn branches_tags_and_commits_are_revisions() {
    let stage = Stage::new().await;
    let first = stage.publish("First", &[("x", "1")]);
    stage.work.git(&["tag", "plain"]).unwrap();
    stage.work.git(&["tag", "-a", "-m", "note", "noted"]).unwrap();
    let second = stage.publish("Second", &[("x", "2")]);
    stage.work.git(&["push", "-q", "origin", "plain", "noted", "main:release/1.0"]).unwrap();
    let mirror = stage.mirror(None);
    for (revision, wanted) in [
        ("plain", &first),
        ("noted", &first),
        ("release/1.0", &second),
        ("refs/heads/release/1.0", &second),
        ("refs/tags/noted", &first),
        (first.as_str(), &first),
    ] {
        assert_eq!(mirror.look(revision).await.unwrap().as_ref(), Some(wanted), "{revision}");
        assert_eq!(&mirror.fetch(revision).await.unwrap(), wanted, "{revision}");
    }
    for revision in ["a b", "-x", "a..b", "x^", "x~1", "@{1}", "a//b"] {
        assert!(matches!(mirror.look(revision).await, Err(Error::BadRevision { .. })), "{revision}");
    }
}

#[tokio::test]
async fn a_commit_can_be_fetched_alone() {
    let stage = Stage::new().await;
    let first = stage.publish("First", &[("x", "1")]);
    stage.publish("Second", &[("x", "2")]);
    let mirror = stage.mirror(None);
    assert_eq!(mirror.fetch(first.as_str()).await.unwrap(), first);
    let nowhere = "0123456789012345678901234567890123456789";
    assert!(mirror.fetch(nowhere).await.is_err());
}

#[tokio::test]
async fn a_deleted_branch_is_missing_and_never_empty() {
    let stage = Stage::new().await;
    let first = stage.publish("First", &[("x", "1")]);
    stage.work.push("main:gone").unwrap();
    let mirror = stage.mirror(None);
    assert_eq!(mirror.fetch("gone").await.unwrap(), first);
    stage.work.push(":gone").unwrap();
    assert_eq!(mirror.look("gone").await.unwrap(), None);
    assert!(matches!(mirror.fetch("gone").await, Err(Error::NoSuchRevision { .. })));
    assert!(mirror.read_tree(&first, "").await.is_ok(), "what was fetched stays");
}

#[tokio::test]
async fn an_empty_repository_has_no_head() {
    let stage = Stage::new().await;
    assert_eq!(stage.mirror(None).look("HEAD").await.unwrap(), None);
    assert_eq!(stage.mirror(None).look("main").await.unwrap(), None);
}

#[tokio::test]
async fn credentials_open_a_closed_server_and_stay_out_of_errors() {
    let stage = Stage::new().await;
    let first = stage.publish("First", &[("x", "1")]);
    let login = Some(("robot".to_owned(), "geheim".to_owned()));
    stage.server.set(Manner { login, ..Manner::default() });
    assert_eq!(stage.mirror(Some(("robot", "geheim"))).fetch("main").await.unwrap(), first);
    for credentials in [None, Some(("robot", "falsch-geraten"))] {
        let error = stage.mirror(credentials).look("main").await.unwrap_err();
        assert!(matches!(error, Error::Unauthorized { .. }), "{}", chain(&error));
        assert!(!chain(&error).contains("falsch-geraten"), "{}", chain(&error));
    }
}

#[tokio::test]
async fn credentials_never_follow_a_redirect() {
    let stage = Stage::new().await;
    stage.publish("First", &[("x", "1")]);
    let elsewhere = GitHttp::start(&stage.folder.path().join("srv")).await.unwrap();
    stage.server.set(Manner { redirect: Some(elsewhere.base()), ..Manner::default() });
    let error = stage.mirror(Some(("robot", "geheim"))).look("main").await.unwrap_err();
    assert!(!chain(&error).contains("geheim"), "{}", chain(&error));
    assert!(elsewhere.seen().iter().all(|request| !request.is_authorized), "{:?}", elsewhere.seen());
    assert!(
        stage.mirror(None).look("main").await.unwrap().is_some(),
        "without credentials one redirect is followed"
    );
}

#[tokio::test]
async fn a_server_that_fails_is_an_error_and_never_an_empty_answer() {
    let stage = Stage::new().await;
    stage.publish("First", &[("x", "1")]);
    let mirror = stage.mirror(None);
    for status in [403, 404, 429, 500, 503] {
        stage.server.set(Manner { status: Some(status), ..Manner::default() });
        let error = mirror.look("main").await.unwrap_err();
        assert!(error.is_transient(), "{status}: {}", chain(&error));
        assert!(chain(&error).contains(&status.to_string()), "{}", chain(&error));
    }
    stage.server.set(Manner { delay: Some(Duration::from_mins(1)), ..Manner::default() });
    let error = mirror.look("main").await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{}", chain(&error));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error() {
    let stage = Stage::new().await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mirror = stage.mirror_of(&format!("http://{free}/app.git"), None);
    let error = mirror.look("main").await.unwrap_err();
    assert!(matches!(error, Error::Network { .. }), "{}", chain(&error));
}

#[tokio::test]
async fn file_urls_work_where_they_are_allowed() {
    let stage = Stage::new().await;
    let first = stage.publish("First", &[("x", "1")]);
    let url = format!("file://{}", stage.folder.path().join("srv/app.git").display());
    let mirror = stage.mirror_of(&url, None);
    assert_eq!(mirror.look("main").await.unwrap(), Some(first.clone()));
    assert_eq!(mirror.look("nope").await.unwrap(), None);
    assert_eq!(mirror.fetch("HEAD").await.unwrap(), first);
    let missing = stage.mirror_of("file:///nowhere/at/all", None);
    assert!(missing.look("main").await.is_err());
}

#[tokio::test]
async fn modes_are_told_apart() {
    let stage = Stage::new().await;
    stage.work.write("run.sh", "#!/bin/sh\n").unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(stage.work.folder().join("run.sh"), executable).unwrap();
    std::os::unix::fs::symlink("../secret", stage.work.folder().join("link")).unwrap();
    stage.work.git(&["add", "--all"]).unwrap();
    let zeros = "1".repeat(40);
    stage.work.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{zeros},module")]).unwrap();
    stage.work.git(&["commit", "-q", "-m", "Modes"]).unwrap();
    stage.work.push("main").unwrap();
    let mirror = stage.mirror(None);
    let commit = mirror.fetch("main").await.unwrap();
    assert_eq!(commit, stage.head());
    let tree = mirror.read_tree(&commit, "").await.unwrap();
    let mode = |path: &str| tree.get(path).map(|entry| entry.mode);
    assert_eq!(mode("run.sh"), Some(Mode::Executable));
    assert_eq!(mode("link"), Some(Mode::Symlink));
    assert_eq!(mode("module"), Some(Mode::Submodule));
    assert_eq!(tree.load("link").unwrap().unwrap(), "../secret");
}

#[tokio::test]
async fn a_reopened_mirror_still_has_everything() {
    let stage = Stage::new().await;
    let first = stage.publish("First", &[("x", "1")]);
    stage.mirror(None).fetch("main").await.unwrap();
    stage.server.set(Manner { status: Some(503), ..Manner::default() });
    let again = stage.mirror(None);
    assert_eq!(again.read_tree(&first, "").await.unwrap().load("x").unwrap().unwrap(), "1");
    assert_eq!(again.fetch(first.as_str()).await.unwrap(), first, "a local commit needs no server");
}
