//! Metrics of `visitor`.
