//! Settings of the command: the context file that says where the hub is, and the environment.
//!
//! The file is like kubeconfig: `current-context`, and `contexts` with `name`, `hub`, `ca` (PEM, in the file),
//! and `token` or `token-file`. It holds a secret, so others must not be able to read it.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Largest context file and largest secret file that is read, in bytes: a hundred contexts with certificate chains.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What the command takes from the environment.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Where the context file is if nothing else says so.
    pub default_file: PathBuf,
    /// `TAFFRAIL_OPTS`: flags put before those of the command line.
    pub options: Option<String>,
    /// `NO_COLOR` is set and not empty.
    pub no_color: bool,
}

impl Environment {
    /// Reads it; the only place that does (beside clap, for `TAFFRAIL_CONFIG`).
    pub fn read() -> Environment {
        let text = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let home = || text("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
        let folder = text("XDG_CONFIG_HOME").map_or_else(|| home().join(".config"), PathBuf::from);
        Environment {
            default_file: folder.join("taffrail").join("config.yaml"),
            options: text("TAFFRAIL_OPTS").and_then(|value| value.into_string().ok()),
            no_color: text("NO_COLOR").is_some(),
        }
    }
}

/// A token or password; shown nowhere.
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("(secret)")
    }
}

/// The context file.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct File {
    /// Name of the context that is used when none is named.
    #[serde(default)]
    pub current_context: Option<String>,
    /// Every hub this person can speak to.
    #[serde(default)]
    pub contexts: Vec<Context>,
}

/// How to reach one hub.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Context {
    /// Its name in this file.
    pub name: String,
    /// `https://host:port`.
    pub hub: String,
    /// Certificates to trust, as PEM; without them the hub's certificate cannot be checked and nothing is sent.
    pub ca: String,
    /// Name to expect in the hub's certificate, where it differs from the host in `hub`.
    #[serde(default)]
    pub server_name: Option<String>,
    /// The bearer token.
    #[serde(default)]
    pub token: Option<Secret>,
    /// A file that holds it instead, relative to the context file.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
}

impl File {
    /// Reads and checks the file at `path`; a missing file is an empty one.
    ///
    /// # Errors
    /// The file cannot be read, others can read it, or it holds something unknown.
    pub fn load(path: &Path) -> Result<File, Error> {
        let text = match read_private(path) {
            Ok(text) => text,
            Err(Refused::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(File::default()),
            Err(Refused::Io(source)) => return Err(Error::ContextFile { path: path.to_owned(), source }),
            Err(Refused::Mode(mode)) => return Err(Error::OpenMode { path: path.to_owned(), mode }),
        };
        if text.trim().is_empty() {
            return Ok(File::default());
        }
        serde_saphyr::from_str(&text).map_err(|error| Error::ContextSyntax {
            path: path.to_owned(),
            detail: first_line(&error.to_string()),
        })
    }

    /// The context called `name`, or the current one.
    ///
    /// # Errors
    /// None is chosen, or none has that name.
    pub fn choose(&self, path: &Path, name: Option<&str>) -> Result<&Context, Error> {
        let name = name
            .or(self.current_context.as_deref())
            .ok_or_else(|| Error::NoContext { path: path.to_owned() })?;
        let known = || self.contexts.iter().map(|context| context.name.clone()).collect();
        self.contexts
            .iter()
            .find(|context| context.name == name)
            .ok_or_else(|| Error::UnknownContext { name: name.to_owned(), known: known() })
    }
}

impl Context {
    /// The bearer token, from the file that holds it if there is one; `config` is the context file's path.
    ///
    /// # Errors
    /// The token's file cannot be read or others can read it, or no token is given at all.
    pub fn token(&self, config: &Path) -> Result<Secret, Error> {
        match (&self.token, &self.token_file) {
            (Some(token), None) => Ok(token.clone()),
            (None, Some(file)) => {
                let base = config.parent().unwrap_or_else(|| Path::new("."));
                read_secret(&base.join(file))
            }
            _ => Err(Error::ContextSyntax {
                path: config.to_owned(),
                detail: format!("context {} needs either token or token-file", self.name),
            }),
        }
    }
}

/// Reads a secret from a file, without the line end that editors add.
///
/// # Errors
/// The file cannot be read, is empty or too long, or other users can read it.
pub fn read_secret(path: &Path) -> Result<Secret, Error> {
    let text = read_private(path).map_err(|refused| match refused {
        Refused::Io(source) => Error::Secret { path: path.to_owned(), source },
        Refused::Mode(mode) => Error::OpenMode { path: path.to_owned(), mode },
    })?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        let source = io::Error::new(io::ErrorKind::InvalidData, "the file is empty");
        return Err(Error::Secret { path: path.to_owned(), source });
    }
    Ok(Secret(secret.to_owned()))
}

/// Makes `name` the current context in the file at `path`, leaving every other line as it is.
///
/// # Errors
/// The file cannot be read or replaced, or has no such context.
pub fn use_context(path: &Path, name: &str) -> Result<(), Error> {
    File::load(path)?.choose(path, Some(name))?;
    let failed = |source| Error::ContextFile { path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(failed)?;
    let line = format!("current-context: {}", quoted(name));
    let mut lines: Vec<&str> = text.lines().collect();
    match lines.iter().position(|existing| existing.starts_with("current-context:")) {
        Some(at) => lines[at] = &line,
        None => lines.insert(usize::from(lines.first() == Some(&"---")), &line),
    }
    let next = path.with_extension(format!("{}.new", std::process::id()));
    write_private(&next, &(lines.join("\n") + "\n")).map_err(failed)?;
    fs::rename(&next, path).map_err(failed)
}

/// A name in single quotes, so that YAML takes it as text whatever it looks like.
fn quoted(name: &str) -> String {
    format!("'{}'", name.replace('\'', "''"))
}

enum Refused {
    Io(io::Error),
    Mode(u32),
}

fn read_private(path: &Path) -> Result<String, Refused> {
    let file = fs::File::open(path).map_err(Refused::Io)?;
    let meta = file.metadata().map_err(Refused::Io)?;
    let mode = meta.mode() & 0o777;
    if meta.is_file() && mode & 0o077 != 0 {
        return Err(Refused::Mode(mode));
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(Refused::Io)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(Refused::Io(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "the file is larger than 1 MiB",
        )));
    }
    Ok(text)
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const TWO: &str = "# mine\ncurrent-context: one\ncontexts:\n- name: one\n  hub: https://a:1\n  ca: PEM\n  token: t\n- name: two\n  hub: https://b:1\n  ca: PEM\n  token-file: two.token\n";

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("taffrail-config-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let path = folder("mode").join("config.yaml");
        write_private(&path, TWO).unwrap();
        assert_eq!(File::load(&path).unwrap().contexts.len(), 2);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(File::load(&path), Err(Error::OpenMode { mode: 0o640, .. })));
    }

    #[test]
    fn using_a_context_changes_one_line() {
        let path = folder("use").join("config.yaml");
        write_private(&path, TWO).unwrap();
        use_context(&path, "two").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, TWO.replace("current-context: one", "current-context: 'two'"));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(File::load(&path).unwrap().choose(&path, None).unwrap().name, "two");
        assert!(matches!(use_context(&path, "three"), Err(Error::UnknownContext { .. })));
    }

    #[test]
    fn a_token_may_stand_in_a_file_beside() {
        let folder = folder("token");
        let path = folder.join("config.yaml");
        write_private(&path, TWO).unwrap();
        write_private(&folder.join("two.token"), "secret\n").unwrap();
        let file = File::load(&path).unwrap();
        let two = file.choose(&path, Some("two")).unwrap();
        assert_eq!(two.token(&path).unwrap(), Secret("secret".into()));
        assert!(!format!("{file:?}").contains("\"t\""), "a token must not be in debug output");
    }

    #[test]
    fn a_missing_file_names_no_hub() {
        let path = folder("none").join("missing.yaml");
        let file = File::load(&path).unwrap();
        assert!(matches!(file.choose(&path, None), Err(Error::NoContext { .. })));
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_name() {
        let path = folder("unknown").join("config.yaml");
        write_private(&path, "contexts: []\ncolour: red\n").unwrap();
        let error = File::load(&path).unwrap_err();
        assert!(error.cause().unwrap().contains("colour"), "{:?}", error.cause());
    }
}
