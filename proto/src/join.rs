//! Joining and renewing: what hub and agent say to each other over HTTPS, and the refusals both know.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use taffrail_core::digest::Digest;
use taffrail_core::time::{At, Span};

use crate::sign::{Domain, PublicKey, SigningKey, random, sha256};

/// Path of the request that exchanges a one-time token for credentials.
pub const JOIN_PATH: &str = "/v1/join";
/// Path of the request that renews credentials.
pub const RENEW_PATH: &str = "/v1/renew";
/// Largest request body in bytes. A real one is below 1 KiB; the rest is room for long version texts.
pub const BODY_BYTES_MAX: usize = 16 * 1024;
/// How far the agent's clock may be off when it renews: NTP trouble yes, a replay of yesterday no.
pub const SKEW: Span = Span::secs(600);
/// What every token begins with, so that secret scanners and people recognise one.
pub const TOKEN_PREFIX: &str = "tjt_";
/// Random bytes of a token.
pub const TOKEN_BYTES: usize = 32;
/// Longest free text in a request (versions, uid), in bytes.
pub const TEXT_BYTES_MAX: usize = 128;

/// A one-time token. Not shown by `Debug`; only its digest is ever kept or logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Makes a new token.
    ///
    /// # Errors
    /// [`crate::sign::Error::Random`] if the operating system has no random bytes.
    pub fn generate() -> Result<Token, crate::sign::Error> {
        let bytes: [u8; TOKEN_BYTES] = random()?;
        Ok(Token(format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// Reads `tjt_` and 43 characters of URL-safe base64; white space around it is ignored.
    pub fn parse(text: &str) -> Option<Token> {
        let text = text.trim();
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(TOKEN_PREFIX)?).ok()?;
        (bytes.len() == TOKEN_BYTES).then(|| Token(text.to_owned()))
    }

    /// SHA-256 of the token's text: what the hub keeps.
    pub fn digest(&self) -> Digest {
        sha256(self.0.as_bytes())
    }

    /// The secret text, for the join request and the join manifest only.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Token(sha256 {})", self.digest().short())
    }
}

/// Public key of a NATS user: `U` and 55 of base32.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UserKey(String);

impl UserKey {
    /// Checks and keeps a public user nkey.
    pub fn parse(text: &str) -> Option<UserKey> {
        let valid = text.starts_with('U') && nkeys::KeyPair::from_public_key(text).is_ok();
        valid.then(|| UserKey(text.to_owned()))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Body of `POST /v1/join`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenBody {
    /// The one-time token.
    pub token: String,
    /// The agent's NATS user (`U` and 55 of base32).
    pub user_public: String,
    /// The agent's event key, base64.
    pub event_public: String,
    /// The X25519 key to which indexes are sealed (`X` and 55 of base32).
    pub box_public: String,
    /// Version of the agent.
    pub agent_version: String,
    /// Version of the cluster's API server, empty if not known.
    #[serde(default)]
    pub kubernetes_version: String,
    /// `metadata.uid` of the namespace `kube-system`, empty if not known: tells two clusters apart.
    #[serde(default)]
    pub cluster_uid: String,
}

impl fmt::Debug for TokenBody {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "TokenBody(user {}, event key {})", self.user_public, self.event_public)
    }
}

/// Credentials: the answer to a join and to a renewal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The cluster's name at this moment.
    pub cluster: String,
    /// The cluster's NATS account: its identity.
    pub account: String,
    /// The JWT of the agent's NATS user. It is of no use without the user's seed.
    pub nats_jwt: String,
    /// Where NATS answers, in the order to try.
    pub nats_urls: Vec<String>,
    /// Certificates to trust for HTTPS and NATS, PEM.
    pub ca_pem: String,
    /// The hub's Ed25519 key (base64) that signs indexes and receipts.
    pub hub_key: String,
    /// Public half (base64) of the offline key that allows new epochs; empty if the hub has none. An agent keeps the first
    /// one that it was given.
    #[serde(default)]
    pub restore_key: String,
    /// The hub's epoch.
    pub epoch: u64,
    /// Highest incarnation that the hub has seen of this cluster, 0 if none. A new journal starts above it.
    pub incarnation: u64,
    /// How long the JWT is valid from now on, in milliseconds. A length, so that a wrong clock does no harm.
    pub valid_ms: u64,
    /// The hub's time, in milliseconds since the Unix epoch: shows how wrong the agent's clock is.
    pub at_ms: u64,
}

/// What a renewal says. Its JSON text is what is signed, byte for byte as sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renewal {
    /// The cluster's NATS account.
    pub account: String,
    /// The NATS user that asks for a new JWT.
    pub user_public: String,
    /// Version of the agent.
    pub agent_version: String,
    /// The agent's time, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Random, so that no two requests are alike (base64).
    pub nonce: String,
}

/// Body of `POST /v1/renew`: a [`Renewal`] with the signature of the agent's event key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewBody {
    /// JSON of the [`Renewal`].
    pub payload: String,
    /// Ed25519 over the payload's bytes ([`Domain::Renewal`]), base64.
    pub signature: String,
}

impl RenewBody {
    /// Signs a renewal.
    ///
    /// # Panics
    /// Never: a renewal is plain text and numbers.
    pub fn sign(renewal: &Renewal, key: &SigningKey) -> RenewBody {
        let payload = serde_json::to_string(renewal).expect("a renewal is plain text and numbers");
        let signature = STANDARD.encode(key.sign(Domain::Renewal, payload.as_bytes()).as_bytes());
        RenewBody { payload, signature }
    }

    /// What it claims; nothing in it is true before [`RenewBody::verify`].
    pub fn claims(&self) -> Option<Renewal> {
        serde_json::from_str(&self.payload).ok()
    }

    /// Whether the key made the signature.
    pub fn verify(&self, key: &PublicKey) -> bool {
        let signature = STANDARD.decode(&self.signature).unwrap_or_default();
        key.verify(Domain::Renewal, self.payload.as_bytes(), &signature).is_ok()
    }
}

/// Whether two clocks are too far apart for a renewal.
pub fn is_skewed(hub: At, agent: At) -> bool {
    hub.since(agent) > SKEW || agent.since(hub) > SKEW
}

/// Why a join or a renewal is refused; each has a page `docs/errors/<code>.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// The hub does not know the token.
    TokenUnknown,
    /// The token was used by another agent.
    TokenUsed,
    /// The token's time is over.
    TokenExpired,
    /// The request cannot be read.
    Malformed,
    /// Too many requests.
    TooMany,
    /// The agent's clock is too far off.
    Clock,
    /// The hub does not know the cluster, or the signature is not of its key.
    Identity,
    /// The cluster was removed or revoked.
    Revoked,
    /// The hub cannot answer now.
    Unavailable,
    /// The agent does not trust the hub's certificate.
    Untrusted,
    /// The agent cannot reach the hub.
    Unreachable,
    /// The agent has neither credentials nor a token.
    NoToken,
    /// The agent's stored identity cannot be read or written.
    Store,
}

impl Code {
    /// Every code.
    pub const ALL: [Code; 13] = [
        Code::TokenUnknown,
        Code::TokenUsed,
        Code::TokenExpired,
        Code::Malformed,
        Code::TooMany,
        Code::Clock,
        Code::Identity,
        Code::Revoked,
        Code::Unavailable,
        Code::Untrusted,
        Code::Unreachable,
        Code::NoToken,
        Code::Store,
    ];

    /// The code as people see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Code::TokenUnknown => "JOIN-001",
            Code::TokenUsed => "JOIN-002",
            Code::TokenExpired => "JOIN-003",
            Code::Malformed => "JOIN-004",
            Code::TooMany => "JOIN-005",
            Code::Clock => "JOIN-006",
            Code::Identity => "JOIN-007",
            Code::Revoked => "JOIN-008",
            Code::Unavailable => "JOIN-009",
            Code::Untrusted => "JOIN-010",
            Code::Unreachable => "JOIN-011",
            Code::NoToken => "JOIN-012",
            Code::Store => "JOIN-013",
        }
    }

    /// Reads a code.
    pub fn parse(text: &str) -> Option<Code> {
        Code::ALL.into_iter().find(|code| code.as_str() == text)
    }

    /// What happened, in one sentence.
    pub const fn sentence(self) -> &'static str {
        match self {
            Code::TokenUnknown => "This hub did not issue the join token.",
            Code::TokenUsed => "The join token was used already.",
            Code::TokenExpired => "The join token has expired.",
            Code::Malformed => "The request could not be read.",
            Code::TooMany => "Too many requests came from this address.",
            Code::Clock => "The clocks of hub and agent differ too much.",
            Code::Identity => "The request is not signed by a cluster of this hub.",
            Code::Revoked => "The cluster was removed from the fleet.",
            Code::Unavailable => "The hub cannot answer now.",
            Code::Untrusted => "The hub's certificate is not trusted.",
            Code::Unreachable => "The hub cannot be reached.",
            Code::NoToken => "The agent has no credentials and no join token.",
            Code::Store => "The agent's stored identity cannot be used.",
        }
    }

    /// What to do next, where whoever refuses knows nothing better.
    pub const fn next(self) -> &'static str {
        match self {
            Code::TokenUnknown | Code::TokenUsed | Code::TokenExpired | Code::NoToken => {
                "taffrail cluster join NAME | kubectl apply -f -"
            }
            Code::Malformed => "use an agent of the hub's version: taffrail version",
            Code::TooMany | Code::Unavailable => "nothing: the agent tries again by itself",
            Code::Clock => "set the node's clock: timedatectl status",
            Code::Identity | Code::Revoked => "taffrail get clusters",
            Code::Untrusted => "taffrail cluster join NAME prints the certificate that the agent must trust",
            Code::Unreachable => "curl -v --cacert ca.crt HUB-URL/livez",
            Code::Store => "kubectl -n taffrail-system get secret taffrail-identity",
        }
    }

    /// Whether the same request may succeed later.
    pub const fn is_transient(self) -> bool {
        matches!(self, Code::TooMany | Code::Unavailable | Code::Unreachable | Code::Clock)
    }

    /// The HTTP status that carries it.
    pub const fn status(self) -> u16 {
        match self {
            Code::TokenUnknown | Code::TokenUsed | Code::TokenExpired | Code::Identity => 401,
            Code::Revoked => 403,
            Code::Malformed => 400,
            Code::Clock => 422,
            Code::TooMany => 429,
            _ => 503,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A refusal: code, cause, next command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {} {cause} Next: {next}", code.as_str(), code.sentence())]
pub struct Refused {
    /// Which refusal.
    pub code: Code,
    /// What led to it, a sentence; empty if the code says all.
    pub cause: String,
    /// The next command.
    pub next: String,
}

impl Refused {
    /// A refusal with the code's own next command.
    pub fn new(code: Code, cause: impl Into<String>) -> Refused {
        Refused { code, cause: cause.into(), next: code.next().to_owned() }
    }

    /// The body of an answer.
    pub fn to_wire(&self) -> Problem {
        Problem {
            code: self.code.as_str().to_owned(),
            sentence: self.code.sentence().to_owned(),
            cause: self.cause.clone(),
            next: self.next.clone(),
            other: BTreeMap::new(),
        }
    }
}

/// A refusal as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// Such as `JOIN-002`.
    pub code: String,
    /// What happened.
    pub sentence: String,
    /// Why.
    #[serde(default)]
    pub cause: String,
    /// The next command.
    #[serde(default)]
    pub next: String,
    /// Fields of later versions.
    #[serde(flatten, skip_serializing)]
    pub other: BTreeMap<String, serde_json::Value>,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Refused {
        let Problem { code, sentence, cause, next, .. } = problem;
        match Code::parse(&code) {
            Some(code) => Refused { code, cause, next },
            None => Refused { code: Code::Unavailable, cause: format!("{code}: {sentence} {cause}"), next },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_text_and_is_not_shown() {
        let token = Token::generate().unwrap();
        assert_eq!(token.reveal().len(), TOKEN_PREFIX.len() + 43);
        assert_eq!(Token::parse(&format!(" {}\n", token.reveal())), Some(token.clone()));
        assert!(!format!("{token:?}").contains(&token.reveal()[4..12]));
        for bad in ["", "tjt_", "tjt_short", &token.reveal()[4..], &format!("{}x", token.reveal())] {
            assert_eq!(Token::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_renewal_verifies_under_its_key_and_not_when_a_word_of_it_changed() {
        let key = SigningKey::from_seed([4; 32]);
        let renewal = Renewal {
            account: "A".into(),
            user_public: "U".into(),
            agent_version: "0.1.0".into(),
            at_ms: 7,
            nonce: "n".into(),
        };
        let body = RenewBody::sign(&renewal, &key);
        assert!(body.verify(&key.public()));
        assert_eq!(body.claims(), Some(renewal));
        let changed = RenewBody { payload: body.payload.replace("\"U\"", "\"V\""), ..body.clone() };
        assert!(!changed.verify(&key.public()));
        assert!(!body.verify(&SigningKey::from_seed([5; 32]).public()));
        assert!(!RenewBody { signature: String::new(), ..body }.verify(&key.public()));
    }

    #[test]
    fn ten_minutes_of_skew_are_let_through_in_both_directions() {
        let hub = At(10_000_000);
        for (agent, skewed) in [
            (10_000_000, false),
            (9_400_000, false),
            (9_399_999, true),
            (10_600_000, false),
            (10_600_001, true),
        ] {
            assert_eq!(is_skewed(hub, At(agent)), skewed, "{agent}");
        }
    }

    #[test]
    fn every_code_has_its_own_text_and_a_page() {
        for code in Code::ALL {
            assert_eq!(Code::parse(code.as_str()), Some(code));
            let page = format!("../docs/errors/{code}.md");
            let text = std::fs::read_to_string(&page).unwrap_or_default();
            assert!(text.starts_with(&format!("# {code}")), "{page} is missing");
        }
    }

    #[test]
    fn a_refusal_of_a_later_hub_is_still_told() {
        let text = r#"{"code":"JOIN-999","sentence":"New.","cause":"why","next":"do","extra":1}"#;
        let problem: Problem = serde_json::from_str(text).unwrap();
        let refused = Refused::from(problem);
        assert_eq!((refused.code, refused.cause.as_str()), (Code::Unavailable, "JOIN-999: New. why"));
    }
}
