//! The process's log: formats and levels.
