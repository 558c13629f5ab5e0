// What a person types into mongosh: mongosh URI --quiet --file mongosh_daily.js. Prints `N passed, 0 failed` at the end.
let passed = 0;
function expect(what, got, wanted) {
  const [left, right] = [EJSON.stringify(got), EJSON.stringify(wanted)];
  if (left !== right) {
    throw new Error(`${what}: got ${left}, wanted ${right}`);
  }
  passed += 1;
}
const shell = db.getSiblingDB('daily_shell');
shell.dropDatabase();
expect('insertMany', shell.things.insertMany([{ _id: 1, a: 1 }, { _id: 2, a: 2 }, { _id: 3, a: 2 }]).acknowledged, true);
expect('find', shell.things.find({ a: 2 }).sort({ _id: -1 }).toArray(), [{ _id: 3, a: 2 }, { _id: 2, a: 2 }]);
expect('findOne', shell.things.findOne({ _id: 1 }), { _id: 1, a: 1 });
expect('updateOne', shell.things.updateOne({ _id: 1 }, { $set: { b: 'x' } }).modifiedCount, 1);
expect('countDocuments', shell.things.countDocuments({ a: 2 }), 2);
expect('createIndex', shell.things.createIndex({ a: 1 }), 'a_1');
expect('getIndexes', shell.things.getIndexes().length, 2);
expect('aggregate', shell.things.aggregate([{ $group: { _id: '$a', n: { $sum: 1 } } }, { $sort: { _id: 1 } }]).toArray(), [{ _id: 1, n: 1 }, { _id: 2, n: 2 }]);
expect('explain', JSON.stringify(shell.things.find({ a: 2 }).explain()).includes('IXSCAN'), true);
expect('deleteOne', shell.things.deleteOne({ _id: 1 }).deletedCount, 1);
expect('show collections', shell.getCollectionNames(), ['things']);
expect('stats', shell.stats().objects === 2 || Number(shell.stats().objects) === 2, true);
expect('rs.status', rs.status().members.length >= 1, true);
expect('rs.conf', rs.conf()._id, 'cstore');
expect('coll.stats', Number(shell.things.stats().count), 2);
expect('hello', db.hello().setName, 'cstore');
let code = 0;
try { shell.things.insertOne({ _id: 2 }); } catch (error) { code = error.code ?? error.writeErrors?.[0]?.code; }
expect('a duplicate', code, 11000);
shell.dropDatabase();
print(`${passed} passed, 0 failed`);
