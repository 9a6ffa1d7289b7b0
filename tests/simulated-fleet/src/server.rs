//! An HTTP server on the loopback interface that ends when it is dropped.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::serve::ListenerExt as _;
use tokio::net::TcpSocket;
use tokio::runtime::{Builder, Handle, Runtime};

/// It has a runtime of its own: tests that block their thread or stop tokio's clock do not stop the server, and dropping
/// the runtime drops every connection with it, calls without an answer included.
#[derive(Debug)]
pub(crate) struct Server {
    /// Present until the server is dropped.
    runtime: Option<Runtime>,
    handle: Handle,
    address: SocketAddr,
}

impl Server {
    /// Serves on that port; 0 means a free one.
    pub(crate) fn start(router: Router, port: u16) -> io::Result<Self> {
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("simulated-fleet").enable_all().build()?;
        let handle = runtime.handle().clone();
        // From here on an error drops the server, which is safe in asynchronous code; dropping the bare runtime is not.
        let mut server = Self { runtime: Some(runtime), handle, address: (Ipv4Addr::LOCALHOST, port).into() };
        let listener = {
            let _context = server.handle.enter();
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind(server.address)?;
            socket.listen(1024)?
        };
        server.address = listener.local_addr()?;
        let listener = listener.tap_io(|stream| {
            // A connection that cannot have it works all the same.
            let _ = stream.set_nodelay(true);
        });
        let router = router.layer(DefaultBodyLimit::disable());
        server.handle.spawn(async move { axum::serve(listener, router).await });
        Ok(server)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
