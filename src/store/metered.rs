//! Any store, with its operations counted and timed.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::BoxStream;
use metrics::{Counter, Gauge, Histogram};
use tokio::time::Instant;

use super::{Both, Key, Outcome, Replaced, Space, Store, Stored};
use crate::clock::Timestamp;
use crate::telemetry::metrics::{Metrics, Name};

/// A store whose operations are counted and timed.
pub struct Metered<S> {
    inner: S,
    operations: [Operation; 7],
    up: Gauge,
}

/// What an operation is called in the metrics; also its place in the table of handles.
#[derive(Clone, Copy)]
enum Kind {
    Get,
    Put,
    Touch,
    Delete,
    Lock,
    Index,
    Publish,
}

impl Kind {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Get, "get"),
        (Self::Put, "put"),
        (Self::Touch, "touch"),
        (Self::Delete, "delete"),
        (Self::Lock, "lock"),
        (Self::Index, "index"),
        (Self::Publish, "publish"),
    ];
}

/// `ok`: done. `absent`: there is no such record. `refused`: somebody else was first.
#[derive(Clone, Copy)]
enum Result {
    Ok,
    Absent,
    Refused,
    Unavailable,
}

impl Result {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Ok, "ok"),
        (Self::Absent, "absent"),
        (Self::Refused, "refused"),
        (Self::Unavailable, "unavailable"),
    ];
}

struct Operation {
    results: [Counter; 4],
    duration: Histogram,
}

impl<S: Store> Metered<S> {
    /// Counts what `inner` does.
    pub fn new(inner: S, metrics: &Arc<Metrics>) -> Self {
        let store = inner.name();
        let operations = Kind::ALL.map(|(_, operation)| Operation {
            results: Result::ALL.map(|(_, result)| {
                let labels = [
                    ("store", store),
                    ("operation", operation),
                    ("result", result),
                ];
                metrics.counter(Name::SessionOperations, &labels)
            }),
            duration: metrics.histogram(
                Name::SessionOperationDuration,
                &[("store", store), ("operation", operation)],
            ),
        });
        Self {
            operations,
            up: metrics.gauge(Name::SessionStoreUp, &[("store", store)]),
            inner,
        }
    }

    async fn watch<T>(
        &self,
        kind: Kind,
        work: impl Future<Output = Outcome<T>> + Send,
        judge: impl Fn(&T) -> Result + Send,
    ) -> Outcome<T> {
        let begun = Instant::now();
        let outcome = work.await;
        let result = outcome.as_ref().map_or(Result::Unavailable, judge);
        self.note(kind, begun, result);
        outcome
    }

    fn note(&self, kind: Kind, begun: Instant, result: Result) {
        let operation = &self.operations[kind as usize];
        operation.duration.record(begun.elapsed().as_secs_f64());
        self.note_up(!matches!(result, Result::Unavailable));
        operation.results[result as usize].increment(1);
    }

    fn note_up(&self, up: bool) {
        self.up.set(if up { 1.0 } else { 0.0 });
    }
}

fn presence(there: bool) -> Result {
    if there { Result::Ok } else { Result::Absent }
}

fn precedence(first: bool) -> Result {
    if first { Result::Ok } else { Result::Refused }
}

fn kind_of_write(space: Space) -> Kind {
    if space == Space::Lease {
        Kind::Lock
    } else {
        Kind::Put
    }
}

impl<S: Store> Store for Metered<S> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn shared(&self) -> bool {
        self.inner.shared()
    }

    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Outcome<Option<Stored>>> {
        self.watch(Kind::Get, self.inner.get(key), |found| {
            presence(found.is_some())
        })
        .boxed()
    }

    fn get_both<'a>(&'a self, first: &'a Key, second: &'a Key) -> BoxFuture<'a, Outcome<Both>> {
        async {
            let begun = Instant::now();
            let outcome = self.inner.get_both(first, second).await;
            // Two operations, of which each took that long.
            let found = outcome.as_ref().ok();
            for there in [
                found.map(|(first, _)| first.is_some()),
                found.map(|(_, second)| second.is_some()),
            ] {
                self.note(
                    Kind::Get,
                    begun,
                    there.map_or(Result::Unavailable, presence),
                );
            }
            outcome
        }
        .boxed()
    }

    fn put<'a>(&'a self, key: &'a Key, blob: Bytes, ttl: Duration) -> BoxFuture<'a, Outcome<u64>> {
        self.watch(
            kind_of_write(key.space),
            self.inner.put(key, blob, ttl),
            |_| Result::Ok,
        )
        .boxed()
    }

    fn put_new<'a>(
        &'a self,
        key: &'a Key,
        blob: Bytes,
        ttl: Duration,
    ) -> BoxFuture<'a, Outcome<bool>> {
        self.watch(
            kind_of_write(key.space),
            self.inner.put_new(key, blob, ttl),
            |new| precedence(*new),
        )
        .boxed()
    }

    fn take<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Outcome<Option<Stored>>> {
        self.watch(Kind::Delete, self.inner.take(key), |found| {
            presence(found.is_some())
        })
        .boxed()
    }

    fn replace_if<'a>(
        &'a self,
        key: &'a Key,
        revision: u64,
        blob: Bytes,
        ttl: Duration,
    ) -> BoxFuture<'a, Outcome<Replaced>> {
        let judge = |replaced: &Replaced| match replaced {
            Replaced::Done(_) => Result::Ok,
            Replaced::Changed => Result::Refused,
            Replaced::Absent => Result::Absent,
        };
        self.watch(
            kind_of_write(key.space),
            self.inner.replace_if(key, revision, blob, ttl),
            judge,
        )
        .boxed()
    }

    fn remove_if<'a>(&'a self, key: &'a Key, revision: u64) -> BoxFuture<'a, Outcome<bool>> {
        self.watch(
            Kind::Delete,
            self.inner.remove_if(key, revision),
            |removed| precedence(*removed),
        )
        .boxed()
    }

    fn expire<'a>(&'a self, key: &'a Key, ttl: Duration) -> BoxFuture<'a, Outcome<bool>> {
        self.watch(Kind::Touch, self.inner.expire(key, ttl), |there| {
            presence(*there)
        })
        .boxed()
    }

    fn index_add<'a>(
        &'a self,
        index: &'a Key,
        member: &'a str,
        until: Timestamp,
    ) -> BoxFuture<'a, Outcome<()>> {
        self.watch(
            Kind::Index,
            self.inner.index_add(index, member, until),
            |()| Result::Ok,
        )
        .boxed()
    }

    fn index_list<'a>(
        &'a self,
        index: &'a Key,
        now: Timestamp,
    ) -> BoxFuture<'a, Outcome<Vec<String>>> {
        self.watch(Kind::Index, self.inner.index_list(index, now), |_| {
            Result::Ok
        })
        .boxed()
    }

    fn index_admit<'a>(
        &'a self,
        index: &'a Key,
        member: &'a str,
        until: Timestamp,
        limit: u32,
    ) -> BoxFuture<'a, Outcome<bool>> {
        self.watch(
            Kind::Index,
            self.inner.index_admit(index, member, until, limit),
            |room| precedence(*room),
        )
        .boxed()
    }

    fn index_remove<'a>(&'a self, index: &'a Key, member: &'a str) -> BoxFuture<'a, Outcome<()>> {
        self.watch(Kind::Index, self.inner.index_remove(index, member), |()| {
            Result::Ok
        })
        .boxed()
    }

    fn publish<'a>(&'a self, channel: &'a str, message: &'a str) -> BoxFuture<'a, Outcome<()>> {
        self.watch(Kind::Publish, self.inner.publish(channel, message), |()| {
            Result::Ok
        })
        .boxed()
    }

    fn subscribe<'a>(
        &'a self,
        channel: &'a str,
    ) -> BoxFuture<'a, Outcome<BoxStream<'static, Option<String>>>> {
        self.inner.subscribe(channel)
    }

    fn count(&self, space: Space) -> BoxFuture<'_, Outcome<Option<u64>>> {
        self.inner.count(space)
    }

    fn ping(&self) -> BoxFuture<'_, Outcome<()>> {
        async {
            let outcome = self.inner.ping().await;
            self.note_up(outcome.is_ok());
            outcome
        }
        .boxed()
    }

    fn renew(&self) {
        self.inner.renew();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Ambient;
    use crate::config::session::Sessions;
    use crate::store::memory::MemoryStore;

    #[tokio::test]
    async fn operations_are_counted_by_result() {
        let metrics = Metrics::new();
        let store = Metered::new(
            MemoryStore::new(&Sessions::default(), Ambient::system()),
            &metrics,
        );
        let key = Key::new(Space::Lease, "a");
        let second = Duration::from_secs(1);
        assert!(store.put_new(&key, Bytes::new(), second).await.unwrap());
        assert!(!store.put_new(&key, Bytes::new(), second).await.unwrap());
        assert_eq!(
            store.get(&Key::new(Space::Session, "b")).await.unwrap(),
            None
        );
        let text = metrics.render();
        for (operation, result) in [("lock", "ok"), ("lock", "refused"), ("get", "absent")] {
            let line = format!(
                "mcp_proxy_session_operations_total{{store=\"memory\",operation=\"{operation}\",result=\"{result}\"}} 1"
            );
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
        let there = Key::new(Space::Session, "c");
        store.put(&there, Bytes::new(), second).await.unwrap();
        let absent = Key::new(Space::Login, "d");
        let (first, other) = store.get_both(&there, &absent).await.unwrap();
        assert!(first.is_some() && other.is_none());
        let both = metrics.render();
        for (result, number) in [("ok", 1), ("absent", 2)] {
            let line = format!(
                "mcp_proxy_session_operations_total{{store=\"memory\",operation=\"get\",result=\"{result}\"}} {number}"
            );
            assert!(both.contains(&line), "{line} is not in\n{both}");
        }
        assert!(
            text.contains("mcp_proxy_session_store_up{store=\"memory\"} 1"),
            "{text}"
        );
    }
}
