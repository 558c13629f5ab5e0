// Random documents with random filters, expressions, updates and pipelines over them, and what mingo answers.
// `node cases.mjs SEED COUNT` prints one case a line: {kind, documents, specification, answer | error}.
import { createRequire } from "node:module";
const mingo = createRequire(process.cwd() + "/")("mingo");

let state = Number(process.argv[2] ?? 1) >>> 0;
const count = Number(process.argv[3] ?? 1000);

function random() {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}
const below = (n) => Math.floor(random() * n);
const pick = (list) => list[below(list.length)];
const chance = (p) => random() < p;
const many = (least, most, make) => Array.from({ length: least + below(most - least + 1) }, make);

const integer = () => below(9) - 3;
const number = () => (chance(0.8) ? integer() : below(20) / 4 - 2);
const text = () => pick(["", "a", "b", "ab", "abc", "A", "x,y", "hello world", " pad "]);
const scalar = () => pick([number, number, text, text, () => chance(0.5), () => null])();
function value(depth = 2) {
  if (depth === 0 || chance(0.6)) return scalar();
  return chance(0.5) ? many(0, 4, () => value(depth - 1)) : object(depth - 1);
}
function object(depth) {
  const made = {};
  for (const name of ["x", "y", "z"]) if (chance(0.5)) made[name] = value(depth);
  return made;
}
function document(id) {
  const made = { _id: id };
  if (chance(0.9)) made.n = number();
  if (chance(0.9)) made.m = integer();
  if (chance(0.9)) made.s = text();
  if (chance(0.8)) made.a = value(2);
  made.l = many(0, 4, number);
  if (chance(0.7)) made.d = many(0, 3, () => ({ x: scalar(), ...object(0) }));
  if (chance(0.8)) made.o = { ...object(0), ...(chance(0.5) ? { z: value(2) } : {}) };
  return made;
}

const path = () => pick(["n", "m", "s", "a", "l", "d", "o", "o.x", "o.y", "d.x", "d.y", "l.0", "nope"]);

// Through paths and in ranges mingo does not treat null as MongoDB does; those operands are no nulls.
const present = () => pick([number, number, text, text, () => chance(0.5)])();
function test(name, depth) {
  const dotted = name.includes(".");
  const operand = dotted ? present : scalar;
  switch (below(15)) {
    case 0: return { $eq: dotted ? present() : value(1) };
    case 1: return { $ne: dotted ? present() : value(1) };
    case 2: return { $gt: present() };
    case 3: return { $gte: present() };
    case 4: return { $lt: present() };
    case 5: return { $lte: present() };
    case 6: return { $in: many(0, 3, operand) };
    case 7: return { $nin: many(0, 3, operand) };
    case 8: return { $exists: chance(0.5) };
    case 9: return dotted ? { $exists: true } : { $size: below(4) };
    case 10: return name === "l" ? { $all: many(1, 2, number) } : { $ne: present() };
    case 11: return name === "m" ? { $mod: [1 + below(3), below(3)] } : { $gt: number() };
    case 12: return name === "a" ? { $exists: true } : { $regex: pick(["a", "^a", "b$", "l+o", "[a-b]"]), $options: pick(["", "i"]) };
    case 13: return depth > 0 ? { $not: test(name, depth - 1) } : !["n", "m", "s"].includes(name) ? { $exists: true } : { $type: pick(["string", "number", "object", "bool"]) };
    default:
      if (name === "d") return { $elemMatch: { [pick(["x", "y"])]: test("d.x", 0) } };
      return name === "l" ? { $elemMatch: test("n", 0) } : { $gt: number(), $lt: number() };
  }
}
function filter(depth = 2) {
  if (depth > 0 && chance(0.3)) {
    const name = pick(["$and", "$or", "$nor"]);
    return { [name]: many(1, 3, () => filter(depth - 1)) };
  }
  if (chance(0.12)) return { $expr: boolean(2) };
  const made = {};
  for (const name of many(1, 2, path)) {
    made[name] = chance(0.3) ? (name.includes(".") ? present() : value(1)) : test(name, 1);
  }
  return made;
}

// Expressions by the type they mostly give, so that not everything is a type error.
const leaf = (list) => () => pick(list);
const expressions = {
  number: [leaf(["$n", "$m", "$m", "$o.x"]), number, number],
  text: [leaf(["$s", "$s", "$o.y"]), text],
  boolean: [leaf([true, false, { $gt: ["$m", 0] }])],
  array: [leaf(["$l", "$l", "$d.x", "$a"]), () => many(0, 3, number)],
  object: [leaf(["$o", "$o", { $literal: { x: 1 } }])],
};
const of = (kind) => (depth) =>
  depth === 0 || chance(0.25) ? pick(expressions[kind])() : pick(operators[kind])(depth - 1);
const numeric = of("number"), string = of("text"), boolean = of("boolean"), array = of("array"), objectOf = of("object");
const anything = (depth) => pick([numeric, numeric, string, boolean, array, objectOf])(depth);
// mingo compares only values of one type; these are numbers for certain.
const sure = (d) => ({ $ifNull: [pick([() => "$n", () => "$m", () => ({ $add: ["$n", "$m"] }), () => ({ $size: { $ifNull: ["$l", []] } })])(d), number()] });
const operators = {
  number: [
    (d) => ({ $add: many(1, 3, () => numeric(d)) }),
    (d) => ({ $subtract: [numeric(d), numeric(d)] }),
    (d) => ({ $multiply: many(1, 3, () => numeric(d)) }),
    (d) => ({ $divide: [numeric(d), 1 + below(4)] }),
    (d) => ({ $mod: [sure(d), 1 + below(4)] }),
    (d) => ({ $abs: numeric(d) }),
    (d) => ({ $ceil: numeric(d) }),
    (d) => ({ $floor: numeric(d) }),
    (d) => ({ $trunc: [numeric(d), 0] }),
    (d) => ({ $round: [numeric(d), 1] }),
    (d) => ({ $pow: [numeric(d), below(3)] }),
    (d) => ({ $sqrt: { $abs: numeric(d) } }),
    (d) => ({ $size: { $ifNull: [array(d), []] } }),
    (d) => ({ $strLenCP: { $ifNull: [string(d), ""] } }),
    (d) => ({ $strLenBytes: { $ifNull: [string(d), ""] } }),
    (d) => ({ $indexOfArray: [array(d), number()] }),
    (d) => ({ $cmp: [sure(d), sure(d)] }),
    (d) => ({ $sum: { $ifNull: ["$l", []] } }),
    (d) => ({ $avg: { $ifNull: ["$l", []] } }),
    (d) => ({ $max: { $ifNull: ["$l", []] } }),
    (d) => ({ $min: { $ifNull: ["$l", []] } }),
    (d) => ({ $arrayElemAt: [array(d), integer()] }),
    (d) => ({ $first: "$l" }),
    (d) => ({ $last: "$l" }),
    (d) => ({ $cond: [boolean(d), numeric(d), numeric(d)] }),
    (d) => ({ $ifNull: [numeric(d), number()] }),
    (d) => ({ $switch: { branches: [{ case: boolean(d), then: numeric(d) }], default: numeric(d) } }),
    (d) => ({ $reduce: { input: array(d), initialValue: 0, in: { $add: ["$$value", "$$this"] } } }),
    (d) => ({ $let: { vars: { v: numeric(d) }, in: { $add: ["$$v", 1] } } }),
    (d) => ({ $strcasecmp: [{ $ifNull: [string(d), ""] }, text()] }),
    (d) => ({ $bitAnd: ["$m", below(8)] }),
    (d) => ({ $bitOr: ["$m", below(8)] }),
    (d) => ({ $bitXor: ["$m", below(8)] }),
    (d) => ({ $toInt: "$m" }),
  ],
  text: [
    (d) => ({ $concat: many(1, 3, () => string(d)) }),
    (d) => ({ $toUpper: { $ifNull: [string(d), ""] } }),
    (d) => ({ $toLower: { $ifNull: [string(d), ""] } }),
    (d) => ({ $substrCP: [string(d), below(3), below(4)] }),
    (d) => ({ $substrBytes: ["hello world", below(3), below(4)] }),
    (d) => ({ $trim: { input: string(d) } }),
    (d) => ({ $ltrim: { input: string(d) } }),
    (d) => ({ $rtrim: { input: string(d), chars: "b" } }),
    (d) => ({ $replaceOne: { input: string(d), find: "a", replacement: "z" } }),
    (d) => ({ $replaceAll: { input: string(d), find: "a", replacement: "z" } }),
    (d) => ({ $cond: { if: boolean(d), then: string(d), else: string(d) } }),
    (d) => ({ $ifNull: [string(d), text()] }),
    (d) => ({ $type: pick([string, objectOf])(d) }),
    (d) => ({ $toString: pick(["$m", "$s", true]) }),
  ],
  boolean: [
    (d) => ({ $eq: chance(0.5) ? [sure(d), sure(d)] : [{ $ifNull: [string(d), ""] }, text()] }),
    (d) => ({ $ne: chance(0.5) ? [sure(d), sure(d)] : [{ $ifNull: [string(d), ""] }, text()] }),
    (d) => ({ $gt: [sure(d), sure(d)] }),
    (d) => ({ $gte: [sure(d), sure(d)] }),
    (d) => ({ $lt: [sure(d), sure(d)] }),
    (d) => ({ $lte: [{ $toString: { $ifNull: ["$s", "q"] } }, text()] }),
    (d) => ({ $and: many(0, 3, () => boolean(d)) }),
    (d) => ({ $or: many(0, 3, () => boolean(d)) }),
    (d) => ({ $not: [boolean(d)] }),
    (d) => ({ $in: [number(), { $ifNull: [array(d), []] }] }),
    (d) => ({ $isArray: [pick([numeric, string, objectOf])(d)] }),
    (d) => ({ $isNumber: pick([numeric, string, objectOf])(d) }),
    (d) => ({ $setEquals: ["$l", many(0, 3, integer)] }),
    (d) => ({ $setIsSubset: [many(0, 2, integer), "$l"] }),
    (d) => ({ $anyElementTrue: ["$l"] }),
    (d) => ({ $allElementsTrue: ["$l"] }),
    (d) => ({ $regexMatch: { input: string(d), regex: pick(["a", "^a", "B"]), options: pick(["", "i"]) } }),
    (d) => ({ $toBool: numeric(d) }),
  ],
  array: [
    (d) => ({ $concatArrays: many(1, 2, () => array(d)) }),
    (d) => ({ $filter: { input: "$l", as: "e", cond: { $gt: ["$$e", number()] } } }),
    (d) => ({ $map: { input: array(d), as: "e", in: ["$$e", numeric(0)] } }),
    (d) => ({ $reverseArray: { $concatArrays: [array(d), []] } }),
    (d) => ({ $slice: [{ $ifNull: ["$l", []] }, pick([1, 2, -1, -2])] }),
    (d) => ({ $slice: [{ $ifNull: ["$l", []] }, pick([0, 1, -1]), 1 + below(2)] }),
    (d) => ({ $range: [0, below(5), 1 + below(2)] }),
    (d) => ({ $sortArray: { input: { $setUnion: [{ $ifNull: ["$l", []] }, many(0, 3, integer)] }, sortBy: 1 } }),
    (d) => ({ $sortArray: { input: { $setIntersection: [{ $ifNull: ["$l", []] }, many(0, 3, integer)] }, sortBy: 1 } }),
    (d) => ({ $setDifference: [{ $ifNull: ["$l", []] }, many(0, 3, integer)] }),
    (d) => ({ $sortArray: { input: "$l", sortBy: pick([1, -1]) } }),
    (d) => ({ $firstN: { n: 2, input: { $ifNull: ["$l", []] } } }),
    (d) => ({ $lastN: { n: 2, input: { $ifNull: ["$l", []] } } }),
    (d) => ({ $maxN: { n: 2, input: { $ifNull: ["$l", []] } } }),
    (d) => ({ $minN: { n: 2, input: { $ifNull: ["$l", []] } } }),
    (d) => ({ $split: [string(d), pick([",", " ", "b"])] }),
    (d) => ({ $zip: { inputs: [[1, 2], ["a", "b"], [[3], []]] } }),
    (d) => ({ $objectToArray: pick(["$o", { $literal: { x: 1, y: [2] } }]) }),
    (d) => many(0, 3, () => ({ $ifNull: [anything(d), 0] })),
  ],
  object: [
    (d) => ({ $mergeObjects: ["$o", { k: anything(d) }] }),
    (d) => ({ k: anything(d), j: anything(d) }),
    (d) => ({ $setField: { field: "k", input: "$o", value: numeric(d) } }),
    (d) => ({ $unsetField: { field: "x", input: "$o" } }),
    (d) => ({ $arrayToObject: { $concatArrays: [[["p", sure(d)]], [["q", { $ifNull: [string(d), ""] }]]] } }),
  ],
};

const target = () => pick(["n", "m", "s", "a", "o.x", "o.new", "new", "l.1"]);
function update() {
  switch (below(14)) {
    case 0: return { $set: { [target()]: value(1) } };
    case 1: return { $unset: { [target()]: "" } };
    case 2: return { $inc: { [pick(["n", "m", "new", "o.new"])]: number() } };
    case 3: return { $mul: { [pick(["n", "m", "new"])]: integer() } };
    case 4: return { $min: { [pick(["n", "m", "new"])]: number() } };
    case 5: return { $max: { [pick(["n", "m", "new"])]: number() } };
    case 6: return { $push: { [pick(["l", "new"])]: number() } };
    case 7: return { $push: { l: { $each: many(0, 3, number), $slice: pick([2, -2, 3]), $position: below(3) } } };
    case 8: return { $push: { l: { $each: many(0, 3, number), $sort: pick([1, -1]) } } };
    case 9: return { $addToSet: { new: { $each: [integer(), "one", [integer()]] } } };
    case 10: return { $pull: { l: chance(0.5) ? number() : { $gte: number() } } };
    case 11: return { $pullAll: { l: many(0, 3, integer) } };
    case 12: return { $pop: { l: pick([1, -1]) } };
    default: return { $rename: { [pick(["n", "m", "s"])]: "renamed" } };
  }
}

const byId = { $sort: { _id: 1 } };
const accumulators = () => ({
  [pick(["p", "q", "r"])]: pick([
    { $sum: "$n" }, { $sum: 1 }, { $avg: "$n" }, { $min: "$n" }, { $max: "$m" }, { $count: {} }, { $max: "$s" },
    { $stdDevPop: { $ifNull: ["$n", 0] } },
  ]),
});
// mingo changes nested documents where they are, also where another field shows them: paths below the top stay out.
function stage() {
  switch (below(15)) {
    case 0: return [{ $match: filter(1) }];
    case 1: return [{ $project: { n: 1, v: anything(2) } }];
    case 2: return [{ $project: { [pick(["n", "a", "nope"])]: 0 } }];
    case 3: return [{ $addFields: { [`v${below(1000)}`]: anything(2) } }];
    case 4: return [{ $set: { "fresh.k": { $ifNull: [pick([numeric, string, boolean])(1), 0] } } }];
    case 5: return [{ $unset: pick(["n", "s", "l"]) }];
    case 6: return [{ $group: { _id: pick(["$m", "$s", null, { $mod: [{ $ifNull: ["$m", 0] }, 2] }]), ...accumulators(), ...accumulators() } }];
    case 7: return [byId, { $limit: 1 + below(3) }];
    case 8: return [byId, { $skip: below(3) }];
    case 9: return [{ $unwind: chance(0.5) ? "$l" : { path: "$d", preserveNullAndEmptyArrays: chance(0.5), includeArrayIndex: "i" } }];
    case 10: return [{ $sortByCount: "$m" }];
    case 11: return [{ $replaceRoot: { newRoot: { $mergeObjects: [{ _id: "$_id" }, "$o"] } } }];
    case 12: return [{ $project: { t: "$s", u: ["$m", "$n"].map((p) => ({ $ifNull: [p, null] })) } }];
    case 13: return [{ $project: { k: "$o.x", "p.q": "$n", _id: chance(0.5) } }];
    default: return [{ $facet: { all: [byId, { $project: { n: 1 } }], few: [{ $match: filter(1) }, byId, { $project: { _id: 1 } }] } }];
  }
}

// What JSON cannot say of undefined: it is missing, or null in an array; numbers that are none.
const plain = (answer) => JSON.parse(JSON.stringify(answer, (_, v) => {
  if (typeof v === "number" && !Number.isFinite(v)) return { $numberDouble: String(v) };
  if (typeof v === "number" && Object.is(v, -0)) return 0;
  return v;
}) ?? "null");
const copy = (json) => JSON.parse(JSON.stringify(json));

function one(index) {
  const kind = ["filter", "expression", "update", "pipeline"][index % 4];
  const documents = many(1, kind === "pipeline" ? 6 : 2, () => 0).map((_, id) => document(id));
  const given = copy(documents);
  if (kind === "filter") {
    const specification = filter();
    const query = () => new mingo.Query(copy(specification));
    return [kind, documents, specification, () => given.map((d) => query().test(d))];
  }
  if (kind === "expression") {
    const specification = anything(3);
    const pipeline = [{ $addFields: { v: copy(specification) } }, { $project: { v: 1, _id: 0 } }];
    return [kind, documents.slice(0, 1), specification, () => mingo.aggregate(given.slice(0, 1), pipeline)[0]];
  }
  if (kind === "update") {
    const specification = update();
    return [kind, documents.slice(0, 1), specification, () => {
      mingo.updateOne(given, { _id: 0 }, copy(specification));
      return given[0];
    }];
  }
  const specification = many(1, 4, stage).flat();
  return [kind, documents, specification, () => mingo.aggregate(given, copy(specification))];
}

const lines = [];
for (let index = 0; index < count; index++) {
  const [kind, documents, specification, run] = one(index);
  const line = { kind, documents, specification };
  try {
    line.answer = plain(run());
  } catch (error) {
    line.error = String(error.message ?? error).slice(0, 200);
  }
  lines.push(JSON.stringify(line));
  if (lines.length === 500) console.log(lines.splice(0).join("\n"));
}
if (lines.length > 0) console.log(lines.join("\n"));
