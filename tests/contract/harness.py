"""What the checks share: clients, names, expected refusals, and the system's clock."""

import datetime
import json
import unittest
import urllib.error
import urllib.request
import uuid

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

import differences

_setup = {}


def configure(endpoint, clock, foreign):
    _setup.update(endpoint=endpoint, clock=clock, foreign=foreign)


def client(service, **options):
    """A client with one attempt a call, so that a check sees what the server answered."""
    config = Config(
        retries={"total_max_attempts": 1},
        connect_timeout=5,
        read_timeout=30,
        s3={"addressing_style": "path"},
        signature_version="s3v4" if service == "s3" else None,
    )
    # Both check signatures; each knows one secret key.
    key = "test" if _setup["foreign"] else "local"
    return boto3.client(
        service,
        endpoint_url=_setup["endpoint"],
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=key,
        config=config,
        **options,
    )


def unique(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def name_of(test):
    """`service.check`, as the table of differences names it."""
    module = type(test).__module__.removeprefix("check_")
    return f"{module}.{test._testMethodName.removeprefix('test_')}"


def post(url, body, timeout=30):
    """Status and JSON of a POST."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def advance(duration):
    """Moves the system's clock by an ISO 8601 duration and answers the new time."""
    status, answer = post(_setup["clock"].rstrip("/") + "/clock", {"advance": duration})
    assert status == 200, answer
    return datetime.datetime.fromisoformat(answer["now"].replace("Z", "+00:00"))


def now():
    """The system's time; without a clock to ask, this machine's."""
    if _setup["clock"]:
        return advance("PT0S")
    return datetime.datetime.now(datetime.timezone.utc)


class Check(unittest.TestCase):
    """One service's checks. `service` makes `self.aws`, one client for all of them."""

    service = None
    needs_clock = False
    longMessage = True
    maxDiff = 2000

    @classmethod
    def setUpClass(cls):
        if cls.service:
            cls.aws = client(cls.service)

    def setUp(self):
        row = differences.ROWS.get(name_of(self)) if _setup["foreign"] else None
        if row and not row.is_expected_to_fail:
            self.skipTest(row.what)
        if self.needs_clock and not _setup["clock"]:
            self.skipTest("needs --clock")

    def refused(self, codes, call, *, status=None, **parameters):
        """`call` answers an error with one of `codes`; gives back the error."""
        codes = (codes,) if isinstance(codes, str) else codes
        try:
            call(**parameters)
        except ClientError as error:
            self.assertIn(error.response["Error"]["Code"], codes, str(error))
            if status:
                self.assertEqual(error.response["ResponseMetadata"]["HTTPStatusCode"], status)
            return error.response
        self.fail(f"was not refused as {codes[0]}")
