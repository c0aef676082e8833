//! What Felix leaves in the kernel: chains, sets and rules as it names and chains them, in each of its modes; and what
//! others have beside.

use crate::node::{Node, PORT};
use tortie_model::names;
use tortie_net::Family;
use tortie_test_netns::ip_set;

/// How Felix filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    IptablesNft,
    IptablesLegacy,
    Nftables,
}

/// A packet of a pod goes through the dispatch by its interface, then that of the interface to which it goes. Accepted
/// ones carry a mark, which a rule at the end of the hook lets pass. HASH becomes another one in each rule.
const FILTER: &str = "*filter
:KUBE-FORWARD - [0:0]
:cali-FORWARD - [0:0]
:cali-INPUT - [0:0]
:cali-OUTPUT - [0:0]
:cali-from-wl-dispatch - [0:0]
:cali-to-wl-dispatch - [0:0]
:cali-fw-any - [0:0]
:cali-tw-open - [0:0]
:cali-tw-WEB - [0:0]
:cali-pi-_sJk3vXgYq5Vb0wJmJ2 - [0:0]
:cali-wl-to-host - [0:0]
-A INPUT -m comment --comment HASH -j cali-INPUT
-A FORWARD -m comment --comment HASH -j cali-FORWARD
-A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD
-A FORWARD -s BLOCKED -m comment --comment \"cali: note of an administrator\" -j DROP
-A FORWARD -m comment --comment HASH -m comment --comment \"Policy explicitly accepted packet.\" -m mark --mark 0x10000/0x10000 -j ACCEPT
-A FORWARD -m comment --comment HASH -j MARK --set-xmark 0x10000/0x10000
-A OUTPUT -m comment --comment HASH -j cali-OUTPUT
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment \"kubernetes forwarding rules\" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A cali-FORWARD -m comment --comment HASH -j MARK --set-xmark 0x0/0xe0000
-A cali-FORWARD -i cali+ -m comment --comment HASH -j cali-from-wl-dispatch
-A cali-FORWARD -o cali+ -m comment --comment HASH -j cali-to-wl-dispatch
-A cali-INPUT -i cali+ -m comment --comment HASH -g cali-wl-to-host
-A cali-OUTPUT -m comment --comment HASH -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-wl-to-host -m comment --comment HASH -j ACCEPT
-A cali-from-wl-dispatch -i IF_WEB -m comment --comment HASH -g cali-fw-any
-A cali-from-wl-dispatch -i IF_FRIEND -m comment --comment HASH -g cali-fw-any
-A cali-from-wl-dispatch -i IF_FOE -m comment --comment HASH -g cali-fw-any
-A cali-from-wl-dispatch -i IF_OLD -m comment --comment HASH -g cali-fw-any
-A cali-from-wl-dispatch -m comment --comment HASH -m comment --comment \"Unknown interface\" -j DROP
-A cali-to-wl-dispatch -o IF_WEB -m comment --comment HASH -g cali-tw-WEB
-A cali-to-wl-dispatch -o IF_FRIEND -m comment --comment HASH -g cali-tw-open
-A cali-to-wl-dispatch -o IF_FOE -m comment --comment HASH -g cali-tw-open
-A cali-to-wl-dispatch -o IF_OLD -m comment --comment HASH -g cali-tw-open
-A cali-to-wl-dispatch -m comment --comment HASH -m comment --comment \"Unknown interface\" -j DROP
-A cali-fw-any -m comment --comment HASH -j MARK --set-xmark 0x10000/0x10000
-A cali-tw-open -m comment --comment HASH -j MARK --set-xmark 0x10000/0x10000
-A cali-tw-WEB -m comment --comment HASH -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-tw-WEB -m comment --comment HASH -m conntrack --ctstate INVALID -j DROP
-A cali-tw-WEB -m comment --comment HASH -j MARK --set-xmark 0x0/0x10000
-A cali-tw-WEB -m comment --comment HASH -j cali-pi-_sJk3vXgYq5Vb0wJmJ2
-A cali-tw-WEB -m comment --comment HASH -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-tw-WEB -m comment --comment HASH -m comment --comment \"Drop if no policies passed packet\" -j DROP
-A cali-pi-_sJk3vXgYq5Vb0wJmJ2 -p tcp -m comment --comment HASH -m set --match-set SET src -m multiport --dports PORT -j MARK --set-xmark 0x10000/0x10000
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:cali-PREROUTING - [0:0]
:cali-POSTROUTING - [0:0]
:cali-OUTPUT - [0:0]
:cali-fip-dnat - [0:0]
:cali-nat-outgoing - [0:0]
-A PREROUTING -m comment --comment HASH -j cali-PREROUTING
-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment HASH -j cali-POSTROUTING
-A OUTPUT -m comment --comment HASH -j cali-OUTPUT
-A cali-PREROUTING -m comment --comment HASH -j cali-fip-dnat
-A cali-POSTROUTING -m comment --comment HASH -j cali-nat-outgoing
-A cali-nat-outgoing -m comment --comment HASH -m set --match-set POOLS src -m set ! --match-set POOLS dst -j MASQUERADE
COMMIT
*raw
:cali-PREROUTING - [0:0]
:cali-OUTPUT - [0:0]
-A PREROUTING -m comment --comment HASH -j cali-PREROUTING
-A OUTPUT -m comment --comment HASH -j cali-OUTPUT
-A cali-PREROUTING -m comment --comment HASH -j MARK --set-xmark 0x0/0xf0000
COMMIT
*mangle
:cali-PREROUTING - [0:0]
-A PREROUTING -m comment --comment HASH -j cali-PREROUTING
-A cali-PREROUTING -m comment --comment HASH -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
";

/// The same in a table of its own.
const TABLE: &str = "table FAMILY calico {
	set cali4TAG0s-friends {
		type TYPE_addr
		elements = { MEMBER }
	}
	map cali-to-wl-dispatch {
		type ifname : verdict
		elements = { \"IF_WEB\" : goto filter-cali-tw-WEB, \"IF_FRIEND\" : goto filter-cali-tw-open, \"IF_FOE\" : goto filter-cali-tw-open, \"IF_OLD\" : goto filter-cali-tw-open }
	}
	chain filter-cali-tw-open {
		return
	}
	chain filter-cali-tw-WEB {
		ct state established,related accept
		ct state invalid drop
		ip SADDR @cali4TAG0s-friends tcp dport PORT counter accept comment \"HASH\"
		counter drop comment \"HASH\"
	}
	chain filter-FORWARD {
		type filter hook forward priority filter; policy accept;
		oifname \"cali*\" jump filter-to-wl comment \"HASH\"
	}
	chain filter-to-wl {
		oifname vmap @cali-to-wl-dispatch
		drop
	}
}
";

/// In every mode.
const ARP: &str = "table arp calico-arp {
	chain filter-OUTPUT {
		type filter hook output priority filter; policy accept;
	}
}
";

/// What is in each family of its own.
struct Facts {
    family: Family,
    name: &'static str,
    kind: &'static str,
    friend: &'static str,
    pool: &'static str,
    blocked: &'static str,
}

const FACTS: [Facts; 2] = [
    Facts {
        family: Family::V4,
        name: "ip",
        kind: "ipv4",
        friend: "10.65.0.2",
        pool: "10.65.0.0/16",
        blocked: "192.0.2.0/24",
    },
    Facts {
        family: Family::V6,
        name: "ip6",
        kind: "ipv6",
        friend: "fd65::2",
        pool: "fd65::/48",
        blocked: "2001:db8::/32",
    },
];

/// Puts Felix's rules into the kernel, beside those of others.
pub(crate) fn install(node: &Node, mode: Mode) {
    node.machine.nft(ARP);
    for facts in &FACTS {
        let digit = if facts.family == Family::V4 { 4 } else { 6 };
        let (set, pools) = (format!("cali{digit}0s:friends"), format!("cali{digit}0masq-ipam-pools"));
        let text = if mode == Mode::Nftables { TABLE } else { FILTER };
        let mut text = text
            .replace("FAMILY", facts.name)
            .replace("TYPE", facts.kind)
            .replace("ip SADDR", &format!("{} saddr", facts.name))
            .replace("4TAG", &digit.to_string())
            .replace("MEMBER", facts.friend)
            .replace("match-set SET", &format!("match-set {set}"))
            .replace("POOLS", &pools)
            .replace("BLOCKED", facts.blocked)
            .replace("PORT", &PORT.to_string());
        for pod in ["web", "friend", "foe", "old"] {
            let name = names::veth("cali", "default", pod);
            text = text.replace(&format!("IF_{}", pod.to_uppercase()), &name);
        }
        let mut number = 0;
        while text.contains("HASH") {
            number += 1;
            text = text.replacen("HASH", &format!("cali:{number:0>16}"), 1);
        }
        match mode {
            Mode::Nftables => node.machine.nft(&text),
            Mode::IptablesNft | Mode::IptablesLegacy => {
                node.machine.run(|| {
                    ip_set(&set, facts.family, &[facts.friend]);
                    ip_set(&pools, facts.family, &[facts.pool]);
                });
                node.feed(&format!("{}-restore", program(mode, facts.family)), &text);
                &node.machine
            }
        };
    }
}

fn program(mode: Mode, family: Family) -> String {
    let name = if family == Family::V4 { "iptables" } else { "ip6tables" };
    format!("{name}-{}", if mode == Mode::IptablesLegacy { "legacy" } else { "nft" })
}

/// The rules of others, without what counts.
pub(crate) fn of_others(node: &Node, mode: Mode) -> Vec<String> {
    if mode == Mode::Nftables {
        let tables = node.run("nft", &["list", "tables"]);
        return tables
            .lines()
            .filter(|l| !l.ends_with(" calico") && !l.ends_with(" calico-arp"))
            .map(str::to_owned)
            .collect();
    }
    let mut all = Vec::new();
    for family in Family::ALL {
        let text = node.run(&format!("{}-save", program(mode, family)), &[]);
        let is_felixs =
            |l: &str| l.contains("cali-") || l.contains("cali:0") || l.starts_with('#') || l.is_empty();
        let lines = text.lines().filter(|l| !is_felixs(l));
        all.extend(lines.map(|l| l.split(" [").next().unwrap_or_default().to_owned()));
    }
    assert!(all.iter().any(|l| l.contains("note of an administrator")), "{all:?}");
    assert!(all.iter().any(|l| l.contains("-j KUBE-SERVICES")), "{all:?}");
    all
}
