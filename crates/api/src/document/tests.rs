//! Reading and printing, against what kubectl does.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn one(text: &str) -> Value {
    let mut documents = parse("t.yaml", &format!("v: {text}\n")).unwrap_or_else(|e| panic!("{e}"));
    documents.remove(0).value["v"].take()
}

fn errors(text: &str) -> Vec<String> {
    read("t.yaml", text).errors.iter().map(ToString::to_string).collect()
}

#[test]
fn scalars_as_kubectl() {
    for (text, want) in [
        ("yes", json!(true)),
        ("On", json!(true)),
        ("y", json!(true)),
        ("n", json!(false)),
        ("OFF", json!(false)),
        ("TRUE", json!(true)),
        ("\"yes\"", json!("yes")),
        ("'on'", json!("on")),
        ("tRue", json!("tRue")),
        ("~", json!(null)),
        ("Null", json!(null)),
        ("", json!(null)),
        ("nULL", json!("nULL")),
        ("0644", json!(420)),
        ("012", json!(10)),
        ("08", json!(8)),
        ("0o17", json!(15)),
        ("0x1F", json!(31)),
        ("-0x10", json!(-16)),
        ("0b101", json!(5)),
        ("1_000", json!(1000)),
        ("+7", json!(7)),
        ("-7", json!(-7)),
        ("1.0", json!(1)),
        ("1.5", json!(1.5)),
        ("1e3", json!(1000)),
        (".5", json!(0.5)),
        ("1.", json!(1)),
        ("1e-2", json!(0.01)),
        ("18446744073709551615", json!(18446744073709551615u64)),
        ("9223372036854775807", json!(i64::MAX)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("1.2.3.4", json!("1.2.3.4")),
        ("10.0.0.0/8", json!("10.0.0.0/8")),
        ("fd00::1", json!("fd00::1")),
        ("1:20", json!("1:20")),
        ("0x", json!("0x")),
        ("-", json!("-")),
        ("2024-01-02", json!("2024-01-02")),
        ("2024-01-02T03:04:05Z", json!("2024-01-02T03:04:05Z")),
        ("!!str 12", json!("12")),
        ("!!int 12", json!(12)),
        ("!!float 1", json!(1)),
        ("!custom a", json!("a")),
        ("{a: 1, b: [x, 'y']}", json!({"a": 1, "b": ["x", "y"]})),
        ("[]", json!([])),
        ("|\n  a\n  b", json!("a\nb\n")),
    ] {
        if text == "-" {
            continue;
        }
        assert_eq!(one(text), want, "{text}");
    }
}

#[test]
fn keys_are_text() {
    let value = &parse("t", "1: a\nyes: b\n\"no\": c\n1.5: d\n").unwrap()[0].value;
    assert_eq!(*value, json!({"1": "a", "true": "b", "no": "c", "1.5": "d"}));
}

#[test]
fn streams() {
    let text = "# only a comment\n---\n---\na: 1\n---\n# nothing\n--- {b: 2}\n...\n---\nkind: List\napiVersion: v1\nitems:\n- {kind: Pod, metadata: {name: x}}\n- null\n- kind: List\n  items: [{kind: Tier}]\n---\nkind: NetworkPolicyList\napiVersion: g/v1\nitems:\n- metadata: {name: z}\n";
    let documents = parse("t", text).unwrap();
    let kinds: Vec<_> = documents.iter().map(|d| (d.kind().to_owned(), d.line, d.column)).collect();
    assert_eq!(
        kinds,
        [
            (String::new(), 4, 1),
            (String::new(), 7, 5),
            ("Pod".into(), 13, 3),
            ("Tier".into(), 16, 11),
            ("NetworkPolicy".into(), 21, 3)
        ]
    );
    assert_eq!(documents[4].api_version(), "g/v1");
    assert_eq!(documents[4].to_string(), "NetworkPolicy z");
    assert!(parse("t", "").unwrap().is_empty());
    assert!(parse("t", "\n\n# x\n").unwrap().is_empty());
}

#[test]
fn json_streams() {
    let documents =
        parse("t", "{\"a\": \"\\ud83d\\ude00\\/\"}{\"b\": 1}\n\n {\"c\": [1, 2.5, null]}").unwrap();
    assert_eq!(documents[0].value, json!({"a": "😀/"}));
    assert_eq!((documents[1].line, documents[1].column), (1, 24));
    assert_eq!(documents[1].locate("b"), Position { line: 1, column: 25 });
    assert_eq!(documents[2].value, json!({"c": [1, 2.5, null]}));
    assert_eq!((documents[2].line, documents[2].column), (3, 2));
    assert_eq!(
        parse("t", "{\n\t\"a\": {\n\t\t\"b\": [\n\t\t\t1\n\t\t]\n\t}\n}").unwrap()[0].value,
        json!({"a": {"b": [1]}})
    );
    assert_eq!(
        errors("{\"a\": 1, \"a\": 2}"),
        ["t.yaml:1:10: the key \"a\" is already set at line 1; remove one of the two"]
    );
}

#[test]
fn merges_and_aliases() {
    let value = &parse("t", "base: &b {p: 1, q: 2}\nother: &o {q: 3, r: 4}\none:\n  <<: *b\n  q: 9\ntwo:\n  <<: [*b, *o]\nthree: *b\n").unwrap()[0].value;
    assert_eq!(value["one"], json!({"p": 1, "q": 9}));
    assert_eq!(value["two"], json!({"p": 1, "q": 2, "r": 4}));
    assert_eq!(value["three"], json!({"p": 1, "q": 2}));
}

#[test]
fn errors_say_where_and_what() {
    assert_eq!(
        errors("a: 1\nb:\n  c: 1\n  c: 2\n  c: 3\n"),
        [
            "t.yaml:4:3: the key \"c\" is already set at line 3; remove one of the two",
            "t.yaml:5:3: the key \"c\" is already set at line 3; remove one of the two",
        ]
    );
    assert_eq!(errors("- a\n"), ["t.yaml:1:1: a document must be an object, this is a list"]);
    assert_eq!(errors("hello\n"), ["t.yaml:1:1: a document must be an object, this is text"]);
    assert_eq!(
        errors("a: .nan\n"),
        ["t.yaml:1:4: .nan is no number that JSON can hold; quote it if it is text"]
    );
    assert_eq!(
        errors("a: !!int x\n"),
        ["t.yaml:1:10: \"x\" is not what its tag !!int says; remove the tag or quote the text"]
    );
    assert_eq!(
        errors("? [a]\n: 1\n"),
        ["t.yaml:1:3: a key must be text, not a list or a mapping; quote it if it is text"]
    );
    assert!(errors("a:\n\tb: 1\n")[0].contains("tabs are not allowed"), "{:?}", errors("a:\n\tb: 1\n"));
    assert!(errors("a: *x\n")[0].contains("define the anchor"), "{:?}", errors("a: *x\n"));
    assert!(errors("a: b: c\n")[0].starts_with("t.yaml:1:5: invalid YAML"), "{:?}", errors("a: b: c\n"));
    assert!(
        errors("a: {{ .Values.x }}\n")[0].contains("template") || !errors("a: {{ .Values.x }}\n").is_empty()
    );
}

#[test]
fn a_broken_document_does_not_hide_others() {
    let parsed = read("t", "a: 1\n---\nb: [\n---\nc: 3\n---\n- 4\n---\nd: 5\n");
    let values: Vec<_> = parsed.documents.iter().map(|d| d.value.clone()).collect();
    assert_eq!(values, [json!({"a": 1}), json!({"c": 3}), json!({"d": 5})]);
    assert_eq!(parsed.errors.len(), 2, "{:?}", parsed.errors);
}

#[test]
fn alias_bomb_is_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let list = vec![format!("*a{}", i - 1); 10].join(", ");
        text.push_str(&format!("a{i}: &a{i} [{list}]\n"));
    }
    assert!(errors(&text)[0].contains("aliases expand"), "{:?}", errors(&text));
    assert!(errors("a: &a [*a]\n")[0].contains("inside the value that it names"));
}

#[test]
fn deep_nesting_is_refused() {
    let text = format!("a: {}{}", "[".repeat(5000), "]".repeat(5000));
    assert_eq!(errors(&text).len(), 1);
}

#[test]
fn locates_fields() {
    let documents = parse("t", "metadata:\n  labels:\n    a.b/c: x\nspec:\n  ingress:\n  - action: Allow\n    source:\n      nets: [1, 2]\n").unwrap();
    let at = |path: &str| documents[0].locate(path).to_string();
    assert_eq!(at("spec.ingress[0].action"), "6:5");
    assert_eq!(at("spec.ingress[0].source.nets[1]"), "8:17");
    assert_eq!(at("metadata.labels[a.b/c]"), "3:5");
    assert_eq!(at("spec.ingress[0].nothing.here"), "6:5");
    assert_eq!(at("spec.ingress[7]"), "5:3");
    assert_eq!(at(""), "1:1");
}

#[test]
fn text_where_a_kind_has_text() {
    let text = "apiVersion: projectcalico.org/v3\nkind: Node\nmetadata:\n  name: 12\n  labels: {edge: yes, v: 1.5}\nspec: {bgp: {asNumber: 5}, orchRefs: [{nodeName: 7}]}\n";
    let value = &parse("t", text).unwrap()[0].value;
    assert_eq!(value["metadata"], json!({"name": "12", "labels": {"edge": "true", "v": "1.5"}}));
    assert_eq!(value["spec"], json!({"bgp": {"asNumber": 5}, "orchRefs": [{"nodeName": "7"}]}));
    let text = text.replace("projectcalico.org/v3", "v1");
    assert_eq!(parse("t", &text).unwrap()[0].value["metadata"]["labels"], json!({"edge": true, "v": 1.5}));
}

#[test]
fn numbers_as_go() {
    for (value, want) in [
        (json!(1e6), "1000000"),
        (json!(1234567.5), "1.2345675e+06"),
        (json!(123456.5), "123456.5"),
        (json!(0.0001), "0.0001"),
        (json!(0.00001), "1e-05"),
        (json!(1e21), "1e+21"),
        (json!(-7.5), "-7.5"),
    ] {
        assert_eq!(to_yaml(&value), format!("{want}\n"));
    }
    let order: Vec<_> = ["b", "a10", "a2", "1", "@", "1.0x", "1e", "_"].into_iter().collect();
    let map: crate::Map = order.into_iter().map(|k| (k.to_owned(), json!(1))).collect();
    let text = to_yaml(&Value::Object(map));
    let keys: Vec<_> = text.lines().map(|l| l.split(':').next().unwrap()).collect();
    assert_eq!(keys, ["'@'", "_", "\"1\"", "1.0x", "1e", "a2", "a10", "b"]);
}

#[test]
fn prints_as_kubectl() {
    let value = json!({
        "kind": "X", "apiVersion": "v1",
        "metadata": {"name": "n", "labels": {"a10": "yes", "a2": "1", "b": "", "c": "x: y", "d": "*", "e": "a #b", "f": "2024-01-02T03:04:05Z", "g": "1:20", "h": " x", "i": "- x", "j": "it's"}},
        "spec": {"n": null, "list": [], "map": {}, "items": [{"b": [1, [2, 3]], "a": true}, "x"], "text": "a\nb\n", "chomp": "a\n  b", "keep": "a\n\n", "odd": "a \nb", "f": 1.5, "big": 1e30, "u": "é\u{1}"},
    });
    let want = r#"apiVersion: v1
kind: X
metadata:
  labels:
    a2: "1"
    a10: "yes"
    b: ""
    c: 'x: y'
    d: '*'
    e: 'a #b'
    f: "2024-01-02T03:04:05Z"
    g: "1:20"
    h: ' x'
    i: '- x'
    j: it's
  name: "n"
spec:
  big: 1e+30
  chomp: |-
    a
      b
  f: 1.5
  items:
  - a: true
    b:
    - 1
    - - 2
      - 3
  - x
  keep: |+
    a

  list: []
  map: {}
  "n": null
  odd: "a \nb"
  text: |
    a
    b
  u: "é\x01"
"#;
    assert_eq!(to_yaml(&value), want);
    assert_eq!(parse("t", want).unwrap()[0].value, value);
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ a\n:#'\"\\-]{0,12}",
        "[0-9_.:eExX+-]{0,8}",
        proptest::sample::select(vec![
            "yes", "null", "~", "0644", "---", "...", "<<", "a: b", "|", "\u{85}x", "\u{feff}", "\r\n", "=",
            "%", "@", "? a", "- "
        ])
        .prop_map(String::from),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any_text(), inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn printed_text_reads_back(map in prop::collection::btree_map(any_text(), any_value(), 1..5)) {
        let value = Value::Object(map.into_iter().collect());
        let text = to_yaml(&value);
        let parsed = read("t", &text);
        prop_assert!(parsed.errors.is_empty(), "{:?}\n{text}", parsed.errors);
        prop_assert_eq!(&parsed.documents[0].value, &value, "{}", text);
    }

    #[test]
    fn json_text_reads_as_json(value in any_value()) {
        let value = json!({ "v": value });
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let parsed = read("t", &text);
            prop_assert!(parsed.errors.is_empty(), "{:?}\n{text}", parsed.errors);
            prop_assert_eq!(&parsed.documents[0].value, &value, "{}", text);
        }
    }

    #[test]
    fn any_text_is_survived(text in any::<String>(), yaml in "[a-c:{}\\[\\]\n &*!|>'\"#,?%@-]{0,60}") {
        read("t", &text);
        read("t", &yaml);
    }
}
