// SPDX-License-Identifier: BSD-2-Clause
// The client against a real node.
import assert from "node:assert/strict";
import { test } from "node:test";

import * as shoal from "../index.js";
import { connect, unique, waitFor, wire } from "./support.js";

async function all(iterator) {
  const items = [];
  for await (const item of iterator) items.push(item);
  return items;
}

test("a result comes back as it was made", async (t) => {
  const payload = { text: "ä€\u{1f41f}", none: null, list: [1, 2.5, { a: [] }] };
  assert.deepEqual(await connect(t).run("shoal.echo", payload, { timeout: 20 }), payload);
});

test("submit, wait and get show the task", async (t) => {
  const client = connect(t);
  const queue = unique();
  const task = await client.submit("shoal.echo", [1], { queue, priority: 2, metadata: { who: "me" } });
  assert.ok(["queued", "running", "succeeded"].includes(task.state));
  const ended = await client.wait(task, { timeout: 20 });
  assert.deepEqual([ended.state, ended.result, ended.priority, ended.metadata, ended.queue],
    ["succeeded", [1], 2, { who: "me" }, queue]);
  assert.equal((await client.get(task.id)).finished_at, ended.finished_at);
});

test("times may be dates", async (t) => {
  const client = connect(t);
  const at = new Date(Date.now() + 7200_000);
  const task = await client.submit("shoal.noop", null, { run_at: at });
  assert.equal(task.state, "scheduled");
  assert.ok(Math.abs(new Date(task.run_at) - at) < 5);
  await client.cancel(task);
});

test("a batch is in order and may refer to itself", async (t) => {
  const client = connect(t);
  const made = await client.submitBatch([
    { type: "shoal.echo", payload: 1, ref: "a" }, { type: "shoal.echo", payload: 2, after: ["a"] }]);
  assert.deepEqual([(await client.wait(made[0])).result, (await client.wait(made[1])).result], [1, 2]);
});

test("one unique_key is one task", async (t) => {
  const client = connect(t);
  const options = { unique_key: unique(), delay: 3600 };
  const first = await client.submit("shoal.noop", null, options);
  const second = await client.submit("shoal.noop", null, options);
  assert.deepEqual([first.unique, second.unique, second.id], [null, "existing", first.id]);
  await assert.rejects(client.submit("shoal.noop", null, { ...options, on_conflict: "reject" }), (e) =>
    e instanceof shoal.Conflict && e.code === "unique_key_taken");
  await client.cancel(first);
});

test("an idempotency_key of the caller's", async (t) => {
  const client = connect(t);
  const idempotency_key = unique();
  const first = await client.submit("shoal.noop", 1, { idempotency_key });
  const again = await client.submit("shoal.noop", 1, { idempotency_key });
  assert.deepEqual([first.replayed, again.replayed, again.id], [false, true, first.id]);
  await assert.rejects(client.submit("shoal.noop", 2, { idempotency_key }), shoal.IdempotencyKeyReused);
});

test("a task that fails is an error with the task's own", async (t) => {
  await assert.rejects(
    connect(t).run("shoal.fail", { times: 9, message: "no luck" }, { max_attempts: 1, timeout: 20 }),
    (e) => e instanceof shoal.TaskFailed && e.task.state === "failed" && e.message.includes("no luck") &&
      e.code === e.task.error.code);
});

test("waiting has an end, and the task goes on", async (t) => {
  const client = connect(t);
  const task = await client.submit("shoal.noop", null, { delay: 3600 });
  await assert.rejects(client.wait(task, { timeout: 0.2 }), (e) =>
    e instanceof shoal.WaitTimeout && e.task.id === task.id && e.task.state === "scheduled");
  const giveUp = new AbortController();
  const waiting = client.wait(task, { signal: giveUp.signal });
  giveUp.abort(new Error("enough"));
  await assert.rejects(waiting, /enough/);
  await client.cancel(task);
  await assert.rejects(client.wait(task).then((ended) => Promise.reject(new shoal.TaskFailed(ended))), /cancelled/);
});

test("errors have classes, codes and words", async (t) => {
  const client = connect(t);
  for (const [call, Kind, code] of [
    [() => client.get("01935b1e-7c7a-7d33-9f0e-2a6f4c1d8b90"), shoal.NotFound, "not_found"],
    [() => client.submit("no good"), shoal.BadRequest, "invalid_field"],
    [() => client.submit("shoal.noop", "x".repeat(300_000)), shoal.TooLarge, "payload_too_large"],
    [() => client.call("GET", "/v1/nothing"), shoal.NotFound, "not_found"],
    [() => connect(t, { key: "shoal_live_nobody" }).why("x"), shoal.Unauthorized, "unauthorized"],
  ])
    await assert.rejects(call(), (e) => {
      assert.equal(e.constructor, Kind);
      assert.equal(e.code, code);
      assert.ok(e.message.includes(code) && e instanceof shoal.ShoalError);
      return true;
    });
});

test("a misspelt option is told before anything is sent", async (t) => {
  const client = connect(t);
  await assert.rejects(client.submit("shoal.noop", 1, { maxAttempts: 3 }), /"maxAttempts"; did you mean "max_attempts"/);
  await assert.rejects(client.submit("shoal.noop", () => 1), /a function is no payload/);
  assert.throws(() => new shoal.Shoal({ url: "tasks.example.com" }), /url/);
  assert.throws(() => new shoal.Shoal({ key: "two words" }), /API key/);
});

test("lists go on over pages", async (t) => {
  const client = connect(t);
  const queue = unique();
  const made = await client.submitBatch(Array.from({ length: 7 }, () => ({ type: "shoal.noop", queue })));
  const seen = await all(client.list({ queue, pageSize: 3 }));
  assert.deepEqual(seen.map((x) => x.id).sort(), made.map((x) => x.id).sort());
});

test("cancel, retry, why, log, history and delete", async (t) => {
  const client = connect(t);
  const task = await client.submit("shoal.echo", 5, { delay: 3600 });
  assert.equal((await client.why(task)).reason, "scheduled");
  assert.equal((await client.cancel(task, { reason: "not now" })).state, "cancelled");
  // the answer is read after the retry: it may have run by then
  assert.ok(["queued", "running", "succeeded"].includes((await client.retry(task)).state));
  assert.equal((await client.wait(task)).result, 5);
  await assert.rejects(client.retry(task), (e) => e instanceof shoal.Conflict && e.state === "succeeded");
  const kinds = (await all(client.history(task, { pageSize: 2 }))).map((e) => e.kind);
  assert.equal(kinds[0], "created");
  assert.equal(kinds.at(-1), "succeeded");
  assert.ok(kinds.includes("cancelled"));
  assert.equal(await client.log(task), "");
  await client.delete(task);
  await assert.rejects(client.get(task), shoal.NotFound);
});

test("events go on where they were after a break", async (t) => {
  const client = connect(t);
  const way = await wire(t);
  const queue = unique();
  const enough = new AbortController();
  const got = [];
  let opened = 0;
  const reading = (async () => {
    const events = connect(t, { url: way.url }).events({
      queue, kind: "succeeded", signal: enough.signal, onOpen: () => opened++,
    });
    for await (const event of events) got.push(event);
  })();
  await waitFor(() => opened === 1, "the stream");
  const first = await client.submit("shoal.noop", null, { queue });
  await waitFor(() => got.length === 1, "the first event");
  way.drop();
  const second = await client.submit("shoal.noop", null, { queue });
  await waitFor(() => got.length === 2, "the second event");
  assert.ok(way.connections >= 2);
  enough.abort();
  await reading;
  assert.deepEqual(got.map((e) => e.task), [first.id, second.id]);
  // and from a place that was kept
  for await (const event of client.events({ after: got[0].id, queue, kind: "succeeded" })) {
    assert.equal(event.task, second.id);
    break;
  }
  await assert.rejects(client.events({ kind: "nonsense" }).next(), shoal.BadRequest);
});

test("a lost answer is asked for again and makes one task", async (t) => {
  const way = await wire(t);
  const client = connect(t, { url: way.url });
  const queue = unique();
  way.cuts = 2;
  const task = await client.submit("shoal.noop", null, { queue });
  assert.equal(way.cuts, 0);
  assert.deepEqual((await all(client.list({ queue }))).map((x) => x.id), [task.id]);
  way.cuts = 1;
  assert.equal(await client.run("shoal.echo", 7, { queue, timeout: 20 }), 7);
  assert.equal((await all(client.list({ queue }))).length, 2);
});

test("without a key a lost answer is the caller's to judge", async (t) => {
  const way = await wire(t);
  way.cuts = 1;
  await assert.rejects(
    connect(t, { url: way.url }).submit("shoal.noop", null, { idempotency_key: null }),
    (e) => e instanceof shoal.Unreachable && e.sent);
});

test("nobody listens", async (t) => {
  const way = await wire(t);
  await way.close();
  await assert.rejects(connect(t, { url: way.url, retries: 1 }).submit("shoal.noop"), (e) =>
    e instanceof shoal.Unreachable && !e.sent);
});

test("waiting outlives a node that is away", async (t) => {
  const way = await wire(t);
  const client = connect(t, { url: way.url, retries: 0 });
  const task = await client.submit("shoal.sleep", { seconds: 1 });
  way.open = false;
  way.drop();
  setTimeout(() => (way.open = true), 500);
  assert.equal((await client.wait(task, { timeout: 20 })).state, "succeeded");
});

test("connections are kept and shared", async (t) => {
  const way = await wire(t);
  const client = connect(t, { url: way.url });
  for (let round = 0; round < 5; round++) {
    const results = await Promise.all([1, 2, 3, 4].map((n) => client.run("shoal.echo", n, { timeout: 20 })));
    assert.deepEqual(results, [1, 2, 3, 4]);
  }
  assert.ok(way.connections <= 4);
});
