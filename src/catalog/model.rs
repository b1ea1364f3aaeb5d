//! Deliveries for tests, and what must come of them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::domain::ids::{AccountId, AffiliateId, LinkId, ProgramId};

use super::LinkRecord;

#[derive(Clone, Debug)]
pub(super) struct LinkStep {
    pub(super) version: i64,
    pub(super) link: LinkRecord,
}

/// Histories of a few links that fight over a few codes in two accounts.
pub(super) fn link_steps() -> impl Strategy<Value = Vec<LinkStep>> {
    let step = (1..5_i64, 1..3_i64, "[ab]{1}", any::<bool>());
    proptest::collection::vec(step, 1..24).prop_map(|steps| {
        let versioned = (1..).zip(steps);
        let step = |(version, (id, account, code, deleted))| LinkStep {
            version,
            link: LinkRecord {
                id: LinkId(id),
                account: AccountId(account),
                code,
                program: ProgramId(version),
                affiliate: AffiliateId(1),
                destination: None,
                source_id: None,
                asset_id: None,
                expires_at: None,
                deleted,
            },
        };
        versioned.map(step).collect()
    })
}

/// In any order, some delivered twice.
pub(super) fn shuffled<T: Clone + std::fmt::Debug + 'static>(steps: Vec<T>) -> impl Strategy<Value = Vec<T>> {
    let count = steps.len();
    proptest::collection::vec(0..count, 0..4)
        .prop_map(move |again| {
            let repeated = again.into_iter().map(|n| steps[n].clone());
            steps.iter().cloned().chain(repeated).collect::<Vec<T>>()
        })
        .prop_shuffle()
}

/// The newest version of each link.
pub(super) fn newest(steps: &[LinkStep]) -> BTreeMap<LinkId, &LinkRecord> {
    let mut newest: BTreeMap<LinkId, &LinkStep> = BTreeMap::new();
    for step in steps {
        let known = newest.entry(step.link.id).or_insert(step);
        if step.version > known.version {
            *known = step;
        }
    }
    newest.into_iter().map(|(id, step)| (id, &step.link)).collect()
}
