//! CHECK, STATUS and GC, asked on a node with real pods as the CNI specification says: not every runtime asks for them.

use crate::plugin::{Answer, Attachment, Plugin};
use crate::pods::start_all;
use crate::{Context, Shape, Trial, leaks, probe::Probe, wait};
use anyhow::{Result, bail, ensure};
use serde_json::Value;

pub(crate) const TRIAL: Trial = Trial {
    name: "cni-verbs",
    about: "CHECK finds what is missing, STATUS what an ADD would meet, GC takes exactly what is not valid",
    shape: Shape::LEAN,
    run,
};

fn run(cx: &mut Context) -> Result<()> {
    let pods =
        start_all(cx, &[cx.pod("steady").server().on(1), cx.pod("broken").on(1), cx.pod("peer").on(2)])?;
    let [steady, _, peer] = pods.as_slice() else { unreachable!("three pods were started") };
    let probes = Probe::all(peer, steady)?;
    check(cx)?;
    collect(cx)?;
    status(cx)?;
    for probe in probes {
        probe.must_not_fail()?;
    }
    Ok(())
}

/// Breaks one thing after another and asks in the same breath: some are mended by the agent.
fn check(cx: &Context) -> Result<()> {
    let plugin = Plugin::of(&cx.cluster, 1)?;
    for pod in ["steady", "broken"] {
        succeeds("CHECK", &plugin.ask("CHECK", &plugin.attachment(pod)?, "")?)?;
    }
    let pod = plugin.attachment("broken")?;
    let (host, inside) = (pod.host_interface(), format!("nsenter --net={}", pod.netns));
    for address in pod.addresses() {
        let (ip, any) = if address.contains(':') { ("ip -6", "::/0") } else { ("ip", "0.0.0.0/0") };
        let bits = if address.contains(':') { 128 } else { 32 };
        let gateway = if address.contains(':') { "fe80::ecee:eeff:feee:eeee" } else { "169.254.1.1" };
        for (break_it, mend, word) in [
            (
                format!("{ip} route del {address} dev {host}"),
                format!("{ip} route replace {address} dev {host}"),
                format!("no route to {address}"),
            ),
            (
                format!("{inside} {ip} route del default"),
                format!("{inside} {ip} route replace default via {gateway} dev eth0"),
                format!("no route to {any}"),
            ),
            (
                format!("{inside} {ip} addr del {address}/{bits} dev eth0"),
                format!("{inside} {ip} addr replace {address}/{bits} dev eth0"),
                format!("does not have the address {address}"),
            ),
        ] {
            let answer = plugin.ask("CHECK", &pod, &break_it)?;
            if answer == Answer::Done(Value::Null)
                && word.contains("no route to")
                && !break_it.starts_with("nsenter")
            {
                // The agent was quicker; then nothing is missing any more.
                cx.cluster.sh(1, &format!("{ip} route show {address} dev {host} | grep ."))?;
            } else {
                fails("CHECK", &answer, 102, &word)?;
            }
            // With an IPv4 address its routes go, too.
            let routes = format!(
                "{inside} {ip} route replace {gateway} dev eth0; {inside} {ip} route replace default via {gateway} dev eth0"
            );
            cx.cluster.sh(1, &format!("{mend}; {routes}"))?;
            succeeds("CHECK", &plugin.ask("CHECK", &pod, "")?)?;
        }
    }
    let mut other = pod.clone();
    other.result["ips"] = serde_json::json!([{"address": "192.0.2.1/32"}]);
    fails("CHECK", &plugin.ask("CHECK", &other, "")?, 102, "192.0.2.1")?;
    let unknown = Attachment { container: "somebody".to_owned(), ..pod.clone() };
    fails("CHECK", &plugin.ask("CHECK", &unknown, "")?, 3, "somebody")?;
    fails(
        "CHECK",
        &plugin.ask("CHECK", &pod, &format!("ip link del {host}"))?,
        102,
        &format!("no interface {host}"),
    )?;
    // Nobody mends that; the pod has to go.
    cx.kubectl(&["delete", "pod", "broken"])?;
    Ok(())
}

/// Attaches containers that the runtime then knows nothing of, with and without a record of their pods.
fn collect(cx: &Context) -> Result<()> {
    let plugin = Plugin::of(&cx.cluster, 1)?;
    // The kubelet would start them.
    cx.cluster.sh(1, "kill -STOP $(pgrep -x kubelet)")?;
    let lost = ["lost", "forgotten"].map(|name| attach_by_hand(cx, &plugin, name));
    cx.kubectl(&["delete", "pod", "lost", "--grace-period=0", "--force"])?;
    for attached in lost {
        attached?;
    }
    let found = leaks::find(&cx.cluster)?;
    for word in ["address", "handle", "interface"] {
        ensure!(
            found.iter().any(|leak| leak.contains(word) && leak.contains("lost")),
            "what was attached by hand is not seen to leak: {found:?}"
        );
    }
    fails("GC without a list", &plugin.collect(None)?, 7, "valid-attachments")?;
    let valid = plugin.attachments()?;
    ensure!(valid.len() == 1, "the runtime knows {valid:?}, and should know one pod");
    succeeds("GC", &plugin.collect(Some(&valid))?)?;
    let found = leaks::find(&cx.cluster)?;
    let only_forgotten = found.iter().all(|leak| leak.contains("/forgotten has"));
    ensure!(only_forgotten, "GC leaves more than a pod without a network: {found:?}");
    succeeds("CHECK", &plugin.ask("CHECK", &plugin.attachment("steady")?, "")?)?;
    cx.kubectl(&["delete", "pod", "forgotten", "--grace-period=0", "--force"])?;
    cx.cluster.sh(1, "kill -CONT $(pgrep -x kubelet); ip netns del lost; ip netns del forgotten")?;
    leaks::none(&cx.cluster)
}

fn attach_by_hand(cx: &Context, plugin: &Plugin<'_>, name: &str) -> Result<()> {
    cx.pod(name).on(1).create()?;
    let container = format!("{name}0000");
    let about = Attachment {
        container,
        netns: format!("/run/netns/{name}"),
        arguments: format!("K8S_POD_NAMESPACE={};K8S_POD_NAME={name}", cx.namespace),
        result: Value::Null,
    };
    succeeds("ADD", &plugin.ask("ADD", &about, &format!("ip netns add {name}"))?)
}

fn status(cx: &Context) -> Result<()> {
    let plugin = Plugin::of(&cx.cluster, 1)?;
    succeeds("STATUS", &plugin.status()?)?;
    cx.cluster.fault("kill-agent 1")?;
    fails("STATUS without an agent", &plugin.status()?, 50, "agent is not running")?;
    cx.cluster.fault("restart-agent 1")?;
    let in_sync = || {
        wait::until_true("an agent in sync", wait::seconds(60), || {
            Ok(matches!(plugin.status()?, Answer::Done(_)))
        })
    };
    in_sync()?;
    // An agent that cannot read the datastore is not in sync, and its ADDs would fail.
    let cut = "port=$(grep -o 'https://[^\"]*' $KUBECONFIG | grep -o '[0-9]*$'); [ -n \"$port\" ] && nft add table inet trial && \
               nft 'add chain inet trial out { type filter hook output priority -300; }' && \
               nft add rule inet trial out tcp dport $port drop";
    cx.cluster.sh(1, cut)?;
    wait::until_true("an agent without a datastore to say so", wait::seconds(60), || {
        Ok(matches!(plugin.status()?, Answer::Failed(50, words) if words.contains("datastore")))
    })?;
    // One that starts without a datastore is there all the same, and says what it lacks.
    cx.cluster.fault("restart-agent 1")?;
    wait::until_true("an agent that starts without a datastore to say so", wait::seconds(60), || {
        Ok(matches!(plugin.status()?, Answer::Failed(50, words) if words.contains("no datastore yet")))
    })?;
    let gone = Attachment {
        container: "gone".to_owned(),
        netns: String::new(),
        arguments: format!("K8S_POD_NAMESPACE={};K8S_POD_NAME=gone", cx.namespace),
        result: Value::Null,
    };
    fails(
        "ADD",
        &plugin.ask("ADD", &Attachment { netns: "/proc/self/ns/net".to_owned(), ..gone.clone() }, "")?,
        11,
        "no datastore yet",
    )?;
    succeeds("DEL", &plugin.ask("DEL", &gone, "")?)?;
    cx.cluster.sh(1, "nft delete table inet trial")?;
    in_sync()
}

fn succeeds(what: &str, answer: &Answer) -> Result<()> {
    match answer {
        Answer::Done(_) => Ok(()),
        Answer::Failed(code, words) => bail!("{what} fails with {code}: {words}"),
    }
}

fn fails(what: &str, answer: &Answer, code: u64, word: &str) -> Result<()> {
    match answer {
        Answer::Failed(is, words) if *is == code && words.contains(word) => Ok(()),
        Answer::Failed(is, words) => {
            bail!("{what} fails with {is}, not {code}, or does not say {word:?}: {words}")
        }
        Answer::Done(_) => bail!("{what} succeeds, and should fail with {code} and say {word:?}"),
    }
}
