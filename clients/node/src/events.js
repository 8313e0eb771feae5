// SPDX-License-Identifier: BSD-2-Clause
// Server-sent events that go on where they were, whatever breaks in between.
import { fromAnswer, RateLimited, Unavailable, Unreachable } from "./errors.js";
import { now, pause, sleep } from "./transport.js";

// a node says something every 15 s; silence for three times as long is a dead connection
const SILENCE_MOST_MS = 45_000;
const BLOCK_MOST = 16 * 1024 * 1024; // bytes

/** The answer to a request for the stream, with status 200; its request ends with the signal. */
function open(transport, query, lastId, signal) {
  return new Promise((resolve, reject) => {
    const headers = { Accept: "text/event-stream" };
    if (lastId !== undefined) headers["Last-Event-ID"] = lastId;
    // a connection of its own: it is not given back
    const request = transport.begin("GET", transport.target("/v1/events", query), { headers, agent: false });
    const timer = setTimeout(() => request.destroy(new Error("no answer in time")), transport.timeout * 1000);
    const abort = () => request.destroy(new Error("aborted"));
    signal?.addEventListener("abort", abort, { once: true });
    request.on("close", () => signal?.removeEventListener("abort", abort));
    request.on("error", (e) => {
      clearTimeout(timer);
      reject(new Unreachable(`no events from ${transport.url}: ${e.message || e.code}`, true, e));
    });
    request.on("response", async (response) => {
      clearTimeout(timer);
      if (response.statusCode === 200) {
        response.socket.setTimeout(SILENCE_MOST_MS, () => request.destroy(new Error("silence")));
        resolve(response);
        return;
      }
      try {
        const parts = [];
        for await (const part of response) parts.push(part);
        reject(fromAnswer({
          status: response.statusCode, headers: response.headers, body: Buffer.concat(parts).subarray(0, 65536),
        }));
      } catch (e) {
        reject(new Unreachable(`no events from ${transport.url}: ${e.message}`, true, e));
      }
    });
  });
}

/** Blocks of the stream, as {id, data}; each is undefined where the block has none. */
async function* blocks(response) {
  response.setEncoding("utf8");
  let rest = "";
  for await (const part of response) {
    rest += part;
    if (rest.length > BLOCK_MOST) throw new Error("an event has no end");
    let end;
    while ((end = rest.indexOf("\n\n")) >= 0) {
      const block = {};
      for (const line of rest.slice(0, end).split("\n")) {
        const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(line);
        if (name === "id") block.id = value;
        else if (name === "data") block.data = block.data === undefined ? value : `${block.data}\n${value}`;
      }
      rest = rest.slice(end + 2);
      yield block;
    }
  }
}

/** An endless iteration; it ends when the signal is aborted or the consumer leaves its loop. */
export async function* follow(transport, { query, after, signal, onOpen }) {
  let lastId = after;
  let failures = 0;
  while (!signal?.aborted) {
    const began = now();
    let response = null;
    let refused = null;
    try {
      response = await open(transport, query, lastId, signal);
      failures = 0;
      onOpen?.();
    } catch (e) {
      if (signal?.aborted) return;
      if (!(e instanceof Unreachable || e instanceof Unavailable || e instanceof RateLimited)) throw e;
      refused = e;
    }
    try {
      if (response !== null) {
        for await (const { id, data } of untilBroken(response)) {
          if (id !== undefined) lastId = id;
          if (data !== undefined) yield JSON.parse(data);
          if (signal?.aborted) return;
        }
      }
    } finally {
      response?.destroy();
    }
    // one that ends at once shall not make a loop without a pause
    const wait = refused ? Math.max(pause(failures++), refused.retryAfter ?? 0) : now() - began < 1 ? pause(2) : 0;
    try {
      await sleep(wait, signal);
    } catch {
      return; // aborted
    }
  }
}

/** The blocks of a stream, whose break is an end like any other: the next connection goes on behind it. */
async function* untilBroken(response) {
  const all = blocks(response);
  for (;;) {
    let next;
    try {
      next = await all.next();
    } catch {
      return;
    }
    if (next.done) return;
    yield next.value;
  }
}
