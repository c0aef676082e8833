//! An agent's status as people read it: what is wrong comes first, with what to do about it.

use crate::output;
use std::fmt::Write as _;
use std::process::ExitCode;
use tortie_agent_api::{NodeStatus, Problem};

const RED: &str = "31";
const YELLOW: &str = "33";
const GREEN: &str = "32";
const BOLD: &str = "1";

/// Columns of a line of text.
const WIDTH: usize = 100;

/// Ready and nothing wrong, ready with problems, not ready.
pub(super) fn exit(status: &NodeStatus) -> ExitCode {
    match (status.ready, status.problems.iter().any(is_warning)) {
        (true, false) => ExitCode::SUCCESS,
        (true, true) => ExitCode::from(2),
        (false, _) => ExitCode::FAILURE,
    }
}

fn is_warning(problem: &Problem) -> bool {
    problem.severity != "notice"
}

/// The status, in colours or without.
pub fn text(s: &NodeStatus, colour: bool) -> String {
    let mut text = String::new();
    head(&mut text, s, colour);
    problems(&mut text, s, colour);
    if !s.bgp.is_empty() {
        text.push('\n');
        text.push_str(&output::table(
            &["BGP SESSION", "PEER", "STATE", "SINCE", "INFO"],
            s.bgp.iter().map(|b| {
                vec![b.name.clone(), b.peer.clone(), b.state.clone(), b.since.clone(), b.info.clone()]
            }),
        ));
    }
    if !s.endpoints.is_empty() {
        text.push('\n');
        text.push_str(&output::table(
            &["WORKLOAD", "INTERFACE", "ADDRESSES", "STATE", "POLICIES"],
            s.endpoints.iter().map(|e| {
                vec![
                    e.workload.clone(),
                    e.interface.clone(),
                    e.addresses.join(","),
                    e.state.clone(),
                    e.policies.join(", "),
                ]
            }),
        ));
    }
    text
}

// Writing to a String cannot fail.
fn head(text: &mut String, s: &NodeStatus, colour: bool) {
    let wrong = s.problems.iter().filter(|p| is_warning(p)).count();
    let state = match (s.ready, wrong) {
        (true, 0) => paint("ready", GREEN, colour),
        (true, 1) => paint("ready, with a problem", YELLOW, colour),
        (true, n) => paint(&format!("ready, with {n} problems"), YELLOW, colour),
        (false, _) => paint("not ready", RED, colour),
    };
    let _ = writeln!(text, "node       {} ({})", s.node, s.addresses.join(", "));
    let _ = writeln!(
        text,
        "agent      {state}, version {}, pid {}, up {}",
        s.version,
        s.pid,
        span(s.uptime_seconds)
    );
    let _ = writeln!(
        text,
        "datastore  {}, revision {}, enforced up to {}",
        s.sync, s.revision, s.enforced_revision
    );
    for reason in &s.reasons {
        let _ = writeln!(text, "  because  {reason}");
    }
    // What is told as a problem is told once.
    let about = |warning: &str, p: &Problem| {
        !p.field.is_empty() && warning.contains(&p.object) && warning.contains(&p.field)
    };
    let told = |warning: &str| s.problems.iter().any(|p| warning.contains(&p.message) || about(warning, p));
    for warning in s.warnings.iter().filter(|warning| !told(warning)) {
        let _ = writeln!(text, "warning    {warning}");
    }
    if !s.missing_routes.is_empty() {
        let _ = writeln!(text, "no route   {}", s.missing_routes.join(", "));
    }
}

fn problems(text: &mut String, s: &NodeStatus, colour: bool) {
    for (title, code, of) in [("PROBLEMS", YELLOW, true), ("NOTES", BOLD, false)] {
        let mut listed = s.problems.iter().filter(|p| is_warning(p) == of).peekable();
        if listed.peek().is_none() {
            continue;
        }
        let _ = writeln!(text, "\n{title}");
        for problem in listed {
            one(text, problem, code, colour);
        }
    }
    if s.problems_left_off > 0 {
        let _ = writeln!(text, "and {} more of the same kinds", s.problems_left_off);
    }
}

fn one(text: &mut String, problem: &Problem, code: &str, colour: bool) {
    let place = [problem.object.as_str(), problem.field.as_str()];
    let place: Vec<&str> = place.into_iter().filter(|part| !part.is_empty()).collect();
    let name = paint(&problem.name, code, colour);
    let _ = writeln!(text, "{name}  {}  since {}", place.join(" "), problem.since);
    paragraph(text, "    ", &problem.message);
    if !problem.fix.is_empty() {
        paragraph(text, "    fix: ", &problem.fix);
    }
}

/// Words in lines, those after the first as far in as the first one's beginning.
fn paragraph(text: &mut String, begin: &str, words: &str) {
    let mut line = begin.to_owned();
    let mut empty = true;
    for word in words.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(text, "{line}");
            line = " ".repeat(begin.chars().count());
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    let _ = writeln!(text, "{line}");
}

fn paint(text: &str, code: &str, colour: bool) -> String {
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Seconds as `5 d 3 h`, the two largest units.
fn span(seconds: u64) -> String {
    let units =
        [(seconds / 86400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let from = units.iter().position(|(n, _)| *n > 0).unwrap_or(units.len() - 1);
    let parts: Vec<String> = units.iter().skip(from).take(2).map(|(n, unit)| format!("{n} {unit}")).collect();
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tortie_agent_api::{BgpSession, EndpointStatus};

    fn status() -> NodeStatus {
        NodeStatus {
            node: "n1".into(),
            addresses: vec!["10.0.0.1".into(), "fd00::1".into()],
            version: "0.1.0".into(),
            pid: 7,
            uptime_seconds: 3723,
            sync: "in-sync".into(),
            ready: true,
            ..NodeStatus::default()
        }
    }

    fn problem(name: &str, severity: &str) -> Problem {
        Problem {
            name: name.into(),
            severity: severity.into(),
            object: "IPPool wide".into(),
            field: "spec.cidr".into(),
            message: "10.0.0.0/8 holds addresses of the network of Services 10.96.0.0/12; no block is made of them, since pods with such addresses could not be reached".into(),
            fix: "make a pool of other addresses".into(),
            since: "2026-11-21T20:00:00Z".into(),
        }
    }

    #[test]
    fn text_names_what_is_wrong() {
        let status = NodeStatus {
            ready: false,
            reasons: vec!["datastore is away".into()],
            endpoints: vec![EndpointStatus {
                workload: "shop/web-1".into(),
                interface: "cali1".into(),
                addresses: vec!["10.0.0.1".into(), "fd00::1".into()],
                state: "up".into(),
                policies: vec!["NetworkPolicy shop/deny".into()],
            }],
            bgp: vec![BgpSession {
                name: "Mesh_10_0_0_2".into(),
                state: "up".into(),
                ..BgpSession::default()
            }],
            ..status()
        };
        let text = text(&status, false);
        for want in ["not ready", "datastore is away", "shop/web-1", "10.0.0.1,fd00::1", "Mesh_10_0_0_2"] {
            assert!(text.contains(want), "{want} not in\n{text}");
        }
    }

    #[test]
    fn problems_come_with_what_to_do() {
        let mut status = status();
        status.problems = vec![problem("PoolOverlapsServices", "warning"), problem("NodeOdd", "notice")];
        status.warnings = vec![format!("x: {}", status.problems[0].message), "BIRD: away".into()];
        let want = "\
node       n1 (10.0.0.1, fd00::1)
agent      ready, with a problem, version 0.1.0, pid 7, up 1 h 2 min
datastore  in-sync, revision 0, enforced up to 0
warning    BIRD: away

PROBLEMS
PoolOverlapsServices  IPPool wide spec.cidr  since 2026-11-21T20:00:00Z
    10.0.0.0/8 holds addresses of the network of Services 10.96.0.0/12; no block is made of them,
    since pods with such addresses could not be reached
    fix: make a pool of other addresses

NOTES
NodeOdd  IPPool wide spec.cidr  since 2026-11-21T20:00:00Z
    10.0.0.0/8 holds addresses of the network of Services 10.96.0.0/12; no block is made of them,
    since pods with such addresses could not be reached
    fix: make a pool of other addresses
";
        assert_eq!(text(&status, false), want);
        assert!(text(&status, true).contains("\u{1b}[33mPoolOverlapsServices\u{1b}[0m"));
    }

    #[test]
    fn the_exit_status_tells_three_things() {
        let mut status = status();
        assert_eq!(exit(&status), ExitCode::SUCCESS);
        status.problems = vec![problem("NodeOdd", "notice")];
        assert_eq!(exit(&status), ExitCode::SUCCESS);
        status.problems.push(problem("PoolOverlapsServices", "warning"));
        assert_eq!(exit(&status), ExitCode::from(2));
        status.ready = false;
        assert_eq!(exit(&status), ExitCode::FAILURE);
    }

    #[test]
    fn spans_have_two_units() {
        assert_eq!([0, 59, 60, 3600, 90061].map(span), ["0 s", "59 s", "1 min 0 s", "1 h 0 min", "1 d 1 h"]);
    }
}
