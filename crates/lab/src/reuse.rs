//! `tortie lab reuse`: whether a pod with the address of a removed one inherits any of its connections.
//!
//! The container of the removed pod and that of the next share a network namespace, so that the sockets of the first go on
//! sending from the same addresses and ports. Connection tracking, on whatever node, cannot tell the two apart; policy
//! must.

use crate::bench::Row;
use crate::cni::{Container, Verb};
use crate::fabric;
use crate::lab::Lab;
use crate::node::Node;
use crate::pods::PodName;
use crate::sandbox::NETNS_DIR;
use crate::supervisor::Sink;
use crate::{objects, seed};
use anyhow::{Context as _, anyhow, bail, ensure};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tortie_kernel_net::NetNs;
use tortie_scenario::Pod as Wish;

const NAMESPACE: &str = "reuse";
const PORT: u16 = 7100;
/// How long what should arrive may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long nothing may arrive. TCP sends again several times within it.
const SILENCE: Duration = Duration::from_secs(2);

/// A namespace in which containers follow each other.
struct Home {
    node: Arc<Node>,
    netns: NetNs,
    container: Container,
    pod: PodName,
    addresses: Vec<IpAddr>,
}

impl Lab {
    /// Runs the check; each row is a kind of connection, and how many of them were tried.
    pub(crate) async fn reuse(self: &Arc<Self>, sink: &Sink) -> anyhow::Result<Vec<Row>> {
        if self.spec.kubelets.is_some() {
            bail!(
                "pods that follow each other in one network namespace are not kubelets': use a lab without --kubernetes"
            );
        }
        let (Some(near), Some(far)) = (self.nodes.first().cloned(), self.nodes.get(1).cloned()) else {
            bail!("two nodes are needed");
        };
        for (path, object) in [seed::namespace(NAMESPACE), seed::service_account(NAMESPACE, "default")] {
            self.store.records.ensure(&path, &object).await?;
        }
        let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "guarded", "namespace": NAMESPACE},
            "spec": {"podSelector": {"matchLabels": {"guarded": "yes"}}, "policyTypes": ["Ingress"],
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"friend": "yes"}}}]}]}});
        self.store.records.put(&seed::kubernetes("NetworkPolicy", NAMESPACE, "guarded"), &policy).await?;
        let mut rows = Vec::new();
        for (node, name) in [(&near, "the same node"), (&far, "another node")] {
            sink.progress(format!("the next client of a server on {name}")).await;
            let count = self.next_client(&near, node).await.with_context(|| format!("server on {name}"))?;
            rows.push(Row::count(&format!("the next client's, server on {name}"), count));
            sink.progress(format!("the next server of a client on {name}")).await;
            let count = self.next_server(&near, node).await.with_context(|| format!("client on {name}"))?;
            rows.push(Row::count(&format!("the next server's, client on {name}"), count));
        }
        Ok(rows)
    }

    /// A friend talks to a guarded server; whoever has the friend's addresses next is none.
    async fn next_client(&self, near: &Arc<Node>, other: &Arc<Node>) -> anyhow::Result<usize> {
        let server = self.move_in(other, "server", &[("guarded", "yes")]).await?;
        let mut client = self.move_in(near, "friend", &[("friend", "yes")]).await?;
        let ears = Ears::open(&server)?;
        let mut talks = self.talks(&client, &server).await?;
        talk(&mut talks, &ears, "before").await?;
        self.succeed(&mut client, "stranger", &[]).await?;
        hear_nothing(&mut talks, &ears).await.context("from the next holder of the client's addresses")?;
        let count = talks.len();
        // The sockets are not at fault.
        self.succeed(&mut client, "friend-again", &[("friend", "yes")]).await?;
        let mut datagrams: Vec<Talk> = talks.into_iter().filter(|t| matches!(t, Talk::Udp(_))).collect();
        talk(&mut datagrams, &ears, "again").await?;
        self.move_out(client).await?;
        self.move_out(server).await?;
        Ok(count)
    }

    /// A stranger talks to an open server; whoever has the server's addresses next is guarded.
    async fn next_server(&self, near: &Arc<Node>, other: &Arc<Node>) -> anyhow::Result<usize> {
        let mut server = self.move_in(near, "open", &[]).await?;
        let client = self.move_in(other, "caller", &[]).await?;
        let ears = Ears::open(&server)?;
        let mut talks = self.talks(&client, &server).await?;
        talk(&mut talks, &ears, "before").await?;
        self.succeed(&mut server, "guarded", &[("guarded", "yes")]).await?;
        hear_nothing(&mut talks, &ears).await.context("at the next holder of the server's addresses")?;
        let count = talks.len();
        self.move_out(client).await?;
        self.move_out(server).await?;
        Ok(count)
    }

    async fn record(
        &self,
        node: &Node,
        name: &str,
        labels: &[(&str, &str)],
        addresses: &[IpAddr],
    ) -> anyhow::Result<PodName> {
        let pod = PodName { namespace: NAMESPACE.to_owned(), name: name.to_owned() };
        let wish = Wish {
            namespace: NAMESPACE.to_owned(),
            name: name.to_owned(),
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            addresses: addresses.to_vec(),
            ..Wish::default()
        };
        self.store.records.put(&pod.path(), &wish.to_object(node.name())).await?;
        Ok(pod)
    }

    async fn move_in(&self, node: &Arc<Node>, name: &str, labels: &[(&str, &str)]) -> anyhow::Result<Home> {
        let pod = self.record(node, name, labels, &[]).await?;
        let file = pod.netns();
        let netns = tokio::task::spawn_blocking(move || fabric::namespace(&file, false))
            .await
            .map_err(|e| anyhow!("{e}"))??;
        let container = Container {
            id: objects::new_uid()?.replace('-', ""),
            namespace: NAMESPACE.to_owned(),
            pod: name.to_owned(),
            uid: String::new(),
            netns: pod.netns(),
        };
        let addresses = self.pods.plugin().call(Verb::Add, node, &container).await?;
        let revision = self.store.records.revision().await?;
        self.wait_enforced(revision).await?;
        Ok(Home { node: node.clone(), netns, container, pod, addresses })
    }

    /// The pod goes, and another comes at once, with the same addresses.
    async fn succeed(&self, home: &mut Home, name: &str, labels: &[(&str, &str)]) -> anyhow::Result<()> {
        let pod = self.record(&home.node, name, labels, &home.addresses).await?;
        let container = Container {
            id: objects::new_uid()?.replace('-', ""),
            namespace: NAMESPACE.to_owned(),
            pod: name.to_owned(),
            uid: String::new(),
            netns: home.container.netns.clone(),
        };
        let plugin = self.pods.plugin();
        plugin.call(Verb::Del, &home.node, &home.container).await?;
        let addresses = plugin.call(Verb::Add, &home.node, &container).await?;
        ensure!(addresses == home.addresses, "{name} has {addresses:?} instead of {:?}", home.addresses);
        self.store.records.remove(&home.pod.path()).await?;
        home.pod = pod;
        home.container = container;
        let revision = self.store.records.revision().await?;
        self.wait_enforced(revision).await
    }

    async fn move_out(&self, home: Home) -> anyhow::Result<()> {
        self.pods.plugin().call(Verb::Del, &home.node, &home.container).await?;
        self.store.records.remove(&home.pod.path()).await?;
        NetNs::remove(Path::new(NETNS_DIR).join(&home.container.netns))?;
        Ok(())
    }

    /// A connection of each protocol to each address.
    async fn talks(&self, client: &Home, server: &Home) -> anyhow::Result<Vec<Talk>> {
        let (netns, addresses) = (client.netns.clone(), server.addresses.clone());
        tokio::task::spawn_blocking(move || netns.run(|| connect(&addresses)).map_err(anyhow::Error::from)?)
            .await
            .map_err(|e| anyhow!("{e}"))?
    }
}

/// A client's end of a connection.
enum Talk {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl Talk {
    fn say(&mut self, word: &str) {
        // Errors of a socket without a way are expected between two pods; what counts is what arrives.
        let _ = match self {
            Self::Tcp(stream) => stream.write(word.as_bytes()),
            Self::Udp(socket) => socket.send(word.as_bytes()),
        };
    }

    fn name(&self) -> String {
        let (kind, peer) = match self {
            Self::Tcp(stream) => ("tcp", stream.peer_addr()),
            Self::Udp(socket) => ("udp", socket.peer_addr()),
        };
        peer.map_or_else(|_| kind.to_owned(), |peer| format!("{kind} {}", peer.ip()))
    }
}

fn connect(addresses: &[IpAddr]) -> anyhow::Result<Vec<Talk>> {
    let mut talks = Vec::new();
    for address in addresses {
        let to = SocketAddr::new(*address, PORT);
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let stream = TcpStream::connect_timeout(&to, PATIENCE).with_context(|| format!("tcp {to}"))?;
        stream.set_nonblocking(true)?;
        let socket = UdpSocket::bind(any)?;
        socket.connect(to)?;
        socket.set_nonblocking(true)?;
        talks.extend([Talk::Tcp(stream), Talk::Udp(socket)]);
    }
    Ok(talks)
}

/// What a server has heard: the kind of connection and the word.
struct Ears {
    heard: Arc<Mutex<BTreeSet<String>>>,
    listeners: Vec<(TcpListener, UdpSocket)>,
}

impl Ears {
    fn open(home: &Home) -> anyhow::Result<Self> {
        let heard = Arc::<Mutex<BTreeSet<String>>>::default();
        let mut listeners = Vec::new();
        for address in &home.addresses {
            let at = SocketAddr::new(*address, PORT);
            let (tcp, udp) =
                home.netns.run(|| anyhow::Ok((TcpListener::bind(at)?, UdpSocket::bind(at)?)))??;
            udp.set_read_timeout(Some(PATIENCE * 3))?;
            let (datagrams, log, name) = (udp.try_clone()?, heard.clone(), format!("udp {address}"));
            std::thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok((length @ 1.., peer)) = datagrams.recv_from(&mut buffer) {
                    note(&log, &name, buffer.get(..length));
                    // Without an answer it would never be an established connection.
                    let _ = datagrams.send_to(b"heard", peer);
                }
            });
            let (streams, log, name) = (tcp.try_clone()?, heard.clone(), format!("tcp {address}"));
            std::thread::spawn(move || {
                let Ok((mut stream, _)) = streams.accept() else { return };
                let _ = stream.set_read_timeout(Some(PATIENCE * 3));
                let mut buffer = [0; 64];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    note(&log, &name, buffer.get(..length));
                }
                let _ = stream.shutdown(Shutdown::Both);
            });
            listeners.push((tcp, udp));
        }
        ensure!(!listeners.is_empty(), "the pod has no address");
        Ok(Self { heard, listeners })
    }

    fn heard(&self) -> BTreeSet<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn note(log: &Mutex<BTreeSet<String>>, name: &str, word: Option<&[u8]>) {
    let word = String::from_utf8_lossy(word.unwrap_or_default()).into_owned();
    log.lock().unwrap_or_else(PoisonError::into_inner).insert(format!("{name}: {word}"));
}

/// Every connection works.
async fn talk(talks: &mut [Talk], ears: &Ears, word: &str) -> anyhow::Result<()> {
    ensure!(!talks.is_empty() && !ears.listeners.is_empty(), "nobody talks");
    let began = Instant::now();
    loop {
        for talk in &mut *talks {
            if !arrived(talk, ears, word) {
                talk.say(word);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        let missing: Vec<String> = talks.iter().filter(|t| !arrived(t, ears, word)).map(Talk::name).collect();
        if missing.is_empty() {
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "{word:?} does not arrive by {}", missing.join(", "));
    }
}

/// No connection works any more.
async fn hear_nothing(talks: &mut [Talk], ears: &Ears) -> anyhow::Result<()> {
    let began = Instant::now();
    while began.elapsed() < SILENCE {
        for talk in talks.iter_mut() {
            talk.say("after");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let through: Vec<String> = ears.heard().into_iter().filter(|line| line.contains("after")).collect();
    ensure!(through.is_empty(), "connections of an earlier pod go on: {}", through.join(", "));
    Ok(())
}

fn arrived(talk: &Talk, ears: &Ears, word: &str) -> bool {
    let name = talk.name() + ":";
    ears.heard().iter().any(|line| line.starts_with(&name) && line.contains(word))
}
