//! The access record: one line for each request, written when its answer has ended.
