//! The desired index as bytes: signed by the hub, sealed to the cluster.

use crate::error::{Error as Malformed, decode, there};
use crate::event::parts::{entry, mark, read_entry, read_mark};
use crate::seal::{self as sealing, BoxKey, BoxPublicKey, BundleKey};
use crate::sign::{self, Domain, PublicKey, SigningKey, Signs, Verifies, sha256};
use crate::{grant, v1};
use prost::Message;
use std::collections::BTreeMap;
use taffrail_core::desired::{Index, Mark, Permit};
use taffrail_core::digest::Digest;
use taffrail_core::epoch::{Grant, GrantKind};
use taffrail_core::id::{AccountKey, AppId};

/// Why an index is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not sealed to this cluster, or was changed on its way.
    #[error("open the index")]
    Seal(#[source] sealing::Error),
    /// Its bytes are not an index.
    #[error("read the index")]
    Malformed(#[source] Malformed),
    /// The signature is not the hub's.
    #[error("verify the index {mark}")]
    Signature {
        /// The mark that it claims.
        mark: Mark,
        /// Why.
        #[source]
        source: sign::Error,
    },
    /// It is for another cluster.
    #[error("take the index {mark}: it is for account {account}")]
    OtherCluster {
        /// The mark that it claims.
        mark: Mark,
        /// For whom it is.
        account: String,
    },
}

/// An index that was verified.
#[derive(Debug)]
pub struct Verified {
    /// What it says.
    pub index: Index,
    /// Digest of the signed bytes.
    pub digest: Digest,
    /// Keys that open its bundles, by sealed id.
    pub keys: BTreeMap<Digest, BundleKey>,
    /// The signed message as it came, without its seal: what the journal keeps.
    pub signed: Vec<u8>,
    /// Under which terms it came.
    pub terms: Terms,
}

/// Under which terms an index is published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The grant of its epoch, if that did not begin with the fleet.
    pub grant: Option<Grant>,
    /// The hub has logged what the cluster held when the epoch began.
    pub adopted: bool,
}

impl Verified {
    /// What lets it in where its epoch is higher: a grant for exactly this epoch that the offline key signed for this fleet.
    pub fn permit(&self, offline: Option<&impl Verifies>, hub: &PublicKey) -> Permit {
        let (Some(grant), Some(offline)) = (&self.terms.grant, offline) else { return Permit::None };
        if grant.epoch != self.index.mark.epoch || grant::verify(grant, offline, hub).is_err() {
            return Permit::None;
        }
        match (grant.kind, self.terms.adopted) {
            (GrantKind::Failover, _) => Permit::Failover,
            (GrantKind::Restore, false) => Permit::Restore,
            (GrantKind::Restore, true) => Permit::Adopted,
        }
    }
}

/// Signs an index and seals it to a cluster. `keys` open its bundles, by sealed id; an entry whose app only leaves needs
/// none.
///
/// # Errors
/// [`sealing::Error`] if it cannot be sealed to this key.
pub fn seal(
    index: &Index,
    account: &AccountKey,
    recipient: &BoxPublicKey,
    hub: &SigningKey,
    keys: &BTreeMap<Digest, BundleKey>,
    terms: &Terms,
) -> Result<Vec<u8>, sealing::Error> {
    sealing::seal_to(recipient, &sign(index, account, hub, keys, terms))
}

/// Signs an index, as [`verify`] reads it.
pub fn sign(
    index: &Index,
    account: &AccountKey,
    hub: &impl Signs,
    keys: &BTreeMap<Digest, BundleKey>,
    terms: &Terms,
) -> Vec<u8> {
    let entries = index.entries.iter().map(|(app, held)| v1::IndexEntry {
        app: app.to_string(),
        entry: Some(entry(held)),
        key: keys.get(&held.sealed).map(|key| key.as_bytes().to_vec()).unwrap_or_default(),
    });
    let message = v1::DesiredIndex {
        account: account.to_string(),
        mark: Some(mark(index.mark)),
        entries: entries.collect(),
        grant: terms.grant.as_ref().map(grant::message),
        adopted: terms.adopted,
    };
    let bytes = message.encode_to_vec();
    let signature = hub.sign(Domain::Index, &bytes).0.to_vec();
    v1::SignedIndex { index: bytes, signature }.encode_to_vec()
}

/// Opens a sealed index and verifies it.
///
/// # Errors
/// [`Error`] with the reason; nothing of it may be used then.
pub fn open(
    sealed: &[u8],
    key: &BoxKey,
    hub: &impl Verifies,
    account: &AccountKey,
) -> Result<Verified, Error> {
    verify(key.open(sealed).map_err(Error::Seal)?, hub, account)
}

/// Verifies a signed index, as the journal keeps it.
///
/// # Errors
/// [`Error`] with the reason; nothing of it may be used then.
pub fn verify(signed: Vec<u8>, hub: &impl Verifies, account: &AccountKey) -> Result<Verified, Error> {
    let envelope: v1::SignedIndex = decode("SignedIndex", &signed).map_err(Error::Malformed)?;
    let message: v1::DesiredIndex = decode("DesiredIndex", &envelope.index).map_err(Error::Malformed)?;
    let mark = read_mark(message.mark);
    hub.verify(Domain::Index, &envelope.index, &envelope.signature)
        .map_err(|source| Error::Signature { mark, source })?;
    if message.account != account.as_str() {
        return Err(Error::OtherCluster { mark, account: message.account });
    }
    let mut index = Index { mark, entries: BTreeMap::new() };
    let mut keys = BTreeMap::new();
    let terms = Terms { grant: grant::read(message.grant), adopted: message.adopted };
    for raw in message.entries {
        let app = AppId::parse(&raw.app).map_err(|source| Error::Malformed(source.into()))?;
        let held = there("IndexEntry", "entry", raw.entry).and_then(read_entry).map_err(Error::Malformed)?;
        if let Some(key) = BundleKey::from_slice(&raw.key) {
            keys.insert(held.sealed, key);
        }
        index.entries.insert(app, held);
    }
    Ok(Verified { index, digest: sha256(&envelope.index), keys, signed, terms })
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_core::catalog::MaxDeletes;
    use taffrail_core::desired::{Entry, Policy, Withdrawal};
    use taffrail_core::id::CommitId;

    fn account(letter: char) -> AccountKey {
        AccountKey::parse(&format!("A{}", letter.to_string().repeat(55))).unwrap()
    }

    fn index() -> (Index, BTreeMap<Digest, BundleKey>) {
        let policy = Policy {
            namespace: "pay".into(),
            create_namespace: true,
            prune: true,
            self_heal: false,
            allow_empty: false,
            max_deletes: MaxDeletes::Count(2),
        };
        let mark = Mark { epoch: 2, generation: 9 };
        let entry = |sealed: u8, withdrawn| Entry {
            since: mark,
            digest: Digest([1; 32]),
            sealed: Digest([sealed; 32]),
            commit: CommitId::parse(&"a".repeat(40)).unwrap(),
            policy: policy.clone(),
            approved: None,
            withdrawn,
            trace: None,
        };
        let app = |name: &str| AppId::parse(&format!("fleet/{name}")).unwrap();
        let entries =
            BTreeMap::from([(app("api"), entry(7, None)), (app("old"), entry(8, Some(Withdrawal::Orphan)))]);
        let keys = BTreeMap::from([(Digest([7; 32]), BundleKey::from_slice(&[9; 32]).unwrap())]);
        (Index { mark, entries }, keys)
    }

    #[test]
    fn an_index_reaches_its_cluster_and_equal_ones_have_equal_digests() {
        let (hub, cluster) = (SigningKey::generate().unwrap(), BoxKey::generate());
        let (index, keys) = index();
        let sealed =
            || seal(&index, &account('B'), &cluster.public(), &hub, &keys, &Terms::default()).unwrap();
        let [first, second] =
            [sealed(), sealed()].map(|bytes| open(&bytes, &cluster, &hub.public(), &account('B')));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!((&first.index, &first.keys), (&index, &keys));
        assert_eq!(first.digest, second.digest, "publishing again is no equivocation");
        let again = verify(first.signed, &hub.public(), &account('B')).unwrap();
        assert_eq!((again.index, again.digest), (index, second.digest));
    }

    #[test]
    fn an_index_of_another_hub_or_for_another_cluster_is_not_taken() {
        let (hub, stranger) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let (cluster, other) = (BoxKey::generate(), BoxKey::generate());
        let (index, keys) = index();
        let sealed = seal(&index, &account('B'), &cluster.public(), &hub, &keys, &Terms::default()).unwrap();
        let refused =
            |key: &BoxKey, by: &SigningKey, of| open(&sealed, key, &by.public(), &account(of)).unwrap_err();
        assert!(matches!(refused(&other, &hub, 'B'), Error::Seal(_)));
        assert!(
            matches!(refused(&cluster, &stranger, 'B'), Error::Signature { mark, .. } if mark == index.mark)
        );
        assert!(
            matches!(refused(&cluster, &hub, 'C'), Error::OtherCluster { mark, .. } if mark == index.mark)
        );
        let mut damaged = sealed.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert!(matches!(open(&damaged, &cluster, &hub.public(), &account('B')), Err(Error::Seal(_))));
    }

    #[test]
    fn only_the_offline_key_s_grant_for_this_epoch_and_fleet_lets_a_higher_epoch_in() {
        let [hub, offline, other] = [1, 2, 3].map(|byte| SigningKey::from_seed([byte; 32]));
        let cluster = BoxKey::generate();
        let (index, keys) = index();
        let grant = |by: &SigningKey, fleet: &SigningKey, epoch, kind| {
            Some(grant::sign(by, &fleet.public(), epoch, kind))
        };
        let permit = |grant: Option<Grant>, adopted, known: Option<&SigningKey>| {
            let terms = Terms { grant, adopted };
            let sealed = seal(&index, &account('B'), &cluster.public(), &hub, &keys, &terms).unwrap();
            let verified = open(&sealed, &cluster, &hub.public(), &account('B')).unwrap();
            verified.permit(known.map(SigningKey::public).as_ref(), &hub.public())
        };
        let (restore, failover) = (GrantKind::Restore, GrantKind::Failover);
        let known = Some(&offline);
        for (given, adopted, known, expected) in [
            (grant(&offline, &hub, 2, restore), false, known, Permit::Restore),
            (grant(&offline, &hub, 2, restore), true, known, Permit::Adopted),
            (grant(&offline, &hub, 2, failover), true, known, Permit::Failover),
            (None, true, known, Permit::None),
            (grant(&other, &hub, 2, restore), false, known, Permit::None),
            (grant(&hub, &hub, 2, restore), false, known, Permit::None),
            (grant(&offline, &other, 2, restore), false, known, Permit::None),
            (grant(&offline, &hub, 3, restore), false, known, Permit::None),
            (grant(&offline, &hub, 2, restore), false, None, Permit::None),
        ] {
            assert_eq!(permit(given.clone(), adopted, known), expected, "{given:?}");
        }
    }
}
