//! The messages of etcd's API that Tortie uses, with the field numbers of etcd's `api/etcdserverpb/rpc.proto` and
//! `api/mvccpb/kv.proto` (version 3.4 and later; the numbers are part of etcd's compatibility promise).
//!
//! Fields that Tortie neither sets nor reads are left out: protobuf skips unknown fields and treats missing ones as
//! zero. Adding one needs its number from those files, nothing else.

use bytes::Bytes;

/// Paths of the calls.
pub mod path {
    /// `KV.Range`.
    pub const RANGE: &str = "/etcdserverpb.KV/Range";
    /// `KV.Txn`.
    pub const TXN: &str = "/etcdserverpb.KV/Txn";
    /// `KV.Compact`.
    pub const COMPACT: &str = "/etcdserverpb.KV/Compact";
    /// `Watch.Watch`.
    pub const WATCH: &str = "/etcdserverpb.Watch/Watch";
    /// `Lease.LeaseGrant`.
    pub const LEASE_GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
    /// `Lease.LeaseRevoke`.
    pub const LEASE_REVOKE: &str = "/etcdserverpb.Lease/LeaseRevoke";
    /// `Auth.Authenticate`.
    pub const AUTHENTICATE: &str = "/etcdserverpb.Auth/Authenticate";
    /// `Maintenance.Status`.
    pub const STATUS: &str = "/etcdserverpb.Maintenance/Status";
}

/// `mvccpb.KeyValue`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KeyValue {
    /// The key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Revision of its last change.
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    /// The value.
    #[prost(bytes = "bytes", tag = "5")]
    pub value: Bytes,
}

/// `mvccpb.Event.EventType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum EventType {
    /// The key was written.
    Put = 0,
    /// The key was removed.
    Delete = 1,
}

/// `mvccpb.Event`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Event {
    /// What happened.
    #[prost(enumeration = "EventType", tag = "1")]
    pub kind: i32,
    /// The key as it is now; of a removed one only the key and the revision of the removal.
    #[prost(message, optional, tag = "2")]
    pub kv: Option<KeyValue>,
}

/// `ResponseHeader`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResponseHeader {
    /// Which cluster answered.
    #[prost(uint64, tag = "1")]
    pub cluster_id: u64,
    /// Revision of the store when the request was applied.
    #[prost(int64, tag = "3")]
    pub revision: i64,
}

/// `RangeRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RangeRequest {
    /// First key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// First key after the range; empty: the one key only; `\0`: no end.
    #[prost(bytes = "bytes", tag = "2")]
    pub range_end: Bytes,
    /// Keys in the answer, at most; 0: all.
    #[prost(int64, tag = "3")]
    pub limit: i64,
    /// Revision to read at; 0: the present one.
    #[prost(int64, tag = "4")]
    pub revision: i64,
    /// Leave the values out.
    #[prost(bool, tag = "8")]
    pub keys_only: bool,
}

/// `RangeResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RangeResponse {
    /// Header.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Keys in order.
    #[prost(message, repeated, tag = "2")]
    pub kvs: Vec<KeyValue>,
    /// There are more keys in the range than in the answer.
    #[prost(bool, tag = "3")]
    pub more: bool,
}

/// `PutRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PutRequest {
    /// The key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// The value.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
    /// Lease that the key ends with; 0: none.
    #[prost(int64, tag = "3")]
    pub lease: i64,
}

/// `PutResponse`: nothing of it is read.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PutResponse {}

/// `DeleteRangeRequest`, for one key.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeleteRangeRequest {
    /// The key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
}

/// `DeleteRangeResponse`: nothing of it is read.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeleteRangeResponse {}

/// `RequestOp`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RequestOp {
    /// One request of a transaction.
    #[prost(oneof = "RequestKind", tags = "1, 2, 3")]
    pub request: Option<RequestKind>,
}

/// The kinds of [`RequestOp`].
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum RequestKind {
    /// Read.
    #[prost(message, tag = "1")]
    Range(RangeRequest),
    /// Write.
    #[prost(message, tag = "2")]
    Put(PutRequest),
    /// Remove.
    #[prost(message, tag = "3")]
    DeleteRange(DeleteRangeRequest),
}

/// `ResponseOp`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResponseOp {
    /// The answer to one request of a transaction.
    #[prost(oneof = "ResponseKind", tags = "1, 2, 3")]
    pub response: Option<ResponseKind>,
}

/// The kinds of [`ResponseOp`].
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum ResponseKind {
    /// Read.
    #[prost(message, tag = "1")]
    Range(RangeResponse),
    /// Written.
    #[prost(message, tag = "2")]
    Put(PutResponse),
    /// Removed.
    #[prost(message, tag = "3")]
    DeleteRange(DeleteRangeResponse),
}

/// `Compare.CompareResult`, the one that is used.
pub const COMPARE_EQUAL: i32 = 0;
/// `Compare.CompareTarget`, the one that is used: the revision of the last change.
pub const COMPARE_MOD: i32 = 2;

/// `Compare`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Compare {
    /// How.
    #[prost(int32, tag = "1")]
    pub result: i32,
    /// What of the key.
    #[prost(int32, tag = "2")]
    pub target: i32,
    /// The key.
    #[prost(bytes = "bytes", tag = "3")]
    pub key: Bytes,
    /// With what. Part of a union in etcd's definition, where a union of one is a field that is also sent when zero.
    #[prost(int64, optional, tag = "6")]
    pub mod_revision: Option<i64>,
}

/// `TxnRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TxnRequest {
    /// What must be true.
    #[prost(message, repeated, tag = "1")]
    pub compare: Vec<Compare>,
    /// What is done if it is.
    #[prost(message, repeated, tag = "2")]
    pub success: Vec<RequestOp>,
    /// What is done if it is not.
    #[prost(message, repeated, tag = "3")]
    pub failure: Vec<RequestOp>,
}

/// `TxnResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TxnResponse {
    /// Header.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// What had to be true was.
    #[prost(bool, tag = "2")]
    pub succeeded: bool,
    /// Answers to what was done.
    #[prost(message, repeated, tag = "3")]
    pub responses: Vec<ResponseOp>,
}

/// `CompactionRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CompactionRequest {
    /// Revision before which history is forgotten.
    #[prost(int64, tag = "1")]
    pub revision: i64,
    /// Answer when it has been done on the disk.
    #[prost(bool, tag = "2")]
    pub physical: bool,
}

/// `CompactionResponse`: nothing of it is read.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CompactionResponse {}

/// `WatchRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WatchRequest {
    /// The request.
    #[prost(oneof = "WatchRequestKind", tags = "1, 3")]
    pub request: Option<WatchRequestKind>,
}

/// The kinds of [`WatchRequest`].
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum WatchRequestKind {
    /// Start a watch.
    #[prost(message, tag = "1")]
    Create(WatchCreateRequest),
    /// Report progress.
    #[prost(message, tag = "3")]
    Progress(WatchProgressRequest),
}

/// `WatchCreateRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WatchCreateRequest {
    /// First key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// First key after the range.
    #[prost(bytes = "bytes", tag = "2")]
    pub range_end: Bytes,
    /// First revision.
    #[prost(int64, tag = "3")]
    pub start_revision: i64,
    /// Report progress now and then.
    #[prost(bool, tag = "4")]
    pub progress_notify: bool,
    /// Large revisions may come in several responses.
    #[prost(bool, tag = "8")]
    pub fragment: bool,
}

/// `WatchProgressRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WatchProgressRequest {}

/// `WatchResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WatchResponse {
    /// Header.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// The watch has been started.
    #[prost(bool, tag = "3")]
    pub created: bool,
    /// The watch has been ended by the store.
    #[prost(bool, tag = "4")]
    pub canceled: bool,
    /// If not 0: the start is too old, this is the oldest possible.
    #[prost(int64, tag = "5")]
    pub compact_revision: i64,
    /// Why it has been ended.
    #[prost(string, tag = "6")]
    pub cancel_reason: String,
    /// More of the same revisions follows.
    #[prost(bool, tag = "7")]
    pub fragment: bool,
    /// Changes in order of revision.
    #[prost(message, repeated, tag = "11")]
    pub events: Vec<Event>,
}

/// `LeaseGrantRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LeaseGrantRequest {
    /// Seconds.
    #[prost(int64, tag = "1")]
    pub ttl: i64,
}

/// `LeaseGrantResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LeaseGrantResponse {
    /// The lease.
    #[prost(int64, tag = "2")]
    pub id: i64,
}

/// `LeaseRevokeRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LeaseRevokeRequest {
    /// The lease.
    #[prost(int64, tag = "1")]
    pub id: i64,
}

/// `LeaseRevokeResponse`: nothing of it is read.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LeaseRevokeResponse {}

/// `AuthenticateRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AuthenticateRequest {
    /// User.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Password.
    #[prost(string, tag = "2")]
    pub password: String,
}

/// `AuthenticateResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AuthenticateResponse {
    /// To be sent with every call, as the metadata `token`.
    #[prost(string, tag = "2")]
    pub token: String,
}

/// `StatusRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StatusRequest {}

/// `StatusResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StatusResponse {
    /// Header.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Version of the member, as `3.4.23`.
    #[prost(string, tag = "2")]
    pub version: String,
}
