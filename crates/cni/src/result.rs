//! Results in the form of the CNI version that the runtime speaks.

use serde_json::{Value, json};
use std::net::IpAddr;
use tortie_agent_api::{ApiError, Attachment, CniArgs};

/// Gateway of every pod: answered by proxy ARP on the host side.
const GATEWAY_V4: &str = "169.254.1.1";
/// The same for IPv6: the link-local address that follows from the host side's fixed MAC address.
const GATEWAY_V6: &str = "fe80::ecee:eeff:feee:eeee";

/// The answer to VERSION.
pub(crate) fn versions() -> String {
    json!({"cniVersion": "1.1.0", "supportedVersions": crate::VERSIONS}).to_string()
}

/// An error.
pub(crate) fn error(version: &str, error: &ApiError) -> String {
    let mut value = json!({"cniVersion": version, "code": error.code, "msg": error.message});
    if !error.details.is_empty() {
        value["details"] = Value::String(error.details.clone());
    }
    value.to_string()
}

/// The answer to ADD.
pub(crate) fn added(version: &str, args: &CniArgs, made: &Attachment) -> String {
    let value = match version {
        "0.1.0" | "0.2.0" => oldest(version, made),
        _ => current(version, args, made),
    };
    value.to_string()
}

fn gateway(ip: &IpAddr) -> (&'static str, &'static str) {
    if ip.is_ipv4() { (GATEWAY_V4, "0.0.0.0/0") } else { (GATEWAY_V6, "::/0") }
}

fn prefixed(ip: &IpAddr) -> String {
    format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 })
}

fn oldest(version: &str, made: &Attachment) -> Value {
    let mut value = json!({"cniVersion": version, "dns": {}});
    for ip in &made.ips {
        let (gateway, any) = gateway(ip);
        let field = if ip.is_ipv4() { "ip4" } else { "ip6" };
        value[field] =
            json!({"ip": prefixed(ip), "gateway": gateway, "routes": [{"dst": any, "gw": gateway}]});
    }
    value
}

fn current(version: &str, args: &CniArgs, made: &Attachment) -> Value {
    let ips: Vec<Value> = made
        .ips
        .iter()
        .map(|ip| {
            let mut entry = json!({"interface": 1, "address": prefixed(ip), "gateway": gateway(ip).0});
            if version.starts_with("0.") {
                entry["version"] = json!(if ip.is_ipv4() { "4" } else { "6" });
            }
            entry
        })
        .collect();
    let routes: Vec<Value> = made
        .ips
        .iter()
        .map(|ip| {
            let (gateway, any) = gateway(ip);
            json!({"dst": any, "gw": gateway})
        })
        .collect();
    let mut container = json!({"name": args.ifname, "mac": made.pod_mac, "sandbox": args.netns});
    if version == "1.1.0" {
        container["mtu"] = json!(made.mtu);
    }
    json!({
        "cniVersion": version,
        "interfaces": [{"name": made.host_interface, "mac": made.host_mac}, container],
        "ips": ips,
        "routes": routes,
        "dns": {},
    })
}
