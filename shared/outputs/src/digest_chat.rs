//! The digest for a chat: a custom notification of Amazon Q Developer in chat applications.
//!
//! Names stand between backticks, without any of their own: within those no chat program obeys a mark.

use std::collections::BTreeSet;

use domain::ledger::Change;
use domain::text::unlinked;
use serde_json::json;

use crate::digest::{News, Update};
use crate::digest_email::{Group, groups, link};
use crate::updates::counted;
use crate::words::{joined, short_name, what_changed};

/// Most findings that the notification tells.
const MAX_LINES: usize = 10;

/// Most characters of the description.
const MAX_DESCRIPTION_CHARS: usize = 2_500;

/// Most characters of what to do.
const MAX_STEP_CHARS: usize = 500;

/// Most characters of a name.
const MAX_NAME_CHARS: usize = 100;

/// Most controls that one line names.
const MAX_CONTROLS: usize = 3;

/// The notification as a topic of its own carries it; `None` if there is nothing to say. Under 4,000 characters, and as many
/// more as the home's names have.
pub fn notification(news: &News<'_>) -> Option<String> {
    let severity = news.severity()?;
    let updates = news.sorted();
    let is_ended = |update: &Update<'_>| update.notice.change == Some(Change::Resolved);
    let open = groups(&updates, |update| update.notice.change.is_some() && !is_ended(update));
    let ended = groups(&updates, is_ended);
    let (mut lines, mut chars, mut told) = (Vec::new(), 0, 0);
    for group in open.iter().chain(&ended).take(MAX_LINES) {
        let line = line(news, group);
        chars += line.chars().count() + 1;
        if chars > MAX_DESCRIPTION_CHARS {
            break;
        }
        told += group.0.len();
        lines.push(line);
    }
    let more = updates.len() - told;
    if more > 0 {
        lines.push(format!("and {} in the mail", counted(more, "more update")));
    }
    let severities: BTreeSet<&str> = updates.iter().map(|update| update.record.severity.as_str()).collect();
    let remediation = open.first().and_then(|group| group.0.first()).map(|worst| plain(&worst.notice.remediation));
    let next_steps: Vec<String> = remediation.into_iter().filter(|it| !it.is_empty()).collect();
    let (account_id, region) = (&news.home.account_id, &news.home.region);
    let title = news.subject(severity);
    let notification = json!({
        "version": "1.0",
        "source": "custom",
        "content": {
            "textType": "client-markdown",
            "title": title,
            "description": lines.join("\n"),
            "nextSteps": next_steps,
            "keywords": severities,
        },
        "metadata": {
            // The days of one monitor stand in one thread.
            "threadId": format!("kms-compliance/{account_id}/{region}"),
            "summary": title,
            "eventType": "kms-compliance-digest",
        },
    });
    Some(notification.to_string())
}

/// What is the same of one or more keys, in one line.
fn line(news: &News<'_>, group: &Group<'_>) -> String {
    let Some(first) = group.0.first() else { return String::new() };
    let Update { record, notice, .. } = first;
    let controls: BTreeSet<String> = group.0.iter().map(|update| code(&update.record.control)).collect();
    let controls = joined(&controls.into_iter().collect::<Vec<_>>(), MAX_CONTROLS);
    let changed = match notice.change {
        Some(Change::Resolved) if first.is_unwatched() => " (no longer watched)".to_owned(),
        Some(Change::Resolved) => " (resolved)".to_owned(),
        Some(Change::Deleted) => " (deleted)".to_owned(),
        change => what_changed(change, record.severity, notice.was.as_ref(), record.first_seen, false),
    };
    let places = group.places();
    let keys: BTreeSet<&str> = group.0.iter().map(|update| update.record.key_arn.as_str()).collect();
    let (account, region) = first.place();
    let name = if first.is_of_key() { code(&short_name(&record.aliases, &record.key_id)) } else { code(account) };
    let place = format!("{} {}", code(account), code(region));
    let of = match (keys.len(), places.len()) {
        (1, 1) => format!("{name} in {place}"),
        (1, many) => format!("{name} in {many} Regions"),
        (many, 1) => format!("{name} and {} more in {place}", many - 1),
        (many, places) => format!("{name} and {} more in {places} accounts and Regions", many - 1),
    };
    let link = link(news.home, first).filter(|_| keys.len() == 1).map(|link| format!(" {link}")).unwrap_or_default();
    format!("*{}* {controls}{}: {of}{link}", record.severity.as_str(), plain(&changed))
}

/// A name that no chat program reads as anything else.
fn code(name: &str) -> String {
    let name: String = unlinked(name).chars().take(MAX_NAME_CHARS).collect();
    format!("`{}`", entities(&name.replace('`', "'")))
}

/// Words without marks of a chat's markup. An underscore within a word is none.
fn plain(words: &str) -> String {
    let words: String = unlinked(words).chars().take(MAX_STEP_CHARS).collect();
    entities(&words.replace(['*', '~', '`'], "").replace(" _", " ").replace("_ ", " "))
}

fn entities(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
