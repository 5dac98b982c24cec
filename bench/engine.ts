/**
 * Whole steps of the real engine: first with a new population, then with the same one unchanged, then delta cycles. On
 * Azurite as ratios against the floor (see floor.ts), in memory for larger populations, and everywhere in requests.
 */
import type { Tables } from "../src/engine/ports/tables.ts";
import { MemoryTables } from "../src/engine/stores/memory/memoryTables.ts";
import { AzureTables } from "../src/engine/stores/tables/azureTables.ts";
import { startAzurite } from "../test/support/azurite.ts";
import { Deployment, type StepMeasure } from "./deployment.ts";
import { openFloor, readForImport, readForSynchronisation, writeAgain } from "./floor.ts";
import { median, sizesOf, table } from "./measure.ts";
import { keepResults } from "./results.ts";
import { requestsOf, type Written } from "./tables.ts";

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

const rounds = 5;
const warmUpObjects = 500;
const full = ["Full Import (Stage Only)", "Full Synchronization"] as const;
const delta = ["Delta Import (Stage Only)", "Delta Synchronization"] as const;
/** Beyond these the accounts would take more memory than the rows: nothing is exported. */
const exportedMax = 200_000;

export async function run(args: readonly string[]): Promise<void> {
  const { sizes = [1_000, 10_000], memorySizes = [1_000, 10_000, 100_000] } = sizesOf(args);
  // A worker lives for hours: what is measured, engine and floor, is compiled before.
  if (sizes.length > 0) await onAzurite(warmUpObjects, () => undefined);
  else await steps("memory", new Deployment(new MemoryTables(), warmUpObjects), () => undefined);
  const results: StepResult[] = [];
  // Each as soon as it is there: a large population may take hours.
  const keep = (one: StepResult) => {
    results.push(one);
    keepResults("engine", results);
    const ratio = one.ratio === undefined ? "" : `, ${one.ratio.toFixed(2)} × floor`;
    console.error(`${one.store} ${one.objects} ${one.step}: ${one.ms.toFixed(0)} ms${ratio}`);
  };
  for (const objects of sizes) await onAzurite(objects, keep);
  for (const objects of memorySizes) {
    const deployment = new Deployment(new MemoryTables(), objects, { stagingMode: objects > exportedMax });
    await steps("memory", deployment, keep);
  }
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
}

type Keep = (result: StepResult) => void;

/** A deployment makes its first full import once: each round has tables of its own, the last one all other steps too. */
async function onAzurite(objects: number, keep: Keep): Promise<void> {
  const turns: Turn[] = [];
  let written: readonly Written[] = [];
  for (let round = 1; round <= rounds; round++) {
    const azurite = await startAzurite();
    try {
      const tables = new AzureTables(azurite);
      await openFloor(tables);
      const deployment = new Deployment(tables, objects);
      for (const profile of full) await deployment.profile("MIMMA", profile);
      const floor = () =>
        timed(async () => {
          await readForImport(tables, "none", deployment.guests);
          await writeAgain(tables, "import", written);
        });
      // Whoever comes second finds more in the tables.
      const before = round % 2 === 0 ? await floor() : null;
      const recorded = await recording(deployment, () => deployment.profile("AADMA", full[0]));
      written = recorded.written;
      turns.push({ measure: recorded.measure, floorMs: before ?? (await floor()) });
      if (round < rounds) continue;
      keep({ store: "azurite", objects, step: "full import, new", ...medianOf(turns) });
      await furtherSteps("azurite", deployment, keep, tables);
    } finally {
      await azurite.stop();
    }
  }
}

async function steps(store: StepResult["store"], deployment: Deployment, keep: Keep): Promise<void> {
  for (const profile of full) await deployment.profile("MIMMA", profile);
  const measure = await deployment.profile("AADMA", full[0]);
  keep({ store, objects: deployment.guests.size, step: "full import, new", ...measure });
  await furtherSteps(store, deployment, keep);
}

/** @param tables for the floor; without them there is none */
async function furtherSteps(
  store: StepResult["store"],
  deployment: Deployment,
  keep: Keep,
  tables?: Tables,
): Promise<void> {
  const objects = deployment.guests.size;
  const isStaging = objects > exportedMax;
  const tell = (step: string, measure: StepMeasure & Partial<Pick<StepResult, "floorMs" | "ratio">>) =>
    keep({ store, objects, step: isStaging ? `${step}, staging mode` : step, ...measure });
  /** A step that writes, and then the same bytes bare. */
  const writing = async (step: string, work: () => Promise<StepMeasure>) => {
    if (tables === undefined) return tell(step, await work());
    const { measure, written } = await recording(deployment, work);
    const floorMs = await timed(() => writeAgain(tables, step.replaceAll(/\W/g, ""), written));
    tell(step, { ...measure, floorMs, ratio: measure.ms / floorMs });
  };
  /** A step that finds nothing changed, in turns with its floor. */
  const reading = async (
    step: string,
    work: () => Promise<StepMeasure>,
    read: (from: Tables) => Promise<void>,
  ) => {
    if (tables === undefined) return tell(step, await work());
    const turns: Turn[] = [];
    for (let round = 1; round <= rounds; round++) {
      const { measure, written } = await recording(deployment, work);
      const floorMs = await timed(async () => {
        await read(tables);
        await writeAgain(tables, `${step.replaceAll(/\W/g, "")}${round}`, written);
      });
      turns.push({ measure, floorMs });
    }
    tell(step, medianOf(turns));
  };

  await writing("full synchronisation, new", () => deployment.profile("AADMA", full[1]));
  await reading(
    "full import, unchanged",
    () => deployment.profile("AADMA", full[0]),
    (from) => readForImport(from, "AADMA", deployment.guests),
  );
  if (!isStaging) {
    for (const profile of full) await deployment.profile("ADMA", profile);
    await writing("export, adds", () => deployment.profile("ADMA", "Export"));
    await writing("delta import, confirming", () => deployment.profile("ADMA", delta[0]));
    await writing("delta synchronisation, confirming", () => deployment.profile("ADMA", delta[1]));
  }
  await reading(
    "full synchronisation, unchanged",
    () => deployment.profile("AADMA", full[1]),
    readForSynchronisation,
  );
  await deployment.cycle("delta");
  tell("delta cycle, idle", await deployment.timer());
  for (let change = 0; change < 10; change++) deployment.guests.rename(change * 97);
  tell("delta cycle, 10 changes", await deployment.timer());
}

interface Turn {
  readonly measure: StepMeasure;
  readonly floorMs: number;
}

/** The turn of median length, with the medians of the floor and of the turns' ratios. */
function medianOf(
  turns: readonly Turn[],
): StepMeasure & { readonly floorMs: number; readonly ratio: number } {
  const byTime = turns.toSorted((a, b) => a.measure.ms - b.measure.ms);
  return {
    ...byTime[turns.length >>> 1]!.measure,
    floorMs: median(turns.map(({ floorMs }) => floorMs)),
    ratio: median(turns.map(({ measure, floorMs }) => measure.ms / floorMs)),
  };
}

async function recording(deployment: Deployment, work: () => Promise<StepMeasure>) {
  const written: Written[] = [];
  deployment.tables.recording = written;
  const measure = await work();
  deployment.tables.recording = null;
  return { measure, written };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work();
  return performance.now() - begun;
}
