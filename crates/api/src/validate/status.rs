//! What programs report in `status`.

use super::config::KUBE_CONTROLLERS_SPEC;
use super::format::Format;
use super::schema::{
    Schema, field, formatted, given, integer, list_of, object as table, one_of, text as any_text, texts, time,
};

/// Conditions as Kubernetes has them.
pub(super) static CONDITIONS: Schema = table(&[field(
    "conditions",
    list_of(&table(&[
        field("type", any_text().schema_format(Format::ConditionType).max_len(316)).always().required(),
        field("status", one_of(&["True", "False", "Unknown"])).always().required(),
        field("observedGeneration", integer().schema_range(0, i64::MAX)),
        field("lastTransitionTime", time()).always().required(),
        field("reason", any_text().schema_format(Format::ConditionReason).max_len(1024)).always().required(),
        field("message", any_text().max_len(32768)).always().required(),
    ])),
)]);

pub(super) static NODE: Schema = table(&[
    field("wireguardPublicKey", formatted(Format::WireguardKey)),
    field("wireguardPublicKeyV6", formatted(Format::WireguardKey)),
    field("podCIDRs", list_of(&any_text())),
]);

pub(super) static KUBE_CONTROLLERS: Schema =
    table(&[given("runningConfig", KUBE_CONTROLLERS_SPEC), field("environmentVars", texts())]);

const DAEMON: Schema = table(&[
    field("state", one_of(&["Ready", "NotReady"])),
    field("version", any_text()),
    field("routerID", any_text()),
    field("lastBootTime", any_text()),
    field("lastReconfigurationTime", any_text()),
]);
const PEER: Schema = table(&[
    field("peerIP", formatted(Format::Ip)),
    field("type", one_of(&["NodeMesh", "NodePeer", "GlobalPeer"])),
    field("state", one_of(&["Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established", "Close"])),
    field("since", any_text()),
]);
const ROUTE: Schema = table(&[
    field("type", one_of(&["FIB", "RIB"])),
    field("destination", any_text()),
    field("gateway", any_text()),
    field("interface", any_text()),
    field(
        "learnedFrom",
        table(&[
            field("sourceType", one_of(&["Kernel", "Static", "Direct", "NodeMesh", "BGPPeer"])),
            field("peerIP", formatted(Format::Ip)),
        ]),
    ),
]);

pub(super) static CALICO_NODE_STATUS: Schema = table(&[
    field("lastUpdated", time()),
    field("agent", table(&[field("birdV4", DAEMON), field("birdV6", DAEMON)])),
    field(
        "bgp",
        table(&[
            field("numberEstablishedV4", integer()).always(),
            field("numberNotEstablishedV4", integer()).always(),
            field("numberEstablishedV6", integer()).always(),
            field("numberNotEstablishedV6", integer()).always(),
            field("peersV4", list_of(&PEER)),
            field("peersV6", list_of(&PEER)),
        ]),
    ),
    field("routes", table(&[field("routesV4", list_of(&ROUTE)), field("routesV6", list_of(&ROUTE))])),
]);
