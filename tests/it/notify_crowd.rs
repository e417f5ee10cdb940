//! Thousands of notifications and a channel that hangs: the other channel gets all of
//! them soon, in bounded memory, and the one that hung gets each when it is back.

use std::collections::BTreeSet;
use std::time::Instant;

use futures::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::harness::{
    Answers, Controller, Env, Http, PATIENCE, PROJECT, Received, Receiver, Store, private, ready,
    unique,
};

const ENTRIES: usize = 2_000;

fn channel(name: &str, receiver: &Receiver) -> Value {
    json!({"name": name, "webhook": {"url": receiver.url(), "allow_plaintext": true, "allow_unsigned": true}})
}

/// Stores entries as the controller does; gives their ids.
async fn fill(inside: &Store, stem: &str) -> BTreeSet<String> {
    let ids: Vec<String> = (0..ENTRIES).map(|n| format!("{stem}-{n:05}")).collect();
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    stream::iter(ids.iter().enumerate())
        .for_each_concurrent(16, |(n, uid)| async move {
            let time = now - SignedDuration::from_secs(i64::try_from(n).unwrap() % 600);
            let entry = json!({
                "channels": ["hangs", "good"], "request": "r", "record": "r",
                "notice": {"what": "r1-submitted", "kind": "Submitted", "namespace": PROJECT,
                    "uid": uid, "phase": "Submitted", "round": 1, "time": time},
            });
            let key = format!("work/outbox/{time}/{uid}.r1-submitted.json");
            inside.put(&key, entry.to_string().as_bytes()).await;
        })
        .await;
    ids.into_iter()
        .map(|uid| format!("{uid}.r1-submitted"))
        .collect()
}

fn ids(got: &[Received], stem: &str) -> Vec<String> {
    let id = |one: &Received| one.header("webhook-id").to_owned();
    got.iter()
        .map(id)
        .filter(|id| id.starts_with(stem))
        .collect()
}

async fn metric(controller: &str, name: &str) -> f64 {
    let text = Http::default()
        .get(&format!("{controller}/metrics"))
        .await
        .body;
    let text = String::from_utf8(text.to_vec()).unwrap();
    let line = text.lines().find(|line| line.starts_with(name));
    line.map_or(0.0, |line| {
        line.rsplit(' ').next().unwrap().parse().unwrap()
    })
}

async fn is_empty(env: &Env, stem: &str) {
    let inside = env.quarantine();
    ready("the outbox is empty", PATIENCE * 10, || async {
        let keys = inside.keys("work/outbox/").await;
        (!keys.iter().any(|key| key.contains(stem))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_channel_that_hangs_delays_no_other_however_much_waits() {
    let env = private().await;
    let (good, hangs) = (
        Receiver::new(Answers::Takes).await,
        Receiver::new(Answers::Hangs).await,
    );
    let stem = unique("crowd");
    let expected = fill(&env.quarantine(), &stem).await;
    let setup = Controller {
        elect: false,
        notifications: Some(json!({"allowed_hosts": ["127.0.0.1"],
            "channels": [channel("hangs", &hangs), channel("good", &good)]})),
        ..Controller::new(&env, "crowd")
    };
    let controller = setup.start().await;
    let began = Instant::now();
    ready("the good channel has all", PATIENCE * 8, || async {
        let got: BTreeSet<String> = ids(&good.got(), &stem).into_iter().collect();
        (got == expected).then_some(())
    })
    .await;
    let took = began.elapsed();
    assert_eq!(ids(&good.got(), &stem).len(), ENTRIES, "each once");
    assert!(metric(&controller.url, "trevor_notifications_under_way").await >= 1_500.0);
    // At most one message tries for all once it is known to hang.
    assert!(hangs.calls() < 30, "{} calls", hangs.calls());

    hangs.answers(Answers::Takes);
    ready("the other has all", PATIENCE * 10, || async {
        let got: BTreeSet<String> = ids(&hangs.got(), &stem).into_iter().collect();
        (got == expected).then_some(())
    })
    .await;
    is_empty(&env, &stem).await;
    assert_eq!(ids(&good.got(), &stem).len(), ENTRIES, "still each once");
    let peak = controller.peak_memory() >> 20;
    println!("{ENTRIES} entries: {took:?} by the good channel, at most {peak} MiB");
    assert!(peak < 200, "{peak} MiB");
}

/// An entry about something that happened so many seconds ago; gives where its mark goes.
async fn told_since(inside: &Store, seconds: i64) -> String {
    let uid = unique("hour");
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    let time = now - SignedDuration::from_secs(seconds);
    let entry = json!({
        "channels": ["desk"], "request": "r", "record": "r",
        "notice": {"what": "r1-submitted", "kind": "Submitted", "namespace": PROJECT,
            "uid": uid, "phase": "Submitted", "round": 1, "time": time},
    });
    let key = format!("work/outbox/{time}/{uid}.r1-submitted.json");
    inside.put(&key, entry.to_string().as_bytes()).await;
    format!("requests/{PROJECT}/{uid}/notified/r1-submitted/desk.json")
}

#[tokio::test]
async fn after_an_hour_of_500_a_message_is_given_up_and_a_younger_one_still_arrives() {
    let env = private().await;
    let inside = env.quarantine();
    let receiver = Receiver::new(Answers::Refuses(500)).await;
    // The hour is nearly over for one of them; a slow start leaves time for two tries.
    let (old, young) = (
        told_since(&inside, 3_480).await,
        told_since(&inside, 600).await,
    );
    let setup = Controller {
        elect: false,
        notifications: Some(
            json!({"allowed_hosts": ["127.0.0.1"], "retry_seconds": 3_600,
            "channels": [channel("desk", &receiver)]}),
        ),
        ..Controller::new(&env, "hour")
    };
    let controller = setup.start().await;
    let mark = |key: String| {
        let inside = &inside;
        ready("it is over", PATIENCE * 4, move || {
            let key = key.clone();
            async move {
                let found = inside.find(&key).await?;
                serde_json::from_slice::<Value>(&found).ok()
            }
        })
    };
    let given_up = mark(old).await;
    assert_eq!(given_up["state"], "Failed");
    assert_eq!(
        given_up["lastError"],
        json!({"reason": "Refused", "code": 500})
    );
    assert!(given_up["attempts"].as_i64().unwrap() > 1, "{given_up}");
    assert!(inside.find(&young).await.is_none());
    let dead = "trevor_notifications_total{channel=\"desk\",result=\"dead\"}";
    // It is counted after its mark is stored.
    ready("it is counted", PATIENCE, || async {
        (metric(&controller.url, dead).await >= 1.0).then_some(())
    })
    .await;
    receiver.answers(Answers::Takes);
    assert_eq!(mark(young).await["state"], "Delivered");
}
