mod endpoints;
mod harness;
mod headers;
mod limits;
mod protocols;
mod retries;
mod streams;
mod websockets;
