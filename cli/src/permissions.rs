//! What a scan needs to be allowed, asked before it begins.

use std::collections::BTreeSet;

use aws::call::Calls;
use aws::failure::error_summary;
use aws::kms::Kms;
use aws::operation::{
    self, DESCRIBE_CUSTOM_KEY_STORES, DESCRIBE_KEY, GET_CALLER_IDENTITY, GET_KEY_LAST_USAGE, GET_KEY_POLICY,
    GET_KEY_ROTATION_STATUS, GET_METRIC_DATA, LIST_ALIASES, LIST_GRANTS, LIST_KEY_ROTATIONS, LIST_KEYS, LIST_METRICS,
    LIST_RESOURCE_TAGS, Operation, QUERY,
};
use aws::pace::QuotaShare;
use aws_config::SdkConfig;
use aws_sdk_cloudwatch::types::{Metric, MetricDataQuery, MetricStat};
use domain::failure::{Cause, Failure};
use domain::key::KeyManager;
use domain::location::Location;
use serde_json::{Value, json};

/// Keys among which one is looked for that its owner manages.
const SAMPLE: i32 = 20;

/// What one Region does not let the scan do.
#[derive(Debug)]
pub struct Denied {
    /// Actions that are denied, as IAM names them.
    pub actions: BTreeSet<String>,
    /// The key that they were tried on, where they are about one.
    pub key_arn: Option<String>,
}

/// The IAM policy that a scan needs.
pub fn document(since_table: Option<&str>) -> Value {
    // Everybody may ask who they are.
    let needed = operation::of_scan().filter(|row| *row != GET_CALLER_IDENTITY).map(action);
    let mut statements = vec![json!({
        "Sid": "ScanKeys",
        "Effect": "Allow",
        "Action": needed.collect::<BTreeSet<_>>(),
        "Resource": "*",
    })];
    if let Some(table) = since_table {
        statements.push(json!({
            "Sid": "ReadFindings",
            "Effect": "Allow",
            "Action": [action(QUERY)],
            "Resource": format!("arn:*:dynamodb:*:*:table/{table}"),
        }));
    }
    json!({"Version": "2012-10-17", "Statement": statements})
}

fn action(operation: Operation) -> String {
    format!("{}:{}", operation.service(), operation.name())
}

/// Tries each call once that these functions make, in one Region.
///
/// # Errors
/// The Region's keys cannot be listed: why.
pub async fn check(
    config: &SdkConfig,
    location: &Location,
    share: QuotaShare,
    functions: &[&str],
) -> Result<Denied, String> {
    let kms = Kms::new(config, share);
    let page = kms.call(LIST_KEYS, async |kms| kms.list_keys().limit(SAMPLE).send().await).await;
    let page = page.map_err(|failure| not_listed(&failure))?;
    let ids: Vec<String> = page.keys.unwrap_or_default().into_iter().filter_map(|entry| entry.key_id).collect();
    let needs = |operation: Operation| operation.callers().iter().any(|caller| functions.contains(caller));
    let mut actions = BTreeSet::new();
    let mut note = |operation: Operation, failure: Option<Failure>| {
        if failure.is_some_and(|failure| failure.cause == Cause::AccessDenied) {
            actions.insert(action(operation));
        }
    };
    note(LIST_ALIASES, kms.call(LIST_ALIASES, async |kms| kms.list_aliases().limit(1).send().await).await.err());
    if needs(LIST_METRICS) {
        for (operation, failure) in cloudwatch(config, share).await {
            note(operation, failure);
        }
    }
    if needs(DESCRIBE_CUSTOM_KEY_STORES) {
        let ask = async |kms: &aws_sdk_kms::Client| kms.describe_custom_key_stores().limit(1).send().await;
        note(DESCRIBE_CUSTOM_KEY_STORES, kms.call(DESCRIBE_CUSTOM_KEY_STORES, ask).await.err());
    }
    let mut key_arn = None;
    for id in ids {
        let arn = location.key_arn(&id);
        let described = kms.describe_key(&id, &arn).await;
        let is_own = described.as_ref().is_ok_and(|key| key.manager == Some(KeyManager::Customer));
        let failure = described.err();
        let is_denied = failure.as_ref().is_some_and(|failure| failure.cause == Cause::AccessDenied);
        note(DESCRIBE_KEY, failure);
        if !is_own && !is_denied {
            continue;
        }
        key_arn = Some(arn);
        if needs(LIST_RESOURCE_TAGS) {
            note(LIST_RESOURCE_TAGS, kms.tags(&id).await.err());
        }
        if needs(GET_KEY_POLICY) {
            note(GET_KEY_POLICY, kms.policy(&id).await.err());
        }
        if needs(GET_KEY_ROTATION_STATUS) {
            let ask = async |kms: &aws_sdk_kms::Client| kms.get_key_rotation_status().key_id(&id).send().await;
            note(GET_KEY_ROTATION_STATUS, kms.call(GET_KEY_ROTATION_STATUS, ask).await.err());
        }
        if needs(LIST_KEY_ROTATIONS) {
            let ask = async |kms: &aws_sdk_kms::Client| kms.list_key_rotations().key_id(&id).limit(1).send().await;
            note(LIST_KEY_ROTATIONS, kms.call(LIST_KEY_ROTATIONS, ask).await.err());
        }
        if needs(LIST_GRANTS) {
            let ask = async |kms: &aws_sdk_kms::Client| kms.list_grants().key_id(&id).limit(1).send().await;
            note(LIST_GRANTS, kms.call(LIST_GRANTS, ask).await.err());
        }
        if needs(GET_KEY_LAST_USAGE) {
            let ask = async |kms: &aws_sdk_kms::Client| kms.get_key_last_usage().key_id(&id).send().await;
            note(GET_KEY_LAST_USAGE, kms.call(GET_KEY_LAST_USAGE, ask).await.err());
        }
        break;
    }
    Ok(Denied { actions, key_arn })
}

/// Tries both calls to CloudWatch, by a metric that no key has.
async fn cloudwatch(config: &SdkConfig, share: QuotaShare) -> [(Operation, Option<Failure>); 2] {
    let client = aws_sdk_cloudwatch::Client::new(config);
    let calls = Calls::new(share);
    let metric = Metric::builder().namespace("AWS/KMS").metric_name("NoSuchMetric").build();
    let statistic = MetricStat::builder().metric(metric).period(3_600).stat("Sum").build();
    let query = MetricDataQuery::builder().id("permission").metric_stat(statistic).build();
    let hour = |hour: i64| aws_sdk_cloudwatch::primitives::DateTime::from_secs(hour * 3_600);
    let list = client.list_metrics().namespace("AWS/KMS").metric_name("NoSuchMetric");
    let read = client.get_metric_data().metric_data_queries(query).start_time(hour(0)).end_time(hour(1));
    [
        (LIST_METRICS, calls.make(LIST_METRICS, async || list.clone().send().await).await.err()),
        (GET_METRIC_DATA, calls.make(GET_METRIC_DATA, async || read.clone().send().await).await.err()),
    ]
}

/// Why a Region's keys cannot be listed.
fn not_listed(failure: &Failure) -> String {
    let summary = error_summary(failure);
    match (failure.code.as_deref(), failure.cause) {
        // The credentials are good elsewhere: a Region that is not enabled does not know them.
        (Some("UnrecognizedClientException" | "InvalidClientTokenId" | "OptInRequired"), _) => {
            format!("the Region is not enabled for this account ({summary})")
        }
        (_, Cause::AccessDenied) => format!(
            "kms:ListKeys is denied; `kms-compliance policy-document` prints the policy that a scan needs ({summary})"
        ),
        (_, Cause::Timeout | Cause::ServiceError) => {
            format!("KMS cannot be reached: is there such a Region? ({summary})")
        }
        _ => format!("the keys cannot be listed: {summary}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_keys_cannot_be_listed_is_said_in_the_words_of_who_can_change_it() {
        for (cause, code, says) in [
            (Cause::Unexpected, Some("UnrecognizedClientException"), "the Region is not enabled for this account"),
            (Cause::AccessDenied, Some("OptInRequired"), "the Region is not enabled for this account"),
            (
                Cause::AccessDenied,
                Some("AccessDeniedException"),
                "kms:ListKeys is denied; `kms-compliance policy-document`",
            ),
            // A name that is no Region's has no address.
            (Cause::ServiceError, None, "is there such a Region?"),
            (Cause::Timeout, None, "is there such a Region?"),
            (Cause::Unexpected, None, "the keys cannot be listed: no answer"),
        ] {
            let failure = Failure { cause, code: code.map(str::to_owned), ..LIST_KEYS.unreadable("no answer") };
            let told = not_listed(&failure);
            assert!(told.contains(says) && told.contains("no answer"), "{code:?}: {told}");
        }
    }

    #[test]
    fn the_document_allows_reading_and_nothing_else() {
        let document = document(Some("findings"));
        let actions: Vec<&str> = document["Statement"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|it| it["Action"].as_array().unwrap())
            .map(|it| it.as_str().unwrap())
            .collect();
        assert_eq!(actions.len(), 15, "{actions:?}");
        let reads = |action: &&str| {
            ["Describe", "Get", "List", "Query"].iter().any(|verb| action.contains(&format!(":{verb}")))
        };
        assert!(actions.iter().all(reads), "{actions:?}");
        assert_eq!(document["Statement"][1]["Resource"], "arn:*:dynamodb:*:*:table/findings");
        assert_eq!(super::document(None)["Statement"].as_array().unwrap().len(), 1);
    }
}
