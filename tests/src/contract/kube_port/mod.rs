//! What the agent's driver relies on in its port to the cluster: the unchanged client of the agent, before an API server.
//!
//! [`kube_port_contract!`](crate::kube_port_contract) is the one table of cases; a suite invokes it with the function that
//! gives a [`Bench`] for a case's name. The in-memory server has no admission, roles, quotas or checks of base64, so the
//! cases of [`refusals`] are for real control planes alone.

mod bench;
pub mod objects;
pub mod own;
pub mod pods;
pub mod refusals;
pub mod watching;

pub use bench::{Bench, config_map};

/// Makes one test per case of the contract. The argument is an async function that gives a [`Bench`] for a case's name.
#[macro_export]
macro_rules! kube_port_contract {
    ($bench:path) => {
        $crate::kube_port_contract!($bench:
            objects::an_applied_object_is_ours_and_applying_it_again_changes_nothing,
            objects::a_dry_run_stores_nothing,
            objects::an_absent_object_is_none_and_a_kind_that_is_not_served_is_an_error,
            objects::whoever_is_displaced_is_named,
            objects::a_hand_edit_shows_in_the_fields_that_are_lost,
            objects::a_deletion_needs_the_right_uid,
            objects::a_deletion_names_the_finalizers_it_waits_for,
            objects::a_missing_namespace_is_told_from_a_missing_object,
            objects::an_immutable_field_and_an_invalid_one_are_told_apart,
            objects::no_refusal_quotes_a_secret,
            objects::a_new_definition_is_served_without_a_restart,
            pods::what_cannot_start_names_its_cause,
            watching::a_watch_tells_every_difference_once,
            watching::an_object_without_its_label_is_gone_but_can_be_read,
            watching::a_kind_that_is_not_served_fails_until_it_is,
            watching::a_watch_by_namespace_sees_what_is_in_them_and_nothing_else,
            own::a_secret_changes_only_from_the_version_that_was_read,
            own::an_inventory_is_read_back,
            own::one_candidate_leads_and_the_next_has_a_greater_fence,
        );
    };
    ($bench:path: $($group:ident::$case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() -> anyhow::Result<()> {
                let bench = $bench(stringify!($case)).await?;
                $crate::contract::kube_port::$group::$case(&bench).await
            }
        )+
    };
}
