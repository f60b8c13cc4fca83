//! The flight of one request.
