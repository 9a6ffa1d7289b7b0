//! Exemptions: tags by which the owner of a key says that one control shall not be alerted for it, until when and why.
//!
//! The tag `kms-compliance/exempt/<control>` holds `until=YYYY-MM-DD owner=<who> reason=<words>`. It exempts until the end
//! of that day, UTC.

use jiff::civil::Date;
use jiff::tz::Offset;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

use crate::control::Severity;

/// What the tag's name begins with; the control's name follows.
pub const TAG_PREFIX: &str = "kms-compliance/exempt/";

/// How many days ahead a `CRITICAL` finding can be exempted at most.
const MAX_DAYS_WHEN_CRITICAL: i64 = 30;

/// What an exemption's tag says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exemption {
    /// Last day on which it exempts, UTC.
    pub until: Date,
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
}

/// Does an exemption exempt?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExemptionState {
    /// Yes.
    InEffect,
    /// No: its last day is over.
    Expired,
    /// No: the tag is not understood.
    Malformed,
    /// No: it reaches further ahead than a `CRITICAL` finding may be exempted.
    TooLong,
}

/// An exemption as it stands on one day for a finding of one severity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExemptionStatus {
    /// Value of the tag.
    pub tag: String,
    /// Does it exempt?
    pub state: ExemptionState,
    /// What the tag says; `None` if it is malformed.
    pub exemption: Option<Exemption>,
    /// The state in words.
    pub detail: String,
}

impl Exemption {
    fn parse(text: &str) -> Result<Self, String> {
        let mut fields: [Option<String>; 3] = [None, None, None];
        let mut current: Option<usize> = None;
        for word in text.split_whitespace() {
            let mut names = ["until=", "owner=", "reason="].iter().enumerate();
            let start = names.find_map(|(n, name)| Some((n, name, word.strip_prefix(name)?)));
            match (start, current) {
                (Some((n, name, value)), _) => {
                    let field = fields.get_mut(n).filter(|field| field.is_none());
                    *field.ok_or_else(|| format!("`{name}` stands there twice"))? = Some(value.to_owned());
                    current = Some(n);
                }
                (None, Some(n)) => {
                    if let Some(Some(field)) = fields.get_mut(n) {
                        field.push(' ');
                        field.push_str(word);
                    }
                }
                (None, None) => return Err(format!("`{word}` stands before `until=`, `owner=` or `reason=`")),
            }
        }
        let [until, owner, reason] = fields;
        let given = |field: Option<String>, name: &str| {
            let field = field.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
            field.ok_or_else(|| format!("`{name}=` is missing or empty"))
        };
        let (until, owner, reason) = (given(until, "until")?, given(owner, "owner")?, given(reason, "reason")?);
        let date = Some(&until).filter(|until| until.len() == "YYYY-MM-DD".len()).and_then(|until| until.parse().ok());
        let until = date.ok_or_else(|| format!("`until={until}` is no date like 2026-12-31"))?;
        Ok(Self { until, owner, reason })
    }
}

impl ExemptionStatus {
    /// Judges the tag's text at an instant, for a finding of that severity.
    pub fn of(text: &str, severity: Severity, now: Timestamp) -> Self {
        let tag = text.to_owned();
        let exemption = match Exemption::parse(text) {
            Ok(exemption) => exemption,
            Err(problem) => {
                let detail = format!("the tag does not exempt: {problem}");
                return Self { tag, state: ExemptionState::Malformed, exemption: None, detail };
            }
        };
        let Exemption { until, owner, reason } = &exemption;
        let today = Offset::UTC.to_datetime(now).date();
        let furthest = today.saturating_add(MAX_DAYS_WHEN_CRITICAL.days());
        let (state, detail) = if *until < today {
            (ExemptionState::Expired, format!("the exemption by {owner} ended with {until}"))
        } else if severity == Severity::Critical && *until > furthest {
            let most = MAX_DAYS_WHEN_CRITICAL;
            let detail =
                format!("the tag does not exempt: until {until} is more than {most} days ahead, too long for CRITICAL");
            (ExemptionState::TooLong, detail)
        } else {
            (ExemptionState::InEffect, format!("exempt until {until} by {owner}: {reason}"))
        };
        Self { tag, state, exemption: Some(exemption), detail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "until=2026-12-01 owner=ana@example.com reason=moves to a new key in Q1";

    fn status(text: &str, severity: Severity, now: &str) -> ExemptionStatus {
        ExemptionStatus::of(text, severity, now.parse().unwrap())
    }

    #[test]
    fn a_tag_exempts_until_the_end_of_its_day() {
        for (now, state) in [
            ("2026-11-23T06:00:00Z", ExemptionState::InEffect),
            ("2026-12-01T00:00:00Z", ExemptionState::InEffect),
            ("2026-12-01T23:59:59.999Z", ExemptionState::InEffect),
            ("2026-12-02T00:00:00Z", ExemptionState::Expired),
        ] {
            assert_eq!(status(GOOD, Severity::High, now).state, state, "{now}");
        }
        let status = status(GOOD, Severity::High, "2026-11-23T06:00:00Z");
        let exemption = status.exemption.unwrap();
        assert_eq!(
            (exemption.owner.as_str(), exemption.reason.as_str()),
            ("ana@example.com", "moves to a new key in Q1")
        );
        assert_eq!(status.detail, "exempt until 2026-12-01 by ana@example.com: moves to a new key in Q1");
    }

    #[test]
    fn fields_stand_in_any_order_and_owners_may_have_two_names() {
        let status = status("reason=old  app owner=Ana B until=2026-12-01", Severity::Low, "2026-11-23T06:00:00Z");
        let exemption = status.exemption.unwrap();
        assert_eq!((exemption.owner.as_str(), exemption.reason.as_str()), ("Ana B", "old app"));
    }

    #[test]
    fn what_is_critical_is_exempted_for_thirty_days_at_most() {
        for (until, severity, state) in [
            ("2026-12-23", Severity::Critical, ExemptionState::InEffect),
            ("2026-12-24", Severity::Critical, ExemptionState::TooLong),
            ("2026-12-24", Severity::High, ExemptionState::InEffect),
            ("2036-12-24", Severity::High, ExemptionState::InEffect),
            ("2026-11-22", Severity::Critical, ExemptionState::Expired),
        ] {
            let text = format!("until={until} owner=a reason=b");
            assert_eq!(status(&text, severity, "2026-11-23T06:00:00Z").state, state, "{until} {severity:?}");
        }
    }

    #[test]
    fn what_is_malformed_is_named() {
        for (text, problem) in [
            ("", "`until=` is missing or empty"),
            ("until=2026-12-01", "`owner=` is missing or empty"),
            ("until=2026-12-01 owner=a", "`reason=` is missing or empty"),
            ("until=2026-12-01 owner=a reason=", "`reason=` is missing or empty"),
            ("until= owner=a reason=b", "`until=` is missing or empty"),
            ("until=2026-13-01 owner=a reason=b", "`until=2026-13-01` is no date"),
            ("until=20261201 owner=a reason=b", "`until=20261201` is no date"),
            ("until=tomorrow owner=a reason=b", "`until=tomorrow` is no date"),
            ("until=2026-12-01T00:00:00Z owner=a reason=b", "is no date"),
            ("for ever owner=a reason=b", "`for` stands before"),
            ("until=2026-12-01 until=2027-12-01 owner=a reason=b", "`until=` stands there twice"),
        ] {
            let status = status(text, Severity::Low, "2026-11-23T06:00:00Z");
            assert_eq!((status.state, status.exemption), (ExemptionState::Malformed, None), "{text}");
            assert!(status.detail.contains(problem), "{text}: {}", status.detail);
        }
    }
}
