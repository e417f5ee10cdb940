//! **trevor** moves files across the boundary of a trusted research environment,
//! after human review, with no step that a person or a crash can skip.
//!
//! The commands are here; what they run is in the crates that `crates/README.md` lists.

pub mod cli;
