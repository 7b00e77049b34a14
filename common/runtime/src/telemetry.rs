//! Logs and traces, set up once; W3C trace contexts as text, so that one commit is one trace.

use std::fmt;
use std::time::Duration;

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracerProvider, Tracer};
use tracing::{Level, Metadata, Subscriber};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt as _};
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How long leaving may wait for spans that are not yet exported: well inside the grace period.
pub const FLUSH_LIMIT: Duration = Duration::from_secs(5);
/// How long one export may take before it is given up.
const EXPORT_LIMIT: Duration = Duration::from_secs(5);
/// Spans of our own crates become traces; those of libraries do not.
const OURS: &str = "taffrail";

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

impl Format {
    /// Reads `human` or `json`.
    pub fn parse(text: &str) -> Option<Format> {
        match text {
            "human" => Some(Format::Human),
            "json" => Some(Format::Json),
            _ => None,
        }
    }
}

/// What to set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program, such as `taffrail-hub`: the service in traces.
    pub service: &'static str,
    /// Its version.
    pub version: &'static str,
    /// How log lines look.
    pub format: Format,
    /// Which lines are written, such as `info,taffrail_hub::git=debug`.
    pub filter: String,
    /// Where spans go by OTLP over gRPC, such as `http://127.0.0.1:4317`; without it they go nowhere.
    pub otlp: Option<String>,
}

/// Why logs and traces cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is not one.
    #[error("read the log filter {filter:?}")]
    Filter {
        /// As it was given.
        filter: String,
        /// Why.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The exporter cannot be made.
    #[error("set up the export of traces to {endpoint}")]
    Exporter {
        /// Where to.
        endpoint: String,
        /// Why.
        #[source]
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// Something else has set up logging before.
    #[error("set up logging")]
    Taken(#[source] tracing_subscriber::util::TryInitError),
}

/// Keeps the export of traces alive; flushed when the process leaves.
#[derive(Debug)]
pub struct Telemetry {
    provider: SdkTracerProvider,
}

/// Sets up logging to standard error, and traces. Called once, inside the async runtime.
///
/// Spans get ids even when nothing is exported, because events carry them: whoever turns the export on later, or on the
/// agents only, still finds the chain.
///
/// # Errors
/// If the filter or the endpoint cannot be used, or logging is set up already.
pub fn install(settings: &Settings) -> Result<Telemetry, Error> {
    let filter = EnvFilter::try_new(&settings.filter)
        .map_err(|source| Error::Filter { filter: settings.filter.clone(), source })?;
    let provider = provider(settings)?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match settings.format {
        Format::Human => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(traces(&provider))
        .try_init()
        .map_err(Error::Taken)?;
    Ok(Telemetry { provider })
}

fn traces<S: Subscriber + for<'a> LookupSpan<'a>>(provider: &SdkTracerProvider) -> impl Layer<S> {
    let ours =
        |metadata: &Metadata<'_>| metadata.target().starts_with(OURS) && *metadata.level() <= Level::INFO;
    let layer: OpenTelemetryLayer<S, Tracer> =
        tracing_opentelemetry::layer().with_tracer(provider.tracer(OURS));
    layer.with_filter(filter_fn(ours))
}

fn provider(settings: &Settings) -> Result<SdkTracerProvider, Error> {
    // An empty resource, because the default one reads the environment.
    let resource = Resource::builder_empty()
        .with_service_name(settings.service)
        .with_attribute(KeyValue::new("service.version", settings.version))
        .build();
    let mut builder = SdkTracerProvider::builder().with_resource(resource);
    if let Some(endpoint) = &settings.otlp {
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_LIMIT)
            .build()
            .map_err(|source| Error::Exporter { endpoint: endpoint.clone(), source })?;
        builder = builder.with_batch_exporter(exporter);
    }
    Ok(builder.build())
}

impl Telemetry {
    /// Sends what is not yet sent, for at most [`FLUSH_LIMIT`]. What fails is only logged: no trace is worth a hang.
    pub async fn flush(self) {
        let flushed = tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(FLUSH_LIMIT));
        if let Ok(Err(error)) = flushed.await {
            tracing::warn!(%error, "last spans were not exported");
        }
    }
}

/// An error with all its causes, for the field `error` of a log line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A trace context as in the header `traceparent` (W3C Trace Context, version 00).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace; never all zero.
    pub trace: [u8; 16],
    /// The span that is the parent; never all zero.
    pub span: [u8; 8],
    /// Whether the trace is recorded.
    pub sampled: bool,
}

impl TraceParent {
    /// Reads `00-<32 hexadecimal>-<16 hexadecimal>-<2 hexadecimal>`, and later versions with more at the end.
    pub fn parse(text: &str) -> Option<TraceParent> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let [version]: [u8; 1] = hex(version)?;
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return None;
        }
        let (trace, span, [flags]) = (hex::<16>(trace)?, hex::<8>(span)?, hex::<1>(flags)?);
        (trace != [0; 16] && span != [0; 8]).then_some(TraceParent { trace, span, sampled: flags & 1 == 1 })
    }

    /// The context of the span one is in; `None` outside of any.
    pub fn current() -> Option<TraceParent> {
        TraceParent::of(&tracing::Span::current())
    }

    /// The context of `span`; `None` if it is not part of a trace.
    pub fn of(span: &tracing::Span) -> Option<TraceParent> {
        let context = span.context();
        let context = context.span().span_context().clone();
        context.is_valid().then(|| TraceParent {
            trace: context.trace_id().to_bytes(),
            span: context.span_id().to_bytes(),
            sampled: context.is_sampled(),
        })
    }

    /// Makes this the remote parent of `span`, which must not have been entered yet.
    pub fn adopt(&self, span: &tracing::Span) {
        let flags = if self.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let parent = SpanContext::new(
            TraceId::from_bytes(self.trace),
            SpanId::from_bytes(self.span),
            flags,
            true,
            TraceState::NONE,
        );
        // Fails only for spans that are filtered out, entered already, or without the layer: then there is no trace to join.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
}

/// Reads `text` and makes it the remote parent of `span`; anything that is not a trace context is ignored.
pub fn adopt(span: &tracing::Span, text: &str) {
    if let Some(parent) = TraceParent::parse(text) {
        parent.adopt(span);
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("00-")?;
        self.trace.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
        out.write_str("-")?;
        self.span.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
        write!(out, "-{:02x}", u8::from(self.sampled))
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let lower = text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    if text.len() != 2 * N || !lower {
        return None;
    }
    let mut bytes = [0; N];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_context_survives_its_text() {
        let parent = TraceParent::parse(EXAMPLE).unwrap();
        assert_eq!((parent.to_string().as_str(), parent.sampled), (EXAMPLE, true));
        let later =
            TraceParent::parse("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-more").unwrap();
        assert!(!later.sampled);
    }

    #[test]
    fn what_is_not_a_trace_context_is_none() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_span_continues_the_trace_that_it_adopted_without_any_exporter() {
        let provider = SdkTracerProvider::builder().build();
        let subscriber = tracing_subscriber::registry().with(traces(&provider));
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!(target: "taffrail_test", "render");
            adopt(&span, EXAMPLE);
            let inside = span.in_scope(|| TraceParent::current().unwrap());
            let example = TraceParent::parse(EXAMPLE).unwrap();
            assert_eq!(inside.trace, example.trace);
            assert_ne!(inside.span, example.span);
        });
        assert_eq!(TraceParent::current(), None);
    }

    #[test]
    fn a_chain_tells_every_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("fetch")]
        struct Outer(#[source] std::fmt::Error);
        let told = chain(&Outer(std::fmt::Error));
        assert_eq!(told, format!("fetch: {}", std::fmt::Error));
    }
}
