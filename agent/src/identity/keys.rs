//! The three keys of an agent, and how they are kept together with the credentials.

use std::fmt;

use nkeys::KeyPair;
use serde::{Deserialize, Serialize};
use taffrail_core::time::At;
use taffrail_proto::join::{Code, Joined, Refused};
use taffrail_proto::seal::BoxKey;
use taffrail_proto::sign::SigningKey;

/// Version of the kept text.
const VERSION: u32 = 1;

/// The three keys. Their secret halves never leave the cluster; `Debug` shows the public ones.
pub struct Keys {
    /// Logs in to NATS.
    pub user: KeyPair,
    /// Signs events and renewals.
    pub event: SigningKey,
    /// Opens sealed indexes.
    pub boxed: BoxKey,
}

impl fmt::Debug for Keys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Keys(user {}, event {:?}, box {:?})", self.user.public_key(), self.event, self.boxed)
    }
}

impl Keys {
    /// Makes new keys.
    ///
    /// # Errors
    /// [`Refused`] with `Store` if the operating system has no random bytes.
    pub fn generate() -> Result<Keys, Refused> {
        let event =
            SigningKey::generate().map_err(|error| Refused::new(Code::Store, format!("Cannot {error}.")))?;
        Ok(Keys { user: KeyPair::new_user(), event, boxed: BoxKey::generate() })
    }

    /// Seed of the NATS user, for the connection and nothing else.
    ///
    /// # Panics
    /// Never: these keys always hold their secret half.
    pub fn user_seed(&self) -> String {
        self.user.seed().expect("the user key holds its secret half")
    }
}

/// What is kept, as JSON.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    version: u32,
    user_seed: String,
    event_seed: String,
    box_seed: String,
    /// Digest of the token that was exchanged last, so that a new manifest is noticed.
    pub(super) token_digest: Option<String>,
    pub(super) joined: Option<Joined>,
    /// The agent's clock when the credentials came.
    pub(super) received_ms: u64,
}

impl Kept {
    pub(super) fn new(keys: &Keys) -> Kept {
        Kept {
            version: VERSION,
            user_seed: keys.user_seed(),
            event_seed: keys.event.seed_text().expect("the event key was made from a seed"),
            box_seed: keys.boxed.seed_text(),
            token_digest: None,
            joined: None,
            received_ms: 0,
        }
    }

    pub(super) fn parse(text: &str) -> Result<(Kept, Keys), Refused> {
        // Nothing of the text is repeated, because it is secret.
        let bad =
            |what: &str| Refused::new(Code::Store, format!("What is kept is not an identity: bad {what}."));
        let kept: Kept = serde_json::from_str(text).map_err(|_| bad("JSON"))?;
        if kept.version != VERSION {
            return Err(bad("version"));
        }
        let keys = Keys {
            user: KeyPair::from_seed(&kept.user_seed).map_err(|_| bad("user seed"))?,
            event: SigningKey::from_seed_text(&kept.event_seed).map_err(|_| bad("event seed"))?,
            boxed: BoxKey::from_seed_text(&kept.box_seed).map_err(|_| bad("box seed"))?,
        };
        Ok((kept, keys))
    }

    pub(super) fn received_at(&self) -> At {
        At(self.received_ms)
    }

    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers are JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_being_kept_and_are_not_shown() {
        let keys = Keys::generate().unwrap();
        let text = Kept::new(&keys).text();
        let (kept, read) = Kept::parse(&text).unwrap();
        assert_eq!(format!("{read:?}"), format!("{keys:?}"));
        for seed in [&kept.user_seed, &kept.event_seed, &kept.box_seed] {
            assert!(text.contains(seed.as_str()) && !format!("{keys:?}").contains(seed.as_str()));
        }
    }

    #[test]
    fn what_is_not_an_identity_is_refused_without_repeating_it() {
        let good = Kept::new(&Keys::generate().unwrap()).text();
        for bad in
            ["", "{}", &good.replace("\"version\":1", "\"version\":2"), &good.replace("\"SU", "\"SECRET")]
        {
            let refused = Kept::parse(bad).err().unwrap();
            assert_eq!(refused.code, Code::Store);
            assert!(!refused.to_string().contains("SECRET"), "{refused}");
        }
    }
}
