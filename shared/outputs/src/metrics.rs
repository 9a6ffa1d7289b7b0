//! Metrics as log lines in CloudWatch's Embedded Metric Format.

use domain::report::Report;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// What makes lines of one run alike.
#[derive(Clone, Copy, Debug)]
pub struct Emission<'a> {
    /// Namespace of the metrics.
    pub namespace: &'a str,
    /// The least severe level that is logged. Lambda drops lines without one when its application log level is above INFO;
    /// a line that carries the very level that is kept is never dropped.
    pub level: &'a str,
    /// Instant that the metrics are of.
    pub at: Timestamp,
}

/// What set a run off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A schedule, or somebody who wants what the schedule does.
    Daily,
    /// The daily check: the reporter says the rest of all its runs together.
    DailyCheck,
    /// Events about keys.
    KeyEvents,
    /// Somebody who named keys.
    NamedKeys,
}

/// What a run measured beside its report.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// KMS requests sent, retries included.
    pub kms_calls: u64,
    /// KMS requests throttled.
    pub kms_throttles: u64,
    /// Alerts that the topic took.
    pub messages_published: usize,
    /// Updates that wait for somebody to confirm a subscription.
    pub held_back: usize,
    /// How long the run took, in milliseconds.
    pub run_duration_ms: u64,
}

/// What the reporter measured of one execution of the daily check.
#[derive(Clone, Copy, Debug)]
pub struct DailyCheckMeasured {
    /// Share of the evaluations that say something, in percent.
    pub coverage_percent: f64,
    /// Targets that the execution was to look at.
    pub targets_planned: usize,
    /// Targets that it looked at.
    pub targets_reached: usize,
    /// Checks that failed after their retries.
    pub failed_checks: usize,
    /// Digests that the topic took.
    pub messages_published: usize,
    /// Updates that wait for somebody to confirm a subscription.
    pub held_back: usize,
    /// How long the reporter took, in milliseconds.
    pub run_duration_ms: u64,
}

/// The values of one metric that a check measured itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// Name of the metric.
    pub name: &'static str,
    /// Its unit, in CloudWatch's words.
    pub unit: &'static str,
    /// The values.
    pub values: Vec<f64>,
}

/// Most values that one line may hold for a metric.
const MAX_VALUES: usize = 100;

impl Emission<'_> {
    /// The metric lines of a run. Of a daily one: for the function, for what its check measured, for each control. Of any
    /// other one, since it says nothing of all keys: what it took, apart from the daily runs.
    pub fn lines(&self, report: &Report, measured: Measured, samples: &[Samples], trigger: Trigger) -> Vec<String> {
        let Measured { kms_calls, kms_throttles, messages_published, held_back, run_duration_ms } = measured;
        let function = ("Function", report.function);
        let effort = [
            ("AlertsPublished", "Count", json!(messages_published)),
            ("KmsCalls", "Count", json!(kms_calls)),
            ("KmsThrottles", "Count", json!(kms_throttles)),
            ("RunDuration", "Milliseconds", json!(run_duration_ms)),
        ];
        let is_told_later = trigger == Trigger::DailyCheck;
        let trigger = match trigger {
            Trigger::Daily | Trigger::DailyCheck => None,
            Trigger::KeyEvents => Some("KeyEvents"),
            Trigger::NamedKeys => Some("NamedKeys"),
        };
        if let Some(trigger) = trigger {
            return vec![self.line(&[function, ("Trigger", trigger)], &effort)];
        }
        let coverage = [
            ("KeysListed", "Count", json!(report.keys_listed)),
            ("KeysNotReached", "Count", json!(report.keys_not_reached)),
            ("CoveragePercent", "Percent", json!(report.coverage_percent())),
            ("AlertsHeldBack", "Count", json!(held_back)),
        ];
        let of_controls = report.controls.iter().map(|(control, counts)| {
            let metrics = [
                ("NonCompliant", "Count", json!(counts.non_compliant)),
                ("InsufficientData", "Count", json!(counts.insufficient_data)),
            ];
            self.line(&[function, ("Control", control)], &metrics)
        });
        let samples = samples.iter().flat_map(|Samples { name, unit, values }| {
            values.chunks(MAX_VALUES).map(|values| self.line(&[function], &[(*name, *unit, json!(values))]))
        });
        let run = if is_told_later {
            self.line(&[function], effort.split_at(1).1)
        } else {
            self.line(&[function], &[&coverage[..], &effort[..]].concat())
        };
        std::iter::once(run).chain(of_controls).chain(samples).collect()
    }

    /// The metric line of one execution of the daily check, by the function that tells of it.
    pub fn daily_check_line(&self, function: &str, measured: DailyCheckMeasured) -> String {
        let metrics = [
            ("CoveragePercent", "Percent", json!(measured.coverage_percent)),
            ("TargetsPlanned", "Count", json!(measured.targets_planned)),
            ("TargetsReached", "Count", json!(measured.targets_reached)),
            ("FailedChecks", "Count", json!(measured.failed_checks)),
            ("AlertsPublished", "Count", json!(measured.messages_published)),
            ("AlertsHeldBack", "Count", json!(measured.held_back)),
            ("RunDuration", "Milliseconds", json!(measured.run_duration_ms)),
        ];
        self.line(&[("Function", function)], &metrics)
    }

    fn line(&self, dimensions: &[(&str, &str)], metrics: &[(&str, &str, Value)]) -> String {
        let Self { namespace, level, at } = self;
        let definitions: Vec<_> = metrics.iter().map(|(name, unit, _)| json!({"Name": name, "Unit": unit})).collect();
        let names: Vec<_> = dimensions.iter().map(|(name, _)| name).collect();
        let mut line = Map::from_iter([
            (
                "_aws".to_owned(),
                json!({
                    "Timestamp": at.as_millisecond(),
                    "CloudWatchMetrics": [{"Namespace": namespace, "Dimensions": [names], "Metrics": definitions}],
                }),
            ),
            ("timestamp".to_owned(), json!(at)),
            ("level".to_owned(), json!(level)),
        ]);
        line.extend(dimensions.iter().map(|(name, value)| ((*name).to_owned(), json!(value))));
        line.extend(metrics.iter().map(|(name, _, value)| ((*name).to_owned(), value.clone())));
        Value::Object(line).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::control::{Control, Severity};
    use domain::finding::KeyIdentity;
    use domain::location::Location;
    use domain::verdict::Verdict;

    fn emission(at: Timestamp, level: &str) -> Emission<'_> {
        Emission { namespace: "KmsCompliance/prod", level, at }
    }

    fn measured() -> Measured {
        Measured { kms_calls: 7, kms_throttles: 2, messages_published: 1, held_back: 3, run_duration_ms: 1_234 }
    }

    fn parsed(lines: &[String]) -> Vec<Value> {
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn report_at(at: Timestamp) -> Report {
        static CONTROL: Control =
            Control { id: "c", title: "", severity: Severity::Low, other_severities: "", references: &[] };
        let location = Location { partition: "aws".into(), region: "r".into(), account_id: "1".into() };
        let mut report = Report::new("f", &location, at, &[&CONTROL], None);
        let key = KeyIdentity { arn: "arn".into(), id: "id".into() };
        report.add(&key, &[&CONTROL], [Verdict::non_compliant("bad")], None);
        report.keys_not_reached = 1;
        report
    }

    #[test]
    fn a_run_that_is_not_a_daily_one_says_what_it_took_and_nothing_of_keys() {
        let at: Timestamp = "2026-11-23T06:00:00Z".parse().unwrap();
        let samples = [Samples { name: "ProbeLatency", unit: "Milliseconds", values: vec![1.0] }];
        for (trigger, name) in [(Trigger::KeyEvents, "KeyEvents"), (Trigger::NamedKeys, "NamedKeys")] {
            let lines = parsed(&emission(at, "INFO").lines(&report_at(at), measured(), &samples, trigger));
            let [line] = lines.as_slice() else { panic!("{lines:?}") };
            let directive = &line["_aws"]["CloudWatchMetrics"][0];
            assert_eq!(directive["Dimensions"], json!([["Function", "Trigger"]]));
            let metrics: Vec<_> =
                directive["Metrics"].as_array().unwrap().iter().map(|it| it["Name"].as_str().unwrap()).collect();
            assert_eq!(metrics, ["AlertsPublished", "KmsCalls", "KmsThrottles", "RunDuration"]);
            assert_eq!((&line["Function"], &line["Trigger"]), (&json!("f"), &json!(name)));
        }
    }

    #[test]
    fn one_line_for_the_run_and_one_for_each_control() {
        let at: Timestamp = "2026-11-23T06:00:00Z".parse().unwrap();
        let report = report_at(at);
        let measured = measured();
        let lines = parsed(&emission(at, "WARN").lines(&report, measured, &[], Trigger::Daily));
        assert_eq!(lines.len(), 2);
        for line in &lines {
            assert_eq!(line["_aws"]["Timestamp"], 1_795_413_600_000_i64);
            assert_eq!(line["timestamp"], "2026-11-23T06:00:00Z");
            assert_eq!(line["level"], "WARN");
            let directive = &line["_aws"]["CloudWatchMetrics"][0];
            assert_eq!(directive["Namespace"], "KmsCompliance/prod");
            for definition in directive["Metrics"].as_array().unwrap() {
                assert!(line[definition["Name"].as_str().unwrap()].is_number(), "{definition} has a value");
            }
            for dimension in directive["Dimensions"][0].as_array().unwrap() {
                assert!(line[dimension.as_str().unwrap()].is_string(), "{dimension} has a value");
            }
            assert!(!line.to_string().contains("arn"));
        }
        assert_eq!(lines[0]["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([["Function"]]));
        assert_eq!(lines[0]["CoveragePercent"], 50.0);
        assert_eq!((&lines[0]["KmsCalls"], &lines[0]["KmsThrottles"]), (&json!(7), &json!(2)));
        assert_eq!((&lines[0]["RunDuration"], &lines[0]["AlertsHeldBack"]), (&json!(1_234), &json!(3)));
        assert_eq!(lines[1]["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([["Function", "Control"]]));
        assert_eq!((&lines[1]["NonCompliant"], &lines[1]["InsufficientData"]), (&json!(1), &json!(0)));
    }

    #[test]
    fn a_line_holds_at_most_a_hundred_values() {
        let at: Timestamp = "2026-11-23T06:00:00Z".parse().unwrap();
        let values: Vec<f64> = (0..230).map(f64::from).collect();
        let samples = [Samples { name: "ProbeLatency", unit: "Milliseconds", values: values.clone() }];
        let mut lines = parsed(&emission(at, "INFO").lines(&report_at(at), measured(), &samples, Trigger::Daily));
        let lines = lines.split_off(2);
        assert_eq!(lines.len(), 3);
        let told: Vec<f64> = lines
            .iter()
            .flat_map(|line| line["ProbeLatency"].as_array().unwrap().iter().map(|it| it.as_f64().unwrap()))
            .collect();
        assert_eq!(told, values);
        for line in &lines {
            assert!(line["ProbeLatency"].as_array().unwrap().len() <= 100);
            let directive = &line["_aws"]["CloudWatchMetrics"][0];
            assert_eq!(directive["Dimensions"], json!([["Function"]]));
            assert_eq!(directive["Metrics"], json!([{"Name": "ProbeLatency", "Unit": "Milliseconds"}]));
            assert_eq!(line["Function"], "f");
        }
    }
}
