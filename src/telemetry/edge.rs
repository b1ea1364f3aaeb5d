//! Metrics of `edge`.
