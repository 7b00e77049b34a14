//! Folders of plain manifests.

use super::{
    Error, Reason,
    plan::{Found, Plan},
};
use crate::git::{Mode, Tree};

/// Which names are read.
const ENDINGS: [&str; 3] = [".yaml", ".yml", ".json"];

/// Plans the manifests in the folder `path`, and in its sub-folders if `recurse`.
pub(super) fn plan(tree: &Tree, path: &str, recurse: bool) -> Result<Plan, Error> {
    let mut plan = Plan::default();
    let folder = match plan.resolve(tree, "", "", path)? {
        Found::Folder(folder) => folder,
        Found::File(_) => return Err(Error::new(Reason::Missing, path, "is a file, not a folder")),
        Found::Nothing(_) => return Err(Error::new(Reason::Missing, path, "is not in the repository")),
    };
    plan.inputs.insert(folder.clone());
    let start = if folder.is_empty() { 0 } else { folder.len() + 1 };
    for (name, entry) in tree.under(&folder) {
        let is_deeper = name[start..].contains('/');
        if (is_deeper && !recurse) || !ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            continue;
        }
        if entry.mode != Mode::Symlink {
            plan.take(tree, name)?;
            plan.manifests.push(name.clone());
            continue;
        }
        match plan.resolve(tree, name, "", name)? {
            Found::File(real) => {
                plan.take(tree, &real)?;
                if !plan.manifests.contains(&real) {
                    plan.manifests.push(real);
                }
            }
            Found::Folder(_) => {
                let cause = "is a link to a folder, which is not followed";
                return Err(Error::new(Reason::Refused, name, cause));
            }
            Found::Nothing(real) => {
                let cause = format!("is a link to {real:?}, which is not in the repository");
                return Err(Error::new(Reason::Missing, name, cause));
            }
        }
    }
    Ok(plan)
}
