"""SESv2: what is accepted, what is refused and in which words, and the settings that required TLS rests on."""

import re

from botocore.exceptions import BotoCoreError

from harness import Check, unique


class SesV2(Check):
    service = "sesv2"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.domain = unique("clinic") + ".test"
        cls.set = unique("tls")
        cls.aws.create_email_identity(EmailIdentity=cls.domain)
        cls.aws.create_configuration_set(ConfigurationSetName=cls.set, DeliveryOptions={"TlsPolicy": "REQUIRE"})

    def send(self, to="pat@mail.test", sender=None, raw=None, **more):
        sender = sender or f"care@{self.domain}"
        raw = raw or f"From: Clinic <{sender}>\r\nTo: <pat@mail.test>\r\nSubject: Hello\r\n\r\nHello\r\n".encode()
        to = [to] if isinstance(to, str) else to
        return self.aws.send_email(
            FromEmailAddress=sender, Destination={"ToAddresses": to}, Content={"Raw": {"Data": raw}},
            **{"ConfigurationSetName": self.set, **more})

    def test_a_raw_email_is_accepted_and_gets_an_id(self):
        one = self.send(EmailTags=[{"Name": "attempt", "Value": "at_1-b"}])["MessageId"]
        self.assertNotEqual(one, self.send()["MessageId"])

    def test_the_id_has_the_form_of_ses(self):
        form = r"[0-9a-f]{16}-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-\d{6}"
        self.assertTrue(re.fullmatch(form, self.send()["MessageId"]))

    def test_an_unverified_sender_is_refused_with_its_address(self):
        error = self.refused("MessageRejected", self.send, status=400, sender="care@elsewhere.test")
        self.assertIn("Email address is not verified. The following identities failed the check in region US-EAST-1: "
                      "care@elsewhere.test", error["Error"]["Message"])

    def test_an_unverified_from_header_is_refused(self):
        raw = b"From: someone@elsewhere.test\r\nTo: pat@mail.test\r\n\r\nHello\r\n"
        self.refused("MessageRejected", self.send, raw=raw)

    def test_a_subdomain_of_a_verified_domain_may_send(self):
        self.send(sender=f"care@mail.{self.domain}")

    def test_an_unknown_configuration_set_is_refused(self):
        self.refused("NotFoundException", self.send, status=404, ConfigurationSetName=unique("none"))

    def test_bad_tags_are_refused(self):
        for name, value in (("a b", "c"), ("a", "pat@mail.test"), ("a", "x" * 257), ("ü", "x"), ("", "x")):
            with self.subTest(name=name, value=value[:16]):
                self.refused("BadRequestException", self.send, status=400, EmailTags=[{"Name": name, "Value": value}])

    def test_50_recipients_and_no_more(self):
        many = [f"p{i}@mail.test" for i in range(51)]
        self.send(many[:50])
        self.refused("BadRequestException", self.send, status=400, to=many)

    def test_bad_recipients_are_refused(self):
        for to in ("pat", "pat@", "@mail.test", "pat one@mail.test"):
            with self.subTest(to=to):
                self.refused("BadRequestException", self.send, to=to)

    def test_a_message_without_from_is_refused(self):
        self.refused("BadRequestException", self.send, raw=b"Subject: x\r\n\r\nHello\r\n")

    def test_a_line_over_998_octets_is_refused(self):
        head = f"From: care@{self.domain}\r\n\r\n".encode()
        self.send(raw=head + b"x" * 998 + b"\r\n")
        self.refused("BadRequestException", self.send, raw=head + b"x" * 1500 + b"\r\n")

    def test_the_tls_policy_and_delivery_time_are_kept(self):
        name = unique("set")
        options = {"TlsPolicy": "REQUIRE", "MaxDeliverySeconds": 300}
        self.aws.create_configuration_set(ConfigurationSetName=name, DeliveryOptions=options)
        get = lambda: self.aws.get_configuration_set(ConfigurationSetName=name)["DeliveryOptions"]
        self.assertEqual(get(), options)
        self.aws.put_configuration_set_delivery_options(ConfigurationSetName=name, TlsPolicy="OPTIONAL", MaxDeliverySeconds=50400)
        self.assertEqual(get(), {"TlsPolicy": "OPTIONAL", "MaxDeliverySeconds": 50400})
        # boto3 itself refuses less than 300.
        self.refused("BadRequestException", self.aws.put_configuration_set_delivery_options, status=400,
                     ConfigurationSetName=name, TlsPolicy="REQUIRE", MaxDeliverySeconds=50401)
        self.aws.delete_configuration_set(ConfigurationSetName=name)
        self.refused("NotFoundException", self.aws.get_configuration_set, status=404, ConfigurationSetName=name)

    def test_a_configuration_set_is_not_made_twice(self):
        self.refused("AlreadyExistsException", self.aws.create_configuration_set, status=400, ConfigurationSetName=self.set)
        self.assertIn(self.set, self.aws.list_configuration_sets()["ConfigurationSets"])

    def test_an_identity_tells_its_state(self):
        found = self.aws.get_email_identity(EmailIdentity=self.domain)
        self.assertEqual((found["IdentityType"], found["VerifiedForSendingStatus"]), ("DOMAIN", True))
        self.assertEqual(len(found["DkimAttributes"]["Tokens"]), 3)
        listed = self.aws.list_email_identities()["EmailIdentities"]
        self.assertIn(self.domain, [identity["IdentityName"] for identity in listed])
        self.refused("NotFoundException", self.aws.get_email_identity, status=404, EmailIdentity="none.test")

    def test_the_account_tells_its_quota(self):
        account = self.aws.get_account()
        before = account["SendQuota"]["SentLast24Hours"]
        self.send()
        self.assertEqual(self.aws.get_account()["SendQuota"]["SentLast24Hours"], before + 1)
        self.assertGreaterEqual(account["SendQuota"]["MaxSendRate"], 1)

    def test_the_suppression_list_keeps_addresses(self):
        address = unique("pat") + "+tag@mail.test"
        self.aws.put_suppressed_destination(EmailAddress=address, Reason="BOUNCE")
        found = self.aws.get_suppressed_destination(EmailAddress=address)["SuppressedDestination"]
        self.assertEqual((found["EmailAddress"], found["Reason"]), (address, "BOUNCE"))
        listed = self.aws.list_suppressed_destinations(Reasons=["BOUNCE"])["SuppressedDestinationSummaries"]
        self.assertIn(address, [entry["EmailAddress"] for entry in listed])
        self.aws.delete_suppressed_destination(EmailAddress=address)
        self.refused("NotFoundException", self.aws.get_suppressed_destination, status=404, EmailAddress=address)

    def test_a_lost_reply_is_no_answer_at_all(self):
        with self.assertRaises(BotoCoreError):
            self.send("pat@lost-reply.test")

    def test_over_the_rate_is_told_apart(self):
        self.refused("TooManyRequestsException", self.send, status=429, to="pat@throttled.test")
