// SPDX-License-Identifier: BSD-2-Clause
// A worker that leases from a real node.
import assert from "node:assert/strict";
import { test } from "node:test";

import * as shoal from "../index.js";
import { connect, program, unique, waitFor, wire } from "./support.js";

const quiet = { info() {}, warn() {}, error() {} };
const pauseFor = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A type and a queue of the test's own, with what submits to it and works on it. */
function setting(t) {
  const type = unique();
  const client = connect(t);
  return {
    type,
    client,
    submit: (payload = null, options = {}) => client.submit(type, payload, { queue: type, ...options }),
    work(handler, options = {}) {
      const worker = new shoal.Worker({ client, concurrency: 4, logger: quiet, ...options });
      worker.handle(type, handler, { queue: type });
      const made = { worker, ended: worker.run() };
      const outcome = made.ended.then(() => null, (e) => e);
      made.stop = () => {
        worker.stop();
        return outcome;
      };
      t.after(made.stop);
      return made;
    },
    program: (grace = 20) => program(t, `
import { Worker } from "shoal";
const worker = new Worker({ grace: ${grace}, concurrency: 4, logger: { info() {}, warn() {}, error() {} } });
worker.handle("${type}", async (payload, task) => {
  console.log("started");
  if (payload === "patient") {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    return "finished";
  }
  task.signal.addEventListener("abort", () => console.log("cancelled"));
  await new Promise((resolve) => setTimeout(resolve, 600000));
}, { queue: "${type}" });
await worker.run();
console.log("left");
`),
  };
}

test("what a handler does is what becomes of its task", async (t) => {
  const { client, submit, work, type } = setting(t);
  work(async (payload, task) => {
    if (payload === "retry" && task.attempt === 1) throw new shoal.Retry("not yet", { after: 0.1, code: "busy" });
    if (payload === "fail") throw new shoal.Fail("never", { code: "no_use" });
    if (payload === "raise") throw new RangeError("what");
    if (payload === "nothing") return () => 1;
    if (payload === "large") return "x".repeat(2e6);
    return { payload, attempt: task.attempt, type: task.type, who: task.metadata?.who };
  });
  const tasks = {};
  for (const name of ["good", "retry", "fail", "raise", "nothing", "large"])
    tasks[name] = await submit(name, { metadata: { who: "me" }, max_attempts: 2, backoff: [3600] });
  const timeout = 20;
  assert.deepEqual((await client.wait(tasks.good, { timeout })).result, { payload: "good", attempt: 1, type, who: "me" });
  const again = await client.wait(tasks.retry, { timeout });
  assert.deepEqual([again.result.attempt, again.failures], [2, 1]);
  const failed = await client.wait(tasks.fail, { timeout });
  assert.deepEqual([failed.state, failed.error], ["failed", { code: "no_use", message: "never" }]);
  const resting = await waitFor(async () => {
    const now = await client.get(tasks.raise);
    return now.error && now;
  }, "the task that threw rests");
  assert.deepEqual([resting.error.code, resting.failures], ["RangeError", 1]);
  assert.match(resting.error.message, /^RangeError: what\n {4}at /);
  for (const [name, words] of [["nothing", /no JSON/], ["large", /result/]]) {
    const task = await client.wait(tasks[name], { timeout });
    assert.deepEqual([task.state, task.error.code], ["failed", "bad_result"]);
    assert.match(task.error.message, words);
  }
});

test("progress and log are seen while it runs", async (t) => {
  const { client, submit, work } = setting(t);
  let goOn;
  const held = new Promise((resolve) => (goOn = resolve));
  work(async (payload, task) => {
    task.progress({ done: 1 });
    task.log("first\nsecond");
    for (let n = 0; n < 200; n++) task.log(`many ${n} ${"x".repeat(500)}`);
    await held;
  });
  const task = await submit();
  await waitFor(async () => (await client.get(task)).progress?.done === 1, "progress");
  await waitFor(async () => (await client.log(task)).includes("many 199"), "log");
  goOn();
  assert.equal((await client.wait(task, { timeout: 20 })).state, "succeeded");
});

test("so many at a time, and all of them", async (t) => {
  const { client, work, type } = setting(t);
  let now = 0;
  let most = 0;
  const seen = [];
  const made = await client.submitBatch(Array.from({ length: 100 }, (_, n) => ({ type, queue: type, payload: n })));
  work(async (payload) => {
    most = Math.max(most, ++now);
    await pauseFor(10);
    now--;
    seen.push(payload);
  }, { concurrency: 5 });
  for (const task of made) assert.equal((await client.wait(task, { timeout: 20 })).state, "succeeded");
  assert.deepEqual(seen.sort((a, b) => a - b), Array.from({ length: 100 }, (_, n) => n));
  assert.equal(most, 5);
});

test("a cancelled task is told within a third of its lease", async (t) => {
  const { client, submit, work } = setting(t);
  work((payload, task) => new Promise((resolve, reject) =>
    task.signal.addEventListener("abort", () => reject(task.signal.reason))), { ttl: 5 });
  const task = await submit();
  await waitFor(async () => (await client.get(task)).state === "running", "it runs");
  await client.cancel(task);
  assert.equal((await client.wait(task, { timeout: 20 })).state, "cancelled");
});

test("a lease is kept as long as the task runs", async (t) => {
  const { client, submit, work } = setting(t);
  // longer than the lease: it was extended
  work(async (payload, task) => {
    await pauseFor(6000);
    return task.cancelled;
  }, { ttl: 5 });
  const task = await client.wait(await submit(), { timeout: 30 });
  assert.deepEqual([task.result, task.attempt], [false, 1]);
});

test("an outage of the network is borne, and the result told later", async (t) => {
  const { client, submit, work } = setting(t);
  const way = await wire(t);
  let started;
  const running = new Promise((resolve) => (started = resolve));
  let goOn;
  const held = new Promise((resolve) => (goOn = resolve));
  const working = work(async () => {
    started();
    await held;
    return "done meanwhile";
  }, { ttl: 30, client: connect(t, { url: way.url }) });
  const task = await submit();
  await running;
  way.open = false;
  way.drop();
  goOn();
  const refused = way.refused;
  await waitFor(() => way.refused > refused + 1, "tries in the outage");
  way.open = true;
  const ended = await client.wait(task, { timeout: 30 });
  assert.deepEqual([ended.result, ended.attempt], ["done meanwhile", 1]);
  assert.equal((await client.wait(await submit(), { timeout: 30 })).state, "succeeded");
  assert.equal(await working.stop(), null);
});

test("a lease that is lost ends the attempt, and its outcome counts no more", async (t) => {
  const { client, submit, work } = setting(t);
  const way = await wire(t);
  let started;
  const running = new Promise((resolve) => (started = resolve));
  let told;
  const heard = new Promise((resolve) => (told = resolve));
  const slow = work((payload, task) => new Promise((resolve) => {
    started();
    task.signal.addEventListener("abort", () => {
      told();
      resolve("too late");
    });
  }), { ttl: 5, client: connect(t, { url: way.url }) });
  const task = await submit();
  await running;
  way.open = false;
  way.drop();
  work((payload, { attempt }) => `attempt ${attempt}`);
  const ended = await client.wait(task, { timeout: 30 });
  assert.deepEqual([ended.result, ended.attempt, ended.failures], ["attempt 2", 2, 0]);
  way.open = true;
  await heard;
  assert.equal(await slow.stop(), null);
  assert.equal((await client.get(task)).result, "attempt 2");
});

test("TERM finishes what runs and gives back the rest at no cost", async (t) => {
  const { client, submit, work, program: leaving } = setting(t);
  const child = leaving(3);
  const patient = await submit("patient");
  const endless = await submit("endless");
  await waitFor(() => child.out === "started\nstarted\n", "both run");
  child.child.kill("SIGTERM");
  assert.equal((await client.wait(patient, { timeout: 20 })).result, "finished");
  // given back, and free for another at once
  work((payload, task) => task.attempt);
  const ended = await client.wait(endless, { timeout: 20 });
  assert.deepEqual([ended.state, ended.failures], ["succeeded", 0]);
  assert.deepEqual([await child.ended, child.out, child.err],
    [{ code: 0, signal: null }, "started\nstarted\ncancelled\nleft\n", ""]);
});

test("a second TERM waits for nothing", async (t) => {
  const { submit, program: leaving } = setting(t);
  const child = leaving();
  await submit("endless");
  await waitFor(() => child.out === "started\n", "it runs");
  await waitFor(() => {
    child.child.kill("SIGTERM");
    return child.child.signalCode;
  }, "its end");
  assert.equal((await child.ended).signal, "SIGTERM");
});

test("a worker that waits leaves at once and takes nothing with it", async (t) => {
  const { client, submit, work, program: leaving } = setting(t);
  const child = leaving();
  await client.wait(await submit("patient"), { timeout: 20 });
  const began = Date.now();
  child.child.kill("SIGINT");
  assert.deepEqual([await child.ended, child.out, child.err], [{ code: 0, signal: null }, "started\nleft\n", ""]);
  assert.ok(Date.now() - began < 10_000);
  work((payload, task) => task.attempt);
  assert.equal((await client.wait(await submit(), { timeout: 20 })).result, 1);
});

test("what arrives while it leaves is given back", async (t) => {
  const { client, submit, work } = setting(t);
  const way = await wire(t);
  const ran = [];
  const leaving = work((payload, task) => ran.push(task.id), { client: connect(t, { url: way.url }) });
  // the type is there, and the request that waits for tasks is under way
  await client.wait(await submit(), { timeout: 20 });
  way.held = [];
  const task = await submit();
  await waitFor(() => way.held.length > 0, "the lease is on its way");
  const left = leaving.stop();
  way.flow();
  assert.equal(await left, null);
  assert.equal(ran.length, 1);
  work((payload, { attempt }) => attempt);
  const ended = await client.wait(task, { timeout: 20 });
  assert.deepEqual([ended.result, ended.failures], [2, 0]);
});

const narrowKey = process.env.SHOAL_TEST_NARROW_KEY;
test("a key for one queue works on that one", { skip: !narrowKey && "needs SHOAL_TEST_NARROW_KEY" }, async (t) => {
  const { client, type } = setting(t);
  await client.call("PUT", `/v1/types/${type}`, { handler: "pull" });
  const narrow = connect(t, { key: narrowKey });
  const worker = new shoal.Worker({ client: narrow, queues: "narrow", logger: quiet });
  const ended = worker.handle(type, () => null).run();
  t.after(() => {
    worker.stop();
    return ended;
  });
  assert.equal(await client.run(type, null, { queue: "narrow", timeout: 20 }), null);
  await assert.rejects(narrow.submit(type), shoal.Forbidden);
  const other = new shoal.Worker({ client: narrow, logger: quiet });
  await assert.rejects(other.handle(type, () => null).run(), (e) =>
    e instanceof shoal.Forbidden && e.code === "out_of_scope");
});

test("what cannot work is said at the start", async (t) => {
  const run = (type, options) => {
    const worker = new shoal.Worker({ client: connect(t), logger: quiet, ...options });
    return worker.handle(type, () => null).run();
  };
  await assert.rejects(run("shoal.echo"), (e) =>
    e instanceof shoal.Conflict && e.message.includes("run by the nodes themselves"));
  await assert.rejects(run(unique(), { client: connect(t, { key: "shoal_live_nobody" }) }), shoal.Unauthorized);
  await assert.rejects(run(unique(), { client: connect(t, { url: "http://127.0.0.1:1", retries: 0 }) }),
    shoal.Unreachable);
  await assert.rejects(new shoal.Worker().run(), /no handlers/);
  assert.throws(() => new shoal.Worker({ ttl: 1 }), /ttl/);
  assert.throws(() => new shoal.Worker().handle("x", "y"), /function/);
});
