//! `ro-crate-metadata.json`: the crate described in RO-Crate 1.2.
//!
//! The graph is small and flat: the dataset, its files, who publishes it, who
//! wrote it, and the approval as an action. The public validator's
//! recommendations shaped it: a Person is identified by an ORCID and an
//! Organization by a ROR, so authors without them are credited in words
//! (`creditText`) and the publisher stands as the author.

use std::collections::HashSet;

use serde::Serialize;
use serde::ser::{SerializeSeq as _, Serializer};
use serde_json::{Value, json};

use super::inputs::{CrateInputs, entry_uri, file_description};
use trevor_api::Author;
use trevor_core::manifest::{ManifestFile, Texts};

mod json_text;

/// Its name in the package.
pub const FILE_NAME: &str = "ro-crate-metadata.json";

const CONTEXT: &str = "https://w3id.org/ro/crate/1.2/context";
/// Where no license is granted: without a word readers could take the crate for open.
const NO_LICENSE: &str = "All rights reserved";
/// The statement of rightsstatements.org for works that are in copyright: where no licence
/// is granted, RO-Crate 1.2 still wants an absolute URL for the entity of the licence.
const IN_COPYRIGHT: &str = "http://rightsstatements.org/vocab/InC/1.0/";
const CONFORMS_TO: &str = "https://w3id.org/ro/crate/1.2";

/// The bytes of `ro-crate-metadata.json`.
///
/// # Errors
/// When a value cannot be written as JSON, which none of ours does.
pub fn render(inputs: &CrateInputs<'_>) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    struct Document<'a> {
        #[serde(rename = "@context")]
        context: &'static str,
        #[serde(rename = "@graph")]
        graph: Graph<'a>,
    }
    json_text::to_vec(&Document {
        context: CONTEXT,
        graph: Graph(inputs),
    })
}

/// The entities, made one by one while they are written: ten thousand files
/// need no tree in memory.
struct Graph<'a>(&'a CrateInputs<'a>);

impl Serialize for Graph<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut graph = serializer.serialize_seq(None)?;
        graph.serialize_element(&descriptor())?;
        graph.serialize_element(&root(self.0))?;
        for file in &self.0.manifest.files {
            graph.serialize_element(&data_file(&self.0.manifest.texts(file), file))?;
        }
        for entity in context_entities(self.0) {
            graph.serialize_element(&entity)?;
        }
        graph.end()
    }
}

fn descriptor() -> Value {
    json!({
        "@id": FILE_NAME,
        "@type": "CreativeWork",
        "name": "RO-Crate metadata",
        "about": reference("./"),
        "conformsTo": reference(CONFORMS_TO),
    })
}

fn root(inputs: &CrateInputs<'_>) -> Value {
    let manifest = inputs.manifest;
    let mut people: Vec<String> = persons(&manifest.authors).map(|(id, ..)| id).collect();
    // The publisher answers for what no identified person does.
    if people.is_empty() || people.len() < manifest.authors.len() {
        people.push(publisher_id(inputs));
    }
    let mut seen = HashSet::new();
    people.retain(|id| seen.insert(id.clone()));
    let mut root = json!({
        "@id": "./",
        "@type": "Dataset",
        "name": manifest.title,
        "description": inputs.description(),
        "datePublished": inputs.decided_text(),
        "identifier": reference("#manifest"),
        "license": reference(license_id(inputs)),
        "publisher": reference(&publisher_id(inputs)),
        "author": one_or_list(people.iter().map(|id| reference(id)).collect()),
        "mentions": reference("#approval"),
    });
    if let Some(credit) = inputs.credit() {
        set(&mut root, "creditText", credit.into());
    }
    let parts: Vec<Value> = manifest
        .files
        .iter()
        .map(|f| reference(&entry_uri(f)))
        .collect();
    if !parts.is_empty() {
        set(&mut root, "hasPart", one_or_list(parts));
    }
    root
}

fn data_file(said: &Texts<'_>, file: &ManifestFile) -> Value {
    let mut entity = json!({
        "@id": entry_uri(file),
        "@type": "File",
        "name": file.path,
        "description": file_description(said, file),
        "contentSize": file.size.to_string(),
        "encodingFormat": file.media_type,
        "sha256": file.sha256,
    });
    if let Some(kind) = said.output_type {
        set(&mut entity, "additionalType", kind.to_string().into());
    }
    entity
}

/// Whom and what the dataset refers to.
fn context_entities(inputs: &CrateInputs<'_>) -> Vec<Value> {
    let mut entities = vec![
        json!({
            "@id": "#manifest",
            "@type": "PropertyValue",
            "name": "SHA-256 of the approved manifest",
            "description": "What the reviewers approved, byte for byte, is named by this digest",
            "propertyID": "sha256",
            "value": inputs.digest,
        }),
        json!({
            "@id": "#approval",
            "@type": "AssessAction",
            "name": "Approval for release",
            "description": inputs.approval(),
            "actionStatus": "http://schema.org/CompletedActionStatus",
            "endTime": inputs.decided_text(),
            "object": reference("./"),
            "agent": reference(&publisher_id(inputs)),
            "instrument": reference("#policy"),
            "additionalProperty": reference("#approvals"),
        }),
        json!({
            "@id": "#approvals",
            "@type": "PropertyValue",
            "name": "Number of approvals",
            "description": "Distinct reviewers who approved this manifest",
            "value": inputs.approvals,
        }),
        json!({
            "@id": "#policy",
            "@type": "CreativeWork",
            "name": inputs.manifest.policy.name,
            "description": "The policy under which the release was approved",
        }),
        license(inputs),
    ];
    publisher(inputs, &mut entities);
    authors(inputs, &mut entities);
    entities
}

/// The license's URL; without one, that of a statement that there is none.
fn license_id<'a>(inputs: &'a CrateInputs<'_>) -> &'a str {
    inputs.license.as_deref().unwrap_or(IN_COPYRIGHT)
}

fn license(inputs: &CrateInputs<'_>) -> Value {
    let (name, description) = match &inputs.license {
        Some(url) => (
            license_name(url),
            format!("The license of this dataset: {url}"),
        ),
        None => (NO_LICENSE.to_owned(), inputs.no_license()),
    };
    json!({
        "@id": license_id(inputs),
        "@type": "CreativeWork",
        "name": name,
        "description": description,
    })
}

fn publisher(inputs: &CrateInputs<'_>, entities: &mut Vec<Value>) {
    let publisher = &inputs.publisher;
    let id = publisher_id(inputs);
    let url = publisher
        .url
        .clone()
        .or_else(|| id.starts_with("http").then(|| id.clone()));
    let mut organization = json!({
        "@id": id,
        "@type": "Organization",
        "name": publisher.name,
        "contactPoint": reference("#contact"),
    });
    let mut contact = json!({
        "@id": "#contact",
        "@type": "ContactPoint",
        "name": format!("Contact of {}", publisher.name),
        "contactType": "publisher",
    });
    if let Some(url) = url {
        set(&mut organization, "url", url.clone().into());
        set(&mut contact, "url", url.into());
    }
    if let Some(email) = &publisher.email {
        set(&mut contact, "email", email.clone().into());
    }
    entities.extend([organization, contact]);
}

fn authors(inputs: &CrateInputs<'_>, entities: &mut Vec<Value>) {
    let mut known = vec![publisher_id(inputs)];
    for (id, author, affiliation) in persons(&inputs.manifest.authors) {
        if known.contains(&id) {
            continue;
        }
        entities.push(json!({
            "@id": id,
            "@type": "Person",
            "name": author.name,
            "affiliation": reference(&affiliation.0),
        }));
        known.push(id);
        if known.contains(&affiliation.0) {
            continue;
        }
        let contact = format!("#contact-{}", affiliation.1);
        entities.push(json!({
            "@id": affiliation.0,
            "@type": "Organization",
            "name": affiliation.2,
            "url": affiliation.0,
            "contactPoint": reference(&contact),
        }));
        entities.push(json!({
            "@id": contact,
            "@type": "ContactPoint",
            "name": format!("Contact of {}", affiliation.2),
            "url": affiliation.0,
        }));
        known.push(affiliation.0);
    }
}

/// Authors who can be identified: the ORCID as a URL, the author, and of the
/// affiliation URL, identifier and name.
fn persons(authors: &[Author]) -> impl Iterator<Item = (String, &Author, (String, &str, &str))> {
    authors.iter().filter_map(|author| {
        let orcid = author.orcid.as_ref()?;
        let affiliation = author.affiliation.as_ref()?;
        let ror = affiliation.ror.as_deref()?;
        let organization = (
            format!("https://ror.org/{ror}"),
            ror,
            affiliation.name.as_str(),
        );
        Some((format!("https://orcid.org/{orcid}"), author, organization))
    })
}

/// The publisher's ROR as a URL; without one its home page, or a name in the crate.
fn publisher_id(inputs: &CrateInputs<'_>) -> String {
    match (&inputs.publisher.ror, &inputs.publisher.url) {
        (Some(ror), _) if ror.starts_with("https://") => ror.clone(),
        (Some(ror), _) => format!("https://ror.org/{ror}"),
        (None, Some(url)) => url.clone(),
        (None, None) => "#publisher".to_owned(),
    }
}

/// A name for people, for licenses that have one.
pub(super) fn license_name(url: &str) -> String {
    let path = url
        .trim_end_matches('/')
        .split_once("://")
        .map_or(url, |(_, path)| path);
    let creative_commons = path
        .strip_prefix("creativecommons.org/licenses/")
        .and_then(|rest| {
            let (kind, version) = rest.split_once('/')?;
            Some(format!(
                "Creative Commons {} {version}",
                kind.to_uppercase()
            ))
        });
    match (creative_commons, path) {
        (Some(name), _) => name,
        (None, "creativecommons.org/publicdomain/zero/1.0") => "CC0 1.0 Universal".to_owned(),
        (None, path) => path
            .strip_prefix("spdx.org/licenses/")
            .map_or(url, |name| name.trim_end_matches(".html"))
            .to_owned(),
    }
}

fn reference(id: &str) -> Value {
    json!({ "@id": id })
}

/// RO-Crate has a single value stand alone.
fn one_or_list(mut values: Vec<Value>) -> Value {
    match values.len() {
        1 => values.remove(0),
        _ => Value::Array(values),
    }
}

fn set(entity: &mut Value, key: &str, value: Value) {
    if let Value::Object(properties) = entity {
        properties.insert(key.to_owned(), value);
    }
}
