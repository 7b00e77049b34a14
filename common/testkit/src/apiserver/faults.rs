//! Faults on order, and the record of requests.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use super::status::Status;

/// Requests kept in the record; older ones are forgotten.
const RECORD_MAX: usize = 10_000;

/// What a faulty request gets instead of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 409, as if the object had been changed by another.
    Conflict,
    /// 410, as if the history were gone.
    Expired,
    /// 429 with `Retry-After` in seconds.
    TooManyRequests {
        /// Seconds to wait.
        retry_after: u64,
    },
    /// 500.
    Internal,
    /// 503.
    Unavailable,
    /// 403, as a role or an admission policy refuses.
    Forbidden {
        /// The message of the refusal.
        message: String,
    },
    /// No answer for this long, then the answer.
    Delay(Duration),
    /// No answer at all.
    Hang,
    /// The request is carried out, but its answer is lost.
    LoseAnswer,
}

/// One request that the server has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `apply`, `delete`, `deletecollection`.
    pub verb: String,
    /// Group; empty for the core group.
    pub group: String,
    /// Plural name of the resource.
    pub resource: String,
    /// Namespace; empty for cluster-wide requests.
    pub namespace: String,
    /// Name; empty for collections.
    pub name: String,
    /// Subresource; empty for the object itself.
    pub subresource: String,
    /// The user of an `Impersonate-User` header, if there was one.
    pub impersonated: Option<String>,
    /// The field manager that the request named.
    pub manager: String,
    /// Whether the request was a dry run.
    pub dry_run: bool,
}

#[derive(Debug)]
struct Planned {
    verb: String,
    resource: String,
    fault: Fault,
    left: u64,
}

#[derive(Debug, Default)]
struct Inner {
    planned: Vec<Planned>,
    counts: BTreeMap<(String, String), u64>,
    record: VecDeque<Seen>,
    latency: Duration,
}

/// Orders faults and counts requests.
#[derive(Debug, Default)]
pub struct Faults {
    inner: Mutex<Inner>,
}

impl Faults {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The next `count` requests with this verb for this resource (plural name) get the fault. `*` stands for any.
    pub fn next(&self, count: u64, verb: &str, resource: &str, fault: Fault) {
        let planned = Planned { verb: verb.to_owned(), resource: resource.to_owned(), fault, left: count };
        self.lock().planned.push(planned);
    }

    /// Forgets all faults that were ordered.
    pub fn clear(&self) {
        self.lock().planned.clear();
    }

    /// Every request takes at least this long.
    pub fn set_latency(&self, latency: Duration) {
        self.lock().latency = latency;
    }

    /// How many requests with this verb for this resource there were since the start or the last reset. `*` stands for any.
    pub fn count(&self, verb: &str, resource: &str) -> u64 {
        let inner = self.lock();
        let counts = inner.counts.iter().filter(|((v, r), _)| fits(verb, v) && fits(resource, r));
        counts.map(|(_, count)| count).sum()
    }

    /// The last requests, oldest first, at most 10,000.
    pub fn seen(&self) -> Vec<Seen> {
        self.lock().record.iter().cloned().collect()
    }

    /// Starts counting and recording anew.
    pub fn reset_counts(&self) {
        let mut inner = self.lock();
        inner.counts.clear();
        inner.record.clear();
    }

    /// Records a request; gives its fault and the time that every request takes.
    pub(crate) fn meet(&self, seen: Seen) -> (Option<Fault>, Duration) {
        let mut inner = self.lock();
        *inner.counts.entry((seen.verb.clone(), seen.resource.clone())).or_default() += 1;
        let planned = &mut inner.planned;
        let met = planned
            .iter()
            .position(|planned| fits(&planned.verb, &seen.verb) && fits(&planned.resource, &seen.resource));
        let fault = met.map(|at| {
            planned[at].left = planned[at].left.saturating_sub(1);
            let fault = planned[at].fault.clone();
            if planned[at].left == 0 {
                planned.remove(at);
            }
            fault
        });
        if inner.record.len() == RECORD_MAX {
            inner.record.pop_front();
        }
        inner.record.push_back(seen);
        (fault, inner.latency)
    }
}

fn fits(pattern: &str, text: &str) -> bool {
    pattern == "*" || pattern == text
}

impl Fault {
    /// The refusal that this fault is, if it is one.
    pub(crate) fn refusal(&self, resource: &str, name: &str) -> Option<Status> {
        match self {
            Fault::Conflict => {
                let why = "the object has been modified; please apply your changes to the latest version and try again";
                let message = format!("Operation cannot be fulfilled on {resource} {name:?}: {why}");
                Some(Status::new(409, "Conflict", message))
            }
            Fault::Expired => Some(Status::expired("too old resource version")),
            Fault::TooManyRequests { retry_after } => {
                let message = "the server has received too many requests and has asked us to try again later";
                let mut status = Status::new(429, "TooManyRequests", message);
                status.retry_after = Some(*retry_after);
                Some(status)
            }
            Fault::Internal => {
                Some(Status::new(500, "InternalError", "Internal error occurred: ordered by the test"))
            }
            Fault::Unavailable => Some(Status::new(
                503,
                "ServiceUnavailable",
                "the server is currently unable to handle the request",
            )),
            Fault::Forbidden { message } => Some(Status::new(403, "Forbidden", message.clone())),
            Fault::Delay(_) | Fault::Hang | Fault::LoseAnswer => None,
        }
    }
}
