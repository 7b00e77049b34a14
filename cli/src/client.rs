//! The connection to the hub: TLS, the bearer token, limits, and reading all pages of a list.

use std::path::Path;
use std::time::Duration;

use taffrail_proto::v1::fleet_client::FleetClient;
use taffrail_proto::v1::{
    AppRow, ClusterRow, GetAppRequest, ListAppsRequest, ListClustersRequest, ListSourcesRequest, SourceRow,
    View,
};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

use crate::config::{Context, Secret};
use crate::error::Error;

/// Longest wait for a connection: a hub on another continent answers within one second.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between signs of life on a quiet connection; proxies commonly close after 60 s.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Largest answer that is read, in bytes: 1,000 rows of apps with their instances.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Rows per page that are asked for.
const PAGE_ROWS: u32 = 500;
/// Most pages of one list, so that a hub that never ends its list does not either end this process.
const PAGES_MAX: usize = 2_000;

/// Puts the token into every request.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Bearer {
    fn new(token: &Secret) -> Result<Bearer, Error> {
        let mut value: MetadataValue<Ascii> = format!("Bearer {}", token.0).parse().map_err(|_| {
            Error::usage("the token holds characters that no token has", "write the token again, on one line")
        })?;
        value.set_sensitive(true);
        Ok(Bearer(value))
    }
}

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A connected hub.
pub struct Client {
    /// The generated client, for calls that need nothing more.
    pub fleet: FleetClient<InterceptedService<Channel, Bearer>>,
}

impl Client {
    /// Connects to the hub of a context.
    ///
    /// # Errors
    /// The context's address, certificates or token cannot be used, or the hub does not answer in time.
    pub async fn connect(context: &Context, config: &Path, timeout: Duration) -> Result<Client, Error> {
        let hub = context.hub.clone();
        let failed = |source| Error::Connect { hub: hub.clone(), source };
        if !hub.starts_with("https://") {
            return Err(Error::usage(
                format!("the hub's address {hub:?} does not begin with https://"),
                "taffrail ctx list, then mend `hub` of the context",
            ));
        }
        let bearer = Bearer::new(&context.token(config)?)?;
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&context.ca));
        if let Some(name) = &context.server_name {
            tls = tls.domain_name(name);
        }
        let endpoint = Endpoint::from_shared(context.hub.clone())
            .and_then(|endpoint| endpoint.tls_config(tls))
            .map_err(failed)?
            .connect_timeout(CONNECT_TIMEOUT.min(timeout))
            .timeout(timeout)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_while_idle(true);
        let channel = endpoint.connect().await.map_err(failed)?;
        let fleet =
            FleetClient::with_interceptor(channel, bearer).max_decoding_message_size(ANSWER_BYTES_MAX);
        Ok(Client { fleet })
    }

    /// All clusters that match.
    ///
    /// # Errors
    /// The hub refuses or fails.
    pub async fn clusters(&mut self, mut ask: ListClustersRequest) -> Result<(View, Vec<ClusterRow>), Error> {
        let mut all = Vec::new();
        ask.page_size = PAGE_ROWS;
        for _ in 0..PAGES_MAX {
            let page = self.fleet.list_clusters(ask.clone()).await?.into_inner();
            all.extend(page.clusters);
            if page.next_page_token.is_empty() {
                return Ok((view_of(page.view)?, all));
            }
            ask.page_token = page.next_page_token;
        }
        Err(endless())
    }

    /// All apps that match.
    ///
    /// # Errors
    /// The hub refuses or fails.
    pub async fn apps(&mut self, mut ask: ListAppsRequest) -> Result<(View, Vec<AppRow>), Error> {
        let mut all = Vec::new();
        ask.page_size = PAGE_ROWS;
        for _ in 0..PAGES_MAX {
            let page = self.fleet.list_apps(ask.clone()).await?.into_inner();
            all.extend(page.apps);
            if page.next_page_token.is_empty() {
                return Ok((view_of(page.view)?, all));
            }
            ask.page_token = page.next_page_token;
        }
        Err(endless())
    }

    /// One app.
    ///
    /// # Errors
    /// There is none of that name, or the hub refuses or fails.
    pub async fn app(&mut self, ask: GetAppRequest) -> Result<(View, AppRow), Error> {
        let answer = self.fleet.get_app(ask).await?.into_inner();
        let row = answer.app.ok_or_else(|| Error::Answer { detail: "it names no app".to_owned() })?;
        Ok((view_of(answer.view)?, row))
    }

    /// All sources, or the one of that name.
    ///
    /// # Errors
    /// The hub refuses or fails.
    pub async fn sources(&mut self, name: &str) -> Result<(View, Vec<SourceRow>), Error> {
        let mut all = Vec::new();
        let mut ask =
            ListSourcesRequest { name: name.to_owned(), page_size: PAGE_ROWS, page_token: String::new() };
        for _ in 0..PAGES_MAX {
            let page = self.fleet.list_sources(ask.clone()).await?.into_inner();
            all.extend(page.sources);
            if page.next_page_token.is_empty() {
                return Ok((view_of(page.view)?, all));
            }
            ask.page_token = page.next_page_token;
        }
        Err(endless())
    }
}

/// As of when an answer holds; an answer that does not say so is not shown.
///
/// # Errors
/// The answer does not say.
pub fn view_of(view: Option<View>) -> Result<View, Error> {
    view.ok_or_else(|| Error::Answer { detail: "it does not say as of when it holds".to_owned() })
}

fn endless() -> Error {
    Error::Answer { detail: format!("the list has more than {PAGES_MAX} pages") }
}
