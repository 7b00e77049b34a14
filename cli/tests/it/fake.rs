//! A fleet in memory: fixed rows, and a record of what it was told.

use std::pin::Pin;
use std::sync::Mutex;

use futures::Stream;
use taffrail_proto::api::status_with_detail;
use taffrail_proto::v1::*;
use tokio::sync::watch;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::WatchStream;
use tonic::{Code, Request, Response, Status};

use crate::setup::TOKEN;

/// 2026-11-24T14:05:00Z.
pub(crate) const NOW_MS: u64 = 1_795_529_100_000;
/// The commit that runs, and the one that does not come through.
pub(crate) const GOOD: &str = "4f1c2a9b7d3e5f60718293a4b5c6d7e8f9012345";
pub(crate) const BAD: &str = "bad0c0ffee3e5f60718293a4b5c6d7e8f9012345";

/// What it says, and what it was told.
pub(crate) struct Fake {
    /// Whether the broken instance has recovered.
    pub(crate) recovered: watch::Sender<bool>,
    /// Index of the newest event.
    pub(crate) tail: watch::Sender<u64>,
    /// Every order, as its debug text.
    pub(crate) told: Mutex<Vec<String>>,
}

type Reply<T> = Result<Response<T>, Status>;

impl Fake {
    pub(crate) fn new() -> Fake {
        Fake { recovered: watch::Sender::new(false), tail: watch::Sender::new(42), told: Mutex::default() }
    }

    fn admit<T: std::fmt::Debug>(request: &Request<T>) -> Result<(), Status> {
        let given = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        if given == Some(&format!("Bearer {TOKEN}")) {
            return Ok(());
        }
        Err(refusal(
            Code::Unauthenticated,
            "the hub does not know this token",
            "API-001",
            "taffrail ctx list",
        ))
    }

    fn tell<T: std::fmt::Debug>(&self, request: &Request<T>) -> Result<Option<Done>, Status> {
        Fake::admit(request)?;
        self.told.lock().unwrap().push(format!("{:?}", request.get_ref()));
        Ok(Some(Done {
            event_index: 43,
            did: "it is done".into(),
            changed: true,
            warnings: vec!["mind the gap".into()],
        }))
    }

    fn view(&self) -> View {
        View { state_index: *self.tail.borrow(), as_of_ms: NOW_MS - 2_000, now_ms: NOW_MS }
    }

    fn payments(&self, objects: bool) -> AppRow {
        let well = |cluster: &str, connection: ConnectionStatus, heard_at_ms: u64| InstanceRow {
            app: "payments-api".into(),
            cluster: cluster.into(),
            connection: connection as i32,
            sync: SyncStatus::Synced as i32,
            health: HealthStatus::Healthy as i32,
            reported_sync: SyncStatus::Synced as i32,
            reported_health: HealthStatus::Healthy as i32,
            desired_commit: GOOD.into(),
            running_commit: GOOD.into(),
            heard_at_ms,
            state_index: 42,
            ..InstanceRow::default()
        };
        let mut bad = well("us-1", ConnectionStatus::Connected, NOW_MS - 1_000);
        let recovered = *self.recovered.borrow();
        if !recovered {
            bad.set_sync(SyncStatus::Failed);
            bad.set_health(HealthStatus::Degraded);
            bad.desired_commit = BAD.into();
            bad.causes = vec![Cause {
                object: "Pod/payments/api-1".into(),
                cause: "ImagePullBackOff".into(),
                message: "no such image: api:2\u{1b}[31m".into(),
            }];
        }
        let mut first = well("eu-1", ConnectionStatus::Connected, NOW_MS - 3_000);
        if objects {
            let object = |kind: &str, name: &str, owner: &str| ObjectRow {
                kind: kind.into(),
                namespace: "payments".into(),
                name: name.into(),
                owner: owner.into(),
                sync: SyncStatus::Synced as i32,
                health: HealthStatus::Healthy as i32,
                ..ObjectRow::default()
            };
            let mut drifted = object("Deployment", "api", "");
            drifted.drifted_fields = vec![".spec.replicas".into()];
            drifted.drifted_by = "kubectl-edit".into();
            first.objects = vec![
                drifted,
                object("ReplicaSet", "api-1", "Deployment/payments/api"),
                object("Pod", "api-1-a", "ReplicaSet/payments/api-1"),
                object("Service", "api", ""),
            ];
        }
        // The silent one says Healthy here: the command must not believe it.
        let silent = well("eu-2", ConnectionStatus::Silent, NOW_MS - 14 * 60_000);
        AppRow {
            name: "payments-api".into(),
            source: "fleet".into(),
            namespace: "payments".into(),
            automated: true,
            commit: BAD.into(),
            sync: if recovered { SyncStatus::Unknown } else { SyncStatus::Failed } as i32,
            health: if recovered { HealthStatus::Unknown } else { HealthStatus::Degraded } as i32,
            instances: vec![first, silent, bad],
            instances_total: 3,
            instances_synced: if recovered { 2 } else { 1 },
            instances_healthy: if recovered { 2 } else { 1 },
            instances_unknown: 1,
            heard_at_ms: NOW_MS - 14 * 60_000,
            state_index: 42,
            repo: "https://git.example.com/fleet.git".into(),
            path: "apps/payments-api/overlays/production".into(),
            revision: "main".into(),
            ..AppRow::default()
        }
    }

    fn orders() -> AppRow {
        let parked = InstanceRow {
            app: "orders".into(),
            cluster: "eu-1".into(),
            connection: ConnectionStatus::Connected as i32,
            sync: SyncStatus::Parked as i32,
            health: HealthStatus::Healthy as i32,
            desired_commit: BAD.into(),
            running_commit: GOOD.into(),
            heard_at_ms: NOW_MS - 3_000,
            parked_reason: "6 of 20 objects would be deleted".into(),
            approvals: vec![PendingApproval {
                what: "shrink".into(),
                message: "6 of 20 objects would be deleted, 4 are allowed".into(),
                objects: vec!["ConfigMap/orders/a".into(), "ConfigMap/orders/b".into()],
                since_ms: NOW_MS - 60_000,
                event_index: 40,
                bundle: "0a1b2c3d4e5f".repeat(6)[..64].into(),
            }],
            ..InstanceRow::default()
        };
        AppRow {
            name: "orders".into(),
            source: "fleet".into(),
            commit: BAD.into(),
            sync: SyncStatus::Parked as i32,
            health: HealthStatus::Healthy as i32,
            instances: vec![parked],
            instances_total: 1,
            instances_healthy: 1,
            heard_at_ms: NOW_MS - 3_000,
            ..AppRow::default()
        }
    }

    fn events(&self) -> Vec<EventRow> {
        let event = |index: u64| EventRow {
            index,
            appended_at_ms: NOW_MS - 1_000 * (50 - index.min(50)),
            at_ms: NOW_MS - 1_000 * (50 - index.min(50)),
            kind: if index.is_multiple_of(2) { "IndexRaised" } else { "CommitSeen" }.into(),
            app: "payments-api".into(),
            commit: GOOD.into(),
            actor: "hub".into(),
            summary: format!("event number {index}"),
            detail_json: r#"{"track":{"url":"https://git.example.com/fleet.git","revision":"main"},"n":1}"#
                .into(),
            cause_index: index - 1,
            ..EventRow::default()
        };
        (38..=*self.tail.borrow()).map(event).collect()
    }
}

fn refusal(code: Code, sentence: &str, number: &str, next: &str) -> Status {
    let detail = ErrorDetail { code: number.into(), cause: "because of a test".into(), next: next.into() };
    status_with_detail(code, sentence, detail)
}

fn not_found(what: &str, name: &str) -> Status {
    let next = format!("taffrail get {what}s");
    refusal(Code::NotFound, &format!("no {what} is called {name:?}"), "API-002", &next)
}

#[tonic::async_trait]
impl fleet_server::Fleet for Fake {
    type WatchEventsStream = Pin<Box<dyn Stream<Item = Result<WatchEventsResponse, Status>> + Send>>;

    async fn list_clusters(&self, request: Request<ListClustersRequest>) -> Reply<ListClustersResponse> {
        Fake::admit(&request)?;
        let row = |name: &str, connection: ConnectionStatus, heard_at_ms: u64| ClusterRow {
            name: name.into(),
            connection: connection as i32,
            heard_at_ms,
            labels: [("region".to_owned(), name[..2].to_owned())].into(),
            state_index: 42,
            instances: 2,
            instances_synced: 2,
            instances_healthy: 1,
            agent_version: "0.1.0".into(),
            kubernetes_version: "v1.35.0".into(),
            generation_desired: 9,
            generation_taken: 9,
            ..ClusterRow::default()
        };
        let mut clusters = vec![
            row("eu-1", ConnectionStatus::Connected, NOW_MS - 3_000),
            row("eu-2", ConnectionStatus::Silent, NOW_MS - 14 * 60_000),
            row("lab", ConnectionStatus::NeverJoined, 0),
        ];
        let ask = request.into_inner();
        clusters.retain(|row| ask.name.is_empty() || ask.name == row.name);
        if clusters.is_empty() {
            return Err(not_found("cluster", &ask.name));
        }
        // Two rows a page, so that the command has to turn one.
        clusters.retain(|row| row.name > ask.page_token);
        let more = clusters.len() > 2;
        clusters.truncate(2);
        let next_page_token = if more { clusters[1].name.clone() } else { String::new() };
        Ok(Response::new(ListClustersResponse { view: Some(self.view()), clusters, next_page_token }))
    }

    async fn list_apps(&self, request: Request<ListAppsRequest>) -> Reply<ListAppsResponse> {
        Fake::admit(&request)?;
        let apps = if request.get_ref().source == "none" {
            vec![]
        } else {
            vec![Fake::orders(), self.payments(false)]
        };
        Ok(Response::new(ListAppsResponse { view: Some(self.view()), apps, next_page_token: String::new() }))
    }

    async fn get_app(&self, request: Request<GetAppRequest>) -> Reply<GetAppResponse> {
        Fake::admit(&request)?;
        let ask = request.into_inner();
        let app = match ask.app.as_str() {
            "payments-api" => self.payments(ask.with_objects),
            "orders" => Fake::orders(),
            // An answer without a view: the command must not show it.
            "old" => return Ok(Response::new(GetAppResponse { view: None, app: Some(Fake::orders()) })),
            name => return Err(not_found("app", name)),
        };
        Ok(Response::new(GetAppResponse { view: Some(self.view()), app: Some(app) }))
    }

    async fn list_sources(&self, request: Request<ListSourcesRequest>) -> Reply<ListSourcesResponse> {
        Fake::admit(&request)?;
        let source = SourceRow {
            name: "fleet".into(),
            url: "https://git.example.com/fleet.git".into(),
            revision: "main".into(),
            status: SourceStatus::Parked as i32,
            head_commit: GOOD.into(),
            head_subject: "Raise the limit".into(),
            looked_at_ms: NOW_MS - 12_000,
            apps: 2,
            credential: "token".into(),
            message: "main was rewritten".into(),
            parked_commit: BAD.into(),
            ..SourceRow::default()
        };
        Ok(Response::new(ListSourcesResponse {
            view: Some(self.view()),
            sources: vec![source],
            ..Default::default()
        }))
    }

    async fn list_events(&self, request: Request<ListEventsRequest>) -> Reply<ListEventsResponse> {
        Fake::admit(&request)?;
        let ask = request.into_inner();
        let mut events = self.events();
        let filter = ask.filter.unwrap_or_default();
        events.retain(|event| event.commit.starts_with(&filter.commit));
        events.retain(|event| filter.kinds.is_empty() || filter.kinds.contains(&event.kind));
        events.retain(|event| ask.before_index == 0 || event.index < ask.before_index);
        events.reverse();
        // At most two at once, so that the command has to ask again.
        let keep = usize::try_from(ask.limit).unwrap().min(2);
        let more = events.len() > keep;
        events.truncate(keep);
        let reached_index = events.last().map_or(0, |event| event.index);
        Ok(Response::new(ListEventsResponse { view: Some(self.view()), events, more, reached_index }))
    }

    async fn watch_events(&self, request: Request<WatchEventsRequest>) -> Reply<Self::WatchEventsStream> {
        Fake::admit(&request)?;
        let after = request.get_ref().after_index;
        let batches = WatchStream::new(self.tail.subscribe()).map(move |tail| {
            let event = EventRow {
                index: tail,
                summary: "it came".into(),
                kind: "CommitSeen".into(),
                ..EventRow::default()
            };
            let events = if tail > after { vec![event] } else { vec![] };
            let view = Some(View { state_index: tail, as_of_ms: NOW_MS, now_ms: NOW_MS });
            Ok(WatchEventsResponse { view, events, reached_index: tail })
        });
        Ok(Response::new(Box::pin(batches)))
    }

    async fn history(&self, request: Request<HistoryRequest>) -> Reply<HistoryResponse> {
        Fake::admit(&request)?;
        let row = |commit: &str, outcome: &str, clusters_healthy: u32, finished_at_ms: u64| HistoryRow {
            commit: commit.into(),
            subject: "Raise the limit".into(),
            author: "ann".into(),
            seen_at_ms: NOW_MS - 70_000,
            ordered_at_ms: NOW_MS - 69_000,
            finished_at_ms,
            clusters_total: 3,
            clusters_healthy,
            outcome: outcome.into(),
            ..HistoryRow::default()
        };
        let deliveries = vec![row(BAD, "failed", 0, 0), row(GOOD, "delivered", 3, NOW_MS - 60_000)];
        Ok(Response::new(HistoryResponse { view: Some(self.view()), deliveries, more: true }))
    }

    async fn check(&self, request: Request<CheckRequest>) -> Reply<CheckResponse> {
        Fake::admit(&request)?;
        let part = |name: &str, status: PartStatus, message: &str| Part {
            name: name.into(),
            status: status as i32,
            message: message.into(),
            looked_at_ms: NOW_MS - 500,
            ..Part::default()
        };
        let mut nats = part("nats", PartStatus::Failed, "not connected");
        nats.cause = "connection refused".into();
        nats.next = "journalctl -u nats".into();
        let recovered = *self.recovered.borrow();
        let mut parts = vec![part("log", PartStatus::Ok, "open")];
        if !recovered {
            parts.push(nats);
        }
        Ok(Response::new(CheckResponse { view: Some(self.view()), parts, hub_version: "0.1.0".into() }))
    }

    async fn add_source(&self, request: Request<AddSourceRequest>) -> Reply<AddSourceResponse> {
        Ok(Response::new(AddSourceResponse { done: self.tell(&request)?, name: "fleet".into() }))
    }

    async fn allow_source(&self, request: Request<AllowSourceRequest>) -> Reply<AllowSourceResponse> {
        Ok(Response::new(AllowSourceResponse { done: self.tell(&request)? }))
    }

    async fn remove_source(&self, request: Request<RemoveSourceRequest>) -> Reply<RemoveSourceResponse> {
        Ok(Response::new(RemoveSourceResponse { done: self.tell(&request)? }))
    }

    async fn invite_cluster(&self, request: Request<InviteClusterRequest>) -> Reply<InviteClusterResponse> {
        let done = self.tell(&request)?;
        if request.get_ref().name == "eu-1" {
            return Err(refusal(
                Code::AlreadyExists,
                "a cluster is called eu-1",
                "API-004",
                "taffrail get clusters",
            ));
        }
        let manifest = "apiVersion: v1\nkind: Namespace\n".to_owned();
        Ok(Response::new(InviteClusterResponse { done, manifest, expires_at_ms: NOW_MS + 3_600_000 }))
    }

    async fn rename_cluster(&self, request: Request<RenameClusterRequest>) -> Reply<RenameClusterResponse> {
        Ok(Response::new(RenameClusterResponse { done: self.tell(&request)? }))
    }

    async fn remove_cluster(&self, request: Request<RemoveClusterRequest>) -> Reply<RemoveClusterResponse> {
        Ok(Response::new(RemoveClusterResponse { done: self.tell(&request)? }))
    }

    async fn sync(&self, request: Request<SyncRequest>) -> Reply<SyncResponse> {
        Ok(Response::new(SyncResponse { done: self.tell(&request)?, clusters: vec!["eu-1".into()] }))
    }

    async fn approve(&self, request: Request<ApproveRequest>) -> Reply<ApproveResponse> {
        self.tell(&request)?;
        Err(refusal(Code::FailedPrecondition, "nothing waits for approval", "API-005", "taffrail get apps"))
    }
}
