//! Until when each part of a run has to be done, so that its answer is in time.

use std::time::Duration;

use tokio::time::Instant;

/// Part of the time that is kept for what follows the evaluation: a third each for the names of keys, for what the ledger
/// has to know before the alert, and for the alert and what the ledger has to know of it.
const SHARE_FOR_THE_END: u32 = 5;

/// Most time that is kept for that.
const MAX_FOR_THE_END: Duration = Duration::from_mins(2);

/// Part of the time that a run waits at most for another one to end.
const SHARE_FOR_WAITING: u32 = 2;

/// The instants by which the parts of a run are done, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// When the run began.
    pub start: Instant,
    /// It waits no longer for another run to end.
    pub leased: Instant,
    /// Keys are judged.
    pub evaluated: Instant,
    /// Findings have the aliases of their keys.
    pub named: Instant,
    /// The ledger knows what will be told.
    pub recorded: Instant,
    /// The team is told, and the ledger knows.
    pub notified: Instant,
}

impl Deadlines {
    /// Divides the time that is left from `start` on.
    pub fn new(start: Instant, left: Duration) -> Self {
        let a_third = (left / SHARE_FOR_THE_END).min(MAX_FOR_THE_END) / 3;
        let notified = start + left;
        Self {
            start,
            leased: start + left / SHARE_FOR_WAITING,
            evaluated: notified - a_third * 3,
            named: notified - a_third * 2,
            recorded: notified - a_third,
            notified,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds from the start.
    fn seconds(left: u64) -> [u64; 5] {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let start = Instant::now();
        let Deadlines { leased, evaluated, named, recorded, notified, .. } =
            Deadlines::new(start, Duration::from_secs(left));
        [leased, evaluated, named, recorded, notified].map(|at| (at - start).as_secs())
    }

    #[test]
    fn a_fifth_of_the_time_is_kept_for_the_end_and_two_minutes_at_most() {
        for (left, expected) in [
            (0, [0, 0, 0, 0, 0]),
            (60, [30, 48, 52, 56, 60]),
            (300, [150, 240, 260, 280, 300]),
            (600, [300, 480, 520, 560, 600]),
            (900, [450, 780, 820, 860, 900]),
            (3_600, [1_800, 3_480, 3_520, 3_560, 3_600]),
        ] {
            assert_eq!(seconds(left), expected, "{left}");
        }
    }
}
