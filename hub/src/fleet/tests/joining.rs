//! Clusters come in through the real admission.

use super::house::{House, agent_keys, cluster, invitation, request};
use crate::api::service::{Command, Fleet as _};
use crate::join::{Admission as _, RenewRequest};
use taffrail_core::id::AccountKey;
use taffrail_proto::join::{Code, Token};
use taffrail_proto::v1::ConnectionStatus;

fn accounts(house: &House) -> usize {
    std::fs::read_dir(house.folder.path().join("nats/accounts")).unwrap().count()
}

#[tokio::test]
async fn a_token_lets_one_agent_in_and_answers_it_again() {
    let house = House::new().await;
    let (token, keys) = (house.invite("paris").await, agent_keys(1));
    let first = house.admit.join(request(&token, &keys)).await.unwrap();
    assert_eq!((first.cluster.as_str(), first.epoch, first.incarnation), ("paris", 1, 0));
    assert!(first.nats_jwt.starts_with("ey") && first.valid_ms == 3_600_000);
    let again = house.admit.join(request(&token, &keys)).await.unwrap();
    assert_eq!(again.account, first.account);
    assert_eq!(accounts(&house), 1, "the account of a repetition is thrown away");
    let row = house.service.clusters().await.unwrap().value.pop().unwrap();
    assert_eq!(
        (row.connection(), row.account, row.invited_until_ms),
        (ConnectionStatus::Connected, first.account, 0)
    );
    assert_eq!(row.labels["region"], "eu");
}

#[tokio::test]
async fn used_and_foreign_tokens_are_refused_and_recorded_and_leave_no_key() {
    let house = House::new().await;
    let token = house.invite("paris").await;
    house.admit.join(request(&token, &agent_keys(1))).await.unwrap();
    for (token, expected) in [(token, Code::TokenUsed), (Token::generate().unwrap(), Code::TokenUnknown)] {
        let refused = house.admit.join(request(&token, &agent_keys(2))).await.unwrap_err();
        assert_eq!(refused.code, expected);
    }
    assert_eq!(accounts(&house), 1);
    let kinds = super::questions::kinds(&house).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "JoinRefused").count(), 2, "{kinds:?}");
}

#[tokio::test]
async fn credentials_are_renewed_until_the_cluster_is_removed() {
    let house = House::new().await;
    let joined = house.join("paris").await;
    let account = AccountKey::parse(&joined.account).unwrap();
    let renewal =
        RenewRequest { account: account.clone(), user: agent_keys(1).user, agent_version: "0.1.0".into() };
    assert_eq!(house.admit.event_key(&account).await.unwrap(), agent_keys(1).event);
    assert_eq!(house.admit.renew(renewal.clone()).await.unwrap().cluster, "paris");
    house.give(Command::RemoveCluster { name: cluster("paris"), cascade: false }).await.unwrap();
    assert_eq!(house.admit.renew(renewal).await.unwrap_err().code, Code::Revoked);
    let stranger = AccountKey::parse(&format!("A{}", "B".repeat(55))).unwrap();
    assert_eq!(house.admit.event_key(&stranger).await.unwrap_err().code, Code::Identity);
}

#[tokio::test]
async fn inviting_again_replaces_the_token_and_a_joined_name_is_taken() {
    let house = House::new().await;
    let old = house.invite("paris").await;
    let again = house.service.invite(invitation("paris")).await.unwrap();
    assert_eq!(again.done.warnings.len(), 1);
    assert!(again.manifest.contains("example.com/agent:1"));
    let refused = house.admit.join(request(&old, &agent_keys(1))).await.unwrap_err();
    assert_eq!(refused.code, Code::TokenUnknown);
    house.join("berlin").await;
    let error = house.service.invite(invitation("berlin")).await.err().unwrap();
    assert_eq!(error.code(), "API-004");
}
