//! Certificates: what one says ([`look`]), making the gateway's own ([`issue`]), and
//! files of authorities ([`authorities`]).

pub mod authorities;
pub mod issue;
pub mod look;
