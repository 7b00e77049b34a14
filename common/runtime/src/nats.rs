//! Connecting to NATS, in one place: credentials, TLS, reconnecting, and who hears of it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use async_nats::header::{NATS_STREAM, NATS_SUBJECT};
use async_nats::{Auth, AuthError, Client, ClientError, ConnectOptions, Event, Message};
use nkeys::KeyPair;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::sync::watch;

/// Commands that wait for the connection; whoever publishes more waits. With 1 MiB each, 256 MiB at the worst.
const COMMANDS_MAX: usize = 256;
/// Messages that wait for one subscriber; more are dropped by the client, logged, and sent again by their sender.
const MESSAGES_MAX: usize = 512;
/// Time for one attempt to connect, TLS and login included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for a reply, where the caller gives none.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between pings; a silent peer is given up after two unanswered ones.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Longest pause between two attempts. A fleet comes back within it, without a stampede.
const DELAY_MAX_MS: u64 = 8_000;
/// Shortest pause range; the first attempt is spread over it.
const DELAY_MIN_MS: u64 = 100;

/// What goes wrong before there is a connection to speak of.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The seed is not an nkey seed.
    #[error("read NATS seed")]
    Seed(#[source] nkeys::error::Error),
    /// A certificate in the given PEM text cannot be read.
    #[error("read certificate authority for NATS")]
    Authority(#[source] rustls_pki_types::pem::Error),
    /// The PEM text holds no certificate, or one that cannot be trusted.
    #[error("use certificate authority for NATS")]
    Trust(#[source] rustls::Error),
    /// The PEM text holds no certificate at all.
    #[error("no certificate in the certificate authority for NATS")]
    NoAuthority,
    /// The first attempt failed and [`First::MustSucceed`] was asked for.
    #[error("connect to NATS")]
    Connect(#[source] async_nats::ConnectError),
    /// The same, because the server's certificate begins later than it is by this machine's clock.
    #[error("connect to NATS (this machine's clock is behind; next: timedatectl status)")]
    Clock(#[source] async_nats::ConnectError),
    /// Reconnecting could not be asked for: the client has ended.
    #[error("reconnect to NATS with new credentials")]
    Reconnect(#[source] async_nats::client::ReconnectError),
    /// A direct get got no answer.
    #[error("read {subject} from NATS")]
    Get {
        /// What was asked for.
        subject: String,
        #[source]
        source: async_nats::client::RequestError,
    },
    /// A direct get was answered with a status that is neither a message nor "not found".
    #[error("read {subject} from NATS: status {status}")]
    Status {
        /// What was asked for.
        subject: String,
        /// The server's status code.
        status: u16,
    },
    /// A direct get was answered with another message than the one asked for, or by someone else.
    #[error("read {subject} from NATS: the answer is not from that subject of {stream}")]
    Other {
        /// What was asked for.
        subject: String,
        /// The stream that it should have come from.
        stream: String,
    },
}

/// NATS status of a direct get: there is no such message.
const NOT_FOUND: u16 = 404;

/// A user's JWT and the key that answers the server's nonce. Never shown.
#[derive(Clone)]
struct Credential {
    jwt: String,
    key: Arc<KeyPair>,
}

/// Who connects. Clones share one credential, and [`Login::replace`] renews it for the next connection.
#[derive(Clone)]
pub struct Login(Arc<RwLock<Credential>>);

impl fmt::Debug for Login {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Login(..)")
    }
}

impl Login {
    /// A login from a user's JWT and its seed (`SU...`).
    ///
    /// # Errors
    /// [`Error::Seed`] if the seed cannot be read.
    pub fn new(jwt: &str, seed: &str) -> Result<Login, Error> {
        Ok(Login(Arc::new(RwLock::new(credential(jwt, seed)?))))
    }

    /// Puts another JWT and seed in place; the connection that stands is not touched.
    ///
    /// # Errors
    /// [`Error::Seed`] if the seed cannot be read; the old credential stays.
    pub fn replace(&self, jwt: &str, seed: &str) -> Result<(), Error> {
        let fresh = credential(jwt, seed)?;
        match self.0.write() {
            Ok(mut place) => *place = fresh,
            Err(poisoned) => *poisoned.into_inner() = fresh,
        }
        Ok(())
    }

    fn answer(&self, nonce: &[u8]) -> Result<Auth, AuthError> {
        let credential = match self.0.read() {
            Ok(place) => place.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        };
        let mut auth = Auth::new();
        auth.signature = Some(credential.key.sign(nonce).map_err(|_| AuthError::new("sign nonce"))?);
        auth.jwt = Some(credential.jwt);
        Ok(auth)
    }
}

fn credential(jwt: &str, seed: &str) -> Result<Credential, Error> {
    let key = KeyPair::from_seed(seed.trim()).map_err(Error::Seed)?;
    Ok(Credential { jwt: jwt.trim().to_owned(), key: Arc::new(key) })
}

/// What the first attempt to connect means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// Without a server [`connect`] fails.
    MustSucceed,
    /// [`connect`] returns at once, and the client keeps trying.
    MayWait,
}

/// Whether TLS is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// A server without TLS is refused. The rule.
    Required,
    /// As the server says: for a server on the same machine, and for tests.
    AsOffered,
}

/// How to connect.
#[derive(Clone, Debug)]
pub struct Options {
    /// Servers, `tls://host:port` or `nats://host:port`; tried in turn.
    pub urls: Vec<String>,
    /// Who connects.
    pub login: Login,
    /// Certificate authorities to trust, as PEM; `None` trusts those of the system.
    pub ca_pem: Option<String>,
    /// Name of the connection in the server's listings.
    pub name: String,
    /// Prefix of the reply subjects, where the user may not use the common one.
    pub inbox_prefix: Option<String>,
    /// Whether TLS is asked for.
    pub tls: Tls,
    /// What the first attempt means.
    pub first: First,
}

/// Pause between two attempts of a connection that was ended: the client knows no other way to stop.
const DELAY_ENDED: Duration = Duration::from_hours(24);

/// How the connection stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Whether there is a connection now.
    pub up: bool,
    /// How often one was made. A changed number means that something may have been missed.
    pub connects: u64,
    /// How often the server did not take the login, or took it back.
    pub refusals: u64,
}

/// A client with its login and what is known of its connection. Clones share both.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The client itself; it reconnects for ever.
    pub client: Client,
    /// How the connection stands, with every change.
    pub link: watch::Receiver<Link>,
    login: Login,
    ended: Arc<AtomicBool>,
}

impl Connection {
    /// Stops trying: whoever connects is welcome no more, and for good.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Puts renewed credentials in place and connects again with them. Subscriptions are kept.
    ///
    /// # Errors
    /// [`Error::Seed`] and [`Error::Reconnect`].
    pub async fn renew(&self, jwt: &str, seed: &str) -> Result<(), Error> {
        self.login.replace(jwt, seed)?;
        self.client.force_reconnect().await.map_err(Error::Reconnect)
    }
}

/// What TLS says of a certificate that is for later; the error's type does not come through the client's.
const EARLY: &str = "certificate not valid yet";

fn unconnected(error: async_nats::ConnectError) -> Error {
    if error.to_string().contains(EARLY) { Error::Clock(error) } else { Error::Connect(error) }
}

/// Connects, and goes on reconnecting with growing, jittered pauses of at most 8 s.
///
/// # Errors
/// [`Error::Authority`], [`Error::NoAuthority`] and [`Error::Trust`] for a bad `ca_pem`;
/// [`Error::Connect`] and [`Error::Clock`] with [`First::MustSucceed`].
pub async fn connect(options: Options) -> Result<Connection, Error> {
    let Options { urls, login, ca_pem, name, inbox_prefix, tls, first } = options;
    let (sender, mut link) = watch::channel(Link::default());
    let sender = Arc::new(sender);
    let asked = login.clone();
    let connection_name = name.clone();
    let ended = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&ended);
    let mut settings = ConnectOptions::with_auth_callback(move |nonce| {
        let answer = asked.answer(&nonce);
        async move { answer }
    })
    .name(name)
    .require_tls(tls == Tls::Required)
    .connection_timeout(CONNECT_TIMEOUT)
    .request_timeout(Some(REQUEST_TIMEOUT))
    .ping_interval(PING_INTERVAL)
    .client_capacity(COMMANDS_MAX)
    .subscription_capacity(MESSAGES_MAX)
    .ignore_discovered_servers()
    .reconnect_delay_callback(
        move |attempt| if over.load(Ordering::Relaxed) { DELAY_ENDED } else { delay(attempt) },
    )
    .event_callback(move |event| {
        heard(&sender, &connection_name, &event);
        async {}
    });
    if let Some(prefix) = inbox_prefix {
        settings = settings.custom_inbox_prefix(prefix);
    }
    if let Some(pem) = ca_pem {
        settings = settings.tls_client_config(trusting(&pem)?);
    }
    if first == First::MayWait {
        settings = settings.retry_on_initial_connect();
    }
    let client = settings.connect(urls).await.map_err(unconnected)?;
    if first == First::MustSucceed {
        // The connection stands; its event is on the way. Afterwards `link` is true from the first look on.
        let _ = tokio::time::timeout(CONNECT_TIMEOUT, link.wait_for(|link| link.up)).await;
    }
    Ok(Connection { client, link, login, ended })
}

/// Reads the last message of `subject` in `stream` by asking at `ask`; `None` if the server says there is none.
///
/// # Errors
/// [`Error::Get`] without an answer, [`Error::Status`] and [`Error::Other`] for an answer that is not the message:
/// what could not be read is never taken for empty.
pub async fn last_message(
    client: &Client,
    ask: String,
    stream: &str,
    subject: &str,
) -> Result<Option<Message>, Error> {
    let named = || subject.to_owned();
    let reply = client
        .send_request(ask, Request::new())
        .await
        .map_err(|source| Error::Get { subject: named(), source })?;
    match reply.status.map(|status| status.as_u16()) {
        Some(NOT_FOUND) => return Ok(None),
        Some(status) => return Err(Error::Status { subject: named(), status }),
        None => {}
    }
    let header = |name: &str| Some(reply.headers.as_ref()?.get(name)?.as_str());
    if header(NATS_STREAM.as_ref()) == Some(stream) && header(NATS_SUBJECT.as_ref()) == Some(subject) {
        Ok(Some(reply))
    } else {
        Err(Error::Other { subject: named(), stream: stream.to_owned() })
    }
}

/// Whether a request failed because nobody listens, rather than late.
pub fn is_unheard(error: &async_nats::client::RequestError) -> bool {
    error.kind() == RequestErrorKind::NoResponders
}

fn heard(sender: &watch::Sender<Link>, name: &str, event: &Event) {
    if is_refusal(event) {
        sender.send_modify(|link| link.refusals += 1);
    }
    match event {
        Event::Connected => {
            sender.send_modify(|link| *link = Link { up: true, connects: link.connects + 1, ..*link });
            tracing::info!(name, "connected to nats");
        }
        Event::Disconnected | Event::Closed => {
            sender.send_if_modified(|link| std::mem::replace(&mut link.up, false));
            tracing::warn!(name, "disconnected from nats");
        }
        Event::SlowConsumer(_) => {
            tracing::warn!(name, "nats messages dropped: too many wait for their reader");
        }
        Event::ServerError(error) => tracing::warn!(name, error = %error, "nats server refused"),
        Event::ClientError(error) => tracing::debug!(name, error = %error, "nats client failed, will retry"),
        Event::LameDuckMode | Event::Draining => tracing::info!(name, "nats server is going away"),
    }
}

/// Whether the server does not take the login, at the start or later.
fn is_refusal(event: &Event) -> bool {
    let says = |text: &str| ["authorization", "authentication"].iter().any(|it| text.contains(it));
    match event {
        Event::ServerError(error) => says(&error.to_string().to_lowercase()),
        Event::ClientError(ClientError::Other(text)) => says(text),
        _ => false,
    }
}

fn trusting(pem: &str) -> Result<rustls::ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.map_err(Error::Authority)?).map_err(Error::Trust)?;
    }
    if roots.is_empty() {
        return Err(Error::NoAuthority);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::Trust)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Pause before an attempt, which counts from 1: doubling from 100 ms to 8 s, the upper half of it by chance.
fn delay(attempt: usize) -> Duration {
    let exponent = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX).min(10);
    let range = DELAY_MIN_MS.saturating_mul(1 << exponent).min(DELAY_MAX_MS);
    let floor = if attempt <= 1 { 0 } else { range / 2 };
    Duration::from_millis(floor + chance(range - floor))
}

/// A number below `bound`; without randomness the highest.
fn chance(bound: u64) -> u64 {
    let mut bytes = [0; 8];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes) % bound.max(1),
        Err(_) => bound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_shows_neither_jwt_nor_seed() {
        let seed = KeyPair::new_user().seed().unwrap();
        let login = Login::new("the.jwt.text", &seed).unwrap();
        let shown = format!("{login:?}");
        assert!(!shown.contains("jwt.text") && !shown.contains(&seed), "{shown}");
    }

    #[test]
    fn a_replaced_credential_answers_the_next_nonce() {
        let (first, second) = (KeyPair::new_user(), KeyPair::new_user());
        let login = Login::new("first", &first.seed().unwrap()).unwrap();
        login.clone().replace("second", &second.seed().unwrap()).unwrap();
        let auth = login.answer(b"nonce").unwrap();
        assert_eq!(auth.jwt.as_deref(), Some("second"));
        assert!(second.verify(b"nonce", &auth.signature.unwrap()).is_ok());
    }

    #[test]
    fn only_a_login_that_is_not_taken_counts_as_refused() {
        let server = |text: &str| Event::ServerError(async_nats::ServerError::Other(text.into()));
        let client = |text: &str| Event::ClientError(ClientError::Other(text.into()));
        let refused = [
            Event::ServerError(async_nats::ServerError::AuthorizationViolation),
            server("User Authentication Revoked"),
            server("Account Authentication Expired"),
            client(&async_nats::ConnectErrorKind::AuthorizationViolation.to_string()),
        ];
        for event in refused {
            assert!(is_refusal(&event), "{event}");
        }
        let unsigned = client(&async_nats::ConnectErrorKind::Authentication.to_string());
        let (stale, io) = (server("Stale Connection"), client("IO error"));
        for event in [unsigned, stale, io, Event::Disconnected, Event::Connected] {
            assert!(!is_refusal(&event), "{event}");
        }
    }

    #[test]
    fn pauses_grow_and_stay_bounded() {
        for attempt in [0, 1, 2, 5, 9, 30, usize::MAX] {
            assert!(delay(attempt) <= Duration::from_millis(DELAY_MAX_MS), "{attempt}");
        }
        assert!(delay(1) < Duration::from_millis(DELAY_MIN_MS));
        assert!(delay(30) >= Duration::from_millis(DELAY_MAX_MS / 2));
    }

    #[test]
    fn a_bad_certificate_authority_is_refused_by_name() {
        assert!(matches!(trusting("no pem"), Err(Error::NoAuthority)));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(trusting(broken), Err(Error::Trust(_))));
    }
}
