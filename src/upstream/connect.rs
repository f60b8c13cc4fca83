//! Connecting: DNS, TCP, unix sockets and TLS as a client.
