//! The names of keys.

use std::collections::{BTreeMap, BTreeSet};

use domain::failure::Failure;

use super::Kms;
use crate::operation::LIST_ALIASES;
use crate::pages::Pages;

/// Most aliases that one page of `ListAliases` holds.
const ALIASES_A_PAGE: i32 = 100;

impl Kms {
    /// The aliases of the keys that are wanted, by key ID.
    ///
    /// # Errors
    /// `ListAliases` failed.
    pub async fn aliases_of(&self, wanted: &BTreeSet<&str>) -> Result<BTreeMap<String, Vec<String>>, Failure> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        self.each_alias(|alias, key_id| {
            if wanted.contains(key_id.as_str()) {
                found.entry(key_id).or_default().push(alias);
            }
        })
        .await?;
        Ok(found)
    }

    /// The IDs of the keys behind the aliases that are wanted, by alias.
    ///
    /// # Errors
    /// `ListAliases` failed.
    pub async fn resolve_aliases(&self, wanted: &BTreeSet<&str>) -> Result<BTreeMap<String, String>, Failure> {
        let mut found = BTreeMap::new();
        self.each_alias(|alias, key_id| {
            if wanted.contains(alias.as_str()) {
                found.insert(alias, key_id);
            }
        })
        .await?;
        Ok(found)
    }

    /// Reads all aliases that stand for a key, page by page: asking KMS to resolve one could create an AWS managed key.
    async fn each_alias(&self, mut take: impl FnMut(String, String)) -> Result<(), Failure> {
        let mut pages = Pages::of(LIST_ALIASES);
        let ask = async |marker: Option<String>| {
            self.call(LIST_ALIASES, async |kms| {
                kms.list_aliases().limit(ALIASES_A_PAGE).set_marker(marker.clone()).send().await
            })
            .await
        };
        while let Some(page) = pages.next(ask, |page| (page.truncated, page.next_marker.clone())).await? {
            for entry in page.aliases.unwrap_or_default() {
                if let (Some(alias), Some(key_id)) = (entry.alias_name, entry.target_key_id) {
                    take(alias, key_id);
                }
            }
        }
        Ok(())
    }
}
