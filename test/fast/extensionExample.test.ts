/** examples/rules-extension: the recipe's extension ends where its declarative rules end. */
import { describe, expect, test } from "vitest";
import { loadConfiguration } from "../../src/engine/configuration/loadConfiguration.ts";
import type { AttributeType } from "../../src/engine/core/values.ts";
import { EngineWorld, guestOu } from "../support/engineWorld.ts";
import { anyKinds, recipeSettings } from "./support/guestWorld.ts";

const example = loadConfiguration("examples/rules-extension", recipeSettings, anyKinds);

/** The example's account directory also has pwdLastSet. */
function exampleWorld(): EngineWorld {
  const world = new EngineWorld({ configuration: example });
  (world.accounts.shape.attributes as Record<string, AttributeType>).pwdLastSet = "integer";
  return world;
}

/** What Active Directory holds, without what it gives an account itself. */
function directory(world: EngineWorld): Record<string, unknown> {
  const accounts = world.accounts.listed().map(({ dn, attributes }) => {
    const { objectGUID: _guid, objectSid: _sid, pwdLastSet: _set, ...rest } = attributes;
    return [dn, rest] as const;
  });
  return Object.fromEntries(accounts.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

describe("a year of guests with the extension and with the declarative rules", async () => {
  const worlds = [new EngineWorld(), exampleWorld()] as const;
  const both = async (change: (world: EngineWorld) => void, cycle: "initial" | "delta" = "delta") => {
    for (const world of worlds) {
      change(world);
      const run = await world.cycle(cycle);
      expect(run.status, JSON.stringify(run.steps)).toBe("success");
      expect(await world.outstanding()).toEqual([]);
    }
    const [declared, extended] = worlds.map(directory);
    expect(extended).toEqual(declared);
    return declared!;
  };
  const ids: string[] = [];

  test("makes the same accounts, and takes over the one that is there", async () => {
    const accounts = await both((world) => {
      for (let number = 0; number < 8; number++) ids[number] = world.addGuest(number);
      world.guests.change(ids[1]!, { accountEnabled: false });
      world.guests.change(ids[2]!, { externalUserState: "PendingAcceptance" });
      world.guests.change(ids[3]!, { displayName: "Doe, Jane + Sons", mail: undefined });
      world.accounts.add(`CN=${ids[4]},${guestOu}`, { sAMAccountName: "by-hand", userAccountControl: 512n });
    }, "initial");
    expect(Object.keys(accounts)).toHaveLength(8);
    expect(accounts[`CN=${ids[0]},${guestOu}`]).toMatchObject({
      sAMAccountName: ids[0]!.slice(0, 20),
      userAccountControl: 262656n,
    });
  });

  test("the account name has 20 characters, of a short id all, and pwdLastSet is set once", async () => {
    const [, world] = worlds;
    const byName = new Map(world.accounts.listed().map(({ attributes }) => [attributes.cn, attributes]));
    expect(String(byName.get(ids[0]!)!.sAMAccountName)).toHaveLength(20);
    expect(byName.get(ids[0]!)!.pwdLastSet).toBe(-1n);
    const { mapAttributesForImport } = example.connectors.get("AADMA")!.extension!.entryPoints;
    const short = { connector: "AADMA", objectType: "user", dn: "x", attributes: { id: "short" } };
    const name = "cd.user:id->mv.person:accountName";
    expect(mapAttributesForImport!(name, short, undefined as never, undefined as never)).toBe("short");
  });

  test("follows changes, absences and returns alike", async () => {
    await both((world) => {
      world.guests.change(ids[0]!, { displayName: "Renamed", surname: undefined });
      world.guests.change(ids[1]!, { accountEnabled: true });
      world.guests.remove(ids[5]!, "softDeleted");
      world.guests.remove(ids[6]!, "outOfScope");
    });
    const after = await both((world) => world.guests.restore(ids[6]!));
    expect(after[`CN=${ids[5]},${guestOu}`]).toMatchObject({ userAccountControl: 262658n });
  });

  test("deletes the account when the grace is over", async () => {
    const after = await both((world) => {
      world.now += 31 * 86_400_000;
    });
    expect(Object.keys(after)).not.toContain(`CN=${ids[5]},${guestOu}`);
    expect(Object.keys(after)).toHaveLength(7);
  });

  test("an account that was deleted by hand is made again", async () => {
    const after = await both((world) => {
      const account = world.accountsOf(ids[7]!)[0]!;
      world.accounts.remove(account.anchor);
    });
    expect(Object.keys(after)).toHaveLength(7);
  });
});

test("an account that somebody has moved comes back, as with the recipe's DLL", async () => {
  const world = exampleWorld();
  const id = world.addGuest(1);
  await world.cycle("initial");
  const account = world.accountsOf(id)[0]!;
  world.accounts.rename(account.anchor, `CN=${id},OU=Elsewhere,${guestOu}`);
  const run = await world.cycle("delta");
  expect(run.status).toBe("success");
  expect(account.dn).toBe(`CN=${id},${guestOu}`);
  expect(run.steps[3]!.statistics).toMatchObject({ provisionedRenameFlow: 1 });
  expect(await world.outstanding()).toEqual([]);
});
