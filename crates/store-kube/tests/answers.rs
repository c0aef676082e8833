//! Answers that a real API server gives only under load, or on a newer etcd than the tests have.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tortie_store::{Store as _, StoreError};
use tortie_store_kube::{KubeConfig, KubeStore};

/// Answers requests one after the other with what is next, status line first; answers the requests' first lines.
async fn server(answers: Vec<(&'static str, String)>) -> (KubeConfig, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = KubeConfig::new(format!("http://{}", listener.local_addr().unwrap()));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    tokio::spawn(async move {
        for (head, body) in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            let line = String::from_utf8(request).unwrap().lines().next().unwrap().to_owned();
            log.lock().unwrap().push(line);
            let answer = format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (config, asked)
}

fn groups() -> (&'static str, String) {
    ("200 OK", json!({"groups": [{"name": "crd.projectcalico.org"}]}).to_string())
}

fn tier(name: &str, revision: u64, order: u64) -> Value {
    let metadata = json!({"name": name, "resourceVersion": revision.to_string()});
    json!({"metadata": metadata, "spec": {"order": order}})
}

#[tokio::test]
async fn a_busy_server_is_asked_later() {
    let busy = "429 Too Many Requests\r\nretry-after: 1";
    let (config, asked) = server(vec![(busy, "slow down".to_owned()), groups()]).await;
    let start = Instant::now();
    KubeStore::connect(config).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(asked.lock().unwrap().len(), 2);

    let later = "503 Service Unavailable\r\nretry-after: 600";
    let (config, _) = server(vec![(later, "later".to_owned())]).await;
    let error = KubeStore::connect(config).await.map(drop).unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable { reason, .. } if reason.contains("later")), "{error}");
    assert!(start.elapsed() < Duration::from_mins(1));
}

#[tokio::test]
async fn a_streamed_list_is_what_is_there_at_its_end() {
    let end =
        json!({"metadata": {"resourceVersion": "9", "annotations": {"k8s.io/initial-events-end": "true"}}});
    let changes = [
        ("ADDED", tier("a", 2, 1)),
        ("ADDED", tier("b", 3, 2)),
        ("ADDED", json!({"metadata": {"name": "odd", "resourceVersion": "4"}, "spec": []})),
        ("BOOKMARK", json!({"metadata": {"resourceVersion": "5"}})),
        ("MODIFIED", tier("a", 6, 7)),
        ("DELETED", tier("b", 8, 2)),
        ("BOOKMARK", end),
    ];
    let mut lines = String::new();
    for (change, object) in changes {
        lines.push_str(&json!({"type": change, "object": object}).to_string());
        lines.push('\n');
    }
    let (config, asked) = server(vec![groups(), ("200 OK", lines)]).await;
    let store = KubeStore::connect(config).await.unwrap();
    let list = store.list("/calico/resources/v3/projectcalico.org/tiers/").await.unwrap();
    assert_eq!(list.revision, 9);
    let [entry] = &list.entries[..] else { panic!("{list:?}") };
    assert_eq!((&*entry.key, entry.revision), ("/calico/resources/v3/projectcalico.org/tiers/a", 6));
    let value: Value = serde_json::from_slice(&entry.value).unwrap();
    assert_eq!(value["spec"]["order"], 7);
    assert!(asked.lock().unwrap()[1].contains("sendInitialEvents=true"));
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_asked_for_pages() {
    let status = |code: u16, message: &str| {
        json!({"kind": "Status", "code": code, "message": message, "reason": "Invalid"}).to_string()
    };
    let page = |name: &str, next: &str| {
        json!({"metadata": {"resourceVersion": "5", "continue": next}, "items": [tier(name, 2, 1)]})
            .to_string()
    };
    let (config, asked) = server(vec![
        groups(),
        ("422 Unprocessable Entity", status(422, "sendInitialEvents is forbidden")),
        ("200 OK", page("b", "more/of+it")),
        ("410 Gone", status(410, "The provided continue parameter is too old")),
        ("200 OK", page("a", "")),
        ("200 OK", page("a", "")),
    ])
    .await;
    let store = KubeStore::connect(config).await.unwrap();
    for _ in 0..2 {
        let list = store.list("/calico/resources/v3/projectcalico.org/tiers/").await.unwrap();
        assert_eq!((list.revision, list.entries.len()), (5, 1));
    }
    let asked = asked.lock().unwrap();
    assert!(asked[3].contains("continue=more%2Fof%2Bit"), "{asked:?}");
    assert!(asked[4].contains("limit=5000"), "a list that is begun again has longer pages: {asked:?}");
    assert!(!asked[5].contains("watch="), "{asked:?}");
}
