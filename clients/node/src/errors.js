// SPDX-License-Identifier: BSD-2-Clause
// What can go wrong, as classes.
//
// Every answer that is not a success becomes a ShoalError with the status, the stable `code` and the `detail`
// of the node's problem document (RFC 9457).  The class goes by the code where one has a class of its own,
// else by the status: new codes of later nodes find a class that old programs catch.
//
// A new code with a class?  A class here, a row in BY_CODE, and lines in index.js and index.d.ts.

const RETRY_AFTER_MOST = 60; // seconds; what a node asks for beyond it is not slept through

/** status: of the answer, null without one; code: a stable word; detail: text for people. */
export class ShoalError extends Error {
  constructor(detail, { status = null, code = null, problem = {}, retryAfter = null, cause } = {}) {
    super(status === null ? detail : `${detail} (${status} ${code})`, { cause });
    this.name = new.target.name;
    this.detail = detail;
    this.status = status;
    this.code = code;
    this.problem = problem;
    this.retryAfter = retryAfter;
  }
}

/** No answer came: refused, broken, or too late.  sent: the request may have arrived all the same. */
export class Unreachable extends ShoalError {
  constructor(detail, sent, cause) {
    super(detail, { code: "unreachable", cause });
    this.sent = sent;
  }
}

/** The request is not acceptable; detail names the field.  The same again gets the same answer. */
export class BadRequest extends ShoalError {}
/** The body, or a payload in it, is larger than the node takes. */
export class TooLarge extends BadRequest {}
/** The idempotency_key belongs to another request of the last 24 hours. */
export class IdempotencyKeyReused extends BadRequest {}
/** The key is missing, unknown, expired or revoked. */
export class Unauthorized extends ShoalError {}
/** The key is valid and may not do that. */
export class Forbidden extends ShoalError {}
/** There is no such thing, not any more, or it is another application's. */
export class NotFound extends ShoalError {}
/** The state does not allow that; nothing was changed.  state: the task's, if the node said it. */
export class Conflict extends ShoalError {
  get state() {
    return this.problem.state ?? null;
  }
}
/** The lease has expired, or its task was cancelled or given to another: this attempt counts no more. */
export class LeaseLost extends Conflict {}
/** Too much at a time, or the queue is full: nothing was accepted.  retryAfter: seconds, or null. */
export class RateLimited extends ShoalError {}
/** The node made a mistake; its log says more. */
export class ServerError extends ShoalError {}
/** The node cannot do it now, and nothing was done. */
export class Unavailable extends ServerError {}
/** The node does not know whether it was done. */
export class OutcomeUnknown extends Unavailable {}

/** The task has not ended in time; task is how it was seen last (null: never), and it goes on. */
export class WaitTimeout extends ShoalError {
  constructor(detail, task) {
    super(detail, { code: "wait_timeout" });
    this.task = task;
  }
}

/** The task has ended without success: task.state says how, code and detail are its last error's. */
export class TaskFailed extends ShoalError {
  constructor(task) {
    super(`task ${task.id} ${task.state}: ${task.error?.message || "no error was recorded"}`, {
      code: task.error?.code ?? task.state,
    });
    this.task = task;
  }
}

const BY_CODE = {
  idempotency_key_reused: IdempotencyKeyReused,
  lease_lost: LeaseLost,
  outcome_unknown: OutcomeUnknown,
};
const BY_STATUS = {
  401: Unauthorized,
  403: Forbidden,
  404: NotFound,
  409: Conflict,
  413: TooLarge,
  429: RateLimited,
  503: Unavailable,
};

function seconds(text) {
  // absent, or a date, which nodes do not send
  if (text === undefined || !/^[0-9]+(\.[0-9]+)?$/.test(text)) return null;
  return Math.min(Number(text), RETRY_AFTER_MOST);
}

/** The error that an answer is.  What is no problem document (a proxy's page) is shown by its beginning. */
export function fromAnswer({ status, headers, body }) {
  let problem = {};
  if ((headers["content-type"] ?? "").includes("json")) {
    try {
      problem = JSON.parse(body.toString());
    } catch {
      problem = {};
    }
  }
  if (problem === null || typeof problem !== "object" || Array.isArray(problem)) problem = {};
  const code = typeof problem.code === "string" ? problem.code : `http_${status}`;
  const text = body.subarray(0, 200).toString().replace(/\s+/g, " ").trim();
  const detail =
    typeof problem.detail === "string"
      ? problem.detail
      : `HTTP status ${status}, which is not a node's answer: ${text || "(empty)"}`;
  const Kind =
    (Object.hasOwn(BY_CODE, code) ? BY_CODE[code] : BY_STATUS[status]) ??
    (status >= 500 ? ServerError : status >= 400 ? BadRequest : ShoalError);
  return new Kind(detail, { status, code, problem, retryAfter: seconds(headers["retry-after"]) });
}
