//! The Lambda function `retention`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    sealpost_handler::run(retention::handle).await
}
