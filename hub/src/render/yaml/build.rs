//! Builds values out of parser events, within bounds.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use serde_saphyr::granit_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};

use super::{
    BYTES_MAX, DEPTH_MAX, NODES_MAX,
    scalar::{Form, Scalar, resolve},
};

/// One document of a stream.
pub(super) struct Built {
    /// Position in the stream, from 1, empty documents counted.
    pub(super) document: usize,
    /// Line of its first node, from 1.
    pub(super) line: u32,
    pub(super) value: Value,
}

/// Where and why reading ended.
pub(super) struct Broken {
    pub(super) document: usize,
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) cause: String,
}

/// A node that is open.
struct Frame {
    holds: Holds,
    anchor: usize,
    /// Nodes counted before this one opened, to know its size when it closes.
    before: Count,
    pointer: String,
    line: u32,
}

enum Holds {
    Items(Vec<Value>),
    Fields { map: Map<String, Value>, explicit: BTreeSet<String>, key: Option<Key> },
}

enum Key {
    Field(String),
    Merge,
}

#[derive(Clone, Copy, Default)]
struct Count {
    nodes: usize,
    bytes: usize,
}

/// Lines of all nodes by (document, JSON pointer).
pub(super) type Lines = BTreeMap<(usize, String), u32>;

pub(super) struct Builder {
    document: usize,
    frames: Vec<Frame>,
    anchors: BTreeMap<usize, (Value, Count)>,
    count: Count,
    root: Option<(u32, Value)>,
    built: Vec<Built>,
    lines: Option<Lines>,
}

/// Reads all documents of `text`, which holds no byte order mark.
pub(super) fn documents(text: &str) -> Result<Vec<Built>, Broken> {
    let mut builder = Builder::new(None);
    builder.run(text)?;
    Ok(builder.built)
}

/// Lines of all nodes of `text`.
pub(super) fn lines(text: &str) -> Lines {
    let mut builder = Builder::new(Some(Lines::new()));
    // What stands before the first error is still worth naming.
    drop(builder.run(text));
    builder.lines.unwrap_or_default()
}

fn line_of(mark: &Marker) -> u32 {
    u32::try_from(mark.line()).unwrap_or(u32::MAX)
}

impl Builder {
    fn new(lines: Option<Lines>) -> Builder {
        Builder {
            document: 0,
            frames: Vec::new(),
            anchors: BTreeMap::new(),
            count: Count::default(),
            root: None,
            built: Vec::new(),
            lines,
        }
    }

    fn run(&mut self, text: &str) -> Result<(), Broken> {
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| Broken {
                document: self.document.max(1),
                line: line_of(error.marker()),
                column: u32::try_from(error.marker().col()).map_or(0, |column| column + 1),
                cause: error.info(),
            })?;
            self.take(event, span).map_err(|cause| Broken {
                document: self.document.max(1),
                line: line_of(&span.start),
                column: u32::try_from(span.start.col()).map_or(0, |column| column + 1),
                cause,
            })?;
        }
        Ok(())
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), String> {
        match event {
            Event::DocumentStart(..) => {
                self.document += 1;
                self.anchors.clear();
                self.root = None;
                Ok(())
            }
            Event::DocumentEnd => {
                if let Some((line, value)) = self.root.take() {
                    self.built.push(Built { document: self.document, line, value });
                }
                Ok(())
            }
            Event::Alias(id) => {
                let (value, count) =
                    self.anchors.get(&id).cloned().ok_or("an anchor that contains itself or is unknown")?;
                self.spend(count)?;
                self.put(value, 0, &span, None)
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.spend(Count { nodes: 1, bytes: text.len() })?;
                self.scalar(&text, style, anchor, tag.as_deref(), &span)
            }
            Event::SequenceStart(_, anchor, _) => self.open(Holds::Items(Vec::new()), anchor, &span),
            Event::MappingStart(_, anchor, _) => self.open(
                Holds::Fields { map: Map::new(), explicit: BTreeSet::new(), key: None },
                anchor,
                &span,
            ),
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            _ => Ok(()),
        }
    }

    fn spend(&mut self, more: Count) -> Result<(), String> {
        self.count.nodes += more.nodes;
        self.count.bytes += more.bytes;
        if self.count.nodes > NODES_MAX {
            return Err(format!("more than {NODES_MAX} nodes, aliases counted each time"));
        }
        if self.count.bytes > BYTES_MAX {
            return Err(format!("more than {BYTES_MAX} bytes, aliases counted each time"));
        }
        Ok(())
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        span: &Span,
    ) -> Result<(), String> {
        let core = tag.and_then(|tag| tag.suffix_in_namespace("tag:yaml.org,2002:"));
        let form = match (&core, tag, style) {
            (Some(name), _, _) => Form::Core(name),
            (None, Some(_), _) => Form::Custom,
            (None, None, ScalarStyle::Plain) => Form::Plain,
            (None, None, _) => Form::Quoted,
        };
        let is_merge = text == "<<" && matches!(form, Form::Plain | Form::Core("merge"));
        if let (true, Some(Frame { holds: Holds::Fields { key: key @ None, .. }, .. })) =
            (is_merge, self.frames.last_mut())
        {
            *key = Some(Key::Merge);
            return Ok(());
        }
        let scalar = resolve(text, form)?;
        self.put(scalar.clone().into_value(), anchor, span, Some(scalar))
    }

    fn open(&mut self, holds: Holds, anchor: usize, span: &Span) -> Result<(), String> {
        let before = self.count;
        self.spend(Count { nodes: 1, bytes: 0 })?;
        if self.frames.len() >= DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX}"));
        }
        if let Some(Frame { holds: Holds::Fields { key: None, .. }, .. }) = self.frames.last() {
            return Err("a map or list cannot be the name of a field".to_owned());
        }
        let pointer = self.pointer();
        self.note(&pointer, span);
        self.frames.push(Frame { holds, anchor, before, pointer, line: line_of(&span.start) });
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        let frame = self.frames.pop().ok_or("an end without a start")?;
        let value = match frame.holds {
            Holds::Items(items) => Value::Array(items),
            Holds::Fields { map, .. } => Value::Object(map),
        };
        if frame.anchor != 0 {
            let size = Count {
                nodes: self.count.nodes - frame.before.nodes,
                bytes: self.count.bytes - frame.before.bytes,
            };
            self.anchors.insert(frame.anchor, (value.clone(), size));
        }
        self.attach(value, None, frame.line)
    }

    /// A finished leaf: remembers its anchor, notes its line, attaches it.
    fn put(
        &mut self,
        value: Value,
        anchor: usize,
        span: &Span,
        scalar: Option<Scalar>,
    ) -> Result<(), String> {
        if anchor != 0 {
            let bytes = value.as_str().map_or(0, str::len);
            self.anchors.insert(anchor, (value.clone(), Count { nodes: 1, bytes }));
        }
        let is_key = matches!(self.frames.last(), Some(Frame { holds: Holds::Fields { key: None, .. }, .. }));
        if !is_key {
            let pointer = self.pointer();
            self.note(&pointer, span);
        }
        self.attach(value, scalar, line_of(&span.start))
    }

    fn attach(&mut self, value: Value, scalar: Option<Scalar>, line: u32) -> Result<(), String> {
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some((line, value)).filter(|(_, value)| !value.is_null());
            return Ok(());
        };
        match &mut frame.holds {
            Holds::Items(items) => items.push(value),
            Holds::Fields { map, explicit, key } => match key.take() {
                None => *key = Some(Key::Field(field_name(value, scalar, explicit)?)),
                Some(Key::Field(name)) => {
                    map.insert(name, value);
                }
                Some(Key::Merge) => merge(map, value)?,
            },
        }
        Ok(())
    }

    /// JSON pointer of the node that comes next; empty text unless lines are wanted.
    fn pointer(&self) -> String {
        let Some(frame) = self.frames.last().filter(|_| self.lines.is_some()) else {
            return String::new();
        };
        match &frame.holds {
            Holds::Items(items) => format!("{}/{}", frame.pointer, items.len()),
            Holds::Fields { key: Some(Key::Field(name)), .. } => {
                format!("{}/{}", frame.pointer, name.replace('~', "~0").replace('/', "~1"))
            }
            Holds::Fields { .. } => frame.pointer.clone(),
        }
    }

    fn note(&mut self, pointer: &str, span: &Span) {
        if let Some(lines) = &mut self.lines {
            lines.entry((self.document, pointer.to_owned())).or_insert(line_of(&span.start));
        }
    }
}

fn field_name(
    value: Value,
    scalar: Option<Scalar>,
    explicit: &mut BTreeSet<String>,
) -> Result<String, String> {
    let name = match (scalar, value) {
        (Some(scalar), _) => scalar.into_key()?,
        (None, Value::String(text)) => text,
        (None, Value::Bool(flag)) => flag.to_string(),
        (None, Value::Number(number)) => number.to_string(),
        (None, _) => return Err("a map, list or null cannot be the name of a field".to_owned()),
    };
    if !explicit.insert(name.clone()) {
        return Err(format!("the field {name:?} stands twice in one map"));
    }
    Ok(name)
}

/// Merges like kubectl's reader: what is merged replaces fields that stand before it, and gives way to later ones.
fn merge(map: &mut Map<String, Value>, value: Value) -> Result<(), String> {
    match value {
        Value::Object(fields) => map.extend(fields),
        Value::Array(items) => {
            for item in items.into_iter().rev() {
                let Value::Object(fields) = item else {
                    return Err("<< takes maps only".to_owned());
                };
                map.extend(fields);
            }
        }
        _ => return Err("<< takes a map or a list of maps".to_owned()),
    }
    Ok(())
}
