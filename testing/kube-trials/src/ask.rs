//! Questions to servers from anywhere: who reaches whom, and under which address.

use crate::cluster::output;
use crate::context::Context;
use crate::pods::Pod;
use crate::wait;
use anyhow::{Context as _, Result, bail, ensure};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;

/// Seconds that a connection may take to come about.
const CONNECT: &str = "1";

/// How long a change may take until it shows.
const PATIENCE: std::time::Duration = wait::seconds(30);

/// curl's exit status if nobody answers: refused or unreachable, silent, reset.
const UNREACHED: [i32; 3] = [7, 28, 56];

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub enum From<'a> {
    /// The host beyond the router.
    World,
    /// A node, from 1.
    Node(usize),
    /// A pod.
    Pod(&'a Pod),
}

impl fmt::Display for From<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::World => f.write_str("the world"),
            Self::Node(number) => write!(f, "node{number}"),
            Self::Pod(pod) => f.write_str(&pod.name),
        }
    }
}

impl From<'_> {
    fn command(self, cx: &Context, script: &str) -> Result<Command> {
        let at = |place: &str| cx.cluster.lab_command(&["exec", place, "--", "sh", "-c", script]);
        match self {
            Self::World => Ok(at("world")),
            Self::Node(number) => Ok(at(&cx.cluster.node_name(number))),
            Self::Pod(pod) => pod.command(script),
        }
    }

    /// Asks a [server](crate::pods::PodSpec::server) once; answers the address under which it saw the question, if it answered.
    pub fn ask(self, cx: &Context, to: SocketAddr) -> Result<Option<IpAddr>> {
        let shown = format!("{self} asking {to}");
        let script = format!("exec curl -sS -g --connect-timeout {CONNECT} -m 5 http://{to}/clientip");
        let out = output(&shown, self.command(cx, &script)?, None)?;
        match out.status.code() {
            Some(0) => {
                let said = String::from_utf8_lossy(&out.stdout);
                let seen: SocketAddr =
                    said.trim().parse().with_context(|| format!("{shown}: {said:?} is no address"))?;
                Ok(Some(seen.ip().to_canonical()))
            }
            Some(code) if UNREACHED.contains(&code) => Ok(None),
            _ => bail!("{shown}: {}", String::from_utf8_lossy(&out.stderr).trim()),
        }
    }

    /// Waits until an answer comes; answers under which address it was asked for.
    pub fn must_reach(self, cx: &Context, to: SocketAddr) -> Result<IpAddr> {
        wait::until(&format!("an answer to {self} from {to}"), PATIENCE, || self.ask(cx, to))
    }

    /// The same, where the address must be one of these.
    pub fn must_reach_as(self, cx: &Context, to: SocketAddr, addresses: &[IpAddr]) -> Result<()> {
        let seen = self.must_reach(cx, to)?;
        ensure!(addresses.contains(&seen), "{to} sees {self} as {seen}, which is none of {addresses:?}");
        Ok(())
    }

    /// Waits until no answer comes.
    pub fn must_not_reach(self, cx: &Context, to: SocketAddr) -> Result<()> {
        let what = format!("{to} not to answer {self}");
        wait::until_true(&what, PATIENCE, || Ok(self.ask(cx, to)?.is_none()))
    }
}

/// The addresses of the host beyond the router.
pub fn world(cx: &Context) -> Result<Vec<IpAddr>> {
    let text = cx.cluster.lab(&["exec", "world", "--", "hostname", "-I"])?;
    let all: Vec<IpAddr> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    ensure!(!all.is_empty(), "the world has no address: {text:?}");
    Ok(all)
}

/// A node's addresses as Kubernetes knows them.
pub fn node(cx: &Context, number: usize) -> Result<Vec<IpAddr>> {
    let name = cx.cluster.node_name(number);
    let object = cx.cluster.get(&["node", &name])?.with_context(|| format!("there is no {name}"))?;
    let all = object.pointer("/status/addresses").and_then(serde_json::Value::as_array);
    let all: Vec<IpAddr> =
        all.into_iter().flatten().filter_map(|a| a.get("address")?.as_str()?.parse().ok()).collect();
    ensure!(!all.is_empty(), "{name} has no address");
    Ok(all)
}

/// Those of a family: that of `like`.
pub fn of_family(all: &[IpAddr], like: IpAddr) -> Vec<IpAddr> {
    all.iter().copied().filter(|a| a.is_ipv4() == like.is_ipv4()).collect()
}
