import { describe, expect, test } from "vitest";
import { listRows, type Operation, prefixRange, type Tables } from "../../src/engine/ports/tables.ts";

/** What every implementation of `Tables` promises. `open` gives an empty table of that name. */
export function tablesConformance(name: string, open: () => Tables): void {
  let made = 0;
  const table = () => `conformance${Date.now()}${++made}`;
  const insert = (row: string, text = "x"): Operation => ({ kind: "insert", row, properties: { text } });

  const replace = (row: string): Operation => ({ kind: "replace", row, properties: { text: row } });

  describe(`${name}: tables`, () => {
    test("a row comes back with its strings, numbers, booleans and bytes", async () => {
      const tables = open();
      const t = table();
      const properties = {
        text: "Zoë 漢字",
        count: 7,
        ratio: 0.5,
        yes: true,
        bytes: new Uint8Array([0, 255, 7]),
      };
      await tables.transact(t, "p", [{ kind: "insert", row: "r|1", properties }]);
      const row = await tables.get(t, "p", "r|1");
      expect({ ...row!.properties, bytes: [...(row!.properties.bytes as Uint8Array)] }).toEqual({
        ...properties,
        bytes: [0, 255, 7],
      });
      expect(await tables.get(t, "p", "r|2")).toBeUndefined();
    });

    test("a second insert is a conflict, and nothing of its transaction is written", async () => {
      const tables = open();
      const t = table();
      await tables.transact(t, "p", [insert("a")]);
      await expect(tables.transact(t, "p", [insert("b"), insert("a")])).rejects.toMatchObject({
        kind: "conflict",
      });
      await expect(tables.transact(t, "p", [insert("a")])).rejects.toMatchObject({ kind: "conflict" });
      expect(await tables.get(t, "p", "b")).toBeUndefined();
    });

    test("a replace is bound to its ETag, alone and in a transaction", async () => {
      const tables = open();
      const t = table();
      const [first] = await tables.transact(t, "p", [insert("a", "1")]);
      const replace = (text: string, etag: string): Operation => ({
        kind: "replace",
        row: "a",
        properties: { text },
        etag,
      });
      const [second] = await tables.transact(t, "p", [replace("2", first!)]);
      expect(second).not.toBe(first);
      await expect(tables.transact(t, "p", [replace("3", first!)])).rejects.toMatchObject({
        kind: "conflict",
      });
      await expect(tables.transact(t, "p", [insert("b"), replace("3", first!)])).rejects.toMatchObject({
        kind: "conflict",
      });
      const [, fourth] = await tables.transact(t, "p", [insert("b"), replace("4", second!)]);
      expect(await tables.get(t, "p", "a")).toMatchObject({ etag: fourth, properties: { text: "4" } });
    });

    test("a replace removes the properties that it does not name; without an ETag it also inserts", async () => {
      const tables = open();
      const t = table();
      await tables.transact(t, "p", [{ kind: "replace", row: "a", properties: { one: 1, two: 2 } }]);
      await tables.transact(t, "p", [{ kind: "replace", row: "a", properties: { two: 3 } }]);
      expect((await tables.get(t, "p", "a"))?.properties).toEqual({ two: 3 });
    });

    test("deleting a missing row is a conflict and undoes its transaction", async () => {
      const tables = open();
      const t = table();
      await tables.transact(t, "p", [insert("a")]);
      await expect(tables.transact(t, "p", [{ kind: "delete", row: "none" }])).rejects.toMatchObject({
        kind: "conflict",
      });
      await expect(
        tables.transact(t, "p", [
          { kind: "delete", row: "a" },
          { kind: "delete", row: "none" },
        ]),
      ).rejects.toMatchObject({ kind: "conflict" });
      expect(await tables.get(t, "p", "a")).toBeDefined();
      await tables.transact(t, "p", [{ kind: "delete", row: "a" }, insert("b")]);
      expect(await tables.get(t, "p", "a")).toBeUndefined();
    });

    test("a query gives one partition's range in key order, page by page, with the selected properties", async () => {
      const tables = open();
      const t = table();
      const rows = Array.from({ length: 25 }, (_, i) => `o|${String(i).padStart(3, "0")}`);
      await tables.transact(
        t,
        "p",
        [...rows].reverse().map((row) => insert(row, row)),
      );
      await tables.transact(t, "p", [insert("n|1"), insert("p|1")]);
      await tables.transact(t, "q", [insert("o|000")]);
      const query = { partition: "p", ...prefixRange("o|"), pageSize: 10 };
      const first = await tables.query(t, query);
      expect(first.rows.map(({ row }) => row)).toEqual(rows.slice(0, 10));
      expect(first.continuation).toBeDefined();
      for (const madeUp of ["zzz", "!!", "", Buffer.from('{"a":1}').toString("base64")])
        await expect(tables.query(t, query, madeUp)).rejects.toMatchObject({ kind: "bad-continuation" });
      expect((await listRows(tables, t, query)).map(({ row }) => row)).toEqual(rows);
      const some = await listRows(tables, t, {
        partition: "p",
        from: "o|005",
        to: "o|007",
        select: ["none"],
      });
      expect(some.map(({ row, properties }) => [row, properties])).toEqual([
        ["o|005", {}],
        ["o|006", {}],
      ]);
    });

    test("the ETags of a transaction come in the order of its operations, whatever their kinds", async () => {
      const tables = open();
      const t = table();
      const text = { text: "1" };
      const [etag] = await tables.transact(t, "p", [insert("d"), insert("a"), insert("g")]);
      const operations: Operation[] = [
        { kind: "replace", row: "h", properties: text },
        { kind: "delete", row: "a" },
        insert("b"),
        { kind: "replace", row: "d", properties: text, etag: etag! },
        { kind: "delete", row: "g" },
        insert("c"),
        { kind: "replace", row: "e", properties: text },
      ];
      const etags = await tables.transact(t, "p", operations);
      for (const [index, { kind, row }] of operations.entries())
        expect([row, etags[index]]).toEqual([
          row,
          kind === "delete" ? "" : (await tables.get(t, "p", row))!.etag,
        ]);
    });

    test("keys differ in each letter and its case; what can be no key has no row", async () => {
      const tables = open();
      const t = table();
      // All keys of the stores are ASCII: no letter of a value ever stands in one.
      const keys = ["a", "A", "a b", "a'b", 'a"b', "a%2Fb", "a+b", "a&b", "a_b", "a~b"];
      for (const key of keys) {
        await tables.transact(t, key, [insert(key, `of ${key}`)]);
        await tables.transact(t, "p", [insert(key, key)]);
      }
      await tables.transact(t, "p", [...keys.slice(1).map((row) => replace(row)), insert("more")]);
      for (const key of keys) {
        expect([key, (await tables.get(t, key, key))?.properties.text]).toEqual([key, `of ${key}`]);
        const found = await listRows(tables, t, { partition: key, from: key });
        expect(found.map(({ row }) => row)).toEqual([key]);
      }
      const listed = await listRows(tables, t, { partition: "p" });
      expect(new Set(listed.map(({ row }) => row))).toEqual(new Set([...keys, "more"]));
      for (const key of ["a/b", "a\\b", "a#b", "a?b", "a\u0000b", "a\u0085b", "x".repeat(600)])
        expect(await tables.get(t, "p", key)).toBeUndefined();
    });

    test("what the service would refuse is refused before it is sent", async () => {
      const tables = open();
      const t = table();
      const refused = (operations: Operation[]) =>
        expect(tables.transact(t, "p", operations)).rejects.toMatchObject({ kind: "too-large" });
      await refused([{ kind: "insert", row: "a", properties: { text: "x".repeat(32_769) } }]);
      await refused([{ kind: "insert", row: "a", properties: { bytes: new Uint8Array(65_537) } }]);
      for (const key of ["a/b", "a\\b", "a#b", "a?b", "a\u0000b", "a\u007fb", "a\u0085b", "x".repeat(513)])
        await refused([insert(key)]);
      await expect(tables.transact(t, "p/q", [insert("a")])).rejects.toMatchObject({ kind: "too-large" });
      const many = Object.fromEntries(Array.from({ length: 253 }, (_, i) => [`p${i}`, i]));
      await refused([{ kind: "insert", row: "a", properties: many }]);
      // Letters that take three bytes on the way: 3.8 million bytes as the service counts a property, 5.7 sent.
      await refused(Array.from({ length: 60 }, (_, i) => insert(`a${i}`, "漢".repeat(32_000))));
      await refused([insert("a"), insert("a")]);
      await refused(Array.from({ length: 101 }, (_, i) => insert(`a${i}`)));
      const big = Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`p${i}`, "x".repeat(32_000)]));
      await refused([{ kind: "insert", row: "a", properties: big }]);
      const full = Object.fromEntries(Array.from({ length: 15 }, (_, i) => [`p${i}`, "x".repeat(32_000)]));
      await tables.transact(t, "p", [{ kind: "insert", row: "a", properties: full }]);
      expect((await tables.get(t, "p", "a"))?.properties.p14).toHaveLength(32_000);
    });
  });
}
