"""SQS: visibility, receive counts, delay, dead letters and batches."""

import json
import threading
import time

from harness import Check, client, unique


class Sqs(Check):
    service = "sqs"

    def queue(self, **attributes):
        attributes = {name: str(value) for name, value in attributes.items()}
        return self.aws.create_queue(QueueName=unique("contract"), Attributes=attributes)["QueueUrl"]

    def send(self, url, body="hello", **more):
        return self.aws.send_message(QueueUrl=url, MessageBody=body, **more)

    def receive(self, url, n=1, **more):
        more.setdefault("MessageSystemAttributeNames", ["ApproximateReceiveCount"])
        return self.aws.receive_message(QueueUrl=url, MaxNumberOfMessages=n, **more).get("Messages", [])

    def count(self, url, name="ApproximateNumberOfMessages"):
        return int(self.aws.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name])

    def test_a_message_comes_back_as_it_went(self):
        url = self.queue()
        body = 'Grüße <&> "x"\n\t日本'
        sent = self.send(url, body, MessageAttributes={"kind": {"DataType": "String", "StringValue": "hint"}})
        got = self.receive(url, MessageAttributeNames=["All"])[0]
        self.assertEqual((got["MessageId"], got["Body"], got["MD5OfBody"]), (sent["MessageId"], body, sent["MD5OfMessageBody"]))
        self.assertEqual(got["MessageAttributes"]["kind"]["StringValue"], "hint")
        self.assertEqual(got["MD5OfMessageAttributes"], sent["MD5OfMessageAttributes"])

    def test_a_received_message_is_hidden_and_then_comes_again(self):
        url = self.queue(VisibilityTimeout=1)
        self.send(url)
        first = self.receive(url)[0]
        self.assertEqual(first["Attributes"]["ApproximateReceiveCount"], "1")
        self.assertEqual(self.receive(url), [])
        self.assertEqual(self.count(url, "ApproximateNumberOfMessagesNotVisible"), 1)
        time.sleep(1.3)
        again = self.receive(url)[0]
        self.assertEqual((again["MessageId"], again["Attributes"]["ApproximateReceiveCount"]), (first["MessageId"], "2"))

    def test_a_deleted_message_does_not_come_again(self):
        url = self.queue(VisibilityTimeout=1)
        self.send(url)
        handle = self.receive(url)[0]["ReceiptHandle"]
        self.aws.delete_message(QueueUrl=url, ReceiptHandle=handle)
        self.aws.delete_message(QueueUrl=url, ReceiptHandle=handle)
        time.sleep(1.3)
        self.assertEqual(self.receive(url), [])

    def test_visibility_can_be_given_back_and_lengthened(self):
        url = self.queue(VisibilityTimeout=1)
        self.send(url)
        change = lambda message, seconds: self.aws.change_message_visibility(
            QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=seconds)
        change(self.receive(url)[0], 0)
        again = self.receive(url)[0]
        change(again, 30)
        time.sleep(1.3)
        self.assertEqual(self.receive(url), [])

    def test_a_delayed_message_waits(self):
        url = self.queue()
        self.send(url, DelaySeconds=1)
        self.assertEqual(self.receive(url), [])
        time.sleep(1.3)
        self.assertEqual(len(self.receive(url)), 1)
        slow = self.queue(DelaySeconds=1)
        self.send(slow)
        self.assertEqual(self.receive(slow), [])

    def test_what_fails_too_often_goes_to_the_dead_letters(self):
        dead = self.queue()
        arn = self.aws.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        self.assertEqual(arn.rsplit(":", 1)[0].rsplit(":", 1)[0], "arn:aws:sqs:us-east-1")
        policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "2"})
        url = self.queue(VisibilityTimeout=0, RedrivePolicy=policy)
        sent = self.send(url)
        for _ in range(2):
            self.assertEqual(self.receive(url)[0]["MessageId"], sent["MessageId"])
        self.assertEqual(self.receive(url), [])
        self.assertEqual(self.receive(dead)[0]["MessageId"], sent["MessageId"])

    def test_batches_send_receive_and_delete(self):
        url = self.queue()
        entries = [{"Id": str(i), "MessageBody": f"m{i}"} for i in range(10)]
        sent = self.aws.send_message_batch(QueueUrl=url, Entries=entries)
        self.assertEqual(len(sent["Successful"]), 10)
        self.assertEqual(self.count(url), 10)
        got = {}
        for _ in range(20):
            for message in self.receive(url, 10):
                got[message["Body"]] = message["ReceiptHandle"]
            if len(got) == 10:
                break
        self.assertEqual(sorted(got), sorted(e["MessageBody"] for e in entries))
        deletes = [{"Id": body, "ReceiptHandle": handle} for body, handle in got.items()]
        self.assertEqual(len(self.aws.delete_message_batch(QueueUrl=url, Entries=deletes)["Successful"]), 10)
        self.assertEqual(self.count(url) + self.count(url, "ApproximateNumberOfMessagesNotVisible"), 0)

    def test_bad_batches_are_refused(self):
        url = self.queue()
        entry = lambda i: {"Id": str(i), "MessageBody": "x"}
        prefix = "AWS.SimpleQueueService."
        refused = lambda name, entries: self.refused(
            (prefix + name, name), self.aws.send_message_batch, status=400, QueueUrl=url, Entries=entries)
        refused("TooManyEntriesInBatchRequest", [entry(i) for i in range(11)])
        refused("BatchEntryIdsNotDistinct", [entry(1), entry(1)])
        refused("EmptyBatchRequest", [])
        self.assertEqual(self.count(url), 0)

    def test_a_message_over_one_mebibyte_is_refused(self):
        url = self.queue(MaximumMessageSize=1_048_576)
        self.send(url, "x" * 1_048_576)
        self.refused("InvalidParameterValue", self.send, url=url, body="x" * 1_048_577)

    def test_a_long_poll_ends_when_a_message_arrives(self):
        url = self.queue()
        timer = threading.Timer(0.5, lambda: client("sqs").send_message(QueueUrl=url, MessageBody="late"))
        timer.start()
        start = time.monotonic()
        self.assertEqual(len(self.receive(url, WaitTimeSeconds=10)), 1)
        self.assertLess(time.monotonic() - start, 5)
        timer.join()

    def test_a_long_poll_of_nothing_lasts_its_time(self):
        url = self.queue()
        start = time.monotonic()
        self.assertEqual(self.receive(url, WaitTimeSeconds=1), [])
        self.assertGreater(time.monotonic() - start, 0.9)

    def test_the_same_queue_is_made_once(self):
        name = unique("contract")
        url = self.aws.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "7"})["QueueUrl"]
        self.assertEqual(self.aws.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "7"})["QueueUrl"], url)
        self.refused(("QueueAlreadyExists", "QueueNameExists"), self.aws.create_queue, QueueName=name, Attributes={"VisibilityTimeout": "8"})
        self.assertEqual(self.aws.get_queue_url(QueueName=name)["QueueUrl"], url)

    def test_an_unknown_queue_is_named_so(self):
        codes = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")
        self.refused(codes, self.aws.get_queue_url, status=400, QueueName=unique("none"))
        url = self.queue()
        self.refused(codes, self.send, url=url + "-none")

    def test_a_purged_queue_is_empty(self):
        url = self.queue()
        self.send(url)
        self.aws.purge_queue(QueueUrl=url)
        self.assertEqual(self.count(url), 0)
