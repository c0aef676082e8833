//! The columns of every kind: what `get` shows as a table.

use serde_json::Value;
use tortie_api::v3::ResourceType;

/// Longest text of a list in a cell.
const TRUNCATE: usize = 80;

/// Columns of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns {
    kind: &'static str,
    /// Usual columns.
    pub narrow: &'static [&'static str],
    /// Columns of `-o wide`.
    pub wide: &'static [&'static str],
    /// Columns that must be asked for.
    pub other: &'static [&'static str],
}

const fn same(kind: &'static str, narrow: &'static [&'static str]) -> Columns {
    Columns { kind, narrow, wide: narrow, other: &[] }
}

const fn both(kind: &'static str, narrow: &'static [&'static str], wide: &'static [&'static str]) -> Columns {
    Columns { kind, narrow, wide, other: &[] }
}

const POLICY: &[&str] = &["NAME", "TIER"];
const POLICY_WIDE: &[&str] = &["NAME", "TIER", "ORDER", "SELECTOR"];
const NAME: &[&str] = &["NAME"];

const TABLE: &[Columns] = &[
    same("BGPConfiguration", &["NAME", "LOGSEVERITY", "MESHENABLED", "ASNUMBER"]),
    same("BGPFilter", &["NAME", "NUMEXPORTV4", "NUMIMPORTV4", "NUMEXPORTV6", "NUMIMPORTV6"]),
    same("BGPPeer", &["NAME", "PEERIP", "NODE", "ASN"]),
    both("CalicoNodeStatus", &["NAME", "NODE"], &["NAME", "NODE", "CLASSES"]),
    same("ClusterInformation", &["NAME", "CLUSTERGUID", "CLUSTERTYPE", "CALICOVERSION", "DATASTOREREADY"]),
    same("FelixConfiguration", NAME),
    both("GlobalNetworkPolicy", POLICY, POLICY_WIDE),
    both("GlobalNetworkSet", NAME, &["NAME", "NETS"]),
    both("HostEndpoint", &["NAME", "NODE"], &["NAME", "NODE", "INTERFACE", "IPS", "PROFILES"]),
    both(
        "IPAMConfiguration",
        &["NAME", "STRICTAFFINITY", "AUTOALLOCATEBLOCKS"],
        &["NAME", "STRICTAFFINITY", "AUTOALLOCATEBLOCKS", "MAXBLOCKSPERHOST"],
    ),
    both(
        "IPPool",
        &["NAME", "CIDR", "SELECTOR"],
        &[
            "NAME",
            "CIDR",
            "NAT",
            "IPIPMODE",
            "VXLANMODE",
            "DISABLED",
            "DISABLEBGPEXPORT",
            "SELECTOR",
            "ASSIGNMENTMODE",
        ],
    ),
    both("IPReservation", NAME, &["NAME", "CIDRS"]),
    same("KubeControllersConfiguration", NAME),
    both("NetworkPolicy", POLICY, POLICY_WIDE),
    both("NetworkSet", NAME, &["NAME", "NETS"]),
    both("Node", NAME, &["NAME", "ASN", "IPV4", "IPV6"]),
    both("Profile", NAME, &["NAME", "LABELS"]),
    both("StagedGlobalNetworkPolicy", POLICY, POLICY_WIDE),
    both("StagedKubernetesNetworkPolicy", NAME, &["NAME", "PODSELECTOR"]),
    both("StagedNetworkPolicy", POLICY, POLICY_WIDE),
    same("Tier", &["NAME", "ORDER"]),
    Columns {
        kind: "WorkloadEndpoint",
        narrow: &["WORKLOAD", "NODE", "NETWORKS", "INTERFACE"],
        wide: &["NAME", "WORKLOAD", "NODE", "NETWORKS", "INTERFACE", "PROFILES", "NATS"],
        other: &["ORCHESTRATOR"],
    },
];

impl Columns {
    /// Columns of a kind; none if commands do not handle it.
    pub fn of(kind: &ResourceType) -> Option<&'static Self> {
        TABLE.iter().find(|columns| columns.kind == kind.kind)
    }

    /// Every column that can be asked for.
    pub fn all(&self, kind: &ResourceType) -> Vec<&'static str> {
        let mut all = self.wide.to_vec();
        let rest = self.narrow.iter().chain(self.other);
        rest.for_each(|column| {
            if !all.contains(column) {
                all.push(column);
            }
        });
        if kind.namespaced {
            all.push("NAMESPACE");
        }
        all
    }
}

/// The text of a cell. `as_number` is the cluster's own, for nodes that have none.
pub fn cell(kind: &str, heading: &str, object: &Value, as_number: &str) -> String {
    let spec = &object["spec"];
    let text = |field: &str| plain(&spec[field], "");
    match (kind, heading) {
        (_, "NAME") => plain(&object["metadata"]["name"], ""),
        (_, "NAMESPACE") => plain(&object["metadata"]["namespace"], ""),
        (_, "TIER") => text("tier"),
        // Orders are floats in Go.
        (_, "ORDER") => spec["order"].as_f64().map_or_else(|| "<nil>".to_owned(), go_float),
        ("IPPool", "SELECTOR") => text("nodeSelector"),
        (_, "SELECTOR") => text("selector"),
        (_, "NETS") => join(&spec["nets"], TRUNCATE),
        (_, "CIDRS") => join(&spec["reservedCIDRs"], TRUNCATE),
        (_, "LOGSEVERITY") => text("logSeverityScreen"),
        (_, "MESHENABLED") => plain(&spec["nodeToNodeMeshEnabled"], "-"),
        (_, "ASNUMBER") => plain(&spec["asNumber"], "-"),
        (_, "NUMEXPORTV4") => count(&spec["exportV4"]),
        (_, "NUMIMPORTV4") => count(&spec["importV4"]),
        (_, "NUMEXPORTV6") => count(&spec["exportV6"]),
        (_, "NUMIMPORTV6") => count(&spec["importV6"]),
        (_, "PEERIP") => text("peerIP"),
        ("BGPPeer", "NODE") => match (text("node"), text("nodeSelector")) {
            (node, _) if !node.is_empty() => node,
            (_, selector) if !selector.is_empty() => selector,
            _ => "(global)".to_owned(),
        },
        ("BGPPeer", "ASN") => plain(&spec["asNumber"], "0"),
        ("Node", "ASN") if spec["bgp"].is_object() => {
            plain(&spec["bgp"]["asNumber"], &format!("({as_number})"))
        }
        ("Node", "IPV4") => plain(&spec["bgp"]["ipv4Address"], ""),
        ("Node", "IPV6") => plain(&spec["bgp"]["ipv6Address"], ""),
        (_, "NODE") => text("node"),
        (_, "CLUSTERGUID") => text("clusterGUID"),
        (_, "CLUSTERTYPE") => text("clusterType"),
        (_, "CALICOVERSION") => text("calicoVersion"),
        (_, "DATASTOREREADY") => plain(&spec["datastoreReady"], "<nil>"),
        (_, "INTERFACE") => text("interfaceName"),
        (_, "IPS") => join(&spec["expectedIPs"], 0),
        (_, "PROFILES") => join(&spec["profiles"], 0),
        (_, "CLASSES") => join(&spec["classes"], 0),
        (_, "LABELS") => join(&spec["labelsToApply"], 0),
        (_, "STRICTAFFINITY") => plain(&spec["strictAffinity"], "false"),
        (_, "AUTOALLOCATEBLOCKS") => plain(&spec["autoAllocateBlocks"], "false"),
        (_, "MAXBLOCKSPERHOST") => plain(&spec["maxBlocksPerHost"], "0"),
        (_, "CIDR") => text("cidr"),
        (_, "NAT") => plain(&spec["natOutgoing"], "false"),
        (_, "IPIPMODE") => plain(&spec["ipipMode"], "Never"),
        (_, "VXLANMODE") => plain(&spec["vxlanMode"], "Never"),
        (_, "DISABLED") => plain(&spec["disabled"], "false"),
        (_, "DISABLEBGPEXPORT") => plain(&spec["disableBGPExport"], "false"),
        (_, "ASSIGNMENTMODE") => plain(&spec["assignmentMode"], "<nil>"),
        (_, "PODSELECTOR") => label_selector(&spec["podSelector"]),
        (_, "WORKLOAD") => match text("workload") {
            workload if !workload.is_empty() => workload,
            _ => text("pod"),
        },
        (_, "NETWORKS") => join(&spec["ipNetworks"], 0),
        (_, "NATS") => {
            let nats = spec["ipNATs"].as_array().map_or(&[][..], Vec::as_slice);
            let nat = |n: &Value| format!("{}->{}", plain(&n["externalIP"], ""), plain(&n["internalIP"], ""));
            nats.iter().map(nat).collect::<Vec<_>>().join(",")
        }
        (_, "ORCHESTRATOR") => text("orchestrator"),
        _ => String::new(),
    }
}

fn plain(value: &Value, missing: &str) -> String {
    if value.is_null() { missing.to_owned() } else { go_text(value) }
}

fn count(value: &Value) -> String {
    value.as_array().map_or(0, Vec::len).to_string()
}

/// A value as Go's `%v` prints it.
pub(crate) fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) if number.is_f64() => number.as_f64().map_or_else(String::new, go_float),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(go_text).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut entries: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", go_text(v))).collect();
            entries.sort();
            format!("map[{}]", entries.join(" "))
        }
    }
}

/// The shortest text of a float, with an exponent as `%g` has it: `1e+06`.
pub(crate) fn go_float(float: f64) -> String {
    let text = format!("{float:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i32 = exponent.parse().unwrap_or(0);
    if !(-4..6).contains(&power) {
        let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    float.to_string()
}

fn join(value: &Value, limit: usize) -> String {
    join_with(value, ",", limit)
}

/// The elements of a list with a separator between; cut at `limit` unless that is zero.
pub(crate) fn join_with(value: &Value, separator: &str, limit: usize) -> String {
    let items: Vec<String> = match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items.iter().map(go_text).collect(),
        Value::Object(map) => {
            let mut items: Vec<String> = map.iter().map(|(k, v)| format!("{k}={}", go_text(v))).collect();
            items.sort();
            items
        }
        leaf => vec![go_text(leaf)],
    };
    let text = items.join(separator);
    if limit > 3 && text.len() > limit {
        let cut: String = text.chars().take(limit - 3).collect();
        return format!("{cut}...");
    }
    text
}

/// A selector of Kubernetes as kubectl prints it.
fn label_selector(selector: &Value) -> String {
    let mut terms: Vec<String> = selector["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", go_text(value)))
        .collect();
    terms.sort();
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let (key, values) = (plain(&expression["key"], ""), join(&expression["values"], 0));
        terms.push(match expression["operator"].as_str().unwrap_or("") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key,
            "DoesNotExist" => format!("!{key}"),
            other => format!("{key} {other} ({values})"),
        });
    }
    if terms.is_empty() { "<none>".to_owned() } else { terms.join(",") }
}

/// A table with columns padded to their width, as Calico's: at least five characters, three between columns.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = header
        .iter()
        .enumerate()
        .map(|(i, heading)| {
            let cells = rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count());
            cells.chain([heading.chars().count()]).max().map_or(5, |width| (width + 3).max(5))
        })
        .collect();
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        for (cell, width) in cells.zip(&widths) {
            text.push_str(cell);
            let padding = width.saturating_sub(cell.chars().count());
            text.extend(std::iter::repeat_n(' ', padding));
        }
        text.push('\n');
    };
    line(&mut header.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cells_are_as_go_prints_them() {
        let tier = |order: Value| cell("Tier", "ORDER", &json!({"spec": {"order": order}}), "");
        assert_eq!(tier(json!(1_000_000)), "1e+06");
        assert_eq!(tier(json!(1000)), "1000");
        assert_eq!(tier(json!(10.5)), "10.5");
        assert_eq!(tier(json!(1_234_567)), "1.234567e+06");
        assert_eq!(tier(Value::Null), "<nil>");
        assert_eq!(cell("BGPPeer", "NODE", &json!({"spec": {}}), ""), "(global)");
        assert_eq!(
            cell("BGPPeer", "ASN", &json!({"spec": {"asNumber": 4_200_000_000_u32}}), ""),
            "4200000000"
        );
        assert_eq!(cell("Node", "ASN", &json!({"spec": {"bgp": {}}}), "64512"), "(64512)");
        assert_eq!(cell("Node", "ASN", &json!({"spec": {}}), "64512"), "");
    }

    #[test]
    fn long_lists_are_cut() {
        let nets: Vec<String> = (0..20).map(|i| format!("10.0.{i}.0/24")).collect();
        let text = cell("NetworkSet", "NETS", &json!({"spec": {"nets": nets}}), "");
        assert!(text.len() == 80 && text.ends_with("..."), "{text}");
    }

    #[test]
    fn columns_are_padded() {
        let text = table(&["NAME", "ORDER"], &[vec!["default".to_owned(), "1e+06".to_owned()]]);
        assert_eq!(text, "NAME      ORDER   \ndefault   1e+06   \n");
    }
}
