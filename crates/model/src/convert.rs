//! Conversion of Kubernetes and projectcalico.org/v3 objects to the model.
//!
//! [`Converter`] takes what a datastore holds, path by path, and answers what changes in the model. Below it stand
//! pure functions: [`k8s`] from Kubernetes' objects to projectcalico.org/v3, [`v3`] from there to the model.
//!
//! An object that cannot be converted is as if it were not there, and is reported. Bad parts that can be left out
//! without letting more through than the user asked for are left out and reported.

mod conflict;
mod converter;
pub mod k8s;
mod problems;
mod selector;
#[cfg(test)]
mod tests;
pub mod v3;
pub mod wep_name;

pub use conflict::Claims;
pub use converter::{Converter, Options};
pub use problems::{Diagnostic, Problem, Problems};
pub use selector::{NAMESPACE_LABEL_PREFIX, SERVICE_ACCOUNT_LABEL_PREFIX};

use std::net::IpAddr;
use tortie_net::{Cidr, CidrParseError};

/// An address; one of IPv4 that is written in IPv6's form is IPv4.
fn ip(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|a| a.to_canonical())
}

/// A prefix; one of IPv4 that is written in IPv6's form is IPv4.
fn net(text: &str) -> Result<Cidr, CidrParseError> {
    text.parse::<Cidr>().map(Cidr::to_canonical)
}
