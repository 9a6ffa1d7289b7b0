use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use access_checker::AccessChecker;
use aws_config::{Region, SdkConfig};
use aws_sdk_kms::config::Credentials;
use aws_sdk_kms::config::http::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use domain::location::Location;
use domain::report::EvaluationLine;
use domain::verdict::Compliance;
use jiff::Timestamp;
use key_age_checker::KeyAgeChecker;
use monitor::check::{AnyCheck, Check};
use monitor::deadlines::Deadlines;
use monitor::evaluation::{Monitor, Request};
use monitor::inventory::Begin;
use monitor::settings::{Environment, EvaluationSettings};
use monitor::target::Target;
use rotation_checker::RotationChecker;
use serde_json::Value;
use tokio::runtime::Builder;
use tokio::time::Instant;

const POLICY: &str = r#"{"Policy":"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"arn:aws:iam::123456789012:root\"},\"Action\":\"kms:*\",\"Resource\":\"*\"}]}","PolicyName":"default"}"#;

/// What KMS answers about a key in good order, and the controls that have no verdict without the answer.
const CALLS: [(&str, &str, &[&str]); 8] = [
    (
        "ListKeys",
        r#"{"Keys":[{"KeyId":"11111111-2222-3333-4444-555555555555","KeyArn":"arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"}],"Truncated":false}"#,
        &[],
    ),
    (
        "DescribeKey",
        r#"{"KeyMetadata":{"AWSAccountId":"123456789012","Arn":"arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555","CreationDate":1.7e9,"CustomerMasterKeySpec":"SYMMETRIC_DEFAULT","Description":"","Enabled":true,"EncryptionAlgorithms":["SYMMETRIC_DEFAULT"],"KeyId":"11111111-2222-3333-4444-555555555555","KeyManager":"CUSTOMER","KeySpec":"SYMMETRIC_DEFAULT","KeyState":"Enabled","KeyUsage":"ENCRYPT_DECRYPT","MultiRegion":false,"Origin":"AWS_KMS"}}"#,
        &[],
    ),
    (
        "GetKeyRotationStatus",
        r#"{"KeyId":"11111111-2222-3333-4444-555555555555","KeyRotationEnabled":true,"NextRotationDate":1.81e9,"RotationPeriodInDays":365}"#,
        &["rotation-enabled", "rotation-period", "rotation-overdue"],
    ),
    ("ListKeyRotations", r#"{"Rotations":[],"Truncated":false}"#, &["key-material-age"]),
    (
        "GetKeyPolicy",
        POLICY,
        &[
            "public-access",
            "foreign-access",
            "service-principal-bound",
            "administration-separated",
            "policy-manageable",
        ],
    ),
    ("ListGrants", r#"{"Grants":[],"Truncated":false}"#, &["foreign-grant"]),
    ("ListResourceTags", r#"{"Tags":[],"Truncated":false}"#, &["required-tags"]),
    ("ListAliases", r#"{"Aliases":[],"Truncated":false}"#, &[]),
];

/// KMS answers one call about a key with any status and body: the first line of the input says which call and which status,
/// such as `DescribeKey 200`; the rest is the body.
///
/// No answer breaks anything off. From an error, or from what is no object, nothing is taken for a verdict; rotation is on or
/// off only where the answer says so.
///
/// # Panics
/// Where that is not so.
pub fn kms_answers(data: &[u8]) {
    let input = Input::read(data);
    let evaluations = evaluate(&input);
    let (_, _, controls) = CALLS.iter().find(|(call, ..)| *call == input.call).copied().unwrap_or_default();
    let is_of_all = ["ListKeys", "DescribeKey"].contains(&input.call);
    let judged = |line: &&EvaluationLine| {
        matches!(line.compliance, Compliance::Compliant | Compliance::NonCompliant)
            && (is_of_all || controls.contains(&line.control))
    };
    if !input.is_answer() {
        assert_eq!(evaluations.iter().find(judged), None, "{input:?}");
    }
    if input.call == "GetKeyRotationStatus" {
        let says = serde_json::from_slice::<Value>(&input.body).ok();
        let says = says.and_then(|body| body.get("KeyRotationEnabled")?.as_bool());
        let expected = match says.filter(|_| input.is_answer()) {
            Some(true) => Some(Compliance::Compliant),
            Some(false) => Some(Compliance::NonCompliant),
            None => None,
        };
        let enabled = evaluations.iter().find(|line| line.control == "rotation-enabled").filter(judged);
        let came = enabled.map(|line| line.compliance);
        // What cannot be read of the rest of the answer leaves all of it unread.
        assert!(came == expected || came.is_none(), "{input:?}: {came:?}");
    }
}

#[derive(Clone, Debug)]
struct Input {
    call: &'static str,
    status: u16,
    body: Vec<u8>,
}

impl Input {
    fn read(data: &[u8]) -> Self {
        let line = data.iter().position(|byte| *byte == b'\n').and_then(|end| data.split_at_checked(end));
        let of_line = line.and_then(|(line, rest)| {
            let (name, status) = std::str::from_utf8(line).ok()?.split_once(' ')?;
            let (call, ..) = CALLS.iter().find(|(call, ..)| *call == name)?;
            let status = status.parse().ok().filter(|status| (200..600).contains(status))?;
            Some(Self { call, status, body: rest.get(1..)?.to_vec() })
        });
        of_line.unwrap_or_else(|| Self { call: "DescribeKey", status: 200, body: data.to_vec() })
    }

    /// May it be an answer at all? The SDK reads an empty body as an object without members.
    fn is_answer(&self) -> bool {
        let body = self.body.trim_ascii();
        let is_object = body.first() == Some(&b'{') && body.last() == Some(&b'}');
        (200..300).contains(&self.status) && (self.body.is_empty() || is_object)
    }
}

/// Answers every call, the one in question as the input says.
#[derive(Debug)]
struct Answers(Input);

impl HttpConnector for Answers {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let name = target.rsplit('.').next().unwrap_or_default();
        let (status, body) = if name == self.0.call {
            (self.0.status, self.0.body.clone())
        } else {
            let good = CALLS.iter().find(|(call, ..)| *call == name).map(|(_, good, _)| *good);
            (200, good.unwrap_or_default().as_bytes().to_vec())
        };
        HttpConnectorFuture::ready(Ok(HttpResponse::new(valid(StatusCode::try_from(status)), SdkBody::from(body))))
    }
}

fn evaluate(input: &Input) -> Vec<EvaluationLine> {
    /// It is loaded once: that reads files.
    static CONFIG: LazyLock<SdkConfig> = LazyLock::new(|| {
        let config = aws::config::sdk_config()
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::new("id", "secret", None, None, "fuzz"));
        runtime().block_on(config.load())
    });
    let config = CONFIG.clone().into_builder();
    runtime().block_on(async {
        let answers = SharedHttpConnector::new(Answers(input.clone()));
        let client = http_client_fn(move |_, _| answers.clone());
        let config = config.http_client(client).build();
        let location = Location {
            partition: "aws".to_owned(),
            region: "us-east-1".to_owned(),
            account_id: "123456789012".to_owned(),
        };
        let variables = [("KMS_QUOTA_SHARE", "1"), ("REQUIRED_TAGS", "owner")];
        let environment: Environment =
            variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let (settings, rotation) =
            (valid(EvaluationSettings::read(&environment)), valid(RotationChecker::read(&environment)));
        let (age, access) = (valid(KeyAgeChecker::read(&environment)), valid(AccessChecker::read(&environment)));
        let checks: [&dyn AnyCheck; 3] = [&rotation, &age, &access];
        let now = Timestamp::constant(1_800_000_000, 0);
        let request = Request {
            keys: None,
            is_of_key_events: false,
            begin: Begin::ByDay(now),
            judged_at: now,
            verbose: true,
            known: BTreeSet::new(),
            excluded: BTreeSet::new(),
        };
        let target = Target { location, config, is_in_home_account: true };
        #[expect(clippy::disallowed_methods, reason = "the clock stands still")]
        let deadlines = Deadlines::new(Instant::now(), Duration::from_mins(10));
        let evaluation = Monitor { settings: &settings, checks: &checks }.evaluate(&target, &request, &deadlines).await;
        let reports = evaluation.into_iter().flat_map(|it| it.checks).map(|check| check.report);
        reports.filter_map(|report| report.evaluations).flat_map(|evaluations| evaluations.lines).collect()
    })
}

/// Its clock stands still until there is nothing to do but wait.
#[expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]
fn runtime() -> tokio::runtime::Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

#[expect(clippy::unwrap_used, reason = "it is this file's own, or looked at before")]
fn valid<T, E: std::fmt::Debug>(value: Result<T, E>) -> T {
    value.unwrap()
}
