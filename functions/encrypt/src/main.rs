//! The Lambda function `encrypt`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    sealpost_handler::run(encrypt::handle).await
}
