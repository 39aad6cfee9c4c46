//! The local AWS as one thing: a request comes in as it would to AWS, and the service it names answers.
//!
//! A caller with a role is held to it. Who signed a request, and whether the signature holds, is not looked at (S3 looks at
//! its own): the local AWS listens on loopback only.

mod answer;
pub(crate) mod form;
mod target;

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, RwLock};

use anyhow::Context;
use bytes::Bytes;
use http::{Request, Response};
use sealpost_core::clock::Clock;
use serde_json::Value;

use super::dynamodb::Dynamodb;
use super::error::AwsError;
use super::fault::{Hook, Pace};
use super::iam::{Need, Role};
use super::kms::Kms;
use super::s3::{Keys, Permissions, S3};
use super::ses::Ses;
use super::sns::Sns;
use super::sqs::Sqs;
use super::tap::Tap;
pub(crate) use answer::{denied, dynamodb as dynamodb_answer, error, garbage, json as json_answer};
pub(crate) use target::{Service, Target};

/// The code by which SES says that it accepted the mail and the answer must not arrive.
pub const REPLY_LOST: &str = "Sealpost.ReplyLost";

/// All services, on one clock.
pub struct Aws {
    /// Tables.
    pub dynamodb: Dynamodb,
    /// Objects.
    pub s3: S3,
    /// Keys.
    pub kms: Arc<Kms>,
    /// Queues.
    pub sqs: Arc<Sqs>,
    /// Topics.
    pub sns: Arc<Sns>,
    /// Mail.
    pub ses: Arc<Ses>,
    /// The system's clock.
    pub clock: Clock,
    pub(crate) hook: RwLock<Option<Hook>>,
    pub(crate) pace: RwLock<Option<Pace>>,
    pub(crate) n_calls: AtomicU64,
    pub(crate) tap: RwLock<Option<Tap>>,
}

/// Who calls.
#[derive(Clone, Default)]
pub struct Caller {
    /// The role to hold the caller to; `None` may do everything.
    pub role: Option<Arc<Role>>,
}

/// What a caller gets.
#[derive(Debug)]
pub enum Reply {
    /// An answer.
    Answer(Response<Bytes>),
    /// What was asked is done, and the connection breaks before an answer comes.
    Lost,
}

impl Aws {
    /// Opens every service's file in `dir` (which is made if it is missing), or memory for `None`.
    ///
    /// # Errors
    /// When the folder cannot be made or a file cannot be opened.
    pub fn open(dir: Option<&Path>, clock: Clock) -> anyhow::Result<Arc<Self>> {
        if let Some(dir) = dir {
            std::fs::create_dir_all(dir).context("the folder of the local AWS cannot be made")?;
        }
        let file = |name: &str| dir.map(|dir| dir.join(name));
        let kms = Kms::open(file("kms.sqlite").as_deref(), clock.clone()).context("the keys cannot be opened")?;
        let kms = Arc::new(kms);
        let sqs = Sqs::open(file("sqs.sqlite").as_deref(), clock.clone(), Arc::clone(&kms))
            .context("the queues cannot be opened")?;
        let sqs = Arc::new(sqs);
        let sns = Sns::open(file("sns.sqlite").as_deref(), clock.clone(), Arc::clone(&sqs))
            .context("the topics cannot be opened")?;
        let sns = Arc::new(sns);
        let ses = Ses::open(file("ses.sqlite").as_deref(), clock.clone(), Arc::clone(&sns))
            .context("the mail cannot be opened")?;
        Ok(Arc::new(Self {
            dynamodb: Dynamodb::open(file("dynamodb.sqlite").as_deref())?,
            s3: S3::open(file("s3.sqlite").as_deref(), clock.clone()).context("the buckets cannot be opened")?,
            kms,
            sqs,
            sns,
            ses: Arc::new(ses),
            clock,
            hook: RwLock::new(None),
            pace: RwLock::new(None),
            n_calls: AtomicU64::new(0),
            tap: RwLock::new(None),
        }))
    }

    /// Answers one request as AWS would.
    pub async fn dispatch(&self, caller: &Caller, request: Request<Bytes>) -> Reply {
        let reply = match Target::of(&request) {
            Ok(target) => {
                self.tell_tap(caller, &target, &request);
                self.serve(caller, &target, request).await
            }
            Err(error) => Reply::Answer(answer::error(None, &error)),
        };
        match reply {
            Reply::Answer(response) => Reply::Answer(answer::stamp(response, self.clock.now())),
            Reply::Lost => Reply::Lost,
        }
    }

    async fn serve(&self, caller: &Caller, target: &Target, mut request: Request<Bytes>) -> Reply {
        if let Some(role) = &caller.role
            && let Err(error) = role.check(&self.needs(target, &request))
        {
            return Reply::Answer(answer::error(Some(target.service), &error.of(target.service)));
        }
        let operation = target.operation.as_str();
        let answered = match target.service {
            Service::S3 => {
                if let Some(role) = caller.role.clone() {
                    let may = move |action: &str, resource: &str| role.check(&[Need::plain(action, resource)]).is_ok();
                    request.extensions_mut().insert(Permissions::new(may));
                }
                request.extensions_mut().insert(self.keys_for(caller));
                return Reply::Answer(self.s3.call(request).await);
            }
            Service::Dynamodb => {
                let answer = self.dynamodb.call(operation, request.body()).await;
                return Reply::Answer(answer::dynamodb(answer));
            }
            Service::Kms => match json(&request) {
                Ok(body) => self.kms.call(operation, body).await,
                Err(error) => Err(error),
            },
            Service::Sqs => match json(&request) {
                Ok(body) => self.sqs.call(operation, body).await,
                Err(error) => Err(error),
            },
            Service::Sns => {
                let answer = form::parameters(request.body()).and_then(|given| self.sns.call(operation, given));
                return Reply::Answer(match answer {
                    Ok(result) => answer::query(operation, &result),
                    Err(error) => answer::error(Some(target.service), &error),
                });
            }
            Service::Ses => match json(&request) {
                Ok(body) => {
                    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
                    let caller = caller.role.as_ref().map_or("root", |role| role.name());
                    self.ses.call_as(caller, request.method(), path, body).await
                }
                Err(error) => Err(error),
            },
        };
        match answered {
            Ok(body) => Reply::Answer(answer::json(target.service, &body)),
            Err(error) if error.code == REPLY_LOST => Reply::Lost,
            Err(error) => Reply::Answer(answer::error(Some(target.service), &error)),
        }
    }
}

impl Aws {
    /// The keys that S3 may use for a caller: those that its role allows and that are enabled.
    fn keys_for(&self, caller: &Caller) -> Keys {
        let (kms, role) = (Arc::clone(&self.kms), caller.role.clone());
        Keys::new(move |key, action| {
            if let (Some(role), Some(found)) = (&role, kms.locate(key)) {
                let need = Need::plain(&format!("kms:{action}"), found.arn);
                role.check(&[need]).map_err(|denied| denied.of(Service::S3))?;
            }
            kms.serves(key).map_err(|refusal| AwsError {
                code: format!("KMS.{}", refusal.code),
                ..refusal
            })
        })
    }
}

/// The request's body; an empty one is an empty object.
pub(crate) fn json(request: &Request<Bytes>) -> Result<Value, AwsError> {
    if request.body().is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    let parsed = serde_json::from_slice(request.body());
    parsed.map_err(|_| AwsError::bad_request("SerializationException", "The request's body is not JSON."))
}
