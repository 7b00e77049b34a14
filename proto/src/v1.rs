//! Generated from `taffrail/v1/*.proto`: the messages and the `Fleet` service.
#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::nursery,
    clippy::allow_attributes_without_reason,
    missing_docs,
    unreachable_pub,
    reason = "generated code; its documentation is in the .proto files"
)]

tonic::include_proto!("taffrail.v1");
