//! Floods: silence is proven, and a single packet is noticed.

use std::time::{Duration, Instant};

use tortie_net::Family;
use tortie_probe::{Flood, FloodError, Flow, Proto};
use tortie_test_netns::isolated;

use crate::network::{Network, combinations};

const RATE: u32 = 2000;

/// Spends time in which the flood sends.
fn while_flooding(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::thread::park_timeout(end - Instant::now());
    }
}

fn all_flows(network: &Network) -> Vec<Flow> {
    combinations().map(|(family, proto)| network.flow(0, 1, family, proto)).collect()
}

#[test]
fn what_is_dropped_does_not_arrive() {
    isolated(|| {
        let network = Network::new(2);
        network.forward("drop");
        let flows = all_flows(&network);
        let flood = Flood::start(&flows, RATE).unwrap();
        while_flooding(Duration::from_millis(300));
        let report = flood.stop().unwrap();
        assert!(report.arrived.is_empty(), "{:?}", report.arrived);
        assert!(report.sent_by_flow.iter().all(|sent| *sent > 20), "{report:?}");
        assert_eq!((report.sent, report.refused), (report.sent_by_flow.iter().sum(), 0));
    });
}

#[test]
fn every_packet_that_passes_is_counted() {
    isolated(|| {
        let network = Network::new(2);
        let flows = all_flows(&network);
        let flood = Flood::start(&flows, RATE).unwrap();
        while_flooding(Duration::from_millis(300));
        let report = flood.stop().unwrap();
        let arrived: Vec<u64> = report.arrived.iter().map(|arrival| arrival.packets).collect();
        assert_eq!(arrived, report.sent_by_flow);
        assert!(
            report.arrived.iter().all(|a| a.at == ["h1"] && a.first <= a.last && a.last <= report.lasted)
        );
    });
}

#[test]
fn a_single_packet_through_a_hole_is_noticed() {
    isolated(|| {
        let network = Network::new(2);
        for (family, proto) in combinations() {
            // One packet passes, and never another.
            network.forward("limit rate 1/day burst 1 packets accept\n drop");
            let flow = network.flow(0, 1, family, proto);
            let flood = Flood::start(std::slice::from_ref(&flow), RATE).unwrap();
            while_flooding(Duration::from_millis(100));
            let report = flood.stop().unwrap();
            assert!(report.sent > 10);
            assert_eq!(report.arrived.iter().map(|arrival| arrival.packets).sum::<u64>(), 1, "{flow}");
        }
    });
}

#[test]
fn arrival_counts_without_listener_and_without_way_back() {
    isolated(|| {
        let network = Network::new(2);
        // Whatever h1 answers is lost: no connection is ever established, no datagram echoed.
        network.forward("ip saddr 10.0.1.2 drop\n ip6 saddr fd00:1::2 drop");
        let flows: Vec<Flow> =
            all_flows(&network).into_iter().map(|flow| Flow { port: 4711, ..flow }).collect();
        let flood = Flood::start(&flows, RATE).unwrap();
        while_flooding(Duration::from_millis(100));
        let report = flood.stop().unwrap();
        assert_eq!(report.arrived.len(), flows.len());
    });
}

#[test]
fn the_destinations_own_firewall_protects_it() {
    isolated(|| {
        let network = Network::new(2);
        network.node(1).nft(
            "table inet t { chain in { type filter hook input priority 0\n meta l4proto { tcp, udp } drop\n\
             icmp type echo-request drop\n icmpv6 type echo-request drop\n}\n}\n",
        );
        let flood = Flood::start(&all_flows(&network), RATE).unwrap();
        while_flooding(Duration::from_millis(100));
        let report = flood.stop().unwrap();
        assert!(report.sent > 0 && report.arrived.is_empty(), "{report:?}");
    });
}

#[test]
fn packets_of_others_are_not_taken_for_the_floods() {
    isolated(|| {
        let network = Network::new(2);
        network.forward("ip saddr 10.0.1.2 udp sport != 80 drop");
        let forbidden = network.flow(1, 0, Family::V4, Proto::Udp);
        let allowed = network.flow(0, 1, Family::V4, Proto::Udp);
        let (one, other) =
            (Flood::start(&[forbidden], RATE).unwrap(), Flood::start(&[allowed], RATE).unwrap());
        while_flooding(Duration::from_millis(100));
        let other = other.stop().unwrap();
        assert_eq!(other.arrived.len(), 1);
        assert!(one.stop().unwrap().arrived.is_empty());
    });
}

#[test]
fn what_cannot_be_flooded_is_refused() {
    isolated(|| {
        let network = Network::new(2);
        let flow = network.flow(0, 1, Family::V4, Proto::Sctp);
        assert!(matches!(Flood::start(&[flow], RATE), Err(FloodError::Flow { .. })));
        assert_eq!(Flood::start(&[], RATE).unwrap().stop().unwrap().sent, 0);
    });
}
