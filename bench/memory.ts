/**
 * The most memory that a worker takes, by population: a process of its own imports and synchronises twice, as a host's
 * worker does, compiled and with the arguments that a deployment gives it, and tells its peak. The tables are in this
 * process.
 */
import { fork, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { MemoryTables } from "../src/engine/stores/memory/memoryTables.ts";
import { sizesOf, table } from "./measure.ts";
import { keepResults } from "./results.ts";
import { serveTables } from "./tablesOverIpc.ts";

export interface MemoryResult {
  readonly objects: number;
  /** Of the resident set, in MiB, at its highest. */
  readonly peakMiB: number;
}

const root = join(import.meta.dirname, "..");
const { workerArguments } = JSON.parse(readFileSync(join(root, "infra/names.json"), "utf8")) as {
  readonly workerArguments: string;
};

export async function run(args: readonly string[]): Promise<void> {
  const { memorySizes = [10_000, 100_000] } = sizesOf(args);
  compileWorker();
  const results: MemoryResult[] = [];
  for (const objects of memorySizes) {
    results.push({ objects, peakMiB: (await peakKiB(objects)) / 1024 });
    console.error(`${objects}: ${results.at(-1)!.peakMiB.toFixed(0)} MiB`);
  }
  console.log(
    table([
      ["objects", "peak MiB"],
      ...results.map(({ objects, peakMiB }) => [`${objects}`, peakMiB.toFixed(0)]),
    ]),
  );
  keepResults("memory", results);
}

/** Node's own compiler of types would stay in the process that is measured. */
function compileWorker(): void {
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  const { status, stdout } = spawnSync(process.execPath, [tsc, "-p", "bench/tsconfig.worker.json"], {
    cwd: root,
  });
  if (status !== 0) throw new Error(`The worker does not compile: ${stdout}`);
}

function peakKiB(objects: number): Promise<number> {
  const child = fork(join(root, "dist/bench/memoryWorker.js"), [`${objects}`], {
    cwd: root,
    execArgv: workerArguments.split(" "),
    serialization: "advanced",
  });
  return new Promise((resolve, reject) => {
    serveTables(child, new MemoryTables(), (peak) => resolve(Number(peak)));
    child.once("exit", (code) =>
      code === 0 ? undefined : reject(new Error(`The worker ended with ${code}.`)),
    );
  });
}
