// SPDX-License-Identifier: BSD-2-Clause
// HTTP to one address: connections that are kept, time limits, and what is tried again.
//
// What is tried again, after a pause with jitter that grows, or what Retry-After says if that is longer:
//
// - a request that cannot have arrived: the connection was refused, the name not found;
// - one that a node refused with 503, unless the node does not know whether it was done;
// - anything else without an answer only if the caller says that it may be repeated.
//
// Redirects are never followed and proxies of the environment not used: a key is sent to the address that it
// was given for.
import http from "node:http";
import https from "node:https";

import { fromAnswer, OutcomeUnknown, Unavailable, Unreachable } from "./errors.js";
import { VERSION } from "./version.js";

// a node keeps idle connections for 350 s, a common load balancer for 300
const IDLE_MOST_MS = 240_000;
const ANSWER_MOST = 160 * 1024 * 1024; // bytes: a hundred tasks with the largest payloads
const PAUSE_FIRST = 0.1;
const PAUSE_MOST = 5;

/** Seconds before try number attempt + 2: doubled each time, somewhere in its upper half. */
export function pause(attempt, most = PAUSE_MOST) {
  return Math.min(most, PAUSE_FIRST * 2 ** Math.min(attempt, 16)) * (0.5 + Math.random() / 2);
}

/** Resolves after so many seconds; rejects with the signal's reason when it is aborted. */
export function sleep(seconds, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, seconds * 1000);
    function stop() {
      clearTimeout(timer);
      reject(signal.reason);
    }
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** Seconds on a clock that is never set. */
export function now() {
  return performance.now() / 1000;
}

function mayRepeat(error, repeatable) {
  if (error instanceof Unreachable) return repeatable || !error.sent;
  if (error instanceof OutcomeUnknown) return repeatable;
  return error instanceof Unavailable || (repeatable && (error.status === 502 || error.status === 504));
}

export class Transport {
  constructor({ url, key, timeout, retries, tls }) {
    let parts;
    try {
      parts = new URL(url);
    } catch (e) {
      throw new TypeError(`url ${JSON.stringify(url)}: it must be like http://tasks.example.com`, { cause: e });
    }
    if (parts.protocol !== "http:" && parts.protocol !== "https:")
      throw new TypeError(`url ${JSON.stringify(url)}: it must be like http://tasks.example.com`);
    if (parts.username || parts.password || parts.search || parts.hash)
      throw new TypeError("url: no user, query or fragment belongs there; the key is an option of its own");
    if (typeof key !== "string" || !/^[\x21-\x7e]+$/.test(key))
      throw new TypeError("key: an API key is wanted, such as `shoal keys create` prints");
    const secure = parts.protocol === "https:";
    this.url = url;
    this.timeout = timeout;
    this.retries = retries;
    this._http = secure ? https : http;
    this._agent = new this._http.Agent({
      keepAlive: true, maxSockets: 256, maxFreeSockets: 32, scheduling: "lifo", ...(secure ? tls : {}),
    });
    // of sockets that lie idle; one that is used has the time limit of its request
    this._agent.on("free", (socket) => socket.setTimeout(IDLE_MOST_MS));
    this._base = {
      // URL writes an IPv6 address in brackets, and node wants none
      hostname: parts.hostname.replace(/^\[|\]$/g, ""),
      port: parts.port || (secure ? 443 : 80),
      agent: this._agent,
    };
    this._path = parts.pathname.replace(/\/+$/, "");
    this._headers = {
      Authorization: `Bearer ${key}`,
      Accept: "application/json",
      "User-Agent": `shoal-node/${VERSION}`,
    };
  }

  /** Closes idle connections; requests under way end as they end. */
  close() {
    for (const sockets of Object.values(this._agent.freeSockets)) for (const socket of sockets) socket.destroy();
    this._agent.maxFreeSockets = 0;
  }

  target(path, query = {}) {
    const pairs = Object.entries(query).filter(([, v]) => v !== undefined && v !== null);
    return this._path + path + (pairs.length ? `?${new URLSearchParams(pairs)}` : "");
  }

  /** Begins a request: the ClientRequest, with the body written. */
  begin(method, target, { headers = {}, body, agent = this._agent } = {}) {
    const all = { ...this._headers, ...headers };
    if (body !== undefined) {
      all["Content-Type"] = "application/json";
      all["Content-Length"] = body.length;
    } else if (method !== "GET" && method !== "DELETE") {
      all["Content-Length"] = 0;
    }
    const request = this._http.request({ ...this._base, agent, method, path: target, headers: all });
    request.end(body);
    return request;
  }

  /** One try: {status, headers, body}, whatever its status, or Unreachable.  An abort ends it with its reason. */
  once(method, target, { headers, body, timeout, signal, onRequest }) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      let connected = false;
      const request = this.begin(method, target, { headers, body });
      onRequest?.(request);
      const timer = setTimeout(() => request.destroy(new Error(`no answer within ${timeout} s`)), timeout * 1000);
      const abort = () => request.destroy(signal.reason instanceof Error ? signal.reason : new Error("aborted"));
      signal?.addEventListener("abort", abort, { once: true });
      const settle = (done, value) => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        onRequest?.(null);
        done(value);
      };
      const fail = (e) => {
        if (signal?.aborted) return settle(reject, signal.reason);
        const what = connected
          ? `no answer from ${this.url} to ${method} ${target.split("?")[0]}`
          : `cannot connect to ${this.url}`;
        settle(reject, new Unreachable(`${what}: ${e.message || e.code}`, connected, e));
      };
      request.on("socket", (socket) => {
        // a socket that is used again says neither
        if (!socket.connecting) connected = true;
        else socket.once(this._http === https ? "secureConnect" : "connect", () => (connected = true));
      });
      request.on("error", fail);
      request.on("response", (response) => {
        const parts = [];
        let size = 0;
        response.on("data", (part) => {
          size += part.length;
          if (size > ANSWER_MOST) request.destroy(new Error(`the answer is longer than ${ANSWER_MOST} bytes`));
          else parts.push(part);
        });
        response.on("error", fail);
        response.on("end", () =>
          settle(resolve, { status: response.statusCode, headers: response.headers, body: Buffer.concat(parts) }),
        );
      });
    });
  }

  /**
   * The answer of a success; ShoalError otherwise.  deadline: on now(), no pause goes beyond it.
   */
  async request(method, path, options = {}) {
    const { query, body, headers, repeatable = false, timeout = this.timeout, signal, onRequest } = options;
    const { retries = this.retries, deadline = Infinity } = options;
    const target = this.target(path, query);
    for (let attempt = 0; ; attempt++) {
      let error;
      try {
        const answer = await this.once(method, target, { headers, body, timeout, signal, onRequest });
        if (answer.status >= 200 && answer.status < 300) return answer;
        error = fromAnswer(answer);
      } catch (e) {
        if (!(e instanceof Unreachable)) throw e;
        error = e;
      }
      const wait = Math.max(pause(attempt), error.retryAfter ?? 0);
      if (attempt >= retries || !mayRepeat(error, repeatable) || now() + wait >= deadline) throw error;
      await sleep(wait, signal);
    }
  }
}
