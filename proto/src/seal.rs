//! Sealing: bundles under a key that follows from their content, indexes to one cluster's key.
//!
//! A bundle is sealed deterministically, so that NATS can be wiped and refilled from the hub and every id stays the same.
//! An index is sealed for one cluster by a throw-away sender key that travels in front of it; who wrote it is shown by
//! the signature inside, never by the seal.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use taffrail_core::digest::Digest;

use crate::sign::{random, sha256};

/// Bytes of the hub's sealing secret and of a bundle's key.
pub const KEY_BYTES: usize = 32;
/// Bytes that sealing adds to a bundle: the authentication tag of ChaCha20-Poly1305.
pub const TAG_BYTES: usize = 16;

/// Separates bundle keys from anything else that may ever be derived from the hub's secret.
const BUNDLE_SALT: &[u8] = b"taffrail/bundle-key/v1";
/// Authenticated with every sealed bundle: its format.
const BUNDLE_AAD: &[u8] = b"taffrail/bundle/v1";
/// First byte of a sealed index: its format.
const INDEX_FORMAT: u8 = 1;
/// Characters of an X25519 public key as an nkey (`X` and 55 of base32).
const BOX_KEY_CHARS: usize = 56;

/// Why something could not be sealed or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A text that is not a key. It is not repeated, because it might be a secret one.
    #[error("read a {what}: {rule}")]
    BadKey {
        /// Which key was expected.
        what: &'static str,
        /// What it should have been.
        rule: &'static str,
    },
    /// The sealed bytes are not those that the index names.
    #[error("open a bundle: its sealed id is {found}, {wanted} was asked for")]
    OtherBundle {
        /// The id that was asked for.
        wanted: Digest,
        /// The id of the bytes that came.
        found: Digest,
    },
    /// The key does not open these bytes.
    #[error("open the {what}: the key does not fit, or the bytes were changed")]
    NotOpened {
        /// What was sealed.
        what: &'static str,
    },
    /// The bytes do not look like a sealed index.
    #[error("read a sealed index: {rule}")]
    NotAnIndex {
        /// What they should have been.
        rule: &'static str,
    },
    /// Sealing failed: no random bytes, or too long a message.
    #[error("seal the {what}")]
    NotSealed {
        /// What was to be sealed.
        what: &'static str,
    },
}

/// The hub's secret from which every bundle's key follows. Losing it means sealing every bundle anew under other ids.
pub struct SealingSecret([u8; KEY_BYTES]);

impl SealingSecret {
    /// Makes a new secret.
    ///
    /// # Errors
    /// [`Error::NotSealed`] if the operating system has no random bytes.
    pub fn generate() -> Result<SealingSecret, Error> {
        random().map(SealingSecret).map_err(|_| Error::NotSealed { what: "sealing secret" })
    }

    /// Reads what [`SealingSecret::to_text`] wrote; white space around it is ignored.
    ///
    /// # Errors
    /// [`Error::BadKey`] for anything but 32 bytes in base64.
    pub fn parse(text: &str) -> Result<SealingSecret, Error> {
        key_bytes(text, "sealing secret").map(SealingSecret)
    }

    /// The secret in base64, for its file and nothing else.
    pub fn to_text(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// The key of one bundle: HKDF-SHA256 of the secret, with the two digests as its context.
    ///
    /// It depends on the bytes too, because other compressed bytes of the same content (a later zstd) must not meet the
    /// same key and nonce.
    fn key_of(&self, content: Digest, bundle: &[u8]) -> BundleKey {
        let mut key = [0u8; KEY_BYTES];
        Salt::new(HKDF_SHA256, BUNDLE_SALT)
            .extract(&self.0)
            .expand(&[&content.0, &sha256(bundle).0], HKDF_SHA256)
            .and_then(|material| material.fill(&mut key))
            .expect("32 bytes are one block of HKDF-SHA256");
        BundleKey(key)
    }
}

impl fmt::Debug for SealingSecret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SealingSecret(..)")
    }
}

/// The key of one bundle; it stands in the indexes of the clusters that may have the bundle. Not shown by `Debug`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BundleKey([u8; KEY_BYTES]);

impl BundleKey {
    /// Reads exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<BundleKey> {
        bytes.try_into().ok().map(BundleKey)
    }

    /// The bytes, to be put into an index.
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    fn cipher(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &self.0).expect("the key has 32 bytes"))
    }
}

impl fmt::Debug for BundleKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("BundleKey(..)")
    }
}

/// A sealed bundle with all that an index must say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// SHA-256 of `bytes`: the name under which it travels.
    pub id: Digest,
    /// Opens it.
    pub key: BundleKey,
    /// What travels.
    pub bytes: Vec<u8>,
}

/// Seals a bundle. `content` is its content digest; the same input gives the same output.
///
/// The nonce is zero: a key follows from what it seals, so it never seals two different messages.
///
/// # Panics
/// Never: a bundle is far below the cipher's limit.
#[allow(
    clippy::module_name_repetitions,
    reason = "a function is a verb: `bundle` alone would name the thing"
)]
pub fn seal_bundle(secret: &SealingSecret, content: Digest, bundle: &[u8]) -> Sealed {
    let key = secret.key_of(content, bundle);
    let mut bytes = bundle.to_vec();
    key.cipher()
        .seal_in_place_append_tag(zero_nonce(), Aad::from(BUNDLE_AAD), &mut bytes)
        .expect("a bundle is far below the cipher's limit of 256 GiB");
    Sealed { id: sha256(&bytes), key, bytes }
}

/// Opens a sealed bundle: first its id is compared, then it is decrypted. The caller compares the content digest.
///
/// # Errors
/// [`Error::OtherBundle`] if the id differs, [`Error::NotOpened`] if the key does not fit.
pub fn open_bundle(id: Digest, key: &BundleKey, mut sealed: Vec<u8>) -> Result<Vec<u8>, Error> {
    let found = sha256(&sealed);
    if found != id {
        return Err(Error::OtherBundle { wanted: id, found });
    }
    let opened = key
        .cipher()
        .open_in_place(zero_nonce(), Aad::from(BUNDLE_AAD), &mut sealed)
        .map_err(|_| Error::NotOpened { what: "bundle" })?
        .len();
    sealed.truncate(opened);
    Ok(sealed)
}

/// The X25519 key to which indexes are sealed. Not shown by `Debug`.
#[derive(Clone)]
pub struct BoxKey(nkeys::XKey);

impl BoxKey {
    /// Makes a new key.
    pub fn generate() -> BoxKey {
        BoxKey(nkeys::XKey::new())
    }

    /// Reads a seed (`SX` and 56 of base32).
    ///
    /// # Errors
    /// [`Error::BadKey`] for any other text.
    pub fn from_seed_text(text: &str) -> Result<BoxKey, Error> {
        nkeys::XKey::from_seed(text.trim()).map(BoxKey).map_err(|_| Error::BadKey {
            what: "box seed",
            rule: "expected an nkey seed that begins with SX",
        })
    }

    /// The seed, for a file or a Secret and nothing else.
    ///
    /// # Panics
    /// Never: a box key holds its secret half.
    pub fn seed_text(&self) -> String {
        self.0.seed().expect("a box key holds its secret half")
    }

    /// The public half.
    pub fn public(&self) -> BoxPublicKey {
        BoxPublicKey(self.0.public_key())
    }

    /// Opens what [`seal_to`] sealed for this key.
    ///
    /// # Errors
    /// [`Error::NotAnIndex`] for other bytes, [`Error::NotOpened`] if it was sealed for another key or was changed.
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let not = |rule| Error::NotAnIndex { rule };
        let (format, rest) = sealed.split_first().ok_or_else(|| not("it is empty"))?;
        if *format != INDEX_FORMAT {
            return Err(not("it has a format of a later version"));
        }
        let (sender, boxed) = rest.split_at_checked(BOX_KEY_CHARS).ok_or_else(|| not("it is too short"))?;
        let sender = str::from_utf8(sender).ok().and_then(|text| nkeys::XKey::from_public_key(text).ok());
        let sender = sender.ok_or_else(|| not("it does not begin with its sender's key"))?;
        self.0.open(boxed, &sender).map_err(|_| Error::NotOpened { what: "index" })
    }
}

impl fmt::Debug for BoxKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "BoxKey(public {})", self.0.public_key())
    }
}

/// Public half of a [`BoxKey`]: `X` and 55 of base32.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BoxPublicKey(String);

impl BoxPublicKey {
    /// Checks and keeps an X25519 public nkey.
    ///
    /// # Errors
    /// [`Error::BadKey`] for any other text.
    pub fn parse(text: &str) -> Result<BoxPublicKey, Error> {
        let bad = Error::BadKey { what: "box key", rule: "expected a public nkey that begins with X" };
        match nkeys::XKey::from_public_key(text) {
            Ok(_) if text.len() == BOX_KEY_CHARS => Ok(BoxPublicKey(text.to_owned())),
            _ => Err(bad),
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Seals an index for one cluster. Two calls give different bytes; only the holder of the secret half can open them.
///
/// # Errors
/// [`Error::NotSealed`] if the operating system has no random bytes.
#[allow(clippy::module_name_repetitions, reason = "a function is a verb: `to` alone says nothing")]
pub fn seal_to(recipient: &BoxPublicKey, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let not = |_| Error::NotSealed { what: "index" };
    let recipient = nkeys::XKey::from_public_key(&recipient.0).map_err(not)?;
    let sender = nkeys::XKey::new();
    let boxed = sender.seal(bytes, &recipient).map_err(not)?;
    Ok([&[INDEX_FORMAT], sender.public_key().as_bytes(), &boxed].concat())
}

fn key_bytes(text: &str, what: &'static str) -> Result<[u8; KEY_BYTES], Error> {
    let bad = Error::BadKey { what, rule: "expected 32 bytes in base64" };
    let bytes = STANDARD.decode(text.trim()).map_err(|_| bad.clone())?;
    bytes.try_into().map_err(|_| bad)
}

fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; ring::aead::NONCE_LEN])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secret(byte: u8) -> SealingSecret {
        SealingSecret([byte; KEY_BYTES])
    }

    #[test]
    fn sealing_twice_gives_the_same_bytes_and_other_secrets_other_ones() {
        let content = sha256(b"objects");
        let one = seal_bundle(&secret(1), content, b"compressed");
        assert_eq!(one, seal_bundle(&secret(1), content, b"compressed"));
        for other in [
            seal_bundle(&secret(2), content, b"compressed"),
            seal_bundle(&secret(1), sha256(b"other objects"), b"compressed"),
            seal_bundle(&secret(1), content, b"compressed otherwise"),
        ] {
            assert!(other.id != one.id && other.key != one.key);
        }
    }

    #[test]
    fn a_bundle_under_another_name_or_key_is_refused() {
        let one = seal_bundle(&secret(1), sha256(b"one"), b"first");
        let two = seal_bundle(&secret(1), sha256(b"two"), b"second");
        assert_eq!(open_bundle(one.id, &one.key, one.bytes.clone()).unwrap(), b"first");
        let swapped = open_bundle(one.id, &one.key, two.bytes.clone());
        assert_eq!(swapped, Err(Error::OtherBundle { wanted: one.id, found: two.id }));
        assert_eq!(open_bundle(one.id, &two.key, one.bytes), Err(Error::NotOpened { what: "bundle" }));
    }

    #[test]
    fn an_index_opens_for_its_cluster_only() {
        let (mine, other) = (BoxKey::generate(), BoxKey::generate());
        let sealed = seal_to(&mine.public(), b"index").unwrap();
        assert_eq!(mine.open(&sealed).unwrap(), b"index");
        assert_eq!(other.open(&sealed), Err(Error::NotOpened { what: "index" }));
        assert_ne!(sealed, seal_to(&mine.public(), b"index").unwrap());
        for junk in [&b""[..], b"\x01short", b"\x02", &[1; 200]] {
            assert!(matches!(mine.open(junk), Err(Error::NotAnIndex { .. })), "{junk:?}");
        }
    }

    #[test]
    fn keys_survive_their_text_and_are_not_shown() {
        let key = BoxKey::generate();
        let read = BoxKey::from_seed_text(&key.seed_text()).unwrap();
        assert_eq!(read.public(), key.public());
        assert_eq!(BoxPublicKey::parse(key.public().as_str()), Ok(key.public()));
        assert!(BoxPublicKey::parse(&key.seed_text()).is_err());
        let secret = SealingSecret::generate().unwrap();
        assert_eq!(SealingSecret::parse(&secret.to_text()).unwrap().0, secret.0);
        let shown = format!("{key:?} {secret:?} {:?}", BundleKey(secret.0));
        assert!(!shown.contains(&key.seed_text()) && !shown.contains(&secret.to_text()), "{shown}");
    }

    proptest! {
        #[test]
        fn any_bundle_comes_back_and_no_changed_byte_is_let_through(
            bundle in proptest::collection::vec(any::<u8>(), 0..2_000), place in any::<usize>(), bit in 0u8..8
        ) {
            let sealed = seal_bundle(&secret(9), sha256(&bundle), &bundle);
            prop_assert_eq!(sealed.bytes.len(), bundle.len() + TAG_BYTES);
            prop_assert_eq!(open_bundle(sealed.id, &sealed.key, sealed.bytes.clone()).unwrap(), bundle);
            let mut changed = sealed.bytes.clone();
            let place = place % changed.len();
            changed[place] ^= 1 << bit;
            let named = sha256(&changed);
            prop_assert!(open_bundle(sealed.id, &sealed.key, changed.clone()).is_err());
            prop_assert!(open_bundle(named, &sealed.key, changed).is_err());
        }

        #[test]
        fn any_index_comes_back_and_no_changed_byte_is_let_through(
            index in proptest::collection::vec(any::<u8>(), 0..500), place in any::<usize>(), bit in 0u8..8
        ) {
            let key = BoxKey::generate();
            let mut sealed = seal_to(&key.public(), &index).unwrap();
            prop_assert_eq!(key.open(&sealed).unwrap(), index);
            let place = place % sealed.len();
            sealed[place] ^= 1 << bit;
            prop_assert!(key.open(&sealed).is_err());
        }
    }
}
