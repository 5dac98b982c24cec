/** Holds and histories over the real engine, crashes included. */
import { expect, test } from "vitest";
import { ExportPlans } from "../../src/engine/exportPlan.ts";
import { Holds } from "../../src/engine/holds.ts";
import { Queries } from "../../src/engine/queries.ts";
import { EngineWorld, guestOu } from "../support/engineWorld.ts";

const hour = 3_600_000;

async function personOf(world: EngineWorld, guest: string): Promise<string> {
  return (await world.persons()).get(guest)![0]!;
}
const historyOf = async (world: EngineWorld, id: string) =>
  (await world.engine.objectHistory.page(id, 100)).entries;

test("nothing is exported for a person on hold, until the hold ends by itself or by hand", async () => {
  const world = new EngineWorld();
  const guests = [world.addGuest(0), world.addGuest(1), world.addGuest(2)];
  await world.cycle("initial");
  const [first, second] = await Promise.all(guests.map((guest) => personOf(world, guest)));
  const holds = new Holds(world.engine);
  await holds.hold(
    first!,
    "Legal has asked.",
    new Date(world.now + 5 * hour).toISOString(),
    "ann@corp.example",
  );
  await holds.hold(second!, "Moves to another team.", null, "ann@corp.example");
  for (const guest of [guests[0]!, guests[2]!]) world.guests.change(guest, { displayName: "New name" });
  world.guests.remove(guests[1]!, "softDeleted");
  const named = (guest: string) => world.accountsOf(guest)[0]!.attributes.displayName;

  const held = await world.cycle("delta");
  expect(guests.map(named)).toEqual([`Guest ${guests[0]}`, `Guest ${guests[1]}`, "New name"]);
  expect(held.steps.map(({ detail }) => detail)).toContain(
    "2 changes wait because their metaverse objects are on hold.",
  );
  const plan = await new ExportPlans(world.engine).page("ADMA", 10);
  expect(plan).toMatchObject({ state: "done", items: [] });
  expect(plan.onHold.map(({ change, hold }) => [change, hold.why]).sort()).toEqual([
    ["disable", "Moves to another team."],
    ["update", "Legal has asked."],
  ]);

  world.now += 6 * hour;
  await world.cycle("delta");
  expect(named(guests[0]!)).toBe("New name");
  expect(world.accountsOf(guests[1]!)[0]!.attributes.userAccountControl).toBe(262656n);
  expect(await holds.release(second!, "bob@corp.example", null)).toBe(true);
  expect(await holds.release(second!, "bob@corp.example", null)).toBe(false);
  await world.cycle("delta");
  expect(world.wrong()).toEqual([]);
  expect((await historyOf(world, second!)).map(({ kind }) => kind)).toEqual([
    "changed",
    "exported",
    "released",
    "changed",
    "held",
    "changed",
    "exported",
    "created",
  ]);
  const { entries } = await world.engine.audit.page(10);
  expect(entries.map(({ what, who }) => [what, who])).toEqual([
    ["release", "bob@corp.example"],
    ["hold", "ann@corp.example"],
    ["hold", "ann@corp.example"],
  ]);
});

test("a person who is gone, and whose account is to be deleted, can still be put on hold", async () => {
  const world = new EngineWorld();
  const guest = world.addGuest(0);
  world.addGuest(1);
  await world.cycle("initial");
  const person = await personOf(world, guest);
  world.guests.remove(guest, "deleted");
  await world.cycle("delta");
  world.now += 31 * 24 * hour;
  await world.profile("AADMA", "Delta Synchronization");
  expect((await new ExportPlans(world.engine).page("ADMA", 10)).counts.delete).toBe(1);
  const holds = new Holds(world.engine);
  expect(await holds.hold(person, "Legal has asked.", null, "ann@corp.example")).not.toBeNull();
  for (let cycle = 0; cycle < 2; cycle++) await world.cycle("delta");
  expect(world.accountsOf(guest)).toHaveLength(1);
  await holds.release(person, "ann@corp.example", null);
  await world.cycle("delta");
  expect(world.accountsOf(guest)).toHaveLength(0);
  expect(await holds.hold(person, "Too late.", null, "ann@corp.example")).toBeNull();
});

test("a person who is put on hold while an export is under way is left out from the next batch on", async () => {
  const world = new EngineWorld({ connector: { exportBatchMax: 1 } });
  const guests = [0, 1, 2, 3].map((number) => world.addGuest(number));
  await world.profile("AADMA", "Full Import (Stage Only)");
  await world.profile("AADMA", "Full Synchronization");
  const people = await Promise.all(guests.map((guest) => personOf(world, guest)));
  let written = 0;
  world.accounts.afterWrite = () => {
    if (written++ > 0) return;
    for (const id of people) void new Holds(world.engine).hold(id, "Stop.", null, "ann");
  };
  const run = await world.profile("ADMA", "Export");
  expect(world.accounts.listed()).toHaveLength(1);
  const errors = await world.engine.history.errors(run.id, 0, 10);
  expect(errors.map(({ code }) => code)).toEqual(["on-hold", "on-hold", "on-hold"]);
  expect(run.status).toBe("completed-warnings");
});

test("the history of a person: created, exported, joined, changed with before and after, gone", async () => {
  const world = new EngineWorld();
  const guest = world.addGuest(0);
  await world.cycle("initial");
  const id = await personOf(world, guest);
  await world.cycle("delta");
  world.guests.change(guest, { displayName: "New name" });
  await world.cycle("delta");
  const entries = await historyOf(world, id);
  const changed = entries.find(({ attributes }) => attributes.some(({ name }) => name === "displayName"))!;
  expect(changed).toMatchObject({ kind: "exported", object: { connector: "ADMA" } });
  expect(entries.filter(({ kind }) => kind === "created")).toHaveLength(1);
  expect(entries.at(-1)).toMatchObject({
    kind: "created",
    runId: expect.any(String),
    attributes: expect.arrayContaining([
      { name: "uid", before: null, after: guest, connector: "AADMA", rule: "AAD-B2B-IN" },
    ]),
    connected: expect.arrayContaining([
      expect.objectContaining({ connector: "AADMA", anchor: guest }),
      expect.objectContaining({ connector: "ADMA", anchor: null }),
    ]),
  });
  expect(entries.find(({ kind, attributes }) => kind === "changed" && attributes.length === 1)).toMatchObject(
    {
      attributes: [
        {
          name: "displayName",
          before: `Guest ${guest}`,
          after: "New name",
          connector: "AADMA",
          rule: "AAD-B2B-IN",
        },
      ],
    },
  );
  // Passwords never stand in it, and a cycle that changes nothing adds nothing.
  const count = entries.length;
  await world.cycle("initial");
  expect(await historyOf(world, id)).toHaveLength(count);

  world.guests.remove(guest, "softDeleted");
  await world.cycle("delta");
  world.now += 31 * 24 * hour;
  await world.cycle("delta");
  await world.cycle("delta");
  expect(await world.engine.metaverse.get(id)).toBeUndefined();
  const [last, ...before] = await historyOf(world, id);
  expect([last!.kind, before[0]!.kind]).toEqual(["deleted", "exported"]);
  expect(before.find(({ kind }) => kind === "deleted")).toMatchObject({
    message: expect.stringContaining("its grace is over"),
    disconnected: [expect.objectContaining({ connector: "AADMA" })],
  });
});

test("a process that dies at any write leaves every change in the history once", async () => {
  const kinds = async (effects: number | null) => {
    const world = new EngineWorld();
    const guest = world.addGuest(0);
    if (effects !== null) world.restart(effects);
    await world.cycle("initial");
    if (effects !== null) world.restart(effects);
    world.guests.change(guest, { displayName: "New name" });
    await world.cycle("delta");
    return (await historyOf(world, await personOf(world, guest))).map(({ kind, attributes }) => [
      kind,
      attributes.length,
    ]);
  };
  const expected = await kinds(null);
  for (let effects = 1; effects < 60; effects += 7) expect(await kinds(effects)).toEqual(expected);
});

test("what is older than its retention is removed, and nothing else", async () => {
  const world = new EngineWorld();
  const guest = world.addGuest(0, { givenName: "x".repeat(60_000) });
  await world.cycle("initial");
  const id = await personOf(world, guest);
  const old = (await historyOf(world, id)).length;
  world.now += 48 * hour;
  const between = new Date(world.now - hour).toISOString();
  world.guests.change(guest, { displayName: "New name", givenName: "short" });
  await world.cycle("delta");
  const all = await historyOf(world, id);
  expect(await world.engine.objectHistory.removeBefore(between, () => false)).toBe(old);
  expect(await historyOf(world, id)).toEqual(all.slice(0, all.length - old));
  await world.engine.objectHistory.removeBefore(new Date(world.now + hour).toISOString(), () => false);
  expect(await world.tables.rows("objecthistory")).toEqual([]);
});

test("accounts of nobody are listed, those with a stamp told apart", async () => {
  const world = new EngineWorld();
  world.addGuest(0);
  world.accounts.add(`CN=left,${guestOu}`, { adminDescription: "User_left", userAccountControl: 262656n });
  world.accounts.add(`CN=service,${guestOu}`, { userAccountControl: 514n });
  await world.cycle("initial");
  const queries = new Queries(world.engine);
  const first = await queries.orphans("ADMA", 1);
  const rest = await queries.orphans("ADMA", 10, first.continuation);
  const all = [...first.items, ...rest.items].sort((a, b) => (a.dn < b.dn ? -1 : 1));
  expect(all).toMatchObject([
    { dn: `CN=left,${guestOu}`, stamped: true, stamp: "User_left", disabled: false },
    { dn: `CN=service,${guestOu}`, stamped: false, stamp: null, disabled: true },
  ]);
  await expect(queries.orphans("AADMA", 1)).rejects.toThrow(/cannot do/);
});
