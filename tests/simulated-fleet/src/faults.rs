//! Faults: what goes wrong with a call, and how often.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::ApiError;
use crate::operation::{Operation, Service};

/// A fault. In a fleet file it is an object (`{"kind": "throttled", "times": 2}`) or, where its kind says it all, a
/// string (`"denied"`).
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// How many calls it hits; the calls after that are healthy. Default: all; for `empty_page` 1.
    pub times: Option<u64>,
    /// How many calls stay healthy before it: `2` lets the third page of a listing fail. Default 0.
    pub after_calls: u64,
    /// HTTP status of `server_error` (default 500) and `error` (default 400).
    pub status: Option<u16>,
    /// Error code of `error`; it must have one.
    pub code: Option<String>,
    /// Error message of `error`.
    pub message: Option<String>,
    /// How long `slow` takes, in milliseconds; it must say so.
    pub delay_ms: Option<u64>,
    /// How many writes of a batch `unprocessed` lets through. Default 0.
    pub processed: Option<usize>,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// `AccessDeniedException`; of SNS `AuthorizationError`, of CloudWatch `AccessDenied`, both with status 403.
    Denied,
    /// `ThrottlingException`; of SNS `Throttling`, of CloudWatch too, of DynamoDB
    /// `ProvisionedThroughputExceededException`.
    Throttled,
    /// `KMSInternalException`; of SNS `InternalError`, of DynamoDB `InternalServerError`, of CloudWatch
    /// `InternalServiceError`.
    ServerError,
    /// The call is never answered.
    Hang,
    /// Status 200 and a body that is neither JSON nor XML nor CBOR.
    Garbled,
    /// Status 200 and a body that ends too early, whole as far as HTTP is concerned.
    Truncated,
    /// The connection is closed in the middle of the body.
    Cut,
    /// The connection is closed before a byte of the answer; nothing is applied. One address serves all calls, so it cannot
    /// refuse the connections of one operation alone.
    Refused,
    /// The body comes a byte a second, and its last byte never. An answer without a body comes whole.
    Drip,
    /// The service's clock is five hours ahead, by the date on every answer of the fleet too. A call that is not signed by
    /// that clock is refused: `InvalidSignatureException`; of SNS and STS `SignatureDoesNotMatch`, of S3
    /// `RequestTimeTooSkewed`.
    ClockSkew,
    /// `ExpiredTokenException`; of SNS, STS, S3 and CloudWatch `ExpiredToken`.
    Expired,
    /// `NotFoundException`; of SNS `NotFound` with status 404, of DynamoDB and CloudWatch `ResourceNotFoundException`.
    NotFound,
    /// Any error: `status`, `code`, `message`.
    Error,
    /// Healthy, after `delay_ms`.
    Slow,
    /// A page that says `Truncated` and gives no marker.
    NoMarker,
    /// Pages that give the same marker again and again.
    SameMarker,
    /// A page without an entry, but with a marker to go on from.
    EmptyPage,
    /// The writes of a batch are applied up to the first `processed`; the answer gives the rest back.
    Unprocessed,
}

impl Fault {
    /// A fault of that kind, with defaults for the rest.
    pub fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            times: None,
            after_calls: 0,
            status: None,
            code: None,
            message: None,
            delay_ms: None,
            processed: None,
        }
    }
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FaultVisitor)
    }
}

struct FaultVisitor;

impl<'de> Visitor<'de> for FaultVisitor {
    type Value = Fault;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the kind of a fault or an object with `kind`")
    }

    fn visit_str<E: de::Error>(self, kind: &str) -> Result<Fault, E> {
        let kind = FaultKind::deserialize(de::value::StrDeserializer::<E>::new(kind))?;
        checked(Fault::new(kind))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Fault, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            kind: FaultKind,
            times: Option<u64>,
            #[serde(default)]
            after_calls: u64,
            status: Option<u16>,
            code: Option<String>,
            message: Option<String>,
            delay_ms: Option<u64>,
            processed: Option<usize>,
        }
        let Fields { kind, times, after_calls, status, code, message, delay_ms, processed } =
            Fields::deserialize(MapAccessDeserializer::new(map))?;
        checked(Fault { kind, times, after_calls, status, code, message, delay_ms, processed })
    }
}

/// Refuses what would be ignored in silence.
fn checked<E: de::Error>(fault: Fault) -> Result<Fault, E> {
    let is_error = fault.kind == FaultKind::Error;
    if is_error != fault.code.is_some() {
        return Err(E::custom("`code` goes with kind `error`, and only with it"));
    }
    if fault.message.is_some() && !is_error {
        return Err(E::custom("`message` goes with kind `error` only"));
    }
    if fault.status.is_some() && !is_error && fault.kind != FaultKind::ServerError {
        return Err(E::custom("`status` goes with kinds `error` and `server_error` only"));
    }
    if fault.status.is_some_and(|status| !(400..=599).contains(&status)) {
        return Err(E::custom("`status` must be from 400 to 599"));
    }
    if (fault.kind == FaultKind::Slow) != fault.delay_ms.is_some() {
        return Err(E::custom("`delay_ms` goes with kind `slow`, and only with it"));
    }
    if fault.processed.is_some() && fault.kind != FaultKind::Unprocessed {
        return Err(E::custom("`processed` goes with kind `unprocessed` only"));
    }
    Ok(fault)
}

impl FaultKind {
    /// Whether it is about pages and markers.
    pub(crate) fn is_of_pages(self) -> bool {
        matches!(self, Self::NoMarker | Self::SameMarker | Self::EmptyPage)
    }
}

impl Fault {
    /// Whether it hits a call, by the number of calls before.
    pub(crate) fn hits(&self, calls_before: u64) -> bool {
        let times = self.times.or((self.kind == FaultKind::EmptyPage).then_some(1));
        calls_before
            .checked_sub(self.after_calls)
            .is_some_and(|hits_before| times.is_none_or(|times| hits_before < times))
    }

    /// The error that it answers with, if it is of that kind.
    pub(crate) fn error(&self, operation: Operation, resource: &str) -> Option<ApiError> {
        let service = operation.service();
        let (status, code, message) = match (self.kind, service) {
            (FaultKind::Denied, Service::Sns) => (403, "AuthorizationError", denied("SNS", operation, resource)),
            (FaultKind::Denied, Service::DynamoDb) => {
                (400, "AccessDeniedException", denied("dynamodb", operation, resource))
            }
            (FaultKind::Denied, Service::CloudWatch) => {
                (403, "AccessDenied", denied("cloudwatch", operation, resource))
            }
            (FaultKind::Denied, Service::Account) => {
                (403, "AccessDeniedException", denied("account", operation, resource))
            }
            (FaultKind::Denied, Service::Ec2) => (403, "UnauthorizedOperation", denied("ec2", operation, resource)),
            (FaultKind::Denied, Service::Organizations) => {
                (400, "AccessDeniedException", denied("organizations", operation, resource))
            }
            (FaultKind::Denied, Service::S3) => (403, "AccessDenied", denied("s3", operation, resource)),
            (FaultKind::Denied, Service::Sts) => (403, "AccessDenied", denied("sts", operation, resource)),
            (FaultKind::Denied, Service::Kms) => (400, "AccessDeniedException", denied("kms", operation, resource)),
            (FaultKind::Denied, Service::CloudTrail) => {
                (400, "AccessDeniedException", denied("cloudtrail", operation, resource))
            }
            (FaultKind::Denied, Service::Tagging) => (400, "AccessDeniedException", denied("tag", operation, resource)),
            (FaultKind::Throttled, Service::Account | Service::Organizations) => {
                (429, "TooManyRequestsException", "Rate exceeded".to_owned())
            }
            (FaultKind::Throttled, Service::Ec2) => (503, "RequestLimitExceeded", "Request limit exceeded.".to_owned()),
            (FaultKind::Throttled, Service::S3) => (503, "SlowDown", "Please reduce your request rate.".to_owned()),
            (FaultKind::Throttled, Service::Sns | Service::CloudWatch | Service::Sts) => {
                (400, "Throttling", "Rate exceeded".to_owned())
            }
            (FaultKind::Throttled, Service::DynamoDb) => {
                (400, "ProvisionedThroughputExceededException", "Throughput exceeds the current capacity".to_owned())
            }
            (FaultKind::Throttled, Service::Kms) => (400, "ThrottlingException", THROTTLED.to_owned()),
            (FaultKind::Throttled, Service::CloudTrail) => (400, "ThrottlingException", "Rate exceeded".to_owned()),
            (FaultKind::Throttled, Service::Tagging) => (400, "ThrottledException", "Rate exceeded".to_owned()),
            (FaultKind::ServerError, _) => {
                let code = match service {
                    Service::Ec2 | Service::S3 | Service::Sns | Service::Sts => "InternalError",
                    Service::Account => "InternalServerException",
                    Service::Organizations => "ServiceException",
                    Service::CloudWatch => "InternalServiceError",
                    Service::DynamoDb => "InternalServerError",
                    Service::CloudTrail => "InternalFailure",
                    Service::Tagging => "InternalServiceException",
                    Service::Kms => "KMSInternalException",
                };
                (self.status.unwrap_or(500), code, "An internal error occurred.".to_owned())
            }
            (FaultKind::NotFound, Service::Sns) => (404, "NotFound", "Topic does not exist".to_owned()),
            (FaultKind::NotFound, Service::Sts) => {
                (404, "NoSuchEntity", format!("The role {resource} cannot be found."))
            }
            (FaultKind::NotFound, Service::Ec2) => {
                (400, "InvalidParameterValue", "There is no such Region.".to_owned())
            }
            (FaultKind::NotFound, Service::S3) => {
                (404, "NoSuchBucket", "The specified bucket does not exist".to_owned())
            }
            (FaultKind::NotFound, Service::Organizations) => {
                (400, "ParentNotFoundException", "You specified a parent that doesn't exist.".to_owned())
            }
            (FaultKind::NotFound, Service::Account) => {
                (404, "ResourceNotFoundException", "No account was found.".to_owned())
            }
            (FaultKind::NotFound, Service::DynamoDb | Service::CloudWatch | Service::CloudTrail | Service::Tagging) => {
                (400, "ResourceNotFoundException", "Requested resource not found".to_owned())
            }
            (FaultKind::NotFound, Service::Kms) => {
                (400, "NotFoundException", format!("Key '{resource}' does not exist"))
            }
            (FaultKind::ClockSkew, Service::S3) => (
                403,
                "RequestTimeTooSkewed",
                "The difference between the request time and the current time is too large.".to_owned(),
            ),
            (FaultKind::ClockSkew, Service::Sns | Service::Sts) => (403, "SignatureDoesNotMatch", SKEWED.to_owned()),
            (FaultKind::ClockSkew, Service::Account | Service::CloudWatch) => {
                (403, "InvalidSignatureException", SKEWED.to_owned())
            }
            (FaultKind::ClockSkew, _) => (400, "InvalidSignatureException", SKEWED.to_owned()),
            (FaultKind::Expired, Service::S3) => (400, "ExpiredToken", EXPIRED.to_owned()),
            (FaultKind::Expired, Service::Sns | Service::Sts | Service::CloudWatch) => {
                (403, "ExpiredToken", EXPIRED.to_owned())
            }
            (FaultKind::Expired, Service::Account) => (403, "ExpiredTokenException", EXPIRED.to_owned()),
            (FaultKind::Expired, _) => (400, "ExpiredTokenException", EXPIRED.to_owned()),
            (FaultKind::Error, _) => (
                self.status.unwrap_or(400),
                self.code.as_deref().unwrap_or_default(),
                self.message.clone().unwrap_or_default(),
            ),
            _ => return None,
        };
        Some(ApiError::new(status, code, message))
    }
}

const SKEWED: &str = "Signature expired: the request was signed hours before the service's clock.";
const EXPIRED: &str = "The security token included in the request is expired";
const THROTTLED: &str = "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.";

fn denied(service: &str, operation: Operation, resource: &str) -> String {
    format!(
        "User: arn:aws:sts::123456789012:assumed-role/simulated/function is not authorized to perform: \
         {service}:{operation} on resource: {resource} because no identity-based policy allows the \
         {service}:{operation} action"
    )
}
