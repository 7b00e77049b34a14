//! Which repositories the hub follows: schemes, hosts, credentials.

use std::fmt;

use super::secret::Secret;

/// Longest repository URL in bytes: what browsers and proxies agree on.
pub const URL_BYTES_MAX: usize = 2_000;

/// Why a URL is refused. The URL itself is not repeated: it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// A scheme that is not followed.
    #[error("repository URLs with {scheme} are not supported: use https")]
    Scheme {
        /// What was given.
        scheme: String,
    },
    /// Local repositories need a setting.
    #[error("file URLs are refused unless the hub runs with git.allow_file")]
    FileNotAllowed,
    /// User name or password inside the URL.
    #[error("credentials do not belong in a repository URL: give them with --username and --password-file")]
    Credentials,
    /// No host, a strange host, or characters that no URL holds.
    #[error("not a repository URL: {cause}")]
    Malformed {
        /// What is wrong.
        cause: &'static str,
    },
}

/// The URL of a repository, checked.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    text: String,
    scheme: Scheme,
}

/// How a repository is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// TLS.
    Https,
    /// Plain HTTP.
    Http,
    /// A folder of this machine.
    File,
}

/// Whether `file` URLs may be used (`git.allow_file`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileUrls {
    /// For the demo and tests.
    Allowed,
    /// The default.
    Refused,
}

impl Address {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`InvalidAddress`] with the rule that it breaks.
    pub fn parse(text: &str, files: FileUrls) -> Result<Address, InvalidAddress> {
        let malformed = |cause| InvalidAddress::Malformed { cause };
        if text.len() > URL_BYTES_MAX {
            return Err(malformed("longer than 2000 bytes"));
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err(malformed("a space, backslash or control character"));
        }
        if let Some((helper, _)) = text.split_once("::").filter(|(helper, _)| !helper.contains('/')) {
            return Err(InvalidAddress::Scheme { scheme: format!("{}::", super::error::cut(helper, 20)) });
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            let is_scp = text.split('/').next().is_some_and(|host| host.contains(':'));
            return Err(if is_scp {
                InvalidAddress::Scheme { scheme: "ssh".to_owned() }
            } else {
                malformed("no scheme such as https://")
            });
        };
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            "file" if files == FileUrls::Allowed => Scheme::File,
            "file" => return Err(InvalidAddress::FileNotAllowed),
            other => return Err(InvalidAddress::Scheme { scheme: super::error::cut(other, 20).to_owned() }),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(InvalidAddress::Credentials);
        }
        if rest.contains(['?', '#']) {
            return Err(malformed("a query or fragment"));
        }
        if path.split('/').any(|part| part == "..") {
            return Err(malformed("a path with .."));
        }
        let text = match scheme {
            Scheme::File if !authority.is_empty() => return Err(malformed("a file URL with a host")),
            Scheme::File => format!("file://{path}"),
            Scheme::Https => format!("https://{}{path}", host_of(authority)?),
            Scheme::Http => format!("http://{}{path}", host_of(authority)?),
        };
        Ok(Address { text, scheme })
    }

    /// The URL as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How it is reached.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether both name the same repository: host without case, a final `/` or `.git` do not count.
    pub fn is_same(&self, other: &Address) -> bool {
        self.normal() == other.normal()
    }

    fn normal(&self) -> &str {
        let text = self.text.trim_end_matches('/');
        text.strip_suffix(".git").unwrap_or(text)
    }
}

/// Host and port in lower case.
fn host_of(authority: &str) -> Result<String, InvalidAddress> {
    let lower = authority.to_ascii_lowercase();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']' | '_');
    if lower.is_empty() || lower.starts_with(['-', ':', '.']) || !lower.chars().all(allowed) {
        return Err(InvalidAddress::Malformed { cause: "no host, or a strange one" });
    }
    Ok(lower)
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

/// User name and password (or token) for one repository; they are sent to its scheme, host and port only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User name; forges ignore it when the password is a token.
    pub username: String,
    /// Password or token.
    pub password: Secret,
}

/// A repository and how to get in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Where it is.
    pub url: Address,
    /// `None` for public repositories.
    pub credentials: Option<Credentials>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_web_urls_are_followed() {
        for (text, wanted) in [
            ("https://Git.Example.com/a/b.git", "https://git.example.com/a/b.git"),
            ("http://127.0.0.1:8080/a", "http://127.0.0.1:8080/a"),
            ("https://[::1]/a", "https://[::1]/a"),
            ("ssh://git@example.com/a", "ssh"),
            ("ssh://-oProxyCommand=sh/a", "ssh"),
            ("git@example.com:a/b", "ssh"),
            ("git://example.com/a", "git"),
            ("ext::sh -c id", "space"),
            ("ext::sh", "ext::"),
            ("file:///tmp/a", "git.allow_file"),
            ("/tmp/a", "no scheme"),
            ("https://user:geheim@example.com/a", "credentials"),
            ("https:///a", "no host"),
            ("https://-x/a", "no host"),
            ("https://example.com/a/../b", ".."),
            ("https://example.com/a?b", "query"),
            ("https://example.com/a\nb", "control"),
        ] {
            match Address::parse(text, FileUrls::Refused) {
                Ok(url) => assert_eq!(url.as_str(), wanted),
                Err(error) => {
                    assert!(error.to_string().contains(wanted), "{text}: {error}");
                    assert!(!error.to_string().contains("geheim"), "{error}");
                }
            }
        }
        assert!(Address::parse("file:///tmp/a", FileUrls::Allowed).is_ok());
        assert!(Address::parse("file://host/a", FileUrls::Allowed).is_err());
    }

    #[test]
    fn a_suffix_does_not_make_another_repository() {
        let parse = |text| Address::parse(text, FileUrls::Refused).unwrap();
        assert!(parse("https://a.b/x.git").is_same(&parse("https://A.b/x/")));
        assert!(!parse("https://a.b/x").is_same(&parse("https://a.b/y")));
    }
}
