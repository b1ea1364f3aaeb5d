//! Metrics of `settlement`.
