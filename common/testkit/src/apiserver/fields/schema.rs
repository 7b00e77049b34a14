//! What a path is: scalar, struct, map or list, granular or atomic. Built-in kinds come from a table, others from their CRD.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

/// Where a type is found.
#[derive(Clone, Debug)]
pub(crate) enum Ref {
    Named { name: Arc<str>, atomic: bool },
    Inline(Arc<Shape>),
}

/// How the items of a list are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    Atomic,
    Set,
    Keys(Vec<String>),
}

/// What a scalar may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Text,
    Number,
    Flag,
    Any,
}

/// A field of a struct.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) of: Ref,
    /// Filled in where the field is absent.
    pub(crate) default: Option<Value>,
    /// An empty value of this field is not kept.
    pub(crate) drops_empty: bool,
}

/// What a value may be and how its parts are owned.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Scalar(Sort),
    Quantity,
    /// Anything; maps are granular, lists atomic.
    Untyped,
    /// Anything, owned as a whole.
    Opaque,
    List {
        relation: Relation,
        element: Ref,
    },
    Map {
        atomic: bool,
        element: Ref,
    },
    Struct {
        atomic: bool,
        fields: BTreeMap<String, Field>,
        open: Option<Ref>,
    },
}

/// Types by name.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    types: BTreeMap<Arc<str>, Arc<Shape>>,
}

static BUILT_IN: LazyLock<Arc<Schema>> =
    LazyLock::new(|| Arc::new(Schema::parse(include_str!("../data/kinds.schema"))));

/// The types of the built-in kinds.
pub(crate) fn built_in() -> Arc<Schema> {
    Arc::clone(&BUILT_IN)
}

/// A reference to a named type.
pub(crate) fn named(name: &str) -> Ref {
    Ref::Named { name: name.into(), atomic: false }
}

/// A reference to a type given on the spot.
pub(crate) fn inline(shape: Shape) -> Ref {
    Ref::Inline(Arc::new(shape))
}

impl Schema {
    /// The type behind a reference; an unknown name is an untyped value.
    pub(crate) fn resolve(&self, of: &Ref) -> Arc<Shape> {
        match of {
            Ref::Inline(shape) => Arc::clone(shape),
            Ref::Named { name, atomic } => {
                let shape = self.types.get(name).cloned().unwrap_or_else(|| Arc::new(Shape::Untyped));
                match (&*shape, atomic) {
                    (Shape::Struct { atomic: false, fields, open }, true) => {
                        Arc::new(Shape::Struct { atomic: true, fields: fields.clone(), open: open.clone() })
                    }
                    _ => shape,
                }
            }
        }
    }

    fn parse(text: &str) -> Schema {
        let mut types = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split(' ');
            let Some(name) = words.next().filter(|name| !name.is_empty()) else { continue };
            let atomic = name.ends_with('!');
            let name: Arc<str> = name.trim_end_matches('!').into();
            let words: Vec<&str> = words.collect();
            let shape = if words.first() == Some(&":") {
                match parse_type(words.get(1).copied().unwrap_or("u")) {
                    Ref::Inline(shape) => (*shape).clone(),
                    Ref::Named { .. } => Shape::Untyped,
                }
            } else {
                let fields = words.iter().filter_map(|word| parse_field(word)).collect();
                Shape::Struct { atomic, fields, open: None }
            };
            types.insert(name, Arc::new(shape));
        }
        Schema { types }
    }
}

fn parse_field(word: &str) -> Option<(String, Field)> {
    let (name, rest) = word.split_once(':')?;
    // "[=]" is part of a type, so the default begins at the last "=" that does not stand in brackets.
    let cut = rest.rfind('=').filter(|at| rest.as_bytes().get(at + 1) != Some(&b']'));
    let (kind, default) = cut.map_or((rest, None), |at| (&rest[..at], Some(&rest[at + 1..])));
    let drops_empty = kind.starts_with('~');
    let of = parse_type(kind.trim_start_matches('~'));
    let list = matches!(&of, Ref::Inline(shape) if matches!(**shape, Shape::List { .. }));
    let default = match default {
        Some(text) => serde_json::from_str(text).ok(),
        // A list that is not left out when it is empty is written as null.
        None => (list && !drops_empty).then_some(Value::Null),
    };
    Some((name.to_owned(), Field { of, default, drops_empty }))
}

fn parse_type(text: &str) -> Ref {
    if let Some(name) = text.strip_prefix("@!") {
        return Ref::Named { name: name.into(), atomic: true };
    }
    if let Some(name) = text.strip_prefix('@') {
        return named(name);
    }
    if let Some((keys, element)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let relation = match keys {
            "" => Relation::Atomic,
            "=" => Relation::Set,
            keys => Relation::Keys(keys.split(',').map(str::to_owned).collect()),
        };
        return inline(Shape::List { relation, element: parse_type(element) });
    }
    if let Some((mark, element)) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        return inline(Shape::Map { atomic: mark == "!", element: parse_type(element) });
    }
    inline(match text {
        "s" => Shape::Scalar(Sort::Text),
        "n" => Shape::Scalar(Sort::Number),
        "b" => Shape::Scalar(Sort::Flag),
        "v" => Shape::Scalar(Sort::Any),
        "q" => Shape::Quantity,
        "a" => Shape::Opaque,
        _ => Shape::Untyped,
    })
}

/// The type of a custom resource, from the `openAPIV3Schema` of its version.
pub(crate) fn of_custom(open_api: Option<&Value>) -> Ref {
    let meta = |name: &str| Field { of: named(name), default: None, drops_empty: false };
    let scalar = || Field { of: inline(Shape::Scalar(Sort::Text)), default: None, drops_empty: false };
    let root = open_api.map_or(Shape::Untyped, from_open_api);
    let (mut fields, open) = match root {
        Shape::Struct { fields, open, .. } => (fields, open),
        _ => (BTreeMap::new(), Some(inline(Shape::Untyped))),
    };
    fields.insert("apiVersion".to_owned(), scalar());
    fields.insert("kind".to_owned(), scalar());
    fields.insert("metadata".to_owned(), meta("meta.v1.ObjectMeta"));
    inline(Shape::Struct { atomic: false, fields, open })
}

fn from_open_api(schema: &Value) -> Shape {
    let flag = |name: &str| schema.get(name).and_then(Value::as_bool).unwrap_or(false);
    let text = |name: &str| schema.get(name).and_then(Value::as_str).unwrap_or_default();
    if flag("x-kubernetes-int-or-string") {
        return Shape::Scalar(Sort::Any);
    }
    let child = |schema: &Value| inline(from_open_api(schema));
    let atomic = text("x-kubernetes-map-type") == "atomic";
    let preserve = flag("x-kubernetes-preserve-unknown-fields");
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        let mut fields: BTreeMap<String, Field> = properties
            .iter()
            .map(|(name, of)| {
                let default = of.get("default").cloned();
                (name.clone(), Field { of: child(of), default, drops_empty: false })
            })
            .collect();
        if flag("x-kubernetes-embedded-resource") {
            for name in ["apiVersion", "kind"] {
                let field =
                    Field { of: inline(Shape::Scalar(Sort::Text)), default: None, drops_empty: false };
                fields.entry(name.to_owned()).or_insert(field);
            }
            let of = named("meta.v1.ObjectMeta");
            fields.insert("metadata".to_owned(), Field { of, default: None, drops_empty: false });
        }
        let open = preserve.then(|| inline(Shape::Untyped));
        return Shape::Struct { atomic, fields, open };
    }
    match schema.get("additionalProperties") {
        Some(of @ Value::Object(_)) => return Shape::Map { atomic, element: child(of) },
        Some(Value::Bool(true)) => return Shape::Map { atomic, element: inline(Shape::Untyped) },
        _ => {}
    }
    match text("type") {
        "array" => {
            let relation = match text("x-kubernetes-list-type") {
                "set" => Relation::Set,
                "map" => Relation::Keys(key_names(schema)),
                _ => Relation::Atomic,
            };
            let element = schema.get("items").map_or_else(|| inline(Shape::Untyped), child);
            Shape::List { relation, element }
        }
        "object" if !preserve => Shape::Struct { atomic, fields: BTreeMap::new(), open: None },
        "object" | "" => Shape::Untyped,
        "string" => Shape::Scalar(Sort::Text),
        "integer" | "number" => Shape::Scalar(Sort::Number),
        "boolean" => Shape::Scalar(Sort::Flag),
        _ => Shape::Scalar(Sort::Any),
    }
}

fn key_names(schema: &Value) -> Vec<String> {
    let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
    keys.into_iter().flatten().filter_map(|key| key.as_str().map(str::to_owned)).collect()
}
