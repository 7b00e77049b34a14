//! One commit is one trace, from the webhook to the health of the last cluster, and it is exported.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::trace::v1::Span;
use taffrail_tests::harness::wait_for;
use taffrail_tests::tree::{APP, Overlay};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use taffrail_tests::harness::fleet::{BOUND, Fleet, Settings, tell_with};

/// Spans by the service that they come from.
type Spans = Vec<(String, Span)>;

/// A collector of traces that keeps what it is given.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Spans>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.unwrap_or_default().attributes.into_iter();
            let name = attributes.filter(|pair| pair.key == "service.name");
            let name = name.filter_map(|pair| match pair.value?.value? {
                Attribute::StringValue(name) => Some(name),
                _ => None,
            });
            let service: String = name.collect();
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend(spans.map(|span| (service.clone(), span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    fn of(&self, trace: &[u8]) -> Spans {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().filter(|(_, span)| span.trace_id == trace).cloned().collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_is_one_exported_trace_from_the_webhook_to_the_last_cluster() {
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).expect("a listener");
    let port = incoming.local_addr().expect("an address").port();
    let collector = Collector::default();
    let service = TraceServiceServer::new(collector.clone());
    let serving = tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    // Settings live as long as the process, as those of other stories do.
    let endpoint: &'static str = format!("http://127.0.0.1:{port}").leak();
    let export: &'static [(&str, &str)] = vec![("otlp.endpoint", endpoint)].leak();
    tell_with("trace", Settings { hub: export, agents: export, ..Settings::default() }, async |fleet| {
        fleet.first_delivery("payments-api:1.4.0").await?;
        let image = fleet.tree(fleet.member("eu-1")).image(Overlay::Production, "payments-api:1.5.0");
        let commit = fleet.push("production runs 1.5.0", &[image]).await?;
        fleet.hub.done(&["wait", APP, "--for=healthy", "--commit", &commit, "--timeout", "60s"]).await?;
        its_spans_are_one_tree(fleet, &commit, &collector).await
    })
    .await;
    serving.abort();
}

async fn its_spans_are_one_tree(fleet: &Fleet, commit: &str, collector: &Collector) -> Result<()> {
    let seen = fleet.event(&["--kind", "CommitSeen", "--commit", commit], |_| true).await?;
    let traceparent = seen["traceparent"].as_str().context("the event has a trace")?;
    let trace = traceparent.split('-').nth(1).context("a trace has an id")?;
    let trace = (0..32).step_by(2).map(|at| u8::from_str_radix(&trace[at..at + 2], 16));
    let trace: Vec<u8> = trace.collect::<Result<_, _>>()?;
    let wanted = BTreeSet::from([
        ("taffrail-hub", "webhook"),
        ("taffrail-hub", "look"),
        ("taffrail-hub", "effect"),
        ("taffrail-hub", "events"),
        ("taffrail-agent", "effect"),
    ]);
    // Spans leave in batches, some seconds after they ended.
    wait_for("the trace is exported", BOUND, async || {
        let spans = collector.of(&trace);
        let found: BTreeSet<(&str, &str)> =
            spans.iter().map(|(service, span)| (service.as_str(), span.name.as_str())).collect();
        ensure!(wanted.is_subset(&found), "exported so far: {found:?}");
        let by_id: BTreeMap<&[u8], &Span> =
            spans.iter().map(|(_, span)| (span.span_id.as_slice(), span)).collect();
        let roots = spans.iter().filter(|(_, span)| !by_id.contains_key(span.parent_span_id.as_slice()));
        let roots: Vec<&str> = roots.map(|(_, span)| span.name.as_str()).collect();
        ensure!(roots == ["webhook"], "these have no parent: {roots:?}");
        Ok(Some(()))
    })
    .await
}
