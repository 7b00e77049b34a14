//! The renderer: plans, asks the cache, reads or builds.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ring::digest::{Context, SHA256};
use taffrail_core::{catalog::Render, digest::Digest};
use tokio::sync::{OnceCell, Semaphore};

use super::{
    Error, Jail, Reason,
    cache::Cache,
    child, kustomization, kustomize, objects, plain,
    plan::{Found, Plan},
    yaml::{self, Document},
};
use crate::git::Tree;

/// Raised whenever the same files may give other objects.
const VERSION: &[u8] = b"taffrail-render-1";

/// How the renderer works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The `kustomize` program.
    pub kustomize: PathBuf,
    /// How it is started.
    pub jail: Jail,
    /// Longest run of one build. Default 60 s; a build takes a tenth of a second.
    pub time_limit: Duration,
    /// Most bytes that one build may print. Default 32 MiB: 20 times what etcd takes for one object.
    pub output_bytes_max: usize,
    /// Most memory of one build, in bytes. Default 1 GiB; a build takes 45 MB.
    pub memory_bytes_max: u64,
    /// Most builds at once. Default 2.
    pub parallel_max: usize,
    /// Most bytes of results kept. Default 128 MiB.
    pub cache_bytes_max: usize,
}

impl Settings {
    /// The defaults, with the given program and jail.
    pub fn new(kustomize: PathBuf, jail: Jail) -> Settings {
        Settings {
            kustomize,
            jail,
            time_limit: Duration::from_mins(1),
            output_bytes_max: 32 * 1024 * 1024,
            memory_bytes_max: 1024 * 1024 * 1024,
            parallel_max: 2,
            cache_bytes_max: 128 * 1024 * 1024,
        }
    }
}

/// One folder to render.
#[derive(Clone, Debug)]
pub struct Job {
    /// The files of the whole repository at the commit.
    pub tree: Tree,
    /// The folder, from the root of the repository; "" is the root.
    pub path: String,
    /// How it becomes objects.
    pub render: Render,
}

/// What a folder gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rendered {
    /// The objects, sorted by key, with the place of each.
    pub objects: Vec<Document>,
    /// Files and folders that were read, sorted; see [`super::touches`].
    pub inputs: Vec<String>,
}

/// Renders folders, and remembers what it rendered.
pub struct Renderer {
    settings: Settings,
    cache: Mutex<Cache>,
    builds: Semaphore,
    version: OnceCell<String>,
}

/// Which way a plan is carried out.
enum Way {
    Read,
    Build { folder: String },
}

impl Renderer {
    /// A renderer; the `kustomize` program is first needed by the first kustomization.
    pub fn new(settings: Settings) -> Renderer {
        Renderer {
            cache: Mutex::new(Cache::new(settings.cache_bytes_max)),
            builds: Semaphore::new(settings.parallel_max.max(1)),
            version: OnceCell::new(),
            settings,
        }
    }

    /// Renders one folder.
    ///
    /// # Errors
    /// [`Error`] with file, document, line and cause; nothing of a folder is used if any part is wrong.
    pub async fn render(&self, job: Job) -> Result<Arc<Rendered>, Error> {
        let planned = tokio::task::spawn_blocking(move || plan(&job)).await;
        let (plan, way) =
            planned.map_err(|_| Error::new(Reason::Machine, "", "a render task ended early"))??;
        let digest = self.digest(&plan, &way).await?;
        if let Some(rendered) = self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(&digest) {
            // The same files may stand elsewhere in another commit: what was read is told anew.
            let inputs = plan.inputs.into_iter().collect();
            return Ok(Arc::new(Rendered { inputs, ..(*rendered).clone() }));
        }
        let plan = Arc::new(plan);
        let documents = self.carry_out(&plan, &way).await?;
        let inputs = plan.inputs.iter().cloned().collect();
        let rendered = Arc::new(Rendered { objects: objects::checked(documents)?, inputs });
        let bytes = plan.files.values().map(bytes::Bytes::len).sum::<usize>() * 4 + 10_000;
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).put(digest, rendered.clone(), bytes);
        Ok(rendered)
    }

    async fn carry_out(&self, plan: &Arc<Plan>, way: &Way) -> Result<Vec<Document>, Error> {
        // Manifests under a kustomization are read too: errors then name the file, which kustomize does not.
        let files = plan.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut documents = Vec::new();
            for path in &files.manifests {
                let text = files.files.get(path).map_or(&[][..], |bytes| bytes);
                documents.extend(yaml::read(text, path)?);
            }
            Ok::<_, Error>(documents)
        });
        let documents =
            read.await.map_err(|_| Error::new(Reason::Machine, "", "a render task ended early"))??;
        match way {
            Way::Read => Ok(documents),
            Way::Build { folder } => {
                let closed = |_| Error::new(Reason::Machine, "", "the renderer is closed");
                let _one = self.builds.acquire().await.map_err(closed)?;
                kustomize::build(&self.settings, plan, folder).await
            }
        }
    }

    /// Digest of everything that the result depends on.
    async fn digest(&self, plan: &Plan, way: &Way) -> Result<Digest, Error> {
        let mut context = Context::new(&SHA256);
        let mut add = |part: &[u8]| {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        };
        add(VERSION);
        match way {
            Way::Read => add(b"read"),
            Way::Build { folder } => {
                add(b"build");
                add(folder.as_bytes());
                add(self.version().await?.as_bytes());
            }
        }
        plan.manifests.iter().for_each(|path| add(path.as_bytes()));
        for (path, target) in &plan.links {
            add(b"link");
            add(path.as_bytes());
            add(target.as_bytes());
        }
        for (path, bytes) in &plan.files {
            add(b"file");
            add(path.as_bytes());
            add(bytes);
        }
        Ok(Digest::from_slice(context.finish().as_ref()).unwrap_or_default())
    }

    /// What `kustomize version` says.
    async fn version(&self) -> Result<&str, Error> {
        let ask = || async {
            let root = std::env::temp_dir();
            let output = child::run(&self.settings, &["version".into()], &root).await?;
            if output.is_success {
                return Ok(String::from_utf8_lossy(&output.text).trim().to_owned());
            }
            let message = String::from_utf8_lossy(&output.message).into_owned();
            Err(Error::new(Reason::Machine, "", format!("kustomize version failed: {}", message.trim())))
        };
        self.version.get_or_try_init(ask).await.map(String::as_str)
    }
}

fn plan(job: &Job) -> Result<(Plan, Way), Error> {
    let path = job.path.trim_matches('/');
    let build = || kustomization::plan(&job.tree, path).map(|(plan, folder)| (plan, Way::Build { folder }));
    match job.render {
        Render::Directory { recurse } => plain::plan(&job.tree, path, recurse).map(|plan| (plan, Way::Read)),
        Render::Kustomize => build(),
        Render::Auto => {
            let folder = match Plan::default().resolve(&job.tree, "", "", path)? {
                Found::Folder(folder) => folder,
                Found::File(other) | Found::Nothing(other) => other,
            };
            match kustomization::in_folder(&job.tree, &folder)? {
                Some(_) => build(),
                None => plain::plan(&job.tree, path, false).map(|plan| (plan, Way::Read)),
            }
        }
    }
}
