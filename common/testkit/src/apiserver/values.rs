//! What the API server makes of a value that it is given: unknown fields go, quantities get their one form, defaults are filled in.

use serde_json::{Map, Value};

use super::fields::schema::{Ref, Schema, Shape};
use super::fields::typed::entry_type;

/// The value as the server would write it, and the paths of fields that it does not know.
pub(crate) fn normalise(schema: &Schema, of: &Ref, value: &Value) -> (Value, Vec<String>) {
    let mut walk = Walk { schema, unknown: Vec::new() };
    let out = walk.visit(of, value, "");
    (out, walk.unknown)
}

/// What a kind looks like before anything is said of it: its structs, empty.
pub(crate) fn blank(schema: &Schema, of: &Ref, custom: bool) -> Value {
    if custom {
        return Value::Object(Map::new());
    }
    normalise(schema, of, &Value::Object(Map::new())).0
}

struct Walk<'a> {
    schema: &'a Schema,
    unknown: Vec<String>,
}

impl Walk<'_> {
    fn visit(&mut self, of: &Ref, value: &Value, path: &str) -> Value {
        let shape = self.schema.resolve(of);
        match (&*shape, value) {
            (Shape::Quantity, Value::String(text)) => {
                quantity(text).map_or_else(|| value.clone(), Value::String)
            }
            (Shape::Quantity, Value::Number(number)) => {
                let text = number.to_string();
                Value::String(quantity(&text).unwrap_or(text))
            }
            (Shape::List { element, .. }, Value::Array(items)) => {
                let visited = items
                    .iter()
                    .enumerate()
                    .map(|(at, item)| self.visit(element, item, &format!("{path}[{at}]")));
                Value::Array(visited.collect())
            }
            (Shape::Map { .. } | Shape::Struct { .. }, Value::Object(entries)) => {
                Value::Object(self.entries(&shape, entries, path))
            }
            _ => value.clone(),
        }
    }

    fn entries(&mut self, shape: &Shape, entries: &Map<String, Value>, path: &str) -> Map<String, Value> {
        let mut out = Map::new();
        for (name, below) in entries {
            let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let (Some(of), _) = entry_type(shape, name) else {
                self.unknown.push(at);
                continue;
            };
            let visited = self.visit(&of, below, &at);
            let drops = match shape {
                Shape::Struct { fields, .. } => fields.get(name).is_some_and(|field| field.drops_empty),
                _ => false,
            };
            let bare_list = match shape {
                Shape::Struct { fields, .. } => {
                    fields.get(name).is_some_and(|field| field.default == Some(Value::Null))
                }
                _ => false,
            };
            let null = visited.is_null() && matches!(shape, Shape::Struct { .. });
            if null
                || (drops && is_empty(&visited))
                || (bare_list && visited.as_array().is_some_and(Vec::is_empty))
            {
                continue;
            }
            out.insert(name.clone(), visited);
        }
        if let Shape::Struct { fields, .. } = shape {
            for (name, field) in fields {
                let Some(default) =
                    field.default.as_ref().filter(|default| !(field.drops_empty && is_empty(default)))
                else {
                    continue;
                };
                if !out.contains_key(name) {
                    let filled = self.visit(&field.of, default, path);
                    out.insert(name.clone(), filled);
                }
            }
        }
        out
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

/// The one form of a quantity: the largest suffix that needs no fraction. `None` if it is no quantity.
pub(crate) fn quantity(text: &str) -> Option<String> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let places = i32::try_from(fraction.len()).ok()?;
    let sign = if negative && digits != 0 { "-" } else { "" };
    if let Some((_, bits)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        let scaled = digits.checked_mul(1_i128.checked_shl(*bits)?)?;
        let divisor = 10_i128.checked_pow(u32::try_from(places).ok()?)?;
        if scaled % divisor != 0 {
            // A fraction of a byte is written in thousandths.
            let thousandths = scaled.checked_mul(1_000)?.div_euclid(divisor);
            return Some(format!("{sign}{}", decimal(thousandths, -3)));
        }
        let bytes = scaled / divisor;
        let best = BINARY.iter().rev().find(|(_, bits)| bytes != 0 && bytes % (1_i128 << bits) == 0);
        return Some(match best {
            Some((name, bits)) => format!("{sign}{}{name}", bytes >> bits),
            None => format!("{sign}{bytes}"),
        });
    }
    if let Some(exponent) = suffix.strip_prefix(['e', 'E']).and_then(|text| text.parse::<i32>().ok()) {
        return exponential(digits, exponent - places).map(|text| format!("{sign}{text}"));
    }
    let (_, power) = DECIMAL.iter().find(|(name, _)| *name == suffix)?;
    Some(format!("{sign}{}", decimal(digits, power - places)))
}

/// `digits` x 10^`power` with a decimal suffix; finer than a billionth is rounded up.
fn decimal(mut digits: i128, mut power: i32) -> String {
    if digits == 0 {
        return "0".to_owned();
    }
    while power < -9 {
        digits = (digits + 9).div_euclid(10);
        power += 1;
    }
    while digits % 10 == 0 {
        digits /= 10;
        power += 1;
    }
    let step = power.div_euclid(3).clamp(-3, 6) * 3;
    for _ in step..power {
        digits = digits.saturating_mul(10);
    }
    let name = DECIMAL.iter().find(|(_, known)| *known == step).map_or("", |(name, _)| *name);
    format!("{digits}{name}")
}

fn exponential(mut digits: i128, mut power: i32) -> Option<String> {
    if digits == 0 {
        return Some("0".to_owned());
    }
    while digits % 10 == 0 {
        digits /= 10;
        power += 1;
    }
    while power.rem_euclid(3) != 0 {
        digits = digits.checked_mul(10)?;
        power -= 1;
    }
    Some(if power == 0 { digits.to_string() } else { format!("{digits}e{power}") })
}
