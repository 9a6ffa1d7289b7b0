//! What creates and changes keys: KMS's operations that write, over the description that is being served.
//!
//! A change is made to the description, so that every answer after it follows. What takes time is kept as [`Pending`] and
//! happens with the first call after its time.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::combinations;
use crate::description::{FleetDescription, KeyDescription, MultiRegion, PastRotation, Rotation};
use crate::error::ApiError;
use crate::events::Event;
use crate::kms::{date, describe_key, not_found, validation};
use crate::model::Model;
use crate::operation::Operation;

/// How long what is done to keys takes to show, in milliseconds. Default: no time.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Delays {
    /// Until `tag:GetResources` gives a new key.
    pub search_ms: u64,
    /// Until `ListKeys` gives a new key.
    pub listing_ms: u64,
    /// Until IAM knows a new key's tags: before that, calls about it are denied.
    pub permission_ms: u64,
    /// For how long a replica is `Creating`.
    pub replica_ms: u64,
    /// How long a rotation on demand runs.
    pub rotation_ms: u64,
}

/// What is still to come for a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    /// When it happens.
    pub due: Timestamp,
    region: String,
    key_id: String,
    effect: Effect,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Effect {
    FoundByTag,
    Listed,
    Permitted,
    Created,
    Rotated,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Tag {
    tag_key: String,
    tag_value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct CreateKey {
    policy: Option<String>,
    #[serde(default)]
    description: String,
    key_usage: Option<String>,
    key_spec: Option<String>,
    origin: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    multi_region: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ReplicateKey {
    #[serde(rename = "KeyId")]
    _key_id: String,
    replica_region: String,
    policy: Option<String>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Alias {
    alias_name: String,
    target_key_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OfKey {
    rotation_period_in_days: Option<u32>,
    pending_window_in_days: Option<i64>,
    #[serde(default)]
    tags: Vec<Tag>,
}

/// Most tags of a key.
const MAX_TAGS: usize = 50;
const MAX_POLICY_BYTES: usize = 32_768;

/// Makes the change that is asked for. `id` is the key that the request names.
pub(crate) fn answer(
    fleet: &mut FleetDescription,
    region: &str,
    operation: Operation,
    id: Option<&str>,
    body: &[u8],
    now: Timestamp,
) -> Result<Value, ApiError> {
    let answer = match (operation, id) {
        (Operation::CreateKey, _) => return create_key(fleet, region, request(body)?, now),
        (Operation::CreateAlias, _) => {
            let Alias { alias_name, target_key_id } = request(body)?;
            let id = named(fleet, region, &target_key_id)?;
            create_alias(fleet, region, &alias_name, &id)?;
            return Ok(json!({}));
        }
        (Operation::UpdateAlias, _) => {
            let Alias { alias_name, target_key_id } = request(body)?;
            let id = named(fleet, region, &target_key_id)?;
            update_alias(fleet, region, &alias_name, &id)?;
            return Ok(json!({}));
        }
        (Operation::ReplicateKey, Some(id)) => replicate_key(fleet, region, id, request(body)?, now)?,
        (_, Some(id)) => {
            let request: OfKey = request(body)?;
            let arn = arn(fleet, region, id);
            let delays = fleet.delays;
            let limit = fleet.on_demand_rotation_limit;
            let entry = key_mut(fleet, region, id)?;
            match operation {
                Operation::DisableKey | Operation::EnableKey => {
                    if !matches!(entry.key_state.as_str(), "Enabled" | "Disabled") {
                        return Err(invalid_state(&arn, &entry.key_state));
                    }
                    let is_enabled = operation == Operation::EnableKey;
                    (if is_enabled { "Enabled" } else { "Disabled" }).clone_into(&mut entry.key_state);
                    json!({})
                }
                Operation::EnableKeyRotation => enable_key_rotation(entry, &arn, request.rotation_period_in_days)?,
                Operation::RotateKeyOnDemand => {
                    rotate_key_on_demand(entry, &arn, limit, now)?;
                    let due = after(now, delays.rotation_ms);
                    wait(fleet, region, id, Effect::Rotated, due);
                    json!({ "KeyId": arn })
                }
                Operation::ScheduleKeyDeletion => {
                    schedule_key_deletion(entry, &arn, request.pending_window_in_days, now)?
                }
                Operation::CancelKeyDeletion => {
                    if !entry.key_state.starts_with("Pending") || entry.key_state == "PendingImport" {
                        return Err(invalid_state(&arn, &entry.key_state));
                    }
                    "Disabled".clone_into(&mut entry.key_state);
                    entry.deletion_date = None;
                    json!({ "KeyId": arn })
                }
                Operation::TagResource => {
                    tag(entry, request.tags)?;
                    json!({})
                }
                _ => return Err(crate::kms::unknown_operation()),
            }
        }
        (_, None) => return Err(crate::kms::unknown_operation()),
    };
    if let Some(id) = id {
        note(key_mut(fleet, region, id)?, operation, now);
    }
    Ok(answer)
}

/// Lets happen what is due.
pub(crate) fn settle(fleet: &mut FleetDescription, now: Timestamp) {
    let (due, pending) = std::mem::take(&mut fleet.pending).into_iter().partition(|it| it.due <= now);
    fleet.pending = pending;
    let due: Vec<Pending> = due;
    for Pending { region, key_id, effect, due } in due {
        let Ok(entry) = key_mut(fleet, &region, &key_id) else { continue };
        match effect {
            Effect::FoundByTag => entry.untagged_in_search = false,
            Effect::Listed => entry.unlisted = false,
            Effect::Permitted => entry.denied = false,
            Effect::Created => "Enabled".clone_into(&mut entry.key_state),
            Effect::Rotated => {
                if let Some(rotation) = &mut entry.rotation {
                    rotation.on_demand_start_date = None;
                }
                let rotation_type = Some("ON_DEMAND".to_owned());
                entry.rotations.push(PastRotation { date: Some(due), rotation_type, ..PastRotation::default() });
            }
        }
    }
}

/// What IAM says of a key whose tags it does not know yet.
pub(crate) fn denied(operation: Operation, arn: &str) -> ApiError {
    let message = format!(
        "User: arn:aws:sts::123456789012:assumed-role/simulated/function is not authorized to perform: kms:{operation} on \
         resource: {arn} because no identity-based policy allows the kms:{operation} action"
    );
    ApiError::bad_request("AccessDeniedException", message)
}

fn create_key(
    fleet: &mut FleetDescription,
    region: &str,
    request: CreateKey,
    now: Timestamp,
) -> Result<Value, ApiError> {
    let CreateKey { policy, description, key_usage, key_spec, origin, tags, multi_region } = request;
    let spec = key_spec.unwrap_or_else(|| "SYMMETRIC_DEFAULT".to_owned());
    let origin = origin.unwrap_or_else(|| "AWS_KMS".to_owned());
    combinations::check(&spec, key_usage.as_deref(), &origin, multi_region)?;
    check_policy(fleet, policy.as_deref())?;
    let number = keys_mut(fleet, region).len();
    let id = if multi_region { format!("mrk-{number:032x}") } else { format!("00000000-0000-4000-8001-{number:012x}") };
    let mut entry = new_key(&id, now, fleet.delays);
    entry.policy = policy.map(Value::String);
    entry.key_usage = Some(key_usage.unwrap_or_else(|| "ENCRYPT_DECRYPT".to_owned()));
    entry.description = description;
    entry.key_spec = spec;
    entry.origin = origin;
    entry.multi_region = multi_region.then(|| MultiRegion {
        key_type: "PRIMARY".to_owned(),
        primary_region: Some(region.to_owned()),
        replica_regions: Vec::new(),
    });
    tag(&mut entry, tags)?;
    note(&mut entry, Operation::CreateKey, now);
    add_key(fleet, region, entry, now);
    metadata(fleet, region, &id)
}

fn replicate_key(
    fleet: &mut FleetDescription,
    region: &str,
    id: &str,
    request: ReplicateKey,
    now: Timestamp,
) -> Result<Value, ApiError> {
    let ReplicateKey { replica_region, policy, description, tags, .. } = request;
    let primary_arn = arn(fleet, region, id);
    let primary = key_mut(fleet, region, id)?.clone();
    if primary.multi_region.as_ref().is_none_or(|it| it.key_type != "PRIMARY") {
        let message = format!("{primary_arn} is not a multi-Region primary key.");
        return Err(ApiError::bad_request("UnsupportedOperationException", message));
    }
    if primary.key_state == "Disabled" {
        return Err(ApiError::bad_request("DisabledException", format!("{primary_arn} is disabled.")));
    }
    if primary.key_state != "Enabled" {
        return Err(invalid_state(&primary_arn, &primary.key_state));
    }
    let has_key = keys_mut(fleet, &replica_region).iter().any(|key| key.key_id.as_deref() == Some(id));
    if has_key || replica_region == region {
        let message = format!("Key {} already exists.", arn(fleet, &replica_region, id));
        return Err(ApiError::bad_request("AlreadyExistsException", message));
    }
    check_policy(fleet, policy.as_deref())?;
    let mut entry = new_key(id, now, fleet.delays);
    entry.policy = policy.map(Value::String);
    entry.description = description;
    entry.key_spec.clone_from(&primary.key_spec);
    entry.key_usage.clone_from(&primary.key_usage);
    entry.rotation.clone_from(&primary.rotation);
    "Creating".clone_into(&mut entry.key_state);
    let mut regions = primary.multi_region.map(|it| it.replica_regions).unwrap_or_default();
    regions.push(replica_region.clone());
    entry.multi_region = Some(MultiRegion {
        key_type: "REPLICA".to_owned(),
        primary_region: Some(region.to_owned()),
        replica_regions: regions.clone(),
    });
    tag(&mut entry, tags)?;
    add_key(fleet, &replica_region, entry, now);
    let due = after(now, fleet.delays.replica_ms);
    wait(fleet, &replica_region, id, Effect::Created, due);
    for relative in std::iter::once(region).chain(regions.iter().map(String::as_str)) {
        if let Ok(KeyDescription { multi_region: Some(it), .. }) = key_mut(fleet, relative, id) {
            it.replica_regions.clone_from(&regions);
        }
    }
    let answer = metadata(fleet, &replica_region, id)?;
    let policy = key_mut(fleet, &replica_region, id)?.policy.clone();
    let facts = answer.get("KeyMetadata").cloned();
    Ok(json!({"ReplicaKeyMetadata": facts, "ReplicaPolicy": policy}))
}

fn enable_key_rotation(entry: &mut KeyDescription, arn: &str, period: Option<u32>) -> Result<Value, ApiError> {
    check_rotates(entry, arn)?;
    if let Some(period) = period.filter(|period| !(90..=2560).contains(period)) {
        return Err(validation(&format!("Value '{period}' at 'rotationPeriodInDays' failed to satisfy constraint")));
    }
    let before = entry.rotation.take();
    let period_in_days = period.or_else(|| before.as_ref().and_then(|it| it.period_in_days));
    entry.rotation = Some(Rotation {
        enabled: true,
        period_in_days,
        next_rotation_date: before.as_ref().and_then(|it| it.next_rotation_date),
        on_demand_start_date: before.and_then(|it| it.on_demand_start_date),
    });
    Ok(json!({}))
}

fn rotate_key_on_demand(entry: &mut KeyDescription, arn: &str, limit: usize, now: Timestamp) -> Result<(), ApiError> {
    check_rotates(entry, arn)?;
    let before = entry.rotation.take();
    let is_running = before.as_ref().is_some_and(|it| it.on_demand_start_date.is_some());
    let on_demand = entry.rotations.iter().filter(|it| it.rotation_type.as_deref() == Some("ON_DEMAND")).count();
    let refused = if is_running {
        Some(ApiError::bad_request("ConflictException", format!("A rotation of {arn} is in progress.")))
    } else if on_demand >= limit {
        let message = format!("{arn} has reached its limit of on-demand rotations.");
        Some(ApiError::bad_request("LimitExceededException", message))
    } else {
        None
    };
    if let Some(error) = refused {
        entry.rotation = before;
        return Err(error);
    }
    let off = Rotation { enabled: false, period_in_days: None, next_rotation_date: None, on_demand_start_date: None };
    entry.rotation = Some(Rotation { on_demand_start_date: Some(now), ..before.unwrap_or(off) });
    Ok(())
}

/// Can the key rotate, and is it the one that is asked to?
fn check_rotates(entry: &KeyDescription, arn: &str) -> Result<(), ApiError> {
    let is_replica = entry.multi_region.as_ref().is_some_and(|it| it.key_type == "REPLICA");
    if entry.key_spec != "SYMMETRIC_DEFAULT" || entry.origin != "AWS_KMS" || is_replica || entry.key_manager == "AWS" {
        let message = format!("{arn} does not support this operation.");
        return Err(ApiError::bad_request("UnsupportedOperationException", message));
    }
    match entry.key_state.as_str() {
        "Enabled" => Ok(()),
        "Disabled" => Err(ApiError::bad_request("DisabledException", format!("{arn} is disabled."))),
        state => Err(invalid_state(arn, state)),
    }
}

fn schedule_key_deletion(
    entry: &mut KeyDescription,
    arn: &str,
    days: Option<i64>,
    now: Timestamp,
) -> Result<Value, ApiError> {
    let days = days.unwrap_or(30);
    if !(7..=30).contains(&days) {
        return Err(validation(&format!("Value '{days}' at 'pendingWindowInDays' failed to satisfy constraint")));
    }
    if entry.key_state.starts_with("Pending") && entry.key_state != "PendingImport" {
        return Err(invalid_state(arn, &entry.key_state));
    }
    let has_replicas =
        entry.multi_region.as_ref().is_some_and(|it| it.key_type == "PRIMARY" && !it.replica_regions.is_empty());
    if has_replicas {
        "PendingReplicaDeletion".clone_into(&mut entry.key_state);
        entry.pending_deletion_window_in_days = u32::try_from(days).ok();
        return Ok(json!({"KeyId": arn, "KeyState": entry.key_state, "PendingWindowInDays": days}));
    }
    let at = now.saturating_add(SignedDuration::from_hours(24 * days)).unwrap_or(now);
    "PendingDeletion".clone_into(&mut entry.key_state);
    entry.deletion_date = Some(at);
    Ok(json!({"KeyId": arn, "DeletionDate": date(at), "KeyState": "PendingDeletion", "PendingWindowInDays": days}))
}

fn create_alias(fleet: &mut FleetDescription, region: &str, alias: &str, id: &str) -> Result<(), ApiError> {
    let is_taken = holder(fleet, region, alias).is_some() || fleet.unassociated_aliases.iter().any(|it| it == alias);
    check_alias(alias)?;
    if is_taken {
        let message = format!("An alias with the name {} already exists", alias_arn(fleet, region, alias));
        return Err(ApiError::bad_request("AlreadyExistsException", message));
    }
    let entry = key_mut(fleet, region, id)?;
    if entry.key_state.starts_with("Pending") && entry.key_state != "PendingImport" {
        let state = entry.key_state.clone();
        return Err(invalid_state(&arn(fleet, region, id), &state));
    }
    entry.aliases.push(alias.to_owned());
    Ok(())
}

fn update_alias(fleet: &mut FleetDescription, region: &str, alias: &str, id: &str) -> Result<(), ApiError> {
    check_alias(alias)?;
    let Some(old) = holder(fleet, region, alias) else {
        return Err(not_found(format!("Alias {} is not found.", alias_arn(fleet, region, alias))));
    };
    key_mut(fleet, region, id)?;
    if let Some(entry) = keys_mut(fleet, region).get_mut(old) {
        entry.aliases.retain(|it| it != alias);
    }
    key_mut(fleet, region, id)?.aliases.push(alias.to_owned());
    Ok(())
}

fn check_alias(alias: &str) -> Result<(), ApiError> {
    if alias.starts_with("alias/aws/") {
        return Err(ApiError::bad_request("NotAuthorizedException", "The alias prefix alias/aws/ is reserved."));
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || "/_-".contains(c);
    let name = alias.strip_prefix("alias/").unwrap_or_default();
    if name.is_empty() || alias.len() > 256 || !name.chars().all(is_name) {
        return Err(ApiError::bad_request("InvalidAliasNameException", format!("{alias} is not a valid alias name.")));
    }
    Ok(())
}

fn tag(entry: &mut KeyDescription, tags: Vec<Tag>) -> Result<(), ApiError> {
    for Tag { tag_key, tag_value } in tags {
        if tag_key.is_empty() || tag_key.len() > 128 || tag_value.len() > 256 || tag_key.starts_with("aws:") {
            return Err(ApiError::bad_request("TagException", format!("The tag {tag_key} is not valid.")));
        }
        entry.tags.insert(tag_key, tag_value);
    }
    if entry.tags.len() > MAX_TAGS {
        return Err(ApiError::bad_request("TagException", "Too many tags."));
    }
    Ok(())
}

/// The policy lock-out check: somebody of the account has to be able to change the policy later.
fn check_policy(fleet: &FleetDescription, policy: Option<&str>) -> Result<(), ApiError> {
    let Some(text) = policy else { return Ok(()) };
    let malformed = |message: &str| Err(ApiError::bad_request("MalformedPolicyDocumentException", message));
    if text.len() > MAX_POLICY_BYTES {
        return Err(ApiError::bad_request("LimitExceededException", "The policy is too long."));
    }
    let Ok(policy) = serde_json::from_str::<Value>(text) else { return malformed("The policy is no JSON.") };
    let list = |value: Option<&Value>| match value {
        Some(Value::Array(all)) => all.clone(),
        Some(value) => vec![value.clone()],
        None => Vec::new(),
    };
    let statements = list(policy.get("Statement"));
    if statements.is_empty() {
        return malformed("The policy has no statement.");
    }
    let own = [
        format!("arn:{}:iam::{}:root", fleet.partition, fleet.account_id),
        fleet.account_id.clone(),
        "arn:aws:sts::123456789012:assumed-role/simulated/function".to_owned(),
        "*".to_owned(),
    ];
    let is_own = |principal: &Value| principal.as_str().is_some_and(|it| own.iter().any(|own| own == it));
    let may_put = |action: &Value| {
        matches!(
            action.as_str().map(str::to_ascii_lowercase).as_deref(),
            Some("*" | "kms:*" | "kms:put*" | "kms:putkeypolicy")
        )
    };
    let manages = |statement: &Value| {
        let principal = statement.get("Principal");
        let principals = if principal.is_some_and(Value::is_string) {
            list(principal)
        } else {
            list(principal.and_then(|it| it.get("AWS")))
        };
        statement.get("Effect").and_then(Value::as_str) == Some("Allow")
            && principals.iter().any(is_own)
            && list(statement.get("Action")).iter().any(may_put)
    };
    if statements.iter().any(manages) {
        return Ok(());
    }
    malformed("The new key policy will not allow you to update the key policy in the future.")
}

fn new_key(id: &str, now: Timestamp, delays: Delays) -> KeyDescription {
    KeyDescription {
        key_id: Some(id.to_owned()),
        creation_date: now,
        untagged_in_search: delays.search_ms > 0,
        unlisted: delays.listing_ms > 0,
        denied: delays.permission_ms > 0,
        ..KeyDescription::default()
    }
}

fn add_key(fleet: &mut FleetDescription, region: &str, entry: KeyDescription, now: Timestamp) {
    let id = entry.key_id.clone().unwrap_or_default();
    keys_mut(fleet, region).push(entry);
    let Delays { search_ms, listing_ms, permission_ms, .. } = fleet.delays;
    for (effect, delay) in
        [(Effect::FoundByTag, search_ms), (Effect::Listed, listing_ms), (Effect::Permitted, permission_ms)]
    {
        wait(fleet, region, &id, effect, after(now, delay));
    }
}

/// Notes for CloudTrail what was done.
fn note(entry: &mut KeyDescription, operation: Operation, now: Timestamp) {
    entry.events.push(Event { name: operation.name().to_owned(), time: now, ..Event::default() });
}

fn wait(fleet: &mut FleetDescription, region: &str, id: &str, effect: Effect, due: Timestamp) {
    let (region, key_id) = (region.to_owned(), id.to_owned());
    fleet.pending.push(Pending { due, region, key_id, effect });
}

fn after(now: Timestamp, milliseconds: u64) -> Timestamp {
    let delay = SignedDuration::from_millis(i64::try_from(milliseconds).unwrap_or(i64::MAX));
    now.saturating_add(delay).unwrap_or(Timestamp::MAX)
}

fn keys_mut<'a>(fleet: &'a mut FleetDescription, region: &str) -> &'a mut Vec<KeyDescription> {
    if fleet.region == region {
        return &mut fleet.keys;
    }
    &mut fleet.regions.entry(region.to_owned()).or_default().keys
}

fn key_mut<'a>(fleet: &'a mut FleetDescription, region: &str, id: &str) -> Result<&'a mut KeyDescription, ApiError> {
    let missing = not_found(format!("Key '{}' does not exist", arn(fleet, region, id)));
    // A key whose id is generated gets it as its name with its first change.
    let served = served_in(fleet, region)?;
    let place = served.place(id);
    let keys = keys_mut(fleet, region);
    let entry = place.and_then(|place| keys.get_mut(place)).filter(|entry| entry.count == 1);
    entry.ok_or(missing)
}

/// The place of the key that holds the alias.
fn holder(fleet: &mut FleetDescription, region: &str, alias: &str) -> Option<usize> {
    keys_mut(fleet, region).iter().position(|key| !key.gone && key.aliases.iter().any(|it| it == alias))
}

/// The id of the key that an id or ARN names.
fn named(fleet: &mut FleetDescription, region: &str, name: &str) -> Result<String, ApiError> {
    let id = name.rsplit('/').next().unwrap_or(name).to_owned();
    key_mut(fleet, region, &id).map(|_| id)
}

fn served_in(fleet: &FleetDescription, region: &str) -> Result<Model, ApiError> {
    let description = if fleet.region == region {
        fleet.clone()
    } else {
        fleet.regions.get(region).cloned().unwrap_or_default().fleet(region, fleet)
    };
    Model::new(description).map_err(|error| ApiError::new(500, "Fleet", error.to_string()))
}

fn metadata(fleet: &FleetDescription, region: &str, id: &str) -> Result<Value, ApiError> {
    let model = served_in(fleet, region)?;
    let key = model.by_id(id).ok_or_else(|| not_found(id))?;
    Ok(describe_key(&model, &key))
}

fn arn(fleet: &FleetDescription, region: &str, id: &str) -> String {
    format!("arn:{}:kms:{region}:{}:key/{id}", fleet.partition, fleet.account_id)
}

fn alias_arn(fleet: &FleetDescription, region: &str, alias: &str) -> String {
    format!("arn:{}:kms:{region}:{}:{alias}", fleet.partition, fleet.account_id)
}

fn invalid_state(arn: &str, state: &str) -> ApiError {
    ApiError::bad_request("KMSInvalidStateException", format!("{arn} is {state}."))
}

fn request<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::bad_request("SerializationException", error.to_string()))
}
