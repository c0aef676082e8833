//! Gives back single addresses, in Calico's blocks and handles.

use super::{Client, ClientError};
use std::net::IpAddr;
use std::time::SystemTime;
use tortie_blocks::{Block, Release, Timestamp};
use tortie_model::Key;
use tortie_model::value::{IpamConfig, IpamHandle};
use tortie_net::{Cidr, Family};
use tortie_store::{Op, Precondition, StoreError};

/// Attempts against other writers.
const ATTEMPTS: usize = 20;

impl Client {
    /// Releases an address, whoever has it. False if nobody has.
    pub async fn release_address(&self, ip: IpAddr) -> Result<bool, ClientError> {
        let cooldown = self.ipam_configuration().await?.ip_cooldown_seconds;
        let family = Family::of(ip);
        for attempt in 1.. {
            let list = self.store().list(&tortie_model::key::blocks_prefix(family)).await?;
            let found = list.entries.into_iter().find(
                |entry| matches!(Key::from_path(&entry.key), Some(Key::Block(cidr)) if cidr.contains(ip)),
            );
            let Some(entry) = found else { return Ok(false) };
            let corrupt = |reason: String| ClientError::Corrupt { key: entry.key.to_string(), reason };
            let data = serde_json::from_slice(&entry.value).map_err(|e| corrupt(e.to_string()))?;
            let mut block = Block::from_stored(data).map_err(|e| corrupt(e.to_string()))?;
            let release = Release { addr: ip, handle: None, sequence: None };
            let now = Timestamp::from(SystemTime::now());
            let released = block.release(&[release], now, cooldown).map_err(|e| corrupt(e.to_string()))?;
            if released.count == 0 {
                return Ok(false);
            }
            block.count_write();
            let value = serde_json::to_vec(block.as_stored()).map_err(|e| corrupt(e.to_string()))?;
            let mut ops = vec![Op::Put {
                key: entry.key.to_string(),
                value: value.into(),
                when: Precondition::Revision(entry.revision),
                ttl: None,
            }];
            for (handle, count) in &released.by_handle {
                ops.extend(self.less_in_handle(&handle.to_string(), block.cidr(), *count).await?);
            }
            match self.store().commit(ops).await {
                Err(StoreError::Conflict { .. }) if attempt < ATTEMPTS => {}
                done => return done.map(|_| true).map_err(ClientError::from),
            }
        }
        Ok(false)
    }

    /// The settings of the address management, the usual ones if none are stored.
    pub async fn ipam_configuration(&self) -> Result<IpamConfig, ClientError> {
        let key = Key::IpamConfig.to_path().unwrap_or_default();
        match self.store().get(&key).await? {
            Some(entry) => serde_json::from_slice(&entry.value)
                .map_err(|e| ClientError::Corrupt { key, reason: e.to_string() }),
            None => Ok(IpamConfig::default()),
        }
    }

    /// Stores the settings of the address management.
    pub async fn set_ipam_configuration(&self, config: &IpamConfig) -> Result<(), ClientError> {
        let key = Key::IpamConfig.to_path().unwrap_or_default();
        let value = serde_json::to_vec(config)
            .map_err(|e| ClientError::Corrupt { key: key.clone(), reason: e.to_string() })?;
        let put = Op::Put { key, value: value.into(), when: Precondition::Any, ttl: None };
        self.store().commit(vec![put]).await?;
        Ok(())
    }

    /// Counts addresses of a block out of a handle; a handle without addresses goes.
    async fn less_in_handle(
        &self,
        handle: &str,
        block: Cidr,
        count: usize,
    ) -> Result<Option<Op>, ClientError> {
        let Some(key) = Key::IpamHandle(handle.to_owned()).to_path() else { return Ok(None) };
        let Some(entry) = self.store().get(&key).await? else { return Ok(None) };
        let Ok(mut stored) = serde_json::from_slice::<IpamHandle>(&entry.value) else { return Ok(None) };
        let cidr = block.to_string();
        let left = stored.block.get(&cidr).map_or(0, |held| held.saturating_sub(count as u32));
        if left == 0 {
            stored.block.remove(&cidr);
        } else {
            stored.block.insert(cidr, left);
        }
        let when = Precondition::Revision(entry.revision);
        if stored.block.is_empty() {
            return Ok(Some(Op::Delete { key, when }));
        }
        let value = serde_json::to_vec(&stored)
            .map_err(|e| ClientError::Corrupt { key: key.clone(), reason: e.to_string() })?;
        Ok(Some(Op::Put { key, value: value.into(), when, ttl: None }))
    }
}
