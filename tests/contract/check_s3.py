"""S3: versions, create-only puts and Object Lock, which the archive rests on; and presigned addresses."""

import base64
import datetime
import hashlib
import time
import urllib.error
import urllib.request

from harness import Check, now, unique


def fetch(url, method="GET", body=None):
    request = urllib.request.Request(url, data=body, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


class S3(Check):
    service = "s3"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.locked, cls.plain = unique("locked"), unique("plain")
        cls.aws.create_bucket(Bucket=cls.locked, ObjectLockEnabledForBucket=True)
        cls.aws.create_bucket(Bucket=cls.plain)

    def setUp(self):
        super().setUp()
        self.key = unique("k")
        self.at = {"Bucket": self.locked, "Key": self.key}

    def put(self, body=b"one", **more):
        return self.aws.put_object(**self.at, Body=body, **more)["VersionId"]

    def body(self, **more):
        return self.aws.get_object(**self.at, **more)["Body"].read()

    def until(self, days):
        return (now() + datetime.timedelta(days=days)).replace(microsecond=0)

    def lock(self, mode, days=1):
        version = self.put()
        retention = {"Mode": mode, "RetainUntilDate": self.until(days)}
        self.aws.put_object_retention(**self.at, VersionId=version, Retention=retention)
        return version

    def retain(self, version, mode, days, **more):
        return self.aws.put_object_retention(
            **self.at, VersionId=version, Retention={"Mode": mode, "RetainUntilDate": self.until(days)}, **more)

    # Versions

    def test_every_put_keeps_the_version_before(self):
        one, two = self.put(b"one"), self.put(b"two")
        self.assertNotEqual(one, two)
        self.assertEqual((self.body(), self.body(VersionId=one)), (b"two", b"one"))

    def test_delete_writes_a_marker_and_keeps_the_versions(self):
        version = self.put()
        marker = self.aws.delete_object(**self.at)
        self.assertTrue(marker["DeleteMarker"])
        error = self.refused("NoSuchKey", self.aws.get_object, status=404, **self.at)
        self.assertEqual(error["ResponseMetadata"]["HTTPHeaders"].get("x-amz-delete-marker"), "true")
        self.assertEqual(self.body(VersionId=version), b"one")
        self.aws.delete_object(**self.at, VersionId=marker["VersionId"])
        self.assertEqual(self.body(), b"one")

    def test_a_marker_cannot_be_read(self):
        self.put()
        marker = self.aws.delete_object(**self.at)["VersionId"]
        self.refused(("MethodNotAllowed", "405"), self.aws.get_object, status=405, **self.at, VersionId=marker)

    def test_versions_are_listed_newest_first_with_markers(self):
        one, two = self.put(b"one"), self.put(b"two")
        marker = self.aws.delete_object(**self.at)["VersionId"]
        listed = self.aws.list_object_versions(Bucket=self.locked, Prefix=self.key)
        self.assertEqual([(v["VersionId"], v["IsLatest"]) for v in listed["Versions"]], [(two, False), (one, False)])
        self.assertEqual([(m["VersionId"], m["IsLatest"]) for m in listed["DeleteMarkers"]], [(marker, True)])

    def test_versions_are_listed_in_pages(self):
        versions = [self.put(bytes([65 + i])) for i in range(5)]
        pages = self.aws.get_paginator("list_object_versions").paginate(
            Bucket=self.locked, Prefix=self.key, PaginationConfig={"PageSize": 2})
        self.assertEqual([v["VersionId"] for page in pages for v in page.get("Versions", [])], versions[::-1])

    def test_a_deleted_version_is_gone_from_the_listing(self):
        version = self.put()
        self.aws.delete_object(**self.at, VersionId=version)
        listed = self.aws.list_object_versions(Bucket=self.locked, Prefix=self.key)
        self.assertEqual((listed.get("Versions"), listed.get("DeleteMarkers")), (None, None))
        self.refused(("NoSuchVersion", "NoSuchKey"), self.aws.get_object, status=404, **self.at, VersionId=version)

    # Conditions

    def test_create_only_put_refuses_the_second(self):
        self.put(b"one", IfNoneMatch="*")
        self.refused("PreconditionFailed", self.aws.put_object, status=412, **self.at, Body=b"two", IfNoneMatch="*")
        self.assertEqual(self.body(), b"one")
        self.assertEqual(len(self.aws.list_object_versions(Bucket=self.locked, Prefix=self.key)["Versions"]), 1)

    def test_create_only_put_succeeds_behind_a_marker(self):
        self.put()
        self.aws.delete_object(**self.at)
        self.put(b"again", IfNoneMatch="*")
        self.assertEqual(self.body(), b"again")

    def test_put_if_match_refuses_a_stale_writer(self):
        etag = self.aws.put_object(**self.at, Body=b"one")["ETag"]
        self.put(b"two", IfMatch=etag)
        self.refused("PreconditionFailed", self.aws.put_object, status=412, **self.at, Body=b"three", IfMatch=etag)
        self.refused("NoSuchKey", self.aws.put_object, status=404, Bucket=self.locked, Key=unique("none"), Body=b"x", IfMatch=etag)

    def test_get_if_none_match_answers_not_modified(self):
        etag = self.aws.put_object(**self.at, Body=b"one")["ETag"]
        self.refused(("304", "NotModified"), self.aws.get_object, status=304, **self.at, IfNoneMatch=etag)

    # Object Lock

    def test_compliance_refuses_deletion_even_with_bypass(self):
        version = self.lock("COMPLIANCE")
        for more in ({}, {"BypassGovernanceRetention": True}):
            self.refused("AccessDenied", self.aws.delete_object, status=403, **self.at, VersionId=version, **more)
        self.assertEqual(self.body(VersionId=version), b"one")

    def test_compliance_may_be_lengthened_and_never_shortened(self):
        version = self.lock("COMPLIANCE", 2)
        for more in ({}, {"BypassGovernanceRetention": True}):
            self.refused("AccessDenied", self.retain, version=version, mode="COMPLIANCE", days=1, **more)
            self.refused("AccessDenied", self.retain, version=version, mode="GOVERNANCE", days=3, **more)
        self.retain(version, "COMPLIANCE", 3)
        found = self.aws.get_object_retention(**self.at, VersionId=version)["Retention"]
        self.assertEqual((found["Mode"], found["RetainUntilDate"].date()), ("COMPLIANCE", self.until(3).date()))

    def test_governance_lets_go_only_with_bypass(self):
        version = self.lock("GOVERNANCE", 2)
        self.refused("AccessDenied", self.aws.delete_object, **self.at, VersionId=version)
        self.refused("AccessDenied", self.retain, version=version, mode="GOVERNANCE", days=1)
        self.retain(version, "GOVERNANCE", 1, BypassGovernanceRetention=True)
        self.aws.delete_object(**self.at, VersionId=version, BypassGovernanceRetention=True)
        self.refused(("NoSuchVersion", "NoSuchKey"), self.aws.get_object, **self.at, VersionId=version)

    def test_legal_hold_refuses_deletion_until_it_is_lifted(self):
        version = self.put()
        hold = lambda status: self.aws.put_object_legal_hold(**self.at, VersionId=version, LegalHold={"Status": status})
        hold("ON")
        self.assertEqual(self.aws.get_object_legal_hold(**self.at, VersionId=version)["LegalHold"]["Status"], "ON")
        for more in ({}, {"BypassGovernanceRetention": True}):
            self.refused("AccessDenied", self.aws.delete_object, **self.at, VersionId=version, **more)
        hold("OFF")
        self.aws.delete_object(**self.at, VersionId=version)

    def test_a_lock_may_come_with_the_put(self):
        version = self.put(ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=self.until(1), ObjectLockLegalHoldStatus="ON")
        head = self.aws.head_object(**self.at)
        self.assertEqual((head["ObjectLockMode"], head["ObjectLockLegalHoldStatus"]), ("COMPLIANCE", "ON"))
        self.refused("AccessDenied", self.aws.delete_object, **self.at, VersionId=version)

    def test_a_lock_holds_a_version_and_not_the_key(self):
        version = self.lock("COMPLIANCE")
        self.put(b"two")
        self.aws.delete_object(**self.at)
        self.refused("NoSuchKey", self.aws.get_object, **self.at)
        self.assertEqual(self.body(VersionId=version), b"one")

    def test_a_batch_delete_reports_the_locked_version(self):
        locked = self.lock("COMPLIANCE")
        free = self.put(b"two")
        objects = [{"Key": self.key, "VersionId": version} for version in (locked, free)]
        answer = self.aws.delete_objects(Bucket=self.locked, Delete={"Objects": objects})
        self.assertEqual([d["VersionId"] for d in answer["Deleted"]], [free])
        self.assertEqual([(e["VersionId"], e["Code"]) for e in answer["Errors"]], [(locked, "AccessDenied")])

    def test_retention_in_the_past_is_refused(self):
        version = self.put()
        self.refused("InvalidArgument", self.retain, status=400, version=version, mode="COMPLIANCE", days=-1)

    def test_retention_needs_a_bucket_with_lock(self):
        self.aws.put_object(Bucket=self.plain, Key=self.key, Body=b"x")
        self.refused("InvalidRequest", self.aws.put_object_retention, status=400, Bucket=self.plain, Key=self.key,
                     Retention={"Mode": "COMPLIANCE", "RetainUntilDate": self.until(1)})

    def test_an_unlocked_object_says_that_it_has_no_retention(self):
        version = self.put()
        self.refused("NoSuchObjectLockConfiguration", self.aws.get_object_retention, status=404, **self.at, VersionId=version)

    def test_versioning_of_a_locked_bucket_cannot_stop(self):
        # In a bucket of its own, since a server that does suspend would spoil the other checks.
        bucket = unique("locked")
        self.aws.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
        self.refused("InvalidBucketState", self.aws.put_bucket_versioning, status=409, Bucket=bucket,
                     VersioningConfiguration={"Status": "Suspended"})

    def test_the_bucket_tells_its_lock(self):
        configuration = self.aws.get_object_lock_configuration(Bucket=self.locked)["ObjectLockConfiguration"]
        self.assertEqual(configuration["ObjectLockEnabled"], "Enabled")
        self.assertEqual(self.aws.get_bucket_versioning(Bucket=self.locked)["Status"], "Enabled")
        self.refused("ObjectLockConfigurationNotFoundError", self.aws.get_object_lock_configuration, status=404, Bucket=self.plain)

    # Objects

    def test_octets_and_metadata_come_back_as_they_went(self):
        body = bytes(range(256)) * 1000
        self.put(body, ContentType="message/rfc822", Metadata={"record": "rec_1"})
        got = self.aws.get_object(**self.at)
        self.assertEqual(got["Body"].read(), body)
        self.assertEqual((got["ContentType"], got["Metadata"], got["ContentLength"]), ("message/rfc822", {"record": "rec_1"}, len(body)))
        self.assertEqual(got["ETag"], f'"{hashlib.md5(body).hexdigest()}"')

    def test_a_range_is_answered_in_part(self):
        self.put(b"0123456789")
        part = self.aws.get_object(**self.at, Range="bytes=2-4")
        self.assertEqual((part["Body"].read(), part["ContentRange"]), (b"234", "bytes 2-4/10"))
        self.refused("InvalidRange", self.aws.get_object, status=416, **self.at, Range="bytes=20-30")

    def test_a_wrong_digest_is_refused(self):
        wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
        self.refused("BadDigest", self.aws.put_object, status=400, **self.at, Body=b"one", ContentMD5=wrong)
        self.refused("NoSuchKey", self.aws.get_object, **self.at)

    def test_a_wrong_checksum_is_refused(self):
        wrong = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
        self.refused("BadDigest", self.aws.put_object, status=400, **self.at, Body=b"one", ChecksumSHA256=wrong)

    def test_keys_of_every_kind(self):
        for odd in ("a b+c%d", "ü/ß/日本", "a//b", "a?b&c=d#e", "~'()*!"):
            key = f"{self.key}/{odd}"
            self.aws.put_object(Bucket=self.plain, Key=key, Body=odd.encode())
            with self.subTest(key=odd):
                self.assertEqual(self.aws.get_object(Bucket=self.plain, Key=key)["Body"].read(), odd.encode())
        listed = self.aws.list_objects_v2(Bucket=self.plain, Prefix=self.key + "/")
        self.assertEqual(listed["KeyCount"], 5)

    def test_listing_by_folder_and_in_pages(self):
        for name in ("a/1", "a/2", "b/1", "c"):
            self.aws.put_object(Bucket=self.plain, Key=f"{self.key}/{name}", Body=b"x")
        listed = self.aws.list_objects_v2(Bucket=self.plain, Prefix=self.key + "/", Delimiter="/")
        self.assertEqual([p["Prefix"] for p in listed["CommonPrefixes"]], [f"{self.key}/a/", f"{self.key}/b/"])
        self.assertEqual([o["Key"] for o in listed["Contents"]], [f"{self.key}/c"])
        pages = self.aws.get_paginator("list_objects_v2").paginate(
            Bucket=self.plain, Prefix=self.key + "/", PaginationConfig={"PageSize": 2})
        self.assertEqual([len(page["Contents"]) for page in pages], [2, 2])

    def test_what_is_not_there_is_named_so(self):
        self.refused("NoSuchKey", self.aws.get_object, status=404, Bucket=self.plain, Key=self.key)
        self.refused("404", self.aws.head_object, Bucket=self.plain, Key=self.key)
        self.refused("NoSuchBucket", self.aws.get_object, status=404, Bucket=unique("none"), Key=self.key)
        self.aws.delete_object(Bucket=self.plain, Key=self.key)

    def test_a_bucket_with_versions_is_not_empty(self):
        self.put()
        self.aws.delete_object(**self.at)
        self.refused("BucketNotEmpty", self.aws.delete_bucket, status=409, Bucket=self.locked)

    # Presigned addresses

    def presigned(self, operation, seconds=600, **more):
        return self.aws.generate_presigned_url(operation, Params={**self.at, **more}, ExpiresIn=seconds)

    def test_presigned_addresses_put_and_get(self):
        self.assertEqual(fetch(self.presigned("put_object"), "PUT", b"signed")[0], 200)
        self.assertEqual(fetch(self.presigned("get_object")), (200, b"signed"))

    def test_a_presigned_address_is_for_one_object_and_method(self):
        self.put()
        url = self.presigned("get_object")
        other = unique("k")
        self.aws.put_object(Bucket=self.locked, Key=other, Body=b"other")
        self.assertEqual(fetch(url.replace(self.key, other))[0], 403)
        self.assertEqual(fetch(url, "DELETE")[0], 403)

    def test_a_presigned_address_expires(self):
        self.put()
        url = self.presigned("get_object", 1)
        time.sleep(2.5)
        status, body = fetch(url)
        self.assertEqual(status, 403)
        self.assertIn(b"AccessDenied", body)
