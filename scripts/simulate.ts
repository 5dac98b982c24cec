/**
 * `npm run simulate -- [--seed N] [--runs K]`: plays K random histories from seed N on over the real engine in memory
 * (test/simulator). The first that ends wrong is shrunk and printed; it is repeated with `--seed` and `--runs 1`.
 * A night's work is `npm run simulate -- --runs 10000`.
 */
import { parseArgs } from "node:util";
import { historyOf } from "../test/simulator/history.ts";
import { shrink, simulate } from "../test/simulator/simulate.ts";

const { values } = parseArgs({
  options: { seed: { type: "string", default: "1" }, runs: { type: "string", default: "200" } },
});
const first = wholeNumber("seed");
const runs = wholeNumber("runs");
let deliveries = 0;
const begun = Date.now();
for (let seed = first; seed < first + runs; seed++) {
  const outcome = await simulate(historyOf(seed));
  deliveries += outcome.deliveries;
  if (outcome.violations.length > 0) {
    const smallest = await shrink(historyOf(seed));
    const { violations, trace } = await simulate(smallest);
    console.log(`Seed ${seed} ends wrong:\n  ${outcome.violations.join("\n  ")}`);
    console.log(`The smallest history found:\n${JSON.stringify(smallest)}\n  ${violations.join("\n  ")}`);
    console.log(`What happened in it:\n  ${trace.join("\n  ")}`);
    process.exit(1);
  }
  if ((seed - first + 1) % 500 === 0) console.log(`${seed - first + 1} histories, ${deliveries} deliveries`);
}
const seconds = ((Date.now() - begun) / 1000).toFixed(0);
console.log(`${runs} histories from seed ${first} ended right: ${deliveries} deliveries in ${seconds} s.`);

function wholeNumber(name: "seed" | "runs"): number {
  const number = Number(values[name]);
  if (Number.isInteger(number) && number >= 0) return number;
  console.error(`--${name} is ${JSON.stringify(values[name])}; give a whole number.`);
  process.exit(2);
}
