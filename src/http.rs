//! Our request, response and body types, and the things of HTTP that several modules need.

pub mod body;
pub mod cookie;
pub(crate) mod document;
pub mod headers;
pub mod inbound;
pub mod navigation;
pub mod pages;
pub mod respond;

pub use self::body::{Body, RequestBody};
pub use self::inbound::Inbound;

/// A request as it comes from a listener.
pub type Request = http::Request<RequestBody>;

/// An answer on its way to the client.
pub type Response = http::Response<Body>;
