//! `cargo xtask image`: the node's image, from a static build and Debian's BIRD, without a container engine.
//!
//! With `--programs` it takes programs that are there already, with the libraries they need: for trials of what was just built.

use crate::oci::{self, Image, Rootfs};
use crate::{say, setup, tasks};
use anyhow::{Context, Result, bail};
use flate2::Compression;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Above this an image pull starts to count in a node's start.
const LIMIT: u64 = 25 << 20;
/// The archive with programs that were not built for it.
const FOR_TRIALS: &str = "tortie-node-trial.tar";
/// The name that `deploy/node.yaml` asks for.
pub(crate) const NAME: &str = "localhost/tortie/node";
const TARGET: &str =
    if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-gnu" } else { "x86_64-unknown-linux-gnu" };

/// Runs `cargo xtask image [--programs DIR]`.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let programs = match words.as_slice() {
        [] => None,
        ["--programs", directory] => Some(Path::new(directory)),
        other => bail!("image does not know {:?}: expected --programs DIR, or nothing", other.join(" ")),
    };
    build(programs).map(drop)
}

/// Builds the image, with the programs of a directory if one is given; answers the archive's path.
fn build(programs: Option<&Path>) -> Result<PathBuf> {
    setup::packages()?;
    let program = |package: &str, name: &str, profile: &str| match programs {
        Some(directory) => Ok(directory.join(name)),
        None => static_binary(package, name, profile),
    };
    let mut rootfs = Rootfs::default();
    with_libraries(&mut rootfs, &program("tortie", "tortie", "image")?, "usr/bin/tortie")?;
    for name in ["calico", "calicoctl", "kubectl-calico"] {
        rootfs.link(&format!("usr/bin/{name}"), "tortie");
    }
    rootfs.copy(&program("tortie-cni-bin", "tortie-cni", "cni")?, "opt/cni/bin/calico")?;
    // hostPort and bandwidth are chained plugins of the CNI project.
    for plugin in ["portmap", "bandwidth"] {
        rootfs.copy(&Path::new("/usr/lib/cni").join(plugin), &format!("opt/cni/bin/{plugin}"))?;
    }
    with_libraries(&mut rootfs, Path::new("/usr/sbin/bird"), "usr/sbin/bird")?;
    rootfs.directory("tmp", 0o1777);
    rootfs.directory("var/run/calico", 0o755);
    rootfs.directory("var/lib/calico", 0o755);
    rootfs
        .text("etc/passwd", "root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n");
    rootfs.text("etc/group", "root:x:0:\nnogroup:x:65534:\n");
    rootfs.text("etc/nsswitch.conf", "hosts: files dns\n");
    rootfs.text("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n");

    let version = env!("CARGO_PKG_VERSION");
    let names = [format!("{NAME}:{version}")];
    let image = Image {
        names: &names,
        entrypoint: &["/usr/bin/tortie"],
        cmd: &[],
        compression: if programs.is_some() { Compression::fast() } else { Compression::best() },
        env: &["PATH=/usr/bin:/usr/sbin"],
        labels: &[
            ("org.opencontainers.image.title", "tortie".to_owned()),
            ("org.opencontainers.image.version", version.to_owned()),
        ],
    };
    let to = tasks::target_dir().join(if programs.is_some() { FOR_TRIALS } else { "tortie-node.tar" });
    let (size, digest) = oci::write(&rootfs, &image, &to)?;
    say(&format!("{} {:.1} MB {digest}", to.display(), size as f64 / 1e6));
    if size > LIMIT && programs.is_none() {
        bail!("the image has {size} bytes; the limit is {LIMIT}");
    }
    Ok(to)
}

/// Builds the CNI plugin as the image carries it.
pub(crate) fn plugin() -> Result<PathBuf> {
    static_binary("tortie-cni-bin", "tortie-cni", "cni")?.canonicalize().context("the plugin was not built")
}

/// A program that needs nothing of the system that it runs on.
fn static_binary(package: &str, program: &str, profile: &str) -> Result<PathBuf> {
    say(&format!("$ cargo build --profile {profile} --target {TARGET} --package {package} (static)"));
    // Paths of this machine would make the image another one elsewhere.
    let root = std::env::current_dir()?;
    let registry = std::env::var_os("CARGO_HOME")
        .or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cargo").into()))
        .context("neither CARGO_HOME nor HOME is set")?;
    let flags = format!(
        "-C target-feature=+crt-static --remap-path-prefix={}=/src --remap-path-prefix={}=/cargo",
        root.display(),
        Path::new(&registry).display()
    );
    let status = Command::new("cargo")
        .args(["build", "--quiet", "--locked", "--profile", profile, "--target", TARGET, "-p", package])
        .env("RUSTFLAGS", flags)
        .status()
        .context("cargo cannot be run")?;
    if !status.success() {
        bail!("the static build of {program} failed: {status}");
    }
    Ok(tasks::target_dir().join(TARGET).join(profile).join(program))
}

/// A dynamic executable with the libraries and the loader that it names, where it looks for them.
pub(crate) fn with_libraries(rootfs: &mut Rootfs, program: &Path, path: &str) -> Result<()> {
    rootfs.copy(program, path)?;
    let output = Command::new("ldd").arg(program).output().context("ldd cannot be run")?;
    let listing = String::from_utf8_lossy(&output.stdout);
    for library in listing.split_whitespace().filter(|word| word.starts_with('/')) {
        let real =
            std::fs::canonicalize(library).with_context(|| format!("{library} of {}", program.display()))?;
        rootfs.copy(&real, library.trim_start_matches('/'))?;
    }
    Ok(())
}
