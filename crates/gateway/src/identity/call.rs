//! A call about a request, by an authenticated caller.

use std::time::Instant;

use crate::identity::auth::Caller;
use crate::identity::permission::AccessQuery;
use crate::identity::token::Token;

/// A call, and when its caller was authenticated.
#[derive(Clone)]
pub struct Call {
    pub caller: Caller,
    /// Namespace of the request.
    pub namespace: String,
    /// Name of the request.
    pub name: String,
    /// The token of the caller, to authenticate it again.
    pub token: Token,
    /// When the caller was last authenticated.
    pub authenticated_at: Instant,
    /// Whether permissions are looked up whatever the cache has.
    pub skip_cache: bool,
}

impl Call {
    /// A call whose caller was authenticated just now.
    #[must_use]
    pub fn new(caller: Caller, token: Token, namespace: &str, name: &str) -> Self {
        Self {
            caller,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            token,
            authenticated_at: Instant::now(),
            skip_cache: false,
        }
    }

    /// The subject of questions about the caller's rights.
    #[must_use]
    pub fn access_query(&self) -> AccessQuery<'_> {
        AccessQuery {
            caller: &self.caller,
            namespace: &self.namespace,
            name: &self.name,
            skip_cache: self.skip_cache,
        }
    }
}
