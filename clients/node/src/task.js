// SPDX-License-Identifier: BSD-2-Clause
// What a handler sees of the attempt that it runs, and how it says what came of it.
//
// The same for both ways in which a worker gets tasks: pull.js and stream.js are each a reporter.

const CODE_MOST = 47; // characters
const MESSAGE_MOST = 4096; // bytes
const PROGRESS_MOST = 4095; // bytes
const LOG_LINE_MOST = 4096; // bytes

/** Thrown by a handler: this attempt failed, try again.  after: seconds until then, else the task's backoff. */
export class Retry extends Error {
  constructor(message = "the handler asked for another attempt", { after, code = "retry", cause } = {}) {
    super(message, { cause });
    this.name = "Retry";
    this.after = after;
    this.code = code;
  }
}

/** Thrown by a handler: the task has failed for good, whatever attempts are left. */
export class Fail extends Error {
  constructor(message, { code = "failed", cause } = {}) {
    super(message, { cause });
    this.name = "Fail";
    this.code = code;
  }
}

/** The reason of task.signal, thrown by what listens to it: nobody wants this attempt any more. */
export class Cancelled extends Error {
  constructor(message) {
    super(message);
    this.name = "Cancelled";
  }
}

/** Text that every node takes: no NUL, no half surrogates, most bytes at most. */
export function clean(text, most) {
  const bytes = Buffer.from(String(text).replaceAll("\0", "\ufffd"));
  return bytes.length <= most ? bytes.toString() : bytes.subarray(0, most).toString().replace(/\ufffd$/, "");
}

/** A stable word: letters, digits, _ - and . only. */
function codeOf(text) {
  return String(text ?? "").replace(/[^A-Za-z0-9_.-]/g, "_").slice(0, CODE_MOST) || "failed";
}

/** One attempt at a task. */
export class RunningTask {
  #reporter;
  #abort = new AbortController();

  constructor(given, reporter) {
    this.raw = given;
    this.id = given.id;
    this.type = given.type;
    this.payload = given.payload ?? null;
    this.queue = given.queue ?? null;
    this.attempt = given.attempt ?? null;
    this.max_attempts = given.max_attempts ?? null;
    this.deadline = given.deadline ?? null;
    this.metadata = given.metadata ?? null;
    this.fence = given.fence ?? null;
    this.traceparent = given.traceparent ?? null;
    this.tracestate = given.tracestate ?? null;
    this.#reporter = reporter;
  }

  /** Aborted once the task was cancelled, its time is over, or the lease is lost. */
  get signal() {
    return this.#abort.signal;
  }

  get cancelled() {
    return this.#abort.signal.aborted;
  }

  progress(value) {
    const text = JSON.stringify(value);
    if (text === undefined) throw new TypeError(`progress: a ${typeof value} is no JSON`);
    if (Buffer.byteLength(text) > PROGRESS_MOST)
      throw new RangeError(`progress is ${Buffer.byteLength(text)} bytes of JSON, and may be ${PROGRESS_MOST}`);
    this.#reporter.progress(this, JSON.parse(text)); // as it is now, whatever becomes of the object
  }

  log(text) {
    for (const line of String(text).split(/\r?\n/)) if (line) this.#reporter.log(this, clean(line, LOG_LINE_MOST));
  }

  /** Of the worker: aborts the signal. */
  cancel(why = `task ${this.id} was cancelled`) {
    this.#abort.abort(new Cancelled(why));
  }
}

/** What it is, and then as much as fits of where it came from. */
function describe(error) {
  if (!(error instanceof Error)) return clean(`thrown: ${String(error)}`, MESSAGE_MOST);
  const head = `${error.name}: ${error.message}`;
  const stack = String(error.stack ?? "");
  const frames = stack.includes("\n    at ") ? stack.slice(stack.indexOf("\n    at ")) : "";
  return clean(clean(head, 1024) + frames, MESSAGE_MOST);
}

/** Calls the handler; whatever it does, {result: JSON text} or {code, message, retry, after}. */
export async function runHandler(handler, task) {
  let value;
  try {
    value = await handler(task.payload, task);
  } catch (e) {
    if (e instanceof Retry)
      return { code: codeOf(e.code), message: clean(e.message, MESSAGE_MOST), retry: true, after: e.after };
    if (e instanceof Fail) return { code: codeOf(e.code), message: clean(e.message, MESSAGE_MOST), retry: false };
    // a task that somebody cancelled is not tried again whatever is said here; one that ran too long may be
    if (e instanceof Cancelled || (task.cancelled && e?.name === "AbortError"))
      return { code: "cancelled", message: clean(e.message, MESSAGE_MOST), retry: true };
    return { code: codeOf(e?.name ?? typeof e), message: describe(e), retry: true };
  }
  try {
    return { result: resultText(value) };
  } catch (e) {
    return {
      code: "bad_result", retry: false,
      message: clean(`the handler of ${task.type} returned what is no JSON: ${e.message}`, MESSAGE_MOST),
    };
  }
}

function resultText(value) {
  // a handler that returns nothing has the result null
  const text = JSON.stringify(value === undefined ? null : value);
  if (text === undefined) throw new TypeError(`it is a ${typeof value}`);
  // what nodes refuse: NUL, and half a surrogate pair, which JSON.stringify escapes
  if (/\\u(0000|d[89a-f])/i.test(text) && /\0|[\ud800-\udfff]/u.test(allText(JSON.parse(text))))
    throw new TypeError("it holds a NUL character or half a surrogate pair");
  return text;
}

/** All text in it, joined by what joins no halves. */
function allText(value) {
  if (typeof value === "string") return value;
  if (Array.isArray(value)) return value.map(allText).join(" ");
  if (value !== null && typeof value === "object") return Object.entries(value).flat().map(allText).join(" ");
  return "";
}
