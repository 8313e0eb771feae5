// SPDX-License-Identifier: BSD-2-Clause
// What every peer that runs on Node.js shares: the job, the producer's loop, the worker's count.
//
//     PEER.mjs enqueue SECONDS CALLS     one job a call, so many calls at a time
//     PEER.mjs bulk SECONDS CALLS        a hundred jobs a call
//     PEER.mjs work                      runs jobs; the number of jobs comes as a line on stdin
//
// A producer prints {count, start_ms, end_ms}; a worker "ready", and when as many jobs have ended as
// it was told, {count, first_ms, last_ms}.

import { createInterface } from 'node:readline';

export const BATCH = 100;
export const PAYLOAD = { pad: '0123456789abcdef'.repeat(12).slice(0, 190) }; // 200 bytes of JSON

const now = () => performance.timeOrigin + performance.now();
const say = (value) => process.stdout.write(JSON.stringify(value) + '\n');

async function produce(seconds, calls, jobs, call) {
  const start_ms = now();
  const until = start_ms + seconds * 1000;
  let count = 0;
  await Promise.all(Array.from({ length: calls }, async () => {
    while (now() < until) {
      await call();
      count += jobs;
    }
  }));
  say({ count, start_ms, end_ms: now() });
}

// peer: { open(), one(), bulk(payloads), work(ended), close() }; ended(n) is called as jobs end
export async function main(peer) {
  const [what, seconds, calls] = process.argv.slice(2);
  await peer.open(what === 'work');
  if (what === 'enqueue') {
    await produce(Number(seconds), Number(calls), 1, () => peer.one());
  } else if (what === 'bulk') {
    const payloads = Array.from({ length: BATCH }, () => PAYLOAD);
    await produce(Number(seconds), Number(calls), BATCH, () => peer.bulk(payloads));
  } else {
    let count = 0, first_ms = 0, wanted = Infinity, told;
    const done = new Promise((resolve) => { told = resolve; });
    const look = () => { if (count >= wanted) told(); };
    createInterface({ input: process.stdin }).on('line', (line) => {
      wanted = Number(line);
      look();
    });
    await peer.work((n) => {
      if (count === 0) first_ms = now();
      count += n;
      look();
    });
    process.stdout.write('ready\n');
    await done;
    say({ count, first_ms, last_ms: now() });
  }
  await peer.close();
  process.exit(0);
}
