//! A function's real binary under the Lambda Runtime API.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::fleet::Fleet;

/// A running function.
pub struct Function {}

/// How an invocation differs from the usual.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// From the moment the function gets the event. Then it is killed, as by Lambda. Default 60 seconds.
    pub deadline: Duration,
    /// Default: the function's name, unqualified, in the fleet's account and Region.
    pub function_arn: Option<String>,
    /// Default: a new one.
    pub request_id: Option<String>,
}

impl Default for Invocation {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(60), function_arn: None, request_id: None }
    }
}

/// What became of an invocation.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The function's answer, or its error.
    pub result: Result<Value, FunctionError>,
    /// The lines that it wrote to standard output and standard error meanwhile, in their order.
    pub logs: Vec<String>,
    /// From the event's delivery to the answer.
    pub elapsed: Duration,
}

/// An invocation's error, as Lambda reports it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{error_type}: {error_message}")]
pub struct FunctionError {
    /// The function's own, or Lambda's: `Runtime.ExitError`, `Sandbox.Timedout`, …
    pub error_type: String,
    /// What it says.
    pub error_message: String,
}

impl Function {
    /// Starts the binary with nothing in its environment but what Lambda sets, the fleet as its AWS endpoint, and
    /// `environment`, which may override both.
    pub fn start(_binary: impl AsRef<Path>, _fleet: &Fleet, _environment: &[(&str, &str)]) -> io::Result<Self> {
        Ok(Self {})
    }

    /// Invokes it with an event.
    pub async fn invoke(&self, event: &Value) -> Outcome {
        self.invoke_with(event, Invocation::default()).await
    }

    /// Invokes it with an event, otherwise than usual.
    pub async fn invoke_with(&self, event: &Value, invocation: Invocation) -> Outcome {
        self.deliver(event.to_string(), invocation).await
    }

    /// Invokes it with a payload that need not be JSON.
    pub async fn invoke_raw(&self, payload: &str) -> Outcome {
        self.deliver(payload.to_owned(), Invocation::default()).await
    }

    /// The lines that it wrote before it asked for its first event. Known after the first invocation.
    pub fn startup_logs(&self) -> Vec<String> {
        Vec::new()
    }

    /// From its start until it asked for its first event. Known after the first invocation.
    pub fn startup_time(&self) -> Option<Duration> {
        None
    }

    /// The most memory that it ever held resident; none when it has ended, or where there is no `/proc`.
    pub fn peak_memory_kib(&self) -> Option<u64> {
        None
    }

    async fn deliver(&self, _payload: String, _invocation: Invocation) -> Outcome {
        std::future::ready(Outcome { result: Ok(Value::Null), logs: Vec::new(), elapsed: Duration::ZERO }).await
    }
}
