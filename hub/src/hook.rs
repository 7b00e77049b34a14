//! Notices of Git hosts: a checked signature means "look now", and nothing in the body is believed.

use crate::api::http::Hook;
use crate::git::{Secret, webhook};
use crate::perform::Watch;
use async_trait::async_trait;
use axum::http::{HeaderMap, StatusCode};
use std::sync::Arc;

/// Takes notices signed with one of several secrets. Without a secret the path does not exist.
pub struct Notices {
    secrets: Vec<Secret>,
    looks: Arc<Watch>,
}

impl Notices {
    /// Notices signed with any of `secrets` have the repositories looked at.
    pub fn new(secrets: Vec<Secret>, looks: Arc<Watch>) -> Notices {
        Notices { secrets, looks }
    }
}

#[async_trait]
impl Hook for Notices {
    async fn received(&self, headers: &HeaderMap, body: &[u8]) -> StatusCode {
        if self.secrets.is_empty() {
            return StatusCode::NOT_FOUND;
        }
        let signature = headers.get(webhook::SIGNATURE_HEADER).and_then(|value| value.to_str().ok());
        if !signature.is_some_and(|signature| webhook::verify(&self.secrets, body, signature)) {
            tracing::warn!("webhook refused: its signature is of none of the secrets");
            return StatusCode::UNAUTHORIZED;
        }
        tracing::info_span!("webhook").in_scope(|| self.looks.hint());
        StatusCode::ACCEPTED
    }
}
