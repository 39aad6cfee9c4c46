//! The search finds what it is there for: twenty leaks are planted, one after the other, each at one sink in one encoding, and
//! each has to be found in that very sink by that very decoder.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use sealpost_core::planted;

use super::field::Canaries;
use super::is_alone;
use super::scenario::{self, Deed};
use super::sink::{self, Leak, Recorder, Sink, Way};
use super::stage::Stage;

/// A planted leak: name, what it is, what shows it, and where it has to be found, in which field, by which decoders.
struct Plant {
    name: &'static str,
    what: &'static str,
    deed: Deed,
    sink: Sink,
    field: &'static str,
    encoding: &'static str,
}

#[rustfmt::skip]
const PLANTS: [Plant; 20] = [
    Plant { name: "leak_01", what: "an address in a log line", deed: Deed::Mail("tls"), sink: Sink::Log, field: "to.local", encoding: "as it is" },
    Plant { name: "leak_02", what: "serde's words in an error", deed: Deed::Mistake, sink: Sink::ErrorBody, field: "unknown_variant", encoding: "as it is" },
    Plant { name: "leak_03", what: "the recipient as a tag of SES", deed: Deed::Mail("tls"), sink: Sink::MailTag, field: "to.local", encoding: "as it is" },
    Plant { name: "leak_04", what: "an address as a table key", deed: Deed::Mail("tls"), sink: Sink::TableKey, field: "to.local", encoding: "as it is" },
    Plant { name: "leak_05", what: "an SDK error's Debug in a log line", deed: Deed::Refused, sink: Sink::Log, field: "from.local", encoding: "as it is" },
    Plant { name: "leak_06", what: "a file's name as metadata of S3", deed: Deed::Mail("tls"), sink: Sink::ObjectMetadata, field: "attachment.filename", encoding: "percent" },
    Plant { name: "leak_07", what: "a preview of the text on a queue", deed: Deed::Mail("tls"), sink: Sink::Queue, field: "text", encoding: "as it is" },
    Plant { name: "leak_08", what: "a summary in gzip beside an email", deed: Deed::Mail("tls"), sink: Sink::TableAttribute, field: "subject", encoding: "base64 › deflate" },
    Plant { name: "leak_09", what: "the subject in a webhook, in base64", deed: Deed::Mail("tls"), sink: Sink::WebhookBody, field: "subject", encoding: "base64" },
    Plant { name: "leak_10", what: "an address's SHA-256 in an audit entry", deed: Deed::Mail("tls"), sink: Sink::Audit, field: "to.local", encoding: "hex › SHA-256" },
    Plant { name: "leak_11", what: "the subject in a panic", deed: Deed::Lost, sink: Sink::Panic, field: "subject", encoding: "as it is" },
    Plant { name: "leak_12", what: "blind copies in a header field", deed: Deed::Mail("tls"), sink: Sink::Mail(Way::Tls), field: "bcc.local", encoding: "as it is" },
    Plant { name: "leak_13", what: "the real subject on a notice", deed: Deed::Mail("portal"), sink: Sink::Mail(Way::Portal), field: "subject", encoding: "as it is" },
    Plant { name: "leak_14", what: "the subject in hex in a span", deed: Deed::Mail("tls"), sink: Sink::Log, field: "subject", encoding: "hex" },
    Plant { name: "leak_15", what: "the text in UTF-16 beside a record", deed: Deed::Mail("tls"), sink: Sink::TableAttribute, field: "text", encoding: "base64 › UTF-16" },
    Plant { name: "leak_16", what: "the patient's number in a portal link", deed: Deed::Mail("portal"), sink: Sink::Mail(Way::Portal), field: "patient_ref", encoding: "percent" },
    Plant { name: "leak_17", what: "the address where a counted link leads", deed: Deed::Marketing, sink: Sink::Location, field: "to.local", encoding: "as it is" },
    Plant { name: "leak_18", what: "the subject outside of OpenPGP", deed: Deed::Mail("openpgp"), sink: Sink::Mail(Way::OpenPgp), field: "subject", encoding: "as it is" },
    Plant { name: "leak_19", what: "what is no event of SES in a log line", deed: Deed::WrongEvents, sink: Sink::Log, field: "ses_event.text", encoding: "as it is" },
    Plant { name: "leak_20", what: "an address in a response header", deed: Deed::Suppressions, sink: Sink::ResponseHeader, field: "suppression.email", encoding: "as it is" },
];

/// Every leak that shows while this one is planted.
async fn leaks(stage: &Arc<Stage>, plant: &Plant) -> BTreeSet<Leak> {
    planted::set_everywhere(Some(plant.name));
    let canaries = scenario::done(stage, plant.deed).await;
    stage.listen_to_the_end().await;
    planted::set_everywhere(None);
    sink::search(&stage.recorder.take(), &canaries).leaks
}

#[tokio::test(flavor = "multi_thread")]
async fn every_planted_leak_is_found_in_its_sink() {
    if !is_alone("canary::planted::every_planted_leak_is_found_in_its_sink").await {
        return;
    }
    let start = Instant::now();
    let stage = Arc::new(Stage::open(Recorder::install()).await);
    stage.recorder.take();
    let mut missed = Vec::new();
    println!("{:<8} {:<40} {:<22} {:<18} found by", "leak", "what", "sink", "field");
    // What leaves messages behind that are tried again comes last; the others need not wait for that.
    let is_messy = |plant: &&Plant| matches!(plant.deed, Deed::Lost | Deed::WrongEvents);
    let tidy = PLANTS.iter().filter(|plant| !is_messy(plant));
    for plant in tidy.chain(PLANTS.iter().filter(is_messy)) {
        let leaks = leaks(&stage, plant).await;
        let is_it = |leak: &&Leak| {
            leak.sink == plant.sink && leak.hit.field == plant.field && leak.hit.encoding == plant.encoding
        };
        let found = leaks.iter().find(is_it);
        let by = found.map_or_else(
            || format!("NOT FOUND among {leaks:?}"),
            |leak| leak.hit.encoding.clone(),
        );
        println!(
            "{:<8} {:<40} {:<22} {:<18} {by}",
            plant.name,
            plant.what,
            format!("{:?}", plant.sink),
            plant.field
        );
        if found.is_none() {
            missed.push((plant.name, leaks));
        }
    }
    let n_found = PLANTS.len() - missed.len();
    println!("{n_found} of {} found in {:.1?}", PLANTS.len(), start.elapsed());
    crate::rig::row(
        "planted leaks, each to be found by the search",
        PLANTS.len(),
        missed.len(),
    );
    let surprises = stage.surprises();
    assert!(missed.is_empty(), "{missed:#?} {surprises:#?}");
    assert!(surprises.is_empty(), "{surprises:#?}");
}

#[test]
fn every_sink_is_searched() {
    let recorder = Recorder::default();
    for sink in super::SINKS.into_iter().chain([Sink::Panic]) {
        let mut canaries = Canaries::default();
        let canary = canaries.make("patient_ref");
        recorder.add(sink, "here", format!("MRN {canary}"));
        let leaks = sink::search(&recorder.take(), &canaries).leaks;
        assert_eq!(leaks.first().map(|leak| leak.sink), Some(sink));
    }
}
