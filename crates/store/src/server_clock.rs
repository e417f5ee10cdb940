//! What time it is where objects are stored.

use jiff::Timestamp;

use super::bucket::Bucket;
use super::error::StorageError;

/// The clock of a bucket's server.
#[derive(Clone, Copy, Debug)]
pub struct ServerClock<'a>(&'a Bucket);

impl<'a> ServerClock<'a> {
    pub(super) fn of(bucket: &'a Bucket) -> Self {
        Self(bucket)
    }

    /// The bucket's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// What it says, to the second.
    ///
    /// # Errors
    /// As the server says, or when its answer has no date.
    pub async fn time(&self) -> Result<Timestamp, StorageError> {
        let date = self.0.server_date().await?;
        date.as_deref()
            .and_then(http_date)
            .ok_or_else(|| StorageError::Unavailable {
                operation: "GetObject",
                bucket: self.name().to_owned(),
                key: String::new(),
                message: "the server does not say what time it is (Date)".to_owned(),
            })
    }
}

/// A `Date` header (RFC 9110: always UTC, in English).
fn http_date(text: &str) -> Option<Timestamp> {
    Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::http_date;

    #[test]
    fn the_date_of_an_answer_is_read_as_it_is_written() {
        let time = http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(time.to_string(), "1994-11-06T08:49:37Z");
        assert_eq!(http_date("yesterday"), None);
    }
}
