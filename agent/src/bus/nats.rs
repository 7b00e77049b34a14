//! The bus on NATS, with the rights of one cluster's account.

use std::time::Duration;

use async_nats::client::Request;
use async_nats::{Client, HeaderMap, Message};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use taffrail_core::digest::Digest;
use taffrail_core::id::AccountKey;
use taffrail_proto::subject;
use taffrail_runtime::nats::{self, Connection, First, Link, Login, Tls, last_message};
use tokio::sync::watch;

use super::{BUNDLE_MAX, Bus, Error, SEND_MAX, indexes};

/// Longest wait for a receipt: the hub answers after an fsync, commonly within 20 ms.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// Parts of one bundle that are read at the same time: 2 MiB.
const PARTS_IN_FLIGHT: usize = 4;
/// Most parts of a bundle: the largest bundle in parts of 64 KiB, far below what the hub makes.
const PARTS_MAX: u32 = 1024;

/// How the agent connects.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Servers, `tls://host:port` or `nats://host:port`.
    pub urls: Vec<String>,
    /// The cluster's account.
    pub account: AccountKey,
    /// The agent's credential.
    pub login: Login,
    /// Certificate authorities to trust, as PEM; `None` trusts those of the system.
    pub ca_pem: Option<String>,
    /// Whether TLS is asked for.
    pub tls: Tls,
}

/// The bus on a connection of one cluster's account. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Nats {
    connection: Connection,
    account: AccountKey,
}

impl Nats {
    /// A bus that connects in the background and for ever: an agent starts while the hub is away.
    ///
    /// # Errors
    /// [`Error::Connect`] for settings that can never work.
    pub async fn connect(settings: Settings) -> Result<Nats, Error> {
        let Settings { urls, account, login, ca_pem, tls } = settings;
        let options = nats::Options {
            urls,
            login,
            ca_pem,
            name: "taffrail agent".to_owned(),
            inbox_prefix: Some(subject::inbox(&account)),
            tls,
            first: First::MayWait,
        };
        let connection = nats::connect(options).await.map_err(|error| Error::Connect(error.into()))?;
        Ok(Nats { connection, account })
    }

    async fn part(&self, id: &Digest, part: u32) -> Result<Message, Error> {
        let subject = subject::bundle(id, part);
        let ask = subject::get_bundle(id, part);
        let found = last_message(&self.connection.client, ask, subject::BUNDLES, &subject).await;
        found
            .map_err(|error| Error::Read { what: "bundle", source: error.into() })?
            .ok_or(Error::Missing { id: *id, part })
    }
}

/// The stored index of a cluster.
pub(super) async fn read_index(client: &Client, account: &AccountKey) -> Result<Option<Bytes>, Error> {
    let subject = subject::desired(account);
    let found = last_message(client, subject::get_desired(account), subject::DESIRED, &subject).await;
    let message = found.map_err(|error| Error::Read { what: "index", source: error.into() })?;
    Ok(message.map(|message| message.payload))
}

#[async_trait]
impl Bus for Nats {
    async fn index(&self) -> Result<Option<Bytes>, Error> {
        read_index(&self.connection.client, &self.account).await
    }

    fn indexes(&self) -> BoxStream<'static, Bytes> {
        let Connection { client, link, .. } = self.connection.clone();
        indexes::indexes(client, self.account.clone(), link).boxed()
    }

    async fn bundle(&self, id: &Digest) -> Result<Bytes, Error> {
        let damaged = |how| Error::Damaged { id: *id, how };
        let first = self.part(id, 0).await?;
        let (parts, length) = shape(&first).ok_or(damaged("a part does not say how many there are"))?;
        if parts == 0 || PARTS_MAX < parts {
            return Err(damaged("it has too many parts, or none"));
        }
        if BUNDLE_MAX < length {
            return Err(damaged("it is longer than 64 MiB"));
        }
        let mut rest =
            futures::stream::iter(1..parts).map(|part| self.part(id, part)).buffered(PARTS_IN_FLIGHT);
        let mut whole = BytesMut::with_capacity(length);
        let mut next = Some(first);
        while let Some(part) = next {
            if shape(&part) != Some((parts, length)) || length - whole.len() < part.payload.len() {
                return Err(damaged("its parts do not fit together"));
            }
            whole.extend_from_slice(&part.payload);
            next = rest.try_next().await?;
        }
        let digest = ring::digest::digest(&ring::digest::SHA256, &whole);
        if whole.len() == length && digest.as_ref() == id.0 {
            Ok(whole.freeze())
        } else {
            Err(damaged("its digest is another one"))
        }
    }

    async fn send(&self, body: Bytes, traceparent: Option<&str>) -> Result<Bytes, Error> {
        if body.len() > SEND_MAX {
            return Err(Error::TooLarge { bytes: body.len(), max: SEND_MAX });
        }
        let mut request = Request::new().payload(body).timeout(Some(SEND_TIMEOUT));
        if let Some(trace) = traceparent {
            let mut headers = HeaderMap::new();
            headers.insert(subject::HEADER_TRACE, trace);
            request = request.headers(headers);
        }
        let sent = self.connection.client.send_request(subject::events(&self.account), request).await;
        let reply = sent.map_err(|error| Error::Send(error.into()))?;
        match reply.status {
            Some(status) => Err(Error::Status { status: status.as_u16() }),
            None => Ok(reply.payload),
        }
    }

    async fn renew(&self, jwt: &str, seed: &str) -> Result<(), Error> {
        self.connection.renew(jwt, seed).await.map_err(|error| Error::Connect(error.into()))
    }

    fn end(&self) {
        self.connection.end();
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.connection.link.clone()
    }
}

/// What a part says of the whole: number of parts, and length in bytes.
fn shape(part: &Message) -> Option<(u32, usize)> {
    let header = |name| part.headers.as_ref()?.get(name).map(async_nats::HeaderValue::as_str);
    Some((header(subject::HEADER_PARTS)?.parse().ok()?, header(subject::HEADER_LENGTH)?.parse().ok()?))
}
