//! The hub's certificate: from a built-in authority made at first start, or one's own.
//!
//! ```text
//! <data.dir>/tls/ca.crt  ca.key          the authority, ten years; ca.crt is what join manifests carry
//!                server.crt  server.key  issued by it, 90 days; issued anew when a third is left or a name changed
//!                server.json             names, end and digest of that pair; written last
//! ```
//! The files are mode 0600. The NATS server that the hub runs uses the same pair.

mod authority;

use std::path::PathBuf;
use std::sync::Arc;

use taffrail_core::time::At;
use taffrail_runtime::secret;
use taffrail_runtime::tls::{Reloading, certificates};

pub use authority::Authority;

use crate::config::OwnTls;

/// Why the hub has no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("keep the hub's certificates")]
    Files(#[from] secret::Error),
    /// A certificate or key cannot be used.
    #[error("use the hub's certificate")]
    Tls(#[from] taffrail_runtime::tls::Error),
    /// One half of the authority is gone.
    #[error("read the built-in authority: {} is missing", missing.display())]
    Half {
        /// The file that is missing. It is never made again by itself, because every cluster trusts the old one.
        missing: PathBuf,
    },
    /// Making a certificate failed.
    #[error("issue a certificate for {what}")]
    Issue {
        /// For whom.
        what: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
}

/// A certificate with all that others need of it.
#[derive(Clone, Debug)]
pub struct Material {
    /// Certificate chain, PEM.
    pub certificate: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
    /// Authorities by which it is recognised, PEM.
    pub ca: PathBuf,
    /// Their text.
    pub ca_pem: String,
    /// What the listener shows.
    pub shown: Arc<Reloading>,
}

impl Material {
    /// Opens the certificate of one's own.
    ///
    /// # Errors
    /// If a file cannot be read or certificate and key do not fit.
    pub fn own(own: &OwnTls) -> Result<Material, Error> {
        let ca_pem = secret::read_given(&own.ca)?;
        certificates("tls.ca", &ca_pem)?;
        let shown = Reloading::open(&own.certificate, &own.key)?;
        Ok(Material {
            certificate: own.certificate.clone(),
            key: own.key.clone(),
            ca: own.ca.clone(),
            ca_pem,
            shown,
        })
    }

    /// Opens what the built-in authority issued.
    ///
    /// # Errors
    /// If it cannot be made or read.
    pub fn built_in(authority: &Authority, at: At) -> Result<Material, Error> {
        authority.renew_if_due(at)?;
        let (certificate, key) = (authority.certificate(), authority.key());
        let shown = Reloading::open(&certificate, &key)?;
        Ok(Material { certificate, key, ca: authority.ca(), ca_pem: authority.ca_pem().to_owned(), shown })
    }
}
