/** Preview over the real engine: it writes nothing, and the step does what it said. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { type Preview, Previews } from "../../src/engine/preview.ts";
import { Queries } from "../../src/engine/queries.ts";
import { EngineWorld, guestId, guestOu } from "../support/engineWorld.ts";

const guestsMax = 4;
const day = 24 * 3_600_000;

/** What somebody does to guest `n`, or to the account of guest `n`. */
const edits: Readonly<Record<string, (world: EngineWorld, id: string) => void>> = {
  rename: (world, id) => world.guests.change(id, { displayName: `N${world.now}` }),
  block: (world, id) => world.guests.change(id, { accountEnabled: false }),
  member: (world, id) => world.guests.change(id, { userType: "Member" }),
  "guest again": (world, id) => world.guests.change(id, { userType: "Guest" }),
  delete: (world, id) => world.guests.remove(id, "softDeleted"),
  restore: (world, id) => world.guests.restore(id),
  "hand-made account": (world, id) => {
    const dn = `CN=${id},${guestOu}`;
    if (world.accounts.holderOf(dn, {}) === undefined)
      world.accounts.add(dn, { userAccountControl: 262656n });
  },
  "hand-made disable": (world, id) => {
    for (const { anchor } of world.accountsOf(id))
      world.accounts.change(anchor, { userAccountControl: 262658n });
  },
  "account moved": (world, id) => {
    for (const { anchor } of world.accountsOf(id))
      world.accounts.rename(anchor, `CN=${id},OU=Moved,${guestOu}`);
  },
  "account deleted": (world, id) => {
    for (const { anchor } of world.accountsOf(id)) world.accounts.remove(anchor);
  },
};

type Step = readonly [string, (world: EngineWorld) => unknown];
const step: fc.Arbitrary<Step> = fc.oneof(
  fc
    .constantFrom(
      ["AADMA", "Delta Import (Stage Only)"],
      ["ADMA", "Full Import (Stage Only)"],
      ["AADMA", "Delta Synchronization"],
      ["ADMA", "Export"],
    )
    .map(
      ([connector, profile]): Step => [
        `${connector} ${profile}`,
        (world) => world.profile(connector!, profile!),
      ],
    ),
  fc.constant<Step>([
    "a month passes",
    (world) => {
      world.now += 31 * day;
    },
  ]),
  fc.tuple(fc.constantFrom(...Object.keys(edits)), fc.nat(guestsMax - 1)).map(
    ([name, number]): Step => [
      `${name} ${number}`,
      (world) => {
        if (world.guests.objects.has(guestId(number))) edits[name]!(world, guestId(number));
      },
    ],
  ),
);

async function objectsOf(world: EngineWorld, connector: string): Promise<string[]> {
  const ids: string[] = [];
  for (const shard of "0123456789abcdef")
    for await (const { object } of world.engine.connectorSpace.range(connector, shard)) ids.push(object.id);
  return ids;
}

/** With every write denied: a preview that tried one would fail. */
async function previewed(world: EngineWorld, connector: string, anchor: string, kind: Preview["kind"]) {
  world.beforeTransaction = (table) => {
    throw new Error(`A preview wrote to ${table}.`);
  };
  try {
    return (await new Previews(world.engine).preview({ connector, anchor, kind }))!;
  } finally {
    world.beforeTransaction = () => undefined;
  }
}

const plain = (pending: Preview["targets"][number]["pendingExport"]["after"]) =>
  pending && {
    change: pending.change,
    ...(pending.newDn === undefined ? {} : { newDn: pending.newDn }),
    reason: pending.reason,
    attributes: pending.attributes.map(({ name, before, after, rule }) => ({ name, before, after, rule })),
  };

// biome-ignore lint/suspicious/noExplicitAny: the answers of the API, as any JSON
async function stored(world: EngineWorld, connector: string, id: string): Promise<any> {
  return new Queries(world.engine).object(connector, id);
}

async function assertCameTrue(world: EngineWorld, preview: Preview): Promise<void> {
  const real = await stored(world, preview.connector, preview.before.id);
  if (preview.after === null) expect(real).toBeNull();
  else expect(real).toMatchObject(preview.after);
  const { metaverse } = preview;
  if (metaverse !== null) {
    const person = (await world.engine.metaverse.get(metaverse.id))?.object;
    const values = Object.fromEntries(
      Object.entries(person?.deleted === false ? person.attributes : {}).map(([name, one]) => [name, one]),
    );
    const said = metaverse.attributes.filter(({ after }) => after !== null);
    expect(Object.keys(values).sort()).toEqual(said.map(({ name }) => name));
    for (const { name, contributions } of said) {
      const won = contributions.find((one) => one.won)!;
      expect([won.connector, won.rule]).toEqual([values[name]!.connector, values[name]!.rule]);
    }
  }
  for (const target of preview.targets) {
    if (target.id === null) continue;
    const object = await stored(world, target.connector, target.id);
    if (target.decision === "withdraw") expect(object).toBeNull();
    const pending = object?.tower.pendingExport ?? null;
    expect(
      pending && {
        ...pending,
        attributes: pending.attributes.map((one: object) => ({ before: null, after: null, ...one })),
      },
    ).toEqual(plain(target.pendingExport.after));
  }
}

test("what a preview says is what the step does, and nothing is written before", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 8 }),
      fc.constantFrom("AADMA", "ADMA"),
      fc.constantFrom<Preview["kind"]>("full", "delta"),
      async (steps, connector, kind) => {
        const world = new EngineWorld();
        for (let number = 0; number < guestsMax; number++) world.addGuest(number);
        await world.cycle("initial");
        for (const [, work] of steps) await work(world);
        const previews: Preview[] = [];
        for (const id of await objectsOf(world, connector))
          previews.push(await previewed(world, connector, id, kind));
        await world.profile(connector, kind === "full" ? "Full Synchronization" : "Delta Synchronization");
        for (const preview of previews) await assertCameTrue(world, preview);
      },
    ),
    { numRuns: 40 },
  );
});
