//! Public keys: which ones are strong enough to seal to, and the bytes that the primitives want.

use aws_lc_rs::agreement::{self, ParsedPublicKey, UnparsedPublicKey};
use aws_lc_rs::rsa::PublicEncryptingKey;
use der::asn1::{ObjectIdentifier, UintRef};
use der::{Decode, Encode, Sequence};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use super::{Refusal, asn1};

/// The least RSA modulus, in bits (RFC 8551 section 2.3 and NIST SP 800-131A).
pub(super) const MIN_RSA_BITS: usize = 2048;

/// A public key that passed the checks.
#[derive(Clone)]
pub(super) enum PublicKey {
    /// Modulus of `bits`; `spki` is the SubjectPublicKeyInfo, `key` the RSAPublicKey inside it, both DER.
    Rsa { bits: usize, spki: Vec<u8>, key: Vec<u8> },
    /// An uncompressed or compressed point on `curve`.
    Ec { curve: Curve, point: Vec<u8> },
}

/// The curves that S/MIME clients know and that need no further care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
}

/// RFC 8017 appendix A.1.1.
#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

impl Curve {
    pub(super) fn agreement(self) -> &'static agreement::Algorithm {
        match self {
            Curve::P256 => &agreement::ECDH_P256,
            Curve::P384 => &agreement::ECDH_P384,
        }
    }
}

impl PublicKey {
    /// Reads and judges a SubjectPublicKeyInfo.
    pub(super) fn new(spki: &SubjectPublicKeyInfoOwned) -> Result<PublicKey, Refusal> {
        let bits = spki.subject_public_key.as_bytes().ok_or(Refusal::Malformed)?;
        match spki.algorithm.oid {
            asn1::RSA_ENCRYPTION => rsa(spki, bits),
            asn1::EC_PUBLIC_KEY => {
                let parameters = spki.algorithm.parameters.as_ref().ok_or(Refusal::Malformed)?;
                // Explicit curve parameters are a SEQUENCE here, and never a curve to trust (RFC 5480 section 2.1.1).
                let curve = match parameters
                    .decode_as::<ObjectIdentifier>()
                    .map_err(|_| Refusal::UnsupportedKey)?
                {
                    asn1::P256 => Curve::P256,
                    asn1::P384 => Curve::P384,
                    _ => return Err(Refusal::UnsupportedKey),
                };
                // A point off the curve would give away bits of the ephemeral key and reach nobody.
                ParsedPublicKey::try_from(UnparsedPublicKey::new(curve.agreement(), bits))
                    .ok()
                    .filter(|key| key.alg() == curve.agreement())
                    .ok_or(Refusal::Malformed)?;
                Ok(PublicKey::Ec {
                    curve,
                    point: bits.to_vec(),
                })
            }
            _ => Err(Refusal::UnsupportedKey),
        }
    }

    /// A name for people, such as `RSA-2048` or `P-256`.
    pub(super) fn name(&self) -> String {
        match self {
            PublicKey::Rsa { bits, .. } => format!("RSA-{bits}"),
            PublicKey::Ec { curve: Curve::P256, .. } => "P-256".to_owned(),
            PublicKey::Ec { curve: Curve::P384, .. } => "P-384".to_owned(),
        }
    }
}

fn rsa(spki: &SubjectPublicKeyInfoOwned, key: &[u8]) -> Result<PublicKey, Refusal> {
    let RsaPublicKey { modulus, exponent } = RsaPublicKey::from_der(key).map_err(|_| Refusal::Malformed)?;
    let modulus = modulus.as_bytes();
    let bits = modulus.len() * 8 - modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
    // An exponent of 1 is no encryption, and a small one opens the door to Håstad's and Coppersmith's attacks.
    let is_strong_exponent = is_odd(exponent.as_bytes()) && integer(exponent.as_bytes()).is_none_or(|e| e >= 65537);
    if bits < MIN_RSA_BITS || !is_odd(modulus) || !is_strong_exponent || has_roca_fingerprint(modulus) {
        return Err(Refusal::WeakKey);
    }
    let spki = spki.to_der().map_err(|_| Refusal::Malformed)?;
    // Over 8192 bits, or an exponent over 33 bits: nobody has those, and the public operation would take seconds.
    PublicEncryptingKey::from_der(&spki).map_err(|_| Refusal::UnsupportedKey)?;
    Ok(PublicKey::Rsa {
        bits,
        spki,
        key: key.to_vec(),
    })
}

/// The value of a big-endian number of at most 64 bits.
fn integer(bytes: &[u8]) -> Option<u64> {
    bytes.iter().try_fold(0_u64, |value, byte| {
        value.checked_mul(256)?.checked_add(u64::from(*byte))
    })
}

/// Whether a modulus comes from the chip library of CVE-2017-15361, whose primes are powers of 65537 modulo many small
/// primes ("The Return of Coppersmith's Attack", Nemec et al. 2017, section 2.3): then the modulus is such a power modulo
/// every one of them. A sound modulus looks so with a chance of about 2^-28.
fn has_roca_fingerprint(modulus: &[u8]) -> bool {
    const PRIMES: [u32; 38] = [
        3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107,
        109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
    ];
    PRIMES.iter().all(|prime| {
        let remainder = modulus
            .iter()
            .fold(0, |remainder, byte| (remainder * 256 + u32::from(*byte)) % prime);
        let powers = std::iter::successors(Some(1), |power| Some(power * 65537 % prime));
        powers.take(*prime as usize).any(|power| power == remainder)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 65537 to the given power, big-endian: x·65537 = x·2^16 + x.
    fn power(exponent: usize) -> Vec<u8> {
        let mut number = vec![1_u8];
        for _ in 0..exponent {
            let mut sum = number.clone();
            sum.extend([0, 0]);
            let mut carry = 0_u16;
            let offset = sum.len() - number.len();
            for i in (0..sum.len()).rev() {
                let digit = if i >= offset { u16::from(number[i - offset]) } else { 0 };
                carry += u16::from(sum[i]) + digit;
                sum[i] = (carry & 0xff) as u8;
                carry >>= 8;
            }
            if carry > 0 {
                sum.insert(0, carry as u8);
            }
            number = sum;
        }
        number
    }

    #[test]
    fn powers_of_65537_are_recognised_and_their_neighbours_are_not() {
        assert_eq!(power(2), [1, 0, 2, 0, 1]);
        let mut number = power(128);
        assert!(has_roca_fingerprint(&number));
        for step in 1..=16 {
            *number.last_mut().unwrap() = 1 + 2 * step;
            assert!(!has_roca_fingerprint(&number));
        }
    }
}
