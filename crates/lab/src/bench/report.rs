//! From what the labs measured to the table: each line beside a peer or a bound of the same run.

use super::Row;
use super::kubernetes::{
    ADD, ALLOWED, ANSWERED, BURST, BURST_ADD, CHECKED, DENIED, FIRST_ANSWER, FIRST_READY, IDLE_CPU,
    IDLE_MEMORY, START_CPU, START_MEMORY, STARTS, Samples, TOLD,
};
use super::plan::Plan;

/// How much longer than on a bridge pods may take to be ready.
const TOLERATED: f64 = 1.1;

/// The lines, in the order in which people ask for them.
pub(crate) fn rows(plan: &Plan, tortie: &Samples, bridge: &Samples) -> Vec<Row> {
    let of = |samples: &Samples, name: &str| samples.get(name).cloned().unwrap_or_default();
    let row = |what: &str, unit: &str, name: &str| Row::of(what, unit, of(tortie, name));
    let peer = |name: &str| Row::of("", "", of(bridge, name));
    let own = |name: &str| Row::of("", "", of(tortie, name));
    let pods = plan.pods;
    let mut rows = vec![
        row("ADD as containerd sees it, one pod at a time", "ms", ADD).beside(&peer(ADD), "bridge"),
        row(&format!("ADD as containerd sees it, mean of {pods} at once"), "ms", BURST_ADD)
            .beside(&peer(BURST_ADD), "bridge"),
        burst(row(&format!("{pods} pods, apply to all Ready"), "s", BURST), &peer(BURST), bridge),
        row("a new node's start to its first pod Ready", "s", FIRST_READY)
            .beside(&peer(FIRST_READY), "bridge"),
        row("a new node's start to its first pod's answer", "s", FIRST_ANSWER)
            .beside(&peer(FIRST_ANSWER), "bridge, whose routes stand already"),
        row("policy applied to denied on all nodes", "ms", DENIED)
            .beside(&own(TOLD), "the API server's event at a watcher"),
        row("policy deleted to allowed on all nodes", "ms", ALLOWED)
            .beside(&own(TOLD), "the API server's event at a watcher"),
        row("  the API server's own answer", "ms", ANSWERED),
    ];
    let cost = |what: String, unit: &str, name: &str| {
        let peer = own(&format!("{name}kube-proxy"));
        row(&what, unit, &format!("{name}agent")).beside(&peer, "kube-proxy of the same nodes")
    };
    rows.push(cost(format!("agent idle, {pods} pods: CPU"), "mcores", IDLE_CPU));
    rows.push(cost(format!("agent idle, {pods} pods: memory"), "MB", IDLE_MEMORY));
    let starts = plan.starts;
    let seconds = own(STARTS).p50;
    let note = |row: Row| {
        let kubelet = own(&format!("{START_CPU}kubelet"));
        row.beside(&kubelet, &format!("kubelet of the same nodes; {starts} pods in {seconds:.0} s"))
    };
    let per_pod = format!("agent during {starts} pod starts: CPU for each pod");
    rows.push(note(row(&per_pod, "ms", &format!("{START_CPU}agent"))));
    rows.push(cost(format!("agent during {starts} pod starts: memory"), "MB", START_MEMORY));
    let answered = |samples: &Samples| of(samples, CHECKED).iter().sum::<f64>() as usize;
    rows.retain(|row| row.count > 0);
    rows.push(Row::count(
        "addresses of pods that were asked and answered",
        answered(tortie) + answered(bridge),
    ));
    rows
}

/// With all rounds to be seen, as they scatter.
fn burst(row: Row, peer: &Row, bridge: &Samples) -> Row {
    let rounds = |all: &[f64]| all.iter().map(|v| format!("{v:.1}")).collect::<Vec<_>>().join(" ");
    let verdict = if row.p50 <= peer.p50 * TOLERATED { "met" } else { "NOT met" };
    let theirs = bridge.get(BURST).map(|all| rounds(all)).unwrap_or_default();
    let note = format!("bridge ({theirs}); at most {TOLERATED}: {verdict}");
    row.beside(peer, &note)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[(&str, &[f64])]) -> Samples {
        values.iter().map(|(name, all)| ((*name).to_owned(), all.to_vec())).collect()
    }

    #[test]
    fn lines_have_their_peers_and_what_was_not_measured_has_no_line() {
        let tortie = samples(&[
            (BURST, &[9.0, 8.0, 10.0]),
            ("idle memory of agent", &[25.0, 26.0]),
            ("idle memory of kube-proxy", &[50.0]),
            (CHECKED, &[60.0, 6.0]),
        ]);
        let bridge = samples(&[(BURST, &[8.0, 8.5]), (CHECKED, &[60.0])]);
        let rows = rows(&Plan::default(), &tortie, &bridge);
        let found = |part: &str| rows.iter().find(|r| r.what.contains(part));
        assert!(found("ADD").is_none());
        let burst = found("all Ready").unwrap();
        assert_eq!((burst.p50, burst.bound), (9.0, Some(8.5)));
        assert!(burst.note.ends_with("at most 1.1: met"), "{}", burst.note);
        assert_eq!(found("idle").unwrap().bound, Some(50.0));
        assert_eq!(found("answered").unwrap().count, 126);
    }
}
