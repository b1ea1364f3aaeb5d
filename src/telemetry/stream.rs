//! Metrics of `stream`.
