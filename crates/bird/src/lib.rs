//! BIRD 2: its configuration from what the datastore says, and the replies of its control protocol.
//!
//! Pure text in and out. One daemon carries both families: an IPv4 session to a peer's IPv4 address, an IPv6 session
//! to its IPv6 address. Names of protocols are Calico's (`Mesh_10_0_0_2`), so that `birdc` shows what people know.

mod input;
mod render;
mod reply;

pub use input::{Input, Node, Peer, PeerTarget, Pool};
pub use render::render;
pub use reply::{ProtocolState, Reply, ReplyError, parse_protocols};
