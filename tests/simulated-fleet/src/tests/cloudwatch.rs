//! CloudWatch: which series there are, and their values.

use ciborium::Value as Cbor;
use jiff::{SignedDuration, Timestamp};

use super::*;

const ARN: &str = "arn:aws:kms:us-east-1:123456789012:key/";
const START: &str = "2026-01-05T00:00:00Z";

/// Seconds of [`START`].
const START_SECONDS: f64 = 1_767_571_200.0;

const HOUR: f64 = 3600.0;

/// Status, head and the body, from CBOR to JSON where it is CBOR. Tags are dropped.
fn cloudwatch(fleet: &Fleet, operation: &str, request: &Value) -> (u16, String, Value) {
    let mut body = Vec::new();
    ciborium::into_writer(request, &mut body).unwrap();
    let mut stream = connect(fleet);
    write!(
        stream,
        "POST /service/GraniteServiceVersion20100801/operation/{operation} HTTP/1.1\r\nhost: fleet\r\nconnection: close\r\n\
         smithy-protocol: rpc-v2-cbor\r\ncontent-type: application/cbor\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .unwrap();
    stream.write_all(&body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = ciborium::from_reader(&answer[end + 4..]).map_or(Value::Null, |body: Cbor| plain(&body));
    (status, head, body)
}

fn plain(value: &Cbor) -> Value {
    match value {
        Cbor::Integer(integer) => i64::try_from(*integer).unwrap().into(),
        Cbor::Float(float) => (*float).into(),
        Cbor::Text(text) => text.as_str().into(),
        Cbor::Tag(1, inner) => plain(inner),
        Cbor::Array(elements) => elements.iter().map(plain).collect(),
        Cbor::Map(members) => {
            members.iter().map(|(name, value)| (name.as_text().unwrap().to_owned(), plain(value))).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn ok(fleet: &Fleet, operation: &str, request: &Value) -> Value {
    let (status, head, body) = cloudwatch(fleet, operation, request);
    assert_eq!(status, 200, "{body}");
    assert!(head.contains("smithy-protocol: rpc-v2-cbor") && head.contains("content-type: application/cbor"), "{head}");
    body
}

fn error(fleet: &Fleet, operation: &str, request: &Value) -> (u16, String) {
    let (status, head, body) = cloudwatch(fleet, operation, request);
    let code = body["__type"].as_str().unwrap().strip_prefix("com.amazonaws.cloudwatch#").unwrap().to_owned();
    assert!(head.contains(&format!("x-amzn-query-error: {};sender", code.to_lowercase())), "{head}");
    (status, code)
}

/// The dimensions as `name=value` with bare key ids.
fn dimensions(metric: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().replace(ARN, "");
    let dimensions = metric["Dimensions"].as_array().unwrap();
    dimensions.iter().map(|it| format!("{}={}", text(&it["Name"]), text(&it["Value"]))).collect()
}

fn query(id: &str, key: &str, operation: &str) -> Value {
    json!({
        "Id": id,
        "MetricStat": {
            "Metric": {
                "Namespace": "AWS/KMS",
                "MetricName": "SuccessfulRequest",
                "Dimensions": [
                    {"Name": "KeyArn", "Value": format!("{ARN}{key}")}, {"Name": "Operation", "Value": operation},
                ],
            },
            "Period": 3600,
            "Stat": "Sum",
        },
    })
}

/// A request for n hours from [`START`].
fn data(queries: &[Value], hours: u32) -> Value {
    let end = START_SECONDS + f64::from(hours) * HOUR;
    json!({"MetricDataQueries": queries, "StartTime": START_SECONDS, "EndTime": end, "ScanBy": "TimestampAscending"})
}

#[expect(clippy::disallowed_methods, reason = "the fleet lists by the real clock")]
fn hours_ago(hours: i64) -> String {
    let hour = Timestamp::now().as_second().div_euclid(3600) * 3600;
    (Timestamp::from_second(hour).unwrap() - SignedDuration::from_hours(hours)).to_string()
}

#[test]
fn lists_series_with_recent_data() {
    let fleet = serve(json!({"keys": [
        {"key_id": "a", "usage": {
            "Decrypt": {"start": hours_ago(40 * 24), "repeat": [5], "hours": 39 * 24},
            "Encrypt": {"start": hours_ago(40 * 24), "repeat": [5], "hours": 25 * 24},
            "Sign": {"start": hours_ago(3), "hourly": [0, null, 0]},
        }},
        {"key_id": "b", "usage": {"ReEncrypt": {"start": hours_ago(3), "hourly": [1], "source_key_id": "a"}}},
        {"count": 1200, "usage": {"GenerateDataKey": {"start": hours_ago(3), "hourly": [1]}}},
    ]}));
    let mut request = json!({"Namespace": "AWS/KMS", "MetricName": "SuccessfulRequest"});
    let mut all = Vec::new();
    let mut pages = Vec::new();
    loop {
        let page = ok(&fleet, "ListMetrics", &request);
        let metrics = page["Metrics"].as_array().unwrap();
        pages.push(metrics.len());
        all.extend(metrics.iter().map(dimensions));
        match page.get("NextToken") {
            Some(token) => request["NextToken"] = token.clone(),
            None => break,
        }
    }
    assert_eq!(pages, [500, 500, 202]);
    assert_eq!(all[0], ["KeyArn=a", "Operation=Decrypt"]);
    assert_eq!(all[1], ["SourceKeyArn=a", "DestinationKeyArn=b", "Operation=ReEncrypt"]);
    assert_eq!(all[1201], [format!("KeyArn={}", generated_key_id(1201)), "Operation=GenerateDataKey".to_owned()]);

    let of_destination = json!({"Dimensions": [{"Name": "DestinationKeyArn"}]});
    assert_eq!(ok(&fleet, "ListMetrics", &of_destination)["Metrics"].as_array().unwrap().len(), 1);
    let of_key = json!({"Dimensions": [{"Name": "KeyArn", "Value": format!("{ARN}a")}]});
    assert_eq!(ok(&fleet, "ListMetrics", &of_key)["Metrics"].as_array().unwrap().len(), 1);
    assert_eq!(ok(&fleet, "ListMetrics", &json!({"Namespace": "AWS/SNS"}))["Metrics"], json!([]));
    assert_eq!(error(&fleet, "ListMetrics", &json!({"NextToken": "x"})), (400, "InvalidNextToken".to_owned()));
    assert_eq!(error(&fleet, "ListMetrics", &json!({"Colour": "red"})), (400, "SerializationException".to_owned()));
    assert_eq!(error(&fleet, "PutMetricData", &json!({})), (400, "UnknownOperationException".to_owned()));
    assert_eq!((fleet.calls()["ListMetrics"], fleet.unknown_calls()["PutMetricData"]), (8, 1));
}

#[test]
fn gives_hourly_values() {
    let fleet = serve(json!({"keys": [
        {"key_id": "a", "usage": {
            "Decrypt": {"start": START, "hourly": [1, null, 0, 4]},
            "Encrypt": {"start": START, "repeat": [1, 2], "hours": 5, "at": {"3": 50, "4": null}},
        }},
    ]}));
    let queries =
        [query("q1", "a", "Decrypt"), query("q2", "a", "Encrypt"), query("q3", "a", "Sign"), query("q4", "b", "Sign")];
    let answer = ok(&fleet, "GetMetricData", &data(&queries, 24));
    let times = |hours: &[u32]| hours.iter().map(|hour| START_SECONDS + f64::from(*hour) * HOUR).collect::<Vec<_>>();
    let result = |id: &str, hours: &[u32], values: Value| json!({"Id": id, "Label": "SuccessfulRequest", "Timestamps": times(hours), "Values": values, "StatusCode": "Complete"});
    assert_eq!(
        answer,
        json!({"Messages": [], "MetricDataResults": [
            result("q1", &[0, 3], json!([1.0, 4.0])),
            result("q2", &[0, 1, 2, 3], json!([1.0, 2.0, 1.0, 50.0])),
            result("q3", &[], json!([])),
            result("q4", &[], json!([])),
        ]})
    );
    // The start is part of the time, the end is not; without a word on the order the newest come first.
    let mut request = data(&queries[1..2], 3);
    request["StartTime"] = json!(START_SECONDS + HOUR);
    request["ScanBy"] = json!("TimestampDescending");
    let answer = ok(&fleet, "GetMetricData", &request);
    assert_eq!(answer["MetricDataResults"][0], result("q2", &[2, 1], json!([1.0, 2.0])));
}

#[test]
fn jitter_is_the_same_each_time_and_differs_by_key() {
    let fleet = serve(json!({"keys": [
        {"count": 2, "usage": {"Decrypt": {"start": START, "repeat": [1000], "hours": 500, "jitter": 0.1}}},
    ]}));
    let values = |key: u32| {
        let request = data(&[query("q", &generated_key_id(key), "Decrypt")], 500);
        let answer = ok(&fleet, "GetMetricData", &request);
        let values = answer["MetricDataResults"][0]["Values"].as_array().unwrap().clone();
        values.iter().map(|value| value.as_f64().unwrap()).collect::<Vec<_>>()
    };
    let first = values(0);
    assert_eq!(first, values(0));
    assert_ne!(first, values(1));
    assert!(first.iter().all(|value| (900.0..=1100.0).contains(value)));
    let mean = first.iter().sum::<f64>() / 500.0;
    assert!((990.0..1010.0).contains(&mean), "{mean}");
}

#[test]
fn data_comes_page_by_page() {
    let keys = json!([{"count": 500, "usage": {"Decrypt": {"start": START, "repeat": [1], "hours": 672}}}]);
    let fleet = serve(json!({ "keys": keys }));
    let queries: Vec<_> = (0..500).map(|n| query(&format!("q{n}"), &generated_key_id(n), "Decrypt")).collect();
    let read = |fleet: &Fleet, mut request: Value| {
        let mut pages = Vec::new();
        loop {
            let page = ok(fleet, "GetMetricData", &request);
            let series = page["MetricDataResults"].as_array().unwrap();
            let points: usize = series.iter().map(|series| series["Values"].as_array().unwrap().len()).sum();
            pages.push((points, series.last().unwrap()["StatusCode"].as_str().unwrap().to_owned()));
            match page.get("NextToken") {
                Some(token) => request["NextToken"] = token.clone(),
                None => return pages,
            }
        }
    };
    let complete = |points: usize| (points, "Complete".to_owned());
    // 100,800 datapoints are 150 series of 672.
    let pages = read(&fleet, data(&queries, 672));
    assert_eq!(pages, [complete(100_800), complete(100_800), complete(100_800), complete(33_600)]);
    let mut request = data(&queries[..2], 672);
    request["MaxDatapoints"] = json!(1000);
    assert_eq!(read(&fleet, request), [(1000, "PartialData".to_owned()), complete(344)]);
    fleet.replace(FleetDescription::from_value(json!({"keys": keys, "metric_page_size": 672})).unwrap()).unwrap();
    assert_eq!(read(&fleet, data(&queries[..2], 672)), [complete(672), complete(672)]);
}

#[test]
fn single_series_fail() {
    let usage = |status: Value| json!({"Decrypt": {"start": START, "hourly": [1, 2, 3, 4], "status": status}});
    let fleet = serve(json!({
        "metric_messages": [{"code": "Busy", "value": "try again"}],
        "keys": [
            {"key_id": "error", "usage": usage(json!({"code": "InternalError", "times": 1}))},
            {"key_id": "partial", "usage": usage(json!({"code": "PartialData"}))},
            {"key_id": "forbidden", "usage": usage(json!({"code": "Forbidden"}))},
        ],
    }));
    let queries: Vec<_> = ["error", "partial", "forbidden"].map(|key| query(key, key, "Decrypt")).into();
    let read = || {
        let answer = ok(&fleet, "GetMetricData", &data(&queries, 24));
        assert_eq!(answer["Messages"], json!([{"Code": "Busy", "Value": "try again"}]));
        let results = answer["MetricDataResults"].as_array().unwrap().clone();
        results.iter().map(|it| (it["StatusCode"].clone(), it["Values"].as_array().unwrap().len())).collect::<Vec<_>>()
    };
    let others = [(json!("PartialData"), 2), (json!("Forbidden"), 0)];
    assert_eq!(read(), [&[(json!("InternalError"), 0)], others.as_slice()].concat());
    assert_eq!(read(), [&[(json!("Complete"), 4)], others.as_slice()].concat());
}

#[test]
fn refuses_what_cloudwatch_refuses() {
    let fleet = serve(json!({}));
    let queries = |count: usize| (0..count).map(|n| query(&format!("q{n}"), "k", "Sign")).collect::<Vec<_>>();
    let mut other_period = queries(1);
    other_period[0]["MetricStat"]["Period"] = json!(300);
    let mut too_many_points = data(&queries(1), 1);
    too_many_points["MaxDatapoints"] = json!(100_801);
    for request in [
        data(&[], 1),
        data(&queries(501), 1),
        data(&queries(1), 0),
        data(&[query("Q", "k", "Sign")], 1),
        data(&[query("q", "k", "Sign"), query("q", "l", "Sign")], 1),
        data(&other_period, 1),
        too_many_points,
    ] {
        assert_eq!(error(&fleet, "GetMetricData", &request), (400, "ValidationError".to_owned()));
    }
}

#[test]
fn faults_of_cloudwatch() {
    let fleet = serve(json!({}));
    let with = |fault: Value| {
        let description = json!({
            "keys": [{"count": 3, "usage": {"Sign": {"start": hours_ago(3), "hourly": [1]}}}],
            "page_size": 2,
            "faults": {"ListMetrics": fault},
        });
        fleet.replace(FleetDescription::from_value(description).unwrap()).unwrap();
    };
    for (fault, status, code) in [
        ("denied", 403, "AccessDenied"),
        ("throttled", 400, "Throttling"),
        ("server_error", 500, "InternalServiceError"),
    ] {
        with(json!(fault));
        assert_eq!(error(&fleet, "ListMetrics", &json!({})), (status, code.to_owned()));
    }
    with(json!("garbled"));
    let (status, _, body) = cloudwatch(&fleet, "ListMetrics", &json!({}));
    assert!(status == 200 && !body.is_object(), "{body}");
    with(json!("empty_page"));
    let page = ok(&fleet, "ListMetrics", &json!({}));
    assert_eq!(page["Metrics"], json!([]));
    let page = ok(&fleet, "ListMetrics", &json!({"NextToken": page["NextToken"]}));
    assert_eq!(page["Metrics"].as_array().unwrap().len(), 2);
    with(json!("same_marker"));
    let first = ok(&fleet, "ListMetrics", &json!({}));
    let again = ok(&fleet, "ListMetrics", &json!({"NextToken": first["NextToken"]}));
    assert_eq!((&first["NextToken"], again["Metrics"].as_array().unwrap().len()), (&again["NextToken"], 1));
}
