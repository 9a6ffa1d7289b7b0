//! Which calls arrived, and when.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub(crate) struct Calls {
    known: BTreeMap<String, OperationCalls>,
    unknown: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct OperationCalls {
    /// In the order of arrival, so ascending.
    times: Vec<Instant>,
    by_key: HashMap<String, u64>,
}

impl Calls {
    pub(crate) fn record(&mut self, operation: &str, key_id: Option<String>) {
        if !self.known.contains_key(operation) {
            self.known.insert(operation.to_owned(), OperationCalls::default());
        }
        if let Some(calls) = self.known.get_mut(operation) {
            calls.times.push(now());
            if let Some(key_id) = key_id {
                increment(calls.by_key.entry(key_id).or_default());
            }
        }
    }

    pub(crate) fn record_unknown(&mut self, what: String) {
        increment(self.unknown.entry(what).or_default());
    }

    pub(crate) fn all(&self) -> BTreeMap<String, u64> {
        let known = self.known.iter().map(|(operation, calls)| (operation.clone(), count(calls.times.len())));
        known.chain(self.unknown()).collect()
    }

    pub(crate) fn unknown(&self) -> BTreeMap<String, u64> {
        self.unknown.clone()
    }

    pub(crate) fn by_key(&self, operation: &str) -> BTreeMap<String, u64> {
        let calls = self.known.get(operation);
        calls.into_iter().flat_map(|calls| &calls.by_key).map(|(key, calls)| (key.clone(), *calls)).collect()
    }

    pub(crate) fn peak_rate(&self, operation: &str) -> u32 {
        self.known.get(operation).map_or(0, |calls| busiest_second(&calls.times))
    }
}

/// How many of the ascending times lie within one second, at most.
fn busiest_second(times: &[Instant]) -> u32 {
    let mut window = VecDeque::new();
    let mut peak = 0;
    for time in times {
        window.push_back(*time);
        while window.front().is_some_and(|first| time.duration_since(*first) >= Duration::from_secs(1)) {
            window.pop_front();
        }
        peak = peak.max(window.len());
    }
    u32::try_from(peak).unwrap_or(u32::MAX)
}

fn increment(count: &mut u64) {
    *count = count.saturating_add(1);
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "call rates are measured in real time, also where a test stops tokio's")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_busiest_second_wherever_it_begins() {
        let start = now();
        let times = [0, 900, 1100, 1200, 1899, 1900, 5000].map(|millis| start + Duration::from_millis(millis));
        assert_eq!(busiest_second(&times), 4);
        assert_eq!(busiest_second(&[]), 0);
    }
}
