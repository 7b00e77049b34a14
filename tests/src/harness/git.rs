//! A Git host with one repository: a real server over HTTP, and a work tree to push from.

use anyhow::{Context, Result};
use taffrail_testkit::githttp::{GitHttp, Work};

use super::folder::Folder;

/// A Git host with one repository, whose branch is `main`.
pub struct GitServer {
    /// The server, for tests that change how it answers.
    pub http: GitHttp,
    /// The work tree, for anything else that `git` can do.
    pub work: Work,
    name: String,
}

impl GitServer {
    /// Serves an empty repository `NAME.git` from below `folder`.
    ///
    /// # Errors
    /// `git`, the file system or the network refuses.
    pub async fn start(folder: &Folder, name: &str) -> Result<GitServer> {
        let root = folder.sub("git")?;
        let file = format!("{name}.git");
        let work = Work::create(&root, &file, &folder.path().join(format!("{name}-work")));
        let work = work.context("make a repository")?;
        let http = GitHttp::start(&root).await.context("start a Git server")?;
        Ok(GitServer { http, work, name: file })
    }

    /// Where it is cloned from.
    pub fn url(&self) -> String {
        self.http.url(&self.name)
    }

    /// Writes files, commits everything and pushes `main`; returns the commit's id.
    ///
    /// # Errors
    /// `git` or the file system refuses.
    pub fn commit<P: AsRef<str>, T: AsRef<str>>(&self, message: &str, files: &[(P, T)]) -> Result<String> {
        for (path, text) in files {
            self.work.write(path.as_ref(), text.as_ref()).context("write a file")?;
        }
        let commit = self.work.commit(message).context("commit")?;
        self.push()?;
        Ok(commit)
    }

    /// Removes files or folders, commits and pushes; returns the commit's id.
    ///
    /// # Errors
    /// `git` refuses.
    pub fn remove(&self, message: &str, paths: &[&str]) -> Result<String> {
        for path in paths {
            self.work.git(&["rm", "-r", "--quiet", path]).context("remove a file")?;
        }
        let none: [(&str, &str); 0] = [];
        self.commit(message, &none)
    }

    /// Pushes `main`.
    ///
    /// # Errors
    /// `git` refuses.
    pub fn push(&self) -> Result<()> {
        self.work.push("main").context("push")
    }

    /// `git revert` of a commit, pushed; returns the id of the new commit.
    ///
    /// # Errors
    /// `git` refuses.
    pub fn revert(&self, commit: &str) -> Result<String> {
        self.work.git(&["revert", "--no-edit", commit]).context("revert a commit")?;
        self.push()?;
        self.head()
    }

    /// Throws the newest `count` commits away, puts one in their place and pushes with force; returns its id.
    ///
    /// # Errors
    /// `git` refuses.
    pub fn force_push(&self, count: u32, message: &str) -> Result<String> {
        self.work.git(&["reset", "--quiet", "--hard", &format!("HEAD~{count}")]).context("reset")?;
        let commit = self.work.commit(message).context("commit")?;
        self.work.push("+main").context("push with force")?;
        Ok(commit)
    }

    /// The newest commit of the work tree.
    ///
    /// # Errors
    /// `git` refuses.
    pub fn head(&self) -> Result<String> {
        self.work.git(&["rev-parse", "HEAD"]).context("ask for the newest commit")
    }
}
