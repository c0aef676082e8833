//! The images of a test cluster, made from programs of this machine under the names that the upstream suites ask for: there is
//! no registry to pull from. They are unpacked once, by containerd itself, for every node of every lab to share.

use super::cache::Shelf;
use super::programs::{self, Wanted};
use crate::image::with_libraries;
use crate::oci::{self, Image, Rootfs};
use crate::{say, setup};
use anyhow::{Context, Result, bail};
use flate2::Compression;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Kind of the cache.
pub(crate) const IMAGES: &str = "images";

/// The unpacked images on a shelf: what becomes `/var/lib/containerd` of a node.
pub(crate) const UNPACKED: &str = "containerd";

/// Names of the container that holds a pod's namespaces.
const PAUSE: &[&str] = &["registry.k8s.io/pause:3.10.1", "registry.k8s.io/pause:3.10.2"];

/// Names of the image that the suites run nearly everything in.
const AGNHOST: &[&str] =
    &["registry.k8s.io/e2e-test-images/agnhost:2.63.0", "registry.k8s.io/e2e-test-images/agnhost:2.55"];

/// Names of images of which the suites use the shell and small programs.
const SHELL: &[&str] = &[
    "registry.k8s.io/e2e-test-images/busybox:1.36.1-1",
    "registry.k8s.io/e2e-test-images/busybox:1.37.0-1",
    "registry.k8s.io/e2e-test-images/glibc-dns-testing:2.0.0",
];

const COREDNS: &[&str] = &["localhost/tortie/coredns:test"];

/// Programs that the suites run in containers, and where they expect them.
const TOOLS: &[(&str, &[&str])] = &[
    ("bash", &["bin/bash", "bin/sh"]),
    ("curl", &["usr/bin/curl"]),
    ("nc.openbsd", &["usr/bin/nc", "bin/nc"]),
    ("dig", &["usr/bin/dig"]),
    ("nslookup", &["usr/bin/nslookup"]),
    ("getent", &["usr/bin/getent"]),
    ("ip", &["sbin/ip", "bin/ip"]),
    ("ss", &["usr/sbin/ss", "bin/ss"]),
    ("iperf", &["usr/bin/iperf", "usr/local/bin/iperf"]),
    ("busybox", &["bin/busybox"]),
    ("grep", &["bin/grep"]),
    ("sed", &["bin/sed"]),
];

/// Of GNU's core utilities: busybox's are static, and Debian's static programs crash where they resolve names.
const COREUTILS: &[&str] = &[
    "cat", "chmod", "chown", "cp", "cut", "date", "dd", "df", "echo", "env", "expr", "false", "head",
    "hostname", "id", "ls", "mkdir", "mktemp", "mv", "printf", "pwd", "rm", "seq", "sleep", "sort", "stat",
    "tail", "tee", "test", "timeout", "touch", "tr", "true", "uname", "wc", "whoami",
];

/// (program, Debian package).
const PACKAGES: &[(&str, &str)] = &[
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("iptables", "iptables"),
    ("busybox", "busybox-static"),
    ("dig", "bind9-dnsutils"),
    ("nc.openbsd", "netcat-openbsd"),
    ("iperf", "iperf"),
    ("curl", "curl"),
    ("conntrack", "conntrack"),
];

/// Builds and unpacks what is not there.
pub(crate) fn provide() -> Result<()> {
    programs::provide(Wanted::All)?;
    packages()?;
    let binaries = programs::directory()?;
    let shelf = Shelf::open(IMAGES, &key(&binaries)?)?;
    if !shelf.path().join(UNPACKED).is_dir() {
        say(&format!("building images into {}", shelf.path().display()));
        let started = Instant::now();
        let archives = build(&binaries, shelf.path())?;
        unpack(shelf.path(), &archives)?;
        say(&format!("  ({:.0} s)", started.elapsed().as_secs_f64()));
    }
    shelf.publish()?;
    say(&format!("images: {}", shelf.path().display()));
    Ok(())
}

/// Installs what nodes and images need of this machine.
fn packages() -> Result<()> {
    let mut missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(program, _)| setup::find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if !Path::new("/usr/lib/cni/bridge").is_file() {
        missing.push("containernetworking-plugins");
    }
    if missing.is_empty() {
        return Ok(());
    }
    say(&format!("installing {}", missing.join(", ")));
    setup::install(&missing)
}

/// What the images are made of: the cached programs (by their own key) and this recipe.
fn key(binaries: &Path) -> Result<String> {
    let binaries = binaries.canonicalize().with_context(|| format!("cannot find {}", binaries.display()))?;
    let hash = Sha256::new()
        .chain_update(binaries.display().to_string())
        .chain_update(include_str!("images.rs"))
        .chain_update(include_str!("../../kube/pause.c"))
        .finalize();
    Ok(hash.iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// Makes the archives.
fn build(binaries: &Path, shelf: &Path) -> Result<Vec<PathBuf>> {
    let pause = shelf.join("pause");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("kube/pause.c");
    let status = Command::new("cc")
        .args(["-Os", "-static", "-s", "-o"])
        .args([&pause, &source])
        .status()
        .context("cc cannot be run to build the pause container")?;
    if !status.success() {
        bail!("{} cannot be compiled: {status}", source.display());
    }
    let mut small = Rootfs::default();
    small.copy(&pause, "pause")?;
    let mut dns = Rootfs::default();
    dns.copy(&binaries.join("coredns"), "coredns")?;
    let shell = shell()?;
    let mut agnhost = self::shell()?;
    agnhost.copy(&binaries.join("agnhost"), "agnhost")?;
    agnhost.link("agnhost-2", "agnhost");
    for file in ["localhost.crt", "localhost.key"] {
        agnhost.copy(&porter()?.join(file), file)?;
    }
    let wanted: [(&str, &Rootfs, &[&str], &[&str], &[&str]); 4] = [
        ("pause", &small, PAUSE, &["/pause"], &[]),
        ("coredns", &dns, COREDNS, &["/coredns"], &[]),
        ("shell", &shell, SHELL, &[], &["/bin/sh"]),
        ("agnhost", &agnhost, AGNHOST, &["/agnhost"], &["pause"]),
    ];
    let mut archives = Vec::new();
    for (name, rootfs, names, entrypoint, cmd) in wanted {
        say(&format!("  image {name} ..."));
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let image = Image {
            names: &names,
            entrypoint,
            cmd,
            // They never leave this machine.
            compression: Compression::none(),
            env: &["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            labels: &[],
        };
        let archive = shelf.join(format!("{name}.tar"));
        oci::write(rootfs, &image, &archive)?;
        archives.push(archive);
    }
    Ok(archives)
}

/// A system of host programs with their libraries.
fn shell() -> Result<Rootfs> {
    let mut rootfs = Rootfs::default();
    let find = |program: &str| setup::find(program).with_context(|| format!("{program} is not installed"));
    for (program, places) in TOOLS {
        let path = find(program)?.canonicalize()?;
        for place in *places {
            with_libraries(&mut rootfs, &path, place)?;
        }
    }
    for program in COREUTILS {
        let Some(path) = setup::find(program) else { continue };
        with_libraries(&mut rootfs, &path.canonicalize()?, &format!("bin/{program}"))?;
    }
    // Libraries that are loaded by name when a name is resolved.
    for library in ["libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2"] {
        for dir in ["lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu"] {
            let path = Path::new("/").join(dir).join(library);
            if path.is_file() {
                rootfs.copy(&path.canonicalize()?, &format!("{dir}/{library}"))?;
            }
        }
    }
    rootfs.link("bin/wget", "busybox");
    rootfs.link("bin/httpd", "busybox");
    rootfs.link("bin/vi", "busybox");
    for dir in ["tmp", "var/tmp"] {
        rootfs.directory(dir, 0o1777);
    }
    rootfs.directory("uploads", 0o755);
    rootfs.text(
        "etc/passwd",
        "root:x:0:0:root:/:/bin/sh\nuser-defined-in-image:x:1000:1000::/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
    );
    rootfs.text(
        "etc/group",
        "root:x:0:\nuser-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\nnogroup:x:65534:\n",
    );
    rootfs.text("etc/nsswitch.conf", "hosts: files dns\n");
    Ok(rootfs)
}

/// Where the agnhost sources of the module lie: their certificate is part of its image.
fn porter() -> Result<PathBuf> {
    let dir = programs::module_dir("k8s.io/kubernetes")?.join("test/images/agnhost/porter");
    if !dir.is_dir() {
        bail!("{} is not there", dir.display());
    }
    Ok(dir)
}

/// Has containerd import the archives into a directory of its own.
fn unpack(shelf: &Path, archives: &[PathBuf]) -> Result<()> {
    let root = shelf.join("containerd.new");
    let _ = fs::remove_dir_all(&root);
    let state = std::env::temp_dir().join(format!("tortie-images-{}", std::process::id()));
    fs::create_dir_all(&state).with_context(|| format!("cannot create {}", state.display()))?;
    let config = state.join("config.toml");
    let text = format!(
        "version = 2\nroot = \"{}\"\nstate = \"{}\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n[grpc]\n  address = \"{}\"\n",
        root.display(),
        state.join("state").display(),
        state.join("sock").display(),
    );
    fs::write(&config, text)?;
    let log = fs::File::create(shelf.join("unpack.log"))?;
    let mut containerd = Command::new("containerd")
        .arg("-c")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("containerd cannot be run")?;
    let imported = import(&mut containerd, &state.join("sock"), archives);
    let _ = Command::new("kill").arg(containerd.id().to_string()).status();
    let _ = containerd.wait();
    fs::remove_dir_all(&state).with_context(|| format!("cannot remove {}", state.display()))?;
    imported?;
    fs::set_permissions(&root, fs::Permissions::from_mode(0o711))?;
    fs::rename(&root, shelf.join(UNPACKED)).context("cannot keep the unpacked images")
}

fn import(containerd: &mut Child, socket: &Path, archives: &[PathBuf]) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(20);
    let deadline = Instant::now() + PATIENCE;
    while std::os::unix::net::UnixStream::connect(socket).is_err() {
        if let Some(status) = containerd.try_wait()? {
            bail!("containerd ended: {status}; see unpack.log beside the images");
        }
        if Instant::now() >= deadline {
            bail!("containerd does not listen on {} after {} s", socket.display(), PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    for archive in archives {
        let status = Command::new("ctr")
            .arg("-a")
            .arg(socket)
            .args(["-n", "k8s.io", "images", "import", "--snapshotter", "overlayfs"])
            .arg(archive)
            .stdout(Stdio::null())
            .status()
            .context("ctr cannot be run")?;
        if !status.success() {
            bail!("containerd does not import {}: {status}", archive.display());
        }
    }
    Ok(())
}
