//! The programs of a Kubernetes cluster and of its tests: found or built.

use super::cache::Shelf;
use super::go::Go;
use crate::{say, setup};
use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A program, and the package that it is built from.
struct Program {
    name: &'static str,
    package: &'static str,
    /// Its module's directory below xtask.
    module: &'static str,
    /// `go test -c`, not `go build`.
    test: bool,
}

const KUBERNETES: &str = "kube";
const COREDNS: &str = "kube/coredns";
const CONTAINERD: &str = "kube/containerd";

/// A containerd newer than Debian's: it asks CNI plugins for their STATUS. The version is in the names, and not in the key of all
/// programs.
pub(crate) const CONTAINERD_2: &str = "containerd-2.2.9";
const SHIM_2: &str = "containerd-shim-runc-v2-2.2.9";

const fn program(name: &'static str, package: &'static str) -> Program {
    Program { name, package, module: KUBERNETES, test: false }
}

/// What the Kubernetes datastore's tests need: enough for objects, not for pods.
const API_SERVER: &[Program] = &[
    program("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    program("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
];

/// What nodes and the upstream suites need beside it.
const THE_REST: &[Program] = &[
    program("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    program("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
    program("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
    program("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
    program("agnhost", "k8s.io/kubernetes/test/images/agnhost"),
    program("ginkgo", "github.com/onsi/ginkgo/v2/ginkgo"),
    Program { name: "e2e.test", package: "k8s.io/kubernetes/test/e2e", module: KUBERNETES, test: true },
    Program { name: "coredns", package: "github.com/coredns/coredns", module: COREDNS, test: false },
    Program {
        name: CONTAINERD_2,
        package: "github.com/containerd/containerd/v2/cmd/containerd",
        module: CONTAINERD,
        test: false,
    },
    Program {
        name: SHIM_2,
        package: "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
        module: CONTAINERD,
        test: false,
    },
];

/// How much of Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// kube-apiserver, etcd and kubectl.
    ApiServer,
    /// The nodes' programs and the upstream suites too.
    All,
}

impl Wanted {
    fn programs(self) -> impl Iterator<Item = &'static Program> {
        let rest = if self == Self::All { THE_REST } else { &[] };
        API_SERVER.iter().chain(rest)
    }
}

/// Builds what is wanted and not there.
pub(crate) fn provide(wanted: Wanted) -> Result<()> {
    if wanted == Wanted::ApiServer
        && let Some(given) = given()
    {
        say(&format!(
            "kube-apiserver, etcd and kubectl are those of KUBEBUILDER_ASSETS, {}",
            given.display()
        ));
        return Ok(());
    }
    let source = Source::read()?;
    let go = Go::find(&source.go)?;
    let shelf = Shelf::open(KUBERNETES, &source.key(&go))?;
    link_etcd(&shelf)?;
    let missing: Vec<&Program> = wanted.programs().filter(|p| !shelf.has(p.name)).collect();
    if !missing.is_empty() {
        say(&format!(
            "Kubernetes {} is not in {}: building {} program{} with {} (on two cores the first takes 4 minutes, all together 13)",
            source.version,
            shelf.path().display(),
            missing.len(),
            if missing.len() == 1 { "" } else { "s" },
            go.version,
        ));
    }
    for (index, program) in missing.iter().enumerate() {
        say(&format!("  {} ({} of {}) ...", program.name, index + 1, missing.len()));
        let started = Instant::now();
        shelf.put(program.name, |out| build(&go, &source, program, out))?;
        say(&format!("  {} ({:.0} s)", program.name, started.elapsed().as_secs_f64()));
    }
    shelf.publish()?;
    say(&format!("Kubernetes {}: {}", source.version, shelf.path().display()));
    Ok(())
}

/// The directory of the binaries.
pub(crate) fn directory() -> Result<PathBuf> {
    if let Some(given) = given() {
        return Ok(given);
    }
    let current = super::cache::root()?.join(KUBERNETES).join("current");
    if !current.join("kube-apiserver").is_file() {
        bail!("no kube-apiserver in {}: `cargo xtask kube binaries` builds it", current.display());
    }
    Ok(current)
}

/// Where the sources of a module lie, that the binaries were built from.
pub(crate) fn module_dir(module: &str) -> Result<PathBuf> {
    let go = Go::find(&Source::read()?.go)?;
    let out = go
        .command(&["list", "-m", "-f", "{{.Dir}}", module])
        .current_dir(xtask().join(KUBERNETES))
        .output()
        .context("go cannot be run")?;
    if !out.status.success() {
        bail!("the module {module} cannot be found: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&out.stdout).trim()))
}

/// Prints the directory for scripts.
#[expect(clippy::print_stdout, reason = "the answer of `cargo xtask kube path`, to be read by a script")]
pub(crate) fn print_path() -> Result<()> {
    println!("{}", directory()?.display());
    Ok(())
}

/// What the caller brings along, by the convention of controllers' test environments.
fn given() -> Option<PathBuf> {
    let dir = PathBuf::from(std::env::var_os("KUBEBUILDER_ASSETS")?);
    dir.join("kube-apiserver").is_file().then_some(dir)
}

/// etcd is Debian's, but stands beside the others, where a user of KUBEBUILDER_ASSETS looks for it.
fn link_etcd(shelf: &Shelf) -> Result<()> {
    setup::packages()?;
    let etcd = setup::find("etcd").context("etcd is not in PATH")?;
    let link = shelf.path().join("etcd");
    if std::fs::read_link(&link).is_ok_and(|target| target == etcd) {
        return Ok(());
    }
    shelf.put("etcd", |unfinished| {
        let _ = std::fs::remove_file(unfinished);
        std::os::unix::fs::symlink(&etcd, unfinished)
            .with_context(|| format!("cannot create {}", unfinished.display()))
    })
}

fn build(go: &Go, source: &Source, program: &Program, out: &Path) -> Result<()> {
    let flags = source.flags();
    let verb: &[&str] = if program.test { &["test", "-c"] } else { &["build"] };
    let mut command = go.command(verb);
    command.args(&flags).arg("-o").arg(out).arg(program.package).current_dir(xtask().join(program.module));
    let status = command.status().with_context(|| format!("go cannot be run to build {}", program.name))?;
    if !status.success() {
        bail!("{} cannot be built from {}: {status}", program.name, program.package);
    }
    Ok(())
}

fn xtask() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the modules' files say.
struct Source {
    /// All text that decides what is built.
    text: String,
    /// `v1.36.3`.
    version: String,
    /// The oldest Go that will do.
    go: String,
}

impl Source {
    fn read() -> Result<Self> {
        let mut text = String::new();
        for module in [KUBERNETES, COREDNS] {
            let path = xtask().join(module).join("go.mod");
            text +=
                &std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        }
        Self::parse(text)
    }

    fn parse(text: String) -> Result<Self> {
        let after = |word: &str| {
            text.lines().find_map(|l| l.trim().strip_prefix(word)).map(|rest| rest.trim().to_owned())
        };
        let version = after("k8s.io/kubernetes ").context("go.mod does not require k8s.io/kubernetes")?;
        let go = after("go ").context("go.mod does not say which Go it needs")?;
        Ok(Self { text, version, go })
    }

    /// Flags of every build. The stamps make nodes report their version.
    fn flags(&self) -> Vec<String> {
        let stamp = |package: &str| format!("-X {package}/version.gitVersion={}", self.version);
        let (component, client) = (stamp("k8s.io/component-base"), stamp("k8s.io/client-go/pkg"));
        ["-trimpath", "-buildvcs=false", &format!("-ldflags=-s -w {component} {client}")]
            .map(str::to_owned)
            .to_vec()
    }

    fn key(&self, go: &Go) -> String {
        let hash = Sha256::new()
            .chain_update(&self.text)
            .chain_update(&go.version)
            .chain_update(self.flags().join("\n"))
            .chain_update(std::env::consts::ARCH)
            .finalize();
        hash.iter().take(8).fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_modules_say_what_is_built() {
        let source = Source::read().unwrap();
        assert!(source.version.starts_with("v1."), "{}", source.version);
        // The staging modules of v1.M.P are v0.M.P; another one would not compile, or would lie about its version.
        let staging = source.version.replacen("v1.", "v0.", 1);
        let replaced = source.text.lines().filter(|l| l.contains("=> k8s.io/")).count();
        let rightly =
            source.text.lines().filter(|l| l.contains("=> k8s.io/") && l.ends_with(&staging)).count();
        assert!(replaced > 30 && replaced == rightly, "{rightly} of {replaced} replaced by {staging}");
    }

    #[test]
    fn the_name_of_containerd_is_its_version() {
        let text = std::fs::read_to_string(xtask().join(CONTAINERD).join("go.mod")).unwrap();
        let version = CONTAINERD_2.strip_prefix("containerd-").unwrap();
        assert!(text.contains(&format!("github.com/containerd/containerd/v2 v{version}")), "{version}");
        assert!(SHIM_2.ends_with(version), "{SHIM_2}");
    }

    #[test]
    fn tools_go_names_every_program() {
        let read = |module: &str| std::fs::read_to_string(xtask().join(module).join("tools.go")).unwrap();
        for program in Wanted::All.programs() {
            assert!(read(program.module).contains(&format!("\"{}\"", program.package)), "{}", program.name);
        }
    }
}
