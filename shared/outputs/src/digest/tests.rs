use std::collections::BTreeMap;

use domain::exemption::ExemptionState;
use domain::ledger::{ExemptionRecord, HistoryEntry, HistoryEvent, LastNotified, Resolution};
use domain::outcome::{Done, Failed, TARGET_NOT_REACHABLE};
use domain::verdict::Compliance;
use proptest::prelude::*;

use super::*;
use crate::digest_chat;

const ACCOUNTS: [&str; 3] = ["111111111111", "222222222222", "333333333333"];
const REGIONS: [&str; 2] = ["eu-west-1", "us-east-1"];

fn at() -> Timestamp {
    "2026-11-23T06:00:00Z".parse().unwrap()
}

fn a_week_ago() -> Timestamp {
    "2026-11-16T06:00:00Z".parse().unwrap()
}

fn home() -> Location {
    Location { partition: "aws".into(), region: "eu-west-1".into(), account_id: ACCOUNTS[0].into() }
}

/// A record with something new to tell.
fn record(account: &str, region: &str, n: usize, control: &str, severity: Severity, detail: &str) -> Record {
    let key_id = format!("{n:08}-0000-0000-0000-000000000000");
    Record {
        key_arn: format!("arn:aws:kms:{region}:{account}:key/{key_id}"),
        key_id,
        aliases: vec![],
        control: control.into(),
        compliance: Compliance::NonCompliant,
        first_seen: at(),
        severity,
        reason: control.replace('-', "_"),
        detail: detail.into(),
        evidence: domain::evidence::Evidence::new(),
        remediation: format!("Mend {control}."),
        references: vec!["Rule 1".into()],
        occurrence: None,
        last_notified: None,
        pending: Some(Change::New),
        deferred: true,
        resolution: None,
        exemption: None,
        history: vec![],
    }
}

trait Recorded {
    fn alias(self, alias: &str) -> Self;
    fn known(self, change: Change, before: Severity) -> Self;
    fn not_known(self, reason: &str) -> Self;
    fn resolved(self, detail: &str) -> Self;
    fn exempt(self, tag: &str, state: ExemptionState) -> Self;
}

impl Recorded for Record {
    fn alias(self, alias: &str) -> Self {
        Self { aliases: vec![alias.into()], ..self }
    }

    fn known(self, change: Change, before: Severity) -> Self {
        let reason = self.reason.clone();
        let last_notified = Some(LastNotified { change: Change::New, at: a_week_ago(), severity: before, reason });
        Self { pending: Some(change), first_seen: a_week_ago(), last_notified, ..self }
    }

    fn not_known(self, reason: &str) -> Self {
        Self { compliance: Compliance::InsufficientData, reason: reason.into(), ..self }
    }

    fn resolved(self, detail: &str) -> Self {
        let severity = self.severity;
        let resolution = Resolution { compliance: None, reason: "good".into(), detail: detail.into() };
        Self { resolution: Some(resolution), ..self.known(Change::Resolved, severity) }
    }

    fn exempt(self, tag: &str, state: ExemptionState) -> Self {
        let exemption = Some(ExemptionRecord { tag: tag.into(), state, pending: true });
        let (severity, reason) = (self.severity, self.reason.clone());
        let event = if state == ExemptionState::InEffect { HistoryEvent::Exempt } else { HistoryEvent::NotExempt };
        let history = vec![HistoryEntry { at: at(), event, severity, reason, detail: "as the tag says".into() }];
        Self { pending: None, exemption, history, ..self }
    }
}

fn unreachable(account: &str, region: &str) -> Record {
    let detail = format!("account {account} has no role kms-compliance-read");
    let of_key = record(account, region, 0, ACCOUNT_REACHABLE, Severity::Medium, &detail);
    Record {
        key_arn: format!("arn:aws:iam::{account}:root"),
        key_id: account.into(),
        remediation: "Deploy member-role.yaml there.".into(),
        ..of_key.not_known("role_missing")
    }
}

/// The function that has a control, as far as these tests need one.
fn function_of(control: &str) -> &'static str {
    match control {
        ACCOUNT_REACHABLE => "reporter",
        "key-usable" | "pending-deletion" => "health-prober",
        "public-access" => "access-checker",
        _ => "rotation-checker",
    }
}

/// Account and Region of a record are those of its key.
fn part(record: &Record) -> (String, String) {
    let parts: Vec<&str> = record.key_arn.split(':').collect();
    (parts[4].to_owned(), parts[3].to_owned())
}

/// Records with the places where they stand.
type Table = Vec<((String, String), Record)>;

fn table(records: Vec<Record>) -> Table {
    records.into_iter().map(|record| (part(&record), record)).collect()
}

fn parts(table: &Table) -> Vec<(Part<'_>, &Record)> {
    table
        .iter()
        .map(|((account_id, region), record)| {
            (Part { account_id, region, function: function_of(&record.control) }, record)
        })
        .collect()
}

fn news<'a>(home: &'a Location, table: &'a Table) -> News<'a> {
    let updates = parts(table).into_iter().filter_map(|(part, record)| Update::of(part, record, at())).collect();
    News {
        home,
        execution: "daily-2026-11-23",
        at: at(),
        updates,
        min_severity: None,
        outcomes: vec![],
        held: vec![],
        whole_list: None,
        page: None,
    }
}

fn outcome(account: &str, region: &str, function: &str, result: Result<Done, (&str, &str)>) -> Outcome {
    let result = result.map_err(|(error, cause)| Failed { error: error.into(), cause: cause.into() });
    Outcome { account_id: account.into(), region: region.into(), function: function.into(), result }
}

fn done() -> Done {
    Done { complete: true, keys_listed: 3, ..Done::default() }
}

fn default_of(digest: &Digest) -> Value {
    serde_json::from_str(&digest.default).unwrap()
}

/// A morning in three accounts and two Regions.
fn morning() -> (Table, Vec<Outcome>) {
    use Severity::{Critical, High, Low, Medium};
    let [a, b, c] = ACCOUNTS;
    let [eu, us] = REGIONS;
    let off = |account, region, n| record(account, region, n, "rotation-enabled", Medium, "automatic rotation is off");
    let mut records = vec![
        record(a, us, 1, "public-access", Critical, "anybody may use the key").alias("alias/payments"),
        record(a, us, 1, "rotation-overdue", High, "12 days late")
            .alias("alias/payments")
            .known(Change::Worsened, Medium),
        record(b, eu, 2, "key-usable", High, "the key is disabled").known(Change::Reminder, High),
        off(a, us, 3).alias("alias/cards"),
        off(a, eu, 4),
        off(b, eu, 5).alias("alias/backup"),
        off(b, eu, 6),
        record(a, eu, 7, "rotation-period", Low, "the period is 730 days").resolved("rotation every 365 days"),
        record(a, us, 8, "rotation-period", Low, "the period is 730 days").resolved("rotation every 365 days"),
        record(a, us, 9, "rotation-enabled", Medium, "off")
            .exempt("until=2026-12-31 owner=ana reason=moves", ExemptionState::InEffect),
    ];
    records[0].evidence.insert("principal", json!("*"));
    let mut outcomes: Vec<Outcome> = [a, b]
        .iter()
        .flat_map(|account| REGIONS.map(|region| outcome(account, region, "rotation-checker", Ok(done()))))
        .collect();
    outcomes.extend(REGIONS.map(|region| {
        outcome(c, region, "rotation-checker", Err((TARGET_NOT_REACHABLE, "role_missing: no such role")))
    }));
    outcomes.push(outcome(b, us, "health-prober", Err(("Sandbox.Timedout", "Task timed out"))));
    let mut table = table(records);
    // The ARN of an account has no Region.
    table.extend(REGIONS.map(|region| ((c.to_owned(), region.to_owned()), unreachable(c, region))));
    (table, outcomes)
}

/// The examples in the documentation, in their order.
fn documented() -> Vec<&'static str> {
    let doc = include_str!("../../../../docs/digest.md");
    let blocks = doc.split("\n```").skip(1).step_by(2);
    blocks.map(|block| block.split_once('\n').unwrap().1).collect()
}

#[test]
fn the_digest_as_the_team_reads_it() {
    let (table, outcomes) = morning();
    let home = home();
    let held = vec![Part { account_id: ACCOUNTS[1], region: REGIONS[1], function: "rotation-checker" }];
    let news = News { outcomes: outcomes.iter().collect(), held, ..news(&home, &table) };
    let digest = Digest::of(&news).unwrap();
    assert_eq!(digest.severity, Severity::Critical);
    assert_eq!(digest.subject, "CRITICAL: 7 new, 1 worsened, 1 open, 2 resolved, 1 exempt - 3 accounts, 2 Regions");
    assert_eq!(documented()[0], digest.email.trim_end(), "{}", digest.email);
    let attributes = [
        ("severity", "CRITICAL".to_owned(), false),
        ("function", json!(["access-checker", "health-prober", "reporter", "rotation-checker"]).to_string(), true),
        ("account_id", json!(ACCOUNTS).to_string(), true),
        ("region", json!(REGIONS).to_string(), true),
    ];
    assert_eq!(digest.attributes, attributes);
}

#[test]
fn the_digest_as_a_chat_shows_it() {
    let (table, outcomes) = morning();
    let home = home();
    let news = News { outcomes: outcomes.iter().collect(), ..news(&home, &table) };
    let chat: Value = serde_json::from_str(&digest_chat::notification(&news).unwrap()).unwrap();
    assert_eq!(documented()[1], serde_json::to_string_pretty(&chat).unwrap());
}

#[test]
fn the_form_for_programs() {
    let (table, outcomes) = morning();
    let home = home();
    let held = vec![Part { account_id: ACCOUNTS[1], region: REGIONS[1], function: "rotation-checker" }];
    let news = News { outcomes: outcomes.iter().collect(), held, ..news(&home, &table) };
    let digest = Digest::of(&news).unwrap();
    let message: Value = serde_json::from_str(&digest.message()).unwrap();
    assert_eq!((&message["email"], &message["default"]), (&json!(digest.email), &json!(digest.default)));
    let default = default_of(&digest);
    let lists = ["new", "worsened", "resolved", "deleted", "reminder", "exemptions"];
    assert_eq!(lists.map(|list| default[list].as_array().unwrap().len()), [7, 1, 2, 0, 1, 1]);
    for list in lists {
        for finding in default[list].as_array().unwrap() {
            let control = finding["control"].as_str().unwrap();
            assert_eq!(finding["function"], function_of(control));
            assert!(ACCOUNTS.contains(&finding["account_id"].as_str().unwrap()));
            assert!(REGIONS.contains(&finding["region"].as_str().unwrap()));
        }
    }
    let worst = &default["new"][0];
    let expected = json!({
        "function": "access-checker",
        "account_id": ACCOUNTS[0],
        "region": "us-east-1",
        "control": "public-access",
        "key_arn": table[0].1.key_arn,
        "key_id": table[0].1.key_id,
        "aliases": ["alias/payments"],
        "compliance": "NON_COMPLIANT",
        "severity": "CRITICAL",
        "reason": "public_access",
        "detail": "anybody may use the key",
        "evidence": {"principal": "*"},
        "remediation": "Mend public-access.",
        "references": ["Rule 1"],
    });
    assert_eq!(*worst, expected);
    let worsened = &default["worsened"][0];
    assert_eq!(worsened["was"], json!({"severity": "MEDIUM", "reason": "rotation_overdue"}));
    assert_eq!(worsened["first_seen"], "2026-11-16T06:00:00Z");
    assert_eq!(default["resolved"][0]["resolution"]["detail"], "rotation every 365 days");
    assert_eq!(default["exemptions"][0]["state"], "in_effect");
    for (field, expected) in [
        ("schema", json!("kms-compliance-digest/1")),
        ("account_id", json!(ACCOUNTS[0])),
        ("region", json!("eu-west-1")),
        ("execution", json!("daily-2026-11-23")),
        ("reported_at", json!("2026-11-23T06:00:00Z")),
        ("complete", json!(false)),
        ("targets_planned", json!(6)),
        ("targets_reached", json!(4)),
        ("checks_failed", json!(3)),
        ("parts_left", json!(1)),
        ("omitted", json!({})),
        ("attributes_left_out", json!([])),
        ("min_severity", Value::Null),
    ] {
        assert_eq!(default[field], expected, "{field}");
    }
    assert_eq!(default["left_to_next"][0]["function"], "rotation-checker");
    assert_eq!(default["failures"].as_array().unwrap().len(), 3);
}

#[test]
fn nothing_to_say_is_no_digest() {
    let (_, outcomes) = morning();
    let (home, empty) = (home(), vec![]);
    let news = News { outcomes: outcomes.iter().collect(), ..news(&home, &empty) };
    assert_eq!(Digest::of(&news), None);
    assert_eq!(digest_chat::notification(&news), None);
}

#[test]
fn one_place_needs_no_headings() {
    let home = home();
    let [a, ..] = ACCOUNTS;
    let table = table(vec![record(a, "eu-west-1", 1, "key-usable", Severity::High, "the key is disabled")]);
    let digest = Digest::of(&news(&home, &table)).unwrap();
    assert_eq!(digest.subject, "HIGH: 1 new KMS finding - 111111111111, eu-west-1");
    assert_eq!(documented()[2], digest.email.trim_end(), "{}", digest.email);
    assert_eq!(default_of(&digest)["complete"], true);
}

#[test]
fn accounts_out_of_reach_are_one_finding_by_cause() {
    let home = home();
    let places = (0..30).flat_map(|n| REGIONS.map(|region| (format!("{n:012}"), region.to_owned())));
    let table: Table = places.map(|place| (place.clone(), unreachable(&place.0, &place.1))).collect();
    let email = Digest::of(&news(&home, &table)).unwrap().email;
    let (_, block) = email.split_once("\nCould not look into 30 accounts:\n").unwrap();
    let lines: Vec<&str> = block.lines().take(8).collect();
    assert_eq!(lines[0], "  MEDIUM  account-reachable: role missing");
    assert_eq!(lines[1], "    000000000000: eu-west-1, us-east-1");
    assert_eq!((lines[6], lines[7]), ("    and 25 more accounts", "    Remediation: Deploy member-role.yaml there."));
    assert!(email.contains("Not told in full, by control: account-reachable 50."), "{email}");
    assert!(email.starts_with("60 new findings in 30 accounts, 2 Regions.\n"), "{email}");
}

#[test]
fn an_early_digest_says_so() {
    let home = home();
    let table = table(vec![record(ACCOUNTS[0], "eu-west-1", 1, "public-access", Severity::Critical, "open to all")]);
    let news = News { min_severity: Some(Severity::Critical), ..news(&home, &table) };
    let digest = Digest::of(&news).unwrap();
    assert!(digest.email.contains("\nTold early: what is CRITICAL. The rest follows when all checks are through.\n"));
    assert_eq!(
        (&default_of(&digest)["complete"], &default_of(&digest)["min_severity"]),
        (&json!(false), &json!("CRITICAL"))
    );
}

#[test]
fn resolutions_alone_have_the_worst_severity_that_was_resolved() {
    let home = home();
    let bad = |n, severity| record(ACCOUNTS[0], "eu-west-1", n, "key-usable", severity, "disabled");
    let ended = vec![bad(1, Severity::Critical).resolved("enabled"), bad(2, Severity::Low).resolved("enabled")];
    let all_resolved = table(ended.clone());
    let digest = Digest::of(&news(&home, &all_resolved)).unwrap();
    assert_eq!(digest.severity, Severity::Critical);
    assert_eq!(digest.subject, "Resolved: 2 KMS findings, worst CRITICAL - 111111111111, eu-west-1");
    let one_open = table([ended, vec![bad(3, Severity::Medium)]].concat());
    assert_eq!(Digest::of(&news(&home, &one_open)).unwrap().severity, Severity::Medium);
}

#[test]
fn deleted_keys_stand_at_the_top() {
    let home = home();
    let deleted = |n, region| Record {
        pending: Some(Change::Deleted),
        ..record(ACCOUNTS[0], region, n, "pending-deletion", Severity::Critical, "will be deleted")
    };
    let other = record(ACCOUNTS[0], "eu-west-1", 3, "public-access", Severity::Critical, "open to all");
    let table = table(vec![other, deleted(1, "us-east-1").alias("alias/gone"), deleted(2, "eu-west-1")]);
    let digest = Digest::of(&news(&home, &table)).unwrap();
    assert_eq!(digest.subject, "CRITICAL: 2 deleted keys, 1 new KMS finding - 111111111111, 2 Regions");
    let section = digest.email.split("\n\n").nth(1).unwrap();
    assert!(section.starts_with("Deleted keys:\n  CRITICAL  arn:aws:kms:eu-west-1:"), "{section}");
    assert!(section.contains("\n  CRITICAL  alias/gone (arn:aws:kms:us-east-1:"), "{section}");
    assert_eq!(default_of(&digest)["deleted"].as_array().unwrap().len(), 2);
}

#[test]
fn links_lead_to_the_console_of_partition_and_region() {
    for (partition, region, host) in [
        ("aws", "ap-south-1", Some("ap-south-1.console.aws.amazon.com")),
        ("aws-cn", "cn-north-1", Some("cn-north-1.console.amazonaws.cn")),
        ("aws-us-gov", "us-gov-west-1", Some("us-gov-west-1.console.amazonaws-us-gov.com")),
        ("aws-iso", "us-iso-east-1", None),
    ] {
        let home = Location { partition: partition.into(), ..home() };
        let table = table(vec![record(ACCOUNTS[1], region, 1, "key-usable", Severity::High, "disabled")]);
        let news = news(&home, &table);
        let (email, chat) = (Digest::of(&news).unwrap().email, digest_chat::notification(&news).unwrap());
        match host {
            Some(host) => assert!([email, chat].iter().all(|text| text.contains(&format!("https://{host}/kms/")))),
            None => assert!(![email, chat].iter().any(|text| text.contains("https://"))),
        }
    }
}

/// What the lines "…, by control: a 1, b 2." of a mail count.
fn counted_by_control(email: &str) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for list in email.lines().filter_map(|line| line.split_once(", by control: ")?.1.strip_suffix('.')) {
        for (control, count) in list.split(", ").filter_map(|entry| entry.rsplit_once(' ')) {
            *counts.entry(control).or_default() += count.parse::<usize>().unwrap();
        }
    }
    counts
}

/// Every update is named or counted, in both forms; and the message is small enough.
fn nothing_is_lost(news: &News<'_>) -> Digest {
    let digest = Digest::of(news).unwrap();
    let attributes: usize = digest.attributes.iter().map(|(name, value, _)| name.len() + value.len() + 20).sum();
    assert!(digest.message().len() + digest.subject.len() + attributes < 256 * 1024);
    assert!(digest.subject.len() < 100, "{}", digest.subject);
    assert!(digest.subject.chars().all(|c| c.is_ascii_graphic() || c == ' '), "{}", digest.subject);
    let default = default_of(&digest);
    let lists = ["new", "worsened", "resolved", "deleted", "reminder", "exemptions"];
    let carried: usize = lists.map(|list| default[list].as_array().unwrap().len()).iter().sum();
    let omitted: u64 = default["omitted"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    let said: usize = news
        .updates
        .iter()
        .map(|it| usize::from(it.notice.change.is_some()) + usize::from(it.notice.exemption.is_some()))
        .sum();
    assert_eq!(carried + usize::try_from(omitted).unwrap(), said);
    // Each key's ID begins with a number of its own; a key with an alias may be named by that, which is its own too.
    let mut unnamed: BTreeMap<&str, usize> = BTreeMap::new();
    for Update { record, .. } in &news.updates {
        let by_id = record.key_id.get(..12).unwrap_or(&record.key_id);
        let by_alias = record.aliases.first().is_some_and(|alias| digest.email.contains(alias));
        if !by_alias && !digest.email.contains(by_id) {
            *unnamed.entry(&record.control).or_default() += 1;
        }
    }
    let counted = counted_by_control(&digest.email);
    for (control, unnamed) in unnamed {
        let counted = counted.get(control).copied().unwrap_or_default();
        assert!(counted >= unnamed, "{control}: {unnamed} unnamed, {counted} counted\n{}", digest.email);
    }
    let account_lines = digest.email.lines().filter(|line| {
        let line = line.trim_start();
        line.len() > 12 && line.chars().take(12).all(|c| c.is_ascii_digit())
    });
    assert!(account_lines.count() <= 20, "{}", digest.email);
    digest
}

#[test]
fn a_thousand_accounts_with_a_hundred_new_findings_each_fit() {
    let home = home();
    // The same everywhere; different everywhere, with text that takes most room in JSON within JSON.
    for differs in [false, true] {
        let mut records = vec![];
        for account in 0..1_000 {
            for key in 0..100 {
                let (control, severity) = match key {
                    0 => ("key-usable", Severity::High),
                    _ => ("rotation-enabled", Severity::Medium),
                };
                let n = account * 100 + key;
                let detail = if differs { format!("{} {n}", "\\\"".repeat(300)) } else { "off".to_owned() };
                let account = format!("{:012}", account + 500_000_000_000_usize);
                records.push(record(&account, REGIONS[key % 2], n, control, severity, &detail));
            }
        }
        let table = table(records);
        let digest = nothing_is_lost(&news(&home, &table));
        let accounts = if differs { 1_000 - 20 } else { 1_000 - 10 };
        let rest = format!("\n  and {accounts} more accounts: ");
        assert!(digest.email.contains(&rest), "{rest}\n{}", digest.email);
        assert!(digest.email.contains("more than 100 values of account_id"), "{}", digest.email);
        let attributes: Vec<_> = digest.attributes.iter().map(|(name, ..)| *name).collect();
        assert_eq!(attributes, ["severity", "function", "region"]);
        assert_eq!(default_of(&digest)["attributes_left_out"], json!(["account_id"]));
        assert_eq!(digest.subject, "HIGH: 100000 new KMS findings - 1000 accounts, 2 Regions");
        let notification = digest_chat::notification(&news(&home, &table)).unwrap();
        assert!(notification.chars().count() < 4_000, "{notification}");
    }
}

#[test]
fn a_hundred_values_are_an_attribute_and_one_more_is_none() {
    let home = home();
    for (accounts, is_there) in [(100, true), (101, false)] {
        let of = |n: usize| record(&format!("{n:012}"), "eu-west-1", n, "key-usable", Severity::High, "disabled");
        let table = table((0..accounts).map(of).collect());
        let digest = nothing_is_lost(&news(&home, &table));
        assert_eq!(digest.attributes.iter().any(|(name, ..)| *name == "account_id"), is_there);
        assert_eq!(digest.email.contains("values of account_id"), !is_there);
    }
}

#[test]
fn what_has_no_room_stands_somewhere() {
    let home = home();
    let of = |n: usize| record(ACCOUNTS[0], "eu-west-1", n, "key-usable", Severity::High, &format!("case {n}"));
    for (count, whole_list, said) in [
        (50, None, None),
        (51, None, Some("invoke the reporter with {\"detail\": {\"report\": \"open\"}}.")),
        (51, Some("s3://bucket/reports/daily.json"), Some("The whole list: s3://bucket/reports/daily.json\n")),
    ] {
        let table = table((0..count).map(of).collect());
        let email = nothing_is_lost(&News { whole_list, ..news(&home, &table) }).email;
        assert_eq!(email.matches("Remediation:").count(), 50);
        assert_eq!(email.contains("Not told in full, by control: key-usable 1."), said.is_some(), "{email}");
        assert_eq!(email.contains("The whole list"), said.is_some());
        assert!(said.is_none_or(|said| email.contains(said)), "{email}");
    }
}

#[test]
fn the_page_is_linked_where_there_is_one() {
    let (table, _) = morning();
    let home = home();
    for page in
        [None, Some("https://eu-west-1.console.aws.amazon.com/s3/object/b?region=eu-west-1&prefix=reports/d.html")]
    {
        let digest = nothing_is_lost(&News { page, ..news(&home, &table) });
        assert_eq!(digest.email.contains("All that is open, as a page: "), page.is_some());
        assert!(page.is_none_or(|page| digest.email.contains(&format!("{page}\n"))), "{}", digest.email);
        assert_eq!(serde_json::from_str::<Value>(&digest.default).unwrap()["page"], json!(page));
    }
}

#[test]
fn a_route_is_told_of_its_accounts_alone() {
    let (table, outcomes) = morning();
    let home = home();
    let whole = News { outcomes: outcomes.iter().collect(), whole_list: Some("s3://all"), ..news(&home, &table) };
    let [a, b, c] = ACCOUNTS;
    let units = BTreeMap::from([(b, BTreeSet::from(["ou-ab12-cdefghij".to_owned()]))]);
    let none = BTreeSet::new();
    let topic = "arn:aws:sns:eu-west-1:111111111111:team";
    for (scope, accounts) in [(a, vec![a]), ("ou-ab12-cdefghij", vec![b]), (c, vec![c]), ("444444444444", vec![])] {
        let routes = Route::parse_all(&format!("{scope}={topic}")).unwrap();
        let news = whole.of_route(&routes[0], |account| units.get(account).unwrap_or(&none));
        let told: BTreeSet<&str> = news.updates.iter().map(|update| update.part.account_id).collect();
        let seen: BTreeSet<&str> = news.outcomes.iter().map(|outcome| outcome.account_id.as_str()).collect();
        assert_eq!(
            (told.into_iter().collect::<Vec<_>>(), seen.into_iter().collect()),
            (accounts.clone(), accounts.clone())
        );
        let Some(digest) = Digest::of(&news) else {
            assert!(accounts.is_empty());
            continue;
        };
        let others = ACCOUNTS.iter().filter(|account| !accounts.contains(account) && **account != a);
        assert!(others.into_iter().all(|other| !digest.message().contains(other)), "{}", digest.message());
        assert!(!digest.message().contains("s3://all"));
    }
}

#[test]
fn what_other_people_write_is_plain_text() {
    const HOSTILE: &str = "\u{1b}[31m\u{202e}evil\r\n== 999999999999, eu ==\nCRITICAL  all is lost `*_~<!channel>&";
    let home = home();
    let mut bad = record(ACCOUNTS[0], "eu-west-1", 1, "key-usable", Severity::High, HOSTILE).alias(HOSTILE);
    bad.evidence.insert("error_message", json!(HOSTILE));
    bad.remediation = HOSTILE.into();
    let tag = format!("until=2026-12-31 owner=ana{HOSTILE} reason=see https://evil.example");
    let exempt = record(ACCOUNTS[0], "eu-west-1", 2, "key-usable", Severity::High, "x").alias(HOSTILE);
    let mut exempt = exempt.exempt(&tag, ExemptionState::InEffect);
    exempt.history.clear();
    let ended =
        record(ACCOUNTS[1], "eu-west-1", 3, "key-usable", Severity::High, HOSTILE).alias(HOSTILE).resolved(HOSTILE);
    let unknown = record(ACCOUNTS[1], "eu-west-1", 4, "key-usable", Severity::High, HOSTILE).not_known(HOSTILE);
    let failed = [outcome(ACCOUNTS[0], HOSTILE, HOSTILE, Err((HOSTILE, HOSTILE)))];
    let table = table(vec![bad, exempt, ended, unknown]);
    let news = News {
        outcomes: failed.iter().collect(),
        execution: HOSTILE,
        whole_list: Some(HOSTILE),
        ..news(&home, &table)
    };
    let digest = Digest::of(&news).unwrap();
    assert!(!digest.email.contains(['\u{1b}', '\u{202e}', '\r']), "{:?}", digest.email);
    for line in digest.email.lines().map(str::trim_start) {
        assert!(!line.starts_with("CRITICAL") && !line.starts_with("== 9"), "no line of their own: {}", digest.email);
    }
    assert!(digest.email.contains("see https[:]//evil.example"), "{}", digest.email);
    let chat: Value = serde_json::from_str(&digest_chat::notification(&news).unwrap()).unwrap();
    let description = chat["content"]["description"].as_str().unwrap();
    assert!(!description.contains(['\u{1b}', '\u{202e}', '\r', '<']), "{description}");
    // Between backticks, of which there is an even number in each line.
    assert!(description.lines().all(|line| line.matches('`').count() % 2 == 0), "{description}");
    let step = chat["content"]["nextSteps"][0].as_str().unwrap();
    assert!(!step.contains(['*', '~', '`', '<', '\n']), "{step}");
}

#[test]
fn a_notification_has_the_form_that_the_chat_reads() {
    let (table, outcomes) = morning();
    let home = home();
    let news = News { outcomes: outcomes.iter().collect(), ..news(&home, &table) };
    let text = digest_chat::notification(&news).unwrap();
    let chat: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&chat["version"], &chat["source"]), (&json!("1.0"), &json!("custom")));
    let content = &chat["content"];
    assert_eq!(content["textType"], "client-markdown");
    assert!(content["title"].as_str().unwrap().starts_with("CRITICAL: "));
    let lines: Vec<&str> = content["description"].as_str().unwrap().lines().collect();
    assert!(lines.len() <= 11 && lines[0].starts_with("*CRITICAL* `public-access` (new): "), "{lines:?}");
    assert_eq!(content["nextSteps"], json!(["Mend public-access."]));
    assert_eq!(content["keywords"], json!(["CRITICAL", "HIGH", "LOW", "MEDIUM"]));
    assert_eq!(chat["metadata"]["threadId"], "kms-compliance/111111111111/eu-west-1");
}

#[test]
fn the_answer_about_what_is_open_counts_and_carries_the_fifty_worst() {
    use Severity::{High, Low, Medium};
    let home = home();
    let mut records: Vec<Record> = (0..60)
        .map(|n| record(ACCOUNTS[n % 3], REGIONS[n % 2], n, "key-usable", if n < 10 { High } else { Medium }, "x"))
        .map(|record| Record { pending: None, ..record })
        .collect();
    records.push(record(ACCOUNTS[0], "eu-west-1", 90, "rotation-period", Low, "x").resolved("good"));
    records.push(Record {
        compliance: Compliance::NotApplicable,
        ..record(ACCOUNTS[0], "eu-west-1", 91, "exclusion", Low, "x")
    });
    records[0] = records[0].clone().exempt("until=2026-12-31 owner=a reason=b", ExemptionState::InEffect);
    let table = table(records);
    let answer = open_findings(&home, at(), &parts(&table), Some("s3://bucket/all.json"));
    assert_eq!(answer["open"], 60);
    assert_eq!(answer["severities"], json!({"CRITICAL": 0, "HIGH": 10, "MEDIUM": 50, "LOW": 0}));
    assert_eq!(answer["controls"], json!({"key-usable": 60}));
    assert_eq!((&answer["accounts"], &answer["regions"]), (&json!(3), &json!(2)));
    assert_eq!(answer["findings_omitted"], 10);
    assert_eq!(answer["whole_list"], "s3://bucket/all.json");
    let findings = answer["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 50);
    assert!(findings[..10].iter().all(|finding| finding["severity"] == "HIGH"));
    assert_eq!(findings.iter().filter(|finding| finding["exempt"] == true).count(), 1);
    assert_eq!(findings[0]["function"], "health-prober");
}

fn any_record() -> impl Strategy<Value = Record> {
    let severity =
        prop_oneof![Just(Severity::Low), Just(Severity::Medium), Just(Severity::High), Just(Severity::Critical)];
    let control =
        prop_oneof![Just("key-usable"), Just("rotation-enabled"), Just("public-access"), Just("pending-deletion")];
    let detail = prop_oneof![3 => Just("off".to_owned()), 1 => "\\PC{0,40}", 1 => any::<String>()];
    (0..4_usize, 0..3_usize, 0..60_usize, control, severity, detail, 0..8_usize, any::<bool>()).prop_map(
        |(account, region, n, control, severity, detail, kind, has_alias)| {
            let account = format!("{:012}", 700_000_000_000 + account);
            let region = ["eu-west-1", "us-east-1", "ap-south-1"][region];
            let record = record(&account, region, n, control, severity, &detail);
            let record = if has_alias { record.alias(&format!("alias/k{n:03}-{region}-{account}")) } else { record };
            match kind {
                0 => record.known(Change::Worsened, Severity::Low),
                1 => record.known(Change::Reminder, severity),
                2 => record.not_known("access_denied"),
                3 => record.resolved(&detail),
                4 => Record { pending: Some(Change::Deleted), ..record },
                5 => record.exempt("until=2026-12-31 owner=a reason=b", ExemptionState::InEffect),
                6 => record.not_known("access_denied").resolved("good"),
                _ => record,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_update_is_told_or_counted_and_order_does_not_matter(
        records in prop::collection::vec(any_record(), 1..200),
        seed in any::<u64>(),
    ) {
        let home = home();
        // Keys are apart by account and Region: a number stands for one key only.
        let records: BTreeMap<_, _> = records.into_iter().map(|mut record| {
            let (account, region) = part(&record);
            let place = format!("{}{}", &account[10..], ["e", "u", "a"].iter().position(|c| region.starts_with(c)).unwrap());
            record.key_id = format!("{place}{}", &record.key_id[3..]);
            record.key_arn = format!("arn:aws:kms:{region}:{account}:key/{}", record.key_id);
            ((record.key_arn.clone(), record.control.clone(), record.compliance), record)
        }).collect();
        let records: Vec<Record> = records.into_values().collect();
        let sorted = table(records.clone());
        let digest = nothing_is_lost(&news(&home, &sorted));
        let mut shuffled = sorted.clone();
        let n = shuffled.len();
        shuffled.rotate_left(usize::try_from(seed % n as u64).unwrap());
        shuffled.reverse();
        prop_assert_eq!(&digest, &Digest::of(&news(&home, &shuffled)).unwrap());
        prop_assert!(digest.email.chars().all(|c| c == '\n' || !c.is_control()));
        let notification = digest_chat::notification(&news(&home, &shuffled)).unwrap();
        prop_assert!(notification.chars().count() < 4_000);
    }
}
