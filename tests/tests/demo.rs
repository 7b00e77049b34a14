//! The demo as `make demo ONCE=1` runs it: five clusters in memory, and every step as told.

use std::process::Command;

#[test]
fn the_story_comes_out_as_told_and_is_plain_where_nobody_watches() {
    let output = Command::new(env!("CARGO_BIN_EXE_demo")).arg("--once").output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!told.contains('\x1b'), "{told}");
    for part in [
        "5 clusters joined",
        "1  First delivery",
        "2  A new version",
        "healthy on 5 of 5 clusters",
        "healed on us-1",
        "kubectl-edit, .spec.replicas",
        "ImagePullBackOff on ap-1 eu-1 eu-2 us-1",
        "5  git revert",
        "$ taffrail log --commit",
        "$ taffrail history payments-api",
        "Every step came out as told",
    ] {
        assert!(told.contains(part), "{part} is missing in:\n{told}");
    }
}
