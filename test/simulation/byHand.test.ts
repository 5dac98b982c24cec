/** What a person does by hand with one object, over the real engine: joins, disconnections, accepted imports. */
import { describe, expect, test } from "vitest";
import { ByHand, NotPossible, NotThere, type Wanted } from "../../src/engine/byHand.ts";
import { Queries } from "../../src/engine/queries.ts";
import { EngineWorld, guestId, guestOu, Life } from "../support/engineWorld.ts";
import { Crash } from "../support/runWorld.ts";

const caller = { who: "ann@corp.example", trigger: "http", why: "as agreed" } as const;

async function worldOf(guests: number): Promise<EngineWorld> {
  const world = new EngineWorld();
  for (let number = 0; number < guests; number++) world.addGuest(number);
  await world.cycle("initial");
  expect(world.wrong()).toEqual([]);
  world.accounts.writes.length = 0;
  return world;
}

/** From the asking to the end of the run. */
async function order(world: EngineWorld, connector: string, key: string, wanted: Wanted) {
  world.now += 1000;
  await new ByHand(world.engine).order(connector, key, wanted, caller);
  await world.settle();
  return world.lastRun();
}

const object = async (world: EngineWorld, connector: string, anchor: string) =>
  (await world.engine.connectorSpace.findByAnchor(connector, anchor))!.object;
const accountOf = (world: EngineWorld, number: number) => world.accountsOf(guestId(number))[0]!;
const personOf = async (world: EngineWorld, number: number) =>
  (await object(world, "AADMA", guestId(number))).metaverseId!;

describe("an account that is disconnected by hand", () => {
  test("stays as it is and alone: no rule joins it, and none is made beside it", async () => {
    const world = await worldOf(3);
    const { anchor } = accountOf(world, 1);
    const person = await personOf(world, 1);
    const run = await order(world, "ADMA", anchor, { kind: "disconnect", as: "explicit" });
    expect(run).toMatchObject({ status: "success", startedBy: "ann@corp.example" });
    expect(await object(world, "ADMA", anchor)).toMatchObject({
      metaverseId: null,
      disconnector: "explicit",
      pendingExport: null,
    });
    world.guests.change(guestId(1), { displayName: "Changed" });
    await world.cycle("delta");
    await world.cycle("initial");
    expect(world.accounts.writes).toEqual([]);
    expect(world.accountsOf(guestId(1))).toHaveLength(1);
    const { object: metaverse } = (await world.engine.metaverse.get(person))!;
    expect(metaverse.connectors.map(({ connector }) => connector)).toEqual(["AADMA"]);
    expect(Object.values(metaverse.attributes).filter(({ connector }) => connector === "ADMA")).toEqual([]);
  });

  test.each<[string, (person: string) => Wanted, boolean]>([
    ["a join by hand", (metaverseId) => ({ kind: "join", metaverseId }), true],
    ["being made a normal disconnector", () => ({ kind: "disconnect", as: "normal" }), false],
  ])("comes back by %s", async (_, undo, explicitConnector) => {
    const world = await worldOf(3);
    const { anchor } = accountOf(world, 1);
    const person = await personOf(world, 1);
    await order(world, "ADMA", anchor, { kind: "disconnect", as: "explicit" });
    await order(world, "ADMA", anchor, undo(person));
    world.guests.change(guestId(1), { displayName: "Changed" });
    await world.cycle("initial");
    expect(await object(world, "ADMA", anchor)).toMatchObject({ metaverseId: person, explicitConnector });
    expect(world.wrong()).toEqual([]);
    expect(await world.outstanding()).toEqual([]);
  });

  test("is in the audit with who, why and what it was", async () => {
    const world = await worldOf(1);
    const { anchor } = accountOf(world, 0);
    const run = await order(world, "ADMA", anchor, { kind: "disconnect", as: "explicit" });
    const { entries } = await world.engine.audit.page(10);
    expect(entries).toMatchObject([
      {
        who: "ann@corp.example",
        what: "disconnect",
        why: "as agreed",
        about: { connector: "ADMA", runId: run.id },
        details: { before: "connector", as: "explicit" },
      },
    ]);
  });
});

test("a guest that is disconnected by hand takes along what it contributed; the account goes its way", async () => {
  const world = await worldOf(3);
  const person = await personOf(world, 1);
  await order(world, "AADMA", guestId(1), { kind: "disconnect", as: "explicit" });
  const left = await world.engine.metaverse.get(person);
  expect(left?.object.deleted ?? true).toBe(true);
  await world.cycle("initial");
  expect((await world.persons()).get(guestId(1))).toBeUndefined();
  expect(await object(world, "AADMA", guestId(1))).toMatchObject({ disconnector: "explicit" });
});

test("an account joined by hand is the person's, whatever it looks like, and no other is made", async () => {
  const world = new EngineWorld();
  world.addGuest(0);
  const foreign = world.accounts.add(`CN=Foreign,${guestOu}`, { sAMAccountName: "foreign" });
  await world.profile("AADMA", "Full Import (Stage Only)");
  await world.profile("AADMA", "Full Synchronization");
  await world.profile("ADMA", "Full Import (Stage Only)");
  const metaverseId = await personOf(world, 0);
  await order(world, "ADMA", foreign.anchor, { kind: "join", metaverseId });
  await world.cycle("delta");
  await world.cycle("initial");
  expect(world.accounts.listed()).toHaveLength(1);
  expect(foreign.attributes.displayName).toBe(`Guest ${guestId(0)}`);
  expect(await object(world, "ADMA", foreign.anchor)).toMatchObject({ metaverseId, explicitConnector: true });
  expect(await world.outstanding()).toEqual([]);
});

test("what cannot be done is said at once", async () => {
  const world = await worldOf(2);
  const byHand = new ByHand(world.engine);
  const { anchor } = accountOf(world, 0);
  const other = await personOf(world, 1);
  await expect(byHand.order("ADMA", anchor, { kind: "join", metaverseId: other }, caller)).rejects.toThrow(
    NotPossible,
  );
  await expect(
    byHand.order("ADMA", anchor, { kind: "join", metaverseId: "0".repeat(32) }, caller),
  ).rejects.toThrow(NotThere);
  await expect(byHand.order("ADMA", "nobody", { kind: "retry" }, caller)).rejects.toThrow(NotThere);
  expect((await world.engine.audit.page(10)).entries).toEqual([]);
});

test("a person who has an account already is no place for another", async () => {
  const world = await worldOf(2);
  const foreign = world.accounts.add(`CN=Foreign,${guestOu}`, { sAMAccountName: "foreign" });
  await world.profile("ADMA", "Full Import (Stage Only)");
  const metaverseId = await personOf(world, 0);
  const run = await order(world, "ADMA", foreign.anchor, { kind: "join", metaverseId });
  expect(run.status).toBe("completed-warnings");
  expect(run.steps[0]!.detail).toContain("is connected to it");
  expect(await object(world, "ADMA", foreign.anchor)).toMatchObject({ metaverseId: null });
});

test("one object is synchronised, the others are left as they are", async () => {
  const world = await worldOf(3);
  for (const number of [0, 1]) world.guests.change(guestId(number), { displayName: `Changed ${number}` });
  await world.profile("AADMA", "Delta Import (Stage Only)");
  const run = await order(world, "AADMA", guestId(1), { kind: "synchronize" });
  expect(run.steps[0]).toMatchObject({ profile: "Synchronize Object", statistics: { connectorFlow: 1 } });
  expect((await object(world, "AADMA", guestId(1))).pendingImport).toBeNull();
  expect((await object(world, "AADMA", guestId(0))).pendingImport).toMatchObject({ change: "update" });
  expect((await object(world, "ADMA", accountOf(world, 1).anchor)).pendingExport).toMatchObject({
    attributes: [{ name: "displayName", after: "Changed 1" }],
  });
  await world.cycle("delta");
  expect(world.wrong()).toEqual([]);
});

test("wherever the process dies, a join and a disconnection by hand are done in the end", async () => {
  for (let effects = 1; effects < 60; effects++) {
    const world = await worldOf(2);
    const { anchor } = accountOf(world, 0);
    const metaverseId = await personOf(world, 0);
    const wanted: readonly Wanted[] = [
      { kind: "disconnect", as: "explicit" },
      { kind: "join", metaverseId },
    ];
    let crashes = 0;
    for (const one of wanted) {
      world.now += 1000;
      const { crashes: before } = world;
      await new ByHand(world.engine).order("ADMA", anchor, one, caller);
      world.restart(effects);
      await world.settle();
      crashes += world.crashes - before;
      world.restart();
    }
    expect(await object(world, "ADMA", anchor)).toMatchObject({ metaverseId, explicitConnector: true });
    expect(await world.outstanding()).toEqual([]);
    if (crashes === 0) return;
  }
  throw new Error("It never got through without a crash.");
});

describe("a full import that has shrunk", () => {
  async function shrunk(counts = false) {
    const world = new EngineWorld({ connector: { pageSize: 10 } });
    for (let number = 0; number < 40; number++) world.addGuest(number);
    await world.cycle("initial");
    world.guests.counts = counts;
    for (let number = 0; number < 10; number++) world.guests.forgotten.add(guestId(number));
    const run = await world.profile("AADMA", "Full Import (Stage Only)");
    expect(run.status).toBe("completed-discovery-errors");
    for (const anchor of world.guests.forgotten) world.guests.remove(anchor);
    return { world, run };
  }

  test("is believed the next time when it has been accepted, and only that once", async () => {
    const { world, run } = await shrunk();
    await new ByHand(world.engine).acceptImport(run.id, caller);
    const accepted = await world.profile("AADMA", "Full Import (Stage Only)");
    expect(accepted.status).toBe("success");
    expect(accepted.steps[0]!.statistics).toMatchObject({ stageUpdate: 10 });
    expect((await world.engine.audit.page(1)).entries[0]).toMatchObject({
      what: "acceptImport",
      about: { connector: "AADMA", runId: run.id },
      details: { objects: 30 },
    });
    for (let number = 10; number < 20; number++) world.guests.forgotten.add(guestId(number));
    expect((await world.profile("AADMA", "Full Import (Stage Only)")).status).toBe(
      "completed-discovery-errors",
    );
  });

  test("is believed, and holds no exports, wherever the process dies that makes it", async () => {
    for (let point = 1, ended = false; !ended; point++) {
      const { world, run } = await shrunk();
      await new ByHand(world.engine).acceptImport(run.id, caller);
      world.restart(point);
      const { status } = await world.profile("AADMA", "Full Import (Stage Only)");
      const { hold } = await world.engine.parts.state.get("ADMA");
      expect({ point, status, hold }).toEqual({ point, status: "success", hold: null });
      ended = world.crashes === 0;
    }
  });

  test("is refused again when it shows another population than the accepted one", async () => {
    const { world, run } = await shrunk();
    await new ByHand(world.engine).acceptImport(run.id, caller);
    for (let number = 10; number < 13; number++) world.guests.forgotten.add(guestId(number));
    expect((await world.profile("AADMA", "Full Import (Stage Only)")).status).toBe(
      "completed-discovery-errors",
    );
  });

  test("cannot be accepted against the source's own count, nor when it is not the last one", async () => {
    const { world, run } = await shrunk(true);
    const byHand = new ByHand(world.engine);
    await expect(byHand.acceptImport(run.id, caller)).rejects.toThrow(NotPossible);
    await expect(byHand.acceptImport("nothing", caller)).rejects.toThrow(NotThere);
    const good = await world.cycle("delta");
    await expect(byHand.acceptImport(good.id, caller)).rejects.toThrow("refused no import");
  });
});

describe("a connector space that is emptied", () => {
  test.each([
    ["ADMA", "initial"],
    ["ADMA", "delta"],
    ["AADMA", "initial"],
    ["AADMA", "delta"],
  ] as const)(
    "of %s is what it was after the next %s cycles, and no account changes but by what its guest did",
    async (connector, cycle) => {
      const world = await worldOf(8);
      const held = await world.countedAndHeld(connector);
      const anchors = world.accounts.listed().map(({ anchor }) => anchor);
      world.now += 1000;
      expect(await new ByHand(world.engine).emptySpace(connector, caller)).toEqual({ connector, removed: 8 });
      expect((await world.countedAndHeld(connector))[1]).toEqual({ objects: 0, connectors: 0 });
      for (const table of ["connectorspace", "csindex"])
        expect(
          (await world.tables.rows(table)).filter(
            ({ partition, row }) => partition.startsWith(`${connector}-`) && row !== "fence",
          ),
        ).toEqual([]);
      world.guests.change(guestId(1), { displayName: "Changed" });
      expect((await world.cycle(cycle)).status).toBe("success");
      await world.cycle("delta");
      expect([world.wrong(), await world.outstanding()]).toEqual([[], []]);
      expect(world.accounts.listed().map(({ anchor }) => anchor)).toEqual(anchors);
      expect(world.accounts.writes).toHaveLength(1);
      expect(await world.countedAndHeld(connector)).toEqual(held);
      expect((await world.persons()).size).toBe(8);
    },
  );

  test("of a source takes nobody for gone before it is imported and synchronised again, whatever is run first", async () => {
    const world = await worldOf(4);
    world.now += 1000;
    await new ByHand(world.engine).emptySpace("AADMA", caller);
    const refused = { status: "no-start-full-import-required", steps: [{ statistics: {} }] };
    expect(await world.profile("AADMA", "Full Synchronization")).toMatchObject(refused);
    expect(await world.profile("ADMA", "Full Synchronization")).toMatchObject(refused);
    await world.profile("AADMA", "Full Import (Stage Only)");
    expect(await world.profile("ADMA", "Full Synchronization")).toMatchObject(refused);
    const [account] = (await new Queries(world.engine).objects("ADMA", {}, 1)).items as { id: string }[];
    await new ByHand(world.engine).order("ADMA", account!.id, { kind: "synchronize" }, caller);
    await world.settle();
    expect(await world.lastRun()).toMatchObject(refused);
    expect((await world.profile("AADMA", "Full Synchronization")).status).toBe("success");
    expect((await world.profile("ADMA", "Full Synchronization")).status).toBe("success");
    expect((await world.plans.page("ADMA", 10)).state).toBe("done");
    await world.cycle("delta");
    expect([world.wrong(), await world.outstanding(), world.accounts.writes]).toEqual([[], [], []]);
  });

  test("waits for no run: one that is under way is in the way", async () => {
    const world = await worldOf(2);
    world.now += 1000;
    const run = await world.engine.startCycle("delta", "http");
    await expect(new ByHand(world.engine).emptySpace("ADMA", caller)).rejects.toMatchObject({
      runId: run.id,
    });
    expect((await world.countedAndHeld("ADMA"))[1]).toEqual({ objects: 2, connectors: 2 });
  });

  test("keeps runs from beginning, that of the timer waits; a process that dies of it keeps them for 90 s", async () => {
    const world = await worldOf(2);
    world.now += 1000;
    const refused: unknown[] = [];
    const life = new Life(Number.POSITIVE_INFINITY);
    world.beforeTransaction = async (table, operations) => {
      if (table !== "connectorspace" || !operations.some(({ kind }) => kind === "delete")) return;
      world.beforeTransaction = () => undefined;
      await world
        .newEngine()
        .startCycle("delta", "http")
        .catch((error) => refused.push(error));
      await world.newEngine().onTimer();
      life.dead = true;
      throw new Crash();
    };
    const dying = new ByHand(world.newEngine(life));
    await expect(dying.emptySpace("ADMA", caller)).rejects.toThrow(Crash);
    expect(refused).toMatchObject([
      { name: "RunInTheWay", runId: null, message: "The connector space of ADMA is being emptied." },
    ]);
    await world.engine.protocol.watch();
    expect(await world.engine.runs.openIds()).toEqual([]);
    world.now += 91_000;
    await world.settle();
    await world.engine.protocol.watch();
    await world.settle();
    expect(await world.lastRun()).toMatchObject({ trigger: "timer", status: "success" });
    await world.cycle("delta");
    expect([world.wrong(), await world.outstanding(), world.accounts.writes]).toEqual([[], [], []]);
  });

  test("by a process that freezes meanwhile loses nothing that a run has found again", async () => {
    const world = await worldOf(6);
    world.now += 1000;
    let thaw = () => {};
    let frozen = false;
    world.beforeTransaction = async (table, operations) => {
      if (frozen || table !== "connectorspace" || !operations.some(({ kind }) => kind === "delete")) return;
      frozen = true;
      await new Promise<void>((resolve) => {
        thaw = resolve;
      });
    };
    const slow = new ByHand(world.engine).emptySpace("ADMA", caller);
    const refused = expect(slow).rejects.toMatchObject({ name: "RunInTheWay" });
    while (!frozen) await new Promise(setImmediate);
    world.engine = world.newEngine();
    world.now += 91_000;
    await world.cycle("initial");
    await world.cycle("delta");
    thaw();
    await refused;
    await world.cycle("delta");
    await world.cycle("delta");
    expect((await world.countedAndHeld("ADMA"))[1]).toEqual({ objects: 6, connectors: 6 });
    expect([world.wrong(), await world.outstanding(), world.accounts.writes]).toEqual([[], [], []]);
  });
});
