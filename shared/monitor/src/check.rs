//! What makes a function: its controls, its settings, and how it judges one key.

use std::future;

use std::collections::BTreeMap;

use aws::kms::Kms;
use domain::control::Control;
use domain::failure::Failure;
use domain::finding::KeyIdentity;
use domain::key::Key;
use domain::verdict::{ByControl, Verdict};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use jiff::Timestamp;
use outputs::metrics::Samples;
use tokio::sync::OnceCell;

use crate::deadlines::Deadlines;
use crate::inventory::Inventory;
use crate::settings::{Environment, EvaluationSettings, InvalidConfiguration, Setting};
use crate::target::Target;

/// A set of controls that are judged together.
pub trait Check: Sized {
    /// Name of the function.
    const FUNCTION: &'static str;

    /// The verdicts about one key: an array, one for each control.
    type Verdicts: ByControl;

    /// Its controls, in the order of the verdicts.
    const CONTROLS: <Self::Verdicts as ByControl>::Controls;

    /// Its own settings.
    const SETTINGS: &'static [&'static dyn Setting];

    /// Can it judge for another instant than the present?
    const TAKES_AS_OF: bool = false;

    /// What it works with during one run beside KMS in the target's Region: clients of other Regions and services, answers
    /// that hold for all keys.
    type Context;

    /// Reads its own settings.
    ///
    /// # Errors
    /// One of them is missing or does not parse.
    fn read(environment: &Environment) -> Result<Self, InvalidConfiguration>;

    /// Begins a run. No error comes out: what cannot be read here is for [`evaluate`](Self::evaluate) to say, of each key
    /// that it matters to. It returns by the deadline of the evaluation.
    fn begin(&self, run: &RunContext<'_>) -> impl Future<Output = Self::Context>;

    /// Judges one key that the rules for every control leave to the check. No error comes out: what cannot be read is a
    /// verdict too.
    fn evaluate(
        &self,
        context: &Self::Context,
        kms: &Kms,
        key: &Key,
        tags: &KeyTags<'_>,
        now: Timestamp,
    ) -> impl Future<Output = Outcome<Self::Verdicts>>;

    /// The verdicts about a key that its tag excludes: `excluded`, but for controls that no tag can switch off. No call is
    /// made for it.
    fn evaluate_excluded(&self, _key: &Key, excluded: &Verdict) -> Self::Verdicts {
        excluded.for_all()
    }

    /// Judges a key again whose verdicts are provisional, once all keys are judged. Where time runs out before that, the
    /// provisional verdicts stand.
    fn finish(
        &self,
        _context: &Self::Context,
        _kms: &Kms,
        _key: &KeyIdentity,
        provisional: Self::Verdicts,
        _now: Timestamp,
    ) -> impl Future<Output = Self::Verdicts> {
        future::ready(provisional)
    }

    /// What it measured during the run, beside what is measured of every run.
    fn measured(&self, _context: &Self::Context) -> Vec<Samples> {
        Vec::new()
    }
}

/// The tags of one key, asked for when the first one needs them, and once.
#[derive(Debug)]
pub struct KeyTags<'a> {
    kms: &'a Kms,
    key_id: &'a str,
    tags: OnceCell<Result<BTreeMap<String, String>, Failure>>,
}

impl<'a> KeyTags<'a> {
    /// The tags of that key.
    pub fn of(kms: &'a Kms, key_id: &'a str) -> Self {
        Self { kms, key_id, tags: OnceCell::new() }
    }

    /// Did anybody need them yet?
    pub fn is_read(&self) -> bool {
        self.tags.initialized()
    }

    /// The tags.
    ///
    /// # Errors
    /// The call failed.
    pub async fn get(&self) -> Result<&BTreeMap<String, String>, &Failure> {
        self.tags.get_or_init(|| self.kms.tags(self.key_id)).await.as_ref()
    }
}

/// What a check says of one key.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome<V> {
    /// That is all.
    Final(V),
    /// A call is missing that has to come last, for its quota is too small for all keys: [`Check::finish`] makes it.
    Provisional(V),
}

impl<V> Outcome<V> {
    /// The verdicts, final or not.
    pub fn verdicts(&self) -> &V {
        match self {
            Self::Final(verdicts) | Self::Provisional(verdicts) => verdicts,
        }
    }
}

/// What a run finds when it begins.
#[derive(Debug)]
pub struct RunContext<'a> {
    /// Where the keys are.
    pub target: &'a Target,
    /// The settings of all checks.
    pub settings: &'a EvaluationSettings,
    /// The keys of the run.
    pub inventory: &'a Inventory,
    /// Instant that everything is judged for.
    pub now: Timestamp,
    /// Until when the run has time.
    pub deadlines: &'a Deadlines,
}

/// A check of any type, so that a run can hold several.
pub trait AnyCheck {
    /// Name of the function.
    fn function(&self) -> &'static str;

    /// Its controls.
    fn controls(&self) -> Vec<&'static Control>;

    /// Begins a run.
    fn begin<'a>(&'a self, run: &'a RunContext<'_>) -> LocalBoxFuture<'a, Box<dyn BegunCheck + 'a>>;
}

/// A check during one run. Verdicts come in the order of its controls.
pub trait BegunCheck {
    /// How many controls it has.
    fn control_count(&self) -> usize;

    /// Judges one key.
    fn evaluate<'a>(
        &'a self,
        kms: &'a Kms,
        key: &'a Key,
        tags: &'a KeyTags<'a>,
        now: Timestamp,
    ) -> LocalBoxFuture<'a, Outcome<Vec<Verdict>>>;

    /// Judges one key that its tag excludes.
    fn evaluate_excluded(&self, key: &Key, excluded: &Verdict) -> Vec<Verdict>;

    /// Judges a key again whose verdicts are provisional.
    fn finish<'a>(
        &'a self,
        kms: &'a Kms,
        key: &'a KeyIdentity,
        provisional: Vec<Verdict>,
        now: Timestamp,
    ) -> LocalBoxFuture<'a, Vec<Verdict>>;

    /// What it measured.
    fn measured(&self) -> Vec<Samples>;
}

/// A check with what it works with.
struct Begun<'a, C: Check> {
    check: &'a C,
    context: C::Context,
}

impl<C: Check> AnyCheck for C {
    fn function(&self) -> &'static str {
        C::FUNCTION
    }

    fn controls(&self) -> Vec<&'static Control> {
        C::CONTROLS.as_ref().to_vec()
    }

    fn begin<'a>(&'a self, run: &'a RunContext<'_>) -> LocalBoxFuture<'a, Box<dyn BegunCheck + 'a>> {
        async move {
            let context = Check::begin(self, run).await;
            Box::new(Begun { check: self, context }) as Box<dyn BegunCheck>
        }
        .boxed_local()
    }
}

impl<C: Check> BegunCheck for Begun<'_, C> {
    fn control_count(&self) -> usize {
        C::CONTROLS.as_ref().len()
    }

    fn evaluate<'a>(
        &'a self,
        kms: &'a Kms,
        key: &'a Key,
        tags: &'a KeyTags<'a>,
        now: Timestamp,
    ) -> LocalBoxFuture<'a, Outcome<Vec<Verdict>>> {
        async move {
            match self.check.evaluate(&self.context, kms, key, tags, now).await {
                Outcome::Final(verdicts) => Outcome::Final(verdicts.into_iter().collect()),
                Outcome::Provisional(verdicts) => Outcome::Provisional(verdicts.into_iter().collect()),
            }
        }
        .boxed_local()
    }

    fn evaluate_excluded(&self, key: &Key, excluded: &Verdict) -> Vec<Verdict> {
        self.check.evaluate_excluded(key, excluded).into_iter().collect()
    }

    fn finish<'a>(
        &'a self,
        kms: &'a Kms,
        key: &'a KeyIdentity,
        provisional: Vec<Verdict>,
        now: Timestamp,
    ) -> LocalBoxFuture<'a, Vec<Verdict>> {
        async move {
            match C::Verdicts::try_from(provisional) {
                Ok(provisional) => {
                    let verdicts = self.check.finish(&self.context, kms, key, provisional, now).await;
                    verdicts.into_iter().collect()
                }
                // They are the check's own, so there are as many as it has controls.
                Err(provisional) => provisional,
            }
        }
        .boxed_local()
    }

    fn measured(&self) -> Vec<Samples> {
        self.check.measured(&self.context)
    }
}
