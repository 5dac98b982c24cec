/** What an import cannot stage is an error with its first time and a count, until it can. */
import { expect, test } from "vitest";
import { EngineWorld, guestId } from "../support/engineWorld.ts";

const hourMs = 3_600_000;

async function errorsOf(world: EngineWorld, connector: string, profile: string) {
  world.now += hourMs;
  const run = await world.profile(connector, profile);
  const errors = await world.engine.history.errors(run.id, 0, 100);
  return errors.map(({ code, anchor, firstOccurred, retryCount }) => ({
    code,
    anchor,
    firstOccurred,
    retryCount,
  }));
}

const full = "Full Import (Stage Only)";
const delta = "Delta Import (Stage Only)";

test("an entry that cannot be read keeps when that was first so, and counts, by full and by delta imports", async () => {
  const world = new EngineWorld();
  for (const number of [0, 1]) world.addGuest(number);
  world.guests.unreadable.set(guestId(1), { code: "invalid-attribute-value" });
  const [first] = await errorsOf(world, "AADMA", full);
  expect(first).toMatchObject({ code: "invalid-attribute-value", anchor: guestId(1), retryCount: 0 });
  expect(await errorsOf(world, "AADMA", full)).toEqual([{ ...first, retryCount: 1 }]);
  world.guests.change(guestId(1), { mail: "changed@example.org" });
  expect(await errorsOf(world, "AADMA", delta)).toEqual([{ ...first, retryCount: 2 }]);
  // A delta import that is told nothing of it says nothing of it.
  expect(await errorsOf(world, "AADMA", delta)).toEqual([]);
  expect(await errorsOf(world, "AADMA", full)).toEqual([{ ...first, retryCount: 3 }]);

  world.guests.unreadable.set(guestId(1), { code: "staging-error" });
  const [another] = await errorsOf(world, "AADMA", full);
  expect(another).toMatchObject({ code: "staging-error", retryCount: 0 });
  expect(another!.firstOccurred).not.toBe(first!.firstOccurred);

  world.guests.unreadable.clear();
  expect(await errorsOf(world, "AADMA", full)).toEqual([]);
  world.guests.unreadable.set(guestId(1), { code: "staging-error" });
  expect(await errorsOf(world, "AADMA", full)).toMatchObject([{ retryCount: 0 }]);
});

test("what a full import does not meet any more is no error; entries without an anchor are all kept", async () => {
  const world = new EngineWorld();
  for (let number = 0; number < 12; number++) {
    const id = world.addGuest(number);
    if (number > 8) world.guests.unreadable.set(id, { code: "missing-anchor-component", anchorless: true });
    if (number === 0) world.guests.unreadable.set(id, { code: "missing-anchor-component", anchorless: true });
  }
  const first = await errorsOf(world, "AADMA", full);
  expect(first).toHaveLength(4);
  expect(await errorsOf(world, "AADMA", full)).toEqual(first.map((one) => ({ ...one, retryCount: 1 })));
  world.guests.objects.delete(guestId(9));
  world.guests.counts = false;
  expect(await errorsOf(world, "AADMA", full)).toHaveLength(3);
  expect(await world.engine.parts.importErrors.load("AADMA")).toHaveProperty("size", 3);
});

test("an import that is interrupted and staged again counts once", async () => {
  const world = new EngineWorld();
  for (const number of [0, 1, 2]) world.addGuest(number);
  world.guests.unreadable.set(guestId(1), { code: "staging-error" });
  const [first] = await errorsOf(world, "AADMA", full);
  world.restart(3);
  expect(await errorsOf(world, "AADMA", full)).toEqual([{ ...first, retryCount: 1 }]);
  expect(world.crashes).toBeGreaterThan(0);
});

test("an account that was moved out of scope is an error that keeps its first time, until it is back", async () => {
  const world = new EngineWorld();
  world.addGuest(0);
  await world.cycle("initial");
  const [account] = world.accountsOf(guestId(0));
  world.accounts.remove(account!.anchor, "outOfScope");
  const [first] = await errorsOf(world, "ADMA", full);
  expect(first).toMatchObject({
    code: "object-moved-out-of-scope",
    anchor: account!.anchor,
    retryCount: 0,
  });
  expect(await errorsOf(world, "ADMA", full)).toEqual([{ ...first, retryCount: 1 }]);
  world.accounts.restore(account!.anchor);
  expect(await errorsOf(world, "ADMA", full)).toEqual([]);
  expect(await world.engine.parts.importErrors.load("ADMA")).toHaveProperty("size", 0);
});

test("what an import does not show as it was exported stands in its history, wherever the process dies", async () => {
  for (let point = 1, ended = false; !ended; point++) {
    const world = new EngineWorld();
    const id = world.addGuest(1);
    await world.cycle("initial");
    world.guests.change(id, { displayName: "Ours" });
    await world.profile("AADMA", "Delta Import (Stage Only)");
    await world.profile("AADMA", "Delta Synchronization");
    await world.profile("ADMA", "Export");
    world.accounts.change(world.accountsOf(id)[0]!.anchor, { displayName: "Somebody else's" });
    world.restart(point);
    const run = await world.profile("ADMA", "Delta Import (Stage Only)");
    const codes = (await world.engine.history.errors(run.id, 0, 10)).map(({ code }) => code);
    expect([point, codes]).toEqual([point, ["exported-change-not-reimported"]]);
    ended = world.crashes === 0;
  }
});
