// SPDX-License-Identifier: Apache-2.0
// har.js validate FILE...: what har-validator finds wrong with each, null for nothing.
// har.js send FILE: each entry sent by fetch-har to where it says; out the status of each answer.
"use strict";

const fs = require("fs");
const validator = require("har-validator");
const fetchHar = require("fetch-har");

async function validate(files) {
  const verdicts = [];

  for (const file of files) {
    const har = JSON.parse(fs.readFileSync(file));
    verdicts.push(await validator.har(har).then(() => null, (e) => e.errors));
  }
  return verdicts;
}

async function send([file]) {
  const { log } = JSON.parse(fs.readFileSync(file));
  const statuses = [];

  for (const entry of log.entries) {
    const answer = await fetchHar({ log: { entries: [entry] } }, { init: { redirect: "manual" } });
    await answer.arrayBuffer();
    statuses.push(answer.status);
  }
  return statuses;
}

const [verb, ...args] = process.argv.slice(2);

({ validate, send })[verb](args).then(
  (result) => fs.writeFileSync(1, JSON.stringify(result)),
  (e) => {
    console.error(e);
    process.exit(1);
  },
);
