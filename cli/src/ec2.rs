//! EC2's `DescribeRegions`, the one call to EC2. The SDK's client for EC2 is larger than all others together, so the call is
//! written out here over the SDK's own parts: its connection, signature, time-outs and errors.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_runtime::auth::SigV4OperationSigningConfig;
use aws_runtime::auth::sigv4::{SCHEME_ID, SigV4AuthScheme};
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::auth::AuthSchemeOptionResolverParams;
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_runtime_api::client::runtime_plugin::StaticRuntimePlugin;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::Layer;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_xml::decode::{Document, ScopedDecoder, XmlDecodeError, try_data};
use aws_types::SigningName;
use aws_types::region::SigningRegion;

/// What is asked: by itself EC2 names those Regions alone that the account has enabled, all in one answer.
const QUERY: &str = "Action=DescribeRegions&Version=2016-11-15";

/// What can be asked of EC2.
#[derive(Debug)]
pub struct Ec2(Operation<(), Vec<String>, ErrorMetadata>);

impl Ec2 {
    /// EC2 in that Region of the partition, asked with these credentials.
    pub fn new(config: &SdkConfig, partition: &str, region: &str) -> Self {
        let endpoint = match config.endpoint_url() {
            Some(url) => url.to_owned(),
            None => format!("https://ec2.{region}.{}", domain_of(partition)),
        };
        let mut operation = Operation::builder()
            .service_name("EC2")
            .operation_name("DescribeRegions")
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&endpoint)
            .no_retry()
            .runtime_plugin(signature(config, region));
        if let Some(client) = config.http_client() {
            operation = operation.http_client(client);
        }
        if let Some(timeouts) = config.timeout_config() {
            operation = operation.timeout_config(timeouts.clone());
        }
        Self(operation.serializer(|()| request()).deserializer(answer).build())
    }

    /// The names of the Regions that the account has enabled.
    ///
    /// # Errors
    /// EC2 refuses, or its answer cannot be read.
    pub async fn describe_regions(&self) -> Result<Vec<String>, SdkError<ErrorMetadata, HttpResponse>> {
        self.0.invoke(()).await
    }
}

/// The name under which a partition's services are found (botocore, `partitions.json`).
fn domain_of(partition: &str) -> &'static str {
    match partition {
        "aws-cn" => "amazonaws.com.cn",
        "aws-eusc" => "amazonaws.eu",
        "aws-iso" => "c2s.ic.gov",
        "aws-iso-b" => "sc2s.sgov.gov",
        "aws-iso-e" => "cloud.adc-e.uk",
        "aws-iso-f" => "csp.hci.ic.gov",
        _ => "amazonaws.com",
    }
}

/// By what and for what the request is signed.
fn signature(config: &SdkConfig, region: &str) -> StaticRuntimePlugin {
    let mut settings = Layer::new("signature");
    settings.store_put(AuthSchemeOptionResolverParams::new(()));
    settings.store_put(SigV4OperationSigningConfig {
        region: Some(SigningRegion::from(Region::new(region.to_owned()))),
        name: Some(SigningName::from_static("ec2")),
        ..SigV4OperationSigningConfig::default()
    });
    let mut parts = RuntimeComponentsBuilder::new("signature")
        .with_auth_scheme(SigV4AuthScheme::new())
        .with_auth_scheme_option_resolver(Some(StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID])))
        .with_identity_cache(config.identity_cache());
    if let Some(credentials) = config.credentials_provider() {
        parts.set_identity_resolver(SCHEME_ID, credentials);
    }
    StaticRuntimePlugin::new().with_config(settings.freeze()).with_runtime_components(parts)
}

fn request() -> Result<HttpRequest, BoxError> {
    let mut request = HttpRequest::new(SdkBody::from(QUERY));
    request.set_method("POST")?;
    request.set_uri("/")?;
    request.headers_mut().try_insert("content-type", "application/x-www-form-urlencoded")?;
    Ok(request)
}

fn answer(response: &HttpResponse) -> Result<Vec<String>, OrchestratorError<ErrorMetadata>> {
    let body = std::str::from_utf8(response.body().bytes().unwrap_or_default());
    let body = body.map_err(|error| OrchestratorError::response(error.into()))?;
    if response.status().is_success() {
        return regions_in(body).map_err(|error| OrchestratorError::response(error.into()));
    }
    // What is no error of EC2's, a proxy's page for instance, has no code: the status tells.
    Err(OrchestratorError::operation(error_in(body).unwrap_or_else(|_| ErrorMetadata::builder().build())))
}

/// `<DescribeRegionsResponse><regionInfo><item><regionName>…`.
fn regions_in(body: &str) -> Result<Vec<String>, XmlDecodeError> {
    // The reader takes the end of the text for the end of whatever is open.
    if !body.trim_end().ends_with("</DescribeRegionsResponse>") {
        return Err(XmlDecodeError::custom("the answer is no list of Regions, or not whole"));
    }
    let mut document = Document::new(body);
    let mut names = Vec::new();
    texts(&mut document.root_element()?, &["regionInfo", "item", "regionName"], &mut names)?;
    if names.is_empty() {
        return Err(XmlDecodeError::custom("the answer names no Region"));
    }
    Ok(names)
}

/// `<Response><Errors><Error><Code>…<Message>…`.
fn error_in(body: &str) -> Result<ErrorMetadata, XmlDecodeError> {
    let text = |name| -> Result<Option<String>, XmlDecodeError> {
        let mut found = Vec::new();
        texts(&mut Document::new(body).root_element()?, &["Errors", "Error", name], &mut found)?;
        Ok(found.into_iter().next())
    };
    let mut error = ErrorMetadata::builder();
    if let Some(code) = text("Code")? {
        error = error.code(code);
    }
    if let Some(message) = text("Message")? {
        error = error.message(message);
    }
    Ok(error.build())
}

/// The texts of all elements on that path below an element.
fn texts(element: &mut ScopedDecoder<'_, '_>, path: &[&str], found: &mut Vec<String>) -> Result<(), XmlDecodeError> {
    let Some((name, rest)) = path.split_first() else {
        found.push(try_data(element)?.into_owned());
        return Ok(());
    };
    while let Some(mut child) = element.next_tag() {
        if child.start_el().matches(name) {
            texts(&mut child, rest, found)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
        <DescribeRegionsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\n\
        <requestId>59dbff89</requestId><regionInfo>\n\
        <item><regionName>us-east-1</regionName><regionEndpoint>ec2.us-east-1.amazonaws.com</regionEndpoint></item>\n\
        <item><optInStatus>opted-in</optInStatus><regionName>eu-west-1</regionName></item></regionInfo>\n\
        </DescribeRegionsResponse>\n";

    #[test]
    fn the_regions_are_read_and_nothing_else() {
        assert_eq!(regions_in(TWO).unwrap(), ["us-east-1", "eu-west-1"]);
    }

    #[test]
    fn what_is_not_whole_is_no_answer() {
        for length in 0..TWO.trim_end().len() {
            assert!(regions_in(&TWO[..length]).is_err(), "{length}");
        }
        for text in ["{}", "<html></html>", "<DescribeRegionsResponse><regionInfo/></DescribeRegionsResponse>"] {
            assert!(regions_in(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_error_gives_its_code() {
        let error = error_in(
            "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>no &amp; no</Message></Error></Errors>\
             <RequestID>r</RequestID></Response>",
        );
        let error = error.unwrap();
        assert_eq!((error.code(), error.message()), (Some("UnauthorizedOperation"), Some("no & no")));
        assert!(error_in("Bad Gateway").is_err());
        assert_eq!(error_in("<html></html>").unwrap().code(), None);
    }

    #[test]
    fn a_partition_has_a_name_of_its_own() {
        assert_eq!((domain_of("aws"), domain_of("aws-us-gov")), ("amazonaws.com", "amazonaws.com"));
        assert_eq!(domain_of("aws-cn"), "amazonaws.com.cn");
    }
}
