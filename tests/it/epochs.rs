//! What is made while the admission rules are away: what loosens does not count, what
//! stops is carried out and is to be confirmed.

use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use trevor_api::{
    AirlockAction, AirlockRequestStatus, AirlockSession, Phase, ReviewDecision, ReviewState,
    SessionState,
};

use crate::actions::{acts, word_on};
use crate::faults::{Desk, desk};
use crate::harness::{
    Controller, PATIENCE, PROJECT, Person, Private, Request, Spawned, ready, sha256, trevor,
};
use crate::rules::{away, back, becomes, proved_since, settled, with_a_policy};

struct Stage {
    env: Private,
    controller: Spawned,
    desk: Desk,
    admin: Client,
}

async fn stage(name: &str) -> Stage {
    let env = with_a_policy().await;
    let setup = Controller {
        elect: false,
        ..Controller::new(&env, name)
    };
    let controller = setup.start().await;
    let gateway = format!("{name}-gateway");
    let desk = desk(&env, &gateway, &controller.url).await;
    let admin = env.kube("admin").await;
    becomes(&admin, true, "those of the chart").await;
    settled(&controller.url).await;
    Stage {
        env,
        controller,
        desk,
        admin,
    }
}

impl Stage {
    /// A request under review, which counts, as do the sessions, whatever comes.
    async fn in_review(&self, stem: &str) -> Request {
        let spec = json!({"direction": "Egress", "title": "Epochs"});
        let request = self.desk.alice.creates(stem, spec).await;
        self.desk.alice.uploads(&request, "a.csv", "1,2").await;
        self.desk.alice.submits(&request, 1).await;
        request.reaches(Phase::InReview).await;
        proved_since(&self.desk.alice).await;
        request
    }

    fn sessions(&self) -> Api<AirlockSession> {
        Api::namespaced(self.admin.clone(), PROJECT)
    }
}

fn name_of(token: &str) -> String {
    format!("s-{}", &sha256(token.as_bytes())[..40])
}

async fn judged(sessions: &Api<AirlockSession>, name: &str) -> AirlockSession {
    ready(format!("a word on session {name}"), PATIENCE, || async {
        let session = sessions.get(name).await.unwrap();
        let state = session.status.as_ref().and_then(|s| s.state);
        state.is_some().then_some(session)
    })
    .await
}

/// A session that says it is bob's, made by somebody else where nothing stops them.
async fn forged(who: &Person) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let sessions: Api<AirlockSession> = Api::namespaced(who.kube.clone(), PROJECT);
    let stated = URL_SAFE_NO_PAD.encode(format!("{PROJECT}/bob"));
    let random = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    let token = format!("trv1.{stated}.{random}");
    let session: AirlockSession = serde_json::from_value(json!({
        "apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockSession",
        "metadata": {"name": name_of(&token)},
        "spec": {"tokenSHA256": sha256(token.as_bytes()), "ttlSeconds": 3600,
            "user": "bob", "groups": ["checkers", "system:authenticated"]},
    }))
    .unwrap();
    // The binding's end takes up to a second to be felt.
    ready("the forged session is let through", PATIENCE, || async {
        let made = sessions.create(&PostParams::default(), &session).await;
        made.ok()
    })
    .await;
    token
}

#[tokio::test]
async fn a_session_that_is_forged_while_its_rule_is_away_reads_nothing() {
    let stage = stage("epoch-sessions").await;
    let request = stage.in_review("epoch-sessions").await;
    stage.desk.bob.reads(&request, "a.csv").await.expect(200);

    let rule = away(&stage.admin, "trevor-airlocksessions").await;
    becomes(&stage.admin, false, "trevor-airlocksessions is missing").await;
    let token = forged(&stage.desk.alice).await;
    let refused = judged(&stage.sessions(), &name_of(&token)).await.status;
    let refused = refused.unwrap();
    assert_eq!(refused.state, Some(SessionState::Refused));
    assert_eq!(refused.reason.as_deref(), Some("OutsideEpoch"));
    let mallory = Person {
        token: Some(token.clone()),
        ..stage.desk.bob.clone()
    };
    let answer = mallory.reads(&request, "a.csv").await.expect(401);
    assert!(
        answer.json()["detail"]
            .as_str()
            .unwrap()
            .contains("log in again")
    );

    // The rule about status is away, too: whoever may write there marks it by hand.
    let status = away(&stage.admin, "trevor-status").await;
    becomes(&stage.admin, false, "trevor-status is missing").await;
    let mark = json!({"status": {"state": "Accepted", "epoch": 1, "observedGeneration": 1}});
    ready("the mark is let through", PATIENCE, || async {
        let (api, params) = (stage.sessions(), PatchParams::default());
        let patched = api
            .patch_status(&name_of(&token), &params, &Patch::Merge(&mark))
            .await;
        patched.ok()
    })
    .await;
    back(&stage.admin, &status).await;
    back(&stage.admin, &rule).await;
    ready("the forged session is ended", PATIENCE, || async {
        let found = stage.sessions().get_opt(&name_of(&token)).await.unwrap();
        found.is_none().then_some(())
    })
    .await;
    ready("the gateway knows it no more", PATIENCE, || async {
        (mallory.reads(&request, "a.csv").await.status == 401).then_some(())
    })
    .await;

    // Sessions from before stay, and what is made from now on counts.
    becomes(&stage.admin, true, "those of the chart").await;
    settled(&stage.controller.url).await;
    stage.desk.bob.reads(&request, "a.csv").await.expect(200);
    let carol = stage.desk.carol.moves_to(PROJECT).await;
    carol.reads(&request, "a.csv").await.expect(200);
}

#[tokio::test]
async fn login_waits_until_its_session_is_accepted_and_makes_another_while_the_rules_settle() {
    let stage = stage("epoch-login").await;
    let rule = away(&stage.admin, "trevor-airlocksessions").await;
    becomes(&stage.admin, false, "trevor-airlocksessions is missing").await;
    back(&stage.admin, &rule).await;
    // The next epoch has not begun, or has not settled.
    let done = tokio::process::Command::new(trevor())
        .arg("login")
        .arg("--kubeconfig")
        .arg(stage.env.folder().join("kubeconfig"))
        .args(["--context", "bob", "--namespace", PROJECT, "--print-token"])
        .env_remove("KUBECONFIG")
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{said}");
    let token = String::from_utf8(done.stdout).unwrap().trim().to_owned();
    let session = stage.sessions().get(&name_of(&token)).await.unwrap();
    let state = session.status.unwrap().state;
    assert_eq!(state, Some(SessionState::Accepted));
}

/// An action in another's name, where nothing stops it.
async fn forged_action(who: &Person, request: &Request, role: &str, action: &str) -> AirlockAction {
    let api: Api<AirlockAction> = Api::namespaced(who.kube.clone(), PROJECT);
    let object: AirlockAction = serde_json::from_value(json!({
        "apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockAction",
        "metadata": {"generateName": "forged-"},
        "spec": {"target": {"kind": "AirlockRequest", "name": request.name, "uid": request.uid},
            "as": role, "action": action, "actor": "olga", "reason": "forged"},
    }))
    .unwrap();
    ready("the forged action is let through", PATIENCE, || async {
        api.create(&PostParams::default(), &object).await.ok()
    })
    .await
}

async fn last_hold(stage: &Stage, request: &Request, sequence: i64) -> Value {
    let word = format!("work/holds/{}/{sequence}.json", request.uid);
    stage.env.quarantine().json(&word).await
}

#[tokio::test]
async fn outside_an_epoch_a_hold_stands_at_once_and_nobody_lifts_it() {
    let stage = stage("epoch-holds").await;
    let (alice, request) = (&stage.desk.alice, stage.in_review("epoch-holds").await);
    let olga = Person::new("olga", stage.env.kube("olga").await, None, String::new());

    let rule = away(&stage.admin, "trevor-airlockactions").await;
    becomes(&stage.admin, false, "trevor-airlockactions is missing").await;
    let hold = forged_action(alice, &request, "HoldOfficer", "Hold").await;
    let said = word_on(alice, &hold).await;
    assert_eq!(said.state, Some(ReviewState::Counted), "{said:?}");
    assert_eq!(said.reason.as_deref(), Some("Unconfirmed"));
    assert_eq!(last_hold(&stage, &request, 1).await["unconfirmed"], true);
    let held = request.says("Held", "OnHold").await;
    assert_eq!(held.held.unwrap().unconfirmed, Some(true));
    let shown = held.conditions.iter().find(|c| c.type_ == "Held").unwrap();
    assert!(shown.message.contains("confirms it"), "{}", shown.message);

    let lift = forged_action(alice, &request, "HoldOfficer", "LiftHold").await;
    let said = word_on(alice, &lift).await;
    assert_eq!(said.state, Some(ReviewState::NotCounted), "{said:?}");
    assert_eq!(said.reason.as_deref(), Some("OutsideEpoch"));
    assert!(said.message.unwrap().contains("make it again"));
    assert!(request.status().await.held.is_some());

    back(&stage.admin, &rule).await;
    becomes(&stage.admin, true, "those of the chart").await;
    settled(&stage.controller.url).await;
    // The officer confirms it, and lifts it.
    let hold = acts(&olga, &request, "HoldOfficer", "Hold").await.unwrap();
    let said = word_on(&olga, &hold).await;
    assert_eq!(said.state, Some(ReviewState::Counted));
    assert_eq!(said.reason, None);
    request
        .until("confirmed", PATIENCE, |s| {
            s.held.as_ref().is_some_and(|h| h.unconfirmed.is_none())
        })
        .await;
    let lift = acts(&olga, &request, "HoldOfficer", "LiftHold")
        .await
        .unwrap();
    assert_eq!(
        word_on(&olga, &lift).await.state,
        Some(ReviewState::Counted)
    );
    assert!(request.says("Held", "NotHeld").await.held.is_none());
}

#[tokio::test]
async fn outside_an_epoch_a_reject_stops_the_approval_until_its_author_says_more() {
    let stage = stage("epoch-reject").await;
    let request = stage.in_review("epoch-reject").await;
    let rule = away(&stage.admin, "trevor-airlockreviews").await;
    becomes(&stage.admin, false, "trevor-airlockreviews is missing").await;
    let reject = stage
        .desk
        .bob
        .reviews_it(&request, ReviewDecision::Reject)
        .await;
    let word = request
        .word_on(&reject, |s| s.state == Some(ReviewState::NotCounted))
        .await;
    assert_eq!(word.reason.as_deref(), Some("OutsideEpoch"));
    assert!(word.message.unwrap().contains("until you confirm it"));

    back(&stage.admin, &rule).await;
    becomes(&stage.admin, true, "those of the chart").await;
    settled(&stage.controller.url).await;
    stage.desk.carol.approves(&request).await;
    request.says("ReviewsWaiting", "OutsideEpoch").await;
    stage
        .desk
        .bob
        .reviews_it(&request, ReviewDecision::Reject)
        .await;
    request.reaches(Phase::Rejected).await;
}

#[tokio::test]
async fn an_edit_while_the_rules_are_away_is_remembered_until_its_author_recalls_the_request() {
    let stage = stage("epoch-edits").await;
    let (alice, mallory) = (&stage.desk.alice, stage.env.kube("admin").await);
    let spec = json!({"direction": "Egress", "title": "What alice wrote"});
    let request = alice.creates("epoch-edits", spec).await;
    alice.uploads(&request, "a.csv", "1,2").await;
    request.reaches(Phase::Draft).await;
    // Its creation and her session count whatever comes.
    proved_since(alice).await;

    let rule = away(&stage.admin, "trevor-airlockrequests").await;
    becomes(&stage.admin, false, "trevor-airlockrequests is missing").await;
    let requests: Api<trevor_api::AirlockRequest> = Api::namespaced(mallory, PROJECT);
    let words = json!({"spec": {"title": "What a stranger wrote"}});
    ready("the edit is let through", PATIENCE, || async {
        let params = PatchParams::default();
        let patched = requests
            .patch(&request.name, &params, &Patch::Merge(&words))
            .await;
        patched.ok()
    })
    .await;
    back(&stage.admin, &rule).await;
    becomes(&stage.admin, true, "those of the chart").await;
    settled(&stage.controller.url).await;

    // Her own edit is the last one, and hides the other from managedFields.
    alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;
    stage.desk.bob.approves(&request).await;
    stage.desk.carol.approves(&request).await;
    let waits = request.says("ReviewsWaiting", "OutsideEpoch").await;
    assert_eq!(waits.phase, Some(Phase::InReview));
    let noticed = |status: &AirlockRequestStatus| {
        let edits = status.edits.as_ref();
        edits.is_some_and(|edits| edits.unconfirmed_generation.is_some())
    };
    request
        .until("an unconfirmed edit", PATIENCE, noticed)
        .await;

    acts(alice, &request, "Submitter", "Recall").await.unwrap();
    request.reaches(Phase::ChangesRequested).await;
    request
        .until("confirmed", PATIENCE, |s| {
            let edits = s.edits.as_ref();
            edits.is_some_and(|edits| edits.unconfirmed_generation.is_none())
        })
        .await;
    alice
        .edits(
            &request,
            json!({"title": "What alice wrote", "submission": 2}),
        )
        .await
        .unwrap();
    request.round_reaches(2, Phase::InReview).await;
    stage.desk.bob.approves(&request).await;
    stage.desk.carol.approves(&request).await;
    request.reaches(Phase::Released).await;
}
