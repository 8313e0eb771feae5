// SPDX-License-Identifier: BSD-2-Clause
// The client: submit tasks, wait for them, read and change them.
//
// One Shoal object is for a whole program; it keeps its connections.  Options and fields have the names of the
// API (api/openapi.yaml), in requests and answers alike; times may be given as Date.
//
// A submit carries an Idempotency-Key that is made here unless one is given, so that it can be tried again when
// its answer is lost and still makes one task.  idempotency_key: null sends none: a little faster, and a
// lost answer is then an Unreachable or OutcomeUnknown for the caller to judge.
import { randomUUID } from "node:crypto";

import { bytes, taskId, taskRequest } from "./encode.js";
import { ServerError, TaskFailed, Unavailable, Unreachable, WaitTimeout } from "./errors.js";
import { follow } from "./events.js";
import { now, pause, sleep, Transport } from "./transport.js";

const WAIT_MOST = 60; // seconds that a node holds one answer back
const FINAL_STATES = new Set(["succeeded", "failed", "cancelled", "expired"]);

function json(answer) {
  try {
    return JSON.parse(answer.body.toString());
  } catch (e) {
    throw new ServerError(`an answer is no JSON: ${e.message}`, {
      status: answer.status, code: "bad_answer", cause: e,
    });
  }
}

/** The header, and whether a lost answer may be asked for again. */
function idempotency(key = randomUUID()) {
  return key === null
    ? { headers: {}, repeatable: false }
    : { headers: { "Idempotency-Key": key }, repeatable: true };
}

/** As headers: they are no part of what an Idempotency-Key stands for. */
function trace(values) {
  const headers = {};
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined || value === null) continue;
    if (typeof value !== "string") throw new TypeError(`${name}: a text, not ${String(value)}`);
    // what no header can hold is no trace
    if (/^[ -~]+$/.test(value)) headers[name] = value;
  }
  return headers;
}

function path(task, more = "") {
  return `/v1/tasks/${encodeURIComponent(taskId(task))}${more}`;
}

export class Shoal {
  constructor({ url, key, timeout = 30, retries = 5, tls } = {}) {
    url ??= process.env.SHOAL_URL;
    key ??= process.env.SHOAL_API_KEY;
    if (!url) throw new TypeError("no url: give one, or set SHOAL_URL");
    if (!key) throw new TypeError("no key: give one, or set SHOAL_API_KEY");
    this.transport = new Transport({ url, key, timeout, retries, tls });
  }

  close() {
    this.transport.close();
  }

  // -- submitting

  async submit(type, payload, options = {}) {
    return this._submit(type, payload, options, 0);
  }

  async submitBatch(tasks, { idempotency_key, signal } = {}) {
    const body = Array.from(tasks, ({ type, payload, ...options }) => taskRequest(type, payload, options));
    const answer = await this.transport.request("POST", "/v1/tasks/batch", {
      body: bytes({ tasks: body }), signal, ...idempotency(idempotency_key),
    });
    return json(answer).tasks;
  }

  async run(type, payload, { timeout, task_timeout, ...options } = {}) {
    const deadline = timeout === undefined ? Infinity : now() + timeout;
    const wait = Math.max(0, Math.min(WAIT_MOST, Math.floor(timeout ?? WAIT_MOST)));
    let task = await this._submit(type, payload, { ...options, timeout: task_timeout }, wait, deadline);
    if (!FINAL_STATES.has(task.state)) task = await this._wait(task.id, deadline, task, options.signal);
    if (task.state !== "succeeded") throw new TaskFailed(task);
    return task.result;
  }

  async _submit(type, payload, { idempotency_key, signal, traceparent, tracestate, ...options }, wait, deadline) {
    const { headers, repeatable } = idempotency(idempotency_key);
    Object.assign(headers, trace({ traceparent, tracestate }));
    const answer = await this.transport.request("POST", "/v1/tasks", {
      query: { wait: wait || undefined }, body: bytes(taskRequest(type, payload, options)), signal, deadline,
      timeout: this.transport.timeout + wait, headers, repeatable,
    });
    const task = json(answer);
    // of this answer, not of the task: not shown where a task is printed or compared
    Object.defineProperty(task, "unique", { value: answer.headers["shoal-unique"] ?? null });
    Object.defineProperty(task, "replayed", { value: answer.headers["idempotent-replayed"] === "true" });
    return task;
  }

  // -- reading

  async get(task, { signal } = {}) {
    return this.call("GET", path(task), undefined, { signal });
  }

  async wait(task, { timeout, signal } = {}) {
    return this._wait(taskId(task), timeout === undefined ? Infinity : now() + timeout, null, signal);
  }

  /** With a deadline, nodes that are away are borne until then; else as long as for any request. */
  async _wait(id, deadline, last, signal) {
    for (;;) {
      const left = deadline - now();
      const step = Math.max(0, Math.min(WAIT_MOST, Math.floor(left)));
      if (left > 0 && left < 1) await sleep(left, signal);
      try {
        last = await this.call("GET", path(id), undefined, {
          query: { wait: step || undefined }, timeout: this.transport.timeout + step, deadline, signal,
        });
        if (FINAL_STATES.has(last.state)) return last;
      } catch (e) {
        if (!(e instanceof Unreachable || e instanceof Unavailable) || deadline === Infinity) throw e;
        if (left > 1) await sleep(Math.min(left, Math.max(e.retryAfter ?? 0, pause(3))), signal);
      }
      if (left < 1)
        throw new WaitTimeout(
          `task ${id} has not ended in time; it is ${last === null ? "not known how it stands" : last.state}`, last);
    }
  }

  list({ state, queue, type, since, until, pageSize = 100, signal } = {}) {
    const iso = (time) => (time instanceof Date ? time.toISOString() : time);
    const query = { state, queue, type, since: iso(since), until: iso(until) };
    return this._pages("/v1/tasks", "tasks", query, pageSize, signal);
  }

  async why(task, { signal } = {}) {
    return this.call("GET", path(task, "/why"), undefined, { signal });
  }

  async log(task, { signal } = {}) {
    const answer = await this.transport.request("GET", path(task, "/log"), { repeatable: true, signal });
    return answer.body.toString();
  }

  history(task, { pageSize = 100, signal } = {}) {
    return this._pages(path(task, "/events"), "events", {}, pageSize, signal);
  }

  events({ after, queue, type, kind, task, signal, onOpen } = {}) {
    const query = { queue, type, kind, task: task === undefined ? undefined : taskId(task) };
    return follow(this.transport, { query, after, signal, onOpen });
  }

  // -- changing

  async cancel(task, { reason, wait, signal } = {}) {
    return this.call("POST", path(task, "/cancel"), { reason }, {
      query: { wait }, repeatable: true, timeout: this.transport.timeout + (wait ?? 0), signal,
    });
  }

  async retry(task, { attempts, reason, signal } = {}) {
    return this.call("POST", path(task, "/retry"), { attempts, reason }, { signal });
  }

  async delete(task, { signal } = {}) {
    await this.call("DELETE", path(task), undefined, { signal });
  }

  // -- everything else of the API

  async call(method, target, body, { repeatable = method === "GET" || method === "PUT", ...options } = {}) {
    const answer = await this.transport.request(method, target, {
      ...options, repeatable, body: body === undefined ? undefined : bytes(body),
    });
    return answer.body.length ? json(answer) : null;
  }

  async *_pages(target, name, query, limit, signal) {
    let cursor;
    do {
      const page = await this.call("GET", target, undefined, { query: { ...query, limit, cursor }, signal });
      yield* page[name];
      cursor = page.next_cursor;
    } while (cursor !== null);
  }
}
