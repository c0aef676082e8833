//! Container images without a container engine: one layer, one archive in the OCI layout, the same bytes every time.
//!
//! The archive is what `ctr images import`, `docker load` (25 and later), `podman load` and `skopeo copy oci-archive:`
//! read. OCI image specification 1.1: <https://github.com/opencontainers/image-spec>.

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// The files of an image, by path without a leading slash.
#[derive(Debug, Default)]
pub(crate) struct Rootfs(BTreeMap<String, Entry>);

#[derive(Debug)]
enum Entry {
    Directory { mode: u32 },
    File { mode: u32, contents: Vec<u8> },
    Link { to: String },
}

/// What runs in the image, and what it is called.
#[derive(Debug)]
pub(crate) struct Image<'a> {
    /// Names with a tag; all of them import.
    pub(crate) names: &'a [String],
    pub(crate) entrypoint: &'a [&'a str],
    /// Arguments where nobody gives any.
    pub(crate) cmd: &'a [&'a str],
    /// How much time to spend on a small layer.
    pub(crate) compression: Compression,
    pub(crate) env: &'a [&'a str],
    pub(crate) labels: &'a [(&'a str, String)],
}

impl Rootfs {
    /// A directory; those above it appear by themselves.
    pub(crate) fn directory(&mut self, path: &str, mode: u32) {
        self.parents(path);
        self.0.insert(path.to_owned(), Entry::Directory { mode });
    }

    /// A file of this text.
    pub(crate) fn text(&mut self, path: &str, text: &str) {
        self.parents(path);
        self.0.insert(path.to_owned(), Entry::File { mode: 0o644, contents: text.as_bytes().to_vec() });
    }

    /// A copy of a file, keeping only whether it can be executed.
    pub(crate) fn copy(&mut self, from: &Path, path: &str) -> Result<()> {
        let contents = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        let executable = fs::metadata(from)?.permissions().mode() & 0o111 != 0;
        self.parents(path);
        self.0
            .insert(path.to_owned(), Entry::File { mode: if executable { 0o755 } else { 0o644 }, contents });
        Ok(())
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, path: &str, to: &str) {
        self.parents(path);
        self.0.insert(path.to_owned(), Entry::Link { to: to.to_owned() });
    }

    fn parents(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            self.0.entry(path[..at].to_owned()).or_insert(Entry::Directory { mode: 0o755 });
        }
    }

    /// Owner root, time zero, order by path: nothing of the machine that built it.
    fn layer(&self) -> Result<Vec<u8>> {
        let mut tar = Builder::new(Vec::new());
        for (path, entry) in &self.0 {
            let mut header = Header::new_ustar();
            header.set_mtime(0);
            header.set_uid(0);
            header.set_gid(0);
            match entry {
                Entry::Directory { mode } => {
                    header.set_entry_type(EntryType::Directory);
                    header.set_mode(*mode);
                    header.set_size(0);
                    tar.append_data(&mut header, format!("{path}/"), std::io::empty())
                }
                Entry::File { mode, contents } => {
                    header.set_mode(*mode);
                    header.set_size(contents.len() as u64);
                    tar.append_data(&mut header, path, contents.as_slice())
                }
                Entry::Link { to } => {
                    header.set_entry_type(EntryType::Symlink);
                    header.set_mode(0o777);
                    header.set_size(0);
                    tar.append_link(&mut header, path, to)
                }
            }
            .with_context(|| format!("layer: {path}"))?;
        }
        Ok(tar.into_inner()?)
    }
}

/// Writes the archive; answers its size in bytes and the manifest's digest.
pub(crate) fn write(rootfs: &Rootfs, image: &Image<'_>, to: &PathBuf) -> Result<(u64, String)> {
    let layer = rootfs.layer()?;
    let layer_id = digest(&layer);
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), image.compression);
    gzip.write_all(&layer)?;
    let packed = gzip.finish()?;

    let labels: BTreeMap<&str, &str> = image.labels.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {"Entrypoint": image.entrypoint, "Cmd": image.cmd, "Env": image.env, "Labels": labels, "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [layer_id]},
    })
    .to_string()
    .into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &packed)],
    })
    .to_string()
    .into_bytes();
    let manifests: Vec<Value> = image
        .names
        .iter()
        .map(|name| {
            let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
            let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
            entry["annotations"] =
                json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag});
            entry
        })
        .collect();
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests});

    let mut archive = Rootfs::default();
    archive.text("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    archive.text("index.json", &index.to_string());
    let manifest_digest = digest(&manifest);
    for blob in [config, manifest, packed] {
        let path = format!("blobs/{}", digest(&blob).replace(':', "/"));
        archive.parents(&path);
        archive.0.insert(path, Entry::File { mode: 0o644, contents: blob });
    }
    let bytes = archive.layer()?;
    fs::write(to, &bytes).with_context(|| format!("cannot write {}", to.display()))?;
    Ok((bytes.len() as u64, manifest_digest))
}

fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(blob), "size": blob.len()})
}

fn digest(bytes: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Rootfs {
        let mut rootfs = Rootfs::default();
        rootfs.text("etc/hosts", "127.0.0.1 localhost\n");
        rootfs.directory("tmp", 0o1777);
        rootfs.link("bin", "usr/bin");
        rootfs
    }

    #[test]
    fn the_same_files_make_the_same_image() {
        let dir = std::env::temp_dir().join(format!("tortie-oci-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let names = ["example.test/a:1".to_owned(), "example.test/b:2".to_owned()];
        let image = Image {
            names: &names,
            entrypoint: &["/bin/x"],
            cmd: &[],
            compression: Compression::best(),
            env: &[],
            labels: &[],
        };
        let (one, two) = (dir.join("one.tar"), dir.join("two.tar"));
        let (size, digest) = write(&sample(), &image, &one).unwrap();
        assert_eq!(write(&sample(), &image, &two).unwrap(), (size, digest));
        assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap());
        let mut archive = tar::Archive::new(fs::File::open(&one).unwrap());
        let paths: Vec<String> =
            archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
        assert!(
            paths.contains(&"index.json".to_owned()) && paths.contains(&"oci-layout".to_owned()),
            "{paths:?}"
        );
        assert_eq!(paths.iter().filter(|p| p.starts_with("blobs/sha256/")).count(), 4, "{paths:?}");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_layer_has_every_directory_before_its_files() {
        let layer = sample().layer().unwrap();
        let mut archive = tar::Archive::new(layer.as_slice());
        let paths: Vec<String> =
            archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(paths, ["bin", "etc/", "etc/hosts", "tmp/"]);
    }
}
