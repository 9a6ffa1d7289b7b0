//! DynamoDB, and the point at which a caller crashes.

use super::*;
use crate::{When, Write, WriteKind};

#[expect(clippy::needless_pass_by_value, reason = "`json!` reads better than `&json!`")]
fn dynamodb(fleet: &Fleet, operation: &str, request: Value) -> Reply {
    let headers =
        format!("x-amz-target: DynamoDB_20120810.{operation}\r\ncontent-type: application/x-amz-json-1.0\r\n");
    send(fleet, &headers, &request.to_string())
}

/// The code without the namespace that DynamoDB puts before it.
fn code(reply: &Reply) -> String {
    reply.error_code().strip_prefix("com.amazonaws.dynamodb.v20120810#").unwrap().to_owned()
}

fn with_table() -> Fleet {
    serve(json!({"tables": ["findings"]}))
}

fn item(pk: &str, sk: &str) -> Value {
    json!({"pk": {"S": pk}, "sk": {"S": sk}})
}

#[expect(clippy::needless_pass_by_value, reason = "`json!` reads better than `&json!`")]
fn put(fleet: &Fleet, item: Value) -> Reply {
    dynamodb(fleet, "PutItem", json!({"TableName": "findings", "Item": item}))
}

/// The request with these members besides.
fn and(mut request: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!() };
    request.as_object_mut().unwrap().extend(more);
    request
}

#[test]
fn puts_gets_and_deletes() {
    let fleet = with_table();
    let full = json!({
        "pk": {"S": "p"}, "sk": {"S": "s"}, "number": {"N": "1.5"}, "flag": {"BOOL": true}, "nothing": {"NULL": true},
        "list": {"L": [{"S": "a"}, {"N": "2"}]}, "map": {"M": {"inner": {"S": "b"}}}, "set": {"SS": ["x", "y"]},
    });
    let reply = put(&fleet, full.clone());
    assert_eq!((reply.status, reply.json()), (200, json!({})));
    assert!(reply.head.contains("content-type: application/x-amz-json-1.0"), "{}", reply.head);
    let get = |sk: &str| {
        let request = json!({"TableName": "findings", "Key": item("p", sk), "ConsistentRead": true});
        dynamodb(&fleet, "GetItem", request).json()
    };
    assert_eq!(get("s"), json!({ "Item": full }));
    assert_eq!(get("t"), json!({}));
    assert_eq!(
        fleet.items(),
        [json!({
            "pk": "p", "sk": "s", "number": 1.5, "flag": true, "nothing": null,
            "list": ["a", 2], "map": {"inner": "b"}, "set": ["x", "y"],
        })]
    );
    for sk in ["s", "not there"] {
        let delete = json!({"TableName": "findings", "Key": item("p", sk)});
        assert_eq!(dynamodb(&fleet, "DeleteItem", delete).json(), json!({}));
    }
    assert!(fleet.items().is_empty());
    let write = |kind, sk: &str| Write { kind, pk: "p".to_owned(), sk: sk.to_owned() };
    let writes = [write(WriteKind::Put, "s"), write(WriteKind::Delete, "s"), write(WriteKind::Delete, "not there")];
    assert_eq!(fleet.writes(), writes);
    fleet.clear_writes();
    assert!(fleet.writes().is_empty());
    let calls = [("DeleteItem", 2), ("GetItem", 2), ("PutItem", 1)].map(|(what, calls)| (what.to_owned(), calls));
    assert_eq!(fleet.calls(), calls.into());
    assert!(fleet.unknown_calls().is_empty());
}

#[test]
fn items_can_be_there_from_the_start() {
    let fleet = with_table();
    let plain = json!({"pk": "p", "sk": "s", "n": 1, "when": null, "list": [true]});
    fleet.put_item(&plain).unwrap();
    assert_eq!(fleet.items(), std::slice::from_ref(&plain));
    assert!(fleet.writes().is_empty());
    for (plain, problem) in [(json!({"pk": "p"}), "Missing the key sk"), (json!("p"), "must be an object")] {
        let error = fleet.put_item(&plain).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
    assert!(serve(json!({})).put_item(&plain).unwrap_err().to_string().contains("no table"));
}

#[test]
fn replacing_the_keys_keeps_the_tables() {
    let fleet = with_table();
    put(&fleet, item("p", "s"));
    fleet.replace(FleetDescription::from_value(json!({"keys": [{}], "tables": ["more"]})).unwrap()).unwrap();
    assert_eq!(put(&fleet, item("p", "t")).status, 200);
    assert_eq!(dynamodb(&fleet, "PutItem", json!({"TableName": "more", "Item": item("p", "u")})).status, 200);
    assert_eq!((fleet.items().len(), fleet.writes().len()), (3, 3));
}

#[test]
fn writes_under_a_condition() {
    let fleet = with_table();
    let lease = |owner: &str, until: u32| {
        json!({
            "TableName": "findings",
            "Item": {"pk": {"S": "p"}, "sk": {"S": "lease"}, "owner": {"S": owner}, "until": {"N": until.to_string()}},
            "ConditionExpression": "attribute_not_exists(pk) OR #owner = :owner OR #until < :now",
            "ExpressionAttributeNames": {"#owner": "owner", "#until": "until"},
            "ExpressionAttributeValues": {":owner": {"S": owner}, ":now": {"N": "100"}},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        })
    };
    assert_eq!(dynamodb(&fleet, "PutItem", lease("a", 200)).status, 200);
    let refused = dynamodb(&fleet, "PutItem", lease("b", 200));
    assert_eq!(code(&refused), "ConditionalCheckFailedException");
    assert_eq!(refused.json()["Item"]["owner"], json!({"S": "a"}));
    assert_eq!(dynamodb(&fleet, "PutItem", lease("a", 99)).status, 200);
    assert_eq!(dynamodb(&fleet, "PutItem", lease("b", 200)).status, 200);
    let release = |owner: &str| {
        let request = json!({
            "TableName": "findings",
            "Key": item("p", "lease"),
            "ConditionExpression": "#owner = :owner",
            "ExpressionAttributeNames": {"#owner": "owner"},
            "ExpressionAttributeValues": {":owner": {"S": owner}},
        });
        dynamodb(&fleet, "DeleteItem", request)
    };
    let refused = release("a");
    assert_eq!(code(&refused), "ConditionalCheckFailedException");
    assert_eq!(refused.json().get("Item"), None);
    assert_eq!(release("b").status, 200);
    assert_eq!(fleet.writes().len(), 4);
}

#[test]
fn queries_page_by_page() {
    let fleet = with_table();
    for sk in ["f#2", "f#10", "f#1", "g#1"] {
        put(&fleet, item("p", sk));
    }
    put(&fleet, item("q", "f#1"));
    let query = |more: Value| {
        let request = json!({
            "TableName": "findings",
            "KeyConditionExpression": "#pk = :pk AND begins_with(#sk, :prefix)",
            "ExpressionAttributeNames": {"#pk": "pk", "#sk": "sk"},
            "ExpressionAttributeValues": {":pk": {"S": "p"}, ":prefix": {"S": "f#"}},
            "ConsistentRead": true,
        });
        dynamodb(&fleet, "Query", and(request, more))
    };
    let sort_keys = |reply: &Reply| {
        let page = reply.json();
        let items = page["Items"].as_array().unwrap().clone();
        assert_eq!((&page["Count"], &page["ScannedCount"]), (&json!(items.len()), &json!(items.len())));
        items.iter().map(|item| item["sk"]["S"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = query(json!({}));
    assert_eq!(sort_keys(&all), ["f#1", "f#10", "f#2"]);
    assert_eq!(all.json().get("LastEvaluatedKey"), None);
    let whole = query(json!({
        "KeyConditionExpression": "pk = :pk", "ExpressionAttributeNames": null, "ExpressionAttributeValues": {":pk": {"S": "p"}},
    }));
    assert_eq!(sort_keys(&whole), ["f#1", "f#10", "f#2", "g#1"]);

    let first = query(json!({"Limit": 2}));
    assert_eq!(sort_keys(&first), ["f#1", "f#10"]);
    let next = first.json()["LastEvaluatedKey"].clone();
    assert_eq!(next, item("p", "f#10"));
    // The limit is met, so AWS does not look whether anything follows.
    let second = query(json!({"Limit": 1, "ExclusiveStartKey": next}));
    assert_eq!(sort_keys(&second), ["f#2"]);
    let third = query(json!({"Limit": 1, "ExclusiveStartKey": second.json()["LastEvaluatedKey"]}));
    assert!(sort_keys(&third).is_empty());
    assert_eq!(third.json().get("LastEvaluatedKey"), None);

    fleet.replace(FleetDescription::from_value(json!({"table_page_size": 1})).unwrap()).unwrap();
    let page = query(json!({"Limit": 2}));
    assert_eq!((sort_keys(&page).len(), page.json()["LastEvaluatedKey"].clone()), (1, item("p", "f#1")));
}

#[test]
fn a_page_holds_a_megabyte() {
    let fleet = with_table();
    for sk in 0..7 {
        put(&fleet, and(item("p", &sk.to_string()), json!({"text": {"S": "x".repeat(300_000)}})));
    }
    let mut request = json!({
        "TableName": "findings", "KeyConditionExpression": "pk = :pk", "ExpressionAttributeValues": {":pk": {"S": "p"}},
    });
    let mut pages = Vec::new();
    loop {
        let page = dynamodb(&fleet, "Query", request.clone()).json();
        pages.push(page["Count"].as_u64().unwrap());
        match page.get("LastEvaluatedKey") {
            Some(last) => request["ExclusiveStartKey"] = last.clone(),
            None => break,
        }
    }
    assert_eq!(pages, [3, 3, 1]);
}

#[test]
fn writes_in_batches() {
    let fleet = with_table();
    let put_of = |sk: usize| json!({"PutRequest": {"Item": item("p", &format!("{sk:02}"))}});
    let batch =
        |requests: Vec<Value>| dynamodb(&fleet, "BatchWriteItem", json!({"RequestItems": {"findings": requests}}));
    let reply = batch((0..25).map(put_of).collect());
    assert_eq!(reply.json(), json!({"UnprocessedItems": {}}));
    let delete = json!({"DeleteRequest": {"Key": item("p", "00")}});
    assert_eq!(batch(vec![delete.clone(), put_of(30)]).status, 200);
    assert_eq!((fleet.items().len(), fleet.writes().len()), (25, 27));
    for (requests, problem) in
        [((0..26).map(put_of).collect(), "Too many items"), (vec![delete, put_of(0)], "duplicates"), (vec![], "empty")]
    {
        let reply = batch(requests);
        assert_eq!(code(&reply), "ValidationException");
        assert!(reply.body.contains(problem), "{}", reply.body);
    }
    assert_eq!(fleet.writes().len(), 27);

    let faults = json!({"faults": {"BatchWriteItem": {"kind": "unprocessed", "processed": 2, "times": 1}}});
    fleet.replace(FleetDescription::from_value(faults).unwrap()).unwrap();
    fleet.clear_writes();
    let reply = batch((40..44).map(put_of).collect()).json();
    assert_eq!(reply["UnprocessedItems"], json!({"findings": [put_of(42), put_of(43)]}));
    assert_eq!(fleet.writes().len(), 2);
    assert_eq!(batch(vec![put_of(42), put_of(43)]).json(), json!({"UnprocessedItems": {}}));
    assert_eq!(fleet.writes().len(), 4);
}

#[test]
fn refuses_what_dynamodb_refuses() {
    let fleet = with_table();
    let put = |item: Value| ("PutItem", json!({"TableName": "findings", "Item": item}));
    let with = |more: Value| ("PutItem", and(json!({"TableName": "findings", "Item": item("p", "s")}), more));
    let get = |key: Value| ("GetItem", json!({"TableName": "findings", "Key": key}));
    let query = |condition: &str, more: Value| {
        let request = json!({
            "TableName": "findings", "KeyConditionExpression": condition, "ExpressionAttributeValues": {":p": {"S": "p"}},
        });
        ("Query", and(request, more))
    };
    let large = json!({"text": {"S": "x".repeat(409_600)}});
    for ((operation, request), problem) in [
        (put(json!({"pk": {"S": "p"}})), "Missing the key sk in the item"),
        (put(json!({"pk": {"S": "p"}, "sk": {"N": "1"}})), "Type mismatch for key sk"),
        (put(item("p", "")), "empty string value. Key: sk"),
        (put(item("p", &"x".repeat(1025))), "Size of sk"),
        (put(and(item("p", "s"), large)), "Item size has exceeded"),
        (put(and(item("p", "s"), json!({"n": {"N": "many"}}))), "converted to a numeric value: many"),
        (put(and(item("p", "s"), json!({"m": {"M": {"e": {"SS": []}}}}))), "may not be empty"),
        (put(and(item("p", "s"), json!({"e": {"NS": ["1", "1"]}}))), "duplicates"),
        (get(json!({"pk": {"S": "p"}})), "does not match the schema"),
        (get(and(item("p", "s"), json!({"n": {"N": "1"}}))), "does not match the schema"),
        (get(item("", "s")), "Key: pk"),
        (with(json!({"ConditionExpression": "#n = :p"})), "attribute name: #n"),
        (
            with(json!({"ConditionExpression": "n = :p", "ExpressionAttributeValues": {":q": {"S": ""}}})),
            "attribute value: :p",
        ),
        (
            with(json!({"ConditionExpression": "attribute_exists(pk)", "ExpressionAttributeNames": {"#n": "n"}})),
            "ExpressionAttributeNames unused in expressions: keys: {#n}",
        ),
        (
            with(
                json!({"ConditionExpression": "attribute_exists(pk)", "ExpressionAttributeValues": {":n": {"S": "n"}}}),
            ),
            "ExpressionAttributeValues unused in expressions: keys: {:n}",
        ),
        (with(json!({"ExpressionAttributeNames": {"#n": "n"}})), "can only be specified when using expressions"),
        (with(json!({"ExpressionAttributeValues": {}})), "must not be empty"),
        (query("pk = :p OR sk = :p", json!({})), "key condition not supported"),
        (query("begins_with(pk, :p)", json!({})), "key condition not supported"),
        (query("pk = :p AND owner = :p", json!({})), "key condition not supported"),
        (query("pk = :p", json!({"Limit": 0})), "greater than or equal to 1"),
        (query("pk = :p", json!({"ExclusiveStartKey": item("q", "s")})), "outside query boundaries"),
    ] {
        let reply = dynamodb(&fleet, operation, request);
        assert_eq!(code(&reply), "ValidationException");
        assert!(reply.json()["message"].as_str().unwrap().contains(problem), "{}", reply.body);
    }
    for (request, problem) in [
        (
            json!({"TableName": "findings", "Item": item("p", "s"), "ReturnValues": "ALL_OLD"}),
            "unknown field `ReturnValues`",
        ),
        (json!({"TableName": "findings", "Item": {"pk": {"S": "p", "N": "1"}}}), "expected"),
    ] {
        let reply = dynamodb(&fleet, "PutItem", request);
        assert_eq!(code(&reply), "SerializationException");
        assert!(reply.body.contains(problem), "{}", reply.body);
    }
    assert!(fleet.writes().is_empty());

    let gone = json!({"TableName": "gone", "Item": item("p", "s")});
    assert_eq!(code(&dynamodb(&fleet, "PutItem", gone)), "ResourceNotFoundException");
}

#[test]
fn keeps_the_services_apart() {
    let fleet = with_table();
    assert_eq!(code(&dynamodb(&fleet, "ListKeys", json!({}))), "UnknownOperationException");
    assert_eq!(kms(&fleet, "PutItem", json!({})).error_code(), "UnknownOperationException");
    assert_eq!(fleet.unknown_calls().len(), 2);
}

#[test]
fn faults_of_dynamodb() {
    let fleet = with_table();
    for (fault, status, expected) in [
        (json!("denied"), 400, "AccessDeniedException"),
        (json!("throttled"), 400, "ProvisionedThroughputExceededException"),
        (json!("server_error"), 500, "InternalServerError"),
        (json!("not_found"), 400, "ResourceNotFoundException"),
        (json!({"kind": "error", "code": "ThrottlingException"}), 400, "ThrottlingException"),
    ] {
        let faults = json!({"faults": {"PutItem": fault}});
        fleet.replace(FleetDescription::from_value(faults).unwrap()).unwrap();
        let reply = put(&fleet, item("p", "s"));
        assert_eq!((reply.status, code(&reply).as_str()), (status, expected));
    }
    assert!(fleet.writes().is_empty());
    for fault in ["garbled", "truncated"] {
        fleet.replace(FleetDescription::from_value(json!({"faults": {"PutItem": fault}})).unwrap()).unwrap();
        let reply = put(&fleet, item("p", fault));
        assert!(reply.status == 200 && serde_json::from_str::<Value>(&reply.body).is_err(), "{}", reply.body);
    }
    // What was spoilt is the answer.
    assert_eq!(fleet.writes().len(), 2);
}

/// Sends the call and hangs up without an answer, as a caller that crashes does.
fn abandon(fleet: &Fleet, operation: &str, sk: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let request = json!({"TableName": "findings", "Item": item("p", sk)}).to_string();
    let mut stream = connect(fleet);
    write!(
        stream,
        "POST / HTTP/1.1\r\nhost: fleet\r\ncontent-length: {}\r\nx-amz-target: DynamoDB_20120810.{operation}\r\n\r\n{request}",
        request.len()
    )
    .unwrap();
    runtime.block_on(fleet.stopped());
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(stream.read(&mut [0]).is_err(), "the call was answered");
}

#[test]
fn a_caller_can_crash_at_any_change() {
    for (when, left_behind) in [(When::Before, 1), (When::After, 2)] {
        let fleet = with_table();
        put(&fleet, item("p", "earlier"));
        assert_eq!(fleet.mutations(), 1);
        fleet.clear_writes();

        fleet.stop_at(2, when);
        assert_eq!(put(&fleet, item("p", "1")).status, 200);
        // Reading does not count.
        dynamodb(&fleet, "GetItem", json!({"TableName": "findings", "Key": item("p", "1")}));
        assert_eq!(fleet.mutations(), 1);
        abandon(&fleet, "PutItem", "2");
        // What the same caller has sent at the same time comes to nothing either.
        abandon(&fleet, "PutItem", "3");
        assert_eq!((fleet.writes().len(), fleet.mutations()), (left_behind, 3));

        fleet.resume();
        assert_eq!(publish(&fleet, &[TOPIC, ("Message", "m")]).status, 200);
        assert_eq!((fleet.published().len(), fleet.mutations()), (1, 1));
    }
}

#[test]
fn a_crash_can_come_with_a_message() {
    for (when, published) in [(When::Before, 0), (When::After, 1)] {
        let fleet = serve(json!({}));
        fleet.stop_at(1, when);
        let mut stream = connect(&fleet);
        let body = form_urlencoded::Serializer::new("Action=Publish&Message=m".to_owned())
            .append_pair(TOPIC.0, TOPIC.1)
            .finish();
        write!(
            stream,
            "POST / HTTP/1.1\r\nhost: fleet\r\ncontent-length: {}\r\ncontent-type: application/x-www-form-urlencoded\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(fleet.stopped());
        assert_eq!(fleet.published().len(), published);
    }
}

#[test]
fn an_index_knows_keys_only_and_learns_late() {
    let fleet = serve(json!({"tables": ["findings"], "index_lag_writes": 2, "table_page_size": 1}));
    let waiting = |pk: &str, sk: &str| and(item(pk, sk), json!({"waits": {"S": "pending#1"}, "more": {"S": "x"}}));
    let query = |after: &str| {
        let request = json!({
            "TableName": "findings", "IndexName": "waits", "KeyConditionExpression": "#waits = :waits AND #pk > :after",
            "ExpressionAttributeNames": {"#waits": "waits", "#pk": "pk"},
            "ExpressionAttributeValues": {":waits": {"S": "pending#1"}, ":after": {"S": after}},
        });
        dynamodb(&fleet, "Query", request).json()
    };
    for (pk, sk) in [("a", "1"), ("a", "2"), ("b", "1")] {
        put(&fleet, waiting(pk, sk));
    }
    let known = query("#");
    assert_eq!(known["Items"], json!([{"pk": {"S": "a"}, "sk": {"S": "1"}, "waits": {"S": "pending#1"}}]));
    assert_eq!(known["LastEvaluatedKey"], Value::Null, "the others are still to be learnt");
    // The write that takes the attribute away is learnt late too.
    put(&fleet, item("a", "1"));
    put(&fleet, waiting("c", "1"));
    let known = query("#");
    assert_eq!(known["Items"][0]["sk"], json!({"S": "1"}));
    assert_eq!(known["LastEvaluatedKey"]["pk"], json!({"S": "a"}), "a page of one");
    assert_eq!(query("a")["Items"][0]["pk"], json!({"S": "b"}));
    fleet.replace(FleetDescription::from_value(json!({"tables": ["findings"]})).unwrap()).unwrap();
    let keys: Vec<_> = query("#")["Items"].as_array().unwrap().iter().map(|it| it["pk"]["S"].clone()).collect();
    assert_eq!(keys, ["a", "b", "c"]);
    for (member, value) in [("ConsistentRead", json!(true)), ("IndexName", json!("other")), ("Limit", json!(1))] {
        let mut request = json!({
            "TableName": "findings", "IndexName": "waits", "KeyConditionExpression": "waits = :w",
            "ExpressionAttributeValues": {":w": {"S": "pending#1"}},
        });
        request[member] = value;
        assert_eq!(code(&dynamodb(&fleet, "Query", request)), "ValidationException", "{member}");
    }
}

#[test]
fn scans_page_by_page_and_filters_what_it_looked_at() {
    let fleet = serve(json!({"tables": ["findings"], "table_page_size": 2}));
    for sk in ["open#1", "past#1", "open#2", "lease"] {
        put(&fleet, item("p", sk));
    }
    let mut request = json!({
        "TableName": "findings", "FilterExpression": "begins_with(#sk, :open)",
        "ExpressionAttributeNames": {"#sk": "sk"}, "ExpressionAttributeValues": {":open": {"S": "open#"}},
    });
    let mut found = vec![];
    for pages in 1.. {
        let page = dynamodb(&fleet, "Scan", request.clone()).json();
        found.extend(page["Items"].as_array().unwrap().iter().map(|item| item["sk"]["S"].clone()));
        if page["LastEvaluatedKey"].is_null() {
            assert_eq!(pages, 3);
            break;
        }
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"].clone();
    }
    assert_eq!(found, ["open#1", "open#2"]);
}
