//! The shared libraries that programs load, as the dynamic linker of this machine finds them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::layer::File;

/// Every library of the programs, and the linker itself. A library that only this machine knows where to find (by a run
/// path of the build) comes beside the C library, where every program looks.
pub(super) fn libraries(programs: &[PathBuf]) -> Result<Vec<File>> {
    let mut found = BTreeMap::new();
    for program in programs {
        let output = Command::new("ldd").arg(program).output().context("start ldd")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        if text.contains("statically linked") || complaint.contains("not a dynamic executable") {
            continue;
        }
        ensure!(output.status.success(), "ldd {}: {complaint}", program.display());
        found.extend(needed(&text).with_context(|| format!("libraries of {}", program.display()))?);
    }
    let system = found.get("libc.so.6").and_then(|path| path.parent()).map(Path::to_owned);
    let mut files = Vec::new();
    let mut places = BTreeSet::new();
    for (name, path) in &found {
        let beside = system.as_ref().context("a program that loads libraries loads the C library")?;
        // The linker's place is written in each program.
        let place = if name.starts_with('/') { PathBuf::from(name) } else { beside.join(name) };
        let place = place.strip_prefix("/").context("ldd names absolute paths")?.to_owned();
        if places.insert(place.clone()) {
            let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
            let place = place.to_str().context("a path that is not UTF-8")?;
            files.push(File::new(place, 0o755, bytes));
        }
    }
    Ok(files)
}

/// Name and place of each library in the words of `ldd`; the linker has its path as its name.
fn needed(text: &str) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [name, "=>", "not", "found"] => bail!("{name} is not found on this machine"),
            [name, "=>", path, _] => found.insert(name.to_owned(), PathBuf::from(path)),
            [path, _] if path.starts_with('/') => found.insert(path.to_owned(), PathBuf::from(path)),
            _ => continue, // the kernel's own, which is no file
        };
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_the_words_of_ldd() {
        let text = "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/libc.so.6 (0x2)\n\t/lib64/ld.so (0x3)\n";
        let found = needed(text).unwrap();
        let found: Vec<_> =
            found.iter().map(|(name, path)| (name.as_str(), path.to_str().unwrap())).collect();
        assert_eq!(found, [("/lib64/ld.so", "/lib64/ld.so"), ("libc.so.6", "/lib/libc.so.6")]);
        let missing = needed("\tlibrocksdb.so => not found\n").unwrap_err();
        assert_eq!(missing.to_string(), "librocksdb.so is not found on this machine");
    }
}
