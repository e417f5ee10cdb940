//! What a storage server says, in words that people can use: its code and message made
//! harmless, and what to do about the answers that people meet.

/// Characters of a server's message that are shown.
const SHOWN: usize = 300;
/// A run of so many letters and digits is a signature, a token or a nonce, and no word.
const OPAQUE: usize = 32;
/// Folders of a key that are shown: what follows differs from attempt to attempt.
const FOLDERS: usize = 3;

/// What is known of an answer that was an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer<'a> {
    /// S3 operation.
    pub operation: &'a str,
    /// HTTP status.
    pub status: u16,
    /// S3 error code, if the answer had one.
    pub code: Option<&'a str>,
    /// The server's message.
    pub message: Option<&'a str>,
    /// Where the bucket is, if the server says so.
    pub region: Option<&'a str>,
}

/// What follows from an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// The same call may work later without anybody's help.
    pub passes: bool,
    /// What to do, or nothing that is known. `<zone>` stands for the bucket's name in the
    /// configuration.
    pub advice: Option<String>,
}

impl Answer<'_> {
    /// Status, code and message, without anything secret, and what to do.
    #[must_use]
    pub fn words(&self) -> String {
        let mut text = format!("HTTP {}", self.status);
        if let Some(code) = self.code.map(harmless).filter(|code| !code.is_empty()) {
            text.push(' ');
            text.push_str(&code);
        }
        if let Some(message) = self.message.map(harmless).filter(|m| !m.is_empty()) {
            text.push_str(": ");
            text.push_str(message.trim_end_matches('.'));
        }
        if let Some(advice) = self.meaning().advice {
            text.push_str("; ");
            text.push_str(&advice);
        }
        text
    }

    /// What the answer means.
    #[must_use]
    pub fn meaning(&self) -> Meaning {
        let passes = |advice: &str| Meaning {
            passes: true,
            advice: Some(advice.to_owned()),
        };
        let stays = |advice: String| Meaning {
            passes: false,
            advice: Some(advice),
        };
        let code = self.code.unwrap_or_default();
        if let Some(advice) = self.of_region() {
            return stays(advice);
        }
        if let Some(advice) = self.of_lock().or_else(|| self.of_encryption()) {
            return stays(advice.to_owned());
        }
        if let Some(advice) = of_code(code) {
            return stays(advice.to_owned());
        }
        match (self.status, code) {
            (_, "QuotaExceeded" | "InsufficientStorage" | "StorageFull") | (507, _) => {
                passes(FULL)
            }
            (_, code) if code.contains("Quota") || code.contains("StorageFull") => passes(FULL),
            (_, "SlowDown" | "SlowDownRead" | "SlowDownWrite" | "TooManyRequests" | "Throttling"
                | "ThrottlingException" | "RequestLimitExceeded" | "Busy") | (429 | 503, _) => {
                passes("the server asks for fewer calls, or is overloaded")
            }
            (_, "RequestTimeout") | (408, _) => {
                passes("the request came too slowly; look at the network between")
            }
            (_, "AccessDenied" | "AccessDeniedException" | "Forbidden" | "UnauthorizedAccess") => {
                stays(self.permission())
            }
            (501, _) => stays(
                "the server does not have this operation; use one that has it".to_owned(),
            ),
            (405, _) => stays(
                "the server does not have this operation here: is storage.<zone>.endpoint the address of its S3 API, and not of its console?".to_owned(),
            ),
            (407, _) => stays(
                "the proxy wants credentials; put them into the proxy's URL".to_owned(),
            ),
            (401 | 403, "") => stays(self.permission()),
            (300..=399, _) => stays(
                "the server sends us elsewhere, which is not followed; correct storage.<zone>.endpoint and storage.<zone>.region".to_owned(),
            ),
            (400, "") => stays(
                "the answer is not one of S3: does storage.<zone>.endpoint have the right scheme (https or http) and port?".to_owned(),
            ),
            (500..=599, "") => passes(
                "the answer is not one of S3: something between us and the server gives it, or the server is not up",
            ),
            (500..=599, _) => passes("the server has a problem of its own; look at its log"),
            _ => Meaning {
                passes: false,
                advice: None,
            },
        }
    }

    fn permission(&self) -> String {
        format!(
            "the identity may not do that: allow it {} (examples/bucket-policies), and look for a policy of the bucket that denies it",
            action(self.operation)
        )
    }

    fn said(&self, words: &str) -> bool {
        self.message
            .is_some_and(|message| message.to_ascii_lowercase().contains(words))
    }

    /// The bucket is in another region than the configuration says.
    fn of_region(&self) -> Option<String> {
        let code = self.code.unwrap_or_default();
        let elsewhere = matches!(
            code,
            "PermanentRedirect" | "IllegalLocationConstraintException" | "TemporaryRedirect"
        ) || self.status == 301;
        let malformed = matches!(
            code,
            "AuthorizationHeaderMalformed" | "AuthorizationQueryParametersError"
        );
        let expected = self.message.and_then(expected_region);
        let unsaid = matches!(self.status, 400 | 301 | 307) && code.is_empty();
        if !(elsewhere || malformed || (unsaid && self.region.is_some())) {
            return None;
        }
        Some(match self.region.or(expected).map(harmless) {
            Some(region) => {
                format!("the bucket is in {region}; set storage.<zone>.region to {region}")
            }
            None => "the bucket is in another region, or behind another address; correct storage.<zone>.region and storage.<zone>.endpoint".to_owned(),
        })
    }

    fn of_lock(&self) -> Option<&'static str> {
        let code = self.code.unwrap_or_default();
        if code == "ObjectLocked" || self.said("worm protected") || self.said("object lock") {
            return Some(
                "object lock is in the way: a locked object cannot be deleted or replaced before its retention ends; only records belong into a bucket with a default retention",
            );
        }
        None
    }

    fn of_encryption(&self) -> Option<&'static str> {
        const NONE: &str = "the server has no key management, so that it cannot encrypt; set one up on the server (on MinIO: MINIO_KMS_SECRET_KEY, or a KES server)";
        const KEY: &str = "the server's key management refuses the key: look at storage.<zone>.kms_key_id, at whether the key is enabled, and at the identity's right to use it";
        let code = self.code.unwrap_or_default();
        let writes = matches!(
            self.operation,
            "PutObject" | "CreateMultipartUpload" | "CopyObject"
        );
        if code.contains("KMSNotConfigured") || self.said("kms is not configured") {
            return Some(NONE);
        }
        if writes && (self.status == 501 || code == "NotImplemented") {
            return Some(NONE);
        }
        if code.to_ascii_uppercase().contains("KMS") {
            return Some(KEY);
        }
        let algorithm = matches!(
            code,
            "InvalidEncryptionAlgorithmError" | "InvalidEncryptionMethod"
        );
        algorithm.then_some("the server does not know this encryption; set storage.<zone>.encryption to AES256 or aws:kms, as the server has it")
    }
}

const FULL: &str = "the bucket is full, or its quota is used up; make room, or raise the quota";

/// Codes that mean one thing wherever they come from.
fn of_code(code: &str) -> Option<&'static str> {
    Some(match code {
        "InvalidAccessKeyId" => {
            "the server does not know this access key id; look at access_key_id in the Secret that storage.<zone>.credentials_secret names, and at whether the server has that key"
        }
        "SignatureDoesNotMatch" => {
            "secret_access_key in the Secret that storage.<zone>.credentials_secret names is not that of its access_key_id; or something between changes requests (Host and headers must arrive as they were sent)"
        }
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "RequestExpired" => {
            "the session of these credentials has ended; put new ones into the Secret that storage.<zone>.credentials_secret names, or use credentials without an end"
        }
        "InvalidToken" | "InvalidClientTokenId" | "UnrecognizedClientException" => {
            "session_token is not that of these keys, or the server knows none; correct the Secret that storage.<zone>.credentials_secret names"
        }
        "RequestTimeTooSkewed" | "RequestInTheFuture" => {
            "our clock and the server's differ by more than 15 minutes; set them right (NTP on the nodes and on the server)"
        }
        "NoSuchBucket" | "InvalidBucketName" => {
            "there is no such bucket; make it, or correct storage.<zone>.bucket and storage.<zone>.endpoint"
        }
        "InvalidObjectState" => {
            "the object lies in an archive; take the transition out of the bucket's lifecycle"
        }
        "BadDigest"
        | "InvalidDigest"
        | "XAmzContentSHA256Mismatch"
        | "XAmzContentChecksumMismatch" => {
            "what arrived is not what was sent; look at proxies between us and the server"
        }
        "MissingContentMD5" | "InvalidRequestBodyChecksum" => {
            "the server wants a checksum that this call does not carry; tell the makers of trevor"
        }
        "NotSignedUp" | "AccountProblem" | "AllAccessDisabled" | "InvalidPayer" => {
            "the account behind these credentials is not in order; ask whoever runs the storage"
        }
        _ => return None,
    })
}

/// What an operation is called in a policy.
fn action(operation: &str) -> &'static str {
    match operation {
        "GetObject" | "HeadObject" => "s3:GetObject",
        "PutObject" | "CreateMultipartUpload" | "UploadPart" | "CompleteMultipartUpload" => {
            "s3:PutObject"
        }
        "CopyObject" | "UploadPartCopy" => "s3:GetObject on the source and s3:PutObject here",
        "ListObjectsV2" => "s3:ListBucket",
        "ListObjectVersions" => "s3:ListBucketVersions",
        "ListMultipartUploads" => "s3:ListBucketMultipartUploads",
        "ListParts" => "s3:ListMultipartUploadParts",
        "AbortMultipartUpload" => "s3:AbortMultipartUpload",
        "DeleteObject" | "DeleteObjects" => "s3:DeleteObject and s3:DeleteObjectVersion",
        "GetBucketVersioning" => "s3:GetBucketVersioning",
        "GetBucketLifecycleConfiguration" => "s3:GetLifecycleConfiguration",
        "GetObjectLockConfiguration" => "s3:GetBucketObjectLockConfiguration",
        _ => "this operation",
    }
}

/// "the region 'us-east-1' is wrong; expecting 'eu-west-2'".
fn expected_region(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("expecting '")?;
    let (region, _) = rest.split_once('\'')?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (!region.is_empty() && region.len() <= 40 && region.bytes().all(plain)).then_some(region)
}

/// A text of somebody else's on one line, cut, without control characters and without
/// what could be a signature, a token or a key. It says the same each time that the same
/// happens, so that it can stand in a status.
#[must_use]
pub fn harmless(text: &str) -> String {
    let mut shown = String::new();
    let mut count = 0;
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        if word.is_empty() {
            continue;
        }
        let word = harmless_word(word);
        count += word.chars().count() + 1;
        if count > SHOWN {
            shown.push_str(" …");
            break;
        }
        if !shown.is_empty() {
            shown.push(' ');
        }
        shown.push_str(&word);
    }
    shown
}

fn harmless_word(word: &str) -> String {
    let lower = word.to_ascii_lowercase();
    let secret = ["signature=", "credential=", "token=", "x-amz-s", "x-amz-c"];
    let key_id = ["AKIA", "ASIA"].iter().any(|part| word.contains(part));
    let long = word.chars().count() > 120;
    if long || key_id || secret.iter().any(|part| lower.contains(part)) {
        return "…".to_owned();
    }
    // What follows a question mark of a URL may be a signature.
    let word = match word.split_once("://") {
        Some(_) => word.split_once('?').map_or(word, |(before, _)| before),
        None => word,
    };
    let opaque = |run: &str| run.len() >= OPAQUE && !run.contains('-');
    let mut shown = String::new();
    let mut run = String::new();
    let flush = |run: &mut String, shown: &mut String| {
        shown.push_str(if opaque(run) { "…" } else { run });
        run.clear();
    };
    for c in word.chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '+' | '=' | '_' | '-') {
            run.push(c);
        } else {
            flush(&mut run, &mut shown);
            // Marks that turn the direction of a text, and the like.
            if !c.is_control()
                && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
            {
                shown.push(c);
            }
        }
    }
    flush(&mut run, &mut shown);
    shown
}

/// The folders with which a key begins.
#[must_use]
pub fn key_prefix(key: &str) -> String {
    let mut folders = key.split('/');
    let first: Vec<&str> = folders.by_ref().take(FOLDERS).collect();
    match folders.next() {
        Some(_) => format!("{}/…", first.join("/")),
        None => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer<'a>(operation: &'a str, status: u16, code: &'a str, message: &'a str) -> Answer<'a> {
        Answer {
            operation,
            status,
            code: Some(code).filter(|c| !c.is_empty()),
            message: Some(message).filter(|m| !m.is_empty()),
            region: None,
        }
    }

    #[test]
    fn each_answer_that_people_meet_says_what_to_do() {
        #[rustfmt::skip]
        let rows = [
            ("PutObject", 403, "AccessDenied", "Access Denied.", false, "s3:PutObject"),
            ("ListObjectVersions", 403, "AccessDenied", "", false, "s3:ListBucketVersions"),
            ("HeadObject", 403, "", "", false, "s3:GetObject"),
            ("GetObject", 403, "InvalidAccessKeyId", "The Access Key Id you provided does not exist in our records.", false, "access_key_id"),
            ("GetObject", 403, "SignatureDoesNotMatch", "The request signature we calculated does not match.", false, "secret_access_key"),
            ("GetObject", 400, "ExpiredToken", "The provided token has expired.", false, "session"),
            ("GetObject", 403, "ExpiredToken", "", false, "session"),
            ("GetObject", 400, "InvalidToken", "The provided token is malformed or otherwise invalid.", false, "session_token"),
            ("GetObject", 403, "RequestTimeTooSkewed", "The difference between the request time and the server's time is too large.", false, "clock"),
            ("GetObject", 400, "AuthorizationHeaderMalformed", "the region 'us-east-1' is wrong; expecting 'eu-west-2'", false, "the bucket is in eu-west-2; set storage.<zone>.region"),
            ("GetObject", 301, "PermanentRedirect", "The bucket you are attempting to access must be addressed using the specified endpoint.", false, "storage.<zone>.region"),
            ("HeadObject", 301, "", "", false, "storage.<zone>.region"),
            ("GetObject", 307, "TemporaryRedirect", "", false, "storage.<zone>.region"),
            ("GetObject", 404, "NoSuchBucket", "The specified bucket does not exist", false, "storage.<zone>.bucket"),
            ("PutObject", 501, "NotImplemented", "Server side encryption specified but KMS is not configured", false, "no key management"),
            ("PutObject", 501, "NotImplemented", "A header you provided implies functionality that is not implemented", false, "no key management"),
            ("CreateMultipartUpload", 400, "XMinioKMSNotConfigured", "", false, "no key management"),
            ("PutObject", 400, "KMS.DisabledException", "arn:aws:kms:… is disabled.", false, "kms_key_id"),
            ("PutObject", 400, "InvalidEncryptionAlgorithmError", "", false, "storage.<zone>.encryption"),
            ("ListObjectVersions", 501, "NotImplemented", "", false, "does not have this operation"),
            ("DeleteObject", 403, "AccessDenied", "Access Denied because object protected by object lock.", false, "object lock"),
            ("DeleteObject", 400, "InvalidRequest", "Object is WORM protected and cannot be overwritten", false, "object lock"),
            ("PutObject", 400, "InvalidRequest", "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters", false, "object lock"),
            ("PutObject", 403, "QuotaExceeded", "", true, "quota"),
            ("PutObject", 507, "XMinioStorageFull", "", true, "make room"),
            ("PutObject", 400, "XMinioAdminBucketQuotaExceeded", "", true, "quota"),
            ("PutObject", 503, "SlowDown", "Please reduce your request rate.", true, "fewer calls"),
            ("PutObject", 429, "TooManyRequests", "", true, "fewer calls"),
            ("PutObject", 400, "RequestTimeout", "", true, "too slowly"),
            ("PutObject", 500, "InternalError", "We encountered an internal error.", true, "log"),
            ("PutObject", 502, "", "", true, "not one of S3"),
            ("GetObject", 400, "", "", false, "scheme"),
            ("GetObject", 405, "MethodNotAllowed", "", false, "console"),
            ("GetObject", 407, "", "", false, "proxy"),
            ("PutObject", 400, "BadDigest", "", false, "not what was sent"),
            ("GetObject", 403, "InvalidObjectState", "", false, "archive"),
            ("GetObject", 403, "AccountProblem", "", false, "account"),
        ];
        for (operation, status, code, message, passes, word) in rows {
            let answer = answer(operation, status, code, message);
            let meaning = answer.meaning();
            assert_eq!(meaning.passes, passes, "{answer:?}");
            let words = answer.words();
            assert!(words.contains(word), "{answer:?} says {words:?}");
            assert!(
                words.contains(&status.to_string()) && words.contains(code),
                "{words}"
            );
            if let Some(first) = message.split(' ').next() {
                assert!(words.contains(first.trim_end_matches('.')), "{words}");
            }
            assert!(
                !words.contains('\n') && !words.contains("tried again"),
                "{words}"
            );
        }
    }

    #[test]
    fn the_region_is_said_wherever_the_server_says_it() {
        for (status, code) in [
            (301, "PermanentRedirect"),
            (301, ""),
            (400, ""),
            (400, "AuthorizationHeaderMalformed"),
        ] {
            let answer = Answer {
                region: Some("eu-west-2"),
                ..answer("HeadObject", status, code, "")
            };
            let advice = answer.meaning().advice.unwrap();
            assert!(advice.contains("the bucket is in eu-west-2"), "{advice}");
        }
        let denied = Answer {
            region: Some("eu-west-2"),
            ..answer("PutObject", 403, "AccessDenied", "")
        };
        assert!(!denied.words().contains("eu-west-2"));
    }

    #[test]
    fn what_a_server_says_is_made_harmless() {
        let signature = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        for text in [
            format!("bad X-Amz-Signature={signature}"),
            format!("you sent {signature}."),
            format!(
                "Credential=AKIAIOSFODNN7EXAMPLE/20261130/us-east-1/s3/aws4_request Signature={signature}"
            ),
            format!("https://s3.example/b/k?X={signature}"),
            format!("token {}", "Ab9+/".repeat(60)),
        ] {
            let shown = harmless(&text);
            for secret in [signature, "AKIAIOSFODNN7EXAMPLE", "Ab9+/Ab9+/"] {
                assert!(!shown.contains(secret), "{shown}");
            }
        }
        assert_eq!(harmless("a\r\nb\u{1b}[2J\u{202e}c\t d"), "a b [2Jc d");
        assert_eq!(
            harmless("User: arn:aws:iam::123:user/x is not authorized"),
            "User: arn:aws:iam::123:user/x is not authorized"
        );
        let uid = "0b0d8d2e-5c0f-4c1b-9d3a-2f6f6d4f8a11";
        assert_eq!(harmless(uid), uid);
        assert!(harmless(&"word ".repeat(500)).chars().count() <= SHOWN + 4);
        assert_eq!(harmless(""), "");
    }

    #[test]
    fn of_a_key_its_folders_are_shown() {
        for (key, shown) in [
            ("", ""),
            ("work/probe/absent", "work/probe/absent"),
            ("requests/ns/uid/files/nonce", "requests/ns/uid/…"),
            ("releases/ns/uid/n/x.zip", "releases/ns/uid/…"),
            ("requests/ns/", "requests/ns/"),
        ] {
            assert_eq!(key_prefix(key), shown);
        }
    }
}
