//! Policies, tiers, network sets, profiles, and the rules they are made of.

use crate::{IntOrString, k8s, meta::StringMap};
use serde_json::Value;
use tortie_net::Port;

kind! {
    NetworkPolicy = "NetworkPolicy": NetworkPolicySpec;
    GlobalNetworkPolicy = "GlobalNetworkPolicy": GlobalNetworkPolicySpec;
    StagedNetworkPolicy = "StagedNetworkPolicy": StagedNetworkPolicySpec;
    StagedGlobalNetworkPolicy = "StagedGlobalNetworkPolicy": StagedGlobalNetworkPolicySpec;
    StagedKubernetesNetworkPolicy = "StagedKubernetesNetworkPolicy": StagedKubernetesNetworkPolicySpec;
    Tier = "Tier": TierSpec;
    NetworkSet = "NetworkSet": NetworkSetSpec;
    GlobalNetworkSet = "GlobalNetworkSet": GlobalNetworkSetSpec;
    Profile = "Profile": ProfileSpec;
}

body! {
    /// Policy for the workloads of a namespace.
    pub struct NetworkPolicySpec {
        /// Tier; empty is `default`.
        tier: String,
        /// Lower comes first; absent comes last.
        order: Option<f64>,
        /// Rules for traffic to the endpoints.
        ingress: Vec<Rule>,
        /// Rules for traffic from the endpoints.
        egress: Vec<Rule>,
        /// Endpoints it applies to.
        selector: String,
        /// `Ingress`, `Egress`; empty is derived from the rules.
        types: Vec<String>,
        /// Service accounts it applies to.
        service_account_selector: String,
        /// `AssumeNeededOnEveryNode`.
        performance_hints: Vec<String>,
    }
}

body! {
    /// Policy for any endpoint.
    pub struct GlobalNetworkPolicySpec {
        /// Tier; empty is `default`.
        tier: String,
        /// Lower comes first; absent comes last.
        order: Option<f64>,
        /// Rules for traffic to the endpoints.
        ingress: Vec<Rule>,
        /// Rules for traffic from the endpoints.
        egress: Vec<Rule>,
        /// Endpoints it applies to.
        selector: String,
        /// `Ingress`, `Egress`; empty is derived from the rules.
        types: Vec<String>,
        /// Before connection tracking.
        do_not_track: bool,
        /// Before DNAT.
        #[serde(rename = "preDNAT")]
        pre_dnat: bool,
        /// Also for traffic that host endpoints forward.
        apply_on_forward: bool,
        /// Service accounts it applies to.
        service_account_selector: String,
        /// Namespaces it applies to.
        namespace_selector: String,
        /// `AssumeNeededOnEveryNode`.
        performance_hints: Vec<String>,
    }
}

body! {
    /// A [`NetworkPolicySpec`] that is only watched.
    pub struct StagedNetworkPolicySpec {
        /// `Set`, `Delete`, `Learn`, `Ignore`.
        staged_action: String,
        /// Tier; empty is `default`.
        tier: String,
        /// Lower comes first; absent comes last.
        order: Option<f64>,
        /// Rules for traffic to the endpoints.
        ingress: Vec<Rule>,
        /// Rules for traffic from the endpoints.
        egress: Vec<Rule>,
        /// Endpoints it applies to.
        selector: String,
        /// `Ingress`, `Egress`; empty is derived from the rules.
        types: Vec<String>,
        /// Service accounts it applies to.
        service_account_selector: String,
        /// `AssumeNeededOnEveryNode`.
        performance_hints: Vec<String>,
    }
}

body! {
    /// A [`GlobalNetworkPolicySpec`] that is only watched.
    pub struct StagedGlobalNetworkPolicySpec {
        /// `Set`, `Delete`, `Learn`, `Ignore`.
        staged_action: String,
        /// Tier; empty is `default`.
        tier: String,
        /// Lower comes first; absent comes last.
        order: Option<f64>,
        /// Rules for traffic to the endpoints.
        ingress: Vec<Rule>,
        /// Rules for traffic from the endpoints.
        egress: Vec<Rule>,
        /// Endpoints it applies to.
        selector: String,
        /// `Ingress`, `Egress`; empty is derived from the rules.
        types: Vec<String>,
        /// Before connection tracking.
        do_not_track: bool,
        /// Before DNAT.
        #[serde(rename = "preDNAT")]
        pre_dnat: bool,
        /// Also for traffic that host endpoints forward.
        apply_on_forward: bool,
        /// Service accounts it applies to.
        service_account_selector: String,
        /// Namespaces it applies to.
        namespace_selector: String,
        /// `AssumeNeededOnEveryNode`.
        performance_hints: Vec<String>,
    }
}

/// A Kubernetes policy that is only watched. `podSelector` is always written.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StagedKubernetesNetworkPolicySpec {
    /// `Set`, `Delete`, `Learn`, `Ignore`.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "crate::meta::null_as_default")]
    pub staged_action: String,
    /// The policy.
    #[serde(flatten)]
    pub policy: k8s::NetworkPolicySpec,
    /// Fields that are not named above.
    #[serde(flatten)]
    pub other: crate::Map,
}

body! {
    /// A group of policies.
    pub struct TierSpec {
        /// Lower comes first; absent comes last.
        order: Option<f64>,
        /// `Deny` or `Pass`: what becomes of traffic that a policy of the tier selected and no rule decided.
        default_action: Option<String>,
    }
}

body! {
    /// Addresses that selectors can find, in a namespace.
    pub struct NetworkSetSpec {
        /// Addresses and CIDRs.
        nets: Vec<String>,
    }
}

body! {
    /// Addresses that selectors can find.
    pub struct GlobalNetworkSetSpec {
        /// Addresses and CIDRs.
        nets: Vec<String>,
    }
}

body! {
    /// Rules and labels shared by endpoints.
    pub struct ProfileSpec {
        /// Rules for traffic to the endpoints.
        ingress: Vec<Rule>,
        /// Rules for traffic from the endpoints.
        egress: Vec<Rule>,
        /// Labels that endpoints inherit.
        labels_to_apply: StringMap,
    }
}

/// One rule. `action` is always written.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Rule {
    /// `Allow`, `Deny`, `Log`, `Pass`.
    #[serde(deserialize_with = "crate::meta::null_as_default")]
    pub action: String,
    /// The optional parts.
    #[serde(flatten)]
    pub matches: RuleMatches,
}

impl std::ops::Deref for Rule {
    type Target = RuleMatches;
    fn deref(&self) -> &RuleMatches {
        &self.matches
    }
}

impl std::ops::DerefMut for Rule {
    fn deref_mut(&mut self) -> &mut RuleMatches {
        &mut self.matches
    }
}

body! {
    /// What a rule matches. Everything that is present must match.
    pub struct RuleMatches {
        /// 4 or 6.
        ip_version: Option<i64>,
        /// Name or number.
        protocol: Option<IntOrString>,
        /// Type and code.
        icmp: Option<IcmpFields>,
        /// Name or number.
        not_protocol: Option<IntOrString>,
        /// Type and code.
        #[serde(rename = "notICMP")]
        not_icmp: Option<IcmpFields>,
        /// Where the traffic comes from.
        source: EntityRule,
        /// Where the traffic goes.
        destination: EntityRule,
        /// Requests of HTTP.
        http: Option<HttpMatch>,
        /// Annotations.
        metadata: Option<RuleMetadata>,
    }
}

body! {
    /// ICMP's type and code.
    pub struct IcmpFields {
        /// Type.
        #[serde(rename = "type")]
        icmp_type: Option<i64>,
        /// Code; needs a type.
        code: Option<i64>,
    }
}

body! {
    /// One side of a rule.
    pub struct EntityRule {
        /// Any of these CIDRs.
        nets: Vec<String>,
        /// Endpoints and network sets with these labels.
        selector: String,
        /// Namespaces of those endpoints.
        namespace_selector: String,
        /// Endpoints of a Kubernetes service.
        services: Option<ServiceMatch>,
        /// Any of these ports.
        ports: Vec<Port>,
        /// None of these CIDRs.
        not_nets: Vec<String>,
        /// Not endpoints with these labels.
        not_selector: String,
        /// None of these ports.
        not_ports: Vec<Port>,
        /// Service accounts of those endpoints.
        service_accounts: Option<ServiceAccountMatch>,
    }
}

body! {
    /// A Kubernetes service.
    pub struct ServiceMatch {
        /// Name.
        name: String,
        /// Namespace; empty is the policy's.
        namespace: String,
    }
}

body! {
    /// Service accounts by name or label.
    pub struct ServiceAccountMatch {
        /// Any of these names.
        names: Vec<String>,
        /// Those with these labels.
        selector: String,
    }
}

body! {
    /// HTTP requests.
    pub struct HttpMatch {
        /// Any of these methods.
        methods: Vec<String>,
        /// Any of these paths.
        paths: Vec<HttpPath>,
    }
}

body! {
    /// A path, whole or its beginning.
    pub struct HttpPath {
        /// The whole path.
        exact: String,
        /// Its beginning.
        prefix: String,
    }
}

body! {
    /// What a rule carries along.
    pub struct RuleMetadata {
        /// Free-form.
        annotations: StringMap,
    }
}

impl HttpPath {
    /// `{"exact": …}` or `{"prefix": …}`.
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
