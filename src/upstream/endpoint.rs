//! One of the addresses under which a backend runs, named without saying it.

/// Names an endpoint of a backend: a digest of its address, the same on every replica and after every restart, wherever
/// it stands in the configuration. It is only ever compared with those that are configured, never dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EndpointTag([u8; 8]);

impl EndpointTag {
    /// Of an address as the configuration writes it.
    pub(crate) fn of(address: &str) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, address.as_bytes());
        let mut tag = [0; 8];
        tag.copy_from_slice(&digest.as_ref()[..8]);
        Self(tag)
    }

    /// As it stands in a sealed session id.
    pub(crate) fn to_bytes(self) -> [u8; 8] {
        self.0
    }

    /// From a sealed session id.
    pub(crate) fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }
}

/// Which endpoint a request may go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Pick {
    /// Whichever is best.
    #[default]
    Any,
    /// This one only: it holds the session.
    Only(EndpointTag),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_tell_addresses_apart_and_survive_being_written() {
        let one = EndpointTag::of("http://10.0.0.1:3001/mcp");
        assert_ne!(one, EndpointTag::of("http://10.0.0.2:3001/mcp"));
        assert_eq!(EndpointTag::from_bytes(one.to_bytes()), one);
    }
}
