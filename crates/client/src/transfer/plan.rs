//! The upload plan: the gateway's answer to `GET plan`.
//!
//! It comes from somebody's mail or disk, so it is checked before anything of
//! this machine is read by its word: paths stay beneath a folder, parts lie
//! within their file. What is wrong is said without a word of the plan's values,
//! since these hold the URLs.

use std::collections::{BTreeMap, HashSet};

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::Deserialize;

use super::shown;
use super::{Address, AddressError};
use trevor_core::digest::Sha256Hex;
use trevor_core::names::{self, NameError};

/// What is to be sent.
#[derive(Debug)]
pub struct Plan {
    /// Each path once.
    pub files: Vec<PlanFile>,
}

/// One file of the plan.
#[derive(Debug)]
pub struct PlanFile {
    /// Its path in the request.
    pub path: String,
    /// Bytes it must have.
    pub size: u64,
    /// Its digest, where the request declares one.
    pub sha256: Option<Sha256Hex>,
    /// What is still missing; empty when all of it is there.
    pub parts: Vec<PlanPart>,
    /// When its URLs end.
    pub expires: Option<Timestamp>,
}

/// One PUT.
#[derive(Debug)]
pub struct PlanPart {
    /// From 1.
    pub number: u32,
    /// Where in the file it begins.
    pub offset: u64,
    /// Bytes of it.
    pub size: u64,
    /// Where to; a secret.
    pub url: Address,
    /// To be sent exactly so; all marked as secret.
    pub headers: HeaderMap,
}

/// Why a plan is not used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages explain each")]
pub enum PlanError {
    #[error("the plan is not the answer of GET plan (line {line}, column {column}): {what}")]
    Form {
        line: usize,
        column: usize,
        what: &'static str,
    },
    #[error("this is not a plan but what the gateway said instead: {0}")]
    Problem(String),
    #[error("the plan's path '{}' is refused: {problem}", shown(path))]
    Path { path: String, problem: NameError },
    #[error("the plan has '{}' twice", shown(.0))]
    Twice(String),
    #[error("part {number} of '{}': {problem}", shown(path))]
    Part {
        path: String,
        number: u32,
        problem: PartProblem,
    },
}

/// What is wrong with a part.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages explain each")]
pub enum PartProblem {
    #[error(transparent)]
    Url(#[from] AddressError),
    #[error("its method is not PUT; get a new version of trevor")]
    Method,
    #[error("it lies outside the file, or over another part")]
    Place,
    #[error("a header cannot be sent as it stands")]
    Header,
}

#[derive(Deserialize)]
struct Wire {
    files: Vec<WireFile>,
}

#[derive(Deserialize)]
struct WireFile {
    path: String,
    size: u64,
    #[serde(default)]
    sha256: Option<Sha256Hex>,
    parts: Vec<WirePart>,
    #[serde(default)]
    expires: Option<Timestamp>,
}

#[derive(Deserialize)]
struct WirePart {
    number: u32,
    offset: u64,
    size: u64,
    method: String,
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Problem {
    detail: String,
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    /// When it is none, or asks for what a plan may not.
    pub fn read(json: &[u8], allow_http: bool) -> Result<Self, PlanError> {
        let wire: Wire =
            serde_json::from_slice(json).map_err(|e| {
                match serde_json::from_slice::<Problem>(json) {
                    Ok(problem) => PlanError::Problem(shown(&problem.detail)),
                    Err(_) => form(&e),
                }
            })?;
        let mut files = Vec::with_capacity(wire.files.len());
        let mut paths = HashSet::new();
        for mut file in wire.files {
            if let std::borrow::Cow::Owned(composed) = names::normalise(&file.path) {
                file.path = composed;
            }
            if let Err(problem) = names::check_file(&file.path) {
                return Err(PlanError::Path {
                    path: file.path,
                    problem,
                });
            }
            if !paths.insert(file.path.clone()) {
                return Err(PlanError::Twice(file.path));
            }
            files.push(checked(file, allow_http)?);
        }
        Ok(Self { files })
    }

    /// Files of which something is still to be sent.
    pub fn open(&self) -> impl Iterator<Item = &PlanFile> {
        self.files.iter().filter(|f| !f.parts.is_empty())
    }
}

impl PlanFile {
    /// Bytes that are still to be sent.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.parts.iter().map(|p| p.size).sum()
    }
}

/// Says where, not what: the words of the error can hold a value.
fn form(error: &serde_json::Error) -> PlanError {
    PlanError::Form {
        line: error.line(),
        column: error.column(),
        what: match error.classify() {
            serde_json::error::Category::Eof => "it ends too early",
            serde_json::error::Category::Data => "a field is missing or of another kind",
            _ => "it is not JSON",
        },
    }
}

fn checked(file: WireFile, allow_http: bool) -> Result<PlanFile, PlanError> {
    let mut parts = Vec::with_capacity(file.parts.len());
    for part in file.parts {
        let number = part.number;
        parts.push(
            checked_part(part, allow_http).map_err(|problem| PlanError::Part {
                path: file.path.clone(),
                number,
                problem,
            })?,
        );
    }
    parts.sort_by_key(|p| p.offset);
    let mut at = 0;
    for part in &parts {
        let end = part.offset.checked_add(part.size);
        match end {
            Some(end) if part.offset >= at && end <= file.size => at = end,
            _ => {
                return Err(PlanError::Part {
                    path: file.path,
                    number: part.number,
                    problem: PartProblem::Place,
                });
            }
        }
    }
    Ok(PlanFile {
        path: file.path,
        size: file.size,
        sha256: file.sha256,
        parts,
        expires: file.expires,
    })
}

fn checked_part(part: WirePart, allow_http: bool) -> Result<PlanPart, PartProblem> {
    if part.method != "PUT" {
        return Err(PartProblem::Method);
    }
    let url = Address::parse(&part.url, allow_http)?;
    let mut headers = HeaderMap::new();
    for (name, value) in &part.headers {
        let name: HeaderName = name.parse().map_err(|_| PartProblem::Header)?;
        // The client frames the message itself: these may be stated, as they are
        // signed, but must say what is sent anyway.
        match name {
            HOST if *value == url.authority() => continue,
            CONTENT_LENGTH if *value == part.size.to_string() => continue,
            HOST | CONTENT_LENGTH | TRANSFER_ENCODING | CONNECTION | UPGRADE => {
                return Err(PartProblem::Header);
            }
            _ => {}
        }
        let mut value = HeaderValue::from_str(value).map_err(|_| PartProblem::Header)?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(PlanPart {
        number: part.number,
        offset: part.offset,
        size: part.size,
        url,
        headers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn part(offset: u64, size: u64) -> Value {
        json!({"number": 1, "offset": offset, "size": size, "method": "PUT",
            "url": "https://s3.example/b/k?X-Amz-Signature=geheim", "headers": {}})
    }

    fn plan(path: &str, size: u64, parts: &[Value]) -> Value {
        json!({"files": [{"path": path, "size": size, "sha256": null, "parts": parts, "expires": "2026-11-25T00:00:00Z"}]})
    }

    fn read(json: &Value) -> Result<Plan, PlanError> {
        Plan::read(json.to_string().as_bytes(), false)
    }

    #[test]
    fn a_plan_is_read_with_its_parts_in_order() {
        let plan = read(&plan("t/a.csv", 30, &[part(20, 10), part(0, 10)])).unwrap();
        let file = plan.open().next().unwrap();
        assert_eq!(
            file.parts.iter().map(|p| p.offset).collect::<Vec<_>>(),
            [0, 20]
        );
        assert_eq!(file.missing(), 20);
    }

    #[test]
    fn a_plan_that_asks_for_what_it_may_not_is_refused() {
        let with = |key: &str, value: Value| {
            let mut part = part(0, 10);
            part[key] = value;
            plan("a.csv", 10, &[part])
        };
        let refused = [
            plan("../a.csv", 10, &[part(0, 10)]),
            plan("/etc/passwd", 10, &[part(0, 10)]),
            plan("a//b", 10, &[part(0, 10)]),
            plan("a.csv", 10, &[part(1, 10)]),
            plan("a.csv", 10, &[part(u64::MAX, 1)]),
            plan("a.csv", 30, &[part(0, 10), part(9, 10)]),
            with("method", json!("POST")),
            with("url", json!("http://s3.example/geheim")),
            with("url", json!("geheim")),
            with("url", json!({"geheim": 1})),
            with("size", json!("geheim")),
            with("number", json!(-1)),
            with("headers", json!({"content-length": "11"})),
            with("headers", json!({"host": "geheim"})),
            with("headers", json!({"transfer-encoding": "chunked"})),
            with("headers", json!({"x-a": "geheim\nx"})),
            with("headers", json!({"ge heim": "x"})),
            json!({"files": [{"path": "a", "size": 1, "parts": []}, {"path": "a", "size": 1, "parts": []}]}),
            json!([]),
        ];
        for json in refused {
            let error = read(&json).expect_err(&json.to_string()).to_string();
            assert!(!error.contains("geheim"), "{error}");
        }
        let stated =
            json!({"content-length": "10", "Host": "s3.example", "x-amz-checksum-sha256": "x"});
        let plan = read(&with("headers", stated)).unwrap();
        assert_eq!(plan.files[0].parts[0].headers.len(), 1);
    }

    #[test]
    fn names_are_taken_composed_and_refused_as_the_gateway_refuses_them() {
        let of = |path: &str| read(&plan(path, 10, &[part(0, 10)]));
        assert_eq!(of("e\u{301}.csv").unwrap().files[0].path, "é.csv");
        for path in [format!("{}.csv", "表".repeat(96)), "．．/x.csv".to_owned()] {
            assert!(matches!(of(&path), Err(PlanError::Path { .. })), "{path}");
        }
    }

    #[test]
    fn what_the_gateway_said_instead_of_a_plan_is_repeated() {
        let json =
            json!({"type": "about:blank", "status": 409, "detail": "ingress is not configured"});
        let error = read(&json).unwrap_err().to_string();
        assert!(error.contains("ingress is not configured"), "{error}");
    }

    #[test]
    fn a_plan_prints_no_secret() {
        let mut part = part(0, 10);
        part["headers"] = json!({"x-amz-checksum-sha256": "geheim"});
        let plan = read(&plan("a.csv", 10, &[part])).unwrap();
        assert!(!format!("{plan:?}").contains("geheim"));
    }
}
