//! Members, connections to them, the token, and the order in which they are tried.

use crate::config::{ConfigError, EtcdConfig};
use crate::error::Failure;
use crate::messages::{AuthenticateRequest, AuthenticateResponse, path};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;
use tortie_causes::chain;
use tortie_store::StoreError;

/// Answers may be this large: a page of a list with large values.
const MAX_ANSWER: usize = 512 << 20;
/// First and longest pause between rounds over all members.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));
/// Metadata that carries the token (`rpctypes.TokenFieldNameGRPC`).
const TOKEN: &str = "token";

type Token = MetadataValue<Ascii>;
type Attempt<R> = Pin<Box<dyn Future<Output = Result<R, Status>> + Send>>;

/// Calls and watches have connections of their own: what a watch has not yet read cannot hold up a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Calls,
    Watches,
}

/// May a call be made again if it may have been carried out already?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    Freely,
    OnlyIfNotSent,
}

#[derive(Debug)]
pub(crate) struct Pool {
    config: EtcdConfig,
    /// All members, for messages.
    name: String,
    /// Member to try first.
    current: AtomicUsize,
    channels: Mutex<Vec<[Option<Channel>; 2]>>,
    token: Mutex<Option<Token>>,
    /// Held while a token is fetched, so that it is fetched once.
    authenticating: tokio::sync::Mutex<()>,
}

/// What was tried for one call, for its error.
struct Tried {
    attempts: Vec<(usize, String)>,
}

impl Pool {
    pub(crate) fn new(config: EtcdConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let channels = config.endpoints.iter().map(|_| [None, None]).collect();
        // Each user begins with another member, so that not all of them are with the first.
        let first = RandomState::new().build_hasher().finish() as usize % config.endpoints.len();
        Ok(Self {
            name: format!("etcd {}", config.endpoints.join(",")),
            current: AtomicUsize::new(first),
            channels: Mutex::new(channels),
            token: Mutex::default(),
            authenticating: tokio::sync::Mutex::default(),
            config,
        })
    }

    pub(crate) fn config(&self) -> &EtcdConfig {
        &self.config
    }

    /// Who we speak to, for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) async fn unary<Q, R>(
        &self,
        doing: &str,
        call_path: &'static str,
        repeat: Repeat,
        request: Q,
    ) -> Result<R, StoreError>
    where
        Q: prost::Message + Clone + 'static,
        R: prost::Message + Default + 'static,
    {
        let attempt = move |channel: Channel, token: Option<Token>| -> Attempt<R> {
            let request = with_token(Request::new(request.clone()), token);
            Box::pin(async move {
                let mut grpc = ready(channel).await?;
                let codec = ProstCodec::<Q, R>::default();
                let answer = grpc.unary(request, PathAndQuery::from_static(call_path), codec).await?;
                Ok(answer.into_inner())
            })
        };
        self.attempts(doing, Lane::Calls, repeat, attempt).await
    }

    /// Opens a stream both ways; `requests` makes the sending side anew for each attempt.
    pub(crate) async fn streaming<Q, R, S>(
        &self,
        doing: &str,
        call_path: &'static str,
        requests: impl Fn() -> S,
    ) -> Result<Streaming<R>, StoreError>
    where
        Q: prost::Message + 'static,
        R: prost::Message + Default + 'static,
        S: tokio_stream::Stream<Item = Q> + Send + 'static,
    {
        let attempt = move |channel: Channel, token: Option<Token>| -> Attempt<Streaming<R>> {
            let request = with_token(Request::new(requests()), token);
            Box::pin(async move {
                let mut grpc = ready(channel).await?;
                let codec = ProstCodec::<Q, R>::default();
                let answer = grpc.streaming(request, PathAndQuery::from_static(call_path), codec).await?;
                Ok(answer.into_inner())
            })
        };
        self.attempts(doing, Lane::Watches, Repeat::Freely, attempt).await
    }

    /// Tries member after member until one answers, one refuses, or the time is over.
    async fn attempts<R>(
        &self,
        doing: &str,
        lane: Lane,
        repeat: Repeat,
        attempt: impl Fn(Channel, Option<Token>) -> Attempt<R>,
    ) -> Result<R, StoreError> {
        let start = Instant::now();
        let deadline = start + self.config.timeout;
        let mut tried = Tried { attempts: Vec::new() };
        let mut token_renewed = false;
        let mut pause = PAUSE.0;
        loop {
            for _ in 0..self.config.endpoints.len() {
                let member = self.current.load(Ordering::Relaxed) % self.config.endpoints.len();
                let limit = deadline.min(Instant::now() + self.config.attempt_timeout);
                let failure = match timeout_at(limit, self.one_attempt(member, lane, &attempt)).await {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(failure)) => failure,
                    Err(_) => Failure::Away(format!("no answer within {:?}", self.config.attempt_timeout)),
                };
                match failure {
                    Failure::Token if !token_renewed => {
                        token_renewed = true;
                        self.forget_token();
                        continue;
                    }
                    Failure::NotSent(reason) => tried.note(member, reason),
                    Failure::Away(mut reason) => {
                        if self.may_lack_certificate(member) {
                            reason.push_str(" (no client certificate is given; etcd may ask for one)");
                        }
                        tried.note(member, reason);
                        if repeat == Repeat::OnlyIfNotSent {
                            self.leave(member);
                            return Err(self.unavailable(doing, &tried, "; the outcome is unknown"));
                        }
                    }
                    refusal => return Err(self.refused(doing, refusal)),
                }
                self.leave(member);
                if Instant::now() >= deadline {
                    return Err(self.unavailable(doing, &tried, ""));
                }
            }
            if start.elapsed() + pause > self.config.patience.min(self.config.timeout) {
                return Err(self.unavailable(doing, &tried, ""));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn one_attempt<R>(
        &self,
        member: usize,
        lane: Lane,
        attempt: &impl Fn(Channel, Option<Token>) -> Attempt<R>,
    ) -> Result<R, Failure> {
        let channel = self.channel(member, lane).await?;
        let token = self.token(member).await?;
        attempt(channel, token).await.map_err(|status| Failure::of(&status))
    }

    /// A member that wants a certificate and gets none ends the connection after it was made, often without a word.
    fn may_lack_certificate(&self, member: usize) -> bool {
        let secure = self.config.endpoints.get(member).is_some_and(|endpoint| endpoint.starts_with("https:"));
        secure && self.config.tls.as_ref().is_some_and(|files| files.identity.is_none())
    }

    async fn channel(&self, member: usize, lane: Lane) -> Result<Channel, Failure> {
        let lane = lane as usize;
        if let Some(channel) = self.channels().get(member).and_then(|lanes| lanes.get(lane)?.clone()) {
            return Ok(channel);
        }
        let given = self.config.endpoints.get(member).map_or("", String::as_str);
        // The files of TLS may have been replaced since the last time, and may be missing for a moment.
        let endpoint = self.config.endpoint(given).map_err(|error| Failure::NotSent(chain(&error)))?;
        let channel = endpoint.connect().await.map_err(|error| Failure::NotSent(connect_reason(&error)))?;
        if let Some(slot) = self.channels().get_mut(member).and_then(|lanes| lanes.get_mut(lane)) {
            *slot = Some(channel.clone());
        }
        Ok(channel)
    }

    /// Stops using a member for now.
    fn leave(&self, member: usize) {
        if let Some(lanes) = self.channels().get_mut(member) {
            *lanes = [None, None];
        }
        let next = (member + 1) % self.config.endpoints.len();
        // Only the first of those who saw it fail moves on.
        let _ = self.current.compare_exchange(member, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The token, fetched if there is none; nothing if there is no user or the cluster wants none.
    async fn token(&self, member: usize) -> Result<Option<Token>, Failure> {
        let Some(credentials) = &self.config.credentials else { return Ok(None) };
        if let Some(token) = self.known_token() {
            return Ok(Some(token));
        }
        let _alone = self.authenticating.lock().await;
        if let Some(token) = self.known_token() {
            return Ok(Some(token));
        }
        let mut grpc = Grpc::new(self.channel(member, Lane::Calls).await?);
        let not_sent = |error| Failure::NotSent(chain(&error));
        grpc.ready().await.map_err(not_sent)?;
        let request =
            AuthenticateRequest { name: credentials.user.clone(), password: credentials.password.clone() };
        let codec = ProstCodec::<AuthenticateRequest, AuthenticateResponse>::default();
        let path = PathAndQuery::from_static(path::AUTHENTICATE);
        match grpc.unary(Request::new(request), path, codec).await {
            Ok(answer) => {
                let token: Token = answer
                    .into_inner()
                    .token
                    .parse()
                    .map_err(|_| Failure::Foreign("its token cannot be sent".to_owned()))?;
                *self.token_slot() = Some(token.clone());
                Ok(Some(token))
            }
            // A user is given, but the cluster has authentication disabled: it then wants no token.
            Err(status)
                if status.code() == Code::FailedPrecondition && status.message().contains("not enabled") =>
            {
                Ok(None)
            }
            // Whatever the caller wanted has not been sent yet.
            Err(status) => Err(match Failure::of(&status) {
                Failure::Away(reason) => Failure::NotSent(reason),
                other => other,
            }),
        }
    }

    fn known_token(&self) -> Option<Token> {
        self.token_slot().clone()
    }

    fn forget_token(&self) {
        *self.token_slot() = None;
    }

    fn token_slot(&self) -> MutexGuard<'_, Option<Token>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn channels(&self) -> MutexGuard<'_, Vec<[Option<Channel>; 2]>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error for a refusal.
    pub(crate) fn refused(&self, doing: &str, failure: Failure) -> StoreError {
        let (endpoint, doing) = (self.name.clone(), doing.to_owned());
        match failure {
            Failure::Denied(reason) => StoreError::Denied { endpoint, doing, reason },
            Failure::Token => {
                let reason = "the token was refused, also a new one".to_owned();
                StoreError::Denied { endpoint, doing, reason }
            }
            // The caller knows the revisions; see `range` and `watching`.
            Failure::Compacted => StoreError::Compacted { requested: 0, oldest: 0 },
            Failure::Invalid(reason) => StoreError::Invalid { doing, reason },
            Failure::Foreign(reason) => StoreError::Corrupt { endpoint, reason },
            Failure::NotSent(reason) | Failure::Away(reason) => {
                StoreError::Unavailable { endpoint, doing, reason }
            }
        }
    }

    fn unavailable(&self, doing: &str, tried: &Tried, remark: &str) -> StoreError {
        let tried = tried.attempts.iter().map(|(member, reason)| {
            let endpoint = self.config.endpoints.get(*member).map_or("", String::as_str);
            format!("{endpoint}: {reason}")
        });
        let reason = format!("{}{remark}", tried.collect::<Vec<_>>().join("; "));
        StoreError::Unavailable { endpoint: self.name.clone(), doing: doing.to_owned(), reason }
    }
}

impl Tried {
    /// The last reason of each member is told.
    fn note(&mut self, member: usize, reason: String) {
        match self.attempts.iter_mut().find(|(known, _)| *known == member) {
            Some((_, known)) => *known = reason,
            None => self.attempts.push((member, reason)),
        }
    }
}

async fn ready(channel: Channel) -> Result<Grpc<Channel>, Status> {
    let mut grpc = Grpc::new(channel).max_decoding_message_size(MAX_ANSWER);
    grpc.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
    Ok(grpc)
}

fn with_token<T>(mut request: Request<T>, token: Option<Token>) -> Request<T> {
    if let Some(token) = token {
        request.metadata_mut().insert(TOKEN, token);
    }
    request
}

/// Why no connection could be made, without the library's own words around it.
fn connect_reason(error: &tonic::transport::Error) -> String {
    std::error::Error::source(error).map_or_else(|| chain(error), chain)
}
