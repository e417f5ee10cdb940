//! `PUT` and `DELETE files/{path}`: from the body of a call to an object in quarantine and its
//! receipt.

pub mod digest_field;
pub mod files;
pub mod hashing;
pub mod headers;
pub mod intake;
pub mod multipart;
pub mod parts;
pub mod receipts;
