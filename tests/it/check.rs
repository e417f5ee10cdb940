//! `trevor check` says what it finds, and ends with 1 when something must be mended.

use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule,
    LifecycleRuleFilter,
};
use serde_json::{Value, json};

use crate::harness::{
    Env, PATIENCE, Store, command, private, read_config, ready, unique, variables as read_variables,
};

/// Runs it with the credentials of a process and its configuration as changed; gives
/// whether it is content, and its rows.
pub async fn check(
    env: &Env,
    process: &str,
    variables: &[(&str, String)],
    change: impl FnOnce(&mut Value),
) -> (bool, Vec<Value>) {
    let configured = if process == "packaging" {
        "controller"
    } else {
        process
    };
    let mut config = read_config(env, configured);
    change(&mut config);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, config.to_string()).unwrap();
    let ended = command(env, process)
        .args(["check", "--json", "--as", process, "--config"])
        .arg(&file)
        .envs(variables.iter().map(|(name, value)| (*name, value)))
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    let rows = serde_json::from_slice(&ended.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    (ended.status.success(), rows)
}

fn states<'a>(rows: &'a [Value], check: &str, at: &str) -> Vec<&'a str> {
    let wanted = |row: &&Value| row["check"] == check && row["at"].as_str().unwrap_or("") == at;
    let found = rows.iter().filter(wanted);
    found.map(|row| row["state"].as_str().unwrap()).collect()
}

fn bad(rows: &[Value]) -> Vec<&Value> {
    rows.iter().filter(|row| row["state"] == "Failed").collect()
}

#[tokio::test]
async fn a_whole_environment_passes_with_either_identity() {
    let env = Env::shared();
    let (passes, rows) = check(&env, "controller", &[], |_| {}).await;
    assert!(passes, "{:#?}", bad(&rows));
    for (name, at) in [
        ("create-only", "quarantine"),
        ("create-only", "release"),
        ("encryption", "quarantine"),
        ("encryption", "release"),
        ("encryption", "staging"),
        ("strangers", "quarantine"),
        ("strangers", "release"),
        ("signed URLs", "release"),
        ("lifecycle", "quarantine"),
        ("credentials", "release"),
        ("zones apart", "quarantine"),
        ("admission rules", ""),
        ("policies", ""),
        ("packages", ""),
    ] {
        assert_eq!(states(&rows, name, at), ["Ok"], "{name} {at}");
    }
    // SeaweedFS does not say whether public access is blocked: it is tried.
    assert_eq!(states(&rows, "public access", "quarantine"), ["Ok"]);
    assert_eq!(states(&rows, "one place", "release"), ["Ok"]);
    assert_eq!(states(&rows, "records bucket", "quarantine"), ["Warning"]);

    let (passes, rows) = check(&env, "gateway", &[], |_| {}).await;
    assert!(passes, "{:#?}", bad(&rows));
    assert_eq!(states(&rows, "reached", "gateway"), ["Ok"]);
    assert_eq!(states(&rows, "unsigned headers", "staging"), ["Ok"]);
    assert!(states(&rows, "no deletion", "gateway").len() >= 3);

    let (passes, rows) = check(&env, "packaging", &[], |_| {}).await;
    assert!(passes, "{:#?}", bad(&rows));
    assert_eq!(states(&rows, "no reading", "packaging"), ["Ok", "Ok"]);
    assert_eq!(states(&rows, "no writing", "packaging"), ["Ok"]);
    // With the controller's identities, which are the default, it is told.
    let own = read_variables(&env, "controller");
    let own: Vec<(&str, String)> = own.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
    let (passes, rows) = check(&env, "packaging", &own, |_| {}).await;
    assert!(!passes);
    assert!(states(&rows, "no deletion", "packaging").contains(&"Failed"));
}

#[tokio::test]
async fn what_a_release_would_lack_is_asked_for() {
    let env = Env::shared();
    let (_, rows) = check(&env, "controller", &[], |config| {
        config["crate"] = json!({});
    })
    .await;
    assert_eq!(states(&rows, "packages", ""), ["Warning"]);
    let row = rows.iter().find(|row| row["check"] == "packages").unwrap();
    let detail = row["detail"].as_str().unwrap();
    for key in ["crate.publisher.name", "crate.license"] {
        assert!(detail.contains(key), "{detail}");
    }
}

#[tokio::test]
async fn identities_that_can_do_too_much_are_named() {
    let env = Env::shared();
    let root = |name: &str, part: &str| env.variable(&format!("TREVOR_{name}_{part}"));
    let mut variables = Vec::new();
    for part in ["ACCESS_KEY_ID", "SECRET_ACCESS_KEY"] {
        let name: &'static str = match part {
            "ACCESS_KEY_ID" => "TREVOR_S3_QUARANTINE_ACCESS_KEY_ID",
            _ => "TREVOR_S3_QUARANTINE_SECRET_ACCESS_KEY",
        };
        variables.push((name, root("QUARANTINE", part)));
    }
    let (_, rows) = check(&env, "controller", &variables, |_| {}).await;
    assert_eq!(states(&rows, "no deletion", "records"), ["Warning"; 4]);
    let (passes, rows) = check(&env, "gateway", &variables, |_| {}).await;
    assert!(!passes);
    assert!(states(&rows, "no deletion", "gateway").contains(&"Failed"));
    assert!(states(&rows, "no decision", "gateway").contains(&"Failed"));
    // What the mistake let it write is ours to take away.
    let quarantine = env.quarantine();
    for key in quarantine.keys("requests/check/").await {
        quarantine.delete(&key).await;
    }
}

#[tokio::test]
async fn what_does_not_work_or_deletes_by_itself_is_named() {
    let env = private().await;
    let (passes, rows) = check(&env, "controller", &[], |config| {
        config["storage"]["release"]["bucket"] = json!("not-there-at-all");
    })
    .await;
    assert!(!passes);
    assert_eq!(states(&rows, "reached", "release"), ["Failed"]);

    let quarantine = env.quarantine();
    expire(&quarantine, Some("requests/")).await;
    let (passes, rows) = check(&env, "controller", &[], |_| {}).await;
    expire(&quarantine, None).await;
    assert!(!passes);
    assert_eq!(states(&rows, "lifecycle", "quarantine"), ["Failed"]);
    assert_eq!(states(&rows, "lifecycle", "release"), ["Ok"]);

    // Nothing of it stays behind (here nobody else looks at the same time).
    for store in [env.quarantine(), env.release(), env.staging()] {
        let left = store.keys("work/probe/").await;
        // What upload URLs are tried on stays: the gateway cannot make it.
        let stays = |key: &str| key.contains("/proved/") || key == "work/probe/source";
        let left: Vec<_> = left.iter().filter(|key| !stays(key)).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// A bucket for records of their own, in which the controller may do anything but
/// delete and configure.
#[tokio::test]
async fn records_where_nothing_can_be_deleted_are_as_they_should_be() {
    let env = private().await;
    let quarantine = env.quarantine();
    let name = unique("records");
    let made = quarantine.client.create_bucket().bucket(&name);
    made.send().await.unwrap();
    let allow = |actions: &[&str], resource: String| {
        json!({"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam::000000000000:user/controller"]},
            "Action": actions, "Resource": [resource]})
    };
    let policy = json!({"Version": "2012-10-17", "Statement": [
        allow(&["s3:GetObject", "s3:PutObject"], format!("arn:aws:s3:::{name}/*")),
        allow(&["s3:ListBucket", "s3:GetBucketVersioning", "s3:GetLifecycleConfiguration", "s3:GetBucketObjectLockConfiguration"],
            format!("arn:aws:s3:::{name}")),
    ]});
    let put = quarantine.client.put_bucket_policy().bucket(&name);
    put.policy(policy.to_string()).send().await.unwrap();
    let keys = read_variables(&env, "controller");
    let of = |part: &str| keys[&format!("TREVOR_S3_QUARANTINE_{part}")].clone();
    let variables = [
        ("TREVOR_S3_RECORDS_ACCESS_KEY_ID", of("ACCESS_KEY_ID")),
        (
            "TREVOR_S3_RECORDS_SECRET_ACCESS_KEY",
            of("SECRET_ACCESS_KEY"),
        ),
    ];
    for _ in 0..2 {
        let (passes, rows) = check(&env, "controller", &variables, |config| {
            let mut records = config["storage"]["quarantine"].clone();
            records["bucket"] = json!(name);
            config["storage"]["records"] = records;
        })
        .await;
        assert!(passes, "{:#?}", bad(&rows));
        for check in ["create-only", "encryption", "records bucket"] {
            assert_eq!(states(&rows, check, "records"), ["Ok"], "{check}");
        }
        assert_eq!(states(&rows, "no deletion", "records"), ["Ok"; 4]);
    }
}

/// A rule that deletes what lies under a prefix, after ten years; or none.
async fn expire(store: &Store, prefix: Option<&str>) {
    let (client, bucket) = (&store.client, &store.bucket);
    let Some(prefix) = prefix else {
        let gone = client.delete_bucket_lifecycle().bucket(bucket).send().await;
        gone.unwrap();
        return;
    };
    let rule = LifecycleRule::builder()
        .id("tidy")
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix(prefix).build())
        .expiration(LifecycleExpiration::builder().days(3650).build())
        .build()
        .unwrap();
    let rules = BucketLifecycleConfiguration::builder()
        .rules(rule)
        .build()
        .unwrap();
    client
        .put_bucket_lifecycle_configuration()
        .bucket(bucket)
        .lifecycle_configuration(rules)
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn what_cannot_be_reached_is_a_row_and_the_rest_is_looked_at_all_the_same() {
    let env = Env::shared();
    let wrong = [("TREVOR_S3_RELEASE_SECRET_ACCESS_KEY", "wrong".to_owned())];
    let (passes, rows) = check(&env, "controller", &wrong, |_| {}).await;
    assert!(!passes);
    assert_eq!(states(&rows, "reached", "release"), ["Failed"]);
    assert_eq!(states(&rows, "reached", "quarantine"), ["Ok"]);

    let nowhere = "http://127.0.0.1:9";
    let (passes, rows) = check(&env, "controller", &[], |config| {
        config["storage"]["quarantine"]["endpoint"] = json!(nowhere);
    })
    .await;
    assert!(!passes);
    let reached = |row: &&Value| row["check"] == "reached" && row["at"] == "quarantine";
    let row = rows.iter().find(reached).unwrap();
    assert_eq!(row["state"], "Failed");
    assert!(row["detail"].as_str().unwrap().contains(nowhere), "{row}");
    // What nobody answered is not said to be well.
    for name in ["no configuration", "zones apart", "deletions"] {
        assert_eq!(states(&rows, name, "quarantine"), ["Warning"], "{name}");
    }

    let away = [("KUBECONFIG", "/nonexistent".to_owned())];
    let (passes, rows) = check(&env, "controller", &away, |_| {}).await;
    assert!(!passes);
    assert_eq!(states(&rows, "cluster", ""), ["Failed"]);
    assert_eq!(states(&rows, "reached", "release"), ["Ok"]);
}

#[tokio::test]
async fn an_orphan_and_a_deletion_that_is_overdue_are_named() {
    let env = private().await;
    let inside = env.quarantine();
    let (_, rows) = check(&env, "controller", &[], |_| {}).await;
    assert_eq!(
        states(&rows, "deletions", "quarantine"),
        ["Ok"],
        "{rows:#?}"
    );
    let system: kube::Api<k8s_openapi::api::core::v1::Namespace> =
        kube::Api::all(env.kube("admin").await);
    let cluster = system.get("kube-system").await.unwrap().metadata.uid;
    let uid = unique("orphan");
    let (owner, ticket) = (
        format!("requests/project-a/{uid}/owner.json"),
        format!("work/retention/2020-01-01T00:00:00Z/{uid}-quarantine.json"),
    );
    let fact = json!({"cluster": cluster, "namespace": "project-a", "name": "r", "uid": uid,
        "direction": "Egress", "submitter": "alice", "created": "2020-01-01T00:00:00Z"});
    inside.put(&owner, fact.to_string().as_bytes()).await;
    inside.put(&ticket, b"{}").await;
    let (passes, rows) = check(&env, "controller", &[], |_| {}).await;
    for key in [owner, ticket] {
        inside.delete(&key).await;
    }
    assert!(passes, "{:#?}", bad(&rows));
    assert_eq!(states(&rows, "deletions", "quarantine"), ["Warning"]);
    let orphans = |row: &&Value| row["check"] == "orphans";
    let row = rows.iter().find(orphans).unwrap();
    assert_eq!(row["state"], "Warning");
    let says = row["detail"].as_str().unwrap();
    assert!(says.contains("trevor retention adopt"), "{says}");
}

#[tokio::test]
async fn a_public_bucket_and_records_of_their_own_that_can_be_deleted_fail() {
    let env = private().await;
    let (inside, outside) = (env.quarantine(), env.release());
    let policy = outside.client.get_bucket_policy().bucket(&outside.bucket);
    let before = policy.send().await.unwrap().policy.unwrap();
    let mut open: Value = serde_json::from_str(&before).unwrap();
    open["Statement"]
        .as_array_mut()
        .unwrap()
        .push(json!({"Effect": "Allow", "Principal": "*",
        "Action": ["s3:GetObject"], "Resource": [format!("arn:aws:s3:::{}/*", outside.bucket)]}));
    let set = |policy: String| {
        let put = outside.client.put_bucket_policy().bucket(&outside.bucket);
        put.policy(policy).send()
    };
    set(open.to_string()).await.unwrap();
    let (passes, rows) = check(&env, "controller", &[], |_| {}).await;
    set(before).await.unwrap();
    assert!(!passes);
    assert_eq!(states(&rows, "strangers", "release"), ["Failed"]);

    let name = unique("records");
    let made = inside.client.create_bucket().bucket(&name);
    made.send().await.unwrap();
    let root = |part: &str| env.variable(&format!("TREVOR_QUARANTINE_{part}"));
    let variables = [
        ("TREVOR_S3_RECORDS_ACCESS_KEY_ID", root("ACCESS_KEY_ID")),
        (
            "TREVOR_S3_RECORDS_SECRET_ACCESS_KEY",
            root("SECRET_ACCESS_KEY"),
        ),
    ];
    let (passes, rows) = check(&env, "controller", &variables, |config| {
        let mut records = config["storage"]["quarantine"].clone();
        records["bucket"] = json!(name);
        config["storage"]["records"] = records;
    })
    .await;
    assert!(!passes);
    assert_eq!(states(&rows, "no deletion", "records"), ["Failed"; 4]);
}

/// AWS answers 403 for a key that is not there to whoever may not list, so that the example's
/// advice there is to allow ListBucket without a condition.
#[tokio::test]
async fn a_gateway_that_may_list_everything_as_aws_needs_it_passes_with_a_warning() {
    let env = Env::shared();
    let open = env.quarantine().beside("listable", false).await;
    // As the controller leaves one at its start.
    open.put("work/probe/source", b"0").await;
    let policy = open.client.get_bucket_policy().bucket(&open.bucket);
    let policy = policy.send().await.unwrap().policy.unwrap();
    let mut policy: Value = serde_json::from_str(&policy).unwrap();
    let mut freed = 0;
    for statement in policy["Statement"].as_array_mut().unwrap() {
        let lists = statement["Action"].to_string().contains("s3:ListBucket\"");
        let whose = statement["Principal"].to_string().contains("gateway");
        if lists && whose && statement["Effect"] == "Allow" {
            statement.as_object_mut().unwrap().remove("Condition");
            freed += 1;
        }
    }
    assert_eq!(freed, 1, "{policy}");
    let put = open.client.put_bucket_policy().bucket(&open.bucket);
    put.policy(policy.to_string()).send().await.unwrap();
    // A policy is in force within a second.
    let (passes, rows) = ready("the policy is in force", PATIENCE, || async {
        let (passes, rows) = check(&env, "gateway", &[], |config| {
            config["storage"]["quarantine"]["bucket"] = json!(open.bucket);
        })
        .await;
        (states(&rows, "listing", "gateway") == ["Warning"; 3]).then_some((passes, rows))
    })
    .await;
    assert!(passes, "{:#?}", bad(&rows));
    assert_eq!(states(&rows, "reached", "gateway"), ["Ok"]);
    let row = rows.iter().find(|row| row["check"] == "listing").unwrap();
    assert!(row["detail"].as_str().unwrap().contains("AWS"), "{row}");
}
