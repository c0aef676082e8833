//! A bundle of diagnostics: outputs of programs and copies of files in a directory, packed into one archive.
//!
//! Best effort: what is not there is noted in the bundle and told, and the rest is collected.

use super::{Failure, Outcome, Surroundings};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;
use tortie_blocks::Timestamp;

/// A program whose output belongs into the bundle.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    /// What is told to the user.
    pub(crate) told: String,
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    /// Name of the file in the bundle.
    pub(crate) file: String,
}

/// A directory that becomes an archive.
#[derive(Debug)]
pub(crate) struct Bundle {
    temporary: PathBuf,
    root: PathBuf,
}

impl Probe {
    /// A command line without quotes.
    pub(crate) fn new(told: &str, line: &str, file: &str) -> Self {
        let command = line.split_whitespace().map(str::to_owned).collect();
        Self { told: told.to_owned(), command, file: file.to_owned() }
    }

    /// Runs it; answers what it printed on both streams, and whether it succeeded.
    pub(crate) fn run(&self) -> std::io::Result<(Vec<u8>, bool)> {
        let Some((program, arguments)) = self.command.split_first() else { return Ok((Vec::new(), true)) };
        let output = Command::new(program).args(arguments).stdin(Stdio::null()).output()?;
        let mut text = output.stdout;
        text.extend(output.stderr);
        Ok((text, output.status.success()))
    }
}

impl Bundle {
    /// Makes a fresh directory; what is collected goes into `name` in it.
    pub(crate) fn new(name: &str) -> Outcome<Self> {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?;
        let temporary = std::env::temp_dir().join(format!("calico-{}", id.trim()));
        let root = temporary.join(name);
        std::fs::create_dir_all(&root)
            .map_err(|error| Failure::new(format!("cannot make {}: {error}", root.display())))?;
        Ok(Self { temporary, root })
    }

    /// The directory that the archive will hold.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Runs a program into a file, and tells.
    pub(crate) fn probe(&self, probe: &Probe, world: &mut Surroundings<'_>) -> Outcome {
        if !probe.told.is_empty() {
            writeln!(world.out, "{}", probe.told)?;
        }
        let line = probe.command.join(" ");
        let text = match probe.run() {
            Ok((text, true)) => text,
            Ok((text, false)) => {
                writeln!(world.out, "Failed to run command: {line}")?;
                text
            }
            Err(error) => {
                writeln!(world.out, "Failed to run command: {line}: {error}")?;
                format!("{line}: {error}\n").into_bytes()
            }
        };
        self.add(&probe.file, &text)
    }

    /// Writes a file.
    pub(crate) fn add(&self, file: &str, content: &[u8]) -> Outcome {
        let path = self.root.join(file);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, content)
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))
    }

    /// Copies the regular files of a directory and of those below it.
    pub(crate) fn copy(&self, from: &Path, to: &str) -> std::io::Result<usize> {
        let mut copied = 0;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let (kind, name) = (entry.file_type()?, entry.file_name());
            let to = format!("{to}/{}", name.to_string_lossy());
            if kind.is_dir() {
                copied += self.copy(&entry.path(), &to)?;
            } else if kind.is_file() {
                let path = self.root.join(&to);
                if let Some(parent) = path.parent() {
                    std::fs::create_dir_all(parent)?;
                }
                std::fs::copy(entry.path(), path)?;
                copied += 1;
            }
        }
        Ok(copied)
    }

    /// Packs everything into `<prefix>-<time>.tar.gz` in a directory, by default beside what was collected; takes the
    /// collection away unless it shall stay.
    pub(crate) fn pack(self, prefix: &str, directory: Option<&Path>, keep: bool) -> Outcome<PathBuf> {
        let now = Timestamp::from(SystemTime::now()).to_string();
        let digits: String = now.chars().filter(char::is_ascii_digit).take(14).collect();
        let (date, time) = digits.split_at(digits.len().min(8));
        let archive = directory.unwrap_or(&self.temporary).join(format!("{prefix}-{date}_{time}.tar.gz"));
        let failed = |error: std::io::Error| {
            Failure::new(format!("cannot write the archive {}: {error}", archive.display()))
        };
        let mut tar = tar::Builder::new(GzEncoder::new(
            File::create(&archive).map_err(failed)?,
            Compression::default(),
        ));
        let name = self.root.file_name().unwrap_or_default();
        tar.append_dir_all(name, &self.root).map_err(failed)?;
        tar.into_inner().and_then(GzEncoder::finish).map_err(failed)?;
        if !keep {
            let gone = if directory.is_some() { &self.temporary } else { &self.root };
            std::fs::remove_dir_all(gone)?;
        }
        Ok(archive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;

    #[test]
    fn what_is_collected_is_in_the_archive() {
        let target = tempfile::tempdir().unwrap();
        std::fs::create_dir(target.path().join("logs")).unwrap();
        std::fs::write(target.path().join("logs/a.log"), "line\n").unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut world = Surroundings {
            environment: &|_| None,
            stdin: &mut std::io::empty(),
            out: &mut out,
            err: &mut err,
        };
        let bundle = Bundle::new("diagnostics").unwrap();
        bundle.probe(&Probe::new("Greeting", "echo hello", "echo"), &mut world).unwrap();
        bundle.probe(&Probe::new("", "/nowhere/program x", "none"), &mut world).unwrap();
        assert_eq!(bundle.copy(target.path(), "copied").unwrap(), 1);
        let root = bundle.root().to_owned();
        let archive = bundle.pack("diags", Some(target.path()), false).unwrap();
        assert!(!root.exists());
        let name = archive.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.starts_with("diags-20") && name.ends_with(".tar.gz") && name.len() == 28, "{name}");
        let mut tar = tar::Archive::new(GzDecoder::new(File::open(&archive).unwrap()));
        let names: Vec<String> =
            tar.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
        for wanted in ["diagnostics/echo", "diagnostics/none", "diagnostics/copied/logs/a.log"] {
            assert!(names.iter().any(|name| name == wanted), "{wanted} not in {names:?}");
        }
        let told = String::from_utf8(out).unwrap();
        assert!(told.starts_with("Greeting\nFailed to run command: /nowhere/program x"), "{told}");
    }
}
