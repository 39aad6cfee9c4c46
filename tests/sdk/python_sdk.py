"""Resend's own Python SDK, unchanged, against our API: what its users send and read back, and how it tells errors.

    SEALPOST_API=http://127.0.0.1:PORT SEALPOST_API_KEY=sp_live_… python tests/sdk/python_sdk.py

Prints a line a check, then `N passed, N failed`; the exit code is 0 when none failed.
"""

import base64
import datetime
import os
import sys
import unittest

import resend
from resend import exceptions

FROM = "Clinic <care@clinic.test>"
PDF = b"%PDF-1.7 \x00\xff not really"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="

resend.api_url = os.environ["SEALPOST_API"]
resend.api_key = os.environ["SEALPOST_API_KEY"]


def email(**more):
    return {"from": FROM, "to": "python@patient.test", "subject": "Python", "text": "Your results are in.", **more}


class Sdk(unittest.TestCase):
    """The checks run in the order of their names; the list at the end looks at what the others sent."""

    sent = []

    def refused(self, kind, code, name, call, *arguments):
        """The call raises exactly this class, which shows our status and name."""
        with self.assertRaises(exceptions.ResendError) as caught:
            call(*arguments)
        error = caught.exception
        self.assertEqual((type(error), int(error.code), error.error_type), (kind, code, name), error.message)
        self.assertTrue(error.message)

    def send(self, params, options=None):
        answer = resend.Emails.send(params, options)
        self.sent.append(answer["id"])
        return answer["id"]

    def test_1_a_text_with_html_is_sent_and_read_back(self):
        html = "<p>Your <b>results</b> are in.</p>"
        id = self.send(email(subject="Two forms", html=html))
        read = resend.Emails.get(id)
        self.assertEqual((read["object"], read["id"], read["from"]), ("email", id, FROM))
        self.assertEqual((read["to"], read["subject"]), (["python@patient.test"], "Two forms"))
        self.assertEqual((read["text"].strip(), read["html"].strip()), ("Your results are in.", html))
        self.assertIsInstance(read["last_event"], str)
        self.assertIsNotNone(datetime.datetime.fromisoformat(read["created_at"]).tzinfo)

    def test_1_files_are_attached_as_a_list_of_bytes_base64_and_inline(self):
        files = [
            {"filename": "list.pdf", "content": list(PDF)},
            {
                "filename": "base64.pdf",
                "content": base64.b64encode(PDF).decode(),
                "content_type": "application/pdf",
            },
            {"filename": "pixel.png", "content": PIXEL, "content_type": "image/png", "content_id": "pixel"},
        ]
        html = '<p><img src="cid:pixel" alt=""></p>'
        self.send(email(to=["python-files@patient.test"], subject="Files", html=html, attachments=files))

    def test_1_cc_bcc_reply_to_tags_and_headers_are_kept(self):
        id = self.send(
            email(
                to=["python-all@patient.test"],
                subject="All fields",
                cc=["python-cc@patient.test"],
                bcc="python-bcc@patient.test",
                reply_to=["desk@clinic.test"],
                tags=[{"name": "visit", "value": "42"}],
                headers={"X-Clinic-Desk": "7"},
            )
        )
        read = resend.Emails.get(id)
        self.assertEqual(read["cc"], ["python-cc@patient.test"])
        self.assertEqual(read["bcc"], ["python-bcc@patient.test"])
        self.assertEqual(read["reply_to"], ["desk@clinic.test"])
        self.assertEqual(read["tags"], [{"name": "visit", "value": "42"}])

    def test_2_an_idempotency_key_sends_once_and_refuses_another_body(self):
        options = {"idempotency_key": "python/one"}
        first = self.send(email(subject="Once"), options)
        self.assertEqual(resend.Emails.send(email(subject="Once"), options)["id"], first)
        self.refused(
            exceptions.ResendError,
            409,
            "invalid_idempotent_request",
            resend.Emails.send,
            email(subject="Changed"),
            options,
        )

    def test_2_a_batch_is_sent_once(self):
        options = {"idempotency_key": "python/batch"}
        batch = [email(to=[f"python-batch-{n}@patient.test"], subject=f"Batch {n}") for n in range(3)]
        first = resend.Batch.send(batch, options)["data"]
        self.assertEqual(len({one["id"] for one in first}), 3)
        self.sent.extend(one["id"] for one in first)
        self.assertEqual(resend.Batch.send(batch, options)["data"], first)
        for n, one in enumerate(first):
            self.assertEqual(resend.Emails.get(one["id"])["subject"], f"Batch {n}")
        self.refused(
            exceptions.ResendError, 409, "invalid_idempotent_request", resend.Batch.send, batch[:1], options
        )

    def test_3_pages_show_each_email_exactly_once(self):
        seen, pages, after = [], 0, {}
        while True:
            page = resend.Emails.list({"limit": 2, **after})
            self.assertEqual(page["object"], "list")
            pages += 1
            seen.extend(one["id"] for one in page["data"])
            if not page["has_more"]:
                break
            self.assertEqual(len(page["data"]), 2)
            self.assertLess(pages, 100, "the pages do not end")
            after = {"after": seen[-1]}
        self.assertGreaterEqual(pages, 3)
        self.assertEqual(len(seen), len(set(seen)))
        self.assertEqual([id for id in seen if id in self.sent], self.sent[::-1])
        newer = resend.Emails.list({"limit": 1, "before": self.sent[-2]})
        self.assertEqual([one["id"] for one in newer["data"]], self.sent[-1:])

    def soon(self, **ahead):
        at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(**ahead)
        return at.isoformat()

    def test_4_an_email_is_scheduled_moved_and_called_off(self):
        params = email(to="python-off@patient.test", scheduled_at=self.soon(hours=1))
        id = resend.Emails.send(params)["id"]
        self.assertEqual(resend.Emails.get(id)["last_event"], "scheduled")
        later = self.soon(hours=2)
        changed = resend.Emails.update({"id": id, "scheduled_at": later})
        self.assertEqual((changed["object"], changed["id"]), ("email", id))
        at = datetime.datetime.fromisoformat(resend.Emails.get(id)["scheduled_at"])
        self.assertLess(abs(at - datetime.datetime.fromisoformat(later)), datetime.timedelta(milliseconds=1))
        canceled = resend.Emails.cancel(id)
        self.assertEqual((canceled["object"], canceled["id"]), ("email", id))
        self.assertEqual(resend.Emails.get(id)["last_event"], "canceled")
        moved = {"id": id, "scheduled_at": later}
        self.refused(exceptions.ResendError, 409, "conflict", resend.Emails.update, moved)

    def test_4_a_time_that_is_no_time_is_a_validation_error(self):
        for at in ["next full moon", self.soon(days=366)]:
            params = email(scheduled_at=at)
            self.refused(exceptions.ValidationError, 422, "validation_error", resend.Emails.send, params)

    def test_4_what_is_sent_can_neither_be_moved_nor_called_off(self):
        id = self.sent[0]
        self.refused(exceptions.ResendError, 409, "conflict", resend.Emails.cancel, id)
        moved = {"id": id, "scheduled_at": self.soon(hours=1)}
        self.refused(exceptions.ResendError, 409, "conflict", resend.Emails.update, moved)
        unknown = "em_00000000000000000000000000"
        self.refused(exceptions.ResendError, 404, "not_found", resend.Emails.cancel, unknown)

    def test_4_a_sender_that_is_no_address_is_a_validation_error(self):
        self.refused(
            exceptions.ValidationError, 422, "validation_error", resend.Emails.send, email(**{"from": "nobody"})
        )

    def test_4_a_sender_at_a_foreign_domain_is_refused(self):
        foreign = email(**{"from": "care@elsewhere.test"})
        self.refused(exceptions.ResendError, 422, "invalid_from_address", resend.Emails.send, foreign)

    def test_4_a_missing_recipient_is_a_missing_field(self):
        params = email()
        del params["to"]
        self.refused(
            exceptions.MissingRequiredFieldsError, 422, "missing_required_field", resend.Emails.send, params
        )

    def test_4_an_id_that_is_not_known_is_not_found(self):
        self.refused(
            exceptions.ResendError, 404, "not_found", resend.Emails.get, "em_00000000000000000000000000"
        )

    def test_5_an_address_is_suppressed_found_and_freed(self):
        added = resend.Suppressions.add({"email": "python-gone@patient.test"})
        self.assertEqual(added["object"], "suppression")
        for which in [added["id"], "python-gone@patient.test"]:
            read = resend.Suppressions.get(which)
            found = (read["object"], read["id"], read["email"], read["origin"], read["source_id"])
            self.assertEqual(found, ("suppression", added["id"], "python-gone@patient.test", "manual", None))
            self.assertIsNotNone(datetime.datetime.fromisoformat(read["created_at"]).tzinfo)
        self.assertEqual(resend.Suppressions.add({"email": "python-gone@patient.test"})["id"], added["id"])
        removed = resend.Suppressions.remove(added["id"])
        self.assertEqual((removed["object"], removed["id"], removed["deleted"]), ("suppression", added["id"], True))
        self.refused(
            exceptions.ResendError, 404, "not_found", resend.Suppressions.get, "python-gone@patient.test"
        )

    def test_5_an_address_that_is_none_is_not_suppressed(self):
        self.refused(exceptions.ValidationError, 422, "validation_error", resend.Suppressions.add, {"email": "nobody"})

    def test_5_suppressions_come_and_go_in_batches(self):
        emails = [f"python-gone-{n}@patient.test" for n in range(4)]
        added = resend.Suppressions.Batch.add({"emails": emails + emails[:1]})["data"]
        self.assertEqual(len({one["id"] for one in added}), 4)
        removed = resend.Suppressions.Batch.remove({"emails": emails[:2]})["data"]
        removed += resend.Suppressions.Batch.remove({"ids": [one["id"] for one in added[2:]]})["data"]
        self.assertEqual({one["id"] for one in removed}, {one["id"] for one in added})
        self.assertTrue(all(one["deleted"] for one in removed))

    def test_5_pages_show_each_suppression_exactly_once(self):
        emails = [f"python-page-{n}@patient.test" for n in range(5)]
        resend.Suppressions.Batch.add({"emails": emails})
        self.addCleanup(resend.Suppressions.Batch.remove, {"emails": emails})
        seen, after = [], {}
        while True:
            page = resend.Suppressions.list({"limit": 2, "origin": "manual", **after})
            self.assertEqual(page["object"], "list")
            seen.extend(page["data"])
            if not page["has_more"]:
                break
            self.assertEqual(len(page["data"]), 2)
            after = {"after": seen[-1]["id"]}
        self.assertEqual(sorted(one["email"] for one in seen), emails)
        self.assertEqual([one["id"] for one in seen], sorted((one["id"] for one in seen), reverse=True))
        newer = resend.Suppressions.list({"limit": 1, "before": seen[1]["id"]})
        self.assertEqual([one["id"] for one in newer["data"]], [seen[0]["id"]])

    def test_5_a_key_that_is_not_valid_is_an_invalid_key(self):
        good = resend.api_key
        self.addCleanup(setattr, resend, "api_key", good)
        for key in ["re_not_a_key", good[:-1] + ("A" if good[-1] != "A" else "B")]:
            resend.api_key = key
            self.refused(exceptions.InvalidApiKeyError, 403, "invalid_api_key", resend.Emails.send, email())

    def test_5_a_missing_key_is_a_missing_key(self):
        self.addCleanup(setattr, resend, "api_key", resend.api_key)
        resend.api_key = ""
        self.refused(exceptions.MissingApiKeyError, 401, "missing_api_key", resend.Emails.send, email())

    def test_5_a_webhook_is_created_read_changed_rotated_and_removed(self):
        url = "https://hooks.python.test/sealpost"
        made = resend.Webhooks.create({"endpoint": url, "events": ["email.complained"]})
        self.assertTrue(made["signing_secret"].startswith("whsec_"))
        id = made["id"]
        read = resend.Webhooks.get(id)
        self.assertEqual((read["endpoint"], read["events"], read["status"]), (url, ["email.complained"], "enabled"))
        self.assertEqual(read["signing_secret"], made["signing_secret"])
        listed = [one for one in resend.Webhooks.list({"limit": 5})["data"] if one["id"] == id]
        self.assertEqual([one.get("signing_secret") for one in listed], [None])
        self.assertEqual(resend.Webhooks.update({"webhook_id": id, "status": "disabled"})["id"], id)
        self.assertEqual(resend.Webhooks.get(id)["status"], "disabled")
        rotated = resend.Webhooks.rotate_signing_secret(id)
        self.assertEqual(resend.Webhooks.get(id)["signing_secret"], rotated["signing_secret"])
        self.assertNotEqual(rotated["signing_secret"], made["signing_secret"])
        self.assertEqual(resend.Webhooks.list_events(id)["data"], [])
        self.assertTrue(resend.Webhooks.remove(id)["deleted"])
        self.refused(exceptions.ResendError, 404, "not_found", resend.Webhooks.get, id)


class Result(unittest.TestResult):
    """Prints each check as one line."""

    n_passed = 0

    def addSuccess(self, test):
        self.n_passed += 1
        self.line("ok", test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.line("FAIL", test, f"  – {err[0].__name__}: {err[1]}")

    addError = addFailure

    def line(self, mark, test, more=""):
        what = test.id().rpartition("test_")[2][2:].replace("_", " ")
        print(f"{mark:8}{what}{more}", flush=True)


def main():
    result = Result()
    unittest.defaultTestLoader.loadTestsFromTestCase(Sdk).run(result)
    n_failed = len(result.failures)
    print(f"{result.n_passed} passed, {n_failed} failed")
    sys.exit(1 if n_failed or not result.n_passed else 0)


if __name__ == "__main__":
    main()
