//! The grammar, its canonical text, its errors and its restrictions, case by case.

use expect_test::{Expect, expect};
use std::collections::BTreeMap;
use tortie_selector::{Labels, Layered, Selector, TokenKind, tokenize, unique_id};

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn parse(text: &str) -> Selector {
    Selector::parse(text).map_err(|e| e.render()).expect("a valid selector")
}

#[test]
fn canonical_text() {
    for (text, want) in [
        ("", "all()"),
        (" \t", "all()"),
        ("((all( )))", "all()"),
        ("global(\t)", "global()"),
        ("has( x/y.z-1_ )", "has(x/y.z-1_)"),
        ("k=='v'", r#"k == "v""#),
        (r#"k!='"'"#, r#"k != '"'"#),
        (r#"k == "'""#, r#"k == "'""#),
        ("k contains'v'", r#"k contains "v""#),
        ("k startswith 'v'", r#"k starts with "v""#),
        ("k ends   with 'v'", r#"k ends with "v""#),
        ("k notin {}", "k not in {}"),
        ("k in {'b','a','b',}", r#"k in {"a", "b"}"#),
        ("has(a)&&has(b)&&has(c)", "(has(a) && has(b) && has(c))"),
        ("has(a)&&(has(b)&&has(c))", "(has(a) && (has(b) && has(c)))"),
        ("has(a)||has(b)&&has(c)", "(has(a) || (has(b) && has(c)))"),
        ("!(has(a))", "!has(a)"),
        ("! ! !has(a)", "!has(a)"),
        ("!!has(a)", "has(a)"),
        ("!(!has(a))", "!!has(a)"),
        ("! k == 'v'", r#"!k == "v""#),
        // Operators and functions are words like others where a label may stand.
        ("in in {'in'}", r#"in in {"in"}"#),
        ("contains contains 'x'", r#"contains contains "x""#),
        ("has == 'x' && all != 'y'", r#"(has == "x" && all != "y")"#),
    ] {
        assert_eq!(parse(text).canonical(), want, "{text}");
    }
}

#[test]
fn double_negation_is_written_as_calico_writes_it() {
    let selector = parse("!(!has(a))");
    assert_eq!(selector.canonical(), "!!has(a)");
    let again = parse(selector.canonical());
    assert_eq!(again.canonical(), "has(a)");
    assert_ne!(again, selector);
    assert!(again.evaluate(&labels(&[("a", "")])) && selector.evaluate(&labels(&[("a", "")])));
}

#[test]
fn ids_are_hashes_of_the_canonical_text() {
    // From a Calico node: the set of everything.
    assert_eq!(Selector::all().unique_id(), "s:5y5I3VdRZfDU01O--xXAPx2yxCQQqMf0M6IWug");
    assert_eq!(parse(" ( all() )").unique_id(), Selector::all().unique_id());
    assert_eq!(parse("has(a)").unique_id(), unique_id("s", "has(a)"));
    assert_ne!(unique_id("n", "x"), unique_id("s", "x"));
}

#[test]
fn evaluation() {
    let pod = labels(&[("app", "web-1"), ("tier", "front"), ("empty", "")]);
    for (text, want) in [
        ("", true),
        ("!all()", false),
        ("global()", true),
        ("has(app)", true),
        ("has(empty)", true),
        ("!has(none)", true),
        ("empty == ''", true),
        ("app == 'web'", false),
        ("app != 'web'", true),
        ("none != 'web'", true),
        ("none not in {'web'}", true),
        ("none in {'web'}", false),
        ("app not in {'web-1'}", false),
        ("app contains 'b-'", true),
        ("app starts with 'web'", true),
        ("app ends with '-1'", true),
        ("none contains ''", false),
        ("none starts with ''", false),
        ("has(none) || has(app) && has(tier)", true),
        ("(has(none) || has(app)) && !has(tier)", false),
    ] {
        assert_eq!(parse(text).evaluate(&pod), want, "{text}");
    }
}

#[test]
fn own_labels_hide_inherited_ones_and_earlier_parents_later_ones() {
    let own = labels(&[("a", "own")]);
    let first = labels(&[("a", "first"), ("b", "first")]);
    let second = labels(&[("b", "second"), ("c", "second")]);
    let parents = [&first, &second];
    let layered = Layered { own: &own, inherited: parents.as_slice() };
    let got = ["a", "b", "c", "d"].map(|k| Labels::get(&layered, k));
    assert_eq!(got, [Some("own"), Some("first"), Some("second"), None]);
}

fn check_error(text: &str, want: Expect) {
    let error = Selector::parse(text).expect_err(text);
    want.assert_eq(&format!("{}\n", error.render()));
}

#[test]
fn errors_point_at_the_place_and_suggest_a_fix() {
    check_error(
        "a = 'b'",
        expect![[r#"
        a = 'b'
          ^ expected "=="
            write ==
    "#]],
    );
    check_error(
        "role == db",
        expect![[r#"
        role == db
                ^ expected a quoted string, found the word "db"
                  write "db"
    "#]],
    );
    check_error(
        "has(a) and has(b)",
        expect![[r#"
        has(a) and has(b)
                   ^ expected an operator after the label "and"
                     write && for and
    "#]],
    );
    check_error(
        "has(a) has(b)",
        expect![[r#"
        has(a) has(b)
               ^ expected "&&", "||" or the end, found has(b)
                 join tests by && or ||
    "#]],
    );
    check_error(
        "frontend",
        expect![[r#"
        frontend
                ^ expected an operator after the label "frontend"
                  to test that the label exists, write has(frontend)
    "#]],
    );
    check_error(
        "has (a)",
        expect![[r#"
        has (a)
            ^ expected an operator after the label "has"
              no space between has and (
    "#]],
    );
    check_error(
        "a in 'b'",
        expect![[r#"
        a in 'b'
             ^ expected a set of values in braces, found the string "b"
               write {"b"}
    "#]],
    );
    check_error(
        "a in {'b' 'c'}",
        expect![[r#"
        a in {'b' 'c'}
                  ^ expected "}" or another value, found the string "c"
                    separate values by commas
    "#]],
    );
    check_error(
        "a == 'b' && (has(c)",
        expect![[r#"
        a == 'b' && (has(c)
                           ^ expected ")", found the end
                             close the parenthesis
    "#]],
    );
    check_error(
        "ä == 'x'",
        expect![[r"
        ä == 'x'
        ^ expected the name of a label
    "]],
    );
    check_error(
        "a == 'ä' & b",
        expect![[r#"
        a == 'ä' & b
                 ^ expected "&&"
                   write &&
    "#]],
    );
}

#[test]
fn errors_fit_on_a_line() {
    let error = Selector::parse("a == b").expect_err("no quotes");
    assert_eq!(error.column(), 6);
    expect![[r#"selector "a == b", column 6: expected a quoted string, found the word "b" (write "b")"#]]
        .assert_eq(&error.to_string());
}

#[test]
fn rejects() {
    for text in [
        "a",
        "a b",
        "!",
        "(",
        ")",
        "()",
        "%",
        "'x' == 'y'",
        "a ==",
        "a == b",
        "a in",
        "a in b",
        "a in {",
        "a in {,}",
        "a in {'x',,}",
        "a in {b}",
        "a not in 'x'",
        "a inx {'b'}",
        "a not inx {'b'}",
        "a starts 'b'",
        "a starts withx 'b'",
        "a == 'b' &&",
        "a == 'b' || ",
        "|| a == 'b'",
        "a == 'b' c == 'd'",
        "a == 'b",
        "has(",
        "has()",
        "has(a",
        "has('a')",
        "has(a b)",
        "all(x)",
        "all",
        "global(",
        "a = 'b'",
        "a == 'b' & has(c)",
        "a == 'b' | has(c)",
        "a == 'b')",
        "\n",
        "a == 'b'\n",
    ] {
        assert!(Selector::parse(text).is_err(), "{text:?}");
    }
    let (fits, too_long) = ("a".repeat(512), "a".repeat(513));
    assert!(Selector::parse(&format!("has({fits})")).is_ok());
    assert!(Selector::parse(&format!("has({too_long})")).is_err());
}

#[test]
fn depth_is_limited() {
    let nested = |n: usize| format!("{}has(a){}", "(".repeat(n), ")".repeat(n));
    assert_eq!(parse(&nested(256)).canonical(), "has(a)");
    assert!(Selector::parse(&nested(257)).is_err());
    assert!(Selector::parse(&"(".repeat(1_000_000)).is_err());
    assert!(Selector::parse(&format!("{}has(a)", "!".repeat(1_000_000))).is_ok());

    // Each level adds two parentheses to the canonical text.
    let grow = |n: usize| (0..n).fold("has(a)".to_owned(), |s, _| format!("has(b) || has(c) && ({s})"));
    let deepest = parse(&grow(128));
    assert_eq!(parse(deepest.canonical()), deepest);
    assert!(Selector::parse(&grow(129)).is_err());
    assert_eq!(deepest.restrictions().len(), 0);
}

#[test]
fn tokens() {
    let kinds =
        |text| -> Vec<TokenKind<'_>> { tokenize(text).unwrap().into_iter().map(|t| t.kind).collect() };
    use TokenKind::*;
    assert_eq!(
        kinds(r#"a notin{"x",}&&!has( b )||c in d"#),
        [
            Label("a"),
            NotIn,
            LBrace,
            StringLiteral("x"),
            Comma,
            RBrace,
            And,
            Not,
            Has("b"),
            Or,
            Label("c"),
            In,
            Label("d"),
            Eof
        ]
    );
    assert_eq!(kinds("(all())global( )"), [LParen, All, RParen, Global, Eof]);
    assert!(tokenize("a not in d").is_err());
    assert_eq!(tokenize("  a").unwrap()[0].offset, 2);
    assert_eq!(
        (Has("b").name(), Has("b").value(), Eof.name(), Eof.value()),
        ("TokHas", Some("b"), "TokEOF", None)
    );
}

#[test]
fn restrictions() {
    let show = |text: &str| -> String {
        let mut parts = Vec::new();
        for (label, r) in parse(text).restrictions() {
            let present = if r.must_be_present { "+" } else { "" };
            let absent = if r.must_be_absent { "-" } else { "" };
            let values = r.must_have_one_of.map_or(String::new(), |v| format!("{{{}}}", v.join(",")));
            parts.push(format!("{label}{present}{absent}{values}"));
        }
        parts.join(" ")
    };
    for (text, want) in [
        ("", ""),
        ("global()", ""),
        ("a == 'x'", "a+{x}"),
        ("a != 'x'", ""),
        ("a in {'x','y'}", "a+{x,y}"),
        ("a in {}", "a+"),
        ("a not in {'x'}", ""),
        ("a contains 'x'", "a+"),
        ("has(a)", "a+"),
        ("!has(a)", "a-"),
        ("!(has(a))", "a-"),
        ("!(!has(a))", ""),
        ("!(a == 'x')", ""),
        ("has(a) && !has(a)", "a+-"),
        ("a == 'x' && a == 'y'", "a+{}"),
        ("a in {'x','y','z'} && has(b) && a in {'y','z','q'}", "a+{y,z} b+"),
        ("a == 'x' || a == 'y'", "a+{x,y}"),
        ("a == 'x' || has(a)", "a+"),
        ("a == 'x' || has(b)", ""),
        ("a == 'x' || has(b) && has(a)", "a+"),
        ("!has(a) || !has(a) && has(b)", "a-"),
        ("!has(a) || has(a)", ""),
        ("a == 'x' || all()", ""),
    ] {
        assert_eq!(show(text), want, "{text}");
    }
}

#[test]
fn renames_labels() {
    let selector =
        parse("!(k == 'v' && (has(t) || all())) || k in {'a'} || k not in {'b'} || s starts with 'x'");
    assert_eq!(
        selector.with_label_prefix("pcns.").canonical(),
        r#"(!(pcns.k == "v" && (has(pcns.t) || all())) || pcns.k in {"a"} || pcns.k not in {"b"} || pcns.s starts with "x")"#
    );
    let mut seen = Vec::new();
    selector.visit_labels(|l| seen.push(l.to_owned()));
    assert_eq!(seen, ["k", "t", "k", "k", "s"]);
}

#[test]
fn json_is_the_text() {
    let selector: Selector = serde_json::from_str(r#""a=='b'""#).unwrap();
    assert_eq!(serde_json::to_string(&selector).unwrap(), r#""a == \"b\"""#);
    assert!(serde_json::from_str::<Selector>(r#""a=""#).is_err());
}
