//! Reading cookies, and building `Set-Cookie` with our fixed attributes.
