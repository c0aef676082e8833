//! The register: whatever sources say in which order, what is shown and logged is what they say now.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn at(seconds: u64) -> Moment {
    Moment { at: Duration::from_secs(seconds), text: format!("t{seconds:05}") }
}

fn problem(name: Name, object: &str) -> Problem {
    Problem::new(name, object, format!("{object} is wrong"))
}

fn key(name: Name, object: &str) -> Key {
    problem(name, object).key
}

const NAME: Name = Name::PoolOverlapsNodes;

#[test]
fn a_problem_is_told_once_when_it_comes_and_once_when_it_goes() {
    let mut register = Register::default();
    assert!(register.replace("a", vec![problem(NAME, "p")], &at(1)));
    assert_eq!(register.lines(&at(1)), [Line::Appeared(problem(NAME, "p"))]);
    assert!(!register.replace("a", vec![problem(NAME, "p")], &at(2)), "nothing is new");
    let reworded = Problem { message: "otherwise".to_owned(), ..problem(NAME, "p") };
    assert!(register.replace("a", vec![reworded.clone()], &at(3)));
    assert_eq!(register.lines(&at(3)), []);
    assert_eq!(register.snapshot().problems, [Active { problem: reworded, since: "t00001".to_owned() }]);
    assert!(register.replace("a", Vec::new(), &at(4)) && !register.replace("a", Vec::new(), &at(4)));
    assert_eq!(register.lines(&at(4)), [Line::Gone(key(NAME, "p"))]);
    assert_eq!(register.lines(&at(5)), []);
    assert_eq!(register.snapshot(), Snapshot::default());
}

#[test]
fn what_comes_and_goes_is_restrained_and_the_truth_is_told_in_the_end() {
    let mut register = Register::default();
    let mut lines = 0;
    for second in 0..50 {
        register.replace("a", vec![problem(NAME, "p")], &at(second));
        lines += register.lines(&at(second)).len();
        register.replace("a", Vec::new(), &at(second));
        lines += register.lines(&at(second)).len();
    }
    assert_eq!(lines, LINES);
    register.replace("a", vec![problem(NAME, "p")], &at(55));
    assert_eq!(register.lines(&at(55)), []);
    assert_eq!(register.lines(&at(61)), [Line::Appeared(problem(NAME, "p"))]);
}

#[test]
fn what_a_source_does_not_name_is_over_and_others_are_left_alone() {
    let mut register = Register::default();
    register.replace("a", vec![problem(NAME, "p"), problem(NAME, "q")], &at(1));
    register.replace("b", vec![problem(Name::CniPluginMissing, "x")], &at(2));
    assert!(register.replace("a", vec![problem(NAME, "q")], &at(3)));
    assert!(!register.replace("a", vec![problem(NAME, "q")], &at(4)));
    let shown: Vec<(String, String)> =
        register.snapshot().problems.into_iter().map(|a| (a.problem.key.object, a.since)).collect();
    let want = [("q", "t00001"), ("x", "t00002")].map(|(o, s)| (o.to_owned(), s.to_owned()));
    assert_eq!(shown, want);
}

#[test]
fn warnings_come_before_notices_and_no_source_floods() {
    let mut register = Register::default();
    register.replace("a", vec![problem(Name::SettingWithoutEffect, "s")], &at(1));
    register.replace("b", (0..100).map(|n| problem(NAME, &format!("p{n:03}"))).collect(), &at(1));
    let snapshot = register.snapshot();
    assert_eq!((snapshot.problems.len(), snapshot.left_off), (PER_SOURCE + 1, 100 - PER_SOURCE));
    assert_eq!(snapshot.problems.last().unwrap().problem.key.object, "s");
    assert_eq!(snapshot.warnings().count(), PER_SOURCE);
    register.replace("b", Vec::new(), &at(2));
    assert_eq!(register.snapshot().left_off, 0);
}

#[test]
fn names_are_in_the_manual() {
    let manual = include_str!("../../../../../docs/troubleshooting.md");
    for name in Name::ALL {
        let heading = format!("\n### {}\n", name.as_str());
        assert!(manual.contains(&heading), "docs/troubleshooting.md has no section {}", name.as_str());
    }
}

/// What sources say, and how long after the one before.
fn steps() -> impl Strategy<Value = Vec<(&'static str, Vec<u8>, u64)>> {
    let source = prop_oneof![Just("a"), Just("b")];
    let all = proptest::collection::vec(0u8..4, 0..4);
    proptest::collection::vec((source, all, 0u64..20), 0..60)
}

proptest! {
    /// The snapshot is a function of what the sources say now, and what was logged becomes the same as soon as nothing
    /// changes for long enough.
    #[test]
    fn what_is_shown_and_logged_is_what_there_is(steps in steps()) {
        let mut register = Register::default();
        let mut model: BTreeMap<&str, BTreeSet<u8>> = BTreeMap::new();
        let mut logged: BTreeSet<Key> = BTreeSet::new();
        let mut log = |lines: Vec<Line>| {
            for line in lines {
                let news = match line {
                    Line::Appeared(problem) => logged.insert(problem.key),
                    Line::Gone(key) => logged.remove(&key),
                };
                assert!(news, "told twice");
            }
            logged.clone()
        };
        let of = |n: u8| problem(NAME, &format!("p{n}"));
        let mut clock = 0;
        for (source, all, wait) in steps {
            clock += wait;
            register.replace(source, all.iter().map(|n| of(*n)).collect(), &at(clock));
            model.insert(source, all.into_iter().collect());
            log(register.lines(&at(clock)));
            let want: BTreeSet<Key> = model.values().flatten().map(|n| of(*n).key).collect();
            let shown: Vec<Key> = register.snapshot().problems.into_iter().map(|a| a.problem.key).collect();
            prop_assert_eq!(shown, want.into_iter().collect::<Vec<_>>());
        }
        let told = log(register.lines(&at(clock + 60)));
        let shown: BTreeSet<Key> = register.snapshot().problems.into_iter().map(|a| a.problem.key).collect();
        prop_assert_eq!(told, shown);
    }
}
