//! The checks that a scan runs: those of all functions, the prober's without its probes.

use std::collections::BTreeSet;

use access_checker::AccessChecker;
use domain::control::Control;
use health_prober::HealthProber;
use key_age_checker::KeyAgeChecker;
use monitor::check::{AnyCheck, Check};
use monitor::settings::{Environment, EvaluationSettings, InvalidConfiguration, Setting};
use rotation_checker::RotationChecker;
use usage_anomaly_scorer::UsageAnomalyScorer;

/// A check that a scan can run.
pub struct KnownCheck {
    /// Name of its function.
    pub function: &'static str,
    /// Its controls.
    pub controls: Vec<&'static Control>,
    /// Its own settings.
    pub settings: &'static [&'static dyn Setting],
    /// Can it judge for another instant than the present?
    pub takes_as_of: bool,
    /// Reads its settings.
    pub read: fn(&Environment) -> Result<Box<dyn AnyCheck>, InvalidConfiguration>,
}

impl KnownCheck {
    fn of<C: Check>(read: fn(&Environment) -> Result<Box<dyn AnyCheck>, InvalidConfiguration>) -> Self {
        Self {
            function: C::FUNCTION,
            controls: C::CONTROLS.as_ref().to_vec(),
            settings: C::SETTINGS,
            takes_as_of: C::TAKES_AS_OF,
            read,
        }
    }
}

/// A check of any type.
fn any<C: Check + 'static>(check: C) -> Box<dyn AnyCheck> {
    Box::new(check)
}

/// All of them.
pub fn all() -> [KnownCheck; 5] {
    [
        KnownCheck::of::<RotationChecker>(|environment| RotationChecker::read(environment).map(any)),
        KnownCheck::of::<KeyAgeChecker>(|environment| KeyAgeChecker::read(environment).map(any)),
        KnownCheck::of::<HealthProber>(|environment| HealthProber::read_only(environment).map(any)),
        KnownCheck::of::<UsageAnomalyScorer>(|environment| UsageAnomalyScorer::read(environment).map(any)),
        KnownCheck::of::<AccessChecker>(|environment| AccessChecker::read(environment).map(any)),
    ]
}

/// The names of all controls.
pub fn control_names() -> Vec<&'static str> {
    all().iter().flat_map(|check| &check.controls).map(|control| control.id).collect()
}

/// The names of all settings that mean something to a scan.
pub fn setting_names() -> BTreeSet<&'static str> {
    let checks = all();
    let of_checks = checks.iter().flat_map(|check| check.settings);
    EvaluationSettings::ALL.iter().chain(of_checks).map(|setting| setting.name()).collect()
}
