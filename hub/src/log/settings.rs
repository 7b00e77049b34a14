//! Settings of `RocksDB`: durability is stated, and read back from what the open database wrote about itself.

use super::Error;
use super::epoch::file_error;
use rocksdb::{
    BlockBasedOptions, Cache, ChecksumType, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode,
    Options,
};
use std::fs;
use std::path::{Path, PathBuf};

pub(super) const EVENTS: &str = "events";
pub(super) const INDEX: &str = "index";
pub(super) const BLOBS: &str = "blobs";
pub(super) const META: &str = "meta";

/// Version of the library that the bindings were made from (`librocksdb-sys` in Cargo.lock names it behind the plus sign).
const BUILT_FOR: &str = "11.8.1";

/// What must be in force before the first write. The first three keep what was synced or say that it is gone; the next three make
/// sure that nothing is visible or acknowledged before its fsync; the last two let damage be seen.
const REQUIRED: [(&str, &str); 8] = [
    ("wal_recovery_mode", "kPointInTimeRecovery"),
    ("track_and_verify_wals_in_manifest", "true"),
    ("verify_sst_unique_id_in_manifest", "true"),
    ("manual_wal_flush", "false"),
    ("unordered_write", "false"),
    ("enable_pipelined_write", "false"),
    ("paranoid_checks", "true"),
    ("allow_mmap_writes", "false"),
];

/// Checksum of every block, in every column family.
const CHECKSUM: (&str, &str) = ("checksum", "kXXH3");

/// Memory of unwritten rows over all column families, in bytes: part of the hub's 200 MB.
const WRITE_BUFFERS_BYTES: usize = 48 * 1024 * 1024;

/// Memory of blocks read, in bytes: the newest pages of every list.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// Write-ahead log after which the oldest column family is flushed, in bytes: bounds the time of a start after a crash.
const WAL_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Open table files; each costs a descriptor and its index in memory.
const OPEN_FILES_MAX: i32 = 512;

/// Blobs from this size on lie in files of their own and are not copied by compaction.
const BLOB_FILE_FROM_BYTES: u64 = 4 * 1024;

/// Settings of the database as a whole.
pub(super) fn database() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_manual_wal_flush(false);
    options.set_unordered_write(false);
    options.set_enable_pipelined_write(false);
    options.set_paranoid_checks(true);
    options.set_allow_mmap_writes(false);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options.set_db_write_buffer_size(WRITE_BUFFERS_BYTES);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_background_jobs(2);
    options.set_bytes_per_sync(1024 * 1024);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(4 * 1024 * 1024);
    options.set_stats_dump_period_sec(0);
    options
}

/// The column families with their settings.
pub(super) fn column_families() -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(CACHE_BYTES);
    // Events are never overwritten: their files move down unchanged, so they are packed for good when they are written first.
    let mut events = table(&cache, 16 * 1024);
    events.set_compression_type(DBCompressionType::Zstd);
    events.set_write_buffer_size(16 * 1024 * 1024);
    let mut index = table(&cache, 8 * 1024);
    index.set_compression_type(DBCompressionType::Lz4);
    index.set_bottommost_compression_type(DBCompressionType::Zstd);
    index.set_write_buffer_size(16 * 1024 * 1024);
    // Bundles come packed.
    let mut blobs = table(&cache, 4 * 1024);
    blobs.set_compression_type(DBCompressionType::None);
    blobs.set_enable_blob_files(true);
    blobs.set_min_blob_size(BLOB_FILE_FROM_BYTES);
    blobs.set_enable_blob_gc(true);
    blobs.set_write_buffer_size(16 * 1024 * 1024);
    let meta = table(&cache, 4 * 1024);
    let named = [(EVENTS, events), (INDEX, index), (BLOBS, blobs), (META, meta)];
    named.into_iter().map(|(name, options)| ColumnFamilyDescriptor::new(name, options)).collect()
}

fn table(cache: &Cache, block_bytes: usize) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_block_size(block_bytes);
    blocks.set_checksum_type(ChecksumType::XXH3);
    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    options
}

/// Compares what is in force with what is needed, by the file in which `RocksDB` describes itself at every open.
pub(super) fn check_in_force(folder: &Path) -> Result<(), Error> {
    let path = newest_description(folder)?;
    let text = fs::read_to_string(&path)
        .map_err(|source| file_error("read the settings in force from", &path, source))?;
    check(&text)
}

fn newest_description(folder: &Path) -> Result<PathBuf, Error> {
    let failed = |source| file_error("look for the settings in force in", folder, source);
    let mut newest = None;
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("OPTIONS-")?.parse::<u64>().ok());
        newest = newest.max(number.map(|number| (number, name)));
    }
    let missing = || failed(std::io::Error::from(std::io::ErrorKind::NotFound));
    newest.map(|(_, name)| folder.join(name)).ok_or_else(missing)
}

/// The values of a setting, one for each section that states it.
fn values<'text>(text: &'text str, name: &'text str) -> impl Iterator<Item = &'text str> {
    let pairs = text.lines().filter_map(|line| line.trim().split_once('='));
    pairs.filter(move |(key, _)| *key == name).map(|(_, value)| value)
}

fn check(text: &str) -> Result<(), Error> {
    let loaded = values(text, "rocksdb_version").next().unwrap_or_default();
    if loaded != BUILT_FOR {
        return Err(Error::OtherLibrary { loaded: loaded.to_owned(), built: BUILT_FOR });
    }
    for (name, wanted) in REQUIRED.into_iter().chain([CHECKSUM]) {
        let mut found = values(text, name).peekable();
        let wrong = match found.peek() {
            None => Some(""),
            Some(_) => found.find(|value| *value != wanted),
        };
        if let Some(found) = wrong {
            return Err(Error::Unsafe { name, found: found.to_owned(), wanted });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description() -> String {
        let stated: String =
            REQUIRED.iter().map(|(name, value)| ["  ", name, "=", value, "\n"].concat()).collect();
        let tables =
            "[TableOptions \"events\"]\n  checksum=kXXH3\n[TableOptions \"index\"]\n  checksum=kXXH3\n";
        format!("[Version]\n  rocksdb_version={BUILT_FOR}\n[DBOptions]\n{stated}{tables}")
    }

    #[test]
    fn every_setting_that_durability_rests_on_is_checked() {
        check(&description()).unwrap();
        for (name, wanted) in REQUIRED.into_iter().chain([CHECKSUM]) {
            let line = format!("{name}={wanted}");
            for other in [format!("{name}=kOther"), String::new()] {
                let text = match name {
                    "checksum" if other.is_empty() => description().replace(&line, ""),
                    "checksum" => {
                        let at = description().rfind(&line).unwrap();
                        description()[..at].to_owned() + &other
                    }
                    _ => description().replace(&line, &other),
                };
                let error = check(&text).unwrap_err();
                assert!(
                    matches!(&error, Error::Unsafe { name: found, .. } if *found == name),
                    "{name}: {error}"
                );
            }
        }
    }

    #[test]
    fn another_version_of_the_library_is_refused_by_name() {
        for version in ["7.8.3", "11.8.10", ""] {
            let text = description().replace(BUILT_FOR, version);
            let error = check(&text).unwrap_err();
            assert!(matches!(&error, Error::OtherLibrary { loaded, .. } if loaded == version), "{error}");
        }
    }

    #[test]
    fn the_version_is_the_one_the_bindings_were_made_from() {
        let lock = include_str!("../../../Cargo.lock");
        assert!(lock.contains(&format!("+{BUILT_FOR}\"")), "librocksdb-sys was updated: update BUILT_FOR");
    }
}
