//! Resource Groups Tagging's `GetResources`, for keys by one tag.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::model::Model;

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
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct TagFilter {
    key: String,
    #[serde(default)]
    values: Vec<String>,
}

pub(crate) fn answer(model: &Model, body: &[u8]) -> Result<Value, ApiError> {
    let invalid = |message: String| ApiError::bad_request("InvalidParameterException", message);
    let request: GetResources = serde_json::from_slice(body).map_err(|error| invalid(error.to_string()))?;
    if !request.resource_type_filters.iter().all(|it| it == "kms" || it == "kms:key") {
        return Err(invalid("this fleet holds keys only".to_owned()));
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
        let tags: Vec<Value> = tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect();
        found.push(json!({"ResourceARN": key.arn(), "Tags": tags}));
    }
    Ok(json!({"ResourceTagMappingList": found, "PaginationToken": next}))
}
