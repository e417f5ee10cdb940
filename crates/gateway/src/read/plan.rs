//! `GET plan`: where an outside submitter of an ingress request uploads to.
//!
//! The URLs are signed at the moment of the call. Where a file goes to is kept
//! create-only (`work/plans/…`), so that two gateways, and two calls, agree; and
//! only what is still missing is listed, so that a broken upload goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::response::Response;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::cluster::requests::{self as request, open_for_plans, sealed, submitted_by, unknown};
use crate::identity::permission::UPLOAD;
use crate::limits::admission as gate;
use crate::limits::memory::Reserved;
use crate::limits::response_body::json_held;
use crate::problem::Problem;
use crate::read::release_urls::ends;
use crate::records::ledger::Act;
use crate::state::{Call, Gateway};
use trevor_api::{AirlockRequest, DeclaredFile, Direction};
use trevor_core::digest::Sha256Hex;
use trevor_core::ingress::{self, Planned};
use trevor_core::keys::RequestKey;
use trevor_core::names;
use trevor_core::policy::Rules;
use trevor_store::Staging;
use trevor_store::commit::{commit, read};
use trevor_store::staging::{PlanSigner, SignedPut};

/// Files planned at the same time.
const AT_ONCE: usize = 16;
/// Bytes of a signed URL in memory, with what belongs to it, about.
const ENTRY: u64 = 2048;

#[derive(Serialize)]
struct Plan {
    /// How to send, for people who read the plan and do not use `trevor send`.
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

/// Plans what is still to come of the open round.
///
/// # Errors
/// Those of docs/reference/wire-formats.md#problems.
pub async fn plan(gateway: &Gateway, call: &Call) -> Result<Response, Problem> {
    let found = planned_by(gateway, call).await?;
    let staging = gateway.zones.staging.as_ref().ok_or_else(not_configured)?;
    let request = gateway
        .requests
        .taken_up((&call.namespace, &call.name), found)
        .await?;
    let round = open_for_plans(&request)?;
    let key = request::key(&request);
    if gateway
        .zones
        .records
        .bucket()
        .exists(&key.seal(round))
        .await?
    {
        return Err(sealed());
    }
    // Before anything is signed, so that no URL ends before the plan says so.
    let now = Timestamp::now();
    let ttl = gateway.config.storage.plan_ttl_seconds().unsigned_abs();
    let signer = staging.intake().hold(Duration::from_secs(ttl)).await?;
    let planner = Planner {
        gateway,
        staging,
        key: &key,
        round,
        expires: ends(now, signer.life()),
        signer,
    };
    let (files, share) = planner.plan(&request, &call.caller.user).await?;
    let parts: usize = files.iter().map(|f| f.parts.len()).sum();
    if let Some(call) = gateway.anew(call).await? {
        let request = planned_by(gateway, &call).await?;
        request::same(&request, &key.uid)?;
        if open_for_plans(&request)? != round {
            return Err(sealed());
        }
    }
    let act = Act {
        kind: "PlanRead",
        actor: &call.caller.user,
        namespace: &key.namespace,
        uid: &key.uid,
        detail: json!({"round": round, "files": files.len(), "parts": parts}),
    };
    gateway.ledger.record(act).await?;
    if parts == 0 {
        // Perhaps all has arrived: the controller may look now.
        gateway.hints.send(&call.namespace, &call.name);
    }
    json_held(&Plan { note: NOTE, files }, share)
}

/// The request, for the one who gets its plan.
async fn planned_by(gateway: &Gateway, call: &Call) -> Result<AirlockRequest, Problem> {
    gateway.require(call, UPLOAD, "plan").await?;
    let found = gateway
        .requests
        .find(&call.namespace, &call.name)
        .await?
        .ok_or_else(unknown)?;
    if !submitted_by(&found, &call.caller.user) {
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
    /// What is still to come, and the share of memory that it takes.
    async fn plan(
        &self,
        request: &AirlockRequest,
        user: &str,
    ) -> Result<(Vec<FilePlan>, Reserved), Problem> {
        let wanted = request.spec.files.as_deref().unwrap_or_default();
        check_names(wanted)?;
        let total = wanted.iter().map(ingress::size).sum();
        let rules = self.check_policy(wanted, total).await?;
        let part_size = ingress::part_size(total);
        let entry = self.gateway.index.fresh(self.key, self.round).await?;
        let standing = entry.known().standing();
        let outstanding = ingress::outstanding(wanted, &standing);
        let coming = outstanding.iter().map(|file| ingress::size(file)).sum();
        let stored = &self.gateway.stored;
        stored.has_room(&self.key.namespace, coming, &rules).await?;
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
        let share = self
            .gateway
            .shares
            .reserve_at_most(user, parts * ENTRY)
            .await?;
        let plans: Vec<_> = outstanding
            .into_iter()
            .map(|file| self.file(wanted, file, part_size))
            .collect();
        let files = stream::iter(plans).buffered(AT_ONCE).try_collect();
        Ok((files.await?, share))
    }

    /// What the freeze would refuse is refused before anybody sends a byte.
    async fn check_policy(&self, wanted: &[DeclaredFile], total: u64) -> Result<Rules, Problem> {
        let namespace = &self.key.namespace;
        let rules = self
            .gateway
            .policies
            .rules(namespace, Direction::Ingress)
            .await?;
        for file in wanted {
            gate::check(&file.path, Some(ingress::size(file)), &rules)?;
        }
        if i64::try_from(total).unwrap_or(i64::MAX) > rules.max_total_bytes {
            let most = rules.max_total_bytes;
            return Err(gate::refused(format!(
                "{total} bytes are declared, and the policy allows {most} in all"
            )));
        }
        Ok(rules)
    }

    async fn file(
        &self,
        wanted: &[DeclaredFile],
        file: &DeclaredFile,
        part_size: u64,
    ) -> Result<FilePlan, Problem> {
        let at = self.key.plan(self.round, &ingress::plan_name(wanted, file));
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

    /// Where the file goes to: as it was planned before, or as it is now.
    async fn planned(
        &self,
        at: String,
        file: &DeclaredFile,
        part_size: u64,
    ) -> Result<Planned, Problem> {
        let work = self.gateway.zones.quarantine.bucket();
        if let Some(standing) = read::<Planned>(work, &at).await? {
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
        // Whoever loses leaves an empty upload, which goes with the round.
        Ok(commit(work, &at, &planned).await?.into_inner())
    }

    /// The parts that are not there.
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
        let Some(there) = intake.parts(&planned.key, upload).await? else {
            // Complete, and being taken over.
            return Ok(Vec::new());
        };
        let mut missing = Vec::new();
        for part in ingress::parts(planned.size, planned.part_size) {
            if there.get(&part.number).is_some_and(|p| p.size == part.size) {
                continue;
            }
            let at = (planned.key.as_str(), upload.as_str());
            let signed = self.signer.sign_part(at, part.number, part.size).await?;
            missing.push(part_plan(part, &signed));
        }
        Ok(missing)
    }
}

/// As declared; the schema lets nothing but a digest pass.
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

/// Names that the freeze would refuse are refused before anybody sends a byte.
fn check_names(wanted: &[DeclaredFile]) -> Result<(), Problem> {
    for file in wanted {
        names::check_file(&file.path)
            .map_err(|error| Problem::unprocessable("BadName", error.to_string()))?;
    }
    names::check_set(wanted.iter().map(|f| f.path.as_str()))
        .map_err(|error| Problem::unprocessable("BadName", error.to_string()))
}
