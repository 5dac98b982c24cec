/**
 * `npm run simulate -- [--seed N] [--runs K] [--every-crash]`: plays K random histories from seed N on over the real
 * engine in memory (test/simulator). With `--every-crash` each is a short one without other trouble, played once for
 * each of its effects with a crash after it. The first that ends wrong is shrunk and printed; it is repeated with
 * `--seed` and `--runs 1`. A night's work is `npm run simulate -- --runs 10000`.
 */
import { createHash } from "node:crypto";
import { parseArgs } from "node:util";
import { calmHistoryOf, type History, historyOf } from "../test/simulator/history.ts";
import { crashedEverywhere, shrink, simulate } from "../test/simulator/simulate.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    runs: { type: "string", default: "200" },
    "every-crash": { type: "boolean", default: false },
  },
});
const first = wholeNumber("seed");
const runs = wholeNumber("runs");
const everyCrash = values["every-crash"];
let histories = 0;
let deliveries = 0;
const happened = new Map<string, number>();
/** Over the digests of all traces: the same for the same seeds. */
const digest = createHash("sha256");
const begun = Date.now();
for (let seed = first; seed < first + runs; seed++) {
  const history = everyCrash ? calmHistoryOf(seed) : historyOf(seed);
  await play(seed, history);
  if (everyCrash) for await (const crashed of crashedEverywhere(history)) await play(seed, crashed);
}
const seconds = ((Date.now() - begun) / 1000).toFixed(0);
console.log(
  `What happened in them: ${[...happened]
    .sort()
    .map(([what, count]) => `${what} ${count}`)
    .join(", ")}.`,
);
console.log(
  `${histories} histories from seed ${first} to ${first + runs - 1} ended right: ${deliveries} deliveries in ${seconds} s; digest ${digest.digest("hex").slice(0, 16)}.`,
);

async function play(seed: number, history: History): Promise<void> {
  const outcome = await simulate(history);
  deliveries += outcome.deliveries;
  for (const [what, count] of Object.entries(outcome.happened))
    happened.set(what, (happened.get(what) ?? 0) + count);
  digest.update(outcome.digest);
  if (outcome.violations.length > 0) {
    const smallest = await shrink(history);
    const { violations, trace } = await simulate(smallest);
    const at = history.crashAt === null ? "" : `, with a crash after effect ${history.crashAt},`;
    console.log(`Seed ${seed}${at} ends wrong:\n  ${outcome.violations.join("\n  ")}`);
    console.log(`The smallest history found:\n${JSON.stringify(smallest)}\n  ${violations.join("\n  ")}`);
    console.log(`What happened in it:\n  ${trace.join("\n  ")}`);
    process.exit(1);
  }
  if (++histories % 500 === 0) console.log(`${histories} histories, ${deliveries} deliveries, seed ${seed}`);
}

function wholeNumber(name: "seed" | "runs"): number {
  const number = Number(values[name]);
  if (Number.isInteger(number) && number >= 0) return number;
  console.error(`--${name} is ${JSON.stringify(values[name])}; give a whole number.`);
  process.exit(2);
}
