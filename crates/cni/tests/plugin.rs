//! The plugin against an agent that is played here: every verb, every version, every way to fail.

#![expect(clippy::unwrap_used, reason = "a test fails loudly")]

use serde_json::{Value, json};
use std::collections::HashMap;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;
use tempfile::TempDir;
use tortie_agent_api::{Attachment, Request, Response, read_frame, write_frame};

/// Answers one connection with `answer`; the handle yields what was asked.
fn agent(socket: &Path, answer: Response) -> thread::JoinHandle<Request> {
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let request = read_frame(&mut stream).unwrap().unwrap();
        write_frame(&mut stream, &answer).unwrap();
        request
    })
}

fn call(env: &[(&str, &str)], stdin: &Value) -> (u8, Value) {
    let env: HashMap<String, String> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let mut out = Vec::new();
    let status = tortie_cni::run(|n| env.get(n).cloned(), &mut stdin.to_string().as_bytes(), &mut out);
    (status, serde_json::from_slice(&out).unwrap_or(Value::Null))
}

fn environment(command: &str) -> Vec<(&str, &str)> {
    vec![
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_NETNS", "/proc/self/ns/net"),
        ("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1"),
    ]
}

fn conf(dir: &TempDir, version: &str) -> Value {
    json!({"cniVersion": version, "name": "k8s-pod-network", "type": "calico", "mtu": 1400,
        "agent_socket": dir.path().join("agent.sock"), "journal_dir": dir.path().join("journal")})
}

fn attachment() -> Response {
    Response::Added(Attachment {
        host_interface: "cali0123".into(),
        host_mac: "ee:ee:ee:ee:ee:ee".into(),
        pod_mac: "02:00:00:00:00:01".into(),
        ips: vec!["10.65.0.7".parse().unwrap(), "fd65::7".parse().unwrap()],
        mtu: 1400,
    })
}

#[test]
fn add_in_every_version() {
    for version in tortie_cni::VERSIONS {
        let dir = TempDir::new().unwrap();
        let served = agent(&dir.path().join("agent.sock"), attachment());
        let (status, answer) = call(&environment("ADD"), &conf(&dir, version));
        assert_eq!(status, 0, "{answer}");
        assert_eq!(answer["cniVersion"], version);
        if version < "0.3.0" {
            assert_eq!(answer["ip4"]["ip"], "10.65.0.7/32");
            assert_eq!(answer["ip6"]["ip"], "fd65::7/128");
        } else {
            assert_eq!(answer["ips"][1]["address"], "fd65::7/128");
            assert_eq!(answer["ips"][0]["version"] == "4", version < "1.0.0");
            assert_eq!(answer["interfaces"][1]["sandbox"], "/proc/self/ns/net");
        }
        match served.join().unwrap() {
            Request::Add(args) => {
                assert_eq!((args.namespace.as_str(), args.pod.as_str(), args.mtu), ("shop", "web-1", 1400));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn add_without_agent_fails_fast_and_says_why() {
    let dir = TempDir::new().unwrap();
    let (status, answer) = call(&environment("ADD"), &conf(&dir, "1.0.0"));
    assert_eq!(status, 1);
    assert_eq!(answer["code"], 11);
    assert!(answer["msg"].as_str().unwrap().contains("agent is not running"), "{answer}");
}

#[test]
fn del_without_agent_succeeds_and_is_remembered() {
    let dir = TempDir::new().unwrap();
    let (status, answer) = call(&environment("DEL"), &conf(&dir, "1.0.0"));
    assert_eq!((status, answer), (0, Value::Null));
    let text = std::fs::read(dir.path().join("journal/c1-eth0.json")).unwrap();
    let args: tortie_agent_api::CniArgs = serde_json::from_slice(&text).unwrap();
    assert_eq!((args.container_id.as_str(), args.pod.as_str()), ("c1", "web-1"));
}

#[test]
fn bad_input_names_the_field() {
    let dir = TempDir::new().unwrap();
    let cases: [(&str, &str, &str, u64); 6] = [
        ("CNI_COMMAND", "", "CNI_COMMAND", 4),
        ("CNI_COMMAND", "FROB", "FROB", 4),
        ("CNI_CONTAINERID", "", "CNI_CONTAINERID", 4),
        ("CNI_CONTAINERID", "-x", "CNI_CONTAINERID", 4),
        ("CNI_IFNAME", "much-too-long-name", "CNI_IFNAME", 4),
        ("CNI_NETNS", "/no/such/namespace", "/no/such/namespace", 3),
    ];
    for (name, value, want, code) in cases {
        let mut env = environment("ADD");
        env.retain(|(n, _)| *n != name);
        env.push((name, value));
        let (status, answer) = call(&env, &conf(&dir, "1.0.0"));
        assert_eq!(status, 1);
        assert_eq!(answer["code"], code, "{answer}");
        assert!(answer["msg"].as_str().unwrap().contains(want), "{answer}");
    }
    let (_, answer) = call(&environment("ADD"), &json!({"cniVersion": "9.0.0"}));
    assert_eq!(answer["code"], 1);
    let mut out = Vec::new();
    let env: HashMap<_, _> = environment("ADD").into_iter().collect();
    let status =
        tortie_cni::run(|n| env.get(n).map(|v| (*v).to_owned()), &mut "{nonsense".as_bytes(), &mut out);
    assert_eq!(status, 1);
    assert_eq!(serde_json::from_slice::<Value>(&out).unwrap()["code"], 6);
}

#[test]
fn version_gc_status() {
    let dir = TempDir::new().unwrap();
    let (status, answer) = call(&[("CNI_COMMAND", "VERSION")], &Value::Null);
    assert_eq!(status, 0);
    assert_eq!(answer["supportedVersions"][6], "1.1.0");

    let (status, answer) = call(&[("CNI_COMMAND", "STATUS")], &conf(&dir, "1.1.0"));
    assert_eq!((status, &answer["code"]), (1, &json!(50)));

    let served = agent(&dir.path().join("agent.sock"), Response::Ok);
    let mut gc = conf(&dir, "1.1.0");
    gc["cni.dev/valid-attachments"] = json!([{"containerID": "a", "ifname": "eth0"}]);
    assert_eq!(call(&[("CNI_COMMAND", "GC")], &gc).0, 0);
    assert_eq!(
        served.join().unwrap(),
        Request::Gc { valid: vec!["a/eth0".into()], network: "k8s-pod-network".into() }
    );
}

#[test]
fn gc_without_a_list_is_an_error_and_an_empty_list_is_one() {
    let dir = TempDir::new().unwrap();
    let gc = |list: Option<(&str, Value)>| {
        let mut conf = conf(&dir, "1.1.0");
        if let Some((name, list)) = list {
            conf[name] = list;
        }
        call(&[("CNI_COMMAND", "GC")], &conf)
    };
    let (status, answer) = gc(None);
    assert_eq!((status, &answer["code"]), (1, &json!(7)));
    assert!(answer["msg"].as_str().unwrap().contains("cni.dev/valid-attachments"), "{answer}");
    let one = json!([{"containerID": "a", "ifname": "eth0"}]);
    for (name, list, valid) in [
        ("cni.dev/valid-attachments", Value::Null, vec![]),
        ("cni.dev/valid-attachments", json!([]), vec![]),
        ("cni.dev/attachments", one, vec!["a/eth0".to_owned()]),
    ] {
        let _ = std::fs::remove_file(dir.path().join("agent.sock"));
        let served = agent(&dir.path().join("agent.sock"), Response::Ok);
        assert_eq!(gc(Some((name, list))).0, 0);
        assert_eq!(served.join().unwrap(), Request::Gc { valid, network: "k8s-pod-network".into() });
    }
}

#[test]
fn check_passes_on_what_add_answered() {
    let dir = TempDir::new().unwrap();
    let (status, answer) = call(&environment("CHECK"), &conf(&dir, "1.0.0"));
    assert_eq!((status, &answer["code"]), (1, &json!(7)), "{answer}");
    for previous in [
        json!({"ips": [{"address": "10.65.0.7/32"}, {"address": "fd65::7/128"}]}),
        json!({"ip4": {"ip": "10.65.0.7/32"}, "ip6": {"ip": "fd65::7/128"}}),
    ] {
        let _ = std::fs::remove_file(dir.path().join("agent.sock"));
        let served = agent(&dir.path().join("agent.sock"), Response::Ok);
        let mut conf = conf(&dir, "1.0.0");
        conf["prevResult"] = previous;
        assert_eq!(call(&environment("CHECK"), &conf).0, 0);
        let Request::Check(args) = served.join().unwrap() else { panic!("not CHECK") };
        let texts: Vec<String> = args.previous.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.65.0.7", "fd65::7"]);
    }
}
