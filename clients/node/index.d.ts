// SPDX-License-Identifier: BSD-2-Clause
// Types of the package "shoal".  Options and fields have the names of the API (api/openapi.yaml).
import type { SecureContextOptions } from "node:tls";

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
export type State = "scheduled" | "queued" | "running" | "succeeded" | "failed" | "cancelled" | "expired";
/** Seconds, or an ISO 8601 duration such as "PT5M". */
export type Duration = number | string;
/** A Date, or RFC 3339 text. */
export type Time = Date | string;
/** A task, anything with its id, or the id. */
export type TaskRef = string | { id: string };

export type Backoff =
  | { kind: "polynomial" }
  | { kind: "exponential"; base?: Duration; factor?: number; cap?: Duration; jitter?: number }
  | { kind: "fixed"; delay: Duration; jitter?: number }
  | Duration[];

/** What a task may be submitted with, beside type and payload. */
export interface TaskOptions {
  queue?: string;
  /** 0 goes first, 9 last. */
  priority?: number;
  run_at?: Time;
  delay?: Duration;
  /** That one attempt may take. */
  timeout?: Duration;
  max_attempts?: number;
  backoff?: Backoff;
  retry_until?: Time;
  deadline?: Time | Duration;
  metadata?: Record<string, unknown>;
  unique_key?: string;
  unique_until?: "start" | "finish";
  unique_for?: Duration;
  on_conflict?: "existing" | "reject" | "replace" | "postpone";
  concurrency_key?: string;
  concurrency_limit?: number;
  after?: TaskRef[];
  after_failure?: "cancel" | "run";
  ref?: string;
  /** The trace that it is made in (W3C Trace Context), which its handler is told. */
  traceparent?: string;
  tracestate?: string;
}

export interface SubmitOptions extends TaskOptions {
  /** Made by the client if it is absent, so that a lost answer can be asked for again; null: none is sent. */
  idempotency_key?: string | null;
  /** Gives the request up; what was sent may have been accepted. */
  signal?: AbortSignal;
}

/** A task in a list. */
export interface TaskItem {
  id: string;
  type: string;
  queue: string;
  state: State;
  priority: number;
  error: { code: string; message: string } | null;
  attempt: number;
  max_attempts: number;
  failures: number;
  progress: any;
  metadata: Record<string, any> | null;
  created_at: string;
  run_at: string;
  started_at: string | null;
  finished_at: string | null;
  worker: string | null;
}

export interface Task<Result = any> extends TaskItem {
  payload: any;
  result: Result;
  group: string | null;
  waits_for: number;
  concurrency_key: string | null;
  deadline: string | null;
}

/** What a submit is answered with. */
export interface SubmittedTask<Result = any> extends Task<Result> {
  /** Another task has the unique_key, and this is that one. */
  readonly unique: "existing" | "replaced" | "postponed" | null;
  /** It was submitted before, under the same idempotency_key. */
  readonly replayed: boolean;
}

export interface Event {
  id: string;
  kind: string;
  at: string;
  task: string | null;
  type?: string | null;
  queue?: string | null;
  state: State | null;
  attempt: number | null;
  worker: string | null;
  incarnation: string | null;
  code: string | null;
  message: string | null;
  detail: any;
}

export interface Why {
  id: string;
  state: State;
  reason: string;
  message: string;
  reasons: { reason: string; message: string; [more: string]: any }[];
}

interface Abortable {
  signal?: AbortSignal;
}

export class Shoal {
  constructor(options?: {
    /** SHOAL_URL unless given. */
    url?: string;
    /** SHOAL_API_KEY unless given. */
    key?: string;
    /** Seconds that a request may take beyond what the node was asked to wait; 30. */
    timeout?: number;
    /** How often what may be repeated is; 5. */
    retries?: number;
    /** For https with an authority of your own. */
    tls?: SecureContextOptions;
  });
  /** Closes the connections that are kept. */
  close(): void;

  submit<Result = any>(type: string, payload?: unknown, options?: SubmitOptions): Promise<SubmittedTask<Result>>;
  /** Up to 1,000 tasks, all or none; answered in the same order. */
  submitBatch(
    tasks: Iterable<{ type: string; payload?: unknown } & TaskOptions>,
    options?: Pick<SubmitOptions, "idempotency_key" | "signal">,
  ): Promise<{ id: string; state: State; unique?: "existing" | "replaced" | "postponed" }[]>;
  /**
   * Submits, waits for the end and resolves to the result; rejects with TaskFailed, or WaitTimeout.
   * timeout is that of the waiting, in seconds; for that of an attempt write task_timeout.
   */
  run<Result = any>(
    type: string, payload?: unknown,
    options?: Omit<SubmitOptions, "timeout"> & { timeout?: number; task_timeout?: Duration },
  ): Promise<Result>;

  get<Result = any>(task: TaskRef, options?: Abortable): Promise<Task<Result>>;
  /** The task once it has ended, however; WaitTimeout if that takes longer than timeout seconds. */
  wait<Result = any>(task: TaskRef, options?: Abortable & { timeout?: number }): Promise<Task<Result>>;
  /** All tasks that fit, the newest first, page by page. */
  list(options?: Abortable & {
    state?: State; queue?: string; type?: string; since?: Time; until?: Time; pageSize?: number;
  }): AsyncGenerator<TaskItem, void, undefined>;
  /** Why it does not run. */
  why(task: TaskRef, options?: Abortable): Promise<Why>;
  /** The last lines that the task's latest attempt wrote. */
  log(task: TaskRef, options?: Abortable): Promise<string>;
  /** The events of one task, in order. */
  history(task: TaskRef, options?: Abortable & { pageSize?: number }): AsyncGenerator<Event, void, undefined>;
  /**
   * Follows the application's events, without an end; goes on where it was when a connection breaks.
   * after: the id of the last event that was seen.  onOpen: called whenever the stream has begun.
   */
  events(options?: Abortable & {
    after?: string; queue?: string; type?: string; kind?: string; task?: TaskRef; onOpen?: () => void;
  }): AsyncGenerator<Event, void, undefined>;

  /** wait: seconds to hold the answer until a running task has ended. */
  cancel(task: TaskRef, options?: Abortable & { reason?: string; wait?: number }): Promise<Task>;
  retry(task: TaskRef, options?: Abortable & { attempts?: number; reason?: string }): Promise<Task>;
  delete(task: TaskRef, options?: Abortable): Promise<void>;

  /** Any other request of api/openapi.yaml: the JSON of its answer, null without one. */
  call(method: string, path: string, body?: unknown, options?: Abortable & {
    query?: Record<string, string | number | undefined | null>;
    headers?: Record<string, string>;
    /** May it be sent again when nobody knows whether it was done?  GET and PUT may. */
    repeatable?: boolean;
    timeout?: number;
    retries?: number;
  }): Promise<any>;
}

/** One attempt at a task, as a handler sees it; null for what the node did not give. */
export interface RunningTask<Payload = any> {
  readonly id: string;
  readonly type: string;
  readonly queue: string | null;
  readonly payload: Payload;
  readonly attempt: number | null;
  readonly max_attempts: number | null;
  readonly deadline: string | null;
  readonly metadata: Record<string, any> | null;
  /** Tells this attempt from every other; stores downstream can use it. */
  readonly fence: string | null;
  /** The trace that the task was made in, with the span of this attempt. */
  readonly traceparent: string | null;
  readonly tracestate: string | null;
  /** All that the node gave. */
  readonly raw: Record<string, any>;
  /** Aborted once the task was cancelled, its time is over, or the lease is lost; its reason is a Cancelled. */
  readonly signal: AbortSignal;
  readonly cancelled: boolean;
  /** Any JSON of up to 4 KB; the newest counts, about once a second. */
  progress(value: unknown): void;
  /** Adds lines to the task's log. */
  log(text: string): void;
}

export type Handler<Payload = any> = (payload: Payload, task: RunningTask<Payload>) => unknown | Promise<unknown>;

export class Worker {
  constructor(options?: {
    /** To lease with; made from SHOAL_URL and SHOAL_API_KEY when it is needed, unless given. */
    client?: Shoal;
    /** To look in; ["default"] if neither this nor a handler names one. */
    queues?: string | string[];
    /** Handlers under way at a time, 1 to 256; 8. */
    concurrency?: number;
    /** What nodes show as this worker; the host's name and the process's number. */
    name?: string;
    /** Seconds for which a task is leased and again extended; 60. */
    ttl?: number;
    /** Seconds that running tasks have to end after SIGTERM; 30. */
    grace?: number;
    /** Seconds that a node lets us wait for tasks; 20. */
    poll?: number;
    /** Warnings and errors go to standard error unless given. */
    logger?: { info(text: string): void; warn(text: string): void; error(text: string): void };
  });
  /** The function runs tasks of that type; queue adds to the worker's queues. */
  handle<Payload = any>(type: string, handler: Handler<Payload>, options?: { queue?: string | string[] }): this;
  /** Runs tasks until SIGTERM, SIGINT or stop(); then finishes what runs, and resolves. */
  run(): Promise<void>;
  /** run(), by leases over HTTP. */
  pull(): Promise<void>;
  /** run(), as the child of a node: on standard input and output. */
  stream(): Promise<void>;
  /** What SIGTERM does. */
  stop(): void;
}

/** Thrown by a handler: this attempt failed, try again.  after: seconds until then, else the task's backoff. */
export class Retry extends Error {
  constructor(message?: string, options?: { after?: number; code?: string; cause?: unknown });
}
/** Thrown by a handler: the task has failed for good, whatever attempts are left. */
export class Fail extends Error {
  constructor(message: string, options?: { code?: string; cause?: unknown });
}
/** The reason of task.signal. */
export class Cancelled extends Error {}

export class ShoalError extends Error {
  /** Of the answer; null without one. */
  readonly status: number | null;
  /** A stable word. */
  readonly code: string | null;
  /** For people. */
  readonly detail: string;
  readonly problem: Record<string, any>;
  /** Seconds. */
  readonly retryAfter: number | null;
}
/** No answer came.  sent: the request may have arrived all the same. */
export class Unreachable extends ShoalError {
  readonly sent: boolean;
}
export class BadRequest extends ShoalError {}
export class TooLarge extends BadRequest {}
export class IdempotencyKeyReused extends BadRequest {}
export class Unauthorized extends ShoalError {}
export class Forbidden extends ShoalError {}
export class NotFound extends ShoalError {}
export class Conflict extends ShoalError {
  readonly state: State | null;
}
export class LeaseLost extends Conflict {}
export class RateLimited extends ShoalError {}
export class ServerError extends ShoalError {}
/** The node cannot do it now, and nothing was done. */
export class Unavailable extends ServerError {}
/** The node does not know whether it was done. */
export class OutcomeUnknown extends Unavailable {}
/** The task has not ended in time; it goes on. */
export class WaitTimeout extends ShoalError {
  readonly task: Task | null;
}
/** The task has ended without success. */
export class TaskFailed extends ShoalError {
  readonly task: Task;
}
