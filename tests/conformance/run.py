"""Asks the API for what its description allows, and for what it does not, and holds every answer against the description.

The program runs in memory. schemathesis makes the requests: the examples of the description, its borders, random ones that
keep and that break its schemas, and sequences along its links. An answer fails that is a 5xx, has a status, a content type
or a body that is not described, accepts what breaks a schema, answers without a key, or takes too long. The schemas of
answers are closed first, so that a field which is not described fails as well.

    run.py --program target/debug/sealpost --cases 5000 [--seed 1]

A seed gives the same requests; answers hold ids that are new in every run, so sequences differ in these.
"""

import argparse
import collections
import concurrent.futures
import datetime
import itertools
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

# No answer may take longer: a caller's patience, and well below the function's timeout of 15 s.
MOST_SECONDS = 10
# Texts that let a request get past the first check: a sender of the seeded tenant, recipients of every behaviour.
TEXTS = {
    "senders": ["care@clinic.test", "Clinic <care@clinic.test>"],
    "recipients": ["pat@patient.test", "maria@mta-sts.test", "peter@no-tls.test", "tess@tls-fails.test", "ben@bounce.test"],
    "subjects": ["Your results"],
    "bodies": ["They are fine.", "<p>They are <a href='https://clinic.test/'>fine</a>.</p>"],
    "domains": ["patient.test", "no-tls.test", "mta-sts.test"],
    "times": ["in 5 min", "in 3 days", "2027-03-01T08:30:00Z"],
    "expiries": ["P30D", "P2W"],
    "references": ["MRN-7"],
    "media_types": ["application/pdf", "text/plain"],
    "file_names": ["results.pdf"],
    "endpoints": ["http://127.0.0.1:9/hook", "https://hook.receiver.test/"],
    "kinds": ["smime"],
    "versions": [1, 2, 3],
    "retentions": [2192],
    "streams": ["marketing", "care"],
    "days": ["2026-11-24"],
}
# Where they are put, and how often.
ADDRESSES = [place for name in ("to", "cc", "bcc", "reply_to") for place in (name, f"{name}[*]")]
EMAIL = {
    "from": ("senders", 0.95),
    **{place: ("recipients", 0.95) for place in ADDRESSES},
    "subject": ("subjects", 0.9),
    "text": ("bodies", 0.9),
    "html": ("bodies", 0.9),
    "security.expires_in": ("expiries", 0.9),
    "patient_ref": ("references", 0.9),
    "scheduled_at": ("times", 0.95),
    "attachments[*].content_type": ("media_types", 0.9),
    "attachments[*].filename": ("file_names", 0.9),
}
PLACES = {
    **{f"body.{place}": values for place, values in EMAIL.items()},
    **{f"body.[*].{place}": values for place, values in EMAIL.items()},
    "body.email": ("recipients", 0.6),
    "body.emails[*]": ("recipients", 0.8),
    "body.rows[*].email": ("recipients", 0.6),
    "body.endpoint": ("endpoints", 0.6),
    "body.data": ("certificates", 0.8),
    "body.kind": ("kinds", 0.8),
    "body.version": ("versions", 0.8),
    "body.retention_days": ("retentions", 0.9),
    "path.address": ("recipients", 0.7),
    "path.domain": ("domains", 0.6),
    "path.stream": ("streams", 0.6),
    "query.day": ("days", 0.5),
}
# How many requests a round makes of each operation and each sort, and how many sequences it follows.
EXAMPLES = 20
SEQUENCES = 700
# So many operations may never be accepted: the operator's, one that needs a paused stream, and a few that need luck.
UNREACHED = 9
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "ignored_auth",
    "use_after_free",
    "ensure_resource_availability",
]


def close(description):
    """Closes the schemas of answers: what is not described must not be there."""
    schemas = description["components"]["schemas"]
    for name, schema in schemas.items():
        if "allOf" in schema:
            merged = {"type": "object", "properties": {}, "required": []}
            for part in schema["allOf"]:
                part = schemas[part["$ref"].rsplit("/", 1)[1]] if "$ref" in part else part
                merged["properties"].update(part.get("properties", {}))
                merged["required"] += part.get("required", [])
            schemas[name] = schema = merged
        if schema.get("type") == "object":
            schema.setdefault("additionalProperties", False)
    return description


def certificate():
    """An S/MIME certificate of the first recipient, in PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Pat")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=365))
    address = x509.SubjectAlternativeName([x509.RFC822Name(TEXTS["recipients"][0])])
    made = made.add_extension(address, critical=False)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def settings(api, key):
    lines = [f'base-url = "{api}"', "continue-on-failure = true", "warnings = false"]
    lines += [f"request-timeout = {MOST_SECONDS}"]
    for name, values in {**TEXTS, "certificates": [certificate()]}.items():
        lines += [f"[dictionaries.{name}]", f"values = {json.dumps(values)}"]
    lines += ["[parameters]"]
    for place, (name, probability) in PLACES.items():
        lines += [f'"{place}" = {{ dictionary = "{name}", probability = {probability} }}']
    lines += ["[auth.openapi.api_key]", f'bearer = "{key}"']
    # A gateway that has no such method on a path answers 404, as for an unknown path.
    lines += ["[phases.coverage]", "unexpected-methods = []"]
    lines += ["[generation]", 'mode = "all"', f"max-examples = {EXAMPLES}"]
    # A sequence goes on only from what was accepted.
    lines += ["[phases.stateful.generation]", 'mode = "positive"', f"max-examples = {SEQUENCES}"]
    return "\n".join(lines) + "\n"


def start(program):
    nowhere = [part for name in ("--api", "--portal", "--mailbox", "--aws") for part in (name, "127.0.0.1:0")]
    child = subprocess.Popen([program, "up", "--ephemeral", "--json", "--log", "error", *nowhere], stdout=subprocess.PIPE, text=True)
    return child, json.loads(child.stdout.readline())


def memory(child):
    """The most that the program ever held, in MiB."""
    status = Path(f"/proc/{child.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024


def one_round(folder, phases, seed):
    """Runs schemathesis once; its report, and what it printed."""
    report = folder / f"report-{seed}.json"
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(folder / "schemathesis.toml"), "run"]
    command += [str(folder / "openapi.json"), "--phases", phases, "--seed", str(seed)]
    command += ["--checks", ",".join(CHECKS), "--max-response-time", str(MOST_SECONDS)]
    command += ["--no-color", "--generation-database", "none", "--suppress-health-check", "all"]
    command += ["--report-json-path", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    if not report.exists():
        sys.exit(f"schemathesis did not run: {done.stdout}{done.stderr}")
    return json.loads(report.read_text()), done


def lane(program, total, seeds):
    """Runs round after round until all lanes together have made their requests. Each lane has a system of its own: in one that
    is shared, what one lane made could be removed by another before it is read."""
    child, ready = start(program)
    try:
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            with urllib.request.urlopen(ready["api"] + "/openapi.json") as answer:
                description = json.load(answer)
            (folder / "openapi.json").write_text(json.dumps(close(description)))
            (folder / "schemathesis.toml").write_text(settings(ready["api"], ready["api_key"]))
            while total.n_cases < total.asked:
                seed = next(seeds)
                total.add(seed, *one_round(folder, total.phases(), seed))
        total.most_memory = max(total.most_memory, memory(child))
    finally:
        child.terminate()
        child.wait()


class Total:
    """What all rounds came to."""

    def __init__(self, asked):
        self.asked, self.n_cases, self.n_rounds, self.is_begun = asked, 0, 0, False
        self.accepted, self.failed, self.most_memory = collections.Counter(), [], 0

    def phases(self):
        """What the next round does: everything, then what is random, and for a small rest the sequences alone."""
        is_first, self.is_begun = not self.is_begun, True
        if is_first:
            return "examples,coverage,fuzzing,stateful"
        return "stateful" if self.asked - self.n_cases < 1_500 else "fuzzing,stateful"

    def add(self, seed, report, done):
        self.n_rounds += 1
        self.n_cases += report["test_cases"]["generated"]
        for operation, phases in report["valid_rates"].items():
            self.accepted[operation] += sum(rate["accepted"] for rate in phases.values())
        if done.returncode != 0:
            self.failed.append(f"seed {seed}:\n{done.stdout}{done.stderr}")
            self.asked = 0


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--program", required=True)
    arguments.add_argument("--cases", type=int, required=True)
    arguments.add_argument("--seed", type=int, default=1)
    asked = arguments.parse_args()
    # One processor makes the requests of a short run while the other one runs other tests; a long run has the machine.
    n_lanes = 1 if asked.cases <= 10_000 else 2
    total, seeds, began = Total(asked.cases), itertools.count(asked.seed), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(n_lanes) as lanes:
        list(lanes.map(lambda _: lane(asked.program, total, seeds), range(n_lanes)))
    if total.failed:
        sys.exit("\n".join([*total.failed, "an answer is not as it is described"]))
    never = sorted(operation for operation, n in total.accepted.items() if n == 0)
    print(f"never accepted: {', '.join(never) or 'none'}")
    if len(never) > UNREACHED:
        sys.exit("the requests do not get past the first checks")
    seconds = time.monotonic() - began
    rate = total.n_cases / seconds
    print(f"{total.n_rounds} rounds in {seconds:.0f} s, {rate:.0f} cases a second, {total.most_memory} MiB at most")
    print(f"{total.n_cases} passed")


main()
