"""SNS: topics, subscribed queues, and messages in both forms. And SES, whose events come through a topic."""

import json

from botocore.exceptions import ClientError

from harness import Check, client, unique


def allow(service, action, resource, source=None):
    """A resource's policy that lets a service of AWS use it."""
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": action, "Resource": resource}
    if source:
        statement["Condition"] = {"ArnEquals": {"aws:SourceArn": source}}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def take(url, wait=0):
    """The bodies and attributes of everything in a queue, taken from it."""
    sqs, found = client("sqs"), []
    while True:
        got = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=wait,
                                  MessageAttributeNames=["All"]).get("Messages", [])
        if not got:
            return found
        for message in got:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        found += got


class Messages(Check):
    """What the checks of SNS and of SES's events share."""

    def topic(self, **attributes):
        return client("sns").create_topic(Name=unique("contract"), Attributes=attributes)["TopicArn"]

    def queue(self, topic=None):
        """A queue's URL and ARN; it lets `topic` send."""
        sqs = client("sqs")
        url = sqs.create_queue(QueueName=unique("contract"))["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        if topic:
            policy = allow("sns.amazonaws.com", "sqs:SendMessage", arn, topic)
            sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
        return url, arn


class Sns(Messages):
    service = "sns"

    def subscribe(self, topic, queue, **attributes):
        return self.aws.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue, Attributes=attributes,
                                  ReturnSubscriptionArn=True)["SubscriptionArn"]

    def test_a_topic_is_made_once_and_told(self):
        name = unique("contract")
        arn = self.aws.create_topic(Name=name)["TopicArn"]
        self.assertTrue(arn.startswith("arn:aws:sns:us-east-1:") and arn.endswith(":" + name), arn)
        self.assertEqual(self.aws.create_topic(Name=name)["TopicArn"], arn)
        found = self.aws.get_topic_attributes(TopicArn=arn)["Attributes"]
        self.assertEqual((found["TopicArn"], found["SubscriptionsConfirmed"]), (arn, "0"))
        self.assertEqual(json.loads(found["Policy"])["Statement"][0]["Resource"], arn)
        self.assertIn(arn, [topic["TopicArn"] for page in self.aws.get_paginator("list_topics").paginate()
                            for topic in page["Topics"]])

    def test_a_topic_with_other_attributes_is_another(self):
        name = unique("contract")
        self.aws.create_topic(Name=name, Attributes={"DisplayName": "one"})
        self.refused("InvalidParameter", self.aws.create_topic, status=400, Name=name, Attributes={"DisplayName": "two"})

    def test_attributes_are_set(self):
        arn = self.topic()
        self.aws.set_topic_attributes(TopicArn=arn, AttributeName="DisplayName", AttributeValue="Größe <&>")
        self.assertEqual(self.aws.get_topic_attributes(TopicArn=arn)["Attributes"]["DisplayName"], "Größe <&>")

    def test_a_raw_message_comes_as_it_went(self):
        topic = self.topic()
        url, queue = self.queue(topic)
        self.subscribe(topic, queue, RawMessageDelivery="true")
        body = 'Grüße <&> "x"\n\t日本'
        self.aws.publish(TopicArn=topic, Message=body,
                         MessageAttributes={"kind": {"DataType": "String", "StringValue": "hint"}})
        got = take(url)
        self.assertEqual([message["Body"] for message in got], [body])
        self.assertEqual(got[0]["MessageAttributes"]["kind"]["StringValue"], "hint")

    def test_a_wrapped_message_says_where_it_is_from(self):
        topic = self.topic()
        url, queue = self.queue(topic)
        self.subscribe(topic, queue)
        sent = self.aws.publish(TopicArn=topic, Message="hello", Subject="greeting",
                                MessageAttributes={"kind": {"DataType": "String", "StringValue": "hint"}})
        got = take(url)
        self.assertEqual(len(got), 1)
        body = json.loads(got[0]["Body"])
        self.assertEqual((body["Type"], body["TopicArn"], body["MessageId"]), ("Notification", topic, sent["MessageId"]))
        self.assertEqual((body["Message"], body["Subject"]), ("hello", "greeting"))
        self.assertEqual(body["MessageAttributes"], {"kind": {"Type": "String", "Value": "hint"}})
        self.assertRegex(body["Timestamp"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertNotIn("MessageAttributes", got[0])

    def test_a_subscription_is_made_once_told_changed_and_ended(self):
        topic = self.topic()
        url, queue = self.queue(topic)
        arn = self.subscribe(topic, queue)
        self.assertEqual(self.subscribe(topic, queue), arn)
        found = self.aws.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
        self.assertEqual([(one["SubscriptionArn"], one["Protocol"], one["Endpoint"]) for one in found], [(arn, "sqs", queue)])
        get = lambda: self.aws.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
        self.assertEqual((get()["TopicArn"], get()["RawMessageDelivery"], get()["PendingConfirmation"]), (topic, "false", "false"))
        self.aws.set_subscription_attributes(SubscriptionArn=arn, AttributeName="RawMessageDelivery", AttributeValue="true")
        self.assertEqual(get()["RawMessageDelivery"], "true")
        self.assertEqual(self.aws.get_topic_attributes(TopicArn=topic)["Attributes"]["SubscriptionsConfirmed"], "1")
        self.aws.unsubscribe(SubscriptionArn=arn)
        self.refused("NotFound", get, status=404)
        self.aws.publish(TopicArn=topic, Message="x")
        self.assertEqual(take(url), [])

    def test_a_queue_that_does_not_let_the_topic_send_gets_nothing(self):
        topic = self.topic()
        url, queue = self.queue()
        self.subscribe(topic, queue)
        self.aws.publish(TopicArn=topic, Message="x")
        self.assertEqual(take(url), [])

    def test_what_a_queue_does_not_take_goes_to_the_dead_letters(self):
        topic = self.topic()
        (_, shut), (dead, dead_arn) = self.queue(), self.queue(topic)
        self.subscribe(topic, shut, RawMessageDelivery="true", RedrivePolicy=json.dumps({"deadLetterTargetArn": dead_arn}))
        self.aws.publish(TopicArn=topic, Message="x")
        self.assertEqual([message["Body"] for message in take(dead)], ["x"])

    def test_bad_messages_are_refused(self):
        topic = self.topic()
        refused = lambda **more: self.refused("InvalidParameter", self.aws.publish, status=400, TopicArn=topic, **more)
        refused(Message="")
        refused(Message="x" * 262_145)
        refused(Message="x", Subject="y" * 101)

    def test_a_topic_that_is_not_there(self):
        topic = self.topic()
        self.aws.delete_topic(TopicArn=topic)
        self.aws.delete_topic(TopicArn=topic)
        for call in (lambda: self.aws.publish(TopicArn=topic, Message="x"), lambda: self.aws.get_topic_attributes(TopicArn=topic)):
            self.refused("NotFound", call, status=404)


class Events(Messages):
    service = "sesv2"

    def setUp(self):
        super().setUp()
        self.domain, self.set = unique("clinic") + ".test", unique("set")
        self.aws.create_email_identity(EmailIdentity=self.domain)
        self.aws.create_configuration_set(ConfigurationSetName=self.set)

    def allowed_topic(self):
        topic = self.topic()
        policy = allow("ses.amazonaws.com", "sns:Publish", topic)
        client("sns").set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)
        return topic

    def create(self, topic, types=("SEND", "DELIVERY"), name="events", **more):
        destination = {"Enabled": True, "MatchingEventTypes": list(types), "SnsDestination": {"TopicArn": topic}}
        self.aws.create_configuration_set_event_destination(
            ConfigurationSetName=self.set, EventDestinationName=name, EventDestination={**destination, **more})

    def test_a_destination_is_made_told_changed_and_deleted(self):
        topic = self.allowed_topic()
        self.create(topic)
        get = lambda: self.aws.get_configuration_set_event_destinations(ConfigurationSetName=self.set).get("EventDestinations", [])
        self.assertEqual([(one["Name"], one["Enabled"], sorted(one["MatchingEventTypes"]), one["SnsDestination"]) for one in get()],
                         [("events", True, ["DELIVERY", "SEND"], {"TopicArn": topic})])
        at = {"ConfigurationSetName": self.set, "EventDestinationName": "events"}
        self.refused("AlreadyExistsException", self.create, topic=topic)
        changed = {"Enabled": False, "MatchingEventTypes": ["BOUNCE"], "SnsDestination": {"TopicArn": topic}}
        self.aws.update_configuration_set_event_destination(**at, EventDestination=changed)
        self.assertEqual([(one["Enabled"], one["MatchingEventTypes"]) for one in get()], [(False, ["BOUNCE"])])
        self.aws.delete_configuration_set_event_destination(**at)
        self.assertEqual(get(), [])
        self.refused("NotFoundException", self.aws.delete_configuration_set_event_destination, status=404, **at)

    def test_bad_destinations_are_refused(self):
        topic = self.allowed_topic()
        refused = lambda **more: self.refused("BadRequestException", self.create, status=400, topic=topic, **more)
        refused(types=[])
        refused(types=["SENT"])
        refused(name="a b")
        self.set = unique("none")
        self.refused("NotFoundException", self.create, status=404, topic=topic)

    def test_a_topic_that_ses_may_not_use_is_refused(self):
        self.refused("BadRequestException", self.create, status=400, topic=self.topic())
        self.refused("BadRequestException", self.create, status=400, topic=self.topic() + "-none")

    def test_events_come_through_the_topic(self):
        topic = self.allowed_topic()
        url, queue = self.queue(topic)
        client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue, Attributes={"RawMessageDelivery": "true"})
        self.create(topic)
        sender = f"care@{self.domain}"
        raw = f"From: Clinic <{sender}>\r\nTo: pat@mail.test\r\nSubject: Hello\r\n\r\nx\r\n".encode()
        sent = self.aws.send_email(
            FromEmailAddress=sender, Destination={"ToAddresses": ["pat@mail.test"]}, Content={"Raw": {"Data": raw}},
            ConfigurationSetName=self.set, EmailTags=[{"Name": "attempt", "Value": "at_1"}])["MessageId"]
        bodies = [message["Body"] for message in take(url, wait=1)]
        self.assertEqual(bodies[0], "Successfully validated SNS topic for Amazon SES event publishing.")
        events = {event["eventType"]: event for event in map(json.loads, bodies[1:])}
        self.assertEqual((len(bodies), sorted(events)), (3, ["Delivery", "Send"]))
        mail = events["Send"]["mail"]
        self.assertEqual((mail["messageId"], mail["source"], mail["destination"]), (sent, sender, ["pat@mail.test"]))
        self.assertEqual((mail["tags"]["attempt"], mail["tags"]["ses:configuration-set"]), (["at_1"], [self.set]))
        self.assertEqual(events["Send"]["send"], {})
        self.assertEqual(events["Delivery"]["delivery"]["recipients"], ["pat@mail.test"])

    def test_a_paused_account_refuses_to_send(self):
        self.aws.put_account_sending_attributes(SendingEnabled=False)
        try:
            self.assertFalse(self.aws.get_account()["SendingEnabled"])
            raw = f"From: care@{self.domain}\r\nTo: pat@mail.test\r\n\r\nx\r\n".encode()
            with self.assertRaises(ClientError) as caught:
                self.aws.send_email(Destination={"ToAddresses": ["pat@mail.test"]}, Content={"Raw": {"Data": raw}})
            self.assertEqual(caught.exception.response["Error"]["Code"], "SendingPausedException")
        finally:
            self.aws.put_account_sending_attributes(SendingEnabled=True)
        self.assertTrue(self.aws.get_account()["SendingEnabled"])
