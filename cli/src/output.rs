//! The only place that writes to the terminal: tables, JSON, YAML, names, notes and errors.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal, Write};

use serde::Serialize;
use taffrail_proto::v1::{Done, View};

use crate::config::Environment;
use crate::error::{Error, Exit};
use crate::row::{AsOf, Cell, Row, Tone};

/// Longest answer to a question that is read, in bytes: the longest name is 253.
const ANSWER_BYTES_MAX: u64 = 1_024;

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// More columns.
    Wide,
    /// The documented fields as JSON.
    Json,
    /// The same as YAML.
    Yaml,
    /// One kind/name per line.
    Name,
    /// Objects below instances below the app (`get app` only).
    Tree,
}

/// Flags of every command that shows rows.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Shown {
    /// How the answer is written
    #[arg(short = 'o', long = "output", value_enum, default_value_t)]
    pub format: Format,
    /// No column heads
    #[arg(long)]
    pub no_headers: bool,
}

/// What a list that is shown again and again showed last.
#[derive(Debug, Default)]
pub struct Watched {
    seen: BTreeMap<String, String>,
    widths: Vec<usize>,
    begun: bool,
}

/// Standard output and standard error.
pub struct Out {
    answers: Box<dyn Write>,
    remarks: Box<dyn Write>,
    colour: bool,
    err_colour: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a, R> {
    kind: String,
    as_of: Option<AsOf>,
    items: &'a [R],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct One<'a, R> {
    kind: &'static str,
    as_of: Option<AsOf>,
    #[serde(flatten)]
    item: &'a R,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Order<'a> {
    kind: &'static str,
    event_index: u64,
    did: &'a str,
    changed: bool,
    warnings: &'a [String],
}

impl Out {
    /// Of this process; colours only on a terminal, and not with `NO_COLOR`.
    pub fn new(environment: &Environment) -> Out {
        Out {
            colour: io::stdout().is_terminal() && !environment.no_color,
            err_colour: io::stderr().is_terminal() && !environment.no_color,
            answers: Box::new(io::stdout()),
            remarks: Box::new(io::stderr()),
        }
    }

    /// A list.
    ///
    /// # Errors
    /// Nothing can be written, or `-o tree` is asked of a list.
    pub fn rows<R: Row>(&mut self, shown: &Shown, view: Option<&View>, rows: &[R]) -> Result<(), Error> {
        match shown.format {
            Format::Table | Format::Wide => self.table(shown, rows, &mut Vec::new(), true),
            Format::Name => rows.iter().try_for_each(|row| self.line(&row.name())),
            Format::Json => self.json(&list(view, rows)),
            Format::Yaml => self.yaml(&list(view, rows)),
            Format::Tree => Err(no_tree()),
        }
    }

    /// One thing: in JSON and YAML it stands alone, everywhere else it is a list of one.
    ///
    /// # Errors
    /// Nothing can be written, or `-o tree` is asked of a list.
    pub fn one<R: Row>(&mut self, shown: &Shown, view: Option<&View>, row: &R) -> Result<(), Error> {
        let one = One { kind: R::KIND, as_of: view.map(AsOf::from), item: row };
        match shown.format {
            Format::Json => self.json(&one),
            Format::Yaml => self.yaml(&one),
            _ => self.rows(shown, view, std::slice::from_ref(row)),
        }
    }

    /// The rows of a list that differ from what `watched` showed last, ages aside; all of them at first.
    ///
    /// # Errors
    /// Nothing can be written, or `-o tree` is asked of a list.
    pub fn changed<R: Row>(
        &mut self,
        shown: &Shown,
        view: &View,
        watched: &mut Watched,
        rows: &[R],
    ) -> Result<(), Error> {
        let fresh: Vec<&R> = rows.iter().filter(|row| watched.differs(*row)).collect();
        match shown.format {
            Format::Table | Format::Wide => {
                let heads = !watched.begun;
                self.table_of(shown, &fresh, &mut watched.widths, heads)?;
            }
            Format::Name => fresh.iter().try_for_each(|row| self.line(&row.name()))?,
            Format::Json => fresh.iter().try_for_each(|row| {
                self.compact(&One { kind: R::KIND, as_of: Some(AsOf::from(view)), item: *row })
            })?,
            Format::Yaml => fresh.iter().try_for_each(|row| {
                self.line("---")?;
                self.yaml(&One { kind: R::KIND, as_of: Some(AsOf::from(view)), item: *row })
            })?,
            Format::Tree => return Err(no_tree()),
        }
        watched.begun = true;
        self.flush()
    }

    /// What an order did, with the log index of the event that records it.
    ///
    /// # Errors
    /// Nothing can be written.
    pub fn done(&mut self, format: Format, done: Option<Done>) -> Result<(), Error> {
        let done =
            done.ok_or_else(|| Error::Answer { detail: "it does not say what was done".to_owned() })?;
        let order = Order {
            kind: "Done",
            event_index: done.event_index,
            did: &done.did,
            changed: done.changed,
            warnings: &done.warnings,
        };
        match format {
            Format::Json => return self.json(&order),
            Format::Yaml => return self.yaml(&order),
            Format::Name => return self.line(&format!("event/{}", done.event_index)),
            Format::Table | Format::Wide | Format::Tree => {}
        }
        for warning in &done.warnings {
            self.note(&format!("warning: {warning}"))?;
        }
        match done.event_index {
            0 => self.line(&done.did),
            index => self.line(&format!("{} (event {index})", done.did)),
        }
    }

    /// A line of text; control characters in it are not sent to the terminal.
    ///
    /// # Errors
    /// Nothing can be written.
    pub fn line(&mut self, text: &str) -> Result<(), Error> {
        writeln!(self.answers, "{}", clean(text)).map_err(|source| Error::Output { source })
    }

    /// A line whose parts have colours.
    ///
    /// # Errors
    /// Nothing can be written.
    pub fn painted(&mut self, cells: &[Cell]) -> Result<(), Error> {
        let colour = self.colour;
        let parts: Vec<String> =
            cells.iter().map(|cell| paint(&clean(&cell.text), cell.tone, colour)).collect();
        writeln!(self.answers, "{}", parts.join("  ").trim_end()).map_err(|source| Error::Output { source })
    }

    /// Text exactly as it is, such as a manifest.
    ///
    /// # Errors
    /// Nothing can be written.
    pub fn raw(&mut self, text: &str) -> Result<(), Error> {
        self.answers.write_all(text.as_bytes()).map_err(|source| Error::Output { source })
    }

    /// A value as JSON of many lines.
    ///
    /// # Errors
    /// Nothing can be written.
    pub fn json<T: Serialize>(&mut self, value: &T) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(value).map_err(unwritable)?;
        self.raw(&(text + "\n"))
    }

    /// A value as JSON of one line, for streams.
    ///
    /// # Errors
    /// Nothing can be written.
    pub fn compact<T: Serialize>(&mut self, value: &T) -> Result<(), Error> {
        let text = serde_json::to_string(value).map_err(unwritable)?;
        self.raw(&(text + "\n"))
    }

    /// A value as YAML.
    ///
    /// # Errors
    /// Nothing can be written.
    pub fn yaml<T: Serialize>(&mut self, value: &T) -> Result<(), Error> {
        // By way of JSON, so that both hold the same fields whatever serde attributes a row has.
        let value = serde_json::to_value(value).map_err(unwritable)?;
        let text = serde_saphyr::to_string(&value).map_err(unwritable)?;
        self.raw(text.trim_end()).and_then(|()| self.raw("\n"))
    }

    /// A remark beside the answer, on standard error.
    ///
    /// # Errors
    /// Nothing can be written.
    pub fn note(&mut self, text: &str) -> Result<(), Error> {
        writeln!(self.remarks, "{}", clean(text)).map_err(|source| Error::Output { source })
    }

    /// An error with its code, cause and next command, on standard error; says how the process ends.
    pub fn error(&mut self, error: &Error) -> Exit {
        let head = paint(&format!("error[{}]:", error.code()), Tone::Bad, self.err_colour);
        let mut text = format!("{head} {}\n", clean(&error.to_string()));
        for (label, value) in [("cause", error.cause()), ("next", error.next())] {
            if let Some(value) = value {
                let _ = writeln!(text, "{label:>5}: {}", clean(&value)); // writing to a string cannot fail
            }
        }
        let _ = self.flush();
        let _ = self.remarks.write_all(text.as_bytes()); // nobody is left to be told
        error.exit()
    }

    /// What the command line's parser has to say: help, version, or what is wrong.
    ///
    /// # Errors
    /// Nothing can be written.
    pub fn clap(&mut self, answer: &clap::Error) -> Result<Exit, Error> {
        if !answer.use_stderr() {
            answer.print().map_err(|source| Error::Output { source })?;
            return Ok(Exit::Ok);
        }
        let text = answer.render().to_string();
        let Some(rest) = text.strip_prefix("error: ") else {
            // Not an error but the help that a bare command is answered with.
            answer.print().map_err(|source| Error::Output { source })?;
            return Ok(Exit::Usage);
        };
        let head = paint("error[CLI-006]:", Tone::Bad, self.err_colour);
        let rest = rest.replace("For more information, try '--help'.", "next: the same with --help");
        self.remarks
            .write_all(format!("{head} {rest}").as_bytes())
            .map_err(|source| Error::Output { source })?;
        Ok(Exit::Usage)
    }

    /// Asks for `name` to be typed before `what` is removed; without a terminal the answer is no.
    ///
    /// # Errors
    /// Another name was typed, or nobody is there to ask.
    pub fn confirm(&mut self, what: &str, name: &str) -> Result<(), Error> {
        let refused = || Error::NotConfirmed { what: what.to_owned() };
        if !io::stdin().is_terminal() {
            return Err(refused());
        }
        write!(self.remarks, "This removes {what}. Type {name} to go on: ")
            .map_err(|source| Error::Output { source })?;
        self.remarks.flush().map_err(|source| Error::Output { source })?;
        let mut typed = String::new();
        let mut input = io::Read::take(io::stdin().lock(), ANSWER_BYTES_MAX);
        input.read_line(&mut typed).map_err(|_| refused())?;
        if typed.trim() == name { Ok(()) } else { Err(refused()) }
    }

    /// Sends what is written so far.
    ///
    /// # Errors
    /// Nothing can be written.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.answers.flush().map_err(|source| Error::Output { source })
    }

    fn table<R: Row>(
        &mut self,
        shown: &Shown,
        rows: &[R],
        widths: &mut Vec<usize>,
        heads: bool,
    ) -> Result<(), Error> {
        self.table_of(shown, &rows.iter().collect::<Vec<&R>>(), widths, heads)
    }

    fn table_of<R: Row>(
        &mut self,
        shown: &Shown,
        rows: &[&R],
        widths: &mut Vec<usize>,
        heads: bool,
    ) -> Result<(), Error> {
        let wide = shown.format == Format::Wide;
        let mut lines: Vec<Vec<Cell>> = rows.iter().map(|row| row.cells(wide)).collect();
        if heads && rows.is_empty() {
            self.note(&format!("no {} found", plural(R::KIND)))?;
        } else if heads && !shown.no_headers {
            lines.insert(0, R::headers(wide).iter().map(|head| Cell::plain(*head)).collect());
        }
        self.aligned(&lines, widths)
    }

    /// Lines with columns under each other, three spaces apart; `widths` are kept for the next lines.
    ///
    /// # Errors
    /// Nothing can be written.
    pub fn aligned(&mut self, lines: &[Vec<Cell>], widths: &mut Vec<usize>) -> Result<(), Error> {
        for line in lines {
            widths.resize(widths.len().max(line.len()), 0);
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(clean(&cell.text).chars().count());
            }
        }
        for line in lines {
            let mut text = String::new();
            for (column, cell) in line.iter().enumerate() {
                let shown = clean(&cell.text);
                let last = column + 1 == line.len();
                let gap = if last { 0 } else { widths[column] - shown.chars().count() + 3 };
                text.push_str(&paint(&shown, cell.tone, self.colour));
                text.push_str(&" ".repeat(gap));
            }
            writeln!(self.answers, "{}", text.trim_end()).map_err(|source| Error::Output { source })?;
        }
        Ok(())
    }
}

impl Watched {
    fn differs<R: Row>(&mut self, row: &R) -> bool {
        let cells = row.cells(true);
        let steady: Vec<String> =
            cells.into_iter().filter(|cell| cell.tone != Tone::Age).map(|cell| cell.text).collect();
        let print = steady.join("\u{1f}");
        self.seen.insert(row.name(), print.clone()) != Some(print)
    }
}

fn list<'a, R: Row>(view: Option<&View>, rows: &'a [R]) -> List<'a, R> {
    List { kind: format!("{}List", R::KIND), as_of: view.map(AsOf::from), items: rows }
}

fn plural(kind: &str) -> String {
    let kind = kind.to_ascii_lowercase();
    kind.strip_suffix('y').map_or_else(|| format!("{kind}s"), |stem| format!("{stem}ies"))
}

fn no_tree() -> Error {
    Error::usage("-o tree shows one app", "taffrail get app NAME -o tree")
}

fn unwritable(error: impl std::error::Error) -> Error {
    Error::Answer { detail: error.to_string() }
}

/// Text from elsewhere must not move the cursor or paint the screen: control characters become spaces.
fn clean(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

fn paint(text: &str, tone: Tone, colour: bool) -> String {
    let code = match tone {
        _ if !colour => return text.to_owned(),
        Tone::Plain => return text.to_owned(),
        Tone::Good => "32",
        Tone::Warn => "33",
        Tone::Bad => "31",
        Tone::Age => "2",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_elsewhere_cannot_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\nc\u{9b}d"), "a [31mb c d");
    }

    #[test]
    fn colours_are_only_for_terminals() {
        assert_eq!(paint("Healthy", Tone::Good, false), "Healthy");
        assert_eq!(paint("Healthy", Tone::Good, true), "\u{1b}[32mHealthy\u{1b}[0m");
    }

    #[test]
    fn lists_are_named_in_the_plural() {
        assert_eq!((plural("Delivery"), plural("App")), ("deliveries".to_owned(), "apps".to_owned()));
    }
}
