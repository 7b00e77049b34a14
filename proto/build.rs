//! Compiles every `.proto` file of `taffrail/v1` into one Rust module and one descriptor set.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message;

const FOLDER: &str = "taffrail/v1";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={FOLDER}");
    let mut files: Vec<PathBuf> = fs::read_dir(FOLDER)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<PathBuf>, _>>()?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "proto"))
        .collect();
    files.sort(); // the order of a directory is nobody's promise; the descriptor set must not depend on it
    let descriptors = protox::compile(&files, ["."])?;

    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    fs::write(out.join("taffrail_descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .btree_map(".") // a map's order must not change from run to run
        .compile_fds(descriptors)?;
    Ok(())
}
