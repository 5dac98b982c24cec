/** What a second worker brings in the flowing phase, when each request takes as long as one to a service: 10 ms. */
import { MemoryTables } from "../src/engine/stores/memory/memoryTables.ts";
import { Deployment } from "./deployment.ts";
import { sizesOf, table } from "./measure.ts";
import { keepResults } from "./results.ts";

export interface WorkersResult {
  readonly objects: number;
  readonly workers: number;
  /** Of the flowing phase. */
  readonly ms: number;
}

const latencyMs = 10;

export async function run(args: readonly string[]): Promise<void> {
  const { memorySizes: [objects = 4_000] = [] } = sizesOf(args);
  const results: WorkersResult[] = [];
  for (const workers of [1, 2, 4]) {
    const deployment = new Deployment(new MemoryTables(), objects, { latencyMs });
    for (const profile of ["Full Import (Stage Only)", "Full Synchronization"])
      await deployment.profile("MIMMA", profile);
    await deployment.profile("AADMA", "Full Import (Stage Only)");
    await deployment.upToFlowing("AADMA", "Full Synchronization");
    const engines = Array.from({ length: workers }, () => deployment.newEngine());
    const begun = performance.now();
    await deployment.work(engines);
    results.push({ objects, workers, ms: performance.now() - begun });
  }
  const [{ ms: alone }] = results as [WorkersResult];
  console.log(
    table([
      [`${objects} objects, ${latencyMs} ms a request`, "ms", "times as fast"],
      ...results.map(({ workers, ms }) => [
        `${workers} workers, a message each`,
        ms.toFixed(0),
        (alone / ms).toFixed(2),
      ]),
    ]),
  );
  keepResults("workers", results);
}
