//! Logins with an OpenID provider: the authorization code flow with PKCE (OpenID Connect Core 1.0
//! §3.1, RFC 7636).
//!
//! * `http`: requests to the provider. * `discovery`: its metadata.
//! * `flow`: a login that is under way.
//! * `person`: a person's identity and role.

mod discovery;
mod flow;
mod http;
mod person;

use std::collections::HashMap;
use std::time::Duration;

use evergrant_domain::printable::printable;
use evergrant_runtime::config::ConfigError;
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreClientAuthMethod,
    CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm, CoreProviderMetadata, CoreRevocableToken, CoreRevocationErrorResponse,
    CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AccessTokenHash, AdditionalClaims, AuthType, AuthorizationCode, ClaimsVerificationError,
    Client, ClientId, ClientSecret, CsrfToken, EmptyExtraTokenFields, EndpointMaybeSet,
    EndpointNotSet, EndpointSet, IdToken, IdTokenClaims, IdTokenFields, Nonce, OAuth2TokenResponse,
    PkceCodeChallenge, RedirectUrl, RequestTokenError, Scope, SignatureVerificationError,
    StandardErrorResponse, StandardTokenResponse, TokenResponse,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use crate::settings::OidcSettings;

use discovery::Discovery;
pub(crate) use flow::{FLOW_TTL, Flow};
pub(crate) use person::Person;

/// Where a login with the provider begins.
pub(crate) const BEGIN: &str = "/login/oidc";
/// Where the provider sends people back to.
pub(crate) const CALLBACK: &str = "/login/oidc/callback";
/// The timeout of a step of a login.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest reason of a refusal, in characters: it may contain the provider's text.
const WHY_MAX: usize = 300;

/// The accepted signatures: those that only the provider can make.
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

/// Claims that the standard does not name.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct OtherClaims {
    #[serde(flatten)]
    by_name: HashMap<String, Value>,
}

impl AdditionalClaims for OtherClaims {}

type Fields = IdTokenFields<
    OtherClaims,
    EmptyExtraTokenFields,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;
type Answer = StandardTokenResponse<Fields, CoreTokenType>;
type SignedClaims = IdToken<
    OtherClaims,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;
type Claims = IdTokenClaims<OtherClaims, CoreGenderClaim>;
type OidcClient = Client<
    OtherClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    Answer,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// Why a login failed. It contains no code and no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OidcError {
    /// The provider does not answer, or not correctly.
    #[error("the OpenID provider is not available: {0}")]
    Away(String),
    /// It refuses, or its answer cannot be trusted.
    #[error("{0}")]
    Refused(String),
    /// The person is known, but in no group with a role.
    #[error("{name} is in no group that may use this console")]
    NoRole {
        /// The person's name.
        name: String,
    },
}

impl OidcError {
    /// The provider refuses, with a code (RFC 6749 §4.1.2.1, §5.2).
    pub(crate) fn refused_with(code: &str) -> Self {
        let code: String = printable(code).chars().take(60).collect();
        Self::Refused(format!("the OpenID provider refuses the login ({code})"))
    }
}

/// Logins with an OpenID provider cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum OidcSetupError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The HTTP client cannot be built.
    #[error("logins with an OpenID provider: {0}")]
    Http(String),
}

/// A client of an OpenID provider.
pub struct OpenIdClient {
    config: OidcSettings,
    secret: Option<SecretString>,
    redirect_url: Url,
    http: http::Http,
    discovery: Discovery,
}

impl OpenIdClient {
    /// The client of the settings. The provider is contacted at the first login.
    ///
    /// # Errors
    /// If the client's secret or this machine's certificates cannot be read.
    pub(crate) fn new(config: &OidcSettings, public_url: &Url) -> Result<Self, OidcSetupError> {
        let mut redirect_url = public_url.clone();
        redirect_url.set_path(CALLBACK);
        let https_only = Url::parse(&config.issuer).is_ok_and(|issuer| issuer.scheme() == "https");
        Ok(Self {
            secret: config.secret()?,
            config: config.clone(),
            redirect_url,
            http: http::Http::new(REQUEST_TIMEOUT, https_only).map_err(OidcSetupError::Http)?,
            discovery: Discovery::new(&config.issuer),
        })
    }

    /// The label of the button.
    pub(crate) fn label(&self) -> &str {
        &self.config.label
    }

    /// Whether the provider's metadata has what a login needs.
    ///
    /// # Errors
    /// What is missing.
    pub async fn try_out(&self) -> Result<(), String> {
        self.discovery.get(&self.http).await.map(drop).map_err(|error| error.to_string())
    }

    /// Begins a login that leads to the page `next`: where to send the browser, and what it keeps
    /// until it returns.
    pub(crate) async fn begin(&self, next: &str) -> Result<(Url, Flow), OidcError> {
        let metadata = self.discovery.get(&self.http).await?;
        let client = self.client(&metadata);
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let scopes = self.config.scopes.iter().cloned().map(Scope::new);
        let code = CoreAuthenticationFlow::AuthorizationCode;
        let (url, state, nonce) = client
            .authorize_url(code, CsrfToken::new_random, Nonce::new_random)
            .add_scopes(scopes)
            .set_pkce_challenge(challenge)
            .url();
        Ok((url, Flow::new(&state, &nonce, &verifier, next)))
    }

    /// Ends a login: the person for whom the provider issued this code.
    pub(crate) async fn finish(&self, flow: &Flow, code: &str) -> Result<Person, OidcError> {
        in_time(self.redeem(flow, code)).await
    }

    /// Whether an answer that names its issuer (RFC 9207) is this provider's.
    pub(crate) fn is_issuer(&self, named: Option<&str>) -> bool {
        named.is_none_or(|issuer| issuer == self.config.issuer)
    }

    async fn redeem(&self, flow: &Flow, code: &str) -> Result<Person, OidcError> {
        let metadata = self.discovery.get(&self.http).await?;
        let client = self.client(&metadata);
        let request = client.exchange_code(AuthorizationCode::new(code.to_owned()));
        let request =
            request.map_err(|_| OidcError::Away("it names no token endpoint".to_owned()))?;
        let answer = request.set_pkce_verifier(flow.verifier()).request_async(&self.http).await;
        let answer = answer.map_err(|error| not_redeemed(&error))?;
        let Some(token) = answer.id_token() else {
            return Err(OidcError::Refused("the OpenID provider sent no ID token".to_owned()));
        };
        let claims = match verified(&client, token, &answer, flow) {
            Err(TokenRefusal::UnknownKey) => {
                // The provider has new keys.
                self.discovery.expire().await;
                let metadata = self.discovery.get(&self.http).await?;
                let client = self.client(&metadata);
                verified(&client, token, &answer, flow)
            }
            result => result,
        };
        let claims = claims.map_err(|why| {
            OidcError::Refused(format!("the OpenID provider's ID token is invalid: {why}"))
        })?;
        let claims = serde_json::to_value(&claims).unwrap_or_default();
        Person::from_claims(&claims, &self.config)
    }

    fn client(&self, metadata: &CoreProviderMetadata) -> OidcClient {
        let (basic, post) =
            (CoreClientAuthMethod::ClientSecretBasic, CoreClientAuthMethod::ClientSecretPost);
        // The default is Basic (OpenID Connect Discovery 1.0 §3).
        let takes = metadata.token_endpoint_auth_methods_supported();
        let by_post = takes.is_some_and(|ways| ways.contains(&post) && !ways.contains(&basic));
        let secret = self.secret.as_ref();
        let secret = secret.map(|secret| ClientSecret::new(secret.expose_secret().to_owned()));
        let redirect_url = RedirectUrl::from_url(self.redirect_url.clone());
        let id = ClientId::new(self.config.client_id.clone());
        Client::from_provider_metadata(metadata.clone(), id, secret)
            .set_redirect_uri(redirect_url)
            .set_auth_type(if by_post { AuthType::RequestBody } else { AuthType::BasicAuth })
    }
}

/// Why an ID token is not trusted.
#[derive(Debug, thiserror::Error)]
enum TokenRefusal {
    #[error("it is signed with a key that the provider does not publish")]
    UnknownKey,
    #[error("{0}")]
    Other(String),
}

/// The claims of an ID token, signed by the provider for this client and this login.
fn verified(
    client: &OidcClient,
    token: &SignedClaims,
    answer: &Answer,
    flow: &Flow,
) -> Result<Claims, TokenRefusal> {
    let other = |error: &dyn std::error::Error| TokenRefusal::Other(chain(error));
    let verifier = client.id_token_verifier().set_allowed_algs(ALGORITHMS);
    let claims =
        token.clone().into_claims(&verifier, &flow.nonce()).map_err(|error| match error {
            ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoMatchingKey,
            ) => TokenRefusal::UnknownKey,
            error => other(&error),
        })?;
    if let Some(expected) = claims.access_token_hash() {
        let algorithm = token.signing_alg().map_err(|error| other(&error))?;
        let key = token.signing_key(&verifier).map_err(|error| other(&error))?;
        let found = AccessTokenHash::from_token(answer.access_token(), algorithm, key);
        if found.map_err(|error| other(&error))? != *expected {
            return Err(TokenRefusal::Other("its access token is another one's".to_owned()));
        }
    }
    Ok(claims)
}

/// Why a code was not redeemed. Of the provider's own text only the error code is kept, because the
/// rest may repeat what was sent.
fn not_redeemed<E: std::error::Error + 'static>(
    error: &RequestTokenError<E, StandardErrorResponse<CoreErrorResponseType>>,
) -> OidcError {
    match error {
        RequestTokenError::ServerResponse(answer) => {
            OidcError::refused_with(answer.error().as_ref())
        }
        RequestTokenError::Request(error) => OidcError::Away(chain(error)),
        RequestTokenError::Parse(error, _) => {
            let at = error.path();
            OidcError::Away(format!("its token endpoint's answer cannot be read at {at}"))
        }
        RequestTokenError::Other(_) => {
            OidcError::Away("its token endpoint's answer is invalid".to_owned())
        }
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let all = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    printable(&all).chars().take(WHY_MAX).collect()
}

async fn in_time<T>(step: impl Future<Output = Result<T, OidcError>>) -> Result<T, OidcError> {
    let in_time = tokio::time::timeout(REQUEST_TIMEOUT, step).await;
    in_time.unwrap_or_else(|_| Err(OidcError::Away("its answer takes too long".to_owned())))
}
