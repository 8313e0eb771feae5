// SPDX-License-Identifier: BSD-2-Clause
// JavaScript values as the JSON that a node takes.

// what a task may be submitted with, beside type and payload; api/openapi.yaml, TaskRequest
const TASK_OPTIONS = new Set([
  "queue", "priority", "run_at", "delay", "timeout", "max_attempts", "backoff", "retry_until", "deadline",
  "metadata", "unique_key", "unique_until", "unique_for", "on_conflict", "concurrency_key",
  "concurrency_limit", "after", "after_failure", "ref",
  "traceparent", "tracestate",
]);

/** The bytes of a body.  What JSON cannot say at the outermost place is a TypeError here, not a 400 later. */
export function bytes(value) {
  const text = JSON.stringify(value);
  if (text === undefined) throw new TypeError(`${typeof value} is no JSON`);
  return Buffer.from(text);
}

/** The option that was meant: the one with the fewest letters to change, if they are few. */
function nearest(name) {
  const plain = (s) => s.replace(/_/g, "").toLowerCase();
  let best = null;
  let least = 3;
  for (const option of TASK_OPTIONS) {
    const n = distance(plain(name), plain(option));
    if (n < least) [best, least] = [option, n];
  }
  return best;
}

function distance(a, b) {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    row = next;
  }
  return row[b.length];
}

/** The body of one task; options that are undefined are left out, unknown ones are a TypeError with the nearest. */
export function taskRequest(type, payload, options = {}) {
  if (typeof type !== "string" || type === "")
    throw new TypeError(`a task's type is a text such as "thumbnail", not ${String(type)}`);
  const body = { type };
  if (payload !== undefined) {
    // null instead of it would run a task on nothing
    if (typeof payload === "function" || typeof payload === "symbol")
      throw new TypeError(`a ${typeof payload} is no payload`);
    body.payload = payload;
  }
  for (const [name, value] of Object.entries(options)) {
    if (!TASK_OPTIONS.has(name)) {
      const near = nearest(name);
      throw new TypeError(`a task has no option "${name}"${near ? `; did you mean "${near}"?` : ""}`);
    }
    if (value === undefined) continue;
    // a Date becomes its text by itself
    body[name] = name === "after" ? Array.from(value, taskId) : value;
  }
  return body;
}

/** The id of a task, or the text itself. */
export function taskId(task) {
  const id = typeof task === "object" && task !== null ? task.id : task;
  if (typeof id !== "string" || id === "") throw new TypeError(`a task's id is a text, not ${String(id)}`);
  return id;
}
