//! The gateway's certificate that the operator makes by itself: gateway, people and Jobs
//! use it, it survives whatever is killed, and nobody's Secret is overwritten.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use trevor_api::Phase;
use trevor_core::certificates::DAY;
use trevor_net::tls::issue::{self, Pair};
use trevor_net::tls::look;

use crate::harness::{
    Controller, Env, Gateway, Http, Kubelet, PATIENCE, PROJECT, Spawned, free_address, job_name,
    mounts, private, ready,
};
use crate::volumes::{claim, egress};

const HOME: &str = "trevor-system";
const SERVING: &str = "trevor-gateway-serving";
const AUTHORITY: &str = "trevor-gateway-ca";

/// What there is of it, seen by an admin.
struct Home {
    secrets: Api<Secret>,
    config_maps: Api<ConfigMap>,
}

impl Home {
    fn of(client: Client) -> Self {
        Self {
            secrets: Api::namespaced(client.clone(), HOME),
            config_maps: Api::namespaced(client, HOME),
        }
    }

    /// As if it had never been made.
    async fn is_empty(&self) {
        for name in [SERVING, AUTHORITY] {
            let _ = self.secrets.delete(name, &DeleteParams::default()).await;
        }
        self.publishes_nothing().await;
    }

    async fn publishes_nothing(&self) {
        let (params, patch) = (PatchParams::default(), Patch::Merge(json!({"data": null})));
        let patched = self.config_maps.patch(AUTHORITY, &params, &patch).await;
        patched.unwrap();
    }

    async fn published(&self) -> Option<String> {
        let map = self.config_maps.get(AUTHORITY).await.unwrap();
        map.data?.remove("ca.crt")
    }

    async fn secret(&self, name: &str) -> Option<Secret> {
        self.secrets.get_opt(name).await.unwrap()
    }

    /// What the gateway is to serve with, once all of it is there.
    async fn served(&self, what: &str, differs: Option<&str>) -> (Pair, String) {
        ready(what, PATIENCE, || async {
            let secret = self.secret(SERVING).await?;
            let certificate = text(&secret, "tls.crt")?;
            let key = text(&secret, "tls.key")?;
            let published = self.published().await?;
            (differs != Some(&certificate)).then_some((Pair { certificate, key }, published))
        })
        .await
    }
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(key)?;
    String::from_utf8(bytes.0.clone()).ok()
}

fn version(secret: Option<Secret>) -> String {
    secret.unwrap().resource_version().unwrap()
}

fn controller<'a>(env: &'a Env, name: &'a str, gateway: &str, names: &Value) -> Controller<'a> {
    let tls = json!({"secret": SERVING, "authority": AUTHORITY, "dns_names": names,
        "allow_plaintext": false});
    Controller {
        elect: false,
        changes: json!({"gateway": {"url": format!("https://{gateway}"), "tls": tls}}),
        ..Controller::new(env, name)
    }
}

async fn gateway(
    env: &Env,
    name: &str,
    (listen, controller): (&str, &Spawned),
    folder: &Path,
    http: &Http,
) -> Spawned {
    let setup = Gateway {
        env,
        name,
        controller: &controller.url,
    };
    let changes = json!({"gateway": {"listen": listen, "tls": {"secret": SERVING, "allow_plaintext": false}}});
    let variables = [(
        "TREVOR_GATEWAY_TLS_DIR".to_owned(),
        folder.display().to_string(),
    )];
    setup.start_with(&changes, &variables, http).await
}

#[tokio::test]
async fn gateway_people_and_jobs_use_the_certificate_that_the_operator_makes() {
    let env = private().await;
    let admin = env.kube("admin").await;
    let home = Home::of(admin.clone());
    home.is_empty().await;
    let listen = free_address();
    let setup = controller(&env, "makes-certificates", &listen, &json!(["gw.example"]));
    let controller = setup.start().await;
    let (pair, _) = home.served("the certificate is made", None).await;
    let said = look::of_pem(pair.certificate.as_bytes()).unwrap();
    assert_eq!(
        said.names,
        ["127.0.0.1", "gw.example"].map(str::to_owned).into()
    );

    // Whoever logs in reads the authority, and no Secret.
    let alice = env.kube("alice").await;
    let seen = Api::<ConfigMap>::namespaced(alice.clone(), HOME)
        .get(AUTHORITY)
        .await
        .unwrap();
    let pem = &seen.data.unwrap()["ca.crt"];
    assert!(!pem.contains("PRIVATE"), "{pem}");
    for name in [SERVING, AUTHORITY] {
        let refused = Api::<Secret>::namespaced(alice.clone(), HOME)
            .get(name)
            .await;
        assert!(matches!(refused, Err(kube::Error::Api(s)) if s.code == 403));
    }

    // What kubelet mounts for the gateway, and then a Job of the operator's.
    let folder = tempfile::tempdir().unwrap();
    mounts(folder.path(), &pair);
    let http = Http::trusting(pem);
    let at = (listen.as_str(), &controller);
    let gateway = gateway(&env, "serves-the-made", at, folder.path(), &http).await;
    let mut alice = env.person_at("alice", &gateway.url).await;
    alice.http = http;
    let claimed = claim(&admin, PROJECT, "airlock-read").await;
    let volume = tempfile::tempdir().unwrap();
    std::fs::create_dir(volume.path().join("out")).unwrap();
    std::fs::write(volume.path().join("out/t1.csv"), "a,1\n").unwrap();
    let kubelet = Kubelet::new(admin, PROJECT).mounts(&claimed, volume.path());
    let request = alice.creates("collected", egress(&claimed, 1)).await;
    let pod = kubelet.pod_of(&job_name(&request, "collect-1")).await;
    let env_of = &pod.spec.as_ref().unwrap().containers[0].env;
    let given = env_of.as_ref().unwrap()[0].value.as_deref();
    assert_eq!(given, Some(pem.as_str()));
    let ended = kubelet.runs(&pod).await;
    assert_eq!(ended.code, 0, "{}", ended.said);
    request.reaches(Phase::InReview).await;
    drop(home);
}

#[tokio::test]
async fn what_is_there_stays_and_what_is_missing_is_made_by_the_same_authority() {
    let env = private().await;
    let home = Home::of(env.kube("admin").await);
    home.is_empty().await;
    let listen = free_address();
    let names = json!([]);
    let mut running = controller(&env, "keeps-certificates", &listen, &names).launch();
    let (first, published) = home.served("the certificate is made", None).await;
    let authority = version(home.secret(AUTHORITY).await);
    let serving = version(home.secret(SERVING).await);
    let unchanged = || async {
        assert_eq!(version(home.secret(AUTHORITY).await), authority);
        assert_eq!(home.published().await.as_ref(), Some(&published));
    };

    // Another leader changes nothing.
    running.kill().await;
    let mut running = controller(&env, "keeps-certificates-2", &listen, &names)
        .start()
        .await;
    unchanged().await;
    assert_eq!(version(home.secret(SERVING).await), serving);
    running.kill().await;

    // As if killed after the authority was stored.
    let gone = home.secrets.delete(SERVING, &DeleteParams::default()).await;
    gone.unwrap();
    home.publishes_nothing().await;
    let mut running = controller(&env, "keeps-certificates-3", &listen, &names).launch();
    let what = "the certificate is made again";
    let (second, _) = home.served(what, Some(&first.certificate)).await;
    unchanged().await;
    let signed_by = |pair: &Pair| look::of_pem(pair.certificate.as_bytes()).unwrap().signed_by;
    assert_eq!(signed_by(&first), signed_by(&second));
    running.kill().await;

    // A Secret that somebody broke is made anew; other names, too.
    let broken = Patch::Merge(json!({"stringData": {"tls.crt": "none"}}));
    let params = PatchParams::default();
    home.secrets.patch(SERVING, &params, &broken).await.unwrap();
    let names = json!(["gw.example"]);
    let mut running = controller(&env, "keeps-certificates-4", &listen, &names).launch();
    let what = "the certificate is for the new name";
    let (third, _) = home.served(what, Some("none")).await;
    let said = look::of_pem(third.certificate.as_bytes()).unwrap();
    assert!(said.names.contains("gw.example"));
    unchanged().await;
    running.kill().await;
}

#[tokio::test]
async fn an_authority_in_its_last_year_signs_on_and_its_successor_is_published_beside_it() {
    let env = private().await;
    let home = Home::of(env.kube("admin").await);
    home.is_empty().await;
    let now = jiff::Timestamp::now().as_second();
    let old = issue::authority(now - 1_500 * DAY, now + 300 * DAY).unwrap();
    let id = look::of_pem(old.certificate.as_bytes()).unwrap().id;
    let data = BTreeMap::from([
        (format!("{id}.crt"), &old.certificate),
        (format!("{id}.key"), &old.key),
    ]);
    let secret = serde_json::from_value(json!({
        "metadata": {"name": AUTHORITY}, "type": "airlock.karectl.io/gateway-authority", "stringData": data,
    }));
    let params = PostParams::default();
    home.secrets
        .create(&params, &secret.unwrap())
        .await
        .unwrap();

    let listen = free_address();
    let mut running = controller(&env, "succeeds", &listen, &json!([])).launch();
    let (pair, published) = home.served("the certificate is made", None).await;
    let said = look::of_pem(pair.certificate.as_bytes()).unwrap();
    assert_eq!(said.signed_by, id);
    assert!(published.contains(&old.certificate), "{published}");
    assert_eq!(published.matches("BEGIN CERTIFICATE").count(), 2);
    let stored = home.secret(AUTHORITY).await.unwrap().data.unwrap();
    assert_eq!(stored.len(), 4);
    assert_eq!(stored[&format!("{id}.key")].0, old.key.as_bytes());
    running.kill().await;
    home.is_empty().await;
}

#[tokio::test]
async fn an_authority_that_was_tampered_with_is_told_and_not_overwritten() {
    let env = private().await;
    let home = Home::of(env.kube("admin").await);
    home.is_empty().await;
    let listen = free_address();
    let mut running = controller(&env, "tampered", &listen, &json!([])).launch();
    home.served("the certificate is made", None).await;
    running.kill().await;
    let authority = home.secret(AUTHORITY).await.unwrap();
    let key = authority
        .data
        .unwrap()
        .into_keys()
        .find(|k| k.ends_with(".key"));
    let patch = Patch::Merge(json!({"data": {key.unwrap(): null}}));
    let params = PatchParams::default();
    let patched = home
        .secrets
        .patch(AUTHORITY, &params, &patch)
        .await
        .unwrap();
    let mut running = controller(&env, "tampered-2", &listen, &json!([])).launch();
    let (http, url) = (Http::default(), running.metrics.clone());
    ready("the failure is counted", PATIENCE, || async {
        let text = http.tries(&url).await.ok()?.body;
        let text = String::from_utf8(text.to_vec()).unwrap();
        let name = "trevor_gateway_certificate_failures_total ";
        let count = text.lines().find_map(|l| l.strip_prefix(name))?;
        (count != "0").then_some(())
    })
    .await;
    assert!(running.runs());
    running.kill().await;
    assert_eq!(
        version(home.secret(AUTHORITY).await),
        patched.resource_version().unwrap()
    );
    let log = std::fs::read_to_string(env.folder().join("log/tampered-2.log")).unwrap();
    assert!(
        log.contains(AUTHORITY) && log.contains("has no key"),
        "{log}"
    );
    home.is_empty().await;
}
