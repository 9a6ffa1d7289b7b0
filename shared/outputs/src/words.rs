//! What all mails say in the same words.

use std::fmt::Write as _;

use domain::control::Severity;
use domain::evidence::Evidence;
use domain::ledger::Change;
use domain::text::printable;
use domain::verdict::date;
use jiff::Timestamp;

use crate::evidence::{fact_name, value_text};

/// Most keys that one common cause names.
pub(crate) const MAX_NAMED_KEYS: usize = 10;

/// What happened to an open finding. Where all are new, the first line says so.
pub(crate) fn what_changed(
    change: Option<Change>,
    severity: Severity,
    was: Option<&(Severity, String)>,
    first_seen: Timestamp,
    all_new: bool,
) -> String {
    match (change, was) {
        (Some(Change::Worsened), Some((before, reason))) if *before != severity => {
            format!(" (worsened, was {} {reason})", before.as_str())
        }
        (Some(Change::Worsened), _) => " (worsened)".to_owned(),
        (Some(Change::Reminder), _) => format!(" (still open, since {})", date(first_seen)),
        _ if all_new => String::new(),
        _ => " (new)".to_owned(),
    }
}

/// The first few names, and how many more.
pub(crate) fn joined(names: &[String], max: usize) -> String {
    let (told, more) = names.split_at(names.len().min(max));
    let told = told.join(", ");
    match (told.as_str(), more.len()) {
        (_, 0) => told,
        ("", more) => more.to_string(),
        (_, more) => format!("{told} and {more} more"),
    }
}

/// The key's first alias with the beginning of its ID, or its ID.
pub(crate) fn short_name(aliases: &[String], key_id: &str) -> String {
    const SHORT: usize = 12;
    let id = printable(key_id);
    let Some(alias) = aliases.first() else { return id };
    let short: String = id.chars().take(SHORT).collect();
    let ellipsis = if short.len() < id.len() { "…" } else { "" };
    format!("{} ({short}{ellipsis})", printable(alias))
}

/// The evidence in one line, and each link in it in one of its own.
pub(crate) fn evidence_lines(evidence: &Evidence) -> String {
    let mut text = String::new();
    let facts = evidence.iter().map(|(name, value)| (fact_name(name), value_text(value)));
    let (links, words): (Vec<_>, Vec<_>) = facts.partition(|(_, value)| value.starts_with("https://"));
    if !words.is_empty() {
        let words: Vec<_> = words.into_iter().map(|(name, value)| format!("{name} {value}")).collect();
        let _ = writeln!(text, "    Evidence: {}", words.join("; "));
    }
    for (name, link) in links {
        let _ = writeln!(text, "    Evidence, {name}: {link}");
    }
    text
}
