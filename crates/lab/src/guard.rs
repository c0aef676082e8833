//! A fabric that knows no pods: segments drop what one pod sends to another without a tunnel, and count both kinds.

use crate::fabric::Fabric;
use anyhow::{Context as _, bail};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use tortie_kernel_net::NetNs;
use tortie_net::{Cidr, Family};

/// Has all segments drop packets between addresses of these pools. Blocks.
pub(crate) fn forbid_pods(fabric: &Fabric, pools: &[Cidr]) -> anyhow::Result<()> {
    let script = script(pools);
    for (name, netns) in fabric.segments() {
        load(netns, &script).with_context(|| format!("cannot have {name} drop pods' packets"))?;
    }
    Ok(())
}

/// Where every packet between nodes passes: the bridge of a segment.
fn script(pools: &[Cidr]) -> String {
    let mut rules = String::new();
    for (family, word) in [(Family::V4, "ip"), (Family::V6, "ip6")] {
        let own: Vec<String> =
            pools.iter().filter(|p| p.family() == family).map(ToString::to_string).collect();
        if !own.is_empty() {
            let set = format!("{{ {} }}", own.join(", "));
            let _ = writeln!(rules, "    {word} saddr {set} {word} daddr {set} counter name {family} drop");
        }
    }
    // A table that is not there cannot be deleted; adding it first makes both cases one.
    format!(
        "add table bridge lab\ndelete table bridge lab\ntable bridge lab {{\n  counter ipv4 {{ }}\n  counter ipv6 {{ }}\n  \
         counter vxlan {{ }}\n  chain forward {{\n    type filter hook forward priority 0; policy accept;\n{rules}    \
         udp dport 4789 counter name vxlan\n  }}\n}}\n"
    )
}

fn load(netns: &NetNs, script: &str) -> anyhow::Result<()> {
    let output = netns.run(|| {
        let mut nft = Command::new("nft")
            .args(["-f", "-"])
            .env("PATH", crate::process::PATH)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = nft.stdin.take() {
            // If it does not read, its status says why.
            let _ = stdin.write_all(script.as_bytes());
        }
        nft.wait_with_output()
    })?;
    let output = output.context("is the package nftables installed?")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_families_with_pools_have_a_rule() {
        let pools: Vec<Cidr> = ["10.65.0.0/16", "10.66.0.0/16"].iter().map(|p| p.parse().unwrap()).collect();
        let script = script(&pools);
        let set = "{ 10.65.0.0/16, 10.66.0.0/16 }";
        assert!(
            script.contains(&format!("ip saddr {set} ip daddr {set} counter name ipv4 drop")),
            "{script}"
        );
        assert!(!script.contains("ip6 saddr"), "{script}");
    }
}
