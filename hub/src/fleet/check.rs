//! How each part of the hub is.

use super::sight::Sight;
use super::{FleetService, view};
use crate::api::service::Answer;
use crate::log::Room;
use crate::perform::GitStatus;
use std::path::Path;
use taffrail_core::node::hub::ReadOnly;
use taffrail_core::time::At;
use taffrail_proto::v1::{ConnectionStatus, Part, PartStatus, View};

/// Below this share of free disk, in per cent, it is worth a warning.
const DISK_FREE_LOW: u64 = 10;

/// Most clusters or apps that one sentence names.
const NAMED_MAX: usize = 5;

/// What the state says of the parts.
struct Looked {
    sources: Vec<(String, String, bool)>,
    clusters: usize,
    silent: Vec<String>,
    refused: Vec<String>,
    failures: Vec<String>,
    epoch: u64,
    read_only: Option<(String, bool)>,
    unadopted: usize,
}

impl FleetService {
    /// Every part, whatever fails.
    pub(super) async fn parts(&self) -> Answer<Vec<Part>> {
        let lease = self.settings.lease;
        let looked = self.handle.look(move |hub, at| {
            let sight = Sight { hub, at, lease };
            (view(hub, at), look(sight))
        });
        let now = crate::driver::wall();
        let Ok((view, looked)) = looked.await else {
            let part = Row::new("driver", PartStatus::Failed, "The hub's driver has ended.")
                .because("the log could not be written, or the hub is stopping")
                .then("look at the hub's own log");
            return Answer { view: View { now_ms: now.0, ..View::default() }, value: vec![part.part(now)] };
        };
        let mut rows = vec![self.log_part(), epoch(&looked), self.nats_part()];
        let folder = self.settings.data_dir.clone();
        rows.push(tokio::task::spawn_blocking(move || disk(&folder)).await.unwrap_or_else(|error| {
            Row::new("disk", PartStatus::Unknown, "The disk was not looked at.").because(error.to_string())
        }));
        for (name, url, parked) in &looked.sources {
            rows.push(git(name, &self.watch.status(url), *parked));
        }
        rows.push(render(&looked.failures));
        rows.push(clusters(&looked));
        Answer { view, value: rows.into_iter().map(|row| row.part(now)).collect() }
    }

    fn log_part(&self) -> Row {
        let (durable, next) = (*self.log.durable().borrow(), self.log.next_index());
        let waiting = next.saturating_sub(durable + 1);
        let message = match waiting {
            0 => format!("{durable} events, all on the disk."),
            waiting => format!("{durable} events on the disk, {waiting} being written."),
        };
        match *self.log.room().borrow() {
            Room::Enough => Row::new("log", PartStatus::Ok, message),
            Room::Short { free, reserve } => {
                let (free, reserve) = (free >> 20, reserve >> 20);
                Row::new("log", PartStatus::Warning, format!("{message} Nothing more is recorded."))
                    .because(format!("{free} MiB of the disk are free and {reserve} MiB are kept in reserve"))
                    .then(format!("make room below {}", self.settings.data_dir.display()))
            }
        }
    }

    fn nats_part(&self) -> Row {
        let link = *self.link.borrow();
        match (link.up, link.connects) {
            (true, 0 | 1) => Row::new("nats", PartStatus::Ok, "Connected."),
            (true, times) => Row::new("nats", PartStatus::Ok, format!("Connected, for the {times}th time.")),
            (false, _) => Row::new("nats", PartStatus::Failed, "Not connected: clusters get nothing new.")
                .because("nats-server does not answer; it is tried again all the time")
                .then("look at the hub's own log"),
        }
    }
}

fn look(sight: Sight<'_>) -> Looked {
    let state = sight.state();
    let parked = |url: &str| {
        state.sources.tracks.iter().any(|(track, known)| track.same_repository(url) && known.parked.is_some())
    };
    let joined = state.clusters.clusters.iter().filter(|(_, cluster)| cluster.enrolment.is_some());
    let silent = joined
        .clone()
        .filter(|(name, cluster)| sight.connection(name, cluster) != ConnectionStatus::Connected);
    let refused = joined.clone().filter(|(_, cluster)| {
        let account = cluster.enrolment.as_ref().map(|enrolment| &enrolment.account);
        account.is_some_and(|account| sight.hub.refused_events(account, sight.at).is_some())
    });
    Looked {
        refused: refused.map(|(name, _)| name.to_string()).collect(),
        sources: state
            .sources
            .sources
            .iter()
            .map(|(name, source)| (name.to_string(), source.track.url.clone(), parked(&source.track.url)))
            .collect(),
        clusters: joined.clone().count(),
        silent: silent.map(|(name, _)| name.to_string()).collect(),
        failures: state.planner.failures.keys().map(ToString::to_string).collect(),
        epoch: state.planner.epoch,
        read_only: sight.hub.read_only().map(|why| (why.to_string(), matches!(why, ReadOnly::Newer(_)))),
        unadopted: sight.hub.unadopted(),
    }
}

/// A part before it is dated.
struct Row {
    name: String,
    status: PartStatus,
    message: String,
    cause: String,
    next: String,
    looked_at: Option<At>,
}

impl Row {
    fn new(name: impl Into<String>, status: PartStatus, message: impl Into<String>) -> Row {
        let (name, message) = (name.into(), message.into());
        Row { name, status, message, cause: String::new(), next: String::new(), looked_at: None }
    }

    fn because(self, cause: impl Into<String>) -> Row {
        Row { cause: cause.into(), ..self }
    }

    fn then(self, next: impl Into<String>) -> Row {
        Row { next: next.into(), ..self }
    }

    fn part(self, now: At) -> Part {
        Part {
            name: self.name,
            status: self.status as i32,
            message: self.message,
            cause: self.cause,
            next: self.next,
            looked_at_ms: self.looked_at.unwrap_or(now).0,
        }
    }
}

fn epoch(looked: &Looked) -> Row {
    let Looked { epoch, read_only, unadopted, .. } = looked;
    if let Some((why, true)) = read_only {
        return Row::new("epoch", PartStatus::Failed, "Read-only: a newer version wrote the log.")
            .because(why.clone())
            .then("start the version of taffrail-hub that wrote the log");
    }
    if let Some((why, _)) = read_only {
        return Row::new(
            "epoch",
            PartStatus::Failed,
            "Read-only: the log is older than what the fleet holds.",
        )
        .because(why.clone())
        .then("stop the hub, taffrail-hub restore --key FILE, start it");
    }
    match unadopted {
        0 => Row::new("epoch", PartStatus::Ok, format!("Epoch {epoch}.")),
        waiting => {
            let message = format!("Epoch {epoch}: {waiting} clusters have not shown yet what they hold.");
            Row::new("epoch", PartStatus::Warning, message)
                .because("the hub was restored; nothing changes on a cluster before that is logged")
                .then("taffrail get clusters")
        }
    }
}

fn git(name: &str, status: &GitStatus, parked: bool) -> Row {
    let part = format!("git {name}");
    let mut row = match (&status.error, status.ok_at) {
        (Some(error), _) => Row::new(part, PartStatus::Failed, "The last look at the repository failed.")
            .because(error.clone())
            .then("check the URL and the login, then: taffrail get sources"),
        (None, None) => Row::new(part, PartStatus::Unknown, "Not looked at yet."),
        (None, Some(_)) if parked => {
            Row::new(part, PartStatus::Warning, "Parked: its history was rewritten.")
                .because("the branch no longer leads to the commit that was delivered")
                .then(format!("taffrail source allow {name}"))
        }
        (None, Some(_)) => Row::new(part, PartStatus::Ok, "Followed."),
    };
    row.looked_at = Some(status.ok_at.unwrap_or_default());
    row
}

fn render(failures: &[String]) -> Row {
    if failures.is_empty() {
        return Row::new("render", PartStatus::Ok, "Everything could be rendered.");
    }
    Row::new("render", PartStatus::Warning, format!("{} trees cannot be rendered.", failures.len()))
        .because(named(failures))
        .then("taffrail log --kind RenderFailed")
}

fn clusters(Looked { clusters: joined, silent, refused, .. }: &Looked) -> Row {
    if !refused.is_empty() {
        return Row::new(
            "clusters",
            PartStatus::Warning,
            format!("Events of {} are refused.", named(refused)),
        )
        .because("two agents have one identity, or an agent has an older journal than it had")
        .then("taffrail log --kind EventRefused");
    }
    if silent.is_empty() {
        return Row::new("clusters", PartStatus::Ok, format!("{joined} joined, all heard of."));
    }
    Row::new("clusters", PartStatus::Warning, format!("{} of {joined} are silent.", silent.len()))
        .because(named(silent))
        .then("taffrail get clusters")
}

fn named(names: &[String]) -> String {
    let shown = names.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn disk(folder: &Path) -> Row {
    let room = match rustix::fs::statvfs(folder) {
        Ok(room) if room.f_blocks > 0 => room,
        Ok(_) => return Row::new("disk", PartStatus::Unknown, "The file system tells no size."),
        Err(error) => {
            return Row::new("disk", PartStatus::Unknown, "The disk could not be looked at.")
                .because(error.to_string());
        }
    };
    let free = room.f_bavail.saturating_mul(100) / room.f_blocks;
    let megabytes = room.f_bavail.saturating_mul(room.f_frsize) >> 20;
    let message = format!("{free} % free ({megabytes} MiB).");
    if free >= DISK_FREE_LOW {
        return Row::new("disk", PartStatus::Ok, message);
    }
    Row::new("disk", PartStatus::Warning, message)
        .because("below log.reserve nothing is recorded until there is room again")
        .then(format!("make room below {}", folder.display()))
}
