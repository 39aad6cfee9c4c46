"""What AWS has and this system has not answers NotImplemented and names it: never a silent success."""

from harness import Check, client


class Unknown(Check):
    def names_itself(self, service, operation, **parameters):
        call = getattr(client(service), operation)
        name = "".join(word.capitalize() for word in operation.split("_"))
        error = self.refused("NotImplemented", call, status=501, **parameters)
        self.assertIn(name.lower(), error["Error"]["Message"].lower())

    def test_dynamodb(self):
        self.names_itself("dynamodb", "describe_global_table", GlobalTableName="contract")

    def test_s3(self):
        self.names_itself("s3", "put_bucket_website", Bucket="contract", WebsiteConfiguration={"IndexDocument": {"Suffix": "x"}})

    def test_kms(self):
        self.names_itself("kms", "create_custom_key_store", CustomKeyStoreName="contract")

    def test_sqs(self):
        self.names_itself("sqs", "list_message_move_tasks", SourceArn="arn:aws:sqs:us-east-1:000000000000:contract")

    def test_sns(self):
        self.names_itself("sns", "list_platform_applications")

    def test_sesv2(self):
        self.names_itself("sesv2", "create_contact_list", ContactListName="contract")

    def test_ses_templates_and_simple_content(self):
        aws = client("sesv2")
        for content in ({"Simple": {"Subject": {"Data": "x"}, "Body": {"Text": {"Data": "x"}}}},
                        {"Template": {"TemplateName": "x", "TemplateData": "{}"}}):
            error = self.refused("NotImplemented", aws.send_email, status=501, FromEmailAddress="care@clinic.test",
                                 Destination={"ToAddresses": ["pat@mail.test"]}, Content=content)
            self.assertIn(next(iter(content)), error["Error"]["Message"])

    def test_ses_parameters(self):
        raw = {"Raw": {"Data": b"From: care@clinic.test\r\n\r\nx"}}
        error = self.refused("NotImplemented", client("sesv2").send_email, status=501, FromEmailAddress="care@clinic.test",
                             Destination={"ToAddresses": ["pat@mail.test"]}, Content=raw, TenantName="contract")
        self.assertIn("TenantName", error["Error"]["Message"])
