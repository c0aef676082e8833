//! What others have in the kernel's packet filters, and taking parts of it away: rules and chains in tables that are
//! shared (those of `iptables-nft` above all), whole tables, IP sets, and the tables of the older `iptables`.
//!
//! Whose something is, is decided by the caller. Synchronous, like the driver, and bound to the network namespace in
//! which it was opened.

use crate::channel::Channel;
use crate::error::{ChannelError, OpenError};
use nix::errno::Errno;
use std::sync::Arc;
use tortie_nft::ipset::{self, IpSet};
use tortie_nft::shared::{self, Removal, Shared, SharedChain, SharedRule, TableRef};

/// The packet filters of one network namespace, as everybody's.
#[derive(Debug)]
pub struct Filters {
    channel: Channel,
}

/// Something could not be taken away. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// Talking to the kernel failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// It is still referred to.
    #[error("something still refers to it")]
    Busy,
    /// The kernel refused.
    #[error("the kernel refuses to remove it{}", said(.text.as_ref()))]
    Refused {
        /// Why.
        #[source]
        source: Errno,
        /// What it said.
        text: Option<Arc<str>>,
    },
}

fn said(text: Option<&Arc<str>>) -> String {
    text.map(|t| format!(": {t}")).unwrap_or_default()
}

impl Filters {
    /// Opens a socket in the current network namespace.
    pub fn open() -> Result<Self, OpenError> {
        Ok(Self { channel: Channel::open()? })
    }

    /// All tables of all families.
    pub fn tables(&mut self) -> Result<Vec<TableRef>, ChannelError> {
        let found = self.channel.ask_shared("tables", shared::tables)?;
        Ok(found.into_iter().filter_map(|s| if let Shared::Table(t) = s { Some(t) } else { None }).collect())
    }

    /// All chains of all tables.
    pub fn chains(&mut self) -> Result<Vec<SharedChain>, ChannelError> {
        let found = self.channel.ask_shared("chains", shared::chains)?;
        Ok(found.into_iter().filter_map(|s| if let Shared::Chain(c) = s { Some(c) } else { None }).collect())
    }

    /// The rules of a chain; none if it is gone.
    pub fn rules(&mut self, table: &TableRef, chain: &str) -> Result<Vec<SharedRule>, ChannelError> {
        let found = self.channel.ask_shared("rules", |seq| shared::rules(seq, table, chain))?;
        Ok(found.into_iter().filter_map(|s| if let Shared::Rule(r) = s { Some(r) } else { None }).collect())
    }

    /// Takes away all that a removal names, or nothing.
    pub fn remove(&mut self, removal: &Removal) -> Result<(), RemoveError> {
        if removal.is_empty() {
            return Ok(());
        }
        let (bytes, last) = removal.bytes();
        self.channel.send_limit(bytes.len());
        let answers = self.channel.transact(&bytes)?;
        let acknowledged = answers.iter().any(|a| a.seq == last && a.errno == 0);
        match answers.into_iter().find(|a| a.errno != 0) {
            None if acknowledged => Ok(()),
            None => Err(RemoveError::Refused { source: Errno::EIO, text: Some("no answer".into()) }),
            Some(refused) => match Errno::from_raw(refused.errno) {
                Errno::EBUSY => Err(RemoveError::Busy),
                source => Err(RemoveError::Refused { source, text: refused.text }),
            },
        }
    }

    /// The names of all IP sets.
    pub fn ip_sets(&mut self) -> Result<Vec<String>, ChannelError> {
        match self.channel.ask_ip_sets(ipset::names)? {
            (names, 0) => Ok(names),
            (_, code) => match Errno::from_raw(code) {
                // A kernel without IP sets has none.
                Errno::EINVAL | Errno::EOPNOTSUPP => Ok(Vec::new()),
                source => Err(ChannelError::Refused { what: "IP sets", source }),
            },
        }
    }

    /// Removes an IP set; one that does not exist is removed.
    pub fn remove_ip_set(&mut self, name: &str) -> Result<(), RemoveError> {
        match self.channel.ask_ip_sets(|seq| ipset::destroy(seq, name))?.1 {
            0 => Ok(()),
            ipset::IPSET_ERR_BUSY => Err(RemoveError::Busy),
            code => match Errno::from_raw(code) {
                Errno::ENOENT => Ok(()),
                source => Err(RemoveError::Refused { source, text: None }),
            },
        }
    }
}

// === asking

impl Channel {
    /// A dump of what others have, again if it was disturbed.
    fn ask_shared(
        &mut self,
        what: &'static str,
        request: impl Fn(u32) -> Vec<u8>,
    ) -> Result<Vec<Shared>, ChannelError> {
        self.repeat(what, request, |channel| {
            let (mut all, mut interrupted) = (Vec::new(), false);
            loop {
                for message in shared::decode(channel.datagram()?) {
                    match message {
                        Shared::Interrupted => interrupted = true,
                        Shared::Done(0) if interrupted => return Err(Errno::EINTR),
                        Shared::Done(0) => return Ok(all),
                        Shared::Done(code) => return Err(Errno::from_raw(code)),
                        other => all.push(other),
                    }
                }
            }
        })
        .map(Option::unwrap_or_default)
    }

    /// Names, and the error number at the end.
    fn ask_ip_sets(&mut self, request: impl Fn(u32) -> Vec<u8>) -> Result<(Vec<String>, i32), ChannelError> {
        let answer = self.repeat("IP sets", request, |channel| {
            let mut names = Vec::new();
            loop {
                for message in ipset::decode(channel.datagram()?) {
                    match message {
                        IpSet::Name(name) => names.push(name),
                        // ip_set has error numbers of its own, beyond those of the system.
                        IpSet::Done(code) => return Ok((names, code)),
                    }
                }
            }
        })?;
        Ok(answer.unwrap_or_default())
    }
}
