//! The fault matrix of the functions that check keys.
//!
//! A cell is three days of a function. On the first it has found what it found; on the second a call fails as the cell
//! says; on the third, and once more, all is well again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use crate::fault_matrix::Cell;
use crate::harness::{TOPIC, WITH_LEDGER, describe, verdicts};
use crate::{Fleet, FunctionProcess, Invocation, Operation, Outcome};

/// No call goes over TLS: reading the system's certificates would take longer than all else that a function's start does.
const CERTIFICATE: (&str, &str) =
    ("SSL_CERT_FILE", concat!(env!("CARGO_MANIFEST_DIR"), "/src/fault_matrix/certificate.pem"));

/// A function, and what there is for it to find.
#[derive(Debug)]
pub struct Situation<'a> {
    /// Its binary.
    pub binary: &'a Path,
    /// Its settings, beside topic and ledger.
    pub settings: &'a [(&'a str, &'a str)],
    /// The options of its events, beside `verbose`.
    pub detail: Value,
    /// The fleet on the first day.
    pub before: Value,
    /// The fleet from the second day on: findings are new, stay, and end.
    pub fleet: Value,
}

/// Why something is not known of a key whose turn did not come before the run's time was up.
const FOR_WANT_OF_TIME: [&str; 2] = ["usage_not_asked", "grants_not_asked"];

/// Evaluations by key ID and control: compliance and reason.
type Verdicts = BTreeMap<(String, String), (String, String)>;

/// What the team was told of a finding: change, control, key ID and reason. And its compliance.
type Told = BTreeMap<(String, String, String, String), (usize, String)>;

/// A situation with what comes of it where nothing fails.
#[derive(Debug)]
pub struct Rehearsed<'a> {
    situation: Situation<'a>,
    /// What the ledger holds after the first day.
    ledger: Vec<Value>,
    verdicts: Verdicts,
    aliases: BTreeMap<String, Value>,
    told: Told,
    /// Open findings, by sort key, in the end.
    open: BTreeSet<String>,
    /// Keys and controls of resolved findings in the end.
    past: BTreeSet<(String, String)>,
}

impl<'a> Situation<'a> {
    /// Goes through all days without a fault.
    pub async fn rehearse(self) -> Rehearsed<'a> {
        let fleet = Fleet::serve(describe(self.before.clone())).unwrap();
        let function = self.start(&fleet);
        assert_eq!(response(function.invoke(&self.event("first day")).await).unwrap()["complete"], true);
        let ledger = fleet.items();
        fleet.clear_published();
        fleet.replace(describe(self.fleet.clone())).unwrap();
        let second = response(function.invoke(&self.event("second day")).await).unwrap();
        assert_eq!(second["complete"], true);
        let told = told(&fleet);
        let changes: BTreeSet<&str> = told.keys().map(|(change, ..)| change.as_str()).collect();
        assert!(changes.contains("new") && changes.contains("resolved"), "there is too little to lose: {told:?}");
        fleet.clear_published();
        let third = response(function.invoke(&self.event("third day")).await).unwrap();
        assert_eq!((fleet.published().len(), verdicts(&third)), (0, verdicts(&second)));
        Rehearsed {
            ledger,
            verdicts: verdicts(&second),
            aliases: aliases(&second),
            told,
            open: open(&fleet),
            past: past(&fleet),
            situation: self,
        }
    }

    fn start(&self, fleet: &Fleet) -> FunctionProcess {
        let settings: Vec<_> =
            [("SNS_TOPIC_ARN", TOPIC), WITH_LEDGER, CERTIFICATE].iter().chain(self.settings).copied().collect();
        FunctionProcess::start(self.binary, fleet, &settings).unwrap()
    }

    fn event(&self, id: &str) -> Value {
        let mut detail = self.detail.clone();
        detail["verbose"] = json!(true);
        json!({"id": id, "source": "aws.events", "detail-type": "Scheduled Event", "detail": detail})
    }
}

impl Rehearsed<'_> {
    /// Runs a cell. Calls that name a key fail for `keys` alone, in the cell's Region; all others for everybody. The word
    /// for what came of it:
    ///
    /// `right`, `fails: <error type>`, or one or more of `not known: <reasons>` (of the keys concerned), `not reached`,
    /// `broken off`, `without names`; behind any of them `, told again` where a change was told more than once.
    ///
    /// # Errors
    /// What must never be, whatever fails.
    pub async fn run(&self, cell: &Cell, keys: &[String]) -> Result<String, String> {
        let situation = &self.situation;
        let operation = Operation::try_from(cell.operation().to_owned())?;
        let mut faulty = situation.fleet.clone();
        let fault = cell.fault_in_fleet();
        let is_of_keys = operation.names_a_key() && operation != Operation::ListAliases;
        if is_of_keys {
            let place = match cell.region() {
                Some(region) => &mut faulty["regions"][region],
                None => &mut faulty,
            };
            for key in place["keys"].as_array_mut().unwrap() {
                if keys.iter().any(|id| key["key_id"] == id.as_str()) {
                    key["faults"] = json!({ cell.operation(): fault });
                }
            }
        } else {
            faulty["faults"] = json!({ cell.operation(): fault });
        }
        let fleet = Fleet::serve(describe(faulty)).unwrap();
        self.ledger.iter().for_each(|item| fleet.put_item(item).unwrap());
        let function = situation.start(&fleet);
        let deadline = cell.deadline();
        let second = function
            .invoke_with(&situation.event("second day"), Invocation { deadline, ..Invocation::default() })
            .await;
        assert_was_hit(&fleet, cell)?;
        let told_at_once = told(&fleet);
        let (mut word, same_keys) = self.word(second, if is_of_keys { keys } else { &[] })?;
        for (change, control, key, reason) in self.told.keys() {
            if same_keys.contains(key) && !told_at_once.contains_key(&of(change, control, key, reason)) {
                return Err(format!("{word}; {change} {control} of {key} was not told though it was seen"));
            }
        }

        fleet.replace(describe(situation.fleet.clone())).unwrap();
        let_leases_end(&fleet);
        let third = response(function.invoke(&situation.event("third day")).await)?;
        if verdicts(&third) != self.verdicts || third["complete"] != true {
            return Err(format!("{word}; the next run is not right: {third}"));
        }
        let told_in_all = told(&fleet);
        for what in self.told.keys() {
            if !told_in_all.contains_key(what) {
                return Err(format!("{word}; {what:?} was never told"));
            }
        }
        let known_for_sure = |(_, compliance): &(usize, String)| compliance != "INSUFFICIENT_DATA";
        let beyond = |(what, told): &(_, &_)| !self.told.contains_key(*what) && known_for_sure(told);
        if let Some((what, _)) = told_in_all.iter().find(beyond) {
            return Err(format!("{word}; {what:?} was told and is not so"));
        }
        if told_in_all.iter().any(|(what, (times, _))| self.told.contains_key(what) && *times > 1) {
            word.push_str(", told again");
        }
        if open(&fleet) != self.open || !self.past.is_subset(&past(&fleet)) {
            return Err(format!("{word}; the ledger is not right: {:?}", fleet.items()));
        }

        if word == "right" {
            // Then the third day had nothing to tell, and has shown it.
            return Ok(word);
        }
        fleet.clear_published();
        response(function.invoke(&situation.event("fourth day")).await)?;
        if !fleet.published().is_empty() {
            return Err(format!("{word}; an unchanged fleet was told: {:?}", told(&fleet)));
        }
        Ok(word)
    }

    /// The word for the outcome of the second day, and the keys of which it says all that is so.
    fn word(&self, outcome: Outcome, keys: &[String]) -> Result<(String, BTreeSet<String>), String> {
        if let Some(line) = outcome.logs.iter().find(|line| line.contains("panicked")) {
            return Err(line.clone());
        }
        let response = match outcome.result {
            Ok(response) => response,
            Err(error) if error.error_type.contains('.') => return Err(error.to_string()),
            Err(error) => return Ok((format!("fails: {}", error.error_type), BTreeSet::new())),
        };
        let found = verdicts(&response);
        let mut reasons = BTreeSet::new();
        let (mut unknown, mut failed) = (BTreeSet::new(), BTreeSet::new());
        for (place, verdict) in &found {
            match self.verdicts.get(place) {
                Some(right) if right == verdict => {}
                Some(_) if verdict.0 == "INSUFFICIENT_DATA" => {
                    reasons.insert(verdict.1.as_str());
                    unknown.insert(place.0.clone());
                    if !FOR_WANT_OF_TIME.contains(&verdict.1.as_str()) {
                        failed.insert(place.0.clone());
                    }
                }
                other => return Err(format!("{place:?} is {other:?} and was taken for {verdict:?}")),
            }
        }
        if !keys.is_empty() && !failed.iter().all(|key| keys.contains(key)) {
            return Err(format!("keys are not known whose calls went well: {failed:?}"));
        }
        let missing: BTreeSet<_> = self.verdicts.keys().filter(|place| !found.contains_key(place)).collect();
        let all: BTreeSet<String> = found.keys().map(|(key, _)| key.clone()).collect();
        let complete = response["complete"] == true;
        if complete && !missing.is_empty() {
            return Err(format!("the run says that it is complete, and these are missing: {missing:?}"));
        }
        let mut words = Vec::new();
        if !reasons.is_empty() {
            words.push(format!("not known: {}", reasons.into_iter().collect::<Vec<_>>().join(", ")));
        }
        if response["keys_not_reached"] != 0 {
            words.push("not reached".to_owned());
        } else if !complete {
            words.push("broken off".to_owned());
        }
        let named = aliases(&response);
        if named.iter().any(|(key, aliases)| self.aliases.get(key).is_some_and(|right| right != aliases)) {
            words.push("without names".to_owned());
        }
        let word = if words.is_empty() { "right".to_owned() } else { words.join("; ") };
        Ok((word, all.difference(&unknown).cloned().collect()))
    }
}

/// A day passes: a run that could not give its lease back no longer has it.
pub(crate) fn let_leases_end(fleet: &Fleet) {
    for mut lease in fleet.items().into_iter().filter(|item| item["sk"] == "lease") {
        lease["ends_at"] = json!(0);
        fleet.put_item(&lease).unwrap();
    }
}

/// A cell whose call is never made shows nothing.
fn assert_was_hit(fleet: &Fleet, cell: &Cell) -> Result<(), String> {
    let made = fleet.calls().get(cell.operation()).copied().unwrap_or(0);
    if made > cell.healthy_before() { Ok(()) } else { Err("the call was not made".to_owned()) }
}

fn response(outcome: Outcome) -> Result<Value, String> {
    outcome.result.map_err(|error| format!("{error}\n{}", outcome.logs.join("\n")))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn of(change: &str, control: &str, key: &str, reason: &str) -> (String, String, String, String) {
    (change.to_owned(), control.to_owned(), key.to_owned(), reason.to_owned())
}

/// What the published messages say, each with how often.
fn told(fleet: &Fleet) -> Told {
    let mut told = Told::new();
    for message in fleet.published() {
        let by_protocol: Value = serde_json::from_str(&message.message).unwrap();
        let message: Value = serde_json::from_str(by_protocol["default"].as_str().unwrap()).unwrap();
        for change in ["new", "worsened", "resolved", "deleted", "reminder"] {
            for finding in message[change].as_array().unwrap() {
                let what = of(change, &text(&finding["control"]), &text(&finding["key_id"]), &text(&finding["reason"]));
                told.entry(what).or_insert((0, text(&finding["compliance"]))).0 += 1;
            }
        }
    }
    told
}

/// The aliases by which the findings' keys go.
fn aliases(response: &Value) -> BTreeMap<String, Value> {
    let findings = response["findings"].as_array().unwrap().iter();
    findings.map(|finding| (text(&finding["key_id"]), finding["aliases"].clone())).collect()
}

/// Sort keys of the open findings; of one of which something is still to be told, with a remark.
fn open(fleet: &Fleet) -> BTreeSet<String> {
    let items = fleet.items().into_iter().filter(|item| text(&item["sk"]).starts_with("open#"));
    items
        .map(|item| format!("{}{}", text(&item["sk"]), if item["pending"].is_null() { "" } else { " is pending" }))
        .collect()
}

fn past(fleet: &Fleet) -> BTreeSet<(String, String)> {
    let items = fleet.items().into_iter().filter(|item| text(&item["sk"]).starts_with("past#"));
    items.map(|item| (text(&item["key_id"]), text(&item["control"]))).collect()
}
