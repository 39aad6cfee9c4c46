"""A customer's receiver in Python, with the libraries that customers use: standardwebhooks and svix.

    python tests/webhook/receiver.py

Prints the port that it listens on. Each line on its input is JSON: {"secrets": ["whsec_…"], "public_key": "whpk_…"}; every
webhook has to be accepted under each of these secrets, and refused when it is altered, old or signed by somebody else.
Answers a webhook with 204 if all of that holds, with 400 otherwise, and prints a line.
"""

import base64
import datetime
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import standardwebhooks
import svix.webhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

known = {}
LIBRARIES = [
    (standardwebhooks.Webhook, standardwebhooks.WebhookVerificationError),
    (svix.webhooks.Webhook, svix.webhooks.WebhookVerificationError),
]


def refuses(library, error, secret, body, headers):
    try:
        library(secret).verify(body, headers)
    except error:
        return True
    return False


def check(body, headers):
    """What is wrong with a webhook; nothing if all is well."""
    stranger = "whsec_" + base64.b64encode(b"x" * 32).decode()
    names = [f"webhook-{name}" for name in ("id", "timestamp", "signature")]
    headers = {name: headers[name] for name in names}
    for secret in known["secrets"]:
        for library, error in LIBRARIES:
            name = f"{library.__module__}: "
            if refuses(library, error, secret, body, headers):
                yield name + "a good one is refused"
            if not refuses(library, error, secret, body.replace(b'"type"', b'"tipe"'), headers):
                yield name + "an altered body is accepted"
            if not refuses(library, error, secret, body, {**headers, "webhook-id": "evt_other"}):
                yield name + "another id is accepted"
            if not refuses(library, error, stranger, body, headers):
                yield name + "another secret is accepted"
            then = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=6)
            signature = library(secret).sign(headers["webhook-id"], then, body.decode())
            old = {**headers, "webhook-timestamp": str(int(then.timestamp())), "webhook-signature": signature}
            if not refuses(library, error, secret, body, old):
                yield name + "an old one is accepted"
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(known["public_key"].removeprefix("whpk_")))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    signatures = [one[4:] for one in headers["webhook-signature"].split(" ") if one.startswith("v1a,")]
    if not any(verifies(key, base64.b64decode(one), signed) for one in signatures):
        yield "no Ed25519 signature is good"


def verifies(key, signature, signed):
    try:
        key.verify(signature, signed)
    except Exception:  # cryptography has one for a wrong signature and others for a malformed one
        return False
    return True


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            faults = list(check(body, self.headers))
        except Exception as error:
            faults = [f"{type(error).__name__}: {error}"]
        self.send_response(400 if faults else 204)
        self.end_headers()
        print(json.dumps({"id": self.headers["webhook-id"], "faults": faults}), flush=True)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
for line in sys.stdin:
    known = json.loads(line)
    print("known", flush=True)
