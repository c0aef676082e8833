//! Questions to the kernel.

use crate::consts::*;
use crate::wire::{Writer, nft_type};

fn request(message: u16, flags: u16, family: u8, seq: u32, body: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut w = Writer::default();
    w.message(nft_type(message), NLM_F_REQUEST | flags, seq, family, 0, body);
    w.0
}

/// The number of the current generation of rules.
pub fn generation(seq: u32) -> Vec<u8> {
    request(NFT_MSG_GETGEN, 0, NFPROTO_UNSPEC, seq, |_| {})
}

/// One table of the `inet` family, if it exists.
pub fn table(seq: u32, table: &str) -> Vec<u8> {
    request(NFT_MSG_GETTABLE, 0, NFPROTO_INET, seq, |w| w.text(NFTA_TABLE_NAME, table))
}

/// All chains of the `inet` family; the kernel does not select by table.
pub fn chains(seq: u32) -> Vec<u8> {
    request(NFT_MSG_GETCHAIN, NLM_F_DUMP, NFPROTO_INET, seq, |_| {})
}

/// All rules of a table, or of one chain.
pub fn rules(seq: u32, table: &str, chain: Option<&str>) -> Vec<u8> {
    request(NFT_MSG_GETRULE, NLM_F_DUMP, NFPROTO_INET, seq, |w| {
        w.text(NFTA_RULE_TABLE, table);
        if let Some(chain) = chain {
            w.text(NFTA_RULE_CHAIN, chain);
        }
    })
}

/// All sets of a table.
pub fn sets(seq: u32, table: &str) -> Vec<u8> {
    request(NFT_MSG_GETSET, NLM_F_DUMP, NFPROTO_INET, seq, |w| w.text(NFTA_SET_TABLE, table))
}

/// All elements of a set.
pub fn elements(seq: u32, table: &str, set: &str) -> Vec<u8> {
    request(NFT_MSG_GETSETELEM, NLM_F_DUMP, NFPROTO_INET, seq, |w| {
        w.text(NFTA_SET_ELEM_LIST_TABLE, table);
        w.text(NFTA_SET_ELEM_LIST_SET, set);
    })
}
