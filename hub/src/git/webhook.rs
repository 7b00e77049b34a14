//! Webhooks: a signed hint to look now, and nothing more.

use ring::hmac;

use super::secret::Secret;

/// Largest body that is read, in bytes: a push event of a forge with a full list of commits stays below.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Header that carries the signature (GitHub, Gitea, Forgejo).
pub const SIGNATURE_HEADER: &str = "x-hub-signature-256";

/// Whether `header` is the HMAC-SHA256 of `body` under one of `secrets`.
///
/// The comparison takes the same time for every wrong signature, and all secrets are tried, so that one can be
/// replaced by another without a gap. Without secrets nothing is accepted.
pub fn verify(secrets: &[Secret], body: &[u8], header: &str) -> bool {
    let Some(signature) = header.strip_prefix("sha256=").and_then(bytes_of) else {
        return false;
    };
    if body.len() > BODY_BYTES_MAX {
        return false;
    }
    secrets.iter().filter(|secret| !secret.expose().is_empty()).fold(false, |found, secret| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        hmac::verify(&key, body, &signature).is_ok() | found
    })
}

fn bytes_of(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

/// Repository URLs that a body names, as a hint which source to look at first; empty if the body says nothing.
///
/// Never trusted: whoever is named here is only asked, with the URL that was declared.
pub fn hinted_urls(body: &[u8]) -> Vec<String> {
    let Ok(body) = serde_json::from_slice::<serde_json::Value>(body) else {
        return Vec::new();
    };
    ["clone_url", "html_url", "git_http_url", "url"]
        .iter()
        .filter_map(|field| body.pointer("/repository")?.get(*field)?.as_str())
        .filter(|url| url.len() <= super::url::URL_BYTES_MAX)
        .map(ToOwned::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that GitHub publishes for testing receivers.
    const PUBLISHED: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[test]
    fn only_a_right_signature_under_a_known_secret_passes() {
        let right = Secret::new("It's a Secret to Everybody");
        let other = Secret::new("other");
        let empty = Secret::new("");
        let body = b"Hello, World!";
        for (secrets, body, header, wanted) in [
            (vec![right.clone()], &body[..], PUBLISHED, true),
            (vec![other.clone(), right.clone()], &body[..], PUBLISHED, true),
            (vec![right.clone(), other.clone()], &body[..], PUBLISHED, true),
            (vec![other], &body[..], PUBLISHED, false),
            (vec![], &body[..], PUBLISHED, false),
            (vec![empty], &body[..], PUBLISHED, false),
            (vec![right.clone()], &body[1..], PUBLISHED, false),
            (vec![right.clone()], &body[..], &PUBLISHED[7..], false),
            (vec![right.clone()], &body[..], "sha1=757107", false),
            (
                vec![right.clone()],
                &body[..],
                "sha256=+57107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e1é",
                false,
            ),
            (vec![right], &body[..], "", false),
        ] {
            assert_eq!(verify(&secrets, body, header), wanted, "{header}");
        }
    }

    #[test]
    fn a_body_is_only_a_hint() {
        let body = br#"{"repository":{"clone_url":"https://a/b.git","url":7}}"#;
        assert_eq!(hinted_urls(body), ["https://a/b.git"]);
        assert!(hinted_urls(b"not json").is_empty());
        assert!(hinted_urls(b"[1]").is_empty());
    }
}
