//! Milliseconds since the epoch, as the protocol writes them.

use std::time::{Duration, SystemTime};

use s3s::dto::{Timestamp, TimestampFormat};

/// The protocol's timestamp for `ms`; what is before 1970 becomes 1970.
pub(super) fn stamp(ms: i64) -> Timestamp {
    Timestamp::from(SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
}

/// Milliseconds since the epoch, exact for every date that a lock can name.
pub(super) fn millis(stamp: &Timestamp) -> i64 {
    let mut text = Vec::new();
    let seconds = stamp
        .format(TimestampFormat::EpochSeconds, &mut text)
        .ok()
        .and_then(|()| String::from_utf8(text).ok())
        .and_then(|text| text.parse::<f64>().ok())
        .unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, reason = "a float to integer cast saturates")]
    let ms = (seconds * 1000.0).round() as i64;
    ms
}

/// `now` as an HTTP date (RFC 9110 section 5.6.7).
pub(super) fn http_date(now: jiff::Timestamp) -> String {
    now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_survive_the_protocol() {
        for ms in [0, 1, 999, 1_795_500_000_123, 4_102_444_800_001] {
            assert_eq!(millis(&stamp(ms)), ms);
        }
    }

    #[test]
    fn an_offset_is_not_lost() {
        let stamp = Timestamp::parse(TimestampFormat::DateTime, "2027-01-01T02:00:00+02:00").unwrap();
        assert_eq!(millis(&stamp), 1_798_761_600_000);
    }
}
