//! JSON Schema of every request and answer, from the types; `docs/` keeps it.

use std::fs;
use std::path::Path;

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use crate::answer::{Answer, AuditForPeople, Operations};
use crate::audit::Audit;
use crate::request::{
    AuditKey, CancelDeletion, ChangeFields, EnableRotation, ListOperations, NewKey, OperationName, RetireKey,
    RotateKey, ScheduleDeletion, SetAlias, SetRotationPeriod,
};

/// The schema of one operation's requests.
fn of_request(operation: OperationName, generator: &mut SchemaGenerator) -> Value {
    let own = match operation {
        OperationName::CreateKey | OperationName::CreateMultiRegionKey => NewKey::json_schema(generator),
        OperationName::RotateKey => RotateKey::json_schema(generator),
        OperationName::EnableRotation => EnableRotation::json_schema(generator),
        OperationName::SetRotationPeriod => SetRotationPeriod::json_schema(generator),
        OperationName::CancelDeletion => CancelDeletion::json_schema(generator),
        OperationName::RetireKey => RetireKey::json_schema(generator),
        OperationName::ScheduleDeletion => ScheduleDeletion::json_schema(generator),
        OperationName::SetAlias => SetAlias::json_schema(generator),
        OperationName::AuditKey => AuditKey::json_schema(generator),
        OperationName::ListOperations => ListOperations::json_schema(generator),
    };
    let mut schema = own.to_value();
    let mut required = vec![json!("operation")];
    let own_required = schema["required"].as_array().cloned().unwrap_or_default();
    if operation.changes() {
        let common = ChangeFields::json_schema(generator).to_value();
        for (name, property) in common["properties"].as_object().unwrap() {
            schema["properties"][name] = property.clone();
        }
        required.extend(common["required"].as_array().unwrap().iter().cloned());
    }
    required.extend(own_required);
    let properties = schema["properties"].as_object_mut().unwrap();
    properties.insert("operation".to_owned(), json!({ "const": operation.as_str() }));
    match operation {
        OperationName::CreateKey => {
            properties.remove("replica_regions");
        }
        OperationName::CreateMultiRegionKey => {
            properties["multi_region"] = json!({ "const": true });
            properties["replica_regions"]["minItems"] = json!(1);
            required.push(json!("replica_regions"));
        }
        _ => {}
    }
    schema["required"] = json!(required);
    schema["title"] = json!(operation.as_str());
    schema
}

fn requests() -> Value {
    let mut generator = SchemaGenerator::default();
    let of_operations: Vec<Value> =
        OperationName::ALL.into_iter().map(|operation| of_request(operation, &mut generator)).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Requests to key-manager",
        "description": "Beside what is said here, docs/key-combinations.md says which values go together.",
        "oneOf": of_operations,
        "$defs": generator.take_definitions(true),
    })
}

fn answers() -> Value {
    let mut generator = SchemaGenerator::default();
    let of_operations: Vec<Value> = [
        ("to a request that changes something", Answer::json_schema(&mut generator)),
        ("audit_key", Audit::json_schema(&mut generator)),
        ("audit_key, for people", AuditForPeople::json_schema(&mut generator)),
        ("list_operations", Operations::json_schema(&mut generator)),
    ]
    .into_iter()
    .map(|(title, schema)| {
        let mut schema = schema.to_value();
        schema["title"] = json!(title);
        schema
    })
    .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Answers of key-manager",
        "oneOf": of_operations,
        "$defs": generator.take_definitions(true),
    })
}

/// Writes a file of `docs/` anew where it is older than the types.
fn keep(file: &str, schema: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(file);
    let expected = format!("{schema:#}\n");
    if fs::read_to_string(&path).unwrap_or_default() != expected {
        fs::write(&path, expected).unwrap();
        panic!("docs/{file} was older than the code and is written anew: commit it");
    }
}

#[test]
fn requests_are_as_the_types_say() {
    keep("key-manager-requests.schema.json", &requests());
}

#[test]
fn answers_are_as_the_types_say() {
    keep("key-manager-answers.schema.json", &answers());
}
