//! The agent is not there: ADD fails at once and says why where users look; DEL succeeds; all is caught up with when it is back.

use crate::pods::{Pod, events, start_all};
use crate::{Context, Shape, Trial, leaks, probe::Probe, wait};
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

pub(crate) const TRIAL: Trial = Trial {
    name: "agent-away",
    about: "without the agent ADD fails fast with a reason that kubectl describe shows, DEL succeeds; its return mends all",
    shape: Shape::LEAN,
    run,
};

/// What an ADD without an agent may take, as the runtime sees it.
const FAST: Duration = Duration::from_secs(2);

fn run(cx: &mut Context) -> Result<()> {
    let pods =
        start_all(cx, &[cx.pod("steady").server().on(1), cx.pod("leaves").on(1), cx.pod("peer").on(2)])?;
    let [steady, leaves, peer] = pods.as_slice() else { unreachable!("three pods were started") };
    let probes = Probe::all(peer, steady)?;
    cx.cluster.fault("kill-agent 1")?;

    cx.pod("waits").on(1).create()?;
    let told = wait::until("an event of the pod that cannot start", wait::seconds(30), || {
        Ok(events(cx, "waits")?.into_iter().find(|m| m.contains("network")))
    })?;
    for word in ["calico", "agent is not running", "agent.sock", "calico-node"] {
        ensure!(told.contains(word), "the event does not say {word:?}: {told}");
    }
    let described = cx.kubectl(&["describe", "pod", "waits"])?;
    ensure!(described.contains("agent is not running"), "kubectl describe does not say why: {described}");
    let took = add_without_agent(cx)?;
    cx.say(&format!("ADD without an agent: {} ms", took.as_millis()));
    ensure!(took < FAST, "ADD without an agent took {took:?}");

    let started = Instant::now();
    leaves.delete()?;
    cx.say(&format!("a pod deleted without an agent: {} ms", started.elapsed().as_millis()));
    let held = leaks::find(&cx.cluster)?;
    ensure!(
        held.iter().any(|l| l.contains("leaves")),
        "who has released the address of a pod without an agent? {held:?}"
    );

    cx.cluster.fault("restart-agent 1")?;
    Pod::ready(cx, "waits")?;
    leaks::none(&cx.cluster)?;
    let left = cx.cluster.sh(1, "ls /run/tortie/lab/*/node1/lib/cni-del | wc -l")?;
    ensure!(left.trim() == "0", "{} DELs are still written down", left.trim());
    for probe in probes {
        probe.must_not_fail()?;
    }
    Ok(())
}

/// Calls the plugin as the runtime does.
fn add_without_agent(cx: &Context) -> Result<Duration> {
    let script = r#"
        list=$(cat /etc/cni/net.d/*.conflist)
        printf %s "$list" | sed -e 's/,"plugins":\[/,/' >/dev/null
        export CNI_COMMAND=ADD CNI_CONTAINERID=nobody CNI_NETNS=/proc/self/ns/net CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin
        export CNI_ARGS="K8S_POD_NAMESPACE=none;K8S_POD_NAME=none"
        socket=$(printf %s "$list" | grep -o '"agent_socket":"[^"]*"')
        begin=$(date +%s%N)
        printf '{"cniVersion":"1.0.0","name":"k8s-pod-network","type":"calico",%s}' "$socket" | /opt/cni/bin/calico >/dev/null && exit 1
        end=$(date +%s%N)
        echo $(( (end - begin) / 1000000 ))
    "#;
    Ok(Duration::from_millis(cx.cluster.sh(1, script)?.trim().parse()?))
}
