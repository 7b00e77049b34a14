//! The mirrored mark: what a cluster remembers when a disk forgets.

use taffrail_agent::kube::secret::Store;
use taffrail_agent::kube::{Access, Clients};
use taffrail_agent::mark::{Mirrored, Place};
use taffrail_core::desired::Mark;
use taffrail_core::id::AccountKey;
use taffrail_testkit::apiserver::{ApiServer, Options};

fn account(letter: char) -> AccountKey {
    AccountKey::parse(&format!("A{}", letter.to_string().repeat(55))).expect("a key")
}

#[tokio::test]
async fn a_journal_that_is_lost_at_once_is_followed_by_one_of_another_number() {
    let server = ApiServer::start(Options::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, server.kubeconfig()).unwrap();
    let clients = Clients::new(&Access { kubeconfig: Some(kubeconfig), ..Access::default() }).await.unwrap();
    let place = |of| Place::new(Store::new(&clients.reader, "default"), account(of));
    let ours = place('B');
    let fresh = ours.read().await.unwrap();
    assert_eq!(fresh, Mirrored::default());
    ours.claim(&fresh, fresh.incarnation + 1).await.unwrap();
    let known = ours.read().await.unwrap();
    let wanted = Mirrored { held: Mark::default(), incarnation: 1, parked: None };
    assert_eq!(known, wanted, "before any index was taken");
    ours.claim(&known, 1).await.unwrap();
    assert_eq!(ours.read().await.unwrap(), known, "the same journal again");
    assert_eq!(place('C').read().await.unwrap(), Mirrored::default(), "another membership");
}
