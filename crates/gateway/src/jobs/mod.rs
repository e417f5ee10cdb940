//! Calls of the pods of Jobs, which collect from volumes and deliver into them
//! (docs/design.md#volumes).

pub mod collection;
pub mod delivery;
