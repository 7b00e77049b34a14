//! What each command writes, word for word. `UPDATE_GOLDEN=1` writes the files again; a person reads the difference.

use std::fs;
use std::path::Path;

use crate::setup::{Hub, transcript};

/// File, and the commands whose transcripts it holds.
const CASES: [(&str, &[&[&str]]); 11] = [
    (
        "get-clusters",
        &[
            &["get", "clusters"],
            &["get", "clusters", "-o", "wide"],
            &["get", "clusters", "-o", "name"],
            &["get", "clusters", "--no-headers"],
            &["get", "cluster", "eu-2", "-o", "json"],
            &["get", "clusters", "-o", "yaml"],
            &["get", "clusters", "mars"],
        ],
    ),
    (
        "get-apps",
        &[
            &["get", "apps"],
            &["get", "apps", "-o", "wide"],
            &["get", "apps", "--source", "none"],
            &["get", "apps", "-o", "tree"],
        ],
    ),
    (
        "get-app",
        &[
            &["get", "app", "payments-api"],
            &["get", "app", "payments-api", "-o", "wide"],
            &["get", "app", "payments-api", "-o", "tree"],
            &["get", "app", "orders", "-o", "json"],
            &["get", "app", "nothing"],
            &["get", "app", "old"],
        ],
    ),
    (
        "get-sources",
        &[&["get", "sources"], &["get", "sources", "-o", "wide"], &["get", "source", "fleet", "-o", "yaml"]],
    ),
    (
        "describe",
        &[&["describe", "app", "orders"], &["describe", "cluster", "eu-2"], &["describe", "source", "fleet"]],
    ),
    (
        "log",
        &[
            &["log"],
            &["log", "-n", "3", "-o", "wide"],
            &["log", "-n", "1", "-o", "json"],
            &["log", "-n", "0", "--no-headers"],
            &["log", "--from", "noon"],
        ],
    ),
    ("history", &[&["history", "payments-api"], &["history", "payments-api", "-o", "wide"]]),
    (
        "wait",
        &[
            &["wait", "payments-api", "--for=healthy", "--timeout", "0s"],
            &["wait", "payments-api", "--for=healthy", "--cluster", "eu-1"],
            &[
                "wait",
                "payments-api",
                "--for=synced",
                "--cluster",
                "eu-1",
                "--commit",
                "bad0",
                "--timeout",
                "10ms",
            ],
            &["wait", "orders", "--for=synced"],
            &["wait", "nothing", "--for=synced"],
            &["wait", "orders"],
        ],
    ),
    (
        "orders",
        &[
            &["sync", "payments-api", "--cluster", "eu-1", "--reason", "release 12"],
            &["sync", "payments-api", "-o", "json"],
            &["approve", "orders", "--cluster", "eu-1"],
            &["source", "add", "https://git.example.com/fleet.git"],
            &["source", "allow", "fleet", "-o", "name"],
            &["source", "remove", "fleet"],
            &["source", "remove", "fleet", "--yes"],
            &["cluster", "join", "lab", "--label", "region=eu"],
            &["cluster", "join", "eu-1"],
            &["cluster", "join", "lab", "--label", "a=1", "--label", "a=2"],
            &["cluster", "rename", "eu-1", "eu-9"],
            &["cluster", "remove", "eu-1"],
            &["cluster", "remove", "eu-1", "--yes", "--cascade"],
        ],
    ),
    ("check", &[&["check"], &["check", "-o", "json"]]),
    (
        "help",
        &[
            &["help", "exit-codes"],
            &["help"],
            &["help", "wait"],
            &["help", "nonsense"],
            &["get", "nonsense"],
            &["__complete", "apps"],
            &["__complete", "clusters"],
        ],
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_writes_what_its_golden_file_says() {
    let hub = Hub::start().await;
    let folder = Path::new("tests/golden");
    let mut differ: Vec<String> = Vec::new();
    for (name, commands) in CASES {
        let mut written = String::new();
        for words in commands {
            let output = hub.run(words).await;
            written.push_str(&transcript(words, &output));
            written.push('\n');
        }
        let path = folder.join(format!("{name}.txt"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &written).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if expected != written {
            differ.push(format!("=== {name}\n--- golden\n{expected}\n--- now\n{written}"));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
