// SPDX-License-Identifier: BSD-2-Clause
// Shoal for Node: submit background tasks, wait for them, and run them.  README.md tells how.
export { Shoal } from "./src/client.js";
export { Worker } from "./src/worker.js";
export { Cancelled, Fail, Retry } from "./src/task.js";
export {
  BadRequest, Conflict, Forbidden, IdempotencyKeyReused, LeaseLost, NotFound, OutcomeUnknown, RateLimited,
  ServerError, ShoalError, TaskFailed, TooLarge, Unauthorized, Unavailable, Unreachable, WaitTimeout,
} from "./src/errors.js";
