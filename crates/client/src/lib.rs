//! What runs at the ends: [`transfer`] is for people outside, [`volume`] for Jobs.

mod beneath;
pub mod transfer;
pub mod volume;
