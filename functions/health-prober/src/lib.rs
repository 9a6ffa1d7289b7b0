//! Is every key usable, in every Region where it should be?
//!
//! Three things are looked at: the state of each key and of its custom key store; the replicas of each multi-Region primary,
//! which the primary itself names, in their own Regions; and, for keys that opted in, whether what goes in comes out again,
//! within a Region and from each Region to each other.
//!
//! A key opts in by its tag `kms-compliance/probe` = `true`, a replica by its own, or by standing in `PROBE_KEYS`. No other key
//! is ever used, and none of another account than the monitor's own.

pub mod controls;
mod probe;
mod regions;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use aws::kms::Kms;
use aws::operation::{DESCRIBE_CUSTOM_KEY_STORES, DESCRIBE_KEY, GET_KEY_POLICY, LIST_RESOURCE_TAGS, Operation};
use aws::pages::Pages;
use domain::control::Control;
use domain::failure::Failure;
use domain::key::{Key, KeyState, RelatedKey, opts_in};
use domain::location::is_region_name;
use domain::verdict::Verdict;
use futures::future::{join, join_all, join3};
use jiff::Timestamp;
use monitor::check::{Check, KeyTags, Outcome, RunContext};
use monitor::settings::{Environment, InvalidConfiguration, List, PROBE_KEYS, Setting};
use outputs::metrics::Samples;
use tokio::sync::OnceCell;

use controls::{
    CONTROLS, CrossRegionTrip, KeyStore, ProbeError, ProbeMethod, Replica, RoundTrip, failed_in, key_store_connected,
    key_store_of, key_usable, not_selected, of_another_account, pending_deletion, probe_method_of, replica_coverage,
    replica_health, replica_policy_drift, replicas_of, round_trip,
};
use probe::{Plaintext, Probe, ProbeOutput};
use regions::{Region, Regions};

static REPLICA_REGIONS: List<String> = List {
    name: "REPLICA_REGIONS",
    allowed: " of Regions, such as eu-west-1",
    parse: region_name,
    meaning: "Regions that every multi-Region primary must have a replica in",
};

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
pub struct Context {
    /// Are the keys those of the monitor's own account? No key of another one is used, whatever its tags say.
    may_use_keys: bool,
    regions: Regions,
    /// The custom key stores, asked for when the first key in one is looked at.
    key_stores: OnceCell<Result<BTreeMap<String, KeyStore>, Failure>>,
    /// How long each step of the round trips took, in milliseconds.
    latencies: RefCell<Vec<f64>>,
}

impl Check for HealthProber {
    const FUNCTION: &'static str = "health-prober";
    const CONTROLS: [&'static Control; 7] = CONTROLS;
    const SETTINGS: &'static [&'static dyn Setting] = &[&PROBE_KEYS, &REPLICA_REGIONS];

    type Verdicts = [Verdict; 7];
    type Context = Context;

    fn read(environment: &Environment) -> Result<Self, InvalidConfiguration> {
        Ok(Self { probe_keys: PROBE_KEYS.read(environment)?, replica_regions: REPLICA_REGIONS.read(environment)? })
    }

    async fn begin(&self, run: &RunContext<'_>) -> Context {
        Context { may_use_keys: run.target.is_in_home_account, ..Context::default() }
    }

    async fn evaluate(
        &self,
        context: &Context,
        kms: &Kms,
        key: &Key,
        tags: &KeyTags<'_>,
        _: Timestamp,
    ) -> Outcome<[Verdict; 7]> {
        let chosen = if !context.may_use_keys {
            Ok(false)
        } else if self.probe_keys.contains(&key.arn) {
            Ok(true)
        } else {
            tags.get().await.map(opts_in)
        };
        let (method, not_known) = match (chosen, probe_method_of(key)) {
            // Where no round trip is possible, it does not matter whether the key is chosen.
            (Ok(true), method) => (method, None),
            (Ok(false), _) if !context.may_use_keys => (Err(of_another_account(key)), None),
            (Ok(false), _) => (Err(not_selected(key)), None),
            (Err(_), Err(verdict)) => (Err(verdict), None),
            (Err(failure), Ok(_)) => (Err(failed_in(key.region(), failure)), Some(failure)),
        };
        let related = replicas_of(key);
        let to_look_at = related.as_deref().unwrap_or_default();
        let probing = method.is_ok();
        let attempt = async {
            match method {
                Ok(method) => Ok(Attempt::make(context, kms, key, method).await),
                Err(verdict) => Err(verdict),
            }
        };
        let policy = async { if to_look_at.is_empty() { Ok(String::new()) } else { kms.policy(&key.id).await } };
        let replicas = join_all(to_look_at.iter().map(|it| self.look_at(context, kms, it, probing)));
        let (attempt, policy, replicas) = join3(Box::pin(attempt), policy, replicas).await;
        let cross_region_trips = match &attempt {
            Ok(attempt) => attempt.cross(context, kms, key, &replicas).await,
            Err(_) => Vec::new(),
        };
        let (health, coverage, drift) = match related {
            Err(verdict) => (verdict.clone(), verdict.clone(), verdict),
            Ok(related) => (
                replica_health(&replicas, not_known.map(|failure| (key.region(), failure)), &cross_region_trips),
                replica_coverage(key, related, &self.replica_regions),
                replica_policy_drift(key, policy.as_ref(), &replicas),
            ),
        };
        let key_store = match key_store_of(key) {
            Err(verdict) => verdict,
            Ok(store) => {
                let stores = context.key_stores.get_or_init(|| key_stores(kms)).await;
                key_store_connected(key, store, stores.as_ref())
            }
        };
        let round_trip = attempt.map_or_else(|verdict| verdict, |attempt| round_trip(key, &attempt.trip));
        Outcome::Final([pending_deletion(key), key_usable(key), round_trip, health, coverage, drift, key_store])
    }

    fn evaluate_excluded(&self, key: &Key, excluded: &Verdict) -> [Verdict; 7] {
        let [_, usable, round_trip, health, coverage, drift, key_store]: [Verdict; 7] = excluded.for_all();
        [pending_deletion(key), usable, round_trip, health, coverage, drift, key_store]
    }

    fn measured(&self, context: &Context) -> Vec<Samples> {
        vec![Samples { name: "ProbeLatency", unit: "Milliseconds", values: context.latencies.take() }]
    }
}

impl HealthProber {
    /// May this key be used?
    async fn is_chosen(&self, kms: &Kms, key_id: &str, key_arn: &str) -> Result<bool, Failure> {
        Ok(self.probe_keys.contains(key_arn) || opts_in(&kms.tags(key_id).await?))
    }

    /// Looks at a replica in its own Region; whether it is chosen is asked only if that matters.
    async fn look_at(&self, context: &Context, kms: &Kms, related: &RelatedKey, probing: bool) -> Replica {
        let region = context.regions.get(&related.region, kms);
        let (id, arn) = (id_of(related), related.arn.as_str());
        let described = region.call(DESCRIBE_KEY, async |kms| kms.describe_key(id, arn).await);
        let policy = region.call(GET_KEY_POLICY, async |kms| kms.policy(id).await);
        let (described, policy) = join(described, policy).await;
        let usable = described.as_ref().is_ok_and(|key| key.state == Some(KeyState::Enabled));
        let chosen = if probing && usable {
            let asked = region.call(LIST_RESOURCE_TAGS, async |kms| self.is_chosen(kms, id, arn).await);
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

/// All custom key stores of the account and Region: asking for each key's own would use up the quota of five calls a second.
async fn key_stores(kms: &Kms) -> Result<BTreeMap<String, KeyStore>, Failure> {
    let mut stores = BTreeMap::new();
    let mut pages = Pages::of(DESCRIBE_CUSTOM_KEY_STORES);
    let ask = async |marker: Option<String>| {
        kms.call(DESCRIBE_CUSTOM_KEY_STORES, async |kms| {
            kms.describe_custom_key_stores().set_marker(marker.clone()).send().await
        })
        .await
    };
    while let Some(page) = pages.next(ask, |page| (page.truncated, page.next_marker.clone())).await? {
        for store in page.custom_key_stores.unwrap_or_default() {
            let Some(id) = store.custom_key_store_id else { continue };
            let known = KeyStore {
                name: store.custom_key_store_name,
                connection_state: store.connection_state.map(|it| it.as_str().to_owned()),
                connection_error_code: store.connection_error_code.map(|it| it.as_str().to_owned()),
            };
            stores.insert(id, known);
        }
    }
    Ok(stores)
}

/// The round trip of a key in its own Region, and what it takes to go on with it in others.
struct Attempt {
    method: ProbeMethod,
    plaintext: Plaintext,
    made: Result<ProbeOutput, ProbeError>,
    trip: RoundTrip,
}

impl Attempt {
    async fn make(context: &Context, kms: &Kms, key: &Key, method: ProbeMethod) -> Self {
        let plaintext = Plaintext::random();
        let probe = Probe::new(key, &method, &plaintext);
        let mut milliseconds = Vec::new();
        let mut took = |operation: Operation, step: f64| {
            milliseconds.push((operation.name(), step));
            context.latencies.borrow_mut().push(step);
        };
        let made = probe.make(kms, &key.id).await.map_err(ProbeError::Failed).and_then(|(made, step)| {
            took(probe.making(), step);
            made.of_key(&key.id, probe.making())
        });
        let result = match &made {
            Err(error) => Err(error.clone()),
            Ok(made) => match probe.take(kms, &key.id, made).await {
                Err(failure) => Err(ProbeError::Failed(failure)),
                Ok(taken) => {
                    took(probe.taking(), taken.milliseconds);
                    taken.result(probe.taking())
                }
            },
        };
        Self { made, trip: RoundTrip { result, milliseconds }, method, plaintext }
    }

    /// Takes what each Region makes with the key to each other Region. Those replicas take part that are chosen themselves.
    async fn cross(&self, context: &Context, kms: &Kms, key: &Key, replicas: &[Replica]) -> Vec<CrossRegionTrip> {
        let probe = Probe::new(key, &self.method, &self.plaintext);
        let chosen = replicas.iter().filter(|it| it.chosen == Some(Ok(true))).map(|it| &it.related);
        let there: Vec<Place<'_>> = chosen
            .map(|it| Place {
                name: &it.region,
                key_id: id_of(it),
                elsewhere: Some(context.regions.get(&it.region, kms)),
            })
            .collect();
        let made_there = join_all(there.iter().map(|place| async {
            let made = place.call(kms, probe.making(), async |kms| probe.make(kms, place.key_id).await).await;
            made.map_err(ProbeError::Failed).and_then(|(made, step)| {
                context.latencies.borrow_mut().push(step);
                made.of_key(place.key_id, probe.making())
            })
        }))
        .await;
        let here = Place { name: key.region(), key_id: &key.id, elsewhere: None };
        let places: Vec<(&Place<'_>, &Result<ProbeOutput, ProbeError>)> =
            std::iter::once((&here, &self.made)).chain(there.iter().zip(&made_there)).collect();
        let ways = places.iter().flat_map(|from| places.iter().map(move |to| (from, to)));
        let cross_region_trips =
            ways.filter(|((from, _), (to, _))| from.name != to.name).map(|((from, made), (to, _))| async {
                let result = match made {
                    Err(error) => Err(error.clone()),
                    Ok(made) => {
                        let taken =
                            to.call(kms, probe.taking(), async |kms| probe.take(kms, to.key_id, made).await).await;
                        taken.map_err(ProbeError::Failed).and_then(|taken| {
                            context.latencies.borrow_mut().push(taken.milliseconds);
                            taken.result(probe.taking())
                        })
                    }
                };
                CrossRegionTrip { from: from.name.to_owned(), to: to.name.to_owned(), result }
            });
        join_all(cross_region_trips).await
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

fn region_name(name: &str) -> Option<String> {
    is_region_name(name).then(|| name.to_owned())
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
