//! Which one of several agents acts: a Lease in the cluster, with the rules of Kubernetes' own components.
//!
//! ```text
//! Standby ──nobody holds it, or its holder was silent for its whole duration──► Leading
//!    ▲                                                                             │ renewed every 2 s
//!    └── another holds it, or 10 s without a renewal (5 s before others may take it)┘
//! ```
//! Silence is measured on our own clock from the moment a record was first seen, so clocks need not agree.
//! `fence` grows with every change of holder: what it marks is older than whatever carries a greater one.

use super::address::{JSON, escaped, request};
use super::client::{Caller, Reader};
use super::error::{ApiError, Kind, Secrecy};
use http::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a release may take when the process ends: after that the lease runs out by itself.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);

/// Which lease, who asks for it, and its times.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who asks: different in every process, a restarted one included.
    pub identity: String,
    /// Silence after which others may take it. Whole seconds.
    pub duration: Duration,
    /// Silence after which the holder itself gives up; less than `duration`.
    pub renew_deadline: Duration,
    /// Between two attempts.
    pub retry: Duration,
}

impl Settings {
    /// The times that Kubernetes' own components use: 15 s, 10 s, 2 s.
    pub fn new(namespace: &str, name: &str, identity: &str) -> Settings {
        Settings {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// What this process may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing.
    Standby {
        /// Who holds the lease, as far as known.
        holder: Option<String>,
    },
    /// Act.
    Leading {
        /// Grows with every change of holder.
        fence: u64,
    },
}

/// One candidate.
pub struct Election {
    caller: Caller,
    settings: Settings,
    role: watch::Sender<Role>,
    seen: Option<Seen>,
}

/// A record, and since when it has not changed.
#[derive(Clone, Debug)]
struct Seen {
    record: Record,
    version: String,
    since: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    holder: String,
    duration: Duration,
    acquired: String,
    renewed: String,
    transitions: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    Take,
    Renew,
    Wait,
}

impl Election {
    /// A candidate with the agent's own rights, and what it may do: nothing until [`Election::run`] has won.
    pub fn new(reader: &Reader, settings: Settings) -> (Election, watch::Receiver<Role>) {
        let (role, receiver) = watch::channel(Role::Standby { holder: None });
        (Election { caller: reader.0.clone(), settings, role, seen: None }, receiver)
    }

    /// Takes, renews and loses the lease until it is told to stop, and then lets it go.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut held_until = None;
        loop {
            let started = Instant::now();
            // A leader's attempt ends with its right to lead, a candidate's after as long a time.
            let limit = held_until.unwrap_or(started + self.settings.renew_deadline);
            let outcome = tokio::select! {
                () = stop.cancelled() => break,
                outcome = tokio::time::timeout_at(limit, self.attempt()) => outcome,
            };
            match outcome {
                Ok(Ok(role)) => {
                    held_until = matches!(role, Role::Leading { .. })
                        .then_some(started + self.settings.renew_deadline);
                    self.tell(role);
                }
                Ok(Err(error)) => tracing::debug!(%error, "lease not renewed, will retry"),
                Err(_) => tracing::debug!("lease not renewed in time"),
            }
            let mut next = Instant::now() + self.settings.retry;
            if let Some(until) = held_until {
                next = next.min(until);
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(next) => {}
            }
            if held_until.is_some_and(|until| until <= Instant::now()) {
                held_until = None;
                self.tell(Role::Standby { holder: None });
            }
        }
        self.release().await;
    }

    fn tell(&self, role: Role) {
        self.role.send_if_modified(|known| {
            let differs = *known != role;
            if differs {
                tracing::info!(role = ?role, "role changed");
            }
            *known = role;
            differs
        });
    }

    /// Reads the lease and does what is to be done.
    async fn attempt(&mut self) -> Result<Role, ApiError> {
        self.look().await?;
        match decide(self.seen.as_ref(), &self.settings.identity, Instant::now()) {
            Move::Wait => {
                Ok(Role::Standby { holder: self.seen.as_ref().map(|seen| seen.record.holder.clone()) })
            }
            step => {
                let record = next_record(self.seen.as_ref(), step, &self.settings);
                match self.write(&record).await {
                    Ok(()) => Ok(Role::Leading { fence: record.transitions }),
                    // Another candidate was faster: the next look tells who.
                    Err(error) if error.kind == Kind::Conflict => Ok(Role::Standby { holder: None }),
                    Err(error) => Err(error),
                }
            }
        }
    }

    async fn look(&mut self) -> Result<(), ApiError> {
        let action = "read the lease";
        let request = request(action, Method::GET, &self.address(true), (JSON, JSON), Vec::new())?;
        let lease = match self.caller.call(action, request, Secrecy::Open).await {
            Ok(answer) => answer.value,
            Err(error) if error.kind == Kind::NotFound => {
                self.seen = None;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let record = read(&lease);
        let known = self.seen.take().filter(|seen| seen.record == record);
        let since = known.map_or_else(Instant::now, |seen| seen.since);
        let version = lease.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
        self.seen = Some(Seen { record, version: version.to_owned(), since });
        Ok(())
    }

    async fn write(&self, record: &Record) -> Result<(), ApiError> {
        let action = "write the lease";
        let mut metadata = json!({"name": self.settings.name, "namespace": self.settings.namespace});
        let method = match &self.seen {
            Some(seen) => {
                metadata["resourceVersion"] = json!(seen.version);
                Method::PUT
            }
            None => Method::POST,
        };
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata,
            "spec": {
                "holderIdentity": record.holder, "leaseDurationSeconds": record.duration.as_secs().max(1),
                "acquireTime": record.acquired, "renewTime": record.renewed, "leaseTransitions": record.transitions,
            },
        });
        let address = self.address(method == Method::PUT);
        let request = request(action, method, &address, (JSON, JSON), lease.to_string().into_bytes())?;
        match self.caller.call(action, request, Secrecy::Open).await {
            Err(error) if error.kind == Kind::NotFound => {
                Err(ApiError::new(action, Kind::Conflict, error.message))
            }
            answer => answer.map(drop),
        }
    }

    /// Lets the lease go if it is ours, so that another need not wait for its end.
    async fn release(mut self) {
        let led = matches!(*self.role.borrow(), Role::Leading { .. });
        self.tell(Role::Standby { holder: None });
        if !led {
            return;
        }
        let letting_go = async {
            self.look().await?;
            let Some(seen) = &self.seen else { return Ok(()) };
            if seen.record.holder != self.settings.identity {
                return Ok(());
            }
            let record =
                Record { holder: String::new(), duration: Duration::from_secs(1), ..seen.record.clone() };
            self.write(&record).await
        };
        if let Ok(Err(error)) = tokio::time::timeout(RELEASE_LIMIT, letting_go).await {
            tracing::debug!(%error, "lease not released, it will run out");
        }
    }

    fn address(&self, named: bool) -> String {
        let list =
            format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", escaped(&self.settings.namespace));
        if named { format!("{list}/{}", escaped(&self.settings.name)) } else { list }
    }
}

fn decide(seen: Option<&Seen>, me: &str, now: Instant) -> Move {
    match seen {
        None => Move::Take,
        Some(seen) if seen.record.holder == me => Move::Renew,
        Some(seen) if seen.record.holder.is_empty() => Move::Take,
        Some(seen) if now.saturating_duration_since(seen.since) >= seen.record.duration => Move::Take,
        Some(_) => Move::Wait,
    }
}

/// The record after a move; taking it from another raises the fence.
fn next_record(seen: Option<&Seen>, step: Move, settings: &Settings) -> Record {
    let now = jiff::Timestamp::now();
    let stamp = format!("{}.{:06}Z", now.strftime("%Y-%m-%dT%H:%M:%S"), now.subsec_nanosecond() / 1_000);
    let before = seen.map(|seen| &seen.record);
    let taken = step == Move::Take;
    Record {
        holder: settings.identity.clone(),
        duration: settings.duration,
        acquired: before.filter(|_| !taken).map_or_else(|| stamp.clone(), |before| before.acquired.clone()),
        renewed: stamp,
        transitions: before.map_or(1, |before| before.transitions + u64::from(taken)),
    }
}

fn read(lease: &Value) -> Record {
    let text = |field: &str| lease.pointer(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |field: &str| lease.pointer(field).and_then(Value::as_u64).unwrap_or_default();
    Record {
        holder: text("/spec/holderIdentity"),
        duration: Duration::from_secs(number("/spec/leaseDurationSeconds").max(1)),
        acquired: text("/spec/acquireTime"),
        renewed: text("/spec/renewTime"),
        transitions: number("/spec/leaseTransitions"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(holder: &str, since: Instant) -> Seen {
        let spec = json!({"spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 4,
            "acquireTime": "then"}});
        Seen { record: read(&spec), version: "7".to_owned(), since }
    }

    #[test]
    fn a_lease_is_taken_only_from_nobody_or_from_the_silent() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for (what, record, now, wanted) in [
            ("there is none", None, at(0), Move::Take),
            ("it was let go", Some(seen("", start)), at(0), Move::Take),
            ("it is ours", Some(seen("me", start)), at(60), Move::Renew),
            ("another holds it", Some(seen("other", start)), at(14), Move::Wait),
            ("another was silent", Some(seen("other", start)), at(15), Move::Take),
        ] {
            assert_eq!(decide(record.as_ref(), "me", now), wanted, "{what}");
        }
    }

    #[test]
    fn the_fence_grows_with_every_change_of_holder_and_never_else() {
        let settings = Settings::new("taffrail-system", "agent", "me");
        let fence = |seen: Option<&Seen>, step| next_record(seen, step, &settings).transitions;
        let (ours, theirs) = (seen("me", Instant::now()), seen("other", Instant::now()));
        assert_eq!(fence(None, Move::Take), 1);
        assert_eq!(fence(Some(&theirs), Move::Take), 5);
        assert_eq!(fence(Some(&ours), Move::Renew), 4);
        assert_eq!(next_record(Some(&ours), Move::Renew, &settings).acquired, "then");
    }
}
