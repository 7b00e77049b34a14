//! JSON files: like YAML, with duplicate fields refused.

use std::{collections::BTreeSet, fmt};

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{build::Built, scalar::float_value};

/// A value whose maps hold no field twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Strict, D::Error> {
        struct Seen;
        impl<'de> Visitor<'de> for Seen {
            type Value = Strict;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a JSON value")
            }
            fn visit_unit<E>(self) -> Result<Strict, E> {
                Ok(Strict(Value::Null))
            }
            fn visit_bool<E>(self, flag: bool) -> Result<Strict, E> {
                Ok(Strict(Value::Bool(flag)))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Strict, E> {
                Ok(Strict(Value::from(number)))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Strict, E> {
                Ok(Strict(Value::from(number)))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Strict, E> {
                Ok(Strict(float_value(number)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Strict, E> {
                Ok(Strict(Value::from(text)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Strict, A::Error> {
                let mut list = Vec::new();
                while let Some(Strict(item)) = items.next_element()? {
                    list.push(item);
                }
                Ok(Strict(Value::Array(list)))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Strict, A::Error> {
                let (mut map, mut seen) = (Map::new(), BTreeSet::new());
                while let Some((name, Strict(value))) = fields.next_entry::<String, Strict>()? {
                    if !seen.insert(name.clone()) {
                        return Err(A::Error::custom(format!("the field {name:?} stands twice in one map")));
                    }
                    map.insert(name, value);
                }
                Ok(Strict(Value::Object(map)))
            }
        }
        input.deserialize_any(Seen)
    }
}

/// Reads JSON values that follow one another; `None` if the text is not that, and YAML should be tried.
pub(super) fn documents(text: &str) -> Option<Vec<Built>> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Strict>();
    let mut built = Vec::new();
    loop {
        let at = stream.byte_offset();
        let skipped = text[at..].len() - text[at..].trim_start().len();
        let line = text[..at + skipped].split('\n').count();
        match stream.next() {
            None => return Some(built),
            Some(Err(_)) => return None,
            Some(Ok(Strict(Value::Null))) => {}
            Some(Ok(Strict(value))) => {
                let line = u32::try_from(line).unwrap_or(u32::MAX);
                built.push(Built { document: built.len() + 1, line, value });
            }
        }
    }
}
