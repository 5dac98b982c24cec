/**
 * Random histories over the real engine; `npm run simulate` plays as many as there is time for. And bugs put in on
 * purpose: a simulator that finds none of them would prove nothing.
 */
import { describe, expect, test } from "vitest";
import { calmHistoryOf, edits, type History, historyOf, troubles } from "../simulator/history.ts";
import { variations } from "../simulator/ruleSets.ts";
import { crashedEverywhere, type Sabotage, shrink, simulate } from "../simulator/simulate.ts";

const histories = 40;

test(`${histories} histories end right, whatever goes wrong in them, and all of it does`, async () => {
  const seen = new Set<string>();
  for (let seed = 1; seed <= histories; seed++) {
    const history = historyOf(seed);
    const { violations, happened } = await simulate(history);
    expect({ seed, violations }).toEqual({ seed, violations: [] });
    const off = troubles.filter((trouble) => !history.troubles.includes(trouble));
    expect({ seed, happened: off.filter((trouble) => trouble in happened) }).toEqual({ seed, happened: [] });
    for (const what of Object.keys(happened)) seen.add(what);
  }
  expect(seen).toEqual(new Set([...troubles, "death", "thaw", "lease lost"]));
});

/** One guest and one worker, the recipe as it is. */
const plainHistory: History = {
  ...calmHistoryOf(4),
  rules: [],
  rulesConnector: false,
  concurrency: 1,
  workers: 1,
  slices: "long",
  calm: "delta",
  guests: 1,
};

test("a process that dies after any effect of a short history leaves nothing wrong", async () => {
  // What a script has left behind takes the place of what was provisioned, and is deleted by hand later.
  const history: History = {
    ...plainHistory,
    accounts: ["byUpn"],
    events: [
      { kind: "cycle", cycle: "initial" },
      { kind: "deliver", count: 200 },
      { kind: "edit", edit: "accountDeleted", guest: 0 },
      { kind: "cycle", cycle: "delta" },
      { kind: "deliver", count: 200 },
    ],
  };
  // Every second effect is enough for here; `npm run simulate -- --every-crash` takes each.
  let crashes = 0;
  let stops = 0;
  for await (const crashed of crashedEverywhere(history, 2)) {
    const { violations } = await simulate(crashed);
    expect({ crashAt: crashed.crashAt, violations }).toEqual({ crashAt: crashed.crashAt, violations: [] });
    crashes++;
    if (crashed.crashStops) stops++;
  }
  expect(crashes).toBeGreaterThan(100);
  expect(stops).toBeGreaterThan(crashes / 3);
});

test("a run that is stopped where its process died leaves nothing that delta cycles do not mend", async () => {
  const history: History = {
    ...plainHistory,
    accounts: [],
    events: [
      { kind: "cycle", cycle: "initial" },
      { kind: "deliver", count: 200 },
      { kind: "edit", edit: "rename", guest: 0 },
      { kind: "edit", edit: "add", guest: 1 },
      { kind: "cycle", cycle: "delta" },
      { kind: "deliver", count: 200 },
    ],
  };
  for await (const { crashAt } of crashedEverywhere(history, 3)) {
    const { violations } = await simulate({ ...history, crashAt, crashStops: true });
    expect({ crashAt, violations }).toEqual({ crashAt, violations: [] });
  }
});

test("two hundred histories have everything in them that there is", () => {
  const all = Array.from({ length: 200 }, (_, seed) => historyOf(seed));
  const events = all.flatMap((history) => history.events);
  expect(new Set(events.map(({ kind }) => kind))).toEqual(
    new Set([
      "edit",
      "rules",
      "cycle",
      "profile",
      "stop",
      "timer",
      "staging",
      "listing",
      "forget",
      "pass",
      "deliver",
    ]),
  );
  expect(new Set(events.flatMap((event) => (event.kind === "edit" ? event.edit : []))).size).toBe(
    edits.length,
  );
  expect(new Set(all.flatMap((history) => history.troubles))).toEqual(new Set(troubles));
  expect(new Set(all.flatMap((history) => history.rules))).toEqual(new Set(variations));
  expect(new Set(all.flatMap((history) => history.accounts)).size).toBe(3);
  for (const property of ["detectsDuplicates", "rulesConnector", "slices", "workers", "counts"] as const)
    expect(new Set(all.map((history) => history[property])).size).toBeGreaterThan(1);
  const concurrent = all.filter(({ concurrency }) => concurrency > 1);
  expect(concurrent.length).toBeGreaterThan(50);
  expect(concurrent.length).toBeLessThan(150);
});

test("the same seed gives the same history to the byte, another one another", async () => {
  const digests = await Promise.all([7, 7, 8].map(async (seed) => (await simulate(historyOf(seed))).digest));
  expect(digests[1]).toBe(digests[0]);
  expect(digests[2]).not.toBe(digests[0]);
});

describe("a bug is found, and its history shrunk:", () => {
  const bugs: readonly (readonly [string, Sabotage])[] = [
    ["writes that do not ask whether the row has changed", { blindWrites: true }],
    [
      "an import that forgets what it has seen",
      {
        engine: ({ parts }) => {
          parts.seen.add = async () => undefined;
        },
      },
    ],
    [
      "a map of shards with work that is not kept",
      {
        engine: ({ parts }) => {
          parts.state.markDirty = async () => undefined;
        },
      },
    ],
  ];

  /** Which history shows a bug changes with every change of the engine, so it is searched, as one would at night. */
  const finding = async (sabotage: Sabotage) => {
    for (let seed = 1; seed <= 400; seed++) {
      const history = historyOf(seed);
      if ((await simulate(history, sabotage)).violations.length > 0) return history;
    }
    throw new Error("400 histories have not found the bug.");
  };

  test.each(bugs)("%s", async (_, sabotage) => {
    const history = await finding(sabotage);
    expect((await simulate(history)).violations).toEqual([]);
    const smallest = await shrink(history, sabotage, 15);
    expect((await simulate(smallest, sabotage)).violations).not.toEqual([]);
    expect(JSON.stringify(smallest).length).toBeLessThan(JSON.stringify(history).length);
  });
});
