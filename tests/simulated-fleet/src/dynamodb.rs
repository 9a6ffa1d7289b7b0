//! DynamoDB as the findings ledger uses it: tables with the key attributes `pk` and `sk`, both strings, and an index on
//! `waits` and `pk` that knows keys only and learns late.
//!
//! What the fleet does not simulate is refused by its name, not ignored.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::expression::{Comparator, Condition, Operand, Substitutes, parse, validation};
use crate::faults::FaultKind;
use crate::operation::Operation;
use crate::table::{Attribute, INDEX, Item, ItemKey, Tables, size};

const MAX_ITEM_BYTES: usize = 409_600;
const MAX_PAGE_BYTES: usize = 1_048_576;
const MAX_BATCH: usize = 25;
const MAX_BATCH_BYTES: usize = 16_777_216;
const KEY_ATTRIBUTES: [(&str, usize); 2] = [("pk", 2048), ("sk", 1024)];

/// What the fleet's description and faults say about the answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    /// Items on a page of `Query`, at most.
    pub(crate) page_size: Option<usize>,
    /// Of how many writes, the last ones, the index has yet to learn.
    pub(crate) index_lag: usize,
    /// How many writes of a batch are applied; the others are left unprocessed.
    pub(crate) processed: Option<usize>,
    /// What is wrong with the pages of `Query` and `Scan`.
    pub(crate) page_fault: Option<FaultKind>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct PutItem {
    table_name: String,
    item: Item,
    condition_expression: Option<String>,
    expression_attribute_names: Option<BTreeMap<String, String>>,
    expression_attribute_values: Option<BTreeMap<String, Attribute>>,
    return_values_on_condition_check_failure: Option<String>,
    #[serde(rename = "ReturnConsumedCapacity")]
    _capacity: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DeleteItem {
    table_name: String,
    key: Item,
    condition_expression: Option<String>,
    expression_attribute_names: Option<BTreeMap<String, String>>,
    expression_attribute_values: Option<BTreeMap<String, Attribute>>,
    return_values_on_condition_check_failure: Option<String>,
    #[serde(rename = "ReturnConsumedCapacity")]
    _capacity: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct GetItem {
    table_name: String,
    key: Item,
    #[serde(rename = "ConsistentRead")]
    _consistent: Option<bool>,
    #[serde(rename = "ReturnConsumedCapacity")]
    _capacity: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Query {
    table_name: String,
    index_name: Option<String>,
    key_condition_expression: String,
    expression_attribute_names: Option<BTreeMap<String, String>>,
    expression_attribute_values: Option<BTreeMap<String, Attribute>>,
    limit: Option<i64>,
    exclusive_start_key: Option<Item>,
    consistent_read: Option<bool>,
    #[serde(rename = "ReturnConsumedCapacity")]
    _capacity: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Scan {
    table_name: String,
    filter_expression: Option<String>,
    expression_attribute_names: Option<BTreeMap<String, String>>,
    expression_attribute_values: Option<BTreeMap<String, Attribute>>,
    exclusive_start_key: Option<Item>,
    #[serde(rename = "ConsistentRead")]
    _consistent: Option<bool>,
    #[serde(rename = "ReturnConsumedCapacity")]
    _capacity: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct BatchWriteItem {
    request_items: BTreeMap<String, Vec<Value>>,
    #[serde(rename = "ReturnConsumedCapacity")]
    _capacity: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
enum BatchedWrite {
    #[serde(rename = "PutRequest", rename_all = "PascalCase")]
    Put { item: Item },
    #[serde(rename = "DeleteRequest", rename_all = "PascalCase")]
    Delete { key: Item },
}

/// The answer to a healthy call, applied to the tables where it writes.
pub(crate) fn answer(tables: &mut Tables, operation: Operation, body: &[u8], rules: Rules) -> Result<Value, ApiError> {
    match operation {
        Operation::PutItem => put_item(tables, request(body)?),
        Operation::DeleteItem => delete_item(tables, &request(body)?),
        Operation::GetItem => get_item(tables, &request(body)?),
        Operation::Query => Ok(spoilt(query(tables, &request(body)?, rules)?, body, rules.page_fault)),
        Operation::Scan => Ok(spoilt(scan(tables, &request(body)?, rules)?, body, rules.page_fault)),
        Operation::BatchWriteItem => batch_write_item(tables, request(body)?, rules),
        _ => Err(crate::kms::unknown_operation()),
    }
}

/// The table that a request names, for the words of an error.
pub(crate) fn table_name(body: &[u8]) -> String {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let batched = || Some(request.get("RequestItems")?.as_object()?.keys().next()?.as_str());
    let name = request.get("TableName").and_then(Value::as_str).or_else(batched);
    name.unwrap_or("*").to_owned()
}

fn request<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::bad_request("SerializationException", error.to_string()))
}

fn table<'a>(tables: &'a Tables, name: &str) -> Result<&'a BTreeMap<ItemKey, Item>, ApiError> {
    tables.table(name).ok_or_else(|| ApiError::bad_request("ResourceNotFoundException", "Requested resource not found"))
}

fn put_item(tables: &mut Tables, put: PutItem) -> Result<Value, ApiError> {
    let key = key_of_item(&put.item)?;
    let condition = condition(
        put.condition_expression.as_deref(),
        put.expression_attribute_names.as_ref(),
        put.expression_attribute_values.as_ref(),
    )?;
    let old = table(tables, &put.table_name)?.get(&key);
    check(condition.as_ref(), old, put.return_values_on_condition_check_failure.as_deref())?;
    tables.put(&put.table_name, key, put.item);
    Ok(json!({}))
}

fn delete_item(tables: &mut Tables, delete: &DeleteItem) -> Result<Value, ApiError> {
    let key = key(&delete.key)?;
    let condition = condition(
        delete.condition_expression.as_deref(),
        delete.expression_attribute_names.as_ref(),
        delete.expression_attribute_values.as_ref(),
    )?;
    let old = table(tables, &delete.table_name)?.get(&key);
    check(condition.as_ref(), old, delete.return_values_on_condition_check_failure.as_deref())?;
    tables.delete(&delete.table_name, &key);
    Ok(json!({}))
}

fn get_item(tables: &Tables, get: &GetItem) -> Result<Value, ApiError> {
    let item = table(tables, &get.table_name)?.get(&key(&get.key)?);
    Ok(item.map_or_else(|| json!({}), |item| json!({ "Item": item })))
}

/// The page as a fault of pages will have it: with the key that it was asked with, or one that comes before all items.
fn spoilt(mut page: Value, body: &[u8], page_fault: Option<FaultKind>) -> Value {
    let (Some(fault), Some(members)) = (page_fault, page.as_object_mut()) else { return page };
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let asked_with = request.get("ExclusiveStartKey").filter(|key| !key.is_null()).cloned();
    let values = request.get("ExpressionAttributeValues");
    let value = |name: &str| Some(values?.get(name)?.get("S")?.as_str()?.to_owned());
    let pk = value(":pk").unwrap_or_else(|| " ".to_owned());
    let mut first = json!({"pk": {"S": pk}, "sk": {"S": " "}});
    if let (Some(waits), Some(first)) = (value(":waits"), first.as_object_mut()) {
        first.insert("pk".to_owned(), json!({"S": value(":after")}));
        first.insert(INDEX.to_owned(), json!({"S": waits}));
    }
    if fault == FaultKind::EmptyPage {
        members.insert("Items".to_owned(), json!([]));
        members.insert("Count".to_owned(), 0.into());
    }
    members.insert("LastEvaluatedKey".to_owned(), asked_with.unwrap_or(first));
    page
}

/// All items, page by page, as far as they pass the filter: a page counts what it looked at.
fn scan(tables: &Tables, scan: &Scan, rules: Rules) -> Result<Value, ApiError> {
    let (names, values) = (scan.expression_attribute_names.as_ref(), scan.expression_attribute_values.as_ref());
    let mut substitutes = Substitutes::new(names, values)?;
    let filter =
        scan.filter_expression.as_deref().map(|text| parse("FilterExpression", text, &mut substitutes)).transpose()?;
    substitutes.finish(filter.is_some())?;
    let start = scan.exclusive_start_key.as_ref().map(key).transpose()?;
    let (mut items, mut scanned, mut bytes) = (Vec::new(), 0_usize, 0_usize);
    let all = table(tables, &scan.table_name)?;
    for (key, item) in all.iter().filter(|(key, _)| start.as_ref().is_none_or(|start| *key > start)) {
        if filter.as_ref().is_none_or(|filter| filter.holds(Some(item))) {
            items.push(json!(item));
        }
        scanned = scanned.saturating_add(1);
        bytes = bytes.saturating_add(size(item));
        if bytes > MAX_PAGE_BYTES || rules.page_size == Some(scanned) {
            return Ok(page(items, Some(key)));
        }
    }
    Ok(page(items, None))
}

/// What the index knows of the items that wait in one of its partitions: their keys.
fn query_index(tables: &mut Tables, query: &Query, condition: &Condition, rules: Rules) -> Result<Value, ApiError> {
    if query.index_name.as_deref() != Some(INDEX) {
        return Err(validation("The table does not have the specified index"));
    }
    if query.consistent_read == Some(true) {
        return Err(validation("Consistent reads are not supported on global secondary indexes"));
    }
    if query.exclusive_start_key.is_some() || query.limit.is_some() {
        return Err(validation("The fleet does not simulate start keys and limits of an index"));
    }
    partition(condition, INDEX, "pk")?;
    table(tables, &query.table_name)?;
    let text = |text: &String| Attribute::S(text.clone());
    let known = tables.index(&query.table_name, rules.index_lag);
    let items = known.iter().map(|(waits, (pk, sk))| {
        Item::from([(INDEX.to_owned(), text(waits)), ("pk".to_owned(), text(pk)), ("sk".to_owned(), text(sk))])
    });
    let limit = rules.page_size.unwrap_or(usize::MAX);
    let mut items: Vec<Item> = items.filter(|item| condition.holds(Some(item))).collect();
    let more = items.len() > limit;
    items.truncate(limit);
    let last = items.last().cloned().filter(|_| more);
    let mut page = page(items.iter().map(|item| json!(item)).collect(), None);
    if let (Some(last), Some(members)) = (last, page.as_object_mut()) {
        members.insert("LastEvaluatedKey".to_owned(), json!(last));
    }
    Ok(page)
}

fn query(tables: &mut Tables, query: &Query, rules: Rules) -> Result<Value, ApiError> {
    const FIELD: &str = "KeyConditionExpression";
    let mut substitutes =
        Substitutes::new(query.expression_attribute_names.as_ref(), query.expression_attribute_values.as_ref())?;
    let condition = parse(FIELD, &query.key_condition_expression, &mut substitutes)?;
    substitutes.finish(true)?;
    if query.index_name.is_some() {
        return query_index(tables, query, &condition, rules);
    }
    let pk = partition(&condition, "pk", "sk")?;
    let limit = match query.limit {
        None => usize::MAX,
        Some(limit) => usize::try_from(limit).ok().filter(|limit| *limit > 0).ok_or_else(|| {
            validation(format!(
                "1 validation error detected: Value '{limit}' at 'limit' failed to satisfy constraint: Member must have \
                 value greater than or equal to 1"
            ))
        })?,
    };
    let limit = rules.page_size.map_or(limit, |page_size| page_size.min(limit));
    let start = query.exclusive_start_key.as_ref().map(key).transpose()?;
    if start.as_ref().is_some_and(|(start, _)| *start != pk) {
        return Err(validation("The provided starting key is outside query boundaries based on provided conditions"));
    }
    let mut items = Vec::new();
    let mut bytes = 0_usize;
    let mut last = None;
    let found = table(tables, &query.table_name)?
        .range(start.clone().unwrap_or_else(|| (pk.clone(), String::new()))..)
        .take_while(|(key, _)| key.0 == pk)
        .filter(|(key, item)| start.as_ref().is_none_or(|start| *key > start) && condition.holds(Some(item)));
    for (key, item) in found {
        bytes = bytes.saturating_add(size(item));
        // A page is never empty for an item's size alone.
        if bytes > MAX_PAGE_BYTES && last.is_some() {
            return Ok(page(items, last));
        }
        items.push(json!(item));
        last = Some(key);
        // AWS does not look whether anything follows.
        if items.len() == limit {
            return Ok(page(items, last));
        }
    }
    Ok(page(items, None))
}

fn page(items: Vec<Value>, last: Option<&ItemKey>) -> Value {
    let mut page = Map::new();
    page.insert("Count".to_owned(), items.len().into());
    page.insert("ScannedCount".to_owned(), items.len().into());
    page.insert("Items".to_owned(), items.into());
    if let Some((pk, sk)) = last {
        page.insert("LastEvaluatedKey".to_owned(), json!({"pk": {"S": pk}, "sk": {"S": sk}}));
    }
    Value::Object(page)
}

/// The partition that a key condition names, where the key consists of these two attributes.
fn partition(condition: &Condition, pk_name: &str, sk: &str) -> Result<String, ApiError> {
    let of_pk = |condition: &Condition| match condition {
        Condition::Compare(Operand::Path(path), Comparator::Equal, Operand::Value(Attribute::S(pk)))
            if path.as_slice() == [pk_name] =>
        {
            Some(pk.clone())
        }
        _ => None,
    };
    let is_of_sk = |condition: &Condition| match condition {
        Condition::Compare(Operand::Path(path), comparator, Operand::Value(Attribute::S(_))) => {
            path.as_slice() == [sk] && *comparator != Comparator::NotEqual
        }
        Condition::BeginsWith(Operand::Path(path), Operand::Value(_)) => path.as_slice() == [sk],
        _ => false,
    };
    let pk = match condition {
        Condition::And(left, right) => match (of_pk(left), of_pk(right)) {
            (Some(pk), None) if is_of_sk(right) => Some(pk),
            (None, Some(pk)) if is_of_sk(left) => Some(pk),
            _ => None,
        },
        condition => of_pk(condition),
    };
    match pk {
        None => Err(validation("Query key condition not supported")),
        Some(pk) if pk.is_empty() => Err(empty_key(pk_name)),
        Some(pk) => Ok(pk),
    }
}

fn batch_write_item(tables: &mut Tables, batch: BatchWriteItem, rules: Rules) -> Result<Value, ApiError> {
    let mut writes = Vec::new();
    let mut keys = BTreeSet::new();
    let mut bytes = 0_usize;
    if batch.request_items.is_empty() || batch.request_items.values().any(Vec::is_empty) {
        return Err(validation("The batch write request list for a table cannot be null or empty"));
    }
    for (name, requests) in batch.request_items {
        for raw in requests {
            let write = BatchedWrite::deserialize(&raw)
                .map_err(|error| ApiError::bad_request("SerializationException", error.to_string()))?;
            let key = match &write {
                BatchedWrite::Put { item } => key_of_item(item)?,
                BatchedWrite::Delete { key: item } => key(item)?,
            };
            if !keys.insert((name.clone(), key.clone())) {
                return Err(validation("Provided list of item keys contains duplicates"));
            }
            if let BatchedWrite::Put { item } = &write {
                bytes = bytes.saturating_add(size(item));
            }
            writes.push((name.clone(), key, write, raw));
        }
        table(tables, &name)?;
    }
    if writes.len() > MAX_BATCH {
        return Err(validation("Too many items requested for the BatchWriteItem call"));
    }
    if bytes > MAX_BATCH_BYTES {
        return Err(validation("The batch is larger than 16 MB"));
    }
    let mut unprocessed: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (place, (name, key, write, raw)) in writes.into_iter().enumerate() {
        if rules.processed.is_some_and(|processed| place >= processed) {
            unprocessed.entry(name).or_default().push(raw);
            continue;
        }
        match write {
            BatchedWrite::Put { item } => tables.put(&name, key, item),
            BatchedWrite::Delete { .. } => tables.delete(&name, &key),
        }
    }
    Ok(json!({ "UnprocessedItems": unprocessed }))
}

fn condition(
    expression: Option<&str>,
    names: Option<&BTreeMap<String, String>>,
    values: Option<&BTreeMap<String, Attribute>>,
) -> Result<Option<Condition>, ApiError> {
    let mut substitutes = Substitutes::new(names, values)?;
    let condition = expression.map(|text| parse("ConditionExpression", text, &mut substitutes)).transpose()?;
    substitutes.finish(expression.is_some())?;
    Ok(condition)
}

fn check(condition: Option<&Condition>, old: Option<&Item>, returned: Option<&str>) -> Result<(), ApiError> {
    if condition.is_none_or(|condition| condition.holds(old)) {
        return Ok(());
    }
    let mut error = ApiError::bad_request("ConditionalCheckFailedException", "The conditional request failed");
    if returned == Some("ALL_OLD") {
        error.item = old.map(|old| json!(old));
    }
    Err(error)
}

/// The key of an item that is to be put, if AWS would take the item.
pub(crate) fn key_of_item(item: &Item) -> Result<ItemKey, ApiError> {
    if let Some(problem) = item.values().find_map(Attribute::problem) {
        return Err(validation(problem));
    }
    let part = |(name, max): (&str, usize)| match item.get(name) {
        None => {
            Err(validation(format!("One or more parameter values were invalid: Missing the key {name} in the item")))
        }
        Some(Attribute::S(text)) => key_part(name, text, max),
        Some(_) => Err(validation(format!(
            "One or more parameter values were invalid: Type mismatch for key {name} expected: S"
        ))),
    };
    let [pk, sk] = KEY_ATTRIBUTES.map(part);
    let key = (pk?, sk?);
    if size(item) > MAX_ITEM_BYTES {
        return Err(validation("Item size has exceeded the maximum allowed size"));
    }
    Ok(key)
}

/// A key that stands alone.
fn key(attributes: &Item) -> Result<ItemKey, ApiError> {
    let part = |(name, max): (&str, usize)| match attributes.get(name) {
        Some(Attribute::S(text)) if attributes.len() == KEY_ATTRIBUTES.len() => key_part(name, text, max),
        _ => Err(validation("The provided key element does not match the schema")),
    };
    let [pk, sk] = KEY_ATTRIBUTES.map(part);
    Ok((pk?, sk?))
}

fn key_part(name: &str, text: &str, max: usize) -> Result<String, ApiError> {
    if text.is_empty() {
        return Err(empty_key(name));
    }
    if text.len() > max {
        return Err(validation(format!(
            "One or more parameter values were invalid: Size of {name} has exceeded the maximum size limit of {max} bytes"
        )));
    }
    Ok(text.to_owned())
}

fn empty_key(name: &str) -> ApiError {
    validation(format!(
        "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty \
         string value. Key: {name}"
    ))
}

/// With the namespace that DynamoDB puts before its codes.
pub(crate) fn render_error(error: &ApiError) -> String {
    let mut answer =
        json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{}", error.code), "message": error.message});
    if let (Some(item), Some(members)) = (&error.item, answer.as_object_mut()) {
        members.insert("Item".to_owned(), item.clone());
    }
    answer.to_string()
}
