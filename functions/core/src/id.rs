//! Typed, prefixed, unguessable ids that sort by the time of their making.
//!
//! An id is a prefix and 26 characters: 48 bits of milliseconds, then 80 random bits, in Crockford's base 32 (lower case).
//! The time in it makes an id unfit as a secret; links carry secrets of their own.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::error::Result;
use crate::random::Random;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LENGTH: usize = 26;

fn encode(mut value: u128) -> String {
    let mut text = [b'0'; LENGTH];
    for place in text.iter_mut().rev() {
        if let Some(&letter) = ALPHABET.get((value & 31) as usize) {
            *place = letter;
        }
        value >>= 5;
    }
    text.iter().map(|&letter| char::from(letter)).collect()
}

fn decode(text: &str) -> Option<u128> {
    if text.len() != LENGTH {
        return None;
    }
    text.bytes().try_fold(0_u128, |value, letter| {
        let digit = ALPHABET.iter().position(|&known| known == letter)?;
        value.checked_mul(32)?.checked_add(digit as u128)
    })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// What every such id begins with.
            pub const PREFIX: &'static str = $prefix;

            /// A new id.
            ///
            /// # Errors
            /// Internal, when there is no randomness.
            pub fn new(clock: &Clock, random: &Random) -> Result<Self> {
                let mut low = [0_u8; 16];
                low.iter_mut().skip(6).zip(random.bytes::<10>()?).for_each(|(place, byte)| *place = byte);
                let time = u128::try_from(clock.now_ms().max(0)).unwrap_or_default() & 0xffff_ffff_ffff;
                Ok(Self(format!("{}{}", $prefix, encode((time << 80) | u128::from_be_bytes(low)))))
            }

            /// The id in `text`, or nothing when it has not this form.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                decode(text.strip_prefix($prefix)?)?;
                Some(Self(text.to_owned()))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The 26 characters after the prefix.
            #[must_use]
            pub fn bare(&self) -> &str {
                self.0.strip_prefix($prefix).unwrap_or_default()
            }

            /// The id as 16 bytes.
            #[must_use]
            pub fn to_bytes(&self) -> [u8; 16] {
                decode(self.bare()).unwrap_or_default().to_be_bytes()
            }

            /// The id of these 16 bytes.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(format!("{}{}", $prefix, encode(u128::from_be_bytes(bytes))))
            }

            /// When the id was made, to the millisecond.
            #[must_use]
            pub fn made_at(&self) -> Timestamp {
                let ms = i64::try_from(u128::from_be_bytes(self.to_bytes()) >> 80).unwrap_or_default();
                Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A customer of this deployment: a hospital, a health plan, a software vendor.
    TenantId,
    "ten_"
);
id!(
    /// An API key, without its secret.
    ApiKeyId,
    "key_"
);
id!(
    /// One accepted email.
    EmailId,
    "em_"
);
id!(
    /// Emails that were accepted in one call.
    BatchId,
    "bat_"
);
id!(
    /// One email for one recipient.
    DeliveryId,
    "dlv_"
);
id!(
    /// An archived record and its key.
    RecordId,
    "rec_"
);
id!(
    /// A recipient's OpenPGP or S/MIME certificate.
    RecipientKeyId,
    "rk_"
);
id!(
    /// A portal message: one email, one recipient, one link.
    PickupId,
    "pu_"
);
id!(
    /// An audit entry that waits for its place in the log.
    AuditId,
    "aud_"
);
id!(
    /// Something that a customer is told of; also the id of its webhook.
    EventId,
    "evt_"
);
id!(
    /// That an address gets no mail, or none of some sort.
    SuppressionId,
    "sup_"
);
id!(
    /// A customer's webhook endpoint.
    WebhookId,
    "wh_"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_round_trip() {
        let clock = Clock::system();
        let first = EmailId::new(&clock, &Random::system()).unwrap();
        clock.advance_ms(5);
        let second = EmailId::new(&clock, &Random::system()).unwrap();
        assert!(first < second);
        assert_eq!(EmailId::parse(first.as_str()), Some(first.clone()));
        assert_eq!(EmailId::from_bytes(first.to_bytes()), first);
        assert!((second.made_at().as_millisecond() - clock.now_ms()).abs() < 1000);
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "",
            "em_",
            "em_0123",
            "dlv_01234567890123456789012345",
            "em_zzzzzzzzzzzzzzzzzzzzzzzzzz",
            "em_0123456789012345678901234!",
        ] {
            assert_eq!(EmailId::parse(text), None, "{text}");
        }
    }
}
