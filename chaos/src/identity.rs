//! Who is who: keys that sign, and boxes that only their owner opens.
//!
//! One history in [`CURVE_EVERY`] does both for real. In the others a digest stands in a signature's place and an address
//! in a seal's: what was changed or is another's is refused all the same, and a history costs half.

use bytes::Bytes;
use std::sync::{Arc, OnceLock};
use taffrail_core::digest::Digest;
use taffrail_core::id::{AccountKey, ClusterName};
use taffrail_proto::seal::{BoxKey, BoxPublicKey, seal_to};
use taffrail_proto::sign::{self, Domain, PublicKey, Signature, SigningKey, Signs, Verifies, sha256};

/// One history in so many signs and seals for real.
const CURVE_EVERY: u64 = 16;

/// Whether the history of a seed signs and seals for real.
pub(crate) fn on_the_curve(seed: u64) -> bool {
    seed.is_multiple_of(CURVE_EVERY)
}

/// What an agent presents, and what it got for it.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Number of this identity in the history.
    pub(crate) number: u64,
    /// The one-time token.
    pub(crate) token: Digest,
    /// Signs events.
    pub(crate) key: Arc<Key>,
    /// Set once the hub let it in.
    pub(crate) member: Option<(AccountKey, ClusterName)>,
}

/// Signs.
#[derive(Debug)]
pub(crate) enum Key {
    /// For real.
    Curve(SigningKey),
    /// With digests; these bytes are its public key.
    Digest([u8; 32]),
}

impl Key {
    /// The key of a seed.
    pub(crate) fn new(seed: [u8; 32], curve: bool) -> Key {
        if curve { Key::Curve(SigningKey::from_seed(seed)) } else { Key::Digest(seed) }
    }

    /// What others know of it.
    pub(crate) fn public(&self) -> PublicKey {
        match self {
            Key::Curve(key) => key.public(),
            Key::Digest(bytes) => PublicKey(*bytes),
        }
    }
}

impl Signs for Key {
    fn sign(&self, domain: Domain, bytes: &[u8]) -> Signature {
        match self {
            Key::Curve(key) => key.sign(domain, bytes),
            Key::Digest(key) => {
                let mut signature = [0; sign::SIGNATURE_BYTES];
                signature[..32].copy_from_slice(&claim(key, domain, bytes).0);
                Signature(signature)
            }
        }
    }
}

/// A public key of somebody in this history.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// The key.
    pub(crate) key: PublicKey,
    /// Whether it signs for real.
    pub(crate) curve: bool,
}

impl Verifies for Known {
    fn verify(&self, domain: Domain, bytes: &[u8], signature: &[u8]) -> Result<(), sign::Error> {
        if self.curve {
            return self.key.verify(domain, bytes, signature);
        }
        let right = signature.get(..32) == Some(claim(&self.key.0, domain, bytes).0.as_slice());
        right.then_some(()).ok_or(sign::Error::BadSignature { domain })
    }
}

/// What stands in a signature's place.
fn claim(key: &[u8; 32], domain: Domain, bytes: &[u8]) -> Digest {
    sha256(&[key, domain.prefix(), bytes].concat())
}

/// The key to which the indexes of an identity are sealed. Keys are made once: what they are decides nothing.
pub(crate) fn box_key(number: u64) -> &'static (BoxKey, BoxPublicKey) {
    static KEYS: OnceLock<Vec<(BoxKey, BoxPublicKey)>> = OnceLock::new();
    let pair = |_| {
        let key = BoxKey::generate();
        let public = key.public();
        (key, public)
    };
    let keys = KEYS.get_or_init(|| (0..16).map(pair).collect());
    &keys[usize::try_from(number).unwrap_or(0) % keys.len()]
}

/// Seals to a box key, given as text.
pub(crate) fn seal(recipient: &str, bytes: &[u8], curve: bool) -> Option<Bytes> {
    let recipient = BoxPublicKey::parse(recipient).ok()?;
    let sealed = if curve {
        seal_to(&recipient, bytes).ok()?
    } else {
        [recipient.as_str().as_bytes(), bytes].concat()
    };
    Some(sealed.into())
}

/// Opens what was sealed to an identity.
pub(crate) fn open(number: u64, sealed: &[u8], curve: bool) -> Option<Vec<u8>> {
    let (key, public) = box_key(number);
    if curve {
        return key.open(sealed).ok();
    }
    sealed.strip_prefix(public.as_str().as_bytes()).map(<[u8]>::to_vec)
}
