/** What the engine does when directories fail, answer too little, or ask for too much, over the real engine. */
import { describe, expect, test } from "vitest";
import { ConnectorError } from "../../src/engine/ports/connector.ts";
import { CountedTables, EngineWorld, guestId, guestOu, guestValues } from "../support/engineWorld.ts";

const dayMs = 86_400_000;
const statuses = (run: { steps: readonly { status: string }[] }) => run.steps.map(({ status }) => status);

async function worldOf(guests: number): Promise<EngineWorld> {
  const world = new EngineWorld({ connector: { pageSize: 10 } });
  for (let number = 0; number < guests; number++) world.addGuest(number);
  await world.cycle("initial");
  expect(world.wrong()).toEqual([]);
  world.accounts.writes.length = 0;
  return world;
}

describe("a listing that shows too little", () => {
  const forget = (world: EngineWorld, count: number) => {
    for (let number = 0; number < count; number++) world.guests.forgotten.add(guestId(number));
  };

  test.each([
    ["by the source's own count", true, 20],
    ["for what is known, though the source does not count", false, 20],
    ["when it is empty", false, 30],
    ["when it is empty, by the count", true, 30],
  ])("ends the cycle %s, and nothing is taken as deleted", async (_, counts, forgotten) => {
    const world = await worldOf(30);
    world.guests.counts = counts;
    forget(world, forgotten);
    const run = await world.cycle("initial");
    expect(run.status).toBe("completed-discovery-errors");
    expect(statuses(run).slice(1)).toEqual(Array(6).fill("not-run"));
    expect(run.steps[0]!.detail).toContain("Nothing was taken as deleted");
    world.guests.forgotten.clear();
    expect((await world.cycle("delta")).status).toBe("success");
    expect(world.accounts.writes).toEqual([]);
    expect((await world.tables.rows("imports")).map(({ row }) => row)).toEqual([]);
  });

  test("keeps its watermark: who was deleted meanwhile is found by the next delta import", async () => {
    const world = await worldOf(30);
    world.guests.remove(guestId(29), "deleted");
    forget(world, 20);
    expect((await world.cycle("initial")).status).toBe("completed-discovery-errors");
    world.guests.forgotten.clear();
    const run = await world.cycle("delta");
    expect(run.steps[0]).toMatchObject({ status: "success", statistics: { stageUpdate: 1 } });
    expect(world.wrong()).toEqual([]);
    expect(world.accounts.writes).toHaveLength(1);
  });

  test("by a few is looked at one by one, and what is there stays", async () => {
    const world = await worldOf(30);
    forget(world, 2);
    world.guests.remove(guestId(5), "deleted");
    const run = await world.profile("AADMA", "Full Import (Stage Only)");
    expect(run.status).toBe("completed-warnings");
    expect(run.steps[0]!.detail).toContain("2 objects that are there");
    expect(run.steps[0]!.statistics).toMatchObject({ stageUpdate: 1 });
    await world.cycle("delta");
    expect(world.accounts.writes).toHaveLength(1);
    expect(world.wrong()).toEqual([]);
  });

  test("is looked at in time slices, each object once", async () => {
    const world = new EngineWorld({ connector: { pageSize: 100 }, timings: { budgetMs: 0 } });
    for (let number = 0; number < 250; number++) world.addGuest(number);
    await world.profile("AADMA", "Full Import (Stage Only)");
    for (let number = 0; number < 250; number++) world.guests.remove(guestId(number));
    world.addGuest(250);
    world.guests.counts = false;
    const connector = world.engine.connector("AADMA");
    const asked: string[] = [];
    const readAbsent = connector.readAbsent.bind(connector);
    connector.readAbsent = async (anchors, context) => {
      asked.push(...anchors);
      return readAbsent(anchors, context);
    };
    const shrinking = world.engine.configuration.connectors.get("AADMA")!.limits as { shrinkPercent: number };
    const { shrinkPercent } = shrinking;
    shrinking.shrinkPercent = 100;
    const run = await world.profile("AADMA", "Full Import (Stage Only)");
    shrinking.shrinkPercent = shrinkPercent;
    expect(run.steps[0]!.statistics).toMatchObject({ stageAdd: 1, stageDelete: 250 });
    expect(asked.sort()).toEqual(Array.from({ length: 250 }, (_, number) => guestId(number)));
    expect(world.said.filter((outcome) => outcome === "continues").length).toBeGreaterThan(3);
  });

  test("first something else and then the truth ends with the truth", async () => {
    const world = await worldOf(30);
    const id = guestId(29);
    world.guests.shownBefore.set(id, guestValues(id, { displayName: "For A Moment" }));
    await world.profile("AADMA", "Full Import (Stage Only)");
    world.guests.shownBefore.clear();
    await world.cycle("delta");
    expect(world.wrong()).toEqual([]);
  });
});

describe("too many at once", () => {
  test("disabled accounts are held, everything else goes on", async () => {
    const world = await worldOf(40);
    for (let number = 0; number < 6; number++) world.guests.remove(guestId(number), "softDeleted");
    const run = await world.cycle("delta");
    expect(run.status).toBe("stopped-disable-threshold-exceeded");
    expect(run.steps[4]!.detail).toContain("6 pending exports of kind disable");
    expect(world.accounts.writes).toEqual([]);
    for (let number = 0; number < 6; number++) world.guests.restore(guestId(number));
    expect((await world.cycle("delta")).status).toBe("success");
    expect(world.accounts.writes).toEqual([]);
    expect(world.wrong()).toEqual([]);
    expect(await world.outstanding()).toEqual([]);
  });

  test("disabled accounts are counted with those of the last 24 hours, and held until somebody decides", async () => {
    const world = await worldOf(40);
    const remove = async (from: number, count: number) => {
      for (let number = from; number < from + count; number++)
        world.guests.remove(guestId(number), "softDeleted");
      return world.cycle("delta");
    };
    expect((await remove(0, 3)).status).toBe("success");
    expect((await remove(3, 3)).status).toBe("stopped-disable-threshold-exceeded");
    world.now += dayMs + 60_000;
    // What is planned now is below the limit, and nobody has decided.
    expect((await world.cycle("delta")).status).toBe("stopped-disable-threshold-exceeded");
    expect(world.accounts.writes).toHaveLength(3);
    expect((await world.approve()).status).toBe("success");
    expect(world.accounts.writes).toHaveLength(6);
    expect((await world.cycle("delta")).status).toBe("success");
    world.now += 31 * dayMs;
    const run = await world.cycle("delta");
    expect(run.status).toBe("stopped-deletion-threshold-exceeded");
    expect(world.accounts.writes).toHaveLength(6);
    expect(world.accounts.listed()).toHaveLength(40);
    expect((await world.engine.runs.openIds()).length).toBe(0);
  });
});

describe("tables that do not know what the directories hold", () => {
  test("because they are empty: nothing is created, disabled or deleted", async () => {
    const world = await worldOf(24);
    world.guests.remove(guestId(3), "softDeleted");
    await world.cycle("delta");
    const byHand = world.accounts.add(`CN=By Hand,${guestOu}`, { sAMAccountName: "byhand" });
    const disabled = world.accountsOf(guestId(7))[0]!;
    world.accounts.change(disabled.anchor, { userAccountControl: 262658n });
    world.accounts.writes.length = 0;
    world.restore(new CountedTables());
    await world.engine.onTimer();
    await world.settle();
    expect((await world.lastRun()).cycle).toBe("initial");
    expect(world.accounts.writes).toEqual([]);
    expect(world.accounts.listed()).toContain(byHand);
    expect(disabled.attributes.userAccountControl).toBe(262658n);
    world.guests.change(guestId(8), { displayName: "Known Again" });
    await world.cycle("delta");
    expect(world.accounts.writes).toEqual([expect.stringContaining(`update CN=${guestId(8)}`)]);
  });

  test("because they are empty, and the export comes first: the accounts are met again", async () => {
    const world = await worldOf(24);
    world.restore(new CountedTables());
    await world.profile("AADMA", "Full Import (Stage Only)");
    await world.profile("AADMA", "Full Synchronization");
    const run = await world.profile("ADMA", "Export");
    expect(run.steps[0]!.statistics).toEqual({ exportAdd: 24 });
    expect(world.accounts.writes).toEqual([]);
    await world.cycle("delta");
    expect(world.wrong()).toEqual([]);
    expect(await world.outstanding()).toEqual([]);
    expect(world.accounts.listed()).toHaveLength(24);
  });

  test.each([0, 1, 5, 20, 60, 90])("because they are older, from within a cycle (message %i)", async (at) => {
    const world = await worldOf(24);
    world.guests.change(guestId(1), { displayName: "Renamed" });
    world.addGuest(24);
    world.guests.remove(guestId(2), "softDeleted");
    world.now += 1000;
    await world.engine.startCycle("delta", "http");
    for (let count = 0; count < at; count++) await world.deliver();
    const old = await world.tables.copy();
    await world.settle();
    world.addGuest(25);
    world.guests.change(guestId(4), { accountEnabled: false });
    await world.cycle("delta");
    expect(world.wrong()).toEqual([]);
    world.accounts.writes.length = 0;

    world.now += 7 * dayMs;
    world.restore(old);
    await world.surviving(() => world.engine.protocol.watch());
    await world.settle();
    await world.cycle("delta");
    await world.cycle("delta");
    expect(world.wrong()).toEqual([]);
    expect(await world.outstanding()).toEqual([]);
    // The reason of a disable names the time of the absence, which is another one now.
    expect(world.accounts.writes.filter((write) => !write.includes(guestId(2)))).toEqual([]);
    expect(world.accounts.listed()).toHaveLength(26);
  });
});

describe("a directory that fails", () => {
  const unreachable = () => new ConnectorError("unreachable", "AD_URL does not answer.");

  test("in the middle of a batch: the rest is sent later, nothing twice", async () => {
    const world = new EngineWorld();
    for (let number = 0; number < 12; number++) world.addGuest(number);
    let writes = 0;
    world.accounts.beforeWrite = () => {
      if (++writes === 5) throw unreachable();
    };
    world.accounts.afterWrite = () => {
      if (writes === 9) {
        writes++;
        throw unreachable();
      }
    };
    const run = await world.cycle("initial");
    expect(run.status).toBe("success");
    expect(run.steps[4]!.statistics).toEqual({ exportAdd: 12 });
    expect(world.wrong()).toEqual([]);
    expect(await world.outstanding()).toEqual([]);
    expect(world.accounts.writes).toHaveLength(12);
  });

  test("by being slow is written to only while the lease outlasts a write, and each write is made once", async () => {
    const world = new EngineWorld();
    for (let number = 0; number < 3; number++) world.addGuest(number);
    let leaseUntil = 0;
    world.beforeTransaction = (table, [operation]) => {
      if (table === "checkpoints" && operation?.kind === "replace")
        ({ leaseUntil } = JSON.parse(String(operation.properties.checkpoint)));
    };
    const left: number[] = [];
    world.accounts.beforeWrite = () => {
      left.push(leaseUntil - world.now);
      world.now += 20_000;
    };
    expect((await world.cycle("initial")).status).toBe("success");
    expect(left).toEqual([60_000, 60_000, 60_000]);
    expect(world.wrong()).toEqual([]);
  });

  test("whose every answer is lost for a day: the step ends, and the next cycles go on", async () => {
    const world = new EngineWorld();
    for (let number = 0; number < 5; number++) world.addGuest(number);
    world.accounts.afterWrite = () => {
      throw unreachable();
    };
    const run = await world.cycle("initial");
    expect(statuses(run).slice(4)).toEqual(["stopped-connectivity", "not-run", "not-run"]);
    expect(run.steps[4]!.detail).toBe("AD_URL does not answer.");
    world.accounts.afterWrite = () => undefined;
    expect((await world.cycle("delta")).status).toBe("success");
    expect((await world.cycle("delta")).status).toBe("success");
    expect(world.wrong()).toEqual([]);
    expect(await world.outstanding()).toEqual([]);
    expect(world.accounts.writes).toHaveLength(5);
  });

  test("does not keep the other from being imported", async () => {
    const world = new EngineWorld();
    world.addGuest(1);
    world.accounts.failure = unreachable();
    expect((await world.profile("AADMA", "Full Import (Stage Only)")).status).toBe("success");
    const run = await world.profile("ADMA", "Full Import (Stage Only)");
    expect([run.status, run.steps[0]!.detail]).toEqual(["no-start-connection", "AD_URL does not answer."]);
    world.accounts.failure = null;
    await world.cycle("delta");
    expect(world.wrong()).toEqual([]);
  });

  test("by an endless message leaves a run that can be read", async () => {
    const world = new EngineWorld();
    world.guests.failure = new ConnectorError("permission-denied", "x".repeat(100_000));
    const run = await world.cycle("initial");
    expect(run.status).toBe("stopped-permission");
    expect(run.steps[0]!.detail!.length).toBeLessThan(3000);
  });

  test("by forgetting the watermark gets a full import", async () => {
    const world = await worldOf(6);
    world.guests.honouredFrom = ++world.guests.version;
    world.guests.change(guestId(1), { displayName: "Found By The Full Import" });
    const run = await world.cycle("delta");
    expect(run.steps[0]!.detail).toContain("a full import was made");
    expect(run.steps[0]!.statistics).toEqual({ stageUpdate: 1, stageNoChange: 5 });
    expect(world.wrong()).toEqual([]);
  });
});
