//! The Lambda function `tracking`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    sealpost_handler::run(tracking::handle).await
}
