//! The Lambda function `webhook`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    sealpost_handler::run(webhook::handle).await
}
