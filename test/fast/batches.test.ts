/** Lists of work and what is done ahead of it. */
import { expect, test } from "vitest";
import { batches, oneAhead, together } from "../../src/engine/runs/batches.ts";

async function* numbers(to: number, told: string[]): AsyncGenerator<number> {
  try {
    for (let number = 1; number <= to; number++) {
      told.push(`asked for ${number}`);
      yield number;
    }
    if (to > 2) throw new Error("The source has failed.");
  } finally {
    told.push("closed");
  }
}

test("while one item is worked on, the next is asked for, and no other", async () => {
  const told: string[] = [];
  for await (const number of oneAhead(numbers(2, told))) {
    await new Promise((resolve) => setImmediate(resolve));
    told.push(`worked on ${number}`);
  }
  expect(told).toEqual(["asked for 1", "asked for 2", "worked on 1", "closed", "worked on 2"]);
});

test("a failure of what was asked for ahead shows when its turn comes", async () => {
  const read: number[] = [];
  const all = async () => {
    for await (const number of oneAhead(numbers(3, []))) {
      await new Promise((resolve) => setImmediate(resolve));
      read.push(number);
    }
  };
  await expect(all()).rejects.toThrow("The source has failed.");
  expect(read).toEqual([1, 2, 3]);
});

test("whoever stops early closes the source", async () => {
  const told: string[] = [];
  for await (const _number of oneAhead(numbers(9, told))) break;
  expect(told.at(-1)).toBe("closed");
});

test("of two that go side by side the failure of one waits for the other", async () => {
  let ended = false;
  const slow = new Promise<void>((resolve) => setTimeout(resolve, 5)).then(() => {
    ended = true;
  });
  await expect(together(Promise.reject(new Error("One has failed.")), slow)).rejects.toThrow(
    "One has failed.",
  );
  expect(ended).toBe(true);
  expect(await together(Promise.resolve(1), Promise.resolve("b"))).toEqual([1, "b"]);
});

test("batches are full but for the last", async () => {
  const lists: number[][] = [];
  for await (const list of batches(numbers(2, []), 1)) lists.push(list);
  expect(lists).toEqual([[1], [2]]);
});
