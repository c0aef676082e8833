//! Policies, tiers, profiles and network sets.

use super::rule::rules;
use crate::convert::k8s;
use crate::convert::{Problems, net as parse_net, selector};
use crate::value::{NetworkSet, Policy, ProfileRules, StringMap, Tier};
use tortie_api::v3::{self, DEFAULT_TIER, LABEL_NAMESPACE};
use tortie_net::Cidr;

fn tier_or_default(tier: &str) -> String {
    if tier.is_empty() { DEFAULT_TIER.to_owned() } else { tier.to_owned() }
}

fn types(types: &[String]) -> Vec<String> {
    types.iter().map(|t| t.to_ascii_lowercase()).collect()
}

fn staged_action(action: &str) -> Option<String> {
    if action.is_empty() { None } else { Some(action.to_owned()) }
}

/// A policy of a namespace; also what Kubernetes' policies become first.
pub fn network_policy(policy: &v3::NetworkPolicy, problems: &mut Problems) -> Policy {
    let (spec, namespace) = (&policy.spec, policy.metadata.namespace.as_str());
    Policy {
        namespace: namespace.to_owned(),
        tier: tier_or_default(&spec.tier),
        order: spec.order,
        inbound_rules: rules(&spec.ingress, namespace, "spec.ingress", problems),
        outbound_rules: rules(&spec.egress, namespace, "spec.egress", problems),
        selector: selector::namespaced_policy(
            &spec.selector,
            namespace,
            &spec.service_account_selector,
            problems,
        ),
        types: types(&spec.types),
        performance_hints: spec.performance_hints.clone(),
        ..Policy::default()
    }
}

/// A cluster-wide policy.
pub fn global_network_policy(policy: &v3::GlobalNetworkPolicy, problems: &mut Problems) -> Policy {
    let spec = &policy.spec;
    Policy {
        tier: tier_or_default(&spec.tier),
        order: spec.order,
        inbound_rules: rules(&spec.ingress, "", "spec.ingress", problems),
        outbound_rules: rules(&spec.egress, "", "spec.egress", problems),
        selector: selector::global_policy(
            &spec.selector,
            &spec.namespace_selector,
            &spec.service_account_selector,
            problems,
        ),
        types: types(&spec.types),
        do_not_track: spec.do_not_track,
        pre_dnat: spec.pre_dnat,
        apply_on_forward: spec.apply_on_forward,
        performance_hints: spec.performance_hints.clone(),
        ..Policy::default()
    }
}

/// A staged policy of a namespace; `None` if it stages a deletion.
pub fn staged_network_policy(policy: &v3::StagedNetworkPolicy, problems: &mut Problems) -> Option<Policy> {
    let spec = policy.spec.clone();
    if spec.staged_action == "Delete" {
        return None;
    }
    let enforced = v3::NetworkPolicySpec {
        tier: spec.tier,
        order: spec.order,
        ingress: spec.ingress,
        egress: spec.egress,
        selector: spec.selector,
        types: spec.types,
        service_account_selector: spec.service_account_selector,
        performance_hints: spec.performance_hints,
        other: spec.other,
    };
    let object =
        v3::NetworkPolicy { metadata: policy.metadata.clone(), spec: enforced, ..Default::default() };
    let value = network_policy(&object, problems);
    Some(Policy { staged_action: staged_action(&spec.staged_action), ..value })
}

/// A staged cluster-wide policy; `None` if it stages a deletion.
pub fn staged_global_network_policy(
    policy: &v3::StagedGlobalNetworkPolicy,
    problems: &mut Problems,
) -> Option<Policy> {
    let spec = policy.spec.clone();
    if spec.staged_action == "Delete" {
        return None;
    }
    let enforced = v3::GlobalNetworkPolicySpec {
        tier: spec.tier,
        order: spec.order,
        ingress: spec.ingress,
        egress: spec.egress,
        selector: spec.selector,
        types: spec.types,
        do_not_track: spec.do_not_track,
        pre_dnat: spec.pre_dnat,
        apply_on_forward: spec.apply_on_forward,
        service_account_selector: spec.service_account_selector,
        namespace_selector: spec.namespace_selector,
        performance_hints: spec.performance_hints,
        other: spec.other,
    };
    let object =
        v3::GlobalNetworkPolicy { metadata: policy.metadata.clone(), spec: enforced, ..Default::default() };
    let value = global_network_policy(&object, problems);
    Some(Policy { staged_action: staged_action(&spec.staged_action), ..value })
}

/// A staged Kubernetes policy; `None` if it stages a deletion, or if a rule cannot be converted: a preview must not
/// show another policy than the one it stages.
pub fn staged_kubernetes_network_policy(
    policy: &v3::StagedKubernetesNetworkPolicy,
    problems: &mut Problems,
) -> Option<Policy> {
    if policy.spec.staged_action == "Delete" {
        return None;
    }
    let object = tortie_api::k8s::NetworkPolicy {
        metadata: tortie_api::k8s::Meta {
            name: policy.metadata.name.clone(),
            namespace: policy.metadata.namespace.clone(),
            ..Default::default()
        },
        spec: policy.spec.policy.clone(),
    };
    let enforced = k8s::network_policy(&object, problems);
    if !problems.is_empty() {
        return None;
    }
    let value = network_policy(&enforced, problems);
    Some(Policy { staged_action: staged_action(&policy.spec.staged_action), ..value })
}

/// A tier. Any default action but `Pass` is `Deny`.
pub fn tier(tier: &v3::Tier) -> Tier {
    let pass = tier.spec.default_action.as_deref() == Some("Pass");
    Tier { order: tier.spec.order, default_action: if pass { "Pass" } else { "Deny" }.to_owned() }
}

/// Rules and inherited labels of a profile.
pub fn profile(profile: &v3::Profile, problems: &mut Problems) -> (ProfileRules, StringMap) {
    let spec = &profile.spec;
    let profile_rules = ProfileRules {
        inbound_rules: rules(&spec.ingress, "", "spec.ingress", problems),
        outbound_rules: rules(&spec.egress, "", "spec.egress", problems),
    };
    (profile_rules, spec.labels_to_apply.clone())
}

/// Addresses of a set; what is no address is left out and reported.
fn set_nets(nets: &[String], problems: &mut Problems) -> Vec<Cidr> {
    let mut parsed = Vec::with_capacity(nets.len());
    for (i, net) in nets.iter().enumerate() {
        match parse_net(net) {
            Ok(net) => parsed.push(net),
            Err(error) => problems.dropped(&format!("spec.nets[{i}]"), error.to_string()),
        }
    }
    parsed
}

/// A set of a namespace, with its namespace's labels.
pub fn network_set(set: &v3::NetworkSet, problems: &mut Problems) -> NetworkSet {
    let namespace = &set.metadata.namespace;
    let mut labels = set.metadata.labels.clone();
    labels.insert(LABEL_NAMESPACE.to_owned(), namespace.clone());
    NetworkSet {
        nets: set_nets(&set.spec.nets, problems),
        labels,
        profile_ids: vec![k8s::namespace_profile_name(namespace)],
    }
}

/// A cluster-wide set.
pub fn global_network_set(set: &v3::GlobalNetworkSet, problems: &mut Problems) -> NetworkSet {
    NetworkSet {
        nets: set_nets(&set.spec.nets, problems),
        labels: set.metadata.labels.clone(),
        profile_ids: Vec::new(),
    }
}
