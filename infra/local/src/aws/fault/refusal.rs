//! The refusals that a fault stands for, in the words of the service that is asked.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::Call;
use crate::aws::dynamodb;
use crate::aws::error::AwsError;
use crate::aws::wire::{Service, dynamodb_answer, error};

/// The service asks to slow down (the "Common Errors" page of each API reference).
pub(crate) fn throttled(service: Service) -> AwsError {
    let (status, code) = match service {
        Service::S3 => (StatusCode::SERVICE_UNAVAILABLE, "SlowDown"),
        Service::Sns => (StatusCode::TOO_MANY_REQUESTS, "Throttled"),
        Service::Ses => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException"),
        Service::Sqs => (StatusCode::FORBIDDEN, "RequestThrottled"),
        Service::Dynamodb | Service::Kms => (StatusCode::BAD_REQUEST, "ThrottlingException"),
    };
    AwsError::new(status, code, "Rate exceeded")
}

/// A fault that this call cannot have on AWS. It is named, so that a test does not believe in it.
pub(crate) fn impossible(service: Service, call: &Call, fault: &str) -> Response<Bytes> {
    let what = format!("the fault {fault} of {} {}", service.as_str(), call.operation);
    error(Some(service), &AwsError::not_implemented(&what))
}

/// Another transaction holds the first item of this call; `None` for a call that conflicts with nobody ("Transaction conflict
/// handling in DynamoDB", Developer Guide).
pub(crate) fn conflict(service: Service, operation: &str, body: &[u8]) -> Option<Response<Bytes>> {
    const WHY: &str = "Transaction is ongoing for the item";
    let of = |code: &str| format!("com.amazonaws.dynamodb.v20120810#{code}");
    let body = match (service, operation) {
        (Service::Dynamodb, "TransactWriteItems" | "TransactGetItems") => {
            let request: Value = serde_json::from_slice(body).ok()?;
            let n = request.get("TransactItems")?.as_array()?.len();
            let code = |n| if n == 0 { "TransactionConflict" } else { "None" };
            let codes: Vec<_> = (0..n).map(code).collect();
            let reason = |code: &&str| match *code {
                "None" => json!({ "Code": "None" }),
                code => json!({ "Code": code, "Message": WHY }),
            };
            let message = format!(
                "Transaction cancelled, please refer cancellation reasons for specific reasons [{}]",
                codes.join(", ")
            );
            json!({
                "__type": of("TransactionCanceledException"),
                "Message": message,
                "CancellationReasons": codes.iter().map(reason).collect::<Vec<_>>(),
            })
        }
        (Service::Dynamodb, "PutItem" | "UpdateItem" | "DeleteItem") => {
            json!({ "__type": of("TransactionConflictException"), "message": WHY })
        }
        _ => return None,
    };
    Some(dynamodb_answer(dynamodb::Answer {
        status: StatusCode::BAD_REQUEST,
        body: body.to_string().into_bytes(),
    }))
}
