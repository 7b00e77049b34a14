//! Ed25519 signatures over transmitted bytes, each for one purpose only.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use taffrail_core::digest::Digest;

/// Bytes of a public key and of a seed (RFC 8032).
pub const KEY_BYTES: usize = 32;
/// Bytes of a signature (RFC 8032).
pub const SIGNATURE_BYTES: usize = 64;

/// What a signature is for. A signature made for one purpose never verifies for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// A batch of events, signed by an agent.
    Event,
    /// A desired index, signed by the hub.
    Index,
    /// A sign of life, signed by an agent that has no event to send.
    Heartbeat,
    /// A receipt, signed by the hub.
    Receipt,
    /// A request for renewed credentials, signed by an agent.
    Renewal,
    /// A checkpoint of the log, signed by the hub.
    Checkpoint,
    /// What an agent shows of the hub's earlier words, signed by the agent.
    Proof,
    /// A new epoch of the hub, signed by the offline key.
    Grant,
}

impl Domain {
    /// Every purpose.
    pub const ALL: [Domain; 8] = [
        Domain::Event,
        Domain::Index,
        Domain::Heartbeat,
        Domain::Receipt,
        Domain::Renewal,
        Domain::Checkpoint,
        Domain::Proof,
        Domain::Grant,
    ];

    /// What stands before the signed bytes. It ends with a zero byte, so that none is the beginning of another.
    pub const fn prefix(self) -> &'static [u8] {
        match self {
            Domain::Event => b"taffrail/event/v1\0",
            Domain::Index => b"taffrail/index/v1\0",
            Domain::Heartbeat => b"taffrail/heartbeat/v1\0",
            Domain::Receipt => b"taffrail/receipt/v1\0",
            Domain::Renewal => b"taffrail/renewal/v1\0",
            Domain::Checkpoint => b"taffrail/checkpoint/v1\0",
            Domain::Proof => b"taffrail/proof/v1\0",
            Domain::Grant => b"taffrail/grant/v1\0",
        }
    }

    fn message(self, bytes: &[u8]) -> Vec<u8> {
        [self.prefix(), bytes].concat()
    }
}

/// Why a key or a signature is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The operating system gave no random bytes.
    #[error("read random bytes from the operating system")]
    Random,
    /// A text or a byte string that is not a key. It is not repeated, because it might be a secret one.
    #[error("read an Ed25519 {what}: {rule}")]
    BadKey {
        /// Which key was expected.
        what: &'static str,
        /// What it should have been.
        rule: &'static str,
    },
    /// The signature does not belong to these bytes, this key and this purpose.
    #[error("verify the signature ({domain:?})")]
    BadSignature {
        /// The purpose that was expected.
        domain: Domain,
    },
}

/// SHA-256 of `bytes`.
///
/// # Panics
/// Never: the digest has the length that it has.
pub fn sha256(bytes: &[u8]) -> Digest {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    Digest::from_slice(digest.as_ref()).expect("SHA-256 has 32 bytes")
}

/// `N` random bytes of the operating system.
///
/// # Errors
/// [`Error::Random`] if it has none.
pub fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0u8; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Random)?;
    Ok(bytes)
}

/// A secret Ed25519 key. Its `Debug` shows the public half only.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    seed: Option<[u8; KEY_BYTES]>,
}

impl SigningKey {
    /// Makes a new key from the operating system's random bytes.
    ///
    /// # Errors
    /// [`Error::Random`] if there are none.
    pub fn generate() -> Result<SigningKey, Error> {
        Ok(SigningKey::from_seed(random()?))
    }

    /// The key that grows out of `seed`: 32 random bytes.
    ///
    /// # Panics
    /// Never: every 32 bytes are a seed.
    pub fn from_seed(seed: [u8; KEY_BYTES]) -> SigningKey {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("a seed of 32 bytes is a key");
        SigningKey { pair, seed: Some(seed) }
    }

    /// Reads what [`SigningKey::seed_text`] wrote; white space around it is ignored.
    ///
    /// # Errors
    /// [`Error::BadKey`] for anything but 32 bytes in base64.
    pub fn from_seed_text(text: &str) -> Result<SigningKey, Error> {
        let bad = Error::BadKey { what: "seed", rule: "expected 32 bytes in base64" };
        let bytes = STANDARD.decode(text.trim()).map_err(|_| bad.clone())?;
        Ok(SigningKey::from_seed(bytes.try_into().map_err(|_| bad)?))
    }

    /// Reads a PKCS#8 document (DER), version 1 or 2, as other programs write them.
    ///
    /// # Errors
    /// [`Error::BadKey`] if it is not an Ed25519 key.
    pub fn from_pkcs8(der: &[u8]) -> Result<SigningKey, Error> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
            .map_err(|_| Error::BadKey { what: "PKCS#8 document", rule: "expected an Ed25519 key in DER" })?;
        Ok(SigningKey { pair, seed: None })
    }

    /// The seed in base64, for a file or a Secret and nothing else; `None` for a key that came as PKCS#8.
    pub fn seed_text(&self) -> Option<String> {
        self.seed.map(|seed| STANDARD.encode(seed))
    }

    /// The public half.
    ///
    /// # Panics
    /// Never: the key has the length that it has.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.pair.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes"))
    }

    /// Signs `bytes` for one purpose.
    ///
    /// # Panics
    /// Never: the signature has the length that it has.
    pub fn sign(&self, domain: Domain, bytes: &[u8]) -> Signature {
        let signature = self.pair.sign(&domain.message(bytes));
        Signature(signature.as_ref().try_into().expect("an Ed25519 signature has 64 bytes"))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SigningKey(public {})", self.public())
    }
}

/// A public Ed25519 key. As text: base64, 44 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; KEY_BYTES]);

impl PublicKey {
    /// Reads base64 (44 characters) or hexadecimal (64 characters).
    ///
    /// # Errors
    /// [`Error::BadKey`] for any other text.
    pub fn parse(text: &str) -> Result<PublicKey, Error> {
        if let Ok(digest) = Digest::parse(text) {
            return Ok(PublicKey(digest.0));
        }
        let bytes = STANDARD.decode(text.trim()).unwrap_or_default();
        PublicKey::from_slice(&bytes)
            .ok_or(Error::BadKey { what: "public key", rule: "expected 32 bytes in base64 or hexadecimal" })
    }

    /// Reads exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<PublicKey> {
        bytes.try_into().ok().map(PublicKey)
    }

    /// SHA-256 of the key: its name where 32 bytes are too many to compare by eye.
    pub fn fingerprint(&self) -> Digest {
        sha256(&self.0)
    }

    /// Checks that `signature` was made by this key over `bytes` for `domain`.
    ///
    /// # Errors
    /// [`Error::BadSignature`] if not.
    pub fn verify(&self, domain: Domain, bytes: &[u8], signature: &[u8]) -> Result<(), Error> {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(&domain.message(bytes), signature)
            .map_err(|_| Error::BadSignature { domain })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; SIGNATURE_BYTES]);

impl Signature {
    /// The 64 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Signature({}..)", &STANDARD.encode(self.0)[..8])
    }
}

/// Makes signatures. The codecs ask for no more, so that a simulation can live many histories through without the curve.
pub trait Signs {
    /// As [`SigningKey::sign`].
    fn sign(&self, domain: Domain, bytes: &[u8]) -> Signature;
}

/// Verifies signatures of one key.
pub trait Verifies {
    /// As [`PublicKey::verify`].
    ///
    /// # Errors
    /// [`Error::BadSignature`] if it is not this key's, over these bytes and for this purpose.
    fn verify(&self, domain: Domain, bytes: &[u8], signature: &[u8]) -> Result<(), Error>;
}

impl Signs for SigningKey {
    fn sign(&self, domain: Domain, bytes: &[u8]) -> Signature {
        SigningKey::sign(self, domain, bytes)
    }
}

impl Verifies for PublicKey {
    fn verify(&self, domain: Domain, bytes: &[u8], signature: &[u8]) -> Result<(), Error> {
        PublicKey::verify(self, domain, bytes, signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(byte: u8) -> SigningKey {
        SigningKey::from_seed([byte; KEY_BYTES])
    }

    #[test]
    fn the_first_vector_of_rfc_8032_has_its_public_key() {
        let seed = Digest::parse("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        let public =
            Digest::parse("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a").unwrap();
        assert_eq!(SigningKey::from_seed(seed.0).public().0, public.0);
    }

    #[test]
    fn no_prefix_is_the_beginning_of_another() {
        for one in Domain::ALL {
            for other in Domain::ALL {
                assert!(one == other || !other.prefix().starts_with(one.prefix()), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn a_signature_holds_for_its_purpose_only() {
        let key = key(1);
        for made_for in Domain::ALL {
            let signature = key.sign(made_for, b"bytes");
            for read_as in Domain::ALL {
                let verified = key.public().verify(read_as, b"bytes", signature.as_bytes());
                assert_eq!(verified.is_ok(), made_for == read_as, "{made_for:?} as {read_as:?}");
            }
        }
    }

    #[test]
    fn keys_survive_their_text_forms() {
        let made = SigningKey::generate().unwrap();
        let read = SigningKey::from_seed_text(&format!("{}\n", made.seed_text().unwrap())).unwrap();
        assert_eq!(read.public(), made.public());
        let public = made.public();
        assert_eq!(PublicKey::parse(&public.to_string()), Ok(public));
        assert_eq!(PublicKey::parse(&Digest(public.0).to_string()), Ok(public));
        assert!(PublicKey::parse("not a key").is_err());
        assert!(SigningKey::from_seed_text("AAAA").is_err());
        assert!(SigningKey::from_pkcs8(b"junk").is_err());
    }

    #[test]
    fn a_secret_key_is_not_shown() {
        let key = key(7);
        let shown = format!("{key:?} {:?}", SigningKey::from_seed_text("secret").unwrap_err());
        assert!(!shown.contains(&key.seed_text().unwrap()) && !shown.contains("secret\""), "{shown}");
    }

    proptest! {
        #[test]
        fn a_changed_bit_is_noticed(bytes in proptest::collection::vec(any::<u8>(), 1..200), at in any::<usize>(), bit in 0u8..8) {
            let key = key(3);
            let signature = key.sign(Domain::Event, &bytes);
            prop_assert!(key.public().verify(Domain::Event, &bytes, signature.as_bytes()).is_ok());
            let mut changed = bytes.clone();
            let place = at % changed.len();
            changed[place] ^= 1 << bit;
            prop_assert!(key.public().verify(Domain::Event, &changed, signature.as_bytes()).is_err());
            let mut forged = signature.0;
            forged[at % SIGNATURE_BYTES] ^= 1 << bit;
            prop_assert!(key.public().verify(Domain::Event, &bytes, &forged).is_err());
        }
    }
}
