//! Where Kubernetes' programs lie on the host.

use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};

/// The directory with `program`: KUBEBUILDER_ASSETS if it has it, else the cache that `cargo xtask kube binaries` fills.
pub(crate) fn directory(program: &str) -> anyhow::Result<PathBuf> {
    let given = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let cache = cache().map(|root| root.join("kube/current"));
    let candidates: Vec<PathBuf> = given.into_iter().chain(cache).collect();
    match candidates.iter().find(|dir| dir.join(program).is_file()) {
        Some(dir) => canonical(dir),
        None => bail!(
            "no {program} in {}: build it with `cargo xtask kube binaries`, or set KUBEBUILDER_ASSETS",
            candidates.iter().map(|d| d.display().to_string()).collect::<Vec<_>>().join(" or ")
        ),
    }
}

fn canonical(dir: &Path) -> anyhow::Result<PathBuf> {
    dir.canonicalize().with_context(|| format!("cannot find {}", dir.display()))
}

/// The directory of the unpacked images, which `cargo xtask kube images` fills.
pub(crate) fn images() -> anyhow::Result<PathBuf> {
    let dir = cache().context("HOME is not set")?.join("images/current/containerd");
    if !dir.is_dir() {
        bail!("no images in {}: `cargo xtask kube images` makes them", dir.display());
    }
    canonical(&dir)
}

/// True if a program of the host is where programs are looked for.
pub(crate) fn in_path(program: &str) -> bool {
    crate::process::PATH.split(':').any(|dir| Path::new(dir).join(program).is_file())
}

/// The project's cache of the calling user.
pub(crate) fn cache() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    absolute("TORTIE_CACHE")
        .or_else(|| Some(absolute("XDG_CACHE_HOME")?.join("tortie")))
        .or_else(|| Some(absolute("HOME")?.join(".cache/tortie")))
}
