//! Promise: the local AWS answers boto3 as AWS does, and where a foreign emulator differs, the difference is written down.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::system::Running;
use crate::tools::{PYTHON, file, suite, tool};

/// How long the emulator may take to listen.
const START: Duration = Duration::from_secs(60);

fn contract(endpoint: &str) -> Command {
    let mut command = Command::new(tool(PYTHON));
    command.arg(file("contract/run.py")).args(["--endpoint", endpoint]);
    // Nothing of this machine's own AWS settings takes part.
    command
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_aws_keeps_the_contract() {
    let running = Running::start().await;
    let mut command = contract(&format!("http://{}", running.system.aws_endpoint.unwrap()));
    command.arg("--clock").arg(format!("http://{}", running.system.mailbox));
    suite(&mut command, 120).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_emulator_differs_only_where_it_is_written_down() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = std::env::temp_dir().join(format!("sealpost-ministack-{port}"));
    std::fs::create_dir_all(&folder).unwrap();
    let mut emulator = Command::new(tool(PYTHON))
        .args(["-m", "ministack"])
        .env("GATEWAY_PORT", port.to_string())
        .env("BIND_HOST", "127.0.0.1")
        .env("TMPDIR", &folder)
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let listens = async {
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(emulator.try_wait().unwrap().is_none(), "ministack ended by itself");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(START, listens).await.expect("ministack listens");
    let mut command = contract(&format!("http://127.0.0.1:{port}"));
    suite(command.args(["--foreign", "ministack"]), 80).await;
    emulator.kill().await.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}
