//! STS and the Account service, as far as a scan from a terminal asks them: who it is, a role, the Regions.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::model::Model;
use crate::sns::{Form, escape};

/// Path of `ListRegions`.
pub(crate) const LIST_REGIONS: &str = "/listRegions";

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// The answer to `GetCallerIdentity`: everybody is one user of the fleet's account.
pub(crate) fn identity(model: &Model, request_id: &str) -> String {
    let account = &model.description.account_id;
    let arn = format!("arn:{}:iam::{account}:user/simulated", model.description.partition);
    respond(
        "GetCallerIdentity",
        &format!("<Arn>{arn}</Arn><UserId>AIDASIMULATED</UserId><Account>{account}</Account>"),
        request_id,
    )
}

/// The answer to `AssumeRole`: anybody may assume any role, by an external ID that is not `wrong`.
pub(crate) fn assume_role(form: &Form, now: Timestamp, request_id: &str) -> Result<String, ApiError> {
    let role = form.get("RoleArn").map(String::as_str).unwrap_or_default();
    if form.get("ExternalId").is_some_and(|id| id == "wrong") {
        let message = format!("User is not authorized to perform: sts:AssumeRole on resource: {role}");
        return Err(ApiError { status: 403, ..ApiError::bad_request("AccessDenied", message) });
    }
    let until = now.saturating_add(SignedDuration::from_hours(1)).unwrap_or(now);
    let credentials = format!(
        "<AccessKeyId>ASIASIMULATED</AccessKeyId><SecretAccessKey>simulated</SecretAccessKey><SessionToken>simulated\
         </SessionToken><Expiration>{until:.0}</Expiration>"
    );
    let user = format!("<AssumedRoleId>AROASIMULATED:s</AssumedRoleId><Arn>{}</Arn>", escape(role));
    let result = format!("<Credentials>{credentials}</Credentials><AssumedRoleUser>{user}</AssumedRoleUser>");
    Ok(respond("AssumeRole", &result, request_id))
}

fn respond(action: &str, result: &str, request_id: &str) -> String {
    format!(
        "<{action}Response xmlns=\"{NAMESPACE}\"><{action}Result>{result}</{action}Result><ResponseMetadata><RequestId>\
         {request_id}</RequestId></ResponseMetadata></{action}Response>"
    )
}

/// The answer to `ListRegions`: the fleet's own Region, and those that it describes.
pub(crate) fn regions(model: &Model) -> Value {
    let others = model.description.regions.keys();
    let names = std::iter::once(&model.description.region).chain(others);
    let region = |name: &String| json!({"RegionName": name, "RegionOptStatus": "ENABLED_BY_DEFAULT"});
    json!({"Regions": names.map(region).collect::<Vec<_>>()})
}
