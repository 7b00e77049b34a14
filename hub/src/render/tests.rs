//! Renders on real programs: what comes out, what is refused, what is stopped.

use std::{io::Write, path::PathBuf, time::Duration};

use taffrail_core::catalog::Render;

use super::{Error, Jail, Job, Reason, Rendered, Renderer, Settings, locate, touches};
use crate::git::{Tree, tree::Memory};

/// The real program, if this machine has it.
fn kustomize() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("kustomize")).find(|program| program.is_file())
}

fn settings() -> Settings {
    Settings::new(kustomize().unwrap_or_else(|| "kustomize".into()), Jail::Off)
}

async fn run(
    renderer: &Renderer,
    files: &[(&str, &str)],
    path: &str,
    render: Render,
) -> Result<Rendered, Error> {
    let job = Job { tree: Memory::tree(files), path: path.to_owned(), render };
    renderer.render(job).await.map(|rendered| (*rendered).clone())
}

async fn render(files: &[(&str, &str)], path: &str, render: Render) -> Result<Rendered, Error> {
    run(&Renderer::new(settings()), files, path, render).await
}

fn names(rendered: &Rendered) -> Vec<&str> {
    fn name(object: &super::yaml::Document) -> &str {
        object.value.pointer("/metadata/name").unwrap().as_str().unwrap()
    }
    rendered.objects.iter().map(name).collect()
}

const A: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
const B: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n";
const PLAIN: Render = Render::Directory { recurse: false };
const DEEP: Render = Render::Directory { recurse: true };

#[tokio::test]
async fn a_folder_gives_its_manifests_sorted() {
    let files = [
        ("app/z.yaml", A),
        ("app/b.json", "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"b\"}}"),
        ("app/deep/c.yml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n---\n"),
        ("app/notes.txt", "not a manifest"),
        ("application/x.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"),
    ];
    let flat = render(&files, "app", PLAIN).await.unwrap();
    assert_eq!(names(&flat), ["a", "b"]);
    assert_eq!(flat.inputs, ["app", "app/b.json", "app/z.yaml"]);
    assert_eq!(names(&render(&files, "app/", DEEP).await.unwrap()), ["a", "b", "c"]);
    assert_eq!(names(&render(&files, "", DEEP).await.unwrap()), ["a", "b", "c", "x"]);
    assert_eq!(names(&render(&files, "app", Render::Auto).await.unwrap()), ["a", "b"]);
}

#[tokio::test]
async fn faults_in_manifests_are_named_with_file_document_and_line() {
    for (files, file, document, line, cause) in [
        (
            vec![("d/a.yaml", A), ("d/b.yaml", "a: 1\n---\nb: 1\n---\nc: {d: 1, d: 2}\n")],
            "d/b.yaml",
            3,
            5,
            "twice in one map",
        ),
        (
            vec![
                ("d/a.yaml", A),
                ("d/b.yaml", B),
                ("d/c.yaml", "\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"),
            ],
            "d/c.yaml",
            1,
            3,
            "also in d/a.yaml, line 1",
        ),
        (vec![("d/a.yaml", "kind: X\nmetadata: {name: x}\n")], "d/a.yaml", 1, 1, "apiVersion is missing"),
        (vec![("d/a.yaml", "apiVersion: v1\nkind: X\n")], "d/a.yaml", 1, 1, "metadata.name is missing"),
        (
            vec![("d/a.yaml", "apiVersion: v1\nkind: X\nmetadata: {name: 1}\n")],
            "d/a.yaml",
            1,
            1,
            "must be text",
        ),
        (
            vec![("d/a.yaml", "apiVersion: v1\nkind: X\nmetadata: {generateName: x-}\n")],
            "d/a.yaml",
            1,
            1,
            "generateName",
        ),
        (vec![("d/a.yaml", "version https://git-lfs.github.com/spec/v1\noid x\n")], "d/a.yaml", 0, 0, "LFS"),
    ] {
        let error = render(&files, "d", PLAIN).await.unwrap_err();
        assert_eq!((error.file.as_str(), error.document, error.line), (file, document, line), "{error}");
        assert!(error.cause.contains(cause) && !error.is_transient(), "{error}");
    }
}

#[tokio::test]
async fn a_missing_folder_is_an_error_and_an_empty_one_is_empty() {
    let error = render(&[("a/x.yaml", A)], "b", PLAIN).await.unwrap_err();
    assert_eq!(error.reason, Reason::Missing);
    assert_eq!(render(&[("a/x.yaml", A)], "b", Render::Auto).await.unwrap_err().reason, Reason::Missing);
    assert_eq!(
        render(&[("a/x.yaml", A)], "a/x.yaml", Render::Auto).await.unwrap_err().reason,
        Reason::Missing
    );
    assert!(render(&[("a/readme", "")], "a", PLAIN).await.unwrap().objects.is_empty());
}

#[tokio::test]
async fn links_stay_inside_the_tree() {
    let files = [("d/a.yaml", "-> ../shared/a.yaml"), ("shared", "-> real"), ("real/a.yaml", A)];
    let rendered = render(&files, "d", PLAIN).await.unwrap();
    assert_eq!(names(&rendered), ["a"]);
    assert!(touches(&rendered.inputs, &["real/a.yaml".to_owned()]), "{:?}", rendered.inputs);
    assert!(touches(&rendered.inputs, &["shared".to_owned()]), "{:?}", rendered.inputs);
    for target in
        ["/etc/passwd", "../../etc/passwd", "../d/a.yaml", "nowhere.yaml", "../real", "../shared/../../x"]
    {
        let link = format!("-> {target}");
        let error =
            render(&[("d/a.yaml", &link), ("shared", "-> real"), ("real/a.yaml", A)], "d", PLAIN).await;
        let error = error.unwrap_err();
        assert!(matches!(error.reason, Reason::Refused | Reason::Missing), "{target}: {error}");
        assert_eq!(error.file, "d/a.yaml", "{target}: {error}");
    }
}

#[tokio::test]
async fn a_field_is_found_in_its_file() {
    let files = [(
        "d/a.yaml",
        "# one\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  annotations:\n    x/y: z\n",
    )];
    let rendered = render(&files, "d", PLAIN).await.unwrap();
    assert_eq!(locate(&Memory::tree(&files), &rendered.objects[0], "/metadata/annotations/x~1y"), 7);
}

#[test]
fn a_change_concerns_what_was_read() {
    let inputs = ["app".to_owned(), "base/x.yaml".to_owned()];
    for (path, wanted) in [
        ("app/x.yaml", true),
        ("app", true),
        ("application/x.yaml", false),
        ("base/x.yaml", true),
        ("base/y.yaml", false),
        ("base", false),
    ] {
        assert_eq!(touches(&inputs, &[path.to_owned()]), wanted, "{path}");
    }
    assert!(touches(&[String::new()], &["x".to_owned()]));
    assert!(!touches(&inputs, &[]));
}

/// A kustomization in the usual form: an overlay over a base with a patch, a generator and a component.
const OVERLAY: &[(&str, &str)] = &[
    ("apps/pay/base/kustomization.yaml", "resources: [deploy.yaml]\n"),
    (
        "apps/pay/base/deploy.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: pay}\nspec: {replicas: 1}\n",
    ),
    (
        "apps/pay/overlays/prod/kustomization.yml",
        "resources: [../../base]\ncomponents: [../../../../parts/debug]\npatches:\n- path: patch.yaml\nconfigMapGenerator:\n- name: settings\n  files: [all=settings.txt]\n  envs: [.env]\n",
    ),
    (
        "apps/pay/overlays/prod/patch.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: pay}\nspec: {replicas: 3}\n",
    ),
    ("apps/pay/overlays/prod/settings.txt", "hello\n"),
    ("apps/pay/overlays/prod/.env", "A=on\n"),
    ("apps/pay/overlays/prod/unused.yaml", "a: {b"),
    (
        "parts/debug/kustomization.yaml",
        "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\ncommonAnnotations: {debug: 'yes'}\n",
    ),
];

#[tokio::test]
async fn an_overlay_is_built_from_what_it_names() {
    if kustomize().is_none() {
        println!("no kustomize: nothing was built");
        return;
    }
    let rendered = render(OVERLAY, "apps/pay/overlays/prod", Render::Auto).await.unwrap();
    let find = |kind: &str| rendered.objects.iter().find(|object| object.value["kind"] == kind).unwrap();
    assert_eq!(find("Deployment").value["spec"]["replicas"], 3);
    assert_eq!(find("Deployment").value["metadata"]["annotations"]["debug"], "yes");
    assert_eq!(find("ConfigMap").value["data"]["all"], "hello\n");
    for (path, wanted) in [
        ("apps/pay/base/deploy.yaml", true),
        ("parts/debug/kustomization.yaml", true),
        ("apps/pay/base/Kustomization", true),
        ("apps/pay/overlays/prod/.env", true),
        ("apps/pay/overlays/prod/unused.yaml", false),
        ("apps/pay/overlays/staging/patch.yaml", false),
    ] {
        assert_eq!(touches(&rendered.inputs, &[path.to_owned()]), wanted, "{path}: {:?}", rendered.inputs);
    }
}

#[tokio::test]
async fn a_kustomization_follows_links_inside_the_tree() {
    if kustomize().is_none() {
        return;
    }
    let files = [
        ("k/kustomization.yaml", "resources: [linked]\n"),
        ("k/linked", "-> ../base"),
        ("base/kustomization.yaml", "resources: [a.yaml]\n"),
        ("base/a.yaml", A),
    ];
    assert_eq!(names(&render(&files, "k", Render::Auto).await.unwrap()), ["a"]);
}

#[tokio::test]
async fn what_reaches_beyond_the_repository_is_refused_before_anything_runs() {
    let nothing = Renderer::new(Settings::new("/nowhere/kustomize".into(), Jail::Off));
    for (text, reason, line, cause) in [
        ("resources:\n- https://example.com/x.yaml\n", Reason::Refused, 2, "remote"),
        ("resources: [github.com/a/b]\n", Reason::Refused, 1, "remote"),
        ("resources: ['git@github.com:a/b']\n", Reason::Refused, 1, "remote"),
        ("resources: ['a?ref=main']\n", Reason::Refused, 1, "remote"),
        ("bases: [ssh://x/y]\n", Reason::Refused, 1, "remote"),
        ("resources: [../../x]\n", Reason::Refused, 1, "out of the repository"),
        ("resources: [/etc/passwd]\n", Reason::Refused, 1, "absolute"),
        ("resources: [nope.yaml]\n", Reason::Missing, 1, "nope.yaml"),
        ("a: 1\nhelmCharts: []\n", Reason::Refused, 2, "helmCharts"),
        ("generators: [x]\n", Reason::Refused, 1, "generators"),
        ("transformers: [t.yaml]\n", Reason::Refused, 1, "not built in"),
        ("transformers:\n- |\n  apiVersion: v1\n  kind: Evil\n", Reason::Refused, 1, "not built in"),
        ("patches: [{path: nope}]\n", Reason::Missing, 1, "nope"),
        (
            "configMapGenerator: [{name: x, files: [k=../../../x]}]\n",
            Reason::Refused,
            1,
            "out of the repository",
        ),
        ("secretGenerator: [{name: x, envs: [nope]}]\n", Reason::Missing, 1, "nope"),
        ("resources: [.]\n", Reason::Manifest, 1, "cycle"),
        ("resources: [../other]\n", Reason::Manifest, 1, "cycle"),
        ("resources: [empty]\n", Reason::Missing, 1, "no kustomization"),
        ("resources: [a, a\n", Reason::Manifest, 1, ""),
    ] {
        let files = [
            ("k/kustomization.yaml", text),
            (
                "k/t.yaml",
                "apiVersion: v1\nkind: X\nmetadata: {annotations: {config.kubernetes.io/function: 'exec: {path: ./x}'}}\n",
            ),
            ("k/empty/readme", ""),
            ("other/kustomization.yaml", "resources: [../k]\n"),
            ("github.com/a/b/kustomization.yaml", "resources: []\n"),
        ];
        let error = run(&nothing, &files, "k", Render::Auto).await.unwrap_err();
        assert_eq!((error.reason, error.line), (reason, line), "{text}: {error}");
        assert!(error.cause.contains(cause), "{text}: {error}");
    }
    let two = [("k/kustomization.yaml", ""), ("k/Kustomization", "")];
    assert!(run(&nothing, &two, "k", Render::Auto).await.unwrap_err().cause.contains("same folder"));
}

#[tokio::test]
async fn a_bad_manifest_under_a_kustomization_is_named_itself() {
    if kustomize().is_none() {
        return;
    }
    let bad =
        [("k/kustomization.yaml", "resources: [a.yaml]\n"), ("k/a.yaml", "a: 1\n---\nb: {c: 1, c: 2}\n")];
    let error = render(&bad, "k", Render::Auto).await.unwrap_err();
    assert_eq!((error.file.as_str(), error.document, error.line), ("k/a.yaml", 2, 3), "{error}");
    let wrong = [("k/kustomization.yaml", "resources: [a.yaml]\nsurprise: 1\n"), ("k/a.yaml", A)];
    let error = render(&wrong, "k", Render::Auto).await.unwrap_err();
    assert_eq!((error.reason, error.file.as_str()), (Reason::Manifest, "k"), "{error}");
    assert!(error.cause.contains("surprise") && !error.cause.contains("/tmp"), "{error}");
}

/// Writes a program. Another process does it: a file that this one had open for writing while a parallel test starts
/// a child could not be run.
fn executable(path: &std::path::Path, text: &str) {
    let mut child = std::process::Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// A stand-in for the renderer: a shell script.
fn script(text: &str) -> (tempfile::TempDir, Settings) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("kustomize");
    let version = "if [ \"$1\" = version ]; then echo v0; exit; fi";
    executable(&program, &format!("#!/bin/sh\n{version}\n{text}\n"));
    let settings = Settings::new(program, Jail::Off);
    (folder, settings)
}

const SMALL: &[(&str, &str)] = &[("k/kustomization.yaml", "resources: [a.yaml]\n"), ("k/a.yaml", A)];

#[tokio::test]
async fn a_runaway_renderer_is_stopped_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    std::fs::write(&pid_file, "").unwrap();
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    // The grandchild holds the writing end of a pipe until it is killed.
    let (_folder, mut settings) = script(&format!("sleep 30 > {} & wait", pipe.display()));
    settings.time_limit = Duration::from_millis(1_500);
    let reader = tokio::task::spawn_blocking(move || std::fs::read(pipe));
    let error = run(&Renderer::new(settings), SMALL, "k", Render::Auto).await.unwrap_err();
    assert_eq!(error.reason, Reason::Limit, "{error}");
    assert!(error.cause.contains("longer than 1.5 s"), "{error}");
    let end = tokio::time::timeout(Duration::from_secs(10), reader).await;
    assert!(end.is_ok(), "the grandchild is gone, so its end of the pipe is closed");
}

#[tokio::test]
async fn a_renderer_that_prints_without_end_is_stopped() {
    let (_folder, mut settings) = script("while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done");
    settings.output_bytes_max = 100_000;
    let error = run(&Renderer::new(settings), SMALL, "k", Render::Auto).await.unwrap_err();
    assert!(error.reason == Reason::Limit && error.cause.contains("printed more than 100000"), "{error}");
}

#[tokio::test]
async fn a_renderer_has_no_environment_and_cannot_write() {
    let (_folder, settings) = script(
        "env | grep -v -e ^PWD= -e ^SHLVL= -e ^_= -e ^OLDPWD= >&2; (echo x > here) 2>/dev/null; [ -s here ] && echo wrote >&2; exit 1",
    );
    let error = run(&Renderer::new(settings), SMALL, "k", Render::Auto).await.unwrap_err();
    assert!(!error.cause.contains('=') && !error.cause.contains("wrote"), "{error}");
}

#[tokio::test]
async fn the_same_files_are_built_once() {
    let folder = tempfile::tempdir().unwrap();
    let count = folder.path().join("count");
    std::fs::create_dir(&count).unwrap();
    // A folder per run: files cannot be written.
    let (_folder, settings) = script(&format!(
        "mkdir {}/$$; cat k/../repo/k/a.yaml 2>/dev/null || cat repo/k/a.yaml",
        count.display()
    ));
    let renderer = Renderer::new(settings);
    let builds = || std::fs::read_dir(&count).unwrap().count();
    let first = run(&renderer, SMALL, "k", Render::Auto).await.unwrap();
    assert_eq!(run(&renderer, SMALL, "k", Render::Auto).await.unwrap(), first);
    assert_eq!(builds(), 1);
    let more: Vec<_> = SMALL.iter().copied().chain([("other", "x")]).collect();
    run(&renderer, &more, "k", Render::Auto).await.unwrap();
    assert_eq!(builds(), 1, "a file that is not read makes no difference");
    run(&renderer, &[SMALL[0], ("k/a.yaml", B)], "k", Render::Auto).await.unwrap();
    assert_eq!(builds(), 2);
}

#[tokio::test]
async fn a_missing_program_is_the_machines_fault() {
    let settings = Settings::new("/nowhere/kustomize".into(), Jail::Off);
    let error = run(&Renderer::new(settings), SMALL, "k", Render::Auto).await.unwrap_err();
    assert!(error.reason == Reason::Machine && error.is_transient(), "{error}");
}

/// Answers as the jail when the environment asks for it; a test otherwise only in name.
#[test]
fn jail_entry() {
    if let Some(arguments) = std::env::var_os("TAFFRAIL_TEST_JAIL") {
        let arguments = arguments.into_string().unwrap();
        super::jail::become_renderer(arguments.split('\n').map(Into::into));
        std::process::exit(126);
    }
}

/// Runs a shell command inside the jail, which is this very test program.
fn jailed(root: &std::path::Path, memory: &str, command: &str) -> std::process::Output {
    let arguments = [memory, "5", root.to_str().unwrap(), "/bin/bash", "-c", command].join("\n");
    std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "render::tests::jail_entry", "--nocapture", "-q"])
        .env("TAFFRAIL_TEST_JAIL", arguments)
        .output()
        .unwrap()
}

#[test]
fn the_jail_closes_memory_files_and_network() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("inside"), "inside\n").unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let run = |command: &str| {
        let output = jailed(folder.path(), "1000000000", command);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned(), message)
    };
    let inside = format!("cd {}; read x < inside; echo \"$x\"", folder.path().display());
    let (is_success, text, message) = run(&inside);
    assert!(is_success && text.contains("inside"), "{text} {message}");
    assert!(!run("echo x > /tmp/taffrail-jail-test").0, "no file can be written");
    let large = "x=$(printf 'a%.0s' {1..3000000}); echo ${#x}";
    let of = |memory: &str| {
        String::from_utf8_lossy(&jailed(folder.path(), memory, large).stdout).contains("3000000")
    };
    assert!(of("2000000000") && !of("50000000"), "memory has an end");
    let is_net_closed = !run(&format!("exec 3<>/dev/tcp/127.0.0.1/{port}")).0;
    let are_files_closed = !run("read x < /etc/passwd").0;
    if !are_files_closed {
        println!("this kernel has no Landlock: files and network stay open");
    }
    assert!(are_files_closed || !is_net_closed, "a kernel that closes the network closes files too");
}

#[tokio::test]
async fn the_real_program_works_inside_the_jail() {
    let Some(program) = kustomize() else { return };
    let folder = tempfile::tempdir().unwrap();
    let hub = folder.path().join("hub");
    // The test program prints a line of its own before it becomes the renderer.
    let text = format!(
        "#!/bin/sh\nshift\nTAFFRAIL_TEST_JAIL=\"$(printf '%s\\n' \"$@\")\" {} --exact render::tests::jail_entry --nocapture -q | {{ read -r a; read -r b; exec cat; }}\n",
        std::env::current_exe().unwrap().display()
    );
    executable(&hub, &text);
    let jailed = Renderer::new(Settings::new(program, Jail::Program(hub)));
    let built = run(&jailed, OVERLAY, "apps/pay/overlays/prod", Render::Auto).await.unwrap();
    assert_eq!(built.objects.len(), 2);
}

#[tokio::test]
async fn trees_of_any_shape_are_planned_without_panic() {
    let _: Tree = Memory::tree(&[]);
    for path in ["", "..", "../..", "/", "//", ".", "a/../..", "a//b", "\u{0}"] {
        for way in [Render::Auto, Render::Kustomize, DEEP] {
            drop(render(&[("a/b/c.yaml", A)], path, way).await);
        }
    }
}
