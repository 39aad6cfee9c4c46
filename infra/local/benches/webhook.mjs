// Posts signed messages by `fetch`, as many as a line of standard input asks for, and prints the CPU time in microseconds.
import { createHmac } from "node:crypto";
import { createInterface } from "node:readline";

const [url, body, atOnce] = process.argv.slice(2);
const key = Buffer.alloc(32, 7);

async function post(id) {
  const at = Math.floor(Date.now() / 1000);
  const signature = createHmac("sha256", key).update(`${id}.${at}.${body}`).digest("base64");
  const answer = await fetch(url, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "webhook-id": id,
      "webhook-timestamp": String(at),
      "webhook-signature": `v1,${signature}`,
    },
    body,
  });
  if (!answer.ok) throw new Error(`the receiver answers ${answer.status}`);
  await answer.arrayBuffer();
}

for await (const line of createInterface({ input: process.stdin })) {
  let left = Number(line);
  const start = process.cpuUsage();
  const worker = async () => {
    while (left > 0) await post(`evt_${left--}`);
  };
  await Promise.all(Array.from({ length: Number(atOnce) }, worker));
  const { user, system } = process.cpuUsage(start);
  console.log(user + system);
}
