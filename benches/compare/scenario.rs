//! The kinds of work, and taking turns at them.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::header::AUTHORIZATION;
use tokio_rustls::rustls;

use crate::backend::Backend;
use crate::client::{self, Connection, Target};
use crate::provider::{Alg, Provider};
use crate::ready::{discovered, sign_in};
use crate::requests::{GAP_MS, Make, call, page, post, seen, stream};
use crate::subjects::{Subject, Subjects};
use crate::{Failure, Outcome, process};

const TURNS: usize = 5;
const CONNECTIONS: usize = 32;
const SMALL: u32 = 8000;
const FRESH: u32 = 2000;
const DOWN: u32 = 400;
const UP: u32 = 120;
const HANDSHAKES: u32 = 300;
const STREAMS: usize = 20;
const EVENTS: u64 = 100;
const IDLE: usize = 500;

const IDLE_NAME: &str = "idle streams, memory each";
const REDIS_NAME: &str = "small POST, session, read from Redis";
const EVENTS_NAME: &str = "event streams, per event";
const HANDSHAKE_NAME: &str = "full TLS 1.3 handshake";
const FRESH_NAMES: [(&str, Alg, f64); 2] = [
    ("small POST, fresh RS256 token", Alg::Rs256, 2.5),
    ("small POST, fresh ES256 token", Alg::Es256, 4.3),
];

/// A kind of work, and what both paid for it.
pub(crate) struct Result {
    pub(crate) name: &'static str,
    /// Microseconds of CPU, or KiB of memory.
    pub(crate) unit: &'static str,
    pub(crate) nginx: f64,
    pub(crate) proxy: f64,
    /// Proxy to nginx: smallest, median and largest of the turns.
    pub(crate) ratio: [f64; 3],
    /// The ratio that is promised.
    pub(crate) bar: Option<f64>,
    /// A bound on the proxy's own figure instead of on the ratio.
    pub(crate) limit: Option<f64>,
}

/// Everything that is needed to go through the kinds of work.
pub(crate) struct Plan<'a> {
    subjects: &'a Subjects,
    provider: &'a Provider,
    nginx: Target,
    proxy: Target,
    asking: Option<Target>,
    /// Cookies of a signed-in browser.
    cookies: String,
    /// Cookies of as many browsers as there are connections: requests of one session that come at once share one
    /// reading of the store.
    many: Vec<String>,
    /// A token that both have seen, and its audience.
    token: String,
    audience: String,
}

impl<'a> Plan<'a> {
    pub(crate) async fn new(
        subjects: &'a Subjects,
        provider: &'a Provider,
        tls: Arc<rustls::ClientConfig>,
    ) -> Outcome<Self> {
        let target = |subject: &Subject| Target {
            port: subject.port,
            tls: Some(tls.clone()),
        };
        let proxy = target(&subjects.proxy);
        let asking = subjects.asking.as_ref().map(target);
        let audience = format!("https://localhost:{}/mcp", proxy.port);
        let token = provider.access_token(Alg::Rs256, &audience)?;
        let (mut cookies, mut many) = (String::new(), Vec::new());
        if let Some(asking) = &asking {
            discovered(&proxy, &token).await?;
            cookies = sign_in(&proxy).await?;
            for _ in 0..CONNECTIONS {
                many.push(sign_in(asking).await?);
            }
        }
        Ok(Self {
            subjects,
            provider,
            nginx: target(&subjects.nginx),
            proxy,
            asking,
            cookies,
            many,
            token,
            audience,
        })
    }

    /// Goes through all kinds of work, or those whose names hold `only`.
    pub(crate) async fn run(&self, backend: &Backend, only: &str) -> Outcome<Vec<Result>> {
        let wanted = |name: &str| {
            let wanted = name.contains(only);
            if wanted {
                println!("... {name}");
            }
            wanted
        };
        let mut results = Vec::new();
        // Memory first: later work leaves pages behind that would hide it.
        if wanted(IDLE_NAME) {
            results.push(self.idle_streams().await?);
        }
        let session = page(vec![self.cookies.clone()]);
        for (name, make, connections, count, bar) in [
            (
                "small POST, bearer seen before",
                seen(&self.token, 0, 0)?,
                CONNECTIONS,
                SMALL,
                1.35,
            ),
            (
                "small POST, session, recently seen",
                session,
                CONNECTIONS,
                SMALL,
                1.4,
            ),
            (
                "256 KiB down",
                seen(&self.token, 256 << 10, 0)?,
                8,
                DOWN,
                0.7,
            ),
            (
                "1 MiB up, looked at",
                seen(&self.token, 0, 1 << 20)?,
                4,
                UP,
                0.9,
            ),
        ] {
            if wanted(name) {
                let pair = (&self.proxy, self.subjects.proxy.id);
                results.push(
                    self.turns(name, pair, &make, connections, count, bar)
                        .await?,
                );
            }
        }
        for (name, alg, bar) in FRESH_NAMES {
            if wanted(name) {
                results.push(self.fresh(name, alg, bar).await?);
            }
        }
        if let (Some(target), Some(subject)) = (&self.asking, &self.subjects.asking)
            && wanted(REDIS_NAME)
        {
            let (pair, make) = ((target, subject.id), page(self.many.clone()));
            results.push(
                self.turns(REDIS_NAME, pair, &make, CONNECTIONS, SMALL, 2.0)
                    .await?,
            );
        }
        if wanted(EVENTS_NAME) {
            results.extend(self.events(backend).await?);
        }
        if wanted(HANDSHAKE_NAME) {
            results.push(self.handshakes().await?);
        }
        Ok(results)
    }

    /// The same requests to nginx and to a proxy, in turn.
    async fn turns(
        &self,
        name: &'static str,
        (target, id): (&Target, u32),
        make: &Make,
        connections: usize,
        count: u32,
        bar: f64,
    ) -> Outcome<Result> {
        let mut nginx = open(&self.nginx, connections).await?;
        let mut proxy = open(target, connections).await?;
        let mut costs = Vec::new();
        // The turn before the first warms up.
        for turn in 0..=TURNS {
            let count = if turn == 0 { count / 8 } else { count };
            let work = run(nginx, count, make);
            let (theirs, back) = measured(name, self.subjects.nginx.id, count, work).await?;
            nginx = back;
            let (ours, back) = measured(name, id, count, run(proxy, count, make)).await?;
            proxy = back;
            costs.push([theirs, ours]);
        }
        Ok(summary(name, "µs", &costs[1..], Some(bar)))
    }

    /// Every request with a token that was never seen.
    async fn fresh(&self, name: &'static str, alg: Alg, bar: f64) -> Outcome<Result> {
        let mut nginx = open(&self.nginx, CONNECTIONS).await?;
        let mut proxy = open(&self.proxy, CONNECTIONS).await?;
        let mut costs = Vec::new();
        for turn in 0..=TURNS {
            let count = if turn == 0 { FRESH / 8 } else { FRESH };
            let tokens: Outcome<Vec<String>> = (0..count)
                .map(|_| self.provider.access_token(alg, &self.audience))
                .collect();
            let (tokens, body) = (tokens?, call(0));
            let make: Make = std::rc::Rc::new(move |index| {
                let token = tokens.get(index as usize).ok_or("too few tokens")?;
                Ok(post("/mcp")
                    .header(AUTHORIZATION, format!("Bearer {token}"))
                    .body(Full::new(body.clone()))?)
            });
            let (theirs, back) = measured(
                name,
                self.subjects.nginx.id,
                count,
                run(nginx, count, &make),
            )
            .await?;
            nginx = back;
            let (ours, back) = measured(
                name,
                self.subjects.proxy.id,
                count,
                run(proxy, count, &make),
            )
            .await?;
            proxy = back;
            costs.push([theirs, ours]);
        }
        Ok(summary(name, "µs", &costs[1..], Some(bar)))
    }

    /// CPU per event, and how much later it arrives than straight from the backend.
    async fn events(&self, backend: &Backend) -> Outcome<Vec<Result>> {
        let direct = Target {
            port: backend.port,
            tls: None,
        };
        let count = u32::try_from(EVENTS)? * u32::try_from(STREAMS)?;
        let stagger = Duration::from_millis(GAP_MS) / u32::try_from(STREAMS)?;
        let request = |token: String| move || stream(&token, EVENTS);
        let (mut costs, mut p50, mut p99) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..TURNS {
            let plain =
                client::streams(&direct, STREAMS, stagger, request(self.token.clone())).await?;
            let run = client::streams(&self.nginx, STREAMS, stagger, request(self.token.clone()));
            let (theirs, nginx) = measured(EVENTS_NAME, self.subjects.nginx.id, count, run).await?;
            let run = client::streams(&self.proxy, STREAMS, stagger, request(self.token.clone()));
            let (ours, proxy) = measured(EVENTS_NAME, self.subjects.proxy.id, count, run).await?;
            for delays in [&plain, &nginx, &proxy] {
                if delays.len() != count as usize {
                    return Err(format!("{} of {count} events arrived", delays.len()).into());
                }
            }
            let added = |through: &[u64], part: f64| {
                (quantile(through, part) - quantile(&plain, part)).max(0.1)
            };
            p50.push([added(&nginx, 0.5), added(&proxy, 0.5)]);
            p99.push([added(&nginx, 0.99), added(&proxy, 0.99)]);
            costs.push([theirs, ours]);
        }
        let limited = |mut result: Result, limit| {
            result.limit = Some(limit);
            result
        };
        Ok(vec![
            summary(EVENTS_NAME, "µs", &costs, Some(1.0)),
            limited(
                summary("event streams, added p50", "µs late", &p50, None),
                40.0,
            ),
            limited(
                summary("event streams, added p99", "µs late", &p99, None),
                100.0,
            ),
        ])
    }

    async fn idle_streams(&self) -> Outcome<Result> {
        let mut kib = [0.0; 2];
        for (slot, (target, subject)) in [
            (&self.nginx, &self.subjects.nginx),
            (&self.proxy, &self.subjects.proxy),
        ]
        .into_iter()
        .enumerate()
        {
            drop(client::open_streams(target, 8, || stream(&self.token, 0)).await?);
            let before = process::resident(subject.id)?;
            let open = client::open_streams(target, IDLE, || stream(&self.token, 0)).await?;
            tokio::time::sleep(Duration::from_millis(200)).await;
            let grown = process::resident(subject.id)?.saturating_sub(before);
            #[expect(
                clippy::cast_precision_loss,
                reason = "a memory size, rounded for print"
            )]
            let each = grown as f64 / 1024.0 / open.len() as f64;
            kib[slot] = each;
        }
        let mut result = summary(IDLE_NAME, "KiB", &[kib], None);
        result.limit = Some(40.0);
        Ok(result)
    }

    async fn handshakes(&self) -> Outcome<Result> {
        let mut costs = Vec::new();
        for turn in 0..=TURNS {
            let count = if turn == 0 {
                HANDSHAKES / 8
            } else {
                HANDSHAKES
            };
            let (theirs, ()) = measured(
                HANDSHAKE_NAME,
                self.subjects.nginx.id,
                count,
                self.nginx.handshakes(count),
            )
            .await?;
            let (ours, ()) = measured(
                HANDSHAKE_NAME,
                self.subjects.proxy.id,
                count,
                self.proxy.handshakes(count),
            )
            .await?;
            costs.push([theirs, ours]);
        }
        Ok(summary(HANDSHAKE_NAME, "µs", &costs[1..], Some(0.58)))
    }
}

async fn open(target: &Target, number: usize) -> Outcome<Vec<Connection>> {
    let mut connections = Vec::with_capacity(number);
    for _ in 0..number {
        connections.push(target.connect().await?);
    }
    Ok(connections)
}

async fn run(connections: Vec<Connection>, count: u32, make: &Make) -> Outcome<Vec<Connection>> {
    let make = make.clone();
    client::closed_loop(connections, count, move |index| make(index)).await
}

/// CPU microseconds of process `id` for each of `count` units of the work.
async fn measured<T>(
    name: &str,
    id: u32,
    count: u32,
    work: impl Future<Output = Outcome<T>>,
) -> Outcome<(f64, T)> {
    let before = process::cpu_nanos(id)?;
    let given = work
        .await
        .map_err(|error| Failure::from(format!("{name}, process {id}: {error}")))?;
    let nanos = process::cpu_nanos(id)?.saturating_sub(before);
    #[expect(clippy::cast_precision_loss, reason = "less than 2^52 ns is 52 days")]
    let micros = nanos as f64 / 1000.0 / f64::from(count);
    Ok((micros, given))
}

fn summary(name: &'static str, unit: &'static str, costs: &[[f64; 2]], bar: Option<f64>) -> Result {
    let ratios = sorted(costs.iter().map(|[nginx, proxy]| proxy / nginx));
    let middle = |values: Vec<f64>| values.get(values.len() / 2).copied().unwrap_or(f64::NAN);
    let edge = |value: Option<&f64>| value.copied().unwrap_or(f64::NAN);
    Result {
        name,
        unit,
        nginx: middle(sorted(costs.iter().map(|cost| cost[0]))),
        proxy: middle(sorted(costs.iter().map(|cost| cost[1]))),
        ratio: [
            edge(ratios.first()),
            middle(ratios.clone()),
            edge(ratios.last()),
        ],
        bar,
        limit: None,
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Microseconds.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a quantile of some thousand delays"
)]
fn quantile(nanos: &[u64], part: f64) -> f64 {
    let mut nanos = nanos.to_vec();
    nanos.sort_unstable();
    let index = ((nanos.len() as f64 - 1.0) * part).round() as usize;
    nanos
        .get(index)
        .map_or(f64::NAN, |nanos| *nanos as f64 / 1000.0)
}
