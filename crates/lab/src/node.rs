//! A node: a namespace with an agent and a BIRD.

use crate::dirs::LabDir;
use crate::fabric::NodeNet;
use crate::kube::space::SpaceSpec;
use crate::process::{Process, ProcessSpec, State};
use crate::sandbox::{ARG0, SELF};
use crate::spec::{Datastore, Encapsulation, LabSpec};
use anyhow::{Context as _, anyhow, bail};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tokio::sync::OnceCell;
use tortie_agent_api::{NodeStatus, Request, Response};
use tortie_kernel_net::NetNs;
use tortie_net::Family;

/// How long BIRD waits for the agent's configuration before it starts with next to nothing.
const CONFIG_PATIENCE: Duration = Duration::from_secs(1);

/// A node of the lab.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) net: NodeNet,
    pub(crate) netns: NetNs,
    dir: PathBuf,
    env: Vec<(String, String)>,
    agent: OnceCell<Process>,
    bird: OnceCell<Process>,
    /// Routes are learnt by BGP.
    bgp: bool,
    /// The node's own namespaces, if it has any beside its network.
    pub(crate) space: OnceCell<SpaceSpec>,
}

impl Node {
    pub(crate) fn new(
        net: NodeNet,
        netns: NetNs,
        lab: &LabDir,
        spec: &LabSpec,
        store: &StoreAddress,
    ) -> anyhow::Result<Self> {
        let dir = lab.of_part(&net.name);
        for part in ["run", "lib"] {
            let path = dir.join(part);
            std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        }
        let env = environment(&net, &dir, spec, store);
        Ok(Self {
            net,
            netns,
            dir,
            env,
            agent: OnceCell::new(),
            bird: OnceCell::new(),
            bgp: spec.encapsulation == Encapsulation::None,
            space: OnceCell::new(),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.net.name
    }

    /// The variables of the node's agent, which `lab exec` sets too.
    pub(crate) fn env(&self) -> &[(String, String)] {
        &self.env
    }

    pub(crate) fn agent_socket(&self) -> PathBuf {
        self.dir.join("run/agent.sock")
    }

    /// Where the plugin writes down DELs for an agent that is away: in the agent's state.
    pub(crate) fn cni_journal(&self) -> PathBuf {
        self.dir.join("lib/cni-del")
    }

    /// Files of the node.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The plugin's configuration list.
    pub(crate) fn cni_dir(&self) -> PathBuf {
        self.dir.join("cni")
    }

    pub(crate) fn addresses(&self) -> [IpAddr; 2] {
        self.net.addresses.map(|a| a.addr)
    }

    /// Starts the agent, then BIRD.
    pub(crate) async fn start(&self) -> anyhow::Result<()> {
        let own = vec!["agent".to_owned()];
        let agent = ProcessSpec {
            title: format!("agent of {}", self.name()),
            program: SELF.into(),
            arg0: Some(ARG0.to_owned()),
            // It opens pods' namespaces by paths that only the node's mounts have.
            args: self.space.get().map_or(own.clone(), |space| space.enter_arguments(Path::new(SELF), &own)),
            env: self.env.clone(),
            netns: self.netns.clone(),
            log: self.dir.join("agent.log"),
        };
        let agent = Process::start(agent).await?;
        self.agent.set(agent).map_err(|_| anyhow!("{} was started twice", self.name()))?;
        if !self.bgp {
            return Ok(());
        }
        let config = self.dir.join("run/bird.cfg");
        wait_for_config(&config, self.addresses()[0]).await?;
        let bird = bird(&format!("BIRD of {}", self.name()), &self.dir, &self.netns);
        let bird = Process::start(bird).await.context("is the package bird2 installed?")?;
        self.bird.set(bird).map_err(|_| anyhow!("{} was started twice", self.name()))
    }

    /// True if routes are learnt by BGP.
    pub(crate) fn speaks_bgp(&self) -> bool {
        self.bgp
    }

    pub(crate) fn agent(&self) -> anyhow::Result<&Process> {
        self.agent.get().ok_or_else(|| anyhow!("{} has no agent: the lab is a bare fabric", self.name()))
    }

    pub(crate) fn bird(&self) -> anyhow::Result<&Process> {
        self.bird
            .get()
            .ok_or_else(|| anyhow!("{} has no BIRD: the lab is a bare fabric, or without BGP", self.name()))
    }

    /// True if the agent is meant to run.
    pub(crate) fn has_agent(&self) -> bool {
        self.agent.get().is_some_and(|a| a.state() != State::Stopped)
    }

    /// Asks the agent one question.
    pub(crate) async fn ask(&self, request: &Request) -> anyhow::Result<Response> {
        let socket = self.agent_socket();
        let mut stream = UnixStream::connect(&socket).await.with_context(|| {
            format!("the agent of {} does not listen on {}", self.name(), socket.display())
        })?;
        crate::control::write_async(&mut stream, request).await.context("cannot ask the agent")?;
        match crate::control::read_async(&mut stream).await {
            Ok(Some(response)) => Ok(response),
            Ok(None) => {
                bail!("the agent of {} hung up; see {}", self.name(), self.dir.join("agent.log").display())
            }
            Err(e) => Err(e).with_context(|| format!("the agent of {} answers nonsense", self.name())),
        }
    }

    pub(crate) async fn status(&self) -> anyhow::Result<NodeStatus> {
        match self.ask(&Request::NodeStatus).await? {
            Response::NodeStatus(status) => Ok(*status),
            Response::Error(e) => bail!("the agent of {}: {} {}", self.name(), e.message, e.details),
            other => bail!("the agent of {} answered {other:?} to a question for its status", self.name()),
        }
    }

    /// Last lines of the agent's log, for error messages.
    pub(crate) fn last_words(&self) -> String {
        last_lines(&self.dir.join("agent.log"), 5)
    }

    pub(crate) fn processes(&self) -> impl Iterator<Item = (String, &Process)> {
        let named = |kind: &str, process: &OnceCell<Process>| {
            process.get().is_some().then(|| format!("{}/{kind}", self.name()))
        };
        let agent = named("agent", &self.agent).zip(self.agent.get());
        let bird = named("bird", &self.bird).zip(self.bird.get());
        agent.into_iter().chain(bird)
    }
}

/// How the nodes reach the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreAddress {
    /// Our own, on a unix socket.
    Socket(PathBuf),
    /// etcd's client URL.
    Etcd(String),
    /// A Kubernetes API, by this kubeconfig.
    Kubernetes(PathBuf),
}

fn environment(net: &NodeNet, dir: &Path, spec: &LabSpec, store: &StoreAddress) -> Vec<(String, String)> {
    let run = dir.join("run");
    let path = |p: &Path| p.display().to_string();
    let [v4, v6] = net.addresses.map(|a| {
        let has = spec.families.has(Family::of(a.addr));
        if has { a.to_string() } else { "none".to_owned() }
    });
    let backend = match spec.encapsulation {
        Encapsulation::None => "bird",
        Encapsulation::Vxlan => "vxlan",
    };
    let mut env = vec![
        ("NODENAME", net.name.clone()),
        ("TORTIE_RUN_DIR", path(&run)),
        ("TORTIE_LIB_DIR", path(&dir.join("lib"))),
        ("TORTIE_BIRD_CONFIG", path(&run.join("bird.cfg"))),
        ("IP", v4),
        ("IP6", v6),
        ("CALICO_NETWORKING_BACKEND", backend.to_owned()),
        // Nodes of the lab have no policy of their own that could let pods in again.
        ("FELIX_DEFAULTENDPOINTTOHOSTACTION", "Accept".to_owned()),
        ("FELIX_HEALTHENABLED", "true".to_owned()),
        // The lab's pools are those that were asked for.
        ("NO_DEFAULT_POOLS", "true".to_owned()),
    ];
    match (spec.datastore, store) {
        (Datastore::Embedded, StoreAddress::Socket(socket)) => {
            env.push(("DATASTORE_TYPE", "embedded".to_owned()));
            env.push(("TORTIE_STORE_SOCKET", path(socket)));
        }
        (_, StoreAddress::Etcd(url)) => {
            env.push(("DATASTORE_TYPE", "etcdv3".to_owned()));
            env.push(("ETCD_ENDPOINTS", url.clone()));
            // There is no API server beside it.
            env.push(("TORTIE_KUBERNETES_OBJECTS", "store".to_owned()));
        }
        (_, StoreAddress::Kubernetes(config)) => {
            env.push(("DATASTORE_TYPE", "kubernetes".to_owned()));
            env.push(("KUBECONFIG", path(config)));
            env.push(("CALICO_API_GROUP", "projectcalico.org/v3".to_owned()));
        }
        (Datastore::Etcd | Datastore::Kubernetes, StoreAddress::Socket(_)) => {}
    }
    let mut env: Vec<(String, String)> = env.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    for (key, value) in &spec.agent_env {
        env.retain(|(k, _)| k != key);
        env.push((key.clone(), value.clone()));
    }
    env
}

/// How to run BIRD with the files in `dir/run`. `-R`: after a restart its routes stay until the sessions are back.
pub(crate) fn bird(title: &str, dir: &Path, netns: &NetNs) -> ProcessSpec {
    let run = |file: &str| dir.join("run").join(file).display().to_string();
    ProcessSpec {
        title: title.to_owned(),
        program: "bird".into(),
        arg0: None,
        args: ["-f", "-R", "-c", &run("bird.cfg"), "-s", &run("bird.ctl"), "-P", &run("bird.pid")]
            .map(str::to_owned)
            .to_vec(),
        env: Vec::new(),
        netns: netns.clone(),
        log: dir.join("bird.log"),
    }
}

/// Waits for the agent's BIRD configuration; writes the least that BIRD accepts if there is none in time.
async fn wait_for_config(path: &Path, router_id: IpAddr) -> anyhow::Result<()> {
    let deadline = Instant::now() + CONFIG_PATIENCE;
    while !path.exists() {
        if Instant::now() >= deadline {
            let text = format!("router id {router_id};\nprotocol device {{}}\n");
            return std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// The last lines of a file.
pub(crate) fn last_lines(path: &Path, count: usize) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(count)..).unwrap_or_default().join("\n  ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::Plan;
    use crate::spec::FabricKind;

    #[test]
    fn the_users_variables_win() {
        let net = Plan::new(FabricKind::Routed, 3).nodes.remove(2);
        let spec = LabSpec {
            agent_env: vec![("FELIX_HEALTHENABLED".into(), "false".into()), ("FELIX_X".into(), "y".into())],
            ..crate::spec::tests::spec()
        };
        let env = environment(&net, Path::new("/x/node3"), &spec, &StoreAddress::Socket("/s".into()));
        let get = |k: &str| env.iter().filter(|(n, _)| n == k).map(|(_, v)| v.as_str()).collect::<Vec<_>>();
        assert_eq!(get("NODENAME"), ["node3"]);
        assert_eq!(get("IP"), ["172.31.2.13/24"]);
        assert_eq!(get("IP6"), ["fd00:31:2::13/64"]);
        assert_eq!(get("FELIX_HEALTHENABLED"), ["false"]);
        assert_eq!(get("FELIX_X"), ["y"]);
        assert_eq!(get("TORTIE_STORE_SOCKET"), ["/s"]);
    }
}
