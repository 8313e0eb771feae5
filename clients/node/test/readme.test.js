// SPDX-License-Identifier: BSD-2-Clause
// The programs of README.md run as they stand, from a directory where the package is installed.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const LIBRARY = fileURLToPath(new URL("..", import.meta.url));

function start(directory, name) {
  const child = spawn(process.execPath, [name], { cwd: directory, stdio: "pipe" });
  const made = { child, text: "" };
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (data) => (made.text += data));
  made.ended = new Promise((resolve) => child.on("close", resolve));
  return made;
}

test("a running worker in ten lines", async (t) => {
  const directory = await mkdtemp(join(tmpdir(), "shoal-"));
  t.after(() => rm(directory, { recursive: true }));
  await mkdir(join(directory, "node_modules"));
  await symlink(LIBRARY, join(directory, "node_modules/shoal"));
  const readme = await readFile(join(LIBRARY, "README.md"), "utf8");
  const programs = [...readme.matchAll(/```js\n\/\/ (\w+\.mjs)\n(.*?)```/gs)];
  assert.deepEqual(programs.map(([, name]) => name), ["worker.mjs", "ask.mjs"]);
  for (const [, name, text] of programs) {
    await writeFile(join(directory, name), text);
    assert.ok(text.trim().split("\n").length <= 10, `${name} has ten lines at most`);
  }
  const worker = start(directory, "worker.mjs");
  t.after(() => worker.child.kill("SIGKILL"));
  const ask = start(directory, "ask.mjs");
  t.after(() => ask.child.kill("SIGKILL"));
  assert.equal(await ask.ended, 0, ask.text);
  assert.equal(ask.text, "Hello, world!\n");
  worker.child.kill("SIGTERM");
  assert.equal(await worker.ended, 0, worker.text);
  assert.equal(worker.text, "");
});
