//! Holds: `work/holds/<uid>/<seq>.json`, each one word on whether deletion stops.
//! The highest sequence wins.
//!
//! A hold stands before anybody is told of it. Repeated: an action finds its own
//! word by its uid; two that compete for a sequence get one each.

use jiff::Timestamp;

use trevor_core::event::Event;
use trevor_core::keys::RequestKey;
use trevor_core::retention::{Hold, HoldState};
use trevor_store::audit::Chain;
use trevor_store::{StorageError, Work, Zones};

/// Who asks for a hold, or for its end.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Hold or lift.
    pub state: HoldState,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// uid of the AirlockAction, if it is one.
    pub action: Option<String>,
    /// When.
    pub time: Timestamp,
    /// Its author is not proved.
    pub unconfirmed: bool,
}

/// The word that stands; none: nobody ever said one.
///
/// # Errors
/// As the server says, or when the highest cannot be read: whoever deletes must take
/// that for a hold.
pub async fn standing(work: &Work, key: &RequestKey) -> Result<Option<Hold>, StorageError> {
    loop {
        let Some(highest) = sequences(work, key).await?.pop() else {
            return Ok(None);
        };
        // One that went since the listing is not the word any more: look again.
        if let Some(hold) = work.get(&key.hold(highest)).await? {
            return Ok(Some(hold));
        }
    }
}

/// Stores a word, unless this action has said it already, and gives it.
///
/// # Errors
/// As the server says.
pub async fn say(work: &Work, key: &RequestKey, asked: &Asked) -> Result<Hold, StorageError> {
    // One listing for both: what another leader says of this action meanwhile takes the
    // next number of it, and is found there.
    let taken = sequences(work, key).await?;
    if let Some(action) = &asked.action
        && let Some(said) = said_among(work, key, &taken, action).await?
    {
        return Ok(said);
    }
    let mut sequence = taken.last().copied().unwrap_or(0) + 1;
    loop {
        let hold = Hold {
            sequence,
            state: asked.state,
            by: asked.by.clone(),
            reason: asked.reason.clone(),
            action: asked.action.clone(),
            time: asked.time,
            unconfirmed: asked.unconfirmed,
        };
        let standing = work.create(&key.hold(sequence), &hold).await?.into_inner();
        let same = standing == hold || (hold.action.is_some() && standing.action == hold.action);
        if same {
            return Ok(standing);
        }
        sequence += 1;
    }
}

/// The word of an action, if it has said one.
///
/// # Errors
/// As the server says.
pub async fn said(
    work: &Work,
    key: &RequestKey,
    action: &str,
) -> Result<Option<Hold>, StorageError> {
    said_among(work, key, &sequences(work, key).await?, action).await
}

async fn said_among(
    work: &Work,
    key: &RequestKey,
    taken: &[i64],
    action: &str,
) -> Result<Option<Hold>, StorageError> {
    for &sequence in taken.iter().rev() {
        let hold = work.get(&key.hold(sequence)).await?;
        if let Some(hold) = hold.filter(|hold| hold.action.as_deref() == Some(action)) {
            return Ok(Some(hold));
        }
    }
    Ok(None)
}

/// The event of a word, for the request's ledger.
#[must_use]
pub fn event(key: &RequestKey, hold: &Hold) -> Event {
    let kind = match hold.state {
        HoldState::Held => "Held",
        HoldState::Lifted => "HoldLifted",
    };
    let detail = [
        ("sequence", Some(serde_json::json!(hold.sequence))),
        ("reason", hold.reason.clone().map(Into::into)),
        ("action", hold.action.clone().map(Into::into)),
        ("unconfirmed", hold.unconfirmed.then(|| true.into())),
    ];
    let detail = detail
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Event {
        id: format!("hold-{}", hold.sequence),
        kind: kind.to_owned(),
        actor: Some(hold.by.clone()),
        namespace: key.namespace.clone(),
        uid: key.uid.clone(),
        before: None,
        after: None,
        detail: detail.collect(),
        time: hold.time,
    }
}

/// Stores a word and its event, for whoever has no cluster.
///
/// # Errors
/// As the servers say.
pub async fn say_alone(
    zones: &Zones,
    key: &RequestKey,
    asked: &Asked,
) -> Result<Hold, StorageError> {
    let hold = say(zones.quarantine.work(), key, asked).await?;
    let chain = Chain::new(key.ledger());
    chain
        .append(&zones.records, vec![event(key, &hold)])
        .await?;
    Ok(hold)
}

/// The sequences that are taken, in order.
async fn sequences(work: &Work, key: &RequestKey) -> Result<Vec<i64>, StorageError> {
    let prefix = key.holds();
    let number = |key: &str| {
        key.strip_prefix(&*prefix)?
            .strip_suffix(".json")?
            .parse()
            .ok()
    };
    let listed = work.list(&prefix).await?;
    let mut found: Vec<i64> = listed.iter().filter_map(|at| number(at)).collect();
    found.sort_unstable();
    Ok(found)
}
