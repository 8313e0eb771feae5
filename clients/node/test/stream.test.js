// SPDX-License-Identifier: BSD-2-Clause
// A worker as a stream child: docs/stream-protocol.md, line by line, over real pipes.
import assert from "node:assert/strict";
import { test } from "node:test";

import { program, waitFor } from "./support.js";

const PROGRAM = `
import { Cancelled, Fail, Retry, Worker } from "shoal";

const worker = new Worker({ concurrency: 4 });
let met = 0;
let meet;
const both = new Promise((resolve) => (meet = resolve));
worker.handle("work", async (payload, task) => {
  switch (payload.do) {
    case "echo": return payload;
    case "print": console.log("to print"); process.stdout.write("to write\\n"); return;
    case "tell": task.progress({ half: 0.5 }); task.log("one\\ntwo"); return null;
    case "retry": throw new Retry("busy", { after: 2.5, code: "busy" });
    case "fail": throw new Fail("no text", { code: "bad text!" });
    case "raise": throw new RangeError("missing");
    case "throw": throw "a text";
    case "nothing": return () => 1;
    case "big": return 1n;
    case "nul": return { a: ["x\\0y"] };
    case "half": return "\\ud800";
    case "whole": return "\\\\ud800 \\u{1f41f}";
    case "large": return "x".repeat(payload.bytes);
    case "wait":
      task.log("waits");
      await new Promise((resolve, reject) => {
        const timer = setTimeout(resolve, 60000);
        task.signal.addEventListener("abort", () => { clearTimeout(timer); reject(task.signal.reason); });
      });
      return;
    case "meet":
      if (++met === 2) meet();
      await both;
      return "met";
  }
});
worker.handle("plain", (payload, task) => task.attempt);
await worker.run();
console.error("after run");
`;

class Child {
  constructor(t, { type = "work", text = PROGRAM } = {}) {
    this.process = program(t, text, { SHOAL_TYPE: type, SHOAL_WORKER: "node-1" });
    this.seen = 0;
    this.type = type;
  }

  async hello() {
    this.say({ hello: { version: 1, type: this.type, worker: "node-1", max_line: 5000, later: 1 } });
    assert.deepEqual(await this.next(), { hello: { version: 1, concurrency: 4 } });
    return this;
  }

  say(...lines) {
    this.process.child.stdin.write(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  }

  task(id, payload, type = "work") {
    this.say({ task: {
      id, type, queue: "default", attempt: 2, max_attempts: 25, fence: "1-x", deadline: null, payload } });
  }

  async next() {
    const lines = await waitFor(() => {
      const all = this.process.out.split("\n");
      return all.length > this.seen + 1 && all;
    }, `a line of the child; its errors: ${this.process.err}`);
    return JSON.parse(lines[this.seen++]);
  }

  async ask(id, payload, type) {
    this.task(id, payload, type);
    return this.next();
  }

  /** What else it wrote until its end. */
  async end() {
    const { code, signal } = await this.process.ended;
    const rest = this.process.out.split("\n").slice(this.seen, -1).map((line) => JSON.parse(line));
    return { code, signal, rest, err: this.process.err };
  }
}

test("results, errors, and what is said meanwhile", async (t) => {
  const child = await new Child(t).hello();
  assert.deepEqual(await child.ask("a", { do: "echo", text: "ä" }), { id: "a", result: { do: "echo", text: "ä" } });
  child.task("b", { do: "tell" });
  assert.deepEqual([await child.next(), await child.next(), await child.next(), await child.next()], [
    { id: "b", progress: { half: 0.5 } }, { id: "b", log: "one" }, { id: "b", log: "two" }, { id: "b", result: null }]);
  assert.deepEqual(await child.ask("c", { do: "retry" }), {
    id: "c", error: { code: "busy", message: "busy" }, retry: true, retry_in: 2.5 });
  assert.deepEqual(await child.ask("d", { do: "fail" }), {
    id: "d", error: { code: "bad_text_", message: "no text" }, retry: false });
  const raised = await child.ask("e", { do: "raise" });
  assert.deepEqual([raised.retry, raised.error.code], [true, "RangeError"]);
  assert.match(raised.error.message, /^RangeError: missing\n {4}at /);
  assert.deepEqual((await child.ask("f", { do: "throw" })).error, { code: "string", message: "thrown: a text" });
  for (const what of ["nothing", "big", "nul", "half"]) {
    const told = await child.ask(what, { do: what });
    assert.deepEqual([told.retry, told.error?.code], [false, "bad_result"], what);
  }
  assert.equal((await child.ask("w", { do: "whole" })).result, "\\ud800 \u{1f41f}");
  assert.equal((await child.ask("g", { do: "large", bytes: 6000 })).error.code, "output_too_large");
  assert.equal((await child.ask("h", { do: "large", bytes: 4000 })).result, "x".repeat(4000));
  assert.deepEqual(await child.ask("i", {}, "plain"), { id: "i", result: 2 });
  assert.deepEqual(await child.ask("j", {}), { id: "j", result: null });
  assert.equal((await child.ask("k", {}, "other")).error.code, "no_handler");
});

test("console.log writes to the log, and a drain finishes what is there", async (t) => {
  const child = await new Child(t).hello();
  assert.deepEqual(await child.ask("a", { do: "print" }), { id: "a", result: null });
  child.task("b", { do: "wait" });
  assert.deepEqual(await child.next(), { id: "b", log: "waits" });
  child.say({ drain: true }, { cancel: "b" });
  const { code, rest, err } = await child.end();
  assert.deepEqual(rest, [{ id: "b", error: { code: "cancelled", message: "task b was cancelled" }, retry: true }]);
  assert.equal(code, 0);
  assert.equal(err, "to print\nto write\nafter run\n");
});

test("several at a time, and heartbeats between", async (t) => {
  const child = await new Child(t).hello();
  child.task("a", { do: "wait" });
  assert.deepEqual(await child.next(), { id: "a", log: "waits" });
  child.say({ ping: 7 }, { what: "is this?" });
  assert.deepEqual(await child.next(), { pong: 7 });
  child.task("b", { do: "meet" });
  child.task("c", { do: "meet" });
  assert.deepEqual(new Set([(await child.next()).id, (await child.next()).id]), new Set(["b", "c"]));
  child.say({ cancel: "a" }, { cancel: "nobody" });
  assert.equal((await child.next()).error.code, "cancelled");
});

test("half lines and many lines at once", async (t) => {
  const child = await new Child(t).hello();
  let lines = "";
  for (let n = 0; n < 500; n++) lines += `{"task":{"id":"${n}","type":"work","payload":{"do":"echo","n":${n},"s":"ä"}}}\n`;
  const bytes = Buffer.from(lines);
  for (let begin = 0; begin < bytes.length; begin += 7919)
    child.process.child.stdin.write(bytes.subarray(begin, begin + 7919));
  const got = [];
  for (let n = 0; n < 500; n++) got.push((await child.next()).result.n);
  assert.deepEqual(got.sort((a, b) => a - b), Array.from({ length: 500 }, (_, n) => n));
});

test("the end of the input and TERM mean what a drain means", async (t) => {
  const idle = await new Child(t).hello();
  idle.process.child.stdin.end();
  assert.deepEqual(await idle.end(), { code: 0, signal: null, rest: [], err: "after run\n" });
  const busy = await new Child(t).hello();
  busy.task("a", { do: "wait" });
  await busy.next();
  busy.process.child.kill("SIGTERM");
  busy.say({ ping: 1 }, { cancel: "a" });
  assert.deepEqual(await busy.next(), { pong: 1 });
  const { code, rest } = await busy.end();
  assert.deepEqual([code, rest.length, rest[0].error.code], [0, 1, "cancelled"]);
});

test("a second TERM waits for nothing", async (t) => {
  const child = await new Child(t).hello();
  child.task("a", { do: "wait" });
  await child.next();
  await waitFor(() => {
    child.process.child.kill("SIGTERM");
    return child.process.child.signalCode;
  });
  assert.equal((await child.end()).signal, "SIGTERM");
});

test("what is not the protocol ends it with a reason", async (t) => {
  for (const [line, words] of [
    [{ hello: { version: 0, type: "work" } }, "version 0"],
    [{ hello: { version: 1, type: "mail" } }, 'no handler for tasks of type "mail"; it has: plain, work'],
    [[1], "no JSON object"],
    [{ task: { id: "a", type: "work" } }, "before its hello"],
  ]) {
    const child = new Child(t);
    child.say(line);
    const { code, rest, err } = await child.end();
    assert.deepEqual([code, rest], [1, []]);
    assert.ok(err.includes(words), err);
  }
  const empty = new Child(t, { text: 'import { Worker } from "shoal"; await new Worker().run();' });
  const { code, err } = await empty.end();
  assert.equal(code, 1);
  assert.match(err, /no handlers/);
});
