//! What is stored about requests: receipts and frozen rounds that are read, the ledger that is
//! written, and hints that tell the controller to look.

pub mod current_files;
pub mod frozen_rounds;
pub mod ledger;
pub mod receipt_cache;
pub mod receipt_index;
pub mod reconcile_hints;
