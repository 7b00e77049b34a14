//! The bus on NATS: two streams in the hub's account, and the requests that clusters send into it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::header::NATS_SEQUENCE;
use async_nats::jetstream::context::{GetStreamErrorKind, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, StorageType, Stream};
use async_nats::jetstream::{Context, ErrorCode, context::ContextBuilder};
use async_nats::{HeaderMap, Message};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use taffrail_core::desired::Mark;
use taffrail_core::digest::Digest;
use taffrail_core::id::AccountKey;
use taffrail_proto::subject;
use taffrail_runtime::nats::{Connection, Link, is_unheard, last_message};
use tokio::sync::watch;

use super::{Bus, Ensured, Error, INDEX_MAX, Index, Request, parts};

/// Longest wait for the server's word on one message or stream.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Parts of one bundle that are on their way at the same time: 2 MiB.
const PARTS_IN_FLIGHT: usize = 4;
/// Longest `traceparent` that is taken, in characters: version 00 has 55.
const TRACE_MAX: usize = 64;

/// What was last known of a stream, to see that it is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    created: String,
    sequence: u64,
}

/// The bus on a connection of the hub's account.
#[derive(Debug)]
pub struct Nats {
    connection: Connection,
    context: Context,
    replicas: usize,
    known: Mutex<BTreeMap<&'static str, Known>>,
}

impl Nats {
    /// A bus over `connection`, whose streams have `replicas` copies (1 on a single server, 3 in a cluster).
    pub fn new(connection: Connection, replicas: usize) -> Nats {
        let context =
            ContextBuilder::new().timeout(TIMEOUT).ack_timeout(TIMEOUT).build(connection.client.clone());
        Nats { connection, context, replicas, known: Mutex::default() }
    }

    async fn ensure_stream(&self, wanted: Config, stream: &'static str) -> Result<Ensured, Error> {
        let failed = |source: super::Cause| Error::Ensure { stream, source };
        let before = self.known().get(stream).cloned();
        let (info, made) = match self.context.get_stream(stream).await {
            Ok(found) => (found.cached_info().clone(), false),
            Err(error) if is_missing(&error.kind()) => {
                let made =
                    self.context.create_stream(wanted.clone()).await.map_err(|error| failed(error.into()))?;
                (made.cached_info().clone(), true)
            }
            Err(error) => return Err(failed(error.into())),
        };
        if differs(&info.config, &wanted) {
            self.context.update_stream(wanted).await.map_err(|error| failed(error.into()))?;
        }
        let now = Known { created: format!("{:?}", info.created), sequence: info.state.last_sequence };
        let lost = match before {
            Some(before) => before.created != now.created || now.sequence < before.sequence,
            None => made,
        };
        self.known().insert(stream, now);
        Ok(if lost { Ensured::Refill } else { Ensured::Kept })
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<&'static str, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn publish(
        &self,
        stream: &'static str,
        subject: &str,
        message: PublishMessage,
    ) -> Result<u64, Published> {
        let message = message.expected_stream(stream);
        let sent = self.context.send_publish(subject.to_owned(), message).await;
        let sequence = match sent {
            Ok(ack) => ack.await.map_err(published)?.sequence,
            Err(error) => return Err(published(error)),
        };
        if let Some(known) = self.known().get_mut(stream) {
            known.sequence = known.sequence.max(sequence);
        }
        Ok(sequence)
    }

    async fn put_part(&self, id: &Digest, part: u32, body: Bytes, headers: HeaderMap) -> Result<(), Error> {
        let subject = subject::bundle(id, part);
        let message = PublishMessage::build().payload(body).headers(headers);
        match self.publish(subject::BUNDLES, &subject, message).await {
            Ok(_) => Ok(()),
            Err(Published::Unexpected(source) | Published::Failed(source)) => {
                Err(Error::Publish { subject, source })
            }
        }
    }

    async fn stream(&self, name: &'static str, what: &'static str) -> Result<Stream, Error> {
        self.context.get_stream(name).await.map_err(|error| Error::Read { what, source: error.into() })
    }

    /// The stored parts below a subject with a wildcard.
    async fn stored_parts(&self, below: &str) -> Result<Vec<(Digest, u32)>, Error> {
        let failed = |source: super::Cause| Error::Read { what: "list of bundles", source };
        let stream = self.stream(subject::BUNDLES, "list of bundles").await?;
        let found = stream.info_with_subjects(below).await.map_err(|error| failed(error.into()))?;
        found
            .map_err(|error| failed(error.into()))
            .try_filter_map(async |(subject, _)| {
                Ok(subject::parse_bundle(&subject)
                    .inspect_err(
                        |error| tracing::warn!(error = %error, "foreign message in stream of bundles"),
                    )
                    .ok())
            })
            .try_collect()
            .await
    }

    async fn purge(&self, stream: &'static str, subject: String, what: &'static str) -> Result<(), Error> {
        let stream = self.stream(stream, what).await?;
        stream.purge().filter(subject).await.map_err(|error| Error::Remove { what, source: error.into() })?;
        Ok(())
    }
}

#[async_trait]
impl Bus for Nats {
    async fn ensure(&self) -> Result<Ensured, Error> {
        let desired = self.ensure_stream(desired_stream(self.replicas), subject::DESIRED).await?;
        let bundles = self.ensure_stream(bundles_stream(self.replicas), subject::BUNDLES).await?;
        Ok(if [desired, bundles].contains(&Ensured::Refill) { Ensured::Refill } else { Ensured::Kept })
    }

    async fn publish_index(
        &self,
        account: &AccountKey,
        body: Bytes,
        expected: Option<u64>,
        mark: Mark,
    ) -> Result<u64, Error> {
        if body.len() > INDEX_MAX {
            return Err(Error::TooLarge { what: "index", bytes: body.len(), max: INDEX_MAX });
        }
        let subject = subject::desired(account);
        let mut headers = HeaderMap::new();
        headers.insert(subject::HEADER_MARK, mark.to_string());
        let mut message = PublishMessage::build().payload(body).headers(headers);
        if let Some(expected) = expected {
            message = message.expected_last_subject_sequence(expected);
        }
        self.publish(subject::DESIRED, &subject, message).await.map_err(|error| match error {
            Published::Unexpected(_) => Error::Conflict { account: account.clone() },
            Published::Failed(source) => Error::Publish { subject, source },
        })
    }

    async fn last_index(&self, account: &AccountKey) -> Result<Option<Index>, Error> {
        let subject = subject::desired(account);
        let found =
            last_message(&self.connection.client, subject::get_desired(account), subject::DESIRED, &subject)
                .await
                .map_err(|error| Error::Read { what: "index", source: error.into() })?;
        let Some(message) = found else { return Ok(None) };
        let sequence = number(&message, NATS_SEQUENCE.as_ref()).ok_or(Error::Damaged { what: "index" })?;
        let header = message.headers.as_ref().and_then(|headers| headers.get(subject::HEADER_MARK));
        let mark = header.and_then(|text| Mark::parse(text.as_str()));
        Ok(Some(Index { sequence, body: message.payload, mark }))
    }

    async fn remove_index(&self, account: &AccountKey) -> Result<(), Error> {
        self.purge(subject::DESIRED, subject::desired(account), "index").await
    }

    async fn put_bundle(&self, id: &Digest, body: Bytes) -> Result<(), Error> {
        let mut parts = parts::cut(&body)?;
        let mut headers = HeaderMap::new();
        headers.insert(subject::HEADER_PARTS, parts.len().to_string());
        headers.insert(subject::HEADER_LENGTH, body.len().to_string());
        let Some(last) = parts.pop() else { return Ok(()) };
        let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        futures::stream::iter((0..count).zip(parts))
            .map(|(part, bytes)| self.put_part(id, part, bytes, headers.clone()))
            .buffer_unordered(PARTS_IN_FLIGHT)
            .try_collect::<()>()
            .await?;
        self.put_part(id, count, last, headers).await
    }

    async fn has_bundle(&self, id: &Digest) -> Result<bool, Error> {
        let first = subject::bundle(id, 0);
        let found =
            last_message(&self.connection.client, subject::get_bundle(id, 0), subject::BUNDLES, &first)
                .await
                .map_err(|error| Error::Read { what: "bundle", source: error.into() })?;
        let Some(message) = found else { return Ok(false) };
        let parts = number(&message, subject::HEADER_PARTS).ok_or(Error::Damaged { what: "bundle" })?;
        if parts == 1 {
            return Ok(true);
        }
        let stored: BTreeSet<u32> =
            self.stored_parts(&subject::bundle_parts(id)).await?.into_iter().map(|(_, part)| part).collect();
        Ok((0..parts).all(|part| u32::try_from(part).is_ok_and(|part| stored.contains(&part))))
    }

    async fn list_bundles(&self) -> Result<BTreeSet<Digest>, Error> {
        Ok(self.stored_parts(subject::BUNDLES_ALL).await?.into_iter().map(|(id, _)| id).collect())
    }

    async fn remove_bundle(&self, id: &Digest) -> Result<(), Error> {
        self.purge(subject::BUNDLES, subject::bundle_parts(id), "bundle").await
    }

    async fn requests(&self) -> Result<BoxStream<'static, Request>, Error> {
        let client = self.connection.client.clone();
        let messages = client
            .queue_subscribe(subject::EVENTS_ALL, subject::HUB_QUEUE.to_owned())
            .await
            .map_err(|error| Error::Listen(error.into()))?;
        heard_by_server(&client).await.map_err(|error| Error::Listen(error.into()))?;
        let requests = messages.filter_map(move |message| {
            let request = request(&client, message);
            async move { request }
        });
        Ok(requests.boxed())
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.connection.link.clone()
    }
}

/// Returns once the server has taken everything sent before, subscriptions too: flushing only empties our own
/// buffer, and an agent's request could arrive at the server before our subscription. Nobody listens on a fresh
/// inbox, and the server says so.
async fn heard_by_server(client: &async_nats::Client) -> Result<(), async_nats::client::RequestError> {
    match client.request(client.new_inbox(), Bytes::new()).await {
        Err(error) if !is_unheard(&error) => Err(error),
        _ => Ok(()),
    }
}

/// A message as a request; one without a reply subject or on a foreign subject is dropped with a warning.
fn request(client: &async_nats::Client, message: Message) -> Option<Request> {
    let account = subject::parse_events(message.subject.as_str())
        .inspect_err(|error| tracing::warn!(error = %error, "message on a foreign subject dropped"))
        .ok()?;
    let Some(reply) = message.reply else {
        tracing::warn!(account = %account, "events without a reply subject dropped");
        return None;
    };
    let header = message.headers.as_ref().and_then(|headers| headers.get(subject::HEADER_TRACE));
    let traceparent = header
        .map(async_nats::HeaderValue::as_str)
        .filter(|trace| trace.len() <= TRACE_MAX && trace.is_ascii())
        .map(str::to_owned);
    let client = client.clone();
    let responder = Box::new(move |receipt| -> futures::future::BoxFuture<'static, _> {
        Box::pin(
            async move { client.publish(reply, receipt).await.map_err(|error| Error::Reply(error.into())) },
        )
    });
    Some(Request { account, body: message.payload, traceparent, responder })
}

fn desired_stream(replicas: usize) -> Config {
    Config {
        name: subject::DESIRED.to_owned(),
        subjects: vec![subject::DESIRED_ALL.to_owned()],
        deny_delete: true,
        ..last_of_each_subject(replicas)
    }
}

fn bundles_stream(replicas: usize) -> Config {
    Config {
        name: subject::BUNDLES.to_owned(),
        subjects: vec![subject::BUNDLES_ALL.to_owned()],
        ..last_of_each_subject(replicas)
    }
}

fn last_of_each_subject(replicas: usize) -> Config {
    Config {
        storage: StorageType::File,
        max_messages_per_subject: 1,
        allow_direct: true,
        num_replicas: replicas,
        ..Config::default()
    }
}

fn differs(found: &Config, wanted: &Config) -> bool {
    found.subjects != wanted.subjects
        || found.max_messages_per_subject != wanted.max_messages_per_subject
        || found.allow_direct != wanted.allow_direct
        || found.deny_delete != wanted.deny_delete
        || found.num_replicas != wanted.num_replicas
}

fn is_missing(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// Why a message was not stored.
enum Published {
    Unexpected(super::Cause),
    Failed(super::Cause),
}

fn published(error: async_nats::jetstream::context::PublishError) -> Published {
    match error.kind() {
        PublishErrorKind::WrongLastSequence => Published::Unexpected(error.into()),
        _ => Published::Failed(error.into()),
    }
}

fn number(message: &Message, header: &str) -> Option<u64> {
    message.headers.as_ref()?.get(header)?.as_str().parse().ok()
}
