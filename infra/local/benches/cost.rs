//! What sealing costs in CPU time for each method, and how many emails a second the API of the local run takes.
//!
//! `cargo bench --workspace --bench cost`. Every sealing is of one text of 20 KB; the figure is the CPU time of the fastest
//! of seven rounds, since other work on the machine only ever adds to it. The API's figure has the whole system in one
//! process: the local AWS, the handlers, and the deliveries that run meanwhile.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement prints what it measured, and its keys are valid now"
)]

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use sealpost_codec::address::{Address, Mailbox};
use sealpost_codec::envelope::{self, WrappingKey};
use sealpost_codec::mime::{self, Content, SmimeType};
use sealpost_codec::openpgp;
use sealpost_codec::smime::signing::Prepared;
use sealpost_codec::smime::{self, ContentCipher, SignerDetails, UnsignedSignerCertificate};
use sealpost_local::demo::{self, keys};
use sealpost_local::system::{Options, System};

const ROUNDS: u32 = 7;
const NOW_S: i64 = 1_800_000_000;
const YEAR_S: i64 = 365 * 86_400;

fn main() -> Result<()> {
    sealing()?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(api())
}

/// CPU time of this thread, which is the only one while sealing is measured.
fn thread_cpu() -> Result<Duration> {
    let line = fs::read_to_string("/proc/thread-self/schedstat")?;
    let ns = line.split_whitespace().next().context("no CPU time")?;
    Ok(Duration::from_nanos(ns.parse()?))
}

/// CPU time of the whole process. Linux counts it in hundredths of a second (`man 5 proc_pid_stat`, fields 14 and 15).
fn process_cpu() -> Result<Duration> {
    let line = fs::read_to_string("/proc/self/stat")?;
    let fields = line.rsplit(')').next().context("no fields")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    Ok(Duration::from_millis(ticks.sum::<Result<u64, _>>()?.saturating_mul(10)))
}

fn measure(what: &str, n: u32, mut once: impl FnMut() -> Result<usize>) -> Result<()> {
    let mut best = Duration::MAX;
    let mut size = 0;
    for _ in 0..ROUNDS {
        let start = thread_cpu()?;
        for _ in 0..n {
            size = black_box(once()?);
        }
        best = best.min(thread_cpu()?.saturating_sub(start));
    }
    println!(
        "{what:<44}{:>9.1} us{size:>9} bytes",
        best.as_secs_f64() * 1e6 / f64::from(n)
    );
    Ok(())
}

fn sealing() -> Result<()> {
    let address = Address::parse("pat@patient.test")?;
    let from = Mailbox::parse("Clinic <care@clinic.test>")?;
    let sentence = "The result of your blood test is in; everything is within its range. ";
    let content = Content {
        from: from.clone(),
        reply_to: Vec::new(),
        to: vec![Mailbox::parse("pat@patient.test")?],
        cc: Vec::new(),
        subject: "Your results".to_owned(),
        text: Some(sentence.repeat(20_480_usize.div_ceil(sentence.len()))),
        html: None,
        attachments: Vec::new(),
        headers: Vec::new(),
        message_id: "01234567890123456789@clinic.test".to_owned(),
        date: NOW_S,
    };
    println!("{:<44}{:>12}{:>15}", "sealing 20 KB", "CPU", "mail");
    measure("tls", 3000, || Ok(mime::message(&content)?.len()))?;

    let key = WrappingKey {
        namespace: "sealpost".to_owned(),
        name: "measure".to_owned(),
        key: zeroize_key(),
    };
    let context = BTreeMap::from([("tenant".to_owned(), "measure".to_owned())]);
    let message = mime::message(&content)?;
    let notice = Content {
        text: Some(sentence.repeat(14)),
        ..content.clone()
    };
    measure("portal: copy and notice", 6000, || {
        let copy = envelope::seal(&key, &context, &message)?;
        Ok(black_box(copy).len().min(1) + mime::message(&notice)?.len() - 1)
    })?;

    let pair = keys::openpgp("Pat", address.as_str())?;
    let certificate = openpgp::Certificate::import(pair.public.as_bytes(), &address, now_s())
        .map_err(|refusal| anyhow::anyhow!("{}", refusal.reason()))?;
    measure("openpgp, X25519, AES-256", 800, || {
        let inner = mime::protected(&content)?;
        let armored = openpgp::encrypt(&inner, &certificate, now_s())?;
        Ok(mime::encrypted_openpgp(&content.outer(), &armored)?.len())
    })?;

    let pair = keys::smime("Pat", address.as_str(), now_s(), now_s() + YEAR_S)?;
    let certificate = smime::Certificate::import(pair.public.as_bytes(), &address, now_s())
        .map_err(|refusal| anyhow::anyhow!("{}", refusal.reason()))?;
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)?;
    let signing = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref())?;
    let details = SignerDetails {
        organisation: "Clinic",
        address: &from.address,
        serial: [7; 16],
        not_before: now_s() - 60,
        not_after: now_s() + YEAR_S,
    };
    let spki = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(signing.public_key())?;
    let unsigned = UnsignedSignerCertificate::new(spki.as_ref(), &details)?;
    let signature = signing.sign(&random, unsigned.to_be_signed())?;
    let signer = unsigned.finish(signature.as_ref())?;
    for (name, cipher, kind) in [
        (
            "smime, signed, RSA-2048, AES-256-GCM",
            ContentCipher::Aes256Gcm,
            SmimeType::AuthEnvelopedData,
        ),
        (
            "smime, signed, RSA-2048, AES-256-CBC",
            ContentCipher::Aes256Cbc,
            SmimeType::EnvelopedData,
        ),
    ] {
        measure(name, 1000, || {
            let inner = mime::protected(&content)?;
            let prepared = Prepared::new(&inner, &signer, now_s())?;
            let signature = signing.sign(&random, prepared.to_be_signed())?;
            let signed = mime::signed(&inner, &prepared.finish(signature.as_ref())?)?;
            let der = smime::encrypt(&signed, &certificate, cipher)?;
            Ok(mime::encrypted_smime(&content.outer(), &der, kind)?.len())
        })?;
    }
    Ok(())
}

fn now_s() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn zeroize_key() -> zeroize::Zeroizing<[u8; 32]> {
    zeroize::Zeroizing::new([7; 32])
}

/// `POST /emails` with a text of 10 KB, from as many connections as the machine has processors times four.
async fn api() -> Result<()> {
    const EMAILS: u32 = 400;
    const CONNECTIONS: u32 = 8;
    let any = "127.0.0.1:0".parse()?;
    let options = Options {
        data: None,
        api: any,
        portal: any,
        mailbox: any,
        aws: None,
    };
    let system = System::start(options).await?;
    let seed = demo::seed(&system).await?;
    let url = format!("http://{}/emails", system.api);
    let http = reqwest::Client::new();
    let (start, cpu) = (Instant::now(), process_cpu()?);
    let mut senders = tokio::task::JoinSet::new();
    for connection in 0..CONNECTIONS {
        let (http, url, key) = (http.clone(), url.clone(), seed.api_key.clone());
        senders.spawn(async move {
            for n in 0..EMAILS / CONNECTIONS {
                let body = serde_json::json!({
                    "from": demo::SENDER,
                    "to": format!("pat{connection}-{n}@patient.test"),
                    "subject": "Your results",
                    "text": "All is well. ".repeat(800),
                });
                let answer = http.post(&url).bearer_auth(&key).body(body.to_string());
                let answer = answer.header("content-type", "application/json").send().await?;
                ensure!(answer.status().is_success(), "an email was not accepted");
            }
            Ok(())
        });
    }
    while let Some(done) = senders.join_next().await {
        done??;
    }
    let taken = start.elapsed();
    println!(
        "\nPOST /emails, {CONNECTIONS} connections: {:.0} requests/s",
        f64::from(EMAILS) / taken.as_secs_f64()
    );
    ensure!(
        system.settled(Duration::from_secs(60)).await?,
        "the deliveries do not end"
    );
    let (taken, cpu) = (start.elapsed(), process_cpu()?.saturating_sub(cpu));
    println!(
        "accepted and delivered: {:.0} emails/s; {:.1} ms CPU an email, the local AWS included",
        f64::from(EMAILS) / taken.as_secs_f64(),
        cpu.as_secs_f64() * 1e3 / f64::from(EMAILS),
    );
    system.stop().await;
    Ok(())
}
