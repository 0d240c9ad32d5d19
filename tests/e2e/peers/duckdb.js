// SPDX-License-Identifier: Apache-2.0
// Statements in, a JSON list; out the rows of each. A DuckDB in memory that fetches no extension.
"use strict";

const fs = require("fs");
const { DuckDBInstance } = require("@duckdb/node-api");

// Ours all fit into a number; sums come as 128 bits.
function plain(key, value) {
  return typeof value === "bigint" ? Number(value) : value;
}

async function main() {
  const db = await DuckDBInstance.create(":memory:", { autoinstall_known_extensions: "false" });
  const connection = await db.connect();
  const answers = [];

  for (const sql of JSON.parse(fs.readFileSync(0))) {
    const reader = await connection.runAndReadAll(sql);
    answers.push(reader.getRowsJS());
  }
  fs.writeFileSync(1, JSON.stringify(answers, plain));
}

main().catch((e) => {
  console.error(e.message);
  process.exit(1);
});
