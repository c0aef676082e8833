//! What judging policies costs: reading ten thousand of them from YAML, and judging them. Prints a table.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use std::hint::black_box;
use std::time::{Duration, Instant};
use tortie_api::document;
use tortie_api::validate::{Options, validate_value};

const POLICIES: usize = 10_000;

fn main() {
    println!("{POLICIES} policies of four rules");
    let text: String = (0..POLICIES).map(policy).collect();
    let (documents, read) = timed(|| document::parse("bench", &text));
    let documents = documents.expect("the policies are YAML");
    row("read from YAML", read, resident());
    for (name, options) in
        [("judge the form", Options { schema: false, client: false }), ("judge everything", Options::ALL)]
    {
        let (problems, time) = timed(|| {
            documents.iter().map(|document| validate_value(&document.value, options).len()).sum::<usize>()
        });
        assert_eq!(problems, 0, "the policies are good");
        row(name, time, resident());
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = black_box(work());
    (result, start.elapsed())
}

fn row(name: &str, time: Duration, resident: u64) {
    let each = time.as_secs_f64() * 1e6 / POLICIES as f64;
    println!("{name:20} {:>8.1} ms {each:>8.2} us each {resident:>6} MiB resident", time.as_secs_f64() * 1e3);
}

/// Memory of this process, in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn policy(n: usize) -> String {
    format!(
        "---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata:
  name: policy-{n}
  namespace: team-{team}
  labels: {{app: web, team: team-{team}}}
spec:
  order: {n}
  selector: app == 'web-{n}' && tier in {{'front', 'edge'}}
  types: [Ingress, Egress]
  ingress:
  - action: Allow
    protocol: TCP
    source: {{selector: role == 'client-{n}', namespaceSelector: team == 'team-{team}'}}
    destination: {{ports: [80, 443, \"8000:8100\", metrics]}}
  - action: Allow
    protocol: UDP
    source: {{nets: [10.{team}.0.0/16, 192.168.0.0/24], notNets: [10.{team}.7.0/24]}}
    destination: {{ports: [53]}}
  egress:
  - action: Allow
    destination: {{services: {{name: db, namespace: team-{team}}}}}
  - action: Deny
    protocol: TCP
    destination: {{nets: [\"fd00::/8\"], ports: [25]}}
",
        team = n % 200
    )
}
