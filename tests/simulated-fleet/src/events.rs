//! CloudTrail's `LookupEvents`, by the ARN of a key: the newest first, page by page.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::description::{FleetDescription, KeyDescription};
use crate::error::ApiError;
use crate::faults::FaultKind;
use crate::kms::date;
use crate::model::Model;

/// How the header `x-amz-target` ends.
pub(crate) const TARGET: &str = ".LookupEvents";

/// How far back CloudTrail's event history reaches.
const HISTORY: SignedDuration = SignedDuration::from_hours(24 * 90);
const EVENTS_A_PAGE: usize = 50;

/// A management event of a key.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Event {
    /// `EnableKey`, `DisableKey`, …
    pub name: String,
    /// When it was.
    pub time: Timestamp,
    /// Who did it. Default `ana`.
    pub user: String,
    /// The service that acted for somebody, such as `rds.amazonaws.com`.
    pub invoked_by: Option<String>,
    /// How many such events there are. Default 1.
    pub count: usize,
}

impl Default for Event {
    fn default() -> Self {
        Self { name: String::new(), time: Timestamp::UNIX_EPOCH, user: "ana".to_owned(), invoked_by: None, count: 1 }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct LookupEvents {
    #[serde(default)]
    lookup_attributes: Vec<Attribute>,
    start_time: Option<f64>,
    end_time: Option<f64>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Attribute {
    attribute_key: String,
    attribute_value: String,
}

pub(crate) fn answer(model: &Model, body: &[u8], page_fault: Option<FaultKind>) -> Result<Value, ApiError> {
    let invalid = |code: &str, message: &str| ApiError::bad_request(code, message);
    let request: LookupEvents =
        serde_json::from_slice(body).map_err(|error| invalid("SerializationException", &error.to_string()))?;
    let [Attribute { attribute_key, attribute_value: arn }] = request.lookup_attributes.as_slice() else {
        return Err(invalid("InvalidLookupAttributesException", "This fleet looks up by one attribute."));
    };
    if attribute_key != "ResourceName" {
        return Err(invalid("InvalidLookupAttributesException", "This fleet looks up by ResourceName."));
    }
    let page = request.max_results.unwrap_or(EVENTS_A_PAGE);
    if !(1..=EVENTS_A_PAGE).contains(&page) {
        return Err(invalid("InvalidMaxResultsException", "MaxResults must be from 1 to 50."));
    }
    let seconds = |time: Timestamp| time.as_duration().as_secs_f64();
    let is_within = |time: Timestamp| {
        request.start_time.is_none_or(|start| seconds(time) >= start)
            && request.end_time.is_none_or(|end| seconds(time) <= end)
            && time >= now().saturating_sub(HISTORY).unwrap_or(Timestamp::MIN)
    };
    let key = arn.strip_prefix(&model.arn("kms", "key/")).and_then(|id| model.by_id(id));
    let all = key.map(|key| key.entry.events.as_slice()).unwrap_or_default();
    let mut events: Vec<&Event> = all.iter().filter(|event| is_within(event.time)).collect();
    events.sort_by_key(|event| std::cmp::Reverse(event.time));
    let events: Vec<&Event> = events.into_iter().flat_map(|event| std::iter::repeat_n(event, event.count)).collect();
    let start: usize = match &request.next_token {
        None => 0,
        Some(token) => token
            .strip_prefix("events-")
            .and_then(|start| start.parse().ok())
            .ok_or_else(|| invalid("InvalidNextTokenException", "The token is not one of CloudTrail's."))?,
    };
    let size = if page_fault == Some(FaultKind::EmptyPage) { 0 } else { page };
    let end = start.saturating_add(size.min(model.description.page_size.unwrap_or(size)));
    let shown = events.iter().enumerate().skip(start).take(end.saturating_sub(start));
    let shown: Vec<Value> = shown.map(|(number, event)| render(number, event, arn, &model.description)).collect();
    let mut answer = json!({ "Events": shown });
    let next = if page_fault.is_some() { start } else { end };
    if (page_fault.is_some() || next < events.len())
        && let Some(members) = answer.as_object_mut()
    {
        members.insert("NextToken".to_owned(), format!("events-{next}").into());
    }
    Ok(answer)
}

fn render(number: usize, event: &Event, arn: &str, fleet: &FleetDescription) -> Value {
    let Event { name, time, user, invoked_by, .. } = event;
    let id = format!("00000000-0000-4000-b000-{number:012}");
    let mut identity = json!({"type": "IAMUser", "userName": user, "accountId": fleet.account_id});
    if let (Some(service), Some(members)) = (invoked_by, identity.as_object_mut()) {
        members.insert("invokedBy".to_owned(), service.as_str().into());
    }
    let record = json!({
        "eventVersion": "1.09",
        "userIdentity": identity,
        "eventTime": time.to_string(),
        "eventSource": "kms.amazonaws.com",
        "eventName": name,
        "awsRegion": fleet.region,
        "sourceIPAddress": invoked_by.as_deref().unwrap_or("192.0.2.1"),
        "requestParameters": {"keyId": arn},
        "eventID": id,
        "readOnly": false,
    });
    json!({
        "EventId": id,
        "EventName": name,
        "ReadOnly": "false",
        "EventTime": date(*time),
        "EventSource": "kms.amazonaws.com",
        "Username": user,
        "Resources": [{"ResourceType": "AWS::KMS::Key", "ResourceName": arn}],
        "CloudTrailEvent": record.to_string(),
    })
}

impl KeyDescription {
    /// The names of its events, in their order.
    pub fn event_names(&self) -> Vec<&str> {
        self.events.iter().map(|event| event.name.as_str()).collect()
    }
}

#[expect(clippy::disallowed_methods, reason = "CloudTrail's history reaches back from the present, by its own clock")]
fn now() -> Timestamp {
    Timestamp::now()
}
