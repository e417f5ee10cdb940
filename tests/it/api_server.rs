//! The API server goes away, is busy, has conflicts and ends watches: nothing is lost,
//! done twice or given up, and no process ends.

use std::time::{Duration, Instant};

use serde_json::json;
use trevor_api::Phase;

use crate::faults::{Desk, crossed_once, desk};
use crate::harness::{Busy, Controller, Env, Gateway, Http, Line, PATIENCE, private, ready};

/// Away for longer than the Lease lives, and longer than any call waits.
async fn away(how_long: Duration) {
    let env = private().await;
    let env: &Env = &env;
    let (mut line, mut of_gateway) =
        tokio::join!(Line::of(env, "controller"), Line::of(env, "gateway"));
    let controller = Controller {
        variables: line.variables(),
        ..Controller::new(env, "cut-off")
    };
    let mut controller = controller.start().await;
    let gateway = Gateway {
        env,
        name: "cut-off-gateway",
        controller: &controller.url,
    };
    let http = Http::default();
    let mut gateway = gateway
        .start_with(&json!({}), &of_gateway.variables(), &http)
        .await;
    let desk = Desk::at(env, &gateway.url).await;
    let request = desk.approved_once("cut-off", 1, 2048).await;

    line.cut().await;
    of_gateway.cut().await;
    let began = Instant::now();
    // People have their own way to the API server, and go on.
    desk.carol.approves(&request).await;
    let leads = || async { controller.metric("trevor_leader").await };
    ready("it leads no more", PATIENCE, || async {
        (leads().await == Some(0.0)).then_some(())
    })
    .await;
    let left = how_long.saturating_sub(began.elapsed());
    tokio::time::sleep(left).await;
    assert_ne!(request.status().await.phase, Some(Phase::Released));
    assert!(controller.runs() && gateway.runs());

    line.mend().await;
    of_gateway.mend().await;
    crossed_once(env, &request).await;
    let next = desk.approved_once("cut-off", 1, 2048).await;
    desk.carol.approves(&next).await;
    crossed_once(env, &next).await;
    assert!(controller.runs() && gateway.runs());
}

#[tokio::test]
async fn what_happened_while_the_api_server_was_away_is_taken_up() {
    away(Duration::from_secs(20)).await;
}

#[tokio::test]
#[ignore = "ten minutes"]
async fn what_happened_while_the_api_server_was_away_for_ten_minutes_is_taken_up() {
    away(Duration::from_secs(600)).await;
}

#[tokio::test]
async fn a_busy_server_with_conflicts_and_short_watches_delays_and_spoils_nothing() {
    let env = private().await;
    let busy = Busy::before(&env, "controller").await;
    let controller = Controller {
        elect: false,
        variables: busy.variables(),
        ..Controller::new(&env, "busy")
    };
    let mut controller = controller.start().await;
    let desk = desk(&env, "busy-gateway", &controller.url).await;
    let request = desk.approved_once("busy", 1, 2048).await;
    desk.carol.approves(&request).await;
    crossed_once(&env, &request).await;
    let [too_many, conflicts] = busy.refused();
    println!("429: {too_many}, 409: {conflicts}");
    assert!(too_many > 5 && conflicts > 2, "{too_many} {conflicts}");
    assert!(controller.runs());
}
