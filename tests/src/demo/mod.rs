//! The demo: the story of one app on a fleet, on real parts, told on the terminal with real timings.
//!
//! `stage` builds hub, Git host, clusters and agents; `story` is the six acts, each of which asserts what it tells; `news`
//! follows the log and asks how the app is; `screen` is the only place that writes to the terminal.

mod cluster;
mod news;
mod screen;
mod stage;
mod story;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use screen::Screen;
use stage::Stage;

/// Exit code of a program that an interrupt ended, as shells count: 128 and the signal's number.
const INTERRUPTED: u8 = 130;

/// What the demo is asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether it ends after the story.
    pub once: bool,
    /// Real clusters; without any, five are made in memory.
    pub kubeconfigs: Vec<PathBuf>,
}

/// Tells the story and cleans up. The exit code is 0 only if every step came out as told.
pub async fn run(options: Options) -> ExitCode {
    let mut screen = Screen::new();
    let mut stage = match Stage::new(&options.kubeconfigs) {
        Ok(stage) => stage,
        Err(error) => {
            screen.failed(&error, None);
            return ExitCode::FAILURE;
        }
    };
    let code = tokio::select! {
        told = told(&mut stage, &mut screen) => match told {
            Ok(()) if options.once => ExitCode::SUCCESS,
            Ok(()) => stay(&stage, &mut screen).await,
            Err(error) => {
                screen.failed(&error, Some(stage.keep()));
                ExitCode::FAILURE
            }
        },
        () = interrupted() => ExitCode::from(INTERRUPTED),
    };
    match stage.strike(&mut screen).await {
        Ok(()) => code,
        Err(error) => {
            screen.failed(&error, None);
            ExitCode::FAILURE
        }
    }
}

async fn told(stage: &mut Stage, screen: &mut Screen) -> Result<()> {
    let begun = Instant::now();
    stage.build(screen).await.context("build the stage")?;
    story::tell(stage, screen).await?;
    screen.end(begun.elapsed());
    Ok(())
}

/// Leaves everything up until someone has seen enough.
async fn stay(stage: &Stage, screen: &mut Screen) -> ExitCode {
    match stage.hints() {
        Ok(hints) => screen.hints(&hints),
        Err(error) => screen.failed(&error, None),
    }
    interrupted().await;
    ExitCode::SUCCESS
}

/// Returns at the first interrupt, end of the terminal, or request to end.
async fn interrupted() {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let waits = kinds.into_iter().map(|kind| {
        Box::pin(async move {
            match signal(kind) {
                Ok(mut signals) => drop(signals.recv().await),
                // Without the signal nobody can interrupt in this way; the others are still waited for.
                Err(_) => std::future::pending().await,
            }
        })
    });
    futures::future::select_all(waits).await;
}
