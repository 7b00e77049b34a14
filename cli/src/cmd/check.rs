//! `check`: how the hub is.

use taffrail_proto::v1::CheckRequest;

use super::Session;
use crate::client::view_of;
use crate::error::{Error, Exit};
use crate::output::{Format, Shown};
use crate::row::part::Part;

/// `check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  taffrail check || taffrail check -o json\n\n\
    Ends with 0 if every part works, 1 if one does not or could not be looked at.")]
pub struct Args {
    #[command(flatten)]
    shown: Shown,
}

/// Carries `check` out.
///
/// # Errors
/// The hub refuses, fails or cannot be reached.
pub async fn run(args: &Args, session: &mut Session<'_>) -> Result<Exit, Error> {
    let answer = session.client().await?.fleet.check(CheckRequest {}).await?.into_inner();
    let view = view_of(answer.view)?;
    let parts: Vec<Part> = answer.parts.into_iter().map(|part| Part::new(part, view.now_ms)).collect();
    session.out.rows(&args.shown, Some(&view), &parts)?;
    if matches!(args.shown.format, Format::Table | Format::Wide) {
        for part in parts.iter().filter(|part| part.status != "Ok") {
            session.out.line("")?;
            session.out.line(&format!("{}: {}", part.name, part.message))?;
            for (label, text) in [("cause", &part.cause), ("next", &part.next)] {
                if !text.is_empty() {
                    session.out.line(&format!("  {label}: {text}"))?;
                }
            }
        }
        session.out.note(&format!("hub {}, log index {}", answer.hub_version, view.state_index))?;
    }
    // A hub that names no part at all has not said that it works.
    let works = !parts.is_empty() && parts.iter().all(Part::works);
    Ok(if works { Exit::Ok } else { Exit::Differs })
}
