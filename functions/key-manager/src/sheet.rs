//! An audit as a sheet: what people read.

use std::collections::BTreeMap;

use domain::verdict::Compliance;
use jiff::Timestamp;
use outputs::sheet::{Section, Sheet, Standing};

use crate::audit::{
    Audit, CheckVerdicts, Grants, KeyFacts, LastUsage, LedgerFindings, ManagementEvents, NotKnown, Part, PolicySummary,
    Rotation, Usage,
};

/// Most rows of a section whose length others decide.
const MAX_ROWS: usize = 100;

/// The audit as a sheet.
pub(crate) fn sheet(audit: &Audit) -> Sheet {
    let aliases = audit.aliases.known();
    let name = aliases.and_then(|it| it.first()).unwrap_or(&audit.key.key_arn);
    let place = format!("account {}, {}", audit.account_id, audit.region);
    let (standing, sentence) = standing(audit);
    let mut sheet = Sheet::new(&format!("Key {name}"), &place, audit.audited_at, standing, &sentence);
    let mut recommendations = Section::new("Recommendations", &[]);
    for (n, recommendation) in audit.recommendations.iter().enumerate() {
        recommendations.row([(n + 1).to_string().as_str(), recommendation]);
    }
    sheet.add(recommendations);
    sheet.add(key(&audit.key));
    sheet.add(of("Aliases", &[], &audit.aliases, |section, aliases| {
        for alias in aliases {
            section.row([alias.as_str()]);
        }
    }));
    sheet.add(of("Tags", &[], &audit.tags, |section, tags| {
        for (key, value) in tags {
            section.row([key.as_str(), value]);
        }
    }));
    sheet.add(of("Findings", &["severity", "control", "detail"], &audit.verdicts, findings));
    sheet.add(of("Controls", &["control", "verdict", "reason"], &audit.verdicts, controls));
    sheet.add(of("Policy", &[], &audit.policy, policy));
    sheet.add(of("Grants", &["grantee", "operations", "name"], &audit.grants, grants));
    sheet.add(of("Rotation", &[], &audit.rotation, rotation));
    sheet.add(of("Last use", &[], &audit.last_usage, last_usage));
    sheet.add(of("Successful requests", &[], &audit.usage, usage));
    sheet.add(of("Management events", &[], &audit.management_events, events));
    sheet.add(of("Latest management events", &["at", "event", "user", "service"], &audit.management_events, latest));
    sheet.add(of("Ledger", &["at", "change", "severity", "control", "detail"], &audit.ledger, ledger));
    sheet
}

/// A section of one part; what is not known says so.
fn of<T>(
    heading: &'static str,
    columns: &'static [&'static str],
    part: &Part<T>,
    fill: impl FnOnce(&mut Section, &T),
) -> Section {
    let mut section = Section::new(heading, columns);
    match part {
        Part::Known(known) => fill(&mut section, known),
        Part::NotKnown(NotKnown { not_known }) => section.note(&format!("not known: {not_known}")),
    }
    section
}

/// How the key stands by the verdicts.
fn standing(audit: &Audit) -> (Standing, String) {
    let Some(verdicts) = audit.verdicts.known() else {
        return (Standing::Unsure, "The controls could not be asked.".to_owned());
    };
    let count = |compliance: Compliance| {
        let findings = verdicts.values().flat_map(|it| &it.findings);
        findings.filter(|it| it.compliance == compliance && it.exempt.is_none()).count()
    };
    match (count(Compliance::NonCompliant), count(Compliance::InsufficientData)) {
        (0, 0) if verdicts.values().all(|it| it.complete) => (Standing::Good, "No open finding.".to_owned()),
        (0, 0) => (Standing::Unsure, "No open finding, but not everything could be seen.".to_owned()),
        (0, not_known) => (Standing::Unsure, format!("No open finding, but {not_known} not known.")),
        (1, _) => (Standing::Bad, "1 open finding.".to_owned()),
        (open, _) => (Standing::Bad, format!("{open} open findings.")),
    }
}

/// A value that may be absent.
fn fact(section: &mut Section, name: &str, value: Option<impl ToString>) {
    if let Some(value) = value {
        section.row([name, value.to_string().as_str()]);
    }
}

/// A value that may not be known.
fn part_of(section: &mut Section, name: &str, part: &Part<impl ToString>) {
    match part {
        Part::Known(value) => section.row([name, value.to_string().as_str()]),
        Part::NotKnown(NotKnown { not_known }) => section.row([name, format!("not known: {not_known}").as_str()]),
    }
}

fn list<'a>(section: &mut Section, name: &str, values: impl IntoIterator<Item = &'a String>) {
    for value in values {
        section.row([name, value]);
    }
}

fn key(key: &KeyFacts) -> Section {
    let mut section = Section::new("Key", &[]);
    section.row(["ARN", key.key_arn.as_str()]);
    fact(&mut section, "manager", key.manager.as_ref());
    fact(&mut section, "state", key.state.as_ref());
    part_of(&mut section, "spec", &key.spec);
    fact(&mut section, "usage", key.usage.as_ref());
    fact(&mut section, "origin", key.origin.as_ref());
    list(&mut section, "algorithm", &key.algorithms);
    fact(&mut section, "created", key.created_at);
    fact(&mut section, "deleted at", key.deletion_at);
    fact(&mut section, "material expires", key.material_expires_at);
    part_of(&mut section, "multi-Region", &key.multi_region);
    match &key.replicas {
        Part::Known(replicas) => list(&mut section, "replica", replicas),
        Part::NotKnown(NotKnown { not_known }) => section.row(["replicas", format!("not known: {not_known}").as_str()]),
    }
    section
}

fn findings(section: &mut Section, verdicts: &BTreeMap<String, CheckVerdicts>) {
    let mut findings: Vec<_> = verdicts.values().flat_map(|it| &it.findings).collect();
    findings.sort_by_key(|it| (it.exempt.is_some(), std::cmp::Reverse(it.severity)));
    for finding in findings {
        let exempt = finding.exempt.as_ref().map_or_else(String::new, |it| format!(" (exempt until {})", it.until));
        let severity = match finding.compliance {
            Compliance::InsufficientData => "not known",
            _ => finding.severity.as_str(),
        };
        section.row([severity, finding.control, format!("{}{exempt}", finding.detail).as_str()]);
    }
}

fn controls(section: &mut Section, verdicts: &BTreeMap<String, CheckVerdicts>) {
    for verdict in verdicts.values().flat_map(|it| &it.evaluations) {
        section.row([verdict.control, verdict.compliance.as_str(), verdict.reason]);
    }
}

fn policy(section: &mut Section, policy: &PolicySummary) {
    list(section, "may administer", &policy.may_administer);
    list(section, "may use", &policy.may_use);
    match &policy.foreign {
        Part::Known(foreign) => {
            list(section, "foreign account", &foreign.accounts);
            list(section, "foreign organisation", &foreign.organisations);
            list(section, "trusted account", &foreign.trusted_accounts);
        }
        Part::NotKnown(NotKnown { not_known }) => section.row(["foreign", format!("not known: {not_known}").as_str()]),
    }
    match &policy.public {
        Part::Known(public) => {
            section.row(["public", if public.public { "yes" } else { "no" }]);
            list(section, "public by", &public.by);
            list(section, "bounded by a wildcard", &public.bounded_by_wildcard);
        }
        Part::NotKnown(NotKnown { not_known }) => section.row(["public", format!("not known: {not_known}").as_str()]),
    }
}

fn grants(section: &mut Section, grants: &Grants) {
    for grant in grants.listed.iter().take(MAX_ROWS) {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (grantee, name) = (text(&grant.grantee), text(&grant.name));
        section.row([grantee.as_str(), grant.operations.join(", ").as_str(), name.as_str()]);
    }
    more(section, grants.listed.len().saturating_sub(MAX_ROWS) + grants.omitted);
}

/// Says that there are more rows than are listed.
fn more(section: &mut Section, omitted: usize) {
    if omitted > 0 {
        section.note(&format!("{omitted} more are not listed"));
    }
}

fn rotation(section: &mut Section, rotation: &Rotation) {
    section.row(["by itself", if rotation.enabled { "yes" } else { "no" }]);
    fact(section, "period in days", rotation.period_days);
    fact(section, "next", rotation.next_at);
    fact(section, "on demand, in progress since", rotation.on_demand_since);
    for past in rotation.history.iter().take(MAX_ROWS) {
        section.row(["rotated", format!("{} {}", past.at, past.r#type.as_deref().unwrap_or_default()).as_str()]);
    }
}

fn last_usage(section: &mut Section, usage: &LastUsage) {
    section.row(["at", usage.at.as_ref().map_or_else(|| "never".to_owned(), Timestamp::to_string).as_str()]);
    fact(section, "operation", usage.operation.as_ref());
    fact(section, "tracked since", usage.tracked_since);
}

fn usage(section: &mut Section, usage: &Usage) {
    for (operation, count) in &usage.successful_requests {
        section.row([operation.as_str(), count.to_string().as_str()]);
    }
    for (operation, why) in &usage.not_known {
        section.row([operation.as_str(), format!("not known: {why}").as_str()]);
    }
    section.note(&format!("since {}", usage.from));
}

fn events(section: &mut Section, events: &ManagementEvents) {
    section.row(["all", events.count.to_string().as_str()]);
    let counts = [("event", &events.by_name), ("user", &events.by_user), ("service", &events.by_service)];
    for (name, counts) in counts {
        for (of, count) in counts {
            section.row([format!("{name} {of}").as_str(), count.to_string().as_str()]);
        }
    }
    if events.users_omitted > 0 {
        section.note(&format!("{} more users are not listed", events.users_omitted));
    }
}

fn latest(section: &mut Section, events: &ManagementEvents) {
    for event in &events.latest {
        let at = event.at.to_string();
        let (user, service) = (event.user.as_deref().unwrap_or_default(), event.service.as_deref().unwrap_or_default());
        section.row([at.as_str(), &event.name, user, service]);
    }
}

fn ledger(section: &mut Section, by_function: &BTreeMap<String, Part<LedgerFindings>>) {
    let mut changes = Vec::new();
    let mut notes = Vec::new();
    for (function, part) in by_function {
        match part {
            Part::Known(findings) => {
                let of = findings.listed.iter().flat_map(|it| it.history.iter().map(move |entry| (it, entry)));
                changes.extend(of);
                if findings.omitted > 0 {
                    notes.push(format!("{function}: {} more findings", findings.omitted));
                }
            }
            Part::NotKnown(NotKnown { not_known }) => notes.push(format!("{function} is not known: {not_known}")),
        }
    }
    changes.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.at));
    for (finding, entry) in changes.iter().take(MAX_ROWS) {
        let at = entry.at.to_string();
        let change = serde_json::to_value(entry.event).unwrap_or_default();
        let change = change.as_str().unwrap_or_default().replace('_', " ");
        section.row([at.as_str(), &change, entry.severity.as_str(), &finding.control, &entry.detail]);
    }
    let omitted = changes.len().saturating_sub(MAX_ROWS);
    if omitted > 0 {
        notes.push(format!("{omitted} earlier changes are not listed"));
    }
    if !notes.is_empty() {
        section.note(&notes.join("; "));
    }
}
