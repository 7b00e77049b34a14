//! Orders of people: names resolved against the state, the core asked, the answer put into a sentence.

use super::instance::pending;
use super::name::{derive, resolve, shown};
use super::refused::{self, told};
use super::{FleetService, stopping};
use crate::api::Error;
use crate::api::service::{AppName, Caller, Command, Credential, Order, Outcome};
use crate::git::Secret;
use crate::perform;
use taffrail_core::event::Actor;
use taffrail_core::id::{AppId, ClusterName, SourceName};
use taffrail_core::node::hub::{Command as Ordered, Durable, Rejected, Reply};
use taffrail_core::source::Track;
use taffrail_core::{cluster, source};
use taffrail_proto::v1::Done;

/// How often a name that was made up is made up again because somebody else took it in between.
const NAME_TRIES: usize = 5;

/// The user name beside a token: forges take any.
pub(super) const TOKEN_USER: &str = "token";

/// A source to be added, with its words checked.
#[derive(Clone)]
struct Wanted {
    track: Track,
    path: String,
    name: Option<SourceName>,
}

impl FleetService {
    /// Carries an order out.
    pub(super) async fn carry_out(&self, order: Order) -> Result<Outcome, Error> {
        let Order { command, by, reason, .. } = order;
        match command {
            Command::AddSource { url, path, revision, name, credential } => {
                let wanted = self.wanted(&url, &path, revision, name).await?;
                self.add_source(by, wanted, credential).await
            }
            Command::AllowSource { name } => {
                let said = format!("The rewritten history of source {name} is accepted.");
                let done = self.order(by, Ordered::Source(source::Command::Allow(name)), said).await?;
                Ok(Outcome { done, ..Outcome::default() })
            }
            Command::RemoveSource { name } => self.remove_source(by, name).await,
            Command::RenameCluster { name, new_name } => {
                let said = format!("Cluster {name} is called {new_name} from now on.");
                let rename = cluster::Command::Rename { from: name, to: new_name, root_in_git: false };
                let done = self.order(by, Ordered::Cluster(rename), said).await?;
                Ok(Outcome { done, ..Outcome::default() })
            }
            Command::RemoveCluster { name, cascade } => self.remove_cluster(by, name, cascade).await,
            Command::Sync { app, clusters } => self.sync(by, app, clusters, reason).await,
            Command::Approve { app, cluster, what, bundle } => {
                self.approve(by, Held { app, cluster, what, bundle }, reason).await
            }
        }
    }

    /// Gives an order to the core.
    pub(super) async fn order(&self, by: Caller, command: Ordered, said: String) -> Result<Done, Error> {
        self.try_order(&by, command, said).await?.map_err(told)
    }

    async fn try_order(
        &self,
        by: &Caller,
        command: Ordered,
        said: String,
    ) -> Result<Result<Done, Rejected>, Error> {
        let actor = Actor::Person(by.name.clone());
        let answered = self.handle.order(actor, command).await.map_err(|_| stopping())?;
        match answered.reply {
            Reply::Done { index, changed } => {
                let did = if changed { said } else { String::from("It is so already; nothing changed.") };
                Ok(Ok(Done { event_index: index, did, changed, warnings: Vec::new() }))
            }
            Reply::Rejected(reason) => Ok(Err(reason)),
            Reply::Refused { reason } => Err(Error::Unavailable { cause: reason }),
            other => {
                tracing::error!(reply = ?other, "an order was answered with another reply");
                let cause = String::from("the answer was one to another question");
                Err(Error::Internal { action: String::from("carrying out an order"), cause })
            }
        }
    }

    /// A repository as it will be followed. One that is known already keeps its spelling, so that one mirror and one
    /// login serve all its sources.
    async fn wanted(
        &self,
        url: &str,
        path: &str,
        revision: String,
        name: Option<SourceName>,
    ) -> Result<Wanted, Error> {
        let address = self.mirrors.check(url).map_err(|bad| {
            Error::invalid(
                "the repository cannot be followed",
                bad.to_string(),
                "taffrail source add https://HOST/PATH",
            )
        })?;
        let address = address.as_str().to_owned();
        let found = self.ask(move |hub, _| {
            let known = hub.state().sources.repository(&address).map(str::to_owned);
            known.unwrap_or(address)
        });
        let url = found.await?.value;
        let revision = if revision.is_empty() { String::from("HEAD") } else { revision };
        Ok(Wanted { track: Track { url, revision }, path: directory(path)?, name })
    }

    async fn add_source(
        &self,
        by: Caller,
        wanted: Wanted,
        credential: Option<Credential>,
    ) -> Result<Outcome, Error> {
        let with_login = credential.is_some();
        for _ in 0..NAME_TRIES {
            let (asked, track) = (wanted.clone(), wanted.track.clone());
            let looked =
                self.ask(move |hub, _| (named(hub.state(), &asked), follows(hub.state(), &track))).await?;
            let (name, known) = looked.value;
            let name = name?;
            if let Some(credential) = &credential {
                self.keep_login(&wanted.track.url, Some(credential)).await?;
            }
            let Wanted { track, path, .. } = wanted.clone();
            let said = format!("Source {name} follows {track}.");
            let add = source::Command::Add { source: name.clone(), track, path };
            match self.try_order(&by, Ordered::Source(add), said).await? {
                Ok(done) => {
                    self.watch.hint();
                    return Ok(Outcome { done, name: name.to_string(), ..Outcome::default() });
                }
                Err(Rejected::Source(source::Rejected::Exists { .. })) if wanted.name.is_none() => {}
                Err(reason) => {
                    if with_login && !known {
                        self.keep_login(&wanted.track.url, None).await?;
                    }
                    return Err(told(reason));
                }
            }
        }
        Err(Error::Conflict {
            sentence: String::from("no name could be found for the source"),
            cause: String::from("Every name that was tried was taken in the meantime."),
            next: String::from("give one with --name"),
        })
    }

    /// Keeps a login on the disk, beside the mirror and never in the log.
    async fn keep_login(&self, url: &str, credential: Option<&Credential>) -> Result<(), Error> {
        let credential = credential.map(|credential| match credential {
            Credential::Password { username, password } => {
                perform::Credential { username: username.clone(), password: Secret::new(password.0.clone()) }
            }
            Credential::Token(token) => perform::Credential {
                username: TOKEN_USER.to_owned(),
                password: Secret::new(token.0.clone()),
            },
        });
        let (mirrors, url) = (self.mirrors.clone(), url.to_owned());
        let kept = tokio::task::spawn_blocking(move || mirrors.set(&url, credential.as_ref())).await;
        let kept = kept.unwrap_or_else(|error| Err(error.into()));
        kept.map_err(|error| super::internal("keeping the login of a repository", error.as_ref()))
    }

    async fn remove_source(&self, by: Caller, name: SourceName) -> Result<Outcome, Error> {
        let of = name.clone();
        let found = self.ask(move |hub, _| {
            let sources = &hub.state().sources.sources;
            let url = sources.get(&of).map(|source| source.track.url.clone())?;
            let others = sources.iter().any(|(other, source)| *other != of && source.track.url == url);
            (!others).then_some(url)
        });
        let unused = found.await?.value;
        let said = format!("Source {name} is no longer followed; its apps keep their objects.");
        let done = self.order(by, Ordered::Source(source::Command::Remove(name)), said).await?;
        if let Some(url) = unused {
            self.keep_login(&url, None).await?;
        }
        Ok(Outcome { done, ..Outcome::default() })
    }

    async fn remove_cluster(&self, by: Caller, name: ClusterName, cascade: bool) -> Result<Outcome, Error> {
        let (command, said) = if cascade {
            let said =
                format!("Cluster {name} is being emptied; it leaves the fleet once its agent has confirmed.");
            (cluster::Command::Empty(name), said)
        } else {
            let said =
                format!("Cluster {name} is no longer part of the fleet; its objects stay as they are.");
            (cluster::Command::Remove(name), said)
        };
        let done = self.order(by, Ordered::Cluster(command), said).await?;
        Ok(Outcome { done, ..Outcome::default() })
    }

    async fn sync(
        &self,
        by: Caller,
        app: AppName,
        clusters: Vec<ClusterName>,
        reason: String,
    ) -> Result<Outcome, Error> {
        self.watch.hint();
        let (typed, some) = (shown(&app), clusters.clone());
        let looked = self.ask(move |hub, _| {
            let app = resolve(hub.state(), &app)?;
            let (placed, warnings) = placed(hub.state(), &app);
            let names = if some.is_empty() { placed } else { some };
            Ok((app, names, warnings))
        });
        let (app, names, warnings) = looked.await?.value?;
        if names.is_empty() {
            return Err(Error::Refused {
                sentence: format!("{typed} is on no cluster"),
                cause: String::from("Git declares it, and no cluster of the fleet is where it is to go."),
                next: format!("taffrail describe app {typed}"),
            });
        }
        let said = format!("A sync of {typed} is ordered on {} clusters.", names.len());
        let mut done = self.order(by, Ordered::Sync { app, clusters, reason }, said).await?;
        done.warnings = warnings;
        let clusters = names.iter().map(ToString::to_string).collect();
        Ok(Outcome { done, clusters, ..Outcome::default() })
    }

    async fn approve(&self, by: Caller, held: Held, reason: String) -> Result<Outcome, Error> {
        let Held { app, cluster, what, bundle } = held;
        let (typed, on) = (shown(&app), cluster.clone());
        let looked = self.ask(move |hub, _| {
            let app = resolve(hub.state(), &app)?;
            let desired = hub.state().planner.fleet.get(&on);
            let report = desired.and_then(|desired| desired.reports.get(&app));
            let entry = desired.and_then(|desired| Some(desired.index.entries.get(&app)?.digest));
            Ok((app, report.and_then(|said| pending(said.status.phase, &said.status.held)), entry))
        });
        let (app, waits, entry) = looked.await?.value?;
        if let (Some(what), Some(waits)) = (what, waits)
            && what != waits
        {
            return Err(Error::Refused {
                sentence: format!("nothing called {what:?} waits for an approval"),
                cause: format!("What waits on {cluster} is {waits:?}."),
                next: format!("taffrail approve {typed} --cluster {cluster} --what {waits}"),
            });
        }
        // The core compares again, with what is held when the order is decided.
        let seen = match (bundle, entry) {
            (Some(bundle), Some(entry)) if !entry.to_string().starts_with(&bundle) => {
                return Err(refused::other_bundle(&typed, &cluster, &entry));
            }
            (Some(_), entry) => entry,
            (None, _) => None,
        };
        let said = format!("What waits of {typed} on {cluster} is approved, for this bundle only.");
        let done = self.order(by, Ordered::Approve { app, cluster, bundle: seen, reason }, said).await?;
        Ok(Outcome { done, ..Outcome::default() })
    }
}

/// What a person lets pass.
struct Held {
    app: AppName,
    cluster: ClusterName,
    what: Option<String>,
    bundle: Option<String>,
}

/// The name for a source: the one asked for, that of the same source if it is there, or one that is free.
fn named(state: &Durable, wanted: &Wanted) -> Result<SourceName, Error> {
    if let Some(name) = &wanted.name {
        return Ok(name.clone());
    }
    let sources = &state.sources.sources;
    let same = sources.iter().find(|(_, source)| source.track == wanted.track && source.path == wanted.path);
    let free = || derive(&wanted.track.url, |name| sources.contains_key(name));
    same.map(|(name, _)| name.clone()).or_else(free).ok_or_else(|| Error::Conflict {
        sentence: String::from("no name is free for the source"),
        cause: String::from("A thousand sources are called so already."),
        next: String::from("give one with --name"),
    })
}

fn follows(state: &Durable, track: &Track) -> bool {
    state.sources.sources.values().any(|source| source.track.url == track.url)
}

/// A directory of a tree: relative, without `.` and empty parts.
fn directory(path: &str) -> Result<String, Error> {
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") {
        let cause = "a directory lies inside the repository";
        return Err(Error::invalid(
            format!("{path:?} leads out of the repository"),
            cause,
            "give it without ..",
        ));
    }
    Ok(parts.join("/"))
}

/// Where an app is placed, and what to say of the clusters that cannot take it now.
fn placed(state: &Durable, app: &AppId) -> (Vec<ClusterName>, Vec<String>) {
    let (mut names, mut warnings) = (Vec::new(), Vec::new());
    for (name, cluster) in &state.clusters.clusters {
        if !state.placements(name, cluster).0.contains_key(app) {
            continue;
        }
        names.push(name.clone());
        if cluster.enrolment.is_none() {
            warnings.push(format!("{name} has not joined yet."));
        } else if cluster.silent_since.is_some() {
            warnings.push(format!("{name} is silent: it takes the commit when it is back."));
        }
    }
    (names, warnings)
}
