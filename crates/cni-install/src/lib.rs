//! `tortie cni`: puts the CNI plugin and the network configuration on a node, and takes them away.
//!
//! Environment variables, mount points and placeholders are those of Calico's install container
//! (`cni-plugin/pkg/install`). Two things differ on purpose. No credential is written to the node: the plugin speaks
//! to the agent, which holds the only one. And the configuration is written last, after every executable that it
//! names was found, so that the runtime never sees a list that it cannot run.

mod files;
mod others;
mod template;

use anyhow::{Context, Result, bail};
use clap::{Args as ClapArgs, Subcommand};
use files::Outcome;
use others::{OthersError, Policy};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tortie_runtime::logging::{self, Format, LogLevel};
use tracing::{info, warn};

/// Where the host's directories are mounted, in order of preference.
const BIN_DIRS: [&str; 2] = ["host/opt/cni/bin", "host/secondary-bin-dir"];
const NET_DIR: &str = "host/etc/cni/net.d";
/// Where the image keeps the executables to install.
const SOURCE_DIR: &str = "opt/cni/bin";
/// The names that runtimes know the plugin by.
const OWN_NAMES: [&str; 2] = ["calico", "calico-ipam"];
const DEFAULT_NAME: &str = "10-calico.conflist";
/// Exit status of an installation that does not want to be beside another network.
const REFUSED: u8 = 3;

/// `tortie cni ...`
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// Directory that stands for / (of the container that runs this)
    #[arg(long, global = true, default_value = "/", hide = true)]
    root: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Copy the plugins to the host and write its network configuration (an init container's work)
    ///
    /// Configurations of other networks are reported; with TORTIE_OTHER_CNI=move they are put aside until `uninstall`,
    /// with TORTIE_OTHER_CNI=refuse nothing is written beside one (exit status 3).
    Install,
    /// Remove the network configuration and the plugin from the host; pods that run keep their network
    Uninstall,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    logging::init(LogLevel::default(), Format::Text);
    let env = |name: &str| std::env::var(name).ok();
    match args.command {
        Command::Install => {
            let sleep = match install(&args.root, &env) {
                Ok(sleep) => sleep,
                Err(error) if error.is::<OthersError>() => {
                    tracing::error!("{error:#}");
                    return Ok(ExitCode::from(REFUSED));
                }
                Err(error) => return Err(error),
            };
            if sleep {
                wait_for_end()?;
            }
        }
        Command::Uninstall => uninstall(&args.root, &env)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads a variable; an empty one counts as unset.
type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Installs; true if the process is expected to stay (`SLEEP`, on unless told otherwise, as Calico's does).
fn install(root: &Path, env: Env<'_>) -> Result<bool> {
    let sleep = flag(env, "SLEEP", true)?;
    let update = flag(env, "UPDATE_CNI_BINARIES", true)?;
    let policy = policy(env)?;
    // Before our plugin takes the place of Calico's, which another network may be running with.
    others::before(&root.join(NET_DIR), &configuration_name(env)?, policy)?;
    let bin_dir = install_binaries(root, update, &list(env, "SKIP_CNI_BINARIES"))?;
    let (template, own) = read_template(root, env)?;
    let mut document = template::render(&template, &facts(env)?)?;
    let missing: Vec<String> =
        document.executables().into_iter().filter(|name| !bin_dir.join(name).is_file()).collect();
    if !missing.is_empty() {
        if !own || missing.iter().any(|name| name == "calico") {
            bail!(
                "the network configuration names plugins that are not in {}: {}; no pod could start with it, so it was not written. \
                 Install them on the node (Debian: containernetworking-plugins), or remove them from CNI_NETWORK_CONFIG",
                bin_dir.display(),
                missing.join(", ")
            );
        }
        warn!(plugins = missing.join(","), dir = %bin_dir.display(), "not on this node: left out of the network configuration (without portmap, hostPort has no effect)");
        document = document.without(&missing);
    }
    write_configuration(root, env, document.text(), policy)?;
    Ok(sleep)
}

fn install_binaries(root: &Path, update: bool, skip: &[String]) -> Result<PathBuf> {
    let source_dir = root.join(SOURCE_DIR);
    let mut installed = None;
    for dir in BIN_DIRS.map(|dir| root.join(dir)) {
        if !files::writable(&dir) {
            info!(dir = %dir.display(), "not a directory that can be written to; skipped");
            continue;
        }
        for (from, name) in executables(&source_dir)? {
            if skip.contains(&name) {
                continue;
            }
            match files::copy(&from, &dir.join(&name), update)? {
                Outcome::Written => info!(plugin = name, dir = %dir.display(), "installed"),
                Outcome::UpToDate => info!(plugin = name, dir = %dir.display(), "up to date"),
                Outcome::Kept => {
                    info!(plugin = name, dir = %dir.display(), "kept as it is (UPDATE_CNI_BINARIES=false)");
                }
            }
        }
        installed.get_or_insert(dir);
    }
    if let Some(dir) = installed {
        return Ok(dir);
    }
    // A read-only system may carry the plugins in its image.
    let baked = BIN_DIRS.map(|dir| root.join(dir)).into_iter().find(|dir| dir.join("calico").is_file());
    match baked {
        Some(dir) if !update => Ok(dir),
        _ => bail!(
            "neither /{} nor /{} can be written to; mount the host's CNI binary directory (usually /opt/cni/bin) there, \
             or set UPDATE_CNI_BINARIES=false if the node's image brings the plugin",
            BIN_DIRS[0],
            BIN_DIRS[1]
        ),
    }
}

/// The image's executables: the plugin under each of its names, and whatever else lies beside it.
fn executables(source_dir: &Path) -> Result<Vec<(PathBuf, String)>> {
    let plugin = source_dir.join("calico");
    if !plugin.is_file() {
        bail!("{} is missing: this is not the image that the installer belongs to", plugin.display());
    }
    let mut found: Vec<(PathBuf, String)> =
        OWN_NAMES.iter().map(|name| (plugin.clone(), (*name).to_owned())).collect();
    let entries =
        fs::read_dir(source_dir).with_context(|| format!("cannot list {}", source_dir.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", source_dir.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !OWN_NAMES.contains(&name.as_str()) && entry.path().is_file() {
            found.push((entry.path(), name));
        }
    }
    found.sort_by(|a, b| a.1.cmp(&b.1));
    Ok(found)
}

/// The template and whether it is our own.
fn read_template(root: &Path, env: Env<'_>) -> Result<(String, bool)> {
    if let Some(path) = text(env, "CNI_NETWORK_CONFIG_FILE") {
        let path = root.join(path.trim_start_matches('/'));
        let template = fs::read_to_string(&path)
            .with_context(|| format!("CNI_NETWORK_CONFIG_FILE: cannot read {}", path.display()))?;
        return Ok((template, false));
    }
    Ok(match text(env, "CNI_NETWORK_CONFIG") {
        Some(template) => (template, false),
        None => (template::DEFAULT.to_owned(), true),
    })
}

fn facts(env: Env<'_>) -> Result<BTreeMap<&'static str, String>> {
    let or = |name: &str, default: &str| text(env, name).unwrap_or_else(|| default.to_owned());
    let net_dir = or("CNI_NET_DIR", "/etc/cni/net.d");
    let node = match text(env, "KUBERNETES_NODE_NAME").or_else(|| text(env, "NODENAME")) {
        Some(name) => name,
        None => fs::read_to_string("/proc/sys/kernel/hostname")
            .context("KUBERNETES_NODE_NAME is not set and the host's name cannot be read")?
            .trim()
            .to_ascii_lowercase(),
    };
    let mtu = or("CNI_MTU", "0");
    mtu.parse::<u32>().ok().filter(|mtu| *mtu == 0 || (68..=65_535).contains(mtu)).with_context(|| {
        format!("CNI_MTU={mtu:?}: expected 0 (detect it) or a number of bytes from 68 to 65535")
    })?;
    if text(env, "CNI_NETWORK_CONFIG").is_some_and(|t| t.contains("__SERVICEACCOUNT_TOKEN__")) {
        warn!("__SERVICEACCOUNT_TOKEN__ in CNI_NETWORK_CONFIG is left empty: the plugin needs no token");
    }
    let secret = |name: &str| format!("{net_dir}/calico-tls/{name}");
    let etcd = text(env, "ETCD_ENDPOINTS").is_some();
    let when_etcd = |value: String| if etcd { value } else { String::new() };
    Ok(BTreeMap::from([
        ("LOG_LEVEL", or("LOG_LEVEL", "info")),
        ("LOG_FILE_PATH", or("LOG_FILE_PATH", "/var/log/calico/cni/cni.log")),
        ("LOG_FILE_MAX_SIZE", or("LOG_FILE_MAX_SIZE", "100")),
        ("LOG_FILE_MAX_AGE", or("LOG_FILE_MAX_AGE", "30")),
        ("LOG_FILE_MAX_COUNT", or("LOG_FILE_MAX_COUNT", "10")),
        ("DATASTORE_TYPE", or("DATASTORE_TYPE", "kubernetes")),
        ("KUBERNETES_NODE_NAME", node),
        ("KUBECONFIG_FILEPATH", format!("{net_dir}/calico-kubeconfig")),
        ("CNI_MTU", mtu),
        ("KUBERNETES_SERVICE_HOST", or("KUBERNETES_SERVICE_HOST", "")),
        ("KUBERNETES_SERVICE_PORT", or("KUBERNETES_SERVICE_PORT", "")),
        ("SERVICEACCOUNT_TOKEN", String::new()),
        ("CALICO_API_GROUP", or("CALICO_API_GROUP", "crd.projectcalico.org/v1")),
        ("ETCD_CERT_FILE", when_etcd(secret("etcd-cert"))),
        ("ETCD_CA_CERT_FILE", when_etcd(secret("etcd-ca"))),
        ("ETCD_KEY_FILE", when_etcd(secret("etcd-key"))),
        ("ETCD_ENDPOINTS", or("ETCD_ENDPOINTS", "")),
        ("ETCD_DISCOVERY_SRV", or("ETCD_DISCOVERY_SRV", "")),
        ("REQUIRE_MTU_FILE", or("REQUIRE_MTU_FILE", "false")),
    ]))
}

fn write_configuration(root: &Path, env: Env<'_>, document: &str, policy: Policy) -> Result<()> {
    let dir = root.join(NET_DIR);
    let name = configuration_name(env)?;
    let mode = text(env, "TEST_FILE_PERMISSION").unwrap_or_else(|| "0600".to_owned());
    let mode = u32::from_str_radix(&mode, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .with_context(|| format!("TEST_FILE_PERMISSION={mode:?}: expected an octal mode such as 0600"))?;
    let path = dir.join(&name);
    files::write(&path, document.as_bytes(), mode)
        .context("the host's CNI configuration directory must be mounted at /host/etc/cni/net.d")?;
    info!(path = %path.display(), "network configuration written");
    if let Some(old) = text(env, "CNI_OLD_CONF_NAME").filter(|old| *old != name && !old.contains('/')) {
        match fs::remove_file(dir.join(&old)) {
            Ok(()) => info!(name = old, "old network configuration removed"),
            Err(error) => warn!(name = old, %error, "old network configuration could not be removed"),
        }
    }
    others::after(&dir, &name, policy)?;
    Ok(())
}

/// What becomes of other networks' configurations.
fn policy(env: Env<'_>) -> Result<Policy> {
    let text = text(env, "TORTIE_OTHER_CNI").unwrap_or_default();
    text.parse().map_err(|e| anyhow::anyhow!("TORTIE_OTHER_CNI={text:?}: {e}"))
}

fn configuration_name(env: Env<'_>) -> Result<String> {
    let name = text(env, "CNI_CONF_NAME").unwrap_or_else(|| DEFAULT_NAME.to_owned());
    if name.contains('/') {
        bail!("CNI_CONF_NAME={name:?}: expected the name of a file, without a directory");
    }
    Ok(name)
}

fn uninstall(root: &Path, env: Env<'_>) -> Result<()> {
    let configuration = root.join(NET_DIR).join(configuration_name(env)?);
    let mut paths = vec![configuration];
    for dir in BIN_DIRS {
        paths.extend(OWN_NAMES.iter().map(|name| root.join(dir).join(name)));
    }
    for path in paths {
        match fs::remove_file(&path) {
            Ok(()) => info!(path = %path.display(), "removed"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot remove {}", path.display())),
        }
    }
    others::restore(&root.join(NET_DIR))?;
    Ok(())
}

fn wait_for_end() -> Result<()> {
    info!("done; waiting to be stopped (SLEEP=false ends at once)");
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(async {
        // Without signals the process is ended the hard way, which harms nothing here.
        let _ = tortie_runtime::shutdown::signalled().await;
    });
    Ok(())
}

fn text(env: Env<'_>, name: &str) -> Option<String> {
    env(name).filter(|value| !value.is_empty())
}

fn list(env: Env<'_>, name: &str) -> Vec<String> {
    let text = text(env, name).unwrap_or_default();
    text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
}

/// A yes-or-no variable, in the spellings that Go's `strconv.ParseBool` takes.
fn flag(env: Env<'_>, name: &str, default: bool) -> Result<bool> {
    match text(env, name).as_deref() {
        None => Ok(default),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => bail!("{name}={other:?}: expected true or false"),
    }
}

#[cfg(test)]
mod tests;
