//! Held flows: undisturbed, interrupted, reset.

use std::time::{Duration, Instant};

use tortie_net::Family;
use tortie_probe::{Flow, Hold, HoldError, Proto};
use tortie_test_netns::isolated;

use crate::network::Network;

const OPEN: Duration = Duration::from_secs(5);

fn flows(network: &Network) -> Vec<Flow> {
    let protocols = [Proto::Tcp, Proto::Udp];
    Family::ALL.into_iter().flat_map(|f| protocols.map(|p| network.flow(0, 1, f, p))).collect()
}

fn while_holding(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::thread::park_timeout(end - Instant::now());
    }
}

#[test]
fn an_undisturbed_flow_loses_nothing() {
    isolated(|| {
        let network = Network::new(2);
        let hold = Hold::start(&flows(&network), OPEN).unwrap();
        while_holding(Duration::from_millis(500));
        let report = hold.stop().unwrap();
        assert_eq!(report.flows.len(), 4);
        for flow in &report.flows {
            assert!(flow.broken.is_none() && flow.sent > 5 && flow.answered == flow.sent, "{flow:?}");
        }
        assert_eq!(report.disturbed(Duration::from_secs(5)).count(), 0);
    });
}

#[test]
fn an_interruption_is_measured() {
    isolated(|| {
        let network = Network::new(2);
        let hold = Hold::start(&flows(&network), OPEN).unwrap();
        network.forward("meta l4proto { tcp, udp } drop");
        while_holding(Duration::from_millis(400));
        network.forward("accept");
        while_holding(Duration::from_millis(1500));
        let report = hold.stop().unwrap();
        for flow in &report.flows {
            assert!(flow.longest_gap >= Duration::from_millis(380) && flow.broken.is_none(), "{flow:?}");
            // TCP sends again, UDP does not.
            assert_eq!(flow.answered < flow.sent, flow.flow.proto == Proto::Udp, "{flow:?}");
        }
        assert_eq!(report.disturbed(Duration::from_millis(300)).count(), 4);
    });
}

#[test]
fn a_reset_and_a_refusal_at_the_start_are_named() {
    isolated(|| {
        let network = Network::new(2);
        let closed = Flow { port: 81, ..network.flow(0, 1, Family::V4, Proto::Tcp) };
        let silent = Flow { port: 81, ..network.flow(0, 1, Family::V6, Proto::Udp) };
        let open = network.flow(0, 1, Family::V6, Proto::Tcp);
        let hold = Hold::start(&[closed, silent, open], Duration::from_millis(300)).unwrap();
        network.listeners.remove(&network.hosts[1]);
        while_holding(Duration::from_millis(100));
        let report = hold.stop().unwrap();
        let broken: Vec<_> = report.flows.iter().map(|flow| flow.broken.as_deref().unwrap_or("")).collect();
        assert!(broken[0].contains("refused"), "{broken:?}");
        assert_eq!(broken[1], "cannot be opened: no answer");
        assert!(!broken[2].is_empty(), "{broken:?}");
        assert!(report.flows[2].answered > 0);
    });
}

#[test]
fn echo_requests_cannot_be_held() {
    isolated(|| {
        let network = Network::new(2);
        let flow = network.flow(0, 1, Family::V4, Proto::Icmp);
        assert!(matches!(Hold::start(&[flow], OPEN), Err(HoldError::Unsupported { .. })));
    });
}
