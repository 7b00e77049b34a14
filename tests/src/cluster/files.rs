//! The files a control plane starts from: its folder, keys, token and kubeconfig.

use std::fs;
use std::path::Path;
use std::process;

use anyhow::{Context, Result, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use tempfile::TempDir;

/// Beginning of the name of every cluster's folder; the process id follows.
const PREFIX: &str = "taffrail-cluster-";

/// What comes before the point of a P-256 public key in DER (RFC 5480, section 2).
const P256_PUBLIC_KEY_HEADER: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The fake kubelets' behaviour.
const STAGES: &str = include_str!("../../clusters/stages.yaml");

/// A new folder. Folders of processes that were killed are removed on the way.
pub(super) fn folder() -> Result<TempDir> {
    let parent = std::env::temp_dir();
    for entry in fs::read_dir(&parent).context("list the temporary folder")?.flatten() {
        let name = entry.file_name();
        let owner =
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|rest| rest.split('-').next());
        let dead = owner.is_some_and(|id| id.parse::<u32>().is_ok() && !Path::new("/proc").join(id).exists());
        if dead && Path::new("/proc/self").exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", process::id()))
        .tempdir_in(parent)
        .context("make a folder for the cluster")
}

/// Writes the service account keys, the token file and the stages; gives the administrator's token.
pub(super) fn write_all(folder: &Path) -> Result<String> {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)
        .map_err(|_| anyhow!("make a service account key"))?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.as_ref(), &random)
        .map_err(|_| anyhow!("read the service account key"))?;
    let public = [&P256_PUBLIC_KEY_HEADER, pair.public_key().as_ref()].concat();
    fs::write(folder.join("accounts.key"), pem("PRIVATE KEY", key.as_ref()))?;
    fs::write(folder.join("accounts.pub"), pem("PUBLIC KEY", &public))?;

    let mut secret = [0_u8; 24];
    random.fill(&mut secret).map_err(|_| anyhow!("make a token"))?;
    let token = STANDARD.encode(secret);
    fs::write(folder.join("tokens.csv"), format!("{token},admin,admin,system:masters\n"))?;
    fs::write(folder.join("stages.yaml"), STAGES)?;
    Ok(token)
}

/// Whether the API server has written its certificate to the end.
pub(super) fn has_certificate(folder: &Path) -> bool {
    let chain = fs::read_to_string(folder.join("certificates/apiserver.crt"));
    chain.is_ok_and(|chain| chain.trim_end().ends_with("-----END CERTIFICATE-----"))
}

/// Writes `ca.crt` and `kubeconfig`, complete in itself, once the API server has made its certificate.
pub(super) fn write_kubeconfig(folder: &Path, name: &str, port: u16, token: &str) -> Result<()> {
    let chain = fs::read_to_string(folder.join("certificates/apiserver.crt"))
        .context("read the API server's chain")?;
    let authority = chain
        .rfind("-----BEGIN")
        .map(|at| &chain[at..])
        .context("no certificate in the API server's chain")?;
    fs::write(folder.join("ca.crt"), authority)?;
    let authority = STANDARD.encode(authority);
    let text = format!(
        "apiVersion: v1
kind: Config
clusters:
- name: {name}
  cluster:
    server: https://127.0.0.1:{port}
    certificate-authority-data: {authority}
users:
- name: admin
  user:
    token: {token}
contexts:
- name: {name}
  context:
    cluster: {name}
    user: admin
current-context: {name}
"
    );
    fs::write(folder.join("kubeconfig"), text).context("write the kubeconfig")
}

fn pem(kind: &str, der: &[u8]) -> String {
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", STANDARD.encode(der))
}
