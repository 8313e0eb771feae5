// SPDX-License-Identifier: BSD-2-Clause
// A worker that leases tasks over HTTP.
//
// Three loops: one leases, for exactly as many tasks as there are free places; one keeps leases, by
// extending each at a third of its ttl, and takes progress and log lines along; one reports how attempts ended,
// all that have ended meanwhile in one request.
//
// A place is free when its handler has ended; what is not reported yet is bounded too, so an outage fills
// the outbox and no more is leased.  A lease is kept until its end is reported: during an outage both go on trying,
// until the node says that the lease is lost, or it must be, by our own clock, and nobody has answered for
// LATE_MOST since.
//
// Leaving (SIGTERM, SIGINT, stop()): the request that waits for tasks is hung up, so that the node takes back what it
// would have given us; what runs may end within the grace; the rest is told that it is cancelled and given
// back at no cost.
import { hostname } from "node:os";

import { BadRequest, Conflict, Forbidden, NotFound, ShoalError, Unauthorized } from "./errors.js";
import { RunningTask, runHandler } from "./task.js";
import { now, pause } from "./transport.js";

const MAX_LEASES = 100; // of one request
const BATCH_MOST = 100; // outcomes in one request
const BATCH_BYTES = 4 * 1024 * 1024; // of results in one request, well below a node's http.max_body
const LATE_MOST = 60; // seconds beyond a lease's certain end in which its outcome is still offered
const TELL_EVERY = 1; // seconds between two requests for one task's progress
const LOG_LINES = 100; // that wait to be sent; the oldest go
const LOG_BYTES = 16 * 1024; // of them, each with its end; nodes keep no more of an attempt
const NAMES_MOST = 32; // queues, and types, in one request
const LEAVE_MOST = 10; // seconds that the last reports may take
const HANG_UP_MOST = 2; // seconds in which an answer that is under way may still come
const STALE_MOST = 30; // seconds that one request about a lease may take
const KEEP_AT_A_TIME = 16; // requests of the keeper

const RELEASE = Symbol("release");

/** The last of the lines that one request may carry. */
function latest(lines) {
  let size = 0;
  let first = lines.length;
  while (first > 0 && lines.length - first < LOG_LINES) {
    size += Buffer.byteLength(lines[first - 1]) + 1;
    if (size > LOG_BYTES) break;
    first--;
  }
  return lines.slice(first);
}

/** What a loop sleeps on: ring() wakes it, also ahead of its sleep. */
class Doorbell {
  #rung = false;
  #wake = null;

  ring() {
    this.#rung = true;
    this.#wake?.();
  }

  /** Until it rings, seconds at most; Infinity without a limit. */
  async wait(seconds = Infinity) {
    if (!this.#rung && seconds > 0) {
      await new Promise((resolve) => {
        const timer = seconds === Infinity ? undefined : setTimeout(resolve, Math.min(seconds, 1e6) * 1000);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#wake = null;
    }
    this.#rung = false;
  }
}

export class Pull {
  #worker;
  #client;
  #logger;
  #queues;
  #name;
  #ttl;
  #free;
  #held = new Map(); // lease: what we know of it, until its end is reported
  #running = new Map(); // RunningTask: the same, of what runs and is ours
  #outbox = [];
  #leaving = false;
  #ended = false;
  #request = null; // that waits for leases
  #leaseBell = new Doorbell();
  #keepBell = new Doorbell();
  #reportBell = new Doorbell();
  #changed = new Doorbell(); // of run()
  unfinished = 0;

  constructor(worker, client) {
    this.#worker = worker;
    this.#client = client;
    this.#logger = worker.logger;
    this.#queues = worker.queues.length ? worker.queues : ["default"];
    if (this.#queues.length > NAMES_MOST || worker.handlers.size > NAMES_MOST)
      throw new RangeError(
        `${this.#queues.length} queues and ${worker.handlers.size} types; ` +
          `a worker can lease from ${NAMES_MOST}, and of ${NAMES_MOST}`);
    this.#name = (worker.name ?? `${hostname()}-${process.pid}`).slice(0, 64);
    this.#ttl = worker.ttl;
    this.#free = worker.concurrency;
  }

  stop() {
    this.#leaving = true;
    this.#hangUp();
    this.#leaseBell.ring();
    this.#changed.ring();
  }

  async run() {
    let error = null;
    const guard = (loop) => loop.catch((e) => {
      // a loop that ends by a mistake ends the worker, instead of leaving it lame
      error ??= e;
      this.stop();
    });
    const keeping = [];
    try {
      await this.#claimTypes();
      const leasing = guard(this.#leases());
      keeping.push(guard(this.#keeps()), guard(this.#reports()));
      this.#logger.info(
        `worker ${this.#name} takes ${[...this.#worker.handlers.keys()].sort().join(", ")} from ` +
          `${this.#queues.join(", ")}, ${this.#worker.concurrency} at a time`);
      while (!this.#leaving) await this.#changed.wait();
      await this.#leave(leasing);
    } finally {
      this.#ended = true;
      this.#keepBell.ring();
      this.#reportBell.ring();
      await Promise.all(keeping);
    }
    if (error !== null) throw error;
  }

  async #leave(leasing) {
    this.#logger.info(`leaving; ${this.#running.size} tasks run`);
    let done = false;
    leasing.then(() => {
      done = true;
      this.#changed.ring();
    });
    // whose lease is lost may clean up, too
    await this.#until(
      () => done && this.#held.size === 0 && this.#free === this.#worker.concurrency, this.#worker.grace);
    for (const held of [...this.#running.values()]) {
      this.#logger.warn(
        `task ${held.task.id} did not end within the grace of ${this.#worker.grace} s, and is given back`);
      this.#end(held, RELEASE);
      held.task.cancel("the worker leaves");
    }
    if (!(await this.#until(() => this.#held.size === 0, LEAVE_MOST)))
      this.#logger.warn(`${this.#held.size} leases could not be reported, and expire`);
    this.unfinished = this.#worker.concurrency - this.#free;
    this.#logger.info("left");
  }

  async #until(condition, seconds) {
    const deadline = now() + seconds;
    while (!condition()) {
      const left = deadline - now();
      if (left <= 0) return false;
      await this.#changed.wait(left);
    }
    return true;
  }

  /** Each type must be one that outside workers run; those that nobody has made yet are made. */
  async #claimTypes() {
    for (const name of this.#worker.handlers.keys()) {
      const path = `/v1/types/${encodeURIComponent(name)}`;
      let kind;
      try {
        kind = (await this.#client.call("GET", path)).handler;
      } catch (e) {
        if (e instanceof Forbidden) continue; // a key that may only work; the node decides
        if (!(e instanceof NotFound)) throw e;
        try {
          kind = (await this.#client.call("PUT", path, { handler: "pull" })).handler;
          this.#logger.info(`type ${name} is new, and is run by outside workers from now on`);
        } catch (e2) {
          if (!(e2 instanceof Forbidden)) throw e2;
          this.#logger.warn(`type ${name} is not known, and this key may not make it`);
          continue;
        }
      }
      if (kind !== "pull")
        throw new Conflict(
          `type "${name}" is run by the nodes themselves (handler = ${kind}); this worker would never get one`,
          { code: "not_a_pull_type" });
    }
  }

  // -- leasing

  async #leases() {
    let failures = 0;
    let proved = false; // a request was answered well
    while (!this.#leaving) {
      if (this.#free === 0 || this.#outbox.length > 2 * this.#worker.concurrency) {
        await this.#leaseBell.wait();
        continue;
      }
      let given;
      try {
        const answer = await this.#client.call("POST", "/v1/leases", {
          queues: this.#queues, types: [...this.#worker.handlers.keys()].sort(), max: Math.min(this.#free, MAX_LEASES),
          wait: this.#worker.poll, ttl: this.#ttl, worker: this.#name,
        }, { timeout: this.#worker.poll + 15, retries: 0, onRequest: (request) => this.#onRequest(request) });
        given = answer.leases;
      } catch (e) {
        if (!(e instanceof ShoalError)) throw e;
        if (this.#leaving) return;
        // a key or a configuration that never worked is said at once; what breaks later is borne
        if (failures === 0 && !proved && [BadRequest, Unauthorized, Forbidden, NotFound].some((k) => e instanceof k))
          throw e;
        failures++;
        if (failures === 1 || failures === 10 || failures % 100 === 0)
          this.#logger.warn(`no tasks can be leased (${failures} times): ${e.message}`);
        const until = now() + Math.max(e.retryAfter ?? 0, pause(failures));
        while (!this.#leaving && now() < until) await this.#leaseBell.wait(until - now());
        continue;
      }
      if (failures) this.#logger.info("tasks are leased again");
      failures = 0;
      proved = true;
      this.#take(given);
    }
  }

  #onRequest(request) {
    this.#request = request;
    if (this.#leaving) this.#hangUp();
  }

  /** Ends our half: the node sees that nobody waits, and what it had sent already is still read. */
  #hangUp() {
    const request = this.#request;
    if (request === null) return;
    setTimeout(() => request.destroy(new Error("hung up")), HANG_UP_MOST * 1000).unref();
    if (request.socket) request.socket.end();
    else request.once("socket", (socket) => socket.end());
  }

  #take(given) {
    const at = now();
    for (const one of given) {
      const task = new RunningTask({ ...one.task, fence: one.fence, ends_at: one.ends_at }, this);
      const held = {
        lease: one.lease,
        task,
        lostAt: at + this.#ttl, // it has certainly ended then, unless it is extended
        extendAt: at + this.#ttl / 3,
        outcome: null,
        refused: false, // what was said of its end was not acceptable
        gone: false, // nothing is said for it any more
        asking: false, // a request of the keeper is under way
        progress: undefined, // that is to be sent
        lines: [],
        toldAt: -Infinity,
      };
      this.#held.set(held.lease, held);
      this.#running.set(task, held);
      if (this.#leaving) {
        this.#end(held, RELEASE);
        continue;
      }
      this.#free--;
      // a mistake of this library must not be lost; handlers' own are outcomes
      this.#work(held);
    }
    this.#keepBell.ring();
  }

  async #work(held) {
    const outcome = await runHandler(this.#worker.handlers.get(held.task.type), held.task);
    this.#free++;
    if (held.outcome === null) this.#end(held, outcome);
    this.#leaseBell.ring();
    this.#changed.ring();
  }

  /** The attempt is over for us, and its end is to be told. */
  #end(held, outcome) {
    held.outcome = outcome;
    this.#running.delete(held.task);
    if (held.gone) return;
    this.#outbox.push(held);
    this.#reportBell.ring();
  }

  /** Nothing more is said for this lease. */
  #forget(held) {
    held.gone = true;
    this.#held.delete(held.lease);
    this.#leaseBell.ring();
    this.#changed.ring();
  }

  #lose(held, why) {
    if (held.gone) return;
    this.#running.delete(held.task);
    this.#outbox = this.#outbox.filter((h) => h !== held);
    this.#forget(held);
    this.#logger.warn(`the lease of task ${held.task.id}, attempt ${held.task.attempt}, is lost: ${why}`);
    held.task.cancel("the lease is lost");
  }

  // -- what running tasks say

  progress(task, value) {
    const held = this.#running.get(task);
    if (held === undefined) return;
    held.progress = value;
    this.#keepBell.ring();
  }

  log(task, line) {
    const held = this.#running.get(task);
    if (held === undefined) return;
    held.lines = latest([...held.lines, line]);
    this.#keepBell.ring();
  }

  // -- keeping leases

  #dueAt(held) {
    if (held.outcome === null && (held.progress !== undefined || held.lines.length > 0))
      return Math.min(held.extendAt, held.toldAt + TELL_EVERY);
    return held.extendAt;
  }

  async #keeps() {
    let failures = 0;
    while (!this.#ended) {
      const at = now();
      const due = [...this.#held.values()].filter((h) => this.#dueAt(h) <= at).slice(0, KEEP_AT_A_TIME);
      if (due.length === 0) {
        let next = Infinity;
        for (const held of this.#held.values()) next = Math.min(next, this.#dueAt(held));
        await this.#keepBell.wait(next - at);
        continue;
      }
      const errors = (await Promise.all(due.map((held) => this.#extend(held)))).filter((e) => e !== null);
      if (errors.length === 0) {
        failures = 0;
        continue;
      }
      failures++;
      if (failures === 1) this.#logger.warn(`a lease cannot be extended now: ${errors[0].message}`);
      // the node is away for all of them
      const again = now() + pause(failures);
      for (const held of this.#held.values()) {
        held.extendAt = Math.max(held.extendAt, again);
        held.toldAt = Math.max(held.toldAt, again - TELL_EVERY);
      }
    }
  }

  /** null, or why the node could not be asked. */
  async #extend(held) {
    const at = now();
    if (at > held.lostAt + LATE_MOST) {
      this.#lose(held, `nobody could be reached for ${LATE_MOST} s after its end`);
      return null;
    }
    if (at > held.lostAt && held.outcome === null && !held.task.cancelled) {
      this.#logger.warn(`the lease of task ${held.task.id} has run out while no node could be reached`);
      held.task.cancel("the lease has run out");
    }
    const { progress, lines } = held;
    held.progress = undefined;
    held.lines = [];
    held.toldAt = at;
    try {
      const body = { ttl: this.#ttl, progress, log: lines.length ? lines : undefined };
      const answer = await this.#about(held, "extend", JSON.stringify(body));
      if (!answer.cancelled) held.lostAt = now() + this.#ttl; // else its time stays as it was
      held.extendAt = now() + this.#ttl / 3;
      if (answer.cancelled && !held.task.cancelled) held.task.cancel();
      return null;
    } catch (e) {
      if (!(e instanceof ShoalError)) throw e;
      if (e instanceof Conflict || e instanceof NotFound) {
        this.#lose(held, e.message);
        return null;
      }
      if (e instanceof BadRequest) {
        // what it carried is dropped, so that it cannot keep the lease from being extended
        this.#logger.error(`the progress or log of task ${held.task.id} was refused: ${e.message}`);
        held.extendAt = Math.max(held.extendAt, now() + TELL_EVERY);
        return null;
      }
      held.progress ??= progress;
      held.lines = latest([...lines, ...held.lines]);
      return e;
    }
  }

  #about(held, what, text) {
    return this.#post(`/v1/leases/${held.lease}/${what}`, text);
  }

  /** One try, because the loops here do the waiting; all that is said of a lease may be said again. */
  async #post(path, text) {
    const answer = await this.#client.transport.request("POST", path, {
      body: Buffer.from(text), repeatable: true, retries: 0, timeout: Math.min(STALE_MOST, Math.max(5, this.#ttl / 3)),
    });
    return answer.body.length ? JSON.parse(answer.body.toString()) : {};
  }

  // -- reporting

  async #reports() {
    let failures = 0;
    for (;;) {
      if (this.#outbox.length === 0) {
        if (this.#ended) return;
        await this.#reportBell.wait();
        continue;
      }
      const batch = this.#nextBatch();
      try {
        await this.#report(batch);
        failures = 0;
      } catch (e) {
        if (!(e instanceof ShoalError)) throw e;
        failures++;
        if (failures === 1) this.#logger.warn(`outcomes cannot be told now: ${e.message}`);
        // the keeper may have lost some of them meanwhile
        this.#outbox.unshift(...batch.filter((h) => !h.gone));
        const until = now() + Math.max(e.retryAfter ?? 0, pause(failures));
        while (!this.#ended && now() < until) await this.#reportBell.wait(until - now());
        if (this.#ended) return;
      }
    }
  }

  /** Results that go in one request, or the first one of another kind alone. */
  #nextBatch() {
    const batch = [];
    let size = 0;
    for (const held of this.#outbox) {
      const text = held.outcome === RELEASE ? undefined : held.outcome.result;
      if (batch.length > 0 && (text === undefined || batch.length === BATCH_MOST || size + text.length > BATCH_BYTES))
        break;
      batch.push(held);
      if (text === undefined) break;
      size += text.length;
    }
    this.#outbox.splice(0, batch.length);
    return batch;
  }

  async #report(batch) {
    const [first] = batch;
    if (first.outcome === RELEASE) return this.#told(first, "release", "{}");
    if (first.outcome.result === undefined) {
      const { code, message, retry, after } = first.outcome;
      return this.#told(first, "fail", JSON.stringify({ code, message, retry, retry_in: retry ? after : undefined }));
    }
    if (batch.length === 1) return this.#told(first, "complete", `{"result":${first.outcome.result}}`);
    return this.#completed(batch);
  }

  async #told(held, what, text) {
    try {
      await this.#about(held, what, text);
      this.#forget(held);
    } catch (e) {
      if (e instanceof Conflict || e instanceof NotFound) this.#lose(held, e.message);
      else if (e instanceof BadRequest) this.#refused(held, e.code, e.detail);
      else throw e;
    }
  }

  async #completed(batch) {
    const body = batch.map((h) => `{"lease":${JSON.stringify(h.lease)},"result":${h.outcome.result}}`);
    let answer;
    try {
      answer = await this.#post("/v1/leases/complete", `{"leases":[${body.join(",")}]}`);
    } catch (e) {
      if (!(e instanceof BadRequest)) throw e;
      // one of them is not acceptable, and all were refused with it
      for (const held of batch) await this.#told(held, "complete", `{"result":${held.outcome.result}}`);
      return;
    }
    const byLease = new Map(batch.map((h) => [h.lease, h]));
    for (const one of answer.leases) {
      const held = byLease.get(one.lease);
      if (one.code === undefined || one.code === null) this.#forget(held);
      else if (one.code === "lease_lost" || one.code === "not_found") this.#lose(held, one.detail ?? one.code);
      else this.#refused(held, one.code, one.detail ?? one.code);
    }
  }

  /** The node does not take such an end: the attempt has failed by that, and is told so once. */
  #refused(held, code, detail) {
    this.#logger.error(`the outcome of task ${held.task.id} was refused: ${detail}`);
    if (held.refused || held.outcome === RELEASE) return this.#forget(held);
    held.refused = true;
    const succeeded = held.outcome.result !== undefined;
    held.outcome = {
      code: succeeded ? "bad_result" : "failed",
      message: `what the handler ended with was refused: ${detail} (${code})`,
      retry: !succeeded && held.outcome.retry,
    };
    this.#outbox.push(held);
    this.#reportBell.ring();
  }
}
