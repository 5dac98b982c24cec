/** Accounts that belong to nobody over the real engine: left alone, or disabled and deleted, and given back. */
import { describe, expect, test } from "vitest";
import type { Configuration, ConnectorConfiguration } from "../../src/engine/core/configuration.ts";
import { isOrphan } from "../../src/engine/core/orphans.ts";
import { Previews } from "../../src/engine/preview.ts";
import { Queries } from "../../src/engine/queries.ts";
import { recipe } from "../fast/support/guestWorld.ts";
import { EngineWorld, guestId, guestOu, guestValues } from "../support/engineWorld.ts";
import type { MemoryObject } from "../support/memoryConnector.ts";

const day = 86_400_000;
const enabled = 512n;
const disabled = 514n;

function configured(changes: Partial<ConnectorConfiguration>, source: Configuration = recipe): Configuration {
  const adma = { ...source.connectors.get("ADMA")!, ...changes };
  const [set, rest] = source.rulesVersion.split(".");
  return {
    ...source,
    connectors: new Map(source.connectors).set("ADMA", adma),
    rulesVersion: `${set}.${rest}${Object.keys(changes).join("")}`,
  };
}
const times = { disableAfterMs: 7 * day, deleteAfterMs: 30 * day };
const withOrphans = configured({ orphans: times });
const atOnce = configured({ orphans: { disableAfterMs: 0, deleteAfterMs: null } });

function worldOf(configuration: Configuration, guests = 2): EngineWorld {
  const world = new EngineWorld({ configuration });
  for (let number = 0; number < guests; number++) world.addGuest(number);
  return world;
}
const addAccount = (world: EngineWorld, name: string, more: MemoryObject["attributes"] = {}): MemoryObject =>
  world.accounts.add(`CN=${name},${guestOu}`, {
    sAMAccountName: name.slice(0, 20),
    displayName: `${name} by hand`,
    userAccountControl: enabled,
    ...more,
  });
const control = ({ attributes }: MemoryObject) => attributes.userAccountControl;
async function pass(world: EngineWorld, ms: number): Promise<void> {
  world.now += ms;
  await world.cycle("delta");
}
const orphansOf = async (world: EngineWorld) =>
  (await new Queries(world.engine).orphans("ADMA", 100)).items.toSorted((a, b) => (a.dn < b.dn ? -1 : 1));
const planOf = (world: EngineWorld) => world.plans.page("ADMA", 100);
const exports = async (world: EngineWorld) => (await world.lastRun()).steps[4]!;

test("by default they are listed and left alone", async () => {
  const world = worldOf(recipe);
  const account = addAccount(world, "left");
  await world.cycle("initial");
  await pass(world, 400 * day);
  await world.profile("ADMA", "Full Synchronization");
  expect(await planOf(world)).toMatchObject({ state: "done" });
  expect(control(account)).toBe(enabled);
  expect(await orphansOf(world)).toMatchObject([{ dn: account.dn, since: null, next: null }]);
});

test("where the connector says so: disabled after the first grace, deleted after the second, nothing else", async () => {
  const world = worldOf(withOrphans, 30);
  await world.cycle("initial");
  const account = addAccount(world, "left", { adminDescription: "User_left", info: "Ask Ann." });
  const before = { ...account.attributes };
  await world.cycle("delta");
  const found = new Date(world.now).toISOString();
  const [listed] = await orphansOf(world);
  const disableAt = new Date(Date.parse(listed!.since!) + 7 * day).toISOString();
  expect(listed).toMatchObject({ disabled: false, next: { change: "disable", at: disableAt } });
  expect(listed!.since! <= found).toBe(true);

  await pass(world, 6 * day);
  expect(control(account)).toBe(enabled);
  world.now += day;
  const preview = await new Previews(world.engine).preview({
    connector: "ADMA",
    anchor: account.anchor,
    kind: "delta",
  });
  expect(preview!.summary).toContain(
    `ADMA: It belongs to nobody since ${listed!.since}: such accounts are disabled.`,
  );
  expect(preview!.after).toMatchObject({ pendingExport: "update" });
  await world.profile("ADMA", "Delta Synchronization");
  expect(await planOf(world)).toMatchObject({
    state: "pending",
    counts: { disable: 1, update: 0, adopt: 0 },
    items: [
      {
        dn: account.dn,
        change: "disable",
        reason: `It belongs to nobody since ${listed!.since}: such accounts are disabled.`,
        attributes: [{ name: "userAccountControl", before: 512, after: 514, rule: "orphans" }],
      },
    ],
  });
  await world.cycle("delta");
  expect(account.attributes).toEqual({ ...before, userAccountControl: disabled });
  expect(await world.outstanding()).toEqual([]);
  const [then] = await orphansOf(world);
  expect(then).toMatchObject({ disabled: true, since: listed!.since, next: { change: "delete" } });

  await pass(world, 29 * day);
  expect(account.gone).toBeNull();
  await pass(world, 2 * day);
  expect(account.gone).not.toBeNull();
  await world.cycle("delta");
  expect(await orphansOf(world)).toEqual([]);
  expect(await world.outstanding()).toEqual([]);
  expect(world.wrong()).toEqual([]);
  const { entries } = await world.engine.objectHistory.page(listed!.id, 10);
  expect(entries.map(({ kind, message }) => [kind, message])).toEqual([
    ["exported", expect.stringMatching(/^Deleted in ADMA: It belongs to nobody since/)],
    ["exported", expect.stringMatching(/^Changed in ADMA: It belongs to nobody since/)],
  ]);
});

test("without a second grace they stay disabled, and are disabled again when somebody enables them", async () => {
  const world = worldOf(atOnce);
  const account = addAccount(world, "left");
  await world.cycle("initial");
  expect(control(account)).toBe(disabled);
  await pass(world, 1000 * day);
  expect([account.gone, control(account)]).toEqual([null, disabled]);
  world.accounts.change(account.anchor, { userAccountControl: enabled });
  await world.cycle("delta");
  expect(control(account)).toBe(disabled);
  const { length } = world.accounts.writes;
  for (let cycle = 0; cycle < 3; cycle++) await world.cycle("delta");
  expect(world.accounts.writes).toHaveLength(length);
});

describe("whoever turns out to own one", () => {
  test.each([
    ["before it is disabled", 0],
    ["while its disabling is pending", 1],
    ["when it is disabled", 2],
  ])("(%s) has it, enabled, with its SID", async (_, stage) => {
    const world = worldOf(withOrphans);
    await world.cycle("initial");
    const guest = guestId(9);
    const account = addAccount(world, guest);
    await world.cycle("delta");
    if (stage > 0) world.now += 8 * day;
    if (stage === 1) await world.profile("ADMA", "Delta Synchronization");
    if (stage === 2) await world.cycle("delta");
    expect(control(account)).toBe(stage === 2 ? disabled : enabled);
    const { objectSid } = account.attributes;
    world.addGuest(9);
    await world.cycle("delta");
    expect(world.wrong()).toEqual([]);
    expect(account.attributes).toMatchObject({ adminDescription: `User_${guest}`, objectSid });
    expect(await orphansOf(world)).toEqual([]);
    expect(await world.outstanding()).toEqual([]);
    await pass(world, 60 * day);
    expect(world.wrong()).toEqual([]);
  });

  test("of one that somebody had disabled by hand keeps it disabled", async () => {
    const world = worldOf(withOrphans);
    const account = addAccount(world, guestId(9), { userAccountControl: disabled });
    await world.cycle("initial");
    await pass(world, 8 * day);
    world.addGuest(9);
    await world.cycle("delta");
    expect(account.attributes).toMatchObject({ adminDescription: `User_${guestId(9)}` });
    expect(Number(control(account)) & 2).toBe(2);
  });
});

describe("never touched", () => {
  test("is what the filter keeps out, and what a person has disconnected", async () => {
    const filter = [[{ attribute: "displayName", operator: "EQUAL" as const, value: "service by hand" }]];
    const world = worldOf(configured({ orphans: times, filter }));
    const service = addAccount(world, "service");
    const explicit = addAccount(world, "explicit");
    const left = addAccount(world, "left");
    await world.cycle("initial");
    const stored = await world.engine.connectorSpace.findByAnchor("ADMA", explicit.anchor);
    await world.engine.startOrder(
      "ADMA",
      "Disconnect by Hand",
      { kind: "disconnect", as: "explicit", object: stored!.object.id },
      "http",
      "ann",
    );
    await world.settle();
    await pass(world, 8 * day);
    await world.profile("ADMA", "Full Synchronization");
    await world.profile("ADMA", "Export");
    expect([service, explicit, left].map(control)).toEqual([enabled, enabled, disabled]);
  });

  test("is what no rule would link, and none of it costs an idle cycle anything", async () => {
    expect(isOrphan({ connector: "ADMA", objectType: "user" }, "no-rule", recipe)).toBe(true);
    expect(isOrphan({ connector: "ADMA", objectType: "group" }, "no-rule", recipe)).toBe(false);
    for (const reason of ["filtered", "explicit", "ambiguous-join"] as const)
      expect(isOrphan({ connector: "ADMA", objectType: "user" }, reason, recipe)).toBe(false);
    const filter = [[{ attribute: "displayName", operator: "EQUAL" as const, value: "service by hand" }]];
    const world = worldOf(configured({ orphans: { disableAfterMs: 0, deleteAfterMs: null }, filter }));
    for (const name of ["service", "left", "right"]) addAccount(world, name);
    // Cannot be disabled: its directory does not say whether it is.
    world.accounts.add(`CN=contact,${guestOu}`, { displayName: "Contact" });
    await world.cycle("initial");
    await world.cycle("delta");
    expect(await world.engine.connectorSpace.nextDue("ADMA")).toBeNull();
    expect(await orphansOf(world)).toMatchObject([
      { next: null, since: expect.any(String) },
      { next: null },
      { next: null },
      { next: null, since: null },
    ]);
    const { transactions } = world.tables;
    await world.cycle("delta");
    const without = worldOf(recipe);
    for (const name of ["initial", "delta", "delta"] as const) await without.cycle(name);
    const before = without.tables.transactions;
    await without.cycle("delta");
    expect(world.tables.transactions - transactions).toBe(without.tables.transactions - before);
  });

  test("is one that was moved out of the organisational unit meanwhile", async () => {
    const world = worldOf(withOrphans);
    const account = addAccount(world, "left");
    await world.cycle("initial");
    world.accounts.remove(account.anchor, "outOfScope");
    await pass(world, 8 * day);
    await pass(world, 40 * day);
    expect(control(account)).toBe(enabled);
  });
});

describe("without proof nothing is done", () => {
  test("accounts that were imported before the guests", async () => {
    const world = worldOf(atOnce);
    const account = addAccount(world, "left");
    const own = addAccount(world, guestId(0));
    await world.profile("ADMA", "Full Import (Stage Only)");
    await world.profile("ADMA", "Full Synchronization");
    await world.profile("AADMA", "Full Import (Stage Only)");
    await world.profile("ADMA", "Full Synchronization");
    expect(await planOf(world)).toMatchObject({ state: "done" });
    await world.profile("AADMA", "Full Synchronization");
    await world.profile("ADMA", "Delta Synchronization");
    expect(await planOf(world)).toMatchObject({ counts: { disable: 1, adopt: 1, add: 1 } });
    await world.profile("ADMA", "Export");
    expect(control(account)).toBe(disabled);
    expect(Number(control(own)) & 2).toBe(0);
  });

  test("an empty answer about guests to an empty installation", async () => {
    const world = worldOf(atOnce, 0);
    const accounts = Array.from({ length: 30 }, (_, number) => addAccount(world, guestId(number)));
    for (let cycle = 0; cycle < 3; cycle++) await world.cycle(cycle === 0 ? "initial" : "delta");
    expect(new Set(accounts.map(control))).toEqual(new Set([enabled]));
    for (let number = 0; number < 30; number++) world.addGuest(number);
    await world.cycle("delta");
    await world.cycle("delta");
    expect(world.wrong()).toEqual([]);
  });

  test("a guest who cannot come in yet may own one", async () => {
    const rule = recipe.rules.rules.find(({ name }) => name === "AAD-B2B-IN")!;
    expect(rule.linkType).toBe("provision");
    const world = worldOf(atOnce);
    await world.cycle("initial");
    const account = addAccount(world, "left");
    world.addGuest(9);
    await world.profile("AADMA", "Delta Import (Stage Only)");
    await world.profile("ADMA", "Delta Import (Stage Only)");
    await world.profile("ADMA", "Delta Synchronization");
    await world.profile("ADMA", "Export");
    expect(control(account)).toBe(enabled);
    await world.cycle("delta");
    expect(control(account)).toBe(disabled);
  });
});

test("limits, holds and approval hold for them as for every export; percentages count them in", async () => {
  const world = worldOf(atOnce, 5);
  const accounts = Array.from({ length: 20 }, (_, number) => addAccount(world, `left${number}`));
  await world.cycle("initial");
  expect((await exports(world)).status).toBe("stopped-disable-threshold-exceeded");
  expect((await exports(world)).detail).toContain("10 percent of 20 connected objects");
  expect(new Set(accounts.map(control))).toEqual(new Set([enabled]));
  await world.approve();
  expect(new Set(accounts.map(control))).toEqual(new Set([disabled]));
});

test("an account that the rules let go of becomes one, without a full synchronisation", async () => {
  const world = worldOf(configured({ orphans: times, deprovision: "disconnect" }));
  await world.cycle("initial");
  const [account] = world.accountsOf(guestId(0));
  world.guests.remove(guestId(0), "deleted");
  await world.cycle("delta");
  expect(control(account!)).toBe(262658n); // in its own grace
  await pass(world, 31 * day);
  await world.cycle("delta");
  expect(await orphansOf(world)).toMatchObject([{ dn: account!.dn, next: { change: "delete" } }]);
  await pass(world, 8 * day);
  await pass(world, 31 * day);
  expect(account!.gone).not.toBeNull();
  expect(world.accountsOf(guestId(1))).toHaveLength(1);
});

test("switched off again, what was not exported yet is taken back and what was done stays", async () => {
  const world = worldOf(atOnce);
  const first = addAccount(world, "first");
  await world.cycle("initial");
  const second = addAccount(world, "second");
  await world.profile("ADMA", "Delta Import (Stage Only)");
  await world.profile("ADMA", "Delta Synchronization");
  expect((await planOf(world)).counts.disable).toBe(1);
  const off = new EngineWorld({ configuration: recipe, tables: world.tables });
  off.now = world.now;
  Object.assign(off.guests, world.guests);
  Object.assign(off.accounts, world.accounts);
  await off.profile("ADMA", "Full Synchronization");
  expect(await planOf(off)).toMatchObject({ state: "done" });
  await off.cycle("delta");
  expect([control(first), control(second)]).toEqual([disabled, enabled]);
});

test("whatever dies on the way, the end is the same", async () => {
  const run = async (life: number) => {
    const world = worldOf(withOrphans);
    const guest = guestId(9);
    const [left, owned] = [addAccount(world, "left"), addAccount(world, guest)];
    world.lifeOfEach = life;
    world.restart();
    await world.cycle("initial");
    await pass(world, 8 * day);
    world.guests.add(guest, guestValues(guest), guest);
    await world.cycle("delta");
    await pass(world, 31 * day);
    await world.cycle("delta");
    expect([life, world.wrong(), await world.outstanding()]).toEqual([life, [], []]);
    expect([left.gone === null, owned.gone]).toEqual([false, null]);
    return world.crashes;
  };
  expect(await run(Number.POSITIVE_INFINITY)).toBe(0);
  for (const life of [40, 53, 67, 83]) expect(await run(life)).toBeGreaterThan(2);
});
