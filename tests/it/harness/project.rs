//! A project of one test, with a policy of its own.

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use trevor_api::AirlockPolicy;

use super::{Env, PATIENCE, Person, ready, unique};

/// A namespace in which people have the roles that they have in `project-a`.
pub struct Project {
    pub name: String,
    admin: Client,
    env: Env,
}

impl Project {
    pub async fn new(env: &Env, stem: &str) -> Self {
        let (name, admin) = (unique(stem), env.kube("admin").await);
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        let namespaces: Api<Namespace> = Api::all(admin.clone());
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .unwrap();
        for (role, users) in [
            ("trevor-researcher", ["alice", "dave"].as_slice()),
            ("trevor-checker", &["bob", "carol"]),
            ("trevor-hold-officer", &["olga"]),
        ] {
            bind(&admin, &name, role, users).await;
        }
        let env = env.clone();
        Self { name, admin, env }
    }

    /// Sets the policy of the project, and waits until the controller has it; a test
    /// that made one takes it away again.
    pub async fn policy(&self, egress: Value) {
        self.rules(json!({"egress": egress})).await;
    }

    /// The same, of what comes in.
    pub async fn inward_policy(&self, ingress: Value) {
        self.rules(json!({"ingress": ingress})).await;
    }

    async fn rules(&self, rules: Value) {
        let api: Api<AirlockPolicy> = Api::all(self.admin.clone());
        let mut spec = rules;
        spec["namespaces"] = json!([self.name]);
        let policy = serde_json::from_value(json!({
            "apiVersion": "airlock.karectl.io/v1alpha1", "kind": "AirlockPolicy", "metadata": {"name": self.name},
            "spec": spec,
        }))
        .unwrap();
        api.create(&PostParams::default(), &policy).await.unwrap();
        ready("the policy is ready", PATIENCE, || async {
            let status = api.get(&self.name).await.unwrap().status?;
            status
                .conditions
                .iter()
                .any(|c| c.type_ == "Ready" && c.status == "True")
                .then_some(())
        })
        .await;
    }

    pub async fn policy_goes(&self) {
        let api: Api<AirlockPolicy> = Api::all(self.admin.clone());
        api.delete(&self.name, &DeleteParams::default())
            .await
            .unwrap();
    }

    /// Somebody, with a session here.
    pub async fn person(&self, name: &str) -> Person {
        self.env.person(name).await.moves_to(&self.name).await
    }
}

/// Gives users a role in a namespace.
pub async fn bind(admin: &Client, namespace: &str, role: &str, users: &[&str]) {
    let group = "rbac.authorization.k8s.io";
    let subjects: Vec<Value> = users
        .iter()
        .map(|user| json!({"apiGroup": group, "kind": "User", "name": user}))
        .collect();
    let binding = serde_json::from_value(json!({
        "metadata": {"name": role}, "subjects": subjects,
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
    }))
    .unwrap();
    let bindings: Api<RoleBinding> = Api::namespaced(admin.clone(), namespace);
    bindings
        .create(&PostParams::default(), &binding)
        .await
        .unwrap();
}
