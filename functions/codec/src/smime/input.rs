//! From an upload to the DER of exactly one certificate. People upload what their mail client exports: PEM with notes
//! around it, DER, a chain, and sometimes the private key, which is the one thing that has to be noticed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Refusal;

/// An upload larger than this is not looked at.
pub(super) const MAX_UPLOAD: usize = 64 * 1024;

const BEGIN: &str = "-----BEGIN ";
const CERTIFICATE_END: &str = "-----END CERTIFICATE-----";
const DASHES: &str = "-----";

/// The DER of the one certificate in `data`.
///
/// # Errors
/// `TooLarge`, `PrivateKey`, `SeveralCertificates`, or `Malformed` when there is none.
pub(super) fn one_certificate(data: &[u8]) -> Result<Vec<u8>, Refusal> {
    if data.len() > MAX_UPLOAD {
        return Err(Refusal::TooLarge);
    }
    // Text is recognised by a PEM boundary anywhere: RFC 7468 section 2 allows explanatory text before it, and no DER
    // certificate is text throughout.
    match std::str::from_utf8(data) {
        Ok(text) if text.contains(BEGIN) => from_pem(text),
        _ if is_private_key(data) => Err(Refusal::PrivateKey),
        _ => Ok(data.to_vec()),
    }
}

fn from_pem(text: &str) -> Result<Vec<u8>, Refusal> {
    let mut certificate = None;
    let mut several = false;
    let mut rest = text;
    while let Some((_, block)) = rest.split_once(BEGIN) {
        let (label, body) = block.split_once(DASHES).ok_or(Refusal::Malformed)?;
        if label.ends_with("PRIVATE KEY") {
            return Err(Refusal::PrivateKey);
        }
        if label == "CERTIFICATE" {
            let (body, _) = body.split_once(CERTIFICATE_END).ok_or(Refusal::Malformed)?;
            several |= certificate.replace(body).is_some();
        }
        rest = body;
    }
    if several {
        return Err(Refusal::SeveralCertificates);
    }
    let text: String = certificate
        .ok_or(Refusal::Malformed)?
        .split_ascii_whitespace()
        .collect();
    STANDARD.decode(text).map_err(|_| Refusal::Malformed)
}

/// Whether DER looks like PKCS#1, PKCS#8, SEC 1 or PKCS#12: each is a SEQUENCE that starts with a small version number,
/// where a certificate starts with another SEQUENCE.
fn is_private_key(der: &[u8]) -> bool {
    let [0x30, length, rest @ ..] = der else {
        return false;
    };
    let long_form = if *length < 0x80 { 0 } else { usize::from(*length & 0x7f) };
    matches!(rest.get(long_form..), Some([0x02, 0x01, 0..=3, ..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_are_told_apart() {
        let pem = "-----BEGIN CERTIFICATE-----\r\nMA\r\nMBAA==\r\n-----END CERTIFICATE-----\r\n";
        for (upload, expected) in [
            (pem.to_owned(), Ok(b"\x30\x03\x01\x00".to_vec())),
            (
                format!("Bag Attributes\n  friendlyName: Ada\n{pem}\nbye"),
                Ok(b"\x30\x03\x01\x00".to_vec()),
            ),
            (format!("{pem}{pem}"), Err(Refusal::SeveralCertificates)),
            (
                format!("{pem}{pem}-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----"),
                Err(Refusal::PrivateKey),
            ),
            (
                "-----BEGIN ENCRYPTED PRIVATE KEY-----".to_owned(),
                Err(Refusal::PrivateKey),
            ),
            (
                "-----BEGIN PUBLIC KEY-----\nMA==\n-----END PUBLIC KEY-----".to_owned(),
                Err(Refusal::Malformed),
            ),
            (
                "-----BEGIN CERTIFICATE-----\nMA==\n".to_owned(),
                Err(Refusal::Malformed),
            ),
            (
                "-----BEGIN CERTIFICATE-----\nM*==\n-----END CERTIFICATE-----".to_owned(),
                Err(Refusal::Malformed),
            ),
            ("-----BEGIN CERTIFICATE".to_owned(), Err(Refusal::Malformed)),
        ] {
            assert_eq!(one_certificate(upload.as_bytes()), expected, "{upload}");
        }
        assert_eq!(one_certificate(&vec![0; MAX_UPLOAD + 1]), Err(Refusal::TooLarge));
        assert_eq!(
            one_certificate(&[0x30, 0x82, 0x01, 0x00, 0x02, 0x01, 0x00, 0x30]),
            Err(Refusal::PrivateKey)
        );
        assert_eq!(
            one_certificate(&[0x30, 0x77, 0x02, 0x01, 0x01, 0x04]),
            Err(Refusal::PrivateKey)
        );
    }
}
