//! Which service and operation a request is for.

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{Method, Request};

use super::form;
use crate::aws::error::AwsError;

/// A service of the local AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Dynamodb,
    Kms,
    Sqs,
    Sns,
    Ses,
    S3,
}

impl Service {
    /// The prefix of the service's actions and ARNs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Dynamodb => "dynamodb",
            Self::Kms => "kms",
            Self::Sqs => "sqs",
            Self::Sns => "sns",
            Self::Ses => "ses",
            Self::S3 => "s3",
        }
    }
}

/// What a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) service: Service,
    /// The operation's name in the API reference; for a request line of SES or S3 that is not known here, that line.
    pub(crate) operation: String,
}

/// The operations of SESv2 that functions may be allowed to use; `*` stands for one segment of the path.
const SES: &[(Method, &str, &str)] = &[
    (Method::POST, "outbound-emails", "SendEmail"),
    (Method::GET, "account", "GetAccount"),
    (Method::PUT, "account/sending", "PutAccountSendingAttributes"),
    (Method::GET, "identities/*", "GetEmailIdentity"),
    (Method::GET, "configuration-sets/*", "GetConfigurationSet"),
    (Method::PUT, "suppression/addresses", "PutSuppressedDestination"),
    (Method::GET, "suppression/addresses", "ListSuppressedDestinations"),
    (Method::GET, "suppression/addresses/*", "GetSuppressedDestination"),
    (Method::DELETE, "suppression/addresses/*", "DeleteSuppressedDestination"),
];

impl Target {
    /// Reads it from the `x-amz-target` header, or else from the credential's scope and the path or the form in the body.
    ///
    /// # Errors
    /// NotImplemented, naming a service that is not there.
    pub(crate) fn of(request: &Request<Bytes>) -> Result<Self, AwsError> {
        if let Some(target) = text(request, "x-amz-target") {
            let (prefix, operation) = target.rsplit_once('.').unwrap_or((target, ""));
            let service = match prefix {
                "DynamoDB_20120810" => Service::Dynamodb,
                "TrentService" => Service::Kms,
                "AmazonSQS" => Service::Sqs,
                _ => return Err(AwsError::not_implemented(target)),
            };
            return Ok(Self {
                service,
                operation: operation.to_owned(),
            });
        }
        let path = request.uri().path();
        let service = match scope(request).as_deref() {
            Some("s3") => Service::S3,
            Some("ses") => Service::Ses,
            Some("sns") => Service::Sns,
            Some(other) => {
                return Err(AwsError::not_implemented(&format!(
                    "service {other} with this protocol"
                )));
            }
            None if path.starts_with("/v2/email/") => Service::Ses,
            None => Service::S3,
        };
        let operation = match service {
            Service::Ses => ses(request.method(), path),
            Service::Sns => form::action(request.body()),
            _ => s3(request),
        };
        Ok(Self { service, operation })
    }
}

/// The service in the credential's scope: `AKID/20261124/us-east-1/s3/aws4_request`.
fn scope<B>(request: &Request<B>) -> Option<String> {
    let header = text(request, AUTHORIZATION.as_str()).unwrap_or_default();
    let credential = match header.split_once("Credential=") {
        Some((_, rest)) => rest.split([',', ' ']).next()?.to_owned(),
        None => {
            let query = request.uri().query()?.as_bytes();
            let found = url::form_urlencoded::parse(query).find(|(name, _)| name == "X-Amz-Credential");
            found?.1.into_owned()
        }
    };
    credential.split('/').nth(3).map(str::to_owned)
}

fn ses(method: &Method, path: &str) -> String {
    let below = path.strip_prefix("/v2/email/").unwrap_or(path).trim_end_matches('/');
    let segments: Vec<&str> = below.split('/').collect();
    let known = SES.iter().find(|(wanted, pattern, _)| {
        let pattern: Vec<&str> = pattern.split('/').collect();
        let fits = |(wanted, found): (&&str, &&str)| *wanted == "*" || wanted == found;
        wanted == method && pattern.len() == segments.len() && pattern.iter().zip(&segments).all(fits)
    });
    known.map_or_else(
        || format!("{method} {path}"),
        |(_, _, operation)| (*operation).to_owned(),
    )
}

/// A bucket, and the key of an object in it, as a request names them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    bucket: String,
    /// Empty for the bucket itself.
    key: String,
}

/// The bucket and key: the bucket is the first label of a host like `archive.s3.us-east-1.amazonaws.com`, or else the first
/// segment of the path.
fn place<B>(request: &Request<B>) -> Place {
    let host = request
        .uri()
        .host()
        .or_else(|| text(request, HOST.as_str()))
        .unwrap_or_default();
    let path = decode(request.uri().path().trim_start_matches('/'));
    match host.split_once(".s3.").or_else(|| host.split_once(".s3-")) {
        Some((bucket, _)) => Place {
            bucket: bucket.to_owned(),
            key: path,
        },
        None => {
            let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
            Place {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
            }
        }
    }
}

/// Names of the query's parameters.
fn query<B>(request: &Request<B>) -> Vec<String> {
    let query = request.uri().query().unwrap_or_default().as_bytes();
    url::form_urlencoded::parse(query)
        .map(|(name, _)| name.into_owned())
        .collect()
}

/// The operation's name by method, place and sub-resource (Amazon S3 API Reference).
fn s3<B>(request: &Request<B>) -> String {
    let place = place(request);
    let names = query(request);
    let has = |name: &str| names.iter().any(|found| found == name);
    let method = request.method().as_str();
    let is_copy = text(request, "x-amz-copy-source").is_some();
    let at_bucket = place.key.is_empty();
    let resource = [
        "retention",
        "legal-hold",
        "tagging",
        "acl",
        "object-lock",
        "versioning",
        "versions",
        "location",
        "policy",
    ]
    .into_iter()
    .chain([
        "encryption",
        "lifecycle",
        "notification",
        "publicAccessBlock",
        "ownershipControls",
        "uploads",
        "delete",
    ])
    .chain(["attributes", "uploadId", "cors", "restore", "select"])
    .find(|name| has(name));
    let known = match (method, at_bucket, resource) {
        ("GET", true, None) if place.bucket.is_empty() => "ListBuckets",
        ("GET", true, None) if has("list-type") => "ListObjectsV2",
        ("GET", true, None) => "ListObjects",
        ("HEAD", true, None) => "HeadBucket",
        ("PUT", true, None) => "CreateBucket",
        ("DELETE", true, None) => "DeleteBucket",
        ("POST", true, Some("delete")) => "DeleteObjects",
        ("GET", true, Some("versions")) => "ListObjectVersions",
        ("GET", true, Some("location")) => "GetBucketLocation",
        ("GET", true, Some("versioning")) => "GetBucketVersioning",
        ("PUT", true, Some("versioning")) => "PutBucketVersioning",
        ("GET", true, Some("object-lock")) => "GetObjectLockConfiguration",
        ("PUT", true, Some("object-lock")) => "PutObjectLockConfiguration",
        ("GET", true, Some("uploads")) => "ListMultipartUploads",
        ("GET", false, None) => "GetObject",
        ("HEAD", false, None) => "HeadObject",
        ("PUT", false, None) if is_copy => "CopyObject",
        ("PUT", false, None) => "PutObject",
        ("DELETE", false, None) => "DeleteObject",
        ("GET", false, Some("retention")) => "GetObjectRetention",
        ("PUT", false, Some("retention")) => "PutObjectRetention",
        ("GET", false, Some("legal-hold")) => "GetObjectLegalHold",
        ("PUT", false, Some("legal-hold")) => "PutObjectLegalHold",
        ("GET", false, Some("tagging")) => "GetObjectTagging",
        ("PUT", false, Some("tagging")) => "PutObjectTagging",
        ("DELETE", false, Some("tagging")) => "DeleteObjectTagging",
        ("POST", false, Some("uploads")) => "CreateMultipartUpload",
        ("PUT", false, Some("uploadId")) => "UploadPart",
        ("POST", false, Some("uploadId")) => "CompleteMultipartUpload",
        ("DELETE", false, Some("uploadId")) => "AbortMultipartUpload",
        ("GET", false, Some("uploadId")) => "ListParts",
        (method, at_bucket, resource) => {
            let what = if at_bucket { "bucket" } else { "object" };
            return format!("{method} {what} {}", resource.unwrap_or_default())
                .trim_end()
                .to_owned();
        }
    };
    known.to_owned()
}

/// A header's text.
fn text<'a, B>(request: &'a Request<B>, name: &str) -> Option<&'a str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

/// A path without its percent signs. A plus is itself in a path, unlike in a query.
fn decode(path: &str) -> String {
    let pair = format!("p={}", path.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(pair.as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<Bytes> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request
            .body(Bytes::from_static(b"Action=Publish&Version=2010-03-31"))
            .unwrap()
    }

    #[test]
    fn requests_find_their_service_and_operation() {
        let signed = |service: &str| {
            format!("AWS4-HMAC-SHA256 Credential=AKID/20261124/us-east-1/{service}/aws4_request, SignedHeaders=host")
        };
        let ses = signed("ses");
        let (s3, sns) = (signed("s3"), signed("sns"));
        type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], Service, &'a str);
        #[rustfmt::skip]
        let cases: &[Case<'_>] = &[
            ("POST", "http://x/", &[("x-amz-target", "DynamoDB_20120810.PutItem")], Service::Dynamodb, "PutItem"),
            ("POST", "http://x/", &[("x-amz-target", "TrentService.Encrypt")], Service::Kms, "Encrypt"),
            ("POST", "http://x/", &[("x-amz-target", "AmazonSQS.SendMessage")], Service::Sqs, "SendMessage"),
            ("POST", "http://x/v2/email/outbound-emails", &[("authorization", &ses)], Service::Ses, "SendEmail"),
            ("POST", "http://x/v2/email/outbound-emails", &[], Service::Ses, "SendEmail"),
            ("POST", "http://x/v2/email/outbound-bulk-emails", &[], Service::Ses, "POST /v2/email/outbound-bulk-emails"),
            ("POST", "http://x/", &[("authorization", &sns)], Service::Sns, "Publish"),
            ("PUT", "http://x/b/k/l?x-id=PutObject", &[("authorization", &s3)], Service::S3, "PutObject"),
            ("PUT", "http://x/b/k?retention", &[], Service::S3, "PutObjectRetention"),
            ("GET", "http://x/b?list-type=2&prefix=a", &[], Service::S3, "ListObjectsV2"),
            ("GET", "http://b.s3.us-east-1.amazonaws.com/k", &[], Service::S3, "GetObject"),
            ("GET", "http://x/b/k?X-Amz-Credential=AKID%2F20261124%2Fus-east-1%2Fs3%2Faws4_request", &[], Service::S3, "GetObject"),
            ("PUT", "http://x/b?policy", &[], Service::S3, "PUT bucket policy"),
        ];
        for (method, uri, headers, service, operation) in cases {
            let target = Target::of(&request(method, uri, headers)).unwrap();
            assert_eq!(
                (target.service, target.operation.as_str()),
                (*service, *operation),
                "{method} {uri}"
            );
        }
    }

    #[test]
    fn an_unknown_service_is_named() {
        let unknown = request("POST", "http://x/", &[("x-amz-target", "AWSEvents.PutEvents")]);
        assert!(
            Target::of(&unknown)
                .unwrap_err()
                .message
                .contains("AWSEvents.PutEvents")
        );
        let unknown = request(
            "POST",
            "http://x/",
            &[("authorization", "AWS4 Credential=A/20261124/us-east-1/sts/aws4_request")],
        );
        assert!(Target::of(&unknown).unwrap_err().message.contains("sts"));
    }

    #[test]
    fn a_place_is_read_from_path_or_host() {
        let place_of = |uri| place(&request("GET", uri, &[]));
        let expected = Place {
            bucket: "archive".to_owned(),
            key: "mail/a b+c".to_owned(),
        };
        assert_eq!(place_of("http://localhost/archive/mail/a%20b+c"), expected);
        assert_eq!(
            place_of("http://archive.s3.us-east-1.amazonaws.com/mail/a%20b+c"),
            expected
        );
    }
}
