/** What is kept for a set time only, over the real engine. */
import { expect, test } from "vitest";
import { defaultRetention, Retention } from "../../src/engine/retention.ts";
import { RulesDiffs } from "../../src/engine/rulesDiff.ts";
import { recipe } from "../fast/support/guestWorld.ts";
import { EngineWorld } from "../support/engineWorld.ts";

const dayMs = 24 * 3_600_000;
const rowsOf = async (world: EngineWorld, table: string) => (await world.tables.rows(table)).length;

test("runs, histories and the audit go when their time is over; what the engine works with stays", async () => {
  const world = new EngineWorld();
  world.addGuest(0);
  world.addGuest(1);
  await world.cycle("initial");
  await world.cycle("delta");
  await new RulesDiffs(world.engine).start(recipe.ruleTexts, "http");
  await world.settle();
  await world.engine.audit.add({
    at: new Date(world.now).toISOString(),
    who: "ann",
    what: "test",
    about: {},
    why: null,
    details: {},
  });
  const retention = new Retention(world.engine);
  expect(await retention.clean()).toEqual({ runs: 0, histories: 0, audit: 0 });
  expect(await retention.clean()).toBeNull();

  world.now += 31 * dayMs;
  expect(await retention.clean()).toMatchObject({ runs: 3, histories: 0, audit: 0 });
  for (const table of ["checkpoints", "history", "imports", "diffs"])
    expect(await rowsOf(world, table)).toBe(0);
  expect((await world.engine.runs.page(10)).runs).toEqual([]);

  const kept = await world.cycle("delta");
  world.now += 60 * dayMs;
  expect(await retention.clean()).toMatchObject({ runs: 1, histories: expect.any(Number) });
  expect(await world.engine.runs.get(kept.id)).toBeUndefined();
  world.now += 300 * dayMs;
  expect(await retention.clean()).toMatchObject({ audit: 1 });
  expect(await rowsOf(world, "objecthistory")).toBe(0);

  world.addGuest(2);
  await world.cycle("delta");
  await world.cycle("delta");
  expect(world.wrong()).toEqual([]);
});

test("an open run stays, however old, and retention can be as short as a second", async () => {
  const world = new EngineWorld();
  world.addGuest(0);
  await world.cycle("initial");
  await world.engine.startCycle("delta", "http");
  world.now += 2000;
  const retention = new Retention(world.engine, { ...defaultRetention, runHistoryMs: 1000 });
  expect(await retention.clean()).toMatchObject({ runs: 1 });
  expect(await world.engine.runs.openIds()).toHaveLength(1);
  await world.settle();
  world.now += 2000;
  expect(await retention.clean()).toMatchObject({ runs: 1 });
});

test("a comparison under way keeps its rules, and they go with it", async () => {
  const world = new EngineWorld();
  world.addGuest(0);
  await world.cycle("initial");
  const retention = new Retention(world.engine, { ...defaultRetention, runHistoryMs: 1000 });
  const { id } = await new RulesDiffs(world.engine).start(recipe.ruleTexts, "http");
  world.now += 2000;
  await retention.clean();
  world.restart(); // another host has not read them yet
  await world.settle();
  expect((await world.engine.runs.get(id))?.run.status).toBe("success");
  world.now += 2000;
  await retention.clean();
  expect(await rowsOf(world, "diffs")).toBe(0);
});

test("a run that one cleaning cannot remove is gone with the next", async () => {
  const world = new EngineWorld();
  await world.cycle("initial");
  const { id } = await world.lastRun();
  for (let first = 0; first < 300; first += 100)
    await world.tables.transact(
      "diffs",
      id,
      Array.from({ length: 100 }, (_, n) => ({ kind: "insert", row: `${first + n}`, properties: {} })),
    );
  world.now += 31 * dayMs;
  const retention = new Retention(world.engine);
  let removals = 0;
  world.beforeTransaction = (table) => {
    if (table === "diffs" && ++removals === 2) world.now += 21_000;
  };
  expect(await retention.clean()).toMatchObject({ runs: 0 });
  expect(await rowsOf(world, "diffs")).toBe(100);
  expect(await world.engine.runs.get(id)).toBeDefined();
  expect(await retention.clean()).toMatchObject({ runs: 1 });
  expect(await rowsOf(world, "diffs")).toBe(0);
});
