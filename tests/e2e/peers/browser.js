// SPDX-License-Identifier: Apache-2.0
// browser.js record FOLDER URL PORT: Debian's chromium visits URL/html and sends the requests given
// as JSON, each [method, path, headers, body in base64 or null], in order, those of an inner list
// at once. Leaves FOLDER/playwright.har, and FOLDER/devtools.har as "Save all as HAR" of its
// developer tools writes it, by their own code over the debugging PORT; out [status, body] of each.
// browser.js route HAR URL: opens URL and sends the given requests with HAR in the place of all
// servers; out the same. Nothing leaves the machine.
"use strict";

const fs = require("fs");
const path = require("path");
const { chromium } = require("playwright-core");

const CHROMIUM = "/usr/bin/chromium";
const LOOPBACK = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1";

// In the page: [status, body in base64].
async function send([method, target, headers, body]) {
  const bytes = body === null ? undefined : Uint8Array.from(atob(body), (c) => c.charCodeAt(0));
  const answer = await fetch(target, { method, headers, body: bytes });
  const data = new Uint8Array(await answer.arrayBuffer());
  return [answer.status, btoa(Array.from(data, (c) => String.fromCharCode(c)).join(""))];
}

async function sendAll(page, steps) {
  const answers = [];

  for (const step of steps) {
    const together = Array.isArray(step[0]) ? step : [step];
    answers.push(...(await Promise.all(together.map((s) => page.evaluate(send, s)))));
  }
  return answers;
}

async function logged(url) {
  const logs = await import("./models/logs/logs.js");
  return logs.NetworkLog.NetworkLog.instance().requests().some((r) => r.url() === url && r.finished);
}

async function saveAllAsHar() {
  const har = await import("./models/har/har.js");
  const logs = await import("./models/logs/logs.js");
  const requests = logs.NetworkLog.NetworkLog.instance().requests();
  const get = (_, name) => name !== "canceled" && nobody;
  const nobody = new Proxy(() => nobody, { get, set: () => true }); // watches the progress
  let text = "";

  const stream = { write: async (part) => void (text += part), close: async () => {} };
  await har.Writer.Writer.write(stream, requests, { sanitize: false }, nobody);
  return text;
}

// Another Chromium may keep its modules elsewhere.
function asKnown() {
  const modules = ["./models/har/har.js", "./models/logs/logs.js"];
  return Promise.all(modules.map((m) => import(m))).then(() => true, () => false);
}

// What the tools have logged, they have logged in order: all that was asked for before is there.
async function seen(page, tools, url) {
  do await page.evaluate((u) => fetch(u).then(() => undefined), url);
  while (!(await tools.evaluate(logged, url)));
}

// Null where they are not as known.
async function openTools(browser, page, port) {
  await page.goto("about:blank#recorded");
  const pages = await (await fetch(`http://127.0.0.1:${port}/json`)).json();
  const socket = pages.find((p) => p.url.endsWith("#recorded")).webSocketDebuggerUrl.slice(5);
  const tools = await (await browser.newContext()).newPage();

  await tools.goto(`devtools://devtools/bundled/devtools_app.html?ws=${socket}&panel=network`);
  if (!(await tools.evaluate(asKnown))) return null;
  await seen(page, tools, "data:,ready");
  return tools;
}

async function record(browser, steps, folder, url, port) {
  const recorder = { path: path.join(folder, "playwright.har"), content: "embed" };
  const context = await browser.newContext({ recordHar: recorder });
  const page = await context.newPage();
  const tools = await openTools(browser, page, port);
  await page.goto(`${url}/html`);
  const answers = await sendAll(page, steps);
  if (tools) {
    await seen(page, tools, "data:,done");
    fs.writeFileSync(path.join(folder, "devtools.har"), await tools.evaluate(saveAllAsHar));
  }
  await context.close();
  return answers;
}

async function route(browser, steps, har, url) {
  const page = await browser.newPage();

  await page.routeFromHAR(har, { notFound: "abort" });
  await page.goto(url);
  return sendAll(page, steps);
}

async function main(verb, ...words) {
  const args = [LOOPBACK];

  if (verb === "record")
    args.push(`--remote-debugging-port=${words[2]}`, "--remote-allow-origins=devtools://devtools");
  const browser = await chromium.launch({ executablePath: CHROMIUM, args });

  try {
    const steps = JSON.parse(fs.readFileSync(0));
    fs.writeFileSync(1, JSON.stringify(await { record, route }[verb](browser, steps, ...words)));
  } finally {
    await browser.close();
  }
}

main(...process.argv.slice(2)).catch((e) => {
  console.error(e);
  process.exit(1);
});
