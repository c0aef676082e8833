//! Batches: order, errors item by item, size.

use std::net::Ipv4Addr;

use tortie_kernel_net::{Batch, Errno, Route, RouteFilter, RouteKind, RouteProtocol};
use tortie_net::Cidr;
use tortie_test_netns::{Node, isolated};

fn host_route(number: u32) -> Route {
    let addr = Ipv4Addr::from(0x0a00_0000 + number);
    Route::special(Cidr::host(addr.into()), RouteKind::Blackhole).by(RouteProtocol::CALICO)
}

#[test]
fn every_refusal_is_reported_for_its_item() {
    isolated(|| {
        let node = Node::new("n");
        let mut batch = Batch::new();
        for number in 0..5000 {
            // Every seventh a second time.
            batch.add_route(&host_route(number));
            if number % 7 == 0 {
                batch.add_route(&host_route(number));
            }
        }
        let report = node.netlink().commit(&mut batch).unwrap();
        let expected: Vec<usize> =
            (0..5000).step_by(7).enumerate().map(|(nth, number)| number + nth + 1).collect();
        assert_eq!(report.refused.iter().map(|(index, _)| *index).collect::<Vec<_>>(), expected);
        assert!(report.refused.iter().all(|(_, error)| error.errno == Errno::EEXIST));
        assert_eq!(report.error(1).map(|e| e.errno), Some(Errno::EEXIST));
        assert_eq!(report.error(0), None);
        let ours = RouteFilter { protocol: Some(RouteProtocol::CALICO), ..RouteFilter::default() };
        assert_eq!(node.netlink().routes(ours).unwrap().len(), 5000);

        let mut deletion = Batch::new();
        for number in 0..5001 {
            deletion.delete_route(&host_route(number));
        }
        let report = node.netlink().commit(&mut deletion).unwrap();
        assert_eq!(
            report.refused.iter().map(|(i, e)| (*i, e.errno)).collect::<Vec<_>>(),
            [(5000, Errno::ESRCH)]
        );
        assert_eq!(node.netlink().routes(ours).unwrap(), []);
    });
}

#[test]
fn a_batch_may_be_committed_again_and_may_be_empty() {
    isolated(|| {
        let node = Node::new("n");
        assert!(node.netlink().commit(&mut Batch::new()).unwrap().is_ok());
        let mut batch = Batch::new();
        batch.replace_route(&host_route(1));
        assert!(node.netlink().commit(&mut batch).unwrap().is_ok());
        assert!(node.netlink().commit(&mut batch).unwrap().is_ok());
    });
}

#[test]
fn all_refused_at_once_overflows_nothing() {
    isolated(|| {
        let node = Node::new("n");
        let mut batch = Batch::new();
        for number in 0..20_000 {
            batch.delete_route(&host_route(number));
        }
        assert_eq!(node.netlink().commit(&mut batch).unwrap().refused.len(), 20_000);
    });
}
