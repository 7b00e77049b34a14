//! Reads declarations of apps: `Application` of Argo CD and `App` of Taffrail.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use serde_json::Value;

use super::{
    declared::{Declared, Destination, MaxDeletes, Refused, Render, SyncPolicy, Warning},
    fields::{APP_ANNOTATIONS, APP_FIELDS, APP_OPTIONS, APPLICATION_FIELDS, FIELDS, Row, Verdict, verdict},
};
use crate::{
    id::{AppName, ClusterName},
    selector::Selector,
};

/// The address by which a cluster calls itself.
const HERE: &str = "https://kubernetes.default.svc";
/// The name by which Argo CD calls its own cluster.
const HERE_NAME: &str = "in-cluster";
/// Annotation with the app's own deletion budget: `3` or `20%`.
const MAX_DELETES: &str = "taffrail.dev/max-deletes";
/// Longest text of one field, in bytes.
const TEXT_BYTES_MAX: usize = 2_000;

/// Which format a declaration has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `argoproj.io/v1alpha1`, `Application`.
    Application,
    /// `taffrail.dev/v1alpha1`, `App`.
    App,
}

/// An app, and what the author should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The app.
    pub declared: Declared,
    /// Fields that are accepted without their effect, sorted by pointer.
    pub warnings: Vec<Warning>,
}

/// The dialect of `object`; `None` if it declares no app.
pub fn dialect(object: &Value) -> Option<Dialect> {
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    match (text("apiVersion"), text("kind")) {
        ("argoproj.io/v1alpha1", "Application") => Some(Dialect::Application),
        ("taffrail.dev/v1alpha1", "App") => Some(Dialect::App),
        _ => None,
    }
}

/// Reads the declaration of an app. Nothing in it is ignored in silence: a field is honoured, warned of or refused.
///
/// # Errors
/// [`Refused`] with the field and the reason.
pub fn parse(object: &Value) -> Result<Parsed, Refused> {
    let dialect = dialect(object).ok_or_else(|| refused("/kind", "not an Application or App"))?;
    let own = match dialect {
        Dialect::Application => APPLICATION_FIELDS,
        Dialect::App => APP_FIELDS,
    };
    let mut warnings = Vec::new();
    judge_fields(object, "", &[FIELDS, own], &mut warnings)?;
    judge_annotations(object, APP_ANNOTATIONS, &mut warnings)?;
    let name = AppName::parse(required(object, "/metadata/name")?)
        .map_err(|error| refused("/metadata/name", error.to_string()))?;
    let sync = sync_policy(object, &mut warnings)?;
    let declared = Declared {
        name,
        repo_url: required(object, "/spec/source/repoURL")?.to_string(),
        path: path(object)?,
        target_revision: text(object, "/spec/source/targetRevision")?.unwrap_or("HEAD").to_string(),
        render: render(object)?,
        destination: destination(object, dialect)?,
        namespace: namespace(object)?,
        sync,
        max_deletes: max_deletes(object)?,
    };
    warnings.sort();
    Ok(Parsed { declared, warnings })
}

pub(super) fn refused(pointer: impl Into<String>, message: impl Into<String>) -> Refused {
    Refused { pointer: pointer.into(), message: message.into() }
}

/// A JSON pointer one level deeper.
pub(super) fn below(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn judge_fields(
    value: &Value,
    pointer: &str,
    tables: &[&[Row]],
    warnings: &mut Vec<Warning>,
) -> Result<(), Refused> {
    match verdict(tables, pointer) {
        _ if value.is_null() => Ok(()),
        None => Err(refused(pointer, "unknown field")),
        Some(Verdict::Honoured) => Ok(()),
        Some(Verdict::Warned(why)) => {
            warnings.push(Warning { pointer: pointer.to_string(), message: why.to_string() });
            Ok(())
        }
        Some(Verdict::Refused(why)) => Err(refused(pointer, why)),
        Some(Verdict::Section) => {
            let fields = value.as_object().ok_or_else(|| refused(pointer, "must be a map"))?;
            if pointer == "/metadata/annotations" {
                return Ok(());
            }
            fields
                .iter()
                .try_for_each(|(name, value)| judge_fields(value, &below(pointer, name), tables, warnings))
        }
    }
}

/// Judges the names of all annotations of `object`; values are read by whoever honours them.
pub(super) fn judge_annotations(
    object: &Value,
    table: &[Row],
    warnings: &mut Vec<Warning>,
) -> Result<(), Refused> {
    let place = "/metadata/annotations";
    let annotations = match object.pointer(place) {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Object(annotations)) => annotations,
        Some(_) => return Err(refused(place, "must be a map")),
    };
    for (name, value) in annotations {
        let pointer = below(place, name);
        if !value.is_string() {
            return Err(refused(pointer, "must be text (quote it)"));
        }
        match verdict(&[table], name) {
            Some(Verdict::Refused(why)) => return Err(refused(pointer, why)),
            Some(Verdict::Warned(why)) => warnings.push(Warning { pointer, message: why.to_string() }),
            Some(Verdict::Honoured | Verdict::Section) | None => {}
        }
    }
    Ok(())
}

fn text<'a>(object: &'a Value, pointer: &str) -> Result<Option<&'a str>, Refused> {
    match object.pointer(pointer) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() > TEXT_BYTES_MAX => {
            Err(refused(pointer, format!("longer than {TEXT_BYTES_MAX} bytes")))
        }
        Some(Value::String(text)) if text.chars().any(char::is_control) => {
            Err(refused(pointer, "holds a control character"))
        }
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(_) => Err(refused(pointer, "must be text (quote it)")),
    }
}

fn required<'a>(object: &'a Value, pointer: &str) -> Result<&'a str, Refused> {
    text(object, pointer)?.ok_or_else(|| refused(pointer, "is missing"))
}

fn flag(object: &Value, pointer: &str) -> Result<Option<bool>, Refused> {
    match object.pointer(pointer) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(refused(pointer, "must be true or false")),
    }
}

fn path(object: &Value) -> Result<String, Refused> {
    let pointer = "/spec/source/path";
    let given = required(object, pointer)?;
    if given.starts_with('/') {
        return Err(refused(pointer, "must be relative to the root of the repository"));
    }
    let parts: Vec<&str> = given.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") {
        return Err(refused(pointer, "must not hold .."));
    }
    Ok(parts.join("/"))
}

fn render(object: &Value) -> Result<Render, Refused> {
    let recurse = flag(object, "/spec/source/directory/recurse")?;
    let has_block = object.pointer("/spec/source/directory").is_some_and(Value::is_object);
    Ok(match recurse {
        Some(recurse) => Render::Directory { recurse },
        None if has_block => Render::Directory { recurse: false },
        None => Render::Auto,
    })
}

fn destination(object: &Value, dialect: Dialect) -> Result<Destination, Refused> {
    let place = "/spec/destination";
    let server = text(object, "/spec/destination/server")?;
    let name = text(object, "/spec/destination/name")?;
    if let Some(clusters) = object.pointer("/spec/clusters").filter(|value| !value.is_null()) {
        if server.is_some() || name.is_some() {
            return Err(refused(place, "clusters and a destination by name or server exclude each other"));
        }
        let selector = Selector::parse(clusters)
            .map_err(|error| refused(format!("/spec/clusters{}", error.pointer), error.message))?;
        return Ok(Destination::Selector(selector));
    }
    match (server.map(|server| server.trim_end_matches('/')), name) {
        (Some(_), Some(_)) => Err(refused(place, "server and name exclude each other")),
        (Some(HERE), None) | (None, Some(HERE_NAME)) => Ok(Destination::Here),
        (Some(_), None) => Err(refused(
            "/spec/destination/server",
            format!("clusters are named by destination.name; only {HERE} is known as a server"),
        )),
        (None, Some(name)) => ClusterName::parse(name)
            .map(Destination::Cluster)
            .map_err(|error| refused("/spec/destination/name", error.to_string())),
        (None, None) => Err(match dialect {
            Dialect::Application => refused(place, "one of server and name is needed"),
            Dialect::App => refused("/spec/clusters", "is missing: say which clusters, {} for all"),
        }),
    }
}

fn namespace(object: &Value) -> Result<Option<String>, Refused> {
    let pointer = "/spec/destination/namespace";
    let Some(namespace) = text(object, pointer)? else {
        return Ok(None);
    };
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let ends = [namespace.as_bytes().first(), namespace.as_bytes().last()];
    if namespace.len() > 63 || !namespace.bytes().all(allowed) || ends.contains(&Some(&b'-')) {
        return Err(refused(pointer, "is not a name of a namespace: 1 to 63 of a-z, 0-9 and -"));
    }
    Ok(Some(namespace.to_string()))
}

fn sync_policy(object: &Value, warnings: &mut Vec<Warning>) -> Result<SyncPolicy, Refused> {
    let automated = "/spec/syncPolicy/automated";
    let is_on = |name: &str| Ok(flag(object, &below(automated, name))?.unwrap_or(false));
    let has_block = object.pointer(automated).is_some_and(Value::is_object);
    let mut sync = SyncPolicy {
        automated: has_block && flag(object, &below(automated, "enabled"))?.unwrap_or(true),
        prune: is_on("prune")?,
        self_heal: is_on("selfHeal")?,
        allow_empty: is_on("allowEmpty")?,
        create_namespace: false,
    };
    let place = "/spec/syncPolicy/syncOptions";
    let options = match object.pointer(place) {
        None | Some(Value::Null) => return Ok(sync),
        Some(Value::Array(options)) => options,
        Some(_) => return Err(refused(place, "must be a list")),
    };
    for (at, option) in options.iter().enumerate() {
        let pointer = format!("{place}/{at}");
        let option = option.as_str().ok_or_else(|| refused(pointer.clone(), "must be text"))?;
        judge_option(option, &pointer, APP_OPTIONS, warnings)?;
        match option {
            "CreateNamespace=true" => sync.create_namespace = true,
            "CreateNamespace=false" => sync.create_namespace = false,
            "Prune=false" => sync.prune = false,
            _ => {}
        }
    }
    Ok(sync)
}

/// Judges one sync option by its table.
pub(super) fn judge_option(
    option: &str,
    pointer: &str,
    table: &[Row],
    warnings: &mut Vec<Warning>,
) -> Result<(), Refused> {
    match verdict(&[table], option) {
        None => {
            let shown: String = option.chars().take(100).collect();
            Err(refused(pointer, format!("unknown sync option {shown:?}")))
        }
        Some(Verdict::Refused(why)) => Err(refused(pointer, format!("{option}: {why}"))),
        Some(Verdict::Warned(why)) => {
            warnings.push(Warning { pointer: pointer.to_string(), message: format!("{option}: {why}") });
            Ok(())
        }
        Some(Verdict::Honoured | Verdict::Section) => Ok(()),
    }
}

fn max_deletes(object: &Value) -> Result<Option<MaxDeletes>, Refused> {
    let pointer = below("/metadata/annotations", MAX_DELETES);
    let Some(given) = text(object, &pointer)? else {
        return Ok(None);
    };
    let parsed = match given.strip_suffix('%') {
        Some(percent) => percent.parse().ok().filter(|percent| *percent <= 100).map(MaxDeletes::Percent),
        None => given.parse().ok().map(MaxDeletes::Count),
    };
    parsed
        .map(Some)
        .ok_or_else(|| refused(pointer, "must be a number of objects or a percentage such as 20%"))
}
