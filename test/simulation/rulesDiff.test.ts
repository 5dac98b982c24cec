/** Comparing rules over the real engine: what it finds is what the rules then do, and until then nothing changes. */
import { expect, test } from "vitest";
import { compileRuleTexts } from "../../src/engine/core/readRules.ts";
import { RulesDiffs } from "../../src/engine/rulesDiff.ts";
import type { Run } from "../../src/engine/stores/runs.ts";
import { recipe } from "../fast/support/guestWorld.ts";
import { type CountedTables, EngineWorld, guestId, guestOu } from "../support/engineWorld.ts";

const changed = (change: (text: string) => string) =>
  recipe.ruleTexts.map(({ file, text }) => ({ file, text: change(text) }));
const onlyEnabled = (text: string) =>
  text.replace(
    "- - { attribute: userType, operator: EQUAL, value: Guest }",
    "- - { attribute: userType, operator: EQUAL, value: Guest }\n    - { attribute: accountEnabled, operator: EQUAL, value: True }",
  );
const withTitle = (text: string) =>
  text.replace(
    "- { target: displayName, source: displayName }\n  - { target: givenName, source: givenName }\n  - { target: sn, source: sn }",
    `- { target: displayName, expression: '"Guest " & [displayName]' }\n  - { target: givenName, source: givenName }\n  - { target: sn, source: sn }`,
  );

async function compare(world: EngineWorld, rules: ReturnType<typeof changed>): Promise<Run> {
  world.now += 1000;
  await world.surviving(async () => {
    const open = await world.engine.runs.openIds();
    if (open.length === 0) await new RulesDiffs(world.engine).start(rules, "http");
  });
  await world.settle();
  return world.lastRun();
}

const real = async (tables: CountedTables) => {
  const names = ["connectorspace", "csindex", "metaverse", "mvindex", "watermarks", "plans"];
  return Promise.all(names.map((name) => tables.rows(name)));
};
const found = (world: EngineWorld, run: Run, limit = 1000, continuation?: string) =>
  new RulesDiffs(world.engine).found(run.id, {}, limit, continuation);
const nonZero = (counts: Readonly<Record<string, number>>) =>
  Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));

/** Ten guests with accounts; the last two are blocked. */
async function tenGuests(configuration = recipe): Promise<EngineWorld> {
  const world = new EngineWorld({ configuration });
  for (let number = 0; number < 10; number++) world.addGuest(number, { accountEnabled: number < 8 });
  await world.cycle("initial");
  await world.cycle("delta");
  return world;
}

test("the same rules have no effect", async () => {
  const world = await tenGuests();
  const run = await compare(
    world,
    changed((text) => text),
  );
  expect(run).toMatchObject({ status: "success" });
  expect(run.steps.map(({ profile }) => profile)).toEqual([
    "Full Synchronization (changed rules)",
    "Full Synchronization (changed rules)",
    "Effects",
    "Effects",
  ]);
  expect(await found(world, run)).toMatchObject({ items: [] });
});

test("an attribute for everybody: every account is named with before, after and rule; nothing is written", async () => {
  const world = await tenGuests();
  const before = await real(world.tables);
  const run = await compare(world, changed(withTitle));
  expect(await real(world.tables)).toEqual(before);
  const diff = (await found(world, run))!;
  expect(nonZero(diff.counts.ADMA!)).toEqual({ update: 10 });
  expect(nonZero(diff.counts.AADMA!)).toEqual({});
  expect(diff.items).toHaveLength(10);
  expect(diff.items[0]).toMatchObject({
    connector: "ADMA",
    change: "update",
    attributes: [{ name: "displayName", before: expect.stringMatching(/^Guest 0/), rule: "AD-B2B-OUT" }],
  });
  // In pages.
  const first = (await found(world, run, 4))!;
  const second = (await found(world, run, 100, first.continuation))!;
  expect([...first.items, ...second.items]).toEqual(diff.items);
  // What it worked with is gone, what it found stays.
  const left = (await world.tables.rows("diffs")).map(({ row }) => row.split("|")[0]!);
  expect(new Set(left)).toEqual(new Set(["effect", "head", diff.rulesVersion]));
});

test("a narrower scope: what it lets go of is told before, and it comes so", async () => {
  const world = await tenGuests();
  const rules = changed(onlyEnabled);
  const run = await compare(world, rules);
  const diff = (await found(world, run))!;
  // AADMA retains what the rules let go of, so two accounts get a note that says so.
  expect(nonZero(diff.counts.ADMA!)).toEqual({ update: 2 });
  const said = diff.items.map(({ id, attributes }) => [id, attributes]);

  const after = new EngineWorld({ configuration: compileRuleTexts(rules, recipe), tables: world.tables });
  after.now = world.now;
  await after.profile("AADMA", "Full Synchronization");
  const plan = [];
  for (const [id] of said) {
    const stored = await after.engine.connectorSpace.get("ADMA", String(id));
    plan.push([id, stored!.object.pendingExport!.attributes.map(({ name }) => name)]);
  }
  expect(plan).toEqual(diff.items.map(({ id, attributes }) => [id, attributes.map(({ name }) => name)]));
});

test("a wider scope: new accounts, and those that are adopted, apart from each other", async () => {
  const world = await tenGuests(compileRuleTexts(changed(onlyEnabled), recipe));
  const blocked = [guestId(20), guestId(21)];
  for (const number of [20, 21]) world.addGuest(number, { accountEnabled: false });
  world.accounts.add(`CN=${blocked[0]},${guestOu}`, { userAccountControl: 262658n });
  await world.cycle("initial");
  expect(world.accountsOf(blocked[1]!)).toEqual([]);
  const diff = (await found(
    world,
    await compare(
      world,
      changed((text) => text),
    ),
  ))!;
  expect(nonZero(diff.counts.ADMA!)).toMatchObject({ add: 3, adopt: 1 });
  expect(nonZero(diff.counts.AADMA!)).toEqual({ connect: 4 });
});

test("what is pending under the active rules anyway is no effect of the changed ones", async () => {
  const world = await tenGuests();
  world.guests.change(guestId(3), { displayName: "Somebody else" });
  await world.profile("AADMA", "Delta Import (Stage Only)");
  const run = await compare(
    world,
    changed((text) => text),
  );
  expect(run.steps[0]).toMatchObject({ profile: "Full Synchronization (active rules)" });
  expect(await found(world, run)).toMatchObject({ items: [] });
  expect((await found(world, await compare(world, changed(withTitle))))!.items).toHaveLength(10);
});

test("it may die at any write, works in slices, and finds the same", async () => {
  const whole = await tenGuests();
  const expected = (await found(whole, await compare(whole, changed(withTitle))))!;
  for (const effects of [1, 2, 3, 5, 8, 13, 21, 34, 55]) {
    const world = new EngineWorld({ timings: { budgetMs: 0 } });
    for (let number = 0; number < 10; number++) world.addGuest(number, { accountEnabled: number < 8 });
    await world.cycle("initial");
    await world.cycle("delta");
    world.lifeOfEach = Number.POSITIVE_INFINITY;
    world.restart(effects);
    const run = await compare(world, changed(withTitle));
    const diff = (await found(world, run))!;
    expect([diff.counts, diff.items.length]).toEqual([expected.counts, expected.items.length]);
    expect(world.crashes).toBe(1);
    expect(world.wrong()).toEqual([]);
  }
});

test("a comparison keeps other runs out, and is kept out", async () => {
  const world = await tenGuests();
  await new RulesDiffs(world.engine).start(changed(withTitle), "http");
  await expect(world.engine.startCycle("delta", "http")).rejects.toThrow(/in progress/);
  await world.settle();
  await world.engine.startCycle("delta", "http");
  await expect(new RulesDiffs(world.engine).start(changed(withTitle), "http")).rejects.toThrow(/in progress/);
  await world.settle();
});
