//! CloudTrail's event history: who changed a key. It shows management events of the last 90 days.

use aws::kms::Kms;
use aws::operation::LOOKUP_EVENTS;
use aws::pages::Pages;
use aws::timestamp;
use aws_config::SdkConfig;
use aws_sdk_cloudtrail::Client;
use aws_sdk_cloudtrail::primitives::DateTime;
use aws_sdk_cloudtrail::types::{LookupAttribute, LookupAttributeKey};
use domain::failure::Failure;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::audit::ManagementEvent;

/// How far the event history reaches back.
pub const HISTORY: SignedDuration = SignedDuration::from_hours(24 * 90);

const EVENTS_A_PAGE: i32 = 50;

/// A client of CloudTrail.
#[derive(Debug)]
pub struct Trail(Client);

impl Trail {
    /// A client with that configuration.
    pub fn new(config: &SdkConfig) -> Self {
        Self(Client::new(config))
    }

    /// The events of the key with that ARN, the newest first. They are known by the ARN alone, never by the key ID.
    ///
    /// # Errors
    /// The listing failed or breaks off.
    pub async fn events(
        &self,
        kms: &Kms,
        arn: &str,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<ManagementEvent>, Failure> {
        let attribute = LookupAttribute::builder()
            .attribute_key(LookupAttributeKey::ResourceName)
            .attribute_value(arn)
            .build()
            .map_err(|error| LOOKUP_EVENTS.unreadable(&error.to_string()))?;
        let mut events = Vec::new();
        let mut pages = Pages::of(LOOKUP_EVENTS);
        let ask = async |token: Option<String>| {
            let request = self
                .0
                .lookup_events()
                .lookup_attributes(attribute.clone())
                .start_time(DateTime::from_secs(from.as_second()))
                .end_time(DateTime::from_secs(until.as_second() + 1))
                .max_results(EVENTS_A_PAGE)
                .set_next_token(token);
            kms.calls().make(LOOKUP_EVENTS, async || request.clone().send().await).await
        };
        let turn = |page: &aws_sdk_cloudtrail::operation::lookup_events::LookupEventsOutput| {
            (page.next_token.is_some(), page.next_token.clone())
        };
        while let Some(page) = pages.next(ask, turn).await? {
            for event in page.events.unwrap_or_default() {
                let at = event.event_time.as_ref().and_then(timestamp);
                let at = at.ok_or_else(|| LOOKUP_EVENTS.unreadable("an event has no EventTime"))?;
                let service = event.cloud_trail_event.as_deref().and_then(service);
                let name = event.event_name.unwrap_or_default();
                events.push(ManagementEvent { name, at, user: event.username, service });
            }
        }
        Ok(events)
    }
}

/// The AWS service that made the call, by the whole record of the event.
fn service(record: &str) -> Option<String> {
    let record: Value = serde_json::from_str(record).ok()?;
    let identity = record.get("userIdentity");
    let invoked_by = identity.and_then(|it| it.get("invokedBy")).and_then(Value::as_str);
    let source = record.get("sourceIPAddress").and_then(Value::as_str);
    invoked_by.or(source).filter(|it| it.ends_with(".amazonaws.com")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_is_named_in_the_record_of_the_event_alone() {
        for (record, expected) in [
            (
                json!({"userIdentity": {"invokedBy": "rds.amazonaws.com"}, "sourceIPAddress": "192.0.2.1"}),
                Some("rds.amazonaws.com"),
            ),
            (
                json!({"userIdentity": {"type": "AWSService"}, "sourceIPAddress": "backup.amazonaws.com"}),
                Some("backup.amazonaws.com"),
            ),
            (json!({"userIdentity": {"type": "IAMUser"}, "sourceIPAddress": "192.0.2.1"}), None),
            (json!({}), None),
        ] {
            assert_eq!(service(&record.to_string()).as_deref(), expected, "{record}");
        }
        assert_eq!(service("no JSON"), None);
    }
}
