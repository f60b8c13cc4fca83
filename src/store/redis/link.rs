//! One connection to Redis, whatever stands behind it.

use std::sync::Arc;

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::cluster_async::ClusterConnection;
use deadpool_redis::redis::{
    Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, ServerErrorKind, pipe,
};
use futures_util::future::try_join;
use tokio_util::task::AbortOnDropHandle;

/// A connection that any number of requests use at once; clones share it.
#[derive(Clone)]
pub(super) struct Link {
    wire: Wire,
    /// Links of an earlier epoch led to a server that is no primary any more.
    epoch: u64,
    /// Tells this connection from its successor in the same place.
    token: Arc<()>,
}

#[derive(Clone)]
enum Wire {
    /// One server. The driver ends with the last clone, and ends by itself when the server closes.
    Direct(MultiplexedConnection, Arc<AbortOnDropHandle<()>>),
    /// All nodes of a Cluster; it connects to each of them again by itself.
    Cluster(ClusterConnection),
}

impl Link {
    pub(super) fn direct(
        connection: MultiplexedConnection,
        driver: AbortOnDropHandle<()>,
        epoch: u64,
    ) -> Self {
        Self {
            wire: Wire::Direct(connection, Arc::new(driver)),
            epoch,
            token: Arc::new(()),
        }
    }

    pub(super) fn cluster(connection: ClusterConnection, epoch: u64) -> Self {
        Self {
            wire: Wire::Cluster(connection),
            epoch,
            token: Arc::new(()),
        }
    }

    /// Whether it is still worth sending on. Costs no round trip: the driver of a connection that the server
    /// closed has ended.
    pub(super) fn is_usable(&self, epoch: u64) -> bool {
        self.epoch == epoch
            && match &self.wire {
                Wire::Direct(_, driver) => !driver.is_finished(),
                Wire::Cluster(_) => true,
            }
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.token, &other.token)
    }

    pub(super) async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        match &mut self.wire {
            Wire::Direct(connection, _) => command.query_async(connection).await,
            Wire::Cluster(connection) => command.query_async(connection).await,
        }
    }

    /// Sends two commands in one round trip. To a Cluster they go by themselves, for their keys may be on two
    /// nodes.
    pub(super) async fn ask_both<T: FromRedisValue>(
        &mut self,
        [first, second]: &[Cmd; 2],
    ) -> RedisResult<[T; 2]> {
        let (first, second) = match &mut self.wire {
            Wire::Direct(connection, _) => {
                let mut both = pipe();
                both.add_command(first.clone()).add_command(second.clone());
                both.query_async(connection).await?
            }
            Wire::Cluster(connection) => {
                let mut other = connection.clone();
                try_join(
                    first.query_async(connection),
                    second.query_async(&mut other),
                )
                .await?
            }
        };
        Ok([first, second])
    }

    /// Whether a link that met this error must not be used again.
    pub(super) fn is_spoilt_by(&self, error: &RedisError) -> bool {
        match self.wire {
            Wire::Direct(..) => {
                error.is_unrecoverable_error()
                    || error.is_timeout()
                    || error.kind() == ErrorKind::Io
                    || is_demoted(error)
            }
            // One node that is away does not spoil the others; a client that has lost them all is made anew.
            Wire::Cluster(_) => error.kind() == ErrorKind::ClusterConnectionNotFound,
        }
    }
}

/// The server became a replica while we were connected.
pub(super) fn is_demoted(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
    )
}
