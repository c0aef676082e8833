//! The store behind its socket: what only the socket can get wrong. What every store must do is in `tortie-store-suite`.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use bytes::Bytes;
use std::fs::Permissions;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tortie_store::{
    ClientConfig, Durability, EmbeddedClient, Engine, EngineConfig, Event, Op, Precondition, ServeConfig,
    ServeError, Store, StoreError, Watch, WatchItem, serve,
};

/// Longest wait for something that must happen.
const PATIENCE: Duration = Duration::from_mins(1);

struct Served {
    dir: tempfile::TempDir,
    running: Option<(JoinHandle<Result<(), ServeError>>, oneshot::Sender<()>)>,
}

impl Served {
    fn new() -> Self {
        let mut served = Self { dir: tempfile::tempdir().unwrap(), running: None };
        served.start();
        served
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("store.sock")
    }

    fn config(&self) -> ServeConfig {
        let mut config = ServeConfig::new(self.dir.path().join("store.redb"), self.socket());
        config.engine.durability = Durability::Process;
        config
    }

    fn start(&mut self) {
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { drop(stopped.await) };
        self.running = Some((tokio::spawn(serve(self.config(), shutdown)), stop));
    }

    async fn stop(&mut self) {
        let (server, stop) = self.running.take().unwrap();
        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
    }

    /// A client that waits for the server as long as it takes.
    async fn client(&self) -> EmbeddedClient {
        let patient = PATIENCE;
        let config = ClientConfig { connect_timeout: patient, call_timeout: patient, ..self.client_config() };
        EmbeddedClient::connect_with(config).await.unwrap()
    }

    fn client_config(&self) -> ClientConfig {
        ClientConfig { connect_timeout: Duration::from_millis(200), ..ClientConfig::new(self.socket()) }
    }
}

fn put(key: &str, value: impl Into<Bytes>) -> Op {
    Op::Put { key: key.into(), value: value.into(), when: Precondition::Any, ttl: None }
}

async fn changes(watch: &mut dyn Watch) -> Result<Vec<Event>, StoreError> {
    let changes = async {
        loop {
            if let WatchItem::Events(events) = watch.next().await? {
                return Ok(events);
            }
        }
    };
    tokio::time::timeout(PATIENCE, changes).await.expect("changes")
}

#[tokio::test]
async fn a_list_longer_than_a_frame_arrives_whole() {
    let served = Served::new();
    let client = served.client().await;
    for n in 0..40 {
        client.commit(vec![put(&format!("/big/{n:02}"), vec![n; 100_000])]).await.unwrap();
    }
    let list = client.list("/big/").await.unwrap();
    assert_eq!(list.entries.len(), 40);
    for (n, entry) in list.entries.iter().enumerate() {
        assert_eq!((&*entry.key, &entry.value[..]), (&*format!("/big/{n:02}"), &vec![n as u8; 100_000][..]));
    }
}

#[tokio::test]
async fn calls_fail_while_the_store_is_away_and_work_again_after() {
    let mut served = Served::new();
    let client = served.client().await;
    let impatient = EmbeddedClient::connect_with(served.client_config()).await.unwrap();
    let revision = client.commit(vec![put("/a", "1")]).await.unwrap();
    let mut watch = impatient.watch("/", revision).await.unwrap();
    served.stop().await;
    let ended = changes(&mut *watch).await.unwrap_err();
    assert!(ended.is_transient(), "{ended}");
    let error = impatient.get("/a").await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("is the store running"), "{error}");
    assert!(!served.socket().exists());

    served.start();
    assert_eq!(&client.get("/a").await.unwrap().unwrap().value[..], b"1");
    assert_eq!(client.commit(vec![put("/a", "2")]).await.unwrap(), revision + 1);
}

#[tokio::test]
async fn connecting_to_nothing_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let config = ClientConfig {
        connect_timeout: Duration::from_millis(50),
        ..ClientConfig::new(dir.path().join("none.sock"))
    };
    let error = EmbeddedClient::connect_with(config).await.unwrap_err().to_string();
    assert!(error.contains("none.sock") && error.contains("is the store running"), "{error}");
}

#[tokio::test]
async fn a_socket_in_use_is_respected_and_a_stale_one_replaced() {
    let mut served = Served::new();
    served.client().await;
    let mut second = served.config();
    second.engine.path = served.dir.path().join("other.redb");
    let refused = serve(second, std::future::pending()).await.unwrap_err();
    assert!(matches!(refused, ServeError::SocketInUse { .. }), "{refused}");
    served.stop().await;

    // As a killed process leaves it: a socket that nobody listens on.
    drop(std::os::unix::net::UnixListener::bind(served.socket()).unwrap());
    assert!(served.socket().exists());
    served.start();
    served.client().await;
    served.stop().await;

    std::fs::write(served.socket(), "a text").unwrap();
    let refused = serve(served.config(), std::future::pending()).await.unwrap_err();
    assert!(matches!(refused, ServeError::NotASocket { .. }), "{refused}");
}

/// A watch that nobody reads holds up neither the other watches of its connection nor the calls, and still has
/// everything when it is read at last.
#[tokio::test]
async fn a_slow_watch_holds_up_nobody() {
    let served = Served::new();
    let client = served.client().await;
    let mut slow = client.watch("/", 1).await.unwrap();
    let mut quick = client.watch("/", 1).await.unwrap();
    let mut seen = 0;
    for n in 0..500 {
        client.commit(vec![put(&format!("/k/{n}"), vec![7; 10_000])]).await.unwrap();
        while seen <= n {
            seen += changes(&mut *quick).await.unwrap().len();
        }
    }
    let mut late = Vec::new();
    while late.len() < 500 {
        late.extend(changes(&mut *slow).await.unwrap());
    }
    let revisions: Vec<u64> = late.iter().map(Event::revision).collect();
    assert_eq!(revisions, (2..502).collect::<Vec<_>>());
}

/// A watch that is left behind by the log ends with an error instead of skipping something.
#[tokio::test]
async fn a_watch_that_is_too_slow_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (file, socket) = (dir.path().join("store.redb"), dir.path().join("store.sock"));
    let config = EngineConfig { durability: Durability::Process, history: 10, ..EngineConfig::new(file) };
    let engine = Engine::open(config).unwrap();
    let server = {
        let (engine, socket) = (engine.clone(), socket.clone());
        tokio::spawn(async move {
            tortie_store::server::serve_engine(engine, &socket, std::future::pending()).await
        })
    };
    let patient = PATIENCE;
    let client =
        EmbeddedClient::connect_with(ClientConfig { connect_timeout: patient, ..ClientConfig::new(&socket) });
    let client = client.await.unwrap();
    let mut slow = client.watch("/", 1).await.unwrap();
    // Each commit fills one item: more of them than the window of the watch and the memory of the engine hold.
    for _ in 0..60 {
        let ops = (0..100).map(|n| put(&format!("/k/{n}"), vec![7; 10_000])).collect();
        client.commit(ops).await.unwrap();
    }
    let mut last = 1;
    let error = loop {
        match changes(&mut *slow).await {
            Ok(events) => {
                for event in events {
                    assert!(event.revision() == last || event.revision() == last + 1, "a gap after {last}");
                    last = event.revision();
                }
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Compacted { .. }), "{error}");
    server.abort();
}

#[tokio::test]
async fn a_stranger_on_the_socket_is_told_and_harms_nobody() {
    let served = Served::new();
    let client = served.client().await;
    let mut junk = vec![4, 0, 0, 0, 1, 2, 3, 4];
    junk.extend([0xff; 64]);
    for sent in [b"GET / HTTP/1.1\r\nHost: store\r\n\r\n".to_vec(), junk, vec![1, 0, 0]] {
        let socket = served.socket();
        let told = tokio::task::spawn_blocking(move || {
            let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
            stream.write_all(&sent).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut told = Vec::new();
            stream.read_to_end(&mut told).unwrap();
            told
        });
        let told = String::from_utf8_lossy(&told.await.unwrap()).into_owned();
        assert!(told.is_empty() || told.contains("malformed"), "{told}");
    }
    client.commit(vec![put("/a", "1")]).await.unwrap();
}

#[tokio::test]
async fn a_dropped_watch_ends_at_the_store_too() {
    let served = Served::new();
    let client = served.client().await;
    let watches = [client.watch("/a", 1).await.unwrap(), client.watch("/b", 1).await.unwrap()];
    assert_eq!(client.status().await.unwrap().watches, 2);
    drop(watches);
    let gone = async { while client.status().await.unwrap().watches != 0 {} };
    tokio::time::timeout(PATIENCE, gone).await.expect("the end of the watches");
}

/// Only root can become somebody else, so that only root can try this one; the rule itself has a unit test.
#[tokio::test]
async fn another_user_is_refused() {
    let served = Served::new();
    served.client().await;
    let set_mode = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    set_mode(&served.socket(), 0o777);
    set_mode(served.dir.path(), 0o755);
    let is_root = std::fs::metadata(served.dir.path()).unwrap().uid() == 0;
    let socket = served.socket();
    let told = tokio::task::spawn_blocking(move || {
        let script = "import os,socket,sys; s=socket.socket(socket.AF_UNIX); os.setuid(65534); s.connect(sys.argv[1]); \
                      sys.stdout.buffer.write(s.recv(4096))";
        let output = Command::new("python3").args(["-c", script]).arg(socket).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    });
    let told = told.await.unwrap();
    assert_eq!(told.contains("user 65534 is neither root"), is_root, "{told}");
}

#[tokio::test]
async fn a_backup_is_the_store_and_restores_with_a_new_counter() {
    let served = Served::new();
    let client = served.client().await;
    client.commit(vec![put("/a", "1"), put("/b", vec![0, 255])]).await.unwrap();
    let revision = client.commit(vec![put("/a", "2")]).await.unwrap();
    let copy = served.dir.path().join("copy.redb");
    assert_eq!(client.backup(&copy).await.unwrap(), revision);
    let again = client.backup(&copy).await.unwrap_err();
    assert!(matches!(again, StoreError::Invalid { .. }), "{again}");
    client.commit(vec![put("/c", "3")]).await.unwrap();

    let restored = served.dir.path().join("restored.redb");
    let jumped = tortie_store::backup::restore(&copy, &restored).unwrap();
    assert!(jumped > client.list("/").await.unwrap().revision);
    let engine = Engine::open(EngineConfig::new(&restored)).unwrap();
    let list = engine.read_all("/").unwrap();
    let expected = [("/a", &b"2"[..], revision), ("/b", &[0, 255][..], revision - 1)];
    let found: Vec<_> = list.entries.iter().map(|e| (&*e.key, &e.value[..], e.revision)).collect();
    assert_eq!((&found[..], list.revision), (&expected[..], jumped));
    let stale = engine.subscribe("/", revision).map(|_| ()).unwrap_err();
    assert!(matches!(stale, StoreError::Compacted { .. }), "{stale}");
    assert!(tortie_store::backup::restore(&copy, &restored).is_err(), "nothing is overwritten");
}

/// A store that accepts and then says nothing: every call ends in time, also those that could not even be sent.
#[tokio::test]
async fn a_silent_store_is_given_up_on() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("silent.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // A hello of version 1 in answer to one: length, id, kind, mark, version.
        let mut hello = [0; 21];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut hello).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, &hello).await.unwrap();
        // Nothing is read any more.
        std::future::pending::<()>().await;
    });
    let config = ClientConfig { call_timeout: Duration::from_millis(50), ..ClientConfig::new(&socket) };
    let client = EmbeddedClient::connect_with(config).await.unwrap();
    let commits = (0..600).map(|n| {
        let client = client.clone();
        tokio::spawn(async move { client.commit(vec![put(&format!("/k/{n}"), vec![7; 10_000])]).await })
    });
    for commit in commits.collect::<Vec<_>>() {
        let error = commit.await.unwrap().unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("no answer within"), "{error}");
    }
    answering.abort();
}
