//! What Taffrail relies on in a Kubernetes API server. The in-memory one and a real control plane must pass the same cases.
//!
//! [`kube_contract!`](crate::kube_contract) is the one table of cases: a suite invokes it with the function that makes its
//! target. What differs between the two, and why:
//!
//! - *How history is forgotten*: the in-memory server forgets when asked; a real one is started with a short
//!   `--etcd-compaction-interval`, so the case waits until old pages are refused.
//! - *When bookmarks come*: a real server sends one shortly before a watch's time is over; the in-memory one every second.
//! - *What a controller adds besides*: a real cluster puts a `ConfigMap` and a `ServiceAccount` into each namespace, so that
//!   cases select their own objects by a label.

pub mod alike;
pub mod apply;
pub mod deletion;
pub mod reading;
mod target;
pub mod workloads;
pub mod writing;

pub use target::{Compact, Target};

/// Makes one test per case of the contract. The argument is an async function that gives a [`Target`] for a case's name.
#[macro_export]
macro_rules! kube_contract {
    ($target:ident) => {
        $crate::kube_contract!($target:
            apply::makes_an_object_and_records_its_fields,
            apply::changes_and_removes_what_the_manager_owns,
            apply::is_refused_where_another_manager_owns_the_field,
            apply::takes_over_by_force,
            apply::leaves_the_fields_of_others_alone,
            apply::that_changes_nothing_leaves_the_version,
            apply::shares_a_field_with_an_equal_value,
            apply::counts_a_generation_only_for_the_spec,
            apply::refuses_an_unknown_field,
            apply::of_a_status_is_owned_apart,
            apply::adopts_what_was_written_before,
            apply::needs_a_manager,
            writing::an_update_with_a_stale_version_is_refused,
            writing::a_missing_object_is_not_found,
            writing::a_missing_namespace_is_not_found,
            writing::an_existing_object_is_not_made_again,
            writing::a_dry_run_changes_nothing,
            writing::an_immutable_field_is_refused,
            writing::patches_of_all_kinds_change_what_they_name,
            writing::a_plain_write_takes_the_fields_it_changes,
            writing::an_invalid_object_names_its_fields,
            reading::lists_come_in_pages,
            reading::old_pages_expire,
            reading::selectors_choose_objects,
            reading::a_watch_sees_changes_in_order,
            reading::a_watch_follows_its_selector,
            reading::a_watch_sends_bookmarks,
            reading::a_streaming_list_says_where_it_ends,
            reading::a_watch_from_a_forgotten_version_expires,
            reading::metadata_alone_can_be_listed_and_watched,
            reading::discovery_names_the_kinds,
            deletion::in_the_background_takes_dependents_along,
            deletion::in_the_foreground_waits_for_dependents,
            deletion::can_leave_dependents_behind,
            deletion::waits_for_finalizers,
            deletion::respects_preconditions,
            deletion::of_a_namespace_takes_its_contents_along,
            workloads::a_definition_serves_its_kind_until_it_goes,
            workloads::custom_resources_are_owned_by_their_schema,
            workloads::a_deployment_becomes_available,
            workloads::a_deployment_rolls_over_without_a_gap,
            workloads::an_image_that_cannot_be_pulled_is_named,
            workloads::a_deployment_that_is_late_says_so,
        );
    };
    ($target:ident: $($group:ident::$case:ident),+ $(,)?) => {
        $(
            mod $case {
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn holds() -> anyhow::Result<()> {
                    let target = super::$target(stringify!($case)).await?;
                    $crate::contract::kube::$group::$case(&target).await
                }
            }
        )+
    };
}
