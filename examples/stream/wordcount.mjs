#!/usr/bin/env node
// SPDX-License-Identifier: BSD-2-Clause
// A stream child (docs/stream-protocol.md): counts the words of {"text": "..."}.
//
//     [type:wordcount]
//     handler = stream
//     command = /usr/bin/node /srv/app/wordcount.mjs
//
// Tasks run beside each other, each may wait for what it likes, and a cancel reaches its signal.
import { createInterface } from "node:readline";

const running = new Map(); // id -> AbortController

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

async function count({ payload }, signal) {
  signal.throwIfAborted();
  if (typeof payload?.text !== "string") {
    throw Object.assign(new Error("the payload needs a text"), { code: "bad_text", retry: false });
  }
  return { words: (payload.text.match(/[^ \t\n\r\f\v]+/g) ?? []).length };
}

async function run(task) {
  const control = new AbortController();
  running.set(task.id, control);
  try {
    say({ id: task.id, result: await count(task, control.signal) });
  } catch (e) {
    const code = /^[\w.-]{1,47}$/.test(e.code) ? e.code : "failed";
    say({ id: task.id, error: { code, message: String(e.message) }, retry: e.retry ?? true });
  } finally {
    running.delete(task.id);
  }
}

function hear(line) {
  const message = JSON.parse(line);
  if (message.task) run(message.task);
  else if (message.hello) say({ hello: { version: 1, concurrency: 64 } });
  else if ("ping" in message) say({ pong: message.ping });
  else if (message.cancel) running.get(message.cancel)?.abort();
  // drain: what runs is finished, the input ends, and so does the process
}

createInterface({ input: process.stdin }).on("line", hear);
