//! Connections to one endpoint of a backend: HTTP/1.1 connections last in, first out; HTTP/2 connections shared.
//!
//! Idle HTTP/1.1 connections lie in a few stacks, one for each thread at best, so that threads seldom meet at a
//! lock. The warmest connection is used first, and the coldest ages out.

use std::cell::Cell;
use std::num::NonZero;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::connect::{ConnectError, Connector, Io};
use super::lease::{Lease, Line};
use super::meters::Meters;
use crate::config::backend::Protocol;
use crate::http::RequestBody;

pub(super) type H1 = http1::SendRequest<RequestBody>;
pub(super) type H2 = http2::SendRequest<RequestBody>;

/// Requests at once on one HTTP/2 connection; beyond it a further connection is opened. 100 is the least that RFC
/// 9113 section 6.5.2 recommends servers to allow.
const STREAMS: usize = 100;

/// A connection that was given back a moment ago may still be taking in the end of its last answer.
const SETTLE: Duration = Duration::from_millis(50);

const UNKNOWN: u8 = 0;
const SPEAKS_H1: u8 = 1;
const SPEAKS_H2: u8 = 2;

/// Why there is no connection for a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PoolError {
    /// All connections stayed in use.
    #[error("all connections are in use")]
    Busy,
    /// Connecting failed.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Connecting took too long.
    #[error("no connection within {0:?}")]
    Slow(Duration),
    /// HTTP was not agreed upon.
    #[error("the connection broke off at once: {0}")]
    Handshake(#[from] hyper::Error),
}

/// Bounds of a pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) connect: Duration,
    pub(super) keep_alive: Duration,
    pub(super) connections: usize,
}

/// The connections of one endpoint.
pub(super) struct Pool {
    connector: Connector,
    protocol: Protocol,
    bounds: Bounds,
    stacks: Box<[Mutex<Vec<Idle>>]>,
    shared: Mutex<Vec<Arc<Shared>>>,
    speaks: AtomicU8,
    /// One at a time opens what may become a shared connection.
    gate: Semaphore,
    /// One for each exchange under way on HTTP/1.1. An idle connection is always taken before a new one is
    /// opened, so this bounds the connections too.
    permits: Arc<Semaphore>,
    /// Requests that have a connection or wait for one.
    in_use: AtomicUsize,
    pub(super) meters: Arc<Meters>,
}

/// A request's claim to a connection: it counts from the moment that it asks for one, so that an endpoint that does not
/// answer a connect does not look idle.
pub(super) struct Claim(Arc<Pool>);

impl Claim {
    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.0
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.in_use.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What holds the place of an upgraded connection, which is never given back.
pub(crate) struct Hold {
    _permit: OwnedSemaphorePermit,
    _claim: Claim,
}

struct Idle {
    sender: H1,
    since: Instant,
}

/// An HTTP/2 connection in use by several requests.
pub(super) struct Shared {
    sender: H2,
    streams: Arc<AtomicUsize>,
    /// When it was last taken into use; guarded by the list's lock.
    used: Mutex<Instant>,
}

impl Pool {
    pub(super) fn new(
        connector: Connector,
        protocol: Protocol,
        bounds: Bounds,
        meters: Arc<Meters>,
    ) -> Self {
        let threads = std::thread::available_parallelism()
            .map_or(1, NonZero::get)
            .clamp(1, 16);
        let speaks = match protocol {
            Protocol::Http2 => SPEAKS_H2,
            Protocol::Auto if connector.is_tls() => UNKNOWN,
            Protocol::Auto | Protocol::Http1 => SPEAKS_H1,
        };
        Self {
            connector,
            protocol,
            bounds,
            stacks: (0..threads).map(|_| Mutex::default()).collect(),
            shared: Mutex::default(),
            speaks: AtomicU8::new(speaks),
            gate: Semaphore::new(1),
            permits: Arc::new(Semaphore::new(
                bounds.connections.min(Semaphore::MAX_PERMITS),
            )),
            in_use: AtomicUsize::new(0),
            meters,
        }
    }

    /// How many requests have a connection or wait for one.
    pub(super) fn in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }

    fn claim(self: &Arc<Self>) -> Claim {
        self.in_use.fetch_add(1, Ordering::Relaxed);
        Claim(Arc::clone(self))
    }

    /// How connections are made.
    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Whether HTTP/2 is to be spoken on a new connection.
    pub(super) fn is_h2(&self, io: &Io) -> bool {
        io.is_h2() || self.protocol == Protocol::Http2
    }

    /// A connection, idle or new. `fresh` insists on a new one where connections are not shared.
    pub(super) async fn checkout(self: &Arc<Self>, fresh: bool) -> Result<Lease, PoolError> {
        let claim = self.claim();
        if self.speaks.load(Ordering::Relaxed) != SPEAKS_H1
            && let Some((line, reused)) = self.shared_line(fresh)?
        {
            return Ok(Lease::new(line, reused, claim));
        }
        let permit = self.permit().await?;
        if !fresh && let Some(sender) = self.pop().await {
            return Ok(Lease::new(Line::H1 { sender, permit }, true, claim));
        }
        // Boxed: seldom taken, and large with TLS in it.
        let (line, reused) = Box::pin(self.open(permit)).await?;
        Ok(Lease::new(line, reused, claim))
    }

    /// A connection of its own for an upgrade. It is never given back.
    pub(super) async fn checkout_upgradable(
        self: &Arc<Self>,
        connector: &Connector,
    ) -> Result<(H1, Hold), PoolError> {
        let claim = self.claim();
        let permit = self.permit().await?;
        let io = Box::pin(self.dial(connector)).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(io)).await?;
        // Ends when its sender and the upgraded stream are dropped.
        tokio::spawn(async move {
            let _ = connection.with_upgrades().await;
        });
        let hold = Hold {
            _permit: permit,
            _claim: claim,
        };
        Ok((sender, hold))
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, PoolError> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        match timeout(
            self.bounds.connect,
            Arc::clone(&self.permits).acquire_owned(),
        )
        .await
        {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(PoolError::Busy),
        }
    }

    /// A line on a new connection, and whether others have used that before.
    async fn open(&self, permit: OwnedSemaphorePermit) -> Result<(Line, bool), PoolError> {
        if self.speaks.load(Ordering::Relaxed) == SPEAKS_H1 {
            let io = self.dial(&self.connector).await?;
            return open_h1(io, permit).await;
        }
        // Until it is known that the server does not speak HTTP/2, only one connects and the others wait to
        // share its connection.
        let Ok(gate) = self.gate.acquire().await else {
            return Err(PoolError::Busy);
        };
        if self.speaks.load(Ordering::Relaxed) == SPEAKS_H1 {
            drop(gate);
            let io = self.dial(&self.connector).await?;
            return open_h1(io, permit).await;
        }
        if let Some(shared) = self.shared_line(false)? {
            return Ok(shared);
        }
        let io = self.dial(&self.connector).await?;
        if self.is_h2(&io) {
            self.speaks.store(SPEAKS_H2, Ordering::Relaxed);
            return self.open_h2(io).await;
        }
        self.speaks.store(SPEAKS_H1, Ordering::Relaxed);
        open_h1(io, permit).await
    }

    async fn dial(&self, connector: &Connector) -> Result<Io, PoolError> {
        let started = Instant::now();
        let io = timeout(self.bounds.connect, connector.connect())
            .await
            .map_err(|_| PoolError::Slow(self.bounds.connect))??;
        self.meters.connected(started.elapsed());
        Ok(io)
    }

    async fn open_h2(&self, io: Io) -> Result<(Line, bool), PoolError> {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .max_header_list_size(64 << 10)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .handshake(TokioIo::new(io))
            .await?;
        // Ends when the last sender and stream are dropped, or the server goes away.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "A connection to a backend ended with an error.");
            }
        });
        let shared = Arc::new(Shared {
            sender,
            streams: Arc::new(AtomicUsize::new(0)),
            used: Mutex::new(Instant::now()),
        });
        lock(&self.shared).push(Arc::clone(&shared));
        Ok((lend(&shared), false))
    }

    /// A stream on a shared connection; `None` when a further connection has to be opened.
    fn shared_line(&self, fresh: bool) -> Result<Option<(Line, bool)>, PoolError> {
        let mut list = lock(&self.shared);
        list.retain(|shared| !shared.sender.is_closed());
        if fresh {
            // Something was wrong with the ones that are there; a closed one has just been left out.
            return Ok(None);
        }
        if let Some(free) = list
            .iter()
            .find(|shared| shared.streams.load(Ordering::Relaxed) < STREAMS)
        {
            return Ok(Some((lend(free), true)));
        }
        if list.len() >= self.bounds.connections {
            return Err(PoolError::Busy);
        }
        Ok(None)
    }

    /// The warmest idle connection that still lives.
    async fn pop(&self) -> Option<H1> {
        while let Some(mut idle) = self.take() {
            self.meters.idle.decrement(1.0);
            if idle.sender.is_closed() || idle.since.elapsed() >= self.bounds.keep_alive {
                continue;
            }
            if idle.sender.is_ready()
                || matches!(timeout(SETTLE, idle.sender.ready()).await, Ok(Ok(())))
            {
                return Some(idle.sender);
            }
        }
        None
    }

    fn take(&self) -> Option<Idle> {
        let own = stack_of_thread();
        let count = self.stacks.len();
        (0..count).find_map(|step| lock(&self.stacks[(own + step) % count]).pop())
    }

    /// Takes a connection back whose last answer was read to its end.
    pub(super) fn give_back(&self, sender: H1) {
        if sender.is_closed() || self.bounds.keep_alive.is_zero() {
            return;
        }
        self.meters.idle.increment(1.0);
        let stack = &self.stacks[stack_of_thread() % self.stacks.len()];
        lock(stack).push(Idle {
            sender,
            since: Instant::now(),
        });
    }

    /// Drops all connections that nobody uses; those in use are not lent again where they are shared.
    pub(super) fn let_go(&self) {
        for stack in &self.stacks {
            let gone = std::mem::take(&mut *lock(stack));
            let gone = u32::try_from(gone.len()).unwrap_or(u32::MAX);
            self.meters.idle.decrement(f64::from(gone));
        }
        lock(&self.shared).clear();
    }

    /// Drops connections that were idle for too long.
    pub(super) fn reap(&self) {
        for stack in &self.stacks {
            let mut stack = lock(stack);
            let before = stack.len();
            stack.retain(|idle| {
                !idle.sender.is_closed() && idle.since.elapsed() < self.bounds.keep_alive
            });
            let gone = u32::try_from(before - stack.len()).unwrap_or(u32::MAX);
            self.meters.idle.decrement(f64::from(gone));
        }
        lock(&self.shared).retain(|shared| {
            let waiting = shared.streams.load(Ordering::Relaxed) == 0;
            !(shared.sender.is_closed()
                || waiting && lock(&shared.used).elapsed() >= self.bounds.keep_alive)
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let idle: usize = self.stacks.iter().map(|stack| lock(stack).len()).sum();
        self.meters
            .idle
            .decrement(f64::from(u32::try_from(idle).unwrap_or(u32::MAX)));
    }
}

async fn open_h1(io: Io, permit: OwnedSemaphorePermit) -> Result<(Line, bool), PoolError> {
    let (sender, connection) = http1::handshake(TokioIo::new(io)).await?;
    // Ends when its sender is dropped (with the pool at the latest) or the server closes.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "A connection to a backend ended with an error.");
        }
    });
    Ok((Line::H1 { sender, permit }, false))
}

fn lend(shared: &Arc<Shared>) -> Line {
    shared.streams.fetch_add(1, Ordering::Relaxed);
    *lock(&shared.used) = Instant::now();
    Line::H2 {
        sender: shared.sender.clone(),
        streams: Arc::clone(&shared.streams),
    }
}

/// The data behind these locks is whole between any two statements, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number for the present thread; threads that do work here get neighbouring ones.
fn stack_of_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<Option<usize>> = const { Cell::new(None) };
    }
    OWN.with(|own| {
        own.get().unwrap_or_else(|| {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            own.set(Some(number));
            number
        })
    })
}
