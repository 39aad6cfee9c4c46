"""What happens once the time has come. These checks move the system's clock, so they run last."""

import datetime

from harness import Check, advance, client, now, unique


class Clock(Check):
    needs_clock = True

    def test_object_lock_lets_go_when_its_date_has_passed(self):
        s3, bucket, key = client("s3"), unique("clock"), unique("k")
        s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
        at = {"Bucket": bucket, "Key": key}
        until = now() + datetime.timedelta(days=1)
        version = s3.put_object(**at, Body=b"x", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=until)["VersionId"]
        held = s3.put_object(**at, Body=b"y", ObjectLockLegalHoldStatus="ON")["VersionId"]
        advance("PT23H")
        self.refused("AccessDenied", s3.delete_object, **at, VersionId=version)
        advance("PT2H")
        s3.delete_object(**at, VersionId=version)
        self.refused(("NoSuchVersion", "NoSuchKey"), s3.get_object, **at, VersionId=version)
        self.refused("AccessDenied", s3.delete_object, **at, VersionId=held)

    def test_a_hidden_message_comes_again(self):
        sqs = client("sqs")
        url = sqs.create_queue(QueueName=unique("clock"), Attributes={"VisibilityTimeout": "600"})["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="x", DelaySeconds=300)
        advance("PT301S")
        self.assertEqual(len(sqs.receive_message(QueueUrl=url)["Messages"]), 1)
        advance("PT599S")
        self.assertNotIn("Messages", sqs.receive_message(QueueUrl=url))
        advance("PT2S")
        self.assertEqual(len(sqs.receive_message(QueueUrl=url)["Messages"]), 1)

    def test_a_key_is_gone_after_its_waiting_time(self):
        kms = client("kms")
        key = kms.create_key()["KeyMetadata"]["KeyId"]
        blob = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
        kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
        advance("P8D")
        self.refused("NotFoundException", kms.describe_key, KeyId=key)
        self.refused(("NotFoundException", "InvalidCiphertextException", "KMSInvalidStateException"), kms.decrypt, CiphertextBlob=blob)
        self.refused("NotFoundException", kms.cancel_key_deletion, KeyId=key)
