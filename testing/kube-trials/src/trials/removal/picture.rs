//! What is on a node: of the network, and of files where networks put theirs.

use crate::Cluster;
use anyhow::Result;
use std::collections::BTreeSet;

/// Everything that an installation may leave, a line each. kube-proxy and kubelet make their tables in their own time.
const SCRIPT: &str = r#"
    for family in -4 -6; do
        ip $family rule show | sed "s/^/rule $family /"
        ip $family route show table main | grep -v -E 'proto (kernel|ra)' | sed "s/^/route $family /; s/ *$//"
    done
    ip -o link show | cut -d: -f2 | sed 's/@.*//; s/^ */link /'
    nft list tables | grep -v -E 'kube-proxy|^table ip6? (filter|nat|mangle)$' | sed 's/^/nft /'
    for directory in /etc/cni/net.d /opt/cni/bin /var/lib/calico /run/calico /var/log/calico; do
        find $directory 2>/dev/null | sed 's/^/file /'
    done
"#;

/// Chained plugins of the CNI project, which other networks may use by now.
const PLUGINS: [&str; 2] = ["file /opt/cni/bin/portmap", "file /opt/cni/bin/bandwidth"];

/// A node at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Picture(BTreeSet<String>);

impl Picture {
    pub(super) fn take(cluster: &Cluster, node: usize) -> Result<Self> {
        let text = cluster.sh(node, SCRIPT)?;
        let lines = text.lines().map(|line| line.trim_end().to_owned());
        Ok(Self(lines.filter(|line| !PLUGINS.contains(&line.as_str())).collect()))
    }

    /// What differs, `+` for what was not there before.
    pub(super) fn since(&self, before: &Self) -> Vec<String> {
        let more = self.0.difference(&before.0).map(|line| format!("+{line}"));
        let less = before.0.difference(&self.0).map(|line| format!("-{line}"));
        more.chain(less).collect()
    }
}
