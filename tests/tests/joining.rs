//! Joining and renewing between the real agent and the real listener of the hub, over real TLS; who may join is decided by the core.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use taffrail_agent::identity::{
    Directory, Error, HubClient, Identity, Keys, Obtain, Renewer, Secret, Store, StoreError, obtain,
};
use taffrail_agent::kube::client::{Access, Clients};
use taffrail_agent::kube::secret as kube_secret;
use taffrail_core::cluster::{self, Command, State};
use taffrail_core::event::Actor;
use taffrail_core::id::{AccountKey, ClusterName};
use taffrail_core::time::{At, Span};
use taffrail_hub::api::serve::serve;
use taffrail_hub::join::{Admission, RenewRequest, Request, refused, router};
use taffrail_hub::tls::{Authority, Material};
use taffrail_proto::join::{Code, Joined, Refused, RenewBody, Renewal, Token, TokenBody};
use taffrail_proto::sign::{PublicKey, SigningKey};
use taffrail_runtime::backoff::Backoff;
use taffrail_runtime::nats::Link;
use taffrail_runtime::tls::{HTTP, server_config};
use taffrail_testkit::apiserver::{ApiServer, Options};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const NOW: At = At(1_900_000_000_000);
const HOUR: Span = Span::secs(3_600);
const BOUND: Duration = Duration::from_secs(30);
const QUICK: Backoff = Backoff {
    first: Duration::from_millis(5),
    factor: 2,
    limit: Duration::from_millis(50),
    jitter_percent: 0,
};

/// Who may join: the core's own decisions over a state in memory, and what happened.
struct Players {
    now: Arc<AtomicU64>,
    ca_pem: String,
    clusters: Mutex<State>,
    seen: Mutex<Vec<String>>,
    revoked: AtomicBool,
}

impl Players {
    fn joined(&self, jwt: String) -> Joined {
        Joined {
            cluster: "paris".to_owned(),
            account: account().to_string(),
            nats_jwt: jwt,
            nats_urls: vec!["tls://localhost:4222".to_owned()],
            ca_pem: self.ca_pem.clone(),
            hub_key: SigningKey::from_seed([9; 32]).public().to_string(),
            restore_key: String::new(),
            epoch: 1,
            incarnation: 0,
            valid_ms: 24 * HOUR.0,
            at_ms: self.now.load(Ordering::SeqCst),
        }
    }

    fn note(&self, what: &str) {
        self.seen.lock().expect("a lock that nobody poisoned").push(what.to_owned());
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("a lock that nobody poisoned").clone()
    }

    /// Invites one more cluster, each time under another name.
    fn issue(&self, until: At) -> Token {
        let token = Token::generate().expect("a token");
        let mut clusters = self.clusters.lock().expect("a lock that nobody poisoned");
        let invite = Command::Invite {
            cluster: ClusterName::parse(&format!("paris-{}", token.digest().short())).expect("a valid name"),
            labels: BTreeMap::new(),
            token: token.digest(),
            expires_at: until,
        };
        for event in
            cluster::decide(&clusters, &invite, &Actor::Hub, NOW).expect("an invitation that is taken")
        {
            cluster::evolve(&mut clusters, &event);
        }
        token
    }
}

fn account() -> AccountKey {
    AccountKey::parse(&format!("A{}", "B".repeat(55))).expect("a valid account")
}

#[async_trait]
impl Admission for Players {
    async fn join(&self, request: Request) -> Result<Joined, Refused> {
        let mut clusters = self.clusters.lock().expect("a lock that nobody poisoned");
        let presented = cluster::JoinRequest {
            token: request.token_digest,
            account: account(),
            event_key: request.keys.event.0,
            box_key: request.keys.boxed.as_str().to_owned(),
            user_key: request.keys.user.as_str().to_owned(),
            agent_version: request.agent_version,
            kubernetes_version: request.kubernetes_version,
        };
        match cluster::join(&clusters, &presented, At(self.now.load(Ordering::SeqCst))) {
            Ok((_, Some(event))) => {
                self.note("enrolled");
                cluster::evolve(&mut clusters, &event);
            }
            Ok((_, None)) => self.note("repeated"),
            Err((reason, _)) => {
                let refused = refused(reason);
                self.note(refused.code.as_str());
                return Err(refused);
            }
        }
        Ok(self.joined(format!("jwt of {}", request.keys.user.as_str())))
    }

    async fn event_key(&self, asked: &AccountKey) -> Result<PublicKey, Refused> {
        if self.revoked.load(Ordering::SeqCst) {
            return Err(Refused::new(Code::Revoked, "Removed in a test."));
        }
        let clusters = self.clusters.lock().expect("a lock that nobody poisoned");
        let mut enrolments = clusters.clusters.values().filter_map(|cluster| cluster.enrolment.as_ref());
        let found = enrolments.find(|enrolment| enrolment.account == *asked);
        found
            .map(|enrolment| PublicKey(enrolment.event_key))
            .ok_or_else(|| Refused::new(Code::Identity, "No such account."))
    }

    async fn renew(&self, request: RenewRequest) -> Result<Joined, Refused> {
        self.note("renewed");
        Ok(self.joined(format!("new jwt of {}", request.user.as_str())))
    }
}

/// A hub's listener with its authority.
struct Hub {
    players: Arc<Players>,
    material: Material,
    authority: Authority,
    url: String,
    stop: CancellationToken,
    now: Arc<AtomicU64>,
    _folder: tempfile::TempDir,
}

impl Hub {
    async fn start() -> Hub {
        Hub::start_on(TcpListener::bind("127.0.0.1:0").await.expect("a free port"))
    }

    fn start_on(listener: TcpListener) -> Hub {
        Hub::start_with(listener, wall_time())
    }

    /// A hub whose certificate was made at `at`, by the clock of this machine.
    fn start_with(listener: TcpListener, at: At) -> Hub {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority =
            Authority::open(folder.path(), &["hub.example.org".to_owned()], NOW).expect("an authority");
        // Certificates must hold for the clock of this machine, joining goes by the clock of the test.
        let material = Material::built_in(&authority, at).expect("a certificate");
        let now = Arc::new(AtomicU64::new(NOW.0));
        let players = Arc::new(Players {
            now: now.clone(),
            ca_pem: material.ca_pem.clone(),
            clusters: Mutex::default(),
            seen: Mutex::default(),
            revoked: AtomicBool::new(false),
        });
        let url = format!("https://{}", listener.local_addr().expect("an address"));
        let stop = CancellationToken::new();
        let app = router(players.clone(), clock(&now));
        tokio::spawn(serve(listener, tls(&material), app, stop.clone()));
        Hub { players, material, authority, url, stop, now, _folder: folder }
    }

    fn settings(&self, token: Option<Token>) -> Obtain {
        Obtain {
            hub_url: self.url.clone(),
            ca_pem: self.material.ca_pem.clone(),
            token,
            agent_version: "0.1.0".to_owned(),
            kubernetes_version: "v1.35.0".to_owned(),
            cluster_uid: "uid".to_owned(),
            backoff: QUICK,
            clock: clock(&self.now),
        }
    }

    fn client(&self) -> HubClient {
        HubClient::new(&self.url, &self.material.ca_pem).expect("a client")
    }
}

fn tls(material: &Material) -> Arc<rustls::ServerConfig> {
    Arc::new(server_config(material.shown.clone(), &HTTP))
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn clock(now: &Arc<AtomicU64>) -> Arc<dyn Fn() -> At + Send + Sync> {
    let now = now.clone();
    Arc::new(move || At(now.load(Ordering::SeqCst)))
}

fn wall_time() -> At {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970");
    At(u64::try_from(since.as_millis()).expect("a time that fits"))
}

async fn bounded<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, work).await.expect("it ends within the bound")
}

async fn ask(settings: Obtain, store: &Arc<Directory>) -> Result<Identity, Error> {
    bounded(obtain(settings, store.clone(), &CancellationToken::new())).await
}

fn code(error: Error) -> Code {
    match error {
        Error::Refused(refused) => refused.code,
        Error::Store(_) => Code::Store,
        Error::Stopped => panic!("nobody asked to stop"),
    }
}

fn folder() -> (tempfile::TempDir, Arc<Directory>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Arc::new(Directory::new(&folder.path().join("state")));
    (folder, store)
}

#[tokio::test]
async fn an_agent_joins_once_and_comes_back_without_its_token() {
    let hub = Hub::start().await;
    let (_folder, store) = folder();
    let token = hub.players.issue(NOW.plus(HOUR));
    let first = ask(hub.settings(Some(token.clone())), &store).await.unwrap();
    for given in [None, Some(token)] {
        let again = ask(hub.settings(given), &store).await.unwrap();
        assert_eq!(again.keys.user.public_key(), first.keys.user.public_key());
        assert_eq!(*again.member.borrow(), *first.member.borrow());
    }
    assert_eq!(hub.players.seen(), ["enrolled"]);
    let member = first.member.borrow().clone();
    assert_eq!(member.nats_jwt, format!("jwt of {}", first.keys.user.public_key()));
}

#[tokio::test]
async fn used_expired_and_foreign_tokens_are_refused_with_their_codes_and_seen() {
    let hub = Hub::start().await;
    let (_folder, store) = folder();
    let used = hub.players.issue(NOW.plus(HOUR));
    ask(hub.settings(Some(used.clone())), &store).await.unwrap();
    let expired = hub.players.issue(NOW);
    for (token, expected) in [
        (Some(used), Code::TokenUsed),
        (Some(expired), Code::TokenExpired),
        (Some(Token::generate().unwrap()), Code::TokenUnknown),
        (None, Code::NoToken),
    ] {
        let (_folder, store) = folder();
        let refused = ask(hub.settings(token), &store).await.err().unwrap();
        assert!(refused.to_string().contains("Next: taffrail cluster join"), "{refused}");
        assert_eq!(code(refused), expected);
    }
    assert_eq!(hub.players.seen(), ["enrolled", "JOIN-002", "JOIN-003", "JOIN-001"]);
}

#[tokio::test]
async fn a_hub_under_another_authority_or_name_is_not_given_the_token() {
    let hub = Hub::start().await;
    let foreign = Hub::start().await;
    let token = hub.players.issue(NOW.plus(HOUR));
    let port = hub.url.rsplit(':').next().unwrap().to_owned();
    let wrong_authority =
        Obtain { ca_pem: foreign.material.ca_pem.clone(), ..hub.settings(Some(token.clone())) };
    // Every 127.x.y.z is this machine, but only 127.0.0.1 is in the certificate.
    let wrong_name = Obtain { hub_url: format!("https://127.0.0.2:{port}"), ..hub.settings(Some(token)) };
    let elsewhere = TcpListener::bind(format!("127.0.0.2:{port}")).await.unwrap();
    let app = router(hub.players.clone(), clock(&hub.now));
    tokio::spawn(serve(elsewhere, tls(&hub.material), app, hub.stop.clone()));
    for settings in [wrong_authority, wrong_name] {
        let (_folder, store) = folder();
        assert_eq!(code(ask(settings, &store).await.err().unwrap()), Code::Untrusted);
    }
    assert_eq!(hub.players.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn an_agent_whose_clock_is_a_day_behind_is_told_of_its_clock_and_tries_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hub = Hub::start_with(listener, wall_time().plus(Span::secs(24 * 3_600)));
    let refused = bounded(hub.client().join(&body())).await.unwrap_err();
    assert_eq!((refused.code, refused.code.is_transient()), (Code::Clock, true), "{refused}");
    assert_eq!(refused.next, "set the node's clock: timedatectl status");
    assert!(refused.cause.contains("not valid yet"), "{refused}");
    assert_eq!(hub.players.seen(), Vec::<String>::new());
}

/// Keeps the keys but loses what comes after them, as often as told.
struct Forgetful {
    inner: Directory,
    saves: AtomicU64,
    fails: std::ops::Range<u64>,
}

#[async_trait]
impl Store for Forgetful {
    async fn load(&self) -> Result<Option<String>, StoreError> {
        self.inner.load().await
    }

    async fn save(&self, text: &str) -> Result<(), StoreError> {
        if self.fails.contains(&self.saves.fetch_add(1, Ordering::SeqCst)) {
            let source = std::io::Error::other("disk is full").into();
            return Err(StoreError { action: "keep the agent's identity".to_owned(), source });
        }
        self.inner.save(text).await
    }
}

#[tokio::test]
async fn an_agent_that_lost_the_answer_gets_it_again_with_the_same_keys() {
    let hub = Hub::start().await;
    let folder = tempfile::tempdir().unwrap();
    let store = Forgetful { inner: Directory::new(folder.path()), saves: AtomicU64::new(0), fails: 1..2 };
    let store = Arc::new(store);
    let token = hub.players.issue(NOW.plus(HOUR));
    let stop = CancellationToken::new();
    let lost = bounded(obtain(hub.settings(Some(token.clone())), store.clone(), &stop)).await;
    assert_eq!(code(lost.err().unwrap()), Code::Store);
    bounded(obtain(hub.settings(Some(token)), store, &stop)).await.unwrap();
    assert_eq!(hub.players.seen(), ["enrolled", "repeated"]);
}

#[tokio::test]
async fn without_a_place_for_its_keys_an_agent_does_not_spend_the_token() {
    let hub = Hub::start().await;
    let folder = tempfile::tempdir().unwrap();
    let store = Forgetful { inner: Directory::new(folder.path()), saves: AtomicU64::new(0), fails: 0..1 };
    let token = hub.players.issue(NOW.plus(HOUR));
    let asked = bounded(obtain(hub.settings(Some(token)), Arc::new(store), &CancellationToken::new())).await;
    assert_eq!(code(asked.err().unwrap()), Code::Store);
    assert_eq!(hub.players.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn credentials_are_renewed_long_after_their_end_and_kept() {
    let hub = Hub::start().await;
    let (_folder, store) = folder();
    let token = hub.players.issue(NOW.plus(HOUR));
    let identity = ask(hub.settings(Some(token)), &store).await.unwrap();
    hub.now.fetch_add(1_000 * HOUR.0, Ordering::SeqCst);
    let mut shown = identity.member.subscribe();
    let stop = CancellationToken::new();
    let link = watch::Sender::new(Link::default());
    let renewer = Renewer::new(identity, link.subscribe(), CancellationToken::new());
    let renewing = tokio::spawn(renewer.run(stop.clone()));
    bounded(shown.changed()).await.unwrap();
    stop.cancel();
    bounded(renewing).await.unwrap();
    let kept = ask(hub.settings(None), &store).await.unwrap();
    assert!(kept.member.borrow().nats_jwt.starts_with("new jwt"));
    assert_eq!(hub.players.seen(), ["enrolled", "renewed"]);
}

#[tokio::test]
async fn a_renewal_is_refused_for_clock_key_account_and_removal_each_by_its_code() {
    let hub = Hub::start().await;
    let (_folder, store) = folder();
    let token = hub.players.issue(NOW.plus(HOUR));
    let identity = ask(hub.settings(Some(token)), &store).await.unwrap();
    let renewal = |at: At, account: &str| Renewal {
        account: account.to_owned(),
        user_public: identity.keys.user.public_key(),
        agent_version: "0.1.0".to_owned(),
        at_ms: at.0,
        nonce: "bm9uY2U=".to_owned(),
    };
    let (mine, other) = (&identity.keys.event, SigningKey::from_seed([3; 32]));
    let account = account().to_string();
    let late = NOW.plus(Span::secs(601));
    let elsewhere = format!("A{}", "C".repeat(55));
    for (body, expected) in [
        (RenewBody::sign(&renewal(late, &account), mine), Code::Clock),
        (RenewBody::sign(&renewal(At(NOW.0 - 601_000), &account), mine), Code::Clock),
        (RenewBody::sign(&renewal(NOW, &account), &other), Code::Identity),
        (RenewBody::sign(&renewal(NOW, &elsewhere), mine), Code::Identity),
        (RenewBody { payload: "{}".to_owned(), signature: String::new() }, Code::Malformed),
    ] {
        let refused = bounded(hub.client().renew(&body)).await.unwrap_err();
        assert_eq!(refused.code, expected, "{refused}");
        if expected == Code::Clock {
            assert!(refused.cause.contains("10m1s"), "{refused}");
        }
    }
    hub.players.revoked.store(true, Ordering::SeqCst);
    let body = RenewBody::sign(&renewal(NOW, &account), mine);
    assert_eq!(bounded(hub.client().renew(&body)).await.unwrap_err().code, Code::Revoked);
    assert_eq!(hub.players.seen(), ["enrolled"]);
}

#[tokio::test]
async fn an_agent_whose_login_is_not_taken_renews_and_learns_that_it_was_removed() {
    let hub = Hub::start().await;
    let (_folder, store) = folder();
    let token = hub.players.issue(NOW.plus(HOUR));
    for (was_removed, seen) in [(false, ["enrolled", "renewed"]), (true, ["enrolled", "renewed"])] {
        let identity = ask(hub.settings(Some(token.clone())), &store).await.unwrap();
        hub.players.revoked.store(was_removed, Ordering::SeqCst);
        let mut shown = identity.member.subscribe();
        let (link, removed) = (watch::Sender::new(Link::default()), CancellationToken::new());
        let (stop, renewer) =
            (CancellationToken::new(), Renewer::new(identity, link.subscribe(), removed.clone()));
        let renewing = tokio::spawn(renewer.run(stop.clone()));
        assert!(futures::poll!(Box::pin(shown.changed())).is_pending(), "its credentials are fresh");
        link.send_modify(|link| link.refusals += 1);
        if was_removed {
            bounded(removed.cancelled()).await;
        } else {
            bounded(shown.changed()).await.unwrap();
            assert!(!removed.is_cancelled());
            stop.cancel();
        }
        bounded(renewing).await.unwrap();
        assert_eq!(hub.players.seen(), seen);
    }
}

#[tokio::test]
async fn an_agent_waits_for_a_hub_that_is_away_and_stops_when_asked() {
    let reserved = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = reserved.local_addr().unwrap();
    let sample = Hub::start().await;
    let settings = Obtain {
        hub_url: format!("https://{address}"),
        ..sample.settings(Some(sample.players.issue(NOW.plus(HOUR))))
    };
    drop(reserved);
    let refused = bounded(HubClient::new(&settings.hub_url, &settings.ca_pem).unwrap().join(&body())).await;
    assert_eq!(refused.unwrap_err().code, Code::Unreachable);

    let (_folder, store) = folder();
    let stop = CancellationToken::new();
    let waiting = tokio::spawn({
        let (settings, store, stop) = (settings.clone(), store.clone(), stop.clone());
        async move { obtain(settings, store, &stop).await }
    });
    let listener = TcpListener::bind(address).await.unwrap();
    let app = router(sample.players.clone(), clock(&sample.now));
    let served = serve(listener, tls(&sample.material), app, sample.stop.clone());
    tokio::spawn(served);
    bounded(waiting).await.unwrap().unwrap();

    stop.cancel();
    let (_folder, empty) = folder();
    let stopped = bounded(obtain(settings, empty, &stop)).await;
    assert!(matches!(stopped, Err(Error::Stopped)));
}

fn body() -> TokenBody {
    let keys = Keys::generate().expect("keys");
    TokenBody {
        token: Token::generate().expect("a token").reveal().to_owned(),
        user_public: keys.user.public_key(),
        event_public: keys.event.public().to_string(),
        box_public: keys.boxed.public().as_str().to_owned(),
        agent_version: "0.1.0".to_owned(),
        kubernetes_version: String::new(),
        cluster_uid: String::new(),
    }
}

#[tokio::test]
async fn requests_that_are_too_large_unreadable_or_too_many_never_reach_a_decision() {
    let hub = Hub::start().await;
    let keep = body();
    for (changed, expected) in [
        (TokenBody { agent_version: "x".repeat(20_000), ..keep.clone() }, Code::Malformed),
        (TokenBody { agent_version: "x".repeat(129), ..keep.clone() }, Code::Malformed),
        (TokenBody { cluster_uid: "a\nb".to_owned(), ..keep.clone() }, Code::Malformed),
        (TokenBody { user_public: keep.box_public.clone(), ..keep.clone() }, Code::Malformed),
        (TokenBody { event_public: String::new(), ..keep.clone() }, Code::Malformed),
        (TokenBody { token: "tjt_".to_owned(), ..keep.clone() }, Code::TokenUnknown),
    ] {
        let refused = bounded(hub.client().join(&changed)).await.unwrap_err();
        assert_eq!(refused.code, expected, "{refused}");
    }
    assert_eq!(hub.players.seen(), Vec::<String>::new());
    let client = hub.client();
    let mut codes = Vec::new();
    while !codes.contains(&Code::TooMany) && codes.len() < 200 {
        codes.push(bounded(client.join(&keep)).await.unwrap_err().code);
    }
    // A hundred at once, of which six were used above; the test's clock stands still.
    assert_eq!(codes.len(), 95);
}

#[tokio::test]
async fn a_certificate_that_changes_on_disk_is_shown_without_a_restart() {
    let hub = Hub::start().await;
    let before = bounded(hub.client().join(&body())).await.unwrap_err();
    assert_eq!(before.code, Code::TokenUnknown);
    let mut changes = hub.material.shown.changes();
    let stop = hub.stop.clone();
    let shown = hub.material.shown.clone();
    tokio::spawn(async move { shown.follow(Duration::from_millis(5), stop).await });
    // The same files, issued by another authority: only a client that trusts that one gets through afterwards.
    let other = Hub::start().await;
    for (from, to) in [
        (other.authority.key(), hub.authority.key()),
        (other.authority.certificate(), hub.authority.certificate()),
    ] {
        std::fs::copy(from, to).unwrap();
    }
    bounded(changes.changed()).await.unwrap();
    assert_eq!(bounded(hub.client().join(&body())).await.unwrap_err().code, Code::Untrusted);
    let trusting = HubClient::new(&hub.url, &other.material.ca_pem).unwrap();
    assert_eq!(bounded(trusting.join(&body())).await.unwrap_err().code, Code::TokenUnknown);
}

#[tokio::test]
async fn of_two_agents_that_start_at_once_one_takes_over_the_keys_of_the_other() {
    let server = ApiServer::start(Options::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, server.kubeconfig()).unwrap();
    let clients = Clients::new(&Access { kubeconfig: Some(kubeconfig), ..Access::default() }).await.unwrap();
    let store = || Arc::new(Secret::new(kube_secret::Store::new(&clients.reader, "default")));
    let (one, other) = (store(), store());
    assert_eq!(bounded(one.load()).await.unwrap(), None);
    assert_eq!(bounded(other.load()).await.unwrap(), None);
    bounded(one.save("first keys")).await.unwrap();
    assert!(bounded(other.save("second keys")).await.is_err());
    assert_eq!(bounded(other.load()).await.unwrap().as_deref(), Some("first keys"));
    bounded(other.save("the same with credentials")).await.unwrap();
    assert!(bounded(one.save("stale")).await.is_err());

    let hub = Hub::start().await;
    let empty = Arc::new(Secret::new(kube_secret::Store::new(&clients.reader, "kube-system")));
    let token = hub.players.issue(NOW.plus(HOUR));
    let stop = CancellationToken::new();
    let joined = bounded(obtain(hub.settings(Some(token)), empty.clone(), &stop)).await.unwrap();
    let again = bounded(obtain(hub.settings(None), empty, &stop)).await.unwrap();
    assert_eq!(*again.member.borrow(), *joined.member.borrow());
}
