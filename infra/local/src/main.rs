//! `sealpost`: the whole system on one machine.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use sealpost_local::aws::fault::{CrashAt, Phase};
use sealpost_local::demo::{self, Row, Seed, Shown, Until};
use sealpost_local::mailbox::Method;
use sealpost_local::system::{Options, System};
use serde_json::json;
use tracing_subscriber::EnvFilter;

/// Sealpost on one machine: API, portal, mailbox and an embedded AWS in one process.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    up: Up,
}

#[expect(
    clippy::large_enum_variant,
    reason = "there is one of them, while the program starts"
)]
#[derive(Subcommand)]
enum Command {
    /// Run the system until Ctrl-C (what happens without a command as well).
    Up(Up),
    /// Send the demo batch in memory, print what each recipient got and why, and end.
    Demo,
    /// Print the OpenAPI description of the API.
    #[command(hide = true)]
    Openapi,
}

#[derive(Args)]
struct Up {
    /// Keep everything in memory.
    #[arg(long, conflicts_with = "data")]
    ephemeral: bool,
    /// Print one line of JSON when ready, instead of text for people.
    #[arg(long)]
    json: bool,
    /// Where the API listens; port 0 takes any free port.
    #[arg(long, value_name = "ADDRESS", default_value_t = local(8025))]
    api: SocketAddr,
    /// Where the portal listens.
    #[arg(long, value_name = "ADDRESS", default_value_t = local(8026))]
    portal: SocketAddr,
    /// Where the mailbox listens, in which every sent mail can be read.
    #[arg(long, value_name = "ADDRESS", default_value_t = local(8027))]
    mailbox: SocketAddr,
    /// Where the embedded AWS listens, for the AWS CLI and SDKs (--endpoint-url).
    #[arg(long, value_name = "ADDRESS", default_value_t = local(8028))]
    aws: SocketAddr,
    /// Where state is kept.
    #[arg(long, value_name = "FOLDER", default_value = ".sealpost")]
    data: PathBuf,
    /// What is logged to standard error: error, warn, info, debug, or a filter as tracing-subscriber takes it.
    #[arg(long, value_name = "LEVEL", env = "SEALPOST_LOG", default_value = "warn")]
    log: String,
    /// Kill the process at the n-th call of a function to AWS after the start, before or after its effect: of all calls, or
    /// of one function's calls of one operation.
    #[arg(long, value_name = "N:before|after[:FUNCTION:OPERATION]", hide = true)]
    crash_at: Option<Crash>,
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[derive(Clone)]
struct Crash(CrashAt);

impl FromStr for Crash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "a number and when, such as 12:before, 12:after or 1:after:tracking:TransactWriteItems";
        let (call, rest) = text.split_once(':').ok_or(FORM)?;
        let call = call.parse().ok().filter(|call| *call > 0).ok_or(FORM)?;
        let (phase, of) = match rest.split_once(':') {
            Some((phase, of)) => (phase, Some(of.split_once(':').ok_or(FORM)?)),
            None => (rest, None),
        };
        let phase = match phase {
            "before" => Phase::Before,
            "after" => Phase::After,
            _ => return Err(FORM),
        };
        let of = of.map(|(function, operation)| (format!("-{function}"), operation.to_owned()));
        Ok(Self(CrashAt { call, phase, of }))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Some(Command::Up(up)) => run(up).await,
        Some(Command::Demo) => demonstrate().await,
        Some(Command::Openapi) => print(&sealpost_local::openapi()),
        None => run(arguments.up).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where standard error is closed there is nobody to tell.
            writeln!(io::stderr(), "sealpost: {error:#}").unwrap_or_default();
            ExitCode::FAILURE
        }
    }
}

async fn run(up: Up) -> Result<()> {
    logs(&up.log)?;
    let ended = stop_signal()?;
    let system = System::start(Options {
        data: (!up.ephemeral).then_some(up.data),
        api: up.api,
        portal: up.portal,
        mailbox: up.mailbox,
        aws: Some(up.aws),
    })
    .await?;
    let seed = demo::seed(&system).await?;
    let example = example(&system, &seed);
    system.open_mailbox(demo::opener(demo::folder(&system)), example.clone());
    // For programs the system is ready at once and its mailbox empty; people see what it does.
    let rows = if seed.is_new && !up.json {
        demo::send(&system, &seed, Until::Sent).await?.rows
    } else {
        Vec::new()
    };
    if let Some(Crash(at)) = up.crash_at {
        system.crash_at(at);
    }
    let ready = if up.json {
        for_programs(&system, &seed)
    } else {
        for_people(&system, &seed, &rows, &example)
    };
    print(&ready)?;
    ended.await;
    system.stop().await;
    Ok(())
}

/// The demo without a server: what each recipient got, and how to open what was sealed.
async fn demonstrate() -> Result<()> {
    logs("warn")?;
    let any = local(0);
    let system = System::start(Options {
        data: None,
        api: any,
        portal: any,
        mailbox: any,
        aws: None,
    })
    .await?;
    let seed = demo::seed(&system).await?;
    let Shown { rows, told } = demo::send(&system, &seed, Until::Delivered).await?;
    let mut text = format!(
        "\nOne appointment reminder, six recipients:\n\n{}\n\
         A receiver of webhooks was told, and verified every signature (HMAC-SHA256 and Ed25519):\n\n{}\n",
        demo::table(&rows),
        demo::told_table(&told)
    );
    text.push_str(&by_hand(&demo::folder(&system), &rows));
    print(&text)?;
    system.stop().await;
    Ok(())
}

/// The commands that open the demo's sealed mails.
fn by_hand(folder: &Path, rows: &[Row]) -> String {
    let opener = demo::opener(folder.to_owned());
    let mut text = format!(
        "Keys and mails are in {}. What was sealed opens with the usual tools:\n",
        folder.display()
    );
    for row in rows {
        let method = match row.method.as_str() {
            "openpgp" => Method::OpenPgp,
            "smime" => Method::Smime,
            _ => continue,
        };
        if let Some(command) = opener(method, &row.address) {
            text.push_str(&format!(
                "\n  {command} < '{}'\n",
                folder.join(format!("{}.eml", row.address)).display()
            ));
        }
    }
    text
}

fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .context("standard output is closed")
}

fn logs(filter: &str) -> Result<()> {
    // The S3 protocol crate logs every refusal as an error, and requests with their headers.
    let filter = EnvFilter::try_new(format!("{filter},s3s=off")).context("--log is no filter")?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .init();
    sealpost_handler::logs::quiet_panics();
    Ok(())
}

/// Ctrl-C, or the signal by which service managers stop a program.
fn stop_signal() -> Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    Ok(async move {
        #[cfg(unix)]
        let terminated = terminate.recv();
        #[cfg(not(unix))]
        let terminated = std::future::pending::<Option<()>>();
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated => {}
        }
    })
}

fn for_programs(system: &System, seed: &Seed) -> String {
    json!({
        "api": format!("http://{}", system.api),
        "portal": format!("http://{}", system.portal),
        "mailbox": format!("http://{}", system.mailbox),
        "aws": system.aws_endpoint.map(|address| format!("http://{address}")),
        "api_key": seed.api_key,
    })
    .to_string()
}

fn for_people(system: &System, seed: &Seed, rows: &[Row], example: &str) -> String {
    let kept = match system.data() {
        Some(folder) => format!("in {}", folder.display()),
        None => "in memory".to_owned(),
    };
    let mut text = format!(
        "\nSealpost is ready. Nothing leaves this machine; state is kept {kept}.\n\n\
         \x20 API      http://{}\n  Portal   http://{}\n  Mailbox  http://{}   every mail that was sent\n",
        system.api, system.portal, system.mailbox
    );
    if let Some(address) = system.aws_endpoint {
        text.push_str(&format!(
            "  AWS      http://{address}   aws --endpoint-url http://{address} …\n"
        ));
    }
    if !rows.is_empty() {
        let table = demo::table(rows);
        text.push_str(&format!(
            "\nThe demo sent one appointment reminder to six recipients:\n\n{table}\n"
        ));
    }
    text.push_str(&format!(
        "  API key  {}\n\nSend an email:\n\n{example}\n\nCtrl-C stops it.",
        seed.api_key
    ));
    text
}

/// The command that sends a first email.
fn example(system: &System, seed: &Seed) -> String {
    let email = json!({
        "from": demo::SENDER,
        "to": "pat@patient.test",
        "subject": "Your results",
        "text": "They are fine.",
    });
    format!(
        "curl -s http://{}/emails \\\n  -H 'Authorization: Bearer {}' \\\n  -H 'Content-Type: application/json' \\\n  -d '{email}'",
        system.api, seed.api_key
    )
}
