//! What is said of a folder stands once in the manifest, and in the crate for each file.

use serde_json::json;
use trevor_api::Phase;

use crate::harness::{Env, sha256};

#[tokio::test]
async fn texts_of_a_folder_stand_once_and_speak_for_each_of_its_files() {
    let env = Env::shared();
    let (alice, bob, carol) = (
        env.person("alice").await,
        env.person("bob").await,
        env.person("carol").await,
    );
    let said = "What all figures of this analysis have in common";
    let spec = json!({"direction": "Egress", "title": "Figures", "files": [
        {"path": "figures/", "description": said, "justification": "Aggregates", "outputType": "Figure"},
        {"path": "table.csv", "description": "Table 1"}]});
    let request = alice.creates("folder", spec).await;
    for path in ["figures/a.csv", "figures/b.csv", "table.csv"] {
        alice.uploads(&request, path, "age,n\n1,20\n").await;
    }
    alice.submits(&request, 1).await;
    request.reaches(Phase::InReview).await;
    let answer = bob.gets(&request, "manifest").await.expect(200);
    assert_eq!(sha256(&answer.body), request.digest().await);
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert_eq!(text.matches(said).count(), 1, "{text}");
    let manifest = answer.json();
    assert_eq!(manifest["format"], 2);
    assert_eq!(manifest["folders"][0]["justification"], "Aggregates");
    let folders: Vec<_> = manifest["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| {
            (
                file["path"].clone(),
                file["folder"].clone(),
                file["description"].clone(),
            )
        })
        .collect();
    let none = serde_json::Value::Null;
    assert_eq!(
        folders,
        [
            (json!("figures/a.csv"), json!(0), none.clone()),
            (json!("figures/b.csv"), json!(0), none.clone()),
            (json!("table.csv"), none, json!("Table 1")),
        ]
    );
    let entity = |crate_: &serde_json::Value, id: &str| {
        let graph = crate_["@graph"].as_array().unwrap();
        graph.iter().find(|e| e["@id"] == id).unwrap().clone()
    };
    let shown = bob.gets(&request, "crate").await.expect(200).json();
    for path in ["figures/a.csv", "figures/b.csv"] {
        let file = entity(&shown, &format!("data/{path}"));
        assert_eq!(
            (&file["description"], &file["additionalType"]),
            (&json!(said), &json!("Figure"))
        );
    }
    assert_eq!(entity(&shown, "data/table.csv")["description"], "Table 1");
    let preview = bob.gets(&request, "crate?format=preview").await.expect(200);
    let page = String::from_utf8(preview.body.to_vec()).unwrap();
    assert_eq!(page.matches(said).count(), 2);
    bob.approves(&request).await;
    carol.approves(&request).await;
    request.reaches(Phase::Released).await;
}
