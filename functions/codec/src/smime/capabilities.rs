//! What a mail client says it can read: the SMIMECapabilities list of RFC 8551 section 2.5.2, as a certificate extension
//! (RFC 4262) and as a signed attribute. A list that names nothing known is worth as much as none.

use der::asn1::Any;
use der::{Decode, Encode, Sequence};
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::asn1;

/// The capabilities that change what is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Capabilities {
    /// AES-GCM in AuthEnvelopedData, of any key length: whoever reads one reads all.
    pub(super) gcm: bool,
    /// RSAES-OAEP with SHA-256 in both places.
    pub(super) oaep_sha256: bool,
}

/// RSAES-OAEP-params, RFC 8017 appendix A.2.1. Absent fields mean SHA-1 and the empty label.
#[derive(Sequence)]
pub(super) struct OaepParameters {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    hash: Option<AlgorithmIdentifierOwned>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    mask: Option<AlgorithmIdentifierOwned>,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", optional = "true")]
    label: Option<AlgorithmIdentifierOwned>,
}

impl Capabilities {
    /// Reads the DER of an SMIMECapabilities list.
    pub(super) fn from_der(der: &[u8]) -> der::Result<Capabilities> {
        let list = Vec::<AlgorithmIdentifierOwned>::from_der(der)?;
        let mut found = Capabilities::default();
        for capability in list {
            match capability.oid {
                asn1::AES128_GCM | asn1::AES192_GCM | asn1::AES256_GCM => found.gcm = true,
                asn1::RSAES_OAEP => found.oaep_sha256 |= capability.parameters.as_ref().is_some_and(is_oaep_sha256),
                _ => {}
            }
        }
        Ok(found)
    }
}

/// What our own signatures and certificates announce, best first (RFC 8551 section 2.5.2), in DER.
///
/// AES names have no parameters here (RFC 3565 section 4.2, RFC 5084 section 3.2 gives none for a capability).
pub(super) fn announced() -> der::Result<Vec<u8>> {
    [asn1::AES256_GCM, asn1::AES256_CBC, asn1::AES128_CBC]
        .map(asn1::algorithm)
        .to_vec()
        .to_der()
}

/// RSAES-OAEP with SHA-256 for the label and for the mask, and the empty label (RFC 3560 section 3, RFC 4055 section 4.1).
pub(super) fn oaep_sha256() -> der::Result<AlgorithmIdentifierOwned> {
    let hash = asn1::algorithm_with_null(asn1::SHA256);
    let mask = AlgorithmIdentifierOwned {
        oid: asn1::MGF1,
        parameters: Some(Any::encode_from(&hash)?),
    };
    let parameters = OaepParameters {
        hash: Some(hash),
        mask: Some(mask),
        label: None,
    };
    Ok(AlgorithmIdentifierOwned {
        oid: asn1::RSAES_OAEP,
        parameters: Some(Any::encode_from(&parameters)?),
    })
}

fn is_oaep_sha256(parameters: &Any) -> bool {
    let Ok(OaepParameters {
        hash: Some(hash),
        mask: Some(mask),
        label: None,
    }) = parameters.decode_as()
    else {
        return false;
    };
    let mask_hash = mask
        .parameters
        .and_then(|parameters| parameters.decode_as::<AlgorithmIdentifierOwned>().ok());
    hash.oid == asn1::SHA256 && mask.oid == asn1::MGF1 && mask_hash.is_some_and(|hash| hash.oid == asn1::SHA256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_capabilities_count() {
        let oaep_sha1 = AlgorithmIdentifierOwned {
            oid: asn1::RSAES_OAEP,
            parameters: Some(Any::new(der::Tag::Sequence, Vec::new()).unwrap()),
        };
        for (list, gcm, oaep_sha256) in [
            (vec![], false, false),
            (vec![asn1::algorithm(asn1::AES256_CBC)], false, false),
            (vec![asn1::algorithm(asn1::AES256_GCM)], true, false),
            (
                vec![asn1::algorithm(asn1::AES128_CBC), asn1::algorithm(asn1::AES128_GCM)],
                true,
                false,
            ),
            (vec![oaep_sha1], false, false),
            (vec![asn1::algorithm(asn1::RSAES_OAEP)], false, false),
            (
                vec![oaep_sha256().unwrap(), asn1::algorithm(asn1::AES192_GCM)],
                true,
                true,
            ),
        ] {
            let found = Capabilities::from_der(&list.to_der().unwrap()).unwrap();
            assert_eq!(found, Capabilities { gcm, oaep_sha256 });
        }
        assert!(Capabilities::from_der(&announced().unwrap()).unwrap().gcm);
        assert!(Capabilities::from_der(b"\x30\x02\x05\x00").is_err());
    }
}
