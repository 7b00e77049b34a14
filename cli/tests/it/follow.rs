//! Commands that go on: `-w`, `-f`, `wait`.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::setup::Hub;

/// Longest wait for a line; it comes within a second or two.
const LIMIT: Duration = Duration::from_secs(30);

struct Running {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(hub: &Hub, words: &[&str]) -> Running {
        let mut child = hub.command(words).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { _child: child, lines }
    }

    async fn line(&mut self) -> String {
        tokio::time::timeout(LIMIT, self.lines.next_line()).await.unwrap().unwrap().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_list_shows_again_only_what_changed() {
    let hub = Hub::start().await;
    let mut running = Running::start(&hub, &["get", "app", "payments-api", "-w"]);
    let mut first: Vec<String> = Vec::new();
    for _ in 0..4 {
        first.push(running.line().await);
    }
    assert!(
        first[0].starts_with("CLUSTER") && first[3].starts_with("us-1") && first[3].contains("Failed"),
        "{first:?}"
    );
    hub.fleet.recovered.send_replace(true);
    let next = running.line().await;
    assert!(next.starts_with("us-1") && next.contains("Healthy"), "{next}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_followed_log_goes_on_where_the_past_ended() {
    let hub = Hub::start().await;
    let mut running = Running::start(&hub, &["log", "-f", "-n", "2", "-o", "json"]);
    let old = [running.line().await, running.line().await];
    assert!(old[0].contains("\"index\":41") && old[1].contains("\"index\":42"), "{old:?}");
    hub.fleet.tail.send_replace(43);
    let new = running.line().await;
    assert!(new.contains("\"index\":43") && new.contains("it came"), "{new}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_ends_when_it_is_so() {
    let hub = Hub::start().await;
    let words = ["wait", "payments-api", "--for=healthy", "--cluster", "us-1", "--timeout", "30s"];
    let mut running = Running::start(&hub, &words);
    hub.fleet.recovered.send_replace(true);
    assert_eq!(running.line().await, "app/payments-api is healthy on 1 cluster");
}
