//! A panic in a run is a mistake of the program. It ends as an error does: the manifest says that the run failed, and
//! why.

use crate::context::StageError;
use crate::model::faults;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Mutex;

/// Message and place of the first panic since last asked, whichever thread had it: those after it follow from it.
static FIRST: Mutex<Option<String>> = Mutex::new(None);

/// Remembers what panics say, beside what is done with them anyway.
pub fn remember() {
    let printing = take_hook();
    set_hook(Box::new(move |panic| {
        // A driver's refusals end the task on the device's own thread; `confirm` says them once, and in words.
        if panic.payload_as_str().is_some_and(|said| said.starts_with(faults::REFUSAL)) {
            return;
        }
        if let Ok(mut first) = FIRST.lock() {
            let message = panic.payload_as_str().unwrap_or("no message");
            let place = panic.location().map(|place| format!(" at {place}")).unwrap_or_default();
            first.get_or_insert_with(|| format!("{message:?}{place}"));
        }
        printing(panic);
    }));
}

/// What `run` returns, or its panic as an error.
pub fn caught<T>(run: impl FnOnce() -> Result<T, StageError>) -> Result<T, StageError> {
    // What was half-changed is not used again: a run that failed is read from disk by the next one.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
        // A device that fails takes down whoever waits for it, and that is no mistake of the program.
        faults::confirm()?;
        let said = payload.downcast_ref::<&str>().map(ToString::to_string).or_else(|| payload.downcast_ref().cloned());
        let first = FIRST.lock().ok().and_then(|mut first| first.take());
        Err(StageError::Panicked(first.or(said).unwrap_or_else(|| "a panic without a message".into())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_any_thread_is_an_error_that_says_where() {
        remember();
        let all: Vec<usize> = (0..40).collect();
        let error = caught(|| {
            crate::model::parallel::map_shards(&all, 4, |shard| match shard[0] {
                8 => panic!("index {} of 3", shard.len()),
                i => Ok::<_, StageError>(i),
            })
        });
        let error = error.unwrap_err();
        let message = error.to_string();
        assert!(message.contains("index 4 of 3") && message.contains("panics.rs:"), "{message}");
        assert_eq!(error.outcome().code(), 1);
        assert_eq!(caught(|| Ok(7)).unwrap(), 7);
    }
}
