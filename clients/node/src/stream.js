// SPDX-License-Identifier: BSD-2-Clause
// A worker as the child of a node: docs/stream-protocol.md, version 1, from the child's side.
//
// Standard output belongs to the protocol: what console.log and others write to process.stdout goes to
// standard error, which is the child's log.  Lines of one turn of the loop leave in one write.
import { clean, RunningTask, runHandler } from "./task.js";

const VERSION = 1;
const LINE_MOST = 64 * 1024 * 1024; // of the node's lines: far above what one sends
const ANSWER_MOST = 1024 * 1024; // bytes of an answer, if the node does not say

export class Stream {
  #handlers;
  #concurrency;
  #logger;
  #running = new Map(); // id: RunningTask
  #waiting = []; // tasks beyond the concurrency, which a node does not send
  #active = 0;
  #lineMost = ANSWER_MOST;
  #greeted = false;
  #last = false; // no more tasks come
  #ended = false;
  #lines = [];
  #write;
  #finish;
  #fail;
  unfinished = 0;

  constructor(worker) {
    this.#handlers = worker.handlers;
    this.#concurrency = worker.concurrency;
    this.#logger = worker.logger;
  }

  stop() {
    this.#last = true;
    this.#endIfDone();
  }

  async run() {
    const { stdin, stdout, stderr } = process;
    const ownWrite = stdout.write;
    this.#write = ownWrite.bind(stdout);
    stdout.write = (...args) => stderr.write(...args);
    const onError = (e) => {
      this.#logger.warn(`the node does not read any more: ${e.message}`);
      this.#finish?.();
    };
    stdout.on("error", onError);
    try {
      await new Promise((resolve, reject) => {
        this.#finish = resolve;
        this.#fail = reject;
        const parts = [];
        let size = 0;
        stdin.on("data", (data) => {
          try {
            let begin = 0;
            let end;
            while ((end = data.indexOf(10, begin)) >= 0) {
              parts.push(data.subarray(begin, end));
              this.#line(parts.length === 1 ? parts[0].toString() : Buffer.concat(parts).toString());
              parts.length = size = 0;
              begin = end + 1;
            }
            if (begin < data.length) parts.push(data.subarray(begin));
            size += data.length - begin;
            if (size > LINE_MOST) throw new Error(`a line of the node has no end after ${size} bytes`);
          } catch (e) {
            reject(e);
          }
        });
        stdin.on("end", () => this.stop()); // behind a drain, or the node is gone
        stdin.on("error", reject);
        this.#endIfDone();
      });
    } finally {
      this.#ended = true;
      this.unfinished = this.#running.size;
      await this.#flush();
      stdin.destroy();
      stdout.removeListener("error", onError);
    }
  }

  #endIfDone() {
    if (this.#last && this.#running.size === 0) this.#finish?.();
  }

  #line(text) {
    let told;
    try {
      told = JSON.parse(text);
    } catch (e) {
      throw new Error(`a line of the node is no JSON: ${e.message}`, { cause: e });
    }
    if (told === null || typeof told !== "object" || Array.isArray(told))
      throw new Error("a line of the node is no JSON object");
    if ("task" in told) this.#task(told.task);
    else if ("ping" in told) this.#say({ pong: told.ping });
    else if ("cancel" in told) this.#running.get(told.cancel)?.cancel();
    else if ("drain" in told) this.stop();
    else if ("hello" in told) this.#hello(told.hello);
    // what later nodes say beside that is not for us
  }

  #hello(hello) {
    if (!(hello.version >= VERSION))
      throw new Error(`the node speaks version ${hello.version} of the protocol, and we ${VERSION}`);
    if (hello.type !== undefined && !this.#handlers.has(hello.type))
      throw new Error(
        `this program has no handler for tasks of type ${JSON.stringify(hello.type)}; it has: ` +
          [...this.#handlers.keys()].sort().join(", "));
    this.#lineMost = hello.max_line ?? ANSWER_MOST;
    this.#greeted = true;
    this.#say({ hello: { version: VERSION, concurrency: this.#concurrency } });
  }

  #task(given) {
    if (!this.#greeted) throw new Error("the node sent a task before its hello");
    const task = new RunningTask(given, this);
    this.#running.set(task.id, task);
    this.#waiting.push(task);
    this.#begin();
  }

  #begin() {
    while (this.#active < this.#concurrency && this.#waiting.length > 0) {
      this.#active++;
      this.#work(this.#waiting.shift()).catch(this.#fail);
    }
  }

  async #work(task) {
    const handler = this.#handlers.get(task.type);
    const outcome = handler
      ? await runHandler(handler, task)
      : { code: "no_handler", message: "this program has no handler for it", retry: true };
    this.#active--;
    if (this.#ended) return;
    this.#running.delete(task.id);
    this.#answer(task, outcome);
    this.#begin();
    this.#endIfDone();
  }

  #answer(task, outcome) {
    if (outcome.result !== undefined) {
      const line = `{"id":${JSON.stringify(task.id)},"result":${outcome.result}}`;
      const size = Buffer.byteLength(line);
      if (size < this.#lineMost) return this.#sayLine(line);
      outcome = {
        code: "output_too_large", retry: false,
        message: `the result has ${Buffer.byteLength(outcome.result)} bytes of JSON`,
      };
    }
    this.#say({
      id: task.id,
      error: { code: outcome.code, message: clean(outcome.message, 4096) },
      retry: outcome.retry,
      retry_in: outcome.retry ? outcome.after : undefined,
    });
  }

  progress(task, value) {
    if (this.#running.get(task.id) === task) this.#say({ id: task.id, progress: value });
  }

  log(task, line) {
    if (this.#running.get(task.id) === task) this.#say({ id: task.id, log: line });
  }

  #say(value) {
    this.#sayLine(JSON.stringify(value));
  }

  #sayLine(line) {
    this.#lines.push(line);
    if (this.#lines.length === 1) setImmediate(() => this.#flush());
  }

  /** Resolves when they are written. */
  #flush() {
    if (this.#lines.length === 0) return Promise.resolve();
    const text = `${this.#lines.join("\n")}\n`;
    this.#lines = [];
    return new Promise((resolve) => this.#write(text, () => resolve()));
  }
}
