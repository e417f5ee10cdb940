//! The ledger as a table, for a period.

use std::io::{self, Write};

use futures::TryStreamExt as _;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::keeper::{GATEWAYS, REQUESTS, entry};
use super::verify::{Source, SourceError};
use trevor_core::event::{Entry, Event};

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated (RFC 4180), a header first.
    Csv,
    /// One JSON object a line.
    JsonLines,
}

/// Why it broke off.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The ledger cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The output cannot be written.
    #[error("the export cannot be written: {0}")]
    Write(#[from] io::Error),
}

const COLUMNS: [&str; 11] = [
    "time",
    "kind",
    "actor",
    "namespace",
    "uid",
    "before",
    "after",
    "id",
    "chain",
    "sequence",
    "detail",
];

/// Writes every event from `from` on and before `to`; gives how many, and the keys of
/// entries that could not be read.
///
/// # Errors
/// When the ledger cannot be read, or the output not be written.
pub async fn export(
    source: &Source,
    (from, to): (Timestamp, Timestamp),
    format: Format,
    out: &mut (dyn Write + Send),
) -> Result<(u64, Vec<String>), ExportError> {
    let (mut written, mut unreadable) = (0, Vec::new());
    if format == Format::Csv {
        out.write_all(line(&COLUMNS.map(str::to_owned)).as_bytes())?;
    }
    for prefix in [REQUESTS, GATEWAYS] {
        let mut objects = source.objects(prefix);
        while let Some((key, bytes)) = objects.try_next().await? {
            let found: Option<Entry> = bytes.and_then(|b| serde_json::from_slice(&b).ok());
            let (Some(found), Some((chain, _))) = (found, entry(&key)) else {
                if unreadable.len() < 1000 {
                    unreadable.push(key);
                }
                continue;
            };
            let wanted = found
                .events
                .iter()
                .filter(|e| e.time >= from && e.time < to);
            for event in wanted {
                let text = match format {
                    Format::Csv => row(chain, found.sequence, event),
                    Format::JsonLines => object(chain, found.sequence, event),
                };
                out.write_all(text.as_bytes())?;
                written += 1;
            }
        }
    }
    out.flush()?;
    Ok((written, unreadable))
}

fn row(chain: &str, sequence: i64, event: &Event) -> String {
    let option = |text: &Option<String>| text.clone().unwrap_or_default();
    let detail = if event.detail.is_empty() {
        String::new()
    } else {
        Value::Object(event.detail.clone()).to_string()
    };
    line(&[
        event.time.to_string(),
        event.kind.clone(),
        option(&event.actor),
        event.namespace.clone(),
        event.uid.clone(),
        option(&event.before),
        option(&event.after),
        event.id.clone(),
        chain.to_owned(),
        sequence.to_string(),
        detail,
    ])
}

fn object(chain: &str, sequence: i64, event: &Event) -> String {
    let mut object = match serde_json::to_value(event) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    };
    object.insert("chain".to_owned(), chain.into());
    object.insert("sequence".to_owned(), sequence.into());
    Value::Object(object).to_string() + "\n"
}

fn line(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
    cells.join(",") + "\r\n"
}

/// A cell that no spreadsheet takes for a formula.
fn quoted(cell: &str) -> String {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let defused = if formula {
        format!("'{cell}")
    } else {
        cell.to_owned()
    };
    if formula || defused.contains(['"', ',', '\n', '\r', '\'']) {
        format!("\"{}\"", defused.replace('"', "\"\""))
    } else {
        defused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_and_each_reads_back() {
        for (cell, wanted) in [
            ("plain", "plain"),
            ("", ""),
            ("=1+1", "\"'=1+1\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@x", "\"'@x\""),
            ("\tx", "\"'\tx\""),
            ("\rx", "\"'\rx\""),
            ("a\"b", "\"a\"\"b\""),
            ("a,b", "\"a,b\""),
            ("a\nb", "\"a\nb\""),
        ] {
            assert_eq!(quoted(cell), wanted);
        }
    }
}
