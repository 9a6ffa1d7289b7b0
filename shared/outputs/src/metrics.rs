//! Metrics as log lines in CloudWatch's Embedded Metric Format.

use domain::report::Report;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

const NAMESPACE: &str = "KmsCompliance";

/// What a run measured beside its report.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Instant that the metrics are of.
    pub at: Timestamp,
    /// KMS requests sent, retries included.
    pub kms_calls: u64,
    /// KMS requests throttled.
    pub kms_throttles: u64,
    /// Alerts that the topic took.
    pub messages_published: usize,
    /// How long the run took, in milliseconds.
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

/// The metric lines of what the check of a function measured itself.
pub fn lines_of(samples: &[Samples], function: &str, at: Timestamp, level: &str) -> Vec<String> {
    let of = |it: &Samples| -> Vec<String> {
        let chunks = it.values.chunks(MAX_VALUES);
        chunks.map(|values| line(at, level, &[("Function", function)], &[(it.name, it.unit, json!(values))])).collect()
    };
    samples.iter().flat_map(of).collect()
}

/// The metric lines of a run: one for the function, then one for each control.
///
/// A line carries `level`, because Lambda drops lines without one when its application log level is above INFO; it is the
/// very level that is kept, so that a line is never dropped.
pub fn lines(report: &Report, measured: Measured, level: &str) -> Vec<String> {
    let function = [("Function", report.function)];
    let run = [
        ("KeysListed", "Count", json!(report.keys_listed)),
        ("KeysNotReached", "Count", json!(report.keys_not_reached)),
        ("CoveragePercent", "Percent", json!(report.coverage_percent())),
        ("AlertsPublished", "Count", json!(measured.messages_published)),
        ("KmsCalls", "Count", json!(measured.kms_calls)),
        ("KmsThrottles", "Count", json!(measured.kms_throttles)),
        ("RunDuration", "Milliseconds", json!(measured.run_duration_ms)),
    ];
    let of_controls = report.controls.iter().map(|(control, counts)| {
        let dimensions = [("Function", report.function), ("Control", *control)];
        let metrics = [
            ("NonCompliant", "Count", json!(counts.non_compliant)),
            ("InsufficientData", "Count", json!(counts.insufficient_data)),
        ];
        line(measured.at, level, &dimensions, &metrics)
    });
    std::iter::once(line(measured.at, level, &function, &run)).chain(of_controls).collect()
}

fn line(at: Timestamp, level: &str, dimensions: &[(&str, &str)], metrics: &[(&str, &str, Value)]) -> String {
    let definitions: Vec<_> = metrics.iter().map(|(name, unit, _)| json!({"Name": name, "Unit": unit})).collect();
    let names: Vec<_> = dimensions.iter().map(|(name, _)| name).collect();
    let mut line = Map::from_iter([
        (
            "_aws".to_owned(),
            json!({
                "Timestamp": at.as_millisecond(),
                "CloudWatchMetrics": [{"Namespace": NAMESPACE, "Dimensions": [names], "Metrics": definitions}],
            }),
        ),
        ("timestamp".to_owned(), json!(at)),
        ("level".to_owned(), json!(level)),
    ]);
    line.extend(dimensions.iter().map(|(name, value)| ((*name).to_owned(), json!(value))));
    line.extend(metrics.iter().map(|(name, _, value)| ((*name).to_owned(), value.clone())));
    Value::Object(line).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::control::{Control, Severity};
    use domain::finding::KeyIdentity;
    use domain::location::Location;
    use domain::verdict::Verdict;

    #[test]
    fn one_line_for_the_run_and_one_for_each_control() {
        static CONTROL: Control =
            Control { id: "c", title: "", severity: Severity::Low, other_severities: "", references: &[] };
        let location = Location { partition: "aws".into(), region: "r".into(), account_id: "1".into() };
        let at: Timestamp = "2026-11-23T06:00:00Z".parse().unwrap();
        let mut report = Report::new("f", &location, at, &[&CONTROL], None);
        let key = KeyIdentity { arn: "arn".into(), id: "id".into() };
        report.add(&key, &[&CONTROL], [Verdict::non_compliant("bad")], None);
        report.keys_not_reached = 1;
        let measured = Measured { at, kms_calls: 7, kms_throttles: 2, messages_published: 0, run_duration_ms: 1_234 };
        let lines: Vec<Value> =
            lines(&report, measured, "WARN").iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        for line in &lines {
            assert_eq!(line["_aws"]["Timestamp"], 1_795_413_600_000_i64);
            assert_eq!(line["timestamp"], "2026-11-23T06:00:00Z");
            assert_eq!(line["level"], "WARN");
            let directive = &line["_aws"]["CloudWatchMetrics"][0];
            assert_eq!(directive["Namespace"], "KmsCompliance");
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
        assert_eq!(lines[0]["RunDuration"], 1_234);
        assert_eq!(lines[1]["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([["Function", "Control"]]));
        assert_eq!((&lines[1]["NonCompliant"], &lines[1]["InsufficientData"]), (&json!(1), &json!(0)));
    }

    #[test]
    fn a_line_holds_at_most_a_hundred_values() {
        let at: Timestamp = "2026-11-23T06:00:00Z".parse().unwrap();
        let values: Vec<f64> = (0..230).map(f64::from).collect();
        let samples = [Samples { name: "ProbeLatency", unit: "Milliseconds", values: values.clone() }];
        let lines: Vec<Value> = lines_of(&samples, "health-prober", at, "INFO")
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
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
            assert_eq!(line["Function"], "health-prober");
        }
        assert!(lines_of(&[], "health-prober", at, "INFO").is_empty());
    }
}
