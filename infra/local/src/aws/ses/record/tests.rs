//! Records against the pages that describe them.

use super::*;

const AT_MS: i64 = 1_795_550_400_123;
const MAIL: &[u8] = b"From: Clinic <care@clinic.test>\r\nTo: Pat <pat@mail.test>,\r\n sam@mail.test\r\n\
    Message-ID: <mine@clinic.test>\r\nDate: Tue, 24 Nov 2026 20:00:00 +0000\r\nSubject: Results\r\n\r\nFine.\r\n";

fn of(data: &[u8]) -> Value {
    mail(&Origin {
        raw: &Raw::check(data).unwrap(),
        data,
        id: "0100018-x-000000",
        at_ms: AT_MS,
        from: "care@clinic.test",
        identity: "clinic.test",
        recipients: &["pat@mail.test".to_owned()],
        set: "sealpost-tls",
        tags: &[("attempt".to_owned(), "at_1".to_owned())],
        caller: "sealpost-encrypt",
    })
}

/// What a record says beside the email.
fn happened(kind: EventType, reason: Option<BounceReason>, recipient: &str, after_ms: i64) -> Value {
    let event = Event {
        kind,
        at_ms: AT_MS + after_ms,
        reason,
    };
    let happening = Happening {
        event: &event,
        recipient,
        at_ms: AT_MS,
        expires_ms: AT_MS + 600_000,
        seed: "seed",
    };
    let mut record = record(&json!({"tags": {}}), &happening).unwrap();
    record.as_object_mut().unwrap().remove("mail");
    record
}

#[test]
fn a_send_record_is_as_ses_writes_it() {
    let event = Event {
        kind: EventType::Send,
        at_ms: AT_MS,
        reason: None,
    };
    let happening = Happening {
        event: &event,
        recipient: "pat@mail.test",
        at_ms: AT_MS,
        expires_ms: AT_MS,
        seed: "seed",
    };
    insta::assert_json_snapshot!(record(&of(MAIL), &happening), @r#"
    {
      "eventType": "Send",
      "mail": {
        "commonHeaders": {
          "date": "Tue, 24 Nov 2026 20:00:00 +0000",
          "from": [
            "Clinic <care@clinic.test>"
          ],
          "messageId": "<mine@clinic.test>",
          "subject": "Results",
          "to": [
            "Pat <pat@mail.test>",
            "sam@mail.test"
          ]
        },
        "destination": [
          "pat@mail.test"
        ],
        "headers": [
          {
            "name": "From",
            "value": "Clinic <care@clinic.test>"
          },
          {
            "name": "To",
            "value": "Pat <pat@mail.test>, sam@mail.test"
          },
          {
            "name": "Message-ID",
            "value": "<mine@clinic.test>"
          },
          {
            "name": "Date",
            "value": "Tue, 24 Nov 2026 20:00:00 +0000"
          },
          {
            "name": "Subject",
            "value": "Results"
          }
        ],
        "headersTruncated": false,
        "messageId": "0100018-x-000000",
        "sendingAccountId": "000000000000",
        "source": "care@clinic.test",
        "sourceArn": "arn:aws:ses:us-east-1:000000000000:identity/clinic.test",
        "tags": {
          "attempt": [
            "at_1"
          ],
          "ses:caller-identity": [
            "sealpost-encrypt"
          ],
          "ses:configuration-set": [
            "sealpost-tls"
          ],
          "ses:from-domain": [
            "clinic.test"
          ],
          "ses:source-ip": [
            "127.0.0.1"
          ]
        },
        "timestamp": "2026-11-24T20:00:00.123Z"
      },
      "send": {}
    }
    "#);
}

#[test]
fn each_kind_of_event_has_its_own_object() {
    let tls = Some(BounceReason::TlsRequired);
    let cases = [
        (EventType::Delivery, None, "pat@mail.test", 1_500),
        (EventType::DeliveryDelay, tls, "pat@tls-fails.test", 60_000),
        (EventType::DeliveryDelay, None, "pat@slow.test", 60_000),
        (EventType::Bounce, tls, "pat@tls-fails.test", 600_000),
        (
            EventType::Bounce,
            Some(BounceReason::NoSuchMailbox),
            "pat@bounce.test",
            0,
        ),
        (EventType::Bounce, Some(BounceReason::Suppressed), "pat@mail.test", 0),
        (EventType::Complaint, None, "pat@complaint.test", 60_000),
        (EventType::Reject, None, "pat@rejected.test", 0),
    ];
    let all: Vec<Value> = cases
        .into_iter()
        .map(|(kind, reason, recipient, after_ms)| happened(kind, reason, recipient, after_ms))
        .collect();
    insta::assert_json_snapshot!(all, @r#"
    [
      {
        "delivery": {
          "processingTimeMillis": 1500,
          "recipients": [
            "pat@mail.test"
          ],
          "reportingMTA": "a8-30.smtp-out.amazonses.com",
          "smtpResponse": "250 2.6.0 Message received",
          "timestamp": "2026-11-24T20:00:01.623Z"
        },
        "eventType": "Delivery"
      },
      {
        "deliveryDelay": {
          "delayType": "TransientCommunicationFailure",
          "delayedRecipients": [
            {
              "diagnosticCode": "smtp; 451 4.7.0 TLS was required but not offered by the recipient's mail server",
              "emailAddress": "pat@tls-fails.test",
              "status": "4.7.0"
            }
          ],
          "expirationTime": "2026-11-24T20:10:00.123Z",
          "reportingMTA": "127.0.0.1",
          "timestamp": "2026-11-24T20:01:00.123Z"
        },
        "eventType": "DeliveryDelay"
      },
      {
        "deliveryDelay": {
          "delayType": "RecipientServerError",
          "delayedRecipients": [
            {
              "diagnosticCode": "smtp; 421 4.3.2 System not accepting network messages",
              "emailAddress": "pat@slow.test",
              "status": "4.3.2"
            }
          ],
          "expirationTime": "2026-11-24T20:10:00.123Z",
          "reportingMTA": "127.0.0.1",
          "timestamp": "2026-11-24T20:01:00.123Z"
        },
        "eventType": "DeliveryDelay"
      },
      {
        "bounce": {
          "bounceSubType": "General",
          "bounceType": "Transient",
          "bouncedRecipients": [
            {
              "action": "failed",
              "diagnosticCode": "smtp; 550 4.4.7 Message expired: unable to deliver in 10 minutes.<451 4.7.0 TLS was required but not offered by the recipient's mail server>",
              "emailAddress": "pat@tls-fails.test",
              "status": "4.4.7"
            }
          ],
          "feedbackId": "010001a20f2df63b-19b25856-e1c1-50ca-834c-ffc8b59b23ad-000000",
          "reportingMTA": "dns; a8-30.smtp-out.amazonses.com",
          "timestamp": "2026-11-24T20:10:00.123Z"
        },
        "eventType": "Bounce"
      },
      {
        "bounce": {
          "bounceSubType": "General",
          "bounceType": "Permanent",
          "bouncedRecipients": [
            {
              "action": "failed",
              "diagnosticCode": "smtp; 550 5.1.1 user unknown",
              "emailAddress": "pat@bounce.test",
              "status": "5.1.1"
            }
          ],
          "feedbackId": "010001a20f24ce7b-19b25856-e1c1-50ca-834c-ffc8b59b23ad-000000",
          "reportingMTA": "dns; a8-30.smtp-out.amazonses.com",
          "timestamp": "2026-11-24T20:00:00.123Z"
        },
        "eventType": "Bounce"
      },
      {
        "bounce": {
          "bounceSubType": "OnAccountSuppressionList",
          "bounceType": "Permanent",
          "bouncedRecipients": [
            {
              "action": "failed",
              "diagnosticCode": "Amazon SES did not send the message to this address because it is on the suppression list for your account.",
              "emailAddress": "pat@mail.test",
              "status": "5.1.1"
            }
          ],
          "feedbackId": "010001a20f24ce7b-19b25856-e1c1-50ca-834c-ffc8b59b23ad-000000",
          "reportingMTA": "dns; amazonses.com",
          "timestamp": "2026-11-24T20:00:00.123Z"
        },
        "eventType": "Bounce"
      },
      {
        "complaint": {
          "arrivalDate": "2026-11-24T20:01:00.123Z",
          "complainedRecipients": [
            {
              "emailAddress": "pat@complaint.test"
            }
          ],
          "complaintFeedbackType": "abuse",
          "complaintSubType": null,
          "feedbackId": "010001a20f25b8db-19b25856-e1c1-50ca-834c-ffc8b59b23ad-000000",
          "timestamp": "2026-11-24T20:01:00.123Z",
          "userAgent": "Amazon SES Mailbox Simulator"
        },
        "eventType": "Complaint"
      },
      {
        "eventType": "Reject",
        "reject": {
          "reason": "Bad content"
        }
      }
    ]
    "#);
    let simulated = happened(
        EventType::Bounce,
        Some(BounceReason::Suppressed),
        "suppressionlist@simulator.amazonses.com",
        0,
    );
    assert_eq!(simulated["bounce"]["bounceSubType"], "Suppressed");
    let listed = happened(EventType::Complaint, Some(BounceReason::Suppressed), "pat@mail.test", 0);
    assert_eq!(listed["complaint"]["complaintSubType"], "OnAccountSuppressionList");
}

#[test]
fn long_headers_are_cut_off() {
    let long = [MAIL, b""].concat();
    let line = format!("X-Long: {}\r\n", "x".repeat(900));
    let long = [line.repeat(12).as_bytes(), &long].concat();
    let mail = of(&long);
    assert_eq!(mail["headersTruncated"], true);
    assert_eq!(mail["headers"].as_array().unwrap().len(), 11);
    // The id of a message without one is SES's own.
    assert_eq!(
        of(b"From: care@clinic.test\r\n\r\nx")["commonHeaders"]["messageId"],
        "0100018-x-000000"
    );
}
