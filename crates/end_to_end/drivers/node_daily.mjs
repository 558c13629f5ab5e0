// The Node driver with its default settings against a running cluster: node node_daily.mjs URI.
// Ends with `N passed, 0 failed`, or with the first difference.
import assert from 'node:assert/strict';
import { Decimal128, Long, MongoClient, ObjectId, ReadPreference } from 'mongodb';

const client = new MongoClient(process.argv[2]);
const database = client.db('daily_node');
const things = database.collection('things');
const ids = async (cursor) => (await cursor.toArray()).map((document) => document._id);

const parts = {
  async insert() {
    const many = Array.from({ length: 300 }, (_, n) => ({ _id: n, n, tags: ['all', `t${n % 3}`], at: { x: n % 10 } }));
    assert.equal((await things.insertMany(many)).insertedCount, 300);
    const every = { _id: 'every', double: 1.5, text: 'ü€𝄞', nested: { a: [1, null] }, oid: new ObjectId(), date: new Date(1e12), long: Long.fromString('9007199254740993'), decimal: Decimal128.fromString('1.10'), regex: /^a/i };
    await things.insertOne(every);
    const found = await things.findOne({ _id: 'every' }, { promoteLongs: false });
    assert.equal(found.long.toString(), '9007199254740993');
    assert.equal(found.decimal.toString(), '1.10');
    assert.equal(found.text, every.text);
    await things.deleteOne({ _id: 'every' });
    await assert.rejects(things.insertOne({ _id: 1 }), (error) => error.code === 11000);
  },
  async filters() {
    assert.deepEqual(await ids(things.find({ n: { $gt: 297 } }).sort({ _id: 1 })), [298, 299]);
    assert.deepEqual(await ids(things.find({ tags: /^T0/i, n: { $lte: 3 } }).sort({ _id: 1 })), [0, 3]);
    assert.deepEqual(await ids(things.find({ $or: [{ n: 3 }, { 'at.x': 4, n: { $lt: 10 } }] }).sort({ _id: 1 })), [3, 4]);
    assert.equal((await things.find({}, { batchSize: 7 }).toArray()).length, 300);
    assert.deepEqual(await things.findOne({ _id: 3 }, { projection: { n: 1, _id: 0 } }), { n: 3 });
    assert.equal(await things.countDocuments({ 'at.x': 1 }), 30);
    assert.deepEqual((await things.distinct('tags')).sort(), ['all', 't0', 't1', 't2']);
  },
  async updates() {
    assert.equal((await things.updateOne({ _id: 1 }, { $inc: { n: 10 }, $set: { 'a.b': 1 } })).modifiedCount, 1);
    assert.equal((await things.updateMany({ n: { $gte: 200 } }, { $set: { late: true } })).modifiedCount, 100);
    assert.equal((await things.updateOne({ _id: 500 }, { $setOnInsert: { a: 1 } }, { upsert: true })).upsertedId, 500);
    assert.deepEqual(await things.findOneAndUpdate({ _id: 500 }, { $inc: { a: 1 } }, { returnDocument: 'after' }), { _id: 500, a: 2 });
    assert.deepEqual(await things.findOneAndDelete({ _id: 500 }), { _id: 500, a: 2 });
    assert.equal(await things.findOneAndDelete({ _id: 500 }), null);
    const bulk = await things.bulkWrite([{ insertOne: { document: { _id: 600 } } }, { deleteOne: { filter: { _id: 600 } } }]);
    assert.equal(bulk.deletedCount, 1);
  },
  async indexes() {
    assert.equal(await things.createIndex({ 'at.x': 1, n: -1 }), 'at.x_1_n_-1');
    const plan = JSON.stringify(await things.find({ 'at.x': 4, n: { $gt: 100 } }).explain());
    assert.ok(plan.includes('IXSCAN') && plan.includes('at.x_1_n_-1'), plan);
    assert.deepEqual((await things.indexes()).map((index) => index.name).sort(), ['_id_', 'at.x_1_n_-1']);
  },
  async aggregate() {
    const rows = await things.aggregate([{ $match: { n: { $lt: 50 } } }, { $group: { _id: '$at.x', n: { $sum: 1 } } }, { $sort: { _id: 1 } }, { $limit: 1 }]).toArray();
    assert.deepEqual(rows, [{ _id: 0, n: 5 }]);
    await assert.rejects(things.aggregate([{ $juggle: 1 }]).toArray(), (error) => error.code === 40324);
  },
  async severalCollectionsInOneBulk() {
    const result = await client.bulkWrite([
      { namespace: 'daily_node.other', name: 'insertOne', document: { _id: 1, n: 1 } },
      { namespace: 'daily_node.other', name: 'updateOne', filter: { _id: 1 }, update: { $inc: { n: 1 } } },
      { namespace: 'daily_node.things', name: 'deleteOne', filter: { _id: 'nobody' } },
    ], { verboseResults: true });
    assert.deepEqual([result.insertedCount, result.matchedCount, result.deletedCount], [1, 1, 0]);
    assert.deepEqual(await database.collection('other').find().toArray(), [{ _id: 1, n: 2 }]);
    await database.collection('other').drop();
  },
  async followers() {
    await things.insertOne({ _id: 800 }, { writeConcern: { w: 'majority' } });
    const found = await things.findOne({ _id: 800 }, { readPreference: ReadPreference.SECONDARY, readConcern: { level: 'majority' } });
    assert.deepEqual(found, { _id: 800 });
  },
};

try {
  await client.connect();
  await database.dropDatabase();
  for (const [name, run] of Object.entries(parts)) {
    await run();
    console.log('ok', name);
  }
  await database.dropDatabase();
  console.log(`${Object.keys(parts).length} passed, 0 failed`);
} finally {
  await client.close();
}
