//! Where a caller crashes: a call that changes something and is never answered.

use std::convert::Infallible;
use std::future;

use tokio::sync::watch;

/// On which side of the change a call is left without an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum When {
    /// The call is not applied.
    Before,
    /// The call is applied.
    After,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    mutations: u64,
    stop: Option<(u64, When)>,
    stopped: bool,
}

/// Counts the calls that change something and stops at one of them.
#[derive(Debug, Default)]
pub(crate) struct CrashPoint(watch::Sender<Progress>);

impl CrashPoint {
    /// Begins to count anew.
    pub(crate) fn set(&self, stop: Option<(u64, When)>) {
        self.0.send_replace(Progress { stop, ..Progress::default() });
    }

    pub(crate) fn mutations(&self) -> u64 {
        self.0.borrow().mutations
    }

    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut progress = self.0.subscribe();
        async move {
            if progress.wait_for(|progress| progress.stopped).await.is_err() {
                // The fleet is gone: nothing will stop there any more.
                pend().await;
            }
        }
    }

    /// Counts a call. The caller that was stopped is dead: what else is on its way from it is not applied either.
    pub(crate) fn arrive(&self) -> Option<When> {
        let mut stops = None;
        self.0.send_modify(|progress| {
            progress.mutations = progress.mutations.saturating_add(1);
            stops = match progress.stop {
                Some((place, when)) if progress.mutations == place => Some(when),
                Some((place, _)) if progress.mutations > place => Some(When::Before),
                _ => None,
            };
        });
        stops
    }

    /// Tells that the call has arrived, and does not answer it.
    pub(crate) async fn leave_unanswered(&self) -> Infallible {
        self.0.send_modify(|progress| progress.stopped = true);
        pend().await
    }
}

async fn pend() -> Infallible {
    future::pending().await
}
