// SPDX-License-Identifier: BSD-2-Clause
// A worker: functions that run tasks.
//
//     const worker = new Worker({ queues: ["images"], concurrency: 8 });
//     worker.handle("thumbnail", async (payload, task) => ({ width: payload.width }));
//     await worker.run();
//
// The same program runs in two ways.  Started by you, it leases tasks over HTTP (pull.js); started by a node as
// the command of a `stream` type, it talks to that node in lines (stream.js).  run() sees which by the environment
// that a node gives its children.
//
// So many handlers are under way at a time as concurrency says.  What one returns is the result (any JSON).  Retry
// has the task tried again, Fail ends it for good, any other error is a failed attempt with its name and stack.
import { Shoal } from "./client.js";
import { Pull } from "./pull.js";
import { Stream } from "./stream.js";

function within(name, value, least, most) {
  if (!(value >= least && value <= most)) throw new RangeError(`${name}: ${value} is outside ${least} to ${most}`);
  return value;
}

/** A node's stream child has the first two; a command that a node starts for one task has the third as well. */
function isStreamChild(environment) {
  return "SHOAL_TYPE" in environment && "SHOAL_WORKER" in environment && !("SHOAL_TASK_ID" in environment);
}

/** What a worker has to say: to standard error, one line each. */
const toStderr = {
  info() {},
  warn(text) {
    process.stderr.write(`shoal: ${text}\n`);
  },
  error(text) {
    process.stderr.write(`shoal: ${text}\n`);
  },
};

export class Worker {
  #running = null;
  #stopped = false;

  constructor({
    client, queues = [], concurrency = 8, name, ttl = 60, grace = 30, poll = 20, logger = toStderr,
  } = {}) {
    this.client = client;
    this.queues = typeof queues === "string" ? [queues] : [...queues];
    this.concurrency = within("concurrency", concurrency, 1, 256);
    this.name = name;
    this.ttl = within("ttl", ttl, 5, 3600);
    this.grace = within("grace", grace, 0, 86400);
    this.poll = within("poll", poll, 1, 60);
    this.logger = logger;
    this.handlers = new Map();
  }

  handle(type, handler, { queue = [] } = {}) {
    if (typeof type !== "string" || type === "") throw new TypeError("a task's type is a text");
    if (typeof handler !== "function") throw new TypeError(`${type}: a handler is a function (payload, task)`);
    if (this.handlers.has(type)) throw new TypeError(`type ${JSON.stringify(type)} has a handler already`);
    for (const name of typeof queue === "string" ? [queue] : queue)
      if (!this.queues.includes(name)) this.queues.push(name);
    this.handlers.set(type, handler);
    return this;
  }

  /** Runs tasks until SIGTERM, SIGINT or stop(); then finishes what runs, and resolves. */
  async run() {
    if (this.handlers.size === 0) throw new TypeError("no handlers: there is nothing that this worker can run");
    return isStreamChild(process.env) ? this.stream() : this.pull();
  }

  /** run(), by leases over HTTP. */
  async pull() {
    const client = this.client ?? new Shoal();
    try {
      await this.#go(new Pull(this, client));
    } finally {
      if (this.client === undefined) client.close();
    }
  }

  /** run(), as the child of a node: on standard input and output. */
  async stream() {
    await this.#go(new Stream(this));
  }

  async #go(runner) {
    if (this.#running !== null) throw new Error("this worker runs already");
    this.#running = runner;
    let signals = 0;
    const onSignal = (name) => {
      // the second one ends the process at once, as the signal does by itself
      if (++signals > 1) {
        process.removeListener("SIGTERM", onSignal);
        process.removeListener("SIGINT", onSignal);
        process.kill(process.pid, name);
        return;
      }
      runner.stop();
    };
    process.on("SIGTERM", onSignal);
    process.on("SIGINT", onSignal);
    try {
      if (this.#stopped) runner.stop();
      await runner.run();
    } finally {
      process.removeListener("SIGTERM", onSignal);
      process.removeListener("SIGINT", onSignal);
      this.#running = null;
    }
    // a handler that was told to end and does not would keep the process alive for ever
    if (runner.unfinished > 0 && signals > 0) setTimeout(() => process.exit(), 1000).unref();
  }

  /** What SIGTERM does. */
  stop() {
    this.#stopped = true;
    this.#running?.stop();
  }
}
