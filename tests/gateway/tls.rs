//! TLS to the downstream: whom the gateway believes.

use std::{path::Path, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
};
use serde_json::json;
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use crate::support::{Setup, eventually, read_message};

/// One who signs certificates.
struct Authority {
    root: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().clone();
        Self { root, issuer: Issuer::new(params, key) }
    }

    /// Writes its own certificate down, for those who are to believe it.
    fn write(&self, file: &Path) -> String {
        let base64 = STANDARD.encode(&self.root);
        let lines: Vec<_> = base64.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
        let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
        std::fs::write(file, pem).unwrap();
        file.to_str().unwrap().to_owned()
    }
}

/// A downstream of this name that answers everything with JSON; it stops when this is dropped.
struct Secure {
    port: u16,
    server: JoinHandle<()>,
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Secure {
    async fn start(name: &str, by: &Authority) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &by.issuer).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    let mut stream = BufReader::new(acceptor.accept(stream).await?);
                    while read_message(&mut stream).await?.is_some() {
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"tier\":\"gold\"}").await?;
                    }
                    std::io::Result::Ok(())
                });
            }
        });
        Self { port, server }
    }

    fn setup(&self) -> Setup {
        Setup::new(format!("https://localhost:{}", self.port)).set("RETRY_MAX_ATTEMPTS", "1")
    }
}

#[tokio::test]
async fn the_downstream_is_believed_when_its_authority_is() {
    let authority = Authority::new();
    let downstream = Secure::start("localhost", &authority).await;
    // Alone for the downstream, or for everything that the gateway talks to.
    for name in ["DOWNSTREAM_CA_FILE", "SSL_CERT_FILE"] {
        let setup = downstream.setup();
        let root = authority.write(&setup.path("root.pem"));
        let gateway = setup.set(name, root).start().await;
        let answer = (200, json!({ "status": "forwarded", "data": { "tier": "gold" } }));
        assert_eq!(gateway.proxy("{}").await.answer(), answer, "{name}");
        assert_eq!(gateway.job().await.1["nextNode"], "continue_dialog", "{name}");
    }
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let (authority, other) = (Authority::new(), Authority::new());
    let downstream = Secure::start("localhost", &authority).await;
    let impostor = Secure::start("other.example", &authority).await;
    let with = |setup: Setup, authority: &Authority| {
        let root = authority.write(&setup.path("root.pem"));
        setup.set("DOWNSTREAM_CA_FILE", root)
    };
    for (what, setup) in [
        ("the system's roots know nothing of it", downstream.setup()),
        ("another authority", with(downstream.setup(), &other)),
        ("another name", with(impostor.setup(), &authority)),
        // The file takes the place of the system's roots, and is not added to them.
        ("the file alone counts", {
            let setup = with(downstream.setup(), &other);
            let root = authority.write(&setup.path("system.pem"));
            setup.set("SSL_CERT_FILE", root)
        }),
    ] {
        let gateway = setup.start().await;
        assert_eq!(gateway.proxy("{}").await.answer(), (502, json!({ "error": "downstream_unreachable" })), "{what}");
        eventually(what, async || gateway.stderr().contains("certificate").then_some(())).await;
    }
}

#[tokio::test]
async fn a_file_without_roots_is_refused() {
    let setup = || Setup::new("https://localhost:9");
    let empty = setup();
    std::fs::write(empty.path("root.pem"), "").unwrap();
    let empty_root = empty.path("root.pem").to_str().unwrap().to_owned();
    let garbage = setup();
    let garbage_root = garbage.path("root.pem").to_str().unwrap().to_owned();
    std::fs::write(&garbage_root, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let plain = Setup::new("http://localhost:9");
    let plain_root = Authority::new().write(&plain.path("root.pem"));
    let name = "DOWNSTREAM_CA_FILE";
    crate::settings::all_refused(vec![
        ("no such file", setup().set(name, "/no/such/file"), name),
        ("no certificate", empty.clone().set(name, &empty_root), name),
        ("no certificate for all", empty.set("SSL_CERT_FILE", &empty_root), "SSL_CERT_FILE"),
        ("garbage", garbage.set(name, garbage_root), name),
        ("no TLS", plain.set(name, plain_root), name),
    ])
    .await;
}
