//! A disk that is full, and then is not: a small file system in memory, in a mount namespace of its own.

use std::process::Command;

const SCRIPT: &str = r#"
set -e
mount -t tmpfs -o size=4m none "$2"
count=$("$1" fill "$2/store.redb")
mount -o remount,size=64m "$2"
"$1" check "$2/store.redb" "$count"
echo "acknowledged $count"
"#;

#[test]
fn a_full_disk_loses_nothing_and_heals() {
    let directory = tortie_store_suite::served::scratch();
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", SCRIPT, "sh"])
        .arg(env!("CARGO_BIN_EXE_tortie-store-suite-disk"))
        .arg(directory.path())
        .output()
        .unwrap();
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");
    assert!(told.contains("acknowledged ") && !told.contains("acknowledged 0"), "{told}");
}
