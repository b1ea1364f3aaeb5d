//! Defects of this program: a panic in the work for one event is an error of that work, and no end of settlement.

use std::{any::Any, panic::AssertUnwindSafe};

use futures_util::FutureExt;

use super::batch::BatchError;

/// Does work whose panic is an error. Its transaction is dropped with it, and has changed nothing.
pub(super) async fn contained<T, E>(work: impl Future<Output = Result<T, E>>) -> Result<T, BatchError>
where
    BatchError: From<E>,
{
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(done) => Ok(done?),
        Err(panic) => Err(BatchError::Defect(text_of(&*panic))),
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref().cloned()).unwrap_or_else(|| "it panicked".to_owned())
}

#[cfg(test)]
mod tests {
    use crate::ledger::LedgerError;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_with_its_text() {
        let one = [1_u64];
        let place = std::hint::black_box(1);
        let done: Result<u64, _> = contained(async { Ok::<_, LedgerError>(one[place]) }).await;
        let error = done.unwrap_err();
        assert!(error.to_string().contains("index out of bounds"), "{error}");
        assert!(!error.is_transient() && error.blames_the_event().is_none());
        let plain: Result<(), _> = contained(async { panic!("plain") as Result<(), LedgerError> }).await;
        assert_eq!(plain.unwrap_err().to_string(), "a defect of this program: plain");
        assert_eq!(contained(async { Ok::<_, LedgerError>(1) }).await.unwrap(), 1);
    }
}
