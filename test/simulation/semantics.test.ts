/** Rules of docs/semantics.md that no other test shows, over the real engine. */
import { describe, expect, test } from "vitest";
import type { Configuration, ConnectorConfiguration } from "../../src/engine/core/configuration.ts";
import type { ConnectorSpaceObject } from "../../src/engine/core/model.ts";
import { changedRecipe, recipe } from "../fast/support/guestWorld.ts";
import { EngineWorld, guestId, guestOu } from "../support/engineWorld.ts";

/** The recipe with another connector setting; what is gone goes at once. */
function recipeWith(deprovision: ConnectorConfiguration["deprovision"]): Configuration {
  const connectors = new Map(recipe.connectors);
  connectors.set("AADMA", { ...recipe.connectors.get("AADMA")!, retainMs: null });
  connectors.set("ADMA", { ...recipe.connectors.get("ADMA")!, deprovision });
  return { ...recipe, connectors };
}

async function worldOf(configuration: Configuration = recipe): Promise<EngineWorld> {
  const world = new EngineWorld({ configuration });
  world.addGuest(1);
  await world.cycle("initial");
  expect(world.wrong()).toEqual([]);
  return world;
}

/** The connector space object of the account. */
async function copyOf(world: EngineWorld, guest = guestId(1)): Promise<ConnectorSpaceObject | undefined> {
  return (await world.engine.connectorSpace.findByDn("ADMA", `CN=${guest},${guestOu}`))[0]?.object;
}

describe("deprovisioning", () => {
  test("make disconnector: the account stays as it is, and joins again when its person returns", async () => {
    const world = await worldOf(recipeWith("disconnect"));
    world.guests.remove(guestId(1));
    await world.cycle("delta");
    expect(world.accounts.writes).toEqual([`add CN=${guestId(1)},${guestOu}`]);
    expect(await copyOf(world)).toMatchObject({ metaverseId: null, disconnector: "normal" });
    world.guests.restore(guestId(1));
    world.guests.change(guestId(1), { displayName: "Back Again" });
    await world.cycle("initial");
    expect(await copyOf(world)).toMatchObject({ metaverseId: expect.any(String) });
    expect(world.accountsOf(guestId(1))[0]!.attributes.displayName).toBe("Back Again");
  });

  test("explicit disconnector: the account stays, and no rule ever joins it again or makes another", async () => {
    const world = await worldOf(recipeWith("explicitDisconnect"));
    world.guests.remove(guestId(1));
    await world.cycle("delta");
    expect(await copyOf(world)).toMatchObject({ metaverseId: null, disconnector: "explicit" });
    world.guests.restore(guestId(1));
    for (const cycle of ["delta", "initial", "initial"] as const) await world.cycle(cycle);
    expect(await copyOf(world)).toMatchObject({ metaverseId: null, disconnector: "explicit" });
    expect(world.accounts.listed()).toHaveLength(1);
  });

  test("delete: it is staged, exported, and the object goes when an import has confirmed it", async () => {
    const world = await worldOf(recipeWith("delete"));
    world.guests.remove(guestId(1));
    await world.profile("AADMA", "Delta Import (Stage Only)");
    await world.profile("AADMA", "Delta Synchronization");
    expect(await copyOf(world)).toMatchObject({ pendingExport: { change: "delete" } });
    expect(world.accounts.listed()).toHaveLength(1);
    await world.profile("ADMA", "Export");
    expect(world.accounts.listed()).toHaveLength(0);
    expect(await copyOf(world)).toMatchObject({ pendingExport: null, unconfirmed: { change: "delete" } });
    await world.profile("ADMA", "Delta Import (Stage Only)");
    await world.profile("ADMA", "Delta Synchronization");
    expect(await copyOf(world)).toBeUndefined();
    expect(await world.persons()).toHaveProperty("size", 0);
  });

  test("disable, then delete: with retention at the source the rules disable first, and time does the rest", async () => {
    const world = await worldOf();
    world.guests.remove(guestId(1));
    await world.cycle("delta");
    expect(world.accountsOf(guestId(1))[0]!.attributes.userAccountControl).toBe(262658n);
    expect(await copyOf(world)).toMatchObject({ pendingExport: null });
    world.now += 30 * 86_400_000;
    await world.cycle("delta");
    expect(world.accounts.listed()).toHaveLength(0);
    expect(await world.outstanding()).toEqual([]);
  });

  test("is not what happens to an account that its own directory has lost", async () => {
    const world = await worldOf(recipeWith("explicitDisconnect"));
    const [account] = world.accountsOf(guestId(1));
    world.accounts.remove(account!.anchor);
    await world.cycle("delta");
    // The guest is still there, so the account is made anew, and is no disconnector.
    expect(world.accounts.listed()).toHaveLength(1);
    expect(await copyOf(world)).toMatchObject({ metaverseId: expect.any(String), disconnector: "normal" });
  });
});

test("another object at the same DN takes the old one's place: the old one goes, and the person has one account", async () => {
  const world = await worldOf();
  const [first] = world.accountsOf(guestId(1));
  world.accounts.remove(first!.anchor);
  const second = world.accounts.add(first!.dn, { sAMAccountName: "by-hand", userAccountControl: 512n });
  expect(second.anchor).not.toBe(first!.anchor);
  for (let count = 0; count < 2; count++) await world.cycle("delta");
  const found = await world.engine.connectorSpace.findByDn("ADMA", first!.dn);
  expect(found.map(({ object }) => object.anchor)).toEqual([second.anchor]);
  expect(world.accounts.listed()).toHaveLength(1);
  expect(second.attributes.adminDescription).toBe(`User_${guestId(1)}`);
  expect(await world.outstanding()).toEqual([]);
});

test("an inbound flow reads what was imported, whatever other value waits to be exported", async () => {
  const flow = `flows:\n  - { target: accountInfo, expression: '[displayName] & "/" & ImportedValue("displayName")' }`;
  const configuration = changedRecipe((path, text) =>
    path === "rules/AD-B2B-IN.yaml"
      ? text.replace(/ {2}- \{ target: accountInfo.*\n/, "").replace("flows:", flow)
      : text,
  );
  const world = await worldOf(configuration);
  const shown = String(world.accountsOf(guestId(1))[0]!.attributes.displayName);
  world.guests.change(guestId(1), { displayName: "On Its Way" });
  await world.profile("AADMA", "Delta Import (Stage Only)");
  await world.profile("AADMA", "Delta Synchronization");
  await world.profile("ADMA", "Full Synchronization");
  expect(await copyOf(world)).toMatchObject({ pendingExport: { attributes: [{ name: "displayName" }] } });
  const [id] = (await world.persons()).get(guestId(1))!;
  const person = (await world.engine.metaverse.get(id!))!.object;
  expect(person.attributes.accountInfo!.value).toBe(`${shown}/${shown}`);
});

test("an import changes no person: it only stages", async () => {
  const world = await worldOf();
  const before = await world.tables.rows("metaverse");
  world.guests.change(guestId(1), { displayName: "Staged" });
  world.addGuest(2);
  await world.profile("AADMA", "Delta Import (Stage Only)");
  expect(await world.tables.rows("metaverse")).toEqual(before);
  expect((await world.engine.connectorSpace.totals("AADMA")).objects).toBe(2);
});

test("an export changes no image: until the import confirms it, what was imported stands", async () => {
  const world = await worldOf();
  const before = (await copyOf(world))!.synchronized;
  world.guests.change(guestId(1), { displayName: "Sent" });
  await world.profile("AADMA", "Delta Import (Stage Only)");
  await world.profile("AADMA", "Delta Synchronization");
  await world.profile("ADMA", "Export");
  expect(await copyOf(world)).toMatchObject({
    synchronized: before,
    unconfirmed: { change: "update", expected: { displayName: "Sent" } },
  });
  await world.profile("ADMA", "Delta Import (Stage Only)");
  expect(await copyOf(world)).toMatchObject({ unconfirmed: null });
});
