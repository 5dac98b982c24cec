/**
 * Random histories over the real engine; `npm run simulate` plays as many as there is time for. And bugs put in on
 * purpose: a simulator that finds none of them would prove nothing.
 */
import { describe, expect, test } from "vitest";
import { historyOf } from "../simulator/history.ts";
import { type Sabotage, shrink, simulate } from "../simulator/simulate.ts";

const histories = 40;

test(`${histories} histories end right, whatever goes wrong in them`, async () => {
  for (let seed = 1; seed <= histories; seed++) {
    const { violations } = await simulate(historyOf(seed));
    expect({ seed, violations }).toEqual({ seed, violations: [] });
  }
}, 240_000);

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

  test.each(bugs)(
    "%s",
    async (_, sabotage) => {
      const history = await finding(sabotage);
      expect((await simulate(history)).violations).toEqual([]);
      const smallest = await shrink(history, sabotage, 40);
      expect((await simulate(smallest, sabotage)).violations).not.toEqual([]);
      expect(JSON.stringify(smallest).length).toBeLessThan(JSON.stringify(history).length);
    },
    240_000,
  );
});
