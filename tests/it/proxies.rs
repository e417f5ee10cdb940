//! Behind a company's proxy: storage, `login`, `send` and `fetch` go through the proxy that
//! the environment names, and directly where NO_PROXY says so.

use std::path::Path;

use kube::config::Kubeconfig;
use serde_json::json;
use tokio::process::Command;

use crate::harness::{
    Authority, Env, Forward, PATIENCE, PROJECT, Store, Terminates, command, noise, read_config,
    sha256, trevor, unique,
};
use crate::transfer::{for_an_hour, package, signer, single};

/// Runs a command to its end; gives whether it went well, and what it said.
async fn ends(command: &mut Command) -> (bool, String) {
    let done = command.kill_on_drop(true).output();
    let done = tokio::time::timeout(PATIENCE, done).await;
    let done = done.expect("it ends").unwrap();
    let said = [&done.stdout[..], &done.stderr[..]].map(String::from_utf8_lossy);
    (done.status.success(), said.concat())
}

/// `127.0.0.1:port` of a URL, as `port`.
fn port(url: &str) -> &str {
    url.rsplit(':').next().unwrap()
}

/// `trevor check` as the controller, with storage at other addresses; gives whether it passes.
async fn check(
    env: &Env,
    [quarantine, release]: [&str; 2],
    ca: Option<&Path>,
    variables: &[(&str, &str)],
) -> (bool, String) {
    let mut config = read_config(env, "controller");
    for (zone, url) in [
        ("quarantine", quarantine),
        ("staging", quarantine),
        ("release", release),
    ] {
        config["storage"][zone]["endpoint"] = json!(url);
    }
    config["storage"]["release"]["public_endpoint"] = json!(release);
    config["storage"]["release"]["ca_bundle"] = json!(ca);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, config.to_string()).unwrap();
    let mut check = command(env, "controller");
    check.args(["check", "--as", "controller", "--config"]);
    ends(check.arg(&file).envs(variables.iter().copied())).await
}

#[tokio::test]
async fn storage_goes_through_the_proxy_in_plain_and_in_tunnels_unless_no_proxy_names_it() {
    let env = Env::shared();
    let forward = Forward::start().await;
    let authority = Authority::default();
    let (quarantine, release) = (
        env.variable("TREVOR_QUARANTINE_ENDPOINT"),
        env.variable("TREVOR_RELEASE_ENDPOINT"),
    );
    let pair = authority.signs("release.trevor.test", 3600);
    let secure = Terminates::before(&release, &pair).await;
    // Nobody but the proxy knows these names: whatever went directly would fail.
    let plain = format!("http://quarantine.trevor.test:{}", port(&quarantine));
    let tunnel = format!("https://release.trevor.test:{}", secure.port);
    let proxies = [
        ("HTTP_PROXY", forward.url.as_str()),
        ("HTTPS_PROXY", &forward.url),
    ];
    let ca = authority.file();
    let (passes, said) = check(&env, [&plain, &tunnel], Some(&ca), &proxies).await;
    assert!(passes, "{said}");
    assert!(!said.contains("p%40ss") && !said.contains("p@ss"), "{said}");
    let passed = forward.passed();
    for call in [
        format!("PUT {plain}"),
        format!("GET {plain}"),
        format!("DELETE {plain}"),
        format!("CONNECT {}", tunnel.trim_start_matches("https://")),
    ] {
        assert!(passed.contains(&call), "{call} is not in {passed:?}");
    }

    // NO_PROXY keeps each of them direct, and the names are unknown then.
    let mut direct = proxies.to_vec();
    direct.push(("NO_PROXY", ".trevor.test"));
    let (passes, said) = check(&env, [&plain, &tunnel], Some(&ca), &direct).await;
    assert!(!passes && said.contains("name is not known"), "{said}");
    assert_eq!(forward.passed(), Vec::<String>::new());
    direct.pop();
    direct.push(("NO_PROXY", "10.0.0.0/8,127.0.0.1"));
    let (passes, said) = check(&env, [&quarantine, &release], None, &direct).await;
    assert!(passes, "{said}");
    assert_eq!(forward.passed(), Vec::<String>::new());
}

/// The kubeconfig with its server under a name that only the proxy knows, or with a proxy of
/// its own.
fn kubeconfig(env: &Env, folder: &Path, proxy_url: Option<&str>) -> (std::path::PathBuf, String) {
    let mut config = Kubeconfig::read_from(env.folder().join("kubeconfig")).unwrap();
    let cluster = config.clusters[0].cluster.as_mut().unwrap();
    let address = cluster.server.clone().unwrap();
    let host = format!("api.trevor.test:{}", port(&address));
    cluster.server = Some(format!("https://{host}"));
    cluster.tls_server_name = Some("127.0.0.1".to_owned());
    cluster.proxy_url = proxy_url.map(str::to_owned);
    let file = folder.join(unique("kubeconfig"));
    std::fs::write(&file, serde_yaml::to_string(&config).unwrap()).unwrap();
    (file, format!("CONNECT {host}"))
}

async fn logs_in(kubeconfig: &Path, variables: &[(&str, &str)]) -> (bool, String) {
    let mut login = Command::new(trevor());
    login
        .env_clear()
        .arg("login")
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(["--context", "alice", "--namespace", PROJECT, "--ttl", "60"])
        .arg("--print-token")
        .envs(variables.iter().copied());
    ends(&mut login).await
}

#[tokio::test]
async fn a_login_goes_as_kubectl_does_by_the_environment_or_by_the_kubeconfig() {
    let env = Env::shared();
    let folder = tempfile::tempdir().unwrap();
    let forward = Forward::start().await;
    let url = forward.url.as_str();
    let (named, tunnel) = kubeconfig(&env, folder.path(), None);
    let (made, said) = logs_in(&named, &[("HTTPS_PROXY", url)]).await;
    assert!(made && said.starts_with("trv1."), "{said}");
    let passed = forward.passed();
    assert!(passed.contains(&tunnel), "{passed:?}");

    let (made, said) = logs_in(
        &named,
        &[("HTTPS_PROXY", url), ("NO_PROXY", ".trevor.test")],
    )
    .await;
    assert!(!made, "{said}");
    assert_eq!(forward.passed(), Vec::<String>::new());

    // What the kubeconfig names is for this cluster, whatever the environment says.
    let (own, tunnel) = kubeconfig(&env, folder.path(), Some(url));
    let (made, said) = logs_in(&own, &[("NO_PROXY", "*")]).await;
    assert!(made, "{said}");
    let passed = forward.passed();
    assert!(passed.contains(&tunnel), "{passed:?}");

    // An API server on this machine is not behind a proxy of the environment.
    let here = env.folder().join("kubeconfig");
    for no_proxy in ["127.0.0.1", ""] {
        let variables = [("HTTPS_PROXY", url), ("NO_PROXY", no_proxy)];
        let (made, said) = logs_in(&here, &variables).await;
        assert!(made, "{said}");
        assert_eq!(forward.passed(), Vec::<String>::new());
    }
}

/// `trevor send` or `trevor fetch`, with the plan or the URL in a file.
async fn transfers(
    folder: &Path,
    arguments: &[&str],
    input: &str,
    variables: &[(&str, &str)],
) -> (bool, String) {
    let file = folder.join(unique("input"));
    std::fs::write(&file, input).unwrap();
    let mut transfer = Command::new(trevor());
    transfer
        .env_clear()
        .args(arguments)
        .current_dir(folder)
        .stdin(std::fs::File::open(&file).unwrap())
        .envs(variables.iter().copied());
    ends(&mut transfer).await
}

/// The quarantine bucket's server under another address, for which URLs are signed.
fn at(env: &Env, url: &str) -> Store {
    let keys = (
        env.variable("TREVOR_QUARANTINE_ACCESS_KEY_ID"),
        env.variable("TREVOR_QUARANTINE_SECRET_ACCESS_KEY"),
    );
    Store::new(url, &env.variable("TREVOR_QUARANTINE_BUCKET"), keys)
}

async fn link(store: &Store, key: &str) -> String {
    let get = signer(store).get_object().bucket(&store.bucket).key(key);
    let signed = get.presigned(for_an_hour()).await.unwrap();
    signed.uri().to_owned()
}

#[tokio::test]
async fn send_and_fetch_go_through_the_proxy_in_plain_and_in_tunnels_unless_no_proxy_names_it() {
    let env = Env::shared();
    let folder = tempfile::tempdir().unwrap();
    let forward = Forward::start().await;
    let authority = Authority::default();
    let endpoint = env.variable("TREVOR_QUARANTINE_ENDPOINT");
    let pair = authority.signs("storage.trevor.test", 3600);
    let secure = Terminates::before(&endpoint, &pair).await;
    let ca = authority.file().display().to_string();
    let bytes = package(&noise(70_000, 61));
    std::fs::write(folder.path().join("a.zip"), &bytes).unwrap();
    let tunnel = format!("storage.trevor.test:{}", secure.port);
    let plain = format!("http://localhost:{}", port(&endpoint));
    let proxies = [
        ("HTTP_PROXY", forward.url.as_str()),
        ("HTTPS_PROXY", &forward.url),
    ];
    let no_proxy = |direct| [proxies[0], proxies[1], ("NO_PROXY", direct)];
    for (server, seen, tls, name) in [
        (
            format!("https://{tunnel}"),
            format!("CONNECT {tunnel}"),
            true,
            ".trevor.test",
        ),
        (plain.clone(), format!("PUT {plain}"), false, "localhost"),
    ] {
        let store = at(&env, &server);
        let key = format!("work/probe/{}", unique("proxied"));
        let plan = json!({"files": [single(&store, &key, "a.zip", &bytes).await]}).to_string();
        let trusting = |verb: &'static str, out: &str| {
            let mut words = vec![verb.to_owned(), "-".to_owned(), out.to_owned()];
            words.extend(
                tls.then(|| ["--ca".to_owned(), ca.clone()])
                    .into_iter()
                    .flatten(),
            );
            words
        };
        let send = trusting("send", "a.zip");
        let send: Vec<&str> = send.iter().map(String::as_str).collect();
        let (sent, said) = transfers(folder.path(), &send, &plan, &proxies).await;
        assert!(sent, "{said}");
        assert!(!said.contains("p%40ss") && !said.contains("p@ss"), "{said}");
        let passed = forward.passed();
        assert!(passed.contains(&seen), "{passed:?}");
        assert_eq!(sha256(&env.quarantine().get(&key).await), sha256(&bytes));

        let url = link(&store, &key).await;
        for (variables, through) in [(proxies.to_vec(), true), (no_proxy(name).to_vec(), false)] {
            let out = format!("--out={}", unique("fetched"));
            let fetch = trusting("fetch", &out);
            let fetch: Vec<&str> = fetch.iter().map(String::as_str).collect();
            let (fetched, said) = transfers(folder.path(), &fetch, &url, &variables).await;
            let passed = forward.passed();
            assert_eq!(passed.is_empty(), !through, "{passed:?}");
            // Without the proxy the name is known to nobody.
            assert_eq!(fetched, through || !tls, "{said}");
            if fetched {
                let file = folder.path().join(out.trim_start_matches("--out="));
                assert_eq!(sha256(&std::fs::read(file).unwrap()), sha256(&bytes));
            }
        }
        if !tls {
            let direct = no_proxy(name);
            let (sent, said) = transfers(folder.path(), &send, &plan, &direct).await;
            assert!(sent, "{said}");
            assert_eq!(forward.passed(), Vec::<String>::new());
        }
        env.quarantine().delete(&key).await;
    }
}
