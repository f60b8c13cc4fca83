//! The composition root: configuration in, running proxy out. The only file that knows every module.
