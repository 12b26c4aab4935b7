//! An OpenID provider on this machine: it signs in the persons of a test, and can be told to lie.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

pub(super) const CLIENT_ID: &str = "console";
pub(super) const CLIENT_SECRET: &str = "SECRET-openid";

/// A defect of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lie {
    /// It is signed by another key, under the id of the provider's key.
    ForeignKey,
    /// It is signed by a key that the provider does not publish.
    UnknownKey,
    /// It is not signed.
    Unsigned,
    /// It is signed with the client's secret.
    SharedSecret,
    /// It has another issuer.
    Issuer,
    /// It is for another client.
    Audience,
    /// It belongs to another login.
    Nonce,
    /// It expired an hour ago.
    Expired,
    /// It has no nonce.
    NoNonce,
    /// There is none.
    NoToken,
    /// The access token beside it is another one.
    AccessToken,
}

impl Lie {
    pub(super) const ALL: [Self; 11] = [
        Self::ForeignKey,
        Self::UnknownKey,
        Self::Unsigned,
        Self::SharedSecret,
        Self::Issuer,
        Self::Audience,
        Self::Nonce,
        Self::Expired,
        Self::NoNonce,
        Self::NoToken,
        Self::AccessToken,
    ];
}

/// A key and its id.
struct SigningKey {
    id: String,
    pair: EcdsaKeyPair,
}

impl SigningKey {
    fn new(id: &str) -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        Self { id: id.to_owned(), pair }
    }

    /// The published form (RFC 7517).
    fn published(&self) -> Value {
        let point = &self.pair.public_key().as_ref()[1..];
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[..32]), URL_SAFE_NO_PAD.encode(&point[32..]));
        let id = &self.id;
        json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": id, "x": x, "y": y })
    }

    fn sign(&self, text: &str) -> Vec<u8> {
        self.pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap().as_ref().to_vec()
    }
}

/// A login at the provider, by its code.
struct SignIn {
    challenge: String,
    redirect_uri: String,
    claims: Value,
}

struct Inner {
    issuer: String,
    key: SigningKey,
    codes: HashMap<String, SignIn>,
    lie: Option<Lie>,
    discoveries: u32,
    codes_issued: u32,
}

#[derive(Clone)]
pub(super) struct OpenIdProvider(Arc<Mutex<Inner>>);

impl OpenIdProvider {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let (key, codes) = (SigningKey::new("first"), HashMap::new());
        let inner = Inner { issuer, key, codes, lie: None, discoveries: 0, codes_issued: 0 };
        let provider = Self(Arc::new(Mutex::new(inner)));
        let pages = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, pages).await });
        provider
    }

    pub(super) fn issuer(&self) -> String {
        self.inner().issuer.clone()
    }

    pub(super) fn lie(&self, lie: Option<Lie>) {
        self.inner().lie = lie;
    }

    /// Uses a new key from now on.
    pub(super) fn change_key(&self) {
        self.inner().key = SigningKey::new("second");
    }

    /// How often the metadata was requested.
    pub(super) fn discoveries(&self) -> u32 {
        self.inner().discoveries
    }

    /// Signs in a person with these claims where the console has sent a browser; returns where the
    /// provider sends it back to.
    pub(super) fn sign_in(&self, sent_to: &str, claims: &Value) -> String {
        let url = Url::parse(sent_to).unwrap();
        let asked: HashMap<_, _> = url.query_pairs().into_owned().collect();
        let mut inner = self.inner();
        assert_eq!(url.path(), "/authorize");
        assert_eq!(
            (asked["client_id"].as_str(), asked["response_type"].as_str()),
            (CLIENT_ID, "code")
        );
        assert_eq!(asked["code_challenge_method"], "S256");
        assert!(asked["scope"].split(' ').any(|scope| scope == "openid"), "{}", asked["scope"]);
        let mut all = json!({
            "iss": inner.issuer, "aud": CLIENT_ID, "sub": "00u1", "nonce": asked["nonce"],
            "iat": unix_seconds(), "exp": unix_seconds() + 300,
        });
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        let code = format!("SECRET-code-{}", inner.codes_issued);
        inner.codes_issued += 1;
        let redirect_uri = asked["redirect_uri"].clone();
        let challenge = asked["code_challenge"].clone();
        let mut back = Url::parse(&redirect_uri).unwrap();
        back.query_pairs_mut()
            .append_pair("code", &code)
            .append_pair("state", &asked["state"])
            .append_pair("iss", &inner.issuer);
        inner.codes.insert(code, SignIn { challenge, redirect_uri, claims: all });
        format!("{}?{}", back.path(), back.query().unwrap())
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }
}

async fn discovery(State(provider): State<OpenIdProvider>) -> Json<Value> {
    let mut inner = provider.inner();
    inner.discoveries += 1;
    let issuer = &inner.issuer;
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/keys"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        // The worst case: the provider does not decide what is accepted.
        "id_token_signing_alg_values_supported": ["none", "HS256", "ES256"],
    }))
}

async fn keys(State(provider): State<OpenIdProvider>) -> Json<Value> {
    Json(json!({ "keys": [provider.inner().key.published()] }))
}

async fn token(
    State(provider): State<OpenIdProvider>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    let mut inner = provider.inner();
    let client = format!("Basic {}", STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}")));
    let sent_by = headers.get("authorization").and_then(|value| value.to_str().ok());
    let refuse = |code: &str| {
        let words = format!("not {} of {form:?}", sent_by.unwrap_or_default());
        let answer = json!({ "error": code, "error_description": words });
        (StatusCode::BAD_REQUEST, Json(answer)).into_response()
    };
    if sent_by != Some(client.as_str()) {
        return refuse("invalid_client");
    }
    let sign_in = form.get("code").and_then(|code| inner.codes.remove(code));
    let verifier = form.get("code_verifier").cloned().unwrap_or_default();
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    let sign_in = sign_in.filter(|sign_in| {
        sign_in.challenge == challenge && form.get("redirect_uri") == Some(&sign_in.redirect_uri)
    });
    let Some(SignIn { claims, .. }) = sign_in else { return refuse("invalid_grant") };
    let mut answer = json!({ "access_token": "SECRET-access", "token_type": "Bearer" });
    if inner.lie != Some(Lie::NoToken) {
        answer["id_token"] = json!(inner.id_token(claims));
    }
    Json(answer).into_response()
}

impl Inner {
    fn id_token(&self, mut claims: Value) -> String {
        let hash = |token: &str| URL_SAFE_NO_PAD.encode(&Sha256::digest(token)[..16]);
        claims["at_hash"] = json!(hash("SECRET-access"));
        match self.lie {
            Some(Lie::Issuer) => claims["iss"] = json!("http://elsewhere.example"),
            Some(Lie::Audience) => claims["aud"] = json!("another client"),
            Some(Lie::Nonce) => claims["nonce"] = json!("of another login"),
            Some(Lie::NoNonce) => drop(claims.as_object_mut().unwrap().remove("nonce")),
            Some(Lie::Expired) => claims["exp"] = json!(unix_seconds() - 3_600),
            Some(Lie::AccessToken) => claims["at_hash"] = json!(hash("another one")),
            _ => {}
        }
        let (algorithm, key_id) = match self.lie {
            Some(Lie::Unsigned) => ("none", self.key.id.as_str()),
            Some(Lie::SharedSecret) => ("HS256", self.key.id.as_str()),
            Some(Lie::UnknownKey) => ("ES256", "unknown"),
            _ => ("ES256", self.key.id.as_str()),
        };
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({ "alg": algorithm, "kid": key_id, "typ": "JWT" });
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = match self.lie {
            Some(Lie::Unsigned) => Vec::new(),
            Some(Lie::SharedSecret) => hmac(&signed),
            Some(Lie::ForeignKey | Lie::UnknownKey) => SigningKey::new("foreign").sign(&signed),
            _ => self.key.sign(&signed),
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn hmac(text: &str) -> Vec<u8> {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, CLIENT_SECRET.as_bytes());
    ring::hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
