//! The digest as people read it: plain text, worst first, by account and Region where there is more than one. What is the
//! same of many keys is said once, over accounts too.
//!
//! Other people's text (aliases, tags, AWS's messages) comes in through [`printable`] alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use domain::control::Severity;
use domain::ledger::{Change, Record};
use domain::location::Location;
use domain::text::{printable, unlinked};
use domain::verdict::{Compliance, date};

use crate::digest::{ACCOUNT_REACHABLE, Gaps, MAX_ATTRIBUTE_VALUES, News, Update};
use crate::evidence::minute;
use crate::updates::{counted, escaped_len};
use crate::words::{MAX_NAMED_KEYS, evidence_lines, joined, short_name, what_changed};

/// Most findings that the message tells in full, and most lines of each list after them.
const MAX_IN_FULL: usize = 50;

/// Most lines that name accounts.
const MAX_ACCOUNT_LINES: usize = 20;

/// Of those, what is kept for the list of accounts at the end.
const LINES_OF_THE_LIST: usize = 10;

/// Most accounts and Regions that one finding names.
const MAX_PLACES: usize = 5;

/// Most keys that one account's line names.
const MAX_KEYS_IN_LINE: usize = 3;

/// Most bytes of the text, as it stands in the message.
const MAX_EMAIL_BYTES: usize = 100_000;

/// The text, as long as it may be.
pub(crate) fn text(news: &News<'_>, updates: &[&Update<'_>], left_out: &[&str]) -> String {
    let groups = groups(updates, Update::is_open);
    let mut max = MAX_IN_FULL;
    loop {
        let text = Mail::write(news, updates, &groups, left_out, max);
        if escaped_len(&text) <= MAX_EMAIL_BYTES || max == 0 {
            return text;
        }
        max /= 2;
    }
}

pub(crate) type Place<'a> = (&'a str, &'a str);

/// ` in 3 accounts, 2 Regions`, where the section's heading does not say it.
fn extent_of(group: &Group<'_>) -> String {
    let places = group.places();
    let accounts: BTreeSet<&str> = places.iter().map(|(account, _)| *account).collect();
    let regions: BTreeSet<&str> = places.iter().map(|(_, region)| *region).collect();
    if places.len() < 2 || group.0.iter().any(|update| !update.is_of_key()) {
        return String::new();
    }
    format!(" in {}, {}", counted(accounts.len(), "account"), counted(regions.len(), "Region"))
}

/// What makes findings one group. What is not known is one by its cause, whatever the control; an account that cannot be
/// reached, by why it cannot.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Sameness<'a> {
    compliance: Compliance,
    change: Option<Change>,
    severity: Severity,
    was: Option<(Severity, &'a str)>,
    /// Day since which it is open, of a reminder.
    since: Option<String>,
    /// Control, or reason of what is not known.
    what: &'a str,
    detail: &'a str,
    remediation: &'a str,
}

fn sameness<'a>(update: &'a Update<'_>) -> Sameness<'a> {
    let Record { compliance, control, severity, first_seen, .. } = update.record;
    let notice = &update.notice;
    let is_known = *compliance == Compliance::NonCompliant;
    let change = notice.change;
    Sameness {
        compliance: *compliance,
        change,
        severity: *severity,
        was: notice.was.as_ref().map(|(severity, reason)| (*severity, reason.as_str())),
        since: (change == Some(Change::Reminder)).then(|| date(*first_seen)),
        what: if is_known { control } else { &notice.reason },
        detail: if update.is_of_key() { &notice.detail } else { ACCOUNT_REACHABLE },
        remediation: if is_known { &notice.remediation } else { "" },
    }
}

/// Findings that are the same, of one key or more. Never empty.
pub(crate) struct Group<'a>(pub(crate) Vec<&'a Update<'a>>);

impl<'a> Group<'a> {
    pub(crate) fn places(&self) -> BTreeSet<Place<'a>> {
        self.0.iter().map(|update| update.place()).collect()
    }

    /// The one account and Region that it is about.
    fn place(&self) -> Option<Place<'a>> {
        let first = self.0.first()?.place();
        self.0.iter().all(|update| update.place() == first).then_some(first)
    }

    /// The one finding that it is, unless it is a cause that kept the checks from knowing.
    fn only(&self) -> Option<&'a Update<'a>> {
        match self.0.as_slice() {
            [only] if only.record.compliance == Compliance::NonCompliant => Some(only),
            _ => None,
        }
    }
}

/// The groups in the order of their first findings.
pub(crate) fn groups<'a>(updates: &[&'a Update<'a>], is_meant: impl Fn(&Update<'a>) -> bool) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut found: BTreeMap<Sameness<'a>, usize> = BTreeMap::new();
    for update in updates.iter().copied().filter(|update| is_meant(update)) {
        let at = *found.entry(sameness(update)).or_insert(groups.len());
        match groups.get_mut(at) {
            Some(Group(group)) => group.push(update),
            None => groups.push(Group(vec![update])),
        }
    }
    groups
}

/// Numbers of findings by a word of theirs.
#[derive(Default)]
struct Counts<'a>(BTreeMap<&'a str, usize>);

impl<'a> Counts<'a> {
    fn by_control(updates: impl IntoIterator<Item = &'a Update<'a>>) -> Self {
        let mut counts = Self::default();
        counts.add_all(updates);
        counts
    }

    fn add_all(&mut self, updates: impl IntoIterator<Item = &'a Update<'a>>) {
        for update in updates {
            *self.0.entry(update.record.control.as_str()).or_default() += 1;
        }
    }

    fn tell(&self, text: &mut String, what: &str) {
        if !self.0.is_empty() {
            let counts: Vec<_> =
                self.0.iter().map(|(control, count)| format!("{} {count}", printable(control))).collect();
            let _ = write!(text, "\n{what}, by control: {}.\n", counts.join(", "));
        }
    }
}

/// The mail while it is written.
struct Mail<'n> {
    text: String,
    news: &'n News<'n>,
    /// Are there several accounts or Regions?
    is_of_several: bool,
    all_new: bool,
    max: usize,
    account_lines_left: usize,
    is_something_omitted: bool,
}

impl<'n> Mail<'n> {
    fn write(
        news: &'n News<'n>,
        updates: &[&'n Update<'n>],
        groups: &[Group<'n>],
        left_out: &[&str],
        max: usize,
    ) -> String {
        let places: BTreeSet<Place<'_>> = updates.iter().map(|update| update.place()).collect();
        let mut mail = Mail {
            text: String::new(),
            news,
            is_of_several: places.len() > 1,
            all_new: news.tally().all_are(Change::New),
            max,
            account_lines_left: MAX_ACCOUNT_LINES - LINES_OF_THE_LIST,
            is_something_omitted: false,
        };
        mail.tell_opening(updates);
        mail.tell_gaps();
        mail.tell_deleted(updates);
        mail.tell_open(groups);
        mail.tell_exemptions(updates);
        mail.tell_ended("No longer watched", updates, Update::is_unwatched);
        mail.tell_ended("Resolved", updates, |update| {
            update.notice.change == Some(Change::Resolved) && !update.is_unwatched()
        });
        mail.tell_accounts(updates);
        mail.tell_rest(left_out);
        mail.text
    }

    fn tell_opening(&mut self, updates: &[&Update<'_>]) {
        let keys: BTreeSet<&str> =
            updates.iter().filter(|it| it.is_of_key()).map(|update| update.record.key_arn.as_str()).collect();
        let summary = self.news.tally().summary("finding");
        let on = if keys.is_empty() { String::new() } else { format!(" on {}", counted(keys.len(), "KMS key")) };
        let accounts: BTreeSet<&str> = updates.iter().map(|update| update.part.account_id).collect();
        let regions: BTreeSet<&str> = updates.iter().map(|update| update.part.region).collect();
        let one = |all: &BTreeSet<&str>, thing: &str| match (all.len(), all.first()) {
            (1, Some(only)) => format!("{thing} {}", printable(only)),
            (count, _) => counted(count, thing),
        };
        let place = format!("{}, {}", one(&accounts, "account"), one(&regions, "Region"));
        let _ = write!(
            self.text,
            "{summary}{on} in {place}.\nDaily check {}, {}\n",
            printable(self.news.execution),
            minute(self.news.at)
        );
        if let Some(severity) = self.news.min_severity {
            let _ = write!(
                self.text,
                "\nTold early: what is {}{}. The rest follows when all checks are through.\n",
                severity.as_str(),
                if severity == Severity::Critical { "" } else { " or worse" },
            );
        }
    }

    /// What was not seen, and what is left for the next digest. Its findings are neither reported nor cleared.
    fn tell_gaps(&mut self) {
        let gaps = Gaps::of(&self.news.outcomes);
        let mut lines = Vec::new();
        if !gaps.is_empty() {
            lines.push(format!(
                "Not everything was seen: {} of {} (an account and a Region) reached. What was not seen is neither \
                 reported nor cleared.",
                gaps.targets_reached,
                counted(gaps.targets_planned, "target"),
            ));
        }
        for (reason, accounts) in &gaps.not_reached {
            let names: Vec<String> = accounts
                .iter()
                .take(MAX_PLACES + 1)
                .map(|(account, regions)| format!("{} ({})", printable(account), all_of(regions, MAX_PLACES)))
                .collect();
            let names = some_of(&names, accounts.len(), MAX_PLACES, "account");
            lines.push(format!("  Not reached, {}: {names}", printable(reason).replace('_', " ")));
        }
        for ((function, error), places) in &gaps.failed {
            let what = format!("{} ({})", printable(function), printable(error));
            lines.push(format!("  Failed: {what} in {}", some_places(places)));
        }
        for (function, places) in &gaps.incomplete {
            lines.push(format!("  Did not see every key: {} in {}", printable(function), some_places(places)));
        }
        if gaps.keys_not_reached > 0 {
            lines.push(format!("  Time ran out before {}", counted_keys(gaps.keys_not_reached)));
        }
        let mut held: BTreeMap<&str, BTreeSet<Place<'_>>> = BTreeMap::new();
        for part in &self.news.held {
            held.entry(part.function).or_default().insert((part.account_id, part.region));
        }
        if !held.is_empty() {
            lines.push("Left to the next digest, since another run holds what is known:".to_owned());
        }
        for (function, places) in &held {
            lines.push(format!("  {} in {}", printable(function), some_places(places)));
        }
        if !lines.is_empty() {
            let _ = write!(self.text, "\n{}\n", lines.join("\n"));
        }
    }

    /// Keys that were deleted: nothing can be worse, and nothing can be done about the key.
    fn tell_deleted(&mut self, updates: &[&'n Update<'n>]) {
        let deleted: Vec<_> =
            updates.iter().copied().filter(|update| update.notice.change == Some(Change::Deleted)).collect();
        if deleted.is_empty() {
            return;
        }
        self.text.push_str("\nDeleted keys:\n");
        let (named, others) = deleted.split_at(self.max.min(deleted.len()));
        let mut remediations: Vec<&str> = Vec::new();
        for update in named {
            let Record { severity, .. } = update.record;
            let _ = writeln!(self.text, "  {}  {}", severity.as_str(), title(update.record));
            if !remediations.contains(&update.notice.remediation.as_str()) {
                remediations.push(&update.notice.remediation);
            }
        }
        if let Some(first) = named.first() {
            let _ = writeln!(self.text, "  {}", printable(&first.notice.detail));
        }
        for remediation in remediations {
            self.tell_remediation(remediation);
        }
        self.count("More deleted", others.iter().copied());
    }

    /// What is open: each section where its worst finding stands. What is the same in several places has one of its own.
    fn tell_open(&mut self, groups: &[Group<'n>]) {
        let (in_full, rest) = groups.split_at(self.max.min(groups.len()));
        let mut sections: Vec<(Option<Place<'_>>, Vec<&Group<'n>>)> = Vec::new();
        for group in in_full {
            let place = group.place();
            match sections.iter_mut().find(|(of, _)| *of == place) {
                Some((_, groups)) => groups.push(group),
                None => sections.push((place, vec![group])),
            }
        }
        let mut omitted = Counts::default();
        for (place, groups) in sections {
            match place {
                Some((account, region)) if self.is_of_several => {
                    let _ = write!(self.text, "\n== {}, {} ==\n", printable(account), printable(region));
                }
                None => self.text.push_str("\n== In several accounts or Regions ==\n"),
                Some(_) => {}
            }
            let mut told: BTreeSet<&str> = BTreeSet::new();
            for group in &groups {
                match group.only() {
                    Some(update) => {
                        if told.insert(&update.record.key_arn) {
                            self.tell_key(update, groups.iter().filter_map(|group| group.only()));
                        }
                    }
                    None => self.tell_group(group, &mut omitted),
                }
            }
        }
        omitted.add_all(rest.iter().flat_map(|Group(updates)| updates).copied());
        self.is_something_omitted |= !omitted.0.is_empty();
        omitted.tell(&mut self.text, "Not told in full");
    }

    /// All that is said in full about one key, over functions.
    fn tell_key(&mut self, first: &Update<'n>, all: impl Iterator<Item = &'n Update<'n>>) {
        let _ = write!(self.text, "\n{}\n", title(first.record));
        for update in all.filter(|it| it.record.key_arn == first.record.key_arn && it.place() == first.place()) {
            let _ = writeln!(self.text, "  {}", self.headline(update, &printable(&update.record.control)));
            self.text.push_str(&evidence_lines(&update.notice.evidence));
            self.tell_remediation(&update.notice.remediation);
        }
        self.tell_link(first);
    }

    /// The same of several keys, or a cause that kept the checks from knowing.
    fn tell_group(&mut self, group: &Group<'n>, omitted: &mut Counts<'n>) {
        let Some(first) = group.0.first() else { return };
        let controls: BTreeSet<String> = group.0.iter().map(|update| printable(&update.record.control)).collect();
        let controls = controls.into_iter().collect::<Vec<_>>().join(", ");
        let keys: BTreeSet<&str> = group.0.iter().map(|update| update.record.key_arn.as_str()).collect();
        let is_unknown = first.record.compliance != Compliance::NonCompliant;
        let accounts: BTreeSet<&str> = group.0.iter().map(|update| update.part.account_id).collect();
        let what = if first.is_of_key() { counted(keys.len(), "key") } else { counted(accounts.len(), "account") };
        // The words about one account are not those about another.
        let reason = first.notice.reason.replace('_', " ");
        let detail = if first.is_of_key() || accounts.len() == 1 { &first.notice.detail } else { &reason };
        let could_not = match (first.is_of_key(), is_unknown) {
            (true, true) => "Could not evaluate ",
            (false, _) => "Could not look into ",
            (true, false) => "",
        };
        let _ = write!(self.text, "\n{could_not}{what}{}:\n", extent_of(group));
        let _ = writeln!(self.text, "  {}", self.headline_with(first, &controls, detail));
        if !first.is_of_key() {
            self.tell_accounts_of(group, omitted);
        } else if group.place().is_some() {
            self.tell_keys_of(group, is_unknown, omitted);
        } else {
            self.tell_places_of(group, omitted);
        }
        self.tell_remediation(&first.notice.remediation);
        if keys.len() == 1 {
            self.tell_link(first);
        }
    }

    /// Names of the keys of one account and Region: a line each of what has to be done, all in one of what is not known.
    fn tell_keys_of(&mut self, group: &Group<'n>, in_one_line: bool, omitted: &mut Counts<'n>) {
        let keys = by_name(&group.0);
        let max = if in_one_line { MAX_NAMED_KEYS } else { self.max };
        let (shown, others) = keys.split_at(max.min(keys.len()));
        if in_one_line {
            let names: Vec<String> = keys.iter().map(|(name, _)| name.clone()).collect();
            let _ = writeln!(self.text, "    Where: {}", joined(&names, max));
        } else {
            for (name, _) in shown {
                let _ = writeln!(self.text, "    {name}");
            }
            if !others.is_empty() {
                let _ = writeln!(self.text, "    and {} more", others.len());
            }
        }
        omitted.add_all(others.iter().flat_map(|(_, updates)| updates).copied());
    }

    /// Names of keys in several accounts and Regions, a line for each of those, as far as there are lines.
    fn tell_places_of(&mut self, group: &Group<'n>, omitted: &mut Counts<'n>) {
        let mut places: BTreeMap<Place<'n>, Vec<&'n Update<'n>>> = BTreeMap::new();
        for update in &group.0 {
            places.entry(update.place()).or_default().push(update);
        }
        let lines = places.len().min(MAX_PLACES).min(self.account_lines_left);
        self.account_lines_left -= lines;
        let mut rest = Vec::new();
        for (n, ((account, region), updates)) in places.iter().enumerate() {
            if n >= lines {
                rest.extend(updates.iter().copied());
                continue;
            }
            let names = by_name(updates);
            let max = if places.len() <= MAX_KEYS_IN_LINE { MAX_NAMED_KEYS } else { MAX_KEYS_IN_LINE };
            omitted.add_all(names.iter().skip(max).flat_map(|(_, updates)| updates).copied());
            let names: Vec<String> = names.into_iter().map(|(name, _)| name).collect();
            let (account, region) = (printable(account), printable(region));
            let _ = writeln!(self.text, "    {account} {region}: {}", joined(&names, max));
        }
        if !rest.is_empty() {
            let keys = by_name(&rest).len();
            let and = if lines == 0 { "" } else { "and " };
            let (more, keys) = (counted(places.len() - lines, "more place"), counted(keys, "key"));
            let more = if lines == 0 { more.replace(" more", "") } else { more };
            let _ = writeln!(self.text, "    {and}{more} with {keys}");
            omitted.add_all(rest);
        }
    }

    /// Accounts that could not be reached: one line for all Regions of each.
    fn tell_accounts_of(&mut self, group: &Group<'n>, omitted: &mut Counts<'n>) {
        let mut accounts: BTreeMap<&str, Vec<&'n Update<'n>>> = BTreeMap::new();
        for update in &group.0 {
            accounts.entry(update.part.account_id).or_default().push(update);
        }
        let lines = accounts.len().min(MAX_PLACES).min(self.account_lines_left);
        self.account_lines_left -= lines;
        for (account, updates) in accounts.iter().take(lines) {
            let regions: BTreeSet<&str> = updates.iter().map(|update| update.part.region).collect();
            let _ = writeln!(self.text, "    {}: {}", printable(account), all_of(&regions, usize::MAX));
        }
        if accounts.len() > lines {
            let and = if lines == 0 { "" } else { "and " };
            let _ = writeln!(self.text, "    {and}{}", counted(accounts.len() - lines, "more account"));
        }
        omitted.add_all(accounts.values().skip(lines).flatten().copied());
    }

    fn headline(&self, update: &Update<'_>, controls: &str) -> String {
        self.headline_with(update, controls, &update.notice.detail)
    }

    fn headline_with(&self, update: &Update<'_>, controls: &str, detail: &str) -> String {
        let Update { record, notice, .. } = update;
        let changed =
            what_changed(notice.change, record.severity, notice.was.as_ref(), record.first_seen, self.all_new);
        format!("{}  {controls}{changed}: {}", record.severity.as_str(), printable(detail))
    }

    fn tell_remediation(&mut self, remediation: &str) {
        if !remediation.is_empty() {
            let _ = writeln!(self.text, "    Remediation: {}", printable(remediation));
        }
    }

    fn tell_link(&mut self, update: &Update<'_>) {
        if let Some(link) = link(self.news.home, update) {
            let _ = writeln!(self.text, "  {link}");
        }
    }

    fn tell_exemptions(&mut self, updates: &[&'n Update<'n>]) {
        let announced: Vec<_> =
            updates.iter().copied().filter_map(|it| Some((it, it.notice.exemption.as_ref()?))).collect();
        let (told, rest) = announced.split_at(self.max.min(announced.len()));
        if !announced.is_empty() {
            self.text.push_str("\nExemptions:\n");
        }
        for (update, status) in told {
            // Whoever may tag a key may write anything here.
            let (control, detail) = (printable(&update.record.control), unlinked(&status.detail));
            let _ = writeln!(self.text, "  {}: {control}: {detail}", self.name(update));
        }
        self.count("More exemptions", rest.iter().map(|(update, _)| *update));
    }

    /// What no longer exists, in short. What ended for the same reason is said once.
    fn tell_ended(&mut self, heading: &str, updates: &[&'n Update<'n>], is_meant: impl Fn(&Update<'n>) -> bool) {
        let ended: Vec<&'n Update<'n>> = updates.iter().copied().filter(|update| is_meant(update)).collect();
        if ended.is_empty() {
            return;
        }
        let _ = write!(self.text, "\n{heading}:\n");
        let mut places: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        let mut lines: Vec<Vec<&'n Update<'n>>> = Vec::new();
        for update in ended {
            let is_unknown = update.record.compliance == Compliance::InsufficientData;
            let now = update.notice.resolution.as_ref().map_or("", |it| it.detail.as_str());
            // A cause that passed is one, whatever the control.
            let what =
                if is_unknown { ("", update.notice.detail.as_str()) } else { (update.record.control.as_str(), now) };
            let at = *places.entry(what).or_insert(lines.len());
            match lines.get_mut(at) {
                Some(line) => line.push(update),
                None => lines.push(vec![update]),
            }
        }
        let (told, rest) = lines.split_at(self.max.min(lines.len()));
        let mut omitted: Vec<&'n Update<'n>> = rest.iter().flatten().copied().collect();
        for line in told {
            let Some(first) = line.first() else { continue };
            let names: BTreeSet<String> = line.iter().map(|update| self.name(update)).collect();
            let names: Vec<String> = names.into_iter().collect();
            let told_names: BTreeSet<&String> = names.iter().take(MAX_NAMED_KEYS).collect();
            omitted.extend(line.iter().copied().filter(|update| !told_names.contains(&self.name(update))));
            let (control, all) = (printable(&first.record.control), joined(&names, MAX_NAMED_KEYS));
            if first.record.compliance == Compliance::InsufficientData {
                let detail = printable(&first.notice.detail);
                let keys = counted(names.len(), if first.is_of_key() { "key" } else { "account and Region" });
                let _ = writeln!(self.text, "  no longer, for {keys}: {detail}: {all}");
                continue;
            }
            let now = first.notice.resolution.as_ref().map(|it| it.detail.as_str()).filter(|it| !it.is_empty());
            let now = now.map(|now| format!(": {}", printable(now))).unwrap_or_default();
            let days: BTreeSet<String> = line.iter().map(|update| date(update.record.first_seen)).collect();
            let since = match (days.first(), days.len()) {
                (Some(day), 1) => format!(", open since {day}"),
                (Some(day), _) => format!(", open since {day} or later"),
                (None, _) => String::new(),
            };
            if names.len() == 1 {
                let _ = writeln!(self.text, "  {all}: {control}{since}{now}");
            } else {
                let _ = writeln!(self.text, "  {control} on {}{since}{now}: {all}", counted(names.len(), "key"));
            }
        }
        self.count(&format!("More {}", heading.to_lowercase()), omitted);
    }

    /// How much there is in each account, the worst first.
    fn tell_accounts(&mut self, updates: &[&Update<'_>]) {
        let mut accounts: BTreeMap<&str, Account<'_>> = BTreeMap::new();
        for update in updates {
            accounts.entry(update.part.account_id).or_default().add(update);
        }
        if accounts.len() < 2 {
            return;
        }
        let mut accounts: Vec<_> = accounts.into_iter().collect();
        accounts.sort_by(|(a, x), (b, y)| y.rank().cmp(&x.rank()).then_with(|| a.cmp(b)));
        self.text.push_str("\nBy account:\n");
        let lines = accounts.len().min(self.account_lines_left + LINES_OF_THE_LIST);
        let (told, rest) = accounts.split_at(lines);
        for (id, account) in told {
            let _ = writeln!(self.text, "  {}: {} ({})", printable(id), account.words(), all_of(&account.regions, 4));
        }
        if !rest.is_empty() {
            let mut others = Account::default();
            for (_, account) in rest {
                others.merge(account);
            }
            let _ = writeln!(self.text, "  and {}: {}", counted(rest.len(), "more account"), others.words());
        }
    }

    /// Where that stands which the mail has no room for.
    fn tell_rest(&mut self, left_out: &[&str]) {
        if self.is_something_omitted {
            self.text.push_str("\nThe JSON form of this message carries more of it. ");
            match self.news.whole_list {
                Some(place) => {
                    let _ = writeln!(self.text, "The whole list: {}", printable(place));
                }
                None => self
                    .text
                    .push_str("The whole list: invoke the reporter with {\"detail\": {\"report\": \"open\"}}.\n"),
            }
        }
        if let Some(page) = self.news.page {
            let _ = writeln!(self.text, "\nAll that is open, as a page: {page}");
        }
        if !left_out.is_empty() {
            let names = left_out.join(", ");
            let _ = write!(
                self.text,
                "\nThis message has more than {MAX_ATTRIBUTE_VALUES} values of {names}: filter policies cannot use that \
                 attribute today.\n"
            );
        }
    }

    fn count(&mut self, what: &str, updates: impl IntoIterator<Item = &'n Update<'n>>) {
        let counts = Counts::by_control(updates);
        self.is_something_omitted |= !counts.0.is_empty();
        counts.tell(&mut self.text, what);
    }

    /// A key's first alias, with where it is if there are several places; its ARN, which says that; or the account.
    fn name(&self, update: &Update<'_>) -> String {
        let (account, region) = (printable(update.part.account_id), printable(update.part.region));
        match update.record.aliases.first() {
            _ if !update.is_of_key() => format!("{account} {region}"),
            Some(alias) if self.is_of_several => format!("{} in {account} {region}", printable(alias)),
            Some(alias) => printable(alias),
            None => printable(&update.record.key_arn),
        }
    }
}

/// What there is of one account.
#[derive(Default)]
struct Account<'a> {
    /// Open findings and deleted keys, by severity.
    open: BTreeMap<Severity, usize>,
    ended: usize,
    notices: usize,
    regions: BTreeSet<&'a str>,
}

impl<'a> Account<'a> {
    fn add(&mut self, update: &Update<'a>) {
        self.regions.insert(update.part.region);
        match update.notice.change {
            Some(Change::Resolved) => self.ended += 1,
            Some(_) => *self.open.entry(update.record.severity).or_default() += 1,
            None => {}
        }
        self.notices += usize::from(update.notice.exemption.is_some());
    }

    fn merge(&mut self, other: &Self) {
        for (severity, count) in &other.open {
            *self.open.entry(*severity).or_default() += count;
        }
        self.ended += other.ended;
        self.notices += other.notices;
    }

    /// The worst severities first, and many before few.
    fn rank(&self) -> Vec<(Severity, usize)> {
        self.open.iter().rev().map(|(severity, count)| (*severity, *count)).collect()
    }

    fn words(&self) -> String {
        let mut words: Vec<String> =
            self.open.iter().rev().map(|(severity, count)| format!("{count} {}", severity.as_str())).collect();
        words.extend((self.ended > 0).then(|| format!("{} ended", self.ended)));
        words.extend((self.notices > 0).then(|| counted(self.notices, "exemption notice")));
        words.join(", ")
    }
}

/// The findings by their keys' short names, those with an alias first: people know them by it.
fn by_name<'a>(updates: &[&'a Update<'a>]) -> Vec<(String, Vec<&'a Update<'a>>)> {
    let mut names: BTreeMap<(bool, String, &str), Vec<&'a Update<'a>>> = BTreeMap::new();
    for update in updates {
        let Record { aliases, key_id, key_arn, .. } = update.record;
        names.entry((aliases.is_empty(), short_name(aliases, key_id), key_arn)).or_default().push(update);
    }
    names.into_iter().map(|((_, name, _), updates)| (name, updates)).collect()
}

fn all_of(names: &BTreeSet<&str>, max: usize) -> String {
    let names: Vec<String> = names.iter().map(|name| printable(name)).collect();
    joined(&names, max)
}

fn some_of(names: &[String], count: usize, max: usize, thing: &str) -> String {
    let told = names.get(..max.min(names.len())).unwrap_or_default().join(", ");
    if count > max { format!("{told} and {}", counted(count - max, &format!("more {thing}"))) } else { told }
}

/// The first few accounts and Regions, like `111111111111 eu-west-1`.
fn some_places(places: &BTreeSet<Place<'_>>) -> String {
    let names: Vec<String> = places
        .iter()
        .take(MAX_PLACES)
        .map(|(account, region)| format!("{} {}", printable(account), printable(region)))
        .collect();
    some_of(&names, places.len(), MAX_PLACES, "place")
}

fn counted_keys(count: u64) -> String {
    format!("{count} {}", if count == 1 { "key" } else { "keys" })
}

fn title(record: &Record) -> String {
    let arn = printable(&record.key_arn);
    if record.aliases.is_empty() {
        return arn;
    }
    format!("{} ({arn})", printable(&record.aliases.join(", ")))
}

/// Page of the console that shows the key.
pub(crate) fn link(home: &Location, update: &Update<'_>) -> Option<String> {
    if !update.is_of_key() {
        return None;
    }
    let (account_id, region) = (update.part.account_id.to_owned(), update.part.region.to_owned());
    Location { partition: home.partition.clone(), region, account_id }.console_link(&update.record.key_id)
}
