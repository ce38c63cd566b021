//! Why a sign-in at the provider came to nothing: for the portal a word, for the audit
//! log a sentence.

use std::error::Error as StdError;

use openidconnect::url::ParseError;
use thiserror::Error;

use super::pending::PendingError;
use crate::{
    auth::{AccountError, AuthorityError},
    secret_file::SecretFileError,
    store::StoreError,
};

type Cause = Box<dyn StdError + Send + Sync>;

/// The provider cannot be used, or is not believed.
#[derive(Debug, Error)]
pub enum ProviderError {
    /// The secret cannot be used.
    #[error("oidc.client_secret_file")]
    Secret(#[from] SecretFileError),
    /// The authorities of its certificate cannot be used.
    #[error("oidc.ca")]
    Authority(#[from] AuthorityError),
    /// There is no HTTP here.
    #[error("requests to the provider cannot be made")]
    Client(#[from] reqwest::Error),
    /// An address of the configuration is none.
    #[error("{key} is not an address")]
    Address {
        /// Which.
        key: &'static str,
        /// Why not.
        #[source]
        source: ParseError,
    },
    /// It does not answer, or not as a provider does.
    #[error("the provider cannot be asked: {verb}")]
    Unreachable {
        /// What was being done.
        verb: &'static str,
        /// Why not.
        #[source]
        source: Cause,
    },
    /// It did not answer a moment ago.
    #[error("the provider did not answer a moment ago")]
    Resting,
    /// It knows neither us nor the code, or does not want to.
    #[error("the provider does not take the code: {0}")]
    Refused(String),
    /// What it says is not to be believed.
    #[error("the provider's ID token is not to be believed: {0}")]
    NotBelieved(String),
}

/// A sign-in at the provider came to nothing.
#[derive(Debug, Error)]
pub enum SignInError {
    /// The provider cannot be used, or is not believed.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// No sign-in of this kind is under way.
    #[error(transparent)]
    Pending(#[from] PendingError),
    /// Not for this account, or too often.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The provider sent them back without a code.
    #[error("the provider says: {0}")]
    Declined(String),
    /// It is another provider that answers.
    #[error("the answer is from another provider: {0}")]
    AnotherIssuer(String),
    /// Too many were begun from there.
    #[error("too many sign-ins were begun from this address")]
    TooOften,
    /// The server did not note it.
    #[error("the address of the client is not known")]
    NoAddress,
}

// === impl SignInError ===

impl SignInError {
    /// A stable word, which the portal has a sentence for.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Provider(error) => match error {
                ProviderError::NotBelieved(_) => "PROVIDER_NOT_BELIEVED",
                ProviderError::Refused(_) => "PROVIDER_REFUSED",
                ProviderError::Secret(_)
                | ProviderError::Authority(_)
                | ProviderError::Client(_)
                | ProviderError::Address { .. }
                | ProviderError::Unreachable { .. }
                | ProviderError::Resting => "PROVIDER_UNAVAILABLE",
            },
            Self::Pending(PendingError::Unknown) => "SIGN_IN_OVER",
            Self::Pending(PendingError::TooMany) | Self::TooOften => "TOO_MANY_SIGN_INS",
            Self::Account(AccountError::NameTaken { .. }) => "NAME_TAKEN",
            Self::Account(AccountError::Field(_)) => "NAME_NOT_USABLE",
            Self::Account(AccountError::Refused(_)) => "TOO_MANY_ATTEMPTS",
            Self::Declined(_) => "DECLINED",
            Self::AnotherIssuer(_) => "PROVIDER_NOT_BELIEVED",
            Self::Account(_)
            | Self::Store(_)
            | Self::Pending(PendingError::Store(_))
            | Self::NoAddress => "SIGN_IN_FAILED",
        }
    }

    /// Whether somebody showed something that is not so, rather than something here or
    /// there being out of order.
    pub(super) fn is_guess(&self) -> bool {
        match self {
            Self::Provider(ProviderError::NotBelieved(_) | ProviderError::Refused(_))
            | Self::Pending(PendingError::Unknown)
            | Self::AnotherIssuer(_) => true,
            Self::Provider(_)
            | Self::Pending(_)
            | Self::Account(_)
            | Self::Store(_)
            | Self::Declined(_)
            | Self::TooOften
            | Self::NoAddress => false,
        }
    }

    /// Whether it is a refusal, rather than a failure.
    pub(super) fn is_refusal(&self) -> bool {
        self.is_guess()
            || matches!(self, Self::Declined(_) | Self::TooOften)
            || matches!(
                self,
                Self::Account(
                    AccountError::NameTaken { .. }
                        | AccountError::Field(_)
                        | AccountError::Refused(_)
                )
            )
    }
}

/// What was being done when the provider could not be asked.
pub(super) fn unreachable(verb: &'static str) -> impl FnOnce(Cause) -> ProviderError {
    move |source| ProviderError::Unreachable { verb, source }
}
