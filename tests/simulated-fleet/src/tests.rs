//! What a caller sees, over real connections.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{Fleet, FleetDescription, generated_key_id};

mod accounts;
mod changes;
mod cloudwatch;
mod dynamodb;
mod regions;

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn error_code(&self) -> String {
        assert!(self.status >= 400, "{}", self.body);
        self.json()["__type"].as_str().unwrap().to_owned()
    }
}

fn serve(description: Value) -> Fleet {
    Fleet::serve(FleetDescription::from_value(description).unwrap()).unwrap()
}

fn connect(fleet: &Fleet) -> TcpStream {
    TcpStream::connect(fleet.endpoint().strip_prefix("http://").unwrap()).unwrap()
}

fn send(fleet: &Fleet, headers: &str, body: &str) -> Reply {
    let mut stream = connect(fleet);
    let length = body.len();
    write!(
        stream,
        "POST / HTTP/1.1\r\nhost: fleet\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
    .unwrap();
    let mut text = String::new();
    // A connection that the server resets has sent something before.
    let _ = stream.read_to_string(&mut text);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head: head.to_lowercase(), body: body.to_owned() }
}

#[expect(clippy::needless_pass_by_value, reason = "`json!` reads better than `&json!`")]
fn kms(fleet: &Fleet, operation: &str, request: Value) -> Reply {
    let headers = format!("x-amz-target: TrentService.{operation}\r\ncontent-type: application/x-amz-json-1.1\r\n");
    send(fleet, &headers, &request.to_string())
}

fn publish(fleet: &Fleet, parameters: &[(&str, &str)]) -> Reply {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("Action", "Publish");
    form.extend_pairs(parameters);
    send(fleet, "content-type: application/x-www-form-urlencoded\r\n", &form.finish())
}

/// All pages, and how many there were.
fn list(fleet: &Fleet, operation: &str, field: &str, mut request: Value) -> (Vec<Value>, usize) {
    let mut all = Vec::new();
    for pages in 1.. {
        let page = kms(fleet, operation, request.clone()).json();
        all.extend(page[field].as_array().unwrap().iter().cloned());
        assert_eq!(page["Truncated"].as_bool().unwrap(), page.get("NextMarker").is_some());
        match page.get("NextMarker") {
            Some(marker) => request["Marker"] = marker.clone(),
            None => return (all, pages),
        }
    }
    unreachable!()
}

#[test]
fn lists_keys_page_by_page() {
    let fleet = serve(json!({"keys": [{"count": 120}, {"count": 3, "unlisted": true}, {"key_id": "last"}]}));
    let (keys, pages) = list(&fleet, "ListKeys", "Keys", json!({}));
    assert_eq!((keys.len(), pages), (121, 2));
    assert_eq!(keys[119]["KeyId"], generated_key_id(119));
    assert_eq!(keys[120]["KeyArn"], "arn:aws:kms:us-east-1:123456789012:key/last");
    assert_eq!(list(&fleet, "ListKeys", "Keys", json!({"Limit": 50})).1, 3);
    assert_eq!(list(&fleet, "ListKeys", "Keys", json!({"Limit": 121})).1, 1);
    assert_eq!(fleet.calls()["ListKeys"], 6);
    for marker in ["x", "ListKeys-121000", "ListKeys-x", "ListAliases-1"] {
        assert_eq!(kms(&fleet, "ListKeys", json!({"Marker": marker})).error_code(), "InvalidMarkerException");
    }
    for limit in [0, 1001] {
        assert_eq!(kms(&fleet, "ListKeys", json!({"Limit": limit})).error_code(), "ValidationException");
    }
}

#[test]
fn carries_many_keys() {
    let fleet = serve(json!({"page_size": 1000, "keys": [{"count": 100_000, "aliases": ["alias/app-{n}"]}]}));
    let (keys, pages) = list(&fleet, "ListKeys", "Keys", json!({"Limit": 1000}));
    assert_eq!((keys.len(), pages), (100_000, 100));
    let last = kms(&fleet, "DescribeKey", json!({"KeyId": "alias/app-99999"})).json();
    assert_eq!(last["KeyMetadata"]["KeyId"], generated_key_id(99_999));
}

#[test]
fn lists_aliases_of_all_keys_and_of_one() {
    let fleet = serve(json!({
        "unassociated_aliases": ["alias/aws/ebs"],
        "keys": [{"count": 60, "aliases": ["alias/a-{n}", "alias/b-{n}"]}, {"gone": true, "aliases": ["alias/gone"]}],
    }));
    let (aliases, pages) = list(&fleet, "ListAliases", "Aliases", json!({}));
    assert_eq!((aliases.len(), pages), (121, 3));
    let unassociated = aliases.iter().find(|alias| alias["AliasName"] == "alias/aws/ebs").unwrap();
    assert!(unassociated.get("TargetKeyId").is_none());
    let id = generated_key_id(7);
    let (aliases, _) = list(&fleet, "ListAliases", "Aliases", json!({"KeyId": id, "Limit": 1}));
    let names: Vec<_> = aliases.iter().map(|alias| alias["AliasName"].as_str().unwrap()).collect();
    assert_eq!(names, ["alias/a-7", "alias/b-7"]);
    assert!(aliases.iter().all(|alias| alias["TargetKeyId"] == id));
    assert_eq!(
        kms(&fleet, "ListAliases", json!({"Marker": "ListAliases-alias/x"})).error_code(),
        "InvalidMarkerException"
    );
}

#[test]
fn describes_a_key_by_all_its_names() {
    let fleet =
        serve(json!({"keys": [{"key_id": "k", "aliases": ["alias/a"], "creation_date": "2020-01-01T00:00:00.5Z"}]}));
    let arn = |resource: &str| fleet.arn("kms", resource);
    for name in ["k".to_owned(), arn("key/k"), "alias/a".to_owned(), arn("alias/a")] {
        let reply = kms(&fleet, "DescribeKey", json!({"KeyId": name}));
        assert!(reply.head.contains("content-type: application/x-amz-json-1.1"), "{}", reply.head);
        assert!(reply.head.contains("x-amzn-requestid: "));
        let key = &reply.json()["KeyMetadata"];
        assert_eq!(key["Arn"], arn("key/k"));
        assert_eq!(key["CreationDate"], 1_577_836_800.5);
        assert_eq!(key["EncryptionAlgorithms"], json!(["SYMMETRIC_DEFAULT"]));
    }
    assert_eq!(fleet.calls_for("DescribeKey"), [("k".to_owned(), 4)].into());
}

#[test]
fn says_what_is_wrong_with_a_key_id() {
    let fleet = serve(json!({"keys": [{}, {"gone": true}]}));
    let gone = generated_key_id(1);
    let absent = generated_key_id(2);
    let message = |operation: &str, name: &str| {
        let reply = kms(&fleet, operation, json!({"KeyId": name}));
        (reply.status, format!("{}: {}", reply.error_code(), reply.json()["message"].as_str().unwrap()))
    };
    let no_such_key = |id: &str| {
        (400, format!("NotFoundException: Key 'arn:aws:kms:us-east-1:123456789012:key/{id}' does not exist"))
    };
    assert_eq!(list(&fleet, "ListKeys", "Keys", json!({})).0.len(), 2);
    assert_eq!(message("DescribeKey", &gone), no_such_key(&gone));
    assert_eq!(message("DescribeKey", &absent), no_such_key(&absent));
    assert_eq!(
        message("DescribeKey", "alias/x").1,
        "NotFoundException: Alias arn:aws:kms:us-east-1:123456789012:alias/x is not found."
    );
    assert_eq!(message("DescribeKey", "x").1, "NotFoundException: Invalid keyId 'x'");
    assert_eq!(message("GetKeyRotationStatus", "alias/x").1, "NotFoundException: Invalid keyId 'alias/x'");
    let foreign = format!("arn:aws:kms:eu-west-1:123456789012:key/{}", generated_key_id(0));
    assert_eq!(message("DescribeKey", &foreign).1, "NotFoundException: Invalid arn eu-west-1");
    assert_eq!(kms(&fleet, "DescribeKey", json!({})).error_code(), "ValidationException");
}

#[test]
fn shows_of_each_kind_of_key_what_aws_shows() {
    let fleet = serve(json!({"keys": [
        {"key_id": "deleting", "key_state": "PendingDeletion", "deletion_date": "2030-01-01T00:00:00Z"},
        {"key_id": "replicated", "key_state": "PendingReplicaDeletion", "deletion_date": "2030-01-01T00:00:00Z",
         "multi_region": {"type": "PRIMARY", "replica_regions": ["eu-west-1"]}},
        {"key_id": "imported", "origin": "EXTERNAL", "valid_to": "2030-01-01T00:00:00Z"},
        {"key_id": "stored", "origin": "AWS_CLOUDHSM"},
        {"key_id": "replica", "multi_region": {"type": "REPLICA", "primary_region": "eu-west-1"}},
        {"key_id": "mac", "key_spec": "HMAC_256"},
    ]}));
    let describe = |id: &str| kms(&fleet, "DescribeKey", json!({"KeyId": id})).json()["KeyMetadata"].clone();
    assert_eq!(describe("deleting")["DeletionDate"], 1_893_456_000.0);
    let replicated = describe("replicated");
    assert!(replicated.get("DeletionDate").is_none());
    assert_eq!(replicated["PendingDeletionWindowInDays"], 30);
    assert_eq!(
        replicated["MultiRegionConfiguration"]["ReplicaKeys"],
        json!([{"Arn": "arn:aws:kms:eu-west-1:123456789012:key/replicated", "Region": "eu-west-1"}])
    );
    assert_eq!(describe("imported")["ExpirationModel"], "KEY_MATERIAL_EXPIRES");
    assert_eq!(describe("stored")["CustomKeyStoreId"], "cks-1234567890abcdef0");
    let replica = &describe("replica")["MultiRegionConfiguration"];
    assert_eq!(
        (&replica["PrimaryKey"]["Region"], &replica["ReplicaKeys"][0]["Region"]),
        (&json!("eu-west-1"), &json!("us-east-1"))
    );
    let mac = describe("mac");
    assert_eq!((&mac["KeyUsage"], &mac["MacAlgorithms"]), (&json!("GENERATE_VERIFY_MAC"), &json!(["HMAC_SHA_256"])));
}

#[test]
fn tells_the_rotation_status() {
    let fleet = serve(json!({"keys": [
        {"key_id": "on", "rotation": {"enabled": true, "period_in_days": 90, "next_rotation_date": "2030-01-01T00:00:00Z"}},
        {"key_id": "off", "rotation": {"enabled": false, "period_in_days": 90}},
        {"key_id": "plain"},
        {"key_id": "deleting", "key_state": "PendingDeletion", "rotation": {"enabled": true}},
        {"key_id": "imported", "origin": "EXTERNAL"},
        {"key_id": "asymmetric", "key_spec": "RSA_2048"},
        {"key_id": "managed", "key_manager": "AWS"},
    ]}));
    let status = |id: &str| kms(&fleet, "GetKeyRotationStatus", json!({"KeyId": id}));
    let on = status("on").json();
    assert_eq!((&on["RotationPeriodInDays"], &on["NextRotationDate"]), (&json!(90), &json!(1_893_456_000.0)));
    for id in ["off", "plain", "deleting", "asymmetric"] {
        assert_eq!(
            status(id).json(),
            json!({"KeyId": fleet.arn("kms", &format!("key/{id}")), "KeyRotationEnabled": false})
        );
    }
    assert_eq!(status("imported").error_code(), "UnsupportedOperationException");
    assert_eq!(status("managed").json()["KeyRotationEnabled"], true);
}

#[test]
fn tells_the_last_usage() {
    let fleet = serve(json!({"keys": [
        {"key_id": "unused", "creation_date": "2020-01-01T00:00:00Z", "usage_tracking_start": "2025-01-01T00:00:00Z"},
        {"key_id": "used", "creation_date": "2026-01-01T00:00:00Z",
         "last_usage": {"operation": "Decrypt", "timestamp": "2026-02-01T00:00:00Z"}},
    ]}));
    let usage = |id: &str| kms(&fleet, "GetKeyLastUsage", json!({"KeyId": id})).json();
    assert_eq!(
        usage("unused"),
        json!({
            "KeyId": fleet.arn("kms", "key/unused"), "KeyLastUsage": {},
            "TrackingStartDate": 1_735_689_600.0, "KeyCreationDate": 1_577_836_800.0,
        })
    );
    let used = usage("used");
    assert_eq!(used["TrackingStartDate"], used["KeyCreationDate"]);
    let last = &used["KeyLastUsage"];
    assert_eq!((&last["Operation"], &last["Timestamp"]), (&json!("Decrypt"), &json!(1_769_904_000.0)));
    assert_eq!(kms(&fleet, "GetKeyLastUsage", json!({"KeyId": "alias/a"})).error_code(), "NotFoundException");
}

#[test]
fn lists_rotations_tags_and_the_policy() {
    let tags: serde_json::Map<_, _> = (0..60).map(|n| (format!("t{n:02}"), json!("v"))).collect();
    let fleet = serve(json!({"keys": [
        {"key_id": "k", "tags": tags, "policy": {"Statement": []}, "rotations": [
            {"date": "2030-01-01T00:00:00Z", "type": "ON_DEMAND"}, {"date": "2029-01-01T00:00:00Z"}, {"key_material_state": "NON_CURRENT"},
        ]},
        {"key_id": "asymmetric", "key_spec": "RSA_2048"},
    ]}));
    let (rotations, pages) = list(&fleet, "ListKeyRotations", "Rotations", json!({"KeyId": "k", "Limit": 1}));
    assert_eq!((rotations.len(), pages), (2, 2));
    assert_eq!(rotations[1]["RotationType"], "AUTOMATIC");
    let all = json!({"KeyId": "k", "IncludeKeyMaterial": "ALL_KEY_MATERIAL"});
    let (all, _) = list(&fleet, "ListKeyRotations", "Rotations", all);
    assert!(all[2].get("RotationDate").is_none() && all[2].get("RotationType").is_none());
    let unsupported = kms(&fleet, "ListKeyRotations", json!({"KeyId": "asymmetric"}));
    assert_eq!(unsupported.error_code(), "UnsupportedOperationException");

    let (tags, pages) = list(&fleet, "ListResourceTags", "Tags", json!({"KeyId": "k"}));
    assert_eq!((tags.len(), pages, &tags[0]), (60, 2, &json!({"TagKey": "t00", "TagValue": "v"})));
    let policy = kms(&fleet, "GetKeyPolicy", json!({"KeyId": "k"})).json();
    assert_eq!(policy["Policy"], r#"{"Statement":[]}"#);
}

#[test]
fn omits_and_replaces() {
    let fleet = serve(json!({"keys": [{
        "key_id": "k",
        "rotations": [{"date": "2030-01-01T00:00:00Z"}, {"date": "2029-01-01T00:00:00Z"}],
        "omit": {"DescribeKey": ["KeySpec", "KeyMetadata.Origin"], "ListKeys": ["KeyArn"], "ListKeyRotations": ["Rotations.1.RotationDate"]},
        "replace": {"DescribeKey": {"KeyMetadata": {"KeyState": "Dreaming", "CreationDate": "soon"}}},
    }]}));
    let key = &kms(&fleet, "DescribeKey", json!({"KeyId": "k"})).json()["KeyMetadata"];
    assert!(key.get("KeySpec").is_none() && key.get("Origin").is_none());
    assert_eq!(
        (&key["KeyState"], &key["CreationDate"], &key["KeyId"]),
        (&json!("Dreaming"), &json!("soon"), &json!("k"))
    );
    assert_eq!(kms(&fleet, "ListKeys", json!({})).json()["Keys"], json!([{"KeyId": "k"}]));
    let rotations = &kms(&fleet, "ListKeyRotations", json!({"KeyId": "k"})).json()["Rotations"];
    assert!(rotations[0].get("RotationDate").is_some() && rotations[1].get("RotationDate").is_none());
}

#[test]
fn faults_answer_with_errors() {
    let fleet = serve(json!({"keys": [
        {"key_id": "denied", "faults": {"DescribeKey": "denied"}},
        {"key_id": "throttled", "faults": {"DescribeKey": {"kind": "throttled", "times": 2}}},
        {"key_id": "broken", "faults": {"DescribeKey": {"kind": "server_error", "status": 503}}},
        {"key_id": "odd", "faults": {"DescribeKey": {"kind": "error", "status": 418, "code": "Teapot", "message": "m"}}},
        {"key_id": "absent", "faults": {"DescribeKey": "not_found"}},
    ]}));
    let describe = |id: &str| kms(&fleet, "DescribeKey", json!({"KeyId": id}));
    let seen = |id: &str| {
        let reply = describe(id);
        (reply.status, reply.error_code())
    };
    assert_eq!(seen("denied"), (400, "AccessDeniedException".to_owned()));
    assert_eq!(seen("throttled"), (400, "ThrottlingException".to_owned()));
    assert_eq!(seen("throttled").0, 400);
    assert_eq!(describe("throttled").status, 200);
    assert_eq!(seen("broken"), (503, "KMSInternalException".to_owned()));
    assert_eq!(seen("odd"), (418, "Teapot".to_owned()));
    assert_eq!(seen("absent"), (400, "NotFoundException".to_owned()));
    assert_eq!(kms(&fleet, "GetKeyPolicy", json!({"KeyId": "denied"})).status, 200);
    assert_eq!(fleet.calls_for("DescribeKey")["throttled"], 3);
    assert_eq!(fleet.calls()["DescribeKey"], 7);

    fleet.replace(FleetDescription::from_value(json!({"keys": [{"key_id": "denied"}]})).unwrap()).unwrap();
    assert_eq!(describe("denied").status, 200);
    fleet.clear_calls();
    assert!(fleet.calls().is_empty());
}

#[test]
fn each_key_of_an_entry_has_its_own_faults() {
    let fleet = serve(json!({"keys": [{"count": 2, "faults": {"DescribeKey": {"kind": "throttled", "times": 1}}}]}));
    let status = |index| kms(&fleet, "DescribeKey", json!({"KeyId": generated_key_id(index)})).status;
    assert_eq!([status(0), status(1), status(0), status(1)], [400, 400, 200, 200]);
}

#[test]
fn faults_spoil_the_body() {
    let fleet = serve(json!({"keys": [
        {"key_id": "garbled", "faults": {"DescribeKey": "garbled"}},
        {"key_id": "truncated", "faults": {"DescribeKey": "truncated"}},
        {"key_id": "cut", "faults": {"DescribeKey": "cut"}},
        {"key_id": "slow", "faults": {"DescribeKey": {"kind": "slow", "delay_ms": 1}}},
    ]}));
    let describe = |id: &str| kms(&fleet, "DescribeKey", json!({"KeyId": id}));
    let promised = |reply: &Reply| -> usize {
        let line = reply.head.lines().find_map(|line| line.strip_prefix("content-length: "));
        line.unwrap().parse().unwrap()
    };
    let garbled = describe("garbled");
    assert_eq!(garbled.status, 200);
    assert!(serde_json::from_str::<Value>(&garbled.body).is_err());
    let truncated = describe("truncated");
    assert_eq!(promised(&truncated), truncated.body.len());
    assert!(truncated.body.starts_with("{\"KeyMetadata\"") && !truncated.body.ends_with("}}"));
    let cut = describe("cut");
    assert_eq!(cut.status, 200);
    assert!(cut.body.starts_with("{\"KeyMetadata\"") && promised(&cut) > cut.body.len());
    assert_eq!(describe("slow").json()["KeyMetadata"]["KeyId"], "slow");
}

#[test]
fn refuses_without_a_byte_and_drips_without_an_end() {
    let fleet = serve(json!({"keys": [{"key_id": "k"}], "faults": {"DescribeKey": "refused", "GetKeyPolicy": "drip"}}));
    let ask = |operation: &str| {
        let mut stream = connect(&fleet);
        let head = format!(
            "POST / HTTP/1.1\r\nhost: f\r\nx-amz-target: TrentService.{operation}\r\ncontent-length: 13\r\n\r\n"
        );
        stream.write_all(format!("{head}{{\"KeyId\":\"k\"}}").as_bytes()).unwrap();
        stream
    };
    let mut answer = Vec::new();
    let _ = ask("DescribeKey").read_to_end(&mut answer);
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(fleet.calls()["DescribeKey"], 1);
    // Head and two bytes within two and a half seconds.
    let mut stream = ask("GetKeyPolicy");
    stream.set_read_timeout(Some(Duration::from_millis(2_500))).unwrap();
    while !answer.ends_with(b"\r\n\r\n{\"") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(stream.read(&mut [0]).is_err(), "the next byte takes its time");
}

#[test]
fn a_clock_that_is_ahead_shows_on_every_answer_and_takes_signatures_by_itself() {
    let fleet = serve(json!({"keys": [{"key_id": "k"}], "faults": {"DescribeKey": "clock_skew"}}));
    let date = |reply: &Reply| {
        let date = reply.head.lines().find_map(|line| line.strip_prefix("date: ")).unwrap();
        jiff::civil::DateTime::strptime("%a, %d %b %Y %H:%M:%S gmt", date).unwrap()
    };
    let ask = |operation: &str, signed: &str| {
        let headers = format!("x-amz-target: TrentService.{operation}\r\nx-amz-date: {signed}\r\n");
        send(&fleet, &headers, "{\"KeyId\":\"k\"}")
    };
    let policy = ask("GetKeyPolicy", "20200101T000000Z");
    assert_eq!(policy.status, 200);
    let by_its_clock = date(&policy).strftime("%Y%m%dT%H%M%SZ").to_string();
    assert_eq!(ask("DescribeKey", "20200101T000000Z").error_code(), "InvalidSignatureException");
    assert_eq!(ask("DescribeKey", &by_its_clock).status, 200);
}

#[test]
fn hangs_without_holding_up_others_and_ends_when_dropped() {
    let fleet = serve(json!({"keys": [{"key_id": "k"}], "faults": {"DescribeKey": "hang"}}));
    let mut stream = connect(&fleet);
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: f\r\nx-amz-target: TrentService.DescribeKey\r\ncontent-length: 13\r\n\r\n{\"KeyId\":\"k\"}")
        .unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(stream.read(&mut [0]).is_err());
    assert_eq!(kms(&fleet, "GetKeyPolicy", json!({"KeyId": "k"})).status, 200);
    drop(fleet);
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert!(matches!(stream.read(&mut [0]), Ok(0)));
}

#[test]
fn faults_of_pages() {
    let with = |fault: Value| serve(json!({"page_size": 2, "keys": [{"count": 5}], "faults": {"ListKeys": fault}}));
    let third_fails = with(json!({"kind": "throttled", "after_calls": 2}));
    let page = |fleet: &Fleet, marker: &Value| {
        kms(fleet, "ListKeys", if marker.is_null() { json!({}) } else { json!({"Marker": marker}) })
    };
    let first = page(&third_fails, &Value::Null).json();
    let second = page(&third_fails, &first["NextMarker"]).json();
    assert_eq!(page(&third_fails, &second["NextMarker"]).status, 400);
    assert_eq!(page(&third_fails, &second["NextMarker"]).status, 400);

    let no_marker = page(&with(json!("no_marker")), &Value::Null).json();
    assert_eq!((no_marker["Truncated"].as_bool(), no_marker.get("NextMarker")), (Some(true), None));

    let same_marker = with(json!("same_marker"));
    let marker = page(&same_marker, &Value::Null).json()["NextMarker"].clone();
    let again = page(&same_marker, &marker).json();
    assert_eq!((&again["NextMarker"], again["Keys"].as_array().unwrap().len()), (&marker, 2));

    let (keys, pages) = list(&with(json!({"kind": "empty_page", "after_calls": 1})), "ListKeys", "Keys", json!({}));
    assert_eq!((keys.len(), pages), (5, 4));
    let (keys, pages) = list(&with(json!("empty_page")), "ListKeys", "Keys", json!({}));
    assert_eq!((keys.len(), pages), (5, 4));
}

#[test]
fn knows_what_it_does_not_know() {
    let fleet = serve(json!({}));
    assert_eq!(kms(&fleet, "ImportKeyMaterial", json!({})).error_code(), "UnknownOperationException");
    assert_eq!(send(&fleet, "content-type: application/x-www-form-urlencoded\r\n", "Action=Subscribe").status, 400);
    assert_eq!(send(&fleet, "", "").status, 400);
    let unknown =
        [("ImportKeyMaterial", 1), ("POST /", 1), ("Subscribe", 1)].map(|(what, calls)| (what.to_owned(), calls));
    assert_eq!(fleet.unknown_calls(), unknown.clone().into());
    assert_eq!(fleet.calls(), unknown.into());
    assert_eq!(send(&fleet, "x-amz-target: TrentService.ListKeys\r\n", "[").error_code(), "SerializationException");
}

#[test]
fn measures_rates() {
    let fleet = serve(json!({"latency_ms": 1}));
    kms(&fleet, "ListKeys", json!({}));
    assert_eq!((fleet.peak_rate("ListKeys"), fleet.peak_rate("DescribeKey")), (1, 0));
}

const TOPIC: (&str, &str) = ("TopicArn", "arn:aws:sns:us-east-1:123456789012:alerts");

#[test]
fn records_what_is_published() {
    let fleet = serve(json!({}));
    let reply = publish(
        &fleet,
        &[
            TOPIC,
            ("Subject", "HIGH: 1 key & more"),
            ("Message", r#"{"default": "ü"}"#),
            ("MessageStructure", "json"),
            ("MessageAttributes.entry.1.Name", "severity"),
            ("MessageAttributes.entry.1.Value.DataType", "String"),
            ("MessageAttributes.entry.1.Value.StringValue", "HIGH"),
        ],
    );
    assert!(reply.status == 200 && reply.body.contains("<MessageId>"), "{}", reply.body);
    let published = fleet.published();
    let [message] = published.as_slice() else { panic!("{published:?}") };
    assert_eq!(message.topic_arn, TOPIC.1);
    assert_eq!(message.subject.as_deref(), Some("HIGH: 1 key & more"));
    assert_eq!(message.message, r#"{"default": "ü"}"#);
    assert_eq!(message.attributes, [("severity".to_owned(), "HIGH".to_owned())].into());
    assert_eq!(fleet.calls()["Publish"], 1);
}

#[test]
fn refuses_what_sns_refuses() {
    let fleet = serve(json!({}));
    let message = ("Message", "m");
    let long = "x".repeat(100);
    let large = "x".repeat(262_145);
    let nearly = "x".repeat(262_140);
    let cases: &[&[(&str, &str)]] = &[
        &[message],
        &[TOPIC],
        &[("TopicArn", "alerts"), message],
        &[TOPIC, message, ("Subject", &long)],
        &[TOPIC, message, ("Subject", "Schlüssel")],
        &[TOPIC, message, ("Subject", "two\nlines")],
        &[TOPIC, message, ("Subject", " blank")],
        &[TOPIC, message, ("Subject", "")],
        &[TOPIC, ("Message", &large)],
        &[TOPIC, ("Message", "m"), ("MessageStructure", "json")],
        &[TOPIC, ("Message", r#"{"email": "m"}"#), ("MessageStructure", "json")],
        &[
            TOPIC,
            ("Message", &nearly),
            ("MessageAttributes.entry.1.Name", "n"),
            ("MessageAttributes.entry.1.Value.DataType", "String"),
            ("MessageAttributes.entry.1.Value.StringValue", "v"),
        ],
    ];
    for case in cases {
        let reply = publish(&fleet, case);
        assert!(reply.status == 400 && reply.body.contains("<Code>InvalidParameter</Code>"), "{}", reply.body);
    }
    assert!(fleet.published().is_empty());
    assert_eq!(publish(&fleet, &[TOPIC, message, ("Subject", &long[1..])]).status, 200);
}

#[test]
fn faults_of_sns() {
    let fleet = serve(json!({}));
    for (fault, status, code) in [
        ("denied", 403, "AuthorizationError"),
        ("throttled", 400, "Throttling"),
        ("server_error", 500, "InternalError"),
        ("not_found", 404, "NotFound"),
    ] {
        fleet.replace(FleetDescription::from_value(json!({"faults": {"Publish": fault}})).unwrap()).unwrap();
        let reply = publish(&fleet, &[TOPIC, ("Message", "m")]);
        assert!(reply.status == status && reply.body.contains(&format!("<Code>{code}</Code>")), "{}", reply.body);
    }
    assert!(fleet.published().is_empty());
}

#[test]
fn names_the_wrong_field() {
    let problem = |description: Value| match FleetDescription::from_value(description) {
        Ok(description) => Fleet::serve(description).unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    for (description, expected) in [
        (json!({"keys": [{}, {"rotation": {"enabled": "yes"}}]}), "keys[1].rotation.enabled: "),
        (json!({"keys": [{"creation_date": "yesterday"}]}), "keys[0].creation_date: "),
        (json!({"keys": [{"colour": "red"}]}), "unknown field `colour`"),
        (json!({"keys": [{"faults": {"DescribeKeys": "denied"}}]}), "unknown operation `DescribeKeys`"),
        (json!({"keys": [{"faults": {"DescribeKey": {"kind": "slow"}}}]}), "keys[0].faults.DescribeKey: `delay_ms`"),
        (json!({"keys": [{"faults": {"DescribeKey": "no_marker"}}]}), "keys[0].faults.DescribeKey: "),
        (json!({"keys": [{"faults": {"ListKeys": "denied"}}]}), "keys[0].faults.ListKeys: "),
        (json!({"keys": [{"key_id": "k"}, {"key_id": "k"}]}), "keys[1].key_id: `k`"),
        (json!({"keys": [{"key_id": "k", "count": 2}]}), "keys[0].key_id: "),
        (json!({"keys": [{"count": 2, "aliases": ["alias/a"]}]}), "keys[0].aliases: "),
        (json!({"keys": [{"aliases": ["a"]}]}), "keys[0].aliases[0]: `a`"),
        (json!({"page_size": 0}), "page_size: "),
        (json!({"table_page_size": 0}), "table_page_size: "),
        (json!({"metric_page_size": 0}), "metric_page_size: "),
        (json!({"faults": {"ListMetrics": "no_marker"}}), "faults.ListMetrics: "),
        (
            json!({"keys": [{"usage": {"Sign": {"start": "2026-01-01T00:30:00Z", "hourly": [1]}}}]}),
            "usage.Sign.start: ",
        ),
        (json!({"keys": [{"usage": {"Sign": {"start": "2026-01-01T00:00:00Z", "repeat": [1]}}}]}), "usage.Sign: "),
        (
            json!({"keys": [{"usage": {"Sign": {"start": "2026-01-01T00:00:00Z", "hourly": [1], "source_key_id": "k"}}}]}),
            "usage.Sign.source_key_id: ",
        ),
        (
            json!({"keys": [{"usage": {"Sign": {
                "start": "2026-01-01T00:00:00Z", "hourly": [1], "status": {"code": "Odd"},
            }}}]}),
            "usage.Sign.status.code: ",
        ),
        (json!({"faults": {"PutItem": "unprocessed"}}), "faults.PutItem: "),
        (
            json!({"faults": {"BatchWriteItem": {"kind": "denied", "processed": 1}}}),
            "faults.BatchWriteItem: `processed`",
        ),
        (json!({"keys": [{"faults": {"GetItem": "denied"}}]}), "keys[0].faults.GetItem: "),
        (json!({"keys": [{"omit": {"PutItem": ["Item"]}}]}), "keys[0].omit: "),
    ] {
        let problem = problem(description);
        assert!(problem.contains(expected), "{problem}");
    }
}

#[test]
fn the_example_is_served() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fleets/example.json");
    let fleet = Fleet::serve(FleetDescription::load(path).unwrap()).unwrap();
    let (keys, _) = list(&fleet, "ListKeys", "Keys", json!({}));
    assert!(!keys.is_empty());
}
