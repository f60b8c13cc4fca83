//! What MCP traffic asks for, as far as this proxy has to know.

pub mod edge;
mod message;

pub use self::message::peek;

/// What one look at a JSON-RPC body found. Nothing here is trusted for more than labels and error shape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// The request's `id` as its original JSON text (number or string), to be echoed in our own errors.
    pub id: Option<Box<str>>,
    /// The method.
    pub method: Option<Box<str>>,
    /// Tool, prompt or resource name of `tools/call`, `prompts/get`, `resources/read`.
    pub name: Option<Box<str>>,
}
