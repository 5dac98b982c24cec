/**
 * `npm run bench` measures all that needs no domain controller, `npm run bench -- <name>` one: each has a question of its
 * own, compares in one run what it compares, and gives medians, since machines and their load differ. Numbers of one
 * machine are in README.md and results/.
 */
import { availableParallelism, cpus } from "node:os";

interface Bench {
  load(): Promise<{ run(args: readonly string[]): Promise<void> }>;
  /** What may follow the name. */
  readonly args: string;
  /** Needs more than this machine as it is: measured only when it is named. */
  readonly apart?: true;
}

const sizes = " [--sizes 1000,10000] [--memory-sizes 1000,100000]";
const benches: Readonly<Record<string, Bench>> = {
  rules: { load: () => import("./rules.ts"), args: "" },
  connectors: {
    load: () => import("./connectors.ts"),
    args: " [graph|import|export|memory …] [quick]",
    apart: true,
  },
  engine: { load: () => import("./engine.ts"), args: sizes },
  memory: { load: () => import("./memory.ts"), args: sizes },
  workers: { load: () => import("./workers.ts"), args: sizes },
  cost: { load: () => import("./cost.ts"), args: "" },
  page: { load: () => import("./page.ts"), args: "" },
};

const [name, ...more] = process.argv.slice(2);
const named = name !== undefined && Object.hasOwn(benches, name) ? benches[name] : undefined;
if ((name !== undefined && named === undefined) || (more.length > 0 && named?.args === "")) {
  for (const [known, { args }] of Object.entries(benches)) console.error(`npm run bench -- ${known}${args}`);
  process.exitCode = 2;
} else {
  const [cpu] = cpus();
  console.log(
    `Node.js ${process.version}, ${process.platform} ${process.arch}, ${availableParallelism()} × ${cpu?.model.trim() ?? "unknown"}\n`,
  );
  const chosen = named === undefined ? Object.values(benches).filter(({ apart }) => apart !== true) : [named];
  for (const bench of chosen) await (await bench.load()).run(more);
}
