//! The terminal: short lines, times in one column, colours only where someone sees them.

use std::env;
use std::io::{IsTerminal, Write, stdout};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Column at whose left the times end.
const TIME_COLUMN: usize = 76;
/// Columns of a note.
const NOTE_COLUMNS: usize = 92;
/// What stands in front of everything that belongs to the line above.
const INDENT: usize = 5;
/// Erases the line that the cursor is in.
const ERASE: &str = "\r\x1b[2K";

/// How a piece of text is painted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Paint {
    Good,
    Bad,
    Bold,
    Faint,
    Command,
}

/// The terminal, or a file that takes its place.
pub(super) struct Screen {
    colour: bool,
    live: bool,
    /// Columns of the terminal; without one lines are as long as they are.
    width: Option<usize>,
    progress: bool,
}

impl Screen {
    /// Standard output; plain if it is no terminal, and without colours with `NO_COLOR`.
    pub(super) fn new() -> Screen {
        let live = stdout().is_terminal() && env::var_os("TERM").is_none_or(|term| term != "dumb");
        let no_colour = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let width = if live { terminal_columns() } else { None };
        Screen { colour: live && !no_colour, live, width, progress: false }
    }

    /// The first lines.
    pub(super) fn title(&mut self, title: &str, below: &str) {
        let title = self.paint(title, Paint::Bold);
        self.line(&format!("\n{title}  {below}\n"));
    }

    /// The head of an act.
    pub(super) fn act(&mut self, number: u32, title: &str) {
        let head = self.paint(&format!("{number}  {title}"), Paint::Bold);
        self.line(&format!("\n{head}"));
    }

    /// What someone does: a command as one would type it, or as it was done.
    pub(super) fn does(&mut self, command: &str, remark: &str) {
        let command = self.paint(&format!("$ {command}"), Paint::Command);
        let remark = if remark.is_empty() {
            String::new()
        } else {
            self.paint(&format!("   # {remark}"), Paint::Faint)
        };
        self.line(&format!("   {command}{remark}"));
    }

    /// Something on the way.
    pub(super) fn step(&mut self, text: &str, took: Duration) {
        self.timed("·", Paint::Faint, text, Some(took));
    }

    /// Something that came out as it should.
    pub(super) fn good(&mut self, text: &str, took: Option<Duration>) {
        self.timed("✓", Paint::Good, text, took);
    }

    /// Trouble that was found.
    pub(super) fn bad(&mut self, text: &str, took: Option<Duration>) {
        self.timed("✗", Paint::Bad, text, took);
    }

    /// More about the line before; long texts take several lines.
    pub(super) fn note(&mut self, text: &str) {
        for line in wrapped(text, NOTE_COLUMNS) {
            let line = self.paint(&line, Paint::Faint);
            self.line(&format!("{:INDENT$}{line}", ""));
        }
    }

    /// What a command wrote: its first `lines` lines.
    pub(super) fn output(&mut self, text: &str, lines: usize) {
        let all: Vec<&str> = text.lines().collect();
        for line in all.iter().take(lines) {
            let line = cut(line.trim_end(), self.width.map(|width| width.saturating_sub(INDENT)));
            self.line(&format!("{:INDENT$}{line}", ""));
        }
        if all.len() > lines {
            self.note(&format!("... and {} more lines", all.len() - lines));
        }
    }

    /// How far something is; only on a terminal, and gone with the next line.
    pub(super) fn progress(&mut self, text: &str, so_far: Duration) {
        if self.live {
            let text = self.paint(&Screen::columns("…", text, Some(so_far)), Paint::Faint);
            self.write(&format!("{ERASE}{text}"));
            self.progress = true;
        }
    }

    /// The story is told.
    pub(super) fn end(&mut self, took: Duration) {
        let text = self.paint("Every step came out as told", Paint::Bold);
        self.line(&format!("\n{text}, in {}.", seconds(took)));
    }

    /// What to do with a fleet that is up.
    pub(super) fn hints(&mut self, hints: &[(String, &str)]) {
        self.line("\nIt is yours now. In another terminal:\n");
        for (command, remark) in hints {
            self.does(command, remark);
        }
        let end = self.paint("Ctrl-C ends it and cleans up.", Paint::Bold);
        self.line(&format!("\n{end}"));
    }

    /// Something did not come out as told, and where to look.
    pub(super) fn failed(&mut self, error: &anyhow::Error, kept: Option<&Path>) {
        let head = self.paint("✗ It did not come out as told:", Paint::Bad);
        self.line(&format!("\n{head} {error:#}"));
        if let Some(folder) = kept {
            self.line(&format!("  The logs of all parts stay in {}", folder.display()));
        }
    }

    fn timed(&mut self, mark: &str, paint: Paint, text: &str, took: Option<Duration>) {
        let line = Screen::columns(mark, text, took);
        let painted = self.paint(mark, paint);
        let line = line.replacen(mark, &painted, 1);
        self.line(&line);
    }

    fn columns(mark: &str, text: &str, took: Option<Duration>) -> String {
        let line = format!("   {mark} {text}");
        match took {
            None => line,
            Some(took) => {
                let took = seconds(took);
                let room = TIME_COLUMN.saturating_sub(line.chars().count()).max(took.len() + 2);
                format!("{line}{took:>room$}")
            }
        }
    }

    fn paint(&self, text: &str, paint: Paint) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Good => 32,
            Paint::Bad => 31,
            Paint::Bold => 1,
            Paint::Faint => 2,
            Paint::Command => 36,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    fn line(&mut self, text: &str) {
        let erase = if std::mem::take(&mut self.progress) { ERASE } else { "" };
        self.write(&format!("{erase}{text}\n"));
    }

    /// A terminal that is gone is no reason to end before everything is cleaned up.
    #[expect(clippy::unused_self, reason = "the screen is what may write")]
    fn write(&mut self, text: &str) {
        let mut out = stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

/// The line, or as much of it as a terminal has room for.
fn cut(line: &str, columns: Option<usize>) -> String {
    match columns {
        Some(columns) if line.chars().count() > columns => {
            line.chars().take(columns.saturating_sub(1)).chain(['…']).collect()
        }
        _ => line.to_owned(),
    }
}

/// The words of a text in lines of at most so many columns, unless a word is longer.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Columns of the terminal that is standard input, as `stty` knows them.
fn terminal_columns() -> Option<usize> {
    let asked =
        Command::new("stty").arg("size").stdin(Stdio::inherit()).stderr(Stdio::null()).output().ok()?;
    let answer = String::from_utf8(asked.stdout).ok()?;
    answer.split_whitespace().nth(1)?.parse().ok().filter(|columns| *columns > 0)
}

/// `0.42 s`, `61 s`.
pub(super) fn seconds(took: Duration) -> String {
    let seconds = took.as_secs_f64();
    match seconds {
        0.0..10.0 => format!("{seconds:.2} s"),
        10.0..60.0 => format!("{seconds:.1} s"),
        _ => format!("{seconds:.0} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_in_one_column_and_never_touch_the_text() {
        let short = Screen::columns("✓", "healthy", Some(Duration::from_millis(420)));
        assert_eq!(short.chars().count(), TIME_COLUMN);
        assert!(short.ends_with("  0.42 s"));
        let long = Screen::columns("✓", &"x".repeat(100), Some(Duration::from_secs(61)));
        assert!(long.ends_with("x  61 s"), "{long}");
    }

    #[test]
    fn long_texts_are_wrapped_and_long_lines_are_cut() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("incomprehensible", 7), ["incomprehensible"]);
        assert_eq!(
            (cut("seven", Some(4)), cut("seven", Some(5)), cut("seven", None)),
            ("sev…".into(), "seven".into(), "seven".into())
        );
    }
}
