//! Commands about this machine, and arguments as the original takes them.

use crate::bench::{Bench, run_in};

fn nowhere(name: &str) -> Option<String> {
    (name == "TORTIE_RUN_DIR").then(|| "/not/there".to_owned())
}

#[test]
fn a_node_without_an_agent_says_so() {
    let done = run_in(&nowhere, "node status", "");
    assert!(done.status == 1 && done.out.is_empty(), "{done:?}");
    assert!(done.err.starts_with("Calico process is not running"), "{done:?}");
    let done = run_in(&nowhere, "node run --ip 10.0.0.1", "");
    assert!(done.status == 1 && done.err.contains("tortie agent"), "{done:?}");
}

#[test]
fn the_kernel_is_judged_by_its_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config");
    let parts =
        ["NF_TABLES", "NF_CONNTRACK", "NF_CT_NETLINK", "NFT_CT", "NFT_FIB", "NFT_MASQ", "NFT_REJECT", "VETH"];
    std::fs::write(&file, parts.map(|part| format!("CONFIG_{part}=y\n")).concat()).unwrap();
    let done = run_in(&nowhere, &format!("node checksystem -f {}", file.display()), "");
    assert_eq!((done.status, done.err.as_str()), (0, ""), "{done:?}");
    assert!(done.out.starts_with("Checking kernel version...\n\t\t"), "{done:?}");
    assert!(done.out.contains("\t\tnft_fib             \t\t\t\t\tOK\n"), "{done:?}");
    assert!(done.out.ends_with("System meets minimum system requirements to run Calico!\n"), "{done:?}");
}

#[test]
fn clusters_are_not_searched_with_nonsense() {
    let wrong = |line: &str, told: &str| {
        let done = run_in(&nowhere, line, "");
        assert!(done.status == 1 && done.err.is_empty() && done.out.contains(told), "{line}: {done:?}");
    };
    wrong("cluster diags --since 5d", "invalid duration for since flag");
    wrong("cluster diags --max-logs=-1", "negative value for max-logs flag");
}

#[test]
fn every_command_has_help_and_flags_are_named() {
    for command in [
        "",
        "create",
        "apply",
        "replace",
        "delete",
        "get",
        "patch",
        "label",
        "validate",
        "ipam",
        "ipam show",
        "ipam check",
        "ipam release",
        "ipam configure",
        "ipam split",
        "node",
        "node status",
        "node diags",
        "node checksystem",
        "node run",
        "datastore",
        "datastore migrate",
        "datastore migrate export",
        "datastore migrate import",
        "datastore migrate lock",
        "datastore migrate unlock",
        "datastore migrate-policy-names",
        "cluster",
        "cluster diags",
        "version",
        "explain",
        "selector",
    ] {
        let done = run_in(&nowhere, &format!("{command} -h"), "");
        assert!(
            done.status == 0 && done.out.contains("Usage:") && done.err.is_empty(),
            "{command}: {done:?}"
        );
    }
    for (line, told) in [
        ("get --nope", "unknown flag: --nope"),
        ("-m", "unknown shorthand flag: 'm' in -m"),
        ("nope", "nope"),
    ] {
        let done = run_in(&nowhere, line, "");
        assert!(done.status == 1 && done.err.contains(told) && done.out.is_empty(), "{line}: {done:?}");
    }
}

#[test]
fn kinds_and_names_may_stand_for_a_file() {
    let b = Bench::embedded();
    b.ok("create gnetsets a", "");
    assert_eq!(b.ok("get gnetsets -o custom-columns=NAME --export=false", ""), "NAME   \na      \n\n");
    b.fails("create gnetsets", "", "metadata.name");
    b.fails("create gnetsets a", "", "already exists");
    b.ok("create gnetsets a --skip-exists=true", "");
    b.fails("create gnetsets a --skip-exists=false", "", "already exists");
}
