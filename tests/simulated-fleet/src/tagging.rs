//! Resource Groups Tagging's `GetResources`, for keys by tags or by name.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::faults::FaultKind;
use crate::model::{Key, Model};

/// How the header `x-amz-target` ends.
pub(crate) const TARGET: &str = ".GetResources";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct GetResources {
    #[serde(default)]
    tag_filters: Vec<TagFilter>,
    #[serde(default)]
    resource_type_filters: Vec<String>,
    pagination_token: Option<String>,
    resources_per_page: Option<usize>,
    #[serde(rename = "ResourceARNList", default)]
    resource_arn_list: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct TagFilter {
    key: String,
    #[serde(default)]
    values: Vec<String>,
}

pub(crate) fn answer(model: &Model, body: &[u8], page_fault: Option<FaultKind>) -> Result<Value, ApiError> {
    let invalid = |message: String| ApiError::bad_request("InvalidParameterException", message);
    let request: GetResources = serde_json::from_slice(body).map_err(|error| invalid(error.to_string()))?;
    if !request.resource_type_filters.iter().all(|it| it == "kms" || it == "kms:key") {
        return Err(invalid("this fleet holds keys only".to_owned()));
    }
    if !request.resource_arn_list.is_empty() {
        return of_names(model, &request).map_err(invalid);
    }
    let start: u32 = match request.pagination_token.as_deref() {
        None | Some("") => 0,
        Some(token) => token
            .parse()
            .map_err(|_| ApiError::bad_request("PaginationTokenExpiredException", "The token has expired."))?,
    };
    let page = request.resources_per_page.unwrap_or(50).min(model.description.page_size.unwrap_or(usize::MAX));
    let mut found = Vec::new();
    let mut next = String::new();
    for key in (start..model.key_count()).filter_map(|index| model.key(index)) {
        let tags = &key.entry.tags;
        let fits = |filter: &TagFilter| {
            tags.get(&filter.key).is_some_and(|value| filter.values.is_empty() || filter.values.contains(value))
        };
        if key.entry.gone || key.entry.untagged_in_search || !request.tag_filters.iter().all(fits) {
            continue;
        }
        if found.len() == page {
            next = key.index.to_string();
            break;
        }
        found.push(entry(&key));
    }
    if page_fault.is_some() {
        next = start.to_string();
    }
    if page_fault == Some(FaultKind::EmptyPage) {
        found.clear();
    }
    Ok(json!({"ResourceTagMappingList": found, "PaginationToken": next}))
}

fn entry(key: &Key<'_>) -> Value {
    let tags = key.entry.tags.iter().map(|(key, value)| json!({"Key": key, "Value": value}));
    json!({"ResourceARN": key.arn(), "Tags": tags.collect::<Vec<_>>()})
}

/// The tags of the keys that a request names. AWS takes a hundred names, and nothing beside them.
fn of_names(model: &Model, request: &GetResources) -> Result<Value, String> {
    let names = &request.resource_arn_list;
    let has_filters = !request.tag_filters.is_empty() || !request.resource_type_filters.is_empty();
    if names.len() > 100 || has_filters || request.resources_per_page.is_some() {
        return Err("ResourceARNList takes up to 100 ARNs and no other parameter".to_owned());
    }
    let own = model.arn("kms", "key/");
    let keys = names.iter().filter_map(|name| model.by_id(name.strip_prefix(&own)?));
    let found = keys.filter(|key| !key.entry.gone && !key.entry.untagged_in_search && !key.entry.tags.is_empty());
    let found: Vec<Value> = found.map(|key| entry(&key)).collect();
    Ok(json!({"ResourceTagMappingList": found, "PaginationToken": ""}))
}
