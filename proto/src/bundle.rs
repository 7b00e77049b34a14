//! Bundles: rendered objects as bytes that are equal whenever the objects are, and back.
//!
//! The content is one compact JSON object per line with sorted keys, and the lines stand in the order of the objects' keys.
//! The digest is over this content, not over its compressed form, so that another zstd gives the same bundle another packing and
//! the same identity. What comes back from `decode` was checked against the digest before anything parsed it.

use prost::bytes::Bytes;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use taffrail_core::digest::Digest;
use taffrail_core::object::Key;

/// Longest content of a bundle, in bytes: twice the output limit of a renderer (32 MiB), far above any app seen.
pub const CONTENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Most objects in one bundle: what an agent can hold fingerprints of in its memory limit, ten times over.
pub const OBJECTS_MAX: usize = 10_000;

/// Compression level: the library's own default; higher ones cost ten times the time for a few per cent.
const LEVEL: i32 = 3;

/// Largest window that a packed bundle may ask for, as a power of two: 8 MiB, four times what `LEVEL` uses.
const WINDOW_LOG_MAX: u32 = 23;

/// A bundle in its plain and its packed form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// SHA-256 of `content`: the bundle's identity.
    pub digest: Digest,
    /// One compact JSON object per line.
    pub content: Vec<u8>,
    /// `content` as one zstd frame: what is stored and sent.
    pub compressed: Bytes,
}

/// A bundle that could not be made, or bytes that are not the bundle they should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too many objects for one bundle.
    #[error("a bundle of {objects} objects is larger than the limit of {OBJECTS_MAX}")]
    TooManyObjects {
        /// How many there are.
        objects: usize,
    },
    /// Too many bytes for one bundle, plain or packed.
    #[error("a bundle of more than {CONTENT_BYTES_MAX} bytes is larger than the limit")]
    TooLarge,
    /// The bytes are not what the digest names.
    #[error("the bundle's content has the digest {found}, not {expected}")]
    OtherDigest {
        /// What the index asks for.
        expected: Digest,
        /// What the bytes have.
        found: Digest,
    },
    /// zstd could not pack.
    #[error("compress a bundle")]
    Compress {
        /// What zstd says.
        #[source]
        source: std::io::Error,
    },
    /// The bytes are no zstd frame, or are cut off.
    #[error("decompress a bundle")]
    Decompress {
        /// What zstd says.
        #[source]
        source: std::io::Error,
    },
    /// A line is not JSON: whoever sealed this bundle did not use `encode`.
    #[error("parse line {line} of a bundle")]
    Parse {
        /// Line number, the first is 1.
        line: usize,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
}

/// Encodes objects; equal objects in any order give an equal digest and equal content.
///
/// Objects without kind or name stand first, in the order of their text.
///
/// # Errors
/// [`Error::TooManyObjects`], [`Error::TooLarge`], or [`Error::Compress`] if zstd has no memory.
pub fn encode(objects: &[Value]) -> Result<Encoded, Error> {
    if objects.len() > OBJECTS_MAX {
        return Err(Error::TooManyObjects { objects: objects.len() });
    }
    let mut lines: Vec<(Option<Key>, String)> =
        objects.iter().map(|object| (Key::of(object), object.to_string())).collect();
    lines.sort();
    let length = lines.iter().map(|(_, line)| line.len() + 1).sum::<usize>();
    if length as u64 > CONTENT_BYTES_MAX {
        return Err(Error::TooLarge);
    }
    let mut content = Vec::with_capacity(length);
    for (_, line) in &lines {
        content.extend_from_slice(line.as_bytes());
        content.push(b'\n');
    }
    let compressed =
        zstd::bulk::compress(&content, LEVEL).map_err(|source| Error::Compress { source })?.into();
    Ok(Encoded { digest: digest_of(&content), content, compressed })
}

/// Unpacks a bundle, checks it against the digest that named it, and only then parses it.
///
/// Never holds more than [`CONTENT_BYTES_MAX`] of content, whatever the packed bytes promise.
///
/// # Errors
/// Every [`Error`] but `Compress`; none of them says that the bundle is empty.
pub fn decode(compressed: &[u8], expected: Digest) -> Result<Vec<Value>, Error> {
    let content = decompress(compressed)?;
    let found = digest_of(&content);
    if found != expected {
        return Err(Error::OtherDigest { expected, found });
    }
    parse(&content)
}

/// Unpacks a bundle object by object: the whole of it is never in memory.
///
/// Everything is unpacked once to be checked against the digest that named it, and once more to be handed over.
///
/// # Errors
/// Every [`Error`] but `Compress` and `Parse`, and whatever `each` fails with.
pub fn unpack<E: From<Error>>(
    compressed: &[u8],
    expected: Digest,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    let mut objects = 0;
    lines(compressed, |line| {
        hash.update(line);
        objects += 1;
        if objects > OBJECTS_MAX { Err(Error::TooManyObjects { objects }) } else { Ok(()) }
    })?;
    let mut found = Digest::default();
    found.0.copy_from_slice(hash.finish().as_ref());
    if found != expected {
        return Err(Error::OtherDigest { expected, found }.into());
    }
    lines(compressed, |line| match line.strip_suffix(b"\n").unwrap_or(line) {
        [] => Ok(()),
        object => each(object),
    })
}

/// Hands over the lines of packed content with their ends.
fn lines<E: From<Error>>(compressed: &[u8], mut each: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    if compressed.len() as u64 > CONTENT_BYTES_MAX {
        return Err(Error::TooLarge.into());
    }
    let broken = |source| Error::Decompress { source };
    let mut decoder = zstd::stream::read::Decoder::with_buffer(compressed).map_err(broken)?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(broken)?;
    let mut reader = BufReader::new(decoder.take(CONTENT_BYTES_MAX + 1));
    let (mut line, mut bytes) = (Vec::new(), 0);
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(broken)?;
        bytes += read as u64;
        if bytes > CONTENT_BYTES_MAX {
            return Err(Error::TooLarge.into());
        }
        if read == 0 {
            return Ok(());
        }
        each(&line)?;
    }
}

/// SHA-256 of some bytes.
pub fn digest_of(bytes: &[u8]) -> Digest {
    let mut digest = Digest::default();
    digest.0.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    digest
}

fn decompress(compressed: &[u8]) -> Result<Vec<u8>, Error> {
    if compressed.len() as u64 > CONTENT_BYTES_MAX {
        return Err(Error::TooLarge);
    }
    let broken = |source| Error::Decompress { source };
    let mut decoder = zstd::stream::read::Decoder::with_buffer(compressed).map_err(broken)?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(broken)?;
    let mut content = Vec::new();
    decoder.take(CONTENT_BYTES_MAX + 1).read_to_end(&mut content).map_err(broken)?;
    if content.len() as u64 > CONTENT_BYTES_MAX {
        return Err(Error::TooLarge);
    }
    Ok(content)
}

fn parse(content: &[u8]) -> Result<Vec<Value>, Error> {
    let lines = || content.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let objects = lines().count();
    if objects > OBJECTS_MAX {
        return Err(Error::TooManyObjects { objects });
    }
    let lines = lines().enumerate();
    lines
        .map(|(at, line)| {
            serde_json::from_slice(line).map_err(|source| Error::Parse { line: at + 1, source })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn config_map(name: &str, data: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "web"}, "data": data})
    }

    fn packed(content: &[u8]) -> (Vec<u8>, Digest) {
        (zstd::bulk::compress(content, LEVEL).unwrap(), digest_of(content))
    }

    #[test]
    fn equal_objects_give_equal_bytes_in_any_order() {
        let (a, b) = (config_map("a", &json!({"x": "1"})), config_map("b", &json!({})));
        let one = encode(&[a.clone(), b.clone()]).unwrap();
        let other = encode(&[b, a]).unwrap();
        assert_eq!(one, other);
    }

    #[test]
    fn content_is_one_compact_object_per_line_with_sorted_keys() {
        let object: Value =
            serde_json::from_str(r#"{"kind": "ConfigMap", "metadata": {"name": "a"}, "apiVersion": "v1"}"#)
                .unwrap();
        let bundle = encode(&[object]).unwrap();
        let text = String::from_utf8(bundle.content).unwrap();
        assert_eq!(text, "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\"}}\n");
        assert_eq!(
            bundle.digest.to_string(),
            "09704f45822873124d9c3700480762b1f6b181eb60a61522c211da4390c22b13",
            "the digest is what travels: it may never change"
        );
    }

    #[test]
    fn unpacking_object_by_object_gives_the_lines_and_refuses_what_decoding_refuses() {
        let objects = [config_map("a", &json!({"x": "1"})), config_map("b", &json!({}))];
        let bundle = encode(&objects).unwrap();
        let unpacked = |packed: &[u8], digest| {
            let mut found = Vec::new();
            let each = |line: &[u8]| {
                found.push(serde_json::from_slice::<Value>(line).unwrap());
                Ok(())
            };
            unpack::<Error>(packed, digest, each).map(|()| found)
        };
        assert_eq!(unpacked(&bundle.compressed, bundle.digest).unwrap(), objects);
        let other = unpacked(&bundle.compressed, digest_of(b"other"));
        assert!(matches!(other, Err(Error::OtherDigest { .. })), "{other:?}");
        let cut = unpacked(&bundle.compressed[..bundle.compressed.len() - 4], bundle.digest);
        assert!(matches!(cut, Err(Error::Decompress { .. })), "{cut:?}");
        let (many, digest) = packed("{}\n".repeat(OBJECTS_MAX + 1).as_bytes());
        let many = unpacked(&many, digest);
        assert!(matches!(many, Err(Error::TooManyObjects { .. })), "{many:?}");
        let (large, digest) = packed(&vec![b'x'; usize::try_from(CONTENT_BYTES_MAX).unwrap() + 1]);
        assert!(matches!(unpacked(&large, digest), Err(Error::TooLarge)));
    }

    #[test]
    fn an_empty_bundle_is_a_bundle() {
        let bundle = encode(&[]).unwrap();
        assert_eq!(decode(&bundle.compressed, bundle.digest).unwrap(), Vec::<Value>::new());
    }

    #[test]
    fn other_bytes_than_the_digest_names_are_refused_before_they_are_parsed() {
        let (bytes, _) = packed(b"this is not JSON\n");
        let error = decode(&bytes, Digest([7; 32])).unwrap_err();
        assert!(matches!(error, Error::OtherDigest { .. }), "{error}");
    }

    #[test]
    fn a_bomb_is_refused() {
        let zeros = vec![b' '; usize::try_from(CONTENT_BYTES_MAX).unwrap() + 1];
        let (bytes, digest) = packed(&zeros);
        assert!(bytes.len() < 16 * 1024, "the bomb is small: {}", bytes.len());
        let error = decode(&bytes, digest).unwrap_err();
        assert!(matches!(error, Error::TooLarge), "{error}");
    }

    #[test]
    fn too_many_objects_are_refused_on_both_sides() {
        let objects = vec![json!({}); OBJECTS_MAX + 1];
        assert!(matches!(encode(&objects), Err(Error::TooManyObjects { .. })));
        let (bytes, digest) = packed("{}\n".repeat(OBJECTS_MAX + 1).as_bytes());
        assert!(matches!(decode(&bytes, digest), Err(Error::TooManyObjects { .. })));
    }

    #[test]
    fn damaged_bytes_are_an_error_and_never_an_empty_bundle() {
        let bundle = encode(&[config_map("a", &json!({"x": "1"}))]).unwrap();
        let whole = bundle.compressed.len();
        for cut in 0..whole {
            assert!(decode(&bundle.compressed[..cut], bundle.digest).is_err(), "cut at {cut}");
        }
        for at in 0..whole {
            let mut bytes = bundle.compressed.to_vec();
            bytes[at] ^= 0x40;
            if let Ok(objects) = decode(&bytes, bundle.digest) {
                assert_eq!(objects.len(), 1, "flipped at {at}: a bit that decides nothing");
            }
        }
    }

    #[test]
    fn a_line_that_is_not_json_is_named() {
        let (bytes, digest) = packed(b"{}\n{]\n");
        let error = decode(&bytes, digest).unwrap_err();
        assert!(matches!(error, Error::Parse { line: 2, .. }), "{error}");
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<i32>().prop_map(|number| Value::from(f64::from(number) / 8.0)),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(".{0,6}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_what_is_decoded(data in prop::collection::vec(tree(), 0..6), seed in any::<u64>()) {
            let objects: Vec<Value> =
                data.into_iter().enumerate().map(|(at, data)| config_map(&format!("o{at}"), &data)).collect();
            let mut shuffled = objects.clone();
            let turn = usize::try_from(seed % 7).unwrap() % shuffled.len().max(1);
            shuffled.rotate_left(turn);
            let bundle = encode(&shuffled).unwrap();
            prop_assert_eq!(decode(&bundle.compressed, bundle.digest).unwrap(), objects);
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            prop_assert!(decode(&bytes, Digest([1; 32])).is_err());
        }
    }
}
