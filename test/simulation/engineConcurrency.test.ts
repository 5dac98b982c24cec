/** Processes that work side by side, that freeze and thaw, and that come too late, over the real engine. */
import { describe, expect, test } from "vitest";
import type { Operation, Row } from "../../src/engine/ports/tables.ts";
import { EngineWorld, guestId, guestOu } from "../support/engineWorld.ts";

const newEngines = (world: EngineWorld, count: number) =>
  Array.from({ length: count }, () => world.newEngine());

/** Freezes the first process that comes to such a transaction, until `thaw` is called. */
function freezeAt(world: EngineWorld, isThere: (table: string, operations: readonly Operation[]) => boolean) {
  let thaw = () => {};
  let frozen = false;
  world.beforeTransaction = async (table, operations) => {
    if (frozen || !isThere(table, operations)) return;
    frozen = true;
    await new Promise<void>((resolve) => {
      thaw = resolve;
    });
  };
  return { thaw: () => thaw(), isFrozen: () => frozen };
}

async function until(holds: () => boolean): Promise<void> {
  for (let turn = 0; turn < 10_000 && !holds(); turn++) await new Promise(setImmediate);
  expect(holds()).toBe(true);
}

/** Delivers until the process that takes a message freezes in it. @returns how that delivery ends. */
async function deliverUntilFrozen(
  world: EngineWorld,
  isFrozen: () => boolean,
): Promise<{ readonly outcome: Promise<string | null> }> {
  for (let count = 0; count < 500; count++) {
    const delivery = world.deliver();
    let done = false;
    const settled = delivery.then(() => {
      done = true;
    });
    await until(() => done || isFrozen());
    if (isFrozen()) return { outcome: delivery };
    await settled;
  }
  throw new Error("Nothing froze.");
}

const contentOf = (rows: readonly Row[]) =>
  rows.map(({ partition, row, properties }) => [`${partition} ${row}`, properties] as const).sort(byKey);
const byKey = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]) => (a < b ? -1 : 1);
const isObject = (operations: readonly Operation[]) => operations.some(({ row }) => row.startsWith("o|"));

describe("a frozen process that thaws", () => {
  test.each([
    ["an import", (table: string) => table === "connectorspace"],
    ["a synchronisation", (table: string) => table === "metaverse"],
    [
      "the second phase",
      (table: string, rows: readonly Operation[]) =>
        table === "connectorspace" && rows.some(({ row }) => row.startsWith("e|")),
    ],
  ])("in %s cannot commit once another has taken over", async (_, isThere) => {
    const world = new EngineWorld();
    for (let number = 1; number <= 4; number++) world.addGuest(number);
    const frozen = freezeAt(world, (table, rows) => isThere(table, rows) && isObject(rows));
    await world.engine.startCycle("initial", "http");
    const slow = await deliverUntilFrozen(world, frozen.isFrozen);
    world.engine = world.newEngine();
    world.now += 91_000;
    await world.settle();
    const before = await world.tables.copy();
    frozen.thaw();
    expect(await slow.outcome).toMatch(/taken over/);
    for (const table of ["connectorspace", "metaverse"]) {
      expect(contentOf(await world.tables.rows(table))).toEqual(contentOf(await before.rows(table)));
    }
    expect(world.wrong()).toEqual([]);
    expect(await world.outstanding()).toEqual([]);
    expect((await world.lastRun()).steps.map(({ statistics }) => statistics)).toEqual([
      { stageAdd: 4 },
      { disconnectorProjectedFlow: 4, provisionedAddFlow: 4 },
      {},
      {},
      { exportAdd: 4 },
      { stageAdd: 4 },
      { connectorFlow: 4 },
    ]);
  });

  test("in a run that was stopped meanwhile commits nothing, and the next run is undisturbed", async () => {
    const world = new EngineWorld();
    for (let number = 1; number <= 6; number++) world.addGuest(number);
    await world.profile("AADMA", "Full Import (Stage Only)");
    const isFlowing = (table: string, rows: readonly Operation[]) =>
      table === "connectorspace" && rows.some(({ row }) => row.startsWith("e|"));
    const frozen = freezeAt(world, isFlowing);
    world.now += 1000;
    const { id } = await world.engine.startProfile("AADMA", "Full Synchronization", "http");
    const slow = await deliverUntilFrozen(world, frozen.isFrozen);
    world.engine = world.newEngine();
    await world.engine.protocol.requestStop(id);
    await world.quiet();
    expect((await world.engine.runs.get(id))!.run.status).toBe("stopped-user");
    const run = await world.cycle("initial");
    const before = await world.tables.rows("connectorspace");
    frozen.thaw();
    expect(await slow.outcome).toMatch(/taken over/);
    expect(await world.tables.rows("connectorspace")).toEqual(before);
    expect(world.wrong()).toEqual([]);
    expect(run.steps[4]!.statistics).toEqual({ exportAdd: 6 });
    expect(await world.countedAndHeld("ADMA")).toEqual([
      { objects: 6, connectors: 6 },
      { objects: 6, connectors: 6 },
    ]);
  });

  test("while it tidies up after a step takes no new pending import off the map", async () => {
    const world = new EngineWorld();
    const id = world.addGuest(1);
    await world.cycle("initial");
    world.guests.change(id, { displayName: "First" });
    await world.profile("AADMA", "Delta Import (Stage Only)");
    const frozen = freezeAt(world, (table, rows) => table === "watermarks" && rows[0]?.row === "AADMA");
    world.now += 1000;
    await world.engine.startProfile("AADMA", "Delta Synchronization", "http");
    const last = [...world.bus.waiting];
    const slow = await deliverUntilFrozen(world, frozen.isFrozen);
    world.engine = world.newEngine();
    world.bus.waiting.push(...last);
    world.now += 200_000;
    await world.settle();
    world.guests.change(id, { displayName: "Second" });
    await world.profile("AADMA", "Delta Import (Stage Only)");
    frozen.thaw();
    await slow.outcome;
    await world.profile("AADMA", "Delta Synchronization");
    expect(await world.persons()).toHaveProperty("size", 1);
    await world.profile("ADMA", "Export");
    expect(world.wrong()).toEqual([]);
  });
});

describe.each([1, 2, 3])("four processes at once, in order %i", (seed) => {
  test("share the shards of accounts that lie elsewhere, and count each once", async () => {
    const world = new EngineWorld();
    const guests = 48;
    for (let number = 0; number < guests; number++) {
      const id = world.addGuest(number);
      world.accounts.add(`CN=${id},${guestOu}`, {
        adminDescription: `User_${id}`,
        sAMAccountName: id.slice(0, 20),
        userAccountControl: 262656n,
        employeeType: "Guest",
      });
    }
    // A different, repeatable order of transactions for each seed.
    let state = seed;
    world.beforeTransaction = async () => {
      state = (state * 48_271) % 2_147_483_647;
      for (let turn = state % 3; turn > 0; turn--) await Promise.resolve();
      if (state % 5 === 0) await new Promise(setImmediate);
    };
    const engines = newEngines(world, 4);
    await world.engine.startCycle("initial", "http");
    await world.together(engines);
    const first = await world.lastRun();
    expect(first.status).toBe("success");
    expect(first.steps.map(({ statistics }) => statistics)).toEqual([
      { stageAdd: guests },
      { disconnectorProjectedFlow: guests, provisionedAddFlow: guests },
      { stageAdd: guests },
      { disconnectorJoinedFlow: guests },
      { exportUpdate: guests },
      { stageUpdate: guests },
      { connectorNoFlow: guests },
    ]);
    for (let number = 0; number < guests; number++) {
      world.guests.change(guestId(number), { displayName: `Renamed ${number}` });
    }
    world.now += 1000;
    await world.engine.startCycle("delta", "http");
    await world.together(engines);
    const { steps } = await world.lastRun();
    expect(steps[1]!.statistics).toEqual({ connectorFlow: guests });
    expect(steps[4]!.statistics).toEqual({ exportUpdate: guests });
    expect(world.wrong()).toEqual([]);
    expect(await world.outstanding()).toEqual([]);
    expect(world.accounts.listed()).toHaveLength(guests);
    for (const connector of ["AADMA", "ADMA"]) {
      const whole = { objects: guests, connectors: guests };
      expect(await world.countedAndHeld(connector)).toEqual([whole, whole]);
    }
  });
});
