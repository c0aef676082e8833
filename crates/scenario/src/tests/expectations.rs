//! What lines and tables come to.

use super::*;
use crate::{Expected, Step};
use expect_test::expect;

const HEAD: &str = "scenario: v1
name: x
pods:
- {name: a/web-1, node: 1, listen: [80/tcp, dns=53/udp]}
- {name: a/web-2, node: 2, listen: [80/tcp]}
- {name: b/db, node: 2, listen: [5432/tcp]}
outside:
- {name: world, listen: [443/tcp]}
- {name: old, addresses: [203.0.113.9]}
";

fn step(families: &str, rest: &str) -> Step {
    let mut plan = plan(&format!("{HEAD}families: {families}\nsteps:\n- name: s\n{rest}"));
    plan.steps.remove(0)
}

/// The probes of one family, as text with their expectation.
fn probes(lines: &[&str]) -> String {
    let lines: String = as_lines(lines.iter().map(|l| format!("  - {l}")));
    let step = step("[4]", &format!("  expect:\n{lines}"));
    as_lines(step.probes.iter().map(|p| format!("{} {p}", p.expected)))
}

#[test]
fn every_pair_port_and_family() {
    let step = step("[4, 6]", "  expect: [deny * -> *]\n");
    // Of three pods two each send to 2, 1 and 1 ports, in two families.
    assert_eq!(step.probes.len(), 2 * (2 + 1 + 1) * 2);
    assert!(step.probes.iter().all(|p| p.expected == Expected::Deny && p.line.line == 13));
    let mut distinct = step.probes.clone();
    distinct.dedup();
    assert_eq!(distinct, step.probes);
}

#[test]
fn the_last_line_that_matches_decides() {
    expect![["
        deny a/web-1 -> a/web-2:80/tcp ipv4
        allow a/web-1 -> b/db:5432/tcp ipv4
        skip a/web-2 -> a/web-1:53/udp ipv4
        allow a/web-2 -> a/web-1:80/tcp ipv4
        deny a/web-2 -> b/db:5432/tcp ipv4
        reject b/db -> a/web-1:53/udp ipv4
        reject b/db -> a/web-1:80/tcp ipv4
        reject b/db -> a/web-2:80/tcp ipv4
    "]]
    .assert_eq(&probes(&[
        "deny * -> *",
        "allow a/web-* -> b/db",
        "deny a/*, !a/web-1 -> b/db:5432/tcp",
        "allow pods@2 -> pods@1:80",
        "skip a/web-2 -> a/web-*:dns",
        "reject !a/* -> a/*",
    ]));
}

#[test]
fn nodes_and_the_outside_only_where_named() {
    let found = probes(&[
        "deny * -> *",
        "allow outside:* -> a/web-1:80",
        "allow node:2 -> b/*",
        "allow b/db -> node:1:22",
        "allow b/db -> node:*:53/udp",
        "deny outside:world -> node:1:icmp",
        "allow b/db -> outside:world:443",
        "deny node:1 -> outside:world",
    ]);
    let named = as_lines(
        found.lines().filter(|l| l.contains(':') && (l.contains("node:") || l.contains("outside:"))),
    );
    expect![["
        allow b/db -> node:1:22/tcp ipv4
        allow b/db -> node:1:53/udp ipv4
        allow b/db -> node:2:53/udp ipv4
        allow b/db -> node:3:53/udp ipv4
        allow b/db -> outside:world:443/tcp ipv4
        deny node:1 -> outside:world:443/tcp ipv4
        allow node:2 -> b/db:5432/tcp ipv4
        allow outside:world -> a/web-1:80/tcp ipv4
        deny outside:world -> node:1:icmp ipv4
        allow outside:old -> a/web-1:80/tcp ipv4
    "]]
    .assert_eq(&named);
}

#[test]
fn icmp_only_where_named_and_not_by_lines_without_it() {
    let found = probes(&["allow a/* -> b/db:icmp", "deny * -> *"]);
    let icmp: Vec<&str> = found.lines().filter(|l| l.contains("icmp")).collect();
    assert_eq!(icmp, ["allow a/web-1 -> b/db:icmp ipv4", "allow a/web-2 -> b/db:icmp ipv4"]);
}

#[test]
fn a_pod_to_itself_only_by_its_full_name() {
    let found = probes(&["deny * -> *", "allow b/* -> b/db, a/web-1", "allow a/web-1, b/db -> a/web-1:80"]);
    let own: Vec<&str> =
        found.lines().filter(|l| l.contains("a/web-1 -> a/web-1") || l.contains("b/db -> b/db")).collect();
    assert_eq!(own, ["allow a/web-1 -> a/web-1:80/tcp ipv4"]);
}

#[test]
fn families_of_lines_and_of_peers() {
    let step = step(
        "[4, 6]",
        "  expect: [deny * -> *, allow * -> b/db ipv6, 'allow outside:old -> b/db', 'allow a/web-1 -> a/web-2 [ipv4]']\n",
    );
    let allowed = as_lines(step.probes.iter().filter(|p| p.expected == Expected::Allow));
    expect![["
        a/web-1 -> a/web-2:80/tcp ipv4
        a/web-1 -> b/db:5432/tcp ipv6
        a/web-2 -> b/db:5432/tcp ipv6
        outside:old -> b/db:5432/tcp ipv4
    "]]
    .assert_eq(&allowed);
}

#[test]
fn a_table_is_lines() {
    let table = "  matrix:
  - port: 80/tcp
    table: |
                 a/web-1  a/web-2
      a/web-1    -        x
      a/web-2    .        -

      b/db       .        x
  - port: [dns, 5432]
    families: [4]
    table: |
      source   a/web-1  b/db
      a/web-1  -        .
      a/web-2  -        .
      b/db     x        -
";
    let step = step("[4]", table);
    let text = as_lines(step.probes.iter().map(|p| format!("{} {} {p}", p.line.line, p.expected)));
    expect![["
        17 deny a/web-1 -> a/web-2:80/tcp ipv4
        25 allow a/web-1 -> b/db:5432/tcp ipv4
        26 skip a/web-2 -> a/web-1:53/udp ipv4
        18 allow a/web-2 -> a/web-1:80/tcp ipv4
        26 allow a/web-2 -> b/db:5432/tcp ipv4
        27 deny b/db -> a/web-1:53/udp ipv4
        20 allow b/db -> a/web-1:80/tcp ipv4
        20 deny b/db -> a/web-2:80/tcp ipv4
    "]]
    .assert_eq(&text);
}
