//! What rustls is told: from a checked [`TlsConfig`] and its files to an acceptor.
//!
//! Read at the start and whenever a file changes, by `reload`. The provider is ring, which builds for
//! musl with nothing but a C compiler.

use super::config::{ClientAuth, TlsConfig, TlsVersion, Unusable};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme, SupportedProtocolVersion,
};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// Makes the acceptor; the error names the file or the key that is wrong.
pub(super) fn read_acceptor(tls: &TlsConfig) -> Result<TlsAcceptor, Unusable> {
    let provider = Arc::new(provider(tls)?);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(tls))
        .map_err(|error| format!("tls_server_config: {error}"))?;
    let builder = match verifier(tls, provider)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let chain = read_certificates("cert_file", &tls.cert_file)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key_file)
        .map_err(|error| unread("key_file", &tls.key_file, &error))?;
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        format!(
            "tls_server_config: cert_file {} and key_file {} do not fit: {error}",
            tls.cert_file.display(),
            tls.key_file.display()
        )
    })?;
    config.ignore_client_order = tls.prefer_server_cipher_suites;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn wrong_file(key: &str, file: &Path, error: &dyn std::fmt::Display) -> String {
    format!("tls_server_config.{key} {}: {error}", file.display())
}

/// What the reader of PEM says of a file.
fn unread(key: &str, file: &Path, error: &pem::Error) -> Unusable {
    Unusable {
        reason: wrong_file(key, file, error),
        is_denied: matches!(error, pem::Error::Io(error) if error.kind() == ErrorKind::PermissionDenied),
    }
}

fn read_certificates(key: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let certificates: Vec<_> = read.map_err(|error| unread(key, file, &error))?;
    if certificates.is_empty() {
        return Err(wrong_file(key, file, &"there is no PEM certificate in it").into());
    }
    Ok(certificates)
}

fn versions(tls: &TlsConfig) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(TlsVersion::Tls13, &TLS13), (TlsVersion::Tls12, &TLS12)];
    let is_between = |version| (tls.min_version..=tls.max_version).contains(&version);
    all.into_iter()
        .filter(|(version, _)| is_between(*version))
        .map(|(_, it)| it)
        .collect()
}

/// The provider with the suites and groups that are wished, in that order.
fn provider(tls: &TlsConfig) -> Result<CryptoProvider, String> {
    let mut provider = ring::default_provider();
    if !tls.cipher_suites.is_empty() {
        let (newer, older): (Vec<_>, Vec<_>) = provider
            .cipher_suites
            .into_iter()
            .partition(|suite| suite.tls13().is_some());
        let named = |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite());
        let mut suites = choose(
            "cipher_suites",
            &tls.cipher_suites,
            &older,
            |suite, name| {
                let its_name = named(suite);
                // Go has two names for the suites of ChaCha20.
                its_name == name || its_name == format!("{name}_SHA256")
            },
            named,
        )?;
        suites.extend(newer);
        provider.cipher_suites = suites;
    }
    if !tls.curve_preferences.is_empty() {
        let named = |group: &&dyn rustls::crypto::SupportedKxGroup| {
            let name = format!("{:?}", group.name());
            // As Go and so the other exporters name them: CurveP256.
            name.replace("secp", "CurveP").replace("r1", "")
        };
        provider.kx_groups = choose(
            "curve_preferences",
            &tls.curve_preferences,
            &provider.kx_groups,
            |group, name| named(group) == name,
            named,
        )?;
    }
    Ok(provider)
}

/// What is named, in the order in which it is named.
fn choose<T: Copy>(
    key: &str,
    names: &[String],
    offered: &[T],
    has_name: impl Fn(&T, &str) -> bool,
    name_of: impl Fn(&T) -> String,
) -> Result<Vec<T>, String> {
    let one = |name: &String| {
        let found = offered.iter().find(|it| has_name(it, name)).copied();
        found.ok_or_else(|| {
            let offered: Vec<String> = offered.iter().map(&name_of).collect();
            format!(
                "tls_server_config.{key}: {name:?} is not offered; there are {}",
                offered.join(", ")
            )
        })
    };
    names.iter().map(one).collect()
}

fn verifier(
    tls: &TlsConfig,
    provider: Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, Unusable> {
    let Some(file) = &tls.client_ca_file else {
        return Ok(None);
    };
    let mut authorities = RootCertStore::empty();
    for certificate in read_certificates("client_ca_file", file)? {
        authorities
            .add(certificate)
            .map_err(|error| wrong_file("client_ca_file", file, &error))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider);
    let builder = match tls.client_auth_type {
        ClientAuth::None => return Ok(None),
        ClientAuth::IfGiven => builder.allow_unauthenticated(),
        ClientAuth::Required => builder,
    };
    let verifier = builder
        .build()
        .map_err(|error| wrong_file("client_ca_file", file, &error))?;
    if tls.client_allowed_sans.is_empty() {
        return Ok(Some(verifier));
    }
    let allowed = tls.client_allowed_sans.clone();
    Ok(Some(Arc::new(NamedClients { verifier, allowed })))
}

/// Clients with a certificate of the authority and one of the allowed names in it.
#[derive(Debug)]
struct NamedClients {
    verifier: Arc<dyn ClientCertVerifier>,
    allowed: Vec<String>,
}

impl NamedClients {
    fn is_allowed(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else {
            return false;
        };
        self.allowed.iter().any(|allowed| {
            certificate.valid_dns_names().any(|name| name == allowed)
                || certificate.valid_uri_names().any(|name| name == allowed)
                || allowed.parse().is_ok_and(|address: std::net::IpAddr| {
                    let name = ServerName::from(address);
                    certificate.verify_is_valid_for_subject_name(&name).is_ok()
                })
        })
    }
}

impl ClientCertVerifier for NamedClients {
    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self
            .verifier
            .verify_client_cert(certificate, intermediates, now)?;
        if self.is_allowed(certificate) {
            Ok(verified)
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
