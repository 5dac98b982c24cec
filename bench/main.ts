/**
 * `npm run bench -- <name>`: measurements, each of one question. Every one compares in one run what it compares,
 * in turns, and gives medians, since machines and their load differ; numbers of one machine are in README.md.
 */
import { availableParallelism, cpus } from "node:os";

interface Bench {
  load(): Promise<{ run(args: readonly string[]): Promise<void> }>;
  /** What may follow the name. */
  readonly args: string;
}

const benches: Readonly<Record<string, Bench>> = {
  rules: { load: () => import("./rules.ts"), args: "" },
  connectors: { load: () => import("./connectors.ts"), args: " [graph|import|export|memory …] [quick]" },
};

const [name = "", ...more] = process.argv.slice(2);
const bench = Object.hasOwn(benches, name) ? benches[name] : undefined;
if (bench === undefined || (more.length > 0 && bench.args === "")) {
  for (const [known, { args }] of Object.entries(benches)) console.error(`npm run bench -- ${known}${args}`);
  process.exitCode = 2;
} else {
  const [cpu] = cpus();
  console.log(
    `Node.js ${process.version}, ${process.platform} ${process.arch}, ${availableParallelism()} × ${cpu?.model.trim() ?? "unknown"}\n`,
  );
  await (await bench.load()).run(more);
}
