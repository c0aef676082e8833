//! The router's BIRD: the top of the rack. It accepts a session from every node and learns the way to the pods.

use crate::fabric::{AS_NUMBER, Plan};
use std::fmt::Write as _;
use tortie_net::Family;

/// The router's configuration. Sessions are passive and dynamic: nodes come and go without a change here.
pub(crate) fn bird_config(plan: &Plan) -> String {
    let mut text = String::from("log stderr { info, warning, error, fatal, bug, auth };\n");
    if let Some(first) = plan.segments.first() {
        let _ = writeln!(text, "router id {};", first.gateway(Family::V4).addr);
    }
    text.push_str("protocol device {}\n");
    for family in Family::ALL {
        let _ = writeln!(
            text,
            "protocol kernel kernel{v} {{ {family} {{ import none; export where source = RTS_BGP; }}; merge paths on; }}",
            v = family.version(),
        );
        for segment in &plan.segments {
            // `direct`: nodes are on the link, and their routes point at themselves.
            let _ = writeln!(
                text,
                "protocol bgp {name}_{family} {{\n  local {local} as {AS_NUMBER};\n  neighbor range {range} internal;\n  \
                 dynamic name \"{name}_v{v}_\";\n  direct;\n  passive;\n  strict bind;\n  hold time 90;\n  \
                 {family} {{ import all; export none; gateway direct; }};\n}}",
                name = segment.name,
                local = segment.gateway(family).addr,
                range = segment.prefix(family),
                v = family.version(),
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::FabricKind;

    #[test]
    fn bird_accepts_the_configuration() {
        for kind in [FabricKind::Flat, FabricKind::Routed] {
            let config = bird_config(&Plan::new(kind, 3));
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("bird.cfg");
            std::fs::write(&path, &config).unwrap();
            let out =
                std::process::Command::new("/usr/sbin/bird").arg("-p").arg("-c").arg(&path).output().unwrap();
            assert!(out.status.success(), "{}\n{config}", String::from_utf8_lossy(&out.stderr));
        }
    }
}
