// SPDX-License-Identifier: BSD-2-Clause
// What the tests of the Node client share.
//
// They need a node: SHOAL_URL and SHOAL_API_KEY, as `shoald --dev=DIR` writes them into DIR/env.
//
//     cd clients/node && npm test
//
// SHOAL_TEST_NARROW_KEY: another key of the same application, with the scope work:narrow alone.
import { spawn } from "node:child_process";
import net from "node:net";
import { fileURLToPath } from "node:url";

import { Shoal } from "../index.js";

export const LIBRARY = fileURLToPath(new URL("../index.js", import.meta.url));

/** The first true value of the predicate. */
export async function waitFor(predicate, what = "a condition", atMost = 20_000) {
  const deadline = Date.now() + atMost;
  for (;;) {
    const value = await predicate();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`${what}: not within ${atMost} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A client that is closed after the test t. */
export function connect(t, options = {}) {
  const client = new Shoal({ timeout: 20, ...options });
  t.after(() => client.close());
  return client;
}

/** A name that no other test has. */
export function unique() {
  return `n${process.pid}-${process.hrtime.bigint()}`;
}

/** A way to the node that can be cut: after a request has passed, and before its answer does. */
export async function wire(t) {
  const to = new URL(process.env.SHOAL_URL);
  const sockets = new Set();
  const made = {
    cuts: 0, // so many answers are withheld
    refused: 0,
    connections: 0,
    open: true,
    held: null, // [] keeps answers in the wire
    flow() {
      for (const go of made.held ?? []) go();
      made.held = null;
    },
    drop() {
      for (const socket of sockets) socket.destroy();
    },
    close() {
      made.drop();
      return new Promise((resolve) => server.close(resolve));
    },
  };
  const server = net.createServer({ allowHalfOpen: true }, (client) => {
    if (!made.open) {
      made.refused++;
      client.destroy();
      return;
    }
    made.connections++;
    const node = net.connect({ host: to.hostname, port: Number(to.port), allowHalfOpen: true });
    for (const [from, other] of [[client, node], [node, client]]) {
      sockets.add(from);
      from.on("close", () => {
        sockets.delete(from);
        other.destroy();
      });
      from.on("error", () => other.destroy());
      from.on("end", () => other.end());
      from.on("data", (data) => {
        if (from === node && made.cuts > 0) {
          made.cuts--;
          client.destroy();
        } else if (from === node && made.held !== null) {
          made.held.push(() => other.write(data));
        } else {
          other.write(data);
        }
      });
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  made.url = `http://127.0.0.1:${server.address().port}`;
  t.after(() => made.close());
  return made;
}

/** Starts a program text with the library under the name "shoal"; killed at the end if it is still there. */
export function program(t, text, environment = {}) {
  const source = text.replaceAll(/from "shoal"/g, `from ${JSON.stringify(`file://${LIBRARY}`)}`);
  const child = spawn(process.execPath, ["--input-type=module", "-e", source], {
    env: { ...process.env, ...environment }, stdio: "pipe",
  });
  const made = { child, out: "", err: "" };
  child.stdout.setEncoding("utf8").on("data", (data) => (made.out += data));
  child.stderr.setEncoding("utf8").on("data", (data) => (made.err += data));
  child.stdin.on("error", () => {});
  made.ended = new Promise((resolve) => child.on("close", (code, signal) => resolve({ code, signal })));
  t.after(async () => {
    child.kill("SIGKILL");
    await made.ended;
  });
  return made;
}
