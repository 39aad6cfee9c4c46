//! The raw message as SES treats it: what it refuses, what it reads, and the two header fields that it replaces.

use jiff::Timestamp;

use super::super::error::AwsError;

/// The largest message that SES takes, in octets after base64 decoding: 40 MB (SES Developer Guide, "Service quotas").
const LARGEST_MESSAGE: usize = 40 * 1024 * 1024;
/// The longest line, in octets without its line end (RFC 5322 section 2.1.1; SESv2 API Reference, RawMessage).
const LONGEST_LINE: usize = 998;
/// Fields that may not appear twice (SES Developer Guide, "Amazon SES header fields"), of those that mail clients write.
const ONCE: &[&str] = &[
    "auto-submitted",
    "content-description",
    "content-disposition",
    "content-id",
    "content-transfer-encoding",
    "content-type",
    "date",
    "from",
    "in-reply-to",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "message-id",
    "mime-version",
    "references",
    "reply-to",
    "return-path",
    "sender",
    "subject",
    "user-agent",
];

/// A message that SES would take.
pub(super) struct Raw<'a> {
    /// The header fields with their line ends, in order.
    fields: Vec<&'a [u8]>,
    /// From the blank line on.
    rest: &'a [u8],
    /// The octets as given.
    bytes: &'a [u8],
}

impl<'a> Raw<'a> {
    /// Checks `bytes` as SES does.
    ///
    /// # Errors
    /// BadRequestException for a size, a line or a header that SES refuses; NotImplemented for SES's own header fields.
    pub(super) fn check(bytes: &'a [u8]) -> Result<Self, AwsError> {
        let invalid = |message: String| AwsError::bad_request("BadRequestException", message);
        if bytes.len() > LARGEST_MESSAGE {
            let length = bytes.len();
            return Err(invalid(format!(
                "Message length is more than {LARGEST_MESSAGE} bytes long: '{length}'."
            )));
        }
        if bytes.split(|byte| *byte == b'\n').any(is_long) {
            return Err(invalid(format!(
                "A line of the message is longer than {LONGEST_LINE} octets."
            )));
        }
        let (fields, rest) = fields(bytes);
        let raw = Self { fields, rest, bytes };
        let mut seen = Vec::new();
        for field in &raw.fields {
            let Some(name) = name(field) else {
                return Err(invalid("A header line has no field name.".to_owned()));
            };
            if name.starts_with("x-ses-") {
                return Err(AwsError::not_implemented(&format!("SendEmail: header field {name}")));
            }
            if ONCE.contains(&name.as_str()) {
                if seen.contains(&name) {
                    return Err(invalid(format!("Duplicate header '{name}'.")));
                }
                seen.push(name);
            }
        }
        if !seen.iter().any(|name| name == "from") {
            return Err(invalid("Missing required header 'From'.".to_owned()));
        }
        Ok(raw)
    }

    /// The header fields as given, names and values, folded lines made one.
    pub(super) fn headers(&self) -> impl Iterator<Item = (String, String)> {
        self.fields.iter().filter_map(|field| {
            let field = String::from_utf8_lossy(field);
            let (name, value) = field.split_once(':')?;
            // Unfolding takes out the line ends alone (RFC 5322 section 2.2.3).
            let value = value.replace(['\r', '\n'], "");
            Some((name.trim_end().to_owned(), value.trim().to_owned()))
        })
    }

    /// The message as recipients get it: Message-ID and Date are SES's own (SES Developer Guide, "Amazon SES header
    /// fields"), and every other octet is as given.
    pub(super) fn with_id_and_date(&self, id: &str, at: Timestamp) -> Vec<u8> {
        let line_end: &[u8] = match self.fields.first() {
            Some(field) if !field.ends_with(b"\r\n") => b"\n",
            _ => b"\r\n",
        };
        let date = at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string();
        let replacements = [
            ("date", format!("Date: {date}")),
            ("message-id", format!("Message-ID: <{id}>")),
        ];
        let mut message = Vec::with_capacity(self.bytes.len().saturating_add(256));
        let write = |text: &str, message: &mut Vec<u8>| {
            message.extend_from_slice(text.as_bytes());
            message.extend_from_slice(line_end);
        };
        for (field_name, text) in &replacements {
            if !self
                .fields
                .iter()
                .any(|field| name(field).as_deref() == Some(field_name))
            {
                write(text, &mut message);
            }
        }
        for field in &self.fields {
            let field_name = name(field);
            match replacements
                .iter()
                .find(|(replaced, _)| field_name.as_deref() == Some(*replaced))
            {
                Some((_, text)) => write(text, &mut message),
                None => message.extend_from_slice(field),
            }
        }
        message.extend_from_slice(self.rest);
        message
    }
}

/// Whether the line, without only its own line end, is too long; blanks before the line end count.
fn is_long(line: &[u8]) -> bool {
    line.strip_suffix(b"\r").unwrap_or(line).len() > LONGEST_LINE
}

/// The header's fields, folded lines kept together, and what follows them.
fn fields(bytes: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut fields: Vec<(usize, usize)> = Vec::new();
    let mut at = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if line == b"\r\n" || line == b"\n" {
            break;
        }
        let end = at + line.len();
        match fields.last_mut() {
            Some(last) if line.starts_with(b" ") || line.starts_with(b"\t") => last.1 = end,
            _ => fields.push((at, end)),
        }
        at = end;
    }
    let slice = |&(from, to): &(usize, usize)| bytes.get(from..to).unwrap_or_default();
    (fields.iter().map(slice).collect(), bytes.get(at..).unwrap_or_default())
}

/// A field's name in lower case; `None` where the line is no field.
fn name(field: &[u8]) -> Option<String> {
    let colon = field.iter().position(|byte| *byte == b':')?;
    let name = field.get(..colon)?.trim_ascii_end();
    let is_name = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_graphic());
    is_name.then(|| String::from_utf8_lossy(name).to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIL: &[u8] = b"From: Clinic <care@clinic.test>\r\nMessage-ID: <mine@clinic.test>\r\nSubject: a\r\n folded: line\r\n\r\nDate: body\r\n";

    #[test]
    fn only_message_id_and_date_change() {
        let raw = Raw::check(MAIL).unwrap();
        let sent = raw.with_id_and_date("0100@us-east-1.amazonses.com", Timestamp::UNIX_EPOCH);
        let expected = "Date: Thu, 01 Jan 1970 00:00:00 +0000\r\nFrom: Clinic <care@clinic.test>\r\n\
            Message-ID: <0100@us-east-1.amazonses.com>\r\nSubject: a\r\n folded: line\r\n\r\nDate: body\r\n";
        assert_eq!(String::from_utf8(sent).unwrap(), expected);
    }

    #[test]
    fn bare_line_feeds_stay_bare() {
        let raw = Raw::check(b"From: a@clinic.test\nDate: then\n\nhello\n").unwrap();
        let sent = raw.with_id_and_date("x@y", Timestamp::UNIX_EPOCH);
        assert!(!sent.contains(&b'\r'));
        assert!(sent.ends_with(b"\n\nhello\n"));
    }

    #[test]
    fn what_ses_refuses_is_refused() {
        let long = |n: usize| [b"From: a@b.test\r\n\r\n".as_slice(), &vec![b'x'; n], b"\r\n"].concat();
        assert!(Raw::check(&long(998)).is_ok());
        let blanks = [b"From: a@b.test\r\n\r\n".as_slice(), &[b'x'; 900], &[b' '; 99], b"\r\n"].concat();
        let cases: [(&[u8], &str, &str); 7] = [
            (&long(999), "BadRequestException", "longer than 998"),
            (&blanks, "BadRequestException", "longer than 998"),
            (
                b"Subject: x\r\n\r\nbody",
                "BadRequestException",
                "Missing required header 'From'",
            ),
            (b"", "BadRequestException", "Missing required header 'From'"),
            (
                b"From: a@b.test\r\nfrom: c@d.test\r\n\r\n",
                "BadRequestException",
                "Duplicate header 'from'",
            ),
            (
                b"From: a@b.test\r\nno colon\r\n\r\n",
                "BadRequestException",
                "no field name",
            ),
            (
                b"From: a@b.test\r\nX-SES-CONFIGURATION-SET: x\r\n\r\n",
                "NotImplemented",
                "x-ses-configuration-set",
            ),
        ];
        for (bytes, code, message) in cases {
            let error = Raw::check(bytes).err().unwrap();
            assert_eq!(error.code, code);
            assert!(error.message.contains(message), "{}", error.message);
        }
        let large = vec![b'\n'; LARGEST_MESSAGE + 1];
        assert!(
            Raw::check(&large)
                .err()
                .unwrap()
                .message
                .contains("Message length is more than")
        );
    }
}
