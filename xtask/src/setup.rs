//! The system packages that building needs nothing of, and running does: installed with apt-get when missing.

use crate::say;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// (program, Debian package, what it is for).
const PROGRAMS: &[(&str, &str, &str)] = &[
    ("bird", "bird2", "routes between nodes"),
    ("nft", "nftables", "tests look at the kernel with it"),
    ("ip", "iproute2", "tests look at the kernel with it"),
    ("iptables-legacy", "iptables", "tests of nodes that ran Calico"),
    ("etcd", "etcd-server", "the etcd datastore in tests and `lab up --datastore etcd`"),
    ("openssl", "openssl", "keys of the API server in tests"),
    ("ping", "iputils-ping", "tests of the lab's fabric"),
];

/// Installs what is missing, and says so.
pub(crate) fn packages() -> Result<()> {
    let missing: Vec<_> = PROGRAMS.iter().filter(|(program, ..)| !installed(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for (program, package, purpose) in &missing {
        say(&format!("installing {package} (for {program}: {purpose})"));
    }
    let names: Vec<&str> = missing.iter().map(|(_, package, _)| *package).collect();
    install(&names)?;
    for (program, package, _) in &missing {
        if !installed(program) {
            bail!("{program} is still missing after installing {package}");
        }
    }
    Ok(())
}

/// Installs Debian packages.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    apt(&["update", "-qq"])?;
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(packages);
    apt(&install)
}

fn installed(program: &str) -> bool {
    find(program).is_some()
}

/// Where a program is.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"])
        .map(|dir| Path::new(dir).join(program))
        .find(|file| file.is_file())
}

fn apt(args: &[&str]) -> Result<()> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout.starts_with(b"0\n"));
    let mut command = if root { Command::new("apt-get") } else { Command::new("sudo") };
    if !root {
        command.arg("apt-get");
    }
    let status = command
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("apt-get cannot be run: this set-up is for Debian; elsewhere install bird2, nftables, iproute2, iptables, etcd and ping yourself")?;
    if !status.success() {
        bail!(
            "apt-get {} failed; as a user without sudo, ask root for: apt-get install bird2 nftables iproute2 iptables etcd-server iputils-ping",
            args.join(" ")
        );
    }
    Ok(())
}
