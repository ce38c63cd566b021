//! The provider: found by its discovery document, asked for tokens, and believed when
//! its ID token is what the standard demands.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use openidconnect::{
    AccessTokenHash, AuthenticationFlow, AuthorizationCode, ClientId, ClientSecret,
    ConfigurationError, CsrfToken, IssuerUrl, LogoutRequest, Nonce, OAuth2TokenResponse as _,
    PkceCodeChallenge, PkceCodeVerifier, PostLogoutRedirectUrl, RedirectUrl, RequestTokenError,
    Scope, SubjectIdentifier, TokenResponse as _, UserInfoClaims, UserInfoError,
    core::{CoreGenderClaim, CoreJwsSigningAlgorithm, CoreResponseType},
    url::Url,
};
use serde::Serialize;
use serde_json::{Map, Value};
use thiserror::Error;

use super::{
    claims::Vouched,
    discovery::{Discovery, Metadata},
    error::{ProviderError, unreachable},
    http_client::Http,
    pending::Begun,
    relying::{self, More, Relying, Tokens},
};
use crate::{
    auth::authority,
    clock::Clock,
    config,
    secret_file::first_line,
    state::{Identity, SignInRecord},
};

/// Clocks of others may be behind ours.
const LEEWAY: Duration = Duration::from_secs(60);
/// Where a signing-out is not held up by a provider that does not answer.
const BRIEFLY: Duration = Duration::from_secs(3);

/// With the provider's own key, so that what it says cannot be made up by others who
/// know a secret of ours.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// A provider. Cheap to clone.
#[derive(Clone)]
pub struct Provider {
    config: Arc<config::Oidc>,
    secret: Option<ClientSecret>,
    http: Http,
    clock: Arc<dyn Clock>,
    discovery: Arc<Discovery>,
}

// === impl Provider ===

impl Provider {
    /// Reads the files; does not yet ask.
    ///
    /// # Errors
    /// If a file or an address cannot be used.
    pub fn new(config: config::Oidc, clock: Arc<dyn Clock>) -> Result<Self, ProviderError> {
        let issuer = IssuerUrl::new(config.issuer.clone());
        let issuer =
            issuer.map_err(|source| ProviderError::Address { key: "oidc.issuer", source })?;
        for portal in &config.portal {
            redirect_of(portal)?;
        }
        let secret = config.client_secret_file.as_deref().map(first_line).transpose()?;
        let host = issuer.url().host_str();
        let near = matches!(host, Some("localhost" | "127.0.0.1" | "[::1]"));
        let http = Http::new(authority::client(&config.ca)?, near)?;
        let secret = secret.map(ClientSecret::new);
        let discovery = Arc::new(Discovery::new(issuer, http.clone()));
        Ok(Self { config: Arc::new(config), secret, http, clock, discovery })
    }

    /// What is configured.
    pub fn config(&self) -> &config::Oidc {
        &self.config
    }

    /// Whether it answers: worth knowing before a browser is sent there.
    pub(super) async fn ready(&self) -> Result<(), ProviderError> {
        self.discovery.metadata().await.map(drop)
    }

    /// Where the provider sends browsers back to, that came by this name of the portal.
    pub(super) fn redirect(portal: &str) -> String {
        format!("{portal}/oidc/callback")
    }

    /// Where a browser goes to sign in.
    pub(super) async fn address(
        &self,
        begun: &Begun,
        redirect: &str,
    ) -> Result<Url, ProviderError> {
        let metadata = self.discovery.metadata().await?;
        let client = self.client(&metadata, redirect)?;
        let (state, nonce) = (begun.state.expose().to_owned(), begun.nonce.expose().to_owned());
        let verifier = PkceCodeVerifier::new(begun.verifier.expose().to_owned());
        let request = client
            .authorize_url(
                AuthenticationFlow::<CoreResponseType>::AuthorizationCode,
                move || CsrfToken::new(state),
                move || Nonce::new(nonce),
            )
            .add_scopes(self.config.scopes.iter().cloned().map(Scope::new))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
        Ok(request.url().0)
    }

    /// Redeems a code, and says whom the provider vouches for.
    pub(super) async fn redeem(
        &self,
        code: String,
        sign_in: &SignInRecord,
    ) -> Result<Vouched, ProviderError> {
        let metadata = self.discovery.metadata().await?;
        let client = self.client(&metadata, &sign_in.redirect)?;
        let verifier = PkceCodeVerifier::new(sign_in.verifier.clone());
        let request = client.exchange_code(AuthorizationCode::new(code)).map_err(unset)?;
        let tokens = request.set_pkce_verifier(verifier).request_async(&self.http).await;
        let tokens = tokens.map_err(|error| match error {
            RequestTokenError::ServerResponse(said) => ProviderError::Refused(said.to_string()),
            other => unreachable("redeeming the code")(other.into()),
        })?;
        let nonce = Nonce::new(sign_in.nonce.clone());
        let checked = match self.check(&client, &tokens, &nonce) {
            // Its keys may have changed since.
            Err(Doubt::UnknownKey) => {
                let metadata = self.discovery.metadata_with_new_keys().await?;
                let client = self.client(&metadata, &sign_in.redirect)?;
                self.check(&client, &tokens, &nonce)
            }
            checked => checked,
        };
        let mut vouched = checked.map_err(|doubt| ProviderError::NotBelieved(doubt.to_string()))?;
        if vouched.lacks(&self.config) && client.user_info_url().is_some() {
            let more = self.ask_on(&client, &tokens, &vouched.identity).await?;
            // What is signed counts.
            for (claim, value) in more {
                vouched.claims.entry(claim).or_insert(value);
            }
        }
        Ok(vouched)
    }

    /// Where a browser goes to sign out there too; none: the provider has no such place,
    /// or does not answer at this moment.
    pub async fn farewell(&self) -> Option<String> {
        let asked = tokio::time::timeout(BRIEFLY, self.discovery.metadata()).await;
        let metadata = asked.ok()?.ok()?;
        let end = metadata.additional_metadata().end_session_endpoint.clone()?;
        let back = self.config.portal.first()?;
        let back = PostLogoutRedirectUrl::new(format!("{back}/")).ok()?;
        // Not by an ID token as a hint: it would be in the address, and everybody's log.
        let request = LogoutRequest::from(end)
            .set_client_id(ClientId::new(self.config.client_id.clone()))
            .set_post_logout_redirect_uri(back);
        Some(request.http_get_url().to_string())
    }

    /// Everything the ID token has to be.
    fn check(&self, client: &Relying, tokens: &Tokens, nonce: &Nonce) -> Result<Vouched, Doubt> {
        use openidconnect::{
            ClaimsVerificationError::SignatureVerification, SignatureVerificationError,
        };
        let token = tokens.id_token().ok_or(Doubt::Missing)?;
        let past = Duration::from_millis(self.clock.now().0).saturating_sub(LEEWAY);
        let verifier = client
            .id_token_verifier()
            .set_allowed_algs(ALGORITHMS)
            .set_time_fn(move || SystemTime::into(UNIX_EPOCH + past));
        let claims = token.claims(&verifier, nonce).map_err(|error| match error {
            SignatureVerification(SignatureVerificationError::NoMatchingKey) => Doubt::UnknownKey,
            SignatureVerification(why) => Doubt::Signature(why),
            other => Doubt::Claims(other),
        })?;
        if claims.authorized_party().is_some_and(|party| **party != self.config.client_id) {
            return Err(Doubt::AnotherParty);
        }
        if let Some(expected) = claims.access_token_hash() {
            let algorithm = token.signing_alg().map_err(Doubt::Signature)?;
            let key = token.signing_key(&verifier).map_err(Doubt::Signature)?;
            let found = AccessTokenHash::from_token(tokens.access_token(), algorithm, key);
            if found.ok().as_ref() != Some(expected) {
                return Err(Doubt::AnotherAccessToken);
            }
        }
        let identity =
            Identity { issuer: claims.issuer().to_string(), subject: claims.subject().to_string() };
        if identity.subject.is_empty() {
            return Err(Doubt::Nobody);
        }
        Ok(Vouched { identity, claims: as_map(claims) })
    }

    /// What the userinfo endpoint says of the same person.
    async fn ask_on(
        &self,
        client: &Relying,
        tokens: &Tokens,
        who: &Identity,
    ) -> Result<Map<String, Value>, ProviderError> {
        let subject = SubjectIdentifier::new(who.subject.clone());
        let request = client.user_info(tokens.access_token().clone(), Some(subject));
        let asked = request.map_err(unset)?.request_async(&self.http).await;
        let said: UserInfoClaims<More, CoreGenderClaim> = asked.map_err(|error| match error {
            UserInfoError::ClaimsVerification(why) => ProviderError::NotBelieved(why.to_string()),
            other => unreachable("asking who it is")(other.into()),
        })?;
        Ok(as_map(&said))
    }

    fn client(&self, metadata: &Metadata, redirect: &str) -> Result<Relying, ProviderError> {
        let redirect = redirect_url(redirect.to_owned())?;
        let id = ClientId::new(self.config.client_id.clone());
        Ok(relying::client(metadata, id, self.secret.clone(), redirect))
    }
}

/// Why an ID token is not believed.
#[derive(Debug, Error)]
enum Doubt {
    #[error("there is none")]
    Missing,
    #[error("it is signed with a key the provider does not show")]
    UnknownKey,
    #[error("{0}")]
    Signature(openidconnect::SignatureVerificationError),
    #[error("{0}")]
    Claims(openidconnect::ClaimsVerificationError),
    #[error("it was made for another client")]
    AnotherParty,
    #[error("it belongs to another access token")]
    AnotherAccessToken,
    #[error("it is nobody's")]
    Nobody,
}

fn redirect_of(portal: &str) -> Result<RedirectUrl, ProviderError> {
    redirect_url(Provider::redirect(portal))
}

fn redirect_url(text: String) -> Result<RedirectUrl, ProviderError> {
    RedirectUrl::new(text).map_err(|source| ProviderError::Address { key: "oidc.portal", source })
}

fn as_map(claims: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(claims) {
        Ok(Value::Object(map)) => map,
        Ok(_) | Err(_) => Map::new(),
    }
}

fn unset(error: ConfigurationError) -> ProviderError {
    unreachable("looking for its addresses")(error.into())
}
