//! What runs at the ends: [`transfer`] is for people outside, [`volume`] for Jobs.

#![cfg_attr(test, allow(clippy::too_many_lines, reason = "tables"))]

mod beneath;
pub mod transfer;
pub mod volume;
