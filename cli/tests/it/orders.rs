//! What reaches the hub, what never does, and how the process ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use crate::setup::{Hub, TOKEN, command};

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_come_from_files_that_nobody_else_can_read() {
    let hub = Hub::start().await;
    let file = hub.write("token", "hush\n");
    let path = file.to_str().unwrap();
    let output = hub.run(&["source", "add", "https://x/y.git", "--token-file", path]).await;
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let told = hub.fleet.told.lock().unwrap().pop().unwrap();
    assert!(told.contains("secret: \"hush\""), "{told}");

    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let output = hub.run(&["source", "add", "https://x/y.git", "--token-file", path]).await;
    assert_eq!(code(&output), 2);
    assert!(
        stderr(&output).contains("error[CLI-003]") && stderr(&output).contains("chmod 600"),
        "{}",
        stderr(&output)
    );

    let output = hub.run(&["source", "add", "https://x/y.git", "--token-file", "/nowhere/token"]).await;
    assert!(code(&output) == 2 && stderr(&output).contains("error[CLI-007]"), "{}", stderr(&output));
    let output = hub.run(&["source", "add", "https://x/y.git", "--username", "me"]).await;
    assert_eq!(code(&output), 2, "a user name needs a password");
    assert!(hub.fleet.told.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_confirmation_nothing_is_removed() {
    let hub = Hub::start().await;
    for words in [&["cluster", "remove", "eu-1"][..], &["source", "remove", "fleet"]] {
        let output = hub.run(words).await;
        assert!(code(&output) == 2 && stderr(&output).contains("error[CLI-008]"), "{}", stderr(&output));
    }
    assert!(hub.fleet.told.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_context_that_is_wrong_says_how_and_sends_nothing() {
    let hub = Hub::start().await;
    let good = hub.context(&hub.url, TOKEN);
    let port = hub.url.rsplit(':').next().unwrap();
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap().cert.pem();
    let foreign = Hub { ca: other, ..Hub::start().await };
    let cases = [
        ("wrong token", hub.context(&hub.url, "tat_wrong"), 4, "API-001"),
        ("no file", String::new(), 2, "CLI-001"),
        ("not YAML", "a: [".to_owned(), 2, "CLI-002"),
        ("unknown key", format!("{good}colour: red\n"), 2, "CLI-002"),
        ("another name", good.replace("current-context: lab", "current-context: shop"), 2, "CLI-004"),
        ("nobody there", hub.context("https://127.0.0.1:1", TOKEN), 21, "CLI-005"),
        ("another authority", foreign.context(&hub.url, TOKEN), 21, "CLI-005"),
        ("not TLS", hub.context(&format!("http://127.0.0.1:{port}"), TOKEN), 2, "CLI-006"),
        ("no token", good.replace(&format!("    token: {TOKEN}\n"), ""), 2, "CLI-002"),
    ];
    for (what, text, exit, number) in cases {
        let config = hub.write("other.yaml", &text);
        let output = command(&config, &["get", "clusters"]).output().await.unwrap();
        let said = stderr(&output);
        assert!(code(&output) == exit && said.starts_with(&format!("error[{number}]")), "{what}: {said}");
        assert!(!said.contains("tat_"), "{what}: a token is in {said}");
        assert!(output.stdout.is_empty(), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contexts_are_listed_and_chosen() {
    let hub = Hub::start().await;
    let second = hub.context(&hub.url, TOKEN).lines().skip(2).collect::<Vec<&str>>().join("\n");
    let both = format!(
        "{}{}\n",
        hub.context("https://127.0.0.1:1", TOKEN),
        second.replace("name: lab", "name: shop")
    );
    let config = hub.write("config.yaml", &both);
    assert_eq!(code(&hub.run(&["get", "clusters"]).await), 21);
    assert_eq!(code(&hub.run(&["get", "clusters", "--context", "shop"]).await), 0);
    assert_eq!(code(&hub.run(&["ctx", "use", "shop"]).await), 0);
    assert_eq!(code(&hub.run(&["get", "clusters"]).await), 0);
    let listed = String::from_utf8(hub.run(&["ctx", "list"]).await.stdout).unwrap();
    let star = listed.lines().find(|line| line.starts_with('*')).unwrap();
    assert!(star.contains("shop"), "{listed}");
    assert_eq!(code(&hub.run(&["ctx", "use", "mars"]).await), 2);

    let mut with_options = command(&config, &["get", "clusters"]);
    let output =
        with_options.env("TAFFRAIL_OPTS", "--context lab --request-timeout 2s").output().await.unwrap();
    assert_eq!(code(&output), 21, "TAFFRAIL_OPTS chose the hub that is not there");
    let mut overruled = command(&config, &["--context", "shop", "get", "clusters"]);
    let output = overruled.env("TAFFRAIL_OPTS", "--context lab").output().await.unwrap();
    assert_eq!(code(&output), 0, "the command line wins: {}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_ends_well_only_if_all_parts_work() {
    let hub = Hub::start().await;
    assert_eq!(code(&hub.run(&["check"]).await), 1);
    hub.fleet.recovered.send_replace(true);
    assert_eq!(code(&hub.run(&["check"]).await), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_shell_gets_a_script() {
    let hub = Hub::start().await;
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = hub.run(&["completion", shell]).await;
        assert!(code(&output) == 0 && output.stdout.len() > 1_000, "{shell}");
    }
    let output = hub.run(&["completion", "bash"]).await;
    let script = hub.write("completion.bash", &String::from_utf8(output.stdout).unwrap());
    // A bash that cannot read the script would print an error; `-n` reads without running.
    let read = tokio::process::Command::new("bash").arg("-n").arg(script).output().await.unwrap();
    assert!(read.status.success(), "{}", stderr(&read));
}
