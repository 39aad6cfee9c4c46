//! Random ids, from the one random source of the system.

use std::cell::RefCell;

use http::StatusCode;
use sealpost_core::random::Random;

use super::error::AwsError;

thread_local! {
    static SOURCE: RefCell<Random> = RefCell::new(Random::system());
}

/// Takes the randomness of everything that runs in this thread from `source`.
pub(crate) fn draw_from(source: Random) {
    SOURCE.set(source);
}

/// `N` random bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], AwsError> {
    SOURCE.with_borrow(Random::bytes).map_err(|_| none())
}

/// A random id, as a UUID of version 4 (RFC 9562, section 5.4).
pub(crate) fn id() -> Result<String, AwsError> {
    let [a, b, c, d, e, f, version, g, variant, rest @ ..] = bytes::<16>()?;
    let [h, i, j, k, l, m, n] = rest;
    let (version, variant) = (version & 0x0f | 0x40, variant & 0x3f | 0x80);
    Ok(uuid([a, b, c, d, e, f, version, g, variant, h, i, j, k, l, m, n]))
}

/// Sixteen bytes as a UUID is written.
pub(crate) fn uuid(bytes: [u8; 16]) -> String {
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    let parts = [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)];
    parts.join("-")
}

/// Puts a list into any order (Fisher and Yates).
pub(crate) fn shuffle<T>(list: &mut [T]) -> Result<(), AwsError> {
    for last in (1..list.len()).rev() {
        let bound = u32::try_from(last + 1).unwrap_or(u32::MAX);
        let drawn = SOURCE.with_borrow(|source| source.below(bound)).map_err(|_| none())?;
        list.swap(last, usize::try_from(drawn).unwrap_or(last));
    }
    Ok(())
}

fn none() -> AwsError {
    AwsError::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure", "No randomness.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_say_how_they_were_made() {
        let id = id().unwrap();
        let parts: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert!(
            id[14..].starts_with('4') && ['8', '9', 'a', 'b'].contains(&char::from(id.as_bytes()[19])),
            "{id}"
        );
        assert_eq!(uuid([0xab; 16]), "abababab-abab-abab-abab-abababababab");
    }

    #[test]
    fn every_order_comes() {
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < 6 {
            let mut list = [1, 2, 3];
            shuffle(&mut list).unwrap();
            seen.insert(list);
        }
    }
}
