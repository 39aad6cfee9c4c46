//! Why a certificate is not accepted. The codes are part of the API; neither code nor text holds anything of the input.

/// Why a certificate is not accepted for sealing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Neither PEM nor DER of one X.509 certificate.
    #[error("The data is not a well-formed X.509 certificate in PEM or DER.")]
    Malformed,
    /// `notAfter` has passed.
    #[error("The certificate has expired.")]
    Expired,
    /// `notBefore` is still to come.
    #[error("The certificate is not valid yet.")]
    NotYetValid,
    /// RSA under 2048 bits, with a dangerous exponent, or from the generator of CVE-2017-15361.
    #[error(
        "The key of the certificate is too weak: RSA needs 2048 bits or more and a public exponent of 65537 or more."
    )]
    WeakKey,
    /// MD5, SHA-1, or an algorithm that is not known to be strong.
    #[error("The certificate is signed with an algorithm that is too weak or not known; SHA-256 or better is needed.")]
    WeakSignature,
    /// A certificate authority, or key usages that rule out encryption of email.
    #[error("The certificate is not meant for the encryption of email.")]
    WrongUsage,
    /// The certificate names another mailbox, or none.
    #[error("The certificate does not belong to this address.")]
    WrongAddress,
    /// More than 64 KiB.
    #[error("The data is larger than 64 KiB.")]
    TooLarge,
    /// A private key was sent; whoever sent it should replace it.
    #[error("The data holds a private key. Send the certificate only, and replace the key.")]
    PrivateKey,
    /// More than one certificate, so the one that is meant is a guess.
    #[error("The data holds several certificates. Send the one of the recipient only.")]
    SeveralCertificates,
    /// Neither RSA nor ECDH on P-256 or P-384.
    #[error("The kind of key is not supported; RSA, P-256 and P-384 are.")]
    UnsupportedKey,
}

impl Refusal {
    /// A stable code for programs, in snake case.
    pub fn reason(self) -> &'static str {
        match self {
            Refusal::Malformed => "malformed",
            Refusal::Expired => "expired",
            Refusal::NotYetValid => "not_yet_valid",
            Refusal::WeakKey => "weak_key",
            Refusal::WeakSignature => "weak_signature",
            Refusal::WrongUsage => "wrong_usage",
            Refusal::WrongAddress => "wrong_address",
            Refusal::TooLarge => "too_large",
            Refusal::PrivateKey => "private_key",
            Refusal::SeveralCertificates => "several_certificates",
            Refusal::UnsupportedKey => "unsupported_key",
        }
    }
}
