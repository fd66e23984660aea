//! Whom TLS trusts: the system's roots, or for the downstream those of a file alone.

use std::{env, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

/// What rustls-native-certs reads in place of the system's own roots.
const ELSEWHERE: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The system's roots; those of Mozilla, as they were when the gateway was built, where the system has none.
pub(crate) fn system() -> Result<ClientConfig, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A system may hold some that are too odd to be used.
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable > 0 {
        return config(roots);
    }
    match ELSEWHERE.into_iter().find(|name| env::var_os(name).is_some()) {
        Some(name) => {
            let why = found.errors.first().map_or_else(|| "holds no certificate".to_owned(), ToString::to_string);
            Err(format!("{name}: {why}"))
        }
        None => config(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }),
    }
}

/// The roots of a PEM file, and no others.
pub(crate) fn given(file: &Path) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(file).map_err(|error| error.to_string())? {
        let root = root.map_err(|error| error.to_string())?;
        roots.add(root).map_err(|error| format!("holds what cannot be a root: {error}"))?;
    }
    if roots.is_empty() { Err("holds no certificate in PEM".into()) } else { config(roots) }
}

fn config(roots: RootCertStore) -> Result<ClientConfig, String> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
