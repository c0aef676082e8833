//! Address pools.

use crate::convert::Problems;
use crate::value::IpPool;
use tortie_api::v3;

fn encapsulation(mode: &str) -> &'static str {
    match mode {
        "Always" => "always",
        "CrossSubnet" => "cross-subnet",
        _ => "",
    }
}

/// A pool; `None`, with a problem, if its CIDR is none.
pub fn ip_pool(pool: &v3::IpPool, problems: &mut Problems) -> Option<IpPool> {
    let spec = &pool.spec;
    let cidr = if spec.cidr.contains('/') { spec.cidr.parse().ok() } else { None };
    let Some(cidr) = cidr else {
        problems.fatal(
            "spec.cidr",
            format!("{:?} is not a CIDR; write it as 10.0.0.0/16 or fd00::/64", spec.cidr),
        );
        return None;
    };
    let ipip_mode = encapsulation(&spec.ipip_mode);
    Some(IpPool {
        cidr,
        ipip_interface: if ipip_mode.is_empty() { "" } else { "tunl0" }.to_owned(),
        ipip_mode: ipip_mode.to_owned(),
        vxlan_mode: encapsulation(&spec.vxlan_mode).to_owned(),
        masquerade: spec.nat_outgoing,
        ipam: !spec.disabled,
        disabled: spec.disabled,
        disable_bgp_export: spec.disable_bgp_export,
        assignment_mode: spec.assignment_mode.clone().unwrap_or_else(|| "Automatic".to_owned()),
        allowed_uses: spec.allowed_uses.clone(),
    })
}
