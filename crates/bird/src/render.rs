//! The text of `bird.conf`.
//!
//! One daemon serves both families; what differs between them is a parameter. Per family there is
//! * a filter for what the kernel gets: routes learnt by BGP, and blackholes for the node's own blocks, so that
//!   packets to unused addresses of a block do not travel in circles;
//! * a function for what peers get: the node's blocks as a whole, single addresses of pools that lie outside of them
//!   (borrowed ones), service addresses. Nothing else leaves the node.

use crate::filter::{Direction, PREFERENCE_BASE, function_name};
use crate::session::{is_writable, sessions};
use crate::text::Text;
use crate::{
    BindMode, Encapsulation, Input, LogSeverity, NextHopMode, Pool, PrefixCommunities, Problem, Session,
};
use std::collections::BTreeSet;
use std::net::IpAddr;
use tortie_net::{Cidr, Family};

/// Preference of a learnt route that is to win over a local one.
const OVERRIDE_PREFERENCE: u32 = 200;

/// The configuration, and what of the input is not in it.
pub fn render(input: &Input) -> (String, Vec<Problem>) {
    let (sessions, mut problems) = sessions(input);
    let mut text = Text::default();
    text.line(&format!(
        "# Configuration of BIRD for node {}, generated: changes are lost.",
        one_line(&input.node)
    ));
    text.gap();
    text.line(&format!("log stderr {};", log_classes(input.configuration.log)));
    text.line(&format!("router id {};", input.router_id()));
    text.line("timeformat protocol iso long;");
    text.gap();
    interfaces(input, &mut problems, &mut text);
    for family in Family::ALL {
        Table::new(input, family).render(&sessions, &mut text);
    }
    let used: BTreeSet<&String> = sessions.iter().flat_map(|s| &s.filters).collect();
    for (name, filter) in input.filters.iter().filter(|(name, _)| used.contains(name)) {
        filter.render(name, &mut text);
    }
    if !sessions.is_empty() {
        template(input, &mut text);
    }
    for session in &sessions {
        render_session(input, session, &mut text);
    }
    (text.finish(), problems)
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn log_classes(severity: LogSeverity) -> &'static str {
    match severity {
        LogSeverity::Debug => "all",
        LogSeverity::Info => "{ trace, info, remote, warning, error, auth, fatal, bug }",
        LogSeverity::Warning => "{ warning, error, auth, fatal, bug }",
        LogSeverity::Error => "{ error, fatal, bug }",
        LogSeverity::Fatal => "{ fatal, bug }",
    }
}

/// What protocols report about themselves.
fn debug_option(severity: LogSeverity, text: &mut Text) {
    match severity {
        LogSeverity::Debug => text.line("debug all;"),
        LogSeverity::Info => text.line("debug { states };"),
        LogSeverity::Warning | LogSeverity::Error | LogSeverity::Fatal => {}
    }
}

/// Interfaces and their addresses. Workload interfaces have none of interest, and kube-proxy's has one for each
/// service.
fn interfaces(input: &Input, problems: &mut Vec<Problem>, text: &mut Text) {
    let severity = input.configuration.log;
    text.block("protocol device", |text| {
        debug_option(severity, text);
        text.line("scan time 2;");
    });
    let mut patterns = Vec::new();
    for pattern in &input.configuration.ignored_interfaces {
        if is_writable(pattern) {
            patterns.push(format!("-\"{pattern}\""));
        } else {
            let reason = format!("spec.ignoredInterfaces: {pattern:?} is no pattern; it is left out");
            problems.push(Problem { object: "BGPConfiguration default".to_owned(), reason });
        }
    }
    let prefixes = if input.interface_prefix.is_empty() { "cali" } else { &input.interface_prefix };
    let prefixes = prefixes.split(',').map(str::trim).filter(|p| is_writable(p));
    patterns.extend(prefixes.map(|prefix| format!("-\"{prefix}*\"")));
    patterns.extend(["-\"kube-ipvs*\"".to_owned(), "\"*\"".to_owned()]);
    text.block("protocol direct", |text| {
        debug_option(severity, text);
        text.line("ipv4;");
        text.line("ipv6;");
        text.line(&format!("interface {};", patterns.join(", ")));
    });
    text.gap();
}

/// The part of one family.
struct Table<'a> {
    input: &'a Input,
    family: Family,
    pools: Vec<Pool>,
    blocks: Vec<Cidr>,
    advertised: Vec<Cidr>,
    foreign: Vec<Cidr>,
    priority: u32,
}

impl<'a> Table<'a> {
    fn new(input: &'a Input, family: Family) -> Self {
        let mut pools: Vec<Pool> =
            input.pools.iter().copied().filter(|p| p.cidr.family() == family).collect();
        // A pool within another decides about its part.
        pools.sort_by_key(|p| (std::cmp::Reverse(p.cidr.len()), p.cidr));
        let of_family = |prefixes: &[Cidr]| -> Vec<Cidr> {
            let sorted: BTreeSet<Cidr> = prefixes.iter().copied().filter(|c| c.family() == family).collect();
            sorted.into_iter().collect()
        };
        Self {
            input,
            family,
            pools,
            blocks: of_family(&input.blocks),
            advertised: of_family(&input.advertised),
            foreign: of_family(&input.foreign),
            priority: input.configuration.priorities.of(family),
        }
    }

    fn version(&self) -> u8 {
        self.family.version()
    }

    fn render(&self, sessions: &[Session], text: &mut Text) {
        let version = self.version();
        text.line(&format!("# IPv{version}."));
        self.communities(text);
        self.aggregation(text);
        self.export(text);
        self.kernel_filter(sessions, text);
        text.block(&format!("protocol kernel kernel{version}"), |text| {
            text.line("learn;");
            text.line("persist;");
            text.line("scan time 2;");
            text.line("metric 0; # routes carry their own");
            text.line("graceful restart;");
            text.line("merge paths on;");
            text.option(&self.family.to_string(), |text| {
                text.line("import all; # next hops may lie behind any of them");
                text.line(&format!("export filter calico_kernel_programming{version};"));
            });
        });
        self.static_routes(sessions, text);
        text.gap();
    }

    fn community_rules(&self) -> impl Iterator<Item = &'a PrefixCommunities> {
        let family = self.family;
        self.input.configuration.communities.iter().filter(move |r| r.cidr.family() == family)
    }

    fn communities(&self, text: &mut Text) {
        if self.community_rules().next().is_none() {
            return;
        }
        text.block(&format!("function apply_communities{}()", self.version()), |text| {
            for rule in self.community_rules() {
                let adds = rule.communities.iter().map(|c| format!("{}.add({c});", c.attribute()));
                let adds: Vec<String> = adds.collect();
                text.line(&format!("if net ~ {} then {{ {} }}", rule.cidr, adds.join(" ")));
            }
        });
    }

    /// Peers get a block as a whole and nothing beneath it, other than what is more important than usual: an address
    /// on the move.
    fn aggregation(&self, text: &mut Text) {
        if self.blocks.is_empty() {
            return;
        }
        text.block(&format!("function calico_aggr{}()", self.version()), |text| {
            for block in &self.blocks {
                text.line(&format!("if net = {block} then accept;"));
                if !block.is_host() {
                    let priority = self.priority;
                    text.line(&format!(
                        "if net ~ {block} then {{ if krt_metric < {priority} then accept; else reject; }}"
                    ));
                }
            }
        });
    }

    fn export(&self, text: &mut Text) {
        let (version, routes) = (self.version(), self.input.configuration.cluster_routes);
        text.block(&format!("function calico_export_to_bgp_peers{version}(bool same_as)"), |text| {
            for pool in self.pools.iter().filter(|p| !p.export) {
                text.line(&format!("if net ~ {} then reject; # disableBGPExport", pool.cidr));
            }
            text.block("if defined(ifname) then", |text| {
                let mut tunnels = vec!["*.cali", "*.calico"];
                if !routes.ipip {
                    tunnels.push("tunl0");
                }
                let tunnels: Vec<String> = tunnels.iter().map(|t| format!("ifname ~ \"{t}\"")).collect();
                text.line(&format!("if same_as && ({}) then reject; # the agent's", tunnels.join(" || ")));
                text.line("if ifname ~ \"bpf*.cali\" then reject;");
            });
            if self.community_rules().next().is_some() {
                text.line(&format!("apply_communities{version}();"));
            }
            if !self.blocks.is_empty() {
                text.line(&format!("calico_aggr{version}();"));
            }
            for prefix in &self.advertised {
                text.line(&format!("if net ~ {prefix} then accept;"));
            }
            for pool in self.pools.iter().filter(|p| p.export) {
                if self.foreign.iter().any(|network| network.overlaps(pool.cidr)) {
                    // What the node is connected to is no pod's, and peers would lose their own way to it.
                    let (cidr, bits) = (pool.cidr, self.family.bits());
                    text.line(&format!(
                        "if net ~ [ {cidr}{{{bits},{bits}}} ] then accept; # and others' networks"
                    ));
                } else {
                    text.line(&format!("if net ~ {} then accept;", pool.cidr));
                }
            }
            text.line("reject;");
        });
    }

    fn kernel_filter(&self, sessions: &[Session], text: &mut Text) {
        let (version, priority) = (self.version(), self.priority);
        text.block(&format!("filter calico_kernel_programming{version}"), |text| {
            let statics: Vec<Cidr> =
                self.blackholes().chain(self.gateways(sessions).into_iter().map(|(peer, _)| peer)).collect();
            for prefix in statics {
                text.line(&format!("if net = {prefix} && source = RTS_STATIC then accept;"));
            }
            text.line("if source != RTS_BGP then reject;");
            for prefix in &self.advertised {
                text.line(&format!("if net ~ {prefix} then reject; # services"));
            }
            text.block("if !defined(krt_metric) then", |text| {
                text.line(&format!("krt_metric = {priority};"));
                text.line(&format!(
                    "if defined(bgp_local_pref) && bgp_local_pref < {PREFERENCE_BASE} then krt_metric = {PREFERENCE_BASE} - bgp_local_pref;"
                ));
            });
            for network in &self.foreign {
                text.line(&format!("if net = {network} then accept; # in a pool by mistake"));
            }
            for pool in &self.pools {
                let verdict = if self.is_ours(pool.encapsulation) { "accept;" } else { "reject; # the agent's" };
                text.line(&format!("if net ~ {} then {verdict}", pool.cidr));
            }
            text.line("accept;");
        });
    }

    /// Peers that are reached by a gateway of their own.
    fn gateways(&self, sessions: &[Session]) -> BTreeSet<(Cidr, IpAddr)> {
        let of_family = sessions.iter().filter(|s| s.family() == self.family);
        of_family.filter_map(|s| Some((Cidr::host(s.peer), s.reachable_by?))).collect()
    }

    /// True if BIRD writes the routes of such pools to the kernel.
    fn is_ours(&self, encapsulation: Encapsulation) -> bool {
        let routes = self.input.configuration.cluster_routes;
        match encapsulation {
            Encapsulation::None => routes.unencapsulated,
            Encapsulation::Ipip => routes.ipip,
            Encapsulation::Vxlan => false,
        }
    }

    /// Blocks of one address have no blackhole: it would hide the address.
    fn blackholes(&self) -> impl Iterator<Item = Cidr> + '_ {
        self.blocks.iter().copied().filter(|b| !b.is_host())
    }

    fn static_routes(&self, sessions: &[Session], text: &mut Text) {
        text.block(&format!("protocol static static{}", self.version()), |text| {
            text.line(&format!("{};", self.family));
            for prefix in self.blackholes() {
                text.line(&format!("route {prefix} blackhole;"));
            }
            for prefix in self.advertised.iter().filter(|p| !self.blocks.contains(p)) {
                text.line(&format!("route {prefix} blackhole; # services"));
            }
            for (peer, gateway) in self.gateways(sessions) {
                text.line(&format!("route {peer} via {gateway};"));
            }
        });
    }
}

/// What all sessions have in common.
fn template(input: &Input, text: &mut Text) {
    text.block("template bgp bgp_template", |text| {
        debug_option(input.configuration.log, text);
        text.line("graceful restart on;");
        text.line("connect delay time 1;");
        text.line("connect retry time 5;");
        text.line("error wait time 2,10;");
    });
}

fn render_session(input: &Input, session: &Session, text: &mut Text) {
    let own = input.own();
    let own_port = input.port_of(&own).map(|p| format!(" port {p}")).unwrap_or_default();
    // BIRD listens where sessions speak from.
    let bound =
        (input.configuration.bind == BindMode::NodeIp).then(|| own.address(session.family())).flatten();
    let source = session.source.or(bound).map(|a| format!(" {a}")).unwrap_or_default();
    let peer_port = session.port.map(|p| format!(" port {p}")).unwrap_or_default();
    text.gap();
    text.block(&format!("protocol bgp {} from bgp_template", session.name()), |text| {
        text.line(&format!("local{source}{own_port} as {};", session.local_as));
        text.line(&format!("neighbor {}{peer_port} as {};", session.peer, session.peer_as));
        if bound.is_some() {
            text.line("strict bind on;");
        }
        match session.ttl_security.filter(|hops| *hops > 0) {
            Some(hops) => {
                text.line(&format!("multihop {hops};"));
                text.line("ttl security on;");
            }
            None => text.line("multihop;"),
        }
        if session.passive {
            text.line("passive on;");
        }
        if let Some(password) = &session.password {
            text.line(&format!("password \"{password}\";"));
        }
        // The ranges are those that BIRD takes; its hold time is 240 s.
        if let Some(seconds) = session.restart_seconds.map(|s| s.min(4095)) {
            text.line(&format!("graceful restart time {seconds};"));
        }
        if let Some(seconds) = session.keepalive_seconds.filter(|s| *s > 0).map(|s| s.min(240)) {
            text.line(&format!("keepalive time {seconds};"));
        }
        if let Some(cluster) = session.reflector_cluster {
            text.line("rr client;");
            text.line(&format!("rr cluster id {cluster};"));
        }
        if session.allowed_local_as > 0 {
            text.line(&format!("allow local as {};", session.allowed_local_as));
        }
        text.option(&session.family().to_string(), |text| channel(input, session, text));
    });
}

fn channel(input: &Input, session: &Session, text: &mut Text) {
    let (family, same_as) = (session.family(), session.is_internal());
    let priority = input.configuration.priorities.of(family);
    let ordinary = PREFERENCE_BASE.saturating_sub(priority);
    let call_filters = |direction: Direction, text: &mut Text| {
        for name in &session.filters {
            if input.filters.get(name).is_some_and(|f| !f.rules(direction, family).is_empty()) {
                text.line(&format!("{}({same_as});", function_name(name, direction, family)));
            }
        }
    };
    text.option("import filter", |text| {
        call_filters(Direction::Import, text);
        text.line(&format!(
            "if defined(bgp_local_pref) && bgp_local_pref > {ordinary} then preference = {OVERRIDE_PREFERENCE};"
        ));
        text.line("accept;");
    });
    text.option("export filter", |text| {
        text.line("if source = RTS_BGP && defined(bgp_local_pref) then {");
        text.line(&format!(
            "  if bgp_local_pref < {PREFERENCE_BASE} then krt_metric = {PREFERENCE_BASE} - bgp_local_pref;"
        ));
        text.line("} else {");
        // The kernel knows no metric 0 for IPv6, and for IPv4 it means that nobody chose one.
        text.line(&format!("  if !defined(krt_metric) || krt_metric = 0 then krt_metric = {priority};"));
        text.line(&format!(
            "  if krt_metric < {PREFERENCE_BASE} then bgp_local_pref = {PREFERENCE_BASE} - krt_metric;"
        ));
        text.line("}");
        call_filters(Direction::Export, text);
        text.line(&format!("calico_export_to_bgp_peers{}({same_as});", family.version()));
        text.line("reject;");
    });
    text.line("gateway recursive;");
    text.line("add paths on;");
    match session.next_hop {
        NextHopMode::Own => text.line("next hop self;"),
        NextHopMode::Keep => text.line("next hop keep;"),
        NextHopMode::Auto | NextHopMode::KeepExternal => {}
    }
}

#[cfg(test)]
mod tests;
