// Resend's own Node SDK, unchanged, against our API: what its users send and read back, and how it tells errors.
//
//   SEALPOST_API=http://127.0.0.1:PORT SEALPOST_API_KEY=sp_live_… node tests/sdk/node.mjs
//
// Prints a line a check, then `N passed, N failed`; the exit code is 0 when none failed.

import assert from "node:assert/strict";
import { Resend } from "resend";

const { SEALPOST_API: baseUrl, SEALPOST_API_KEY: key } = process.env;
const FROM = "Clinic <care@clinic.test>";
const PDF = Buffer.from("%PDF-1.7 \u0000\u00ff not really", "latin1");
const PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII=";
const resend = new Resend(key, { baseUrl });
let nPassed = 0;
let nFailed = 0;

async function check(what, run) {
  try {
    await run();
    nPassed += 1;
    console.log(`ok      ${what}`);
  } catch (error) {
    nFailed += 1;
    console.log(`FAIL    ${what}  – ${error.message}`);
  }
}

function email(more) {
  return { from: FROM, to: "node@patient.test", subject: "Node", text: "Your results are in.", ...more };
}

/** The data of an answer that must be a success. */
async function data(promise) {
  const answer = await promise;
  assert.equal(answer.error, null, JSON.stringify(answer.error));
  return answer.data;
}

/** An answer that must be this error, as the SDK shows it. */
async function refused(promise, name, statusCode) {
  const { data, error } = await promise;
  assert.equal(data, null);
  assert.deepEqual({ name: error.name, statusCode: error.statusCode }, { name, statusCode });
  assert.ok(error.message.length > 0);
}

const sent = [];

await check("a text with html is sent and read back", async () => {
  const body = email({ subject: "Two forms", html: "<p>Your <b>results</b> are in.</p>" });
  const { id } = await data(resend.emails.send(body));
  sent.push(id);
  const read = await data(resend.emails.get(id));
  assert.equal(read.object, "email");
  assert.equal(read.id, id);
  assert.deepEqual(read.to, ["node@patient.test"]);
  assert.equal(read.from, FROM);
  assert.equal(read.subject, "Two forms");
  assert.equal(read.text.trim(), body.text);
  assert.equal(read.html.trim(), body.html);
  assert.equal(typeof read.last_event, "string");
  assert.ok(!Number.isNaN(Date.parse(read.created_at)));
});

await check("files are attached as Buffer, base64 and inline", async () => {
  const { id } = await data(
    resend.emails.send(
      email({
        to: ["node-files@patient.test"],
        subject: "Files",
        html: '<p><img src="cid:pixel" alt=""></p>',
        attachments: [
          { filename: "buffer.pdf", content: PDF },
          { filename: "base64.pdf", content: PDF.toString("base64"), contentType: "application/pdf" },
          { filename: "pixel.png", content: PIXEL, contentType: "image/png", contentId: "pixel" },
        ],
      }),
    ),
  );
  sent.push(id);
});

await check("cc, bcc, replyTo, tags and headers are kept", async () => {
  const { id } = await data(
    resend.emails.send(
      email({
        to: ["node-all@patient.test"],
        subject: "All fields",
        cc: ["node-cc@patient.test"],
        bcc: "node-bcc@patient.test",
        replyTo: ["desk@clinic.test"],
        tags: [{ name: "visit", value: "42" }],
        headers: { "X-Clinic-Desk": "7" },
      }),
    ),
  );
  sent.push(id);
  const read = await data(resend.emails.get(id));
  assert.deepEqual(read.cc, ["node-cc@patient.test"]);
  assert.deepEqual(read.bcc, ["node-bcc@patient.test"]);
  assert.deepEqual(read.reply_to, ["desk@clinic.test"]);
  assert.deepEqual(read.tags, [{ name: "visit", value: "42" }]);
});

await check("the same idempotency key and body answer the same id", async () => {
  const options = { idempotencyKey: "node/one" };
  const first = await data(resend.emails.send(email({ subject: "Once" }), options));
  const second = await data(resend.emails.send(email({ subject: "Once" }), options));
  sent.push(first.id);
  assert.equal(first.id, second.id);
});

await check("another body under the same idempotency key is refused", () =>
  refused(
    resend.emails.send(email({ subject: "Changed" }), { idempotencyKey: "node/one" }),
    "invalid_idempotent_request",
    409,
  ));

await check("a batch is sent once", async () => {
  const options = { idempotencyKey: "node/batch" };
  const batch = [1, 2, 3].map((n) => email({ to: [`node-batch-${n}@patient.test`], subject: `Batch ${n}` }));
  const first = await data(resend.batch.send(batch, options));
  assert.equal(first.data.length, 3);
  const ids = first.data.map((one) => one.id);
  assert.equal(new Set(ids).size, 3);
  sent.push(...ids);
  assert.deepEqual((await data(resend.batch.send(batch, options))).data, first.data);
  for (const [n, id] of ids.entries()) {
    assert.equal((await data(resend.emails.get(id))).subject, `Batch ${n + 1}`);
  }
});

await check("another batch under the same idempotency key is refused", () =>
  refused(
    resend.batch.send([email({ subject: "Changed" })], { idempotencyKey: "node/batch" }),
    "invalid_idempotent_request",
    409,
  ));

await check("pages show each email exactly once, newest first", async () => {
  const seen = [];
  let nPages = 0;
  let after;
  for (let more = true; more; nPages += 1) {
    const page = await data(resend.emails.list({ limit: 2, ...(after ? { after } : {}) }));
    assert.equal(page.object, "list");
    assert.ok(page.data.length <= 2 && (page.data.length === 2 || !page.has_more));
    seen.push(...page.data);
    after = page.data.at(-1)?.id;
    more = page.has_more;
    assert.ok(nPages < 100, "the pages do not end");
  }
  assert.ok(nPages >= 3, `${nPages} pages`);
  const ids = seen.map((one) => one.id);
  assert.equal(new Set(ids).size, ids.length, "an email stands in two pages");
  assert.deepEqual(ids.filter((id) => sent.includes(id)), sent.toReversed());
  const times = seen.map((one) => Date.parse(one.created_at));
  assert.deepEqual(times, times.toSorted((a, b) => b - a));
});

await check("a page before an email holds the newer ones", async () => {
  const page = await data(resend.emails.list({ limit: 1, before: sent.at(-2) }));
  assert.deepEqual(page.data.map((one) => one.id), [sent.at(-1)]);
});

const soon = (ms) => new Date(Date.now() + ms).toISOString();
await check("an email is scheduled, moved and called off", async () => {
  const at = soon(3_600_000);
  const { id } = await data(resend.emails.send(email({ to: "node-off@patient.test", scheduledAt: at })));
  const waiting = await data(resend.emails.get(id));
  assert.equal(Date.parse(waiting.scheduled_at), Date.parse(at));
  assert.equal(waiting.last_event, "scheduled");
  const later = soon(7_200_000);
  assert.deepEqual(await data(resend.emails.update({ id, scheduledAt: later })), { object: "email", id });
  assert.equal(Date.parse((await data(resend.emails.get(id))).scheduled_at), Date.parse(later));
  assert.deepEqual(await data(resend.emails.cancel(id)), { object: "email", id });
  assert.equal((await data(resend.emails.get(id))).last_event, "canceled");
  await refused(resend.emails.update({ id, scheduledAt: later }), "conflict", 409);
});
await check("an email is scheduled in words, alone and in a batch", async () => {
  const far = await data(resend.emails.send(email({ to: "node-off@patient.test", scheduledAt: "in 2 days" })));
  await data(resend.emails.cancel(far.id));
  const batch = [email({ to: "node-off@patient.test", scheduledAt: "in 1 hour" })];
  const [{ id }] = (await data(resend.batch.send(batch))).data;
  assert.equal((await data(resend.emails.get(id))).last_event, "scheduled");
  await data(resend.emails.cancel(id));
});
await check("a time that is no time is a validation error", async () => {
  await refused(resend.emails.send(email({ scheduledAt: "next full moon" })), "validation_error", 422);
  await refused(resend.emails.send(email({ scheduledAt: soon(366 * 86_400_000) })), "validation_error", 422);
});
await check("what is sent can neither be moved nor called off", async () => {
  await refused(resend.emails.cancel(sent[0]), "conflict", 409);
  await refused(resend.emails.update({ id: sent[0], scheduledAt: soon(3_600_000) }), "conflict", 409);
  await refused(resend.emails.cancel("em_00000000000000000000000000"), "not_found", 404);
});

await check("a sender that is no address is a validation error", () =>
  refused(resend.emails.send(email({ from: "nobody" })), "validation_error", 422));
await check("a sender at a foreign domain is refused", () =>
  refused(resend.emails.send(email({ from: "care@elsewhere.test" })), "invalid_from_address", 422));
await check("a missing recipient is a missing field", () =>
  refused(resend.emails.send(email({ to: undefined })), "missing_required_field", 422));
await check("one bad email refuses the batch and sends none of it", async () => {
  const before = await data(resend.emails.list({ limit: 1 }));
  const batch = [email({ subject: "Good" }), email({ to: ["not an address"] })];
  await refused(resend.batch.send(batch), "validation_error", 422);
  assert.deepEqual(await data(resend.emails.list({ limit: 1 })), before);
});
await check("an address is suppressed, found by id and by address, and freed again", async () => {
  const added = await data(resend.suppressions.add({ email: "Node-Gone@patient.test" }));
  assert.equal(added.object, "suppression");
  for (const which of [added.id, "node-gone@patient.test"]) {
    const read = await data(resend.suppressions.get(which));
    assert.equal(read.object, "suppression");
    assert.equal(read.id, added.id);
    assert.equal(read.email, "Node-Gone@patient.test");
    assert.deepEqual([read.origin, read.source_id], ["manual", null]);
    assert.ok(!Number.isNaN(Date.parse(read.created_at)));
  }
  assert.equal((await data(resend.suppressions.add({ email: "node-gone@patient.test" }))).id, added.id);
  const { id } = await data(resend.emails.send(email({ to: "node-gone@patient.test" })));
  let last;
  for (let n = 0; n < 200 && last !== "suppressed"; n += 1) {
    last = (await data(resend.emails.get(id))).last_event;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.equal(last, "suppressed");
  sent.push(id);
  const removed = await data(resend.suppressions.remove("node-gone@patient.test"));
  assert.deepEqual(removed, { object: "suppression", id: added.id, deleted: true });
});
await check("an address that is not suppressed is not found", async () => {
  await refused(resend.suppressions.get("node-gone@patient.test"), "not_found", 404);
  await refused(resend.suppressions.remove("node-gone@patient.test"), "not_found", 404);
});
const gone = [1, 2, 3, 4].map((n) => `node-gone-${n}@patient.test`);
let ids = [];
await check("a batch is suppressed, an address that stands twice once", async () => {
  const added = await data(resend.suppressions.batch.add({ emails: [...gone, gone[0].toUpperCase()] }));
  ids = added.data.map((one) => one.id);
  assert.equal(new Set(ids).size, 4);
  assert.ok(added.data.every((one) => one.object === "suppression"));
});
await check("pages show each suppression exactly once, newest first, by origin as well", async () => {
  const seen = [];
  for (let more = true, after; more; after = seen.at(-1).id) {
    const page = await data(resend.suppressions.list({ limit: 3, origin: "manual", ...(after ? { after } : {}) }));
    assert.equal(page.object, "list");
    seen.push(...page.data);
    more = page.has_more;
    assert.ok(seen.length < 100, "the pages do not end");
  }
  assert.deepEqual(seen.map((one) => one.email).toSorted(), gone);
  assert.deepEqual(seen.map((one) => one.id), ids.toSorted().toReversed());
  assert.deepEqual((await data(resend.suppressions.list({ origin: "bounce" }))).data, []);
});
await check("a batch is freed by address and by id", async () => {
  const byAddress = await data(resend.suppressions.batch.remove({ emails: gone.slice(0, 2) }));
  assert.equal(byAddress.data.length, 2);
  const left = ids.filter((id) => !byAddress.data.some((one) => one.id === id));
  const byId = await data(resend.suppressions.batch.remove({ ids: left }));
  assert.deepEqual(byId.data, left.map((id) => ({ object: "suppression", id, deleted: true })));
  assert.deepEqual((await data(resend.suppressions.list())).data, []);
});
await check("a key that is not valid is an invalid key", () =>
  refused(new Resend("re_not_a_key", { baseUrl }).emails.send(email()), "invalid_api_key", 403));
await check("an id that is not known is not found", () =>
  refused(resend.emails.get("em_00000000000000000000000000"), "not_found", 404));
await check("an idempotency key that is too long is refused", () =>
  refused(resend.emails.send(email(), { idempotencyKey: "k".repeat(257) }), "invalid_idempotency_key", 400));

const hook = { endpoint: "https://hooks.node.test/sealpost", events: ["email.complained"] };
await check("a webhook is created, read, changed, given a new secret and removed", async () => {
  const made = await data(resend.webhooks.create(hook));
  assert.equal(made.object, "webhook");
  assert.match(made.signing_secret, /^whsec_[A-Za-z0-9+/]{43}=$/);
  const { id } = made;
  const read = await data(resend.webhooks.get(id));
  assert.deepEqual([read.object, read.id, read.endpoint, read.events, read.status, read.signing_secret],
    ["webhook", id, hook.endpoint, hook.events, "enabled", made.signing_secret]);
  const list = await data(resend.webhooks.list({ limit: 5 }));
  const [listed] = list.data.filter((one) => one.id === id);
  assert.deepEqual([list.object, list.has_more, listed.endpoint, listed.signing_secret], ["list", false, hook.endpoint, undefined]);
  const changed = await data(resend.webhooks.update(id, { status: "disabled", events: ["email.bounced"] }));
  assert.deepEqual(changed, { object: "webhook", id });
  const after = await data(resend.webhooks.get(id));
  assert.deepEqual([after.status, after.events], ["disabled", ["email.bounced"]]);
  const rotated = await data(resend.webhooks.rotateSigningSecret(id));
  assert.notEqual(rotated.signing_secret, made.signing_secret);
  assert.equal((await data(resend.webhooks.get(id))).signing_secret, rotated.signing_secret);
  assert.deepEqual((await data(resend.webhooks.events.list({ webhookId: id, limit: 5 }))).data, []);
  await refused(resend.webhooks.events.get({ webhookId: id, eventId: "evt_00000000000000000000000000" }), "not_found", 404);
  assert.deepEqual(await data(resend.webhooks.remove(id)), { object: "webhook", id, deleted: true });
  await refused(resend.webhooks.get(id), "not_found", 404);
});
await check("a webhook for an unknown event or at an address inside is refused", async () => {
  await refused(resend.webhooks.create({ ...hook, events: ["email.delivered", "inbox.created"] }), "validation_error", 422);
  await refused(resend.webhooks.create({ ...hook, endpoint: "https://169.254.169.254/latest" }), "validation_error", 422);
});

console.log(`${nPassed} passed, ${nFailed} failed`);
process.exitCode = nFailed || !nPassed ? 1 : 0;
