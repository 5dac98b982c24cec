/** Objects that are not what they seem: export objects that meet others, errors that last, types that change. */
import { expect, test } from "vitest";
import { ByHand } from "../../src/engine/byHand.ts";
import { recipe } from "../fast/support/guestWorld.ts";
import { EngineWorld, guestId, guestOu } from "../support/engineWorld.ts";

const dnOf = (number: number) => `CN=${guestId(number)},${guestOu}`;

/** Account 0 is provisioned and not sent when somebody makes an object of that name which no join finds. */
async function metByAnother(): Promise<EngineWorld> {
  const world = new EngineWorld();
  world.addGuest(0);
  await world.profile("AADMA", "Full Import (Stage Only)");
  await world.profile("AADMA", "Full Synchronization");
  const { attributes } = world.accounts.add(dnOf(0), { sAMAccountName: "by-hand" });
  delete attributes.cn;
  await world.profile("ADMA", "Full Import (Stage Only)");
  return world;
}

async function accountsInSpace(world: EngineWorld) {
  const found = [];
  for (const shard of "0123456789abcdef")
    for await (const { object } of world.engine.connectorSpace.range("ADMA", shard)) found.push(object);
  return found;
}

test("an export object that was never sent yields to an imported object of its DN", async () => {
  const world = await metByAnother();
  expect(await accountsInSpace(world)).toHaveLength(2);
  await world.profile("ADMA", "Delta Synchronization");
  const [account, ...others] = await accountsInSpace(world);
  expect(others).toEqual([]);
  expect(account).toMatchObject({
    dn: dnOf(0),
    anchor: world.accounts.listed()[0]!.anchor,
    pendingExport: { change: "update" },
  });
  expect(account!.metaverseId).not.toBeNull();
  await world.cycle("delta");
  expect(world.accounts.writes.filter((write) => write.startsWith("add"))).toEqual([]);
  expect(world.accountsOf(guestId(0))).toHaveLength(1);
});

test("an object that a person has let go of is not replaced by what was provisioned beside it", async () => {
  const world = await metByAnother();
  const { anchor } = world.accounts.listed()[0]!;
  await new ByHand(world.engine).order(
    "ADMA",
    anchor,
    { kind: "disconnect", as: "explicit" },
    { who: "ann", trigger: "http", why: null },
  );
  await world.settle();
  await world.cycle("initial");
  expect(world.accounts.writes).toEqual([]);
  expect((await accountsInSpace(world)).map((one) => [one.anchor, one.disconnector])).toEqual([
    [anchor, "explicit"],
  ]);
});

test("an ambiguous join is the object's error with when it first occurred and how often, until it is solved", async () => {
  const world = new EngineWorld();
  world.addGuest(0, { userPrincipalName: "same@corp.example" });
  world.addGuest(1, { userPrincipalName: "same@corp.example" });
  await world.profile("AADMA", "Full Import (Stage Only)");
  await world.profile("AADMA", "Full Synchronization");
  const { anchor } = world.accounts.add(`CN=Somebody,${guestOu}`, {
    userPrincipalName: "same@corp.example",
    sAMAccountName: "somebody",
  });
  await world.profile("ADMA", "Full Import (Stage Only)");
  const error = async () => (await world.engine.connectorSpace.findByAnchor("ADMA", anchor))!.object.error;
  const first = await world.profile("ADMA", "Full Synchronization");
  const { firstOccurred } = (await error())!;
  expect(first.status).toBe("completed-sync-errors");
  expect(first.steps[0]!.statistics).toEqual({ disconnectorRemains: 1 });
  expect(await world.engine.history.errors(first.id, 0, 10)).toMatchObject([
    { code: "ambiguous-join", anchor, firstOccurred, retryCount: 0 },
  ]);
  world.now += 3_600_000;
  const second = await world.profile("ADMA", "Delta Synchronization");
  expect(second.status).toBe("completed-sync-errors");
  expect(await error()).toMatchObject({ code: "ambiguous-join", firstOccurred, retryCount: 1 });
  world.guests.change(guestId(1), { userPrincipalName: "another@corp.example" });
  await world.profile("AADMA", "Delta Import (Stage Only)");
  await world.profile("AADMA", "Delta Synchronization");
  const solved = await world.profile("ADMA", "Delta Synchronization");
  expect(solved).toMatchObject({ status: "success", steps: [{ statistics: { disconnectorJoinedFlow: 1 } }] });
  expect(await error()).toBeNull();
});

test("a flow that fails after the rules have changed is tried again by every delta synchronisation", async () => {
  const world = new EngineWorld();
  world.addGuest(0);
  await world.cycle("initial");
  const texts = recipe.ruleTexts;
  const failing = texts.map(({ file, text }) => ({
    file,
    text: file.includes("AAD-B2B-IN")
      ? text.replace(
          "target: displayName, source: displayName",
          "target: displayName, expression: 'Error(\"no\")'",
        )
      : text,
  }));
  world.ruleFiles = failing;
  await world.cycle("delta");
  const run = await world.cycle("delta");
  expect(run.status).toBe("completed-sync-errors");
  expect((await world.cycle("delta")).status).toBe("completed-sync-errors");
  world.ruleFiles = texts;
  await world.cycle("delta");
  expect((await world.cycle("delta")).status).toBe("success");
  expect(await world.outstanding()).toEqual([]);
});

test("an error stands in the history of the run, wherever the process dies that meets it", async () => {
  const files = recipe.ruleTexts.map(({ file, text }) => ({
    file,
    text: text.replace(
      "target: displayName, source: displayName",
      "target: displayName, expression: 'Error(\"no\")'",
    ),
  }));
  for (let point = 1, ended = false; !ended; point++) {
    const world = new EngineWorld();
    world.addGuest(0);
    world.ruleFiles = files;
    await world.cycle("initial");
    world.restart(point);
    const run = await world.profile("AADMA", "Delta Synchronization");
    const errors = await world.engine.history.errors(run.id, 0, 10);
    expect([point, run.status, errors.length]).toEqual([point, "completed-sync-errors", 1]);
    ended = world.crashes === 0;
  }
});

test("losing a connector takes back what it contributed, and nothing else", async () => {
  const world = new EngineWorld();
  for (const number of [0, 1]) world.addGuest(number);
  await world.cycle("initial");
  const values = async (number: number) => {
    const guest = (await world.engine.connectorSpace.findByAnchor("AADMA", guestId(number)))!.object;
    return (await world.engine.metaverse.get(guest.metaverseId!))!.object.attributes;
  };
  const before = await values(0);
  const other = await values(1);
  const contributed = Object.keys(before).filter((name) => before[name]!.connector === "ADMA");
  expect(contributed.length).toBeGreaterThan(2);
  world.accounts.remove(world.accountsOf(guestId(0))[0]!.anchor);
  await world.profile("ADMA", "Delta Import (Stage Only)");
  await world.profile("ADMA", "Delta Synchronization");
  const left = Object.fromEntries(Object.entries(before).filter(([name]) => !contributed.includes(name)));
  expect(await values(0)).toEqual(left);
  expect(await values(1)).toEqual(other);
});

test("an object whose DN another has taken is read directly, and transient where that does not help", async () => {
  const world = new EngineWorld();
  for (const number of [0, 1]) world.addGuest(number);
  await world.cycle("initial");
  const [first, second] = [0, 1].map((number) => world.accountsOf(guestId(number))[0]!);
  // The delta import is told of the second alone.
  first!.dn = `CN=Elsewhere,${guestOu}`;
  world.accounts.rename(second!.anchor, dnOf(0));
  const found = await world.profile("ADMA", "Delta Import (Stage Only)");
  expect(found.steps[0]).toMatchObject({ status: "success", statistics: { stageRename: 2 } });
  expect((await world.engine.connectorSpace.findByAnchor("ADMA", first!.anchor))!.object.dn).toBe(first!.dn);

  first!.dn = dnOf(0);
  world.accounts.rename(second!.anchor, dnOf(1));
  await world.profile("ADMA", "Delta Import (Stage Only)");
  await world.profile("ADMA", "Full Import (Stage Only)");
  world.accounts.rename(second!.anchor, dnOf(0));
  const transient = await world.profile("ADMA", "Delta Import (Stage Only)");
  expect(transient.status).toBe("completed-transient-objects");
  expect(transient.steps[0]!.detail).toContain("1 objects have lost their DN");
});
