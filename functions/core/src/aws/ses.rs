//! The only way to SES: one function, which takes `Sealed`.
//!
//! The client makes one attempt. SES has no idempotency token, so a repeat on the wire is a second mail; what to do after an
//! answer that never came is the reconciler's business, not the client's.

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_sdk_sesv2::primitives::Blob;
use aws_sdk_sesv2::types::{Destination, EmailContent, MessageTag, RawMessage};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::site;
use crate::config::Config;
use crate::planted;
use crate::seal::{Mode, Sealed};
use crate::simulator;

/// The SES client.
pub struct Ses {
    client: aws_sdk_sesv2::Client,
}

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Submission {
    /// SES has it.
    Accepted {
        /// The id that SES gave it.
        message_id: String,
    },
    /// SES certainly does not have it, and a later attempt may succeed.
    Later {
        /// AWS's error code.
        code: String,
    },
    /// SES certainly does not have it and never will.
    Refused {
        /// AWS's error code.
        code: String,
    },
    /// SES may or may not have it.
    Ambiguous,
}

impl Ses {
    pub(crate) fn new(sdk: &SdkConfig) -> Self {
        let config = aws_sdk_sesv2::config::Builder::from(sdk)
            .retry_config(match crate::planted!("bug_01") {
                true => RetryConfig::standard(),
                false => RetryConfig::disabled(),
            })
            .build();
        Self {
            client: aws_sdk_sesv2::Client::from_conf(config),
        }
    }

    /// Mails a second that the account may send; nothing when SES does not tell.
    pub(crate) async fn max_send_rate(&self) -> Option<f64> {
        let account = site::call(self.client.get_account().send()).await.ok()?;
        Some(account.send_quota?.max_send_rate)
    }

    /// Hands one sealed mail for one recipient to SES, unless the recipient is a simulated one. Tags hold opaque ids only (SES developer guide: no addresses or
    /// other confidential data in tags).
    pub(crate) async fn send<M: Mode>(
        &self,
        config: &Config,
        sealed: &Sealed<M>,
        tags: &[(&str, String)],
    ) -> Submission {
        if simulator::is_simulated(sealed.recipient()) {
            return Submission::Refused {
                code: "SimulatedRecipient".to_owned(),
            };
        }
        let tags = tags
            .iter()
            .map(|(name, value)| MessageTag::builder().name(*name).value(value).build());
        let (Ok(tags), Ok(raw)) = (
            tags.collect::<Result<Vec<_>, _>>(),
            RawMessage::builder().data(Blob::new(sealed.raw())).build(),
        ) else {
            return Submission::Refused {
                code: "ConstructionFailure".to_owned(),
            };
        };
        let send = self
            .client
            .send_email()
            .from_email_address(sealed.sender().as_str())
            .destination({
                let one = Destination::builder().to_addresses(sealed.recipient().as_str());
                match crate::planted!("bug_21") {
                    true => one.to_addresses(sealed.sender().as_str()).build(),
                    false => one.build(),
                }
            })
            .content(EmailContent::builder().raw(raw).build())
            .configuration_set_name(M::configuration_set(config))
            .set_email_tags(Some(tags));
        match site::call(send.send()).await {
            Ok(answer) => match answer.message_id {
                Some(message_id) => Submission::Accepted { message_id },
                None => Submission::Ambiguous,
            },
            Err(error) => {
                if planted!("leak_05") {
                    tracing::warn!("SES does not take a mail: {error:?}");
                }
                classify(&error)
            }
        }
    }
}

impl Submission {
    /// Whether SES refused it as too fast or too much.
    pub(crate) fn is_throttle(&self) -> bool {
        matches!(self, Submission::Later { code } if THROTTLES.contains(&code.as_str()))
    }
}

/// What SES says of too many mails. An over-quota call is dropped by SES ("Managing sending quotas: errors"), so it was not
/// accepted.
const THROTTLES: [&str; 4] = [
    "TooManyRequestsException",
    "ThrottlingException",
    "Throttling",
    "LimitExceededException",
];

/// Sorts a failed call into refused for now, refused for good and unknown.
fn classify<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Submission {
    match error {
        SdkError::ConstructionFailure(_) => Submission::Refused {
            code: "ConstructionFailure".to_owned(),
        },
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let code = service.err().code().unwrap_or("Unknown").to_owned();
            match code.as_str() {
                throttle if THROTTLES.contains(&throttle) && !crate::planted!("bug_05") => Submission::Later { code },
                "MessageRejected" | "BadRequestException" | "ValidationException" => Submission::Refused { code },
                _ if (400..500).contains(&status) && !crate::planted!("bug_05") => Submission::Later { code },
                _ => Submission::Ambiguous,
            }
        }
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) if crate::planted!("bug_06") => Submission::Later {
            code: "Timeout".to_owned(),
        },
        _ => Submission::Ambiguous,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_sesv2::error::ErrorMetadata;
    use aws_smithy_runtime_api::http::{Response, StatusCode};
    use aws_smithy_types::body::SdkBody;

    fn refusal(code: &str, status: u16) -> Submission {
        let error =
            aws_sdk_sesv2::operation::send_email::SendEmailError::generic(ErrorMetadata::builder().code(code).build());
        let raw = Response::new(StatusCode::try_from(status).unwrap(), SdkBody::empty());
        classify(&SdkError::service_error(error, raw))
    }

    #[test]
    fn only_a_definite_refusal_may_lead_to_another_attempt() {
        let later = |code: &str| Submission::Later { code: code.to_owned() };
        let refused = |code: &str| Submission::Refused { code: code.to_owned() };
        assert_eq!(
            refusal("TooManyRequestsException", 429),
            later("TooManyRequestsException")
        );
        assert!(refusal("TooManyRequestsException", 429).is_throttle());
        assert!(!refusal("SendingPausedException", 400).is_throttle());
        assert_eq!(refusal("SendingPausedException", 400), later("SendingPausedException"));
        assert_eq!(refusal("NotFoundException", 404), later("NotFoundException"));
        assert_eq!(refusal("AccessDeniedException", 403), later("AccessDeniedException"));
        assert_eq!(refusal("MessageRejected", 400), refused("MessageRejected"));
        assert_eq!(refusal("InternalServiceErrorException", 500), Submission::Ambiguous);
        assert_eq!(refusal("Unknown", 503), Submission::Ambiguous);
        let timeout: SdkError<aws_sdk_sesv2::operation::send_email::SendEmailError, HttpResponse> =
            SdkError::timeout_error("late");
        assert_eq!(classify(&timeout), Submission::Ambiguous);
    }
}
