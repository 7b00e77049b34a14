//! What an unquoted word means: the rules of YAML 1.1 as kubectl applies them.

use base64::Engine;
use serde_json::Value;

/// A resolved scalar.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(String),
}

/// How a scalar stands in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form<'a> {
    /// Without quotes and tag.
    Plain,
    /// In quotes or as a block, without a tag.
    Quoted,
    /// With the `!!` tag of this name.
    Core(&'a str),
    /// With any other tag.
    Custom,
}

/// Resolves `text`.
pub(super) fn resolve(text: &str, form: Form<'_>) -> Result<Scalar, String> {
    let wrong = |found: &Scalar| Err(format!("cannot read {} {text:?} as {form:?}", found.name()));
    match form {
        Form::Plain => plain(text),
        Form::Core("binary") => {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(text.replace(['\n', '\r', ' '], ""))
                .map_err(|_| "!!binary holds invalid base64".to_owned())?;
            String::from_utf8(bytes).map(Scalar::Text).map_err(|_| "!!binary holds no UTF-8 text".to_owned())
        }
        Form::Core("int" | "bool" | "null" | "float" | "timestamp") => {
            let found = plain(text)?;
            match (form, &found) {
                (Form::Core("int"), Scalar::Int(_) | Scalar::Uint(_))
                | (Form::Core("bool"), Scalar::Bool(_))
                | (Form::Core("null"), Scalar::Null)
                | (Form::Core("float"), Scalar::Float(_))
                | (Form::Core("timestamp"), Scalar::Text(_)) => Ok(found),
                #[expect(clippy::cast_precision_loss, reason = "the tag asks for a float")]
                (Form::Core("float"), Scalar::Int(number)) => Ok(Scalar::Float(*number as f64)),
                _ => wrong(&found),
            }
        }
        Form::Quoted | Form::Custom | Form::Core(_) => Ok(Scalar::Text(text.to_owned())),
    }
}

fn plain(text: &str) -> Result<Scalar, String> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Scalar::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Scalar::Bool(false)
        }
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf"
        | "-.Inf" | "-.INF" => return Err(format!("{text} has no form in JSON")),
        _ => match text.as_bytes()[0] {
            b'.' => float(text).unwrap_or_else(|| Scalar::Text(text.to_owned())),
            b'+' | b'-' | b'0'..=b'9' if !is_timestamp(text) => {
                number(&text.replace('_', "")).unwrap_or_else(|| Scalar::Text(text.to_owned()))
            }
            _ => Scalar::Text(text.to_owned()),
        },
    })
}

/// A date stays text even where removing `_` would leave a number; none of them parses as one otherwise.
fn is_timestamp(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    digits == 4 && text.as_bytes().get(4) == Some(&b'-')
}

/// Integers in the bases that Go reads, then floats.
fn number(text: &str) -> Option<Scalar> {
    let (is_negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, body) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    let is_digits = !body.is_empty() && body.chars().all(|c| c.is_digit(base));
    let Some(size) = u64::from_str_radix(body, base).ok().filter(|_| is_digits) else {
        return float(text);
    };
    let signed = if is_negative { 0i64.checked_sub_unsigned(size) } else { i64::try_from(size).ok() };
    match signed {
        Some(number) => Some(Scalar::Int(number)),
        // Go reads the unsigned form without a sign only.
        None if text.as_bytes()[0].is_ascii_digit() => Some(Scalar::Uint(size)),
        None => float(text),
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`, finite.
fn float(text: &str) -> Option<Scalar> {
    let body = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = body.split_once(['e', 'E']).map_or((body, None), |(m, e)| (m, Some(e)));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let has_digits = if whole.is_empty() { !fraction.is_empty() } else { true };
    let exponent_fits = exponent.is_none_or(|part| {
        let digits = part.strip_prefix(['-', '+']).unwrap_or(part);
        !digits.is_empty() && all_digits(digits)
    });
    if !(has_digits && all_digits(whole) && all_digits(fraction) && exponent_fits) {
        return None;
    }
    text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Scalar::Float)
}

impl Scalar {
    fn name(&self) -> &'static str {
        match self {
            Scalar::Null => "null",
            Scalar::Bool(_) => "bool",
            Scalar::Int(_) | Scalar::Uint(_) => "int",
            Scalar::Float(_) => "float",
            Scalar::Text(_) => "text",
        }
    }

    /// The JSON value; integral floats become integers, as they do on the way through kubectl.
    pub(super) fn into_value(self) -> Value {
        match self {
            Scalar::Null => Value::Null,
            Scalar::Bool(flag) => Value::Bool(flag),
            Scalar::Int(number) => Value::from(number),
            Scalar::Uint(number) => Value::from(number),
            Scalar::Float(number) => float_value(number),
            Scalar::Text(text) => Value::String(text),
        }
    }

    /// The scalar as the name of a field.
    pub(super) fn into_key(self) -> Result<String, String> {
        match self {
            Scalar::Null => Err("null cannot be the name of a field".to_owned()),
            Scalar::Bool(flag) => Ok(flag.to_string()),
            Scalar::Int(number) => Ok(number.to_string()),
            Scalar::Text(text) => Ok(text),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the name is printed with 32 bits by kubectl too"
            )]
            Scalar::Float(number) if number == 0.0 || (1e-4..1e6).contains(&number.abs()) => {
                Ok((number as f32).to_string())
            }
            Scalar::Uint(_) | Scalar::Float(_) => {
                Err("such a number cannot be the name of a field".to_owned())
            }
        }
    }
}

/// A float as kubectl prints it: without a fraction if it has none.
pub(super) fn float_value(number: f64) -> Value {
    /// 2^63: the first float beyond 64 bits with sign.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
    if number.fract() == 0.0 && number.abs() < BEYOND {
        Value::from(number as i64)
    } else {
        Value::from(number)
    }
}
