//! Required TLS: the archived message itself, which SES hands over encrypted or not at all. Marketing mail gets its
//! recipient's way out, mail whose readers are counted its marks; both are composed anew for that.

use sealpost_codec::address::Address;
use sealpost_codec::mime;

use super::{Material, Sealed, Tls};
use crate::error::{Error, Result};
use crate::planted;

pub(super) fn seal(material: &Material<'_>, sender: Address) -> Result<Sealed<Tls>> {
    if material.unsubscribe.is_none() && material.marks.is_none() {
        let mut raw = material.message.to_vec();
        if planted!("leak_12") {
            let blind: Vec<&str> = material.head.bcc.iter().map(|bcc| bcc.address.as_str()).collect();
            raw.splice(0..0, format!("Bcc: {}\r\n", blind.join(", ")).into_bytes());
        }
        return Ok(material.sealed(raw, sender));
    }
    let raw = mime::message(&material.content()?)
        .map_err(|error| Error::internal("The message cannot be composed.").because(error))?;
    Ok(material.sealed(raw, sender))
}
