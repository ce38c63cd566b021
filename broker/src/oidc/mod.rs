//! Signing in at a provider: OpenID Connect, the authorization code flow with PKCE.
//!
//! A browser that asks for `/oidc/sign-in` is sent to the provider, with a cookie that
//! ties its return to it; what is known of it meanwhile is in the store, so any broker
//! can finish. It returns to `/oidc/callback` with a code; the broker redeems that,
//! checks the ID token, finds or makes the account, and opens a session as a password
//! would have. Neither our tokens nor the provider's are in any address.

mod claims;
mod discovery;
mod error;
mod http_client;
mod pending;
mod provider;
mod relying;
mod routes;

pub use error::{ProviderError, SignInError};
pub use pending::PendingError;
pub use provider::Provider;
pub use routes::{Door, routes};
