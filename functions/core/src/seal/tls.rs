//! Required TLS: the archived message itself, which SES hands over encrypted or not at all.

use sealpost_codec::address::Address;

use super::{Material, Sealed, Tls};

pub(super) fn seal(material: &Material<'_>, sender: Address) -> Sealed<Tls> {
    material.sealed(material.message.to_vec(), sender)
}
