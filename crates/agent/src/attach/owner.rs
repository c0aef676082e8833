//! Whose an interface is: its description says it, and stays true when the datastore is away or names somebody else.

use tortie_kernel_net::pod::detach;
use tortie_kernel_net::{LinkError, Netlink};

/// What the kernel takes of a description, in bytes.
const LONGEST: usize = 255;

/// The description of a pod's interface: `namespace/pod container`.
pub(crate) fn alias(namespace: &str, pod: &str, container: &str) -> String {
    let name = format!("{namespace}/{pod}");
    let room = LONGEST.saturating_sub(container.len() + 1);
    let end = (0..=room.min(name.len())).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    format!("{} {container}", name.get(..end).unwrap_or_default())
}

/// Whom a description names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) container: String,
}

impl Owner {
    /// Reads a description; nothing if it is not one of ours.
    pub(crate) fn parse(alias: &str) -> Option<Self> {
        let (name, container) = alias.rsplit_once(' ')?;
        let (namespace, pod) = name.split_once('/')?;
        let parts = [namespace, pod, container];
        let ours = parts.iter().all(|part| !part.is_empty() && !part.contains(['/', ' ']));
        let [namespace, pod, container] = parts.map(str::to_owned);
        ours.then_some(Self { namespace, pod, container })
    }
}

/// Removes an interface if it is the container's: by its description, or if that names nobody, if `otherwise`. False if it is
/// somebody else's, or not there.
pub(crate) fn remove(
    host: &Netlink,
    name: &str,
    container: &str,
    otherwise: bool,
) -> Result<bool, LinkError> {
    let Some(link) = host.link(name)? else { return Ok(false) };
    let ours = match link.alias.as_deref().and_then(Owner::parse) {
        Some(owner) => owner.container == container,
        None => otherwise,
    };
    if ours { detach(host, name) } else { Ok(false) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_names_its_owner_however_long_names_are() {
        let owner = Owner::parse(&alias("shop", "web-1", "c0ffee")).unwrap();
        assert_eq!(
            (owner.namespace.as_str(), owner.pod.as_str(), owner.container.as_str()),
            ("shop", "web-1", "c0ffee")
        );
        let container = "f".repeat(64);
        let long = alias(&"n".repeat(63), &"ä".repeat(126), &container);
        assert!(long.len() <= LONGEST, "{}", long.len());
        assert_eq!(Owner::parse(&long).unwrap().container, container);
        for foreign in ["", "uplink", "rack 7", "a/b", "/b c", "a/b/c d", "a/b c d"] {
            assert_eq!(Owner::parse(foreign), None, "{foreign:?}");
        }
    }
}
