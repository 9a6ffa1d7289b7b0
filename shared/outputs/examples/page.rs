//! Prints the page of a made-up scan with as many findings as asked for, of keys whose names, tags and evidence try to be more
//! than text. The end-to-end tests and the pictures in `docs/` show it.
//!
//! ```sh
//! cargo run -p outputs --features scan --example page -- 40 > page.html
//! ```

use std::collections::BTreeMap;

use domain::control::{Control, Severity};
use domain::exemption::ExemptionStatus;
use domain::failure::{Cause, Failure};
use domain::finding::KeyIdentity;
use domain::location::Location;
use domain::report::{EvaluationLines, Report};
use domain::verdict::Verdict;
use jiff::{Timestamp, ToSpan};
use outputs::scan::Scan;
use outputs::scan_page::About;
use serde_json::json;
use sha2::{Digest as _, Sha256};

const fn control(id: &'static str, title: &'static str, severity: Severity) -> Control {
    Control { id, title, severity, other_severities: "", references: &["AWS Security Hub KMS.4", "CIS AWS 3.6"] }
}
static ROTATION: Control = control("rotation-enabled", "automatic rotation is on", Severity::Medium);
static DELETION: Control = control("pending-deletion", "the key is not scheduled for deletion", Severity::Critical);
static ACCESS: Control = control("foreign-access", "the key policy admits no account from outside", Severity::High);
static UNUSED: Control = control("key-unused", "the key was used lately", Severity::Low);
static CONTROLS: [&Control; 4] = [&ROTATION, &DELETION, &ACCESS, &UNUSED];

const REGIONS: [&str; 3] = ["eu-central-1", "eu-west-1", "us-east-1"];
const NAMES: [&str; 12] = [
    "payments",
    "customer-data",
    "backups",
    "audit-log",
    "partner-exchange",
    "card-vault",
    "reports",
    "mail",
    "search",
    "sessions",
    "exports",
    "ledger",
];
const HOSTILE: [&str; 3] = [
    "alias/<script>document.title='taken'</script>",
    "alias/\"><img src=https://example.com/x onerror=document.title='taken'>",
    "alias/\u{202e}evil\u{1b}[31m</summary></details>",
];

#[expect(clippy::format_collect, clippy::print_stdout, clippy::unwrap_used, clippy::panic, reason = "a command")]
fn main() {
    let count: usize = std::env::args().nth(1).map_or(40, |it| it.parse().unwrap());
    let now: Timestamp = "2026-11-25T06:00:00Z".parse().unwrap();
    let mut scan = Scan::default();
    let mut findings = 0;
    for (n, region) in REGIONS.iter().enumerate() {
        let location =
            Location { partition: "aws".into(), region: (*region).into(), account_id: "123456789012".into() };
        let room = Some(EvaluationLines::with_room(usize::MAX));
        let mut report = Report::new("scan", &location, now, &CONTROLS, room);
        let mut aliases = BTreeMap::new();
        for k in 0.. {
            if findings >= count * (n + 1) / REGIONS.len() {
                break;
            }
            let id = format!("{:08x}-5f0e-4c1b-9d2a-{:012x}", k * 2_654_435_761_usize % 0xffff_ffff, k * 7_919 + n);
            let name = match (n, HOSTILE.get(k)) {
                (0, Some(hostile)) => (*hostile).to_owned(),
                _ if k % 5 == 4 => String::new(),
                _ => format!(
                    "alias/{}{}",
                    NAMES.get(k % NAMES.len()).unwrap(),
                    if k < 12 { String::new() } else { format!("-{k}") }
                ),
            };
            if !name.is_empty() {
                aliases.insert(id.clone(), vec![name]);
            }
            let key = KeyIdentity { arn: location.key_arn(&id), id };
            let tags = BTreeMap::from([(
                ROTATION.id.to_owned(),
                "until=2026-12-31 owner=ana@example.com reason=moves to a new key <b>soon</b>".to_owned(),
            )]);
            let Ok(verdicts) = <[Verdict; 4]>::try_from(verdicts(k, now)) else { panic!("one verdict a control") };
            report.add(&key, &CONTROLS, verdicts, (k % 9 == 7).then_some(&tags));
            findings = scan.reports.iter().map(|it: &Report| it.findings.len()).sum::<usize>() + report.findings.len();
        }
        report.close(&aliases);
        for finding in &mut report.findings {
            if let domain::finding::Tag::Read(Some(tag)) = &finding.tag {
                finding.exempt = ExemptionStatus::of(tag, finding.severity, now).exemption;
            }
        }
        scan.reports.push(report);
    }
    scan.failed.push(("ap-south-1".into(), "access to kms:ListKeys was denied <i>by an SCP</i>".into()));
    for finding in scan.reports.iter().flat_map(|it| &it.findings).step_by(3) {
        scan.since.insert(finding.id(), now - 400.hours());
    }
    let settings = [("MAX_ROTATION_PERIOD_DAYS", "365"), ("MONITORED_KEYS", ""), ("TRUSTED_ACCOUNTS", "210987654321")];
    let mut json = Vec::new();
    scan.write_json(&mut json).unwrap();
    let about = About {
        evaluated_at: now,
        controls: &CONTROLS,
        settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        made_by: concat!("kms-compliance ", env!("CARGO_PKG_VERSION")),
        json_sha256: Some(Sha256::digest(&json).iter().map(|byte| format!("{byte:02x}")).collect()),
    };
    print!("{}", scan.page(about).render().unwrap());
}

/// What each control says of the n-th key of a Region. Mostly good of small numbers' neighbours, as in life.
fn verdicts(n: usize, now: Timestamp) -> Vec<Verdict> {
    let denied = Failure {
        service: "kms",
        operation: "GetKeyRotationStatus",
        cause: Cause::AccessDenied,
        code: Some("AccessDeniedException".into()),
        message: "User is not authorized </dd><script>document.title='taken'</script>".into(),
    };
    let rotation = match n % 9 {
        0 | 2 | 7 => Verdict::non_compliant("rotation_disabled")
            .detail("automatic rotation is off")
            .evidence("created_at", "2021-03-02T09:30:00Z")
            .remediation(
                "Switch automatic rotation on: aws kms enable-key-rotation --key-id KEY. What was encrypted before stays \
                 readable.",
            ),
        4 => (&denied).into(),
        8 => Verdict::not_applicable("asymmetric"),
        _ => Verdict::compliant("rotation_enabled"),
    };
    let deletion = if n % 11 == 1 {
        Verdict::non_compliant("scheduled_for_deletion")
            .detail("the key will be deleted on 2026-12-02: 7 days are left")
            .evidence("deletion_date", (now + 168.hours()).to_string())
            .evidence("days_left", 7)
            .remediation(
                "If anything is still encrypted under the key, cancel: aws kms cancel-key-deletion --key-id KEY.",
            )
    } else {
        Verdict::compliant("not_scheduled")
    };
    let access = if n % 7 == 1 {
        Verdict::non_compliant("foreign_access")
            .detail("210987654321 may use the key, by the statement `Allow <partners>`")
            .evidence(
                "statements",
                json!([{"sid": "Allow <partners>", "actions": ["kms:Decrypt"], "accounts": ["210987654321"]}]),
            )
            .remediation("Take the account out of the key policy, or name it in TRUSTED_ACCOUNTS.")
    } else {
        Verdict::compliant("no_foreign_access")
    };
    let unused = if n % 13 == 3 {
        Verdict::non_compliant("unused")
            .detail("the key was last used 214 days ago")
            .evidence("last_used", "2026-04-25T00:00:00Z")
            .remediation("Disable the key, wait, and schedule its deletion once nothing missed it.")
    } else if n % 13 == 5 {
        Verdict::insufficient_data("usage_not_asked").detail("the last usage was not asked for").passing()
    } else {
        Verdict::compliant("used")
    };
    vec![rotation, deletion, access, unused]
}
