//! Where Felix's parameters come from on this machine: the environment and a file.

use std::path::Path;
use tortie_felix_config::{FileError, Host, Source, Sources, from_environment, from_file};

/// Where the file is if nobody says.
pub const DEFAULT_FILE: &str = "/etc/calico/felix.cfg";

/// The file of settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// It is not there, or not readable.
    #[error("cannot read the settings in {path}")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It is something else.
    #[error("the settings in {path} cannot be understood")]
    Parse {
        /// The file.
        path: String,
        /// Why not.
        source: FileError,
    },
}

/// What environment and file say. A file that nobody asked for need not be there.
pub fn local_sources(file: Option<&Path>) -> Result<Sources, SourcesError> {
    let mut sources = Sources::new();
    let variables: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let variables = variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    sources.set(Source::Environment, from_environment(variables));
    let path = file.unwrap_or(Path::new(DEFAULT_FILE));
    let shown = || path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let settings =
                from_file(&text).map_err(|source| SourcesError::Parse { path: shown(), source })?;
            sources.set(Source::File, settings);
        }
        Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(SourcesError::Read { path: shown(), source }),
    }
    Ok(sources)
}

/// The machine that this process runs on.
#[derive(Clone, Copy, Debug)]
pub struct ThisMachine;

impl Host for ThisMachine {
    fn name(&self) -> String {
        let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        name.unwrap_or_default().trim().to_lowercase()
    }

    fn exists(&self, path: &str) -> bool {
        Path::new(path).exists()
    }

    fn find_program(&self, name: &str) -> Option<String> {
        if name.contains('/') {
            return self.exists(name).then(|| name.to_owned());
        }
        let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.to_owned()));
        let path = std::env::var_os("PATH").unwrap_or_default();
        beside
            .into_iter()
            .chain(std::env::split_paths(&path))
            .map(|directory| directory.join(name))
            .find(|candidate| candidate.is_file())
            .map(|found| found.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tortie_felix_config::Config;

    #[test]
    fn a_file_is_read_and_a_wrong_one_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("felix.cfg");
        let error = local_sources(Some(&file)).unwrap_err();
        assert!(matches!(&error, SourcesError::Read { path, .. } if path.ends_with("felix.cfg")), "{error}");
        std::fs::write(&file, "[global]\nHealthPort = 9199\n").unwrap();
        let (config, problems) = Config::resolve(&local_sources(Some(&file)).unwrap(), &ThisMachine);
        assert_eq!((config.health_port(), problems), (9199, vec![]));
        std::fs::write(&file, "[global\n").unwrap();
        assert!(matches!(local_sources(Some(&file)), Err(SourcesError::Parse { .. })));
        assert!(ThisMachine.find_program("sh").is_some_and(|path| path.ends_with("/sh")));
        assert!(!ThisMachine.name().is_empty());
    }
}
