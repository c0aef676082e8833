//! Settings of the controllers, the cluster, and requests for a node's status.

use super::endpoint::LISTEN_PORT;
use super::format::Format;
use super::schema::{
    Default, Report, Schema, boolean, duration_text, field, formatted, given, integer, list_of,
    object as table, one_of, text as any_text, texts,
};
use super::{has, list, text};
use crate::Map;

pub(super) static CLUSTER_INFORMATION: Schema = table(&[
    field("clusterGUID", any_text()),
    field("clusterType", any_text()),
    field("calicoVersion", any_text()),
    given("datastoreReady", boolean()),
    field("variant", any_text()),
]);

pub(super) static CALICO_NODE_STATUS: Schema = table(&[
    field("node", formatted(Format::Name)),
    field("classes", list_of(&one_of(&["Agent", "BGP", "Routes"])).strict_unique()),
    given("updatePeriodSeconds", integer().range(0, 86400)),
])
.check(node_status);

fn node_status(map: &Map, path: &str, report: &mut Report) {
    if text(map, "node").is_empty() {
        report.form(format!("{path}.node"), "is missing");
    }
    if list(map, "classes").is_empty() {
        report.form(format!("{path}.classes"), "is missing; ask for Agent, BGP or Routes");
    }
    if !has(map, "updatePeriodSeconds") {
        report.form(format!("{path}.updatePeriodSeconds"), "is missing; 0 answers once");
    }
}

const SWITCH: Schema = one_of(&["Enabled", "Disabled"]).strict();
const PERIOD: Schema = table(&[field("reconcilerPeriod", duration_text())]);

const HOST_ENDPOINTS: Schema = table(&[
    field("autoCreate", SWITCH),
    field("createDefaultHostEndpoint", SWITCH),
    field(
        "templates",
        list_of(&table(&[
            field("generateName", formatted(Format::Name).max_len(253)),
            field("interfaceCIDRs", list_of(&formatted(Format::Cidr)).unique()),
            field("interfacePattern", formatted(Format::Regex)),
            field("labels", texts().format(Format::Labels)),
            field("annotations", texts().format(Format::Annotations)),
            field("nodeSelector", formatted(Format::Selector)),
        ])),
    ),
]);

pub(super) static KUBE_CONTROLLERS: Schema = KUBE_CONTROLLERS_SPEC;

pub(super) const KUBE_CONTROLLERS_SPEC: Schema = table(&[
    field("logSeverityScreen", one_of(&["None", "Debug", "Info", "Warning", "Error", "Fatal", "Panic"])),
    field("healthChecks", SWITCH).default(Default::Text("Enabled")),
    field("etcdV3CompactionPeriod", duration_text()),
    given("prometheusMetricsPort", integer().schema_range(0, 65535)),
    field(
        "controllers",
        table(&[
            field(
                "node",
                table(&[
                    field("reconcilerPeriod", duration_text()),
                    field("syncLabels", SWITCH),
                    field("hostEndpoint", HOST_ENDPOINTS),
                    field("leakGracePeriod", duration_text()),
                ]),
            ),
            field("policy", PERIOD),
            field("workloadEndpoint", PERIOD),
            field("serviceAccount", PERIOD),
            field("namespace", PERIOD),
            field(
                "loadBalancer",
                table(&[field("assignIPs", one_of(&["AllServices", "RequestedServicesOnly"]))
                    .default(Default::Text("AllServices"))]),
            ),
            field(
                "migration",
                table(&[field("policyNameMigrator", SWITCH).default(Default::Text("Enabled"))]),
            ),
        ]),
    ),
    given("debugProfilePort", LISTEN_PORT),
]);
