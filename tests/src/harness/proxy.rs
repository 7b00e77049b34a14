//! A TCP proxy whose network can be cut, slow, lossy or half open.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use futures::future::Either;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::random::Random;

/// Largest piece that is passed on at once, in bytes.
const PIECE: usize = 16 * 1024;
/// Pieces under way in one direction; more wait in the sender's socket.
const UNDER_WAY: usize = 1_024;
/// Time until a lost packet is sent again: TCP's shortest is 200 ms, and it doubles.
const RESEND_MS: [u64; 3] = [200, 600, 1_400];
/// One piece in so many breaks its connection when the network is lossy.
const RESET_ONE_IN: u64 = 200;

/// How the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Everything passes at once.
    Fair,
    /// Connections are closed, new ones too.
    Cut,
    /// Everything takes so long, each way.
    Slow(Duration),
    /// This share of pieces is lost and sent again later, as TCP does; now and then a connection breaks.
    Lossy {
        /// Lost pieces in a hundred.
        percent: u64,
    },
    /// Connections are taken and stay open, and nothing passes, as behind a router that forgot them. What was open then
    /// never passes anything again.
    HalfOpen,
}

/// A proxy in front of one address. Dropping it closes everything.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    network: watch::Sender<Network>,
    stop: CancellationToken,
}

impl Proxy {
    /// A proxy in front of `target`, on a free port of the loopback; its chance comes from `seed`.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(target: SocketAddr, seed: u64) -> Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listen for a proxy")?;
        let address = listener.local_addr().context("ask for a proxy's port")?;
        let (network, stop) = (watch::Sender::new(Network::Fair), CancellationToken::new());
        let (weather, ending) = (network.subscribe(), stop.clone());
        let mut random = Random::new(seed);
        tokio::spawn(async move {
            loop {
                let client = tokio::select! {
                    accepted = listener.accept() => match accepted {
                        Ok((client, _)) => client,
                        Err(_) => continue, // the client has gone already
                    },
                    () = ending.cancelled() => return,
                };
                let (weather, chance, ending) = (weather.clone(), random.number(), ending.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = serve(client, target, weather, chance) => {}
                        () = ending.cancelled() => {}
                    }
                });
            }
        });
        Ok(Proxy { address, network, stop })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the network from now on.
    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Passes on what one client and the target say, until one of them, or the network, ends the connection.
async fn serve(client: TcpStream, target: SocketAddr, network: watch::Receiver<Network>, seed: u64) {
    let mut watched = network.clone();
    let cut = async {
        // An error means that the proxy has ended.
        let _ = watched.wait_for(|network| *network == Network::Cut).await;
    };
    let passing = async {
        if *network.borrow() == Network::HalfOpen {
            return std::future::pending().await;
        }
        let Ok(server) = TcpStream::connect(target).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true)); // speed alone
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        tokio::select! {
            () = pass(from_client, to_server, network.clone(), Random::new(seed)) => {}
            () = pass(from_server, to_client, network.clone(), Random::new(seed ^ 1)) => {}
        }
    };
    tokio::select! {
        () = cut => {}
        () = passing => {}
    }
}

/// One direction: pieces in order, each when the network lets it.
async fn pass(from: OwnedReadHalf, to: OwnedWriteHalf, network: watch::Receiver<Network>, random: Random) {
    let (queue, pieces) = mpsc::channel(UNDER_WAY);
    let giving = give(to, pieces, network.clone());
    let taking = take(from, queue, network, random);
    // What is under way arrives before the end does.
    let (giving, taking) = (std::pin::pin!(giving), std::pin::pin!(taking));
    if let Either::Right(((), giving)) = futures::future::select(giving, taking).await {
        giving.await;
    }
}

async fn take(
    mut from: OwnedReadHalf,
    queue: mpsc::Sender<(Instant, Bytes)>,
    network: watch::Receiver<Network>,
    mut random: Random,
) {
    let mut last = Instant::now();
    loop {
        let mut piece = BytesMut::with_capacity(PIECE);
        if !matches!(from.read_buf(&mut piece).await, Ok(1..)) {
            return;
        }
        let delay = match *network.borrow() {
            Network::Slow(delay) => delay,
            Network::Lossy { percent } if random.below(100) < percent => {
                if random.below(RESET_ONE_IN) == 0 {
                    return;
                }
                let times = usize::try_from(random.below(RESEND_MS.len() as u64)).unwrap_or_default();
                Duration::from_millis(RESEND_MS[times])
            }
            _ => Duration::ZERO,
        };
        last = last.max(Instant::now() + delay);
        if queue.send((last, piece.freeze())).await.is_err() {
            return;
        }
    }
}

async fn give(
    mut to: OwnedWriteHalf,
    mut pieces: mpsc::Receiver<(Instant, Bytes)>,
    network: watch::Receiver<Network>,
) {
    while let Some((due, piece)) = pieces.recv().await {
        sleep_until(due).await;
        if *network.borrow() == Network::HalfOpen {
            return std::future::pending().await;
        }
        if to.write_all(&piece).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::wait_for;
    use tokio::time::timeout;

    const BOUND: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(300);

    /// A server that answers what it is told, and a proxy in front of it.
    async fn echo() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        Proxy::start(target, 7).await.unwrap()
    }

    async fn say(stream: &mut TcpStream) -> std::io::Result<[u8; 4]> {
        stream.write_all(b"word").await?;
        let mut heard = [0; 4];
        stream.read_exact(&mut heard).await.map(|_| heard)
    }

    #[tokio::test]
    async fn each_network_does_what_it_is_named_after() {
        let proxy = echo().await;
        let connect = async || TcpStream::connect(proxy.address()).await.unwrap();
        let mut stream = connect().await;
        assert_eq!(say(&mut stream).await.unwrap(), *b"word");

        proxy.set(Network::Slow(SHORT));
        let asked = Instant::now();
        assert_eq!(say(&mut stream).await.unwrap(), *b"word");
        assert!(asked.elapsed() >= SHORT * 2, "{:?}", asked.elapsed());

        proxy.set(Network::Lossy { percent: 30 });
        let mut heard = 0;
        wait_for("words pass", BOUND, async || {
            heard += usize::from(say(&mut connect().await).await.is_ok());
            Ok((heard == 10).then_some(()))
        })
        .await
        .unwrap();

        proxy.set(Network::HalfOpen);
        assert!(timeout(SHORT, say(&mut stream)).await.is_err(), "an old connection");
        let mut young = connect().await;
        assert!(timeout(SHORT, say(&mut young)).await.is_err(), "a new connection");
        proxy.set(Network::Fair);
        assert!(timeout(SHORT, say(&mut stream)).await.is_err(), "it is forgotten for good");
        assert_eq!(say(&mut connect().await).await.unwrap(), *b"word");

        proxy.set(Network::Cut);
        assert!(timeout(BOUND, say(&mut stream)).await.unwrap().is_err());
        assert!(timeout(BOUND, say(&mut connect().await)).await.unwrap().is_err());
        proxy.set(Network::Fair);
        assert_eq!(say(&mut connect().await).await.unwrap(), *b"word");
    }
}
