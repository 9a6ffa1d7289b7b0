use domain::text::printable;
use lambda::event::Request;
use serde_json::Value;

/// Most characters of an error: of a field and of its problem 1,000 each, and what stands between and behind them.
const LONGEST: usize = 2_004;

/// An event, as JSON: it is read, the same each time, or refused with a short error that names the field.
///
/// # Panics
/// That does not hold.
pub fn event_input(data: &[u8]) {
    let Ok(event) = serde_json::from_slice::<Value>(data) else { return };
    for takes_as_of in [false, true] {
        let read = Request::parse(event.clone(), takes_as_of);
        assert_eq!(read, Request::parse(event.clone(), takes_as_of));
        match read {
            Ok(request) => holds_together(&request, &event, takes_as_of),
            Err(error) => names_its_field(&error.to_string(), &event),
        }
    }
}

fn names_its_field(error: &str, event: &Value) {
    assert!(error.chars().count() <= LONGEST, "{error}");
    assert!(!error.contains(char::is_control), "{error:?}");
    assert!(error.contains(": "), "{error}");
    let start = |name: &String| printable(name).chars().take(1_000).collect::<String>();
    match event {
        Value::Object(fields) => assert!(fields.keys().any(|name| error.starts_with(&start(name))), "{error}"),
        _ => assert!(error.starts_with("event: "), "{error}"),
    }
}

fn holds_together(request: &Request, event: &Value, takes_as_of: bool) {
    if let Some(options) = &request.options {
        assert!(options.as_of.is_none() || takes_as_of && options.dry_run);
        assert!(options.keys.as_ref().is_none_or(|keys| !keys.is_empty()));
    }
    let Some(batch) = &request.batch else {
        assert!(request.options.is_some());
        return;
    };
    let records = event.get("Records").and_then(Value::as_array).map_or(0, Vec::len);
    assert_eq!(batch.run.len() + batch.failures.len(), records, "each message is run or goes back");
    assert_eq!(request.options.is_none(), batch.run.is_empty());
    for (id, error) in &batch.malformed {
        assert!(batch.failures.iter().any(|failure| failure.item_identifier == *id));
        assert!(error.to_string().chars().count() <= LONGEST);
    }
}
