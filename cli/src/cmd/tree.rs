//! `get app NAME -o tree`: the app, its instances, their objects, and what these own.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::output::Out;
use crate::row::app::{App, Instance, Object};
use crate::row::{Cell, Tone};

/// Deepest level of owners that is drawn: `Deployment`, `ReplicaSet`, `Pod`, and one to spare.
const DEPTH_MAX: usize = 4;

/// Prints the tree of `app`.
///
/// # Errors
/// Nothing can be written.
pub fn print(app: &App, out: &mut Out) -> Result<(), Error> {
    out.painted(&[
        Cell::plain(format!("app/{}", app.name)),
        Cell::state(&app.sync),
        Cell::state(&app.health),
        Cell::commit(&app.commit),
        heard(app.heard_ago_ms),
    ])?;
    for (at, instance) in app.instances.iter().enumerate() {
        let last = at + 1 == app.instances.len();
        print_instance(instance, last, out)?;
    }
    Ok(())
}

fn print_instance(instance: &Instance, last: bool, out: &mut Out) -> Result<(), Error> {
    out.painted(&[
        Cell::plain(format!("{}{}", branch(last), instance.cluster)),
        Cell::state(&instance.sync),
        Cell::state(&instance.health),
        Cell::plain(instance.commits()),
        heard(instance.heard_ago_ms),
        Cell { text: instance.message(), tone: Tone::Plain },
    ])?;
    let mut below: BTreeMap<&str, Vec<&Object>> = BTreeMap::new();
    let known: Vec<String> = instance.objects.iter().map(Object::path).collect();
    for object in &instance.objects {
        // An object whose owner is not shown stands at the top, so that none is lost.
        let owner = if known.contains(&object.owner) { object.owner.as_str() } else { "" };
        below.entry(owner).or_default().push(object);
    }
    print_objects("", &below, trunk(last), 0, out)
}

fn print_objects(
    owner: &str,
    below: &BTreeMap<&str, Vec<&Object>>,
    indent: &str,
    depth: usize,
    out: &mut Out,
) -> Result<(), Error> {
    let objects = below.get(owner).map(Vec::as_slice).unwrap_or_default();
    for (at, object) in objects.iter().enumerate() {
        let last = at + 1 == objects.len();
        let mut cells = vec![
            Cell::plain(format!("{indent}{}{}", branch(last), object.path())),
            Cell::state(&object.sync),
            Cell::state(&object.health),
            Cell { text: object.message.clone(), tone: Tone::Plain },
        ];
        if !object.drifted_fields.is_empty() {
            let by = if object.drifted_by.is_empty() { "someone" } else { &object.drifted_by };
            let text = format!("drifted: {} by {by}", object.drifted_fields.join(", "));
            cells.push(Cell { text, tone: Tone::Warn });
        }
        cells.retain(|cell| !cell.text.is_empty());
        out.painted(&cells)?;
        let path = object.path();
        if depth == DEPTH_MAX && below.contains_key(path.as_str()) {
            out.line(&format!("{indent}{}└─ ...", trunk(last)))?;
        } else if path != owner {
            print_objects(&path, below, &format!("{indent}{}", trunk(last)), depth + 1, out)?;
        }
    }
    Ok(())
}

fn heard(age_ms: Option<u64>) -> Cell {
    let age = Cell::age(age_ms);
    Cell { text: format!("heard {}", age.text), tone: age.tone }
}

fn branch(last: bool) -> &'static str {
    if last { "└─ " } else { "├─ " }
}

fn trunk(last: bool) -> &'static str {
    if last { "   " } else { "│  " }
}
