//! Trees at a commit become objects.
//!
//! ```text
//!  tree at a commit ──► plan: which files, in which way ──► digest ──► cache ──hit──► objects
//!                        (plain.rs, kustomize.rs)                        └─miss──► read, or a jailed child (child.rs, jail.rs)
//! ```
//!
//! What is absent on purpose: the network, the environment, credentials, and files outside the tree. A result depends
//! on the files of its plan, the way it is rendered and the renderer's version, and on nothing else.

pub mod cache;
mod child;
pub mod error;
pub mod jail;
mod kustomization;
mod kustomize;
mod objects;
mod plain;
mod plan;
pub mod renderer;
pub mod yaml;

#[cfg(test)]
mod tests;

pub use error::{Error, Reason};
pub use jail::Jail;
pub use objects::locate;
pub use plan::touches;
pub use renderer::{Job, Rendered, Renderer, Settings};
