//! Spans reach a collector, say nothing that is nobody's business, and wait for nobody.

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Said;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::json;
use trevor_api::Phase;

use crate::faults::desk;
use crate::harness::{Answers, Controller, PATIENCE, Receiver, private, ready};

fn spans(collector: &Receiver) -> Vec<Span> {
    let taken = collector.got().into_iter().flat_map(|one| {
        assert_eq!(one.path, "/v1/traces");
        let request = ExportTraceServiceRequest::decode(one.body).unwrap();
        request.resource_spans
    });
    taken
        .flat_map(|of| of.scope_spans)
        .flat_map(|of| of.spans)
        .collect()
}

fn text(span: &Span, key: &str) -> Option<String> {
    let attribute = span.attributes.iter().find(|a| a.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Said::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

#[tokio::test]
async fn each_effect_of_a_release_is_a_span_under_its_request_and_says_no_word_of_it() {
    let env = private().await;
    let collector = Receiver::new(Answers::Takes).await;
    let url = format!("http://{}", collector.address);
    let setup = Controller {
        elect: false,
        changes: json!({"log": {"otlp_endpoint": url}}),
        ..Controller::new(&env, "traced")
    };
    let controller = setup.start().await;
    let desk = desk(&env, "traced-gateway", &controller.url).await;
    let request = desk.approved_once("canary", 1, 100).await;
    desk.carol.approves(&request).await;
    request.reaches(Phase::Released).await;

    let wanted = [
        "freeze::freeze",
        "review::review",
        "release::release",
        "close::close",
    ];
    let found = ready("the spans are exported", PATIENCE, || async {
        let all = spans(&collector);
        let look = |s: &&Span| text(s, "uid").as_deref() == Some(request.uid.as_str());
        let looks: BTreeSet<&[u8]> = all.iter().filter(look).map(|s| &s.span_id[..]).collect();
        let ours: Vec<Span> = all
            .iter()
            .filter(|s| looks.contains(&s.parent_span_id[..]))
            .cloned()
            .collect();
        let names: BTreeSet<&str> = ours.iter().map(|s| s.name.as_str()).collect();
        wanted.iter().all(|w| names.contains(w)).then_some(ours)
    })
    .await;
    for span in &found {
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    }
    let keys: BTreeSet<String> = spans(&collector)
        .into_iter()
        .flat_map(|span| span.attributes)
        .map(|attribute| attribute.key)
        .collect();
    let allowed = ["namespace", "uid", "effect"].map(str::to_owned).into();
    assert!(keys.is_subset(&allowed), "{keys:?}");
    for one in collector.got() {
        let text = String::from_utf8_lossy(&one.body).into_owned();
        for secret in env.secrets() {
            assert!(!text.contains(&secret));
        }
        assert!(
            !text.contains("canary") && !text.contains("X-Amz"),
            "{text}"
        );
    }
    let log = std::fs::read_to_string(env.folder().join("log/traced.log")).unwrap();
    assert!(
        log.contains(&format!("\"uid\":\"{}\"", request.uid)),
        "{log}"
    );
}

#[tokio::test]
async fn a_collector_that_hangs_or_is_dead_delays_nothing() {
    let env = private().await;
    let hangs = Receiver::new(Answers::Hangs).await;
    for (name, url) in [
        ("untraced-1", format!("http://{}", hangs.address)),
        ("untraced-2", "http://127.0.0.1:9".to_owned()),
    ] {
        let setup = Controller {
            elect: false,
            changes: json!({"log": {"otlp_endpoint": url}}),
            ..Controller::new(&env, name)
        };
        let mut controller = setup.start().await;
        let desk = desk(&env, &format!("{name}-gateway"), &controller.url).await;
        let request = desk.approved_once("untraced", 1, 100).await;
        desk.carol.approves(&request).await;
        request.reaches(Phase::Released).await;
        let log = env.folder().join(format!("log/{name}.log"));
        ready("the trouble is said", PATIENCE, || async {
            let log = std::fs::read_to_string(&log).unwrap();
            log.contains("spans could not be exported").then_some(())
        })
        .await;
        controller.kill().await;
    }
}
