//! Traps of YAML: what is written here must be what this reader gives and what the real kubectl gives.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::{Document, Error, line_of, read};

/// What a trap must give.
enum Wanted {
    /// Both readers give this as `spec`.
    Both(Value),
    /// Both refuse.
    Refused,
    /// They differ on purpose: ours (`None` for a refusal), theirs.
    Differ(Option<Value>, Option<Value>),
}

use Wanted::{Both, Differ, Refused};

/// `v: TRAP` under `spec`.
fn words() -> Vec<(&'static str, Wanted)> {
    let both = |text, value: Value| (text, Both(value));
    vec![
        both("on", json!(true)),
        both("yes", json!(true)),
        both("y", json!(true)),
        both("No", json!(false)),
        both("OFF", json!(false)),
        both("n", json!(false)),
        both("tRue", json!("tRue")),
        both("~", json!(null)),
        both("NULL", json!(null)),
        both("nUll", json!("nUll")),
        both("", json!(null)),
        both("0644", json!(420)),
        both("0o17", json!(15)),
        both("-0o17", json!(-15)),
        both("089", json!(89)),
        both("0x1F", json!(31)),
        both("-0x1f", json!(-31)),
        both("0b101", json!(5)),
        both("-0b11", json!(-3)),
        both("1_000", json!(1000)),
        both("+12", json!(12)),
        both("-0", json!(0)),
        both("1e3", json!(1000)),
        both("1.0", json!(1)),
        both("1.50", json!(1.5)),
        both(".5", json!(0.5)),
        both("5.", json!(5)),
        both("-1.5e-3", json!(-0.0015)),
        both("1e400", json!("1e400")),
        both("1e20", json!(1e20)),
        both("9223372036854775807", json!(9_223_372_036_854_775_807i64)),
        both("9223372036854775808", json!(9_223_372_036_854_775_808u64)),
        both("-9223372036854775809", json!(-9_223_372_036_854_775_809f64)),
        both("99999999999999999999", json!(1e20)),
        both("1__0", json!(10)),
        both("0x", json!("0x")),
        both("1:30", json!("1:30")),
        both("190:20:30", json!("190:20:30")),
        both("2001-12-14", json!("2001-12-14")),
        both("2001-12-14T21:59:43Z", json!("2001-12-14T21:59:43Z")),
        both("1.2.3", json!("1.2.3")),
        both("+", json!("+")),
        ("-", Refused),
        both(".", json!(".")),
        both("=", json!("=")),
        both("'yes'", json!("yes")),
        both("\"0644\"", json!("0644")),
        both("!!str 12", json!("12")),
        both("!!int \"12\"", json!(12)),
        both("!!float 3", json!(3)),
        both("!!bool yes", json!(true)),
        both("!!binary aGFsbG8=", json!("hallo")),
        both("!custom 12", json!("12")),
        both("\"\\u00fc\\x41\\n\"", json!("üA\n")),
        both("[a, b: c, {d}]", json!(["a", {"b": "c"}, {"d": null}])),
        both("{a: 1, b,}", json!({"a": 1, "b": null})),
        both("a#b", json!("a#b")),
        both("a #b", json!("a")),
        both("a: b", json!(null)),
        (".inf", Refused),
        (".nan", Refused),
        ("!!int abc", Refused),
        ("*nowhere", Refused),
        ("[a", Refused),
        ("\"a", Refused),
        ("@a", Refused),
        ("`a", Refused),
        ("%a", Refused),
    ]
}

/// Whole texts; `HEAD` stands for the first lines of an object.
fn texts() -> Vec<(&'static str, &'static str, Wanted)> {
    let both = |name, text, value: Value| (name, text, Both(value));
    vec![
        both("byte order mark", "\u{feff}HEADspec: 1\n", json!([1])),
        both("carriage returns", "HEADspec:\r\n  a: |\r\n    x\r\n    y\r\n", json!([{"a": "x\ny\n"}])),
        both("only a separator", "---\n", json!([])),
        both("nothing at all", "", json!([])),
        both("comments only", "# a\n---\n# b\n", json!([])),
        both("empty documents", "---\n\n---\nHEADspec: 1\n---\n", json!([1])),
        both("two documents", "HEADspec: 1\n---\nHEADspec: 2\n", json!([1, 2])),
        both("comment after the separator", "HEADspec: 1\n--- # two\nHEADspec: 2\n", json!([1, 2])),
        both("null document", "null\n---\nHEADspec: 1\n", json!([1])),
        both("separator inside a block", "HEADspec: |\n  a\n  ---\n  b\n", json!(["a\n---\nb\n"])),
        both("folded text", "HEADspec: >-\n  a\n  b\n\n  c\n", json!(["a b\nc"])),
        both("kept newlines", "HEADspec: |+\n  a\n\n", json!(["a\n\n"])),
        both("indentation mark", "HEADspec: |2\n    a\n", json!(["  a\n"])),
        both("list without indentation", "HEADspec:\n- 1\n- 2\n", json!([[1, 2]])),
        both("words as names", "HEADspec: {on: 1, 1: 2, 1.5: 3, ~: 4}\n", json!(null)),
        both(
            "words as names, no null",
            "HEADspec: {on: 1, 1: 2, 1.5: 3, 0x10: 4}\n",
            json!([{"true": 1, "1": 2, "1.5": 3, "16": 4}]),
        ),
        both("anchor", "HEADspec: {a: &x {b: 1}, c: *x}\n", json!([{"a": {"b": 1}, "c": {"b": 1}}])),
        both(
            "merge",
            "HEADspec:\n  a: &x {b: 1, c: 1}\n  d:\n    <<: *x\n    c: 2\n",
            json!([{"a": {"b": 1, "c": 1}, "d": {"b": 1, "c": 2}}]),
        ),
        both(
            "merge after the field",
            "HEADspec:\n  a: &x {c: 1}\n  d:\n    c: 2\n    <<: *x\n",
            json!([{"a": {"c": 1}, "d": {"c": 1}}]),
        ),
        both(
            "merge of a list",
            "HEADspec:\n  a: &x {c: 1}\n  b: &y {c: 2, e: 3}\n  d:\n    <<: [*x, *y]\n",
            json!([{"a": {"c": 1}, "b": {"c": 2, "e": 3}, "d": {"c": 1, "e": 3}}]),
        ),
        both("quoted merge sign", "HEADspec: {\"<<\": 1}\n", json!([{"<<": 1}])),
        both("anchor not shared by documents", "HEADspec: &x 1\n---\nHEADspec: *x\n", json!(null)),
        both(
            "JSON",
            "{\"apiVersion\":\"example.com/v1\",\"kind\":\"Trap\",\"metadata\":{\"name\":\"t\"},\n\t\"spec\":1.0}",
            json!([1]),
        ),
        both(
            "JSON escapes",
            "{\"apiVersion\":\"example.com/v1\",\"kind\":\"Trap\",\"metadata\":{\"name\":\"t\"},\"spec\":\"\\ud83d\\ude00\\/\"}",
            json!(["😀/"]),
        ),
        both(
            "JSON twice",
            "{\"apiVersion\":\"example.com/v1\",\"kind\":\"Trap\",\"metadata\":{\"name\":\"t\"},\"spec\":1}
            {\"apiVersion\":\"example.com/v1\",\"kind\":\"Trap\",\"metadata\":{\"name\":\"t\"},\"spec\":2}",
            json!([1, 2]),
        ),
        both(
            "List",
            "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: example.com/v1, kind: Trap, metadata: {name: t}, spec: 1}\n- {apiVersion: example.com/v1, kind: Trap, metadata: {name: t}, spec: 2}\n",
            json!([1, 2]),
        ),
        both("empty List", "apiVersion: v1\nkind: List\nitems: []\n", json!([])),
        both("flow over lines", "HEADspec: {a: 1,\n  b: [1,\n  2]}\n", json!([{"a": 1, "b": [1, 2]}])),
        both("explicit names", "HEADspec:\n  ? a\n  : 1\n", json!([{"a": 1}])),
        ("tab as indentation", "HEADspec:\n\ta: 1\n", Refused),
        ("NUL", "HEADspec: \"a\0b\"\n", Refused),
        ("control character", "HEADspec: \"a\u{1}b\"\n", Refused),
        ("bad indentation", "HEADspec:\n  a: 1\n b: 2\n", Refused),
        ("anchor in itself", "HEADspec: &x [*x]\n", Refused),
        ("list as a name", "HEADspec: {[a]: 1}\n", Refused),
        ("merge of a word", "HEADspec: {<<: a}\n", Refused),
        ("a word as document", "hello\n", Refused),
        ("a list as document", "- a\n", Refused),
        ("field twice", "HEADspec: {a: 1, a: 2}\n", Differ(None, Some(json!([{"a": 2}])))),
        (
            "document after an end mark",
            "HEADspec: 1\n...\nHEADspec: 2\n",
            Differ(Some(json!([1, 2])), Some(json!([1]))),
        ),
    ]
}

const HEAD: &str = "apiVersion: example.com/v1\nkind: Trap\nmetadata: {name: t}\n";

fn specs(objects: &[Value]) -> Value {
    objects.iter().map(|object| object.get("spec").cloned().unwrap_or_default()).collect()
}

fn ours(text: &str) -> Option<Value> {
    let documents = read(text.as_bytes(), "trap.yaml").ok()?;
    Some(specs(&documents.into_iter().map(|document| document.value).collect::<Vec<_>>()))
}

fn theirs(text: &str) -> Option<Value> {
    let mut child = Command::new("kubectl")
        .args(["annotate", "--local", "-f", "-", "k=v", "-o", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() && !message.contains("no objects passed") {
        return None;
    }
    let stream = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
    let objects: Vec<Value> = stream.map(Result::unwrap).collect();
    Some(specs(&objects))
}

/// Numbers beyond 64 bits lose digits in kubectl's output; they are compared as floats.
fn normal(value: Value) -> Value {
    match value {
        Value::Number(number) if number.as_i64().is_none() => json!(number.as_f64()),
        Value::Array(items) => items.into_iter().map(normal).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, normal(value))).collect(),
        other => other,
    }
}

fn check(reader: impl Fn(&str) -> Option<Value>, is_ours: bool) {
    let mut wrong = Vec::new();
    let mut judge = |name: &str, text: &str, wanted: Option<Value>| {
        let found = reader(text).map(normal);
        let wanted = wanted.map(normal);
        if found != wanted {
            wrong.push(format!("{name}: wanted {wanted:?}, found {found:?}"));
        }
    };
    for (word, wanted) in words() {
        let text = format!("{HEAD}spec: {word}\n");
        let list = |value: Value| Some(Value::Array(vec![value]));
        // `a: b` after a name is no map on one line.
        let wanted = match wanted {
            _ if word == "a: b" => None,
            Both(value) => list(value),
            Refused => None,
            Differ(mine, other) => (if is_ours { mine } else { other }).and_then(list),
        };
        judge(word, &text, wanted);
    }
    for (name, text, wanted) in texts() {
        let text = text.replace("HEAD", HEAD);
        let wanted = match wanted {
            Both(Value::Null) | Refused => None,
            Both(value) => Some(value),
            Differ(mine, other) => {
                if is_ours {
                    mine
                } else {
                    other
                }
            }
        };
        judge(name, &text, wanted);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_trap_is_read_as_written_here() {
    assert!(words().len() + texts().len() >= 100);
    check(ours, true);
}

#[test]
fn the_real_kubectl_agrees() {
    if Command::new("kubectl").arg("help").output().is_err() {
        println!("no kubectl: what it gives was written down above, and is not checked again");
        return;
    }
    check(theirs, false);
}

fn error(text: &[u8]) -> Error {
    read(text, "a.yaml").unwrap_err()
}

#[test]
fn errors_name_document_line_and_cause() {
    for (text, document, line, cause) in [
        (&b"a: 1\n---\nb: 1\n---\nc:\n  d: 1\n  d: 2\n"[..], 3, 7, "\"d\" stands twice"),
        (b"a: 1\n---\nb: [1\n", 2, 3, "unclosed"),
        (b"a: 1\nb: \xff\n", 1, 2, "invalid UTF-8 at byte 8"),
        (b"a: 1\nb: \0\n", 1, 2, "a NUL character at byte 8"),
        (b"a: 1\n---\n- b\n", 2, 3, "not an object"),
        (b"a: 1\nb: .inf\n", 1, 2, "no form in JSON"),
        (b"{\"a\": 1,\n \"a\": 2}", 1, 2, "\"a\" stands twice"),
    ] {
        let found = error(text);
        assert_eq!((found.document, found.line), (document, line), "{found}");
        assert!(found.cause.contains(cause), "{found}");
        assert!(found.to_string().starts_with("a.yaml: document "), "{found}");
    }
}

#[test]
fn bombs_and_towers_are_refused_quickly() {
    let mut bomb = String::from("a: &a [x, x, x, x, x, x, x, x, x]\n");
    for (name, before) in ["b", "c", "d", "e", "f", "g", "h"].iter().zip(["a", "b", "c", "d", "e", "f", "g"])
    {
        let nine = vec![format!("*{before}"); 9].join(", ");
        bomb = format!("{bomb}{name}: &{name} [{nine}]\n");
    }
    let padding = (0..2_000).map(|at| format!("k{at}: 1\n")).collect::<Vec<_>>().concat();
    let stairs = (0..2_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect::<Vec<_>>().concat();
    let long = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 1_000].join(", "));
    for text in [
        bomb.clone(),
        format!("{padding}{bomb}"),
        long,
        format!("a: {}", "[".repeat(100_000)),
        format!("a: {}", "{a: ".repeat(100_000)),
        stairs,
    ] {
        let found = error(text.as_bytes());
        assert!(found.cause.len() < 1_000, "{found}");
    }
    assert!(read(format!("a: {}1{}", "[".repeat(100), "]".repeat(100)).as_bytes(), "a").is_ok());
}

#[test]
fn lines_of_fields_are_found() {
    let text = b"# head\na: 1\n---\nmetadata:\n  name: x\n  labels:\n    a/b: 1\nspec:\n  list:\n  - one\n  - two: 2\n";
    for (document, pointer, line) in [
        (1, "/a", Some(2)),
        (2, "", Some(4)),
        (2, "/metadata/name", Some(5)),
        (2, "/metadata/labels/a~1b", Some(7)),
        (2, "/spec/list/1/two", Some(11)),
        (2, "/spec/list/0", Some(10)),
        (2, "/metadata/missing/deep", Some(5)),
        (3, "/a", None),
    ] {
        assert_eq!(line_of(text, document, pointer), line, "{document} {pointer}");
    }
}

#[test]
fn documents_know_where_they_stand() {
    let text =
        "# c\n---\n\n---\nkind: ConfigMapList\napiVersion: v1\nitems:\n- metadata: {name: a}\n---\nkind: X\n";
    let found: Vec<(usize, u32, Value)> = read(text.as_bytes(), "f")
        .unwrap()
        .into_iter()
        .map(|Document { document, line, value, .. }| (document, line, value))
        .collect();
    let item = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}});
    assert_eq!(found, [(2, 5, item), (3, 10, json!({"kind": "X"}))]);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_text_makes_the_reader_panic(text in "([a-c:\\-\\[\\]{}&*!|>'\"#%,? \n\t~.0-9eE_x<]|---\n|<<: |&a |\\*a |\u{feff}|\\PC){0,60}") {
        drop(read(text.as_bytes(), "f"));
        line_of(text.as_bytes(), 1, "/a/b");
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        drop(read(&bytes, "f"));
    }

    #[test]
    fn what_json_says_is_what_is_read(number in proptest::prelude::any::<i64>(), text in "\\PC{0,20}") {
        let value = json!({"n": number, "t": text, "l": [null, true, {"x": text}]});
        let found = read(value.to_string().as_bytes(), "f").unwrap();
        proptest::prop_assert_eq!(&found[0].value, &value);
    }
}
