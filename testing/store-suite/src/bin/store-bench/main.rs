//! How fast the stores are, beside raw redb on the same file system: a table on standard output.
//!
//! `store-bench [--etcd] [--scale] [--kube] [--directory DIR]`; `--scale` measures a large cluster, beside etcd spoken to
//! directly; `--kube` an API server, beside its raw answers.
//! The directory decides what a sync costs (default: memory). Figures are for
//! comparing within one run.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a tool for developers")]

mod heap;
mod kube;
mod raw;
mod scale;

use bytes::Bytes;
use redb::{Database, TableDefinition};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tortie_store::server::serve_engine;
use tortie_store::{
    Durability, EmbeddedClient, Engine, EngineConfig, Op, Precondition, Store, Watch, WatchItem,
};
use tortie_store_suite::etcd::Etcd;

/// As large as a workload endpoint.
pub(crate) const VALUE: &[u8] = &[b'x'; 600];
const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("raw");

#[tokio::main(worker_threads = 2)]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let directory = arguments.iter().position(|argument| argument == "--directory");
    let directory = directory.and_then(|at| arguments.get(at + 1)).map_or("/dev/shm", String::as_str);
    let scratch = tempfile::tempdir_in(directory).unwrap();
    if arguments.iter().any(|argument| argument == "--kube") {
        kube::run().await;
        return;
    }
    if arguments.iter().any(|argument| argument == "--scale") {
        large_cluster(Path::new(directory)).await;
        return;
    }
    println!("values of {} bytes in {directory}; microseconds, except where said otherwise\n", VALUE.len());
    println!("{:<44} {:>9} {:>9} {:>12}", "", "p50", "p99", "per second");
    raw_redb(scratch.path());
    for durability in [Durability::Process, Durability::Disk] {
        embedded(scratch.path(), durability).await;
    }
    if arguments.iter().any(|argument| argument == "--etcd") {
        let etcd = Etcd::new().await;
        let store: Arc<dyn Store> = Arc::new(etcd.store_with(etcd.config()).await);
        calls("etcd", &store).await;
    }
}

/// A table of a large cluster's figures, each with its ratio to those of etcd alone.
async fn large_cluster(directory: &Path) {
    let scratch = tempfile::tempdir_in(directory).unwrap();
    let etcd = Etcd::new().await;
    let store: Arc<dyn Store> = Arc::new(etcd.store_with(etcd.config()).await);
    let raw = scale::measure(&scale::Subject::Raw(raw::RawEtcd::connect(&etcd.endpoint()).await)).await;
    let ours = scale::measure(&scale::Subject::Ours(store.clone())).await;
    let engine = EngineConfig {
        durability: Durability::Process,
        ..EngineConfig::new(scratch.path().join("scale.redb"))
    };
    let engine: Arc<dyn Store> = Arc::new(Engine::open(engine).unwrap());
    let embedded = scale::measure(&scale::Subject::Ours(engine.clone())).await;
    println!("\n{:<44} {:>12} {:>20} {:>20}", "", "raw etcd", "store-etcd", "embedded");
    let row = |name: &str, figure: fn(&scale::Figures) -> f64| {
        let of = |figures: &scale::Figures| {
            format!("{:.1} ({:.2} x)", figure(figures), figure(figures) / figure(&raw))
        };
        println!("{name:<44} {:>12.1} {:>20} {:>20}", figure(&raw), of(&ours), of(&embedded));
    };
    row("list of 100,000, ms", |f| f.list.as_secs_f64() * 1e3);
    row("10,000 changes/s: seen after, p50, ms", |f| f.seen_p50.as_secs_f64() * 1e3);
    row("10,000 changes/s: seen after, p99, ms", |f| f.seen_p99.as_secs_f64() * 1e3);
    row("10,000 changes/s: arrived per second", |f| f.changes);
    row("64 writers of one key: increments per second", |f| f.increments);
    let (snapshot, again, bytes) = scale::follow(engine).await;
    println!(
        "\nfollowing 100,000 objects: {snapshot:.2?} for each in the first snapshot, {again:.2?} in the next; {bytes} bytes each"
    );
}

/// What the file itself costs: one transaction with one write, synced.
fn raw_redb(directory: &Path) {
    let db = Database::create(directory.join("raw.redb")).unwrap();
    let times = (0..2000).map(|n| {
        let start = Instant::now();
        let txn = db.begin_write().unwrap();
        txn.open_table(TABLE).unwrap().insert(&*key(n), VALUE).unwrap();
        txn.commit().unwrap();
        start.elapsed()
    });
    print("raw redb: commit, synced", times.collect(), 1);
}

async fn embedded(directory: &Path, durability: Durability) {
    let file = directory.join(format!("{durability:?}.redb"));
    let socket: PathBuf = directory.join(format!("{durability:?}.sock"));
    let engine = Engine::open(EngineConfig { durability, ..EngineConfig::new(file) }).unwrap();
    println!();
    calls(&format!("engine ({durability:?})"), &(Arc::new(engine.clone()) as Arc<dyn Store>)).await;
    let server = {
        let (engine, socket) = (engine.clone(), socket.clone());
        // A runtime of its own, as a process of its own would have.
        std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let served = runtime
                .spawn(async move { serve_engine(engine, &socket, async { drop(stopped.await) }).await });
            std::thread::park();
            drop(stop);
            runtime.block_on(served).unwrap().unwrap();
        })
    };
    let client = loop {
        if let Ok(client) = EmbeddedClient::connect(&socket).await {
            break client;
        }
    };
    println!();
    calls(&format!("client ({durability:?})"), &(Arc::new(client) as Arc<dyn Store>)).await;
    server.thread().unpark();
    server.join().unwrap();
}

async fn calls(name: &str, store: &Arc<dyn Store>) {
    let mut times = Vec::new();
    for n in 0..2000 {
        let start = Instant::now();
        store.commit(vec![put(n)]).await.unwrap();
        times.push(start.elapsed());
    }
    print(&format!("{name}: commit, one at a time"), times, 1);
    for writers in [8, 64] {
        let tasks = (0..writers).map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut times = Vec::new();
                for n in 0..4000 / writers {
                    let start = Instant::now();
                    store.commit(vec![put(writer * 10_000 + n)]).await.unwrap();
                    times.push(start.elapsed());
                }
                times
            })
        });
        let mut times = Vec::new();
        for task in tasks.collect::<Vec<_>>() {
            times.extend(task.await.unwrap());
        }
        print(&format!("{name}: commit, {writers} at a time"), times, writers);
    }
    let mut times = Vec::new();
    for n in 0..2000 {
        let start = Instant::now();
        store.get(&key(n)).await.unwrap().unwrap();
        times.push(start.elapsed());
    }
    print(&format!("{name}: get"), times, 1);
    let mut times = Vec::new();
    for _ in 0..10 {
        let start = Instant::now();
        assert!(store.list("/bench/").await.unwrap().entries.len() >= 5000);
        times.push(start.elapsed());
    }
    print(&format!("{name}: list of more than 5,000"), times, 1);
    let mut watch = store.watch("/bench/", store.list("/none").await.unwrap().revision).await.unwrap();
    let mut times = Vec::new();
    for n in 0..1000 {
        let start = Instant::now();
        let (committed, ()) = tokio::join!(store.commit(vec![put(n)]), changed(&mut *watch));
        committed.unwrap();
        times.push(start.elapsed());
    }
    print(&format!("{name}: commit and see it in a watch"), times, 1);
}

async fn changed(watch: &mut dyn Watch) {
    while !matches!(watch.next().await.unwrap(), WatchItem::Events(_)) {}
}

fn key(n: usize) -> String {
    format!("/bench/{:08}", n * 7919 % 1_000_003)
}

fn put(n: usize) -> Op {
    Op::Put { key: key(n), value: Bytes::from_static(VALUE), when: Precondition::Any, ttl: None }
}

fn print(name: &str, mut times: Vec<Duration>, at_a_time: usize) {
    times.sort_unstable();
    let micros = |at: usize| times[at.min(times.len() - 1)].as_secs_f64() * 1e6;
    let total: f64 = times.iter().map(Duration::as_secs_f64).sum();
    let rate = (times.len() * at_a_time) as f64 / total;
    println!(
        "{name:<44} {:>9.0} {:>9.0} {rate:>12.0}",
        micros(times.len() / 2),
        micros(times.len() * 99 / 100)
    );
}
