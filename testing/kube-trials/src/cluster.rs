//! A cluster: a lab of real nodes, brought up for trials and always taken down again.

use crate::say;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// What begins the name of a cluster; the process that made it follows.
const PREFIX: &str = "trials-";

/// Seconds that a command on a cluster may take.
const COMMAND_SECONDS: u32 = 90;

/// Clusters that are up, for whoever ends this process.
static LIVE: Mutex<Vec<Weak<Cluster>>> = Mutex::new(Vec::new());

/// What a cluster is like. Trials of equal shapes share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How many nodes.
    pub nodes: usize,
    /// Only API server and kubelets: no controllers, no scheduler, no kube-proxy, no Services.
    pub lean: bool,
    /// `tortie`, `bridge` or `none`.
    pub cni: &'static str,
    /// More arguments of `tortie lab up`.
    pub flags: &'static [&'static str],
    /// Not to be shared.
    pub own: bool,
}

impl Shape {
    /// Two nodes with next to nothing around them.
    pub const LEAN: Self = Self { nodes: 2, lean: true, cni: "tortie", flags: &[], own: false };
    /// Two nodes with all of Kubernetes.
    pub const FULL: Self = Self { lean: false, ..Self::LEAN };

    fn arguments(&self) -> Vec<String> {
        let nodes = self.nodes.to_string();
        let mut all = vec!["up", "--quiet", "--kubernetes", "--nodes", &nodes, "--cni", self.cni];
        if self.lean {
            all.push("--lean");
        }
        all.extend(self.flags);
        all.into_iter().map(str::to_owned).collect()
    }
}

/// The programs that clusters are made with.
#[derive(Clone, Debug)]
pub struct Tools {
    /// `tortie`, with `tortie-cni` beside it.
    pub tortie: PathBuf,
    /// Kubernetes' programs.
    pub programs: PathBuf,
    /// Where logs of failed trials go, and files that trials make.
    pub output: PathBuf,
}

/// A cluster that is up. It is taken down when the last handle goes.
#[derive(Debug)]
pub struct Cluster {
    /// The lab's name.
    pub name: String,
    /// What it is like.
    pub shape: Shape,
    tools: Tools,
    kubeconfig: PathBuf,
    held: Mutex<Held>,
}

/// What keeps a cluster up.
#[derive(Debug)]
enum Held {
    /// A command: it goes with this process.
    By(Child),
    /// Nothing: it stays until somebody takes it down.
    Free,
    /// It is down, or nobody's business any more.
    Done,
}

impl Cluster {
    /// Brings one up. Unless it is to stay, it goes down with this process, however this ends.
    pub fn up(tools: &Tools, shape: Shape, number: usize, stays: bool) -> Result<Arc<Self>> {
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        std::fs::create_dir_all(&tools.output)
            .with_context(|| format!("cannot create {}", tools.output.display()))?;
        let kubeconfig = tools.output.join(format!("{name}.kubeconfig"));
        let held = Mutex::new(Held::Free);
        let cluster = Arc::new(Self { name, shape, tools: tools.clone(), kubeconfig, held });
        LIVE.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&cluster));
        let arguments = shape.arguments();
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        if stays {
            cluster.lab(&words)?;
        } else {
            cluster.hold(&words)?;
        }
        let config = cluster.lab(&["kubeconfig"])?;
        std::fs::write(&cluster.kubeconfig, config)
            .with_context(|| format!("cannot write {}", cluster.kubeconfig.display()))?;
        Ok(cluster)
    }

    /// Starts the command that holds the cluster up, and waits until the cluster is.
    fn hold(&self, arguments: &[&str]) -> Result<()> {
        let mut command = self.lab_command(arguments);
        let mut child = command
            .arg("--tied")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("tortie cannot be run")?;
        let out = child.stdout.take().context("no pipe")?;
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Held::By(child);
        let mut said = String::new();
        BufReader::new(out).read_line(&mut said).context("tortie lab up says nothing")?;
        if said.is_empty() {
            self.down();
            bail!("tortie lab {} failed", arguments.join(" "));
        }
        Ok(())
    }

    /// Takes it down, once.
    pub fn down(&self) {
        match std::mem::replace(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner), Held::Done) {
            Held::By(mut child) => {
                drop(child.stdin.take());
                let _ = child.wait();
            }
            Held::Free => {}
            Held::Done => return,
        }
        let _ = std::fs::remove_file(&self.kubeconfig);
        // What is left is removed by any command.
        if let Err(error) = self.lab(&["down", "--quiet"]) {
            say(&format!("cluster {} cannot be taken down: {error:#}", self.name));
        }
    }

    /// Leaves it to whoever wants to look at it.
    pub fn leave(&self) {
        let before =
            std::mem::replace(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner), Held::Done);
        drop(before);
    }

    /// `tortie lab`, with this cluster's name.
    pub fn lab_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.tools.tortie);
        command.args(["lab", "--name", &self.name]).args(arguments);
        command.env("TORTIE_LAB", &self.name);
        command
    }

    /// Runs `tortie lab`; answers what it prints.
    pub fn lab(&self, arguments: &[&str]) -> Result<String> {
        let shown = format!("tortie lab {}", arguments.join(" "));
        finish(&shown, self.lab_command(arguments), None)
    }

    /// Breaks or heals something: `kill-agent 1`.
    pub fn fault(&self, words: &str) -> Result<String> {
        let mut arguments = vec!["fault"];
        arguments.extend(words.split(' '));
        self.lab(&arguments)
    }

    /// The name of a node, from 1.
    pub fn node_name(&self, node: usize) -> String {
        format!("node{node}")
    }

    /// Runs a program on a node, in all of the node's namespaces; answers what it prints.
    pub fn on(&self, node: usize, command: &[&str]) -> Result<String> {
        let name = self.node_name(node);
        let mut arguments = vec!["exec", name.as_str(), "--"];
        arguments.extend(command);
        self.lab(&arguments)
    }

    /// Runs a shell script on a node.
    pub fn sh(&self, node: usize, script: &str) -> Result<String> {
        self.on(node, &["sh", "-c", script])
    }

    /// `kubectl`, as administrator.
    pub fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.tools.programs.join("kubectl"));
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(arguments);
        command
    }

    /// Runs `kubectl`; answers what it prints.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        finish(&format!("kubectl {}", arguments.join(" ")), self.kubectl_command(arguments), None)
    }

    /// The answer of `kubectl ... -o json`; nothing if the object does not exist.
    pub fn get(&self, arguments: &[&str]) -> Result<Option<Value>> {
        let mut all = vec!["get", "--ignore-not-found", "-o", "json"];
        all.extend(arguments);
        let text = self.kubectl(&all)?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        let value = serde_json::from_str(&text);
        Ok(Some(value.with_context(|| format!("kubectl {}: no JSON", all.join(" ")))?))
    }

    /// The objects that `kubectl get ...` answers.
    pub fn list(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        let mut list = self.get(arguments)?.unwrap_or_default();
        match list.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }

    /// Creates or changes objects: one, or a list of them.
    pub fn apply(&self, objects: &Value) -> Result<()> {
        let list = match objects {
            Value::Array(items) => serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items}),
            one => one.clone(),
        };
        let command = self.kubectl_command(&["apply", "-f", "-"]);
        finish("kubectl apply", command, Some(&list.to_string()))?;
        Ok(())
    }

    /// Where the lab keeps its files, on the host.
    pub fn directory(&self) -> Result<PathBuf> {
        let status = self.lab(&["status", "-o", "json"])?;
        let status: Value = serde_json::from_str(&status).context("the lab's status is no JSON")?;
        let directory = status.get("directory").and_then(Value::as_str);
        Ok(directory.context("the lab's status names no directory")?.into())
    }

    /// Copies what the processes of the cluster have written to a directory of this name; answers where it is.
    pub fn save_logs(&self, name: &str) -> Result<PathBuf> {
        let (from, to) = (self.directory()?, self.tools.output.join(name));
        let _ = std::fs::remove_dir_all(&to);
        copy_logs(&from, &to)?;
        Ok(to)
    }

    /// Where Kubernetes' programs are.
    pub fn programs(&self) -> &Path {
        &self.tools.programs
    }

    /// Where trials may write files.
    pub fn output(&self) -> &Path {
        &self.tools.output
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.down();
    }
}

/// Takes down all clusters of this process.
pub fn down_all() {
    let live = std::mem::take(&mut *LIVE.lock().unwrap_or_else(PoisonError::into_inner));
    for cluster in live.iter().filter_map(Weak::upgrade) {
        cluster.down();
    }
}

/// Runs a command to its end, within its time; answers what it wrote.
fn finish(shown: &str, command: Command, input: Option<&str>) -> Result<String> {
    let Output { status, stdout, stderr } = output(shown, command, input)?;
    if !status.success() {
        let (said, printed) = (String::from_utf8_lossy(&stderr), String::from_utf8_lossy(&stdout));
        let said = if said.trim().is_empty() { printed.trim() } else { said.trim() };
        let late = if status.code() == Some(124) { " (took too long)" } else { "" };
        bail!("{shown}: {status}{late}: {said}");
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

/// Runs a command to its end, within its time.
pub(crate) fn output(shown: &str, command: Command, input: Option<&str>) -> Result<Output> {
    let mut limited = Command::new("timeout");
    limited.args(["--kill-after=5", &COMMAND_SECONDS.to_string()]).arg(command.get_program());
    limited.args(command.get_args());
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child = limited
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{shown}: timeout (of coreutils) cannot be run"))?;
    if let (Some(mut pipe), Some(text)) = (child.stdin.take(), input) {
        // A program that does not read says why in its status.
        let _ = pipe.write_all(text.as_bytes());
    }
    child.wait_with_output().with_context(|| format!("{shown}: no answer"))
}

fn copy_logs(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let path = entry?.path();
        let Some(name) = path.file_name() else { continue };
        if path.is_dir() {
            copy_logs(&path, &to.join(name))?;
        } else if path.extension().is_some_and(|e| e == "log" || e == "cfg") {
            std::fs::copy(&path, to.join(name)).with_context(|| format!("cannot copy {}", path.display()))?;
        }
    }
    Ok(())
}
