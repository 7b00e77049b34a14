//! What a caller is told when an answer cannot be given: code, sentence, cause and next command.

use taffrail_proto::api::status_with_detail;
use taffrail_proto::v1::ErrorDetail;
use tonic::{Code, Status};

/// Why a call was not answered as asked. Each kind has a page in `docs/errors/`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The caller did not prove who they are.
    #[error("the hub does not know this token")]
    Unauthenticated,
    /// No such cluster, app, source or event.
    #[error("no {what} is called {name:?}")]
    NotFound {
        /// `cluster`, `app` or `source`.
        what: &'static str,
        /// What was asked for.
        name: String,
    },
    /// The request itself is wrong.
    #[error("{sentence}")]
    Invalid {
        /// What is wrong.
        sentence: String,
        /// Why it is.
        cause: String,
        /// What to type instead.
        next: String,
    },
    /// Something of that name exists, or changed meanwhile.
    #[error("{sentence}")]
    Conflict {
        /// What collides.
        sentence: String,
        /// With what.
        cause: String,
        /// The next command.
        next: String,
    },
    /// A guard or a rule holds it back.
    #[error("{sentence}")]
    Refused {
        /// What was refused.
        sentence: String,
        /// Which rule refused it.
        cause: String,
        /// The next command.
        next: String,
    },
    /// The hub cannot answer yet, or not now.
    #[error("the hub cannot answer now")]
    Unavailable {
        /// What it waits for.
        cause: String,
    },
    /// The hub's log is older than what its fleet holds.
    #[error("the hub is read-only: its log is older than what its fleet holds")]
    ReadOnly {
        /// What shows it.
        cause: String,
    },
    /// A newer version wrote the hub's log.
    #[error("the hub is read-only: a newer version wrote its log")]
    TooNew {
        /// What shows it.
        cause: String,
    },
    /// More than one answer may hold.
    #[error("{sentence}")]
    TooMuch {
        /// What is too much, with the bound.
        sentence: String,
        /// How to ask for less.
        next: String,
    },
    /// Something broke inside; the hub's own log has the whole story.
    #[error("{action} failed inside the hub")]
    Internal {
        /// What it was about, as a verb phrase.
        action: String,
        /// The outermost cause, free of secrets.
        cause: String,
    },
}

impl Error {
    /// A request that is wrong, by the rule that it breaks.
    pub fn invalid(sentence: impl Into<String>, cause: impl Into<String>, next: impl Into<String>) -> Error {
        Error::Invalid { sentence: sentence.into(), cause: cause.into(), next: next.into() }
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Unauthenticated => "API-001",
            Error::NotFound { .. } => "API-002",
            Error::Invalid { .. } => "API-003",
            Error::Conflict { .. } => "API-004",
            Error::Refused { .. } => "API-005",
            Error::Unavailable { .. } => "API-006",
            Error::TooMuch { .. } => "API-007",
            Error::Internal { .. } => "API-008",
            Error::ReadOnly { .. } => "API-009",
            Error::TooNew { .. } => "API-010",
        }
    }

    fn cause(&self) -> String {
        match self {
            Error::Unauthenticated => {
                "the request carries no bearer token, or one that is not among the hub's administrators"
                    .to_owned()
            }
            Error::NotFound { .. } | Error::TooMuch { .. } => String::new(),
            Error::Invalid { cause, .. }
            | Error::Conflict { cause, .. }
            | Error::Refused { cause, .. }
            | Error::Unavailable { cause }
            | Error::ReadOnly { cause }
            | Error::TooNew { cause }
            | Error::Internal { cause, .. } => cause.clone(),
        }
    }

    fn next(&self) -> String {
        match self {
            Error::Unauthenticated => "taffrail ctx list".to_owned(),
            Error::NotFound { what, .. } => format!("taffrail get {what}s"),
            Error::Invalid { next, .. }
            | Error::Conflict { next, .. }
            | Error::Refused { next, .. }
            | Error::TooMuch { next, .. } => next.clone(),
            Error::Unavailable { .. } | Error::Internal { .. } => "taffrail check".to_owned(),
            Error::TooNew { .. } => {
                "on the hub's machine: start the version of taffrail-hub that wrote the log".to_owned()
            }
            Error::ReadOnly { .. } => {
                "on the hub's machine: stop the hub, taffrail-hub restore --key FILE, start it".to_owned()
            }
        }
    }

    fn grpc(&self) -> Code {
        match self {
            Error::Unauthenticated => Code::Unauthenticated,
            Error::NotFound { .. } => Code::NotFound,
            Error::Invalid { .. } => Code::InvalidArgument,
            Error::Conflict { .. } => Code::AlreadyExists,
            Error::Refused { .. } | Error::ReadOnly { .. } | Error::TooNew { .. } => Code::FailedPrecondition,
            Error::Unavailable { .. } => Code::Unavailable,
            Error::TooMuch { .. } => Code::ResourceExhausted,
            Error::Internal { .. } => Code::Internal,
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        let detail = ErrorDetail { code: error.code().to_owned(), cause: error.cause(), next: error.next() };
        status_with_detail(error.grpc(), &error.to_string(), detail)
    }
}
