//! Header names that we own, hop-by-hop headers, and what may be believed from whom.
