//! Limits of endpoints, from annotations.

use super::quantity;
use crate::convert::Problems;
use tortie_api::IntOrString;
use tortie_api::meta::StringMap;
use tortie_api::v3::QosControls;

const DSCP: &str = "qos.projectcalico.org/dscp";

/// Names of code points beside numbers up to 63.
const DSCP_NAMES: [&str; 21] = [
    "DF", "EF", "AF11", "AF12", "AF13", "AF21", "AF22", "AF23", "AF31", "AF32", "AF33", "AF41", "AF42",
    "AF43", "CS0", "CS1", "CS2", "CS3", "CS4", "CS5", "CS6",
];

/// Bits per second.
const BANDWIDTH: (i64, i64) = (1_000, 1_000_000_000_000_000);
/// Bits.
const BURST: (i64, i64) = (1_000, 34_359_738_360);
/// Bits.
const DEFAULT_BURST: i64 = 4 << 30;
/// Bits per second; above the bandwidth.
const PEAK_RATE: (i64, i64) = (1_010, 1_010_000_000_000_000);
/// Bytes.
const MIN_BURST: (i64, i64) = (1_000, 100_000_000);
/// Packets per second.
const PACKET_RATE: (i64, i64) = (1, 10_000);
/// Packets.
const PACKET_BURST: (i64, i64) = (1, 10_000);
const DEFAULT_PACKET_BURST: i64 = 5;
const CONNECTIONS: (i64, i64) = (1, 4_294_967_295);

/// Limits of one direction.
#[derive(Default)]
struct Limits {
    bandwidth: i64,
    burst: i64,
    peakrate: i64,
    minburst: i64,
    packet_rate: i64,
    packet_burst: i64,
    max_connections: i64,
}

/// Limits of a pod, `None` if it has none. A limit out of range is moved into it; what makes no sense is reported and
/// left out.
pub(super) fn controls(annotations: &StringMap, problems: &mut Problems) -> Option<QosControls> {
    let ingress = direction("ingress", annotations, problems);
    let egress = direction("egress", annotations, problems);
    let controls = QosControls {
        ingress_bandwidth: ingress.bandwidth,
        ingress_burst: ingress.burst,
        ingress_peakrate: ingress.peakrate,
        ingress_minburst: ingress.minburst,
        egress_bandwidth: egress.bandwidth,
        egress_burst: egress.burst,
        egress_peakrate: egress.peakrate,
        egress_minburst: egress.minburst,
        ingress_packet_rate: ingress.packet_rate,
        ingress_packet_burst: ingress.packet_burst,
        egress_packet_rate: egress.packet_rate,
        egress_packet_burst: egress.packet_burst,
        ingress_max_connections: ingress.max_connections,
        egress_max_connections: egress.max_connections,
        dscp: dscp(annotations, problems),
        other: tortie_api::Map::new(),
    };
    if controls == QosControls::default() { None } else { Some(controls) }
}

fn direction(name: &str, annotations: &StringMap, problems: &mut Problems) -> Limits {
    let mut limit = |annotation: String, (low, high): (i64, i64)| -> Option<i64> {
        let text = annotations.get(&annotation)?;
        let field = format!("metadata.annotations[{annotation}]");
        let Some(value) = quantity::parse(text) else {
            problems.dropped(&field, format!("{text:?} is not a quantity like 500k or 10M"));
            return Some(0);
        };
        let clamped = value.clamp(low, high);
        if clamped != value {
            problems.dropped(&field, format!("{text} is not between {low} and {high}; {clamped} is used"));
        }
        Some(clamped)
    };
    let mut own = |what: &str, range| limit(format!("qos.projectcalico.org/{name}{what}"), range);
    let bandwidth = own("Bandwidth", BANDWIDTH);
    let mut limits = Limits {
        bandwidth: 0,
        burst: own("Burst", BURST).unwrap_or(0),
        peakrate: own("Peakrate", PEAK_RATE).unwrap_or(0),
        minburst: own("Minburst", MIN_BURST).unwrap_or(0),
        packet_rate: own("PacketRate", PACKET_RATE).unwrap_or(0),
        packet_burst: own("PacketBurst", PACKET_BURST).unwrap_or(0),
        max_connections: own("MaxConnections", CONNECTIONS).unwrap_or(0),
    };
    let kubernetes = limit(format!("kubernetes.io/{name}-bandwidth"), BANDWIDTH);
    limits.bandwidth = bandwidth.or(kubernetes).unwrap_or(0);

    let mut needs = |value: &mut i64, satisfied: bool, message: &str| {
        if *value != 0 && !satisfied {
            problems.dropped("metadata.annotations", format!("{name} {message}; the limit is left out"));
            *value = 0;
        }
    };
    needs(&mut limits.burst, limits.bandwidth != 0, "burst needs a bandwidth");
    let above = limits.bandwidth != 0 && limits.peakrate > limits.bandwidth;
    needs(&mut limits.peakrate, above, "peakrate must be above the bandwidth");
    needs(&mut limits.minburst, limits.peakrate != 0, "minburst needs a peakrate");
    needs(&mut limits.packet_burst, limits.packet_rate != 0, "packet burst needs a packet rate");
    if limits.bandwidth != 0 && limits.burst == 0 {
        limits.burst = DEFAULT_BURST;
    }
    if limits.packet_rate != 0 && limits.packet_burst == 0 {
        limits.packet_burst = DEFAULT_PACKET_BURST;
    }
    limits
}

/// The code point for packets that leave an endpoint; an unknown one is reported and left out.
pub(crate) fn dscp(annotations: &StringMap, problems: &mut Problems) -> Option<IntOrString> {
    let text = annotations.get(DSCP)?;
    if let Some(name) = DSCP_NAMES.iter().find(|n| n.eq_ignore_ascii_case(text)) {
        return Some(IntOrString::from(*name));
    }
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    if let Some(number) = text.parse::<u16>().ok().filter(|n| digits && *n <= 63) {
        return Some(IntOrString::from(number));
    }
    if DSCP_NAMES.iter().any(|n| n.eq_ignore_ascii_case(text.trim())) {
        return Some(IntOrString::from(text.as_str()));
    }
    problems.dropped(
        &format!("metadata.annotations[{DSCP}]"),
        format!("{text:?} is no DSCP; use 0 to 63, or a name like EF or AF41"),
    );
    None
}
