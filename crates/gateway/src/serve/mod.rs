//! The HTTP server: listeners, TLS, routes, and what every response has in common.

pub mod middleware;
pub mod path;
pub mod routes;
pub mod server;
pub mod signing;
pub mod tls;
