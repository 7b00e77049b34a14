//! A variant at a commit becomes a sealed bundle, or the reason why not.

use super::Tools;
use crate::git::Mirror;
use crate::render::{self, Rendered as Objects, touches};
use std::sync::Arc;
use taffrail_core::catalog::{dialect, object_rules};
use taffrail_core::id::CommitId;
use taffrail_core::node::hub::{Input, Outcome, Previous, Rendered};
use taffrail_core::planner::{Part, Variant};
use taffrail_proto::bundle;

/// What is to be rendered.
pub(super) struct Job {
    pub(super) variant: Variant,
    pub(super) commit: CommitId,
    pub(super) previous: Option<Previous>,
}

/// Renders a variant unless the commit touches nothing that it reads.
pub(super) async fn render(tools: Arc<Tools>, job: Job) -> anyhow::Result<Input> {
    let mirror = tools.mirrors.get(&job.variant.track.url)?;
    let outcome = if untouched(&*mirror, &job).await? {
        Outcome::Unchanged
    } else {
        outcome(&tools, &*mirror, &job).await?
    };
    Ok(Input::Rendered(Rendered { variant: job.variant, commit: job.commit, outcome }))
}

/// Whether the tree diff since the rendering in force misses everything that was read. Unknown means touched.
async fn untouched(mirror: &dyn Mirror, job: &Job) -> anyhow::Result<bool> {
    let Some(previous) = &job.previous else { return Ok(false) };
    if previous.commit == job.commit {
        return Ok(true);
    }
    match mirror.changed_paths(&previous.commit, &job.commit).await {
        Ok(changed) => Ok(!touches(&previous.inputs, &changed)),
        Err(error) => {
            tracing::debug!(error = %error, "tree diff not to be had, rendering");
            Ok(false)
        }
    }
}

async fn outcome(tools: &Arc<Tools>, mirror: &dyn Mirror, job: &Job) -> anyhow::Result<Outcome> {
    let tree = mirror.read_tree(&job.commit, "").await?;
    let request = render::Job { tree, path: job.variant.path.clone(), render: job.variant.render };
    let rendered = match tools.renderer.render(request).await {
        Ok(rendered) => rendered,
        Err(error) if error.is_transient() => return Err(error.into()),
        Err(error) => return Ok(failed(&error)),
    };
    if let Some(refused) = refused(&rendered, job.variant.part) {
        return Ok(refused);
    }
    let inputs = rendered.inputs.clone();
    let (part, rendered) = (job.variant.part, rendered.clone());
    let (encoded, count) = tokio::task::spawn_blocking(move || {
        let counted =
            rendered.objects.iter().map(|document| &document.value).filter(|object| counts(object, part));
        let objects: Vec<_> = counted.cloned().collect();
        bundle::encode(&objects).map(|encoded| (encoded, objects.len()))
    })
    .await??;
    let sealed = tools.vault.seal(encoded.digest, &encoded.compressed);
    let (kept, offered) = tokio::join!(
        tools.log.put_blob(encoded.digest, encoded.compressed.clone()),
        tools.bus.put_bundle(&sealed.id, sealed.bytes.into()),
    );
    kept?;
    offered?;
    tools.vault.offered().insert(sealed.id);
    Ok(Outcome::Sealed {
        digest: encoded.digest,
        sealed: sealed.id,
        size: encoded.content.len() as u64,
        objects: u32::try_from(count).unwrap_or(u32::MAX),
        inputs,
    })
}

fn counts(object: &serde_json::Value, part: Part) -> bool {
    part == Part::All || dialect(object).is_none()
}

/// An object that asks for what cannot be done is named, and nothing of the rendering is used.
fn refused(rendered: &Objects, part: Part) -> Option<Outcome> {
    let counted = rendered.objects.iter().filter(|document| counts(&document.value, part));
    counted.into_iter().find_map(|document| {
        let refusal = object_rules::judge(&document.value).err()?;
        Some(Outcome::Failed {
            file: Some(document.file.clone()),
            document: u32::try_from(document.document).ok(),
            line: Some(document.line),
            cause: refusal.to_string(),
        })
    })
}

/// A wrong tree as an outcome.
pub(super) fn failed(error: &render::Error) -> Outcome {
    Outcome::Failed {
        file: Some(error.file.clone()).filter(|file| !file.is_empty()),
        document: u32::try_from(error.document).ok().filter(|document| *document > 0),
        line: Some(error.line).filter(|line| *line > 0),
        cause: error.cause.clone(),
    }
}
