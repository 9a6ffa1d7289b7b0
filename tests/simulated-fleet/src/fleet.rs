//! A fleet that is being served: requests in, answers and faults out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::future;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use futures::stream::{self, Stream, StreamExt as _};
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::accounts::{self, AssumedRole, Caller, Sessions};
use crate::calls::Calls;
use crate::changes;
use crate::cloudwatch::{self, Reads};
use crate::crash_point::{CrashPoint, When};
use crate::crypto;
use crate::description::{DescriptionError, FleetDescription};
use crate::dynamodb;
use crate::error::ApiError;
use crate::events;
use crate::faults::{Fault, FaultKind};
use crate::kms;
use crate::model::{Key, Model};
use crate::operation::{Operation, Service};
use crate::overrides::apply_overrides;
use crate::quotas::Quotas;
use crate::regions;
use crate::server::Server;
use crate::sns::{self, Published};
use crate::table::{Attribute, Tables, Write};
use crate::tagging;

/// A fleet that is being served on the loopback interface, until it is dropped.
#[derive(Debug)]
pub struct Fleet {
    server: Server,
    state: Arc<FleetState>,
}

impl Fleet {
    /// Serves the fleet on a free port.
    pub fn serve(description: FleetDescription) -> io::Result<Self> {
        Self::serve_on(description, 0)
    }

    /// Serves the fleet on that port; 0 means a free one.
    pub fn serve_on(description: FleetDescription, port: u16) -> io::Result<Self> {
        let mut tables = Tables::default();
        description.tables.iter().for_each(|name| tables.create(name));
        let served =
            ServedFleet::new(description).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let state = Arc::new(FleetState {
            served: RwLock::new(Arc::new(served)),
            calls: Mutex::default(),
            calls_by_region: Mutex::default(),
            calls_by_account: Mutex::default(),
            sessions: Sessions::default(),
            assumed_roles: Mutex::default(),
            objects: Mutex::default(),
            secrets: Mutex::default(),
            published: Mutex::default(),
            tables: Mutex::new(tables),
            crash_point: CrashPoint::default(),
            requests: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
        });
        let router = Router::new().fallback(handle).with_state(Arc::clone(&state));
        Ok(Self { server: Server::start(router, port)?, state })
    }

    /// Its address, for `AWS_ENDPOINT_URL`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Where it listens.
    pub fn address(&self) -> std::net::SocketAddr {
        self.server.address()
    }

    /// What is being served.
    pub fn description(&self) -> FleetDescription {
        self.state.served().model.description.clone()
    }

    /// The ARN of something in the fleet's account and Region: `fleet.arn("kms", "key/…")`, `fleet.arn("sns", "alerts")`.
    pub fn arn(&self, service: &str, resource: &str) -> String {
        self.state.served().model.arn(service, resource)
    }

    pub(crate) fn region(&self) -> String {
        self.state.served().model.description.region.clone()
    }

    /// Serves another description from now on, with all its faults still to come. Counts, messages, tables and their items
    /// are kept; tables that it names are added.
    pub fn replace(&self, description: FleetDescription) -> Result<(), DescriptionError> {
        let served = Arc::new(ServedFleet::new(description)?);
        let mut tables = lock(&self.state.tables);
        served.model.description.tables.iter().for_each(|name| tables.create(name));
        *self.state.served.write().unwrap_or_else(PoisonError::into_inner) = served;
        Ok(())
    }

    /// HTTP requests by operation, every attempt counted, unknown operations included.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        lock(&self.state.calls).all()
    }

    /// The calls of an operation by the id of the key that they named; where there is no such key, by what they named.
    pub fn calls_for(&self, operation: &str) -> BTreeMap<String, u64> {
        lock(&self.state.calls).by_key(operation)
    }

    /// The KMS requests to one Region by operation, every attempt counted.
    pub fn calls_in(&self, region: &str) -> BTreeMap<String, u64> {
        lock(&self.state.calls_by_region).get(region).map(Calls::all).unwrap_or_default()
    }

    /// The KMS and CloudWatch requests to one account and Region by operation, every attempt counted.
    pub fn calls_to(&self, account_id: &str, region: &str) -> BTreeMap<String, u64> {
        let place = (account_id.to_owned(), region.to_owned());
        lock(&self.state.calls_by_account).get(&place).map(Calls::all).unwrap_or_default()
    }

    /// The roles of other accounts that were given, in their order.
    pub fn assumed_roles(&self) -> Vec<AssumedRole> {
        lock(&self.state.assumed_roles).clone()
    }

    /// From now on no credentials of a role that were given so far are good.
    pub fn expire_sessions(&self) {
        self.state.sessions.expire();
    }

    /// The objects that were put into buckets, by path: `bucket/key`.
    pub fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        lock(&self.state.objects).iter().map(|(path, body)| (path.clone(), body.to_vec())).collect()
    }

    /// Puts an object into a bucket, at `bucket/key`.
    pub fn put_object(&self, path: &str, body: impl Into<Bytes>) {
        lock(&self.state.objects).insert(path.to_owned(), body.into());
    }

    /// The calls of an operation in one Region by the id of the key that they named.
    pub fn calls_in_for(&self, region: &str, operation: &str) -> BTreeMap<String, u64> {
        lock(&self.state.calls_by_region).get(region).map(|calls| calls.by_key(operation)).unwrap_or_default()
    }

    /// Everything that went into a use of a key and came out of it, in base64: what no caller may log.
    pub fn secrets(&self) -> BTreeSet<String> {
        lock(&self.state.secrets).clone()
    }

    /// Calls of the operation in its busiest second, whenever that began.
    pub fn peak_rate(&self, operation: &str) -> u32 {
        lock(&self.state.calls).peak_rate(operation)
    }

    /// Calls that the fleet has no answer for, by operation, or by method and path where none is named.
    pub fn unknown_calls(&self) -> BTreeMap<String, u64> {
        lock(&self.state.calls).unknown()
    }

    /// Calls that exceeded a quota.
    pub fn throttled(&self) -> u64 {
        self.state.throttled.load(Ordering::Relaxed)
    }

    /// Forgets all calls.
    pub fn clear_calls(&self) {
        self.state.throttled.store(0, Ordering::Relaxed);
        *lock(&self.state.calls) = Calls::default();
        lock(&self.state.calls_by_region).clear();
        lock(&self.state.calls_by_account).clear();
    }

    /// The messages that were published, in their order. One whose answer was spoilt by a fault is among them.
    pub fn published(&self) -> Vec<Published> {
        lock(&self.state.published).clone()
    }

    /// Forgets all messages.
    pub fn clear_published(&self) {
        lock(&self.state.published).clear();
    }

    /// The items of all tables by partition key and sort key, as plain JSON.
    pub fn items(&self) -> Vec<Value> {
        lock(&self.state.tables).items()
    }

    /// Puts an item, given as plain JSON, into the first table, as if it had been there from the start.
    pub fn put_item(&self, item: &Value) -> Result<(), DescriptionError> {
        let invalid = |problem: String| DescriptionError::new("item", problem);
        let Attribute::M(item) = Attribute::of_plain(item) else { return Err(invalid("must be an object".to_owned())) };
        let key = dynamodb::key_of_item(&item).map_err(|error| invalid(error.message))?;
        if lock(&self.state.tables).insert_into_first(key, item) {
            return Ok(());
        }
        Err(invalid("there is no table to put it into".to_owned()))
    }

    /// The puts and deletes that were applied, in their order, each write of a batch by itself.
    pub fn writes(&self) -> Vec<Write> {
        lock(&self.state.tables).writes.clone()
    }

    /// Forgets the writes; the items stay.
    pub fn clear_writes(&self) {
        lock(&self.state.tables).writes.clear();
    }

    /// How many calls that change something (`PutItem`, `DeleteItem`, `BatchWriteItem`, `Publish`, what changes keys) have arrived since the
    /// fleet is served, or since the last [`stop_at`](Self::stop_at) or [`resume`](Self::resume). Each attempt counts.
    pub fn mutations(&self) -> u64 {
        self.state.crash_point.mutations()
    }

    /// Lets the caller crash: of the calls that change something, counted from now on and from 1, the `n`-th is never
    /// answered, and those after it are neither applied nor answered.
    pub fn stop_at(&self, n: u64, when: When) {
        self.state.crash_point.set(Some((n, when)));
    }

    /// Resolves when that call has arrived, and with [`When::After`] when it has been applied. It works in any runtime.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        self.state.crash_point.stopped()
    }

    /// Answers all calls again and counts from 0. Calls that were left unanswered stay so.
    pub fn resume(&self) {
        self.state.crash_point.set(None);
    }
}

#[derive(Debug)]
struct FleetState {
    served: RwLock<Arc<ServedFleet>>,
    calls: Mutex<Calls>,
    /// KMS's operations only.
    calls_by_region: Mutex<BTreeMap<String, Calls>>,
    /// KMS's and CloudWatch's operations, by account and Region.
    calls_by_account: Mutex<BTreeMap<(String, String), Calls>>,
    sessions: Sessions,
    assumed_roles: Mutex<Vec<AssumedRole>>,
    objects: Mutex<BTreeMap<String, Bytes>>,
    secrets: Mutex<BTreeSet<String>>,
    published: Mutex<Vec<Published>>,
    tables: Mutex<Tables>,
    crash_point: CrashPoint,
    requests: AtomicU64,
    throttled: AtomicU64,
}

/// Calls that a fault was asked about, by operation and, for the faults of a key, key index.
type Asked = HashMap<(Operation, Option<u32>), u64>;

/// What is being served, and how far its faults have come.
#[derive(Debug)]
struct ServedFleet {
    model: Model,
    /// Calls so far that a fault was asked about, by operation and, for the faults of a key, key index.
    asked: Arc<Mutex<Asked>>,
    reads: Arc<Mutex<Reads>>,
    quotas: Arc<Quotas>,
    /// The other Regions that the description knows.
    elsewhere: BTreeMap<String, Arc<ServedFleet>>,
    /// Does any of its faults say so, anywhere?
    clock_is_ahead: bool,
    /// The other accounts that the description knows.
    accounts: BTreeMap<String, Arc<ServedFleet>>,
}

impl FleetState {
    fn served(&self) -> Arc<ServedFleet> {
        Arc::clone(&self.served.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the keys of the fleet, or leaves all as it was.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut FleetDescription, Timestamp) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let mut served = self.served.write().unwrap_or_else(PoisonError::into_inner);
        let mut description = served.model.description.clone();
        let answer = change(&mut description, wall_clock())?;
        let changed = served.changed(description).map_err(|error| ApiError::new(500, "Fleet", error.to_string()))?;
        *served = Arc::new(changed);
        Ok(answer)
    }

    /// Lets happen what is due of what was done to keys before.
    fn settle(&self) {
        let is_due = self.served().model.description.pending.iter().any(|it| it.due <= wall_clock());
        if is_due {
            let _ = self.change(|description, now| {
                changes::settle(description, now);
                Ok(())
            });
        }
    }

    /// An id for a request or a message.
    fn next_id(&self) -> String {
        format!("00000000-0000-4000-9000-{:012}", self.requests.fetch_add(1, Ordering::Relaxed))
    }
}

impl ServedFleet {
    fn new(description: FleetDescription) -> Result<Self, DescriptionError> {
        let mut elsewhere = BTreeMap::new();
        for (name, region) in &description.regions {
            let served = Self::new(region.fleet(name, &description));
            let served = served.map_err(|error| error.within(&format!("regions.{name}")))?;
            elsewhere.insert(name.clone(), Arc::new(served));
        }
        let mut accounts = BTreeMap::new();
        for (id, account) in &description.accounts {
            let served = Self::new(account.fleet(id, &description));
            let served = served.map_err(|error| error.within(&format!("accounts.{id}")))?;
            accounts.insert(id.clone(), Arc::new(served));
        }
        let of_keys = description.keys.iter().flat_map(|key| key.faults.values());
        let clock_is_ahead = description.faults.values().chain(of_keys).any(|it| it.kind == FaultKind::ClockSkew)
            || elsewhere.values().chain(accounts.values()).any(|served| served.clock_is_ahead);
        let model = Model::new(description)?;
        let (asked, reads, quotas) = (Arc::default(), Arc::default(), Arc::default());
        Ok(Self { model, asked, reads, quotas, elsewhere, clock_is_ahead, accounts })
    }

    /// What is being served for that caller, if its credentials are good.
    fn of_caller(self: Arc<Self>, caller: Caller<'_>) -> Result<Arc<Self>, ApiError> {
        let invalid = |code| ApiError::bad_request(code, "The security token included in the request is invalid.");
        match caller {
            Caller::Home => Ok(self),
            Caller::Session(account_id) => {
                self.accounts.get(account_id).cloned().ok_or_else(|| invalid("UnrecognizedClientException"))
            }
            Caller::Expired => Err(invalid("ExpiredTokenException")),
        }
    }

    /// The same fleet after a change of its keys: its faults are as far as they were.
    fn changed(&self, description: FleetDescription) -> Result<Self, DescriptionError> {
        let mut changed = Self::new(description)?;
        changed.go_on_from(self);
        for (region, served) in &self.elsewhere {
            if let Some(served_now) = changed.elsewhere.get_mut(region).and_then(Arc::get_mut) {
                served_now.go_on_from(served);
            }
        }
        for (account, served) in &self.accounts {
            if let Some(served_now) = changed.accounts.get_mut(account).and_then(Arc::get_mut) {
                served_now.go_on_from(served);
            }
        }
        Ok(changed)
    }

    fn go_on_from(&mut self, before: &Self) {
        self.asked = Arc::clone(&before.asked);
        self.reads = Arc::clone(&before.reads);
        self.quotas = Arc::clone(&before.quotas);
    }

    /// What is being served in that Region.
    fn in_region(self: Arc<Self>, region: &str) -> Result<Arc<Self>, DescriptionError> {
        let home = &self.model.description;
        match self.elsewhere.get(region) {
            _ if region == home.region => Ok(self),
            Some(served) => Ok(Arc::clone(served)),
            None => Ok(Arc::new(Self::new(regions::RegionDescription::default().fleet(region, home))?)),
        }
    }

    /// The fault that hits this call.
    fn fault(&self, operation: Operation, key: Option<Key<'_>>) -> Option<Fault> {
        let of_operation = self.model.description.faults.get(&operation).map(|fault| (None, fault));
        let of_key = key.and_then(|key| Some((Some(key.index), key.entry.faults.get(&operation)?)));
        let mut faults = of_operation.into_iter().chain(of_key);
        faults.find(|(key, fault)| fault.hits(self.count((operation, *key)))).map(|(_, fault)| fault.clone())
    }

    /// How often it was asked before.
    fn count(&self, scope: (Operation, Option<u32>)) -> u64 {
        let mut asked = lock(&self.asked);
        let count = asked.entry(scope).or_default();
        let before = *count;
        *count = before.saturating_add(1);
        before
    }
}

/// A panic elsewhere in a test must not hide behind a poisoned lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What stands before an operation's name in the header `x-amz-target`.
const DYNAMODB: &str = "DynamoDB_20120810.";

/// How an answer reaches the caller.
enum Delivery {
    Whole,
    Truncated,
    Cut,
    Refused,
    Drip,
}

tokio::task_local! {
    /// When the request that is being answered was signed, as it says itself.
    static SIGNED_AT: Option<Timestamp>;
}

/// How far the clock of a service with the fault `clock_skew` is ahead.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_hours(5);
/// How far from its own clock a service takes a signature.
const MAX_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Was the request signed by the clock that is ahead?
fn is_signed_by_clock_ahead() -> bool {
    let signed_at = SIGNED_AT.try_with(|signed_at| *signed_at).unwrap_or_default();
    signed_at.is_some_and(|signed_at| {
        let ahead = signed_at.duration_since(wall_clock());
        (ahead - CLOCK_SKEW).abs() <= MAX_SKEW
    })
}

/// The header `x-amz-date`: `20261123T060000Z`.
fn signed_at(headers: &HeaderMap) -> Option<Timestamp> {
    let date = headers.get("x-amz-date")?.to_str().ok()?;
    let date = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", date).ok()?;
    Offset::UTC.to_timestamp(date).ok()
}

async fn handle(
    State(state): State<Arc<FleetState>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let signed_at = signed_at(&headers);
    let mut response = SIGNED_AT.scope(signed_at, answer(&state, method, uri, headers, body)).await;
    if state.served().clock_is_ahead {
        let now = wall_clock().saturating_add(CLOCK_SKEW).unwrap_or(Timestamp::MAX);
        let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        response.headers_mut().extend(HeaderValue::try_from(date).ok().map(|date| (header::DATE, date)));
    }
    response
}

async fn answer(state: &FleetState, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let target = text("x-amz-target");
    let caller = state.sessions.account(&headers);
    let region = regions::of_request(&headers);
    if !target.is_empty() {
        if let Some(name) = target.strip_prefix(DYNAMODB) {
            dynamodb_call(state, caller, name, &body).await
        } else if let Some(name) = target.strip_prefix(accounts::ORGANIZATIONS) {
            organization_call(state, caller, name, &body).await
        } else if target.ends_with(events::TARGET) {
            lookup_call(state, &body).await
        } else if target.ends_with(tagging::TARGET) {
            search_call(state, &body).await
        } else {
            kms_call(state, target, caller, region, &body).await
        }
    } else if let Some(name) = uri.path().strip_prefix(cloudwatch::PATH) {
        cloudwatch_call(state, name, caller, region, &body).await
    } else if uri.path() == accounts::LIST_REGIONS {
        list_regions_call(state, caller, &body).await
    } else if method == Method::PUT {
        put_object_call(state, caller, uri.path(), body).await
    } else if method == Method::GET {
        get_object_call(state, caller, uri.path()).await
    } else if text("content-type").starts_with("application/x-www-form-urlencoded") {
        query_call(state, caller, &sns::parse_form(&body)).await
    } else {
        lock(&state.calls).record_unknown(format!("{method} {}", uri.path()));
        respond(state, Service::Kms, Err(kms::unknown_operation()), &Delivery::Whole)
    }
}

async fn lookup_call(state: &FleetState, body: &[u8]) -> Response {
    let served = state.served();
    let operation = Operation::LookupEvents;
    lock(&state.calls).record(operation.name(), None);
    let is_throttled = served.model.description.quotas && !served.quotas.take(operation, None);
    let fault = if is_throttled { Some(Fault::new(FaultKind::Throttled)) } else { served.fault(operation, None) };
    let page_fault = fault.as_ref().map(|fault| fault.kind).filter(|kind| kind.is_of_pages());
    suffer(state, &served, operation, "*", fault.as_ref(), || {
        events::answer(&served.model, body, page_fault).map(|answer| answer.to_string())
    })
    .await
}

async fn search_call(state: &FleetState, body: &[u8]) -> Response {
    state.settle();
    let served = state.served();
    let operation = Operation::GetResources;
    lock(&state.calls).record(operation.name(), None);
    let fault = served.fault(operation, None);
    let page_fault = fault.as_ref().map(|fault| fault.kind).filter(|kind| kind.is_of_pages());
    suffer(state, &served, operation, "*", fault.as_ref(), || {
        tagging::answer(&served.model, body, page_fault).map(|answer| answer.to_string())
    })
    .await
}

/// The error to a caller that is not the fleet's own account, of services that are only there for that one.
fn for_home_alone(caller: Caller<'_>) -> Result<(), ApiError> {
    match caller {
        Caller::Home => Ok(()),
        _ => Err(ApiError::new(403, "AccessDeniedException", "A member account's credentials may not do this.")),
    }
}

async fn kms_call(state: &FleetState, target: &str, caller: Caller<'_>, region: Option<&str>, body: &[u8]) -> Response {
    state.settle();
    let served = match state.served().of_caller(caller) {
        Ok(served) => served,
        Err(error) => return respond(state, Service::Kms, Err(error), &Delivery::Whole),
    };
    let account_id = served.model.description.account_id.clone();
    let home = served.model.description.region.clone();
    let region = region.unwrap_or(&home);
    let Ok(served) = served.in_region(region) else {
        return respond(state, Service::Kms, Err(kms::unknown_operation()), &Delivery::Whole);
    };
    let name = target.strip_prefix("TrentService.").unwrap_or(target);
    let Some(operation) = Operation::of(Service::Kms, name) else {
        lock(&state.calls).record_unknown(name.to_owned());
        return respond(state, Service::Kms, Err(kms::unknown_operation()), &Delivery::Whole);
    };
    let (request, found) = match kms::Request::parse(body) {
        Ok(mut request) => {
            if operation == Operation::Decrypt && request.key_id.is_none() {
                request.key_id = crypto::key_in(body);
            }
            let found = kms::find_key(&served.model, operation, &request);
            (request, found)
        }
        Err(error) => (kms::Request::default(), Err(error)),
    };
    let key = found.as_ref().ok().copied().flatten();
    let named = key.map(|key| key.id()).or_else(|| request.key_id.clone());
    lock(&state.calls).record(operation.name(), named.clone());
    let place = (account_id, region.to_owned());
    lock(&state.calls_by_account).entry(place).or_default().record(operation.name(), named.clone());
    lock(&state.calls_by_region).entry(region.to_owned()).or_default().record(operation.name(), named);

    let resource = key.map_or_else(|| "*".to_owned(), |key| key.arn());
    let spec = key.map(|key| key.entry.key_spec.as_str());
    let is_throttled = served.model.description.quotas && !served.quotas.take(operation, spec);
    if is_throttled {
        state.throttled.fetch_add(1, Ordering::Relaxed);
    }
    let fault = if is_throttled { Some(Fault::new(FaultKind::Throttled)) } else { served.fault(operation, key) };
    let page_fault = fault.as_ref().map(|fault| fault.kind).filter(|kind| kind.is_of_pages());
    suffer(state, &served, operation, &resource, fault.as_ref(), || {
        let key = found?;
        if key.is_some_and(|key| key.entry.denied) {
            return Err(changes::denied(operation, &resource));
        }
        if operation.changes_keys() {
            let id = key.map(|key| key.id());
            let change =
                |fleet: &mut FleetDescription, now| changes::answer(fleet, region, operation, id.as_deref(), body, now);
            return state.change(change).map(|answer| answer.to_string());
        }
        let answer = match key {
            Some(key) if operation.is_cryptography() => {
                let mut answer = crypto::answer(operation, body, &key)?;
                lock(&state.secrets).extend(crypto::secrets(body, &answer));
                apply_overrides(&mut answer, key.entry, operation);
                answer
            }
            _ => kms::answer(&served.model, operation, &request, key, page_fault)?,
        };
        Ok(answer.to_string())
    })
    .await
}

async fn dynamodb_call(state: &FleetState, caller: Caller<'_>, name: &str, body: &[u8]) -> Response {
    let served = state.served();
    let Some(operation) = Operation::of(Service::DynamoDb, name) else {
        lock(&state.calls).record_unknown(name.to_owned());
        return respond(state, Service::DynamoDb, Err(kms::unknown_operation()), &Delivery::Whole);
    };
    lock(&state.calls).record(operation.name(), None);
    let resource = served.model.arn("dynamodb", &format!("table/{}", dynamodb::table_name(body)));
    let fault = served.fault(operation, None);
    let unprocessed = fault.as_ref().filter(|fault| fault.kind == FaultKind::Unprocessed);
    let rules = dynamodb::Rules {
        page_size: served.model.description.table_page_size,
        index_lag: served.model.description.index_lag_writes,
        processed: unprocessed.map(|fault| fault.processed.unwrap_or(0)),
        page_fault: fault.as_ref().map(|fault| fault.kind).filter(|kind| kind.is_of_pages()),
    };
    suffer(state, &served, operation, &resource, fault.as_ref(), || {
        for_home_alone(caller)?;
        dynamodb::answer(&mut lock(&state.tables), operation, body, rules).map(|answer| answer.to_string())
    })
    .await
}

async fn cloudwatch_call(
    state: &FleetState,
    name: &str,
    caller: Caller<'_>,
    region: Option<&str>,
    body: &[u8],
) -> Response {
    let served = match state.served().of_caller(caller) {
        Ok(served) => served,
        Err(error) => return respond(state, Service::CloudWatch, Err(error), &Delivery::Whole),
    };
    let account_id = served.model.description.account_id.clone();
    let region = region.unwrap_or(&served.model.description.region).to_owned();
    let Ok(served) = served.in_region(&region) else {
        return respond(state, Service::CloudWatch, Err(kms::unknown_operation()), &Delivery::Whole);
    };
    let Some(operation) = Operation::of(Service::CloudWatch, name) else {
        lock(&state.calls).record_unknown(name.to_owned());
        return respond(state, Service::CloudWatch, Err(kms::unknown_operation()), &Delivery::Whole);
    };
    lock(&state.calls).record(operation.name(), None);
    lock(&state.calls_by_account).entry((account_id, region)).or_default().record(operation.name(), None);
    let fault = served.fault(operation, None);
    let page_fault = fault.as_ref().map(|fault| fault.kind).filter(|kind| kind.is_of_pages());
    suffer(state, &served, operation, "*", fault.as_ref(), || {
        cloudwatch::answer(&served.model, operation, body, &mut lock(&served.reads), page_fault, wall_clock())
    })
    .await
}

#[expect(
    clippy::disallowed_methods,
    reason = "CloudWatch lists what was in use lately by its own clock, STS's sessions end"
)]
fn wall_clock() -> Timestamp {
    Timestamp::now()
}

async fn organization_call(state: &FleetState, caller: Caller<'_>, name: &str, body: &[u8]) -> Response {
    let served = state.served();
    let Some(operation) = Operation::of(Service::Organizations, name) else {
        lock(&state.calls).record_unknown(name.to_owned());
        return respond(state, Service::Organizations, Err(kms::unknown_operation()), &Delivery::Whole);
    };
    lock(&state.calls).record(operation.name(), None);
    let fault = served.fault(operation, None);
    let page_fault = fault.as_ref().map(|fault| fault.kind).filter(|kind| kind.is_of_pages());
    suffer(state, &served, operation, "*", fault.as_ref(), || {
        for_home_alone(caller)?;
        let answer = accounts::organization(&served.model.description, operation, body, page_fault)?;
        Ok(answer.to_string())
    })
    .await
}

async fn list_regions_call(state: &FleetState, caller: Caller<'_>, body: &[u8]) -> Response {
    let (served, operation) = (state.served(), Operation::ListRegions);
    let account_id = accounts::account_in(body);
    lock(&state.calls).record(operation.name(), account_id.clone());
    let account = match &account_id {
        None => Some(Arc::clone(&served)),
        Some(id) => served.accounts.get(id).cloned(),
    };
    let of_account = account.as_ref().and_then(|account| account.fault(operation, None));
    let fault = served.fault(operation, None).or(of_account);
    let page_fault = fault.as_ref().map(|fault| fault.kind).filter(|kind| kind.is_of_pages());
    suffer(state, &served, operation, "*", fault.as_ref(), || {
        for_home_alone(caller)?;
        let unknown = || ApiError::new(404, "ResourceNotFoundException", "No account was found.");
        Ok(accounts::regions(&account.ok_or_else(unknown)?.model.description, body, page_fault).to_string())
    })
    .await
}

async fn put_object_call(state: &FleetState, caller: Caller<'_>, path: &str, body: Bytes) -> Response {
    let (served, operation) = (state.served(), Operation::PutObject);
    lock(&state.calls).record(operation.name(), None);
    let fault = served.fault(operation, None);
    let path = path.trim_start_matches('/').to_owned();
    suffer(state, &served, operation, &format!("arn:aws:s3:::{path}"), fault.as_ref(), || {
        for_home_alone(caller)?;
        lock(&state.objects).insert(path.clone(), body);
        Ok("")
    })
    .await
}

async fn get_object_call(state: &FleetState, caller: Caller<'_>, path: &str) -> Response {
    let (served, operation) = (state.served(), Operation::GetObject);
    lock(&state.calls).record(operation.name(), None);
    let fault = served.fault(operation, None);
    let path = path.trim_start_matches('/').to_owned();
    suffer(state, &served, operation, &format!("arn:aws:s3:::{path}"), fault.as_ref(), || {
        for_home_alone(caller)?;
        let missing = || ApiError::new(404, "NoSuchKey", "The specified key does not exist.");
        lock(&state.objects).get(&path).cloned().ok_or_else(missing)
    })
    .await
}

async fn sts_call(state: &FleetState, caller: Caller<'_>, operation: Operation, form: &sns::Form) -> Response {
    let home = state.served();
    lock(&state.calls).record(operation.name(), None);
    let role_arn = form.get("RoleArn").cloned().unwrap_or_default();
    let served = match (operation, caller) {
        (Operation::AssumeRole, _) => {
            accounts::role_in(&role_arn).and_then(|(id, _)| home.accounts.get(id)).cloned().ok_or(None)
        }
        (_, Caller::Home) => Ok(Arc::clone(&home)),
        // The credentials may be of an account that the fleet knows nothing else of.
        (_, Caller::Session(id)) => home.accounts.get(id).cloned().ok_or_else(|| Some(id.to_owned())),
        (_, Caller::Expired) => Err(None),
    };
    let fault = home.fault(operation, None).or_else(|| served.as_ref().ok()?.fault(operation, None));
    suffer(state, &home, operation, &role_arn, fault.as_ref(), || {
        if matches!(caller, Caller::Expired) {
            return Err(ApiError::new(403, "ExpiredToken", "The security token included in the request is expired"));
        }
        if operation == Operation::AssumeRole {
            for_home_alone(caller)?;
            let description = &home.model.description;
            let (answer, assumed) = accounts::assume_role(description, &state.sessions, form, wall_clock())?;
            lock(&state.assumed_roles).push(assumed);
            return Ok(answer);
        }
        let account_id = match &served {
            Ok(served) => served.model.description.account_id.clone(),
            Err(id) => id.clone().unwrap_or_default(),
        };
        Ok(accounts::caller_identity(&account_id))
    })
    .await
}

async fn ec2_call(state: &FleetState, caller: Caller<'_>, operation: Operation, form: &sns::Form) -> Response {
    let served = match state.served().of_caller(caller) {
        Ok(served) => served,
        Err(error) => return respond(state, Service::Ec2, Err(error), &Delivery::Whole),
    };
    lock(&state.calls).record(operation.name(), None);
    let fault = served.fault(operation, None);
    suffer(state, &served, operation, "*", fault.as_ref(), || {
        Ok(accounts::described_regions(&served.model.description, form, &state.next_id()))
    })
    .await
}

async fn query_call(state: &FleetState, caller: Caller<'_>, form: &sns::Form) -> Response {
    let served = state.served();
    let action = form.get("Action").map_or("", String::as_str);
    if let Some(operation) = Operation::of(Service::Sts, action) {
        return sts_call(state, caller, operation, form).await;
    }
    if let Some(operation) = Operation::of(Service::Ec2, action) {
        return ec2_call(state, caller, operation, form).await;
    }
    let Some(operation) = Operation::of(Service::Sns, action) else {
        lock(&state.calls).record_unknown(action.to_owned());
        let error = ApiError::bad_request("InvalidAction", format!("The action {action} is not valid."));
        return respond(state, Service::Sns, Err(error), &Delivery::Whole);
    };
    lock(&state.calls).record(operation.name(), None);
    let resource = form.get("TopicArn").map_or("*", String::as_str);
    let fault = served.fault(operation, None);
    suffer(state, &served, operation, resource, fault.as_ref(), || {
        for_home_alone(caller)?;
        if operation == Operation::GetTopicAttributes {
            let confirmed = served.model.description.subscriptions_confirmed;
            return sns::render_attributes(form, confirmed, &state.next_id());
        }
        let message = sns::message(form)?;
        lock(&state.published).push(message);
        Ok(sns::render_published(&state.next_id(), &state.next_id()))
    })
    .await
}

/// Answers after the fleet's latency as the fault will have it.
async fn suffer<T: Into<Bytes>>(
    state: &FleetState,
    served: &ServedFleet,
    operation: Operation,
    resource: &str,
    fault: Option<&Fault>,
    answer: impl FnOnce() -> Result<T, ApiError>,
) -> Response {
    let service = operation.service();
    let kind = fault.map(|fault| fault.kind);
    let stop = if operation.mutates() { state.crash_point.arrive() } else { None };
    if stop == Some(When::Before) {
        match state.crash_point.leave_unanswered().await {}
    }
    if kind == Some(FaultKind::Hang) {
        match future::pending::<Infallible>().await {}
    }
    let slow = fault.and_then(|fault| fault.delay_ms).unwrap_or(0);
    let delay = served.model.description.latency_ms.saturating_add(slow);
    if delay > 0 {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    let is_absorbed = kind == Some(FaultKind::ClockSkew) && is_signed_by_clock_ahead();
    if let Some(error) = fault.filter(|_| !is_absorbed).and_then(|fault| fault.error(operation, resource)) {
        return respond(state, service, Err(error), &Delivery::Whole);
    }
    if kind == Some(FaultKind::Refused) {
        return respond(state, service, Ok(Bytes::new()), &Delivery::Refused);
    }
    let answer = answer().map(Into::into);
    if stop == Some(When::After) {
        match state.crash_point.leave_unanswered().await {}
    }
    match kind {
        Some(FaultKind::Garbled) => respond(state, service, Ok("%$&! not an answer".into()), &Delivery::Whole),
        Some(FaultKind::Truncated) => respond(state, service, answer, &Delivery::Truncated),
        Some(FaultKind::Cut) => respond(state, service, answer, &Delivery::Cut),
        Some(FaultKind::Drip) => respond(state, service, answer, &Delivery::Drip),
        _ => respond(state, service, answer, &Delivery::Whole),
    }
}

/// A byte a second, and the last one never.
fn drip(body: Bytes) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let last = body.len().saturating_sub(1);
    stream::iter(0..body.len()).then(move |place| {
        let byte = body.slice(place..=place);
        async move {
            if place == last {
                future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(byte)
        }
    })
}

fn respond(state: &FleetState, service: Service, answer: Result<Bytes, ApiError>, delivery: &Delivery) -> Response {
    let request_id = state.next_id();
    let query_error = answer.as_ref().err().map(|error| error.code.clone());
    let (status, mut body) = match (service, answer) {
        (_, Ok(body)) => (200, body),
        (Service::CloudWatch, Err(error)) => (error.status, cloudwatch::render_error(&error).into()),
        (
            Service::CloudTrail | Service::Kms | Service::Account | Service::Organizations | Service::Tagging,
            Err(error),
        ) => (error.status, json!({"__type": error.code, "message": error.message}).to_string().into()),
        (Service::DynamoDb, Err(error)) => (error.status, dynamodb::render_error(&error).into()),
        (Service::Ec2, Err(error)) => (error.status, sns::render_error_of_ec2(&error, &request_id).into()),
        (Service::S3, Err(error)) => (error.status, sns::render_bare_error(&error).into()),
        (Service::Sns | Service::Sts, Err(error)) => (error.status, sns::render_error(&error, &request_id).into()),
    };
    let length = body.len();
    let half = length.div_euclid(2);
    let body = match delivery {
        Delivery::Whole => Body::from(body),
        Delivery::Truncated => {
            body.truncate(half);
            Body::from(body)
        }
        Delivery::Cut => {
            body.truncate(half);
            // The pause lets the first half out before the connection is closed.
            let end = stream::once(async {
                tokio::time::sleep(Duration::from_millis(5)).await;
                Err(io::Error::from(io::ErrorKind::ConnectionAborted))
            });
            Body::from_stream(stream::once(future::ready(Ok(body))).chain(end))
        }
        // It fails before the head is out: the caller gets nothing at all.
        Delivery::Refused => {
            let refused = Err::<Bytes, _>(io::Error::from(io::ErrorKind::ConnectionAborted));
            Body::from_stream(stream::once(future::ready(refused)))
        }
        Delivery::Drip => Body::from_stream(drip(body)),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = match service {
        Service::CloudWatch => "application/cbor",
        Service::Account => "application/json",
        Service::CloudTrail | Service::Kms | Service::Organizations | Service::Tagging => "application/x-amz-json-1.1",
        Service::DynamoDb => "application/x-amz-json-1.0",
        Service::S3 => "application/xml",
        Service::Ec2 | Service::Sns | Service::Sts => "text/xml",
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if service == Service::CloudWatch {
        headers.insert("smithy-protocol", HeaderValue::from_static("rpc-v2-cbor"));
        // Where CloudWatch was spoken to in the query protocol before, callers know its errors by those codes.
        if let Some(Ok(error)) = query_error.map(|code| HeaderValue::try_from(format!("{code};Sender"))) {
            headers.insert("x-amzn-query-error", error);
        }
    }
    if matches!(delivery, Delivery::Cut | Delivery::Drip) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    if let Ok(request_id) = HeaderValue::try_from(request_id) {
        headers.insert("x-amzn-requestid", request_id);
    }
    response
}
