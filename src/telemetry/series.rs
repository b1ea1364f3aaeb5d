//! Registers a series: its help text, and the series itself at 0.
//!
//! Names and labels are `&'static str` on purpose: a label that comes from a request does not fit in.

use metrics::{Counter, Gauge, Histogram, SharedString, Unit};

/// One label with its value, both from a closed set.
pub type Label = (&'static str, &'static str);

/// A counter without labels; its name ends in `_total`.
pub fn counter(name: &'static str, help: &'static str) -> Counter {
    counter_with(name, help, &[])
}

/// One counter of a family; call it for each value of its labels.
pub fn counter_with(name: &'static str, help: &'static str, labels: &[Label]) -> Counter {
    metrics::describe_counter!(name, Unit::Count, SharedString::const_str(help));
    metrics::counter!(name, labels)
}

/// A gauge without labels, in the base unit that its name says.
pub fn gauge(name: &'static str, help: &'static str) -> Gauge {
    gauge_with(name, help, &[])
}

/// One gauge of a family.
pub fn gauge_with(name: &'static str, help: &'static str, labels: &[Label]) -> Gauge {
    metrics::describe_gauge!(name, SharedString::const_str(help));
    metrics::gauge!(name, labels)
}

/// A histogram without labels; the end of its name (`_seconds`, `_bytes`, `_events`) chooses the buckets.
pub fn histogram(name: &'static str, help: &'static str) -> Histogram {
    histogram_with(name, help, &[])
}

/// One histogram of a family.
pub fn histogram_with(name: &'static str, help: &'static str, labels: &[Label]) -> Histogram {
    metrics::describe_histogram!(name, SharedString::const_str(help));
    metrics::histogram!(name, labels)
}
