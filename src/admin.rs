//! What operators ask over HTTP: health, readiness, metrics.
