use domain::control::Severity;
use domain::exemption::{ExemptionState, ExemptionStatus};
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The value of an exemption's tag: it exempts to the end of its last day and no longer, a `CRITICAL` finding for 30 days
/// at most; what is malformed never exempts, and is told.
///
/// # Panics
/// That does not hold.
pub fn exemption_tags(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for severity in [Severity::Low, Severity::High, Severity::Critical] {
        let status = ExemptionStatus::of(&text, severity, Timestamp::UNIX_EPOCH);
        assert_eq!(status.tag.as_str(), &*text);
        assert_eq!(status.state == ExemptionState::Malformed, status.exemption.is_none());
        let Some(exemption) = status.exemption else {
            assert!(status.detail.len() > "the tag does not exempt: ".len(), "{}", status.detail);
            assert!(status.detail.starts_with("the tag does not exempt: "), "{}", status.detail);
            continue;
        };
        assert!(!exemption.owner.trim().is_empty() && !exemption.reason.trim().is_empty());
        let until = exemption.until;
        assert!(text.contains(&format!("until={until}")), "{until}");
        // The ends of the calendar are no instants.
        let Ok(start) = Offset::UTC.to_timestamp(until.at(0, 0, 0, 0)) else { continue };
        let second = SignedDuration::from_secs(1);
        let critical = severity == Severity::Critical;
        let too_long = if critical { ExemptionState::TooLong } else { ExemptionState::InEffect };
        for (offset, state) in [
            (DAY * -31, too_long),
            (DAY * -30 - second, too_long),
            (DAY * -30, ExemptionState::InEffect),
            (SignedDuration::ZERO, ExemptionState::InEffect),
            (DAY - second, ExemptionState::InEffect),
            (DAY, ExemptionState::Expired),
            (DAY * 400, ExemptionState::Expired),
        ] {
            let Ok(now) = start.checked_add(offset) else { continue };
            assert_eq!(ExemptionStatus::of(&text, severity, now).state, state, "{text} at {now}");
        }
    }
}
