//! What is kept of a token, and whether a join with it is the first, a repetition, or refused.

use taffrail_core::digest::Digest;
use taffrail_core::id::ClusterName;
use taffrail_core::time::At;
use taffrail_proto::join::{Code, Refused, UserKey};
use taffrail_proto::seal::BoxPublicKey;
use taffrail_proto::sign::PublicKey;
use taffrail_runtime::config::HumanDuration;

/// An agent's public keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// NATS user.
    pub user: UserKey,
    /// Signs events and renewals.
    pub event: PublicKey,
    /// Indexes are sealed to it.
    pub boxed: BoxPublicKey,
}

/// What the hub keeps of a token: never the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    /// SHA-256 of the token's text.
    pub digest: Digest,
    /// The cluster that it was issued for.
    pub cluster: ClusterName,
    /// From when on it is refused.
    pub until: At,
    /// The keys that joined with it.
    pub used_by: Option<Keys>,
}

/// What to do with a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The first join with this token: enrol the cluster.
    Enrol,
    /// The same agent asks again because it lost the answer: answer again, enrol nothing.
    Repeat,
}

/// Judges a join by what is kept of its token.
///
/// # Errors
/// [`Refused`]: the token is unknown, was used by other keys, or is too old.
pub fn judge(record: Option<&TokenRecord>, keys: &Keys, at: At) -> Result<Verdict, Refused> {
    let Some(record) = record else {
        return Err(Refused::new(Code::TokenUnknown, "No token with this digest was issued here."));
    };
    if record.used_by.as_ref().is_some_and(|used| used != keys) {
        let cause = format!("Another agent joined with it as cluster {}.", record.cluster);
        return Err(Refused::new(Code::TokenUsed, cause));
    }
    if record.until <= at {
        let seconds = at.since(record.until).0 / 1_000;
        let ago = HumanDuration(std::time::Duration::from_secs(seconds));
        return Err(Refused::new(Code::TokenExpired, format!("Its time was over {ago} ago.")));
    }
    Ok(if record.used_by.is_some() { Verdict::Repeat } else { Verdict::Enrol })
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_proto::seal::BoxKey;
    use taffrail_proto::sign::SigningKey;

    fn keys(seed: u8) -> Keys {
        Keys {
            user: UserKey::parse(&nkeys::KeyPair::new_user().public_key()).unwrap(),
            event: SigningKey::from_seed([seed; 32]).public(),
            boxed: BoxKey::generate().public(),
        }
    }

    #[test]
    fn a_token_enrols_once_and_answers_the_same_agent_again_while_it_is_valid() {
        let (mine, other) = (keys(1), keys(2));
        let fresh = TokenRecord {
            digest: Digest::default(),
            cluster: ClusterName::parse("paris").unwrap(),
            until: At(1_000),
            used_by: None,
        };
        let used = TokenRecord { used_by: Some(mine.clone()), ..fresh.clone() };
        for (record, keys, at, expected) in [
            (Some(&fresh), &mine, 999, Ok(Verdict::Enrol)),
            (Some(&fresh), &mine, 1_000, Err(Code::TokenExpired)),
            (Some(&used), &mine, 999, Ok(Verdict::Repeat)),
            (Some(&used), &mine, 1_000, Err(Code::TokenExpired)),
            (Some(&used), &other, 999, Err(Code::TokenUsed)),
            (Some(&used), &other, 1_000, Err(Code::TokenUsed)),
            (None, &mine, 0, Err(Code::TokenUnknown)),
        ] {
            assert_eq!(
                judge(record, keys, At(at)).map_err(|refused| refused.code),
                expected,
                "{record:?} at {at}"
            );
        }
    }
}
