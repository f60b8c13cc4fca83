//! Signals, reload, drain, and telling systemd.
