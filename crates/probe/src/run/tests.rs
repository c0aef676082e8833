//! When a finding is believed.

use super::*;
use crate::Rejection;

const RESET: Verdict = Verdict::Rejected(Rejection::TcpReset);

/// Plays findings to a course; the time-outs of the tries that it asked for, and the outcome.
fn play(expect: Option<Expect>, findings: &[Verdict]) -> (Vec<u128>, Outcome) {
    let mut course = Course::new(expect, &Options::default());
    let mut timeouts = Vec::new();
    for finding in findings {
        timeouts.push(course.timeout.as_millis());
        if !course.step(finding.clone(), Duration::ZERO) {
            return (timeouts, course.finish());
        }
    }
    panic!("more tries than findings: {timeouts:?}");
}

#[test]
fn the_expected_answer_is_believed_at_once() {
    let (timeouts, outcome) = play(Some(Expect::Allow), &[Verdict::Allowed]);
    assert_eq!((timeouts, outcome.tries, outcome.wavered), (vec![300], 1, false));
    assert_eq!(play(None, &[Verdict::Allowed]).0, [300]);
}

#[test]
fn expected_silence_is_asked_twice() {
    assert_eq!(play(Some(Expect::Deny), &[Verdict::Denied, Verdict::Denied]).0, [300, 300]);
    assert_eq!(play(Some(Expect::Deny), &[RESET, RESET]).1.verdict, RESET);
    assert_eq!(play(Some(Expect::Reject), &[RESET, RESET]).0, [300, 300]);
    assert_eq!(play(None, &[Verdict::Denied, Verdict::Denied]).0, [300, 900]);
}

#[test]
fn silence_does_not_contradict_a_refusal() {
    for (expect, findings) in [
        (Some(Expect::Reject), [RESET, Verdict::Denied]),
        (Some(Expect::Deny), [RESET, Verdict::Denied]),
        (Some(Expect::Deny), [Verdict::Denied, RESET]),
        (None, [RESET, Verdict::Denied]),
    ] {
        let (_, outcome) = play(expect, &findings);
        assert_eq!((outcome.verdict, outcome.tries, outcome.wavered), (RESET, 2, false));
    }
}

#[test]
fn surprises_are_repeated_with_growing_timeouts() {
    let denied = vec![Verdict::Denied; 4];
    let (timeouts, outcome) = play(Some(Expect::Allow), &denied);
    assert_eq!(timeouts, [300, 900, 2700, 3000]);
    assert_eq!((outcome.verdict, outcome.wavered), (Verdict::Denied, false));
    let allowed = vec![Verdict::Allowed; 4];
    assert_eq!(play(Some(Expect::Deny), &allowed).1.verdict, Verdict::Allowed);
    assert_eq!(play(Some(Expect::Reject), &denied).1.verdict, Verdict::Denied);
    let wrong = vec![Verdict::WrongAnswer("b".into()); 4];
    assert_eq!(play(Some(Expect::Allow), &wrong).1.tries, 4);
}

#[test]
fn a_late_answer_is_believed_but_noted() {
    let (timeouts, outcome) = play(Some(Expect::Allow), &[Verdict::Denied, Verdict::Allowed]);
    assert_eq!((timeouts, outcome.verdict, outcome.wavered), (vec![300, 900], Verdict::Allowed, true));
    // Silence that follows an answer has to be confirmed like any other.
    let findings = [Verdict::Allowed, Verdict::Denied, Verdict::Denied];
    let (timeouts, outcome) = play(Some(Expect::Deny), &findings);
    assert_eq!((timeouts, outcome.wavered), (vec![300, 900, 900], true));
}

#[test]
fn flapping_comes_to_an_end() {
    let findings: Vec<_> = [Verdict::Denied, Verdict::Allowed].into_iter().cycle().take(20).collect();
    assert_eq!(play(Some(Expect::Deny), &findings).1.verdict, Verdict::Allowed);
}

#[test]
fn one_fixed_timeout_is_tried_twice() {
    let options = Options { max_timeout: Duration::ZERO, ..Options::default() };
    let mut course = Course::new(Some(Expect::Allow), &options);
    assert!(course.step(Verdict::Denied, Duration::ZERO));
    assert!(!course.step(Verdict::Denied, Duration::ZERO));
}
