// The twenty queries: what is asked, the command, and the same answer computed from the plain data.

const day = 24 * 60 * 60 * 1000;
const utc = (year, month, date = 1) => new Date(Date.UTC(year, month - 1, date));
const sum = (values) => values.reduce((total, value) => total + value, 0);
const mean = (values) => sum(values) / values.length;
const bytes = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b));
/** Compares by each function in turn. */
const by = (...orders) => (a, b) => orders.reduce((order, next) => order || next(a, b), 0);
const up = (field) => (a, b) => a[field] - b[field];
const down = (field) => (a, b) => b[field] - a[field];
const pick = (...names) => (row) => Object.fromEntries(names.filter((name) => name in row).map((name) => [name, row[name]]));

/** Rows in groups, by a key that is a string or a number. */
function grouped(rows, key) {
  const groups = new Map();
  for (const row of rows) {
    const of = key(row);
    if (!groups.has(of)) groups.set(of, []);
    groups.get(of).push(row);
  }
  return [...groups];
}

/** As even buckets as equal values allow: the documented way of `$bucketAuto`. */
function bucketsOf(sorted, count) {
  const size = Math.max(1, Math.round(sorted.length / count));
  const buckets = [];
  let from = 0;
  while (from < sorted.length && buckets.length < count) {
    let to = buckets.length === count - 1 ? sorted.length : Math.min(from + size, sorted.length);
    while (to < sorted.length && sorted[to] === sorted[to - 1]) to += 1;
    buckets.push({ min: sorted[from], values: sorted.slice(from, to) });
    from = to;
  }
  return buckets.map(({ min, values }, at) => ({
    _id: { min, max: buckets[at + 1]?.min ?? values.at(-1) }, days: values.length, hottest: values.at(-1),
  }));
}

/** Everything that can be reached from `start`, with the fewest steps it takes. */
function reached(classes, start) {
  const known = new Map(classes.map((row) => [row._id, row]));
  const depths = new Map();
  let next = start.imports;
  for (let depth = 0; next.length; depth += 1) {
    const fresh = [...new Set(next)].filter((id) => !depths.has(id));
    for (const id of fresh) depths.set(id, depth);
    next = fresh.flatMap((id) => known.get(id).imports);
  }
  return depths;
}

export const queries = [
  {
    title: 'A city by its number',
    command: { find: 'cities', filter: { _id: 2657896 } },
    expected: ({ cities }) => cities.filter((city) => city._id === 2657896),
  },
  {
    title: 'One month\'s price of a share, by a unique compound index',
    command: { find: 'prices', filter: { symbol: 'AAPL', date: utc(2008, 6) }, projection: { _id: 0, price: 1 } },
    expected: ({ prices }) => prices.filter((row) => row.symbol === 'AAPL' && +row.date === +utc(2008, 6)).map(pick('price')),
  },
  {
    title: 'Cities of two to two and a half million, the largest first: a range of a partial index',
    command: { find: 'cities', filter: { population: { $gte: 2_000_000, $lt: 2_500_000 } }, sort: { population: -1 }, projection: { name: 1, population: 1 } },
    expected: ({ cities }) => cities.filter((city) => city.population >= 2_000_000 && city.population < 2_500_000)
      .sort(by(down('population'), up('_id'))).map(pick('_id', 'name', 'population')),
  },
  {
    title: 'The ten largest cities of a country: compound index, order included',
    command: { find: 'cities', filter: { country: 'DE', population: { $gte: 100_000 } }, sort: { population: -1 }, limit: 10, projection: { name: 1, population: 1 } },
    expected: ({ cities }) => cities.filter((city) => city.country === 'DE' && city.population >= 100_000)
      .sort(by(down('population'), up('_id'))).slice(0, 10).map(pick('_id', 'name', 'population')),
  },
  {
    title: 'The ten largest cities of five countries: scans merged in order',
    command: { find: 'cities', filter: { country: { $in: ['DK', 'FI', 'IS', 'NO', 'SE'] } }, sort: { population: -1 }, limit: 10, projection: { _id: 0, name: 1, country: 1, population: 1 } },
    expected: ({ cities }) => cities.filter((city) => ['DK', 'FI', 'IS', 'NO', 'SE'].includes(city.country))
      .sort(by(down('population'), up('_id'))).slice(0, 10).map(pick('name', 'country', 'population')),
  },
  {
    title: 'Either of two things: a union of two indexes',
    command: { find: 'cities', filter: { $or: [{ name: 'Springfield' }, { country: 'LI' }] }, projection: { name: 1, country: 1 } },
    expected: ({ cities }) => cities.filter((city) => city.name === 'Springfield' || city.country === 'LI').map(pick('_id', 'name', 'country')),
    unordered: true,
  },
  {
    title: 'Names that begin with a word, in order: a pattern that becomes a range',
    command: { find: 'cities', filter: { name: /^Saint-J/ }, sort: { name: 1 }, projection: { _id: 0, name: 1 } },
    expected: ({ cities }) => cities.filter((city) => /^Saint-J/.test(city.name)).sort(by((a, b) => bytes(a.name, b.name))).map(pick('name')),
  },
  {
    title: 'Words in a title, however they are written: a pattern over everything',
    command: { find: 'movies', filter: { title: /\bstar (wars|trek)\b/i, stars: { $gte: 7 } }, sort: { stars: -1, _id: 1 }, projection: { title: 1, stars: 1 } },
    expected: ({ movies }) => movies.filter((movie) => /\bstar (wars|trek)\b/i.test(movie.title) && movie.stars >= 7)
      .sort(by(down('stars'), up('_id'))).map(pick('_id', 'title', 'stars')),
  },
  {
    title: 'A name without regard to accents and case, through an index with a collation',
    command: { find: 'cities', filter: { name: 'SAO PAULO' }, collation: { locale: 'en', strength: 1 }, projection: { name: 1, country: 1 } },
    expected: ({ cities }) => {
      const { compare } = new Intl.Collator('en', { sensitivity: 'base' });
      return cities.filter((city) => compare(city.name, 'SAO PAULO') === 0).map(pick('_id', 'name', 'country'));
    },
    unordered: true,
  },
  {
    title: 'Names in the order of a language: Ü beside U',
    command: { find: 'cities', filter: { country: 'CH', name: { $gte: 'U', $lt: 'V' } }, sort: { name: 1 }, collation: { locale: 'de' }, projection: { _id: 0, name: 1 } },
    expected: ({ cities }) => {
      const { compare } = new Intl.Collator('de');
      return cities.filter(({ country, name }) => country === 'CH' && compare(name, 'U') >= 0 && compare(name, 'V') < 0)
        .sort((a, b) => compare(a.name, b.name)).map(pick('name'));
    },
  },
  {
    title: 'Flights to Chicago that were more than three hours late: a partial index of the late ones',
    command: { find: 'flights', filter: { destination: 'ORD', delay: { $gt: 180 } }, sort: { delay: -1 }, projection: { origin: 1, delay: 1 } },
    expected: ({ flights }) => flights.filter((flight) => flight.destination === 'ORD' && flight.delay > 180)
      .sort(by(down('delay'), up('_id'))).map(pick('_id', 'origin', 'delay')),
  },
  {
    title: 'How many flights left Atlanta in a fortnight: counted on the index alone',
    command: { count: 'flights', query: { origin: 'ATL', date: { $gte: utc(2001, 2, 1), $lt: utc(2001, 2, 15) } } },
    expected: ({ flights }) => flights.filter((flight) => flight.origin === 'ATL' && flight.date >= utc(2001, 2, 1) && flight.date < utc(2001, 2, 15)).length,
  },
  {
    title: 'All countries there are: read off an index, one key each',
    command: { distinct: 'cities', key: 'country' },
    expected: ({ cities }) => [...new Set(cities.map((city) => city.country))].sort(bytes),
  },
  {
    title: 'Report: people in cities by country',
    command: { aggregate: 'cities', pipeline: [
      { $match: { population: { $gte: 100_000 } } },
      { $group: { _id: '$country', cities: { $sum: 1 }, people: { $sum: '$population' }, largest: { $top: { sortBy: { population: -1 }, output: '$name' } } } },
      { $sort: { people: -1 } },
      { $limit: 5 },
    ] },
    expected: ({ cities }) => grouped(cities.filter((city) => city.population >= 100_000), (city) => city.country)
      .map(([country, of]) => ({
        _id: country, cities: of.length, people: sum(of.map((city) => city.population)), largest: of.reduce((a, b) => (b.population > a.population ? b : a)).name,
      }))
      .sort(down('people')).slice(0, 5),
  },
  {
    title: 'Report: the busiest airports with their names, joined by $lookup',
    command: { aggregate: 'flights', pipeline: [
      { $group: { _id: '$origin', flights: { $sum: 1 }, delay: { $avg: '$delay' } } },
      { $sort: { flights: -1, _id: 1 } },
      { $limit: 5 },
      { $lookup: { from: 'airports', localField: '_id', foreignField: '_id', as: 'airport' } },
      { $set: { airport: { $first: '$airport.name' }, delay: { $round: ['$delay', 1] } } },
    ] },
    expected: ({ flights, airports }) => grouped(flights, (flight) => flight.origin)
      .map(([origin, of]) => ({ _id: origin, flights: of.length, delay: mean(of.map((flight) => flight.delay)), airport: airports.find((row) => row._id === origin)?.name }))
      .sort(by(down('flights'), (a, b) => bytes(a._id, b._id))).slice(0, 5),
    tolerance: 0.051,
  },
  {
    title: 'Report: three views of the films at once, by $facet',
    command: { aggregate: 'movies', pipeline: [
      { $match: { genre: { $in: ['Comedy', 'Drama', 'Horror'] } } },
      { $facet: {
        genres: [{ $sortByCount: '$genre' }],
        stars: [{ $bucket: { groupBy: '$stars', boundaries: [0, 5, 7, 8, 10.1], default: 'unknown', output: { films: { $sum: 1 } } } }],
        profit: [{ $match: { budget: { $gt: 0 } } }, { $project: { title: 1, profit: { $subtract: ['$gross', '$budget'] } } }, { $sort: { profit: -1, _id: 1 } }, { $limit: 3 }],
      } },
    ] },
    expected: ({ movies }) => {
      const films = movies.filter((movie) => ['Comedy', 'Drama', 'Horror'].includes(movie.genre));
      const bounds = [0, 5, 7, 8, 10.1];
      const bucket = ({ stars }) => (stars === null ? 'unknown' : bounds.findLast((bound) => bound <= stars));
      return [{
        genres: grouped(films, (film) => film.genre).map(([_id, of]) => ({ _id, count: of.length })).sort(down('count')),
        stars: grouped(films, bucket).map(([_id, of]) => ({ _id, films: of.length }))
          .sort((a, b) => (typeof a._id === typeof b._id ? a._id - b._id : typeof a._id === 'number' ? -1 : 1)),
        profit: films.filter((film) => film.budget > 0)
          .map(({ _id, title, gross, budget }) => ({ _id, title, profit: gross === null ? null : gross - budget }))
          .sort(by((a, b) => (b.profit ?? -Infinity) - (a.profit ?? -Infinity), up('_id'))).slice(0, 3),
      }];
    },
  },
  {
    title: 'Report: days by temperature in five even buckets, by $bucketAuto',
    command: { aggregate: 'weather', pipeline: [{ $bucketAuto: { groupBy: '$hottest', buckets: 5, output: { days: { $sum: 1 }, hottest: { $max: '$hottest' } } } }] },
    expected: ({ weather }) => bucketsOf(weather.map((row) => row.hottest).sort((a, b) => a - b), 5),
  },
  {
    title: 'Report: the warmest weeks, by a moving average of $setWindowFields',
    command: { aggregate: 'weather', pipeline: [
      { $setWindowFields: {
        partitionBy: { $year: '$date' }, sortBy: { date: 1 },
        output: { week: { $avg: '$hottest', window: { range: [-6, 0], unit: 'day' } }, rain: { $sum: '$rain', window: { documents: ['unbounded', 'current'] } } },
      } },
      { $sort: { week: -1, date: 1 } },
      { $limit: 3 },
      { $project: { _id: 0, date: 1, week: 1, rain: 1 } },
    ] },
    expected: ({ weather }) => grouped(weather, (row) => row.date.getUTCFullYear())
      .flatMap(([, year]) => year.sort(up('date')).map(({ date }, at) => ({
        date,
        week: mean(year.filter((row) => row.date <= date && row.date >= date - 6 * day).map((row) => row.hottest)),
        rain: sum(year.slice(0, at + 1).map((row) => row.rain)),
      })))
      // The last digit depends on the order of adding up.
      .sort(by((a, b) => (Math.abs(a.week - b.week) < 1e-9 ? 0 : b.week - a.week), up('date'))).slice(0, 3),
  },
  {
    title: 'Report: everything that a class needs, however far away, by $graphLookup',
    command: { aggregate: 'classes', pipeline: [
      { $match: { name: 'NodeSprite' } },
      { $graphLookup: { from: 'classes', startWith: '$imports', connectFromField: 'imports', connectToField: '_id', as: 'needs', depthField: 'steps' } },
      { $project: { name: 1, direct: { $size: '$imports' }, all: { $size: '$needs' }, farthest: { $max: '$needs.steps' }, bytes: { $sum: '$needs.size' } } },
    ] },
    expected: ({ classes }) => classes.filter((row) => row.name === 'NodeSprite').map((row) => {
      const depths = reached(classes, row);
      return {
        ...pick('_id', 'name')(row), direct: row.imports.length, all: depths.size, farthest: Math.max(...depths.values()),
        bytes: sum(classes.filter(({ _id }) => depths.has(_id)).map(({ size }) => size ?? 0)),
      };
    }),
  },
  {
    title: 'Report: the classes that most others import, by $unwind',
    command: { aggregate: 'classes', pipeline: [
      { $unwind: '$imports' },
      { $group: { _id: '$imports', importers: { $sum: 1 } } },
      { $lookup: { from: 'classes', localField: '_id', foreignField: '_id', as: 'class' } },
      { $sort: { importers: -1, _id: 1 } },
      { $limit: 5 },
      { $project: { importers: 1, name: { $first: '$class.name' } } },
    ] },
    expected: ({ classes }) => grouped(classes.flatMap((row) => row.imports), (id) => id)
      .map(([_id, of]) => ({ _id, importers: of.length, name: classes.find((row) => row._id === _id).name }))
      .sort(by(down('importers'), up('_id'))).slice(0, 5),
  },
];
