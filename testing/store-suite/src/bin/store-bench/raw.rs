//! etcd without a client of ours: calls written out, nothing tried again, nothing checked.

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;
use tortie_store_etcd::messages::{
    Compare, KeyValue, PutRequest, RangeRequest, RangeResponse, RequestKind, RequestOp, TxnRequest,
    TxnResponse, WatchCreateRequest, WatchRequest, WatchRequestKind, WatchResponse, path,
};

/// Larger than any answer here.
const MAX_ANSWER: usize = 1 << 30;

/// A connection.
#[derive(Clone)]
pub(crate) struct RawEtcd(Channel);

impl RawEtcd {
    pub(crate) async fn connect(endpoint: &str) -> Self {
        let endpoint = Endpoint::from_shared(endpoint.to_owned()).unwrap();
        let endpoint = endpoint.initial_stream_window_size(1 << 20).initial_connection_window_size(64 << 20);
        Self(endpoint.connect().await.unwrap())
    }

    async fn grpc(&self) -> Grpc<Channel> {
        let mut grpc = Grpc::new(self.0.clone()).max_decoding_message_size(MAX_ANSWER);
        grpc.ready().await.unwrap();
        grpc
    }

    async fn call<Q, R>(&self, path: &'static str, request: Q) -> R
    where
        Q: prost::Message + 'static,
        R: prost::Message + Default + 'static,
    {
        let codec = ProstCodec::<Q, R>::default();
        let mut grpc = self.grpc().await;
        grpc.unary(Request::new(request), PathAndQuery::from_static(path), codec).await.unwrap().into_inner()
    }

    /// All keys from `prefix`, which ends with a slash, in one answer.
    pub(crate) async fn list(&self, prefix: &str) -> (Vec<KeyValue>, i64) {
        let end = format!("{}0", prefix.trim_end_matches('/'));
        let request =
            RangeRequest { key: prefix.to_owned().into(), range_end: end.into(), ..RangeRequest::default() };
        let answer: RangeResponse = self.call(path::RANGE, request).await;
        (answer.kvs, answer.header.map_or(0, |h| h.revision))
    }

    pub(crate) async fn get(&self, key: &str) -> Option<KeyValue> {
        let request = RangeRequest { key: key.to_owned().into(), ..RangeRequest::default() };
        let answer: RangeResponse = self.call(path::RANGE, request).await;
        answer.kvs.into_iter().next()
    }

    /// Writes; with a revision only if the key is still at it.
    pub(crate) async fn put(&self, entries: Vec<(String, Bytes)>, at: Option<i64>) -> Option<i64> {
        let compare = at.iter().zip(&entries).map(|(revision, (key, _))| Compare {
            // EQUAL, MOD.
            result: 0,
            target: 2,
            key: key.clone().into(),
            mod_revision: Some(*revision),
        });
        let request = TxnRequest {
            compare: compare.collect(),
            success: entries
                .into_iter()
                .map(|(key, value)| RequestOp {
                    request: Some(RequestKind::Put(PutRequest { key: key.into(), value, lease: 0 })),
                })
                .collect(),
            failure: Vec::new(),
        };
        let answer: TxnResponse = self.call(path::TXN, request).await;
        answer.succeeded.then(|| answer.header.map_or(0, |h| h.revision))
    }

    /// A watch of a prefix that ends with a slash; it ends with the sender.
    pub(crate) async fn watch(
        &self,
        prefix: &str,
        revision: i64,
    ) -> (mpsc::Sender<WatchRequest>, Streaming<WatchResponse>) {
        let create = WatchCreateRequest {
            key: prefix.to_owned().into(),
            range_end: format!("{}0", prefix.trim_end_matches('/')).into(),
            start_revision: revision + 1,
            ..WatchCreateRequest::default()
        };
        let (to, requests) = mpsc::channel(1);
        to.send(WatchRequest { request: Some(WatchRequestKind::Create(create)) }).await.unwrap();
        let codec = ProstCodec::<WatchRequest, WatchResponse>::default();
        let request = Request::new(ReceiverStream::new(requests));
        let mut grpc = self.grpc().await;
        let answers = grpc.streaming(request, PathAndQuery::from_static(path::WATCH), codec).await.unwrap();
        (to, answers.into_inner())
    }
}
