// Loads the data, asks the twenty queries, compares each answer with one computed without the server, prints the page:
// node tour.mjs URI. Says `N passed, M failed` on the error output, and fails when one differs.
import { MongoClient } from 'mongodb';
import { indexes, load } from './data.mjs';
import { page, shell } from './page.mjs';
import { queries } from './queries.mjs';

const RUNS = 15;
const BATCH = 2_000;

/** The first place where two values differ; numbers may by `tolerance`. */
function difference(actual, expected, tolerance, at = 'answer') {
  if (typeof actual === 'number' && typeof expected === 'number') {
    return Math.abs(actual - expected) <= tolerance * Math.max(1, tolerance > 1e-6 ? 1 : Math.abs(expected)) ? null : `${at}: ${actual}, not ${expected}`;
  }
  if (actual instanceof Date && expected instanceof Date) return difference(+actual, +expected, 0, at);
  if (actual && expected && typeof actual === 'object' && typeof expected === 'object') {
    const names = new Set([...Object.keys(actual), ...Object.keys(expected)]);
    for (const name of names) {
      const found = difference(actual[name], expected[name], tolerance, `${at}.${name}`);
      if (found) return found;
    }
    return null;
  }
  return Object.is(actual, expected) ? null : `${at}: ${JSON.stringify(actual)}, not ${JSON.stringify(expected)}`;
}

/** The command with a batch that holds every row, as it is sent. */
function sent(command) {
  if ('find' in command) return { ...command, batchSize: 100_000, singleBatch: true };
  if ('aggregate' in command) return { ...command, cursor: { batchSize: 100_000 } };
  return command;
}

function answerOf(reply) {
  if (!reply.cursor) return 'n' in reply ? reply.n : reply.values;
  if (Number(reply.cursor.id) !== 0) throw new Error('the answer does not fit in one batch');
  return reply.cursor.firstBatch;
}

async function fill(database, data) {
  await database.dropDatabase();
  for (const [name, documents] of Object.entries(data)) {
    for (let from = 0; from < documents.length; from += BATCH) {
      await database.collection(name).insertMany(documents.slice(from, from + BATCH), { ordered: false });
    }
    if (indexes[name]) await database.collection(name).createIndexes(indexes[name]);
    console.error(`${documents.length} ${name}`);
  }
}

async function ask(database, query) {
  const command = sent(query.command);
  const times = [];
  let answer;
  for (let run = 0; run <= RUNS; run += 1) {
    const from = performance.now();
    const reply = await database.command(command);
    // The first one finds cold caches.
    if (run > 0) times.push(performance.now() - from);
    answer = answerOf(reply);
  }
  const explain = await database.command({ explain: command, verbosity: 'executionStats' });
  times.sort((a, b) => a - b);
  return { ...query, answer, explain, median: times[Math.floor(RUNS / 2)], runs: RUNS };
}

function sorted(rows) {
  return [...rows].sort((a, b) => (a._id < b._id ? -1 : 1));
}

const client = new MongoClient(process.argv[2]);
let failed = 0;
try {
  const data = load();
  const database = client.db('tour');
  await fill(database, data);
  const results = [];
  for (const query of queries) {
    const result = await ask(database, query);
    const expected = query.expected(data);
    const [one, other] = query.unordered ? [sorted(result.answer), sorted(expected)] : [result.answer, expected];
    const empty = Array.isArray(expected) ? expected.length === 0 : expected === 0;
    const differs = empty ? 'the query finds nothing: it says nothing about the server' : difference(one, other, query.tolerance ?? 1e-9);
    if (differs) {
      failed += 1;
      console.error(`FAILED ${shell(query.command)}\n    ${differs}`);
    }
    results.push(result);
  }
  const { version } = await database.admin().command({ buildInfo: 1 });
  console.log(page(data, results, `server ${version}`));
  await database.dropDatabase();
  console.error(`${queries.length - failed} passed, ${failed} failed`);
} finally {
  await client.close();
}
process.exitCode = failed ? 1 : 0;
