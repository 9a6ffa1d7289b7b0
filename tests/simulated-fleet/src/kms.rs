//! KMS's operations over the model: what is asked, found and answered.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::description::KeyDescription;
use crate::error::ApiError;
use crate::faults::FaultKind;
use crate::model::{Key, Model};
use crate::operation::Operation;
use crate::overrides::apply_overrides;

/// The members of all requests; each operation reads its own.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Request {
    pub(crate) key_id: Option<String>,
    marker: Option<String>,
    limit: Option<i64>,
    include_key_material: Option<String>,
    policy_name: Option<String>,
}

impl Request {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        serde_json::from_slice(body).map_err(|error| ApiError::bad_request("SerializationException", error.to_string()))
    }
}

/// The key that the request names; none where the operation can do without and no key is named.
pub(crate) fn find_key<'a>(
    model: &'a Model,
    operation: Operation,
    request: &Request,
) -> Result<Option<Key<'a>>, ApiError> {
    if !operation.names_a_key() {
        return Ok(None);
    }
    let Some(name) = &request.key_id else {
        if operation == Operation::ListAliases {
            return Ok(None);
        }
        return Err(validation("Value null at 'keyId' failed to satisfy constraint: Member must not be null"));
    };
    let own_arns = model.arn("kms", "");
    let resource = match name.strip_prefix(&own_arns) {
        Some(resource) => resource,
        None if name.starts_with("arn:") => {
            // AWS names the Region of a foreign ARN as what is wrong with it.
            let region = name.split(':').nth(3).unwrap_or_default();
            return Err(not_found(format!("Invalid arn {region}")));
        }
        None => name,
    };
    let is_arn = resource.len() != name.len();
    let key = if resource.starts_with("alias/") {
        if operation != Operation::DescribeKey && !operation.is_cryptography() {
            return Err(if is_arn {
                ApiError::bad_request("InvalidArnException", format!("{name} is not a valid key ARN"))
            } else {
                not_found(format!("Invalid keyId '{name}'"))
            });
        }
        model.by_alias(resource).ok_or_else(|| not_found(format!("Alias {own_arns}{resource} is not found.")))?
    } else {
        let id = if is_arn { resource.strip_prefix("key/") } else { Some(resource) };
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            return Err(ApiError::bad_request("InvalidArnException", format!("Invalid arn {name}")));
        };
        match model.by_id(id) {
            Some(key) => key,
            None if looks_like_an_id(id) => return Err(no_such_key(&format!("{own_arns}key/{id}"))),
            None => return Err(not_found(format!("Invalid keyId '{id}'"))),
        }
    };
    if key.entry.gone {
        return Err(no_such_key(&key.arn()));
    }
    Ok(Some(key))
}

fn looks_like_an_id(id: &str) -> bool {
    id.starts_with("mrk-") || (id.len() == 36 && id.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()))
}

/// The healthy answer, but for what a fault does to its pages.
pub(crate) fn answer(
    model: &Model,
    operation: Operation,
    request: &Request,
    key: Option<Key<'_>>,
    page_fault: Option<FaultKind>,
) -> Result<Value, ApiError> {
    let pager = Pager { operation, request, page_size: model.description.page_size, page_fault };
    let mut answer = match (operation, key) {
        (Operation::ListKeys, _) => return list_keys(model, &pager),
        (Operation::ListAliases, key) => return list_aliases(model, key, &pager),
        (Operation::DescribeCustomKeyStores, _) => return describe_custom_key_stores(model, &pager),
        (Operation::DescribeKey, Some(key)) => describe_key(model, &key),
        (Operation::GetKeyRotationStatus, Some(key)) => get_key_rotation_status(&key)?,
        (Operation::ListKeyRotations, Some(key)) => list_key_rotations(&key, &pager)?,
        (Operation::ListResourceTags, Some(key)) => list_resource_tags(&key, &pager)?,
        (Operation::ListGrants, Some(key)) => list_grants(model, &key, &pager)?,
        (Operation::GetKeyLastUsage, Some(key)) => get_key_last_usage(&key),
        (Operation::GetKeyPolicy, Some(key)) => get_key_policy(model, &key, request)?,
        _ => return Err(unknown_operation()),
    };
    if let Some(key) = key {
        apply_overrides(&mut answer, key.entry, operation);
    }
    Ok(answer)
}

pub(crate) fn unknown_operation() -> ApiError {
    ApiError::bad_request("UnknownOperationException", "The simulated fleet does not answer this operation.")
}

fn list_keys(model: &Model, pager: &Pager<'_>) -> Result<Value, ApiError> {
    let limit = pager.limit()?;
    let mut index = pager.start_index(model.key_count())?;
    let mut keys = Vec::new();
    let mut next = None;
    while let Some(key) = model.listed_from(index) {
        if keys.len() == limit {
            next = Some(key.index.to_string());
            break;
        }
        let mut entry = json!({"KeyId": key.id(), "KeyArn": key.arn()});
        apply_overrides(&mut entry, key.entry, Operation::ListKeys);
        keys.push(entry);
        index = key.index.saturating_add(1);
    }
    Ok(pager.page("Keys", keys, next))
}

fn describe_custom_key_stores(model: &Model, pager: &Pager<'_>) -> Result<Value, ApiError> {
    pager.page_of("CustomKeyStores", &model.description.custom_key_stores, |store| {
        let mut entry = json!({"CustomKeyStoreId": store.id, "CustomKeyStoreName": store.name});
        let optional =
            [("ConnectionState", &store.connection_state), ("ConnectionErrorCode", &store.connection_error_code)];
        for (name, value) in optional {
            if let Some(value) = value {
                merge(&mut entry, json!({name: value}));
            }
        }
        entry
    })
}

fn list_aliases(model: &Model, key: Option<Key<'_>>, pager: &Pager<'_>) -> Result<Value, ApiError> {
    let limit = pager.limit()?;
    let start = pager.start()?;
    if !start.is_empty() && !model.has_alias(start) {
        return Err(invalid_marker());
    }
    let of_key = key.map(|key| key.aliases());
    let mut found: Box<dyn Iterator<Item = (&str, Option<Key<'_>>)>> = match &of_key {
        Some(aliases) => {
            Box::new(aliases.iter().map(|alias| (alias.as_str(), key)).filter(|(alias, _)| *alias >= start))
        }
        None => Box::new(model.aliases_from(start)),
    };
    let mut aliases = Vec::new();
    for (alias, key) in found.by_ref().take(limit) {
        let mut entry = json!({"AliasName": alias, "AliasArn": model.arn("kms", alias)});
        if let Some(key) = key {
            let created = date(key.entry.creation_date);
            merge(&mut entry, json!({"TargetKeyId": key.id(), "CreationDate": created, "LastUpdatedDate": created}));
            apply_overrides(&mut entry, key.entry, Operation::ListAliases);
        }
        aliases.push(entry);
    }
    let next = found.next().map(|(alias, _)| alias.to_owned());
    Ok(pager.page("Aliases", aliases, next))
}

pub(crate) fn describe_key(model: &Model, key: &Key<'_>) -> Value {
    let entry = key.entry;
    let state = entry.key_state.as_str();
    let usage = usage(entry);
    let mut metadata = json!({
        "AWSAccountId": model.description.account_id,
        "KeyId": key.id(),
        "Arn": key.arn(),
        "CreationDate": date(entry.creation_date),
        "Enabled": state == "Enabled",
        "Description": entry.description,
        "KeyUsage": usage,
        "KeyState": state,
        "Origin": entry.origin,
        "KeyManager": entry.key_manager,
        "CustomerMasterKeySpec": entry.key_spec,
        "KeySpec": entry.key_spec,
        "MultiRegion": entry.multi_region.is_some(),
    });
    let mut add = |name: &str, value: Value| merge(&mut metadata, json!({name: value}));
    if let Some((name, algorithms)) = algorithms(&entry.key_spec, usage) {
        add(name, json!(algorithms));
    }
    match state {
        "PendingDeletion" => {
            if let Some(deletion_date) = entry.deletion_date {
                add("DeletionDate", date(deletion_date));
            }
        }
        // The waiting period begins when the last replica is gone: there is no date yet.
        "PendingReplicaDeletion" => {
            add("PendingDeletionWindowInDays", entry.pending_deletion_window_in_days.unwrap_or(30).into());
        }
        _ => {}
    }
    if let Some(valid_to) = entry.valid_to {
        add("ValidTo", date(valid_to));
    }
    let default_model = (entry.origin == "EXTERNAL" && state != "PendingImport").then_some(match entry.valid_to {
        Some(_) => "KEY_MATERIAL_EXPIRES",
        None => "KEY_MATERIAL_DOES_NOT_EXPIRE",
    });
    if let Some(expiration_model) = entry.expiration_model.as_deref().or(default_model) {
        add("ExpirationModel", expiration_model.into());
    }
    let default_store = in_custom_key_store(entry).then_some("cks-1234567890abcdef0");
    if let Some(store) = entry.custom_key_store_id.as_deref().or(default_store) {
        add("CustomKeyStoreId", store.into());
    }
    if let Some(multi_region) = &entry.multi_region {
        let own_region = &model.description.region;
        let resource = format!("key/{}", key.id());
        let related = |region: &String| json!({"Arn": model.arn_in(region, "kms", &resource), "Region": region});
        let mut replicas: Vec<_> = multi_region.replica_regions.iter().map(related).collect();
        if replicas.is_empty() && multi_region.key_type == "REPLICA" {
            replicas.push(related(own_region));
        }
        add(
            "MultiRegionConfiguration",
            json!({
                "MultiRegionKeyType": multi_region.key_type,
                "PrimaryKey": related(multi_region.primary_region.as_ref().unwrap_or(own_region)),
                "ReplicaKeys": replicas,
            }),
        );
    }
    json!({"KeyMetadata": metadata})
}

fn get_key_rotation_status(key: &Key<'_>) -> Result<Value, ApiError> {
    let entry = key.entry;
    let mut off = json!({"KeyId": key.arn(), "KeyRotationEnabled": false});
    // AWS keeps the setting for when the deletion is cancelled, and says false meanwhile.
    if matches!(entry.key_state.as_str(), "PendingDeletion" | "PendingReplicaDeletion") {
        return Ok(off);
    }
    let Some(rotation) = &entry.rotation else {
        if entry.key_manager == "AWS" {
            return Ok(json!({"KeyId": key.arn(), "KeyRotationEnabled": true, "RotationPeriodInDays": 365}));
        }
        if entry.origin == "EXTERNAL" || in_custom_key_store(entry) {
            return Err(unsupported(key));
        }
        return Ok(off);
    };
    if !rotation.enabled {
        // One on demand needs no automatic rotation.
        if let Some(start) = rotation.on_demand_start_date {
            merge(&mut off, json!({"OnDemandRotationStartDate": date(start)}));
        }
        return Ok(off);
    }
    let mut answer = json!({
        "KeyId": key.arn(),
        "KeyRotationEnabled": true,
        "RotationPeriodInDays": rotation.period_in_days.unwrap_or(365),
    });
    if let Some(next) = rotation.next_rotation_date {
        merge(&mut answer, json!({"NextRotationDate": date(next)}));
    }
    if let Some(start) = rotation.on_demand_start_date {
        merge(&mut answer, json!({"OnDemandRotationStartDate": date(start)}));
    }
    Ok(answer)
}

fn get_key_last_usage(key: &Key<'_>) -> Value {
    let entry = key.entry;
    let last_usage = entry.last_usage.as_ref().map_or_else(
        || json!({}),
        |last| {
            json!({
                "Operation": last.operation,
                "Timestamp": date(last.timestamp),
                "CloudTrailEventId": "00000000-0000-4000-a000-000000000000",
                "KmsRequestId": "00000000-0000-4000-b000-000000000000",
            })
        },
    );
    json!({
        "KeyId": key.arn(),
        "KeyLastUsage": last_usage,
        "TrackingStartDate": date(entry.usage_tracking_start.unwrap_or(entry.creation_date)),
        "KeyCreationDate": date(entry.creation_date),
    })
}

fn list_key_rotations(key: &Key<'_>, pager: &Pager<'_>) -> Result<Value, ApiError> {
    let all = match pager.request.include_key_material.as_deref() {
        None | Some("ROTATIONS_ONLY") => false,
        Some("ALL_KEY_MATERIAL") => true,
        Some(other) => {
            return Err(validation(&format!("Value '{other}' at 'includeKeyMaterial' failed to satisfy constraint")));
        }
    };
    if key.entry.key_spec != "SYMMETRIC_DEFAULT" || in_custom_key_store(key.entry) {
        return Err(unsupported(key));
    }
    let rotations: Vec<_> = key.entry.rotations.iter().filter(|rotation| all || rotation.date.is_some()).collect();
    pager.page_of("Rotations", &rotations, |rotation| {
        let mut entry = json!({"KeyId": key.arn()});
        let mut add = |name: &str, value: Value| merge(&mut entry, json!({name: value}));
        if let Some(rotated) = rotation.date {
            add("RotationDate", date(rotated));
        }
        let default_type = rotation.date.map(|_| "AUTOMATIC");
        if let Some(rotation_type) = rotation.rotation_type.as_deref().or(default_type) {
            add("RotationType", rotation_type.into());
        }
        if let Some(state) = &rotation.key_material_state {
            add("KeyMaterialState", state.as_str().into());
        }
        if let Some(valid_to) = rotation.valid_to {
            add("ValidTo", date(valid_to));
            add("ExpirationModel", "KEY_MATERIAL_EXPIRES".into());
        }
        entry
    })
}

fn list_resource_tags(key: &Key<'_>, pager: &Pager<'_>) -> Result<Value, ApiError> {
    let tags: Vec<_> = key.entry.tags.iter().collect();
    pager.page_of("Tags", &tags, |(name, value)| json!({"TagKey": name, "TagValue": value}))
}

fn list_grants(model: &Model, key: &Key<'_>, pager: &Pager<'_>) -> Result<Value, ApiError> {
    let repeated = key.entry.grants.iter().flat_map(|grant| (0..grant.count).map(move |_| grant));
    let grants: Vec<_> = repeated.enumerate().collect();
    pager.page_of("Grants", &grants, |(number, grant)| {
        let mut entry = json!({
            "KeyId": key.arn(),
            "GrantId": format!("{number:064x}"),
            "CreationDate": date(key.entry.creation_date),
            "IssuingAccount": format!("arn:{}:iam::{}:root", model.description.partition, model.description.account_id),
            "Operations": grant.operations,
        });
        let optional = [
            ("Name", &grant.name),
            ("GranteePrincipal", &grant.grantee),
            ("GranteeServicePrincipal", &grant.grantee_service),
            ("RetiringPrincipal", &grant.retiring),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                merge(&mut entry, json!({name: value.replace("{account}", &model.description.account_id)}));
            }
        }
        if let Some(constraints) = &grant.constraints {
            merge(&mut entry, json!({"Constraints": constraints}));
        }
        entry
    })
}

fn get_key_policy(model: &Model, key: &Key<'_>, request: &Request) -> Result<Value, ApiError> {
    // `default` is the only name there is.
    if request.policy_name.as_deref().is_some_and(|name| name != "default") {
        return Err(not_found("No such policy exists"));
    }
    let policy = match &key.entry.policy {
        Some(Value::String(policy)) => policy.clone(),
        Some(policy) => policy.to_string(),
        None => {
            let root = format!("arn:{}:iam::{}:root", model.description.partition, model.description.account_id);
            json!({
                "Version": "2012-10-17",
                "Id": "key-default-1",
                "Statement": [{
                    "Sid": "Enable IAM User Permissions",
                    "Effect": "Allow",
                    "Principal": {"AWS": root},
                    "Action": "kms:*",
                    "Resource": "*",
                }],
            })
            .to_string()
        }
    };
    Ok(json!({"Policy": policy, "PolicyName": "default"}))
}

/// How a listing is cut into pages. Markers are opaque to callers; the fleet's name the operation and where to go on.
struct Pager<'a> {
    operation: Operation,
    request: &'a Request,
    page_size: Option<usize>,
    page_fault: Option<FaultKind>,
}

impl Pager<'_> {
    /// Entries on this page, at most.
    fn limit(&self) -> Result<usize, ApiError> {
        let (default, max) = match self.operation {
            Operation::ListAliases | Operation::ListGrants => (50, 100),
            Operation::ListResourceTags => (50, 50),
            _ => (100, 1000),
        };
        let limit = match self.request.limit {
            None => default,
            Some(limit) => match usize::try_from(limit) {
                Ok(limit) if (1..=max).contains(&limit) => limit,
                _ => {
                    return Err(validation(&format!(
                        "Value '{limit}' at 'limit' failed to satisfy constraint: Member must have value between 1 and {max}"
                    )));
                }
            },
        };
        Ok(self.page_size.map_or(limit, |page_size| page_size.min(limit)))
    }

    /// Where the page begins; empty at the beginning.
    fn start(&self) -> Result<&str, ApiError> {
        match &self.request.marker {
            None => Ok(""),
            Some(marker) => marker
                .strip_prefix(self.operation.name())
                .and_then(|rest| rest.strip_prefix('-'))
                .ok_or_else(invalid_marker),
        }
    }

    fn start_index(&self, total: u32) -> Result<u32, ApiError> {
        match self.start()? {
            "" => Ok(0),
            start => start.parse().ok().filter(|index| *index < total).ok_or_else(invalid_marker),
        }
    }

    /// A page of entries that are at hand.
    fn page_of<T>(&self, name: &str, all: &[T], render: impl Fn(&T) -> Value) -> Result<Value, ApiError> {
        let limit = self.limit()?;
        let total = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let start = usize::try_from(self.start_index(total)?).unwrap_or(usize::MAX);
        let end = start.saturating_add(limit);
        let entries = all.iter().skip(start).take(limit).map(render).collect();
        Ok(self.page(name, entries, (end < all.len()).then(|| end.to_string())))
    }

    fn page(&self, name: &str, mut entries: Vec<Value>, next: Option<String>) -> Value {
        let next = next.map(|next| self.marker(&next));
        let same_page = || self.request.marker.clone().unwrap_or_else(|| self.marker(""));
        let (truncated, next) = match self.page_fault {
            Some(FaultKind::NoMarker) => (true, None),
            Some(FaultKind::SameMarker) => (true, self.request.marker.clone().or(next).or_else(|| Some(same_page()))),
            Some(FaultKind::EmptyPage) => {
                entries.clear();
                (true, Some(same_page()))
            }
            _ => (next.is_some(), next),
        };
        let mut page = Map::new();
        page.insert(name.to_owned(), Value::Array(entries));
        page.insert("Truncated".to_owned(), truncated.into());
        if let Some(next) = next {
            page.insert("NextMarker".to_owned(), next.into());
        }
        Value::Object(page)
    }

    fn marker(&self, position: &str) -> String {
        format!("{}-{position}", self.operation)
    }
}

fn in_custom_key_store(entry: &KeyDescription) -> bool {
    matches!(entry.origin.as_str(), "AWS_CLOUDHSM" | "EXTERNAL_KEY_STORE")
}

pub(crate) fn usage(entry: &KeyDescription) -> &str {
    let spec = entry.key_spec.as_str();
    entry.key_usage.as_deref().unwrap_or(match spec {
        _ if spec.starts_with("HMAC_") => "GENERATE_VERIFY_MAC",
        _ if spec.starts_with("ECC_") || spec.starts_with("ML_DSA_") => "SIGN_VERIFY",
        _ if spec.starts_with("ML_KEM_") => "ENCAPSULATE_DECAPSULATE",
        _ => "ENCRYPT_DECRYPT",
    })
}

/// The member of the key's metadata that lists its algorithms, and what it lists.
pub(crate) fn algorithms(spec: &str, usage: &str) -> Option<(&'static str, Vec<String>)> {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Some(match usage {
        "ENCRYPT_DECRYPT" => (
            "EncryptionAlgorithms",
            match spec {
                "SYMMETRIC_DEFAULT" => list(&["SYMMETRIC_DEFAULT"]),
                "SM2" => list(&["SM2PKE"]),
                _ => list(&["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"]),
            },
        ),
        "SIGN_VERIFY" => (
            "SigningAlgorithms",
            match spec {
                "SM2" => list(&["SM2DSA"]),
                "ECC_NIST_P384" => list(&["ECDSA_SHA_384"]),
                "ECC_NIST_P521" => list(&["ECDSA_SHA_512"]),
                "ECC_NIST_EDWARDS25519" => list(&["ED25519_PH_SHA_512", "ED25519_SHA_512"]),
                _ if spec.starts_with("ECC_") => list(&["ECDSA_SHA_256"]),
                _ if spec.starts_with("ML_DSA_") => list(&["ML_DSA_SHAKE_256"]),
                _ => list(&[
                    "RSASSA_PKCS1_V1_5_SHA_256",
                    "RSASSA_PKCS1_V1_5_SHA_384",
                    "RSASSA_PKCS1_V1_5_SHA_512",
                    "RSASSA_PSS_SHA_256",
                    "RSASSA_PSS_SHA_384",
                    "RSASSA_PSS_SHA_512",
                ]),
            },
        ),
        // HMAC_256 goes with HMAC_SHA_256.
        "GENERATE_VERIFY_MAC" => ("MacAlgorithms", vec![spec.replace("HMAC_", "HMAC_SHA_")]),
        "KEY_AGREEMENT" => ("KeyAgreementAlgorithms", list(&["ECDH"])),
        _ => return None,
    })
}

/// KMS's JSON has dates as seconds since 1970.
pub(crate) fn date(timestamp: Timestamp) -> Value {
    timestamp.as_duration().as_secs_f64().into()
}

fn merge(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}

pub(crate) fn not_found(message: impl Into<String>) -> ApiError {
    ApiError::bad_request("NotFoundException", message)
}

fn no_such_key(arn: &str) -> ApiError {
    not_found(format!("Key '{arn}' does not exist"))
}

fn unsupported(key: &Key<'_>) -> ApiError {
    let message = format!("{} origin is {} which is not valid for this operation.", key.arn(), key.entry.origin);
    ApiError::bad_request("UnsupportedOperationException", message)
}

fn invalid_marker() -> ApiError {
    ApiError::bad_request("InvalidMarkerException", "Invalid marker")
}

pub(crate) fn validation(problem: &str) -> ApiError {
    ApiError::bad_request("ValidationException", format!("1 validation error detected: {problem}"))
}
