/** What was measured, with the machine that it was measured on, as files of their own in `results`. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg, release, totalmem } from "node:os";
import { join } from "node:path";

export const resultsFolder = join(import.meta.dirname, "results");

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly system: string;
  readonly node: string;
  /** Of the last minute: above the number of cores, others have worked beside it. */
  readonly load: number;
}

export interface Results<T> {
  readonly bench: string;
  /** ISO 8601. */
  readonly measuredAt: string;
  readonly machine: Machine;
  readonly results: T;
}

export function machine(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${process.platform} ${release()}`,
    node: process.version,
    load: Math.round(loadavg()[0]! * 10) / 10,
  };
}

export function keepResults<T>(bench: string, results: T): void {
  mkdirSync(resultsFolder, { recursive: true });
  const all: Results<T> = { bench, measuredAt: new Date().toISOString(), machine: machine(), results };
  writeFileSync(join(resultsFolder, `${bench}.json`), `${JSON.stringify(all, null, 1)}\n`);
}

/** All that is kept, by the name of the bench. */
export function keptResults(): ReadonlyMap<string, Results<unknown>> {
  const files = readdirSync(resultsFolder).filter((name) => name.endsWith(".json"));
  return new Map(
    files.map((name) => {
      const results = JSON.parse(readFileSync(join(resultsFolder, name), "utf8")) as Results<unknown>;
      return [results.bench, results];
    }),
  );
}
