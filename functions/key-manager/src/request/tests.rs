//! Every field's wrong type, emptiness, length and characters; every combination that is none.

use domain::creation::{ORIGINS, USAGES, specs};
use proptest::prelude::*;
use serde_json::json;

use super::*;

const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";
const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const ROLE: &str = "arn:aws:iam::111122223333:role/payments";

fn here() -> Location {
    Location { partition: "aws".into(), region: "eu-west-1".into(), account_id: "111122223333".into() }
}

fn parse(payload: &Value) -> Result<Request, InvalidRequest> {
    Request::parse(payload.clone(), &here())
}

/// A request of an operation that is well.
fn good(operation: &str) -> Value {
    let own = match operation {
        "create_key" => json!({"purpose": "application"}),
        "create_multi_region_key" => json!({"purpose": "application", "replica_regions": ["eu-central-1"]}),
        "set_rotation_period" => json!({"key": ID, "rotation_period_days": 180}),
        "schedule_deletion" => json!({"key": ID, "confirm": KEY}),
        "set_alias" => json!({"key": ID, "alias": "alias/payments"}),
        _ => json!({"key": ID}),
    };
    let mut request = json!({"operation": operation});
    if OperationName::parse(operation).is_some_and(OperationName::changes) {
        request["requested_by"] = json!("Ann, change 42");
        request["client_token"] = json!("change-42");
    }
    for (name, value) in own.as_object().unwrap() {
        request[name] = value.clone();
    }
    request
}

/// The same with fields changed; `null` takes one out.
fn with(operation: &str, changes: &Value) -> Value {
    let mut request = good(operation);
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => {
                request.as_object_mut().unwrap().remove(name);
            }
            value => request[name] = value.clone(),
        }
    }
    request
}

/// The error names the field and says why.
#[track_caller]
fn refused(request: &Value, field: &str, why: &str) {
    let error = parse(request).expect_err(&request.to_string());
    let told = error.to_string();
    // The key of a tag is a part of its path.
    let is_named = error.field == field
        || (field == "tags" && error.field.starts_with("tags."))
        || (error.field == "request" && told.contains(&format!("`{field}`")));
    assert!(is_named && told.contains(why), "{request}\n{told}");
}

#[test]
fn every_operation_is_read() {
    for operation in OperationName::ALL {
        let request = parse(&good(operation.as_str())).unwrap();
        assert_eq!(request.operation(), operation);
        let is_change = matches!(request, Request::Change(_));
        assert_eq!(is_change, operation.changes());
    }
}

#[test]
fn what_is_not_said_has_its_default() {
    let Request::Change(Change { dry_run, action: Action::CreateKey(key), .. }) = parse(&good("create_key")).unwrap()
    else {
        panic!("no create_key");
    };
    assert!(!dry_run && !key.multi_region && key.rotation_period_days.is_none());
    assert_eq!(
        (key.key_spec.as_str(), key.usage(), key.origin.as_str()),
        ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "AWS_KMS")
    );
    let Request::Change(Change { action, .. }) = parse(&good("create_multi_region_key")).unwrap() else { panic!() };
    assert!(matches!(action, Action::CreateMultiRegionKey(NewKey { multi_region: true, .. })));
    let Request::Change(Change { action, .. }) = parse(&good("enable_rotation")).unwrap() else { panic!() };
    assert!(matches!(action, Action::EnableRotation(it) if it.rotation_period_days.get() == 365));
    let Request::Change(Change { action, .. }) = parse(&good("schedule_deletion")).unwrap() else { panic!() };
    assert!(matches!(action, Action::ScheduleDeletion(it) if it.waiting_period_days.get() == 30));
    let Request::Change(Change { action, .. }) = parse(&good("cancel_deletion")).unwrap() else { panic!() };
    assert!(matches!(action, Action::CancelDeletion(it) if !it.enable));
    assert!(matches!(
        parse(&good("audit_key")).unwrap(),
        Request::AuditKey(it) if it.days.get() == 90 && it.format == AuditFormat::Json
    ));
    assert!(matches!(parse(&good("list_operations")).unwrap(), Request::ListOperations(it) if it.limit.get() == 50));
}

#[test]
fn the_whole_of_a_request() {
    for payload in [json!(null), json!([]), json!("create_key"), json!(7)] {
        refused(&payload, "request", "is not an object");
    }
    refused(&json!({}), "operation", "is missing");
    refused(&json!({"operation": 7}), "operation", "is no text");
    refused(&json!({"operation": ""}), "operation", "`` is none");
    refused(&json!({"operation": "delete_key"}), "operation", "`delete_key` is none");
    refused(&json!({"operation": "Create_Key"}), "operation", "is none");
    let mut long = good("create_key");
    long["description"] = json!("x".repeat(MAX_REQUEST_BYTES));
    refused(&long, "request", "bytes; at most 262144 are taken");
    // Just as long as is taken: it is refused for another reason.
    let rest = good("create_key").to_string().len() + r#","description":"""#.len();
    long["description"] = json!("x".repeat(MAX_REQUEST_BYTES - rest));
    refused(&long, "description", "at most 8192 are taken");
}

#[test]
fn an_unknown_field_is_refused_in_every_operation() {
    for operation in OperationName::ALL {
        let mut request = good(operation.as_str());
        request["bypass_policy_lockout_safety_check"] = json!(true);
        refused(&request, "bypass_policy_lockout_safety_check", "unknown field");
    }
    refused(&with("create_key", &json!({"principals": {"owners": []}})), "principals.owners", "unknown field");
    // Fields of other operations.
    refused(&with("rotate_key", &json!({"rotation_period_days": 365})), "rotation_period_days", "unknown field");
    refused(&with("audit_key", &json!({"client_token": "t"})), "client_token", "unknown field");
    refused(&with("list_operations", &json!({"dry_run": true})), "dry_run", "unknown field");
    refused(&with("cancel_deletion", &json!({"confirm": KEY})), "confirm", "unknown field");
}

#[test]
fn a_field_that_is_needed_is_missed() {
    for operation in OperationName::ALL.into_iter().filter(|it| it.changes()) {
        for field in ["requested_by", "client_token"] {
            refused(&with(operation.as_str(), &json!({field: null})), field, "missing field");
        }
    }
    for (operation, field) in [
        ("rotate_key", "key"),
        ("enable_rotation", "key"),
        ("set_rotation_period", "key"),
        ("set_rotation_period", "rotation_period_days"),
        ("cancel_deletion", "key"),
        ("retire_key", "key"),
        ("schedule_deletion", "key"),
        ("schedule_deletion", "confirm"),
        ("set_alias", "key"),
        ("set_alias", "alias"),
        ("audit_key", "key"),
    ] {
        refused(&with(operation, &json!({field: null})), field, "missing field");
    }
    refused(&with("create_key", &json!({"purpose": null})), "purpose", "needs `purpose` or `policy`");
    refused(&with("create_multi_region_key", &json!({"replica_regions": null})), "replica_regions", "is missing");
    refused(&with("list_operations", &json!({"key": null})), "key", "either `key` or `client_token`");
}

/// Every field of every operation with its JSON type.
const FIELDS: [(&str, &str, &str); 39] = [
    ("create_key", "requested_by", "string"),
    ("create_key", "client_token", "string"),
    ("create_key", "dry_run", "boolean"),
    ("create_key", "purpose", "enum"),
    ("create_key", "principals", "map"),
    ("create_key", "policy", "map"),
    ("create_key", "description", "string"),
    ("create_key", "key_spec", "string"),
    ("create_key", "key_usage", "string"),
    ("create_key", "origin", "string"),
    ("create_key", "multi_region", "boolean"),
    ("create_key", "replica_regions", "list"),
    ("create_key", "rotation_period_days", "number"),
    ("create_key", "alias", "string"),
    ("create_key", "tags", "map"),
    ("create_multi_region_key", "replica_regions", "list"),
    ("create_multi_region_key", "multi_region", "boolean"),
    ("rotate_key", "key", "string"),
    ("enable_rotation", "key", "string"),
    ("enable_rotation", "rotation_period_days", "number"),
    ("set_rotation_period", "key", "string"),
    ("set_rotation_period", "rotation_period_days", "number"),
    ("cancel_deletion", "key", "string"),
    ("cancel_deletion", "enable", "boolean"),
    ("retire_key", "key", "string"),
    ("schedule_deletion", "key", "string"),
    ("schedule_deletion", "confirm", "string"),
    ("schedule_deletion", "waiting_period_days", "number"),
    ("set_alias", "alias", "string"),
    ("set_alias", "key", "string"),
    ("set_alias", "expected_current", "string"),
    ("audit_key", "requested_by", "string"),
    ("audit_key", "key", "string"),
    ("audit_key", "days", "number"),
    ("audit_key", "format", "enum"),
    ("list_operations", "requested_by", "string"),
    ("list_operations", "key", "string"),
    ("list_operations", "client_token", "string"),
    ("list_operations", "limit", "number"),
];

#[test]
fn a_wrong_type_is_refused_by_name() {
    for (operation, field, kind) in FIELDS {
        let samples = [
            ("string", json!("x")),
            ("number", json!(1)),
            ("number", json!(1.5)),
            ("boolean", json!(true)),
            ("list", json!(["x"])),
            ("map", json!({"x": 1})),
        ];
        for (sample_kind, sample) in samples {
            // The value of an enum is a string; a string that is none of its values is another test's.
            if sample_kind == kind || (kind == "enum" && sample_kind == "string") {
                continue;
            }
            let request = with(operation, &json!({field: sample}));
            refused(&request, field, "");
        }
        if kind == "number" {
            refused(&with(operation, &json!({field: 90.5})), field, "expected");
            refused(&with(operation, &json!({field: "90"})), field, "expected");
        }
    }
    // A list of the values of an object's fields is no object.
    refused(&with("create_key", &json!({"principals": [[ROLE], []]})), "principals", "expected an object");
    refused(&with("create_key", &json!({"principals": {"users": "x"}})), "principals.users", "expected a sequence");
    for (request, field) in [
        (with("create_key", &json!({"tags": {"owner": 7}})), "tags.owner"),
        (with("create_key", &json!({"principals": {"users": [7]}})), "principals.users[0]"),
        (with("create_multi_region_key", &json!({"replica_regions": [7]})), "replica_regions[0]"),
    ] {
        refused(&request, field, "expected a string");
    }
}

/// What no field of that name takes: where in it the error is, and a part of why. Wrong types, emptiness, lengths, characters.
#[expect(clippy::too_many_lines, reason = "a table")]
fn bad(field: &str) -> Vec<(Value, &'static str, &'static str)> {
    const STRING: &str = "expected a string";
    let of_types = |wrong: &'static str, why: &'static str| -> Vec<(Value, &'static str, &'static str)> {
        let samples = [("s", json!("x")), ("n", json!(90)), ("n", json!(1.5)), ("b", json!(true)), ("l", json!(["x"]))];
        let samples = samples.into_iter().chain([("m", json!({"x": 1}))]);
        samples.filter(|(kind, _)| wrong.contains(kind)).map(|(_, sample)| (sample, "", why)).collect()
    };
    let text = |more: Vec<(Value, &'static str)>| {
        let more = more.into_iter().map(|(sample, why)| (sample, "", why));
        of_types("nblm", STRING).into_iter().chain([(json!(""), "", "")]).chain(more).collect::<Vec<_>>()
    };
    let long = |length: usize| json!("a".repeat(length));
    let number = |least: i64, greatest: i64| {
        let mut all = of_types("sblm", "");
        let outside = [json!(least - 1), json!(greatest + 1), json!(-1), json!(1_i64 << 32)];
        all.extend(outside.map(|sample| (sample, "", "is out of range")));
        all.push((json!(90.5), "", "expected"));
        all.push((json!(""), "", "expected"));
        all
    };
    let key = || {
        text(vec![
            (long(257), "at most 256 are taken"),
            (json!("alias/payments"), "is no key ID or key ARN"),
            (json!("a b"), "is no key ID or key ARN"),
            (json!("*"), "is no key ID or key ARN"),
            (json!("arn:aws:kms:eu-west-1:111122223333:alias/payments"), "is no key ARN"),
            (json!("arn:aws:kms:eu-west-1:1111:key/x"), "is no key ARN"),
        ])
    };
    let roles = |count: usize| json!((0..count).map(|n| format!("{ROLE}{n}")).collect::<Vec<_>>());
    match field {
        "requested_by" => text(vec![
            (long(257), "at most 256 are taken"),
            (json!("   "), "is empty"),
            (json!("Ann\nBob"), "control characters"),
            (json!("\u{7f}"), "control characters"),
        ]),
        "client_token" => text(vec![
            (long(65), "at most 64 are taken"),
            (json!("a b"), "letters, digits"),
            (json!("a/b"), "letters, digits"),
            (json!("ü"), "letters, digits"),
        ]),
        "dry_run" | "enable" | "multi_region" => {
            let mut all = of_types("snlm", "expected a boolean");
            all.push((json!("true"), "", "expected a boolean"));
            all
        }
        "purpose" => {
            [of_types("nblm", ""), vec![(json!(""), "", "unknown variant"), (json!("Database"), "", "unknown variant")]]
                .concat()
        }
        "format" => {
            [of_types("nblm", ""), vec![(json!(""), "", "unknown variant"), (json!("html"), "", "unknown variant")]]
                .concat()
        }
        "principals" => {
            let mut all = of_types("snbl", "expected an object");
            all.push((json!({"owners": []}), ".owners", "unknown field"));
            for (list, of_list, first) in
                [("users", ".users", ".users[0]"), ("administrators", ".administrators", ".administrators[0]")]
            {
                all.extend(["x", ""].map(|sample| (json!({list: sample}), of_list, "expected a sequence")));
                all.push((json!({list: {"x": 1}}), of_list, "expected a sequence"));
                all.push((json!({list: [7]}), first, STRING));
                all.push((json!({list: [""]}), first, "is empty"));
                all.push((json!({list: [format!("{ROLE}{}", "r".repeat(2048))]}), first, "at most 2048 are taken"));
                all.push((json!({list: ["*"]}), first, "is no ARN of a role or a user"));
                all.push((
                    json!({list: ["arn:aws:iam::111122223333:role/a b"]}),
                    first,
                    "is no ARN of a role or a user",
                ));
                all.push((json!({list: roles(MAX_PRINCIPALS + 1)}), of_list, "at most 20 are taken"));
            }
            all
        }
        "policy" => {
            let mut all = of_types("snbl", "expected a map");
            all.push((json!({}), "", "is empty"));
            all.push((json!({"Id": "i".repeat(32 * 1024)}), "", "KMS takes 32768"));
            all
        }
        "description" => text(vec![(long(8193), "at most 8192 are taken")]),
        "key_spec" => text(vec![(json!("RSA_1024"), "is none of"), (json!("symmetric_default"), "is none of")]),
        "key_usage" => {
            text(vec![(json!("ENCRYPT"), "does not go with"), (json!("encrypt_decrypt"), "does not go with")])
        }
        "origin" => text(vec![(json!("AWS"), "does not go with"), (json!("aws_kms"), "does not go with")]),
        "replica_regions" => {
            let mut all = of_types("snbm", "expected a sequence");
            all.push((json!([]), "", "is missing"));
            all.push((json!([7]), "[0]", STRING));
            all.push((json!([""]), "[0]", "is empty"));
            all.push((json!([format!("eu-{}-1", "a".repeat(40))]), "[0]", "at most 32 are taken"));
            all.push((json!(["EU-WEST-1"]), "[0]", "is no name of a Region"));
            let regions: Vec<String> = (1..=11).map(|n| format!("eu-north-{n}")).collect();
            all.push((json!(regions), "", "at most 10 are taken"));
            all
        }
        "rotation_period_days" => number(90, 2560),
        "waiting_period_days" => number(7, 30),
        "days" => number(1, 90),
        "limit" => number(1, 100),
        "alias" => text(vec![
            (json!(format!("alias/{}", "a".repeat(251))), "at most 256 are taken"),
            (json!("alias/"), "is empty"),
            (json!("payments"), "does not begin with `alias/`"),
            (json!("alias/a b"), "has the character ' '"),
            (json!("alias/aws/s3"), "AWS's own"),
        ]),
        "tags" => {
            let mut all = of_types("snbl", "expected a map");
            let count: Map<String, Value> = (0..48).map(|n| (format!("k{n}"), json!("v"))).collect();
            all.push((json!(count), "", "at most 47 are taken"));
            all.push((json!({"owner": 7}), ".owner", STRING));
            all.push((json!({"owner": "v".repeat(257)}), ".owner", "at most 256 are taken"));
            all.push((json!({"owner": "a&b"}), ".owner", "has the character '&'"));
            all.push((json!({"": "x"}), "", "is empty"));
            all.push((json!({"k".repeat(129): "x"}), "", "at most 128 are taken"));
            all.push((json!({"a;b": "x"}), "", "has the character ';'"));
            all.push((json!({"aws:x": "x"}), "", "AWS's own"));
            all.push((json!({"kms-compliance/managed": "true"}), "", "the product's own"));
            all
        }
        "key" | "expected_current" => key(),
        "confirm" => text(vec![
            (long(257), "at most 256 are taken"),
            (json!(ID), "is no key ARN"),
            (json!(format!("{KEY} ")), "letters, digits"),
            (json!(format!("{KEY}0")), "another key"),
        ]),
        _ => panic!("{field} has no line here"),
    }
}

/// Each field of each operation, as the schema has them: none is forgotten. The schema refuses the same.
#[test]
fn every_field_refuses_what_it_does_not_take() {
    let schema: Value =
        serde_json::from_str(include_str!("../../../../docs/key-manager-requests.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let (mut fields, mut refusals, mut taken) = (0, 0, Vec::new());
    for of_operation in schema["oneOf"].as_array().unwrap() {
        let operation = of_operation["title"].as_str().unwrap();
        assert!(validator.is_valid(&good(operation)), "{operation}");
        for field in of_operation["properties"].as_object().unwrap().keys().filter(|it| *it != "operation") {
            fields += 1;
            for (sample, path, why) in bad(field) {
                refusals += 1;
                let request = with(operation, &json!({field: sample}));
                let error = parse(&request).expect_err(&request.to_string());
                // The key of a tag is a part of its path.
                let is_named =
                    error.field == format!("{field}{path}") || (field == "tags" && error.field.starts_with("tags."));
                assert!(is_named && error.problem.contains(why), "{request}\n{error}");
                // Bytes of a policy, and what two fields are to each other, are beyond a schema.
                if !["KMS takes 32768", "another key"].contains(&why) {
                    taken.extend(validator.is_valid(&request).then(|| request.to_string()));
                }
            }
            // Null is no value, or the same as nothing.
            let mut request = good(operation);
            request[field] = Value::Null;
            if let Err(error) = parse(&request) {
                let is_missing = error.problem.contains("is missing") || error.problem.contains("is needed");
                assert!(error.field == *field && (is_missing || error.problem.contains("null")), "{request}\n{error}");
            }
        }
    }
    assert!(taken.is_empty(), "the schema takes {taken:#?}");
    assert!(fields == 72 && refusals >= 699, "{fields} fields, {refusals} refusals");
}

#[test]
fn emptiness_is_refused_by_name() {
    for (operation, field, kind) in FIELDS.into_iter().filter(|(_, _, kind)| ["string", "enum"].contains(kind)) {
        refused(&with(operation, &json!({field: ""})), field, if kind == "enum" { "unknown variant" } else { "" });
    }
    refused(&with("create_key", &json!({"requested_by": "   "})), "requested_by", "is empty");
    refused(&with("create_key", &json!({"description": ""})), "description", "is empty");
    refused(&with("create_key", &json!({"purpose": null, "policy": {}})), "policy", "is empty");
    refused(&with("create_key", &json!({"tags": {"": "x"}})), "tags", "is empty");
    refused(&with("create_multi_region_key", &json!({"replica_regions": []})), "replica_regions", "is missing");
    refused(&with("create_multi_region_key", &json!({"replica_regions": [""]})), "replica_regions[0]", "is empty");
    refused(&with("create_key", &json!({"principals": {"users": [""]}})), "principals.users[0]", "is empty");
    // AWS takes a tag without a value.
    parse(&with("create_key", &json!({"tags": {"owner": ""}}))).unwrap();
}

/// One character more than is taken.
#[test]
fn lengths() {
    for (field, max, fill) in [("requested_by", 256, "é"), ("client_token", 64, "t"), ("description", 8192, "é")] {
        parse(&with("create_key", &json!({field: fill.repeat(max)}))).unwrap();
        refused(&with("create_key", &json!({field: fill.repeat(max + 1)})), field, &format!("at most {max} are taken"));
    }
    let alias = |length: usize| format!("alias/{}", "a".repeat(length - "alias/".len()));
    parse(&with("set_alias", &json!({"alias": alias(256)}))).unwrap();
    refused(&with("set_alias", &json!({"alias": alias(257)})), "alias", "at most 256 are taken");
    parse(&with("create_key", &json!({"tags": {"k".repeat(128): "v".repeat(256)}}))).unwrap();
    refused(&with("create_key", &json!({"tags": {"k".repeat(129): "v"}})), "tags", "at most 128 are taken");
    refused(&with("create_key", &json!({"tags": {"k": "v".repeat(257)}})), "tags.k", "at most 256 are taken");
    let tags = |count: usize| (0..count).map(|n| (format!("k{n}"), json!("v"))).collect::<Map<String, Value>>();
    parse(&with("create_key", &json!({"tags": tags(MAX_TAGS)}))).unwrap();
    refused(&with("create_key", &json!({"tags": tags(MAX_TAGS + 1)})), "tags", "at most 47 are taken");
    refused(&with("retire_key", &json!({"key": "a".repeat(257)})), "key", "at most 256 are taken");
    let role = |length: usize| format!("{ROLE}/{}", "r".repeat(length - ROLE.len() - 1));
    parse(&with("create_key", &json!({"principals": {"users": [role(2048)]}}))).unwrap();
    refused(
        &with("create_key", &json!({"principals": {"users": [role(2049)]}})),
        "principals.users[0]",
        "at most 2048",
    );
    let roles = |count: usize| (0..count).map(|n| format!("{ROLE}{n}")).collect::<Vec<_>>();
    for list in ["users", "administrators"] {
        parse(&with("create_key", &json!({"principals": {list: roles(MAX_PRINCIPALS)}}))).unwrap();
        let request = with("create_key", &json!({"principals": {list: roles(MAX_PRINCIPALS + 1)}}));
        refused(&request, &format!("principals.{list}"), "at most 20 are taken");
    }
    let regions = |count: usize| (1..=count).map(|n| format!("eu-north-{n}")).collect::<Vec<_>>();
    parse(&with("create_multi_region_key", &json!({"replica_regions": regions(MAX_REPLICA_REGIONS)}))).unwrap();
    let request = with("create_multi_region_key", &json!({"replica_regions": regions(MAX_REPLICA_REGIONS + 1)}));
    refused(&request, "replica_regions", "at most 10 are taken");
    let policy = |length: usize| json!({"Id": "i".repeat(length - r#"{"Id":""}"#.len())});
    parse(&with("create_key", &json!({"purpose": null, "policy": policy(32 * 1024)}))).unwrap();
    let request = with("create_key", &json!({"purpose": null, "policy": policy(32 * 1024 + 1)}));
    refused(&request, "policy", "has 32769 bytes");
}

#[test]
fn characters() {
    for (operation, field, value, why) in [
        ("create_key", "requested_by", json!("Ann\nBob"), "control characters"),
        ("create_key", "client_token", json!("a b"), "has the character ' '"),
        ("create_key", "client_token", json!("a/b"), "has the character '/'"),
        ("create_key", "client_token", json!("ü"), "letters, digits"),
        ("create_key", "alias", json!("payments"), "does not begin with `alias/`"),
        ("create_key", "alias", json!("alias/"), "is empty"),
        ("create_key", "alias", json!("alias/a b"), "has the character ' '"),
        ("create_key", "alias", json!("alias/a:b"), "has the character ':'"),
        ("create_key", "alias", json!("alias/aws/s3"), "AWS's own"),
        ("set_alias", "alias", json!("alias/aws/s3"), "AWS's own"),
        ("create_key", "key_spec", json!("RSA_1024"), "is none of"),
        ("create_key", "key_spec", json!("symmetric_default"), "is none of"),
        ("create_key", "key_usage", json!("ENCRYPT"), "does not go with"),
        ("create_key", "origin", json!("aws_kms"), "does not go with"),
        ("create_key", "purpose", json!("storage"), "unknown variant"),
        ("audit_key", "format", json!("html"), "expected one of `json`, `table`, `page`"),
        ("retire_key", "key", json!("alias/payments"), "is no key ID or key ARN"),
        ("retire_key", "key", json!("key with spaces"), "is no key ID or key ARN"),
        ("retire_key", "key", json!("*"), "is no key ID or key ARN"),
        ("retire_key", "key", json!("arn:aws:kms:eu-west-1:111122223333:alias/payments"), "is no key ARN"),
        ("retire_key", "key", json!("arn:aws:kms:eu-west-1:111122223333:key/"), "is empty"),
        ("retire_key", "key", json!("arn:aws:kms:eu-west-1:1111:key/x"), "is no key ARN"),
        ("retire_key", "key", json!("arn:aws:s3:::bucket"), "is no key ARN"),
        ("schedule_deletion", "confirm", json!(ID), "is no key ARN"),
        ("set_alias", "expected_current", json!("alias/old"), "is no key ID or key ARN"),
    ] {
        refused(&with(operation, &json!({field: value})), field, why);
    }
    for (key, why) in [
        ("kms-compliance/managed", "the product's own"),
        ("KMS-Compliance/managed", "the product's own"),
        ("kms-compliance/client-token", "the product's own"),
        ("aws:cloudformation:stack-name", "AWS's own"),
        ("AWS:x", "AWS's own"),
        ("a;b", "has the character ';'"),
        ("a\u{202e}b", "has the character"),
    ] {
        refused(&with("create_key", &json!({"tags": {key: "x"}})), "tags", why);
    }
    refused(&with("create_key", &json!({"tags": {"owner": "a&b"}})), "tags.owner", "has the character '&'");
    parse(&with("create_key", &json!({"tags": {"Team Ä": "a_b.c:d/e=f+g-h@i 1"}}))).unwrap();
    for principal in [
        "*",
        "111122223333",
        "arn:aws:iam::111122223333:root",
        "arn:aws:iam::111122223333:role/*",
        "arn:aws:iam::111122223333:role/",
        "arn:aws:iam::*:role/x",
        "arn:aws:iam::111122223333:group/x",
        "arn:aws:sts::111122223333:assumed-role/x/y",
        "s3.amazonaws.com",
        "AROAEXAMPLE",
    ] {
        let request = with("create_key", &json!({"principals": {"users": [principal]}}));
        refused(&request, "principals.users[0]", "is no ARN of a role or a user");
    }
    for region in ["EU-WEST-1", "eu-west", "eu--1", "eu-west-1a", "europe", "eu-west-123", "-1", "abcdef-west-1"] {
        let request = with("create_multi_region_key", &json!({"replica_regions": [region]}));
        refused(&request, "replica_regions[0]", "is no name of a Region");
    }
}

#[test]
fn numbers_end_where_aws_says() {
    for (operation, field, least, greatest) in [
        ("create_key", "rotation_period_days", 90, 2560),
        ("enable_rotation", "rotation_period_days", 90, 2560),
        ("set_rotation_period", "rotation_period_days", 90, 2560),
        ("schedule_deletion", "waiting_period_days", 7, 30),
        ("audit_key", "days", 1, 90),
        ("list_operations", "limit", 1, 100),
    ] {
        for fits in [least, greatest] {
            parse(&with(operation, &json!({field: fits}))).unwrap();
        }
        for outside in [least - 1, greatest + 1, -1, 4_294_967_296_i64 + least] {
            refused(&with(operation, &json!({field: outside})), field, "is out of range");
        }
    }
}

#[test]
fn combinations_that_are_none() {
    let policy = json!({"Version": "2012-10-17", "Statement": []});
    for (request, field, why) in [
        (with("create_key", &json!({"policy": policy})), "policy", "does not go with `purpose`"),
        (
            with("create_key", &json!({"purpose": null, "policy": policy, "principals": {"users": [ROLE]}})),
            "principals",
            "go with `purpose` only",
        ),
        (
            with("create_key", &json!({"replica_regions": ["eu-central-1"]})),
            "replica_regions",
            "create_multi_region_key",
        ),
        (with("create_multi_region_key", &json!({"multi_region": false})), "multi_region", "makes no other key"),
        (
            with("create_multi_region_key", &json!({"replica_regions": ["eu-west-1"]})),
            "replica_regions[0]",
            "own Region",
        ),
        (
            with("create_multi_region_key", &json!({"replica_regions": ["us-east-1", "us-east-1"]})),
            "replica_regions[1]",
            "twice",
        ),
        (
            with("create_multi_region_key", &json!({"replica_regions": ["us-gov-west-1"]})),
            "replica_regions[0]",
            "another partition",
        ),
        (
            with("create_multi_region_key", &json!({"replica_regions": ["cn-north-1"]})),
            "replica_regions[0]",
            "another partition",
        ),
        (with("create_key", &json!({"key_spec": "RSA_2048"})), "key_usage", "is missing"),
        (
            with("create_key", &json!({"key_spec": "RSA_4096", "key_usage": "KEY_AGREEMENT"})),
            "key_usage",
            "does not go",
        ),
        (with("create_key", &json!({"key_spec": "SM2", "key_usage": "SIGN_VERIFY"})), "key_spec", "China"),
        (with("create_key", &json!({"origin": "EXTERNAL"})), "origin", "only `AWS_KMS`"),
        (
            with(
                "create_key",
                &json!({"purpose": "backup", "key_spec": "HMAC_256", "key_usage": "GENERATE_VERIFY_MAC"}),
            ),
            "key_spec",
            "`SYMMETRIC_DEFAULT` keys only",
        ),
        (with("create_key", &json!({"origin": "AWS_CLOUDHSM", "multi_region": true})), "multi_region", ""),
        (
            with(
                "create_key",
                &json!({"key_spec": "HMAC_256", "key_usage": "GENERATE_VERIFY_MAC", "rotation_period_days": 90}),
            ),
            "rotation_period_days",
            "rotate by themselves",
        ),
        (
            with("create_key", &json!({"purpose": "database", "key_spec": "RSA_2048", "key_usage": "SIGN_VERIFY"})),
            "key_spec",
            "`SYMMETRIC_DEFAULT` keys only",
        ),
        (
            with("create_key", &json!({"principals": {"administrators": [ROLE], "users": [ROLE]}})),
            "principals.users[0]",
            "does not use it",
        ),
        (with("create_key", &json!({"principals": {"users": [ROLE, ROLE]}})), "principals.users[1]", "twice"),
        (with("schedule_deletion", &json!({"key": "other"})), "confirm", "another key"),
        (
            with("schedule_deletion", &json!({"key": format!("arn:aws:kms:eu-west-1:444455556666:key/{ID}")})),
            "confirm",
            "another key",
        ),
        (with("set_alias", &json!({"expected_current": KEY})), "expected_current", "nothing to change"),
        (with("list_operations", &json!({"client_token": "t"})), "key", "not both"),
    ] {
        refused(&request, field, why);
    }
}

#[test]
fn what_a_partition_does_not_have_is_refused_there() {
    let china = Location { partition: "aws-cn".into(), region: "cn-north-1".into(), account_id: "111122223333".into() };
    let request = |spec: &str, usage: &str| with("create_key", &json!({"key_spec": spec, "key_usage": usage}));
    let error = Request::parse(request("ML_KEM_768", "ENCAPSULATE_DECAPSULATE"), &china).unwrap_err();
    assert!(error.field == "key_spec" && error.problem.contains("China"), "{error}");
    assert!(Request::parse(request("SM2", "SIGN_VERIFY"), &china).is_ok());
}

#[test]
fn an_arn_is_of_here() {
    let other_region = KEY.replace("eu-west-1", "us-east-1");
    let other_partition = KEY.replace("arn:aws:", "arn:aws-cn:");
    for (operation, field) in [
        ("rotate_key", "key"),
        ("enable_rotation", "key"),
        ("set_rotation_period", "key"),
        ("cancel_deletion", "key"),
        ("retire_key", "key"),
        ("schedule_deletion", "key"),
        ("schedule_deletion", "confirm"),
        ("set_alias", "key"),
        ("set_alias", "expected_current"),
        ("audit_key", "key"),
        ("list_operations", "key"),
    ] {
        refused(&with(operation, &json!({field: other_region})), field, "of another Region than the function");
        refused(&with(operation, &json!({field: other_partition})), field, "of another partition than the function");
    }
    let role = ROLE.replace("arn:aws:", "arn:aws-cn:");
    for list in ["users", "administrators"] {
        let request = with("create_key", &json!({"principals": {list: [role]}}));
        refused(&request, &format!("principals.{list}[0]"), "of another partition");
    }
    // `replica_regions` is about other Regions: that is what it is for.
    parse(&with("create_multi_region_key", &json!({"replica_regions": ["us-east-1", "ap-southeast-2"]}))).unwrap();
}

#[test]
fn an_error_repeats_little_of_what_was_sent() {
    let error = parse(&with("create_key", &json!({"x".repeat(10_000): 1}))).unwrap_err().to_string();
    assert!(error.len() < 1_100, "{}", error.len());
    let error = parse(&with("create_key", &json!({"purpose": "\u{1b}[31mx"}))).unwrap_err().to_string();
    assert!(!error.contains('\u{1b}'), "{error:?}");
}

#[test]
fn the_same_request_has_the_same_text() {
    let action = |request: &Value| match parse(request).unwrap() {
        Request::Change(change) => serde_json::to_string(&change.action).unwrap(),
        _ => panic!(),
    };
    let plain = action(&with("create_key", &json!({"tags": {"b": "1", "a": "2"}})));
    assert_eq!(
        plain,
        action(&with("create_key", &json!({"tags": {"a": "2", "b": "1"}, "key_spec": "SYMMETRIC_DEFAULT"})))
    );
    assert_ne!(plain, action(&with("create_key", &json!({"tags": {"a": "2", "b": "2"}}))));
    assert!(plain.starts_with(r#"{"operation":"create_key","#), "{plain}");
}

/// Every combination there is: accepted exactly where the table of docs/key-combinations.md says, as far as the function's
/// own rules go. It makes keys of the origin `AWS_KMS`, asks for a usage but for `SYMMETRIC_DEFAULT`, and generates policies
/// for databases and backups for such keys alone.
#[test]
fn a_key_is_accepted_exactly_where_the_table_says() {
    const PARTITIONS: [(&str, &str, &str); 2] =
        [("aws", "eu-west-1", "eu-central-1"), ("aws-cn", "cn-north-1", "cn-northwest-1")];
    let or_none = |all: &[&'static str]| all.iter().copied().map(Some).chain([None]).collect::<Vec<_>>();
    let (usages, origins) = (or_none(&USAGES), or_none(&ORIGINS));
    let mut combinations = Vec::new();
    for spec in specs() {
        for &usage in &usages {
            for &origin in &origins {
                for purpose in ["application", "database", "backup"] {
                    for flags in 0..8_u8 {
                        let [multi_region, replicates, rotates] = [1, 2, 4].map(|flag| flags & flag > 0);
                        for partition in PARTITIONS {
                            combinations.push((
                                spec,
                                usage,
                                origin,
                                purpose,
                                multi_region,
                                replicates,
                                rotates,
                                partition,
                            ));
                        }
                    }
                }
            }
        }
    }
    let mut accepted = 0;
    for (spec, usage, origin, purpose, multi_region, replicates, rotates, (partition, region, other)) in &combinations {
        let location =
            Location { partition: (*partition).into(), region: (*region).into(), account_id: "111122223333".into() };
        let operation = if *replicates { "create_multi_region_key" } else { "create_key" };
        let mut request = with(operation, &json!({"purpose": purpose, "key_spec": spec}));
        if *replicates {
            request["replica_regions"] = json!([other]);
        } else {
            request["multi_region"] = json!(multi_region);
        }
        let rotation = rotates.then_some(180);
        for (field, value) in
            [("key_usage", json!(usage)), ("origin", json!(origin)), ("rotation_period_days", json!(rotation))]
        {
            if !value.is_null() {
                request[field] = value;
            }
        }
        let shape = Shape {
            spec,
            usage: usage.unwrap_or("ENCRYPT_DECRYPT"),
            origin: origin.unwrap_or("AWS_KMS"),
            is_multi_region: *multi_region || *replicates,
            rotates: *rotates,
        };
        let is_ours = shape.origin == "AWS_KMS"
            && (usage.is_some() || *spec == SYMMETRIC_DEFAULT)
            && (*purpose == "application" || *spec == SYMMETRIC_DEFAULT);
        let answer = Request::parse(request.clone(), &location);
        assert_eq!(answer.is_ok(), shape.check(partition).is_ok() && is_ours, "{request} {answer:?}");
        accepted += usize::from(answer.is_ok());
    }
    assert_eq!((combinations.len(), accepted), (28_800, 576));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Any JSON is a request or refused.
    #[test]
    fn any_payload_has_an_answer(text in "[\\[\\]{}\":,a-z0-9_ ]{0,60}", operation in 0..11_usize, field in 0..FIELDS.len()) {
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        let _ = parse(&value);
        let mut request = good(OperationName::ALL[operation].as_str());
        request[FIELDS[field].1] = value;
        let _ = parse(&request);
    }
}
