//! Whoever is told is told over TLS, by the server that was meant, or not at all.

use serde_json::{Value, json};
use trevor_api::Phase;
use trevor_notify::Channels;

use crate::faults::desk;
use crate::harness::{
    Answers, Authority, Controller, Env, Mailbox, PATIENCE, Receiver, Terminates, private, ready,
};

const USER: (&str, &str) = ("trevor", "hunter2-hunter2");

fn mail(name: &str, port: u16, tls: &str, authority: &Authority) -> Value {
    json!({"name": name, "smtp": {"host": "127.0.0.1", "port": port, "tls": tls,
        "ca_bundle": authority.file(), "username": USER.0,
        "from": "Airlock <airlock@tre.example>", "to": ["desk@tre.example"]}})
}

fn webhook(name: &str, url: &str, authority: Option<&Authority>) -> Value {
    json!({"name": name, "webhook": {"url": url, "allow_unsigned": true,
        "ca_bundle": authority.map(Authority::file)}})
}

/// How each channel is reached, by name: the reason, or `ok`.
async fn reached(channels: Vec<Value>) -> Vec<(String, String)> {
    let config = json!({"allowed_hosts": ["127.0.0.1", "localhost"], "channels": channels});
    let config = serde_json::from_value(config).unwrap();
    let password = |name: &str| name.ends_with("PASSWORD").then(|| USER.1.to_owned());
    let channels = Channels::new(&config, password).unwrap();
    let said = |(name, reached): (&str, Result<(), trevor_notify::Failure>)| {
        let how = reached.map_or_else(|f| format!("{:?}", f.reason), |()| "ok".to_owned());
        (name.to_owned(), how)
    };
    channels.reach().await.into_iter().map(said).collect()
}

#[tokio::test]
async fn mail_goes_over_tls_to_the_server_that_was_meant_or_not_at_all() {
    let env = Env::shared();
    let (ours, other) = (Authority::default(), Authority::default());
    let (right, wrong) = (
        ours.signs("127.0.0.1", 3600),
        ours.signs("smtp.example", 3600),
    );
    let old = ours.signs("127.0.0.1", -60);
    let mut servers = Vec::new();
    let mut channels = Vec::new();
    let mut expected = Vec::new();
    // What the server does, what it is, what is asked for, whom we trust, what comes of it.
    for (mode, pair, tls, trusted, how) in [
        ("implicit", &right, "Tls", &ours, "ok"),
        ("implicit", &right, "Tls", &other, "TlsFailed"),
        ("implicit", &wrong, "Tls", &ours, "TlsFailed"),
        ("implicit", &old, "Tls", &ours, "TlsFailed"),
        ("starttls", &right, "StartTls", &ours, "ok"),
        ("starttls", &right, "StartTls", &other, "TlsFailed"),
        ("starttls", &wrong, "StartTls", &ours, "TlsFailed"),
        ("starttls", &old, "StartTls", &ours, "TlsFailed"),
        ("stripped", &right, "StartTls", &ours, "not ok"),
        ("broken", &right, "StartTls", &ours, "not ok"),
        ("plain", &right, "Tls", &ours, "not ok"),
    ] {
        let server = Mailbox::secured(&env, mode, pair, USER).await;
        let name = format!("mail-{:02}-{mode}", servers.len());
        channels.push(mail(&name, server.port, tls, trusted));
        expected.push((name, how));
        servers.push(server);
    }
    for (((name, how), server), (found, got)) in
        expected.iter().zip(&servers).zip(reached(channels).await)
    {
        assert_eq!(*name, found);
        assert!(
            got == *how || (*how == "not ok" && got != "ok"),
            "{name}: {got}, and not {how}"
        );
        // Nobody else learns the password.
        assert_eq!(server.logins().is_empty(), *how != "ok", "{name}");
    }
}

#[tokio::test]
async fn a_webhook_is_called_over_tls_by_its_name_and_by_an_authority_that_is_trusted() {
    let (ours, other) = (Authority::default(), Authority::default());
    let receiver = Receiver::new(Answers::Takes).await;
    let server = receiver.address.to_string();
    let right = Terminates::before(&server, &ours.signs("127.0.0.1", 3600)).await;
    let wrong = Terminates::before(&server, &ours.signs("hooks.example", 3600)).await;
    let old = Terminates::before(&server, &ours.signs("127.0.0.1", -60)).await;
    let plain = format!("https://{server}/hook");
    let url = |of: &Terminates| format!("{}/hook", of.url());
    let got = reached(vec![
        webhook("a-right", &url(&right), Some(&ours)),
        webhook("b-unknown", &url(&right), Some(&other)),
        webhook("c-public", &url(&right), None),
        webhook("d-name", &url(&wrong), Some(&ours)),
        webhook("e-old", &url(&old), Some(&ours)),
        webhook("f-plain", &plain, Some(&ours)),
    ])
    .await;
    let got: Vec<(&str, &str)> = got.iter().map(|(n, h)| (n.as_str(), h.as_str())).collect();
    assert_eq!(
        got,
        [
            ("a-right", "ok"),
            ("b-unknown", "TlsFailed"),
            ("c-public", "TlsFailed"),
            ("d-name", "TlsFailed"),
            ("e-old", "TlsFailed"),
            ("f-plain", "TlsFailed"),
        ]
    );
    assert_eq!(receiver.calls(), 0, "reaching sends nothing");
}

#[tokio::test]
async fn a_bundle_without_a_certificate_is_refused_when_the_channel_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("empty.pem");
    std::fs::write(&file, "").unwrap();
    for channel in [
        json!({"name": "desk", "webhook": {"url": "https://127.0.0.1/", "allow_unsigned": true, "ca_bundle": file}}),
        json!({"name": "desk", "smtp": {"host": "127.0.0.1", "from": "a@b.example", "to": ["c@d.example"], "ca_bundle": file}}),
    ] {
        let config = json!({"allowed_hosts": ["127.0.0.1"], "channels": [channel]});
        let config = serde_json::from_value(config).unwrap();
        let refused = Channels::new(&config, |_| None).err().unwrap().to_string();
        assert!(
            refused.contains("desk") && refused.contains("empty.pem: no certificate in it"),
            "{refused}"
        );
    }
}

/// The chart's `trust` is a folder of files and SSL_CERT_DIR: webhook and mail honour it.
#[tokio::test]
async fn a_released_request_is_told_by_https_and_by_mail_with_a_login() {
    let env = private().await;
    let ours = Authority::default();
    let receiver = Receiver::new(Answers::Takes).await;
    let hook = Terminates::before(
        &receiver.address.to_string(),
        &ours.signs("127.0.0.1", 3600),
    )
    .await;
    let pair = ours.signs("127.0.0.1", 3600);
    let (implicit, starttls) = tokio::join!(
        Mailbox::secured(&env, "implicit", &pair, USER),
        Mailbox::secured(&env, "starttls", &pair, USER)
    );
    let mut channels = vec![
        webhook("desk", &format!("{}/hook", hook.url()), None),
        mail("implicit", implicit.port, "Tls", &ours),
        mail("starttls", starttls.port, "StartTls", &ours),
    ];
    channels[1]["smtp"]["ca_bundle"] = Value::Null;
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let setup = Controller {
        elect: false,
        notifications: Some(json!({"allowed_hosts": ["127.0.0.1"], "channels": channels})),
        variables: vec![
            variable("TREVOR_NOTIFY_IMPLICIT_PASSWORD", USER.1),
            variable("TREVOR_NOTIFY_STARTTLS_PASSWORD", USER.1),
            variable("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"),
            variable("SSL_CERT_DIR", &ours.folder().display().to_string()),
        ],
        ..Controller::new(&env, "tells-over-tls")
    };
    let controller = setup.start().await;
    let desk = desk(&env, "tells-over-tls-gateway", &controller.url).await;
    let request = desk.approved_once("over-tls", 1, 100).await;
    desk.carol.approves(&request).await;
    request.reaches(Phase::Released).await;
    let id = format!("{}.r1-released", request.uid);
    ready("all three tell of the release", PATIENCE, || async {
        let told = receiver
            .got()
            .iter()
            .any(|one| one.header("webhook-id") == id);
        let mailed = |server: &Mailbox| server.mails().iter().any(|(_, m)| m.contains(&id));
        (told && mailed(&implicit) && mailed(&starttls)).then_some(())
    })
    .await;
    for server in [&implicit, &starttls] {
        assert!(server.logins().lines().all(|name| name == USER.0));
        assert!(!server.logins().is_empty());
    }
}
