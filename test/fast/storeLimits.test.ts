/** Sizes at which Table Storage refuses a row or a property; the tables in memory refuse the same. */
import { expect, test } from "vitest";
import type { PlanItem } from "../../src/engine/core/exportOrder.ts";
import { newConnectorSpaceObject } from "../../src/engine/core/model.ts";
import { anchorHash, ConnectorSpaceStore } from "../../src/engine/stores/connectorSpace.ts";
import { FencedWriter, LeaseLost } from "../../src/engine/stores/fence.ts";
import { MemoryTables } from "../../src/engine/stores/memory/memoryTables.ts";
import { PlanStore } from "../../src/engine/stores/plans.ts";
import { SeenStore, seenKey } from "../../src/engine/stores/seen.ts";
import { decodeText, encodeTexts } from "../../src/engine/stores/texts.ts";

test("a plan of any length is frozen whole", async () => {
  const plans = new PlanStore(new MemoryTables());
  const items = Array.from({ length: 20_001 }, (_, index): PlanItem => {
    return { id: String(index).padStart(32, "0"), kind: "disable", rank: 0, digest: "d".repeat(22) };
  });
  const head = {
    runId: "8232774399999-000001",
    hash: "h",
    state: "running",
    approved: false,
    createdAt: "2026-01-01T00:00:00.000Z",
    items: items.length,
    counts: { disable: items.length },
    exported: {},
    countedUpTo: 0,
    endedAt: null,
  } as const;
  await plans.freeze("ADMA", head, items);
  expect(await plans.items("ADMA", head.runId)).toEqual(items);
});

test("the largest page that a directory gives is remembered as seen, and twice is once", async () => {
  const seen = new SeenStore(new MemoryTables());
  const key = { runId: "8232774399999-000001", step: 2 };
  const hashes = Array.from({ length: 5000 }, (_, index) => anchorHash(`guid-${index}`));
  await seen.add(key, 0, hashes);
  await seen.add(key, 0, hashes);
  await seen.add(key, 1, []);
  expect(await seen.load(key)).toEqual(new Set(hashes.map(seenKey)));
  await seen.clear(key);
  expect(await seen.load(key)).toEqual(new Set());
});

test("a text that was obsolete and is wanted again is not deleted by a process that comes too late", async () => {
  const tables = new MemoryTables();
  const store = new ConnectorSpaceStore(tables);
  let owner = 1;
  const writerOf = (epoch: number) => {
    const claim = { runId: "run", step: 0, shard: "main", epoch };
    const verify = async () => {
      if (owner > epoch) throw new LeaseLost(claim);
    };
    return new FencedWriter(tables, { ...claim, verify });
  };
  const object = (text: string) => {
    const image = { objectType: "user", dn: "CN=a", attributes: { note: text } };
    const id = "a".repeat(32);
    return newConnectorSpaceObject({
      id,
      connector: "AD",
      objectType: "user",
      anchor: "a",
      dn: "CN=a",
      synchronized: image,
    });
  };
  const [first, second] = [object("1".repeat(50_000)), object("2".repeat(50_000))];
  const read = async () => (await store.get("AD", first.id))!;
  await store.write(writerOf(1), [{ before: null, after: first }]);

  const slow = writerOf(1);
  const transact = tables.transact.bind(tables);
  tables.transact = async (table, partition, operations) => {
    if (owner === 1 && operations.some(({ kind, row }) => kind === "delete" && row.startsWith("s|"))) {
      owner = 2;
      await store.write(writerOf(2), [{ before: await read(), after: first }]);
    }
    return transact(table, partition, operations);
  };
  const late = store.write(slow, [{ before: await read(), after: second }]);
  await expect(late).rejects.toThrow(LeaseLost);
  expect((await read()).object).toEqual(first);
});

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
