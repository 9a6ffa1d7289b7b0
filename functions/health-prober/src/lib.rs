//! Is every key usable, in every Region where it should be?
//!
//! Three things are looked at: the state of each key and of its custom key store; the replicas of each multi-Region primary,
//! which the primary itself names, in their own Regions; and, for keys that opted in, whether what goes in comes out again,
//! within a Region and from each Region to each other.
//!
//! A key opts in by its tag `kms-compliance/probe` = `true`, a replica by its own, or by standing in `PROBE_KEYS`. No other key
//! is ever used.
//!
//! # Environment
//!
//! Beside the variables of [`shared`]:
//!
//! | variable | default | meaning |
//! |---|---|---|
//! | `PROBE_KEYS` | empty | comma-separated key ARNs to run the round trip on, in addition to tagged keys |
//! | `REPLICA_REGIONS` | empty | comma-separated Regions that every multi-Region primary must have a replica in |

pub mod evaluate;
pub mod policy;
mod probe;
mod regions;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use futures::future::{join, join_all, join3};
use jiff::Timestamp;
use shared::domain::control::Control;
use shared::domain::evaluation::{Failure, Verdict};
use shared::domain::key::{Key, KeyState, RelatedKey, opts_in};
use shared::kms::{Kms, Operation, Pages, unreadable};
use shared::metrics::Samples;
use shared::serve::{Check, Scene};
use shared::settings::{Environment, InvalidConfiguration};
use tokio::sync::OnceCell;

use evaluate::{
    CONTROLS, Crossing, KeyStore, Replica, Trial, Trip, Trouble, failed_in, key_store_connected, key_store_of,
    key_usable, not_selected, pending_deletion, replica_coverage, replica_health, replica_policy_drift, replicas_of,
    round_trip, trial_of,
};
use probe::{Made, Plaintext, Probe};
use regions::{Region, Regions};

/// The function's check.
#[derive(Debug)]
pub struct HealthProber {
    /// ARNs of keys to run the round trip on.
    probe_keys: BTreeSet<String>,
    /// Regions that every primary must have a replica in.
    replica_regions: BTreeSet<String>,
}

/// What one run works with beside KMS in its own Region.
#[derive(Debug, Default)]
pub struct Run {
    regions: Regions,
    /// The custom key stores, asked for when the first key in one is looked at.
    key_stores: OnceCell<Result<BTreeMap<String, KeyStore>, Failure>>,
    /// How long each step of the round trips took, in milliseconds.
    latencies: RefCell<Vec<f64>>,
}

impl Check<7> for HealthProber {
    const FUNCTION: &'static str = "health-prober";
    const CONTROLS: [&'static Control; 7] = CONTROLS;

    type Run = Run;

    fn read(environment: &Environment) -> Result<Self, InvalidConfiguration> {
        Ok(Self { probe_keys: environment.key_arns("PROBE_KEYS")?, replica_regions: replica_regions(environment)? })
    }

    async fn begin(&self, _: &Scene<'_>) -> Run {
        Run::default()
    }

    async fn evaluate(&self, run: &Run, kms: &Kms, key: &Key, _: Timestamp) -> [Verdict; 7] {
        let trial = match self.is_chosen(kms, &key.id, &key.arn).await {
            Ok(true) => trial_of(key),
            Ok(false) => Err(not_selected(key)),
            // Where no trial is possible, it does not matter whether the key is chosen.
            Err(failure) => Err(trial_of(key).err().unwrap_or_else(|| failed_in(key.region(), &failure))),
        };
        let related = replicas_of(key);
        let to_look_at = related.as_deref().unwrap_or_default();
        let probing = trial.is_ok();
        let attempt = async {
            match trial {
                Ok(trial) => Ok(Attempt::make(run, kms, key, trial).await),
                Err(verdict) => Err(verdict),
            }
        };
        let policy = async { if to_look_at.is_empty() { Ok(String::new()) } else { policy_of(kms, &key.id).await } };
        let replicas = join_all(to_look_at.iter().map(|it| self.look_at(run, kms, it, probing)));
        let (attempt, policy, replicas) = join3(Box::pin(attempt), policy, replicas).await;
        let crossings = match &attempt {
            Ok(attempt) => attempt.cross(run, kms, key, &replicas).await,
            Err(_) => Vec::new(),
        };
        let (health, coverage, drift) = match related {
            Err(verdict) => (verdict.clone(), verdict.clone(), verdict),
            Ok(related) => (
                replica_health(&replicas, &crossings),
                replica_coverage(key, related, &self.replica_regions),
                replica_policy_drift(key, policy.as_ref(), &replicas),
            ),
        };
        let key_store = match key_store_of(key) {
            Err(verdict) => verdict,
            Ok(store) => {
                let stores = run.key_stores.get_or_init(|| key_stores(kms)).await;
                key_store_connected(key, store, stores.as_ref())
            }
        };
        let round_trip = attempt.map_or_else(|verdict| verdict, |attempt| round_trip(key, &attempt.trip));
        [pending_deletion(key), key_usable(key), round_trip, health, coverage, drift, key_store]
    }

    fn measured(&self, run: &Run) -> Vec<Samples> {
        vec![Samples { name: "ProbeLatency", unit: "Milliseconds", values: run.latencies.take() }]
    }
}

impl HealthProber {
    /// May this key be used?
    async fn is_chosen(&self, kms: &Kms, key_id: &str, key_arn: &str) -> Result<bool, Failure> {
        Ok(self.probe_keys.contains(key_arn) || opts_in(&kms.tags(key_id).await?))
    }

    /// Looks at a replica in its own Region; whether it is chosen is asked only if that matters.
    async fn look_at(&self, run: &Run, kms: &Kms, related: &RelatedKey, probing: bool) -> Replica {
        let region = run.regions.get(&related.region, kms);
        let (id, arn) = (id_of(related), related.arn.as_str());
        let described = region.call(Operation::DescribeKey, async |kms| kms.describe_key(id, arn).await);
        let policy = region.call(Operation::GetKeyPolicy, async |kms| policy_of(kms, id).await);
        let (described, policy) = join(described, policy).await;
        let usable = described.as_ref().is_ok_and(|key| key.state == Some(KeyState::Enabled));
        let chosen = if probing && usable {
            let asked = region.call(Operation::ListResourceTags, async |kms| self.is_chosen(kms, id, arn).await);
            Some(asked.await)
        } else {
            None
        };
        Replica { related: related.clone(), described, policy, chosen }
    }
}

/// The ID of a key of which the ARN is known.
fn id_of(key: &RelatedKey) -> &str {
    key.arn.rsplit_once('/').map_or(key.arn.as_str(), |(_, id)| id)
}

async fn policy_of(kms: &Kms, key_id: &str) -> Result<String, Failure> {
    const OPERATION: Operation = Operation::GetKeyPolicy;
    let answer = kms.call(OPERATION, async |kms| kms.get_key_policy().key_id(key_id).send().await).await?;
    answer.policy.ok_or_else(|| unreadable(OPERATION, "the answer has no Policy"))
}

/// All custom key stores of the account and Region: asking for each key's own would use up the quota of five calls a second.
async fn key_stores(kms: &Kms) -> Result<BTreeMap<String, KeyStore>, Failure> {
    const OPERATION: Operation = Operation::DescribeCustomKeyStores;
    let mut stores = BTreeMap::new();
    let mut pages = Pages::default();
    loop {
        let page = kms
            .call(OPERATION, async |kms| kms.describe_custom_key_stores().set_marker(pages.marker()).send().await)
            .await?;
        for store in page.custom_key_stores.unwrap_or_default() {
            let Some(id) = store.custom_key_store_id else { continue };
            let known = KeyStore {
                name: store.custom_key_store_name,
                connection_state: store.connection_state.map(|it| it.as_str().to_owned()),
                connection_error_code: store.connection_error_code.map(|it| it.as_str().to_owned()),
            };
            stores.insert(id, known);
        }
        if !pages.turn(page.truncated, page.next_marker).map_err(|why| unreadable(OPERATION, why))? {
            return Ok(stores);
        }
    }
}

/// The round trip of a key in its own Region, and what it takes to go on with it in others.
struct Attempt {
    trial: Trial,
    plaintext: Plaintext,
    made: Result<Made, Failure>,
    trip: Trip,
}

impl Attempt {
    async fn make(run: &Run, kms: &Kms, key: &Key, trial: Trial) -> Self {
        let plaintext = Plaintext::random();
        let probe = Probe::new(key, &trial, &plaintext);
        let mut milliseconds = Vec::new();
        let mut took = |operation: Operation, step: f64| {
            milliseconds.push((operation.name(), step));
            run.latencies.borrow_mut().push(step);
        };
        let made = probe.make(kms, &key.id).await.map(|(made, step)| {
            took(probe.making(), step);
            made
        });
        let result = match &made {
            Err(failure) => Err(Trouble::Failed(failure.clone())),
            Ok(made) => match probe.take(kms, &key.id, made).await {
                Err(failure) => Err(Trouble::Failed(failure)),
                Ok(taken) => {
                    took(probe.taking(), taken.milliseconds);
                    taken.result(probe.taking())
                }
            },
        };
        Self { made, trip: Trip { result, milliseconds }, trial, plaintext }
    }

    /// Takes what each Region makes with the key to each other Region. Those replicas take part that are chosen themselves.
    async fn cross(&self, run: &Run, kms: &Kms, key: &Key, replicas: &[Replica]) -> Vec<Crossing> {
        let probe = Probe::new(key, &self.trial, &self.plaintext);
        let chosen = replicas.iter().filter(|it| it.chosen == Some(Ok(true))).map(|it| &it.related);
        let there: Vec<Place<'_>> = chosen
            .map(|it| Place { name: &it.region, key_id: id_of(it), elsewhere: Some(run.regions.get(&it.region, kms)) })
            .collect();
        let made_there = join_all(there.iter().map(|place| async {
            let made = place.call(kms, probe.making(), async |kms| probe.make(kms, place.key_id).await).await;
            made.map(|(made, step)| {
                run.latencies.borrow_mut().push(step);
                made
            })
        }))
        .await;
        let here = Place { name: key.region(), key_id: &key.id, elsewhere: None };
        let places: Vec<(&Place<'_>, &Result<Made, Failure>)> =
            std::iter::once((&here, &self.made)).chain(there.iter().zip(&made_there)).collect();
        let ways = places.iter().flat_map(|from| places.iter().map(move |to| (from, to)));
        let crossings = ways.filter(|((from, _), (to, _))| from.name != to.name).map(|((from, made), (to, _))| async {
            let result = match made {
                Err(failure) => Err(Trouble::Failed(failure.clone())),
                Ok(made) => {
                    let taken = to.call(kms, probe.taking(), async |kms| probe.take(kms, to.key_id, made).await).await;
                    taken.map_err(Trouble::Failed).and_then(|taken| {
                        run.latencies.borrow_mut().push(taken.milliseconds);
                        taken.result(probe.taking())
                    })
                }
            };
            Crossing { from: from.name.to_owned(), to: to.name.to_owned(), result }
        });
        join_all(crossings).await
    }
}

/// A Region in which a key is tried out.
struct Place<'a> {
    name: &'a str,
    key_id: &'a str,
    /// The Region's client; `None` for the run's own Region.
    elsewhere: Option<Rc<Region>>,
}

impl Place<'_> {
    async fn call<T>(
        &self,
        here: &Kms,
        operation: Operation,
        call: impl AsyncFnOnce(&Kms) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        match &self.elsewhere {
            None => call(here).await,
            Some(region) => region.call(operation, call).await,
        }
    }
}

fn replica_regions(environment: &Environment) -> Result<BTreeSet<String>, InvalidConfiguration> {
    const VARIABLE: &str = "REPLICA_REGIONS";
    let is_region = |name: &str| {
        let parts: Vec<&str> = name.split('-').collect();
        let is_word = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase());
        matches!(parts.as_slice(), [words @ .., number] if words.len() >= 2
            && words.iter().all(is_word) && number.parse::<u8>().is_ok())
    };
    let names = environment.get(VARIABLE).unwrap_or_default().split(',').map(str::trim).filter(|it| !it.is_empty());
    names
        .map(|name| {
            is_region(name).then(|| name.to_owned()).ok_or_else(|| InvalidConfiguration::Value {
                variable: VARIABLE,
                value: name.to_owned(),
                allowed: "a comma-separated list of Regions, such as eu-west-1".to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variable: &str, value: &str) -> Result<HealthProber, InvalidConfiguration> {
        HealthProber::read(&[(variable.to_owned(), value.to_owned())].into_iter().collect())
    }

    #[test]
    fn settings() {
        let arn = "arn:aws:kms:us-east-1:123456789012:key/mrk-1";
        assert!(read("PROBE_KEYS", arn).unwrap().probe_keys.contains(arn));
        let regions = read("REPLICA_REGIONS", " eu-west-1 ,us-gov-west-1,, ap-southeast-2").unwrap().replica_regions;
        assert_eq!(regions.into_iter().collect::<Vec<_>>(), ["ap-southeast-2", "eu-west-1", "us-gov-west-1"]);
        let nothing = read("REPLICA_REGIONS", "").unwrap();
        assert!(nothing.replica_regions.is_empty() && nothing.probe_keys.is_empty());
        for (variable, value) in [
            ("PROBE_KEYS", "alias/payments"),
            ("PROBE_KEYS", "mrk-1"),
            ("REPLICA_REGIONS", "Ireland"),
            ("REPLICA_REGIONS", "eu-west"),
            ("REPLICA_REGIONS", "eu-west-1a"),
            ("REPLICA_REGIONS", "EU-WEST-1"),
            ("REPLICA_REGIONS", "eu--1"),
            ("REPLICA_REGIONS", "eu-west-1 us-east-1"),
        ] {
            let error = read(variable, value).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("`{variable}` is `{value}`; it must be a comma-separated list")),
                "{error}"
            );
        }
    }
}
