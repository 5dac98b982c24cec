/**
 * `npm run bench -- <name>`: measurements, each of one question. Every one compares in one run what it compares,
 * in turns, and gives medians, since machines and their load differ; numbers of one machine are in README.md.
 */
import { availableParallelism, cpus } from "node:os";

const benches: Readonly<Record<string, () => Promise<{ run(): Promise<void> }>>> = {
  rules: () => import("./rules.ts"),
  connectors: () => import("./connectors.ts"),
};

const [name = "", ...more] = process.argv.slice(2);
const bench = Object.hasOwn(benches, name) && more.length === 0 ? benches[name] : undefined;
if (bench === undefined) {
  console.error(`npm run bench -- ${Object.keys(benches).join("|")}`);
  process.exitCode = 2;
} else {
  const [cpu] = cpus();
  console.log(
    `Node.js ${process.version}, ${process.platform} ${process.arch}, ${availableParallelism()} × ${cpu?.model.trim() ?? "unknown"}\n`,
  );
  await (await bench()).run();
}
