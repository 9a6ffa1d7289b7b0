//! STS: the role of another account, and whose credentials those are.

use std::time::SystemTime;

use aws_config::SdkConfig;
use aws_sdk_sts::Client;
pub use aws_sdk_sts::config::{Credentials, SharedCredentialsProvider};
use domain::failure::Failure;

use crate::call::Calls;
use crate::operation::{ASSUME_ROLE, GET_CALLER_IDENTITY};
use crate::pace::QuotaShare;

/// An STS client of the configuration's Region. It speaks to the Regional endpoint: what the global one gives does not
/// work in Regions that an account opts in to.
#[derive(Debug)]
pub struct Sts {
    client: Client,
    calls: Calls,
}

impl Sts {
    /// A client with the configuration's credentials.
    pub fn new(config: &SdkConfig) -> Self {
        Self { client: Client::new(config), calls: Calls::new(QuotaShare::WHOLE) }
    }

    /// Credentials of a session of that role, for an hour: more AWS gives to no role that takes another one.
    ///
    /// # Errors
    /// What the last try ended with.
    pub async fn assume_role(
        &self,
        role_arn: &str,
        session_name: &str,
        external_id: Option<&str>,
    ) -> Result<Credentials, Failure> {
        let request = async || {
            let request = self.client.assume_role().role_arn(role_arn).role_session_name(session_name);
            request.set_external_id(external_id.map(str::to_owned)).send().await
        };
        let answer = self.calls.make(ASSUME_ROLE, request).await?;
        let credentials = answer.credentials.ok_or_else(|| ASSUME_ROLE.unreadable("the answer has no Credentials"))?;
        let expires = SystemTime::try_from(credentials.expiration)
            .map_err(|_| ASSUME_ROLE.unreadable("Expiration is no date"))?;
        Ok(Credentials::new(
            credentials.access_key_id,
            credentials.secret_access_key,
            Some(credentials.session_token),
            Some(expires),
            "member role",
        ))
    }

    /// The account that the credentials are of.
    ///
    /// # Errors
    /// What the last try ended with.
    pub async fn account(&self) -> Result<String, Failure> {
        let request = async || self.client.get_caller_identity().send().await;
        let answer = self.calls.make(GET_CALLER_IDENTITY, request).await?;
        answer.account.ok_or_else(|| GET_CALLER_IDENTITY.unreadable("the answer has no Account"))
    }
}
