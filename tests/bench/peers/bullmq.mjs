// SPDX-License-Identifier: BSD-2-Clause
// BullMQ: PEER_REDIS_PORT says which Redis.  A job has ended once Redis has taken its result.

import { Queue, Worker } from 'bullmq';
import { main, PAYLOAD } from './harness.mjs';

const connection = { host: '127.0.0.1', port: Number(process.env.PEER_REDIS_PORT),
  maxRetriesPerRequest: null };
const defaultJobOptions = { removeOnComplete: true, removeOnFail: true };
let queue, worker;

await main({
  async open(works) {
    if (!works) queue = new Queue('bench', { connection, defaultJobOptions });
  },
  one: () => queue.add('noop', PAYLOAD),
  bulk: (payloads) => queue.addBulk(payloads.map((data) => ({ name: 'noop', data }))),
  async work(ended) {
    worker = new Worker('bench', async () => null, { connection, concurrency: 64 });
    worker.on('completed', () => ended(1));
    await worker.waitUntilReady();
  },
  async close() {
    await queue?.close();
    await worker?.close(true);
  },
});
