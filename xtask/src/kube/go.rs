//! The Go toolchain: that of the machine, or Debian's, or one that Debian's brings as a module.

use crate::{say, setup};
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A Go compiler that is new enough.
#[derive(Clone, Debug)]
pub(crate) struct Go {
    program: PathBuf,
    /// `go1.26.0`.
    pub(crate) version: String,
}

impl Go {
    /// Finds a toolchain of at least the version that a go.mod asks for; installs one if there is none.
    pub(crate) fn find(wanted: &str) -> Result<Self> {
        let first = match Self::at("go".into()) {
            Some(go) => go,
            None => {
                say("installing golang-go: Kubernetes is built with Go");
                setup::install(&["golang-go"])?;
                Self::at("go".into()).context("go is still missing after installing golang-go")?
            }
        };
        if at_least(&first.version, wanted) {
            return Ok(first);
        }
        first.newer(wanted)
    }

    fn at(program: PathBuf) -> Option<Self> {
        let unknown = Self { program, version: String::new() };
        // The version of this very toolchain, not of one that it would fetch for the directory.
        let out = unknown.command(&["version"]).current_dir("/").output().ok()?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let version = text.split_whitespace().find(|word| word.starts_with("go1"))?.to_owned();
        Some(Self { version, ..unknown })
    }

    /// A newer toolchain, as the module that Go publishes each as.
    fn newer(&self, wanted: &str) -> Result<Self> {
        let module = format!("golang.org/toolchain@v0.0.1-go{wanted}.linux-{}", architecture()?);
        say(&format!("{} is older than go{wanted}: fetching {module}", self.version));
        let out = self
            .command(&["mod", "download", "-json", &module])
            .current_dir("/")
            .output()
            .with_context(|| format!("{} cannot be run", self.program.display()))?;
        if !out.status.success() {
            bail!(
                "{module} cannot be had: {}\ninstall Go {wanted} or newer yourself",
                String::from_utf8_lossy(&out.stdout).trim()
            );
        }
        let answer = String::from_utf8_lossy(&out.stdout);
        let dir = answer
            .lines()
            .find_map(|line| line.trim().strip_prefix("\"Dir\": \"")?.strip_suffix("\","))
            .map(PathBuf::from)
            .with_context(|| format!("go did not say where it put {module}"))?;
        for programs in ["bin", "pkg/tool"] {
            make_executable(&dir.join(programs))?;
        }
        let program = dir.join("bin/go");
        Self::at(program.clone()).with_context(|| format!("{} does not run", program.display()))
    }

    /// A command of this toolchain: no other one, no C, and little of the machine for itself.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new("nice");
        command
            .args(["-n", "10"])
            .arg(&self.program)
            .args(args)
            .env("CGO_ENABLED", "0")
            .env("GOTOOLCHAIN", "local")
            .env("GOFLAGS", "-mod=readonly")
            .stdin(Stdio::null());
        if self.program.is_absolute() {
            // A module finds its own root only from where it was built.
            command.env_remove("GOROOT");
        }
        command
    }
}

/// Modules are stored without the right to execute.
fn make_executable(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            make_executable(&path)?;
        } else {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                .with_context(|| format!("cannot make {} executable", path.display()))?;
        }
    }
    Ok(())
}

fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("Kubernetes is built for x86_64 and aarch64 here, not for {other}"),
    }
}

/// True if a toolchain (`go1.26.8`) is as new as a go.mod asks (`1.26.0`).
fn at_least(version: &str, wanted: &str) -> bool {
    let numbers = |text: &str| -> Vec<u32> {
        text.trim_start_matches("go").split('.').map(|part| part.parse().unwrap_or(0)).collect()
    };
    numbers(version) >= numbers(wanted)
}

#[cfg(test)]
mod tests {
    use super::at_least;

    #[test]
    fn versions_are_numbers() {
        assert!(at_least("go1.26.8", "1.26.0"));
        assert!(at_least("go1.100", "1.26.0"));
        assert!(!at_least("go1.9.7", "1.26.0"));
        assert!(!at_least("go1.19.8", "1.26"));
    }
}
