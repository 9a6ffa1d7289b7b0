//! The tags of keys.

use std::collections::BTreeMap;

use domain::failure::Failure;

use super::Kms;
use crate::operation::LIST_RESOURCE_TAGS;
use crate::pages::Pages;

impl Kms {
    /// Asks for the tags of a key.
    ///
    /// # Errors
    /// The call failed.
    pub async fn tags(&self, id: &str) -> Result<BTreeMap<String, String>, Failure> {
        let mut tags = BTreeMap::new();
        let mut pages = Pages::of(LIST_RESOURCE_TAGS);
        let ask = async |marker: Option<String>| {
            self.call(LIST_RESOURCE_TAGS, async |kms| {
                kms.list_resource_tags().key_id(id).set_marker(marker.clone()).send().await
            })
            .await
        };
        while let Some(page) = pages.next(ask, |page| (page.truncated, page.next_marker.clone())).await? {
            tags.extend(page.tags.unwrap_or_default().into_iter().map(|tag| (tag.tag_key, tag.tag_value)));
        }
        Ok(tags)
    }
}
