/** References as links: managers and members of guests, over the real engine with more attributes than the recipe. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type AttributeValue, isReference, reference, valuesOf } from "../../src/engine/core/values.ts";
import { changedRecipe, withLines } from "../fast/support/guestWorld.ts";
import { EngineWorld, guestId, guestOu } from "../support/engineWorld.ts";

const names = ["manager", "otherMembers"];
const selected = names.map((name) => `      - ${name}`);
const inserted = new Map([
  ["connectors/AADMA.yaml", selected],
  ["connectors/ADMA.yaml", selected],
  [
    "metaverse.yaml",
    [
      "      - { name: manager, type: reference }",
      "      - { name: otherMembers, type: reference, multiValued: true }",
    ],
  ],
  ["rules/AAD-B2B-IN.yaml", names.map((name) => `  - { target: ${name}, source: ${name} }`)],
  ["rules/AD-B2B-OUT.yaml", names.map((name) => `  - { target: ${name}, source: ${name} }`)],
]);

/** The recipe with more attributes, each of which flows as it is. */
const configuration = changedRecipe((path, text) => withLines(path, text, inserted.get(path) ?? []));

const to = (number: number) => reference(guestId(number));
const manages = (number: number) => ({ manager: to(number) });
const account = (world: EngineWorld, number: number) => world.accountsOf(guestId(number))[0];

function newWorld(): EngineWorld {
  const world = new EngineWorld({ configuration });
  for (const directory of [world.guests, world.accounts])
    for (const name of names) directory.allow(name, "reference");
  return world;
}

async function settled(world: EngineWorld): Promise<void> {
  await world.cycle("delta");
  await world.cycle("delta");
  expect(await world.outstanding()).toEqual([]);
}

/** The guests whose accounts an account's attribute refers to. */
function referred(world: EngineWorld, number: number, name = "manager"): string[] {
  const value: AttributeValue | undefined = account(world, number)?.attributes[name];
  return valuesOf(value)
    .map((one) => {
      const dn = isReference(one) ? one.dn : "";
      const found = world.accounts.listed().find((other) => other.dn === dn);
      return String(found?.attributes.adminDescription ?? `nobody: ${dn}`).slice("User_".length);
    })
    .sort();
}

describe("a reference", () => {
  test("leads from the guest by the metaverse to the account, whoever comes first", async () => {
    const world = newWorld();
    world.addGuest(1, manages(2));
    await world.cycle("initial");
    await settled(world);
    expect(referred(world, 1)).toEqual([]);
    world.addGuest(2, manages(1));
    await settled(world);
    expect(referred(world, 1)).toEqual([guestId(2)]);
    expect(referred(world, 2)).toEqual([guestId(1)]);
    const person = (await world.engine.connectorSpace.findByAnchor("AADMA", guestId(1)))!.object.metaverseId!;
    const manager = (await world.engine.connectorSpace.findByAnchor("AADMA", guestId(2)))!.object
      .metaverseId!;
    expect((await world.engine.metaverse.get(person))!.object.attributes.manager!.value).toEqual(
      reference(manager),
    );
  });

  test("is never sent before its target is there, and nothing fails on the way", async () => {
    const world = newWorld();
    for (let number = 0; number < 30; number++) world.addGuest(number, manages((number + 1) % 30));
    for (let cycle = 0; cycle < 3; cycle++) {
      const run = await world.cycle(cycle === 0 ? "initial" : "delta");
      expect(run.status).toBe("success");
    }
    for (let number = 0; number < 30; number++)
      expect(referred(world, number)).toEqual([guestId((number + 1) % 30)]);
    expect(await world.outstanding()).toEqual([]);
  });

  test("is one of 50,000 members: those whose accounts are there are sent, and one that leaves is taken out", async () => {
    const world = newWorld();
    const [here, all] = [200, 50_000];
    for (let number = 1; number <= here; number++) world.addGuest(number);
    world.addGuest(0, { otherMembers: Array.from({ length: all }, (_, index) => to(index + 1)) });
    await world.cycle("initial");
    await settled(world);
    const members = () => valuesOf(account(world, 0)!.attributes.otherMembers).length;
    expect(members()).toBe(here);
    const others = Array.from({ length: all }, (_, index) => index + 1).filter((number) => number !== 7);
    world.guests.change(guestId(0), { otherMembers: others.map(to) });
    world.addGuest(here + 1);
    await settled(world);
    expect(members()).toBe(here);
    expect(referred(world, 0, "otherMembers")).not.toContain(guestId(7));
    expect(referred(world, 0, "otherMembers")).toContain(guestId(here + 1));
  });

  test("follows a rename of its target without an export, and another target with one", async () => {
    const world = newWorld();
    for (const number of [1, 2, 3]) world.addGuest(number, number === 1 ? manages(2) : {});
    await world.cycle("initial");
    await settled(world);
    world.accounts.writes.length = 0;
    const { anchor } = account(world, 2)!;
    world.accounts.rename(anchor, `CN=${guestId(2)},OU=Moved,${guestOu}`);
    await settled(world);
    // The move is repaired by the rules; the link is the directory's own.
    expect(world.accounts.writes.filter((write) => write.includes(guestId(1)))).toEqual([]);
    expect(referred(world, 1)).toEqual([guestId(2)]);
    world.guests.change(guestId(1), manages(3));
    await settled(world);
    expect(referred(world, 1)).toEqual([guestId(3)]);
    world.guests.change(guestId(1), { manager: undefined });
    await settled(world);
    expect(account(world, 1)!.attributes.manager).toBeUndefined();
  });

  test("is cleared when its target goes for good, and stays while that is only absent", async () => {
    const world = newWorld();
    for (let number = 0; number < 12; number++) world.addGuest(number, number < 3 ? manages(5) : {});
    await world.cycle("initial");
    await settled(world);
    world.guests.remove(guestId(5), "softDeleted");
    await settled(world);
    expect(referred(world, 1)).toEqual([guestId(5)]);
    world.now += 31 * 86_400_000;
    await settled(world);
    await settled(world);
    expect(account(world, 5)).toBeUndefined();
    for (const number of [0, 1, 2]) expect(account(world, number)!.attributes.manager).toBeUndefined();
    const left = [...(await world.tables.rows("csindex"))].filter(({ row }) => row.startsWith("r|"));
    expect(left.every(({ partition }) => partition.startsWith("AADMA"))).toBe(true);
  });

  test("that somebody changed by hand in the target is repaired", async () => {
    const world = newWorld();
    for (const number of [1, 2, 3]) world.addGuest(number, number === 1 ? manages(2) : {});
    await world.cycle("initial");
    await settled(world);
    world.accounts.change(account(world, 1)!.anchor, { manager: reference(account(world, 3)!.dn) });
    await settled(world);
    expect(referred(world, 1)).toEqual([guestId(2)]);
  });
});

test("the members of a large group arrive, and one that comes later joins them", async () => {
  const members = 120;
  const world = newWorld();
  world.addGuest(0, { otherMembers: Array.from({ length: members + 1 }, (_, index) => to(index + 1)) });
  for (let number = 1; number <= members; number++) world.addGuest(number);
  await world.cycle("initial");
  await settled(world);
  expect(referred(world, 0, "otherMembers")).toHaveLength(members);
  world.addGuest(members + 1);
  await settled(world);
  expect(referred(world, 0, "otherMembers")).toContain(guestId(members + 1));
  expect(referred(world, 0, "otherMembers")).toHaveLength(members + 1);
});

const profiles = [
  "Full Import (Stage Only)",
  "Full Synchronization",
  "Delta Import (Stage Only)",
  "Delta Synchronization",
];

test("references end the same whatever order objects and run profiles come in", async () => {
  const count = 5;
  const guests = fc.shuffledSubarray([0, 1, 2, 3, 4], { minLength: count, maxLength: count });
  const runs = fc.array(fc.tuple(fc.constantFrom("AADMA", "ADMA"), fc.constantFrom(...profiles, "Export")), {
    maxLength: 3,
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.option(fc.nat(count - 1), { nil: undefined }), { minLength: count, maxLength: count }),
      guests,
      fc.array(runs, { minLength: count, maxLength: count }),
      fc.nat(count - 1),
      async (managers, order, between, gone) => {
        const world = newWorld();
        for (const [index, number] of order.entries()) {
          const manager = managers[number];
          world.addGuest(number, manager === undefined ? {} : manages(manager));
          for (const [connector, profile] of between[index]!)
            if (connector === "ADMA" || profile !== "Export") await world.profile(connector, profile);
        }
        world.guests.change(guestId(order[0]!), { manager: to(gone) });
        await world.cycle("initial");
        await settled(world);
        for (let number = 0; number < count; number++) {
          const manager = number === order[0] ? gone : managers[number];
          expect([number, referred(world, number)]).toEqual([
            number,
            manager === undefined ? [] : [guestId(manager)],
          ]);
        }
      },
    ),
    { numRuns: 20 },
  );
});

test("wherever the process dies, references arrive in the end", async () => {
  let crashes = 1;
  for (let effects = 1; crashes > 0; effects += 19) {
    const world = newWorld();
    for (let number = 0; number < 4; number++) world.addGuest(number, manages((number + 1) % 4));
    world.restart(effects);
    await world.cycle("initial");
    await world.cycle("delta");
    ({ crashes } = world);
    world.restart();
    await settled(world);
    for (let number = 0; number < 4; number++)
      expect([effects, referred(world, number)]).toEqual([effects, [guestId((number + 1) % 4)]]);
  }
});
