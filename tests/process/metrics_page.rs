//! `docs/metrics.md`: every series that a process exports, with its labels and what it means.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use crate::docs_page;

/// What is known of one name.
#[derive(Default)]
struct Series {
    kind: String,
    help: String,
    /// The values that each label has.
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// Compares the page with the text of `/metrics`; `UPDATE_DOCS=1` writes it anew.
pub fn assert_up_to_date(exported: &str) {
    let by = "cargo test --test process every_series";
    docs_page::assert_up_to_date("metrics.md", &page(&series_in(exported)), by);
}

fn series_in(exported: &str) -> BTreeMap<String, Series> {
    let mut found: BTreeMap<String, Series> = BTreeMap::new();
    for line in exported.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            help.clone_into(&mut found.entry(name.to_owned()).or_default().help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            kind.clone_into(&mut found.entry(name.to_owned()).or_default().kind);
        } else if let Some((name, labels)) = line.split_once('{') {
            let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let name = of_histogram.filter(|name| found.contains_key(*name)).unwrap_or(name);
            let series = found.entry(name.to_owned()).or_default();
            let (labels, _) = labels.rsplit_once('}').unwrap();
            // `a="b",c="d"`: values are words of ours, without quotes or commas.
            for label in labels.split(',').filter(|label| !label.starts_with("le=")) {
                let (label, value) = label.split_once('=').unwrap();
                series.labels.entry(label.to_owned()).or_default().insert(value.trim_matches('"').to_owned());
            }
        }
    }
    found.retain(|name, _| name.starts_with("waypost_"));
    found
}

fn page(series: &BTreeMap<String, Series>) -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         <!-- Written from what is exported by `UPDATE_DOCS=1 cargo test --test process every_series`. -->\n\n\
         Each process exports the series of its parts at `/metrics` of `admin.listen`, from its start and beginning at 0,\n\
         beside the usual `process_…`. Labels have no other values than these. Alerts and what to do about them are in\n\
         [operations.md](operations.md), the dashboard is `k8s/dashboards/waypost.json`.\n\n\
         | series | kind | labels | |\n|---|---|---|---|\n",
    );
    for (name, Series { kind, help, labels }) in series {
        let mut told = Vec::new();
        for (label, values) in labels {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            // What a build is differs from build to build.
            let values =
                if name.ends_with("_info") { String::new() } else { format!(": {}", values.join(", ")) };
            told.push(format!("`{label}`{values}"));
        }
        writeln!(page, "| `{name}` | {kind} | {} | {help} |", told.join("; ")).unwrap();
    }
    page
}
