//! What bounds a call: memory, the rate of a client, the rules of the policy, and the quota of a
//! namespace.

pub mod admission;
pub mod body_reader;
pub mod buffers;
pub mod memory;
pub mod quota;
pub mod rate;
pub mod response_body;
