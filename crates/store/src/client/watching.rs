//! A watch over the socket.

use super::link::{Items, Ticket};
use crate::port::{BoxFuture, StoreError, Watch, WatchItem};
use crate::wire::WINDOW;
use std::sync::Arc;

/// A running watch of an [`EmbeddedClient`](super::EmbeddedClient).
#[derive(Debug)]
pub struct ClientWatch {
    items: Items,
    ticket: Ticket,
    endpoint: Arc<str>,
    prefix: String,
    /// Items taken and not yet granted again.
    taken: u32,
}

impl ClientWatch {
    pub(super) fn new(items: Items, ticket: Ticket, endpoint: Arc<str>, prefix: &str) -> Self {
        Self { items, ticket, endpoint, prefix: prefix.to_owned(), taken: 0 }
    }

    async fn take(&mut self) -> Result<WatchItem, StoreError> {
        let Some(item) = self.items.recv().await else {
            return Err(StoreError::Unavailable {
                endpoint: self.endpoint.to_string(),
                doing: format!("watch {}", self.prefix),
                reason: self.ticket.end().to_owned(),
            });
        };
        self.taken += 1;
        if self.taken >= WINDOW / 2 {
            self.ticket.grant(self.taken);
            self.taken = 0;
        }
        item
    }
}

impl Watch for ClientWatch {
    fn next(&mut self) -> BoxFuture<'_, Result<WatchItem, StoreError>> {
        Box::pin(self.take())
    }
}
