//! A function's real binary under the Lambda Runtime API.

use std::io::{self, PipeWriter, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use crate::calls::now;
use crate::fleet::Fleet;
use crate::process;
use crate::server::Server;

/// How long a function may take to ask for its first event, as with Lambda.
const STARTUP_LIMIT: Duration = Duration::from_secs(10);
/// Lambda's limit of a response.
const MAX_RESPONSE_BYTES: usize = 6_291_556;
/// A line that no function writes: all that was written before it belongs to the invocation that ends.
const END_OF_LOGS: &[u8] = b"\x01end of logs\n";

/// A running function. Its process ends when this is dropped.
#[derive(Debug)]
pub struct FunctionProcess {
    default_arn: String,
    process_id: Option<u32>,
    session: tokio::sync::Mutex<Session>,
    startup: Mutex<Startup>,
    /// Dropped last, after the process that talks to it.
    _server: Server,
}

#[derive(Debug, Default)]
struct Startup {
    logs: Vec<String>,
    time: Option<Duration>,
}

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
        Self { deadline: Duration::from_mins(1), function_arn: None, request_id: None }
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
    /// The function's own, or Lambda's: `Runtime.ExitError`, `Sandbox.Timedout`, `Function.ResponseSizeTooLarge`.
    pub error_type: String,
    /// What it says.
    pub error_message: String,
}

impl FunctionError {
    fn new(error_type: &str, error_message: impl Into<String>) -> Self {
        Self { error_type: error_type.to_owned(), error_message: error_message.into() }
    }

    /// From the body that a function reports an error with.
    fn reported(body: &[u8]) -> Self {
        let report: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| report.get(name).and_then(Value::as_str);
        Self::new(
            text("errorType").unwrap_or("Unhandled"),
            text("errorMessage").map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned),
        )
    }
}

impl FunctionProcess {
    /// Starts the binary with nothing in its environment but what Lambda sets, the fleet as its AWS endpoint, and
    /// `environment`, which may override both.
    pub fn start(binary: impl AsRef<Path>, fleet: &Fleet, environment: &[(&str, &str)]) -> io::Result<Self> {
        let binary = binary.as_ref();
        let name = binary.file_stem().map_or_else(|| "function".to_owned(), |stem| stem.to_string_lossy().into_owned());
        let (event_sender, events) = unbounded_channel();
        let (deliveries, delivery_receiver) = unbounded_channel();
        let api = Arc::new(Api {
            events: event_sender,
            deliveries: tokio::sync::Mutex::new(delivery_receiver),
            current: Mutex::default(),
        });
        let server = Server::start(api.router(), 0)?;

        let (reader, writer) = io::pipe()?;
        let mut command = Command::new(binary);
        command
            .env_clear()
            .envs(lambda_environment(&name, fleet))
            .env("AWS_LAMBDA_RUNTIME_API", server.address().to_string())
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer.try_clone()?)
            .kill_on_drop(true);
        let (log_sender, logs) = unbounded_channel();
        let started = now();
        let child = {
            let _context = server.handle().enter();
            let reader = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
            server.handle().spawn(read_logs(reader, log_sender));
            command.spawn().map_err(|error| {
                io::Error::new(error.kind(), format!("cannot start `{}`: {error}", binary.display()))
            })?
        };
        // It holds copies of the pipe's writing end.
        drop(command);
        Ok(Self {
            default_arn: fleet.arn("lambda", &format!("function:{name}")),
            process_id: child.id(),
            session: tokio::sync::Mutex::new(Session {
                child,
                started,
                asked: false,
                invocations: 0,
                events,
                deliveries,
                log_writer: Arc::new(writer),
                logs,
                runtime: server.handle().clone(),
            }),
            startup: Mutex::default(),
            _server: server,
        })
    }

    /// Invokes it with an event. Invocations queue up: a Lambda environment has one at a time.
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
        self.startup.lock().unwrap_or_else(PoisonError::into_inner).logs.clone()
    }

    /// From its start until it asked for its first event. Known after the first invocation.
    pub fn startup_time(&self) -> Option<Duration> {
        self.startup.lock().unwrap_or_else(PoisonError::into_inner).time
    }

    /// The most memory that it ever held resident; none when it has ended, or where there is no `/proc`.
    pub fn peak_memory_kib(&self) -> Option<u64> {
        process::peak_memory_kib(self.process_id?)
    }

    /// The CPU time that it has used so far; none when it has ended, or where there is no `/proc`.
    pub fn cpu_time(&self) -> Option<Duration> {
        process::cpu_time(self.process_id?)
    }

    async fn deliver(&self, payload: String, invocation: Invocation) -> Outcome {
        let mut session = self.session.lock().await;
        session.invocations = session.invocations.saturating_add(1);
        let request_id =
            invocation.request_id.unwrap_or_else(|| format!("00000000-0000-4000-a000-{:012}", session.invocations));
        if let Some(problem) = session.ready(&self.startup).await {
            let logs = session.drain_logs().await;
            return Outcome { result: Err(problem.error(&request_id, &logs)), logs, elapsed: Duration::ZERO };
        }
        let deadline = invocation.deadline;
        session.asked = false;
        let delivery = Delivery {
            payload,
            request_id: request_id.clone(),
            function_arn: invocation.function_arn.unwrap_or_else(|| self.default_arn.clone()),
            deadline,
        };
        let delivered = now();
        if session.deliveries.send(delivery).is_err() {
            let result = Err(FunctionError::new("Runtime.Unknown", "the Runtime API's server has ended"));
            return Outcome { result, logs: Vec::new(), elapsed: Duration::ZERO };
        }
        let mut timer = session.timer(deadline);
        let answer = loop {
            match session.next(&mut timer).await {
                Ok(Event::Answered { result, elapsed }) => break Ok((result, elapsed)),
                Ok(Event::Asked) => session.asked = true,
                Ok(Event::StartFailed(error)) => break Ok((Err(error), delivered.elapsed())),
                Err(problem) => break Err(problem),
            }
        };
        // What it writes between its answer and the next question is written in time, too: metrics, say.
        while answer.is_ok() && !session.asked {
            match session.next(&mut timer).await {
                Ok(Event::Asked) => session.asked = true,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        timer.abort();
        if let Err(Problem::Late(_)) = answer {
            // One that has ended by itself meanwhile needs no killing.
            let _ = session.child.kill().await;
        }
        let logs = session.drain_logs().await;
        match answer {
            Ok((result, elapsed)) => Outcome { result, logs, elapsed },
            Err(problem) => {
                Outcome { result: Err(problem.error(&request_id, &logs)), logs, elapsed: delivered.elapsed() }
            }
        }
    }
}

fn lambda_environment(name: &str, fleet: &Fleet) -> Vec<(&'static str, String)> {
    let region = fleet.region();
    vec![
        ("AWS_LAMBDA_FUNCTION_NAME", name.to_owned()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128".to_owned()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{name}")),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/01/01/[$LATEST]00000000000000000000000000000000".to_owned()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
        ("AWS_REGION", region.clone()),
        ("AWS_DEFAULT_REGION", region),
        ("AWS_ACCESS_KEY_ID", "simulated".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "simulated".to_owned()),
        ("AWS_SESSION_TOKEN", "simulated".to_owned()),
        ("AWS_ENDPOINT_URL", fleet.endpoint()),
        ("LANG", "en_US.UTF-8".to_owned()),
        ("TZ", ":UTC".to_owned()),
    ]
}

/// What the side of the invoker holds. One invocation has it at a time.
#[derive(Debug)]
struct Session {
    child: Child,
    started: Instant,
    /// The function is waiting for an event.
    asked: bool,
    invocations: u64,
    events: UnboundedReceiver<Event>,
    deliveries: UnboundedSender<Delivery>,
    log_writer: Arc<PipeWriter>,
    /// All lines between two ends of logs.
    logs: UnboundedReceiver<Vec<String>>,
    runtime: Handle,
}

/// Why no answer came.
#[derive(Debug)]
enum Problem {
    Exited(io::Result<ExitStatus>),
    Late(Duration),
    StartFailed(FunctionError),
}

impl Problem {
    fn error(self, request_id: &str, logs: &[String]) -> FunctionError {
        let (error_type, what) = match self {
            Self::StartFailed(error) => return error,
            Self::Exited(Ok(status)) => ("Runtime.ExitError", format!("Runtime exited with error: {status}")),
            Self::Exited(Err(error)) => ("Runtime.ExitError", format!("Runtime exited: {error}")),
            Self::Late(limit) => {
                ("Sandbox.Timedout", format!("Task timed out after {:.2} seconds", limit.as_secs_f64()))
            }
        };
        let mut message = format!("RequestId: {request_id} Error: {what}");
        for line in logs.iter().skip(logs.len().saturating_sub(20)) {
            message.push('\n');
            message.push_str(line);
        }
        FunctionError::new(error_type, message)
    }
}

impl Session {
    /// Waits until the function asks for an event.
    async fn ready(&mut self, startup: &Mutex<Startup>) -> Option<Problem> {
        let limit = STARTUP_LIMIT;
        let mut timer = self.timer(limit);
        while !self.asked {
            match self.next(&mut timer).await {
                Ok(Event::Asked) => self.asked = true,
                Ok(Event::StartFailed(error)) => return Some(Problem::StartFailed(error)),
                Ok(Event::Answered { .. }) => {}
                Err(problem) => return Some(problem),
            }
        }
        timer.abort();
        if self.invocations == 1 {
            let time = Some(self.started.elapsed());
            let logs = self.drain_logs().await;
            *startup.lock().unwrap_or_else(PoisonError::into_inner) = Startup { logs, time };
        }
        None
    }

    /// The next thing that happens. What the function said comes before its end.
    async fn next(&mut self, timer: &mut Timer) -> Result<Event, Problem> {
        tokio::select! {
            biased;
            Some(event) = self.events.recv() => Ok(event),
            status = self.child.wait() => Err(Problem::Exited(status)),
            _ = &mut timer.task => Err(Problem::Late(timer.limit)),
        }
    }

    /// Runs on the server's runtime: the caller's may have its clock stopped, or none.
    fn timer(&self, limit: Duration) -> Timer {
        Timer { limit, task: self.runtime.spawn(async move { tokio::time::sleep(limit).await }) }
    }

    /// All lines that were written until now. A pipe keeps order, so they are there when the mark comes out of it.
    async fn drain_logs(&mut self) -> Vec<String> {
        let writer = Arc::clone(&self.log_writer);
        // Writing can block while the pipe is full.
        let written = self.runtime.spawn_blocking(move || (&*writer).write_all(END_OF_LOGS)).await;
        match written {
            Ok(Ok(())) => self.logs.recv().await.unwrap_or_default(),
            Ok(Err(error)) => vec![format!("the logs cannot be read: {error}")],
            Err(error) => vec![format!("the logs cannot be read: {error}")],
        }
    }
}

#[derive(Debug)]
struct Timer {
    limit: Duration,
    task: JoinHandle<()>,
}

impl Timer {
    fn abort(self) {
        self.task.abort();
    }
}

async fn read_logs(reader: pipe::Receiver, finished: UnboundedSender<Vec<String>>) {
    let mut reader = BufReader::new(reader);
    let mut lines = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        // The mark can follow a line that the function has not ended.
        let (text, is_end) = match line.strip_suffix(END_OF_LOGS) {
            Some(text) => (text, true),
            None => (line.as_slice(), false),
        };
        if !(is_end && text.is_empty()) {
            lines.push(String::from_utf8_lossy(text.strip_suffix(b"\n").unwrap_or(text)).into_owned());
        }
        if is_end && finished.send(std::mem::take(&mut lines)).is_err() {
            return;
        }
    }
}

/// The side that the function sees.
#[derive(Debug)]
struct Api {
    events: UnboundedSender<Event>,
    deliveries: tokio::sync::Mutex<UnboundedReceiver<Delivery>>,
    /// The invocation that is running, and when it began.
    current: Mutex<Option<(String, Instant)>>,
}

/// What the function does.
#[derive(Debug)]
enum Event {
    Asked,
    Answered { result: Result<Value, FunctionError>, elapsed: Duration },
    StartFailed(FunctionError),
}

/// An event on its way to the function.
#[derive(Debug)]
struct Delivery {
    payload: String,
    request_id: String,
    function_arn: String,
    deadline: Duration,
}

impl Api {
    fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .route("/2018-06-01/runtime/init/error", post(init_error))
            .with_state(Arc::clone(self))
    }

    fn send(&self, event: Event) {
        // Nobody listens once the function is being dropped.
        let _ = self.events.send(event);
    }

    /// Ends the current invocation, if it is that one.
    fn finish(&self, id: &str, result: Result<Value, FunctionError>) -> bool {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, began)) = current.take_if(|(current, _)| current == id) else { return false };
        self.send(Event::Answered { result, elapsed: began.elapsed() });
        true
    }
}

async fn next(State(api): State<Arc<Api>>) -> Response {
    api.send(Event::Asked);
    let Some(delivery) = api.deliveries.lock().await.recv().await else {
        return refused(StatusCode::GONE, "Ended", "there are no more events");
    };
    let Delivery { payload, request_id, function_arn, deadline } = delivery;
    let headers = [
        ("lambda-runtime-aws-request-id", request_id.clone()),
        ("lambda-runtime-deadline-ms", unix_milliseconds(deadline)),
        ("lambda-runtime-invoked-function-arn", function_arn),
        ("lambda-runtime-trace-id", "Root=1-00000000-000000000000000000000000;Sampled=0".to_owned()),
        ("content-type", "application/json".to_owned()),
    ];
    let mut response = Response::new(Body::from(payload));
    for (name, value) in headers {
        match HeaderValue::try_from(value) {
            Ok(value) => response.headers_mut().insert(name, value),
            Err(error) => return refused(StatusCode::INTERNAL_SERVER_ERROR, name, &error.to_string()),
        };
    }
    *api.current.lock().unwrap_or_else(PoisonError::into_inner) = Some((request_id, now()));
    response
}

async fn response(State(api): State<Arc<Api>>, UrlPath(id): UrlPath<String>, body: Bytes) -> Response {
    let too_large = body.len() > MAX_RESPONSE_BYTES;
    let result = if too_large {
        let message = "Response payload size exceeded maximum allowed payload size (6291556 bytes).";
        Err(FunctionError::new("Function.ResponseSizeTooLarge", message))
    } else {
        serde_json::from_slice(&body)
            .map_err(|error| FunctionError::new("Runtime.InvalidResponse", format!("the answer is not JSON: {error}")))
    };
    match (api.finish(&id, result), too_large) {
        (false, _) => unknown_request(),
        (true, true) => refused(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", "the response is too large"),
        (true, false) => accepted(),
    }
}

async fn error(State(api): State<Arc<Api>>, UrlPath(id): UrlPath<String>, body: Bytes) -> Response {
    if api.finish(&id, Err(FunctionError::reported(&body))) { accepted() } else { unknown_request() }
}

async fn init_error(State(api): State<Arc<Api>>, body: Bytes) -> Response {
    api.send(Event::StartFailed(FunctionError::reported(&body)));
    accepted()
}

fn accepted() -> Response {
    answer(StatusCode::ACCEPTED, &json!({"status": "OK"}))
}

fn unknown_request() -> Response {
    refused(StatusCode::BAD_REQUEST, "InvalidRequestID", "no such invocation is running")
}

fn refused(status: StatusCode, error_type: &str, message: &str) -> Response {
    answer(status, &json!({"errorType": error_type, "errorMessage": message}))
}

fn answer(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response
}

#[expect(clippy::disallowed_methods, reason = "the function reads its deadline against the real clock")]
fn unix_milliseconds(ahead: Duration) -> String {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since_1970.saturating_add(ahead).as_millis().to_string()
}
