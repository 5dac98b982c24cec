/** What must hold for any tenant, rules and edits, over the real engine with directories in memory. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Configuration } from "../../src/engine/core/configuration.ts";
import type { Attributes } from "../../src/engine/core/values.ts";
import { changedRecipe } from "../fast/support/guestWorld.ts";
import { EngineWorld, guestId, guestOu } from "../support/engineWorld.ts";

/** The recipe with other rules: flows left out, values computed otherwise, another scope, more contributors. */
interface Variation {
  /** Attributes of the account for which nothing flows. */
  readonly without: readonly string[];
  readonly displayName: string;
  /** Whom the inbound rule takes, beside guests. */
  readonly scope: string | null;
  /** A second rule of Active Directory for the display name, and where it stands. */
  readonly adPrecedence: number | null;
  readonly retains: boolean;
}

const variationArbitrary: fc.Arbitrary<Variation> = fc.record({
  without: fc.subarray(["givenName", "sn", "mail", "info"]),
  displayName: fc.constantFrom(
    "{ target: displayName, source: displayName }",
    `{ target: displayName, expression: 'UCase([displayName])' }`,
    `{ target: displayName, expression: 'IIF(IsPresent([surname]), [surname] & " (Guest)", NULL)' }`,
    `{ target: displayName, expression: 'IIF([accountEnabled] = False, AuthoritativeNull, [displayName])' }`,
  ),
  scope: fc.constantFrom(
    null,
    "{ attribute: mail, operator: ENDSWITH, value: '@example.org' }",
    "{ attribute: displayName, operator: NOTEQUAL, value: Nobody }",
  ),
  adPrecedence: fc.constantFrom(null, 90, 115),
  retains: fc.boolean(),
});

function varied({ without, displayName, scope, adPrecedence, retains }: Variation): Configuration {
  return changedRecipe((file, text) => {
    let now = text;
    if (file.endsWith("AAD-B2B-IN.yaml")) {
      now = now.replace("{ target: displayName, source: displayName }", () => displayName);
      if (scope !== null) now = now.replace("value: Guest }", (found) => `${found}\n    - ${scope}`);
    }
    if (file.endsWith("AD-B2B-OUT.yaml"))
      for (const name of without)
        now = now.replace(
          new RegExp(`  - (\\{ target: ${name}|target: ${name}\\n)[^]*?(?=\\n  [-#]|$)`),
          "  # left out",
        );
    if (file === "rules/AD-B2B-IN.yaml" && adPrecedence !== null)
      now = now
        .replace("precedence: 110", `precedence: ${adPrecedence}`)
        .replace("flows:", "flows:\n  - { target: displayName, source: displayName }");
    if (file.endsWith("AADMA.yaml") && !retains) now = now.replace(/onAbsence:\n {2}retain: P30D\n/, "");
    return now;
  });
}

type Edit = readonly [name: string, guest: number, value: number];
const guestsMax = 5;
const editArbitrary: fc.Arbitrary<Edit> = fc.tuple(
  fc.constantFrom(
    "rename",
    "mail",
    "no surname",
    "block",
    "unblock",
    "delete",
    "restore",
    "member",
    "add",
    "touch",
  ),
  fc.nat(guestsMax - 1),
  fc.nat(3),
);

/** One edit by an administrator of the tenant or of the directory; nothing where it cannot be done. */
function apply(world: EngineWorld, [name, number, value]: Edit): void {
  const id = guestId(number);
  const guest = world.guests.objects.get(id);
  if (name === "add") {
    if (guest === undefined) world.addGuest(number);
    return;
  }
  if (guest === undefined) return;
  if (name === "restore") {
    if (guest.gone !== null && guest.gone !== "deleted") world.guests.restore(id);
    return;
  }
  if (guest.gone !== null) return;
  const changes: Readonly<Record<string, Record<string, Attributes[string] | undefined>>> = {
    rename: { displayName: value === 0 ? "Nobody" : `Name ${value}` },
    mail: { mail: value === 0 ? undefined : `m${value}@${value === 1 ? "elsewhere" : "example"}.org` },
    "no surname": { surname: undefined },
    block: { accountEnabled: false },
    unblock: { accountEnabled: true },
  };
  if (changes[name] !== undefined) world.guests.change(id, changes[name]);
  else if (name === "delete") world.guests.remove(id, value === 0 ? "deleted" : "softDeleted");
  else if (name === "member") world.guests.remove(id, "outOfScope");
  else
    for (const account of world.accountsOf(id))
      world.accounts.change(account.anchor, { displayName: `By hand ${value}` });
}

function worldOf(configuration: Configuration): EngineWorld {
  const world = new EngineWorld({ configuration });
  for (let number = 0; number < 3; number++) world.addGuest(number);
  return world;
}

/** What the directory holds, without what it gives itself. */
const accounts = (world: EngineWorld) =>
  world.accounts
    .listed()
    .map(({ dn, attributes: { objectGUID: _, objectSid: __, ...rest } }) => [dn, rest] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1));

async function settled(world: EngineWorld, cycle: "initial" | "delta"): Promise<void> {
  for (let count = 0; count < 3; count++) await world.cycle(cycle);
}

const edits = fc.array(fc.array(editArbitrary, { maxLength: 4 }), { minLength: 1, maxLength: 4 });

test("the variations are what they say", () => {
  const configuration = varied({
    without: ["givenName", "info"],
    displayName: "{ target: displayName, constant: x }",
    scope: "{ attribute: mail, operator: ISNOTNULL }",
    adPrecedence: 90,
    retains: false,
  });
  const [out] = configuration.rules.outbound("ADMA", "person");
  const targets = out!.flows.map(({ target }) => target);
  expect([targets.includes("sn"), targets.includes("givenName"), targets.includes("info")]).toEqual([
    ...[true, false, false],
  ]);
  expect(configuration.connectors.get("AADMA")!.retainMs).toBeNull();
  expect(configuration.rules.inbound("ADMA", "user")[0]).toMatchObject({ precedence: 90 });
});

async function worldAfter(variation: Variation, rounds: readonly (readonly Edit[])[]): Promise<EngineWorld> {
  const world = worldOf(varied(variation));
  await world.cycle("initial");
  for (const round of rounds) {
    for (const edit of round) apply(world, edit);
    await world.cycle("delta");
  }
  await settled(world, "delta");
  return world;
}

describe("for any rules and edits", () => {
  test("delta ends where full ends", async () => {
    await fc.assert(
      fc.asyncProperty(variationArbitrary, edits, async (variation, rounds) => {
        const configuration = varied(variation);
        const worlds = [worldOf(configuration), worldOf(configuration)] as const;
        for (const world of worlds) await world.cycle("initial");
        for (const round of rounds) {
          for (const [index, world] of worlds.entries()) {
            for (const edit of round) apply(world, edit);
            await world.cycle(index === 0 ? "delta" : "initial");
          }
        }
        await settled(worlds[0], "delta");
        await settled(worlds[1], "initial");
        expect(accounts(worlds[0])).toEqual(accounts(worlds[1]));
      }),
      { numRuns: 15 },
    );
  });

  test("export and confirming import leave nothing pending, and synchronising twice exports nothing new", async () => {
    await fc.assert(
      fc.asyncProperty(variationArbitrary, edits, async (variation, rounds) => {
        const world = await worldAfter(variation, rounds);
        expect(await world.outstanding()).toEqual([]);
        const writes = world.accounts.writes.length;
        for (const connector of ["AADMA", "ADMA"]) {
          await world.profile(connector, "Full Synchronization");
          await world.profile(connector, "Full Synchronization");
        }
        expect(await world.outstanding()).toEqual([]);
        await world.profile("ADMA", "Export");
        expect(world.accounts.writes.slice(writes)).toEqual([]);
      }),
      { numRuns: 15 },
    );
  });

  test("losing a connector recalls exactly what it contributed", async () => {
    await fc.assert(
      fc.asyncProperty(variationArbitrary, edits, async (variation, rounds) => {
        const world = await worldAfter(variation, rounds);
        const before = await persons(world);
        // The accounts are deleted by hand: Active Directory has nothing to contribute any more.
        for (const { anchor } of world.accounts.listed()) world.accounts.remove(anchor);
        await world.profile("ADMA", "Delta Import (Stage Only)");
        await world.profile("ADMA", "Delta Synchronization");
        for (const [id, values] of await persons(world)) {
          const stays = before.get(id)!.filter(({ connector }) => connector === "AADMA");
          const others = values.filter(({ name }) => !stays.some((one) => one.name === name));
          // What Entra offered all along, in second place, comes up; nothing of Active Directory is left.
          expect(values.filter(({ connector }) => connector !== "AADMA")).toEqual([]);
          expect(others.map(({ name }) => name).filter((name) => name !== "displayName")).toEqual([]);
          for (const one of stays) expect(values).toContainEqual(one);
        }
      }),
      { numRuns: 15 },
    );
  });

  test("an account that an administrator moved to another OU is neither duplicated nor lost", async () => {
    const moves = fc.array(fc.tuple(fc.nat(2), fc.constantFrom("OU=Inner", "OU=Other"), fc.boolean()), {
      minLength: 1,
      maxLength: 5,
    });
    await fc.assert(
      fc.asyncProperty(variationArbitrary, moves, edits, async (variation, moved, rounds) => {
        const world = worldOf({ ...varied({ ...variation, scope: null }) });
        await world.cycle("initial");
        const sids = new Map(world.accounts.listed().map(({ anchor }) => [anchor, 1]));
        for (const [index, [number, ou, isFull]] of moved.entries()) {
          const [account] = world.accountsOf(guestId(number));
          if (account !== undefined) {
            const outside = ou === "OU=Other";
            world.accounts.rename(
              account.anchor,
              `CN=${guestId(number)},${ou},${outside ? "DC=corp,DC=example" : guestOu}`,
            );
            // Outside of its scope the connector sees it no more, and finds it when it looks.
            if (outside) world.accounts.remove(account.anchor, "outOfScope");
          }
          // Gone guests are another property's matter: here all of them stay.
          for (const edit of rounds[index] ?? []) {
            if (!["delete", "member"].includes(edit[0])) apply(world, edit);
          }
          await world.cycle(isFull ? "initial" : "delta");
          await world.cycle("delta");
        }
        for (let number = 0; number < 3; number++) {
          const found = [...world.accounts.objects.values()].filter(
            ({ attributes, gone }) =>
              attributes.adminDescription === `User_${guestId(number)}` && gone !== "deleted",
          );
          expect(found).toHaveLength(1);
          expect(sids.has(found[0]!.anchor)).toBe(true);
        }
        const persons = [...(await world.persons()).values()];
        expect(persons.filter((ids) => ids.length !== 1)).toEqual([]);
      }),
      { numRuns: 15 },
    );
  });
});

/** The values of every person with the connector that gave them. */
async function persons(world: EngineWorld) {
  const found = new Map<string, { name: string; connector: string; value: unknown }[]>();
  for (const shard of "0123456789abcdef") {
    for await (const { object } of world.engine.metaverse.range(shard)) {
      if (object.deleted) continue;
      const values = Object.entries(object.attributes).map(([name, { connector, value }]) => ({
        name,
        connector,
        value,
      }));
      found.set(object.id, values);
    }
  }
  return found;
}
