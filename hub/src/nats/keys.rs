//! The hub's NATS identities: made at the first start, kept as files that only their owner reads, never shown.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nkeys::{KeyPair, KeyPairType};
use serde_json::Value;
use taffrail_core::id::AccountKey;
use taffrail_core::time::{At, Span};
use taffrail_runtime::nats::Login;

use super::{Error, accounts, jwt};

/// Longest life of an agent's credential (security, 3.2).
pub const AGENT_LIFE_MAX: Span = Span::secs(24 * 60 * 60);
/// Largest key or credential file that is read, in bytes; theirs are below 5 KiB.
const FILE_MAX: u64 = 64 * 1024;

/// Public key of a NATS user (`U` and 55 of base32), checked whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UserKey(String);

impl UserKey {
    /// Reads a user's public key.
    ///
    /// # Errors
    /// [`Error::NotUser`] for another kind of key, or one with a wrong checksum.
    pub fn parse(text: &str) -> Result<UserKey, Error> {
        let bad = || Error::NotUser { text: text.chars().take(60).collect() };
        let pair = KeyPair::from_public_key(text).map_err(|_| bad())?;
        if pair.key_pair_type() == KeyPairType::User && pair.public_key() == text {
            Ok(UserKey(text.to_owned()))
        } else {
            Err(bad())
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Whose server it is, and how its system account is entered.
enum Operator {
    /// The hub runs the server: all keys are its own.
    Own(Box<Own>),
    /// The server is run by others, who gave a credential for the system account.
    Others(Login),
}

struct Own {
    identity: KeyPair,
    system: KeyPair,
}

/// The hub's NATS keys.
pub struct Keys {
    directory: PathBuf,
    operator: Operator,
    /// Signs accounts for the operator.
    signing: KeyPair,
    hub: KeyPair,
}

impl fmt::Debug for Keys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Keys({})", self.directory.display())
    }
}

/// The JWTs that stand in the configuration of a server that the hub runs.
#[derive(Clone, Debug)]
pub(super) struct Preload {
    pub(super) operator: String,
    pub(super) system: (String, String),
    pub(super) hub: (String, String),
}

impl Keys {
    /// Opens the keys of a hub that runs its own server; makes them if the directory holds none.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::Read`] and [`Error::Key`].
    pub fn open(directory: &Path) -> Result<Keys, Error> {
        make_directory(&directory.join("accounts"))?;
        let one = |name: &str, kind| keep(&directory.join(name), kind);
        let identity = one("operator.nk", KeyPairType::Operator)?;
        let signing = one("operator-signing.nk", KeyPairType::Operator)?;
        let system = one("system.nk", KeyPairType::Account)?;
        let hub = one("hub.nk", KeyPairType::Account)?;
        let operator = Operator::Own(Box::new(Own { identity, system }));
        Ok(Keys { directory: directory.to_owned(), operator, signing, hub })
    }

    /// Opens the keys of a hub on an outside server: a file with an operator signing key's seed (`SO...`), and
    /// a credentials file of a user of the system account. The hub's account key is made here all the same;
    /// put it in force with [`super::Accounts::push_hub`].
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Key`] and [`Error::NoCredential`].
    pub fn bootstrap(directory: &Path, signing: &Path, system: &Path) -> Result<Keys, Error> {
        make_directory(&directory.join("accounts"))?;
        let signing = load(signing, &KeyPairType::Operator)?;
        let text = read(system)?;
        let missing = || Error::NoCredential { path: system.to_owned() };
        let jwt = between(&text, "NATS USER JWT").ok_or_else(missing)?;
        let seed = between(&text, "USER NKEY SEED").ok_or_else(missing)?;
        let system = Login::new(&jwt, &seed).map_err(Error::Login)?;
        let hub = keep(&directory.join("hub.nk"), KeyPairType::Account)?;
        Ok(Keys { directory: directory.to_owned(), operator: Operator::Others(system), signing, hub })
    }

    /// Public key of the hub's account.
    pub fn hub_account(&self) -> String {
        self.hub.public_key()
    }

    /// The login of the hub's own connection: every right inside the hub's account. The user is made for this
    /// process alone and its seed is never written, so it ends with the process and needs no expiry.
    ///
    /// # Errors
    /// [`Error::Sign`] and [`Error::Login`].
    pub fn hub_login(&self, at: At) -> Result<Login, Error> {
        whole_login(&self.hub, "taffrail hub", at)
    }

    /// The login for the system account, by which accounts are put in force.
    ///
    /// # Errors
    /// [`Error::Sign`] and [`Error::Login`].
    pub fn system_login(&self, at: At) -> Result<Login, Error> {
        match &self.operator {
            Operator::Own(own) => whole_login(&own.system, "taffrail hub (accounts)", at),
            Operator::Others(system) => Ok(system.clone()),
        }
    }

    /// Makes the account of a new cluster: its public key is the cluster's identity. The account's own seed is
    /// thrown away; what is kept is the key that signs its agents.
    ///
    /// # Errors
    /// [`Error::Write`] and [`Error::Sign`].
    pub fn make_account(&self) -> Result<AccountKey, Error> {
        let account = accounts::account_key(&KeyPair::new_account());
        store(&self.account_path(&account), &KeyPair::new_account())?;
        Ok(account)
    }

    /// Credential of a cluster's agent, whose key `user` was made in the cluster: a JWT that ends after `life`,
    /// at most 24 h, and the time of its end.
    ///
    /// # Errors
    /// [`Error::NoAccount`] if the account was not made here or has been removed.
    pub fn agent_jwt(
        &self,
        account: &AccountKey,
        user: &UserKey,
        at: At,
        life: Span,
    ) -> Result<(String, At), Error> {
        let expires = at.plus(life.min(AGENT_LIFE_MAX));
        let about = jwt::About { subject: user.as_str(), name: "agent", at, expires: Some(expires) };
        let jwt = jwt::encode(&self.account_key(account)?, about, jwt::scoped_user(account.as_str()))?;
        Ok((jwt, expires))
    }

    /// The key that signs accounts.
    pub(super) fn operator(&self) -> &KeyPair {
        &self.signing
    }

    /// The key that signs a cluster's agents.
    pub(super) fn account_key(&self, account: &AccountKey) -> Result<KeyPair, Error> {
        let path = self.account_path(account);
        if !path.try_exists().map_err(|source| Error::Read { path: path.clone(), source })? {
            return Err(Error::NoAccount { account: account.clone() });
        }
        load(&path, &KeyPairType::Account)
    }

    /// Throws the signing key of an account away: of one that was removed, or that no cluster came to use. None is no error.
    ///
    /// # Errors
    /// [`Error::Write`] if the file stays.
    pub fn remove_account(&self, account: &AccountKey) -> Result<(), Error> {
        let path = self.account_path(account);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Write { path, source }),
            _ => Ok(()),
        }
    }

    /// The JWTs for the server's configuration. Kept as files and made anew only when they say something else,
    /// so that the configuration stays the same from start to start.
    pub(super) fn preload(&self, at: At) -> Result<Preload, Error> {
        let Operator::Own(own) = &self.operator else {
            return Err(Error::NotOurServer);
        };
        let (Own { identity, system }, signing) = (own.as_ref(), &self.signing);
        let (operator_key, system_key, hub_key) =
            (identity.public_key(), system.public_key(), self.hub.public_key());
        let body = jwt::operator(&signing.public_key(), &system_key);
        let hub_body = accounts::hub_account();
        Ok(Preload {
            operator: self.kept("operator.jwt", identity, &operator_key, body, at)?,
            system: (
                system_key.clone(),
                self.kept("system.jwt", signing, &system_key, jwt::plain_account(), at)?,
            ),
            hub: (hub_key.clone(), self.kept("hub.jwt", signing, &hub_key, hub_body, at)?),
        })
    }

    /// A short mark of the operator, the same from start to start, safe to show.
    pub(super) fn mark(&self) -> String {
        self.hub.public_key()[1..13].to_ascii_lowercase()
    }

    fn kept(
        &self,
        name: &str,
        signer: &KeyPair,
        subject: &str,
        body: Value,
        at: At,
    ) -> Result<String, Error> {
        let path = self.directory.join(name);
        let people = name.trim_end_matches(".jwt");
        let fresh = jwt::encode(signer, jwt::About { subject, name: people, at, expires: None }, body)?;
        let old = match read(&path) {
            Ok(old) => Some(old),
            Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        match old {
            Some(old) if jwt::says_the_same(&old, &fresh) => Ok(old.trim().to_owned()),
            _ => write_secret(&path, &fresh).map(|()| fresh),
        }
    }

    fn account_path(&self, account: &AccountKey) -> PathBuf {
        self.directory.join("accounts").join(format!("{account}.nk"))
    }
}

fn whole_login(account: &KeyPair, name: &str, at: At) -> Result<Login, Error> {
    let user = KeyPair::new_user();
    let about = jwt::About { subject: &user.public_key(), name, at, expires: None };
    let jwt = jwt::encode(account, about, jwt::whole_user())?;
    Login::new(&jwt, &user.seed().map_err(Error::Sign)?).map_err(Error::Login)
}

/// The key in a file, made first if there is none.
fn keep(path: &Path, kind: KeyPairType) -> Result<KeyPair, Error> {
    match load(path, &kind) {
        Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            let pair = KeyPair::new(kind);
            store(path, &pair)?;
            Ok(pair)
        }
        other => other,
    }
}

fn load(path: &Path, kind: &KeyPairType) -> Result<KeyPair, Error> {
    let bad = || Error::Key { path: path.to_owned() };
    let pair = KeyPair::from_seed(read(path)?.trim()).map_err(|_| bad())?;
    if pair.key_pair_type() == *kind { Ok(pair) } else { Err(bad()) }
}

fn store(path: &Path, pair: &KeyPair) -> Result<(), Error> {
    write_secret(path, &pair.seed().map_err(Error::Sign)?)
}

fn read(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let length = fs::metadata(path).map_err(failed)?.len();
    if length > FILE_MAX {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "longer than 64 KiB")));
    }
    fs::read_to_string(path).map_err(failed)
}

/// Written beside its place, synced, then moved there: a crash leaves the old file or the new one.
fn write_secret(path: &Path, text: &str) -> Result<(), Error> {
    let failed = |source| Error::Write { path: path.to_owned(), source };
    let beside = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .map_err(failed)?;
    file.write_all(format!("{text}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)?;
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::File::open(parent).and_then(|directory| directory.sync_all()).map_err(failed)
}

pub(super) fn make_directory(path: &Path) -> Result<(), Error> {
    let failed = |source| Error::Write { path: path.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)
}

/// The text between the two marks of one part of a credentials file.
fn between(text: &str, what: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {what}-----"))?;
    let (inside, _) = rest.split_once("---")?;
    Some(inside.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_the_same_after_a_restart_and_only_their_owner_reads_them() {
        let directory = tempfile::tempdir().unwrap();
        let first = Keys::open(directory.path()).unwrap();
        let account = first.make_account().unwrap();
        let before = first.preload(At(1_000)).unwrap();
        let again = Keys::open(directory.path()).unwrap();
        let after = again.preload(At(2_000)).unwrap();
        assert_eq!((before.operator, before.system, before.hub), (after.operator, after.system, after.hub));
        again.account_key(&account).unwrap();
        for file in fs::read_dir(directory.path()).unwrap().map(Result::unwrap) {
            let mode = file.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}", file.path().display());
        }
    }

    #[test]
    fn a_key_of_another_kind_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        store(&directory.path().join("operator.nk"), &KeyPair::new_user()).unwrap();
        let error = Keys::open(directory.path()).unwrap_err();
        assert!(matches!(error, Error::Key { .. }), "{error}");
    }

    #[test]
    fn a_credential_lives_at_most_a_day_and_names_no_rights_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let keys = Keys::open(directory.path()).unwrap();
        let account = keys.make_account().unwrap();
        let user = UserKey::parse(&KeyPair::new_user().public_key()).unwrap();
        let (jwt, expires) = keys.agent_jwt(&account, &user, At(0), Span::secs(1_000_000)).unwrap();
        assert_eq!(expires, At(AGENT_LIFE_MAX.0));
        let claims = jwt::claims(&jwt).unwrap();
        assert_eq!(claims["exp"], 24 * 60 * 60);
        assert!(claims["nats"].get("pub").is_none() && claims["nats"].get("bearer_token").is_none());
    }

    #[test]
    fn only_user_keys_are_user_keys() {
        for text in ["", "U", &KeyPair::new_account().public_key()] {
            assert!(UserKey::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let directory = tempfile::tempdir().unwrap();
        let keys = Keys::open(directory.path()).unwrap();
        let seed = fs::read_to_string(directory.path().join("operator.nk")).unwrap();
        assert!(!format!("{keys:?}").contains(seed.trim()));
    }
}
