//! A node gets a newer containerd while its pods run. That one asks the plugin for STATUS, and the kubelet tells it on.

use crate::pods::{Pod, start_all};
use crate::{Context, Shape, Trial, leaks, probe::Probe, wait};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

pub(crate) const TRIAL: Trial = Trial {
    name: "containerd-next",
    about: "a newer containerd takes over a node's pods; by STATUS the node is NotReady without its agent",
    shape: Shape { own: true, ..Shape::LEAN },
    run,
};

/// How soon the kubelet tells the node's state on.
const TOLD: std::time::Duration = wait::seconds(60);

fn run(cx: &mut Context) -> Result<()> {
    let pods =
        start_all(cx, &[cx.pod("steady").server().on(1), cx.pod("leaves").on(1), cx.pod("peer").on(2)])?;
    let [steady, leaves, peer] = pods.as_slice() else { unreachable!("three pods were started") };
    let probes = Probe::all(peer, steady)?;
    let version = upgrade(cx)?;
    cx.say(&format!("node1 runs containerd {version}"));
    leaves.delete()?;
    let fresh = start_all(cx, &[cx.pod("fresh").server().on(1), cx.pod("fresh-too").on(1)])?;
    let [server, client] = fresh.as_slice() else { unreachable!("two pods were started") };
    client.must_reach(server, true)?;
    leaks::none(&cx.cluster)?;

    // Plugins that only know older versions would be in the way.
    cx.cluster.sh(
        1,
        "cd /etc/cni/net.d && jq '.cniVersion = \"1.1.0\" | .plugins |= .[:1]' 10-calico.conflist > /tmp/next && cp /tmp/next 10-calico.conflist",
    )?;
    Pod::ready(cx, cx.pod("newest").on(1).start()?.name.as_str())?;
    ensure!(ready(cx)?.0, "the node is not Ready: {}", ready(cx)?.1);
    cx.cluster.fault("kill-agent 1")?;
    let why = wait::until("a node that is NotReady", TOLD, || {
        let (ready, why) = ready(cx)?;
        Ok((!ready).then_some(why))
    })?;
    for word in ["Network plugin", "agent is not running"] {
        ensure!(why.contains(word), "the node's condition does not say {word:?}: {why}");
    }
    cx.cluster.fault("restart-agent 1")?;
    wait::until_true("a node that is Ready again", TOLD, || Ok(ready(cx)?.0))?;
    for probe in probes {
        probe.must_not_fail()?;
    }
    let object = crate::pods::get(cx, "steady")?.unwrap_or_default();
    let restarts = object.pointer("/status/containerStatuses/0/restartCount").and_then(Value::as_u64);
    ensure!(restarts == Some(0), "the pod's container was restarted {restarts:?} times");
    Ok(())
}

/// Puts the newer containerd in the place of the other, for this node alone, and restarts it.
fn upgrade(cx: &Context) -> Result<String> {
    let programs = cx.cluster.programs();
    for (begin, place) in
        [("containerd-2.", "containerd"), ("containerd-shim-runc-v2-2.", "containerd-shim-runc-v2")]
    {
        let names =
            std::fs::read_dir(programs).with_context(|| format!("cannot read {}", programs.display()))?;
        let found = names
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(begin)));
        let found = found.with_context(|| format!("no {begin}* in {}", programs.display()))?;
        cx.cluster.sh(1, &format!("mount --bind {} $(command -v {place})", found.display()))?;
    }
    cx.cluster.sh(1, "kill $(pgrep -x containerd)")?;
    wait::until("the newer containerd", wait::seconds(30), || {
        let text = cx.cluster.sh(1, "ctr version")?;
        let server = text.split("Server:").nth(1).unwrap_or_default();
        let version = server.lines().find_map(|line| line.trim().strip_prefix("Version:"));
        Ok(version.map(str::trim).filter(|v| v.trim_start_matches('v').starts_with('2')).map(str::to_owned))
    })
}

/// Whether the node is Ready, and what there is to say about it.
fn ready(cx: &Context) -> Result<(bool, String)> {
    let node = cx.cluster.get(&["node", "node1"])?.context("there is no node1")?;
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
    let text = |condition: &Value, name: &str| {
        condition.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let ready =
        conditions.into_iter().flatten().find(|c| text(c, "type") == "Ready").context("no condition")?;
    Ok((text(ready, "status") == "True", text(ready, "message")))
}
