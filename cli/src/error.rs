//! What can go wrong, under which code, with which next command, and how the process ends then.

use std::io;
use std::path::PathBuf;

use taffrail_proto::api::detail_of;
use tonic::Code;

/// How the process ends; `taffrail help exit-codes` prints this table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It is as asked for.
    Ok,
    /// Differs, is not healthy, or was refused by a guard.
    Differs,
    /// The command line or the context file is wrong.
    Usage,
    /// No such thing.
    NotFound,
    /// The hub does not know the caller, or does not let them.
    Denied,
    /// Not within the time given.
    Timeout,
    /// Something of that name exists, or changed meanwhile.
    Conflict,
    /// An error inside Taffrail.
    Internal,
    /// The hub could not be reached.
    Unreachable,
}

impl Exit {
    /// All of them with what they mean, in order of their codes.
    pub const ALL: [(Exit, &'static str); 9] = [
        (Exit::Ok, "it is as asked for"),
        (Exit::Differs, "differs, is not healthy, or was refused by a guard"),
        (Exit::Usage, "the command line or the context file is wrong"),
        (Exit::NotFound, "no such cluster, app, source or event"),
        (Exit::Denied, "the hub does not know the caller, or does not let them"),
        (Exit::Timeout, "not within the time given"),
        (Exit::Conflict, "something of that name exists, or changed meanwhile"),
        (Exit::Internal, "an error inside Taffrail"),
        (Exit::Unreachable, "the hub could not be reached"),
    ];

    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Differs => 1,
            Exit::Usage => 2,
            Exit::NotFound => 3,
            Exit::Denied => 4,
            Exit::Timeout => 5,
            Exit::Conflict => 6,
            Exit::Internal => 20,
            Exit::Unreachable => 21,
        }
    }
}

/// An error that a person meets at the command line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no context file, or it chooses none.
    #[error("no hub is chosen: {path} names no current context", path = path.display())]
    NoContext { path: PathBuf },
    /// The context file cannot be read or written.
    #[error("use the context file {path}", path = path.display())]
    ContextFile {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The context file is not what it should be.
    #[error("understand the context file {path}", path = path.display())]
    ContextSyntax { path: PathBuf, detail: String },
    /// A file with a secret can be read by other users.
    #[error("the mode of {path} is {mode:03o}: others can read the secret in it", path = path.display())]
    OpenMode { path: PathBuf, mode: u32 },
    /// No context has the name given.
    #[error("no context is called {name:?}")]
    UnknownContext { name: String, known: Vec<String> },
    /// The hub did not answer the call.
    #[error("reach the hub at {hub}")]
    Connect {
        hub: String,
        #[source]
        source: tonic::transport::Error,
    },
    /// The hub refused or failed; it says which.
    #[error("{message}", message = status.message())]
    Hub { status: Box<tonic::Status> },
    /// The command line asks for something that cannot be.
    #[error("{sentence}")]
    Usage { sentence: String, next: String },
    /// A secret's file cannot be used.
    #[error("read the secret in {path}", path = path.display())]
    Secret {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The name was not typed again.
    #[error("{what} was not removed: its name was not confirmed")]
    NotConfirmed { what: String },
    /// What was waited for did not come.
    #[error("{what} within {limit}")]
    Timeout { what: String, limit: String, cause: String, next: String },
    /// What is waited for cannot come without someone.
    #[error("{what} is parked and waits for approval")]
    Parked { what: String, cause: String, next: String },
    /// The hub answered with something that makes no sense.
    #[error("understand the hub's answer")]
    Answer { detail: String },
    /// Nothing can be written to the terminal, file or pipe.
    #[error("write the answer")]
    Output {
        #[source]
        source: io::Error,
    },
    /// The process cannot run tasks.
    #[error("start the runtime")]
    Runtime {
        #[source]
        source: io::Error,
    },
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Error {
        Error::Hub { status: Box::new(status) }
    }
}

impl Error {
    /// A wrong command line, and what to type instead.
    pub fn usage(sentence: impl Into<String>, next: impl Into<String>) -> Error {
        Error::Usage { sentence: sentence.into(), next: next.into() }
    }

    /// The stable code, with a page in `docs/errors/`.
    pub fn code(&self) -> String {
        let code = match self {
            Error::NoContext { .. } => "CLI-001",
            Error::ContextFile { .. } | Error::ContextSyntax { .. } => "CLI-002",
            Error::OpenMode { .. } => "CLI-003",
            Error::UnknownContext { .. } => "CLI-004",
            Error::Connect { .. } => "CLI-005",
            Error::Hub { status } => return hub_code(status),
            Error::Usage { .. } => "CLI-006",
            Error::Secret { .. } => "CLI-007",
            Error::NotConfirmed { .. } => "CLI-008",
            Error::Timeout { .. } => "CLI-009",
            Error::Parked { .. } => "CLI-010",
            Error::Answer { .. } => "CLI-011",
            Error::Output { .. } | Error::Runtime { .. } => "CLI-012",
        };
        code.to_owned()
    }

    /// Why it happened, if more is known than the sentence says.
    pub fn cause(&self) -> Option<String> {
        let cause = match self {
            Error::ContextSyntax { detail, .. } | Error::Answer { detail } => detail.clone(),
            Error::UnknownContext { known, .. } if known.is_empty() => "the file holds none".to_owned(),
            Error::UnknownContext { known, .. } => format!("the file holds {}", known.join(", ")),
            Error::Timeout { cause, .. } | Error::Parked { cause, .. } => cause.clone(),
            Error::Hub { status } => detail_of(status).map(|detail| detail.cause).unwrap_or_default(),
            other => chain(other),
        };
        (!cause.is_empty()).then_some(cause)
    }

    /// The next command to type, or what to look at.
    pub fn next(&self) -> Option<String> {
        let next = match self {
            Error::NoContext { .. } => {
                "taffrail ctx list, or run this where the hub has written its administrator's context"
                    .to_owned()
            }
            Error::ContextFile { path, .. } | Error::Secret { path, .. } => {
                format!("ls -l {}", path.display())
            }
            Error::ContextSyntax { .. } => "taffrail help ctx".to_owned(),
            Error::OpenMode { path, .. } => format!("chmod 600 {}", path.display()),
            Error::UnknownContext { .. } => "taffrail ctx list".to_owned(),
            Error::Connect { source, .. } if chain(source).contains("certificate") => {
                "compare `ca` of the context with the hub's certificate: taffrail ctx list".to_owned()
            }
            Error::Connect { .. } => {
                "taffrail ctx list, then see that the hub runs at that address".to_owned()
            }
            Error::Hub { status } => match detail_of(status) {
                Some(detail) => detail.next,
                None if status.code() == Code::Unavailable => "taffrail check".to_owned(),
                None => String::new(),
            },
            Error::NotConfirmed { .. } => "type the name when asked, or add --yes".to_owned(),
            Error::Usage { next, .. } | Error::Timeout { next, .. } | Error::Parked { next, .. } => {
                next.clone()
            }
            Error::Answer { .. } => "taffrail check, and compare taffrail --version".to_owned(),
            Error::Output { .. } | Error::Runtime { .. } => String::new(),
        };
        (!next.is_empty()).then_some(next)
    }

    /// How the process ends.
    pub fn exit(&self) -> Exit {
        match self {
            Error::NoContext { .. }
            | Error::ContextFile { .. }
            | Error::ContextSyntax { .. }
            | Error::OpenMode { .. }
            | Error::UnknownContext { .. }
            | Error::Secret { .. }
            | Error::NotConfirmed { .. }
            | Error::Usage { .. } => Exit::Usage,
            Error::Connect { .. } => Exit::Unreachable,
            Error::Hub { status } => hub_exit(status.code()),
            Error::Timeout { .. } => Exit::Timeout,
            Error::Parked { .. } => Exit::Differs,
            Error::Answer { .. } | Error::Output { .. } | Error::Runtime { .. } => Exit::Internal,
        }
    }
}

/// The causes below an error, outermost first.
fn chain(error: &dyn std::error::Error) -> String {
    let mut causes: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if causes.last() != Some(&text) {
            causes.push(text); // some libraries name the same cause on two levels
        }
        next = cause.source();
    }
    causes.join(": ")
}

fn hub_code(status: &tonic::Status) -> String {
    match detail_of(status) {
        Some(detail) if !detail.code.is_empty() => detail.code,
        _ if status.code() == Code::Unavailable => "CLI-005".to_owned(),
        _ => "CLI-013".to_owned(),
    }
}

fn hub_exit(code: Code) -> Exit {
    match code {
        Code::FailedPrecondition => Exit::Differs,
        Code::InvalidArgument | Code::OutOfRange => Exit::Usage,
        Code::NotFound => Exit::NotFound,
        Code::Unauthenticated | Code::PermissionDenied => Exit::Denied,
        Code::DeadlineExceeded | Code::Cancelled => Exit::Timeout,
        Code::AlreadyExists | Code::Aborted => Exit::Conflict,
        Code::Unavailable => Exit::Unreachable,
        _ => Exit::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_proto::api::status_with_detail;
    use taffrail_proto::v1::ErrorDetail;

    #[test]
    fn every_exit_has_a_code_of_its_own_in_order() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|(exit, _)| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 20, 21]);
    }

    #[test]
    fn a_hubs_own_code_cause_and_next_are_shown() {
        let detail = ErrorDetail { code: "API-002".into(), cause: "none such".into(), next: "look".into() };
        let error = Error::from(status_with_detail(Code::NotFound, "no app is called x", detail));
        assert_eq!(error.code(), "API-002");
        assert_eq!(error.to_string(), "no app is called x");
        assert_eq!((error.cause().as_deref(), error.next().as_deref()), (Some("none such"), Some("look")));
        assert_eq!(error.exit(), Exit::NotFound);
    }

    #[test]
    fn a_cause_is_told_once() {
        let error = Error::Output { source: io::Error::other("disk full") };
        assert_eq!(error.cause().as_deref(), Some("disk full"));
    }
}
