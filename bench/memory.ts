/**
 * The most memory that a worker takes, by population: a process of its own imports and synchronises twice, as a host's
 * worker does, and tells its peak. The tables are in this process.
 */
import { fork } from "node:child_process";
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

const worker = join(import.meta.dirname, "memoryWorker.ts");

export async function run(args: readonly string[]): Promise<void> {
  const { memorySizes = [10_000, 100_000] } = sizesOf(args);
  const results: MemoryResult[] = [];
  for (const objects of memorySizes) results.push({ objects, peakMiB: (await peakKiB(objects)) / 1024 });
  console.log(
    table([
      ["objects", "peak MiB"],
      ...results.map(({ objects, peakMiB }) => [`${objects}`, peakMiB.toFixed(0)]),
    ]),
  );
  keepResults("memory", results);
}

function peakKiB(objects: number): Promise<number> {
  const child = fork(worker, [`${objects}`], { serialization: "advanced" });
  return new Promise((resolve, reject) => {
    serveTables(child, new MemoryTables(), (peak) => resolve(Number(peak)));
    child.once("exit", (code) =>
      code === 0 ? undefined : reject(new Error(`The worker ended with ${code}.`)),
    );
  });
}
