//! Answers and refusals in each service's protocol.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json as object};

use super::Service;
use super::form::{element, escape};
use crate::aws::dynamodb;
use crate::aws::error::AwsError;
use crate::aws::random;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
/// The namespace of SNS's answers.
const SNS: &str = "http://sns.amazonaws.com/doc/2010-03-31/";
/// SQS repeats an error's code of its older protocol here, which boto3 raises.
const QUERY_ERROR: HeaderName = HeaderName::from_static("x-amzn-query-error");

/// A service's answer.
pub(crate) fn json(service: Service, body: &Value) -> Response<Bytes> {
    respond(StatusCode::OK, content_type(service), body.to_string())
}

/// DynamoDB's answer, which comes as text.
pub(crate) fn dynamodb(answer: dynamodb::Answer) -> Response<Bytes> {
    respond(answer.status, content_type(Service::Dynamodb), answer.body)
}

/// An answer in the query protocol: the XML of an operation's result, which is empty where it has none.
pub(super) fn query(operation: &str, result: &str) -> Response<Bytes> {
    let id = request_id();
    let result = match result {
        "" => String::new(),
        result => format!("<{operation}Result>{result}</{operation}Result>"),
    };
    let body = format!(
        "<{operation}Response xmlns=\"{SNS}\">{result}<ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata>\
         </{operation}Response>"
    );
    let mut response = respond(StatusCode::OK, content_type(Service::Sns), body);
    insert(&mut response, REQUEST_ID, &id);
    response
}

/// A refusal as the service words it; without a service, in JSON.
pub(crate) fn error(service: Option<Service>, error: &AwsError) -> Response<Bytes> {
    let AwsError { status, code, message } = error;
    match service {
        Some(Service::S3) => {
            let (code, message) = (escape(code), escape(message));
            let head = r#"<?xml version="1.0" encoding="UTF-8"?>"#;
            let body = format!("{head}<Error><Code>{code}</Code><Message>{message}</Message></Error>");
            respond(*status, "application/xml", body)
        }
        Some(service @ Service::Sns) => {
            let side = if status.is_server_error() { "Receiver" } else { "Sender" };
            let (code, message) = (element("Code", code), element("Message", message));
            let id = request_id();
            let body = format!(
                "<ErrorResponse xmlns=\"{SNS}\"><Error><Type>{side}</Type>{code}{message}</Error>\
                 <RequestId>{id}</RequestId></ErrorResponse>"
            );
            let mut response = respond(*status, content_type(service), body);
            insert(&mut response, REQUEST_ID, &id);
            response
        }
        Some(service @ Service::Dynamodb) => {
            let body = object!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": message });
            respond(*status, content_type(service), body.to_string())
        }
        Some(service @ Service::Sqs) => {
            let body = object!({ "__type": format!("com.amazonaws.sqs#{code}"), "message": message });
            let mut response = respond(*status, content_type(service), body.to_string());
            let side = if status.is_server_error() { "Receiver" } else { "Sender" };
            insert(&mut response, QUERY_ERROR, &format!("{};{side}", query_code(code)));
            response
        }
        Some(service @ Service::Kms) => respond(
            *status,
            content_type(service),
            object!({ "__type": code, "message": message }).to_string(),
        ),
        Some(Service::Ses) | None => {
            let body = object!({ "__type": code, "message": message });
            let mut response = respond(*status, "application/json", body.to_string());
            insert(&mut response, ERROR_TYPE, code);
            response
        }
    }
}

/// The role does not allow the call.
pub(crate) fn denied(service: Service, message: &str) -> AwsError {
    // DynamoDB and KMS refuse with 400 (their API references, "Common Errors"), the others with 403; S3 has its own code.
    match service {
        Service::S3 => AwsError::new(StatusCode::FORBIDDEN, "AccessDenied", message),
        Service::Dynamodb | Service::Kms => AwsError::bad_request("AccessDeniedException", message),
        Service::Sns => AwsError::new(StatusCode::FORBIDDEN, "AuthorizationError", message),
        Service::Sqs | Service::Ses => AwsError::new(StatusCode::FORBIDDEN, "AccessDeniedException", message),
    }
}

/// An answer that no client can read.
pub(crate) fn garbage(service: Service) -> Response<Bytes> {
    respond(StatusCode::OK, content_type(service), "\u{1}{<")
}

/// Adds what every answer has: a request id and the date.
pub(super) fn stamp(mut response: Response<Bytes>, now: Timestamp) -> Response<Bytes> {
    if !response.headers().contains_key(REQUEST_ID) {
        insert(&mut response, REQUEST_ID, &request_id());
    }
    insert(
        &mut response,
        DATE,
        &now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string(),
    );
    response
}

const fn content_type(service: Service) -> &'static str {
    match service {
        Service::Dynamodb | Service::Sqs => "application/x-amz-json-1.0",
        Service::Kms => "application/x-amz-json-1.1",
        Service::Ses => "application/json",
        Service::S3 => "application/xml",
        Service::Sns => "text/xml",
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
    let body = body.into();
    let length = body.len();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// Sets a header; text that no header can hold is left out.
fn insert(response: &mut Response<Bytes>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// The code in the older protocol (`smithy.rules` of the SQS model: trait `aws.protocols#awsQueryError`).
fn query_code(code: &str) -> &str {
    match code {
        "QueueDoesNotExist" => "AWS.SimpleQueueService.NonExistentQueue",
        "QueueNameExists" => "QueueAlreadyExists",
        "MessageNotInflight" => "AWS.SimpleQueueService.MessageNotInflight",
        "PurgeQueueInProgress" => "AWS.SimpleQueueService.PurgeQueueInProgress",
        "EmptyBatchRequest" => "AWS.SimpleQueueService.EmptyBatchRequest",
        "TooManyEntriesInBatchRequest" => "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
        "BatchEntryIdsNotDistinct" => "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
        "BatchRequestTooLong" => "AWS.SimpleQueueService.BatchRequestTooLong",
        "InvalidBatchEntryId" => "AWS.SimpleQueueService.InvalidBatchEntryId",
        "KmsDisabled" => "KMS.DisabledException",
        "KmsInvalidKeyUsage" => "KMS.InvalidKeyUsageException",
        "KmsInvalidState" => "KMS.InvalidStateException",
        "KmsNotFound" => "KMS.NotFoundException",
        "UnsupportedOperation" => "AWS.SimpleQueueService.UnsupportedOperation",
        other => other,
    }
}

/// The id of a request; none where there is no randomness, since a call does not fail for it.
fn request_id() -> String {
    random::id().unwrap_or_default()
}
