import { expect, test } from "vitest";
import { type AuditEntry, AuditStore } from "../../src/engine/stores/audit.ts";
import { MemoryTables } from "../../src/engine/stores/memory/memoryTables.ts";

const entry = (at: string, what: string): AuditEntry => ({
  at,
  who: "ann@corp.example",
  what,
  about: { connector: "ADMA" },
  why: "as agreed",
  details: {},
});

test("the audit lists newest first, page by page, and loses nothing of one instant", async () => {
  const audit = new AuditStore(new MemoryTables());
  await audit.add(entry("2026-01-01T00:00:00.000Z", "join"));
  await audit.add(entry("2026-01-02T00:00:00.000Z", "disconnect"));
  await audit.add(entry("2026-01-02T00:00:00.000Z", "retry"));
  const first = await audit.page(2);
  const second = await audit.page(2, first.continuation);
  expect(first.entries.map(({ what }) => what).sort()).toEqual(["disconnect", "retry"]);
  expect(second.entries.map(({ what, who, why }) => [what, who, why])).toEqual([
    ["join", "ann@corp.example", "as agreed"],
  ]);
  const ids = [...first.entries, ...second.entries].map(({ id }) => id);
  expect(new Set(ids).size).toBe(3);
});

test("a reason is kept up to 2,000 characters", async () => {
  const audit = new AuditStore(new MemoryTables());
  await audit.add({ ...entry("2026-01-01T00:00:00.000Z", "join"), why: "x".repeat(3000) });
  expect((await audit.page(1)).entries[0]!.why).toHaveLength(2000);
});
