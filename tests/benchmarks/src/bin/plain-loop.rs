//! What one would write with the SDK in an afternoon: list the keys, ask of many at a time, keep what is wrong. It sends the
//! calls that rotation-checker sends, each once, without pace; retries are the SDK's own.

use std::collections::BTreeMap;
use std::io::Write as _;

use aws_config::BehaviorVersion;
use aws_sdk_kms::Client;
use aws_sdk_kms::types::{KeyManagerType, KeySpec, KeyState, OriginType};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use benchmarks::DONE;
use futures::StreamExt as _;

type Error = Box<dyn std::error::Error>;

/// Keys asked at a time.
const AT_A_TIME: usize = 64;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let https = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let config = aws_config::defaults(BehaviorVersion::latest()).http_client(https).load().await;
    let kms = Client::new(&config);
    let mut ids = Vec::new();
    let mut pages = kms.list_keys().limit(1_000).into_paginator().send();
    while let Some(page) = pages.next().await {
        ids.extend(page?.keys.unwrap_or_default().into_iter().filter_map(|key| key.key_id));
    }
    let keys = ids.len();
    let mut results = futures::stream::iter(ids).map(|id| ask(&kms, id)).buffer_unordered(AT_A_TIME);
    let (mut broken, mut failed) = (Vec::new(), 0);
    while let Some(result) = results.next().await {
        match result {
            Ok(Some(key)) => broken.push(key),
            Ok(None) => {}
            Err(_) => failed += 1,
        }
    }
    if !broken.is_empty() {
        let mut names = BTreeMap::new();
        let mut pages = kms.list_aliases().limit(100).into_paginator().send();
        while let Some(page) = pages.next().await {
            let aliases = page?.aliases.unwrap_or_default().into_iter();
            names.extend(aliases.filter_map(|alias| Some((alias.target_key_id?, alias.alias_name?))));
        }
        let lines = broken.iter().take(50).map(|id| names.get(id).unwrap_or(id).as_str()).collect::<Vec<_>>();
        let sns = aws_sdk_sns::Client::new(&config);
        let alert = sns.publish().topic_arn(simulated_fleet::harness::TOPIC).message(lines.join("\n"));
        alert.send().await?;
    }
    writeln!(std::io::stdout(), "{DONE}{keys} keys, {} findings, {failed} failed", broken.len())?;
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

/// The key, if its rotation is off.
async fn ask(kms: &Client, id: String) -> Result<Option<String>, Error> {
    let Some(key) = kms.describe_key().key_id(&id).send().await?.key_metadata else { return Ok(None) };
    let rotates = key.key_manager == Some(KeyManagerType::Customer)
        && key.key_state == Some(KeyState::Enabled)
        && key.key_spec == Some(KeySpec::SymmetricDefault)
        && key.origin == Some(OriginType::AwsKms);
    if !rotates || kms.get_key_rotation_status().key_id(&id).send().await?.key_rotation_enabled {
        return Ok(None);
    }
    kms.list_resource_tags().key_id(&id).send().await?;
    Ok(Some(id))
}
