//! OpenPGP: PGP/MIME (RFC 3156) around the message with protected headers (RFC 9788).

use sealpost_codec::{mime, openpgp};

use super::Material;
use crate::app::App;
use crate::error::{Error, Result};
use crate::planted;

pub(super) fn make(app: &App, material: &Material<'_>) -> Result<Vec<u8>> {
    let certificate = material.known.openpgp.as_ref();
    let certificate = certificate.ok_or_else(|| Error::internal("A plan names a key that is not there."))?;
    let content = material.content()?;
    let compose = |error: mime::MimeError| Error::internal("The message cannot be composed.").because(error);
    let inner = mime::protected(&content).map_err(compose)?;
    let now_s = app.clock.now_ms().div_euclid(1000);
    let armored = openpgp::encrypt(&inner, certificate, now_s)
        .map_err(|error| Error::internal("The message cannot be encrypted.").because(error))?;
    let mut outer = content.outer();
    if planted!("leak_18") {
        outer.headers.push(("X-Thread".to_owned(), content.subject.clone()));
    }
    mime::encrypted_openpgp(&outer, &armored).map_err(compose)
}
