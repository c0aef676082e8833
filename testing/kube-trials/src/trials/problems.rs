//! Everything that users get wrong, one after the other on a cluster where pods talk: each is named in the log, in the node's
//! status and in its condition, nothing that worked stops, and with its cause each is over.

use super::removal::installed::{Backend, Manifest, import};
use crate::cluster::output;
use crate::pods::{Pod, create_all, events, start_all};
use crate::probe::Probe;
use crate::{Context, Shape, Trial, wait};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use std::time::Duration;

/// A cluster of its own: the product's definitions and rights are changed.
const SHAPE: Shape = Shape { cni: "none", flags: &["--bare"], own: true, ..Shape::FULL };

pub(crate) const MISTAKES: Trial = Trial {
    name: "problems",
    about: "overlapping pools, CNI directory, rights, definitions: found, named, and nothing stops",
    shape: SHAPE,
    run: |cx| {
        let parts: [(&str, Part); 4] = [
            ("pools that overlap", pools),
            ("the CNI directory", directory),
            ("older and missing definitions", definitions),
            ("missing rights", rights),
        ];
        run(cx, &parts)
    },
};

pub(crate) const AWAY: Trial = Trial {
    name: "problems-server-away",
    about: "a node that does not reach the API server, by refusal and by silence: pods talk, and everybody is told",
    shape: SHAPE,
    run: |cx| run(cx, &[("the API server away", away)]),
};

/// Breaks something, looks, and mends it.
type Part = fn(&Context, &Manifest, &[Pod]) -> Result<()>;

/// How long finding may take: rights and definitions are looked at every minute.
const PATIENCE: Duration = wait::seconds(100);

/// Where an agent of the DaemonSet listens.
const SOCKET: &str = "/var/run/calico/agent.sock";

fn run(cx: &Context, parts: &[(&str, Part)]) -> Result<()> {
    import(cx)?;
    let manifest = Manifest::write(cx, "tortie.yaml", Backend::Vxlan)?;
    manifest.apply(cx).context("install")?;
    let specs = [
        cx.pod("server").server().on(1),
        cx.pod("guarded").server().on(1),
        cx.pod("near").on(1),
        cx.pod("far").on(2),
    ];
    let pods = start_all(cx, &specs)?;
    let [server, guarded, near, far] = pods.as_slice() else { bail!("four pods were started") };
    cx.cluster.apply(&json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "guard", "namespace": cx.namespace},
        "spec": {"podSelector": {"matchLabels": {"name": "guarded"}}, "policyTypes": ["Ingress"]},
    }))?;
    wait::until_true("the policy to hold", wait::seconds(30), || Ok(far.must_reach(guarded, false).is_ok()))?;
    wait::until_true("pods to talk", wait::seconds(30), || {
        far.must_reach(server, true)?;
        Ok(true)
    })?;
    clean(cx, 1).context("before anything is wrong")?;
    clean(cx, 2).context("before anything is wrong")?;

    let mut steady = Steady { probes: Vec::new(), forbidden: Vec::new() };
    steady.probes.extend(Probe::all(near, server)?);
    steady.probes.extend(Probe::all(far, server)?);
    for address in guarded.addresses() {
        steady.forbidden.push(Probe::connect(far, address)?);
    }
    for (title, part) in parts {
        cx.say(title);
        part(cx, &manifest, &pods).with_context(|| (*title).to_owned())?;
        steady.holds().with_context(|| format!("during {title}"))?;
        clean(cx, 1).with_context(|| format!("after {title}"))?;
        clean(cx, 2).with_context(|| format!("after {title}"))?;
    }
    steady.holds()
}

/// What must go on whatever is wrong.
struct Steady {
    probes: Vec<Probe>,
    forbidden: Vec<Probe>,
}

impl Steady {
    fn holds(&self) -> Result<()> {
        for probe in &self.probes {
            probe.wait_for_more(3)?;
            if let Some(failed) = probe.attempts().iter().find(|a| a.failure.is_some()) {
                bail!("{probe:?} failed at {} ms: {:?}", failed.at, failed.failure);
            }
        }
        for probe in &self.forbidden {
            probe.wait_for_more(2)?;
            ensure!(
                probe.attempts().iter().all(|a| a.failure.is_some()),
                "what policy forbids went through: {probe:?}"
            );
        }
        Ok(())
    }
}

/// The status of a node's agent, as its command prints it, with the exit status.
fn status(cx: &Context, node: usize, format: &str) -> Result<(String, i32)> {
    let program = cx.cluster.lab_command(&[]).get_program().to_string_lossy().into_owned();
    let script = format!("{program} node status --socket {SOCKET} -o {format}");
    let name = cx.cluster.node_name(node);
    let command = cx.cluster.lab_command(&["exec", &name, "--", "sh", "-c", &script]);
    let out = output(&script, command, None)?;
    Ok((String::from_utf8_lossy(&out.stdout).into_owned(), out.status.code().unwrap_or(-1)))
}

/// The names of a node's problems that are more than notes, with what they are about.
fn problems(cx: &Context, node: usize) -> Result<Vec<(String, String)>> {
    let (text, _) = status(cx, node, "json")?;
    let status: Value = serde_json::from_str(&text).with_context(|| format!("no status: {text}"))?;
    let of = |p: &Value, field: &str| p.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let listed = status.get("problems").and_then(Value::as_array).context("the status has no problems")?;
    let warnings = listed.iter().filter(|p| of(p, "severity") == "warning");
    Ok(warnings.map(|p| (of(p, "name"), of(p, "object"))).collect())
}

fn condition(cx: &Context, node: usize, kind: &str) -> Result<Value> {
    let node = cx.cluster.get(&["node", &cx.cluster.node_name(node)])?.context("there is no such node")?;
    let conditions =
        node.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|c| c.get("type").and_then(Value::as_str) == Some(kind));
    found.with_context(|| format!("the node has no condition {kind}"))
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The log of a node's agent.
fn log(cx: &Context, node: usize) -> Result<String> {
    let name = cx.cluster.node_name(node);
    let selector = format!("spec.nodeName={name}");
    let pods = cx.cluster.list(&[
        "pods",
        "-n",
        "calico-system",
        "-l",
        "k8s-app=calico-node",
        "--field-selector",
        &selector,
    ])?;
    let pod = pods.first().and_then(|p| p.pointer("/metadata/name")?.as_str()).context("no agent")?;
    cx.cluster.kubectl(&["-n", "calico-system", "logs", pod, "-c", "calico-node"])
}

/// Waits until a problem is told everywhere.
fn found(cx: &Context, node: usize, name: &str, object: &str) -> Result<()> {
    wait::until_true(&format!("{name} of {object} in the status"), PATIENCE, || {
        let all = problems(cx, node)?;
        ensure!(all.iter().any(|(n, o)| n == name && o.contains(object)), "there are {all:?}");
        Ok(true)
    })?;
    let (shown, exit) = status(cx, node, "table")?;
    ensure!(shown.contains("PROBLEMS") && shown.contains(name) && exit != 0, "exit {exit}: {shown}");
    wait::until_true(&format!("{name} in the log"), wait::seconds(10), || {
        let log = log(cx, node)?;
        let told =
            log.lines().find(|line| line.contains("problem: ") && line.contains(name)).map(str::to_owned);
        ensure!(told.is_some(), "the log does not name it");
        Ok(true)
    })?;
    wait::until_true(&format!("{name} in the condition"), wait::seconds(20), || {
        let degraded = condition(cx, node, "NetworkDegraded")?;
        ensure!(
            text(&degraded, "status") == "True" && text(&degraded, "reason").contains(name),
            "{degraded}"
        );
        ensure!(text(&degraded, "message").contains(object), "{degraded}");
        Ok(true)
    })?;
    available(cx, node)
}

/// The node may have pods.
fn available(cx: &Context, node: usize) -> Result<()> {
    let network = condition(cx, node, "NetworkUnavailable")?;
    ensure!(text(&network, "status") == "False", "{network}");
    let ready = condition(cx, node, "Ready")?;
    ensure!(text(&ready, "status") == "True", "{ready}");
    Ok(())
}

fn gone(cx: &Context, node: usize, name: &str) -> Result<()> {
    wait::until_true(&format!("{name} to be over"), PATIENCE, || {
        let all = problems(cx, node)?;
        ensure!(all.iter().all(|(n, _)| n != name), "there are {all:?}");
        Ok(true)
    })?;
    let over = log(cx, node)?.lines().any(|line| line.contains("problem is over") && line.contains(name));
    ensure!(over, "the log does not say that {name} is over");
    Ok(())
}

/// Nothing is wrong, and everybody says so.
fn clean(cx: &Context, node: usize) -> Result<()> {
    wait::until_true(&format!("nothing to be wrong with node{node}"), PATIENCE, || {
        let all = problems(cx, node)?;
        ensure!(all.is_empty(), "there are {all:?}");
        let (shown, exit) = status(cx, node, "table")?;
        ensure!(exit == 0 && !shown.contains("PROBLEMS"), "exit {exit}: {shown}");
        let degraded = condition(cx, node, "NetworkDegraded")?;
        ensure!(
            text(&degraded, "status") == "False" && text(&degraded, "reason") == "NoProblems",
            "{degraded}"
        );
        Ok(true)
    })?;
    available(cx, node)
}

fn pool(name: &str, cidr: &str) -> Value {
    json!({
        "apiVersion": "projectcalico.org/v3",
        "kind": "IPPool",
        "metadata": {"name": name},
        "spec": {"cidr": cidr, "nodeSelector": "all()", "natOutgoing": true, "assignmentMode": "Automatic"},
    })
}

/// Pools over the Services' and the nodes' networks, in both families; and one of which a part is free.
fn pools(cx: &Context, _: &Manifest, pods: &[Pod]) -> Result<()> {
    let node = cx.cluster.get(&["node", "node1"])?.context("no node")?;
    let annotation = |name: &str| -> Result<String> {
        let pointer = format!("/metadata/annotations/projectcalico.org~1{name}");
        Ok(node.pointer(&pointer).and_then(Value::as_str).with_context(|| format!("no {name}"))?.to_owned())
    };
    let services = ["10.96.0.0/16", "fd00:96::/112"];
    let nodes = [annotation("IPv4Address")?, annotation("IPv6Address")?];
    let mut made = Vec::new();
    for (family, cidr) in services.iter().enumerate() {
        made.push((format!("services-{family}"), (*cidr).to_owned(), "PoolOverlapsServices"));
    }
    for (family, address) in nodes.iter().enumerate() {
        made.push((format!("nodes-{family}"), address.clone(), "PoolOverlapsNodes"));
    }
    cx.cluster.apply(&made.iter().map(|(name, cidr, _)| pool(name, &network(cidr))).collect())?;
    for (name, _, problem) in &made {
        found(cx, 1, problem, name)?;
    }
    // A pod that asks for these pools gets no address; others go on as before.
    create_all(
        cx,
        &[cx.pod("astray")
            .on(1)
            .with("/metadata/annotations", json!({"cni.projectcalico.org/ipv4pools": "[\"services-0\"]"}))],
    )?;
    let told = wait::until("an event of the pod without an address", wait::seconds(40), || {
        Ok(events(cx, "astray")?.into_iter().find(|m| m.contains("no free address")))
    })?;
    ensure!(told.contains("services-0"), "{told}");
    let more = cx.pod("more").server().on(1).start()?;
    for pod in pods.iter().filter(|p| p.name != "guarded" && p.name != "server") {
        pod.must_reach(&more, true)?;
    }
    for ip in &more.ips {
        let inside = ["10.244.", "fd00:244:"].iter().any(|begin| ip.to_string().starts_with(begin));
        ensure!(inside, "{ip} is of no pool of before");
    }
    let blocks = cx.cluster.kubectl(&["get", "ipamblocks.projectcalico.org", "-o", "name"])?;
    ensure!(
        !blocks.contains("10-96-") && !blocks.contains("fd00-96"),
        "a block of Services' addresses: {blocks}"
    );
    cx.kubectl(&["delete", "pod", "astray", "more", "--wait=false"])?;
    for (name, _, _) in &made {
        cx.cluster.kubectl(&["delete", "ippools.projectcalico.org", name])?;
    }
    for problem in ["PoolOverlapsServices", "PoolOverlapsNodes"] {
        gone(cx, 1, problem)?;
    }
    Ok(())
}

/// The network of an address with its length, for lengths of whole hextets or bytes.
fn network(address: &str) -> String {
    let Some((ip, len)) = address.split_once('/') else { return address.to_owned() };
    match ip.parse() {
        Ok(std::net::IpAddr::V4(ip)) => {
            let bits: u32 = len.parse().unwrap_or(32);
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            format!("{}/{len}", std::net::Ipv4Addr::from(u32::from(ip) & mask))
        }
        Ok(std::net::IpAddr::V6(ip)) => {
            let bits: u32 = len.parse().unwrap_or(128);
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            format!("{}/{len}", std::net::Ipv6Addr::from(u128::from(ip) & mask))
        }
        Err(_) => address.to_owned(),
    }
}

/// Another network before ours, ours gone, a plugin gone.
fn directory(cx: &Context, _: &Manifest, _: &[Pod]) -> Result<()> {
    let other = r#"{"cniVersion":"1.0.0","name":"other","type":"bridge","ipam":{"type":"host-local"}}"#;
    // Not there long enough for the runtime to give it to a pod.
    cx.cluster.sh(1, &format!("printf %s '{other}' > /etc/cni/net.d/05-other.conf"))?;
    found(cx, 1, "CniConfigurationShadowed", "05-other.conf")?;
    cx.cluster.sh(1, "rm /etc/cni/net.d/05-other.conf; mv /etc/cni/net.d/10-calico.conflist /opt/cni/bin/calico.conflist.away")?;
    gone(cx, 1, "CniConfigurationShadowed")?;
    wait::until_true("the missing configuration to be told", PATIENCE, || {
        Ok(problems(cx, 1)?.iter().any(|(name, _)| name == "CniConfigurationMissing"))
    })?;
    cx.cluster.sh(1, "mv /opt/cni/bin/calico.conflist.away /etc/cni/net.d/10-calico.conflist; mv /opt/cni/bin/portmap /opt/cni/bin/portmap.away")?;
    gone(cx, 1, "CniConfigurationMissing")?;
    wait::until_true("the node to be Ready again", PATIENCE, || {
        Ok(text(&condition(cx, 1, "Ready")?, "status") == "True")
    })?;
    found(cx, 1, "CniPluginMissing", "portmap")?;
    cx.cluster.sh(1, "mv /opt/cni/bin/portmap.away /opt/cni/bin/portmap")?;
    gone(cx, 1, "CniPluginMissing")
}

/// A definition without a field, and one that is not there; applying the manifest mends both.
fn definitions(cx: &Context, manifest: &Manifest, _: &[Pod]) -> Result<()> {
    let field = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/assignmentMode";
    let patch = json!([{"op": "remove", "path": field}]).to_string();
    cx.cluster.kubectl(&["patch", "crd", "ippools.projectcalico.org", "--type=json", "-p", &patch])?;
    cx.cluster.kubectl(&["delete", "crd", "bgpfilters.projectcalico.org"])?;
    found(cx, 1, "DefinitionOutdated", "ippools.projectcalico.org")?;
    found(cx, 1, "DefinitionMissing", "bgpfilters.projectcalico.org")?;
    let more = cx.pod("with-older").on(1).start()?;
    more.delete()?;
    manifest.apply(cx).context("apply again")?;
    gone(cx, 1, "DefinitionOutdated")?;
    gone(cx, 1, "DefinitionMissing")
}

/// Without the right to read network sets, and with an agent that starts so; then all is permitted again.
fn rights(cx: &Context, _: &Manifest, pods: &[Pod]) -> Result<()> {
    let role = cx.cluster.get(&["clusterrole", "calico-node"])?.context("there is no role")?;
    let mut narrow = json!({"apiVersion": role["apiVersion"], "kind": "ClusterRole", "metadata": {"name": "calico-node"}, "rules": role["rules"]});
    let whole = narrow.clone();
    for rule in narrow["rules"].as_array_mut().context("no rules")? {
        if let Some(resources) = rule["resources"].as_array_mut() {
            resources.retain(|r| r != "networksets" && r != "servicecidrs");
        }
    }
    let rules: Vec<Value> = narrow["rules"]
        .as_array()
        .context("no rules")?
        .iter()
        .filter(|r| r["resources"] != json!([]))
        .cloned()
        .collect();
    narrow["rules"] = rules.into();
    cx.cluster.apply(&narrow)?;
    found(cx, 1, "PermissionMissing", "networksets of projectcalico.org")?;
    found(cx, 1, "PermissionMissing", "servicecidrs of networking.k8s.io")?;
    // What may be read is still followed.
    let more = cx.pod("seen").server().on(1).start()?;
    let near = pods.iter().find(|p| p.name == "near").context("no pod near")?;
    near.must_reach(&more, true)?;
    more.delete()?;

    // An agent that starts now knows nothing of network sets, and must not guess.
    cx.cluster.kubectl(&[
        "-n",
        "calico-system",
        "delete",
        "pods",
        "-l",
        "k8s-app=calico-node",
        "--field-selector",
        "spec.nodeName=node1",
    ])?;
    wait::until_true("the new agent to say why it is not ready", PATIENCE, || {
        let (shown, exit) = status(cx, 1, "table")?;
        ensure!(exit == 1 && shown.contains("may not be read: networksets"), "exit {exit}: {shown}");
        ensure!(shown.contains("PermissionMissing"), "{shown}");
        Ok(true)
    })?;
    create_all(cx, &[cx.pod("patient").on(1)])?;
    let told = wait::until("an event of the pod that waits", wait::seconds(60), || {
        Ok(events(cx, "patient")?.into_iter().find(|m| m.contains("may not be read")))
    })?;
    ensure!(told.contains("networksets"), "{told}");
    cx.cluster.apply(&whole)?;
    Manifest::rolled_out(cx)?;
    Pod::ready(cx, "patient")?.delete()?;
    gone(cx, 1, "PermissionMissing")
}

/// The first node cannot reach the API server for a while: without any answer first, then refused.
fn away(cx: &Context, _: &Manifest, pods: &[Pod]) -> Result<()> {
    let near = pods.iter().find(|p| p.name == "near").context("no pod near")?;
    let server = pods.iter().find(|p| p.name == "server").context("no server")?;
    for verdict in ["drop", "reject with tcp reset"] {
        let chain = "nft add table inet trial; nft add chain inet trial out '{ type filter hook output priority -300; }'";
        cx.cluster
            .sh(1, &format!("{chain}; nft add rule inet trial out 'tcp dport {{443, 6443}} {verdict}'"))?;
        wait::until_true("the absence to be told", PATIENCE, || {
            let all = problems(cx, 1)?;
            ensure!(all.iter().any(|(name, _)| name == "DatastoreUnreachable"), "there are {all:?}");
            Ok(true)
        })?;
        let (shown, exit) = status(cx, 1, "table")?;
        cx.say(&format!("{verdict}: exit {exit}\n{shown}"));
        ensure!(exit == 1 && shown.contains("DatastoreUnreachable"), "exit {exit}: {shown}");
        near.must_reach(server, true)?;
        cx.cluster.sh(1, "nft delete table inet trial")?;
        gone(cx, 1, "DatastoreUnreachable")?;
    }
    wait::until_true("the node to be Ready again", PATIENCE, || {
        Ok(text(&condition(cx, 1, "Ready")?, "status") == "True")
    })?;
    let after = cx.pod("after").on(1).start()?;
    after.delete()
}
