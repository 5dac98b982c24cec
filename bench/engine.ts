/**
 * Whole steps of the real engine: first with a new population, then with the same one unchanged, then delta cycles. On
 * Azurite as ratios against the floor (see floor.ts), in memory for larger populations, and everywhere in requests.
 */
import type { Tables } from "../src/engine/ports/tables.ts";
import { MemoryTables } from "../src/engine/stores/memory/memoryTables.ts";
import { AzureTables } from "../src/engine/stores/tables/azureTables.ts";
import { startAzurite } from "../test/support/azurite.ts";
import { Deployment, type StepMeasure } from "./deployment.ts";
import { readForImport, readForSynchronisation, writeAgain } from "./floor.ts";
import { median, sizesOf, table } from "./measure.ts";
import { keepResults } from "./results.ts";
import { requestsOf } from "./tables.ts";

export interface StepResult {
  readonly store: "azurite" | "memory";
  readonly objects: number;
  readonly step: string;
  readonly ms: number;
  readonly cpuMs: number;
  readonly requests: StepMeasure["requests"];
  readonly messages: number;
  /** Milliseconds of the floor, and how much longer the step took: the median of the rounds. */
  readonly floorMs?: number;
  readonly ratio?: number;
}

const rounds = 3;
const full = ["Full Import (Stage Only)", "Full Synchronization"] as const;
const delta = ["Delta Import (Stage Only)", "Delta Synchronization"] as const;

export async function run(args: readonly string[]): Promise<void> {
  const { sizes = [1_000, 10_000], memorySizes = [1_000, 10_000, 100_000] } = sizesOf(args);
  const results: StepResult[] = [];
  for (const objects of sizes) {
    const azurite = await startAzurite();
    try {
      results.push(...(await measured("azurite", new AzureTables(azurite), objects)));
    } finally {
      await azurite.stop();
    }
  }
  for (const objects of memorySizes) results.push(...(await measured("memory", new MemoryTables(), objects)));
  console.log(
    table([
      [
        "step",
        "store",
        "objects",
        "ms",
        "floor ms",
        "ratio",
        "requests",
        "an object",
        "messages",
        "MB written",
      ],
      ...results.map((one) => [
        one.step,
        one.store,
        String(one.objects),
        one.ms.toFixed(0),
        one.floorMs?.toFixed(0) ?? "",
        one.ratio?.toFixed(2) ?? "",
        String(requestsOf(one.requests)),
        (requestsOf(one.requests) / one.objects).toFixed(4),
        String(one.messages),
        (one.requests.bytesWritten / 1e6).toFixed(2),
      ]),
    ]),
  );
  keepResults("engine", results);
}

async function measured(store: StepResult["store"], tables: Tables, objects: number): Promise<StepResult[]> {
  const deployment = new Deployment(tables, objects);
  const results: StepResult[] = [];
  const keep = (
    step: string,
    measure: StepMeasure,
    floor?: { readonly ms: number; readonly ratio: number },
  ) => {
    const against = floor === undefined ? {} : { floorMs: floor.ms, ratio: floor.ratio };
    results.push({ store, objects, step, ...measure, ...against });
    console.error(`${store} ${objects} ${step}: ${measure.ms.toFixed(0)} ms`);
  };
  const hasFloor = store === "azurite";
  /** A step that writes, and then the same bytes bare. */
  const writing = async (step: string, work: () => Promise<StepMeasure>, read?: () => Promise<void>) => {
    deployment.tables.recording = hasFloor ? [] : null;
    const measure = await work();
    const written = deployment.tables.recording;
    deployment.tables.recording = null;
    if (written === null) return keep(step, measure);
    const ms = await timed(async () => {
      await read?.();
      await writeAgain(tables, step.replaceAll(/\W/g, ""), written);
    });
    keep(step, measure, { ms, ratio: measure.ms / ms });
  };
  /** A step that finds nothing changed, in turns with its floor. */
  const reading = async (step: string, work: () => Promise<StepMeasure>, read: () => Promise<void>) => {
    if (!hasFloor) return keep(step, await work());
    const measures: StepMeasure[] = [];
    const floors: number[] = [];
    for (let round = 0; round < rounds; round++) {
      floors.push(await timed(read));
      measures.push(await work());
    }
    const ms = median(floors);
    const ratio = median(measures.map((one, round) => one.ms / floors[round]!));
    keep(step, measures.toSorted((a, b) => a.ms - b.ms)[rounds >>> 1]!, { ms, ratio });
  };

  for (const profile of full) await deployment.profile("MIMMA", profile);
  await writing(
    "full import, new",
    () => deployment.profile("AADMA", full[0]),
    () => readForImport(tables, "none", deployment.guests),
  );
  await writing("full synchronisation, new", () => deployment.profile("AADMA", full[1]));
  for (const profile of full) await deployment.profile("ADMA", profile);
  await writing("export, adds", () => deployment.profile("ADMA", "Export"));
  await writing("delta import, confirming", () => deployment.profile("ADMA", delta[0]));
  await writing("delta synchronisation, confirming", () => deployment.profile("ADMA", delta[1]));

  await reading(
    "full import, unchanged",
    () => deployment.profile("AADMA", full[0]),
    () => readForImport(tables, "AADMA", deployment.guests),
  );
  await reading(
    "full synchronisation, unchanged",
    () => deployment.profile("AADMA", full[1]),
    () => readForSynchronisation(tables),
  );
  await deployment.cycle("delta");
  keep("delta cycle, idle", await deployment.timer());
  for (let change = 0; change < 10; change++) deployment.guests.rename(change * 97);
  keep("delta cycle, 10 changes", await deployment.timer());
  return results;
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work();
  return performance.now() - begun;
}
