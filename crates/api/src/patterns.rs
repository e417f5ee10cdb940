//! Patterns of the schemas, in the dialect of the API server (RE2).
//!
//! They cost no CEL budget. What a pattern cannot say (two names equal when
//! case-folded, non-NFC forms) is checked again by `trevor_core::names` and
//! `trevor_core::texts`.

/// One line without control, format, separator or private-use characters.
pub const LINE: &str = r"^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}]*$";
/// As [`LINE`], and not empty or blank. For what identifies, such as users.
pub const NON_EMPTY_LINE: &str = r"^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}]*[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\s][^\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}]*$";
/// As [`NON_EMPTY_LINE`] for what people write: with the joiners that Persian, Hindi and
/// the like are spelled with, behind a letter of these scripts.
pub const WRITTEN_LINE: &str = r"^([^\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}]|[\x{600}-\x{74F}\x{750}-\x{77F}\x{860}-\x{DFF}\x{1800}-\x{18AF}\x{1CD0}-\x{1CFF}\x{A8E0}-\x{A8FF}\x{FB50}-\x{FDFF}\x{FE70}-\x{FEFC}][\x{200C}\x{200D}])*[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\s]([^\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}]|[\x{600}-\x{74F}\x{750}-\x{77F}\x{860}-\x{DFF}\x{1800}-\x{18AF}\x{1CD0}-\x{1CFF}\x{A8E0}-\x{A8FF}\x{FB50}-\x{FDFF}\x{FE70}-\x{FEFC}][\x{200C}\x{200D}])*$";
/// Several lines: as [`WRITTEN_LINE`], with line feeds, carriage returns and tabs.
pub const TEXT: &str = r"^([^\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}]|[\n\r\t]|[\x{600}-\x{74F}\x{750}-\x{77F}\x{860}-\x{DFF}\x{1800}-\x{18AF}\x{1CD0}-\x{1CFF}\x{A8E0}-\x{A8FF}\x{FB50}-\x{FDFF}\x{FE70}-\x{FEFC}][\x{200C}\x{200D}])*$";
/// A relative path; one that ends in `/` stands for whatever lies beneath.
pub const PATH: &str = r#"^(([^/\\<>:"|?*\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}]|[\x{600}-\x{74F}\x{750}-\x{77F}\x{860}-\x{DFF}\x{1800}-\x{18AF}\x{1CD0}-\x{1CFF}\x{A8E0}-\x{A8FF}\x{FB50}-\x{FDFF}\x{FE70}-\x{FEFC}][\x{200C}\x{200D}])*([^/\\<>:"|?*\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}. ]|[\x{600}-\x{74F}\x{750}-\x{77F}\x{860}-\x{DFF}\x{1800}-\x{18AF}\x{1CD0}-\x{1CFF}\x{A8E0}-\x{A8FF}\x{FB50}-\x{FDFF}\x{FE70}-\x{FEFC}][\x{200C}\x{200D}])/)*([^/\\<>:"|?*\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}]|[\x{600}-\x{74F}\x{750}-\x{77F}\x{860}-\x{DFF}\x{1800}-\x{18AF}\x{1CD0}-\x{1CFF}\x{A8E0}-\x{A8FF}\x{FB50}-\x{FDFF}\x{FE70}-\x{FEFC}][\x{200C}\x{200D}])*([^/\\<>:"|?*\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}. ]|[\x{600}-\x{74F}\x{750}-\x{77F}\x{860}-\x{DFF}\x{1800}-\x{18AF}\x{1CD0}-\x{1CFF}\x{A8E0}-\x{A8FF}\x{FB50}-\x{FDFF}\x{FE70}-\x{FEFC}][\x{200C}\x{200D}])/?$"#;
/// SHA-256 in lower-case hex.
pub const SHA256: &str = "^[0-9a-f]{64}$";
/// ORCID identifier (ISO 7064 check digit not checked here).
pub const ORCID: &str = r"^\d{4}-\d{4}-\d{4}-\d{3}[\dX]$";
/// ROR identifier without its host.
pub const ROR: &str = "^0[a-hj-km-np-tv-z0-9]{6}[0-9]{2}$";
/// An e-mail address, as far as a pattern is worth it.
pub const EMAIL: &str =
    r"^[^@\s\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}<>,;]+@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$";
/// A name of an object in Kubernetes.
pub const DNS_NAME: &str = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";
/// A file extension in lower case, without its dot.
pub const EXTENSION: &str = "^[a-z0-9]([a-z0-9.]{0,14}[a-z0-9])?$";
/// RFC 3339 time in UTC.
pub const TIME: &str = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$";
