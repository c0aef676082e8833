//! Ways to an etcd: certificates, users, several members, members that are dead or silent.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tortie_store::{Precondition, Store, StoreError, WatchItem};
use tortie_store_etcd::{Credentials, EtcdConfig, EtcdStore, TlsFiles};
use tortie_store_suite::etcd::Etcd;
use tortie_store_suite::{PATIENCE, put, put_when, soon};

fn run(program: &str, directory: &Path, arguments: &[&str]) {
    let output = Command::new(program).current_dir(directory).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run {program} ({error}): apt-get install it"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {told}");
}

/// A CA and what it signed: `ca.pem`, `{server,client}.pem`, `{server,client}.key`; and a CA that signed nothing.
fn certificates(directory: &Path) {
    std::fs::write(directory.join("server.ext"), "subjectAltName=IP:127.0.0.1,DNS:etcd.test\n").unwrap();
    std::fs::write(directory.join("client.ext"), "extendedKeyUsage=clientAuth\n").unwrap();
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9"];
    for ca in ["ca", "other"] {
        let (out, keyout, subject) = (format!("{ca}.pem"), format!("{ca}.key"), format!("/CN={ca}"));
        let names = ["-out", &out, "-keyout", &keyout, "-subj", &subject];
        run("openssl", directory, &[&["req", "-x509"][..], &key, &names].concat());
    }
    for who in ["server", "client"] {
        let (csr, pem, keyout) = (format!("{who}.csr"), format!("{who}.pem"), format!("{who}.key"));
        let (subject, extensions) = (format!("/CN={who}"), format!("{who}.ext"));
        let names = ["-out", &csr, "-keyout", &keyout, "-subj", &subject];
        run("openssl", directory, &[&["req"][..], &key[..5], &names].concat());
        let sign = ["x509", "-req", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "9"];
        run(
            "openssl",
            directory,
            &[&sign[..], &["-in", &csr, "-out", &pem, "-extfile", &extensions]].concat(),
        );
    }
}

#[tokio::test]
async fn certificates_are_used_and_wrong_ones_named() {
    let etcd = Etcd::launched("https", |directory| {
        certificates(directory);
        let file = |name: &str| directory.join(name).display().to_string();
        vec![
            format!("--cert-file={}", file("server.pem")),
            format!("--key-file={}", file("server.key")),
            format!("--trusted-ca-file={}", file("ca.pem")),
            "--client-cert-auth".to_owned(),
        ]
    });
    let file = |name: &str| etcd.directory().join(name);
    let files = TlsFiles {
        ca: file("ca.pem"),
        identity: Some((file("client.pem"), file("client.key"))),
        server_name: None,
    };
    let with = |files: TlsFiles| EtcdConfig { tls: Some(files), ..etcd.config() };
    let store = etcd.store_with(with(files.clone())).await;
    let revision = store.commit(vec![put("/a", "1")]).await.unwrap();
    let mut watch = store.watch("/", revision - 1).await.unwrap();
    let change = async { while !matches!(watch.next().await.unwrap(), WatchItem::Events(_)) {} };
    soon("a change", change).await;
    let named = TlsFiles { server_name: Some("etcd.test".to_owned()), ..files.clone() };
    EtcdStore::connect(with(named)).await.unwrap();

    let wrong = [
        (TlsFiles { ca: file("other.pem"), ..files.clone() }, "UnknownIssuer"),
        (TlsFiles { server_name: Some("elsewhere.test".to_owned()), ..files.clone() }, "not valid for name"),
        (TlsFiles { identity: None, ..files.clone() }, "no client certificate is given"),
        (TlsFiles { ca: file("none.pem"), ..files.clone() }, "none.pem"),
        (TlsFiles { ca: file("ca.key"), ..files.clone() }, "there is no CA certificate in"),
    ];
    for (files, expected) in wrong {
        let error = EtcdStore::connect(with(files)).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error} should say {expected}");
    }
    let plain = EtcdConfig { endpoints: vec![etcd.endpoint().replace("https", "http")], ..etcd.config() };
    let error = EtcdStore::connect(plain).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}

#[tokio::test]
async fn users_are_authenticated_and_kept_to_what_they_may() {
    let etcd = Etcd::new().await;
    let user = |name: &str, password: &str| {
        let credentials = Some(Credentials { user: name.to_owned(), password: password.to_owned() });
        EtcdConfig { credentials, ..etcd.config() }
    };
    // A user where none is wanted does no harm.
    EtcdStore::connect(user("calico", "pass"))
        .await
        .unwrap()
        .commit(vec![put("/calico/a", "1")])
        .await
        .unwrap();
    let endpoint = format!("--endpoints={}", etcd.endpoint());
    for arguments in [
        &["user", "add", "root:secret"][..],
        &["user", "grant-role", "root", "root"],
        &["role", "add", "calico"],
        &["role", "grant-permission", "calico", "--prefix=true", "readwrite", "/calico/"],
        &["user", "add", "calico:pass"],
        &["user", "grant-role", "calico", "calico"],
        &["auth", "enable"],
    ] {
        run("etcdctl", etcd.directory(), &[&[endpoint.as_str()][..], arguments].concat());
    }

    let refused = [(user("calico", "wrong"), "authentication failed"), (etcd.config(), "give a user")];
    for (config, expected) in refused {
        // Connecting asks for the member's version, which needs no user; the first call for data does.
        let error = match EtcdStore::connect(config).await {
            Ok(store) => store.get("/calico/a").await.unwrap_err(),
            Err(error) => error,
        };
        assert!(
            matches!(&error, StoreError::Denied { .. }) && error.to_string().contains(expected),
            "{error}"
        );
    }
    let store = EtcdStore::connect(user("calico", "pass")).await.unwrap();
    let revision = store.commit(vec![put("/calico/a", "2")]).await.unwrap();
    let mut watch = store.watch("/calico/", revision).await.unwrap();
    let outside = [
        store.commit(vec![put("/elsewhere", "1")]).await.map(drop).unwrap_err(),
        store.list("/").await.map(drop).unwrap_err(),
        match store.watch("/", revision).await {
            Ok(mut watch) => watch.next().await.map(drop).unwrap_err(),
            Err(error) => error,
        },
    ];
    for error in outside {
        assert!(matches!(error, StoreError::Denied { .. }), "{error}");
    }
    // A new password ends all tokens of the user; another is fetched without the caller noticing.
    let change =
        format!("echo pass | etcdctl {endpoint} --user root:secret user passwd calico --interactive=false");
    run("sh", etcd.directory(), &["-c", &change]);
    let revision =
        store.commit(vec![put_when("/calico/a", "2", Precondition::Revision(revision))]).await.unwrap();
    etcd.kill();
    soon("the end of the watch", async { while watch.next().await.is_ok() {} }).await;
    etcd.launch();
    etcd.store_with(etcd.config()).await;
    let start = Instant::now();
    while let Err(error) = store.get("/calico/a").await {
        assert!(error.is_transient() && start.elapsed() < PATIENCE, "{error}");
    }
    store.commit(vec![put_when("/calico/a", "3", Precondition::Revision(revision))]).await.unwrap();
}

#[tokio::test]
async fn dead_and_silent_members_are_passed_over() {
    let etcd = Etcd::new().await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_endpoint = format!("http://{}", silent.local_addr().unwrap());
    let dead_endpoint = {
        let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", dead.local_addr().unwrap())
    };
    let config = EtcdConfig {
        endpoints: vec![dead_endpoint.clone(), silent_endpoint.clone(), etcd.endpoint()],
        attempt_timeout: Duration::from_millis(500),
        timeout: Duration::from_secs(6),
        ..etcd.config()
    };
    let store = EtcdStore::connect(config.clone()).await.unwrap();
    store.commit(vec![put("/a", "1")]).await.unwrap();
    assert!(store.get("/a").await.unwrap().is_some());

    // With nobody left, the error names everybody, and comes in time.
    etcd.kill();
    let start = Instant::now();
    let error = store.get("/a").await.unwrap_err();
    assert!(start.elapsed() < config.timeout + Duration::from_secs(1), "{:?}", start.elapsed());
    let told = error.to_string();
    for expected in
        [&dead_endpoint, &silent_endpoint, &etcd.endpoint(), "refused", "no answer within", "get /a"]
    {
        assert!(told.contains(expected), "{told} should say {expected}");
    }
    assert!(error.is_transient());
}

/// A cluster loses one member after the other, the leader among them; a counter kept by compare and swap stays exact.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_goes_on_without_any_one_member() {
    let members = Etcd::cluster(3);
    let endpoints = members.iter().map(Etcd::endpoint);
    let config = EtcdConfig { patience: Duration::from_secs(5), ..EtcdConfig::new(endpoints) };
    let store = members[0].store_with(config).await;
    let mut watch = store.watch("/", store.list("/").await.unwrap().revision).await.unwrap();
    let (mut certain, mut uncertain) = (0, 0);
    for member in &members {
        for _ in 0..30 {
            increment(&store, &mut certain, &mut uncertain).await;
        }
        member.kill();
        for _ in 0..30 {
            increment(&store, &mut certain, &mut uncertain).await;
        }
        member.launch();
    }
    assert_eq!(certain, 180);
    let count = value(&store).await;
    assert!((certain..=certain + uncertain).contains(&count), "{count} of {certain} and perhaps {uncertain}");
    // The watch was on one of the members, and ended with it.
    let mut seen = 0;
    let to_the_end = async {
        while let Ok(item) = watch.next().await {
            let WatchItem::Events(events) = item else { continue };
            for event in events {
                assert!(event.revision() > seen);
                seen = event.revision();
            }
        }
    };
    soon("the end of the watch", to_the_end).await;
    assert!(seen > 0);
}

async fn value(store: &EtcdStore) -> usize {
    let start = Instant::now();
    loop {
        match store.get("/count").await {
            Ok(entry) => {
                return entry.map_or(0, |entry| std::str::from_utf8(&entry.value).unwrap().parse().unwrap());
            }
            Err(error) => assert!(error.is_transient() && start.elapsed() < PATIENCE, "{error}"),
        }
    }
}

async fn increment(store: &EtcdStore, certain: &mut usize, uncertain: &mut usize) {
    let start = Instant::now();
    loop {
        let entry = match store.get("/count").await {
            Ok(entry) => entry,
            Err(error) => {
                assert!(error.is_transient() && start.elapsed() < PATIENCE, "{error}");
                continue;
            }
        };
        let (count, when) = entry.map_or((0, Precondition::Absent), |entry| {
            let count: usize = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
            (count, Precondition::Revision(entry.revision))
        });
        match store.commit(vec![put_when("/count", (count + 1).to_string(), when)]).await {
            Ok(_) => {
                *certain += 1;
                return;
            }
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => {
                assert!(error.is_transient() && start.elapsed() < PATIENCE, "{error}");
                *uncertain += 1;
            }
        }
    }
}

/// What etcd never takes is told apart from what it may take later.
#[tokio::test]
async fn commits_too_large_for_etcd_are_refused_for_good() {
    let etcd = Etcd::new().await;
    let store = etcd.store_with(etcd.config()).await;
    let many = (0..129).map(|n| put(&format!("/many/{n}"), "1")).collect();
    let cases = [
        (many, "too many operations"),
        (vec![put("/large", vec![0; 1_800_000])], "too large"),
        (vec![put("/larger", vec![0; 8 << 20])], "larger than max"),
    ];
    for (ops, expected) in cases {
        let error = store.commit(ops).await.unwrap_err();
        assert!(matches!(&error, StoreError::Invalid { reason, .. } if reason.contains(expected)), "{error}");
    }
}
