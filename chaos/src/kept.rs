//! Histories that are kept in `chaos/seed`: plans as text, so that a change of how seeds are drawn changes none of them.
//!
//! ```text
//! # What it found, in a sentence.
//! seed 1124
//! clusters 1
//! heartbeat 5000
//! ...
//! fault loss
//! at 2300 push shrink
//! at 4000 unlabel 0
//! ```
//! What chance adds to a plan (pauses, losses, names) follows from its seed and changes with the simulator; so a kept plan
//! is lived through with several seeds.

use crate::plan::{Action, Fault, Plan, Point, Push};
use std::collections::BTreeSet;

const PUSHES: [(Push, &str); 14] = [
    (Push::Field, "field"),
    (Push::Grow, "grow"),
    (Push::Shrink, "shrink"),
    (Push::Purge, "purge"),
    (Push::Hollow, "hollow"),
    (Push::Place, "place"),
    (Push::Break, "break"),
    (Push::Garble, "garble"),
    (Push::Void, "void"),
    (Push::Sicken, "sicken"),
    (Push::Policy, "policy"),
    (Push::Revert, "revert"),
    (Push::Return, "return"),
    (Push::Readme, "readme"),
];

const POINTS: [(Point, &str); 4] = [
    (Point::Written, "written"),
    (Point::Synced, "synced"),
    (Point::FirstOutput, "first-output"),
    (Point::Sent, "sent"),
];

/// The lines that hold a number, in the order in which they are written.
const NUMBERS: [&str; 10] = [
    "seed",
    "clusters",
    "heartbeat",
    "poll",
    "batch",
    "request",
    "in-flight",
    "health-timeout",
    "room",
    "span",
];

fn name<T: PartialEq>(table: &[(T, &'static str)], of: &T) -> &'static str {
    table.iter().find(|(known, _)| known == of).map_or("?", |(_, name)| name)
}

fn named<T: Copy>(table: &[(T, &'static str)], word: &str) -> Option<T> {
    table.iter().find(|(_, name)| *name == word).map(|(known, _)| *known)
}

fn words(action: Action) -> String {
    match action {
        Action::Push(what) => format!("push {}", name(&PUSHES, &what)),
        Action::ForcePush => "force-push".into(),
        Action::Allow => "allow".into(),
        Action::Approve => "approve".into(),
        Action::Sync => "sync".into(),
        Action::Look => "look".into(),
        Action::Edit(site) => format!("edit {site}"),
        Action::Delete(site) => format!("delete {site}"),
        Action::Unlabel(site) => format!("unlabel {site}"),
        Action::Squat(site) => format!("squat {site}"),
        Action::CrashHub => "crash-hub".into(),
        Action::CrashHubAt(point) => format!("crash-hub-at {}", name(&POINTS, &point)),
        Action::RestoreHub(share) => format!("restore-hub {share}"),
        Action::CrashAgent(site) => format!("crash-agent {site}"),
        Action::CrashAgentAt(site, point) => format!("crash-agent-at {site} {}", name(&POINTS, &point)),
        Action::LoseJournal(site) => format!("lose-journal {site}"),
        Action::Wipe => "wipe".into(),
        Action::Cut(site, span) => format!("cut {site} {span}"),
        Action::HubClock(by) => format!("hub-clock {by}"),
        Action::AgentClock(site, by) => format!("agent-clock {site} {by}"),
        Action::Remove(site) => format!("remove {site}"),
        Action::Empty(site) => format!("empty {site}"),
        Action::Invite(site) => format!("invite {site}"),
        Action::Rename(site) => format!("rename {site}"),
    }
}

fn action(words: &[&str]) -> Option<Action> {
    let site = || words.get(1)?.parse().ok();
    let of_site = |make: fn(usize) -> Action| site().map(make);
    match *words.first()? {
        "push" => Some(Action::Push(named(&PUSHES, words.get(1)?)?)),
        "force-push" => Some(Action::ForcePush),
        "allow" => Some(Action::Allow),
        "approve" => Some(Action::Approve),
        "sync" => Some(Action::Sync),
        "look" => Some(Action::Look),
        "edit" => of_site(Action::Edit),
        "delete" => of_site(Action::Delete),
        "unlabel" => of_site(Action::Unlabel),
        "squat" => of_site(Action::Squat),
        "crash-hub" => Some(Action::CrashHub),
        "crash-hub-at" => Some(Action::CrashHubAt(named(&POINTS, words.get(1)?)?)),
        "restore-hub" => Some(Action::RestoreHub(words.get(1)?.parse().ok()?)),
        "crash-agent" => of_site(Action::CrashAgent),
        "crash-agent-at" => Some(Action::CrashAgentAt(site()?, named(&POINTS, words.get(2)?)?)),
        "lose-journal" => of_site(Action::LoseJournal),
        "wipe" => Some(Action::Wipe),
        "cut" => Some(Action::Cut(site()?, words.get(2)?.parse().ok()?)),
        "hub-clock" => Some(Action::HubClock(words.get(1)?.parse().ok()?)),
        "agent-clock" => Some(Action::AgentClock(site()?, words.get(2)?.parse().ok()?)),
        "remove" => of_site(Action::Remove),
        "empty" => of_site(Action::Empty),
        "invite" => of_site(Action::Invite),
        "rename" => of_site(Action::Rename),
        _ => None,
    }
}

impl Plan {
    /// The plan as it is kept. A mistake that was put in is not part of it.
    pub fn to_text(&self) -> String {
        let numbers: [u64; 10] = [
            self.seed,
            self.clusters as u64,
            self.heartbeat,
            self.poll,
            self.batch as u64,
            self.request as u64,
            self.in_flight as u64,
            self.health_timeout,
            self.room,
            self.span,
        ];
        let mut text = String::new();
        let mut line = |words: std::fmt::Arguments<'_>| {
            text.push_str(&words.to_string());
            text.push('\n');
        };
        for (what, number) in NUMBERS.iter().zip(numbers) {
            line(format_args!("{what} {number}"));
        }
        for fault in &self.faults {
            line(format_args!("fault {}", name(&Fault::ALL, fault)));
        }
        for (at, what) in &self.actions {
            line(format_args!("at {at} {}", words(*what)));
        }
        text
    }

    /// Reads what [`Plan::to_text`] wrote; lines that begin with `#` are for people.
    ///
    /// # Errors
    /// The line that is not understood, or what is missing.
    pub fn parse(text: &str) -> Result<Plan, String> {
        let (mut numbers, mut faults, mut actions) = ([None::<u64>; 10], BTreeSet::new(), Vec::new());
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let words: Vec<&str> = line.split(' ').collect();
            let known = match words[..] {
                ["fault", fault] => named(&Fault::ALL, fault).map(|fault| faults.extend([fault])),
                ["at", at, ..] => at.parse().ok().zip(action(&words[2..])).map(|found| actions.push(found)),
                [what, number] => NUMBERS
                    .iter()
                    .position(|known| *known == what)
                    .zip(number.parse().ok())
                    .map(|(place, number)| numbers[place] = Some(number)),
                _ => None,
            };
            known.ok_or_else(|| format!("{line:?} is not understood"))?;
        }
        let number = |what: &str| {
            let place = NUMBERS.iter().position(|known| *known == what);
            place.and_then(|place| numbers[place]).ok_or_else(|| format!("there is no line {what:?}"))
        };
        let small = |what: &str| {
            number(what).and_then(|number| usize::try_from(number).map_err(|error| error.to_string()))
        };
        Ok(Plan {
            seed: number("seed")?,
            clusters: small("clusters")?,
            heartbeat: number("heartbeat")?,
            poll: number("poll")?,
            batch: small("batch")?,
            request: small("request")?,
            in_flight: small("in-flight")?,
            health_timeout: number("health-timeout")?,
            room: number("room")?,
            span: number("span")?,
            faults,
            actions,
            mistake: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_the_same_after_it_was_written_and_read() {
        for seed in 0..300 {
            let plan = Plan::draw(seed);
            let text = format!("# A sentence.\n\n{}", plan.to_text());
            assert_eq!(Plan::parse(&text), Ok(plan), "{text}");
        }
    }

    #[test]
    fn a_line_that_is_not_understood_is_named_and_so_is_one_that_is_missing() {
        let text = Plan::draw(1).to_text();
        let bad = Plan::parse(&format!("{text}at 5 dance 1\n"));
        assert_eq!(bad, Err("\"at 5 dance 1\" is not understood".into()));
        let bad = Plan::parse(&text.replace("poll", "# poll"));
        assert_eq!(bad, Err("there is no line \"poll\"".into()));
    }
}
