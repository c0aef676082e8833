//! What processes cost: processor time and memory, as `/proc` tells; and what containerd tells of its calls to plugins.

use crate::process::{Process, State};
use anyhow::{Context as _, bail, ensure};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;
use tortie_kernel_net::NetNs;

/// Where every node's containerd tells its metrics.
pub(crate) const METRICS: &str = "127.0.0.1:1338";

/// The metric that has how long the networks of pods took, to which some versions append the unit once more, and its label for
/// the making of one.
const OPERATIONS: &str = "containerd_cri_network_plugin_operations_duration_seconds";
const SET_UP: &str = "operation_type=\"set_up_pod\"";

/// Clock ticks of `/proc/*/stat`, which the kernel has fixed for all programs.
const TICKS: f64 = 100.0;

/// Seconds of processor time that a process has used.
pub(crate) fn cpu(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((ticks(11) + ticks(12)) / TICKS)
}

/// Resident memory of a process in MB.
pub(crate) fn resident(pid: u32) -> anyhow::Result<f64> {
    memory(pid, "VmRSS:")
}

/// The most that [`resident`] was since [`forget_peak`].
pub(super) fn peak(pid: u32) -> anyhow::Result<f64> {
    memory(pid, "VmHWM:")
}

/// Lets the peak begin anew.
pub(super) fn forget_peak(pid: u32) -> anyhow::Result<()> {
    Ok(std::fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

fn memory(pid: u32, field: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix(field)).with_context(|| format!("no {field}"))?;
    Ok(line.split_whitespace().next().unwrap_or_default().parse::<f64>()? / 1024.0)
}

/// The process itself: those in a real node's namespaces are children of the one that entered these.
pub(super) fn program(process: &Process) -> anyhow::Result<u32> {
    let State::Running(pid) = process.state() else { bail!("it does not run") };
    let parent = |stat: String| stat.rsplit(") ").next()?.split(' ').nth(1)?.parse::<u32>().ok();
    let numbers = std::fs::read_dir("/proc")?.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    let mut children = numbers.filter(|other: &u32| {
        let stat = PathBuf::from(format!("/proc/{other}/stat"));
        std::fs::read_to_string(stat).ok().and_then(parent) == Some(pid)
    });
    Ok(children.next().unwrap_or(pid))
}

/// How often a node's containerd had networks made for pods, and the sum of the seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Calls {
    pub(super) count: f64,
    pub(super) seconds: f64,
}

impl Calls {
    /// Asks the containerd of a node. Blocks.
    pub(super) fn ask(node: &NetNs) -> anyhow::Result<Self> {
        let text = node.run(|| -> anyhow::Result<String> {
            let limit = Some(Duration::from_secs(5));
            let mut stream = TcpStream::connect(METRICS)
                .with_context(|| format!("containerd does not tell its metrics at {METRICS}"))?;
            stream.set_read_timeout(limit)?;
            stream.write_all(b"GET /v1/metrics HTTP/1.0\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        })??;
        Self::read(&text)
    }

    fn read(text: &str) -> anyhow::Result<Self> {
        ensure!(text.contains(" 200 OK"), "containerd answers {:?}", text.lines().next().unwrap_or_default());
        // Without any call there is no line.
        let value = |suffix: &str| {
            let name = format!("_{suffix}{{{SET_UP}");
            let mut lines = text.lines().filter(|l| l.starts_with(OPERATIONS) && l.contains(&name));
            lines.next().and_then(|l| l.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
        };
        Ok(Self { count: value("count"), seconds: value("sum") })
    }

    pub(super) fn since(self, before: Self) -> Self {
        Self { count: self.count - before.count, seconds: self.seconds - before.seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_from_metrics() {
        let name = format!("{OPERATIONS}_seconds");
        let text = format!(
            "HTTP/1.0 200 OK\r\n\r\n# TYPE {name} histogram\n{name}_bucket{{operation_type=\"set_up_pod\",le=\"0.005\"}} 0\n\
             {name}_sum{{operation_type=\"set_up_pod\"}} 0.25\n{name}_count{{operation_type=\"set_up_pod\"}} 5\n\
             {name}_count{{operation_type=\"tear_down_pod\"}} 9\n"
        );
        assert_eq!(Calls::read(&text).unwrap(), Calls { count: 5.0, seconds: 0.25 });
        assert_eq!(Calls::read("HTTP/1.0 200 OK\r\n\r\n").unwrap(), Calls::default());
        assert!(Calls::read("HTTP/1.0 404 Not Found\r\n\r\n").is_err());
    }

    #[test]
    fn a_process_has_used_something() {
        let own = std::process::id();
        assert!(cpu(own).is_ok() && resident(own).unwrap() > 0.5);
        assert!(cpu(0).is_err());
    }
}
