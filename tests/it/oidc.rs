//! The client of the identity provider, driven as a browser would, against the provider on loopback.

mod backchannel;
mod discovery;
mod login;
mod logout;
mod profiles;
mod refresh;
mod secrets;
mod several;
mod world;
