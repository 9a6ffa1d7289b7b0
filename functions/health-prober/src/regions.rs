//! Clients of other Regions, made once for a run, and given up for it where a Region is out of reach.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;

use aws::kms::Kms;
use aws::operation::Operation;
use domain::failure::{Cause, Failure};
use futures::future::{Either, select};
use tokio::sync::{Mutex, watch};

/// The other Regions that a run has to do with.
#[derive(Debug, Default)]
pub struct Regions(RefCell<BTreeMap<String, Rc<Region>>>);

impl Regions {
    /// That Region, with a client made like `kms`.
    pub fn get(&self, name: &str, kms: &Kms) -> Rc<Region> {
        let mut regions = self.0.borrow_mut();
        let region = regions.entry(name.to_owned()).or_insert_with(|| Rc::new(Region::new(kms.in_region(name))));
        Rc::clone(region)
    }
}

/// A Region other than the run's own.
///
/// It counts as out of reach once a call has got no answer in all its tries, and no other call has got one in the
/// meantime. From then on nothing waits for it any more, calls under way included: what it costs the run is the time-out
/// of one call.
#[derive(Debug)]
pub struct Region {
    kms: Kms,
    first: Mutex<()>,
    answers: Cell<u64>,
    out_of_reach: watch::Sender<Option<Cause>>,
}

impl Region {
    fn new(kms: Kms) -> Self {
        Self { kms, first: Mutex::default(), answers: Cell::new(0), out_of_reach: watch::Sender::new(None) }
    }

    /// Makes a call to this Region, unless it is out of reach.
    ///
    /// # Errors
    /// The call failed, or was not made.
    pub async fn call<T>(
        &self,
        operation: Operation,
        call: impl AsyncFnOnce(&Kms) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut news = self.out_of_reach.subscribe();
        let made = async {
            // Until the Region has answered once, calls go one by one: one call is enough to learn that it hangs.
            let first = self.first.lock().await;
            let first = (self.answers.get() == 0).then_some(first);
            let answers_before = self.answers.get();
            let result = call(&self.kms).await;
            match &result {
                Err(failure) if no_answer(failure) => {
                    if self.answers.get() == answers_before {
                        self.out_of_reach.send_replace(Some(failure.cause));
                    }
                }
                _ => self.answers.set(self.answers.get() + 1),
            }
            drop(first);
            result
        };
        // The news come first: a Region that is out of reach is not called.
        match select(pin!(news.wait_for(Option::is_some)), pin!(made)).await {
            Either::Left((cause, _)) => {
                let cause = cause.ok().and_then(|cause| *cause).unwrap_or(Cause::Timeout);
                let message = "the Region gave no answer to an earlier call, and is not asked again in this run";
                Err(Failure { cause, ..operation.unreadable(message) })
            }
            Either::Right((result, _)) => result,
        }
    }
}

/// Was there nobody who answered? An error with a code is an answer.
fn no_answer(failure: &Failure) -> bool {
    failure.code.is_none() && matches!(failure.cause, Cause::Timeout | Cause::ServiceError)
}

#[cfg(test)]
mod tests {
    use aws::operation::DESCRIBE_KEY;
    use aws::pace::QuotaShare;

    use super::*;
    use std::time::Duration;
    use tokio::time::sleep;

    fn failure(cause: Cause, code: Option<&str>) -> Failure {
        Failure {
            service: "kms",
            operation: "DescribeKey",
            cause,
            code: code.map(str::to_owned),
            message: "first".into(),
        }
    }

    /// A call that takes n hundredths of a second and ends so.
    async fn call(region: &Region, hundredths: u64, result: Result<(), Failure>) -> Result<(), Failure> {
        let call = async |_: &Kms| {
            sleep(Duration::from_millis(10 * hundredths)).await;
            result
        };
        region.call(DESCRIBE_KEY, call).await
    }

    fn region() -> Region {
        let config = aws_config::SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .region(aws_config::Region::new("eu-west-1"))
            .build();
        Region::new(Kms::new(&config, QuotaShare::WHOLE))
    }

    #[tokio::test]
    async fn a_region_without_an_answer_is_given_up_at_once_for_all() {
        let region = region();
        let lost = || Err(failure(Cause::Timeout, None));
        assert_eq!(call(&region, 1, Ok(())).await, Ok(()));
        let (first, under_way) = futures::future::join(call(&region, 1, lost()), call(&region, 60_000, Ok(()))).await;
        assert_eq!(first, lost());
        let given_up = under_way.unwrap_err();
        assert_eq!(given_up.cause, Cause::Timeout);
        assert!(given_up.message.contains("not asked again"), "{}", given_up.message);
        let not_made = async |_: &Kms| -> Result<(), Failure> { panic!("the Region is called") };
        assert_eq!(region.call(DESCRIBE_KEY, not_made).await, Err(given_up));
    }

    #[tokio::test]
    async fn a_call_without_an_answer_says_nothing_about_a_region_that_answers_others() {
        let region = region();
        let lost = || Err(failure(Cause::ServiceError, None));
        let denied = || Err(failure(Cause::AccessDenied, Some("AccessDeniedException")));
        assert_eq!(call(&region, 1, Ok(())).await, Ok(()));
        let (first, other) = futures::future::join(call(&region, 20, lost()), call(&region, 1, denied())).await;
        assert_eq!((first, other), (lost(), denied()));
        assert_eq!(call(&region, 1, Ok(())).await, Ok(()));
    }

    #[tokio::test]
    async fn a_region_that_never_answered_is_asked_once() {
        let region = region();
        let asked = Cell::new(0);
        let lost = async |_: &Kms| -> Result<(), Failure> {
            asked.set(asked.get() + 1);
            sleep(Duration::from_millis(10)).await;
            Err(failure(Cause::Timeout, None))
        };
        let calls = (0..5).map(|_| region.call(DESCRIBE_KEY, &lost));
        let results = futures::future::join_all(calls).await;
        assert!(results.iter().all(|it| it.as_ref().is_err_and(|it| it.cause == Cause::Timeout)), "{results:?}");
        assert_eq!(asked.get(), 1);
    }

    #[tokio::test]
    async fn errors_that_a_region_answers_with_are_answers() {
        let region = region();
        for (cause, code) in [
            (Cause::ServiceError, Some("KMSInternalException")),
            (Cause::Throttled, Some("ThrottlingException")),
            (Cause::AccessDenied, Some("AccessDeniedException")),
            (Cause::Unexpected, None),
        ] {
            assert!(call(&region, 1, Err(failure(cause, code))).await.is_err());
            assert_eq!(call(&region, 1, Ok(())).await, Ok(()), "{cause:?}");
        }
    }
}
