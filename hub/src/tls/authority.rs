//! The built-in certificate authority.

use std::fmt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use taffrail_core::time::{At, Span};
use taffrail_proto::sign::{random, sha256};
use taffrail_runtime::secret;
use time::OffsetDateTime;

use super::Error;

const DAY: Span = Span::secs(86_400);
/// Life of the authority: longer than any cluster keeps its join manifest.
const CA_DAYS: u64 = 3_650;
/// Life of the server's certificate: the 90 days that public authorities use (security.md 3.2).
const SERVER_DAYS: u64 = 90;
/// Certificates begin this much in the past, for clients whose clocks are behind.
const EARLY: Span = Span::secs(3_600);
/// Always among the names, for whoever is on the same machine.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// An authority with the certificate that it issued for this hub.
pub struct Authority {
    folder: PathBuf,
    names: Vec<String>,
    ca_pem: String,
}

impl fmt::Debug for Authority {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Authority({}, {:?})", self.folder.display(), self.names)
    }
}

/// What `server.json` says about the pair beside it.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Issued {
    names: Vec<String>,
    until_ms: u64,
    /// SHA-256 over authority, certificate and key: a crash between two files is noticed and the pair issued anew.
    digest: String,
}

impl Authority {
    /// Opens the authority in `folder`, or makes it at the first start. `names` are those of the hub.
    ///
    /// # Errors
    /// If files cannot be read or written, or one half of the authority is gone.
    pub fn open(folder: &Path, names: &[String], at: At) -> Result<Authority, Error> {
        secret::make_folder(folder)?;
        let (certificate, key) = (folder.join("ca.crt"), folder.join("ca.key"));
        let ca_pem = match (secret::read(&certificate)?, secret::read(&key)?) {
            (Some(pem), Some(_)) => pem,
            (Some(_), None) => return Err(Error::Half { missing: key }),
            // The certificate is written last, so a key alone was never used.
            (None, _) => {
                let (pem, key_pem) = make_ca(at)?;
                secret::write(&key, &key_pem)?;
                secret::write(&certificate, &pem)?;
                tracing::info!(path = %certificate.display(), "certificate authority made");
                pem
            }
        };
        let mut names: Vec<String> = names.iter().cloned().chain(LOCAL.map(str::to_owned)).collect();
        names.sort();
        names.dedup();
        Ok(Authority { folder: folder.to_owned(), names, ca_pem })
    }

    /// The authority's certificate, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// File of the authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// File of the server's certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("server.crt")
    }

    /// File of the server's key.
    pub fn key(&self) -> PathBuf {
        self.folder.join("server.key")
    }

    /// Issues the server's certificate anew if there is none, a third of its life or less is left, a name changed, or the
    /// files do not fit. Returns whether it did. Called at the start and once an hour.
    ///
    /// # Errors
    /// If files cannot be read or written.
    ///
    /// # Panics
    /// Never: names and numbers are JSON.
    pub fn renew_if_due(&self, at: At) -> Result<bool, Error> {
        if self.present()?.is_some_and(|issued| issued.names == self.names && !is_due(issued.until_ms, at)) {
            return Ok(false);
        }
        let key_pem = secret::read(&self.folder.join("ca.key"))?
            .ok_or_else(|| Error::Half { missing: self.folder.join("ca.key") })?;
        let until = at.plus(Span(SERVER_DAYS * DAY.0));
        let (certificate, key) = self.issue(&key_pem, at, until)?;
        secret::write(&self.key(), &key)?;
        secret::write(&self.certificate(), &certificate)?;
        let digest = digest(&self.ca_pem, &certificate, &key);
        let issued = Issued { names: self.names.clone(), until_ms: until.0, digest };
        let text = serde_json::to_string(&issued).expect("names and numbers are JSON");
        secret::write(&self.folder.join("server.json"), &text)?;
        tracing::info!(names = ?self.names, days = SERVER_DAYS, "server certificate issued");
        Ok(true)
    }

    /// What is there, if it is whole.
    fn present(&self) -> Result<Option<Issued>, Error> {
        let read = |path: &Path| secret::read(path);
        let parts = (read(&self.certificate())?, read(&self.key())?, read(&self.folder.join("server.json"))?);
        let (Some(certificate), Some(key), Some(text)) = parts else { return Ok(None) };
        let issued: Option<Issued> = serde_json::from_str(&text).ok();
        Ok(issued.filter(|issued| issued.digest == digest(&self.ca_pem, &certificate, &key)))
    }

    fn issue(&self, ca_key_pem: &str, at: At, until: At) -> Result<(String, String), Error> {
        let failed = |source| Error::Issue { what: self.names.join(", "), source };
        let ca_key = KeyPair::from_pem(ca_key_pem).map_err(failed)?;
        let issuer = Issuer::from_ca_cert_pem(&self.ca_pem, ca_key).map_err(failed)?;
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::new(self.names.clone()).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, "taffrail-hub");
        (params.not_before, params.not_after) = (moment(At(at.0.saturating_sub(EARLY.0))), moment(until));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

fn make_ca(at: At) -> Result<(String, String), Error> {
    let failed = |source| Error::Issue { what: "the authority".to_owned(), source };
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::default();
    // A name of its own, so that two hubs' authorities are not taken for each other by clients that look at names.
    let mark = random::<8>().map(|bytes| sha256(&bytes).short()).unwrap_or_default();
    params.distinguished_name.push(DnType::CommonName, format!("Taffrail authority {mark}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = moment(At(at.0.saturating_sub(EARLY.0)));
    params.not_after = moment(at.plus(Span(CA_DAYS * DAY.0)));
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn is_due(until_ms: u64, at: At) -> bool {
    At(until_ms).since(at).0 <= SERVER_DAYS * DAY.0 / 3
}

fn digest(ca: &str, certificate: &str, key: &str) -> String {
    sha256([ca, certificate, key].join("\0").as_bytes()).to_string()
}

fn moment(at: At) -> OffsetDateTime {
    let seconds = i64::try_from(at.0 / 1_000).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Material;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::{ServerName, UnixTime};
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;
    use std::time::Duration;
    use taffrail_runtime::tls::{certificates, client_config};

    const NOW: At = At(1_900_000_000_000);

    fn names() -> Vec<String> {
        vec!["hub.example.org".to_owned(), "10.0.0.7".to_owned()]
    }

    fn after(days: u64) -> At {
        NOW.plus(Span(days * DAY.0))
    }

    /// Whether a client that trusts `ca_pem` accepts the certificate for `name` at `at`.
    fn trusted(ca_pem: &str, certificate: &Path, name: &str, at: At) -> bool {
        client_config(ca_pem).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(certificates("the authority", ca_pem).unwrap());
        let verifier = rustls::client::WebPkiServerVerifier::builder(Arc::new(roots)).build().unwrap();
        let chain = certificates("the certificate", &std::fs::read_to_string(certificate).unwrap()).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let at = UnixTime::since_unix_epoch(Duration::from_millis(at.0));
        verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], at).is_ok()
    }

    #[test]
    fn a_client_that_trusts_the_authority_accepts_every_name_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), &names(), NOW).unwrap();
        let material = Material::built_in(&authority, NOW).unwrap();
        let other = tempfile::tempdir().unwrap();
        let foreign = Authority::open(other.path(), &names(), NOW).unwrap();
        for (ca, name, at, expected) in [
            (authority.ca_pem(), "hub.example.org", NOW, true),
            (authority.ca_pem(), "10.0.0.7", NOW, true),
            (authority.ca_pem(), "localhost", NOW, true),
            (authority.ca_pem(), "127.0.0.1", NOW, true),
            (authority.ca_pem(), "elsewhere.example.org", NOW, false),
            (authority.ca_pem(), "hub.example.org", after(91), false),
            (foreign.ca_pem(), "hub.example.org", NOW, false),
        ] {
            assert_eq!(trusted(ca, &material.certificate, name, at), expected, "{name} at {at:?}");
        }
    }

    #[test]
    fn a_certificate_is_renewed_when_a_third_is_left_or_a_name_changed_and_the_authority_stays() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), &names(), NOW).unwrap();
        assert!(authority.renew_if_due(NOW).unwrap());
        for (days, renewed) in [(0, false), (59, false), (60, true), (61, false), (400, true)] {
            assert_eq!(authority.renew_if_due(after(days)).unwrap(), renewed, "after {days} days");
        }
        let renamed = Authority::open(folder.path(), &["new.example.org".to_owned()], after(400)).unwrap();
        assert_eq!(renamed.ca_pem(), authority.ca_pem());
        assert!(renamed.renew_if_due(after(400)).unwrap());
        assert!(trusted(authority.ca_pem(), &renamed.certificate(), "new.example.org", after(400)));
    }

    #[test]
    fn a_pair_that_does_not_fit_is_issued_anew_and_half_an_authority_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), &names(), NOW).unwrap();
        authority.renew_if_due(NOW).unwrap();
        let (_, key) = make_ca(NOW).unwrap();
        secret::write(&authority.key(), &key).unwrap();
        assert!(authority.renew_if_due(NOW).unwrap());
        Material::built_in(&authority, NOW).unwrap();
        std::fs::remove_file(folder.path().join("ca.key")).unwrap();
        assert!(matches!(Authority::open(folder.path(), &names(), NOW), Err(Error::Half { .. })));
    }

    #[test]
    fn nobody_else_can_read_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), &names(), NOW).unwrap();
        authority.renew_if_due(NOW).unwrap();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        }
    }
}
