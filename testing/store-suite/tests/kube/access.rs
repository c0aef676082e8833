//! Ways to an API server: tokens, certificates, a server that is slow, forgets, or is away.

use super::shared;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tortie_api::crd::Group;
use tortie_store::{Store, StoreError, WatchItem};
use tortie_store_kube::{KubeConfig, KubeStore, Source};
use tortie_store_suite::kube::Cluster;
use tortie_store_suite::{PATIENCE, put, soon};

const POOLS: &str = "/calico/resources/v3/projectcalico.org/ippools/";

#[tokio::test]
async fn tokens_are_named_when_they_are_wrong_and_read_again_when_they_change() {
    let Some(cluster) = shared().await else { return };
    let with = |token: Source| {
        let mut config = cluster.config();
        config.credentials.token = Some(token);
        config
    };
    let wrong = KubeStore::connect(with(Source::Data(b"wrong".to_vec()))).await.map(drop).unwrap_err();
    assert!(matches!(&wrong, StoreError::Denied { reason, .. } if reason.contains("token")), "{wrong}");
    let nobody = KubeStore::connect(with(Source::Data(b"nobody-token".to_vec()))).await.unwrap();
    let errors = [
        nobody.get(&format!("{POOLS}p")).await.map(drop).unwrap_err(),
        nobody.list(POOLS).await.map(drop).unwrap_err(),
        nobody.watch(POOLS, 1).await.map(drop).unwrap_err(),
        nobody.commit(vec![put(&format!("{POOLS}p"), "{}")]).await.map(drop).unwrap_err(),
    ];
    for error in errors {
        let told = error.to_string();
        assert!(
            matches!(error, StoreError::Denied { .. }) && told.contains("nobody") && told.contains("ippools"),
            "{told}"
        );
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "admin-token\n").unwrap();
    let store = KubeStore::connect(with(Source::File(file.path().into()))).await.unwrap();
    std::fs::write(file.path(), "expired").unwrap();
    let refused = async { while store.list(POOLS).await.is_ok() {} };
    soon("the use of the new token", refused).await;
    std::fs::write(file.path(), "admin-token").unwrap();
    store.list(POOLS).await.unwrap();
}

fn openssl(directory: &Path, arguments: &str) {
    let made = Command::new("openssl")
        .current_dir(directory)
        .args(arguments.split(' '))
        .stderr(Stdio::null())
        .status();
    assert!(made.is_ok_and(|status| status.success()), "openssl {arguments}: apt-get install openssl");
}

/// A CA, and what it signed: `client`, and `old` that has expired, both of an administrator; `server` that has expired.
fn certificates(directory: &Path) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(directory, &format!("req -x509 {key} -days 9 -out ca.pem -keyout ca.key -subj /CN=ca"));
    std::fs::write(directory.join("server.ext"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    std::fs::write(directory.join("client.ext"), "extendedKeyUsage=clientAuth\n").unwrap();
    for (name, days, extensions) in [("client", 9, "client"), ("old", -1, "client"), ("server", -1, "server")]
    {
        openssl(
            directory,
            &format!("req {key} -out {name}.csr -keyout {name}.key -subj /O=system:masters/CN={name}"),
        );
        openssl(
            directory,
            &format!(
                "x509 -req -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} -in {name}.csr -out {name}.pem -extfile {extensions}.ext"
            ),
        );
    }
}

#[tokio::test]
async fn certificates_are_used_and_expired_ones_named() {
    let cluster = Cluster::new(Group::Storage, |directory| {
        certificates(directory);
        vec![format!("--client-ca-file={}", directory.join("ca.pem").display())]
    });
    let Some(cluster) = cluster.await else { return };
    let file = |name: &str| Source::File(cluster.directory().join(name));
    let with = |name: &str| {
        let mut config = cluster.config();
        config.credentials.token = None;
        config.credentials.identity = Some((file(&format!("{name}.pem")), file(&format!("{name}.key"))));
        config
    };
    KubeStore::connect(with("client")).await.unwrap().list(POOLS).await.unwrap();
    // Certificates are exchanged while the program runs.
    let exchange = |from: &str| {
        for kind in ["key", "pem"] {
            let file = |name: &str| cluster.directory().join(format!("{name}.{kind}"));
            std::fs::copy(file(from), file("turning")).unwrap();
        }
    };
    exchange("client");
    let store = KubeStore::connect(with("turning")).await.unwrap();
    exchange("old");
    let refused = async { while store.list(POOLS).await.is_ok() {} };
    soon("the use of the new certificate", refused).await;
    exchange("client");
    let trusted = async { while store.list(POOLS).await.is_err() {} };
    soon("the use of the newest certificate", trusted).await;
    let old = KubeStore::connect(with("old")).await.map(drop).unwrap_err();
    assert!(matches!(&old, StoreError::Denied { reason, .. } if reason.contains("expired")), "{old}");
    let mut mixed = with("client");
    mixed.credentials.identity = Some((file("client.pem"), file("old.key")));
    let mixed = KubeStore::connect(mixed).await.map(drop).unwrap_err();
    assert!(mixed.to_string().contains("client certificate"), "{mixed}");
    let mut stranger = cluster.config();
    stranger.authorities = Some(file("ca.pem"));
    let unknown = KubeStore::connect(stranger.clone()).await.map(drop).unwrap_err();
    assert!(unknown.is_transient() && unknown.to_string().contains("UnknownIssuer"), "{unknown}");
    stranger.insecure = true;
    KubeStore::connect(stranger).await.unwrap();

    cluster.kill();
    let path = |name: &str| cluster.directory().join(name).display().to_string();
    cluster.launch(&[
        format!("--tls-cert-file={}", path("server.pem")),
        format!("--tls-private-key-file={}", path("server.key")),
    ]);
    let mut config = cluster.config();
    config.authorities = Some(file("ca.pem"));
    let start = Instant::now();
    loop {
        let error =
            KubeStore::connect(config.clone()).await.map(drop).unwrap_err().to_string().to_lowercase();
        if error.contains("expired") {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{error}");
    }
}

#[tokio::test]
async fn forgotten_history_is_named() {
    // With its cache the server remembers more than etcd.
    let cluster = Cluster::new(Group::Storage, |_| vec!["--watch-cache=false".to_owned()]);
    let Some(cluster) = cluster.await else { return };
    let subject = cluster.clone().subject().await;
    let start = subject.revision().await;
    let mut running = subject.watch("/", start).await;
    for n in 0..5 {
        subject.commit(vec![put("/a", n.to_string())]).await;
    }
    cluster.compact().await.unwrap();
    let error = match subject.store.watch("/", start).await {
        Err(error) => error,
        Ok(mut watch) => {
            soon("an error", async {
                loop {
                    match watch.next().await {
                        Ok(WatchItem::Progress(_)) => {}
                        Ok(item) => panic!("{item:?}"),
                        Err(error) => return error,
                    }
                }
            })
            .await
        }
    };
    let StoreError::Compacted { requested, oldest } = error else { panic!("{error}") };
    assert!(requested == start && oldest > start, "{requested} {oldest}");
    running.take(5).await;
    let mut again = subject.watch("/", oldest).await;
    let next = subject.commit(vec![put("/b", "v")]).await;
    for watch in [&mut running, &mut again] {
        assert_eq!(watch.take(1).await[0].revision(), next);
    }
}

/// A server that accepts and says nothing.
#[tokio::test]
async fn silence_is_not_waited_for() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    for scheme in ["http", "https"] {
        let mut config = KubeConfig::new(format!("{scheme}://{}", listener.local_addr().unwrap()));
        config.insecure = true;
        config.attempt_timeout = Duration::from_millis(200);
        config.patience = Duration::from_millis(300);
        config.timeout = Duration::from_secs(2);
        let error = soon("an error", KubeStore::connect(config)).await.map(drop).unwrap_err();
        assert!(error.is_transient(), "{error}");
    }
}
