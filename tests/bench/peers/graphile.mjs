// SPDX-License-Identifier: BSD-2-Clause
// graphile-worker, tuned as its manual advises for many small jobs: a local queue, and completions
// in batches.  A job has ended when its handler has; its completion follows in the next batch.

import pg from 'pg';
import { makeWorkerUtils, run, Logger } from 'graphile-worker';
import { main, PAYLOAD } from './harness.mjs';

const quiet = new Logger(() => () => {});
const pool = new pg.Pool({ connectionString: process.env.PEER_DATABASE_URL, max: 40 });
let utils, runner;

await main({
  async open() {
    utils = await makeWorkerUtils({ pgPool: pool, logger: quiet });
    await utils.migrate();
  },
  one: () => utils.addJob('noop', PAYLOAD),
  bulk: (payloads) => utils.addJobs(payloads.map((payload) => ({ identifier: 'noop', payload }))),
  async work(ended) {
    runner = await run({
      pgPool: pool,
      noHandleSignals: true,
      taskList: { noop: async () => { ended(1); } },
      preset: { worker: {
        concurrentJobs: 64, pollInterval: 1000, maxPoolSize: 40, logger: quiet,
        localQueue: { size: 500, refetchDelay: { durationMs: 10 } },
        completeJobBatchDelay: 0, failJobBatchDelay: 0,
      } },
    });
  },
  async close() {
    await runner?.stop();
    await utils?.release();
  },
});
