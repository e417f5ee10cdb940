//! `GET plan`: the URLs to which the submitter of an ingress request uploads its files.
//!
//! The URLs are signed at each call. The key of each file is stored create-only (`work/plans/…`),
//! so that several gateways and calls agree. Only missing parts are listed, so that an interrupted
//! upload can be resumed.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::response::Response;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::cluster::requests::{self, is_submitter, require_open_round, round_sealed};
use crate::identity::call::Call;
use crate::identity::permission::UPLOAD;
use crate::limits::admission;
use crate::limits::memory::MemoryPermit;
use crate::limits::response_body::json_with_permit;
use crate::problem::Problem;
use crate::read::release_urls::expiry;
use crate::records::ledger::AuditAction;
use crate::state::Gateway;
use trevor_api::{AirlockRequest, DeclaredFile, Direction};
use trevor_core::digest::Sha256Hex;
use trevor_core::ingress::{self, Planned};
use trevor_core::keys::RequestKey;
use trevor_core::names;
use trevor_core::object_key::WorkKey;
use trevor_core::policy::Rules;
use trevor_store::Staging;
use trevor_store::staging::{PlanSigner, SignedPut};

const CONCURRENT_FILES: usize = 16;
/// About the memory of a part with its signed URL.
const PART_URL_BYTES: u64 = 2048;

#[derive(Serialize)]
struct Plan {
    /// Instructions for people who do not use `trevor send`.
    note: &'static str,
    files: Vec<FilePlan>,
}

const NOTE: &str = "Send each part by PUT with exactly its headers, and with Content-Length: the length is signed, so that a body of unknown length (curl -T - from a pipe) is refused as SignatureDoesNotMatch. Write it to a file first, then: curl -T FILE URL, or trevor send.";

#[derive(Serialize)]
struct FilePlan {
    path: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    parts: Vec<PartPlan>,
    expires: Timestamp,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct PartPlan {
    number: i32,
    offset: u64,
    size: u64,
    method: &'static str,
    url: String,
    headers: BTreeMap<String, String>,
}

/// Plans the missing files of the open round.
///
/// # Errors
/// Those of docs/reference/wire-formats.md#problems.
pub async fn plan(gateway: &Gateway, call: &Call) -> Result<Response, Problem> {
    let found = plannable_request(gateway, call).await?;
    let staging = gateway.zones.staging.as_ref().ok_or_else(not_configured)?;
    let request = gateway
        .requests
        .wait_for_controller((&call.namespace, &call.name), found)
        .await?;
    let round = require_open_round(&request)?;
    let key = requests::key(&request);
    if gateway.zones.records.exists(&key.seal(round)).await? {
        return Err(round_sealed());
    }
    // Read before anything is signed, so that no URL ends before the time in the plan.
    let now = Timestamp::now();
    let ttl = gateway.config.storage.plan_ttl_seconds().unsigned_abs();
    let signer = staging.intake().hold(Duration::from_secs(ttl)).await?;
    let planner = Planner {
        gateway,
        staging,
        key: &key,
        round,
        expires: expiry(now, signer.life()),
        signer,
    };
    let (files, permit) = planner.plan(&request, &call.caller.user).await?;
    let parts: usize = files.iter().map(|f| f.parts.len()).sum();
    if let Some(call) = gateway.revalidate(call).await? {
        let request = plannable_request(gateway, &call).await?;
        requests::ensure_same_uid(&request, &key.uid)?;
        if require_open_round(&request)? != round {
            return Err(round_sealed());
        }
    }
    let action = AuditAction {
        kind: "PlanRead",
        actor: &call.caller.user,
        namespace: &key.namespace,
        uid: &key.uid,
        detail: json!({"round": round, "files": files.len(), "parts": parts}),
    };
    gateway.ledger.record(action).await?;
    if parts == 0 {
        // All files may have arrived, so the controller should look.
        gateway.reconcile_hints.send(&call.namespace, &call.name);
    }
    json_with_permit(&Plan { note: NOTE, files }, permit)
}

/// The request, if the caller may have its plan.
async fn plannable_request(gateway: &Gateway, call: &Call) -> Result<AirlockRequest, Problem> {
    gateway.require(call, UPLOAD, "plan").await?;
    let found = gateway
        .requests
        .get_existing(&call.namespace, &call.name)
        .await?;
    if !is_submitter(&found, &call.caller.user) {
        let uid = found.metadata.uid.as_deref().unwrap_or_default();
        return Err(gateway.refuse(
            call,
            uid,
            "plan",
            "only the submitter gets the plan of a request".to_owned(),
        ));
    }
    if found.spec.direction == Direction::Egress {
        return Err(Problem::conflict(
            "EgressUsesFiles",
            "files of an egress request are uploaded here (PUT files/{path})",
        ));
    }
    Ok(found)
}

fn not_configured() -> Problem {
    Problem::conflict(
        "IngressNotConfigured",
        "ingress is off on this cluster; a cluster admin turns it on with storage.staging",
    )
}

struct Planner<'a> {
    gateway: &'a Gateway,
    staging: &'a Staging,
    key: &'a RequestKey,
    round: i64,
    signer: PlanSigner<'a>,
    expires: Timestamp,
}

impl Planner<'_> {
    /// Plans the missing files, and reserves the memory of the plan.
    async fn plan(
        &self,
        request: &AirlockRequest,
        user: &str,
    ) -> Result<(Vec<FilePlan>, MemoryPermit), Problem> {
        let declared = request.spec.files.as_deref().unwrap_or_default();
        check_names(declared)?;
        let total = declared.iter().map(ingress::size).sum();
        let rules = self.check_policy(declared, total).await?;
        let part_size = ingress::part_size(total);
        let entry = self.gateway.receipts.fresh(self.key, self.round).await?;
        let current = entry.receipts().current_files();
        let outstanding = ingress::outstanding(declared, &current);
        let planned = outstanding.iter().map(|file| ingress::size(file)).sum();
        let quota = &self.gateway.quota;
        quota
            .check_available(&self.key.namespace, planned, &rules)
            .await?;
        let parts: u64 = outstanding
            .iter()
            .map(|file| ingress::size(file).div_ceil(part_size).max(1))
            .sum();
        if parts > ingress::MOST_PARTS {
            return Err(Problem::unprocessable(
                "PlanTooLarge",
                "the declared files are too large for one request; make several",
            ));
        }
        let permit = self
            .gateway
            .memory
            .reserve_estimate(user, parts * PART_URL_BYTES)
            .await?;
        let plans: Vec<_> = outstanding
            .into_iter()
            .map(|file| self.file(declared, file, part_size))
            .collect();
        let files = stream::iter(plans).buffered(CONCURRENT_FILES).try_collect();
        Ok((files.await?, permit))
    }

    /// Checks the declared files by the policy before anything is sent, as the freeze will.
    async fn check_policy(&self, declared: &[DeclaredFile], total: u64) -> Result<Rules, Problem> {
        let namespace = &self.key.namespace;
        let rules = self
            .gateway
            .policies
            .rules(namespace, Direction::Ingress)
            .await?;
        for file in declared {
            admission::check_name_and_size(&file.path, Some(ingress::size(file)), &rules)?;
        }
        if i64::try_from(total).unwrap_or(i64::MAX) > rules.max_total_bytes {
            let limit = rules.max_total_bytes;
            return Err(Problem::refused_by_policy(format!(
                "{total} bytes are declared, and the policy allows {limit} in all"
            )));
        }
        Ok(rules)
    }

    async fn file(
        &self,
        declared: &[DeclaredFile],
        file: &DeclaredFile,
        part_size: u64,
    ) -> Result<FilePlan, Problem> {
        let at = self
            .key
            .plan(self.round, &ingress::plan_name(declared, file));
        let planned = self.planned(at, file, part_size).await?;
        Ok(FilePlan {
            path: file.path.clone(),
            size: planned.size,
            sha256: file.sha256.clone(),
            parts: self.parts(file, &planned).await?,
            expires: self.expires,
            warnings: names::too_long_for_windows(&file.path)
                .into_iter()
                .collect(),
        })
    }

    /// The stored plan of a file, or a new one.
    async fn planned(
        &self,
        at: WorkKey<Planned>,
        file: &DeclaredFile,
        part_size: u64,
    ) -> Result<Planned, Problem> {
        let work = self.gateway.zones.quarantine.work();
        if let Some(standing) = work.get(&at).await? {
            return Ok(standing);
        }
        let size = ingress::size(file);
        let key = self
            .key
            .staged_file(self.round, &Uuid::new_v4().to_string());
        let upload = match size > part_size {
            true => Some(self.staging.intake().start_upload(&key).await?),
            false => None,
        };
        let planned = Planned {
            path: file.path.clone(),
            size,
            part_size,
            key,
            upload,
        };
        // A concurrent call that loses leaves an empty upload, which is deleted with the round.
        Ok(work.create(&at, &planned).await?.into_inner())
    }

    /// The missing parts of a file, with signed URLs.
    async fn parts(
        &self,
        file: &DeclaredFile,
        planned: &Planned,
    ) -> Result<Vec<PartPlan>, Problem> {
        let intake = self.staging.intake();
        let Some(upload) = &planned.upload else {
            let sha256 = digest(file);
            let signed = self
                .signer
                .sign_put(&planned.key, planned.size, sha256.as_ref())
                .await?;
            let whole = ingress::parts(planned.size, planned.size.max(1));
            return Ok(whole.map(|part| part_plan(part, &signed)).collect());
        };
        let Some(stored_parts) = intake.parts(&planned.key, upload).await? else {
            // The upload is complete, and the controller is moving it.
            return Ok(Vec::new());
        };
        let mut missing = Vec::new();
        for part in ingress::parts(planned.size, planned.part_size) {
            if stored_parts
                .get(&part.number)
                .is_some_and(|p| p.size == part.size)
            {
                continue;
            }
            let at = (planned.key.as_str(), upload.as_str());
            let signed = self.signer.sign_part(at, part.number, part.size).await?;
            missing.push(part_plan(part, &signed));
        }
        Ok(missing)
    }
}

/// The declared digest. The schema admits nothing else.
fn digest(file: &DeclaredFile) -> Option<Sha256Hex> {
    serde_json::from_value(json!(file.sha256.as_deref()?)).ok()
}

fn part_plan(part: ingress::Part, signed: &SignedPut) -> PartPlan {
    PartPlan {
        number: part.number,
        offset: part.offset,
        size: part.size,
        method: "PUT",
        url: signed.url.expose().to_owned(),
        headers: signed.headers.clone(),
    }
}

/// Checks the declared names before anything is sent, as the freeze will.
fn check_names(declared: &[DeclaredFile]) -> Result<(), Problem> {
    for file in declared {
        names::check_file(&file.path)
            .map_err(|error| Problem::unprocessable("BadName", error.to_string()))?;
    }
    names::check_set(declared.iter().map(|f| f.path.as_str()))
        .map_err(|error| Problem::unprocessable("BadName", error.to_string()))
}
