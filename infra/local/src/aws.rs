//! The local AWS: DynamoDB by `dynoxide`, and small S3, KMS, SQS, SNS and SES services.
//!
//! An operation or parameter that is not implemented answers NotImplemented and names it, never a silent success. All
//! services read one clock. Nothing in `functions/` depends on any of this.

pub mod arn;
pub mod connector;
pub mod dynamodb;
pub mod error;
pub mod fault;
pub mod iam;
pub mod kms;
pub(crate) mod parameters;
pub(crate) mod random;
pub mod s3;
pub mod server;
pub mod ses;
pub mod sns;
pub mod sqs;
pub mod store;
pub mod tap;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod wire;
