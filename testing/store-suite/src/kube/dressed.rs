//! Any keys and bytes, dressed as policies of one namespace: what the cases want of a store whose keys must be objects.
//!
//! A key becomes a name by its hexadecimal digits, which keeps order and prefixes. A value becomes text in the
//! annotations of a rule, where Calico takes any.

use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;
use tortie_store::{BoxFuture, Entry, Event, List, Op, Store, StoreError, Watch, WatchItem};

pub(super) struct Dressed {
    store: Arc<dyn Store>,
    namespace: String,
    prefix: String,
}

impl Dressed {
    pub(super) fn new(store: Arc<dyn Store>, namespace: &str) -> Self {
        let prefix = format!("/calico/resources/v3/projectcalico.org/networkpolicies/{namespace}/");
        Self { store, namespace: namespace.to_owned(), prefix }
    }

    fn key(&self, key: &str) -> String {
        if key.is_empty() { String::new() } else { format!("{}{}", self.prefix, name(key)) }
    }

    fn prefix(&self, prefix: &str) -> String {
        format!("{}{}", self.prefix, name(prefix))
    }

    fn dress(&self, op: Op) -> Op {
        match op {
            Op::Put { key, value, when, ttl } => {
                let object = json!({
                    "apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy",
                    "metadata": {"name": name(&key), "namespace": self.namespace},
                    "spec": {"ingress": [{"action": "Allow", "metadata": {"annotations": {"value": hex(&value)}}}]},
                });
                Op::Put { key: self.key(&key), value: object.to_string().into(), when, ttl }
            }
            Op::Delete { key, when } => Op::Delete { key: self.key(&key), when },
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// A name begins with a letter, also that of the empty prefix.
fn name(key: &str) -> String {
    format!("k{}", hex(key.as_bytes()))
}

fn undressed(key: &str) -> Arc<str> {
    let digits = key.rsplit('/').next().unwrap().strip_prefix('k').unwrap();
    String::from_utf8(bytes(digits)).unwrap().into()
}

fn undress(entry: Entry) -> Entry {
    let object: Value = serde_json::from_slice(&entry.value).unwrap();
    let text = object.pointer("/spec/ingress/0/metadata/annotations/value").and_then(Value::as_str);
    let value = Bytes::from(bytes(text.unwrap()));
    Entry { key: undressed(&entry.key), value, revision: entry.revision }
}

impl Store for Dressed {
    fn has_transactions(&self) -> bool {
        self.store.has_transactions()
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        Box::pin(async move { Ok(self.store.get(&self.key(key)).await?.map(undress)) })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<List, StoreError>> {
        Box::pin(async move {
            let mut list = self.store.list(&self.prefix(prefix)).await?;
            let entries = list.entries.drain(..).map(undress).collect();
            Ok(List { entries, ..list })
        })
    }

    fn commit(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<u64, StoreError>> {
        let ops = ops.into_iter().map(|op| self.dress(op)).collect();
        Box::pin(async move {
            self.store.commit(ops).await.map_err(|error| match error {
                StoreError::Conflict { key, current } => {
                    let key = undressed(&key).to_string();
                    StoreError::Conflict { key, current: current.map(undress) }
                }
                error => error,
            })
        })
    }

    fn watch<'a>(
        &'a self,
        prefix: &'a str,
        revision: u64,
    ) -> BoxFuture<'a, Result<Box<dyn Watch>, StoreError>> {
        Box::pin(async move {
            let watch = self.store.watch(&self.prefix(prefix), revision).await?;
            Ok(Box::new(Undressing(watch)) as Box<dyn Watch>)
        })
    }
}

struct Undressing(Box<dyn Watch>);

impl Watch for Undressing {
    fn next(&mut self) -> BoxFuture<'_, Result<WatchItem, StoreError>> {
        Box::pin(async move {
            Ok(match self.0.next().await? {
                WatchItem::Events(events) => {
                    let undress = |event| match event {
                        Event::Put(entry) => Event::Put(undress(entry)),
                        Event::Delete { key, revision } => Event::Delete { key: undressed(&key), revision },
                    };
                    WatchItem::Events(events.into_iter().map(undress).collect())
                }
                progress @ WatchItem::Progress(_) => progress,
            })
        })
    }
}
