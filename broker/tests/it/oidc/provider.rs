//! A provider that signs with a real key and says what the test has it say, right or
//! wrong.

use std::{
    collections::HashMap,
    fs,
    sync::{Arc, Mutex},
};

use axum::{
    Form, Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

pub(crate) const CLIENT: &str = "desks";
pub(crate) const SECRET: &str = "a secret of the client";

/// How a token is spoilt.
pub(crate) type Spoil = fn(&mut Token);

/// An ID token, before it is written down.
pub(crate) struct Token {
    pub header: Value,
    pub claims: Value,
    /// From what is signed to the signature.
    pub signed: Signed,
}

#[derive(PartialEq, Eq)]
pub(crate) enum Signed {
    ByProvider,
    BySomebodyElse,
    WithTheSecret,
    Not,
}

/// What a sign-in was begun with, and what is to come of it.
struct Grant {
    challenge: String,
    redirect: String,
    nonce: String,
    claims: Value,
    more: Value,
    spoil: Spoil,
}

struct Inner {
    issuer: String,
    key: Mutex<(String, KeyPair)>,
    grants: Mutex<HashMap<String, Grant>>,
    userinfo: Mutex<HashMap<String, Value>>,
}

pub(crate) struct Provider {
    inner: Arc<Inner>,
    server: JoinHandle<()>,
    dir: tempfile::TempDir,
}

impl Provider {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::TempDir::new().unwrap();
        let tls = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        fs::write(dir.path().join("ca.pem"), tls.cert.pem()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let inner = Arc::new(Inner {
            issuer,
            key: Mutex::new(("first".into(), new_key())),
            grants: Mutex::default(),
            userinfo: Mutex::default(),
        });
        let app = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(jwks))
            .route("/token", post(token))
            .route("/userinfo", get(userinfo))
            .with_state(Arc::clone(&inner));
        let key =
            PrivateKeyDer::from_pem_slice(tls.signing_key.serialize_pem().as_bytes()).unwrap();
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![tls.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, app) = (acceptor.clone(), app.clone());
                tokio::spawn(async move {
                    // Whoever does not trust us goes away.
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let serving = auto::Builder::new(TokioExecutor::new());
                    let service = TowerToHyperService::new(app);
                    serving.serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
        });
        Self { inner, server, dir }
    }

    /// The broker's part of the agreement.
    pub(crate) fn config(&self) -> String {
        use std::os::unix::fs::PermissionsExt as _;
        let at = |name: &str| self.dir.path().join(name);
        fs::write(at("secret"), format!("{SECRET}\n")).unwrap();
        fs::set_permissions(at("secret"), fs::Permissions::from_mode(0o600)).unwrap();
        format!(
            "[oidc]\nissuer = {:?}\nclient_id = {CLIENT:?}\nclient_secret_file = {:?}\nca = {:?}\n\
             portal = [\"https://desks.test\", \"https://other.test\"]\n\
             groups = [\"staff=teachers\", \"staff=not-there\"]\nroles = [\"staff=auditor\"]\n\
             title = \"the school\"\n[sign_in]\naddress_attempts = 1000\n",
            self.inner.issuer,
            at("secret"),
            at("ca.pem"),
        )
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.inner.issuer
    }

    pub(crate) fn stop(&self) {
        self.server.abort();
    }

    pub(crate) fn change_key(&self) {
        *self.inner.key.lock().unwrap() = ("second".into(), new_key());
    }

    /// Somebody has signed in who was sent to `address`: the code they come back with.
    /// `claims` are in the token, `more` is told when asked.
    pub(crate) fn grant(&self, address: &str, claims: Value, more: Value, spoil: Spoil) -> String {
        let asked = query_of(address);
        assert_eq!(asked["client_id"], CLIENT);
        assert_eq!(
            (asked["response_type"].as_str(), asked["code_challenge_method"].as_str()),
            ("code", "S256")
        );
        assert_eq!(asked["scope"], "openid+profile");
        let mut grants = self.inner.grants.lock().unwrap();
        let code = format!("code-{}", grants.len());
        let grant = Grant {
            challenge: asked["code_challenge"].clone(),
            redirect: asked["redirect_uri"].clone(),
            nonce: asked["nonce"].clone(),
            claims,
            more,
            spoil,
        };
        grants.insert(code.clone(), grant);
        code
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The parts of an address behind its '?', as they are written but for "://".
pub(crate) fn query_of(address: &str) -> HashMap<String, String> {
    let query = address.split_once('?').unwrap().1;
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap());
    pairs.map(|(k, v)| (k.into(), v.replace("%3A", ":").replace("%2F", "/"))).collect()
}

fn new_key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap()
}

async fn discovery(State(inner): State<Arc<Inner>>) -> Json<Value> {
    let at = |path: &str| format!("{}{path}", inner.issuer);
    Json(json!({
        "issuer": inner.issuer,
        "authorization_endpoint": at("/authorize"),
        "token_endpoint": at("/token"),
        "userinfo_endpoint": at("/userinfo"),
        "end_session_endpoint": at("/end"),
        "jwks_uri": at("/jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA", "HS256", "none"],
    }))
}

async fn jwks(State(inner): State<Arc<Inner>>) -> Json<Value> {
    let key = inner.key.lock().unwrap();
    let x = BASE64.encode(key.1.der_bytes());
    Json(json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": key.0, "x": x}]}))
}

async fn token(
    State(inner): State<Arc<Inner>>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> (StatusCode, Json<Value>) {
    let refuse = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({"error": error})));
    let basic =
        base64::prelude::BASE64_STANDARD.encode(format!("{CLIENT}:{}", SECRET.replace(' ', "+")));
    if headers.get("authorization").is_none_or(|value| *value != format!("Basic {basic}")) {
        return refuse("invalid_client");
    }
    let Some(grant) = inner.grants.lock().unwrap().remove(&form["code"]) else {
        return refuse("invalid_grant");
    };
    let challenge = BASE64.encode(Sha256::digest(form["code_verifier"].as_bytes()));
    if (challenge, &form["redirect_uri"]) != (grant.challenge, &grant.redirect) {
        return refuse("invalid_grant");
    }
    let access = format!("access of {}", form["code"]);
    let key = inner.key.lock().unwrap();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let mut claims = json!({
        "iss": inner.issuer, "aud": CLIENT, "nonce": grant.nonce,
        "iat": now, "exp": now + 300,
        // As for Ed25519: half of a SHA-512.
        "at_hash": BASE64.encode(&sha2::Sha512::digest(access.as_bytes())[..32]),
    });
    let Value::Object(more) = grant.claims else { panic!("claims are an object") };
    claims.as_object_mut().unwrap().extend(more);
    let header = json!({"alg": "EdDSA", "kid": key.0});
    let mut token = Token { header, claims, signed: Signed::ByProvider };
    (grant.spoil)(&mut token);
    inner.userinfo.lock().unwrap().insert(access.clone(), grant.more);
    let mut answer = json!({"access_token": access, "token_type": "Bearer"});
    if token.claims != Value::Null {
        answer["id_token"] = written(&token, &key.1).into();
    }
    (StatusCode::OK, Json(answer))
}

async fn userinfo(State(inner): State<Arc<Inner>>, headers: HeaderMap) -> Json<Value> {
    let bearer = headers["authorization"].to_str().unwrap();
    Json(inner.userinfo.lock().unwrap()[bearer.strip_prefix("Bearer ").unwrap()].clone())
}

fn written(token: &Token, key: &KeyPair) -> String {
    let part = |value: &Value| BASE64.encode(value.to_string());
    let text = format!("{}.{}", part(&token.header), part(&token.claims));
    let signature = match token.signed {
        Signed::ByProvider => key.sign(text.as_bytes()).unwrap(),
        Signed::BySomebodyElse => new_key().sign(text.as_bytes()).unwrap(),
        Signed::WithTheSecret => hmac(SECRET.as_bytes(), text.as_bytes()),
        Signed::Not => Vec::new(),
    };
    format!("{text}.{}", BASE64.encode(signature))
}

/// HMAC-SHA-256, RFC 2104, of a key below 64 bytes.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block.to_vec()
    };
    let inner = Sha256::digest([pad(0x36), text.to_vec()].concat());
    Sha256::digest([pad(0x5c), inner.to_vec()].concat()).to_vec()
}
