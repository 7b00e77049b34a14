//! Rules about `Cargo.toml` files: which package uses which, and features that are never turned on.

use super::Finding;
use super::tables::{DEV_EDGES, EDGES};

const PREFIX: &str = "taffrail-";

/// Packages depend on each other only along the edges of the table.
pub(super) fn edges(path: &str, body: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let folder = path.strip_suffix("/Cargo.toml").unwrap_or_default();
    // The root manifest lists the packages; it uses none.
    if folder.is_empty() {
        return findings;
    }
    let Some((_, _, allowed)) = EDGES.iter().find(|(home, _, _)| *home == folder) else {
        let advice = "not in the table of packages: a new package is a new layer, decide it there first";
        return vec![Finding::new(path, 1, "edge", "", advice)];
    };
    let mut section = "";
    for (index, line) in body.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']');
        }
        let Some(used) = dependency(section, line) else { continue };
        let for_tests = section.starts_with("dev-dependencies") && DEV_EDGES.contains(&used);
        if !allowed.contains(&used) && !for_tests {
            let advice = format!(
                "{folder} may use {}",
                if allowed.is_empty() { "none".into() } else { allowed.join(", ") }
            );
            findings.push(Finding::new(path, index + 1, "edge", used, advice));
        }
    }
    findings
}

/// The package of ours that a line of a manifest depends on.
fn dependency<'a>(section: &str, line: &'a str) -> Option<&'a str> {
    let is_table = line.starts_with('[') && line.contains("dependencies.");
    let entry = if is_table { line.trim_matches(['[', ']']).rsplit('.').next()? } else { line };
    if !is_table && !section.ends_with("dependencies") {
        return None;
    }
    let key = entry.split(['=', '.', ' ']).next()?.trim().trim_matches('"');
    key.strip_prefix(PREFIX)
}

/// Features are unified over the workspace: turned on anywhere, this one changes the order of objects in the core.
pub(super) fn features(path: &str, body: &str) -> Vec<Finding> {
    let named = body.lines().enumerate().filter(|(_, line)| line.contains("preserve_order"));
    let advice = "sorted objects are what the core relies on";
    named.map(|(index, _)| Finding::new(path, index + 1, "feature", "preserve_order", advice)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_that_is_not_in_the_table_is_found() {
        let cases = [
            ("hub/Cargo.toml", "[dependencies]\ntaffrail-core = { workspace = true }", None),
            ("hub/Cargo.toml", "[dependencies]\ntaffrail-agent = { workspace = true }", Some((2, "agent"))),
            ("hub/Cargo.toml", "[dependencies]\ntaffrail-agent.workspace = true", Some((2, "agent"))),
            ("hub/Cargo.toml", "[dependencies.taffrail-agent]\nworkspace = true", Some((1, "agent"))),
            ("hub/Cargo.toml", "[dev-dependencies]\ntaffrail-testkit = { workspace = true }", None),
            ("hub/Cargo.toml", "[dev-dependencies]\ntaffrail-cli = { workspace = true }", Some((2, "cli"))),
            (
                "hub/Cargo.toml",
                "[dependencies]\ntaffrail-testkit = { workspace = true }",
                Some((2, "testkit")),
            ),
            ("hub/Cargo.toml", "[package]\nname = \"taffrail-hub\"\n[[bin]]\nname = \"taffrail-hub\"", None),
            (
                "common/core/Cargo.toml",
                "[dependencies]\ntaffrail-proto = { workspace = true }",
                Some((2, "proto")),
            ),
            ("extra/Cargo.toml", "[package]", Some((1, ""))),
            ("Cargo.toml", "[workspace.dependencies]\ntaffrail-hub = { path = \"hub\" }", None),
        ];
        for (path, body, found) in cases {
            let findings = edges(path, body);
            assert_eq!(findings.first().map(|f| (f.line, f.item.as_str())), found, "{path}: {body}");
        }
    }

    #[test]
    fn preserve_order_is_found() {
        let body = "[dependencies]\nserde_json = { version = \"1\", features = [\"preserve_order\"] }";
        assert_eq!(features("hub/Cargo.toml", body)[0].line, 2);
        assert_eq!(features("hub/Cargo.toml", "[dependencies]"), []);
    }
}
