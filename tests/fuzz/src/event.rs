//! What comes from queues and schedules.

use sealpost_core::aws::queue::{Hint, Ticket};
use sealpost_core::delivery::notification::{self, Read};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::handler;

/// An event of SES is of a delivery only when it names one whole.
pub(crate) fn notification(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match notification::read(&text) {
        Read::Event(event) => {
            let value: Value = serde_json::from_str(&text).expect("an event is JSON");
            let tag = |name: &str| value["mail"]["tags"][name][0].as_str();
            assert_eq!(tag("tenant"), Some(event.tenant.as_str()));
            assert_eq!(tag("email"), Some(event.email.as_str()));
            assert_eq!(tag("delivery"), Some(event.delivery.as_str()));
            assert_eq!(tag("proof"), Some(event.proof.as_str()));
        }
        Read::Other => {}
        Read::Malformed => assert!(!text.trim().is_empty() || data.len() < 1_000_000),
    }
}

/// A message of our queues is written as it was read.
pub(crate) fn message(data: &[u8]) {
    same::<Ticket>(data);
    same::<Hint>(data);
}

fn same<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(data: &[u8]) {
    if let Ok(read) = serde_json::from_slice::<T>(data) {
        let written = serde_json::to_vec(&read).expect("it is written");
        assert_eq!(serde_json::from_slice::<T>(&written).expect("it is read again"), read);
    }
}

/// Whatever invokes a function: it answers, and what it cannot read it leaves on the queue.
pub(crate) fn lambda(data: &[u8]) {
    handler::invoke(data);
}
