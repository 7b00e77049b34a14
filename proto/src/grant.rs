//! Grants: the offline key's word that a hub may begin an epoch.

use crate::sign::{self, Domain, PublicKey, Signs, Verifies};
use crate::v1;
use prost::Message;
use taffrail_core::epoch::{Grant, GrantKind};

/// Makes the grant of an epoch. `fleet` is the public key of the hub, which stays the same over a restore.
pub fn sign(key: &impl Signs, fleet: &PublicKey, epoch: u64, kind: GrantKind) -> Grant {
    let signature = key.sign(Domain::Grant, &claim(fleet, epoch, kind)).0.to_vec();
    Grant { epoch, kind, signature }
}

/// Checks that the offline key made the grant, for this fleet.
///
/// # Errors
/// [`sign::Error::BadSignature`] if not.
pub fn verify(grant: &Grant, key: &impl Verifies, fleet: &PublicKey) -> Result<(), sign::Error> {
    key.verify(Domain::Grant, &claim(fleet, grant.epoch, grant.kind), &grant.signature)
}

/// What is signed.
fn claim(fleet: &PublicKey, epoch: u64, kind: GrantKind) -> Vec<u8> {
    v1::GrantClaim { fleet: fleet.0.to_vec(), epoch, kind: kind.name().to_owned() }.encode_to_vec()
}

/// A grant as its message.
pub(crate) fn message(grant: &Grant) -> v1::Grant {
    let Grant { epoch, kind, signature } = grant;
    v1::Grant { epoch: *epoch, kind: kind.name().to_owned(), signature: signature.clone() }
}

/// Reads a grant; `None` if it is absent or of a kind that this version does not know.
pub(crate) fn read(grant: Option<v1::Grant>) -> Option<Grant> {
    let v1::Grant { epoch, kind, signature } = grant?;
    Some(Grant { epoch, kind: GrantKind::parse(&kind)?, signature })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::SigningKey;

    #[test]
    fn a_grant_holds_for_one_fleet_one_epoch_and_one_kind() {
        let [key, other, fleet, elsewhere] = [1, 2, 3, 4].map(|byte| SigningKey::from_seed([byte; 32]));
        let grant = sign(&key, &fleet.public(), 2, GrantKind::Restore);
        let holds = |grant: &Grant, key: &SigningKey, fleet: &SigningKey| {
            verify(grant, &key.public(), &fleet.public()).is_ok()
        };
        assert!(holds(&grant, &key, &fleet));
        assert!(!holds(&grant, &other, &fleet), "another key");
        assert!(!holds(&grant, &key, &elsewhere), "another fleet");
        assert!(!holds(&Grant { epoch: 3, ..grant.clone() }, &key, &fleet), "another epoch");
        assert!(!holds(&Grant { kind: GrantKind::Failover, ..grant.clone() }, &key, &fleet), "another kind");
        assert_eq!(read(Some(message(&grant))), Some(grant));
    }
}
