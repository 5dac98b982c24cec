/** Sizes of texts and of transactions; that every store keeps to them is what test/conformance/stores.ts shows. */
import { expect, test } from "vitest";
import type { Operation } from "../../src/engine/ports/tables.ts";
import { assertWithinLimits, transactionsOf } from "../../src/engine/stores/limits.ts";
import { MemoryTables } from "../../src/engine/stores/memory/memoryTables.ts";
import { decodeText, encodeTexts, longText, longTextOf } from "../../src/engine/stores/texts.ts";

test("a long text is cut into rows between characters, never inside one", async () => {
  const tables = new MemoryTables();
  const text = `x${"😀".repeat(40_000)}`;
  const { properties, spills, spillRows } = encodeTexts("object", { image: text });
  for (const operation of spillRows) {
    if (operation.kind !== "replace") throw new Error(operation.kind);
    expect(String(operation.properties.text).isWellFormed()).toBe(true);
    await tables.transact("t", "p", [operation]);
  }
  expect(spills).toMatchObject([{ parts: spillRows.length }]);
  const row = { partition: "p", row: "o|object", etag: "", properties };
  expect(await decodeText(tables, "t", row, "image")).toBe(text);
});

test.each([0, 1, 31_999, 32_000, 32_001, 450_000])(
  "a text of %i characters and one fits into a row",
  (length) => {
    const text = `x${"é".repeat(length)}`;
    const properties = longText("run", text);
    assertWithinLimits("p", [{ kind: "insert", row: "r", properties }]);
    expect(longTextOf({ properties }, "run")).toBe(text);
    expect(longTextOf({ properties: {} }, "run")).toBeUndefined();
  },
);

test("operations go into as few transactions as their number and their bytes on the way allow, in order", () => {
  const of = (count: number, text: string) =>
    Array.from({ length: count }, (_, index): Operation => {
      return { kind: "replace", row: `r${index}`, properties: { text } };
    });
  const sizes = (operations: readonly Operation[], max?: number) => {
    const transactions = transactionsOf(operations, max);
    for (const one of transactions) assertWithinLimits("p", one);
    expect(transactions.flat()).toEqual(operations);
    return transactions.map(({ length }) => length);
  };
  expect(sizes(of(201, "x"))).toEqual([100, 100, 1]);
  expect(sizes(of(99, "x"), 99)).toEqual([99]);
  expect(sizes(of(100, "x".repeat(32_000)))).toEqual([54, 46]);
  expect(sizes(of(100, "漢".repeat(32_000)))).toEqual([36, 36, 28]);
  expect(sizes([])).toEqual([]);
});
