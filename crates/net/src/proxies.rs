//! The proxies of this process.

use trevor_core::proxies::{NoProxyUrl, Proxies};

/// Those that the environment names, as [`Proxies::of`] reads its variables.
///
/// # Errors
/// With the variable that names no proxy.
pub fn of_environment() -> Result<Proxies, NoProxyUrl> {
    Proxies::of(|name| std::env::var(name).ok())
}
