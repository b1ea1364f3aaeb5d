//! The budget of a redirect's own work (DESIGN section 13): at most 10 heap allocations.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a test stops at the unexpected, and prints")]

#[path = "../benches/support/redirect.rs"]
mod support;

use allocation_counter::measure;
use waypost::edge::redirect::redirect;

const BUDGET: u64 = 10;

#[test]
fn a_redirect_keeps_to_its_allocations() {
    let core = support::core(None);
    let mut texts = Vec::new();
    for (name, target) in support::TARGETS {
        for cookies in [false, true] {
            // The first of its kind fills the buffers and the cache of user agents.
            redirect(&core, &support::request(target, cookies), support::peer(), &mut texts);
            let parts = support::request(target, cookies);
            // Memory that batches hand on to each other.
            texts.clear();
            let mut kept = None;
            let counted = measure(|| kept = Some(redirect(&core, &parts, support::peer(), &mut texts)));
            let redirected = kept.expect("an answer");
            assert_eq!(redirected.response.status(), 302);
            assert!(redirected.click.is_some());
            println!("{name}, cookies {cookies}: {} allocations", counted.count_total);
            // A counter that does not count would let anything pass.
            assert!(counted.count_total > 0);
            assert!(counted.count_total <= BUDGET, "{name}: {}", counted.count_total);
        }
    }
}
