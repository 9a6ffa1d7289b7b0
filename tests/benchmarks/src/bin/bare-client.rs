//! The same questions without the SDK: an HTTP client, no signature, no retries, and only the members that are needed are
//! read. What it costs is the least that the protocol costs in this language.

use std::io::Write as _;

use benchmarks::DONE;
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

type Error = Box<dyn std::error::Error>;

/// Keys asked at a time.
const AT_A_TIME: usize = 64;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    keys: Vec<Entry>,
    next_marker: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    key_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Description {
    key_metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    key_manager: String,
    key_state: String,
    key_spec: String,
    origin: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Rotation {
    key_rotation_enabled: bool,
}

struct Kms {
    client: Client<HttpConnector, Full<Bytes>>,
    endpoint: String,
}

impl Kms {
    async fn call<T: DeserializeOwned>(&self, operation: &str, request: serde_json::Value) -> Result<T, Error> {
        let request = Request::post(&self.endpoint)
            .header("x-amz-target", format!("TrentService.{operation}"))
            .header("content-type", "application/x-amz-json-1.1")
            .body(Full::new(Bytes::from(request.to_string())))?;
        let answer = self.client.request(request).await?.into_body().collect().await?.to_bytes();
        Ok(serde_json::from_slice(&answer)?)
    }

    async fn is_broken(&self, id: &str) -> Result<bool, Error> {
        let Description { key_metadata: key } = self.call("DescribeKey", json!({"KeyId": id})).await?;
        let rotates = key.key_manager == "CUSTOMER"
            && key.key_state == "Enabled"
            && key.key_spec == "SYMMETRIC_DEFAULT"
            && key.origin == "AWS_KMS";
        if !rotates || self.call::<Rotation>("GetKeyRotationStatus", json!({"KeyId": id})).await?.key_rotation_enabled {
            return Ok(false);
        }
        self.call::<serde_json::Value>("ListResourceTags", json!({"KeyId": id})).await?;
        Ok(true)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let endpoint = std::env::args().nth(1).ok_or("usage: bare-client ENDPOINT")?;
    let kms = Kms { client: Client::builder(TokioExecutor::new()).build_http(), endpoint };
    let mut ids = Vec::new();
    let mut marker = None;
    loop {
        let page: Page = kms.call("ListKeys", json!({"Limit": 1_000, "Marker": marker})).await?;
        ids.extend(page.keys.into_iter().map(|key| key.key_id));
        marker = page.next_marker;
        if marker.is_none() {
            break;
        }
    }
    let asked = futures::stream::iter(&ids).map(|id| kms.is_broken(id)).buffer_unordered(AT_A_TIME);
    let (broken, failed) = asked
        .fold((0, 0), |(broken, failed), result| async move {
            match result {
                Ok(is_broken) => (broken + u32::from(is_broken), failed),
                Err(_) => (broken, failed + 1),
            }
        })
        .await;
    writeln!(std::io::stdout(), "{DONE}{} keys, {broken} findings, {failed} failed", ids.len())?;
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}
