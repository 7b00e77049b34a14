//! Who may ask: administrators, by bearer tokens of which the hub keeps only keyed hashes.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::service::{Caller, Secret};

/// Random bytes of a token and of a record's salt: nobody guesses 256 bits, so one round of HMAC is enough.
const TOKEN_BYTES: usize = 32;
/// How a token begins, so that scanners for leaked secrets can find it.
const TOKEN_PREFIX: &str = "tat_";
/// Name of the administrator that is made at first start.
const FIRST_NAME: &str = "admin";
/// Largest file of records, in bytes, and longest token that is looked at.
const FILE_BYTES_MAX: u64 = 256 * 1024;
const TOKEN_BYTES_MAX: usize = 256;

/// Why the file of administrators cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read or written.
    #[error("use the administrators' file {path}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It is not what this program writes.
    #[error("understand the administrators' file {path}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where it goes wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A record's salt or tag is not base64, or the file names nobody.
    #[error("the administrators' file {path} holds no usable record", path = path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no random numbers.
    #[error("make a token: no random numbers")]
    Random,
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tokens: Vec<Record>,
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    name: String,
    salt: String,
    tag: String,
}

/// Everyone who may ask.
#[derive(Clone)]
pub struct Keyring {
    entries: Arc<Vec<Entry>>,
}

struct Entry {
    name: String,
    key: hmac::Key,
    tag: Vec<u8>,
}

/// A keyring, and the token that was just made for it, if it was.
pub struct Opened {
    /// Everyone who may ask.
    pub keyring: Keyring,
    /// The first administrator's token: only now, and never again.
    pub fresh: Option<Secret>,
}

impl Keyring {
    /// Reads the file at `path`, or makes it with one administrator.
    ///
    /// # Errors
    /// The file cannot be read, written or understood, or the system gives no random numbers.
    pub fn open(path: &Path) -> Result<Opened, Error> {
        let failed = |source| Error::File { path: path.to_owned(), source };
        match fs::metadata(path) {
            Ok(meta) if meta.len() > FILE_BYTES_MAX => Err(failed(io::ErrorKind::FileTooLarge.into())),
            Ok(_) => {
                let text = fs::read(path).map_err(failed)?;
                let file: File = serde_json::from_slice(&text)
                    .map_err(|source| Error::Syntax { path: path.to_owned(), source })?;
                let entries: Option<Vec<Entry>> = file.tokens.into_iter().map(Entry::read).collect();
                match entries {
                    Some(entries) if !entries.is_empty() => {
                        Ok(Opened { keyring: Keyring { entries: Arc::new(entries) }, fresh: None })
                    }
                    _ => Err(Error::Empty { path: path.to_owned() }),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (token, record) = make(FIRST_NAME)?;
                let file = File { tokens: vec![record] };
                let text = serde_json::to_vec_pretty(&file)
                    .map_err(|source| Error::Syntax { path: path.to_owned(), source })?;
                write_private(path, &text).map_err(failed)?;
                let entries: Vec<Entry> = file.tokens.into_iter().filter_map(Entry::read).collect();
                Ok(Opened { keyring: Keyring { entries: Arc::new(entries) }, fresh: Some(token) })
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Whose token this is. Every record is compared, each in constant time.
    pub fn caller(&self, token: &str) -> Option<Caller> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let mut found = None;
        for entry in self.entries.iter() {
            if hmac::verify(&entry.key, token.as_bytes(), &entry.tag).is_ok() {
                found = Some(Caller { name: entry.name.clone() });
            }
        }
        found
    }
}

impl Entry {
    fn read(record: Record) -> Option<Entry> {
        let (salt, tag) = (STANDARD.decode(record.salt).ok()?, STANDARD.decode(record.tag).ok()?);
        let long_enough = salt.len() >= TOKEN_BYTES && tag.len() == 32;
        long_enough.then(|| Entry { name: record.name, key: hmac::Key::new(hmac::HMAC_SHA256, &salt), tag })
    }
}

/// Lets a request through with its [`Caller`], or not at all.
impl Interceptor for Keyring {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let token =
            request.metadata().get("authorization").and_then(|value| value.to_str().ok()).and_then(bearer);
        let caller = token.and_then(|token| self.caller(token)).ok_or(super::Error::Unauthenticated)?;
        request.extensions_mut().insert(caller);
        Ok(request)
    }
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn make(name: &str) -> Result<(Secret, Record), Error> {
    let random = SystemRandom::new();
    let mut bytes = [0u8; TOKEN_BYTES];
    random.fill(&mut bytes).map_err(|_| Error::Random)?;
    let token = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let mut salt = [0u8; TOKEN_BYTES];
    random.fill(&mut salt).map_err(|_| Error::Random)?;
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &salt), token.as_bytes());
    let record = Record { name: name.to_owned(), salt: STANDARD.encode(salt), tag: STANDARD.encode(tag) };
    Ok((Secret(token), record))
}

/// Writes a file that only its owner can read, whole or not at all.
pub(super) fn write_private(path: &Path, text: &[u8]) -> io::Result<()> {
    let next = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => fs::File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_token_is_made_once_and_known_ever_after() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("administrators.json");
        let opened = Keyring::open(&path).unwrap();
        let token = opened.fresh.unwrap().0;
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(!fs::read_to_string(&path).unwrap().contains(&token), "the token itself must not be stored");

        let again = Keyring::open(&path).unwrap();
        assert!(again.fresh.is_none());
        assert_eq!(again.keyring.caller(&token), Some(Caller { name: "admin".into() }));
        for wrong in ["", "tat_", &token[..token.len() - 1], &format!("{token}x"), &"x".repeat(300)] {
            assert_eq!(again.keyring.caller(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_file_that_names_nobody_lets_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("administrators.json");
        for text in
            ["{\"tokens\":[]}", "{\"tokens\":[{\"name\":\"a\",\"salt\":\"\",\"tag\":\"\"}]}", "", "[]"]
        {
            fs::write(&path, text).unwrap();
            assert!(Keyring::open(&path).is_err(), "{text}");
        }
    }

    #[test]
    fn only_bearer_tokens_are_read() {
        let cases = [("Bearer x", Some("x")), ("bearer  x ", Some("x")), ("Basic x", None), ("x", None)];
        for (header, token) in cases {
            assert_eq!(bearer(header), token, "{header}");
        }
    }
}
