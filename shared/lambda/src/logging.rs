//! Log lines: JSON with an RFC 3339 time, a level and the request id, or plain text if Lambda is set so.

use monitor::settings::Environment;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The runtime's span that carries the request id. It is open at every level.
const REQUEST_SPAN: &str = "lambda_runtime::layers::trace";

/// The SDK's runtime, whose traces hold the bodies of answers: what KMS encrypts and signs is for nobody's log.
const SDK_RUNTIME: &str = "aws_smithy_runtime";

/// Starts logging, at the level and in the format that Lambda's logging configuration asks for.
pub fn start(environment: &Environment) {
    let level = level(environment);
    let kept = Targets::new()
        .with_default(level)
        .with_target(REQUEST_SPAN, level.max(LevelFilter::INFO))
        .with_target(SDK_RUNTIME, level.min(LevelFilter::DEBUG));
    let lines = tracing_subscriber::registry().with(kept);
    let layer = fmt::layer().with_target(false).with_ansi(false);
    if environment.get("AWS_LAMBDA_LOG_FORMAT").is_some_and(|format| format.eq_ignore_ascii_case("text")) {
        lines.with(layer).init();
    } else {
        lines.with(layer.json().flatten_event(true).with_current_span(true).with_span_list(false)).init();
    }
}

fn level(environment: &Environment) -> LevelFilter {
    match level_name(environment).as_str() {
        "TRACE" => LevelFilter::TRACE,
        "DEBUG" => LevelFilter::DEBUG,
        "WARN" => LevelFilter::WARN,
        "ERROR" | "FATAL" => LevelFilter::ERROR,
        _ => LevelFilter::INFO,
    }
}

/// The least severe level that is kept, in Lambda's words.
pub fn level_name(environment: &Environment) -> String {
    environment.get("AWS_LAMBDA_LOG_LEVEL").unwrap_or("INFO").to_ascii_uppercase()
}
