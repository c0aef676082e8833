//! The pools that a cluster begins with, unless somebody has made others.

use crate::detect::Machine;
use crate::object::new;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};
use tortie_api::{v3, validate};
use tortie_net::{Cidr, Family};
use tortie_selector::Selector;

/// The IPv4 pool, unless the host itself has addresses in it.
const PREFERRED: (Ipv4Addr, u8) = (Ipv4Addr::new(192, 168, 0, 0), 16);

/// What the environment asks for.
#[derive(Clone, Debug)]
pub struct PoolWish {
    none: bool,
    families: [Wish; 2],
}

#[derive(Clone, Debug, Default)]
struct Wish {
    none: bool,
    cidr: Option<Cidr>,
    block_size: u8,
    ipip: &'static str,
    vxlan: &'static str,
    nat: bool,
    disable_export: bool,
    node_selector: String,
}

/// A pool to make.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolSpec {
    /// Its name.
    pub name: &'static str,
    /// The object.
    pub object: Value,
}

/// A setting of the environment that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} cannot be {value:?}: {expected}")]
pub struct PoolError {
    /// The variable.
    pub variable: String,
    /// Its value.
    pub value: String,
    /// What it could be.
    pub expected: String,
}

impl PoolWish {
    /// Reads the environment; all that is wrong with it.
    pub fn from_environment(environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, Vec<PoolError>> {
        let mut problems = Vec::new();
        let families = Family::ALL.map(|family| {
            let mut reader = Reader { family, environment, problems: &mut problems };
            reader.wish()
        });
        let none = environment("NO_DEFAULT_POOLS").is_some_and(|v| v.eq_ignore_ascii_case("true"));
        if none && families.iter().any(|wish| wish.cidr.is_some() || wish.none) {
            problems.push(PoolError {
                variable: "NO_DEFAULT_POOLS".to_owned(),
                value: "true".to_owned(),
                expected: "CALICO_IPV4POOL_CIDR or CALICO_IPV6POOL_CIDR is set too; remove one of them"
                    .to_owned(),
            });
        }
        if problems.is_empty() { Ok(Self { none, families }) } else { Err(problems) }
    }

    /// Whether no pool is to be made, whatever there is.
    pub(crate) fn is_nothing(&self) -> bool {
        self.none || self.families.iter().all(|wish| wish.none)
    }

    /// The pool of a family, if one is wanted. `subnets` are those that the cluster was made with.
    pub(crate) fn pool(
        &self,
        family: Family,
        subnets: &[String],
        machine: &dyn Machine,
    ) -> Result<Option<PoolSpec>, String> {
        let [v4, v6] = &self.families;
        let wish = if family == Family::V4 { v4 } else { v6 };
        if wish.none || (family == Family::V6 && !machine.has_ipv6()) {
            return Ok(None);
        }
        let of_cluster =
            || subnets.iter().filter_map(|s| s.parse::<Cidr>().ok()).find(|c| c.family() == family);
        let cidr = match wish.cidr.or_else(of_cluster) {
            Some(cidr) => cidr,
            None if family == Family::V4 => free_v4(machine)?,
            None => random_v6()?,
        };
        let name = if family == Family::V4 { "default-ipv4-ippool" } else { "default-ipv6-ippool" };
        let kind = v3::by_kind("IPPool").expect("a kind of the table");
        let mut spec = json!({
            "cidr": cidr,
            "vxlanMode": wish.vxlan,
            "ipipMode": wish.ipip,
            "natOutgoing": wish.nat,
            "blockSize": wish.block_size,
            "nodeSelector": wish.node_selector,
            "assignmentMode": "Automatic",
        });
        if wish.disable_export {
            spec["disableBGPExport"] = true.into();
        }
        let mut object = new(kind, name, spec);
        validate::prepare_for_create(&mut object);
        Ok(Some(PoolSpec { name, object }))
    }
}

struct Reader<'a> {
    family: Family,
    environment: &'a dyn Fn(&str) -> Option<String>,
    problems: &'a mut Vec<PoolError>,
}

impl Reader<'_> {
    fn wish(&mut self) -> Wish {
        let v4 = self.family == Family::V4;
        let family = self.family;
        let (sizes, size) = if v4 { (20..=32, 26) } else { (116..=128, 122) };
        let cidr = self.get("CIDR");
        let none = cidr == "none";
        Wish {
            none,
            cidr: if none {
                None
            } else {
                self.read("CIDR", &format!("write an {family} network, or none"), |text| {
                    text.parse::<Cidr>().ok().filter(|c| c.family() == family && text.contains('/'))
                })
            },
            block_size: self
                .read(
                    "BLOCK_SIZE",
                    &format!("write a number from {} to {}", sizes.start(), sizes.end()),
                    |t| t.parse().ok().filter(|n| sizes.contains(n)),
                )
                .unwrap_or(size),
            ipip: if v4 { self.mode("IPIP") } else { "Never" },
            vxlan: self.mode("VXLAN"),
            nat: self.flag("NAT_OUTGOING", v4),
            disable_export: self.flag("DISABLE_BGP_EXPORT", false),
            node_selector: self
                .read("NODE_SELECTOR", "write a selector like all() or zone == 'a'", |text| {
                    Selector::parse(text).ok().map(|_| text.to_owned())
                })
                .unwrap_or_else(|| "all()".to_owned()),
        }
    }

    fn variable(&self, name: &str) -> String {
        format!("CALICO_IPV{}POOL_{name}", if self.family == Family::V4 { 4 } else { 6 })
    }

    fn get(&self, name: &str) -> String {
        (self.environment)(&self.variable(name)).unwrap_or_default().trim().to_owned()
    }

    fn read<T>(&mut self, name: &str, expected: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let value = self.get(name);
        if value.is_empty() {
            return None;
        }
        let parsed = parse(&value);
        if parsed.is_none() {
            let (variable, expected) = (self.variable(name), expected.to_owned());
            self.problems.push(PoolError { variable, value, expected });
        }
        parsed
    }

    fn mode(&mut self, name: &str) -> &'static str {
        let parse = |text: &str| match text.to_ascii_lowercase().as_str() {
            "off" | "never" => Some("Never"),
            "crosssubnet" | "cross-subnet" => Some("CrossSubnet"),
            "always" => Some("Always"),
            _ => None,
        };
        self.read(name, "write Never, CrossSubnet or Always", parse).unwrap_or("Never")
    }

    /// Anything but a word for no is yes, as Calico has it.
    fn flag(&self, name: &str, default: bool) -> bool {
        match (self.environment)(&self.variable(name)) {
            Some(text) => !matches!(text.to_ascii_lowercase().as_str(), "false" | "0" | "no" | "n" | "f"),
            None => default,
        }
    }
}

/// The preferred pool, or the first private one in which the host has no address.
fn free_v4(machine: &dyn Machine) -> Result<Cidr, String> {
    let (preferred, len) = PREFERRED;
    let candidate = |addr: Ipv4Addr| Cidr::new(IpAddr::V4(addr), len);
    let preferred = candidate(preferred).ok_or("the default pool is no network")?;
    let interfaces = machine.interfaces()?;
    let free = |pool: &Cidr| !interfaces.iter().flat_map(|i| &i.addresses).any(|a| pool.contains(a.addr));
    let others = (16..32).filter_map(|n| candidate(Ipv4Addr::new(172, n, 0, 0)));
    Ok(std::iter::once(preferred).chain(others).find(free).unwrap_or(preferred))
}

/// A network of the node's own choice, as RFC 4193 wants it: `fd`, then 40 random bits.
fn random_v6() -> Result<Cidr, String> {
    let uid = crate::object::new_uid().map_err(|e| format!("no random numbers: {e}"))?;
    let digits: String = uid.chars().filter(char::is_ascii_hexdigit).take(10).collect();
    let bits = u128::from_str_radix(&digits, 16).map_err(|_| format!("{uid:?} is no identity"))?;
    let address = (0xfd_u128 << 120) | (bits << 80);
    Cidr::new(IpAddr::V6(address.into()), 48).ok_or_else(|| "a random network is none".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Fake, machine};

    fn wish(variables: &[(&str, &str)]) -> Result<PoolWish, Vec<PoolError>> {
        let get = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        PoolWish::from_environment(&get)
    }

    fn spec(variables: &[(&str, &str)], family: Family) -> Value {
        wish(variables).unwrap().pool(family, &[], &machine()).unwrap().unwrap().object["spec"].clone()
    }

    #[test]
    fn defaults_are_those_of_a_calico_node() {
        let v4 = spec(&[], Family::V4);
        assert_eq!((&v4["cidr"], &v4["blockSize"]), (&json!("192.168.0.0/16"), &json!(26)));
        assert_eq!((&v4["natOutgoing"], &v4["nodeSelector"]), (&json!(true), &json!("all()")));
        assert_eq!((&v4["ipipMode"], &v4["vxlanMode"]), (&json!("Never"), &json!("Never")));
        let v6 = spec(&[], Family::V6);
        assert_eq!((&v6["natOutgoing"], &v6["blockSize"]), (&json!(false), &json!(122)));
        let cidr: Cidr = v6["cidr"].as_str().unwrap().parse().unwrap();
        assert!(cidr.to_string().starts_with("fd") && cidr.len() == 48, "{cidr}");
        assert_ne!(spec(&[], Family::V6)["cidr"], v6["cidr"], "every cluster has its own");
        let at_home = Fake { interfaces: vec![("eth0", &["192.168.7.7/24", "172.16.0.1/24"])], reach: "" };
        let pool = wish(&[]).unwrap().pool(Family::V4, &[], &at_home).unwrap().unwrap();
        assert_eq!(pool.object["spec"]["cidr"], "172.17.0.0/16");
        let subnets = ["10.244.0.0/16".to_owned(), "fd44::/56".to_owned()];
        for (family, wanted) in [(Family::V4, "10.244.0.0/16"), (Family::V6, "fd44::/56")] {
            let pool = wish(&[]).unwrap().pool(family, &subnets, &at_home).unwrap().unwrap();
            assert_eq!(pool.object["spec"]["cidr"], wanted);
        }
    }

    #[test]
    fn the_environment_has_its_way() {
        let v4 = spec(
            &[
                ("CALICO_IPV4POOL_CIDR", "10.9.0.0/16"),
                ("CALICO_IPV4POOL_BLOCK_SIZE", "28"),
                ("CALICO_IPV4POOL_IPIP", "Always"),
                ("CALICO_IPV4POOL_VXLAN", "cross-subnet"),
                ("CALICO_IPV4POOL_NAT_OUTGOING", "false"),
                ("CALICO_IPV4POOL_NODE_SELECTOR", "zone == 'a'"),
                ("CALICO_IPV4POOL_DISABLE_BGP_EXPORT", "true"),
            ],
            Family::V4,
        );
        assert_eq!((&v4["cidr"], &v4["blockSize"]), (&json!("10.9.0.0/16"), &json!(28)));
        assert_eq!((&v4["ipipMode"], &v4["vxlanMode"]), (&json!("Always"), &json!("CrossSubnet")));
        assert_eq!((&v4["natOutgoing"], &v4["disableBGPExport"]), (&json!(false), &json!(true)));
        assert_eq!(v4["nodeSelector"], "zone == 'a'");
        assert!(wish(&[("NO_DEFAULT_POOLS", "true")]).unwrap().is_nothing());
        let one = wish(&[("CALICO_IPV6POOL_CIDR", "none")]).unwrap();
        assert!(!one.is_nothing());
        assert_eq!(one.pool(Family::V6, &[], &machine()), Ok(None));
        let problems = wish(&[
            ("NO_DEFAULT_POOLS", "true"),
            ("CALICO_IPV4POOL_CIDR", "fd00::/48"),
            ("CALICO_IPV4POOL_BLOCK_SIZE", "33"),
            ("CALICO_IPV6POOL_VXLAN", "sometimes"),
            ("CALICO_IPV6POOL_CIDR", "none"),
            ("CALICO_IPV6POOL_NODE_SELECTOR", "=="),
        ])
        .unwrap_err();
        assert_eq!(problems.len(), 5, "{problems:?}");
    }
}
