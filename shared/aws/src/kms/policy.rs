//! The key policy of keys.

use domain::failure::Failure;

use super::Kms;
use crate::operation::GET_KEY_POLICY;

impl Kms {
    /// Asks for the policy of a key. A key has one, by the name `default`.
    ///
    /// # Errors
    /// The call failed.
    pub async fn policy(&self, id: &str) -> Result<String, Failure> {
        let answer = self.call(GET_KEY_POLICY, async |kms| kms.get_key_policy().key_id(id).send().await).await?;
        answer.policy.ok_or_else(|| GET_KEY_POLICY.unreadable("the answer has no Policy"))
    }
}
