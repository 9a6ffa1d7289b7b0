//! Buckets: one that reports are written to, and one that the plan of the daily check is read from.

use aws::call::Calls;
use aws::failure::error_summary;
use aws::operation::{GET_OBJECT, PUT_OBJECT};
use aws::pace::QuotaShare;
use aws_config::SdkConfig;
use aws_sdk_s3::primitives::{AggregatedBytes, ByteStream};
use tokio::time::{Instant, timeout_at};

/// Most characters of an execution's name in an object's key.
const MAX_NAME_CHARS: usize = 200;

/// A bucket. It encrypts by its own default.
#[derive(Debug)]
pub struct Bucket {
    name: String,
    s3: aws_sdk_s3::Client,
    calls: Calls,
}

impl Bucket {
    /// The bucket of that name.
    pub fn new(config: &SdkConfig, name: String) -> Self {
        // An endpoint of one's own has no name for each bucket.
        let s3 = aws_sdk_s3::config::Builder::from(config).force_path_style(config.endpoint_url().is_some()).build();
        Self { name, s3: aws_sdk_s3::Client::from_conf(s3), calls: Calls::new(QuotaShare::WHOLE) }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Writes an object, and gives back its S3 URI.
    ///
    /// # Errors
    /// The bucket did not take it: why, in words.
    pub(crate) async fn put(
        &self,
        key: &str,
        content_type: &str,
        body: Vec<u8>,
        until: Instant,
    ) -> Result<String, String> {
        let uri = format!("s3://{}/{key}", self.name);
        let request = async || {
            let request = self.s3.put_object().bucket(&self.name).key(key).content_type(content_type);
            request.body(ByteStream::from(body.clone())).send().await
        };
        match timeout_at(until, self.calls.make(PUT_OBJECT, request)).await {
            Ok(Ok(_)) => Ok(uri),
            Ok(Err(failure)) => Err(format!("{uri} was not written: {}", error_summary(&failure))),
            Err(_) => Err(format!("{uri} was not written: the time of the invocation ran out")),
        }
    }

    /// Reads an object.
    ///
    /// # Errors
    /// It was not read: why, in words.
    pub(crate) async fn get(&self, key: &str, until: Instant) -> Result<Vec<u8>, String> {
        let not_read = |why: &str| format!("s3://{}/{key} was not read: {why}", self.name);
        let request = async || self.s3.get_object().bucket(&self.name).key(key).send().await;
        let read = async {
            let object = self.calls.make(GET_OBJECT, request).await.map_err(|failure| error_summary(&failure))?;
            object.body.collect().await.map(AggregatedBytes::to_vec).map_err(|error| error.to_string())
        };
        match timeout_at(until, read).await {
            Ok(read) => read.map_err(|why| not_read(&why)),
            Err(_) => Err(not_read("the time of the invocation ran out")),
        }
    }
}

/// Key of the object of an execution in a folder. A second one of the same execution takes its place.
pub(crate) fn object_key(folder: &str, execution: &str, extension: &str) -> String {
    format!("{folder}/{}.{extension}", object_name(execution))
}

/// An execution's name, as far as it may stand in the name of an object. Whoever sends an event chooses it.
fn object_name(execution: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '-' };
    execution.chars().map(plain).take(MAX_NAME_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leaves_its_folder() {
        for (execution, name) in [("daily-1", "daily-1"), ("../plans/x", "---plans-x"), ("a\u{202e}b", "a-b")] {
            assert_eq!(object_name(execution), name);
        }
        assert_eq!(object_name(&"x".repeat(2_000)).len(), MAX_NAME_CHARS);
    }
}
