// SPDX-License-Identifier: BSD-2-Clause
// pg-boss, polling, with batches that are fetched without a pause while they are full.  A job has
// ended when its handler has; its completion follows at once.

import { PgBoss } from 'pg-boss';
import { main, PAYLOAD } from './harness.mjs';

const boss = new PgBoss({ connectionString: process.env.PEER_DATABASE_URL, max: 40 });
boss.on('error', (error) => console.error(error.message));

await main({
  async open() {
    await boss.start();
    await boss.createQueue('bench').catch(() => {}); // it exists from the second time on
  },
  one: () => boss.send('bench', PAYLOAD),
  bulk: (payloads) => boss.insert('bench', payloads.map((data) => ({ data }))),
  async work(ended) {
    await boss.work('bench', { batchSize: 200, localConcurrency: 4, pollingIntervalSeconds: 0.5,
      burstWhenBatchFull: true }, async (jobs) => { ended(jobs.length); });
  },
  close: () => boss.stop({ graceful: true, timeout: 5000 }),
});
