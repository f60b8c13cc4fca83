//! The process: runtime, log, signals, and the proxy between them.

use std::sync::Arc;

use super::{Running, StartError};
use crate::audit::{Event, Kind, Outcome};
use crate::clock::Ambient;
use crate::config::{Loaded, Sources, load};
use crate::lifecycle::{self, Notifier, Signals};
use crate::telemetry::log;
use crate::telemetry::metrics::Name;

/// Serves until a signal ends the process in order. SIGHUP loads `sources` again.
///
/// # Errors
/// What kept the proxy from starting.
pub fn serve(loaded: Loaded, sources: Sources) -> Result<(), StartError> {
    // A second installation means that somebody embeds us and chose a provider before; that is theirs to decide.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| StartError::Failed(format!("the runtime cannot start: {error}")))?;
    runtime.block_on(run(loaded, sources))
}

async fn run(loaded: Loaded, sources: Sources) -> Result<(), StartError> {
    let log =
        log::init(&loaded.config.logging).map_err(|error| StartError::Config(error.to_string()))?;
    let mut signals = Signals::take()
        .map_err(|error| StartError::Failed(format!("signals cannot be handled: {error}")))?;
    announce(&loaded);
    let start = Box::pin(Running::start_with(
        loaded,
        Ambient::system(),
        Some(log),
        std::io::stdout(),
    ));
    let running = tokio::select! {
        started = start => started?,
        () = lifecycle::asked_to_end(&mut signals) => return Ok(()),
    };
    let lasting = Arc::clone(&running.lasting);
    let notifier = Notifier::default();
    tracing::info!(
        addresses = ?running.addresses(),
        metrics = running.metrics_address().map(tracing::field::display),
        public_url = %running.built.lock().await.public_url,
        "listening"
    );
    notifier.ready();
    notifier.status(&format!(
        "serving {} routes on {}",
        running.config().routes.len(),
        running.addresses().join(", ")
    ));
    {
        let (notifier, end) = (notifier.clone(), lasting.end.clone());
        lasting
            .tracker
            .spawn(async move { notifier.feed_watchdog(end).await });
    }
    let announced = {
        let (drain, health, metrics, audit) = (
            lasting.drain.clone(),
            Arc::clone(&lasting.health),
            Arc::clone(&lasting.metrics),
            lasting.audit.clone(),
        );
        async move {
            drain.announced.cancelled().await;
            health.set_draining();
            audit.note(Event::ok(Kind::Draining));
            metrics.gauge(Name::Draining, &[]).set(1.0);
            std::future::pending::<()>().await;
        }
    };
    let follow = lifecycle::follow(
        signals,
        &lasting.drain,
        &notifier,
        || running.config().shutdown.clone(),
        async || reload(&running, &sources).await,
    );
    tokio::select! {
        () = follow => {}
        () = running.gone() => {}
        () = announced => {}
    }
    running.finish().await;
    tracing::info!("ended");
    Ok(())
}

async fn reload(running: &Running, sources: &Sources) {
    let metrics = &running.lasting.metrics;
    let count = |result| {
        metrics
            .counter(Name::Reloads, &[("trigger", "signal"), ("result", result)])
            .increment(1);
    };
    let sources = sources.clone();
    let loaded = tokio::task::spawn_blocking(move || load(&sources)).await;
    match loaded {
        Ok(Ok(loaded)) => {
            for warning in &loaded.warnings {
                tracing::warn!("{warning}");
            }
            match Box::pin(running.reload(loaded)).await {
                Ok(kept) => {
                    count("ok");
                    for keys in kept {
                        tracing::warn!(keys, "these keys changed, and hold only after a restart");
                    }
                    tracing::info!("the configuration was loaded again and is in force");
                }
                Err(error) => {
                    count("error");
                    tracing::error!(%error, "the new configuration cannot be used; the old one stays in force");
                }
            }
        }
        Ok(Err(problems)) => {
            count("error");
            super::loaded_now(&running.lasting, false);
            running.lasting.audit.note_with(|_| {
                Event::new(Kind::Reloaded, Outcome::Error)
                    .because("wrong")
                    .detail(&problems.to_string())
            });
            for problem in problems.all() {
                tracing::error!("{problem}");
            }
            tracing::error!(
                problems = problems.all().len(),
                "the new configuration is wrong; the old one stays in force"
            );
        }
        Err(error) => {
            count("error");
            tracing::error!(%error, "the configuration could not be read; the old one stays in force");
        }
    }
}

fn announce(loaded: &Loaded) {
    let files: Vec<String> = loaded
        .files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        files = ?files,
        "{}",
        if files.is_empty() { "starting from the environment alone" } else { "starting" }
    );
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(warning) = loaded.config.bypass_warning() {
        tracing::warn!("{warning}");
    }
}
