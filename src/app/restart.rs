//! What of a configuration only a restart changes.

use crate::config::Config;
use crate::config::session::{Sessions as SessionConfig, StoreKind};

/// Keys that only a restart changes, of those that differ.
pub(super) fn restart_only(before: &Config, after: &Config) -> Vec<&'static str> {
    let mut keys = Vec::new();
    if store_of(&before.sessions) != store_of(&after.sessions) {
        keys.push("sessions.store, sessions.redis, sessions.max_sessions, sessions.max_logins");
    }
    if before.metrics.enabled != after.metrics.enabled
        || before.metrics.address != after.metrics.address
    {
        keys.push("metrics.enabled, metrics.address");
    }
    if before.admin != after.admin {
        keys.push("admin.address");
    }
    if before.tracing != after.tracing {
        keys.push("tracing");
    }
    if before.logging.format != after.logging.format {
        keys.push("logging.format (of the process's log; access records change at once)");
    }
    if before.audit != after.audit {
        keys.push("audit");
    }
    keys
}

/// The new session settings over the store that is open.
pub(super) fn with_store_of(before: &Config, after: &Config) -> SessionConfig {
    SessionConfig {
        store: before.sessions.store,
        redis: before.sessions.redis.clone(),
        max_sessions: before.sessions.max_sessions,
        max_logins: before.sessions.max_logins,
        ..after.sessions.clone()
    }
}

fn store_of(
    sessions: &SessionConfig,
) -> (StoreKind, &Option<crate::config::session::Redis>, u32, u32) {
    (
        sessions.store,
        &sessions.redis,
        sessions.max_sessions,
        sessions.max_logins,
    )
}
