//! The links that our mails carry: out of marketing, to a counted click, to the picture that tells of an opening.
//!
//! A link names the tenant, the email and the delivery by their ids and its number in the mail, with a keyed hash over them;
//! no address and no URL is in it, and none can be guessed. What it leads to stands in the table.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

use crate::app::App;
use crate::error::{Error, Result};
use crate::id::{DeliveryId, EmailId, TenantId};
use crate::key::Key;
use crate::tenant::TenantRow;

/// Three ids and a number.
pub(crate) const NAMED: usize = 3 * 16 + 2;
/// The tag, 128 bits.
pub(crate) const TAG: usize = 16;
const LENGTH: usize = NAMED + TAG;
/// As text. 66 bytes fill 88 characters exactly: one link has one spelling.
const TEXT: usize = LENGTH / 3 * 4;

/// What a link is for; the keyed hashes of each are apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Unsubscribe,
    Open,
    Click,
}

impl Use {
    #[cfg(test)]
    const ALL: [Use; 3] = [Use::Unsubscribe, Use::Open, Use::Click];

    /// What the keyed hash is apart by.
    fn field(self) -> &'static str {
        match self {
            Use::Unsubscribe => "unsubscribe",
            Use::Open => "open",
            Use::Click => "click",
        }
    }

    /// The first part of the path.
    fn path(self) -> char {
        match self {
            Use::Unsubscribe => 'u',
            Use::Open => 'o',
            Use::Click => 'c',
        }
    }
}

/// A link that is good.
pub(crate) struct Link {
    pub(crate) tenant: TenantRow,
    pub(crate) email: EmailId,
    pub(crate) delivery: DeliveryId,
    /// Its number in the mail, where there are several.
    pub(crate) n: u16,
}

/// What a token names, and its tag, if it has the form of one.
pub(crate) fn parse(token: &str) -> Option<([u8; NAMED], [u8; TAG])> {
    // Whatever is longer is not worth decoding.
    if token.len() != TEXT {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (named, tag) = bytes.split_at_checked(NAMED)?;
    Some((named.try_into().ok()?, tag.try_into().ok()?))
}

fn part(named: &[u8; NAMED], n: usize) -> [u8; 16] {
    let mut part = [0; 16];
    part.iter_mut()
        .zip(named.iter().skip(n * 16))
        .for_each(|(to, from)| *to = *from);
    part
}

/// Whether a token's tag is the beginning of its hash. Takes the same time wherever they differ.
fn is_proved(hash: &[u8; 32], tag: &[u8; TAG]) -> bool {
    hash.split_at(TAG).0.ct_eq(tag).into()
}

/// A link of one delivery.
pub(crate) async fn make(
    app: &App,
    tenant: &TenantId,
    email: &EmailId,
    delivery: &DeliveryId,
    (what, n): (Use, u16),
) -> Result<String> {
    let mut named = [0; NAMED];
    let ids = [tenant.to_bytes(), email.to_bytes(), delivery.to_bytes()];
    let number = n.to_be_bytes();
    named
        .iter_mut()
        .zip(ids.iter().flatten().chain(&number))
        .for_each(|(to, from)| *to = *from);
    let hash = app.index_tag(tenant, what.field(), &named).await?;
    let token = URL_SAFE_NO_PAD.encode([&named[..], hash.split_at(TAG).0].concat());
    Ok(format!("{}/{}/{token}", app.config.portal_url, what.path()))
}

/// What a link names. Changes nothing.
///
/// # Errors
/// NotFound, alike for whatever is not good; Unavailable.
pub(crate) async fn find(app: &App, what: Use, token: &str) -> Result<Link> {
    let (named, tag) = parse(token).ok_or_else(Error::not_found)?;
    let tenant = TenantId::from_bytes(part(&named, 0));
    // A tenant that is made up must not get a key.
    let tenant = app.get::<TenantRow>(&Key::Tenant(&tenant)).await?;
    let tenant = tenant.ok_or_else(Error::not_found)?;
    if !is_proved(&app.index_tag(&tenant.id, what.field(), &named).await?, &tag) {
        return Err(Error::not_found());
    }
    let [.., high, low] = named;
    Ok(Link {
        tenant,
        email: EmailId::from_bytes(part(&named, 1)),
        delivery: DeliveryId::from_bytes(part(&named, 2)),
        n: u16::from_be_bytes([high, low]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::keys::keyed_hash;
    use crate::random::Random;

    #[test]
    fn only_the_one_form_is_a_token() {
        let good = URL_SAFE_NO_PAD.encode([7; LENGTH]);
        assert_eq!(good.len(), TEXT);
        assert_eq!(parse(&good).unwrap(), ([7; NAMED], [7; TAG]));
        for bad in [
            String::new(),
            good[1..].to_owned(),
            format!("{good}A"),
            format!("{}=", &good[1..]),
            good.replace('B', "/"),
            format!(" {}", &good[1..]),
            format!("{}%", &good[1..]),
            "https://evil.example/".to_owned(),
        ] {
            assert!(parse(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn ten_million_random_tokens_are_refused_for_every_use() {
        let key: [u8; 32] = Random::system().bytes().unwrap();
        let mut n_tried = 0_u32;
        let mut bytes = vec![0_u8; LENGTH * 10_000];
        for round in 0..1_000 {
            aws_lc_rs::rand::fill(&mut bytes).unwrap();
            let field = Use::ALL[round % 3].field();
            for token in bytes.chunks_exact(LENGTH) {
                let (named, tag) = token.split_at(NAMED);
                assert!(!is_proved(&keyed_hash(&key, field, named), tag.try_into().unwrap()));
                n_tried += 1;
            }
        }
        assert_eq!(n_tried, 10_000_000);
        let hash = keyed_hash(&key, Use::Open.field(), &[7; NAMED]);
        assert!(is_proved(&hash, hash[..TAG].try_into().unwrap()), "a good one is not");
        let other = keyed_hash(&key, Use::Click.field(), &[7; NAMED]);
        assert!(
            !is_proved(&other, hash[..TAG].try_into().unwrap()),
            "one use is not another"
        );
    }

    #[test]
    fn ids_are_cut_out_in_their_order() {
        let mut named = [0; NAMED];
        named.iter_mut().zip(0_u8..).for_each(|(byte, n)| *byte = n);
        assert_eq!(part(&named, 0)[0], 0);
        assert_eq!(part(&named, 1)[0], 16);
        assert_eq!(part(&named, 2)[15], 47);
    }
}
