//! The port as clients meet it: real TLS, a real gRPC client, tokens right and wrong.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::{HeaderMap, StatusCode};
use rustls_pki_types::PrivateKeyDer;
use taffrail_proto::api::detail_of;
use taffrail_proto::v1::fleet_client::FleetClient;
use taffrail_proto::v1::{
    CheckRequest, EventFilter, GetAppRequest, HealthStatus, HistoryRequest, ListAppsRequest,
    ListClustersRequest, ListEventsRequest, ListSourcesRequest, PartStatus, SyncRequest, SyncStatus,
    WatchEventsRequest,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::auth::Keyring;
use super::fake::Fake;
use super::http::{HOOK_BYTES_MAX, Hook, Served, router};
use super::serve::serve;
use super::service::{Command, Fleet};

/// Longest wait for a fact in these tests; they need milliseconds.
const LIMIT: Duration = Duration::from_secs(20);

type AddToken = Box<dyn FnMut(Request<()>) -> Result<Request<()>, Status> + Send + Sync>;
type Client = FleetClient<InterceptedService<Channel, AddToken>>;

struct Deaf;

#[async_trait]
impl Hook for Deaf {
    async fn received(&self, headers: &HeaderMap, body: &[u8]) -> StatusCode {
        if headers.contains_key("x-hub-signature-256") && body == b"{}" {
            StatusCode::ACCEPTED
        } else {
            StatusCode::UNAUTHORIZED
        }
    }
}

/// A hub's port with a fleet in memory behind it.
struct Port {
    address: SocketAddr,
    ca: String,
    token: String,
    fleet: Arc<Fake>,
    stop: CancellationToken,
    served: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Port {
    async fn open() -> Port {
        taffrail_runtime::tls::install_crypto();
        let pair =
            rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
        let mut tls = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![pair.cert.der().clone()], key)
            .unwrap();
        tls.alpn_protocols = taffrail_runtime::tls::HTTP.map(<[u8]>::to_vec).to_vec();

        let folder = tempfile::tempdir().unwrap();
        let opened = Keyring::open(&folder.path().join("administrators.json")).unwrap();
        let fleet = Arc::new(Fake::new());
        let stop = CancellationToken::new();
        let served = Served {
            fleet: Arc::clone(&fleet) as Arc<dyn Fleet>,
            keyring: opened.keyring,
            metrics: Arc::new(|| "taffrail_up 1\n# EOF\n".to_owned()),
            hook: Arc::new(Deaf),
            join: axum::Router::new().route("/v1/join", axum::routing::post(|| async { "joined" })),
        };
        let router = router(served, stop.clone()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(serve(listener, Arc::new(tls), router, stop.clone()));
        let token = opened.fresh.unwrap().0;
        Port { address, ca: pair.cert.pem(), token, fleet, stop, served, _folder: folder }
    }

    async fn channel(&self) -> Channel {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.ca));
        let endpoint = Endpoint::from_shared(format!("https://{}", self.address)).unwrap();
        endpoint.tls_config(tls).unwrap().connect().await.unwrap()
    }

    async fn client(&self) -> Client {
        self.client_with(format!("Bearer {}", self.token)).await
    }

    async fn client_with(&self, authorization: String) -> Client {
        let add: AddToken = Box::new(move |mut request| {
            if !authorization.is_empty() {
                request.metadata_mut().insert("authorization", authorization.parse().unwrap());
            }
            Ok(request)
        });
        FleetClient::with_interceptor(self.channel().await, add)
    }

    fn browser(&self) -> reqwest::Client {
        let tls = taffrail_runtime::tls::client_config(&self.ca).unwrap();
        reqwest::Client::builder().tls_backend_preconfigured(tls).build().unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }
}

fn code_of(status: &Status) -> String {
    detail_of(status).map(|detail| detail.code).unwrap_or_default()
}

#[tokio::test]
async fn nobody_gets_an_answer_without_a_known_token() {
    let port = Port::open().await;
    let almost = port.token[..port.token.len() - 1].to_owned();
    for authorization in
        [String::new(), "Bearer ".into(), format!("Bearer {almost}"), format!("Basic {}", port.token)]
    {
        let mut client = port.client_with(authorization.clone()).await;
        let status = client.list_clusters(ListClustersRequest::default()).await.unwrap_err();
        assert_eq!(
            (status.code(), code_of(&status).as_str()),
            (Code::Unauthenticated, "API-001"),
            "{authorization}"
        );
        let ask = SyncRequest { app: "payments-api".into(), ..SyncRequest::default() };
        assert_eq!(client.sync(ask).await.unwrap_err().code(), Code::Unauthenticated);
    }
    assert!(port.fleet.orders.lock().unwrap().is_empty());
}

#[tokio::test]
async fn clusters_are_sorted_selected_and_silent_ones_count_nothing() {
    let port = Port::open().await;
    let mut client = port.client().await;
    let ask = ListClustersRequest { selector: "region=eu".into(), ..ListClustersRequest::default() };
    let answer = client.list_clusters(ask).await.unwrap().into_inner();
    let names: Vec<(&str, u32)> =
        answer.clusters.iter().map(|row| (row.name.as_str(), row.instances_healthy)).collect();
    assert_eq!(names, [("eu-1", 1), ("eu-2", 0)]);
    assert_eq!(answer.view.unwrap().now_ms, 61_000);

    let ask = ListClustersRequest { selector: "region in".into(), ..ListClustersRequest::default() };
    assert_eq!(code_of(&client.list_clusters(ask).await.unwrap_err()), "API-003");
    let ask = ListClustersRequest { name: "mars".into(), ..ListClustersRequest::default() };
    assert_eq!(code_of(&client.list_clusters(ask).await.unwrap_err()), "API-002");
}

#[tokio::test]
async fn an_app_with_a_silent_cluster_is_unknown_unless_that_cluster_is_left_out() {
    let port = Port::open().await;
    let mut client = port.client().await;
    let all = GetAppRequest { app: "payments-api".into(), ..GetAppRequest::default() };
    let app = client.get_app(all.clone()).await.unwrap().into_inner().app.unwrap();
    assert_eq!(
        (app.sync(), app.health(), app.instances_unknown),
        (SyncStatus::Unknown, HealthStatus::Unknown, 1)
    );
    assert_eq!(app.instances[1].reported_health(), HealthStatus::Healthy);

    let one = GetAppRequest { cluster: "eu-1".into(), ..all };
    let app = client.get_app(one).await.unwrap().into_inner().app.unwrap();
    assert_eq!((app.health(), app.instances_total), (HealthStatus::Healthy, 1));

    let ask = ListAppsRequest { selector: "region=us".into(), ..ListAppsRequest::default() };
    assert_eq!(client.list_apps(ask).await.unwrap().into_inner().apps[0].instances_total, 1);
    let ask = ListAppsRequest { cluster: "mars".into(), ..ListAppsRequest::default() };
    assert!(client.list_apps(ask).await.unwrap().into_inner().apps.is_empty());
    let wrong = GetAppRequest { app: "other/payments-api".into(), ..GetAppRequest::default() };
    assert_eq!(code_of(&client.get_app(wrong).await.unwrap_err()), "API-002");
}

#[tokio::test]
async fn what_cannot_be_read_is_an_error_and_not_an_empty_list() {
    let port = Port::open().await;
    let mut client = port.client().await;
    let status = client.list_sources(ListSourcesRequest::default()).await.unwrap_err();
    assert_eq!((status.code(), code_of(&status).as_str()), (Code::Internal, "API-008"));
    let ask = HistoryRequest { app: "x".into(), ..HistoryRequest::default() };
    assert_eq!(client.history(ask).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn an_order_carries_who_why_and_its_trace() {
    let port = Port::open().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut request = Request::new(SyncRequest {
        app: "fleet/payments-api".into(),
        clusters: vec!["eu-1".into()],
        reason: "release 12".into(),
    });
    request.metadata_mut().insert("traceparent", trace.parse().unwrap());
    let answer = port.client().await.sync(request).await.unwrap().into_inner();
    assert_eq!((answer.done.unwrap().event_index, answer.clusters), (7, vec!["eu-1".to_owned()]));
    let orders = port.fleet.orders.lock().unwrap();
    assert_eq!((orders[0].by.name.as_str(), orders[0].reason.as_str()), ("admin", "release 12"));
    assert_eq!(orders[0].traceparent.as_deref(), Some(trace));
    assert!(matches!(&orders[0].command, Command::Sync { clusters, .. } if clusters.len() == 1));
}

#[tokio::test]
async fn bad_names_never_reach_the_fleet() {
    let port = Port::open().await;
    let mut client = port.client().await;
    for app in ["", "Payments", "a/b/c"] {
        let status =
            client.sync(SyncRequest { app: app.into(), ..SyncRequest::default() }).await.unwrap_err();
        assert_eq!(code_of(&status), "API-003", "{app}");
    }
    for commit in ["abc", "xyzw"] {
        let filter = Some(EventFilter { commit: commit.into(), ..EventFilter::default() });
        let ask = ListEventsRequest { filter, ..ListEventsRequest::default() };
        assert_eq!(code_of(&client.list_events(ask).await.unwrap_err()), "API-003", "{commit}");
    }
    assert!(port.fleet.orders.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_watch_shows_each_event_once_old_ones_and_new_ones() {
    let port = Port::open().await;
    for at in 0..700 {
        port.fleet.append(if at % 2 == 0 { "eu-1" } else { "us-1" });
    }
    let filter = Some(EventFilter { cluster: "eu-1".into(), ..EventFilter::default() });
    let ask = WatchEventsRequest { filter, after_index: 2, follow: true };
    let mut stream = port.client().await.watch_events(ask).await.unwrap().into_inner();
    let mut seen: Vec<u64> = Vec::new();
    let mut appended = false;
    let read = async {
        while seen.len() < 350 {
            let batch = stream.message().await.unwrap().unwrap();
            seen.extend(batch.events.iter().map(|event| event.index));
            assert!(seen.last().is_none_or(|last| *last <= batch.reached_index));
            if seen.len() == 349 && !appended {
                appended = true;
                port.fleet.append("us-1");
                port.fleet.append("eu-1");
            }
        }
    };
    tokio::time::timeout(LIMIT, read).await.unwrap();
    let expected: Vec<u64> = (3..=699).step_by(2).chain([702]).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_watch_that_does_not_follow_ends_at_the_end_of_the_log() {
    let port = Port::open().await;
    (0..1_200).for_each(|_| port.fleet.append("eu-1"));
    let ask = WatchEventsRequest { follow: false, ..WatchEventsRequest::default() };
    let mut stream = port.client().await.watch_events(ask).await.unwrap().into_inner();
    let mut count = 0;
    while let Some(batch) = tokio::time::timeout(LIMIT, stream.message()).await.unwrap().unwrap() {
        count += batch.events.len();
    }
    assert_eq!(count, 1_200);
}

#[tokio::test]
async fn reflection_lists_the_service_and_health_says_serving() {
    let port = Port::open().await;
    let ask = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(port.channel().await);
    let mut answers = client.server_reflection_info(futures::stream::iter([ask])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    assert!(names.contains(&taffrail_proto::api::FLEET_SERVICE.to_owned()), "{names:?}");

    let mut health = tonic_health::pb::health_client::HealthClient::new(port.channel().await);
    let service = taffrail_proto::api::FLEET_SERVICE.to_owned();
    let answer = health.check(tonic_health::pb::HealthCheckRequest { service }).await.unwrap().into_inner();
    assert_eq!(answer.status, tonic_health::pb::health_check_response::ServingStatus::Serving as i32);
}

#[tokio::test]
async fn plain_paths_answer_beside_grpc() {
    let port = Port::open().await;
    let browser = port.browser();
    let get = async |path: &str| {
        let answer = browser.get(port.url(path)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(get("/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(get("/readyz").await, (200, "ready\n".to_owned()));
    assert_eq!(get("/readyz?verbose").await, (200, "[+] log: open\nready\n".to_owned()));
    assert_eq!(get("/metrics").await, (200, "taffrail_up 1\n# EOF\n".to_owned()));
    port.fleet.parts.lock().unwrap()[0].status = PartStatus::Unknown as i32;
    assert_eq!(get("/readyz").await, (503, "[-] log: open\nnot ready\n".to_owned()));
    port.fleet.parts.lock().unwrap().clear();
    assert_eq!(get("/readyz").await.0, 503, "a hub that cannot name its parts is not ready");
    let joined = browser.post(port.url("/v1/join")).send().await.unwrap();
    assert_eq!(joined.status().as_u16(), 200);
    let parts = port.client().await.check(CheckRequest {}).await.unwrap().into_inner().parts;
    assert!(parts.is_empty());
}

#[tokio::test]
async fn a_notice_needs_its_signature_and_a_bounded_body() {
    let port = Port::open().await;
    let browser = port.browser();
    let send = async |body: Vec<u8>, signed: bool| {
        let mut request = browser.post(port.url("/hooks/git")).body(body);
        if signed {
            request = request.header("x-hub-signature-256", "sha256=00");
        }
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(send(b"{}".to_vec(), true).await, 202);
    assert_eq!(send(b"{}".to_vec(), false).await, 401);
    assert_eq!(send(vec![b' '; HOOK_BYTES_MAX + 1], true).await, 413);
}

#[tokio::test]
async fn a_hub_that_stops_ends_its_streams_and_its_listener() {
    let port = Port::open().await;
    let ask = WatchEventsRequest { follow: true, ..WatchEventsRequest::default() };
    let mut stream = port.client().await.watch_events(ask).await.unwrap().into_inner();
    port.stop.cancel();
    let ended = tokio::time::timeout(LIMIT, stream.message()).await.unwrap();
    assert!(!matches!(ended, Ok(Some(_))), "{ended:?}");
    tokio::time::timeout(LIMIT, port.served).await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(port.address).await.is_err());
}
