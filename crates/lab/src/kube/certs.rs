//! Certificates and keys of a cluster: made when the lab starts, gone with it.

use anyhow::Context as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use std::net::IpAddr;
use std::path::Path;

/// Names by which pods know the API server.
const SERVICE_NAMES: [&str; 5] = [
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// Everything in PEM.
#[derive(Clone)]
pub(crate) struct Certificates {
    pub(crate) authority: String,
    pub(crate) server: String,
    pub(crate) server_key: String,
    /// Signs the tokens of service accounts, and checks them.
    pub(crate) account_key: String,
    pub(crate) account_public: String,
}

impl Certificates {
    /// New ones, for an API server with these addresses.
    pub(crate) fn make(addresses: &[IpAddr]) -> anyhow::Result<Self> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.distinguished_name.push(DnType::CommonName, "tortie-lab");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

        let names = SERVICE_NAMES.iter().map(|n| (*n).to_owned());
        let names = names.chain(addresses.iter().map(ToString::to_string)).collect::<Vec<_>>();
        let mut server = CertificateParams::new(names)?;
        server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        let server_key = KeyPair::generate()?;
        let server = server.signed_by(&server_key, &authority)?;
        let account = KeyPair::generate()?;
        Ok(Self {
            authority: authority.pem(),
            server: server.pem(),
            server_key: server_key.serialize_pem(),
            account_key: account.serialize_pem(),
            account_public: account.public_key_pem(),
        })
    }

    /// Writes them as `ca.crt`, `server.crt`, `server.key`, `account.key` and `account.pub`.
    pub(crate) fn write(&self, dir: &Path) -> anyhow::Result<()> {
        let files = [
            ("ca.crt", &self.authority),
            ("server.crt", &self.server),
            ("server.key", &self.server_key),
            ("account.key", &self.account_key),
            ("account.pub", &self.account_public),
        ];
        for (name, text) in files {
            super::access::write_secret(&dir.join(name), text)
                .with_context(|| format!("cannot write {name}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_in_the_certificate() {
        let certs =
            Certificates::make(&["172.31.0.2".parse().unwrap(), "fd00:31::2".parse().unwrap()]).unwrap();
        for pem in [&certs.authority, &certs.server] {
            assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
        }
        assert!(certs.account_public.starts_with("-----BEGIN PUBLIC KEY-----"), "{}", certs.account_public);
        let dir = tempfile::tempdir().unwrap();
        certs.write(dir.path()).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(dir.path().join("account.key")).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }
}
