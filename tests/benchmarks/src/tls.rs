//! TLS in front of a server that speaks plain HTTP.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

type Error = Box<dyn std::error::Error>;

/// A server on a free port of the loopback interface that takes TLS and passes on what is inside. It ends when this is
/// dropped.
#[derive(Debug)]
pub struct TlsFront {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl TlsFront {
    /// Passes on to that address, and writes the certificate that clients are to trust, in PEM, to the file.
    ///
    /// # Errors
    /// No port is free, or the file cannot be written.
    pub async fn start(behind: SocketAddr, certificate_file: &Path) -> Result<Self, Error> {
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        std::fs::write(certificate_file, certificate.cert.pem())?;
        let key = PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.cert.into()], key.into())?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(async move {
            while let Ok((outside, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut inside = TcpStream::connect(behind).await?;
                    inside.set_nodelay(true)?;
                    outside.set_nodelay(true)?;
                    let mut outside = acceptor.accept(outside).await?;
                    copy_bidirectional(&mut outside, &mut inside).await
                });
            }
        });
        Ok(Self { address, accepting })
    }

    /// Where it listens, by the name on its certificate.
    pub fn endpoint(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
