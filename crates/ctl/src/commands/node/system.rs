//! node checksystem: the version of the kernel, and the parts of it that the dataplane uses.

use crate::commands::{Failure, Outcome, Surroundings};
use std::path::Path;

/// Oldest kernel whose nftables can do what is needed.
const OLDEST: (u32, u32) = (5, 10);

/// A part of the kernel: its module, and the options that build it.
struct Part {
    module: &'static str,
    options: &'static [&'static str],
    optional: bool,
}

const fn needed(module: &'static str, options: &'static [&'static str]) -> Part {
    Part { module, options, optional: false }
}

const fn optional(module: &'static str, options: &'static [&'static str]) -> Part {
    Part { module, options, optional: true }
}

const PARTS: &[Part] = &[
    needed("nf_tables", &["CONFIG_NF_TABLES"]),
    needed("nf_conntrack", &["CONFIG_NF_CONNTRACK"]),
    needed("nf_conntrack_netlink", &["CONFIG_NF_CT_NETLINK"]),
    needed("nft_ct", &["CONFIG_NFT_CT"]),
    needed("nft_fib", &["CONFIG_NFT_FIB"]),
    needed("nft_masq", &["CONFIG_NFT_MASQ"]),
    needed("nft_reject", &["CONFIG_NFT_REJECT"]),
    needed("veth", &["CONFIG_VETH"]),
    optional("nft_log", &["CONFIG_NFT_LOG"]),
    optional("ipip", &["CONFIG_NET_IPIP"]),
    optional("vxlan", &["CONFIG_VXLAN"]),
    optional("wireguard", &["CONFIG_WIREGUARD"]),
    optional("sch_tbf", &["CONFIG_NET_SCH_TBF"]),
];

/// What the system offers, as text: where modules may be found, and the kernel's configuration.
#[derive(Debug, Default)]
struct Offered {
    /// `modules.dep`, `modules.builtin`.
    listed: String,
    /// `/proc/modules`.
    loaded: String,
    /// Lines `CONFIG_X=y`.
    configuration: String,
}

impl Offered {
    fn has(&self, part: &Part, sysfs: &Path) -> bool {
        let loaded = self.loaded.lines().any(|line| line.split(' ').next() == Some(part.module));
        let file = format!("/{}.ko", part.module);
        let listed = self.listed.split([':', ' ', '\n']).any(|word| {
            word.split_once(&file).is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with('.'))
        });
        let configured = || {
            self.configuration.lines().any(|line| {
                line.split_once('=').is_some_and(|(name, value)| {
                    part.options.contains(&name) && matches!(value.trim(), "y" | "m")
                })
            })
        };
        loaded || listed || sysfs.join(part.module).is_dir() || configured()
    }
}

/// Runs the command.
pub(crate) fn check_system(configuration: Option<&str>, world: &mut Surroundings<'_>) -> Outcome {
    let mut good = true;
    writeln!(world.out, "Checking kernel version...")?;
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    if version(release) >= OLDEST {
        result(release, "OK", world)?;
    } else {
        result(release, "FAIL", world)?;
        let (major, minor) = OLDEST;
        writeln!(world.out, "Minimum kernel version is {major}.{minor}. Detected kernel version: {release}")?;
        good = false;
    }
    writeln!(world.out, "Checking kernel modules...")?;
    let offered = offered(release, configuration.filter(|path| !path.is_empty()));
    for part in PARTS {
        let name = part.module;
        if offered.has(part, Path::new("/sys/module")) {
            result(name, "OK", world)?;
        } else if part.optional {
            writeln!(world.out, "WARNING: Unable to detect optional module/feature {name}; continuing")?;
            result(name, "SKIP", world)?;
        } else {
            writeln!(
                world.out,
                "WARNING: Unable to detect the {name} module as Loaded/Builtin module or lsmod"
            )?;
            result(name, "FAIL", world)?;
            good = false;
        }
    }
    if !good {
        return Err(Failure::new(
            "system doesn't meet one or more minimum systems requirements to run Calico",
        ));
    }
    writeln!(world.out, "System meets minimum system requirements to run Calico!")?;
    Ok(())
}

fn result(what: &str, outcome: &str, world: &mut Surroundings<'_>) -> Outcome {
    writeln!(world.out, "\t\t{what:<20}\t\t\t\t\t{outcome}")?;
    Ok(())
}

/// Major and minor number of a release like `6.1.0-9-amd64`.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn offered(release: &str, configuration: Option<&str>) -> Offered {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let modules = format!("/lib/modules/{release}");
    let places = [
        "/usr/src/linux/.config".to_owned(),
        format!("/boot/config-{release}"),
        format!("/usr/src/linux-{release}/.config"),
        format!("/usr/src/linux-headers-{release}/.config"),
        format!("{modules}/build/.config"),
    ];
    let configuration = match configuration {
        Some(path) => read(path),
        None => places
            .iter()
            .map(|path| read(path))
            .find(|text| !text.is_empty())
            .unwrap_or_else(running_configuration),
    };
    Offered {
        listed: read(&format!("{modules}/modules.dep")) + &read(&format!("{modules}/modules.builtin")),
        loaded: read("/proc/modules"),
        configuration,
    }
}

/// The configuration that the running kernel tells, if it does.
fn running_configuration() -> String {
    let mut text = String::new();
    if let Ok(file) = std::fs::File::open("/proc/config.gz") {
        // A part of it is better than nothing.
        let _ = std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(file), &mut text);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_in_many_places() {
        let nowhere = Path::new("/nowhere");
        let offered = Offered {
            listed: "kernel/net/veth.ko.xz: kernel/net/other.ko\nkernel/drivers/net/vxlan/vxlan.ko\n"
                .to_owned(),
            loaded: "nf_tables 100 0 - Live 0x0\n".to_owned(),
            configuration: "# CONFIG_VETH is not set\nCONFIG_NFT_CT=m\nCONFIG_NFT_FIB=n\n".to_owned(),
        };
        for (module, options, expected) in [
            ("veth", &["CONFIG_VETH"][..], true),
            ("other", &[], true),
            ("vxlan", &[], true),
            ("lan", &[], false),
            ("nf_tables", &[], true),
            ("nf", &[], false),
            ("nft_ct", &["CONFIG_NFT_CT"], true),
            ("nft_fib", &["CONFIG_NFT_FIB"], false),
        ] {
            assert_eq!(offered.has(&needed(module, options), nowhere), expected, "{module}");
        }
    }

    #[test]
    fn releases_are_compared_by_number() {
        assert_eq!(version("6.1.0-9-amd64"), (6, 1));
        assert!(version("5.4.0") < OLDEST && version("5.10.3") >= OLDEST && version("10.0") >= OLDEST);
        assert_eq!(version(""), (0, 0));
    }
}
