/** What the exporter really sends, of runs of the real engine, to an endpoint on this machine. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Telemetry } from "../../src/engine/ports/telemetry.ts";
import type { Run } from "../../src/engine/stores/runs.ts";
import { traceIdOf } from "../../src/telemetry/azureMonitor.ts";
import { countedBus, countedTables } from "../../src/telemetry/counted.ts";
import { openTelemetry } from "../../src/telemetry/open.ts";
import { tellSignals } from "../../src/telemetry/signals.ts";
import { EngineWorld, guestId } from "../support/engineWorld.ts";
import { type Envelope, type Ingestion, openIngestion } from "../support/ingestion.ts";

let ingestion: Ingestion;
let telemetry: Telemetry;
let stopSignals: () => void;
let good: Run;
let held: Run;

const of = (type: string) => ingestion.received.filter(({ data }) => data.baseType === type);
const events = (name: string) => of("EventData").filter(({ data }) => data.baseData.name === name);
const operation = ({ tags }: Envelope) => tags["ai.operation.id"];
const metrics = (name: string) =>
  of("MetricData").flatMap(({ data: { baseData } }) =>
    baseData
      .metrics!.filter((metric) => metric.name === name)
      .map(({ value }) => ({ value, ...baseData.properties })),
  );

beforeAll(async () => {
  ingestion = await openIngestion();
  const { connectionString } = ingestion;
  const credential = { getToken: () => Promise.reject(new Error("the key is enough")) };
  telemetry = openTelemetry(
    { connectionString, byIdentity: false, passwordEnds: undefined, webhook: undefined },
    credential,
    "1.2.3",
    (message) => {
      throw new Error(message);
    },
  );
  stopSignals = tellSignals(telemetry, () => Date.now()).stop;
  const world = new EngineWorld({ telemetry, connector: { pageSize: 10 } });
  for (let number = 0; number < 30; number++) world.addGuest(number);
  good = await world.cycle("initial");
  for (let number = 0; number < 10; number++) world.guests.change(guestId(number), { accountEnabled: false });
  held = await world.cycle("delta");
  await world.engine.watch();

  const tables = countedTables(world.tables, telemetry);
  await tables.get("runs", "a", "b");
  await tables.query("runs", { partition: "a" });
  await countedBus(world.bus, telemetry).send("import-steps", {
    runId: "r",
    step: 0,
    shard: "main",
    seq: 0,
    attempt: 0,
  });
  await telemetry.flush();
});
afterAll(async () => {
  stopSignals();
  await ingestion.close();
});

test("the runs are what they are meant to be", () => {
  expect([good.status, held.status]).toEqual(["success", "stopped-disable-threshold-exceeded"]);
});

describe("Application Insights gets", () => {
  test("one operation of each run, from its messages to its end, whatever process they ran in", () => {
    const requests = of("RequestData");
    for (const { id } of [good, held]) {
      const mine = requests.filter(({ data }) => data.baseData.properties?.run === id);
      expect(mine.length).toBeGreaterThan(6);
      expect(new Set(mine.map(operation))).toEqual(new Set([traceIdOf(id)]));
      const run = mine.filter(({ data }) => data.baseData.name?.endsWith(" cycle"));
      expect(run).toHaveLength(1);
      const messages = mine.filter((one) => one !== run[0]);
      expect(new Set(messages.map(({ tags }) => tags["ai.operation.parentId"]))).toEqual(
        new Set([run[0]!.data.baseData.id]),
      );
    }
  });

  test("one event of each run, in the run's operation, and of a stop that waits for somebody", () => {
    const ended = events("RunEnded");
    expect(ended.map(operation)).toEqual([traceIdOf(good.id), traceIdOf(held.id)]);
    expect(ended.map(({ data }) => data.baseData.properties)).toMatchObject([
      { run: good.id, what: "initial cycle", status: "success", outcome: "succeeded", remedy: "" },
      { run: held.id, what: "delta cycle", outcome: "held", connector: "ADMA" },
    ]);
    expect(events("ExportHeld").map(({ data }) => data.baseData.properties)).toMatchObject([
      {
        connector: "ADMA",
        status: "stopped-disable-threshold-exceeded",
        remedy: expect.stringContaining("vestibule plan ADMA"),
      },
    ]);
  });

  test("metrics of objects, pending changes, durations, watermarks and requests", () => {
    expect(metrics("vestibule.objects")).toContainEqual({
      value: 30,
      connector: "ADMA",
      profile: "Export",
      counter: "exportAdd",
    });
    expect(metrics("vestibule.pending")).toContainEqual(
      expect.objectContaining({ connector: "ADMA", kind: "export.update", value: 10 }),
    );
    for (const name of [
      "vestibule.step.duration",
      "vestibule.run.duration",
      "vestibule.watermark.age",
      "vestibule.cycle.age",
    ]) {
      expect(metrics(name).length, name).toBeGreaterThan(0);
    }
    expect(metrics("vestibule.storage.operations")).toHaveLength(2);
    expect(metrics("vestibule.queue.operations")).toEqual([{ value: 1, queue: "import-steps" }]);
  });

  test("nothing of the people that were synchronised", () => {
    expect(ingestion.raw()).not.toMatch(/@example\.org|#EXT#|Guest 0|CN=/);
    expect(ingestion.raw()).not.toContain(guestId(3));
  });
});
