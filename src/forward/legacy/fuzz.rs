//! The first event of a stream, as fuzzing gives it.

use std::sync::Arc;

use super::{Facts, Rewriter, Rewritten};
use crate::clock::Ambient;
use crate::keys::{KeyRing, Purpose};
use crate::upstream::EndpointTag;

/// Passes a stream through a rewriter in pieces of `piece` bytes; tells whether its first event was refused.
pub(crate) fn is_refused(stream: &[u8], piece: usize) -> bool {
    let keys = KeyRing::ephemeral(Ambient::system());
    let mut rewriter = Rewriter {
        facts: Arc::new(Facts {
            name: "/x/*".to_owned(),
            prefix: "/x".to_owned(),
            subtree: true,
        }),
        sealer: keys.sealer(Purpose::Endpoint, None),
        subject: None,
        stream: "http://10.0.0.1:3000/base/sse".to_owned(),
        also: [
            "http://inner.example".into(),
            "https://mcp.example.com".into(),
        ],
        base: "/base".to_owned(),
        endpoint: EndpointTag::of("http://10.0.0.1:3000"),
        sticks: false,
        held: Vec::new(),
    };
    for piece in stream.chunks(piece.max(1)) {
        match rewriter.push(piece) {
            Rewritten::Held | Rewritten::Released(_) => {}
            Rewritten::Done(_) => return false,
            Rewritten::Refused(_) => return true,
        }
    }
    let _ = rewriter.into_rest();
    false
}
