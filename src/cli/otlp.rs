//! Exports spans to a collector (OTLP over HTTP, `log.otlp_endpoint`).
//!
//! Spans wait in a bounded queue for a thread of its own: a collector that is dead or
//! slow blocks nothing, and what does not fit is dropped.

use std::fmt;
use std::pin::Pin;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{FilterFn, filter_fn};
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

use trevor_client::transfer::{Pulse, Web};
use trevor_config::ConfigError;
use trevor_controller::spans;

const KEY: &str = "log.otlp_endpoint";
/// For one batch.
const PATIENCE: Duration = Duration::from_secs(5);
/// For what is left when the process ends.
const AT_THE_END: Duration = Duration::from_secs(2);
/// Bytes of an answer.
const ANSWER: usize = 64 << 10;

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// A layer that exports our spans to `endpoint`, and nothing else.
///
/// # Errors
/// When the exporter cannot be set up.
pub fn layer<S>(endpoint: &str) -> Result<impl Layer<S>, ConfigError>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let problem = |problem: String| ConfigError::Key {
        key: KEY.into(),
        problem,
    };
    let sends = Sends {
        web: Web::new(None).map_err(|e| problem(e.to_string()))?,
        runtime: Handle::current(),
    };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(sends)
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(PATIENCE)
        .build()
        .map_err(|e| problem(e.to_string()))?;
    let mut attributes = vec![KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))];
    if let Ok(pod) = std::env::var("POD_NAME") {
        attributes.push(KeyValue::new("k8s.pod.name", pod));
    }
    let resource = Resource::builder_empty()
        .with_service_name("trevor")
        .with_attributes(attributes);
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.build())
        .build();
    let tracer = provider.tracer("trevor");
    let _ = PROVIDER.set(provider);
    let ours: FilterFn<fn(&Metadata<'_>) -> bool> =
        filter_fn(|of| of.is_span() && of.target() == spans::TARGET);
    Ok(tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(ours))
}

/// Exports what waits, if that goes quickly. Blocks.
pub fn finish() {
    if let Some(provider) = PROVIDER.get() {
        // A collector that is dead was told of before.
        let _ = provider.shutdown_with_timeout(AT_THE_END);
    }
}

/// Our own HTTP client, on our own runtime: the exporter's thread only waits for it.
struct Sends {
    web: Web,
    runtime: Handle,
}

impl fmt::Debug for Sends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sends")
    }
}

impl HttpClient for Sends {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let web = self.web.clone();
        let sent = self.runtime.spawn(async move {
            let exchange = exchange(&web, request);
            let exchanged = match tokio::time::timeout(PATIENCE, exchange).await {
                Ok(exchanged) => exchanged,
                Err(elapsed) => Err(elapsed.into()),
            };
            if let Err(error) = &exchanged {
                tracing::warn!(%error, "spans could not be exported, and are dropped");
            }
            exchanged
        });
        Box::pin(async move { sent.await? })
    }
}

async fn exchange(web: &Web, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let request = request.map(|body| {
        let body = Full::new(body).map_err(|never| match never {});
        body.boxed_unsync()
    });
    let (head, body) = web.answer(request, &Pulse::default()).await?.into_parts();
    Ok(Response::from_parts(head, web.whole(body, ANSWER).await?))
}
