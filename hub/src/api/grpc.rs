//! The gRPC service: reads a request, asks the port, and answers with rows that say as of when they hold.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use taffrail_proto::v1::{
    AddSourceRequest, AddSourceResponse, AllowSourceRequest, AllowSourceResponse, AppRow, ApproveRequest,
    ApproveResponse, CheckRequest, CheckResponse, EventFilter, GetAppRequest, GetAppResponse, HistoryRequest,
    HistoryResponse, InviteClusterRequest, InviteClusterResponse, ListAppsRequest, ListAppsResponse,
    ListClustersRequest, ListClustersResponse, ListEventsRequest, ListEventsResponse, ListSourcesRequest,
    ListSourcesResponse, RemoveClusterRequest, RemoveClusterResponse, RemoveSourceRequest,
    RemoveSourceResponse, RenameClusterRequest, RenameClusterResponse, SyncRequest, SyncResponse,
    WatchEventsRequest, WatchEventsResponse, fleet_server,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::order::{self, Given};
use super::page::page;
use super::service::{self, Answer, Caller, Command, Detail, Events, Fleet};
use super::{Error, honest, selector, stream};

/// Events and deliveries of one answer if nothing is asked for, and the most that may be asked for.
const EVENTS_DEFAULT: usize = 100;
const DELIVERIES_DEFAULT: usize = 20;
const ROWS_MAX: usize = 1_000;
/// Shortest beginning of a commit that is searched for: shorter ones match by chance.
const COMMIT_CHARS_MIN: usize = 4;
/// Most kinds in one filter, and the longest text in it, in bytes.
const KINDS_MAX: usize = 32;
const FILTER_BYTES_MAX: usize = 256;
/// Most objects of one answer: about 200 bytes each, so that it fits into one message.
const OBJECTS_MAX: usize = 20_000;

/// The service over the port.
pub struct Grpc {
    fleet: Arc<dyn Fleet>,
    stop: CancellationToken,
}

type Reply<T> = Result<Response<T>, Status>;

impl Grpc {
    /// Over `fleet`; streams end when `stop` is cancelled.
    pub fn new(fleet: Arc<dyn Fleet>, stop: CancellationToken) -> Grpc {
        Grpc { fleet, stop }
    }

    async fn give<T>(
        &self,
        request: &Request<T>,
        reason: &str,
        command: Command,
    ) -> Result<service::Outcome, Error> {
        let given = Given::new(caller(request)?, reason, request.metadata())?;
        self.fleet.submit(given.order(command)).await
    }

    /// Names of the clusters that a selector picks; none if it picks all.
    async fn selected(&self, selector: &str) -> Result<Option<BTreeSet<String>>, Error> {
        if selector.trim().is_empty() {
            return Ok(None);
        }
        let selector = selector::parse(selector)?;
        let clusters = self.fleet.clusters().await?.value;
        Ok(Some(
            clusters.into_iter().filter(|row| selector.matches(&row.labels)).map(|row| row.name).collect(),
        ))
    }

    /// Apps with their instances cut down to what was asked for, summed up.
    async fn apps(
        &self,
        which: &service::Apps,
        picked: Option<&BTreeSet<String>>,
        detail: Detail,
    ) -> Result<Answer<Vec<AppRow>>, Error> {
        let mut answer = self.fleet.apps(which, detail).await?;
        answer.value.retain(|row| {
            let named = |app: &service::AppName| {
                app.name.as_str() == row.name
                    && app.source.as_ref().is_none_or(|name| name.as_str() == row.source)
            };
            which.app.as_ref().is_none_or(named)
                && which.source.as_ref().is_none_or(|source| source.as_str() == row.source)
        });
        let narrowed = which.cluster.is_some() || picked.is_some();
        for row in &mut answer.value {
            row.instances.retain(|instance| {
                which.cluster.as_ref().is_none_or(|cluster| cluster.as_str() == instance.cluster)
                    && picked.is_none_or(|picked| picked.contains(&instance.cluster))
            });
            honest::app(row);
        }
        answer.value.retain(|row| !narrowed || !row.instances.is_empty());
        Ok(answer)
    }
}

#[tonic::async_trait]
impl fleet_server::Fleet for Grpc {
    type WatchEventsStream = Pin<Box<dyn Stream<Item = Result<WatchEventsResponse, Status>> + Send>>;

    async fn list_clusters(&self, request: Request<ListClustersRequest>) -> Reply<ListClustersResponse> {
        let ask = request.into_inner();
        let selector = selector::parse(&ask.selector)?;
        let mut answer = self.fleet.clusters().await?;
        answer
            .value
            .retain(|row| selector.matches(&row.labels) && (ask.name.is_empty() || ask.name == row.name));
        if !ask.name.is_empty() && answer.value.is_empty() {
            return Err(Error::NotFound { what: "cluster", name: ask.name }.into());
        }
        answer.value.iter_mut().for_each(honest::cluster);
        let (clusters, next_page_token) =
            page(answer.value, |row| &row.name, ask.page_size, &ask.page_token)?;
        Ok(Response::new(ListClustersResponse { view: Some(answer.view), clusters, next_page_token }))
    }

    async fn list_apps(&self, request: Request<ListAppsRequest>) -> Reply<ListAppsResponse> {
        let ask = request.into_inner();
        let which = order::apps(&ask.app, &ask.cluster, &ask.source)?;
        let picked = self.selected(&ask.selector).await?;
        let answer = self.apps(&which, picked.as_ref(), Detail::Instances).await?;
        let (apps, next_page_token) = page(answer.value, |row| &row.name, ask.page_size, &ask.page_token)?;
        Ok(Response::new(ListAppsResponse { view: Some(answer.view), apps, next_page_token }))
    }

    async fn get_app(&self, request: Request<GetAppRequest>) -> Reply<GetAppResponse> {
        let ask = request.into_inner();
        let which =
            service::Apps { app: Some(order::app_name(&ask.app)?), ..order::apps("", &ask.cluster, "")? };
        let detail = if ask.with_objects { Detail::Objects } else { Detail::Instances };
        let answer = self.apps(&which, None, detail).await?;
        let app = answer.value.into_iter().next();
        let app = app.ok_or_else(|| Error::NotFound { what: "app", name: ask.app.clone() })?;
        if app.instances.iter().map(|row| row.objects.len()).sum::<usize>() > OBJECTS_MAX {
            let sentence = format!("{} has more than {OBJECTS_MAX} objects over its clusters", ask.app);
            let next = format!("taffrail get app {} --cluster NAME -o tree", ask.app);
            return Err(Error::TooMuch { sentence, next }.into());
        }
        Ok(Response::new(GetAppResponse { view: Some(answer.view), app: Some(app) }))
    }

    async fn list_sources(&self, request: Request<ListSourcesRequest>) -> Reply<ListSourcesResponse> {
        let ask = request.into_inner();
        let mut answer = self.fleet.sources().await?;
        answer.value.retain(|row| ask.name.is_empty() || ask.name == row.name);
        if !ask.name.is_empty() && answer.value.is_empty() {
            return Err(Error::NotFound { what: "source", name: ask.name }.into());
        }
        let (sources, next_page_token) = page(answer.value, |row| &row.name, ask.page_size, &ask.page_token)?;
        Ok(Response::new(ListSourcesResponse { view: Some(answer.view), sources, next_page_token }))
    }

    async fn list_events(&self, request: Request<ListEventsRequest>) -> Reply<ListEventsResponse> {
        let ask = request.into_inner();
        let which = Events {
            filter: filter(ask.filter)?,
            after_index: ask.after_index,
            before_index: ask.before_index,
            limit: limit(ask.limit, EVENTS_DEFAULT)?,
            newest_first: ask.newest_first,
        };
        let answer = self.fleet.events(&which).await?;
        Ok(Response::new(ListEventsResponse {
            view: Some(answer.view),
            events: answer.value.events,
            more: answer.value.more,
            reached_index: answer.value.reached_index,
        }))
    }

    async fn watch_events(&self, request: Request<WatchEventsRequest>) -> Reply<Self::WatchEventsStream> {
        let ask = request.into_inner();
        let filter = filter(ask.filter)?;
        let events =
            stream::events(Arc::clone(&self.fleet), filter, ask.after_index, ask.follow, self.stop.clone());
        Ok(Response::new(Box::pin(events)))
    }

    async fn history(&self, request: Request<HistoryRequest>) -> Reply<HistoryResponse> {
        let ask = request.into_inner();
        let app = order::app_name(&ask.app)?;
        let cluster = (!ask.cluster.is_empty()).then(|| order::cluster_name(&ask.cluster)).transpose()?;
        let limit = limit(ask.limit, DELIVERIES_DEFAULT)?;
        let answer = self.fleet.history(&app, cluster.as_ref(), limit).await?;
        let (deliveries, more) = answer.value;
        Ok(Response::new(HistoryResponse { view: Some(answer.view), deliveries, more }))
    }

    async fn check(&self, _request: Request<CheckRequest>) -> Reply<CheckResponse> {
        let answer = self.fleet.check().await;
        let hub_version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Response::new(CheckResponse { view: Some(answer.view), parts: answer.value, hub_version }))
    }

    async fn add_source(&self, request: Request<AddSourceRequest>) -> Reply<AddSourceResponse> {
        let command = order::add_source(request.get_ref().clone())?;
        let outcome = self.give(&request, &request.get_ref().reason, command).await?;
        Ok(Response::new(AddSourceResponse { done: Some(outcome.done), name: outcome.name }))
    }

    async fn allow_source(&self, request: Request<AllowSourceRequest>) -> Reply<AllowSourceResponse> {
        let command = Command::AllowSource { name: order::source_name(&request.get_ref().name)? };
        let outcome = self.give(&request, &request.get_ref().reason, command).await?;
        Ok(Response::new(AllowSourceResponse { done: Some(outcome.done) }))
    }

    async fn remove_source(&self, request: Request<RemoveSourceRequest>) -> Reply<RemoveSourceResponse> {
        let command = Command::RemoveSource { name: order::source_name(&request.get_ref().name)? };
        let outcome = self.give(&request, &request.get_ref().reason, command).await?;
        Ok(Response::new(RemoveSourceResponse { done: Some(outcome.done) }))
    }

    async fn invite_cluster(&self, request: Request<InviteClusterRequest>) -> Reply<InviteClusterResponse> {
        let given = Given::new(caller(&request)?, &request.get_ref().reason, request.metadata())?;
        let invited = self.fleet.invite(order::invitation(request.into_inner(), given)?).await?;
        Ok(Response::new(InviteClusterResponse {
            done: Some(invited.done),
            manifest: invited.manifest,
            expires_at_ms: invited.expires_at_ms,
        }))
    }

    async fn rename_cluster(&self, request: Request<RenameClusterRequest>) -> Reply<RenameClusterResponse> {
        let ask = request.get_ref();
        let command = Command::RenameCluster {
            name: order::cluster_name(&ask.name)?,
            new_name: order::cluster_name(&ask.new_name)?,
        };
        let outcome = self.give(&request, &ask.reason, command).await?;
        Ok(Response::new(RenameClusterResponse { done: Some(outcome.done) }))
    }

    async fn remove_cluster(&self, request: Request<RemoveClusterRequest>) -> Reply<RemoveClusterResponse> {
        let ask = request.get_ref();
        let command = Command::RemoveCluster { name: order::cluster_name(&ask.name)?, cascade: ask.cascade };
        let outcome = self.give(&request, &ask.reason, command).await?;
        Ok(Response::new(RemoveClusterResponse { done: Some(outcome.done) }))
    }

    async fn sync(&self, request: Request<SyncRequest>) -> Reply<SyncResponse> {
        let command = order::sync(request.get_ref())?;
        let outcome = self.give(&request, &request.get_ref().reason, command).await?;
        Ok(Response::new(SyncResponse { done: Some(outcome.done), clusters: outcome.clusters }))
    }

    async fn approve(&self, request: Request<ApproveRequest>) -> Reply<ApproveResponse> {
        let command = order::approve(request.get_ref())?;
        let outcome = self.give(&request, &request.get_ref().reason, command).await?;
        Ok(Response::new(ApproveResponse { done: Some(outcome.done) }))
    }
}

/// Who asks, as the door (`auth`) wrote it down.
fn caller<T>(request: &Request<T>) -> Result<Caller, Error> {
    request.extensions().get::<Caller>().cloned().ok_or(Error::Unauthenticated)
}

fn limit(asked: u32, default: usize) -> Result<usize, Error> {
    match usize::try_from(asked).unwrap_or(usize::MAX) {
        0 => Ok(default),
        limit if limit <= ROWS_MAX => Ok(limit),
        limit => {
            let sentence = format!("{limit} rows are more than one answer may have");
            Err(Error::invalid(
                sentence,
                format!("the bound is {ROWS_MAX}"),
                "ask again from where the answer ended",
            ))
        }
    }
}

/// A filter whose texts are bounded and whose commit is a real beginning of one.
fn filter(filter: Option<EventFilter>) -> Result<EventFilter, Error> {
    let mut filter = filter.unwrap_or_default();
    filter.commit.make_ascii_lowercase();
    let hexadecimal = filter.commit.bytes().all(|c| c.is_ascii_hexdigit());
    let long_enough = (COMMIT_CHARS_MIN..=64).contains(&filter.commit.len());
    let searchable = filter.commit.is_empty() || (hexadecimal && long_enough);
    if !searchable {
        let sentence = format!("{:?} is not the beginning of a commit id", filter.commit);
        return Err(Error::invalid(sentence, "at least 4 hexadecimal characters", "git log --oneline"));
    }
    let texts = [&filter.cluster, &filter.app, &filter.actor, &filter.source];
    let long = texts.into_iter().chain(&filter.kinds).any(|text| text.len() > FILTER_BYTES_MAX);
    if long || filter.kinds.len() > KINDS_MAX {
        let cause = format!("at most {KINDS_MAX} kinds, and {FILTER_BYTES_MAX} bytes per text");
        return Err(Error::invalid("the filter is too long", cause, "taffrail help log"));
    }
    if filter.to_ms != 0 && filter.from_ms >= filter.to_ms {
        let sentence = "the time asked for ends before it begins";
        return Err(Error::invalid(sentence, "`from` must be earlier than `to`", "taffrail help log"));
    }
    Ok(filter)
}
