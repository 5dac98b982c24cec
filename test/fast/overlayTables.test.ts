import fc from "fast-check";
import { expect, test } from "vitest";
import { type Operation, rowsOf, StoreError, type Tables } from "../../src/engine/ports/tables.ts";
import { MemoryTables } from "../../src/engine/stores/memory/memoryTables.ts";
import { OverlayTables } from "../../src/engine/stores/overlay/overlayTables.ts";
import { tablesConformance } from "../conformance/tables.ts";

const over = (base: Tables, tables: Tables = new MemoryTables()) =>
  new OverlayTables(base, { tables, table: "overlay", partition: "p", prefix: "x|" });

tablesConformance("overlay", () => over(new MemoryTables()));

const keys = ["a", "a|1", "b", "b|1", "b|2", "c", "d|9"];
const row = fc.constantFrom(...keys);
const operation: fc.Arbitrary<Operation> = fc.oneof(
  fc.record({ kind: fc.constant("insert" as const), row, properties: fc.record({ text: fc.string() }) }),
  fc.record({ kind: fc.constant("replace" as const), row, properties: fc.record({ text: fc.string() }) }),
  fc.record({ kind: fc.constant("delete" as const), row }),
);
const outcome = (work: Promise<unknown>) =>
  work.then(
    () => "done",
    (error) => (error instanceof StoreError ? error.kind : String(error)),
  );

test("a base with an overlay behaves like tables that were changed, and the base stays as it is", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(row),
      fc.array(operation, { maxLength: 12 }),
      fc.record({
        from: row,
        to: fc.option(row, { nil: undefined }),
        pageSize: fc.integer({ min: 1, max: 4 }),
      }),
      async (present, operations, { from, to, pageSize }) => {
        const base = new MemoryTables();
        const plain = new MemoryTables();
        for (const tables of [base, plain])
          for (const one of present)
            await tables.transact("t", "q", [
              { kind: "insert", row: one, properties: { text: `of ${one}` } },
            ]);
        const before = await contents(base, {});
        const overlay = over(base);
        for (const one of operations)
          expect(await outcome(overlay.transact("t", "q", [one]))).toBe(
            await outcome(plain.transact("t", "q", [one])),
          );
        const range = { from, ...(to === undefined ? {} : { to }), pageSize };
        expect(await contents(overlay, range)).toEqual(await contents(plain, range));
        expect(await contents(overlay, { select: ["text"] })).toEqual(await contents(plain, {}));
        for (const key of keys) {
          const found = await overlay.get("t", "q", key);
          expect(found?.properties.text).toEqual((await plain.get("t", "q", key))?.properties.text);
          if (found === undefined) continue;
          const replace = {
            kind: "replace",
            row: key,
            properties: { text: "new" },
            etag: found.etag,
          } as const;
          expect(await outcome(overlay.transact("t", "q", [replace]))).toBe("done");
          expect(await outcome(overlay.transact("t", "q", [replace]))).toBe("conflict");
        }
        expect(await contents(base, {})).toEqual(before);
      },
    ),
    { numRuns: 200 },
  );
});

async function contents(tables: Tables, query: object): Promise<[string, unknown][]> {
  const found: [string, unknown][] = [];
  for await (const { row: key, properties } of rowsOf(tables, "t", { partition: "q", ...query }))
    found.push([key, properties.text]);
  return found;
}
