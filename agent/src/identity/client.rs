//! Asking the hub over HTTPS; only the given authorities are trusted.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use reqwest::redirect::Policy;
use rustls::CertificateError;
use serde::Serialize;
use taffrail_proto::join::{Code, JOIN_PATH, Joined, Problem, RENEW_PATH, Refused, RenewBody, TokenBody};
use taffrail_runtime::telemetry::chain;
use taffrail_runtime::tls::client_config;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take: the hub makes an account and waits for NATS to take it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer in bytes: a JWT and a chain of certificates are below 32 KiB.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// The hub, as a cluster that wants credentials sees it.
pub struct HubClient {
    http: reqwest::Client,
    url: String,
}

impl fmt::Debug for HubClient {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "HubClient({})", self.url)
    }
}

impl HubClient {
    /// A client for the hub at `url` that trusts the authorities in `ca_pem` and nobody else. Redirects are not followed
    /// and no proxy is used, because the request carries the token.
    ///
    /// # Errors
    /// [`Refused`] with `Untrusted` if `ca_pem` holds no certificate.
    pub fn new(url: &str, ca_pem: &str) -> Result<HubClient, Refused> {
        let untrusted = |error: &dyn std::error::Error| {
            Refused::new(Code::Untrusted, format!("Cannot {}.", chain(error)))
        };
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(client_config(ca_pem).map_err(|error| untrusted(&error))?)
            .https_only(true)
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .build()
            .map_err(|error| untrusted(&error))?;
        Ok(HubClient { http, url: url.trim_end_matches('/').to_owned() })
    }

    /// Exchanges a token for credentials.
    ///
    /// # Errors
    /// [`Refused`] by the hub, or because it cannot be asked.
    pub async fn join(&self, body: &TokenBody) -> Result<Joined, Refused> {
        self.ask(JOIN_PATH, body).await
    }

    /// Renews credentials.
    ///
    /// # Errors
    /// [`Refused`] by the hub, or because it cannot be asked.
    pub async fn renew(&self, body: &RenewBody) -> Result<Joined, Refused> {
        self.ask(RENEW_PATH, body).await
    }

    async fn ask(&self, path: &str, body: &impl Serialize) -> Result<Joined, Refused> {
        let sent = self.http.post(format!("{}{path}", self.url)).json(body).send().await;
        let mut response = sent.map_err(|error| self.not_reached(&error))?;
        let status = response.status();
        let mut answer = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| self.not_reached(&error))? {
            if answer.len() + part.len() > ANSWER_BYTES_MAX {
                return Err(Refused::new(Code::Malformed, "The hub's answer is larger than 256 KiB."));
            }
            answer.extend_from_slice(&part);
        }
        if status.is_success() {
            return serde_json::from_slice(&answer)
                .map_err(|error| Refused::new(Code::Malformed, format!("The hub's answer: {error}.")));
        }
        match serde_json::from_slice::<Problem>(&answer) {
            Ok(problem) => Err(problem.into()),
            Err(_) => {
                Err(Refused::new(Code::Unavailable, format!("{} answered with status {status}.", self.url)))
            }
        }
    }

    fn not_reached(&self, error: &reqwest::Error) -> Refused {
        let code = distrust(error.source()).unwrap_or(Code::Unreachable);
        // Without the URL, which the sentence names already.
        let mut refused =
            Refused::new(code, format!("{}: {}.", self.url, error.source().map_or_else(String::new, chain)));
        refused.next = refused.next.replace("HUB-URL", &self.url);
        refused
    }
}

/// What is wrong if a certificate was the reason; the TLS error hides inside I/O errors. One that begins later than now
/// says that this machine's clock is behind.
fn distrust(mut error: Option<&(dyn std::error::Error + 'static)>) -> Option<Code> {
    while let Some(cause) = error {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            let rustls::Error::InvalidCertificate(why) = tls else { return None };
            let early =
                matches!(why, CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. });
            return Some(if early { Code::Clock } else { Code::Untrusted });
        }
        if let Some(inner) = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            return distrust(Some(inner));
        }
        error = cause.source();
    }
    None
}
