//! Everyone is told: each event once by its id, never lost, and before a release no
//! word that a researcher chose.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::Mac as _;
use kube::Api;
use serde_json::{Value, json};
use trevor_api::{NotificationState, Phase, ReleaseRecord, ReviewDecision};

use crate::faults::{Desk, desk};
use crate::harness::{
    Answers, Controller, Env, Mailbox, PATIENCE, Person, Project, Received, Receiver, Request,
    private, ready,
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// In every field that a researcher can write, and in nothing that is sent before release.
pub const CANARY: &str = "canary";

pub fn secrets(names: &[&str]) -> Vec<(String, String)> {
    let variable = |name: &&str| {
        let name = name.to_uppercase();
        (
            format!("TREVOR_NOTIFY_{name}_SIGNING_SECRET"),
            SECRET.to_owned(),
        )
    };
    names.iter().map(variable).collect()
}

pub fn webhook(name: &str, url: &str) -> Value {
    json!({"name": name, "webhook": {"url": url, "allow_plaintext": true}})
}

pub fn mail(port: u16) -> Value {
    json!({"name": "mail", "smtp": {"host": "127.0.0.1", "port": port, "tls": "None",
        "allow_plaintext": true, "from": "Airlock <airlock@tre.example>",
        "to": ["desk@tre.example"], "recipients": true}})
}

/// A request whose every text has the canary in it.
pub async fn full_of_canaries(alice: &Person) -> Request {
    let spec = json!({
        "direction": "Egress", "title": "canary title", "description": "canary description",
        "recipients": ["canary@uni.example", "refused@uni.example", "third@uni.example"],
        "authors": [{"name": "canary author"}],
        "files": [{"path": "canary.csv", "description": "canary", "justification": "canary",
            "suppressionNotes": "canary", "statbarn": "canary", "outputType": "Table"}],
    });
    let request = alice.creates("canary", spec).await;
    alice.uploads(&request, "canary.csv", "canary,1\n").await;
    request
}

/// The kinds that came about a request, by id; each id is of one kind.
pub fn ids(got: &[Received], request: &Request) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for one in got {
        let (id, kind) = if one.header("ce-id").is_empty() {
            let event = one.json();
            (
                event["id"].as_str().unwrap().to_owned(),
                event["type"].as_str().unwrap().to_owned(),
            )
        } else {
            (
                one.header("ce-id").to_owned(),
                one.header("ce-type").to_owned(),
            )
        };
        if let Some(what) = id.strip_prefix(&format!("{}.", request.uid)) {
            found.insert(what.to_owned(), kind.replace("io.karectl.airlock.", ""));
        }
    }
    found
}

pub async fn comes(receiver: &Receiver, request: &Request, what: &str) {
    ready(format!("{what} is told"), PATIENCE, || async {
        ids(&receiver.got(), request)
            .contains_key(what)
            .then_some(())
    })
    .await;
}

fn is_signed(one: &Received) {
    let key = STANDARD
        .decode(SECRET.strip_prefix("whsec_").unwrap())
        .unwrap();
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
    let signed = format!(
        "{}.{}.",
        one.header("webhook-id"),
        one.header("webhook-timestamp")
    );
    mac.update(signed.as_bytes());
    mac.update(&one.body);
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(one.header("webhook-signature"), expected);
}

async fn reviews(person: &Person, request: &Request, decision: ReviewDecision) {
    person.reviews_it(request, decision).await;
}

/// People of a project of the test's own, whose policy lets mail go to uni.example.
pub async fn project(env: &Env, desk: &Desk) -> (Project, [Person; 3]) {
    let project = Project::new(env, "told").await;
    project
        .policy(json!({"recipientDomains": ["uni.example"], "urlTTLSeconds": 60}))
        .await;
    let people = tokio::join!(
        desk.alice.moves_to(&project.name),
        desk.bob.moves_to(&project.name),
        desk.carol.moves_to(&project.name)
    );
    (project, people.into())
}

async fn deliveries(env: &Env, project: &str, request: &Request) -> Vec<trevor_api::Notification> {
    let api: Api<ReleaseRecord> = Api::namespaced(env.kube("admin").await, project);
    let all = api.list(&kube::api::ListParams::default()).await.unwrap();
    let ours = all
        .items
        .into_iter()
        .find(|r| r.spec.request_ref.uid == request.uid);
    ours.and_then(|r| r.status).unwrap_or_default().deliveries
}

/// Nothing of it waits but what is to be told later.
async fn outbox_is_empty(env: &Env, request: &Request) {
    let inside = env.quarantine();
    ready("the outbox is empty", PATIENCE, || async {
        let keys = inside.keys("work/outbox/").await;
        let waits = keys
            .iter()
            .any(|k| k.contains(&request.uid) && !k.contains("-ending"));
        (!waits).then_some(())
    })
    .await;
}

#[tokio::test]
async fn each_event_arrives_by_webhook_and_mail_and_before_release_says_no_word_of_a_researcher() {
    let env = private().await;
    let (structured, binary) = (
        Receiver::new(Answers::Takes).await,
        Receiver::new(Answers::Takes).await,
    );
    let mailbox = Mailbox::new(&env, &["refused@uni.example"]).await;
    let mut second = webhook("binary", &binary.url());
    second["webhook"]["mode"] = json!("Binary");
    let setup = Controller {
        elect: false,
        window_seconds: Some(40),
        notifications: Some(json!({"allowed_hosts": ["127.0.0.1"],
            "channels": [webhook("desk", &structured.url()), second, mail(mailbox.port)]})),
        variables: secrets(&["desk", "binary"]),
        ..Controller::new(&env, "tells")
    };
    let controller = setup.start().await;
    let desk = desk(&env, "tells-gateway", &controller.url).await;
    let (project, [alice, bob, carol]) = project(&env, &desk).await;

    // Back and forth, released, and its ends.
    let goes = full_of_canaries(&alice).await;
    alice.submits(&goes, 1).await;
    goes.reaches(Phase::InReview).await;
    reviews(&bob, &goes, ReviewDecision::RequestChanges).await;
    goes.reaches(Phase::ChangesRequested).await;
    alice.submits(&goes, 2).await;
    goes.round_reaches(2, Phase::InReview).await;
    bob.approves(&goes).await;
    carol.approves(&goes).await;
    // Rejected, withdrawn, failed.
    let [rejected, withdrawn, failed] = [
        full_of_canaries(&alice).await,
        full_of_canaries(&alice).await,
        full_of_canaries(&alice).await,
    ];
    for request in [&rejected, &withdrawn, &failed] {
        alice.submits(request, 1).await;
        request.reaches(Phase::InReview).await;
    }
    reviews(&bob, &rejected, ReviewDecision::Reject).await;
    alice.withdraws(&withdrawn).await;
    let manifest = format!("{}rounds/1/manifest.json", failed.prefix());
    let manifest = env.quarantine().json(&manifest).await;
    env.quarantine()
        .delete(manifest["files"][0]["key"].as_str().unwrap())
        .await;
    bob.approves(&failed).await;
    carol.approves(&failed).await;

    let expected: [(&Request, &[&str]); 4] = [
        (
            &goes,
            &[
                "r1-submitted",
                "r1-review-wanted",
                "r1-changes-requested",
                "r2-submitted",
                "r2-review-wanted",
                "r2-approved",
                "r2-released",
                "url-ending-1",
                "window-ending",
            ],
        ),
        (
            &rejected,
            &["r1-submitted", "r1-review-wanted", "r1-rejected"],
        ),
        (
            &withdrawn,
            &["r1-submitted", "r1-review-wanted", "r1-withdrawn"],
        ),
        (
            &failed,
            &[
                "r1-submitted",
                "r1-review-wanted",
                "r1-approved",
                "r1-failed-1",
            ],
        ),
    ];
    for (request, whats) in expected {
        for receiver in [&structured, &binary] {
            for what in whats {
                comes(receiver, request, what).await;
            }
            let found = ids(&receiver.got(), request);
            let found: BTreeSet<&str> = found.keys().map(String::as_str).collect();
            assert_eq!(found, whats.iter().copied().collect());
        }
    }
    for receiver in [&structured, &binary] {
        let mut seen = BTreeSet::new();
        for one in receiver.got() {
            is_signed(&one);
            assert!(
                seen.insert(one.header("webhook-id").to_owned()),
                "each id once: {one:?}"
            );
            let text = String::from_utf8(one.body.to_vec()).unwrap();
            let after = ["released", "-ending"]
                .iter()
                .any(|w| one.header("webhook-id").contains(w));
            if !after {
                assert!(
                    !text.contains(CANARY) && !format!("{:?}", one.headers).contains(CANARY),
                    "{text}"
                );
            }
        }
    }
    // What programs get of a release.
    let event = structured
        .got()
        .into_iter()
        .find(|one| one.header("webhook-id").ends_with("r2-released"));
    let event = event.unwrap().json();
    let url = event["data"]["url"].as_str().unwrap();
    let record = goes.record().await;
    let package = record.spec.package.as_ref().unwrap();
    assert_eq!(event["data"]["sha256"], package.sha256);
    assert!(url.contains("X-Amz-Signature"), "{url}");
    assert_eq!(
        event["source"].as_str().unwrap().rsplit('/').next(),
        Some(project.name.as_str())
    );

    // Mail: the desk is told of all, recipients of the release alone, and one is refused.
    let of_release = format!("{}.r2-released@", goes.uid);
    ready("three mails of the release", PATIENCE, || async {
        let mails = mailbox.mails();
        (mails
            .iter()
            .filter(|(_, m)| m.contains(&of_release))
            .count()
            == 3)
            .then_some(())
    })
    .await;
    let mut with_url = BTreeSet::new();
    for (to, text) in mailbox.mails() {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let subject = head.lines().find(|l| l.starts_with("Subject:")).unwrap();
        assert!(
            !subject.contains("http") && !subject.contains(CANARY),
            "{subject}"
        );
        assert!(head.contains("multipart/alternative"), "{head}");
        let body = body.replace("=\r\n", "");
        assert_eq!(to.len(), 1);
        if to[0] == "desk@tre.example" {
            assert!(
                !body.contains("X-Amz-Signature"),
                "the URL is not for {to:?}"
            );
        } else {
            assert!(
                ["-released@", "-ending"].iter().any(|w| head.contains(w)),
                "{head}"
            );
            with_url.extend(body.contains("X-Amz-Signature").then(|| to[0].clone()));
        }
        if !["-released@", "-ending"].iter().any(|w| head.contains(w)) {
            assert!(!text.contains(CANARY), "{text}");
        }
    }
    assert_eq!(
        with_url,
        [
            "canary@uni.example".to_owned(),
            "third@uni.example".to_owned()
        ]
        .into()
    );
    let shown = ready("the refusal is on the record", PATIENCE, || async {
        let all = deliveries(&env, &project.name, &goes).await;
        all.into_iter()
            .find(|d| d.target.as_deref() == Some("refused@uni.example"))
    })
    .await;
    assert_eq!(shown.state, NotificationState::Failed);
    assert_eq!(
        json!(shown.last_error),
        json!({"reason": "Refused", "code": 550})
    );
    for request in [&goes, &rejected, &withdrawn, &failed] {
        outbox_is_empty(&env, request).await;
    }
    project.policy_goes().await;
}

#[tokio::test]
async fn a_channel_in_trouble_delays_nothing_and_says_so() {
    let env = private().await;
    let good = Receiver::new(Answers::Takes).await;
    let flaky = Receiver::new(Answers::FailsFirst(2)).await;
    let hangs = Receiver::new(Answers::Hangs).await;
    let moved = Receiver::new(Answers::Redirects).await;
    let gone = Receiver::new(Answers::Refuses(410)).await;
    let notifications = json!({
        "allowed_hosts": ["127.0.0.0/8"], "retry_seconds": 5,
        "channels": [webhook("good", &good.url()), webhook("flaky", &flaky.url()), webhook("hangs", &hangs.url()),
            webhook("moved", &moved.url()), webhook("gone", &gone.url())],
    });
    let setup = Controller {
        elect: false,
        notifications: Some(notifications),
        variables: secrets(&["good", "flaky", "hangs", "moved", "gone"]),
        ..Controller::new(&env, "troubled")
    };
    let controller = setup.start().await;
    let desk = desk(&env, "troubled-gateway", &controller.url).await;
    let (project, [alice, bob, carol]) = project(&env, &desk).await;
    let request = full_of_canaries(&alice).await;
    alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;
    bob.approves(&request).await;
    carol.approves(&request).await;
    request.reaches(Phase::Released).await;
    comes(&good, &request, "r1-released").await;
    let all = deliveries(&env, &project.name, &request).await;
    let hanging = all
        .iter()
        .find(|d| d.channel == "hangs" && d.id.ends_with("r1-released"));
    assert!(
        hanging.is_none_or(|d| d.state == NotificationState::Pending),
        "the good channel waited for the one that hangs: {hanging:?}"
    );
    comes(&flaky, &request, "r1-released").await;
    let id = format!("{}.r1-released", request.uid);
    let ended = ready("every channel is done with it", PATIENCE * 3, || async {
        let all = deliveries(&env, &project.name, &request).await;
        let ended: BTreeMap<String, (NotificationState, Value)> = all
            .into_iter()
            .filter(|d| d.id == id && d.state != NotificationState::Pending)
            .map(|d| (d.channel, (d.state, json!(d.last_error))))
            .collect();
        (ended.len() == 5).then_some(ended)
    })
    .await;
    use NotificationState::{Delivered, Failed};
    for (channel, state, error) in [
        ("good", Delivered, Value::Null),
        ("flaky", Delivered, Value::Null),
        ("hangs", Failed, json!({"reason": "TimedOut"})),
        (
            "moved",
            Failed,
            json!({"reason": "Redirected", "code": 307}),
        ),
        ("gone", Failed, json!({"reason": "Refused", "code": 410})),
    ] {
        assert_eq!(ended[channel], (state, error), "{channel}");
    }
    assert!(moved.got().is_empty(), "a redirect is not followed");
    for (name, least) in [
        (
            "trevor_notifications_total{channel=\"moved\",result=\"dead\"}",
            1.0,
        ),
        (
            "trevor_notifications_total{channel=\"good\",result=\"delivered\"}",
            1.0,
        ),
        (
            "trevor_request_phase_oldest_seconds{phase=\"InReview\"}",
            0.0,
        ),
    ] {
        let number = controller.metric(name).await;
        assert!(number.is_some_and(|n| n >= least), "{name}: {number:?}");
    }
    outbox_is_empty(&env, &request).await;
    project.policy_goes().await;
}

#[tokio::test]
async fn a_name_that_leads_inside_a_channel_that_nobody_configured_and_no_recipient_are_told_as_such()
 {
    let env = private().await;
    let inside = Receiver::new(Answers::Takes).await;
    let mailbox = Mailbox::new(&env, &[]).await;
    let url = format!("http://localhost:{}/hook", inside.address.port());
    let mut recipients_only = mail(mailbox.port);
    recipients_only["smtp"]["to"] = json!([]);
    let setup = Controller {
        elect: false,
        notifications: Some(json!({"allowed_hosts": ["localhost"], "retry_seconds": 1,
            "channels": [webhook("inside", &url), recipients_only]})),
        variables: secrets(&["inside"]),
        ..Controller::new(&env, "rebound")
    };
    let controller = setup.start().await;
    let desk = desk(&env, "rebound-gateway", &controller.url).await;
    let project = Project::new(&env, "rebound").await;
    project
        .policy(json!({"notifications": {"channels": ["inside", "mail", "nobody"]}}))
        .await;
    let (alice, bob, carol) = tokio::join!(
        desk.alice.moves_to(&project.name),
        desk.bob.moves_to(&project.name),
        desk.carol.moves_to(&project.name)
    );
    let request = alice
        .creates("rebound", json!({"direction": "Egress", "title": "t"}))
        .await;
    alice.uploads(&request, "a.csv", "1").await;
    alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;
    bob.approves(&request).await;
    carol.approves(&request).await;
    request.reaches(Phase::Released).await;
    let id = format!("{}.r1-released", request.uid);
    let ended = ready("every channel is done with it", PATIENCE, || async {
        let all = deliveries(&env, &project.name, &request).await;
        let ended: BTreeMap<String, Value> = all
            .into_iter()
            .filter(|d| d.id == id && d.state == NotificationState::Failed)
            .map(|d| (d.channel, json!(d.last_error.unwrap().reason)))
            .collect();
        (ended.len() == 3).then_some(ended)
    })
    .await;
    let expected = [
        ("inside", "AddressNotAllowed"),
        ("mail", "NoAddress"),
        ("nobody", "UnknownChannel"),
    ];
    let expected: BTreeMap<String, Value> = expected
        .into_iter()
        .map(|(c, r)| (c.to_owned(), json!(r)))
        .collect();
    assert_eq!(ended, expected);
    assert_eq!(inside.calls(), 0, "nothing was sent to an address inside");
    project.policy_goes().await;
}

/// Kills the controller again and again, at another stage of a request each time.
async fn killed(kills: usize) {
    let env = private().await;
    let receiver = Receiver::new(Answers::Takes).await;
    let setup = Controller {
        elect: false,
        notifications: Some(json!({"allowed_hosts": ["127.0.0.1"],
            "channels": [webhook("desk", &receiver.url())]})),
        variables: secrets(&["desk"]),
        ..Controller::new(&env, "killed-tells")
    };
    let mut controller = setup.start().await;
    let desk = desk(&env, "killed-tells-gateway", &controller.url).await;
    let mut requests = Vec::new();
    for kill in 0..kills {
        let spec = json!({"direction": "Egress", "title": "Kills"});
        let request = desk.alice.creates("told", spec).await;
        desk.alice.uploads(&request, "a.csv", "1").await;
        let stage = kill % 4;
        // Not the same instant each time, nor one that a watch would show.
        let pause = Duration::from_millis(rand::random::<u64>() % 400);
        desk.alice.submits(&request, 1).await;
        if stage > 0 {
            request.reaches(Phase::InReview).await;
            desk.bob.approves(&request).await;
        }
        if stage > 1 {
            desk.carol.approves(&request).await;
        }
        if stage > 2 {
            request.reaches(Phase::Released).await;
        }
        tokio::time::sleep(pause).await;
        controller.kill().await;
        controller = setup.start().await;
        request
            .until("InReview or later", PATIENCE, |s| s.manifest.is_some())
            .await;
        if stage == 0 {
            desk.bob.approves(&request).await;
        }
        if stage < 2 {
            desk.carol.approves(&request).await;
        }
        requests.push(request);
    }
    let expected = [
        "r1-submitted",
        "r1-review-wanted",
        "r1-approved",
        "r1-released",
    ];
    for request in &requests {
        request.reaches(Phase::Released).await;
        for what in expected {
            comes(&receiver, request, what).await;
        }
        outbox_is_empty(&env, request).await;
        let found = ids(&receiver.got(), request);
        let found: BTreeSet<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(found, expected.into(), "each once after de-duplication");
    }
    let all = receiver.got().len();
    println!(
        "{kills} kills, {all} messages for {} notifications",
        requests.len() * expected.len()
    );
    assert!(controller.runs());
}

#[tokio::test]
async fn no_notification_is_lost_when_the_controller_is_killed() {
    killed(4).await;
}

#[tokio::test]
#[ignore = "long"]
async fn no_notification_is_lost_in_fifty_kills() {
    killed(50).await;
}

#[tokio::test]
#[ignore = "long"]
async fn a_review_that_takes_too_long_is_told_of_once_and_shown() {
    let env = private().await;
    let receiver = Receiver::new(Answers::Takes).await;
    let setup = Controller {
        elect: false,
        notifications: Some(json!({"allowed_hosts": ["127.0.0.1"],
            "channels": [webhook("desk", &receiver.url())]})),
        variables: secrets(&["desk"]),
        ..Controller::new(&env, "overdue-tells")
    };
    let mut controller = setup.start().await;
    let desk = desk(&env, "overdue-tells-gateway", &controller.url).await;
    let project = Project::new(&env, "overdue").await;
    project
        .policy(json!({"phaseLimits": {"InReview": 60}}))
        .await;
    let alice = desk.alice.moves_to(&project.name).await;
    let spec = json!({"direction": "Egress", "title": "t"});
    let request = alice.creates("overdue", spec).await;
    alice.uploads(&request, "a.csv", "1").await;
    alice.submits(&request, 1).await;
    let status = request.reaches(Phase::InReview).await;
    let overdue = status.conditions.iter().find(|c| c.type_ == "Overdue");
    let said = &overdue.unwrap().message;
    assert!(said.starts_with("InReview since "), "{said}");
    request
        .until("overdue", PATIENCE * 2, |s| {
            let mut overdue = s.conditions.iter().filter(|c| c.type_ == "Overdue");
            overdue.any(|c| c.status == "True")
        })
        .await;
    comes(&receiver, &request, "r1-overdue-inreview").await;
    outbox_is_empty(&env, &request).await;
    // Whoever looks again finds that it was told.
    controller.kill().await;
    let _controller = setup.start().await;
    alice.withdraws(&request).await;
    request.reaches(Phase::Withdrawn).await;
    comes(&receiver, &request, "r1-withdrawn").await;
    let got = receiver.got();
    let told = got
        .iter()
        .filter(|g| g.header("webhook-id").contains("overdue"));
    assert_eq!(told.count(), 1);
    project.policy_goes().await;
}
