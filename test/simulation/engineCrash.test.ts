/** Processes that die at any effect (transaction, message, write to a directory), over the real engine. */
import { describe, expect, test } from "vitest";
import type { Run } from "../../src/engine/stores/runs.ts";
import { EngineWorld, guestId, guestOu } from "../support/engineWorld.ts";

const statistics = ({ steps }: Run) => steps.map((step) => step.statistics);

/** What must hold once a run has ended, however it got there. */
async function expectRight(world: EngineWorld, point: number, wanted = world.wanted()): Promise<void> {
  const { status, steps } = await world.lastRun();
  expect({
    point,
    status,
    steps: steps.filter((step) => step.status !== "success"),
    wrong: world.wrong(wanted),
    outstanding: await world.outstanding(),
    twoPersons: [...(await world.persons()).values()].filter(({ length }) => length > 1),
    open: await world.engine.runs.openIds(),
  }).toEqual({ point, status: "success", steps: [], wrong: [], outstanding: [], twoPersons: [], open: [] });
}

async function expectNothingMore(world: EngineWorld, point: number): Promise<void> {
  const exported = world.accounts.writes.length;
  await world.cycle("delta");
  expect([point, ...world.accounts.writes.slice(exported)]).toEqual([point]);
}

const firstGuests = (world: EngineWorld) => {
  world.addGuest(1);
  world.addGuest(2, { externalUserState: "PendingAcceptance" });
};

test("the initial cycle counts what it did", async () => {
  const world = new EngineWorld();
  firstGuests(world);
  const run = await world.cycle("initial");
  await expectRight(world, 0);
  expect(statistics(run)).toEqual([
    { stageAdd: 2 },
    { disconnectorProjectedFlow: 2, provisionedAddFlow: 2 },
    {},
    {},
    { exportAdd: 2 },
    { stageAdd: 2 },
    { connectorFlow: 2 },
  ]);
  expect(run.steps[1]!.outbound).toEqual({ ADMA: { provisionedAddFlow: 2 } });
  expect(statistics(await world.cycle("delta"))).toEqual([{}, {}, {}, {}, {}, {}, {}]);
});

test("a process that dies at any effect of the initial cycle leaves nothing wrong", async () => {
  let point = 0;
  for (let ended = false; !ended; ) {
    point++;
    const world = new EngineWorld({ detectsDuplicates: point % 2 === 0 });
    firstGuests(world);
    world.restart(point);
    const run = await world.cycle("initial");
    ended = world.crashes === 0;
    await expectRight(world, point);
    const [imported, synchronized, , , exported] = run.steps;
    expect({
      point,
      imported: imported!.statistics.stageAdd,
      outbound: synchronized!.outbound,
      exported: exported!.statistics,
    }).toEqual({
      point,
      imported: 2,
      outbound: { ADMA: { provisionedAddFlow: 2 } },
      exported: { exportAdd: 2 },
    });
    if (point % 5 === 0) await expectNothingMore(world, point);
  }
  expect(point).toBeGreaterThan(150);
});

describe("a process that dies while the last object of a person goes leaves nothing of either:", () => {
  const afterGrace = (world: EngineWorld) => {
    world.now += 31 * 24 * 3_600_000;
  };

  test.each([
    [
      "a guest whose account was never sent",
      "AADMA",
      async (world: EngineWorld, id: string) => {
        await world.profile("AADMA", "Full Import (Stage Only)");
        await world.profile("AADMA", "Full Synchronization");
        world.guests.remove(id);
        await world.profile("AADMA", "Delta Import (Stage Only)");
        afterGrace(world);
      },
    ],
    [
      "an account that was deleted",
      "ADMA",
      async (world: EngineWorld, id: string) => {
        await world.cycle("initial");
        world.guests.remove(id);
        await world.cycle("delta");
        afterGrace(world);
        await world.profile("AADMA", "Delta Synchronization");
        await world.profile("ADMA", "Export");
        await world.profile("ADMA", "Delta Import (Stage Only)");
      },
    ],
  ] as const)("%s", async (_, connector, happen) => {
    let point = 0;
    for (let ended = false; !ended; ) {
      point++;
      const world = new EngineWorld({ detectsDuplicates: point % 2 === 0 });
      await happen(world, world.addGuest(1));
      expect((await world.persons()).size).toBe(1);
      world.restart(point);
      await world.profile(connector, "Delta Synchronization");
      ended = world.crashes === 0;
      await expectRight(world, point, new Map());
      const held = await Promise.all(["AADMA", "ADMA"].map((name) => world.countedAndHeld(name)));
      const none = { objects: 0, connectors: 0 };
      expect([point, (await world.persons()).size, ...held]).toEqual([point, 0, [none, none], [none, none]]);
    }
    expect(point).toBeGreaterThan(10);
  });
});

/** Six guests, then one is renamed, one added, one deleted, one restored, and somebody makes an account by hand. */
async function history(world: EngineWorld, crashAt: number): Promise<readonly Run[]> {
  for (let number = 1; number <= 6; number++) {
    world.addGuest(number, number === 5 ? { accountEnabled: false } : {});
  }
  world.guests.remove(guestId(6), "softDeleted");
  const runs = [await world.cycle("initial")];
  world.guests.restore(guestId(6));
  world.guests.change(guestId(1), { displayName: "Renamed Guest" });
  world.addGuest(7);
  world.guests.remove(guestId(3), "softDeleted");
  world.accounts.add(`CN=By Hand,${guestOu}`, { sAMAccountName: "byhand", userAccountControl: 512n });
  world.restart(crashAt);
  runs.push(await world.cycle("delta"));
  world.guests.restore(guestId(3));
  runs.push(await world.cycle("delta"));
  return runs;
}

test("a delta cycle without a change costs the same however many there are", async () => {
  for (const guests of [2, 60]) {
    const world = new EngineWorld();
    for (let number = 0; number < guests; number++) world.addGuest(number);
    await world.cycle("initial");
    const { reads, transactions } = world.tables;
    world.bus.sent.length = 0;
    await world.cycle("delta");
    expect(world.bus.sent).toHaveLength(7);
    expect(world.tables.transactions - transactions).toBeLessThanOrEqual(5 * 7);
    expect(world.tables.reads - reads).toBeLessThanOrEqual(10 * 7);
  }
});

describe.each([true, false])("a longer history (duplicate detection %s)", (detectsDuplicates) => {
  const never = Number.POSITIVE_INFINITY;

  test("undisturbed counts what it did", async () => {
    const world = new EngineWorld({ detectsDuplicates });
    const [, changed, restored] = await history(world, never);
    await expectRight(world, 0);
    expect(statistics(changed!)).toEqual([
      { stageAdd: 2, stageUpdate: 2 },
      { connectorFlow: 2, disconnectorProjectedFlow: 2, provisionedAddFlow: 2 },
      { stageAdd: 1 },
      { disconnectorRemains: 1 },
      { exportAdd: 2, exportUpdate: 2 },
      { stageAdd: 2, stageUpdate: 2 },
      { connectorFlow: 3, connectorNoFlow: 1 },
    ]);
    expect(statistics(restored!)).toEqual([
      { stageUpdate: 1 },
      { connectorFlow: 1 },
      {},
      {},
      { exportUpdate: 1 },
      { stageUpdate: 1 },
      { connectorFlow: 1 },
    ]);
    await expectNothingMore(world, 0);
  });

  test("with a process that dies anywhere ends the same", async () => {
    const stride = 23;
    let point = detectsDuplicates ? 1 : 1 + Math.floor(stride / 2);
    for (let ended = false; !ended; point += stride) {
      const world = new EngineWorld({ detectsDuplicates });
      await history(world, point);
      ended = world.crashes === 0;
      await expectRight(world, point);
      expect(world.accounts.listed()).toHaveLength(8);
      await expectNothingMore(world, point);
    }
    expect(point).toBeGreaterThan(100);
  });

  test("with processes that all die young ends the same", async () => {
    for (const life of [25, 40]) {
      const world = new EngineWorld({ detectsDuplicates });
      world.lifeOfEach = life;
      await history(world, life);
      expect(world.crashes).toBeGreaterThan(3);
      world.lifeOfEach = never;
      await world.cycle("delta");
      await expectRight(world, life);
      expect(world.accounts.listed()).toHaveLength(8);
      await expectNothingMore(world, life);
    }
  });
});
