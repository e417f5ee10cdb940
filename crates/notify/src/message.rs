//! What is said: one content, as JSON for programs and as text and HTML for people.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use trevor_core::notice::{Kind, Notice};
use trevor_core::url_issue::SecretUrl;

/// What a notice says, with what only its message may carry.
#[derive(Debug)]
pub struct Message<'a> {
    /// What happened.
    pub notice: &'a Notice,
    /// uid of the cluster.
    pub cluster: &'a str,
    /// The URL that it hands out.
    pub url: Option<(SecretUrl, Timestamp)>,
    /// The newest checkpoint of the ledger that covers the release.
    pub checkpoint: Option<String>,
}

impl Message<'_> {
    /// Attributes of the CloudEvent, by name.
    #[must_use]
    pub fn attributes(&self) -> [(&'static str, String); 6] {
        let notice = self.notice;
        [
            ("specversion", "1.0".to_owned()),
            ("id", notice.id()),
            (
                "source",
                format!("/trevor/{}/namespaces/{}", self.cluster, notice.namespace),
            ),
            ("type", format!("io.karectl.airlock.{}", notice.kind.slug())),
            ("subject", notice.uid.clone()),
            ("time", notice.time.to_string()),
        ]
    }

    /// The data of the CloudEvent.
    #[must_use]
    pub fn data(&self) -> Value {
        let notice = self.notice;
        let mut data = Map::new();
        data.insert("namespace".into(), json!(notice.namespace));
        data.insert("uid".into(), json!(notice.uid));
        let mut add = |name: &str, value: Value| {
            if !value.is_null() {
                data.insert(name.to_owned(), value);
            }
        };
        add("phase", json!(notice.phase));
        add("round", json!(notice.round));
        add("files", json!(notice.counts.files));
        add("bytes", json!(notice.counts.bytes));
        add("approvals", json!(notice.counts.approvals));
        add("required", json!(notice.counts.required));
        add("ends", json!(notice.ends));
        if let Some(package) = &notice.package {
            add("filename", json!(package.filename));
            add("sha256", json!(package.sha256));
            add("size", json!(package.size));
        }
        if let Some((url, expires)) = &self.url {
            add("url", json!(url.expose()));
            add("expires", json!(expires));
        }
        add("checkpoint", json!(self.checkpoint));
        Value::Object(data)
    }

    /// The subject of a mail: never a URL, and never a word that a researcher chose.
    #[must_use]
    pub fn subject(&self) -> String {
        format!("[trevor] {}: {}", self.notice.namespace, self.headline())
    }

    fn headline(&self) -> &'static str {
        match self.notice.kind {
            Kind::Submitted => "files were submitted",
            Kind::ReviewWanted => "a review is wanted",
            Kind::ChangesRequested => "changes are requested",
            Kind::Approved => "a request was approved",
            Kind::Rejected => "a request was rejected",
            Kind::Withdrawn => "a request was withdrawn",
            Kind::Released => "files were released",
            Kind::UrlRenewed => "there is a new download link",
            Kind::UrlEnding => "a download link is about to end",
            Kind::WindowEnding => "a download window is about to end",
            Kind::Overdue => "a request takes too long",
            Kind::Failed => "a release failed",
            Kind::Revoked => "a release was revoked",
            Kind::Deleted => "files were deleted",
            Kind::IdleWarning => "an idle request is about to be withdrawn",
            Kind::Held => "deletion was put on hold",
        }
    }

    /// Lines of name and value, in the order in which people read them.
    fn lines(&self) -> Vec<(&'static str, String)> {
        let notice = self.notice;
        let mut lines = vec![
            ("Project", notice.namespace.clone()),
            ("Request", notice.uid.clone()),
        ];
        let mut add = |name, value: Option<String>| lines.extend(value.map(|v| (name, v)));
        add("Phase", notice.phase.map(|p| p.to_string()));
        add("Round", notice.round.map(|n| n.to_string()));
        add("Files", notice.counts.files.map(|n| n.to_string()));
        add("Bytes", notice.counts.bytes.map(|n| n.to_string()));
        let votes = notice.counts.approvals.zip(notice.counts.required);
        add("Approvals", votes.map(|(n, of)| format!("{n} of {of}")));
        add("When", Some(notice.time.to_string()));
        add("Ends", notice.ends.map(|t| t.to_string()));
        if let Some(package) = &notice.package {
            add("File name", Some(package.filename.clone()));
            add("SHA-256", Some(package.sha256.to_string()));
            add("Size", Some(package.size.to_string()));
        }
        if let Some((url, expires)) = &self.url {
            add("Download", Some(url.expose().to_owned()));
            add("Link ends", Some(expires.to_string()));
        }
        lines
    }

    /// The mail as plain text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}.\n\n", capital(self.headline()));
        for (name, value) in self.lines() {
            let _ = writeln!(text, "{name}: {value}");
        }
        if let Some(checkpoint) = &self.checkpoint {
            let _ = write!(
                text,
                "\nCheckpoint of the audit ledger; keep it:\n\n{checkpoint}"
            );
        }
        text
    }

    /// The mail as HTML. The URL is text here too: what a mail program shows is what
    /// is opened.
    #[must_use]
    pub fn html(&self) -> String {
        let mut html = format!(
            "<!doctype html>\n<html><body>\n<p>{}.</p>\n<table>\n",
            escaped(&capital(self.headline()))
        );
        for (name, value) in self.lines() {
            let _ = writeln!(
                html,
                "<tr><th align=\"left\">{}</th><td>{}</td></tr>",
                escaped(name),
                escaped(&value)
            );
        }
        html.push_str("</table>\n");
        if let Some(checkpoint) = &self.checkpoint {
            let _ = writeln!(
                html,
                "<p>Checkpoint of the audit ledger; keep it:</p>\n<pre>{}</pre>",
                escaped(checkpoint)
            );
        }
        html.push_str("</body></html>\n");
        html
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use trevor_core::digest::Sha256Hex;
    use trevor_core::notice::Package;

    fn notice(kind: Kind) -> Notice {
        let package = Package {
            filename: "<b>tables</b>&.zip".into(),
            sha256: Sha256Hex::of(b"zip"),
            size: 3,
        };
        let notice = json!({"what": kind.slug(), "kind": kind, "namespace": "project-a", "uid": "u-1",
            "phase": "Released", "round": 1, "package": package, "issue": 1,
            "time": "2026-01-02T03:04:05Z"});
        serde_json::from_value(notice).unwrap()
    }

    fn message(notice: &Notice) -> Message<'_> {
        Message {
            notice,
            cluster: "c",
            url: Some((
                SecretUrl::from_stored("https://r.example/p?a=1&b=<2>".into()),
                Timestamp::UNIX_EPOCH,
            )),
            checkpoint: Some("trevor <note>\n".into()),
        }
    }

    #[test]
    fn a_subject_has_no_url_and_no_word_of_a_researcher() {
        let mut seen = std::collections::BTreeSet::new();
        for kind in Kind::ALL {
            let notice = notice(kind);
            let subject = message(&notice).subject();
            assert!(
                !subject.contains("http") && !subject.contains("tables"),
                "{subject}"
            );
            assert!(subject.starts_with("[trevor] project-a: "), "{subject}");
            assert!(seen.insert(subject), "{kind:?} has a subject of its own");
        }
    }

    #[test]
    fn html_is_escaped_and_the_url_is_no_link() {
        let notice = notice(Kind::Released);
        let html = message(&notice).html();
        assert!(
            html.contains("&lt;b&gt;tables&lt;/b&gt;&amp;.zip"),
            "{html}"
        );
        assert!(
            html.contains("https://r.example/p?a=1&amp;b=&lt;2&gt;"),
            "{html}"
        );
        assert!(html.contains("trevor &lt;note&gt;"), "{html}");
        assert!(!html.contains("<a ") && !html.contains("<b>"), "{html}");
        let text = message(&notice).text();
        assert!(
            text.contains("Download: https://r.example/p?a=1&b=<2>\n"),
            "{text}"
        );
    }

    #[test]
    fn an_event_has_the_attributes_that_cloudevents_asks_for() {
        let notice = notice(Kind::Released);
        let message = message(&notice);
        let attributes: std::collections::BTreeMap<_, _> = message.attributes().into();
        assert_eq!(attributes["specversion"], "1.0");
        assert_eq!(attributes["id"], "u-1.released");
        assert_eq!(attributes["type"], "io.karectl.airlock.released");
        assert_eq!(attributes["source"], "/trevor/c/namespaces/project-a");
        assert_eq!(attributes["time"], "2026-01-02T03:04:05Z");
        assert_eq!(message.data()["url"], "https://r.example/p?a=1&b=<2>");
        assert!(
            !format!("{message:?}").contains("r.example"),
            "it prints as nothing"
        );
    }
}
