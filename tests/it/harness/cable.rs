//! A TCP relay between two parties that a test can cut.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The relay. It ends when it is dropped.
pub(crate) struct Cable {
    address: SocketAddr,
    /// Fires when the cable is cut; another one stands here once it is mended.
    state: Arc<Mutex<CancellationToken>>,
    relay: JoinHandle<()>,
}

impl Cable {
    /// To a `host:port`.
    pub(crate) async fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(CancellationToken::new()));
        let relay = tokio::spawn(run(listener, target.to_owned(), Arc::clone(&state)));
        Self {
            address,
            state,
            relay,
        }
    }

    /// Its own `host:port`.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections; new ones are closed at once.
    pub(crate) fn cut(&self) {
        self.state.lock().unwrap().cancel();
    }

    /// Lets new connections through again.
    pub(crate) fn mend(&self) {
        *self.state.lock().unwrap() = CancellationToken::new();
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.relay.abort();
    }
}

async fn run(listener: TcpListener, target: String, state: Arc<Mutex<CancellationToken>>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (mut near, _) = listener.accept().await.unwrap();
        let cut = state.lock().unwrap().clone();
        let target = target.clone();
        if !cut.is_cancelled() {
            connections.spawn(async move {
                let relay = async {
                    let Ok(mut far) = TcpStream::connect(target).await else {
                        return;
                    };
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                };
                tokio::select! {
                    () = cut.cancelled() => {}
                    () = relay => {}
                }
            });
        }
        while connections.try_join_next().is_some() {}
    }
}
