//! **trevor** moves files across the boundary of a trusted research environment,
//! after human review, with no step that a person or a crash can skip.
//!
//! Start at [`api`] for the resources, [`domain`] for the rules, [`storage`] for
//! what commits, [`controller`] for the state machine at work, and [`gateway`]
//! for the data plane; [`transfer`] is for people outside, [`volume`] for Jobs.

pub mod api;
pub mod audit;
pub mod cli;
pub mod config;
pub mod controller;
pub mod domain;
pub mod gateway;
pub mod lease;
pub mod listen;
pub mod notify;
pub mod package;
pub mod pages;
pub mod proxies;
pub mod retention;
pub mod rules;
pub mod shutdown;
pub mod spans;
pub mod storage;
pub mod tls;
pub mod transfer;
pub mod volume;
