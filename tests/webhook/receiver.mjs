// A customer's receiver in Node, with the libraries that customers use: standardwebhooks, svix and Resend's own.
//
//   node tests/webhook/receiver.mjs
//
// Prints the port that it listens on. Each line on its input is JSON: {"secrets": ["whsec_…"], "public_key": "whpk_…"}; every
// webhook has to be accepted under each of these secrets, and refused when it is altered, old or signed by somebody else.
// Answers a webhook with 204 if all of that holds, with 400 otherwise, and prints a line.

import { createPublicKey, verify } from "node:crypto";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { Resend } from "resend";
import * as standard from "standardwebhooks";
import * as svix from "svix";

let known = {};
const STRANGER = "whsec_" + Buffer.from("x".repeat(32)).toString("base64");
const resend = new Resend("re_none");

const LIBRARIES = {
  standardwebhooks: (secret, body, headers) => new standard.Webhook(secret).verify(body, headers),
  svix: (secret, body, headers) => new svix.Webhook(secret).verify(body, headers),
  resend: (webhookSecret, payload, headers) =>
    resend.webhooks.verify({
      payload,
      headers: { id: headers["webhook-id"], timestamp: headers["webhook-timestamp"], signature: headers["webhook-signature"] },
      webhookSecret,
    }),
};

function refuses(check, ...given) {
  try {
    check(...given);
    return false;
  } catch {
    return true;
  }
}

function faultsOf(body, all) {
  const faults = [];
  const headers = Object.fromEntries(["id", "timestamp", "signature"].map((name) => [`webhook-${name}`, all[`webhook-${name}`]]));
  for (const secret of known.secrets) {
    for (const [name, check] of Object.entries(LIBRARIES)) {
      if (refuses(check, secret, body, headers)) faults.push(`${name}: a good one is refused`);
      if (!refuses(check, secret, body.replace('"type"', '"tipe"'), headers)) faults.push(`${name}: an altered body is accepted`);
      if (!refuses(check, secret, body, { ...headers, "webhook-id": "evt_other" })) faults.push(`${name}: another id is accepted`);
      if (!refuses(check, STRANGER, body, headers)) faults.push(`${name}: another secret is accepted`);
      const then = new Date(Date.now() - 6 * 60_000);
      const old = {
        ...headers,
        "webhook-timestamp": String(Math.floor(then / 1000)),
        "webhook-signature": new standard.Webhook(secret).sign(headers["webhook-id"], then, body),
      };
      if (!refuses(check, secret, body, old)) faults.push(`${name}: an old one is accepted`);
    }
  }
  const raw = Buffer.from(known.public_key.replace("whpk_", ""), "base64");
  // RFC 8410 section 4: what stands before the 32 bytes of an Ed25519 key.
  const spki = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), raw]);
  const key = createPublicKey({ key: spki, format: "der", type: "spki" });
  const signed = Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`);
  const signatures = headers["webhook-signature"].split(" ").filter((one) => one.startsWith("v1a,"));
  if (!signatures.some((one) => verify(null, signed, key, Buffer.from(one.slice(4), "base64")))) {
    faults.push("no Ed25519 signature is good");
  }
  return faults;
}

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  let faults;
  try {
    faults = faultsOf(Buffer.concat(chunks).toString(), request.headers);
  } catch (error) {
    faults = [String(error)];
  }
  response.writeHead(faults.length ? 400 : 204).end();
  console.log(JSON.stringify({ id: request.headers["webhook-id"], faults }));
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
createInterface({ input: process.stdin })
  .on("line", (line) => {
    known = JSON.parse(line);
    console.log("known");
  })
  .on("close", () => process.exit(0));
