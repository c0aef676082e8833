//! TLS to the API server, from the files as they are now.

use crate::config::{ConfigError, KubeConfig, Source};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::sync::Arc;

/// What a new connection uses.
pub(crate) fn client_config(config: &KubeConfig) -> Result<Arc<ClientConfig>, ConfigError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable("versions of TLS", &error))?;
    let builder = if config.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        builder.with_root_certificates(authorities(config)?)
    };
    let mut tls = match &config.credentials.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate, "client certificate")?;
            let bytes = key.read("client key")?;
            let key = PrivateKeyDer::from_pem_slice(&bytes)
                .map_err(|error| unusable(&named("client key", key), &error))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| unusable("client certificate with its key", &error))?
        }
    };
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(tls))
}

fn authorities(config: &KubeConfig) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    let Some(source) = config.trusted() else {
        let what = "authorities to trust".to_owned();
        let reason = "there are none on this host; set K8S_CA_FILE or certificate-authority".to_owned();
        return Err(ConfigError::Tls { what, reason });
    };
    let (added, _) = roots.add_parsable_certificates(certificates(&source, "CA certificate")?);
    if added == 0 {
        let reason = "it holds no certificate that can be used".to_owned();
        return Err(ConfigError::Tls { what: named("CA certificate", &source), reason });
    }
    Ok(roots)
}

fn certificates(source: &Source, what: &'static str) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let bytes = source.read(what)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => {
            let reason = "it holds no certificate; it must be PEM".to_owned();
            Err(ConfigError::Tls { what: named(what, source), reason })
        }
        Err(error) => Err(unusable(&named(what, source), &error)),
    }
}

fn named(what: &str, source: &Source) -> String {
    match source {
        Source::File(path) => format!("{what} {}", path.display()),
        Source::Data(_) => what.to_owned(),
    }
}

fn unusable(what: &str, error: &dyn std::error::Error) -> ConfigError {
    ConfigError::Tls { what: what.to_owned(), reason: error.to_string() }
}

/// For `insecure-skip-tls-verify`: the server may be anyone, but signatures must be its own.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
