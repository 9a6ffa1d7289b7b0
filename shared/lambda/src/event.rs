//! The input of every function. What is not understood is refused before any call, and the error names the field.

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsEvent, SqsMessage};
use domain::finding::Finding;
use domain::key_policy::is_account_id;
use domain::ledger::Notify;
use domain::location::{AccountRegion, KEY_NAME_FORMS, KeyName, Location, is_region_name, partition_of};
use domain::report::Report;
use domain::text::printable;
use domain::verdict::Compliance;
use jiff::Timestamp;
use monitor::run::Options;
use serde_json::{Map, Value};

/// The fields of an EventBridge event; `replay-name` comes with a replay from an archive.
const ENVELOPE: [&str; 10] =
    ["version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail", "replay-name"];

/// Most characters that an error says of a field, and of what is wrong with it: an event may be 256 KiB of one name.
const LONGEST: usize = 1_000;

/// An event that a function does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidEvent {
    /// Path of the field.
    field: String,
    /// What is wrong with it and what is allowed.
    problem: String,
}

impl InvalidEvent {
    /// That field, and what is wrong with it.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        // The sender's own text may stand in both.
        Self { field: shortened(&printable(&field.into())), problem: shortened(&printable(&problem.into())) }
    }
}

/// The text without what goes beyond [`LONGEST`].
fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// What one invocation asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What the event goes by, if it says. A batch does not: its messages may come again in other company.
    pub id: Option<String>,
    /// What to run; `None` if the invocation is a batch in which no message can be run.
    pub options: Option<Options>,
    /// If the invocation is a batch: the messages that go back to the queue.
    pub batch: Option<Batch>,
}

/// The part of a queue's batch that is not run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Messages that go back to the queue.
    pub failures: Vec<BatchItemFailure>,
    /// Messages that are run, with the keys that each names; `None` = all.
    pub run: Vec<(String, Option<Vec<KeyName>>)>,
    /// Why those that are malformed are: message id and error.
    pub malformed: Vec<(String, InvalidEvent)>,
}

impl Request {
    /// Reads an event. `as_of` is refused unless the function can judge for another instant.
    ///
    /// # Errors
    /// The event, or the form of the batch, is not understood. A malformed message within a batch is no error: it is one
    /// of the batch's failures.
    pub fn parse(event: Value, takes_as_of: bool) -> Result<Self, InvalidEvent> {
        let Value::Object(fields) = event else {
            return Err(InvalidEvent::new("event", format!("{} is not an object", shown(&event))));
        };
        if fields.contains_key("Records") {
            return Self::parse_batch(fields, takes_as_of);
        }
        let options = parse_envelope(&fields, takes_as_of)?;
        Ok(Self { id: id(&fields), options: Some(options), batch: None })
    }

    /// Messages that ask for the same are one run over all their keys. A run has one instant, one answer and one alert:
    /// messages with other options than the first go back to the queue and come in a batch of their own.
    fn parse_batch(fields: Map<String, Value>, takes_as_of: bool) -> Result<Self, InvalidEvent> {
        if let Some(field) = fields.keys().find(|field| *field != "Records") {
            return Err(InvalidEvent::new(field, "is no field of an SQS batch"));
        }
        let event: SqsEvent = serde_json::from_value(Value::Object(fields))
            .map_err(|error| InvalidEvent::new("Records", format!("is no SQS batch: {error}")))?;
        let mut options: Option<Options> = None;
        let mut batch = Batch::default();
        for (n, record) in event.records.into_iter().enumerate() {
            let SqsMessage { message_id, body, event_source, .. } = record;
            let field = |name: &str| format!("Records[{n}].{name}");
            if event_source.is_some_and(|source| source != "aws:sqs") {
                return Err(InvalidEvent::new(field("eventSource"), "only `aws:sqs` is taken"));
            }
            let id = message_id.filter(|id| !id.is_empty());
            let id = id.ok_or_else(|| InvalidEvent::new(field("messageId"), "is missing"))?;
            match parse_body(body.as_deref().unwrap_or_default(), takes_as_of) {
                Err(error) => {
                    batch.failures.push(failure(&id));
                    batch.malformed.push((id, error));
                }
                Ok(asked) => match &mut options {
                    None => {
                        batch.run.push((id, asked.keys.clone()));
                        options = Some(asked);
                    }
                    Some(first) if same_run(first, &asked) => {
                        batch.run.push((id, asked.keys.clone()));
                        first.keys = first.keys.take().zip(asked.keys).map(|(keys, more)| [keys, more].concat());
                    }
                    Some(_) => batch.failures.push(failure(&id)),
                },
            }
        }
        Ok(Self { id: None, options, batch: Some(batch) })
    }
}

/// Is it a target that a function may look at: of its own partition, and of its own account unless it has a role for
/// others?
///
/// # Errors
/// It is not.
pub(crate) fn allow(target: &AccountRegion, home: &Location, has_role: bool) -> Result<(), InvalidEvent> {
    let AccountRegion { account_id, region } = target;
    if partition_of(region) != home.partition {
        let (theirs, ours) = (partition_of(region), &home.partition);
        let problem = format!("`{region}` is of the partition `{theirs}`, and this function of `{ours}`");
        return Err(InvalidEvent::new("detail.target.region", problem));
    }
    if *account_id != home.account_id && !has_role {
        let problem =
            format!("`{account_id}` is another account than this function's, and `MEMBER_ROLE_NAME` is not set");
        return Err(InvalidEvent::new("detail.target.account_id", problem));
    }
    Ok(())
}

impl Batch {
    /// Takes back all messages that are run: nothing came of the run.
    pub fn give_back_all(&mut self) {
        self.failures.extend(self.run.drain(..).map(|(id, _)| failure(&id)));
    }

    /// Takes back the messages about keys that the run could not judge for a reason that passes: they come again sooner
    /// than the next daily run.
    pub fn give_back(&mut self, report: &Report) {
        const MAY_PASS: [&str; 4] = ["key_in_transition", "service_error", "throttled", "timeout"];
        if report.keys_not_reached > 0 {
            return self.give_back_all();
        }
        let not_judged: Vec<&Finding> = report
            .findings
            .iter()
            .filter(|it| it.compliance == Compliance::InsufficientData && MAY_PASS.contains(&it.reason.as_ref()))
            .collect();
        let is_about = |keys: &Option<Vec<KeyName>>| {
            keys.iter().flatten().any(|name| not_judged.iter().any(|it| name.is(&it.key_id, &it.aliases)))
        };
        let back = self.run.extract_if(.., |(_, keys)| is_about(keys));
        self.failures.extend(back.map(|(id, _)| failure(&id)));
    }
}

fn failure(id: &str) -> BatchItemFailure {
    let mut failure = BatchItemFailure::default();
    id.clone_into(&mut failure.item_identifier);
    failure
}

/// Do two messages ask for the same, but for the keys?
fn same_run(one: &Options, other: &Options) -> bool {
    let but_for_keys = |options: &Options| Options { keys: None, ..options.clone() };
    but_for_keys(one) == but_for_keys(other)
}

fn parse_body(body: &str, takes_as_of: bool) -> Result<Options, InvalidEvent> {
    match serde_json::from_str(body) {
        // Nothing in the organisation sends events of another account's keys; the daily check names targets itself.
        Ok(Value::Object(fields)) => match parse_envelope(&fields, takes_as_of)? {
            Options { target: Some(_), .. } => {
                Err(InvalidEvent::new("detail.target", "is no option in a queue's message"))
            }
            options => Ok(options),
        },
        Ok(other) => Err(InvalidEvent::new("body", format!("{} is not an object", shown(&other)))),
        Err(error) => Err(InvalidEvent::new("body", format!("is not JSON: {error}"))),
    }
}

fn parse_envelope(fields: &Map<String, Value>, takes_as_of: bool) -> Result<Options, InvalidEvent> {
    parse_detail(&envelope(fields)?, takes_as_of)
}

/// The `detail` of an event, after a look at all its other fields.
fn envelope(fields: &Map<String, Value>) -> Result<Map<String, Value>, InvalidEvent> {
    for (field, value) in fields {
        match field.as_str() {
            "detail" => {}
            "resources" => {
                if !value.as_array().is_some_and(|list| list.iter().all(Value::is_string)) {
                    return Err(InvalidEvent::new(field, format!("{} is not a list of strings", shown(value))));
                }
            }
            "time" => {
                instant(field, value)?;
            }
            name if ENVELOPE.contains(&name) => {
                if !value.is_string() {
                    return Err(InvalidEvent::new(field, format!("{} is not a string", shown(value))));
                }
            }
            _ => {
                return Err(InvalidEvent::new(field, "is no field of an EventBridge event; options stand in `detail`"));
            }
        }
    }
    match fields.get("detail") {
        None => Ok(Map::new()),
        Some(Value::Object(detail)) => Ok(detail.clone()),
        // EventBridge Scheduler sends the detail as a string.
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(Value::Object(detail)) => Ok(detail),
            Ok(other) => {
                Err(InvalidEvent::new("detail", format!("a string that holds {}, not an object", shown(&other))))
            }
            Err(error) => Err(InvalidEvent::new("detail", format!("a string that is not JSON: {error}"))),
        },
        Some(other) => Err(InvalidEvent::new("detail", format!("{} is neither an object nor a string", shown(other)))),
    }
}

/// The options of an event, by name; one field after another is for the function to read.
///
/// # Errors
/// The event is none of EventBridge's, or its `detail` is no object.
pub fn details(event: &Value) -> Result<Map<String, Value>, InvalidEvent> {
    let Value::Object(fields) = event else {
        return Err(InvalidEvent::new("event", format!("{} is not an object", shown(event))));
    };
    envelope(fields)
}

/// What an event goes by, if it says.
pub fn id(fields: &Map<String, Value>) -> Option<String> {
    fields.get("id").and_then(Value::as_str).filter(|id| !id.is_empty()).map(str::to_owned)
}

fn parse_detail(detail: &Map<String, Value>, takes_as_of: bool) -> Result<Options, InvalidEvent> {
    let mut options = Options::default();
    for (name, value) in detail {
        let field = format!("detail.{name}");
        match name.as_str() {
            "keys" => options.keys = Some(key_names(&field, value)?),
            "as_of" if !takes_as_of => {
                return Err(InvalidEvent::new(field, "this function judges the present only"));
            }
            "as_of" => {
                options.as_of = Some(instant(&field, value)?);
                options.dry_run = true;
            }
            "notify" => options.notify = one_of(&field, value, [("now", Notify::Now), ("later", Notify::Later)])?,
            "target" => options.target = Some(target(&field, value)?),
            "response" => options.summary = one_of(&field, value, [("full", false), ("summary", true)])?,
            "dry_run" => options.dry_run |= boolean(&field, value)?,
            "verbose" => options.verbose = boolean(&field, value)?,
            _ => {
                return Err(InvalidEvent::new(
                    field,
                    "is no option; there are `keys`, `as_of`, `dry_run`, `verbose`, `target`, `notify`, `response`",
                ));
            }
        }
    }
    Ok(options)
}

/// The account and Region of a target. Whether the function may go there is for its settings to say.
fn target(field: &str, value: &Value) -> Result<AccountRegion, InvalidEvent> {
    let Some(fields) = value.as_object() else {
        return Err(InvalidEvent::new(field, format!("{} is not an object", shown(value))));
    };
    if let Some(name) = fields.keys().find(|name| !["account_id", "region"].contains(&name.as_str())) {
        return Err(InvalidEvent::new(
            format!("{field}.{name}"),
            "is no field of a target; there are `account_id`, `region`",
        ));
    }
    let part = |name: &str, is_one: fn(&str) -> bool, form: &str| {
        let field = format!("{field}.{name}");
        let Some(value) = fields.get(name) else { return Err(InvalidEvent::new(field, "is missing")) };
        let text = value.as_str().filter(|text| is_one(text)).map(str::to_owned);
        text.ok_or_else(|| InvalidEvent::new(field, format!("{} is not {form}", shown(value))))
    };
    Ok(AccountRegion {
        account_id: part("account_id", is_account_id, "an account ID, a string of twelve digits")?,
        region: part("region", is_region_name, "the name of a Region, such as `eu-west-1`")?,
    })
}

/// The meaning of one of the words that a field may hold.
///
/// # Errors
/// It holds something else.
pub fn one_of<T>(field: &str, value: &Value, words: [(&str, T); 2]) -> Result<T, InvalidEvent> {
    let allowed = format!("neither `{}` nor `{}`", words[0].0, words[1].0);
    let meaning = words.into_iter().find(|(word, _)| value.as_str() == Some(word)).map(|(_, meaning)| meaning);
    meaning.ok_or_else(|| InvalidEvent::new(field, format!("{} is {allowed}", shown(value))))
}

/// A field that is true or false.
///
/// # Errors
/// It holds something else.
pub fn boolean(field: &str, value: &Value) -> Result<bool, InvalidEvent> {
    value.as_bool().ok_or_else(|| InvalidEvent::new(field, format!("{} is not true or false", shown(value))))
}

fn key_names(field: &str, value: &Value) -> Result<Vec<KeyName>, InvalidEvent> {
    let list = value
        .as_array()
        .filter(|list| !list.is_empty())
        .ok_or_else(|| InvalidEvent::new(field, format!("{} is not a list of at least one key", shown(value))))?;
    list.iter()
        .enumerate()
        .map(|(n, name)| {
            let text = name.as_str().unwrap_or_default();
            KeyName::parse(text).ok_or_else(|| {
                InvalidEvent::new(format!("{field}[{n}]"), format!("{} is not {KEY_NAME_FORMS}", shown(name)))
            })
        })
        .collect()
}

/// An RFC 3339 instant. The library reads more forms than that, among them ones without a `T`.
fn instant(field: &str, value: &Value) -> Result<Timestamp, InvalidEvent> {
    let text = value.as_str().unwrap_or_default();
    let bytes = text.as_bytes();
    let dated = bytes.get(10).is_some_and(|c| c.eq_ignore_ascii_case(&b'T')) && !text.contains('[');
    let offset = match bytes {
        [.., b'Z' | b'z'] => true,
        [.., sign, a, b, b':', c, d] => {
            matches!(sign, b'+' | b'-') && [a, b, c, d].iter().all(|digit| digit.is_ascii_digit())
        }
        _ => false,
    };
    text.parse().ok().filter(|_| dated && offset).ok_or_else(|| {
        let problem = format!("{} is not an RFC 3339 instant such as `2026-12-31T00:00:00Z`", shown(value));
        InvalidEvent::new(field, problem)
    })
}

/// A value as an error message shows it: short ones whole, others by their kind.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(value) => format!("`{value}`"),
        Value::String(value) if value.chars().count() <= 100 => format!("`{value}`"),
        Value::String(_) => "a long string".to_owned(),
        Value::Array(list) if list.is_empty() => "an empty list".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn options(event: Value) -> Options {
        Request::parse(event, true).unwrap().options.unwrap()
    }

    fn refused(event: Value) -> String {
        Request::parse(event, true).unwrap_err().to_string()
    }

    fn names(names: &[&str]) -> Vec<KeyName> {
        names.iter().map(|name| KeyName::parse(name).unwrap()).collect()
    }

    #[test]
    fn events_without_options() {
        for event in [
            json!({}),
            json!({"detail": {}}),
            json!({"detail": "{}"}),
            json!({
                "version": "0", "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa", "detail-type": "Scheduled Event",
                "source": "aws.events", "account": "123456789012", "time": "2026-11-23T06:00:00Z",
                "region": "us-east-1", "resources": ["arn:aws:events:us-east-1:123456789012:rule/daily"], "detail": {}
            }),
            json!({
                "version": "0", "id": "53dc4d37", "detail-type": "Scheduled Event", "source": "aws.scheduler",
                "account": "123456789012", "time": "2026-11-23T06:00:00Z", "region": "us-east-1",
                "resources": ["arn:aws:scheduler:us-east-1:123456789012:schedule/default/daily"], "detail": "{}"
            }),
        ] {
            let request = Request::parse(event, false).unwrap();
            assert_eq!((request.options, request.batch), (Some(Options::default()), None));
        }
    }

    #[test]
    fn options_stand_in_the_detail_as_object_or_string() {
        let detail = json!({
            "keys": ["alias/payments", "1234abcd"], "as_of": "2027-01-01T00:00:00+02:00", "verbose": true,
            "notify": "later", "response": "summary", "target": {"account_id": "222222222222", "region": "eu-west-1"}
        });
        let expected = Options {
            keys: Some(names(&["alias/payments", "1234abcd"])),
            as_of: Some("2026-12-31T22:00:00Z".parse().unwrap()),
            dry_run: true,
            verbose: true,
            target: Some(AccountRegion { account_id: "222222222222".into(), region: "eu-west-1".into() }),
            notify: Notify::Later,
            summary: true,
        };
        assert_eq!(options(json!({"detail": detail})), expected);
        assert_eq!(options(json!({"detail": detail.to_string()})), expected);
    }

    #[test]
    fn as_of_implies_dry_run_whatever_else_is_said() {
        for (first, second) in [("as_of", "dry_run"), ("dry_run", "as_of")] {
            let value = |name| if name == "as_of" { "\"2027-01-01T00:00:00Z\"" } else { "false" };
            let text = format!("{{\"{first}\": {}, \"{second}\": {}}}", value(first), value(second));
            assert!(options(json!({"detail": text})).dry_run);
        }
        assert!(options(json!({"detail": {"dry_run": true}})).dry_run);
    }

    #[test]
    fn as_of_is_refused_where_only_the_present_can_be_judged() {
        let event = json!({"detail": {"as_of": "2027-01-01T00:00:00Z"}});
        let error = Request::parse(event, false).unwrap_err();
        assert_eq!(error.to_string(), "detail.as_of: this function judges the present only");
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (event, field) in [
            (json!(null), "event: null"),
            (json!([]), "event: an empty list"),
            (json!("x"), "event: `x`"),
            (json!({"keys": ["x"]}), "keys: is no field"),
            (json!({"Detail": {}}), "Detail: is no field"),
            (json!({"source": 5}), "source: `5`"),
            (json!({"time": "yesterday"}), "time: `yesterday`"),
            (json!({"resources": "arn"}), "resources: `arn`"),
            (json!({"resources": [1]}), "resources: a list"),
            (json!({"detail": null}), "detail: null"),
            (json!({"detail": []}), "detail: an empty list"),
            (json!({"detail": 1}), "detail: `1`"),
            (json!({"detail": ""}), "detail: a string that is not JSON"),
            (json!({"detail": "[]"}), "detail: a string that holds an empty list"),
            (json!({"detail": "\"{}\""}), "detail: a string that holds `{}`"),
            (json!({"detail": {"key": "x"}}), "detail.key: is no option"),
            (json!({"detail": {"keys": "alias/x"}}), "detail.keys: `alias/x`"),
            (json!({"detail": {"keys": []}}), "detail.keys: an empty list"),
            (json!({"detail": {"keys": null}}), "detail.keys: null"),
            (json!({"detail": {"keys": ["alias/x", 5]}}), "detail.keys[1]: `5`"),
            (json!({"detail": {"keys": ["arn:aws:s3:::b"]}}), "detail.keys[0]: `arn:aws:s3:::b`"),
            (json!({"detail": {"dry_run": "true"}}), "detail.dry_run: `true`"),
            (json!({"detail": {"verbose": 1}}), "detail.verbose: `1`"),
            (json!({"detail": {"target": "222222222222"}}), "detail.target: `222222222222` is not an object"),
            (json!({"detail": {"target": null}}), "detail.target: null is not an object"),
            (json!({"detail": {"target": {}}}), "detail.target.account_id: is missing"),
            (json!({"detail": {"target": {"account_id": "222222222222"}}}), "detail.target.region: is missing"),
            (
                json!({"detail": {"target": {"account_id": 222_222_222_222_u64, "region": "eu-west-1"}}}),
                "detail.target.account_id: `222222222222` is not an account ID",
            ),
            (
                json!({"detail": {"target": {"account_id": "22222222222", "region": "eu-west-1"}}}),
                "detail.target.account_id: `22222222222` is not an account ID",
            ),
            (
                json!({"detail": {"target": {"account_id": "222222222222", "region": "Ireland"}}}),
                "detail.target.region: `Ireland` is not the name of a Region",
            ),
            (
                json!({"detail": {"target": {"account_id": "222222222222", "region": "eu-west-1", "role": "x"}}}),
                "detail.target.role: is no field of a target",
            ),
            (json!({"detail": {"notify": "never"}}), "detail.notify: `never` is neither `now` nor `later`"),
            (json!({"detail": {"notify": true}}), "detail.notify: `true` is neither"),
            (json!({"detail": {"response": "short"}}), "detail.response: `short` is neither `full` nor `summary`"),
            (json!({"Records": [], "detail": {}}), "detail: is no field of an SQS batch"),
            (json!({"Records": {}}), "Records: is no SQS batch"),
            (json!({"Records": [{"body": "{}"}]}), "Records[0].messageId: is missing"),
            (json!({"Records": [{"messageId": "", "body": "{}"}]}), "Records[0].messageId: is missing"),
            (json!({"Records": [{"messageId": "1", "body": "{}", "eventSource": "aws:s3"}]}), "Records[0].eventSource"),
        ] {
            let error = refused(event.clone());
            assert!(error.starts_with(field), "{event}: {error}");
        }
    }

    #[test]
    fn an_error_is_short_however_long_the_event() {
        let long = "ü".repeat(100_000);
        for (event, start) in [
            (json!({long.clone(): 1}), "üü"),
            (json!({"detail": {long.clone(): 1}}), "detail.üü"),
            (json!({"detail": {"target": {long.clone(): 1}}}), "detail.target.üü"),
            (json!({"Records": long}), "Records: is no SQS batch: "),
        ] {
            let error = refused(event);
            assert!(error.starts_with(start), "{error}");
            assert!(error.contains('…') && error.chars().count() <= 2 * LONGEST + 4, "{error}");
        }
    }

    #[test]
    fn a_target_is_allowed_where_the_function_can_go() {
        let home = Location { partition: "aws".into(), region: "us-east-1".into(), account_id: "123456789012".into() };
        for (account_id, region, has_role, refused) in [
            ("123456789012", "us-east-1", false, None),
            ("123456789012", "eu-west-1", false, None),
            ("222222222222", "eu-west-1", true, None),
            (
                "222222222222",
                "us-east-1",
                false,
                Some(
                    "detail.target.account_id: `222222222222` is another account than this function's, and `MEMBER_ROLE_NAME` is not set",
                ),
            ),
            (
                "222222222222",
                "cn-north-1",
                true,
                Some("detail.target.region: `cn-north-1` is of the partition `aws-cn`, and this function of `aws`"),
            ),
            (
                "123456789012",
                "us-gov-west-1",
                false,
                Some(
                    "detail.target.region: `us-gov-west-1` is of the partition `aws-us-gov`, and this function of `aws`",
                ),
            ),
        ] {
            let target = AccountRegion { account_id: account_id.into(), region: region.into() };
            let error = allow(&target, &home, has_role).err().map(|error| error.to_string());
            assert_eq!(error.as_deref(), refused, "{account_id} {region}");
        }
    }

    #[test]
    fn instants() {
        for good in [
            "2026-12-31T00:00:00Z",
            "2026-12-31t00:00:00.123z",
            "2026-12-31T23:59:59+14:00",
            "2024-02-29T00:00:00-05:30",
            "9999-12-01T00:00:00Z",
        ] {
            assert!(instant("f", &json!(good)).is_ok(), "{good}");
        }
        for bad in [
            "",
            "2026-12-31",
            "2026-12-31T00:00:00",
            "2026-12-31 00:00:00Z",
            "2026-02-30T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-12-31T24:00:01Z",
            "2026-12-31T00:00:00+02",
            "2026-12-31T00:00:00+02:00[Europe/Berlin]",
            "1798675200",
            "tomorrow",
        ] {
            assert!(instant("f", &json!(bad)).is_err(), "{bad}");
        }
        assert!(instant("f", &json!(1_798_675_200)).is_err());
    }

    fn record(id: &str, body: &str) -> Value {
        json!({"messageId": id, "receiptHandle": "h", "body": body, "attributes": {}, "messageAttributes": {},
               "md5OfBody": "m", "eventSource": "aws:sqs", "eventSourceARN": "arn", "awsRegion": "us-east-1"})
    }

    fn failed(request: &Request) -> Vec<&str> {
        request.batch.as_ref().unwrap().failures.iter().map(|it| it.item_identifier.as_str()).collect()
    }

    #[test]
    fn a_batch_is_one_run_over_all_its_keys() {
        let event = json!({"Records": [
            record("1", r#"{"detail": {"keys": ["k1"]}}"#),
            record("2", r#"{"detail": "{\"keys\": [\"k2\"]}"}"#),
        ]});
        let request = Request::parse(event, true).unwrap();
        assert_eq!(request.options.as_ref().unwrap().keys, Some(names(&["k1", "k2"])));
        assert!(failed(&request).is_empty());
    }

    #[test]
    fn a_message_without_keys_widens_the_run_to_all() {
        let event = json!({"Records": [record("1", r#"{"detail": {"keys": ["k1"]}}"#), record("2", "{}")]});
        assert_eq!(Request::parse(event, true).unwrap().options.unwrap().keys, None);
    }

    #[test]
    fn malformed_messages_are_failures_and_the_others_run() {
        let event = json!({"Records": [
            record("1", "not JSON"),
            record("2", r#"{"detail": {"keys": ["k2"]}}"#),
            record("3", r#"{"detail": {"unknown": 1}}"#),
            record("4", "[]"),
        ]});
        let request = Request::parse(event, true).unwrap();
        assert_eq!(failed(&request), ["1", "3", "4"]);
        assert_eq!(request.options.unwrap().keys, Some(names(&["k2"])));
        let reasons: Vec<_> = request.batch.unwrap().malformed.into_iter().map(|(_, why)| why.to_string()).collect();
        assert!(reasons[0].starts_with("body: is not JSON") && reasons[1].starts_with("detail.unknown"));
    }

    #[test]
    fn a_batch_of_malformed_messages_runs_nothing() {
        let request = Request::parse(json!({"Records": [record("1", ""), record("2", "{")]}), true).unwrap();
        assert_eq!((request.options.as_ref(), failed(&request)), (None, vec!["1", "2"]));
    }

    #[test]
    fn messages_with_other_options_than_the_first_come_again() {
        let event = json!({"Records": [
            record("1", r#"{"detail": {"keys": ["k1"]}}"#),
            record("2", r#"{"detail": {"keys": ["k2"], "dry_run": true}}"#),
            record("3", r#"{"detail": {"keys": ["k3"]}}"#),
        ]});
        let request = Request::parse(event, true).unwrap();
        assert_eq!(failed(&request), ["2"]);
        let options = request.options.unwrap();
        assert_eq!((options.keys, options.dry_run), (Some(names(&["k1", "k3"])), false));
        assert!(request.batch.unwrap().malformed.is_empty());
    }
}
