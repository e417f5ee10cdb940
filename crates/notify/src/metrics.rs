//! Numbers about notifications, as the text that Prometheus reads.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use trevor_api::NotificationState;

/// Counters by channel and result, and what is on its way. Channels are those of the
/// configuration, and one word for all others.
#[derive(Debug, Default)]
pub struct Metrics {
    ended: Mutex<BTreeMap<(String, &'static str), u64>>,
    retries: Mutex<BTreeMap<String, u64>>,
    entries: Mutex<usize>,
}

impl Metrics {
    /// Of these channels, with 0 for whatever can come: Prometheus sees no increase in a
    /// series that begins with 1, and nobody would hear of the first that is given up.
    pub fn of<'a>(channels: impl Iterator<Item = &'a String>) -> Self {
        let metrics = Self::default();
        let mut ended = metrics.ended.lock().unwrap_or_else(PoisonError::into_inner);
        for channel in channels {
            for result in ["delivered", "superseded", "dead"] {
                ended.insert((channel.clone(), result), 0);
            }
        }
        drop(ended);
        metrics
    }

    /// A delivery ended.
    pub fn ended(&self, channel: &str, state: NotificationState) {
        let result = match state {
            NotificationState::Delivered => "delivered",
            NotificationState::Superseded => "superseded",
            NotificationState::Failed => "dead",
            NotificationState::Pending => return,
        };
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        *ended.entry((channel.to_owned(), result)).or_default() += 1;
    }

    /// A try failed, and another follows.
    pub fn failed_try(&self, channel: &str) {
        let mut retries = self.retries.lock().unwrap_or_else(PoisonError::into_inner);
        *retries.entry(channel.to_owned()).or_default() += 1;
    }

    /// So many notifications are being delivered, or wait for their next try.
    pub fn under_way(&self, entries: usize) {
        *self.entries.lock().unwrap_or_else(PoisonError::into_inner) = entries;
    }

    /// The text.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::from(
            "# TYPE trevor_notifications counter\n# HELP trevor_notifications Notifications by channel and how they ended; dead ones were given up.\n",
        );
        for ((channel, result), count) in
            &*self.ended.lock().unwrap_or_else(PoisonError::into_inner)
        {
            let _ = writeln!(
                text,
                "trevor_notifications_total{{channel=\"{channel}\",result=\"{result}\"}} {count}"
            );
        }
        text.push_str("# TYPE trevor_notification_failed_tries counter\n# HELP trevor_notification_failed_tries Tries that failed and are made again.\n");
        for (channel, count) in &*self.retries.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = writeln!(
                text,
                "trevor_notification_failed_tries_total{{channel=\"{channel}\"}} {count}"
            );
        }
        let entries = *self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = write!(
            text,
            "# TYPE trevor_notifications_under_way gauge\n# HELP trevor_notifications_under_way Notifications that are being delivered or wait for their next try.\ntrevor_notifications_under_way {entries}\n"
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_is_counted_by_how_it_ended() {
        let metrics = Metrics::of(["desk".to_owned()].iter());
        metrics.ended("desk", NotificationState::Delivered);
        metrics.ended("desk", NotificationState::Delivered);
        metrics.ended("mail", NotificationState::Failed);
        metrics.failed_try("mail");
        metrics.under_way(3);
        let text = metrics.render();
        for line in [
            "trevor_notifications_total{channel=\"desk\",result=\"delivered\"} 2",
            "trevor_notifications_total{channel=\"desk\",result=\"dead\"} 0",
            "trevor_notifications_total{channel=\"mail\",result=\"dead\"} 1",
            "trevor_notification_failed_tries_total{channel=\"mail\"} 1",
            "trevor_notifications_under_way 3",
        ] {
            assert_eq!(
                text.lines().filter(|l| *l == line).count(),
                1,
                "{line}: {text}"
            );
        }
    }
}
