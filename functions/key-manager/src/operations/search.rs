//! The search for the key that a lost answer may have created. KMS has no token of its own: the key carries it as a tag.

use std::collections::BTreeSet;

use aws::kms::Kms;
use aws::operation::GET_RESOURCES;
use aws::pages::Pages;
use domain::failure::{Cause, Failure};
use futures::{StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};

use super::{Session, Stop};
use crate::request::CLIENT_TOKEN_TAG;

/// Keys that are looked at at the same time.
const KEYS_AT_A_TIME: usize = 16;

/// By how much AWS's clock may be behind the function's.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(5);

impl Session<'_> {
    /// ARNs of the keys that carry the request's token, by the index of tags. It knows a new key after a while.
    pub(super) async fn keys_by_tag(&self) -> Result<BTreeSet<String>, Failure> {
        let mut found = BTreeSet::new();
        let mut pages = Pages::of(GET_RESOURCES);
        let filter = aws_sdk_resourcegroupstagging::types::TagFilter::builder()
            .key(CLIENT_TOKEN_TAG)
            .values(&self.record.client_token)
            .build();
        let ask = async |token: Option<String>| {
            let request = self.manager.tagging.get_resources().tag_filters(filter.clone());
            let request = request.resource_type_filters("kms:key").set_pagination_token(token);
            self.kms.calls().make(GET_RESOURCES, async || request.clone().send().await).await
        };
        let turn = |page: &aws_sdk_resourcegroupstagging::operation::get_resources::GetResourcesOutput| {
            let token = page.pagination_token.clone().filter(|token| !token.is_empty());
            (token.is_some(), token)
        };
        while let Some(page) = pages.next(ask, turn).await? {
            found.extend(
                page.resource_tag_mapping_list.unwrap_or_default().into_iter().filter_map(|it| it.resource_arn),
            );
        }
        Ok(found)
    }

    /// ARNs of the keys created since that instant that carry the request's token, by looking at each key.
    async fn keys_by_listing(&self, since: Timestamp) -> Result<BTreeSet<String>, Failure> {
        let since = since.saturating_sub(CLOCKS_DIFFER).unwrap_or(Timestamp::MIN);
        let mut found = BTreeSet::new();
        let mut pages = self.kms.list_keys();
        while let Some(page) = pages.next().await? {
            let ids = page.into_iter().filter_map(|entry| entry.key_id);
            let keys = futures::stream::iter(ids)
                .map(|id| carrier(&self.kms, id, since, &self.record.client_token))
                .buffer_unordered(KEYS_AT_A_TIME)
                .try_filter_map(async |arn| Ok(arn));
            found.extend(keys.try_collect::<Vec<_>>().await?);
        }
        Ok(found)
    }

    /// The one key that a `CreateKey` with a lost answer has created; `None` if it is sure by now that there is none.
    ///
    /// # Errors
    /// [`Stop::Unknown`]: nothing is found yet, or two keys are, or the search failed.
    pub(super) async fn key_of_lost_answer(&mut self, since: Timestamp) -> Result<Option<String>, Stop> {
        let by_tag = self.keys_by_tag().await;
        let by_listing = self.keys_by_listing(since).await;
        let readable = [&by_tag, &by_listing].into_iter().filter_map(|it| it.as_ref().ok());
        let found: BTreeSet<String> = readable.flatten().cloned().collect();
        for arn in &found {
            if !self.record.made.contains(arn) {
                self.record.made.push(arn.clone());
            }
        }
        let mut arns = found.into_iter();
        match (arns.next(), arns.next()) {
            (Some(arn), None) => return Ok(Some(arn)),
            (Some(_), Some(_)) => {
                let made = self.record.made.join(", ");
                let why = format!("more than one key carries this client token; none of them is used: {made}");
                return Err(Stop::Unknown(why, None));
            }
            (None, _) => {}
        }
        if let Err(failure) = by_tag.and(by_listing) {
            let why = format!(
                "the answer to CreateKey was lost, and the key cannot be searched for: {}",
                aws::failure::error_summary(&failure)
            );
            return Err(Stop::Unknown(why, None));
        }
        self.settled("CreateKey was lost, and no key carries the client token yet").map(|()| None)
    }

    /// Has it been long enough since the first look in vain?
    ///
    /// # Errors
    /// [`Stop::Unknown`], with the instant from which it has.
    pub(super) fn settled(&mut self, what: &str) -> Result<(), Stop> {
        let now = self.now();
        let first = *self.record.searched_at.get_or_insert(now);
        let decided_at = first.saturating_add(self.settings().settle).unwrap_or(Timestamp::MAX);
        if now >= decided_at {
            self.record.searched_at = None;
            return Ok(());
        }
        Err(Stop::Unknown(format!("the answer to {what}"), Some(decided_at)))
    }
}

/// The key's ARN, if it was created since and carries the token. One that is gone meanwhile does not.
async fn carrier(kms: &Kms, id: String, since: Timestamp, token: &str) -> Result<Option<String>, Failure> {
    let key = match kms.describe_key(&id, &id).await {
        Ok(key) => key,
        Err(failure) if failure.cause == Cause::NotFound => return Ok(None),
        Err(failure) => return Err(failure),
    };
    if key.created_at.is_some_and(|at| at < since) {
        return Ok(None);
    }
    let tags = kms.tags(&id).await?;
    Ok(tags.get(CLIENT_TOKEN_TAG).is_some_and(|it| it == token).then_some(key.arn))
}
