//! What Calico's agent left in the kernel of a real node, beside kube-proxy's rules: it filters until our agent has started, and
//! goes then. Pods that run notice nothing, and new ones are not in its way.

use crate::pods::start_all;
use crate::{Context, Shape, Trial, probe::Probe, wait};
use anyhow::{Result, ensure};
use serde_json::json;

pub(crate) const TRIAL: Trial = Trial {
    name: "takeover",
    about: "rules of Calico's agent stay until ours are in force, and go then; pods notice nothing, kube-proxy's rules stay",
    shape: Shape { own: true, ..Shape::FULL },
    run,
};

/// Lets the pods that there are talk, except to `shut`, and drops what comes from or goes to an interface that it does not know.
const FELIX: &str = r#"
for program in iptables-nft ip6tables-nft; do
  {
    echo '*filter'
    for chain in FORWARD from-wl-dispatch to-wl-dispatch fw-any tw-open tw-shut; do echo ":cali-$chain - [0:0]"; done
    echo '-I FORWARD -m comment --comment cali:wUHhoiAYhphO9Mso -j cali-FORWARD'
    echo '-A cali-FORWARD -i cali+ -m comment --comment cali:8ZoYfO5HKXWbB3pk -j cali-from-wl-dispatch'
    echo '-A cali-FORWARD -o cali+ -m comment --comment cali:jdEuaPBe14V2hutn -j cali-to-wl-dispatch'
    for link in $(ip -o link | grep -o ' cali[0-9a-f]*'); do
      echo "-A cali-from-wl-dispatch -i $link -m comment --comment cali:XtX8stsWYqjuXQpH -g cali-fw-any"
      if [ "$link" = SHUT ]; then to=shut; else to=open; fi
      echo "-A cali-to-wl-dispatch -o $link -m comment --comment cali:7s0ZkZBkuKRBt7DW -g cali-tw-$to"
    done
    for way in from to; do echo "-A cali-$way-wl-dispatch -m comment --comment cali:zTj6P0TIgYvgz-md -j DROP"; done
    echo '-A cali-tw-shut -m comment --comment cali:1AbCdEfGhIjKlMnO -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN'
    echo '-A cali-tw-shut -m comment --comment cali:2AbCdEfGhIjKlMnO -j DROP'
    echo COMMIT
  } | $program-restore --noflush
done
nft delete table inet calico
"#;

fn run(cx: &mut Context) -> Result<()> {
    cx.cluster.apply(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "shut", "namespace": cx.namespace},
        "spec": {"podSelector": {"matchLabels": {"name": "shut"}}, "policyTypes": ["Ingress"]},
    }))?;
    let pods = start_all(
        cx,
        &[
            cx.pod("server").server().on(1),
            cx.pod("shut").server().on(1),
            cx.pod("near").on(1),
            cx.pod("far").on(2),
        ],
    )?;
    let [server, shut, near, far] = pods.as_slice() else { unreachable!("four pods were started") };
    let mut probes = Probe::all(near, server)?;
    probes.extend(Probe::all(far, server)?);
    let mut refused = Vec::new();
    for to in shut.addresses() {
        wait::until_true("the policy to be in force", wait::seconds(20), || Ok(!far.reaches(to)?))?;
        refused.push(Probe::connect(far, to)?);
        refused.push(Probe::connect(near, to)?);
    }

    // As if ours had never been here, and Calico's had just ended.
    cx.cluster.fault("kill-agent 1")?;
    let find = format!("ip -o link | grep 'alias {}/shut ' | grep -o ' cali[0-9a-f]*'", cx.namespace);
    let link = cx.cluster.sh(1, &find)?.trim().to_owned();
    ensure!(link.starts_with("cali"), "the interface of a pod is {link:?}");
    cx.cluster.sh(1, &FELIX.replace("SHUT", &link))?;
    let others = others(cx)?;
    ensure!(others.iter().any(|line| line.contains("kube")), "kube-proxy has no rules: {others:?}");
    for probe in probes.iter().chain(&refused) {
        probe.wait_for_more(5)?;
    }
    cx.cluster.fault("restart-agent 1")?;
    wait::until_true("what Calico left to be gone", wait::seconds(30), || {
        let rules = cx.cluster.sh(1, "iptables-nft-save; ip6tables-nft-save")?;
        Ok(!rules.contains("cali"))
    })?;
    ensure!(cx.cluster.sh(1, "nft list table inet calico")?.contains(&link), "our policy is not in force");
    for probe in probes.iter().chain(&refused) {
        probe.wait_for_more(5)?;
    }

    // The old rules would have dropped its packets.
    let new = cx.pod("new").server().on(1).start()?;
    for to in new.addresses() {
        ensure!(far.reaches(to)?, "a new pod is not reached at {to}");
    }
    server.must_reach(&new, true)?;
    ensure!(others == self::others(cx)?, "rules of others have changed");
    for probe in refused {
        let attempts = probe.stop();
        ensure!(
            attempts.iter().all(|a| a.failure.is_some()),
            "a forbidden connection came about: {attempts:?}"
        );
    }
    for probe in probes {
        probe.must_not_fail()?;
    }
    Ok(())
}

/// The tables and chains of nftables that are neither Calico's nor ours.
fn others(cx: &Context) -> Result<Vec<String>> {
    let chains = cx.cluster.sh(1, "nft -t list ruleset | grep -E '^table|^\tchain'")?;
    let is_others = |line: &&str| !line.contains("cali");
    // Chains of single Services come and go with their endpoints.
    let stays =
        |line: &&str| line.starts_with("table ip kube-proxy") || line.starts_with("table ip6 kube-proxy");
    Ok(chains.lines().filter(is_others).filter(stays).map(str::to_owned).collect())
}
