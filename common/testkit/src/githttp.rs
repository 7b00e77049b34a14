//! A real Git server over HTTP for tests and the demo: `git http-backend` behind a small server, and a work tree to push from.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use base64::Engine;
use http::{HeaderMap, StatusCode, header};
use tokio::{io::AsyncWriteExt, process::Command};

/// Largest request body, in bytes: far above any push of a test.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How the server answers; tests change it while it runs.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// User name and password that every request must carry.
    pub login: Option<(String, String)>,
    /// Every request is answered with this status and nothing else.
    pub status: Option<u16>,
    /// Every request is sent to the same path below this base URL.
    pub redirect: Option<String>,
    /// Every request is held for this long before it is answered.
    pub delay: Option<Duration>,
}

/// One request that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Method, path and query.
    pub line: String,
    /// Whether an `Authorization` header came with it.
    pub is_authorized: bool,
}

#[derive(Default)]
struct Shared {
    manner: Mutex<Manner>,
    seen: Mutex<Vec<Seen>>,
    root: PathBuf,
}

/// A running server; it ends when this is dropped.
pub struct GitHttp {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for GitHttp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl GitHttp {
    /// Serves the bare repositories in the folder `root` on a free port of 127.0.0.1, with push.
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn start(root: &Path) -> io::Result<GitHttp> {
        GitHttp::start_at(root, SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// The same on a given address.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub async fn start_at(root: &Path, address: SocketAddr) -> io::Result<GitHttp> {
        let shared = Arc::new(Shared { root: root.to_owned(), ..Shared::default() });
        let listener = tokio::net::TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let task = tokio::spawn(async move {
            // Serving ends with the listener; there is nothing else to report.
            drop(axum::serve(listener, router).await);
        });
        Ok(GitHttp { address, shared, task })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// URL of the repository in the folder `name` below the root.
    pub fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.base())
    }

    /// Changes how requests are answered from now on.
    pub fn set(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap_or_else(PoisonError::into_inner) = manner;
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let given = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    shared
        .seen
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Seen { line: format!("{} {path}", parts.method), is_authorized: given.is_some() });
    let manner = shared.manner.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(delay) = manner.delay {
        tokio::time::sleep(delay).await;
    }
    if let Some(status) = manner.status {
        return StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response();
    }
    if let Some(base) = manner.redirect {
        return (StatusCode::FOUND, [(header::LOCATION, format!("{base}{path}"))]).into_response();
    }
    if let Some((user, password)) = &manner.login {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        if given != Some(format!("Basic {pair}").as_str()) {
            return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic realm=\"git\"")])
                .into_response();
        }
    }
    let Ok(body) = axum::body::to_bytes(body, BODY_BYTES_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    match backend(&shared.root, &parts, body).await {
        Ok(response) => response,
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Runs `git http-backend` as a CGI program.
async fn backend(root: &Path, request: &http::request::Parts, body: Bytes) -> io::Result<Response> {
    let text = |headers: &HeaderMap, name: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let mut child = quiet_git_async()
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REMOTE_USER", "someone")
        .env("REMOTE_ADDR", "127.0.0.1")
        .env("REQUEST_METHOD", request.method.as_str())
        .env("PATH_INFO", request.uri.path())
        .env("QUERY_STRING", request.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", text(&request.headers, "content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", text(&request.headers, "content-encoding"))
        .env("GIT_PROTOCOL", text(&request.headers, "git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take().ok_or_else(|| io::Error::other("no standard input"))?;
    let feeding = tokio::spawn(async move {
        // The program may answer without reading everything.
        drop(stdin.write_all(&body).await);
    });
    let output = child.wait_with_output().await?;
    feeding.abort();
    Ok(response_of(&output.stdout))
}

fn response_of(output: &[u8]) -> Response {
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(output.len());
    let mut response = Response::builder();
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        match line.split_once(": ") {
            Some(("Status", status)) => {
                let code = status.get(..3).and_then(|code| code.parse().ok()).unwrap_or(500u16);
                response = response.status(code);
            }
            Some((name, value)) => response = response.header(name, value),
            None => {}
        }
    }
    let body = output.get(end + 4..).unwrap_or_default().to_vec();
    response.body(Body::from(body)).unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response())
}

const QUIET: [(&str, &str); 8] = [
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_AUTHOR_NAME", "Ada Tester"),
    ("GIT_AUTHOR_EMAIL", "ada@example.com"),
    ("GIT_COMMITTER_NAME", "Ada Tester"),
    ("GIT_COMMITTER_EMAIL", "ada@example.com"),
    ("GIT_ALLOW_PROTOCOL", "file:http:https"),
];

fn quiet_git_async() -> Command {
    let mut command = Command::new("git");
    command.envs(QUIET);
    command
}

/// Runs `git` in `folder` without the configuration of the machine and returns its trimmed output.
///
/// # Errors
/// With the program's own message if it fails.
pub fn git(folder: &Path, arguments: &[&str]) -> io::Result<String> {
    let output =
        std::process::Command::new("git").envs(QUIET).current_dir(folder).args(arguments).output()?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("git {}: {}", arguments.join(" "), message.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A bare repository and a work tree that pushes to it.
#[derive(Clone, Debug)]
pub struct Work {
    folder: PathBuf,
}

impl Work {
    /// Makes the bare repository `root/NAME` with the branch `main`, and a work tree in `folder` whose origin it is.
    ///
    /// # Errors
    /// If `git` or the file system refuses.
    pub fn create(root: &Path, name: &str, folder: &Path) -> io::Result<Work> {
        let bare = root.join(name);
        std::fs::create_dir_all(&bare)?;
        std::fs::create_dir_all(folder)?;
        git(&bare, &["init", "--quiet", "--bare", "--initial-branch=main"])?;
        git(folder, &["init", "--quiet", "--initial-branch=main"])?;
        for place in [bare.as_path(), folder] {
            // What tidies up in the background takes folders away from under the next commit.
            git(place, &["config", "gc.auto", "0"])?;
        }
        git(folder, &["remote", "add", "origin", &bare.to_string_lossy()])?;
        Ok(Work { folder: folder.to_owned() })
    }

    /// The folder of the work tree.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a file, making its folders.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn write(&self, path: &str, text: &str) -> io::Result<()> {
        let path = self.folder.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, text)
    }

    /// Commits everything in the work tree and returns the commit's id.
    ///
    /// # Errors
    /// If `git` refuses.
    pub fn commit(&self, message: &str) -> io::Result<String> {
        git(&self.folder, &["add", "--all"])?;
        git(&self.folder, &["commit", "--quiet", "--allow-empty", "--message", message])?;
        git(&self.folder, &["rev-parse", "HEAD"])
    }

    /// Pushes `refspec`, such as `main` or `+main`, to the origin.
    ///
    /// # Errors
    /// If `git` refuses.
    pub fn push(&self, refspec: &str) -> io::Result<()> {
        git(&self.folder, &["push", "--quiet", "origin", refspec]).map(drop)
    }

    /// Writes the files, commits and pushes `main`; returns the commit's id.
    ///
    /// # Errors
    /// If `git` or the file system refuses.
    pub fn publish(&self, message: &str, files: &[(&str, &str)]) -> io::Result<String> {
        for (path, text) in files {
            self.write(path, text)?;
        }
        let commit = self.commit(message)?;
        self.push("main")?;
        Ok(commit)
    }

    /// Runs any other `git` command in the work tree.
    ///
    /// # Errors
    /// If `git` refuses.
    pub fn git(&self, arguments: &[&str]) -> io::Result<String> {
        git(&self.folder, arguments)
    }
}
