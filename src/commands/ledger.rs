//! `waypost ledger verify`: do the balances equal their postings, and kept sums what they are kept of?

use super::{
    data_dir::DataDir,
    exit::{Code, Failure},
    output::say,
    parts, process,
};
use crate::{config::Settings, ledger::verify::verify};

pub fn run_verify(settings: &Settings) -> Result<(), Failure> {
    process::runtime()?.block_on(async {
        let folder = DataDir::of_store(settings)?;
        let store = parts::existing_store(&folder, settings).await?;
        let snapshot = store.long_snapshot().await.map_err(parts::store_failed)?;
        let found = verify(&snapshot).await.map_err(parts::ledger_failed)?;
        for difference in &found.differences {
            say(&format!("DIFFERENCE  {difference}"))?;
        }
        say(&format!(
            "{} postings, {} balances, {} commission lines, {} payments, {} measures and {} customer counts add up with {} \
             differences",
            found.postings,
            found.balances,
            found.lines,
            found.payments,
            found.measures,
            found.customer_counts,
            found.differences.len()
        ))?;
        if found.differences.is_empty() {
            return Ok(());
        }
        let message = format!("the ledger has {} differences", found.differences.len());
        Err(Failure::new(Code::Difference, message))
    })
}
