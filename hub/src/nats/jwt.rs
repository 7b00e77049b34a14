//! NATS JWT version 2: what operator, accounts and users may do, signed with Ed25519 nkeys.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Map, Value, json};
use taffrail_core::time::At;

use super::Error;

/// `{"typ":"JWT","alg":"ed25519-nkey"}`: the only header that nats-server takes.
const HEADER: &str = r#"{"typ":"JWT","alg":"ed25519-nkey"}"#;

/// What a JWT says, besides its body.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// Public key that the JWT speaks of.
    pub subject: &'a str,
    /// Its name for people.
    pub name: &'a str,
    /// When it was made. nats-server ignores an account's JWT that is older than the one it holds.
    pub at: At,
    /// When it ends; `None` holds until it is replaced or revoked.
    pub expires: Option<At>,
}

/// Signs one JWT. `body` is its `nats` part.
///
/// # Errors
/// [`Error::Sign`] if `signer` holds no seed.
pub fn encode(signer: &KeyPair, about: About<'_>, body: Value) -> Result<String, Error> {
    let mut claims = Map::new();
    claims.insert("iat".to_owned(), json!(seconds(about.at)));
    if let Some(expires) = about.expires {
        claims.insert("exp".to_owned(), json!(seconds(expires)));
    }
    claims.insert("iss".to_owned(), json!(signer.public_key()));
    claims.insert("name".to_owned(), json!(about.name));
    claims.insert("sub".to_owned(), json!(about.subject));
    claims.insert("nats".to_owned(), body);
    let id =
        ring::digest::digest(&ring::digest::SHA256, Value::Object(claims.clone()).to_string().as_bytes());
    claims.insert("jti".to_owned(), json!(URL_SAFE_NO_PAD.encode(id)));
    let (header, payload) =
        (URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(Value::Object(claims).to_string()));
    let text = format!("{header}.{payload}");
    let proof = signer.sign(text.as_bytes()).map_err(Error::Sign)?;
    Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(proof)))
}

/// Whether two JWTs say the same, whenever they were made.
pub fn says_the_same(one: &str, other: &str) -> bool {
    let (one, other) = (claims(one), claims(other));
    let part = |of: &Option<Value>, key: &str| of.as_ref().and_then(|claims| claims.get(key).cloned());
    one.is_some() && ["iss", "sub", "name", "nats"].iter().all(|key| part(&one, key) == part(&other, key))
}

/// The claims of a JWT as they stand there; the signature is not looked at.
pub fn claims(jwt: &str) -> Option<Value> {
    let payload = jwt.trim().split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// NATS counts seconds.
fn seconds(at: At) -> u64 {
    at.0 / 1_000
}

/// Body of the operator: who else signs for it, and which account runs the system.
pub fn operator(signing_key: &str, system_account: &str) -> Value {
    json!({
        "signing_keys": [signing_key],
        "system_account": system_account,
        "type": "operator",
        "version": 2,
    })
}

/// Body of an account that reaches nothing but itself and has no `JetStream`: the system account.
pub fn plain_account() -> Value {
    json!({
        "limits": limits(&json!({ "exports": -1, "imports": -1, "conn": -1, "leaf": -1, "subs": -1, "payload": -1 })),
        "default_permissions": {},
        "type": "account",
        "version": 2,
    })
}

/// Limits of an account: those given, data without limit, no bearer tokens.
pub(super) fn limits(given: &Value) -> Value {
    let mut all = json!({ "data": -1, "wildcards": true, "disallow_bearer": true });
    if let (Some(all), Some(given)) = (all.as_object_mut(), given.as_object()) {
        all.extend(given.clone());
    }
    all
}

/// Body of a user with every right inside its own account: the hub's own connections.
pub fn whole_user() -> Value {
    json!({
        "pub": {}, "sub": {},
        "subs": -1, "data": -1, "payload": -1,
        "allowed_connection_types": ["STANDARD"],
        "type": "user",
        "version": 2,
    })
}

/// Body of a user whose rights stand on the scoped key that signed it.
pub fn scoped_user(issuer_account: &str) -> Value {
    json!({ "issuer_account": issuer_account, "type": "user", "version": 2 })
}

/// Body of the order to forget accounts.
pub fn forget(accounts: &[&str]) -> Value {
    json!({ "accounts": accounts, "type": "generic", "version": 2 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(at: At) -> About<'static> {
        About { subject: "S", name: "n", at, expires: Some(At(9_000)) }
    }

    #[test]
    fn a_jwt_is_signed_by_its_issuer() {
        let key = KeyPair::new_operator();
        let jwt = encode(&key, about(At(5_999)), json!({ "type": "generic" })).unwrap();
        let (signed, signature) = jwt.rsplit_once('.').unwrap();
        key.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        let claims = claims(&jwt).unwrap();
        assert_eq!((&claims["iat"], &claims["exp"]), (&json!(5), &json!(9)));
        assert_eq!(claims["iss"], json!(key.public_key()));
    }

    #[test]
    fn the_same_words_at_another_time_say_the_same() {
        let key = KeyPair::new_operator();
        let make = |at, body: Value| encode(&key, about(at), body).unwrap();
        assert!(says_the_same(&make(At(1_000), json!({"a": 1})), &make(At(2_000), json!({"a": 1}))));
        assert!(!says_the_same(&make(At(1_000), json!({"a": 1})), &make(At(1_000), json!({"a": 2}))));
        assert!(!says_the_same("", ""));
    }
}
