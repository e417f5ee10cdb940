//! Calls of the pods of Jobs, which collect from volumes and deliver into them
//! (docs/design.md#volumes).

pub mod access;
pub mod collection;
pub mod delivery;
pub mod list_body;
