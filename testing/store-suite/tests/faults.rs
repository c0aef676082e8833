//! The way to a store is cut, blocked and slowed down, and what is in it makes no sense: on the embedded store and etcd.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tortie_store::{ClientConfig, EmbeddedClient, Precondition, Store, StoreError};
use tortie_store_etcd::{EtcdConfig, EtcdStore};
use tortie_store_suite::etcd::Etcd;
use tortie_store_suite::proxy::{Proxy, Target, Way};
use tortie_store_suite::served::{Served, scratch};
use tortie_store_suite::{PATIENCE, delete, put, put_when, soon};
use tortie_sync::{Feed, FeedConfig, View};

/// A store behind a way that can be cut, and a way of one's own to it.
struct Distant {
    store: Arc<dyn Store>,
    direct: Arc<dyn Store>,
    proxy: Proxy,
    compact: Box<dyn Fn(u64) -> tortie_store::BoxFuture<'static, Result<(), StoreError>> + Send + Sync>,
    _keep: Box<dyn std::any::Any + Send + Sync>,
}

async fn embedded() -> Distant {
    let served = Served::new(env!("CARGO_BIN_EXE_tortie-store-suite-server")).await;
    let directory = scratch();
    let socket: PathBuf = directory.path().join("way.sock");
    let proxy = Proxy::on_socket(Target::Socket(served.socket()), socket.clone());
    let config = ClientConfig {
        connect_timeout: Duration::from_millis(300),
        call_timeout: Duration::from_secs(2),
        ..ClientConfig::new(socket)
    };
    let store = EmbeddedClient::connect_with(config).await.unwrap();
    let direct = served.client().await;
    let compacting = direct.clone();
    Distant {
        store: Arc::new(store),
        direct: Arc::new(direct),
        proxy,
        compact: Box::new(move |revision| {
            let client = compacting.clone();
            Box::pin(async move { client.compact(revision).await })
        }),
        _keep: Box::new((served, directory)),
    }
}

async fn etcd() -> Distant {
    let etcd = Etcd::new().await;
    let port = etcd.endpoint().rsplit(':').next().unwrap().parse().unwrap();
    let (proxy, way) = Proxy::on_port(Target::Port(port)).await;
    let config = EtcdConfig {
        patience: Duration::from_millis(300),
        attempt_timeout: Duration::from_secs(2),
        timeout: Duration::from_secs(3),
        ..EtcdConfig::new([format!("http://127.0.0.1:{way}")])
    };
    let store = EtcdStore::connect(config).await.unwrap();
    let direct = etcd.store_with(etcd.config()).await;
    let compacting = direct.clone();
    Distant {
        store: Arc::new(store),
        direct: Arc::new(direct),
        proxy,
        compact: Box::new(move |revision| {
            let store = compacting.clone();
            Box::pin(async move { store.compact(revision).await })
        }),
        _keep: Box::new(etcd),
    }
}

macro_rules! on_both {
    ($($case:ident),* $(,)?) => {
        mod on_embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(super::embedded().await).await;
            })*
        }
        mod on_etcd {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(super::etcd().await).await;
            })*
        }
    };
}

on_both! {
    calls_end_while_the_way_is_closed,
    slow_answers_are_right_answers,
    a_counter_stays_exact_on_a_way_that_comes_and_goes,
    a_follower_knows_the_store_whatever_happens_to_the_way,
    a_hundred_thousand_objects_are_followed,
    objects_that_cannot_be_read_are_reported_and_the_rest_goes_on,
}

/// Cut or silent: every call ends in time and says that the store cannot be reached; then the same client works again.
async fn calls_end_while_the_way_is_closed(distant: Distant) {
    distant.store.commit(vec![put("/a", "1")]).await.unwrap();
    for way in [Way::Cut, Way::Silent] {
        distant.proxy.set(way);
        let start = Instant::now();
        let errors = [
            soon("get", distant.store.get("/a")).await.map(drop).unwrap_err(),
            soon("list", distant.store.list("/")).await.map(drop).unwrap_err(),
            soon("commit", distant.store.commit(vec![put("/a", "2")])).await.map(drop).unwrap_err(),
        ];
        for error in errors {
            assert!(
                error.is_transient() && error.to_string().contains("cannot be reached"),
                "{way:?}: {error}"
            );
        }
        assert!(start.elapsed() < PATIENCE / 2, "{way:?}: the calls took {:?}", start.elapsed());
        distant.proxy.set(Way::Open);
        again(&*distant.store).await;
    }
}

/// Waits until calls succeed again.
async fn again(store: &dyn Store) {
    let start = Instant::now();
    while let Err(error) = store.get("/a").await {
        assert!(error.is_transient() && start.elapsed() < PATIENCE, "{error}");
    }
}

/// Nothing is lost or out of order when every answer takes its time.
async fn slow_answers_are_right_answers(distant: Distant) {
    for n in 0..1500 {
        distant.direct.commit(vec![put(&format!("/slow/{n:04}"), vec![b'x'; 500])]).await.unwrap();
    }
    distant.proxy.set(Way::Slow(Duration::from_millis(40)));
    let list = soon("a slow list", distant.store.list("/slow/")).await.unwrap();
    assert_eq!(list.entries.len(), 1500);
    let mut watch = soon("a slow watch", distant.store.watch("/slow/", list.revision)).await.unwrap();
    for n in 0..20 {
        distant.direct.commit(vec![put(&format!("/slow/{n:04}"), "2")]).await.unwrap();
    }
    let mut seen = Vec::new();
    while seen.len() < 20 {
        if let tortie_store::WatchItem::Events(events) = soon("a change", watch.next()).await.unwrap() {
            seen.extend(events.iter().map(|e| (e.key().to_string(), e.revision())));
        }
    }
    assert!(seen.is_sorted_by_key(|(_, revision)| *revision));
    let keys: Vec<&str> = seen.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, (0..20).map(|n| format!("/slow/{n:04}")).collect::<Vec<_>>());
}

/// Compare-and-swap on a way that is cut again and again: what was acknowledged happened once, and what was not once or
/// not at all.
async fn a_counter_stays_exact_on_a_way_that_comes_and_goes(distant: Distant) {
    let (certain, uncertain) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (store, certain, uncertain, stop) =
                (distant.store.clone(), certain.clone(), uncertain.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let Ok(entry) = store.get("/count").await else { continue };
                    let (count, when) = match &entry {
                        None => (0, Precondition::Absent),
                        Some(entry) => (
                            std::str::from_utf8(&entry.value).unwrap().parse::<usize>().unwrap(),
                            Precondition::Revision(entry.revision),
                        ),
                    };
                    match store.commit(vec![put_when("/count", (count + 1).to_string(), when)]).await {
                        Ok(_) => certain.fetch_add(1, Ordering::Relaxed),
                        Err(StoreError::Conflict { .. }) => 0,
                        Err(error) => {
                            assert!(error.is_transient(), "{error}");
                            uncertain.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            })
        })
        .collect();
    for round in 1..=5 {
        let begun = Instant::now();
        while certain.load(Ordering::Relaxed) < 40 * round {
            assert!(begun.elapsed() < PATIENCE, "nothing is written");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        distant.proxy.set(Way::Cut);
        distant.proxy.set(Way::Open);
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        soon("the end of a writer", writer).await.unwrap();
    }
    let entry = distant.direct.get("/count").await.unwrap().unwrap();
    let count: usize = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
    let (certain, uncertain) = (certain.load(Ordering::Relaxed), uncertain.load(Ordering::Relaxed));
    assert!((certain..=certain + uncertain).contains(&count), "{count} of {certain} and perhaps {uncertain}");
}

/// Keys with their revisions, as a follower knows them.
async fn follow(
    feed: &mut mpsc::Receiver<Feed>,
    view: &mut View,
    known: &mut BTreeMap<String, u64>,
    until: u64,
) {
    while view.revision() < until {
        let deltas = match soon("news", feed.recv()).await.unwrap() {
            Feed::Snapshot(list) => view.snapshot(list),
            Feed::Events(events) => view.events(events),
            Feed::Progress(revision) => {
                view.progress(revision);
                Vec::new()
            }
            Feed::Lost(_) => Vec::new(),
        };
        for delta in deltas {
            match delta.value {
                Some(_) => known.insert(delta.key.to_string(), delta.revision),
                None => known.remove(&*delta.key),
            };
        }
    }
}

async fn content(store: &dyn Store, prefix: &str) -> (BTreeMap<String, u64>, u64) {
    let list = store.list(prefix).await.unwrap();
    (list.entries.iter().map(|e| (e.key.to_string(), e.revision)).collect(), list.revision)
}

/// Changes and deletions while the way is cut, silent, slow, and while history is forgotten meanwhile.
async fn a_follower_knows_the_store_whatever_happens_to_the_way(distant: Distant) {
    let config = FeedConfig { prefix: "/f/".to_owned(), ..FeedConfig::default() };
    let mut feed = tortie_sync::spawn(distant.store.clone(), config);
    let (mut view, mut known) = (View::default(), BTreeMap::new());
    let ways = [
        (Way::Open, false),
        (Way::Cut, false),
        (Way::Cut, true),
        (Way::Slow(Duration::from_millis(5)), false),
        (Way::Silent, false),
        (Way::Silent, true),
        (Way::Open, true),
    ];
    for (round, (way, forget)) in ways.into_iter().enumerate() {
        distant.proxy.set(way);
        for n in 0..30 {
            let op = match (n + round) % 3 {
                0 => delete(&format!("/f/{n}")),
                _ => put(&format!("/f/{n}"), round.to_string()),
            };
            distant.direct.commit(vec![op]).await.unwrap();
        }
        // The last change of a round is one that is seen.
        let last = distant.direct.commit(vec![put("/f/last", round.to_string())]).await.unwrap();
        if forget {
            (distant.compact)(last).await.unwrap();
        }
        distant.proxy.set(Way::Open);
        follow(&mut feed, &mut view, &mut known, last).await;
        assert_eq!(known, content(&*distant.direct, "/f/").await.0, "after {way:?}, forgotten: {forget}");
    }
}

/// As large as a large cluster.
async fn a_hundred_thousand_objects_are_followed(distant: Distant) {
    const OBJECTS: usize = 100_000;
    let keys: Vec<String> = (0..OBJECTS).map(|n| format!("/big/{n:06}")).collect();
    for part in keys.chunks(100) {
        distant.direct.commit(part.iter().map(|key| put(key, "{}")).collect()).await.unwrap();
    }
    let mut feed = tortie_sync::spawn(
        distant.store.clone(),
        FeedConfig { prefix: "/big/".to_owned(), ..FeedConfig::default() },
    );
    let (mut view, mut known) = (View::default(), BTreeMap::new());
    follow(&mut feed, &mut view, &mut known, 1).await;
    assert_eq!((known.len(), view.len()), (OBJECTS, OBJECTS));
    distant.proxy.set(Way::Cut);
    let last = distant.direct.commit(vec![delete(&keys[7]), put(&keys[9], "2")]).await.unwrap();
    distant.proxy.set(Way::Open);
    follow(&mut feed, &mut view, &mut known, last).await;
    assert_eq!((known.len(), known.get(&keys[9])), (OBJECTS - 1, Some(&last)));
}

/// What is no object, or none of its kind, is named; the others mean what they mean.
async fn objects_that_cannot_be_read_are_reported_and_the_rest_goes_on(distant: Distant) {
    let path = |kind: &str, name: &str| tortie_api::v3::by_kind(kind).unwrap().path("", name);
    let tier =
        |order: u32| format!(r#"{{"kind":"Tier","metadata":{{"name":"x"}},"spec":{{"order":{order}}}}}"#);
    let objects = [
        (path("Tier", "good"), tier(1).into_bytes()),
        (path("Tier", "bad-bytes"), vec![0xff, 0, 0xfe]),
        (path("Tier", "bad-json"), b"{\"spec\":".to_vec()),
        (path("Tier", "bad-type"), br#"{"spec":{"order":"first"}}"#.to_vec()),
        (path("GlobalNetworkPolicy", "bad-kind"), b"[]".to_vec()),
        (path("Tier", "late"), tier(2).into_bytes()),
    ];
    let mut last = 0;
    for (key, value) in &objects {
        last = distant.direct.commit(vec![put(key, value.clone())]).await.unwrap();
    }
    let config = FeedConfig { set: tortie_sync::FELIX, ..FeedConfig::default() };
    let mut feed = tortie_sync::spawn(distant.store.clone(), config);
    let mut view = View::default();
    let mut converter = tortie_model::convert::Converter::new(tortie_model::convert::Options::default());
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    while view.revision() < last {
        let deltas = match soon("news", feed.recv()).await.unwrap() {
            Feed::Snapshot(list) => view.snapshot(list),
            Feed::Events(events) => view.events(events),
            _ => Vec::new(),
        };
        for delta in deltas {
            let (changes, problems) = converter.entry(&delta.key, delta.value.as_deref());
            let name = delta.key.rsplit('/').next().unwrap().to_owned();
            match (changes.is_empty(), problems.is_empty()) {
                (false, true) => good.push(name),
                (true, false) => bad.push(name),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
    good.sort();
    bad.sort();
    assert_eq!(
        (good, bad),
        (
            vec!["good".to_owned(), "late".to_owned()],
            ["bad-bytes", "bad-json", "bad-kind", "bad-type"].map(str::to_owned).to_vec(),
        )
    );
    // What is repaired is taken.
    let repaired = distant.direct.commit(vec![put(&path("Tier", "bad-json"), tier(3))]).await.unwrap();
    while view.revision() < repaired {
        if let Feed::Events(events) = soon("news", feed.recv()).await.unwrap() {
            for delta in view.events(events) {
                assert_eq!(converter.entry(&delta.key, delta.value.as_deref()).1.len(), 0, "{}", delta.key);
            }
        }
    }
}

/// Certificates of the server or of the client whose time is over are named as such; with good ones in their place the
/// next connection works, for the files are read anew.
#[tokio::test]
async fn expired_certificates_are_named_and_new_ones_taken() {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
    use tortie_store_etcd::TlsFiles;

    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let write = |directory: &std::path::Path, name: &str, expired: bool| {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        std::fs::write(
            directory.join(format!("{name}.pem")),
            params.signed_by(&key, &authority).unwrap().pem(),
        )
        .unwrap();
        std::fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    };
    for server_expired in [true, false] {
        let etcd = Etcd::launched("https", |directory| {
            write(directory, "server", server_expired);
            write(directory, "client", !server_expired);
            std::fs::write(directory.join("ca.pem"), authority.pem()).unwrap();
            let file = |name: &str| directory.join(name).display().to_string();
            vec![
                format!("--cert-file={}", file("server.pem")),
                format!("--key-file={}", file("server.key")),
                format!("--trusted-ca-file={}", file("ca.pem")),
                "--client-cert-auth".to_owned(),
            ]
        });
        let file = |name: &str| etcd.directory().join(name);
        let tls = TlsFiles {
            ca: file("ca.pem"),
            identity: Some((file("client.pem"), file("client.key"))),
            server_name: None,
        };
        let config = EtcdConfig { tls: Some(tls), ..etcd.config() };
        let start = Instant::now();
        let expected: &[&str] =
            if server_expired { &["xpired"] } else { &["xpired", "certificate", "alert"] };
        loop {
            let error = EtcdStore::connect(config.clone()).await.unwrap_err().to_string();
            if expected.iter().any(|word| error.contains(word)) {
                break;
            }
            // It may not listen yet; and in TLS 1.3 a server may hang up before its alert has been read.
            let hung_up = ["broken pipe", "connection closed", "onnection reset"];
            let passing = error.contains("refused")
                || (!server_expired && hung_up.iter().any(|word| error.contains(word)));
            assert!(passing && start.elapsed() < PATIENCE, "server {server_expired}: {error}");
        }
        write(etcd.directory(), "client", false);
        if server_expired {
            write(etcd.directory(), "server", false);
        }
        let store = etcd.store_with(config).await;
        store.commit(vec![put("/a", "1")]).await.unwrap();
    }
}
