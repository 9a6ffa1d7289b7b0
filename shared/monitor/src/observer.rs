//! Following an evaluation while it goes on, for people who wait for it, and ending it early.

use std::future;
use std::time::Duration;

use domain::verdict::Verdict;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use outputs::response;

/// Somebody who follows an evaluation. By default nothing is followed and nothing ended.
pub trait Observer {
    /// The keys are known: how many.
    fn listed(&self, _keys: usize) {}

    /// One more key is judged, by these verdicts.
    fn evaluated(&self, _verdicts: &mut dyn Iterator<Item = &Verdict>) {}

    /// All keys are judged. So many calls are left that come last.
    fn asks_last(&self, _calls: usize) {}

    /// One more of the calls that come last has its answer.
    fn asked_last(&self) {}

    /// How long the calls that come last may take together, within the deadlines; `None` = as long as those allow.
    fn time_for_last_calls(&self) -> Option<Duration> {
        None
    }

    /// Most bytes, as JSON, of the evaluations in one report.
    fn room_for_evaluations(&self) -> usize {
        response::MAX_BYTES
    }

    /// Resolves when the evaluation is to end with what it has.
    fn stopped(&self) -> LocalBoxFuture<'_, ()> {
        future::pending().boxed_local()
    }
}

/// Nobody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unobserved;

impl Observer for Unobserved {}
