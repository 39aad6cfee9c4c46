//! Points in time and spans, as people write them. Always UTC, since nothing tells where a reader is.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::text::{Lang, fill};

const MONTHS_EN: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const MONTHS_ES: [&str; 12] = [
    "enero",
    "febrero",
    "marzo",
    "abril",
    "mayo",
    "junio",
    "julio",
    "agosto",
    "septiembre",
    "octubre",
    "noviembre",
    "diciembre",
];

/// `November 24, 2026` or `24 de noviembre de 2026`.
pub(crate) fn day(at: Timestamp, lang: Lang) -> String {
    let at = at.to_zoned_datetime(TimeZone::UTC);
    let place = usize::try_from(at.month()).unwrap_or(1).saturating_sub(1);
    let (day, year) = (at.day(), at.year());
    match lang {
        Lang::En => format!("{} {day}, {year}", MONTHS_EN.get(place).copied().unwrap_or_default()),
        Lang::Es => format!(
            "{day} de {} de {year}",
            MONTHS_ES.get(place).copied().unwrap_or_default()
        ),
    }
}

/// `2:35 PM UTC` or `14:35 UTC`.
pub(crate) fn time(at: Timestamp, lang: Lang) -> String {
    let at = at.to_zoned_datetime(TimeZone::UTC);
    let (hour, minute) = (at.hour(), at.minute());
    match lang {
        Lang::En => {
            let half = if hour < 12 { "AM" } else { "PM" };
            let hour = (hour + 11) % 12 + 1;
            format!("{hour}:{minute:02} {half} UTC")
        }
        Lang::Es => format!("{hour}:{minute:02} UTC"),
    }
}

/// The whole minutes until `until`, at least one, in words.
pub(crate) fn minutes_until(until: Timestamp, now: Timestamp, lang: Lang) -> String {
    let n = seconds_until(until, now).saturating_add(59).div_euclid(60).max(1);
    match n {
        1 => lang.text().minute.to_owned(),
        n => fill(lang.text().minutes, &[("n", &n.to_string())]),
    }
}

/// The seconds until `until`, at least one.
pub(crate) fn seconds_until(until: Timestamp, now: Timestamp) -> i64 {
    until.as_second().saturating_sub(now.as_second()).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_people_write_them() {
        let cases = [
            (
                "2026-11-24T14:35:00Z",
                "November 24, 2026",
                "2:35 PM UTC",
                "24 de noviembre de 2026",
                "14:35 UTC",
            ),
            (
                "2026-01-01T00:05:59Z",
                "January 1, 2026",
                "12:05 AM UTC",
                "1 de enero de 2026",
                "0:05 UTC",
            ),
            (
                "2027-12-31T12:00:00Z",
                "December 31, 2027",
                "12:00 PM UTC",
                "31 de diciembre de 2027",
                "12:00 UTC",
            ),
        ];
        for (at, day_en, time_en, day_es, time_es) in cases {
            let at: Timestamp = at.parse().unwrap();
            assert_eq!(day(at, Lang::En), day_en);
            assert_eq!(time(at, Lang::En), time_en);
            assert_eq!(day(at, Lang::Es), day_es);
            assert_eq!(time(at, Lang::Es), time_es);
        }
    }

    #[test]
    fn spans_are_rounded_up() {
        let now: Timestamp = "2026-11-24T14:00:00Z".parse().unwrap();
        for (until, en, es) in [
            ("2026-11-24T15:00:00Z", "60 minutes", "60 minutos"),
            ("2026-11-24T14:14:01Z", "15 minutes", "15 minutos"),
            ("2026-11-24T14:00:20Z", "1 minute", "1 minuto"),
            ("2026-11-24T13:00:00Z", "1 minute", "1 minuto"),
        ] {
            let until = until.parse().unwrap();
            assert_eq!(minutes_until(until, now, Lang::En), en);
            assert_eq!(minutes_until(until, now, Lang::Es), es);
        }
    }
}
