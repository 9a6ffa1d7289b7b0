//! What came of one check of one target, as the daily check keeps it for the reporter.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::report::{Counts, Report};
use crate::text::printable;

/// Error type of a check that could not reach its target.
pub const TARGET_NOT_REACHABLE: &str = "TargetNotReachable";

/// One check of one target.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Account of the target.
    pub account_id: String,
    /// Region of the target.
    pub region: String,
    /// Name of the function.
    pub function: String,
    /// What it did, or why it did not.
    pub result: Result<Done, Failed>,
}

/// A check that answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Did it see every key that it should?
    pub complete: bool,
    /// Keys that were evaluated.
    pub keys_listed: u64,
    /// Keys that the deadline kept it from.
    pub keys_not_reached: u64,
    /// Counts by control.
    pub controls: BTreeMap<String, Counts>,
    /// Evaluations that say nothing by now, in cases that pass by themselves.
    #[serde(default)]
    pub passing: u64,
    /// Records of its part of the ledger that wait to be told.
    #[serde(default)]
    pub pending: u64,
    /// KMS requests sent, retries included.
    #[serde(default)]
    pub kms_calls: u64,
    /// KMS requests throttled.
    #[serde(default)]
    pub kms_throttles: u64,
}

/// A check that failed as a whole, after its retries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Type of the error.
    pub error: String,
    /// The same in words.
    pub cause: String,
}

impl Done {
    /// What a run did that left so much to tell.
    pub fn of(report: &Report, pending: usize, kms_calls: u64, kms_throttles: u64) -> Self {
        Self {
            complete: report.complete,
            keys_listed: report.keys_listed,
            keys_not_reached: report.keys_not_reached,
            controls: report.controls.iter().map(|(control, counts)| ((*control).to_owned(), *counts)).collect(),
            passing: report.passing,
            pending: pending as u64,
            kms_calls,
            kms_throttles,
        }
    }
}

/// The form in which Lambda, and with it Step Functions, hands on a function's error.
#[derive(Deserialize)]
struct LambdaError {
    #[serde(rename = "errorType")]
    kind: Option<String>,
    #[serde(rename = "errorMessage")]
    message: Option<String>,
}

impl Failed {
    /// Reads what a state machine caught: the error's name, and a cause that is the function's own error as JSON, or words.
    pub fn caught(error: &str, cause: &str) -> Self {
        let by_function = serde_json::from_str::<LambdaError>(cause).ok();
        let (kind, message) = by_function.map_or((None, None), |it| (it.kind, it.message));
        Self {
            error: printable(&kind.filter(|_| error.is_empty()).unwrap_or_else(|| error.to_owned())),
            cause: printable(&message.unwrap_or_else(|| cause.to_owned())),
        }
    }

    /// Was it the target that could not be reached, and not the check that failed?
    pub fn is_of_target(&self) -> bool {
        self.error == TARGET_NOT_REACHABLE
    }

    /// Why the target could not be reached: the code that the cause begins with.
    pub fn reason(&self) -> &str {
        let (code, _) = self.cause.split_once(':').unwrap_or((&self.cause, ""));
        let is_code = !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if is_code { code } else { "not_reachable" }
    }

    /// What the cause says beside its code.
    pub fn words(&self) -> &str {
        match self.cause.split_once(':') {
            Some((code, words)) if code == self.reason() => words.trim(),
            _ => &self.cause,
        }
    }
}

/// What the daily check covered.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Coverage {
    /// Targets that it was to look at.
    pub targets_planned: usize,
    /// Targets that at least one check looked at.
    pub targets_reached: usize,
    /// Checks that failed for another reason than their target being out of reach.
    pub failed_checks: usize,
    /// Share of the evaluations that say something, in percent. A check without an answer counts as much as any other.
    pub percent: f64,
}

impl Coverage {
    /// What these checks covered together.
    pub fn of(outcomes: &[Outcome]) -> Self {
        let mut targets: BTreeMap<(&str, &str), bool> = BTreeMap::new();
        let (mut evaluations, mut unknown, mut not_reached, mut answered, mut failed_checks) = (0, 0, 0, 0_u64, 0);
        for Outcome { account_id, region, result, .. } in outcomes {
            let is_reached = targets.entry((account_id, region)).or_default();
            match result {
                Ok(done) => {
                    *is_reached = true;
                    answered += 1;
                    let total: u64 = done.controls.values().map(Counts::total).sum();
                    let not_known: u64 = done.controls.values().map(|counts| counts.insufficient_data).sum();
                    evaluations += total;
                    unknown += not_known.saturating_sub(done.passing);
                    not_reached += done.keys_not_reached;
                }
                Err(failed) => failed_checks += usize::from(!failed.is_of_target()),
            }
        }
        let all = evaluations + not_reached;
        #[expect(clippy::cast_precision_loss, reason = "counts of evaluations are far below 2^52")]
        let share = |part: u64, whole: u64| if whole == 0 { 1.0 } else { part as f64 / whole as f64 };
        Self {
            targets_planned: targets.len(),
            targets_reached: targets.values().filter(|reached| **reached).count(),
            failed_checks,
            percent: 100.0 * share(evaluations.saturating_sub(unknown), all) * share(answered, outcomes.len() as u64),
        }
    }
}

impl Outcome {
    /// Reads an item: its key says what was checked, `error` and `cause` why it was not.
    pub fn read(sort_key: &str, attributes: &serde_json::Map<String, Value>) -> Option<Self> {
        let mut parts = sort_key.splitn(3, '#');
        let (account_id, region, function) = (parts.next()?, parts.next()?, parts.next()?);
        let text = |name: &str| attributes.get(name).and_then(Value::as_str);
        let result = match text("error") {
            Some(error) => Err(Failed::caught(error, text("cause").unwrap_or_default())),
            None => Ok(serde_json::from_value(Value::Object(attributes.clone())).ok()?),
        };
        Some(Self {
            account_id: account_id.to_owned(),
            region: region.to_owned(),
            function: function.to_owned(),
            result,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn outcome(place: &str, attributes: Value) -> Outcome {
        let Value::Object(attributes) = attributes else { panic!("{attributes}") };
        Outcome::read(place, &attributes).unwrap()
    }

    fn done(known: u64, unknown: u64, not_reached: u64) -> Value {
        let counts = json!({"COMPLIANT": known, "NON_COMPLIANT": 0, "NOT_APPLICABLE": 0, "INSUFFICIENT_DATA": unknown});
        json!({"complete": true, "keys_listed": 1, "keys_not_reached": not_reached, "controls": {"c": counts}})
    }

    #[test]
    fn causes_are_read_as_lambda_writes_them_and_as_words() {
        let lambda = r#"{"errorType":"TargetNotReachable","errorMessage":"role_missing: no such role","trace":[]}"#;
        for (error, cause, is_of_target, reason, words) in [
            (TARGET_NOT_REACHABLE, lambda, true, "role_missing", "no such role"),
            (TARGET_NOT_REACHABLE, "role_denied: no: never", true, "role_denied", "no: never"),
            (TARGET_NOT_REACHABLE, "It is late: try again", true, "not_reachable", "It is late: try again"),
            (TARGET_NOT_REACHABLE, "", true, "not_reachable", ""),
            ("", lambda, true, "role_missing", "no such role"),
            ("Sandbox.Timedout", r#"{"errorMessage":"Task timed out"}"#, false, "not_reachable", "Task timed out"),
            ("States.Timeout", "", false, "not_reachable", ""),
        ] {
            let failed = Failed::caught(error, cause);
            let read = (failed.is_of_target(), failed.reason(), failed.words());
            assert_eq!(read, (is_of_target, reason, words), "{error} {cause}");
        }
    }

    #[test]
    fn coverage_falls_with_everything_that_is_not_known() {
        let missing = || json!({"error": TARGET_NOT_REACHABLE, "cause": "role_missing: x"});
        let failed = || json!({"error": "ListKeysFailed", "cause": "x"});
        for (outcomes, planned, reached, failed_checks, percent) in [
            (vec![], 0, 0, 0, 100.0),
            (vec![("1#r#f", done(0, 0, 0))], 1, 1, 0, 100.0),
            (vec![("1#r#f", done(4, 0, 0)), ("1#r#g", done(4, 0, 0))], 1, 1, 0, 100.0),
            (vec![("1#r#f", done(3, 1, 0)), ("2#r#f", done(4, 0, 0))], 2, 2, 0, 87.5),
            (vec![("1#r#f", done(3, 0, 1))], 1, 1, 0, 75.0),
            (vec![("1#r#f", done(4, 0, 0)), ("2#r#f", missing())], 2, 1, 0, 50.0),
            (vec![("1#r#f", done(4, 0, 0)), ("1#r#g", failed())], 1, 1, 1, 50.0),
            (vec![("1#r#f", missing()), ("1#s#f", failed())], 2, 0, 1, 0.0),
        ] {
            let outcomes: Vec<_> = outcomes.into_iter().map(|(place, attributes)| outcome(place, attributes)).collect();
            let expected = Coverage { targets_planned: planned, targets_reached: reached, failed_checks, percent };
            assert_eq!(Coverage::of(&outcomes), expected, "{outcomes:?}");
        }
    }

    #[test]
    fn what_is_no_outcome_is_none() {
        for (sort_key, attributes) in [("1#r", done(1, 0, 0)), ("1#r#f", json!({"complete": "yes"}))] {
            let Value::Object(attributes) = attributes else { panic!("{attributes}") };
            assert_eq!(Outcome::read(sort_key, &attributes), None);
        }
    }
}
