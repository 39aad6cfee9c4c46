"""Where the foreign emulator differs from AWS or lacks what the check needs.

`differs` rows are run and have to fail: a row that passes is out of date and fails the run. `ours_only` rows are not run,
because what they check is this system's own rule and not AWS's. In every `differs` row AWS agrees with the check, and the
row ends with the page of AWS's documentation that says so.
"""

from typing import NamedTuple

FOREIGN = "ministack"


class Row(NamedTuple):
    is_expected_to_fail: bool
    what: str


def differs(what, aws_page):
    return Row(True, f"{what}; AWS as the check: {aws_page}")


def ours_only(what):
    return Row(False, what)


NO_CLOCK = ours_only("its clock cannot be moved")
BY_NAME = ours_only("that a missing operation answers NotImplemented by name is this system's own rule")

ROWS = {
    # S3
    "s3.retention_in_the_past_is_refused":
        differs("takes a date in the past", "S3 API Reference, PutObjectRetention; S3 User Guide, Object Lock considerations"),
    "s3.versioning_of_a_locked_bucket_cannot_stop":
        differs("suspends versioning under Object Lock", "S3 User Guide, Object Lock considerations"),
    # KMS
    "kms.4096_octets_and_no_more":
        differs("encrypts longer plaintexts", "KMS API Reference, Encrypt"),
    "kms.a_changed_ciphertext_is_refused":
        differs("its ciphertext is malleable", "KMS API Reference, Decrypt (InvalidCiphertextException)"),
    "kms.a_key_does_only_what_it_is_for":
        differs("answers UnsupportedOperationException", "KMS API Reference, Sign (InvalidKeyUsageException)"),
    "kms.a_key_that_waits_for_deletion_does_nothing":
        differs("uses a key that waits for deletion", "KMS Developer Guide, Key states of KMS keys"),
    "kms.another_key_is_refused_by_name":
        differs("ignores KeyId in Decrypt", "KMS API Reference, Decrypt (IncorrectKeyException)"),
    # SQS
    "sqs.a_deleted_message_does_not_come_again":
        differs("refuses the second deletion", "SQS API Reference, DeleteMessage"),
    # SNS, and SES's events
    "sns.a_paused_account_refuses_to_send":
        differs("cannot pause an account", "SES API v2 Reference, PutAccountSendingAttributes; SendEmail (SendingPausedException)"),
    "sns.a_queue_that_does_not_let_the_topic_send_gets_nothing":
        differs("sends to a queue without a policy", "SNS Developer Guide, Subscribing an Amazon SQS queue to an Amazon SNS topic"),
    "sns.a_topic_that_ses_may_not_use_is_refused":
        differs("takes any topic", "SES Developer Guide, Set up an Amazon SNS event destination for event publishing"),
    "sns.a_topic_with_other_attributes_is_another":
        differs("answers the topic that is there", "SNS API Reference, CreateTopic (InvalidParameter)"),
    "sns.bad_messages_are_refused":
        differs("takes an empty message", "SNS API Reference, Publish"),
    "sns.events_come_through_the_topic":
        differs("publishes no events", "SES Developer Guide, Contents of event data that Amazon SES publishes to Amazon SNS"),
    "sns.what_a_queue_does_not_take_goes_to_the_dead_letters":
        differs("has no dead letters of subscriptions", "SNS Developer Guide, Amazon SNS dead-letter queues"),
    # SESv2
    "sesv2.50_recipients_and_no_more":
        differs("takes any number of recipients", "SES API v2 Reference, SendEmail"),
    "sesv2.a_line_over_998_octets_is_refused":
        differs("takes any line", "SES API v2 Reference, RawMessage"),
    "sesv2.a_lost_reply_is_no_answer_at_all":
        ours_only("@lost-reply.test is this system's own"),
    "sesv2.a_message_without_from_is_refused":
        differs("takes a message without From", "SES API v2 Reference, RawMessage"),
    "sesv2.an_unknown_configuration_set_is_refused":
        differs("takes any name", "SES API v2 Reference, SendEmail (NotFoundException)"),
    "sesv2.an_unverified_from_header_is_refused":
        differs("verifies no sender", "SES Developer Guide, Amazon SES email sending errors"),
    "sesv2.bad_recipients_are_refused":
        differs("takes any recipient", "SES API v2 Reference, Destination"),
    "sesv2.bad_tags_are_refused":
        differs("takes any tag", "SES API v2 Reference, MessageTag"),
    "sesv2.over_the_rate_is_told_apart":
        ours_only("@throttled.test is this system's own"),
    "sesv2.the_id_has_the_form_of_ses":
        differs("answers another form", "SES API v2 Reference, SendEmail (examples)"),
    "sesv2.the_suppression_list_keeps_addresses":
        differs("has no suppression list", "SES API v2 Reference, PutSuppressedDestination"),
    "sesv2.the_tls_policy_and_delivery_time_are_kept":
        differs("does not keep DeliveryOptions", "SES API v2 Reference, DeliveryOptions"),
    # Operations that are missing
    "unknown.dynamodb": BY_NAME,
    "unknown.s3": BY_NAME,
    "unknown.kms": BY_NAME,
    "unknown.sqs": BY_NAME,
    "unknown.sns": BY_NAME,
    "unknown.sesv2": BY_NAME,
    "unknown.ses_templates_and_simple_content": BY_NAME,
    "unknown.ses_parameters": BY_NAME,
    # The clock
    "clock.object_lock_lets_go_when_its_date_has_passed": NO_CLOCK,
    "clock.events_come_when_their_time_has_come": NO_CLOCK,
    "clock.a_hidden_message_comes_again": NO_CLOCK,
    "clock.a_key_is_gone_after_its_waiting_time": NO_CLOCK,
}
