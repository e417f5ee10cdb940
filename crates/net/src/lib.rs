//! TLS authorities and certificates, the proxies of the environment, and bounded caches.

pub mod cache;
pub mod proxies;
pub mod tls;
