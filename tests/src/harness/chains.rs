//! What must hold of a log, whatever happened while it was written.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Where the events of one journal stand in the log: highest number by cluster and incarnation.
pub type Chains = BTreeMap<(String, u64), u64>;

/// The log has every place once, each agent's events once and in order, and no index's mark twice.
///
/// # Errors
/// It has not.
pub fn in_order(events: &[Value]) -> Result<Chains> {
    for (position, event) in events.iter().enumerate() {
        ensure!(event["index"] == position + 1, "the log has no event {}", position + 1);
    }
    marks_rise(events)?;
    each_once(events)
}

/// Numbers count from 1 without gap and double, for each cluster and incarnation, in the order of the log. What is missing
/// is named by an event.
///
/// # Errors
/// One is missing, or there twice.
pub fn each_once(events: &[Value]) -> Result<Chains> {
    let mut chains = Chains::new();
    for event in events.iter().filter(|event| event["seq"] != 0 || event["kind"] == "EventsLost") {
        if event["kind"] == "EventsLost" {
            let number = |end: &str, part: &str| event["detail"][end][part].as_u64().unwrap_or_default();
            let cluster = event["cluster"].as_str().unwrap_or_default().to_owned();
            let last = chains.entry((cluster.clone(), number("first", "incarnation"))).or_default();
            ensure!(*last + 1 == number("first", "seq"), "{cluster}: {event} follows {last}");
            chains.insert((cluster, number("last", "incarnation")), number("last", "seq"));
            continue;
        }
        let (Some(cluster), Some(incarnation), Some(seq)) =
            (event["cluster"].as_str(), event["incarnation"].as_u64(), event["seq"].as_u64())
        else {
            anyhow::bail!("an agent's event without cluster, incarnation or number: {event}")
        };
        let last = chains.entry((cluster.to_owned(), incarnation)).or_default();
        ensure!(seq == *last + 1, "{cluster} (incarnation {incarnation}): {seq} follows {last} in the log");
        *last = seq;
    }
    Ok(chains)
}

/// Each index of a cluster is newer than the one before.
fn marks_rise(events: &[Value]) -> Result<()> {
    let mut last: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for event in events.iter().filter(|event| event["kind"] == "IndexRaised") {
        let cluster = event["cluster"].as_str().context("an index is of a cluster")?;
        let text = event["detail"]["mark"].as_str().unwrap_or_default();
        let numbers: Vec<u64> = text
            .split(|letter: char| !letter.is_ascii_digit())
            .filter_map(|part| part.parse().ok())
            .collect();
        let [epoch, generation] = numbers[..] else { anyhow::bail!("{text} is no mark") };
        let before = last.insert(cluster, (epoch, generation)).unwrap_or_default();
        ensure!(before < (epoch, generation), "{cluster}: index {text} follows {before:?}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_missing_or_there_twice_is_found() {
        let event = |seq: u64| serde_json::json!({"cluster": "lab", "incarnation": 1, "seq": seq});
        let cases: [(&[u64], bool); 4] =
            [(&[1, 0, 2, 3], true), (&[1, 3], false), (&[1, 2, 2], false), (&[2], false)];
        for (numbers, fine) in cases {
            let events: Vec<Value> = numbers.iter().map(|seq| event(*seq)).collect();
            assert_eq!(each_once(&events).is_ok(), fine, "{numbers:?}");
        }
        let number = |seq: u64| serde_json::json!({"incarnation": 1, "seq": seq});
        let lost = |first, last| {
            let detail = serde_json::json!({"first": number(first), "last": number(last)});
            serde_json::json!({"kind": "EventsLost", "cluster": "lab", "seq": 0, "detail": detail})
        };
        assert!(each_once(&[event(1), lost(2, 4), event(5)]).is_ok(), "what is missing is named");
        assert!(each_once(&[event(1), lost(2, 4), event(6)]).is_err());
        assert!(each_once(&[event(1), lost(3, 4), event(5)]).is_err(), "not all of it");
    }
}
