//! Metrics of `api`.
