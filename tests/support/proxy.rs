//! A TCP proxy between a client and a server, to simulate network faults.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Forwards bytes until configured otherwise. Lives as long as it is held.
pub struct Proxy {
    address: SocketAddr,
    orders: watch::Sender<Orders>,
    accepted: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

#[derive(Clone, Copy)]
struct Orders {
    server: SocketAddr,
    passage: Passage,
    /// Connections made under an earlier number are closed.
    generation: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Passage {
    Open,
    /// Drops everything in both directions, without closing connections.
    Nowhere,
    /// Delays each answer by this time.
    Slow(Duration),
    /// Closes new connections immediately.
    Shut,
}

impl Proxy {
    /// A proxy on a free port in front of `server`.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (orders, observed) = watch::channel(Orders { server, passage: Passage::Open, generation: 0 });
        let accepted = Arc::<AtomicUsize>::default();
        let counted = accepted.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(client, observed.clone()));
            }
        });
        Self { address, orders, accepted, accepting }
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The connections that clients have opened so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Repairs the network. Swallowed bytes arrive now, as with TCP.
    pub fn heal(&self) {
        self.orders.send_modify(|orders| orders.passage = Passage::Open);
    }

    /// Drops everything. Connections stay up, new ones are accepted, and no bytes are forwarded.
    pub fn black_hole(&self) {
        self.orders.send_modify(|orders| orders.passage = Passage::Nowhere);
    }

    /// Delays every answer by this time.
    pub fn delay_answers(&self, delay: Duration) {
        self.orders.send_modify(|orders| orders.passage = Passage::Slow(delay));
    }

    /// Closes every connection. New ones are served.
    pub fn cut(&self) {
        self.orders.send_modify(|orders| orders.generation += 1);
    }

    /// Closes every connection, and new ones, too.
    pub fn shut(&self) {
        self.orders.send_modify(|orders| {
            orders.passage = Passage::Shut;
            orders.generation += 1;
        });
    }

    /// Moves to another server: closes every connection, and connects new ones to that.
    pub fn point_to(&self, server: SocketAddr) {
        self.orders.send_modify(|orders| {
            orders.server = server;
            orders.generation += 1;
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(client: TcpStream, mut observed: watch::Receiver<Orders>) {
    let Orders { server, passage, generation } = *observed.borrow_and_update();
    if passage == Passage::Shut {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (client_reads, client_writes) = client.into_split();
    let (server_reads, server_writes) = server.into_split();
    let ended = observed.clone();
    tokio::select! {
        () = pump(client_reads, server_writes, observed.clone(), false) => {}
        () = pump(server_reads, client_writes, observed, true) => {}
        () = superseded(ended, generation) => {}
    }
}

async fn superseded(mut observed: watch::Receiver<Orders>, generation: u64) {
    // An error means that the proxy is gone.
    let _ = observed.wait_for(|orders| orders.generation != generation).await;
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut observed: watch::Receiver<Orders>,
    answers: bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        let Ok(orders) =
            observed.wait_for(|orders| orders.passage != Passage::Nowhere).await.map(|orders| *orders)
        else {
            return;
        };
        if let (Passage::Slow(delay), true) = (orders.passage, answers) {
            sleep(delay).await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
