import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parseCsv, printCsv } from "../../src/engine/connectors/file/csv.ts";
import type { FileDocument, RawValue } from "../../src/engine/connectors/file/document.ts";
import { FileConnector } from "../../src/engine/connectors/file/fileConnector.ts";
import { parseLdif, printLdif } from "../../src/engine/connectors/file/ldif.ts";
import { fileSettingsSchema } from "../../src/engine/connectors/file/settings.ts";
import { reference } from "../../src/engine/core/values.ts";
import type { ExportChange, ImportEntry } from "../../src/engine/ports/connector.ts";

const valuesOf = (document: FileDocument) =>
  document.records.map(({ dn, attributes }) => ({
    dn,
    attributes: [...attributes.values()].map(({ name, values }) => [name, values]),
  }));

describe("CSV", () => {
  test("quotations hold delimiters, line ends and quotation marks", () => {
    const { records } = parseCsv('id;text\r\n1;"a;b\r\n""c"""\r\n\r\n2;d\r\n', ";");
    expect(records.map(({ line }) => line)).toEqual([2, 5]);
    expect(records[0]?.attributes.get("text")?.values).toEqual(['a;b\r\n"c"']);
  });

  test("a quotation without an end is told with its line", () => {
    expect(() => parseCsv('id,text\n1,x\n2,"never\nended', ",")).toThrow(
      expect.objectContaining({ line: 3, message: expect.stringContaining("does not end") }),
    );
    expect(() => parseCsv('id,text\n1,"x"y\n', ",")).toThrow(/text follows/);
  });

  test("what was printed is read as it was", () => {
    const cell = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.constantFrom(' "', ",", "\r\n", "\n\n", " Zoë ", '"a","b"'),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(cell, cell)), fc.constantFrom(",", ";", "\t"), (rows, delimiter) => {
        const records = rows.map(([first, second], index) => ({
          line: index,
          attributes: new Map(
            Object.entries({ id: `${index}`, first, second })
              .filter(([, value]) => value !== "")
              .map(([name, value]) => [name, { name, values: [value] }]),
          ),
        }));
        const document = {
          records,
          columns: ["id", "first", "second"],
          newline: "\n" as const,
          byteOrderMark: true,
        };
        const read = parseCsv(printCsv(document, delimiter), delimiter);
        expect(valuesOf(read)).toEqual(valuesOf(document));
        expect(read.byteOrderMark).toBe(true);
      }),
    );
  });
});

describe("LDIF", () => {
  test("folded lines, comments and base64", () => {
    const text = `version: 1\n# a comment\n  that is folded\ndn: cn=a,o=x\ncn: a\ndescription: one\n  line\nsn:: w4k=\n\n\ndn:: Y249YixvPXg=\n`;
    const { records } = parseLdif(text);
    expect(valuesOf({ records, newline: "\n", byteOrderMark: false })).toEqual([
      {
        dn: "cn=a,o=x",
        attributes: [
          ["cn", ["a"]],
          ["description", ["one line"]],
          ["sn", [Uint8Array.from(Buffer.from("É"))]],
        ],
      },
      { dn: "cn=b,o=x", attributes: [] },
    ]);
  });

  test("a file of changes, a value in another file and a line that is none are refused with their line", () => {
    expect(() => parseLdif("dn: cn=a\nchangetype: delete\n")).toThrow(expect.objectContaining({ line: 2 }));
    expect(() => parseLdif("dn: cn=a\njpegPhoto:< file:///etc/passwd\n")).toThrow(/not read/);
    expect(() => parseLdif("dn: cn=a\n\ncn: b\n")).toThrow(/begin with its dn/);
    expect(() => parseLdif("dn: cn=a\nnonsense\n")).toThrow(/neither/);
    expect(() => parseLdif("dn: cn=a\nsn:: w4k\n")).toThrow(/sn is not base64/);
  });

  test("what was printed is read as it was", () => {
    const value = fc.oneof(
      fc.string({ unit: "binary", minLength: 1 }),
      fc.constantFrom(" x", ":", "< y", "x ", "a\nb", "Zoë"),
    );
    const bytes = (one: RawValue) => Buffer.from(one as string).toString("hex");
    fc.assert(
      fc.property(fc.array(fc.array(value, { minLength: 1 })), (records) => {
        const document: FileDocument = {
          records: records.map((values, index) => ({
            line: 1,
            dn: `cn=${index}`,
            attributes: new Map([["cn", { name: "cn", values }]]),
          })),
          newline: "\r\n",
          byteOrderMark: false,
        };
        const read = parseLdif(printLdif(document));
        expect(read.records.map((one) => one.attributes.get("cn")?.values.map(bytes))).toEqual(
          records.map((values) => values.map(bytes)),
        );
      }),
    );
  });
});

describe("a file as a connector", () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "file-"));
  });
  afterEach(() => rm(folder, { recursive: true }));

  const attributes = ["id", "hired", "active", "grade", "phones", "manager", "photo"];
  async function open(
    text: string | Uint8Array,
    changes: Record<string, unknown> = {},
  ): Promise<FileConnector> {
    const path = join(folder, "hr.csv");
    await writeFile(path, text);
    const types = {
      hired: "dateTime",
      active: "boolean",
      grade: "integer",
      manager: "reference",
      photo: "binary",
    };
    const settings = { path, format: "csv", anchor: "id", types, multiValued: ["phones"], settleSeconds: 0 };
    return new FileConnector(
      { name: "HR", objectTypes: [{ name: "person", attributes }] },
      fileSettingsSchema.parse({ ...settings, ...changes }),
    );
  }
  const header = "id,hired,active,grade,phones,manager,photo,unused\n";
  async function imported(connector: FileConnector): Promise<readonly ImportEntry[]> {
    const entries: ImportEntry[] = [];
    for await (const page of connector.importPages({ kind: "full" })) entries.push(...page.entries);
    return entries;
  }
  const update = (name: string, after: ExportChange["attributes"][number]["after"]): ExportChange => ({
    id: "1",
    objectType: "person",
    change: "update",
    anchor: "1",
    dn: "1",
    attributes: [{ name, rule: "test", ...(after === undefined ? {} : { after }) }],
    outcomeUnknown: false,
  });
  const context = { log: () => undefined };

  test("values have the types of the settings", async () => {
    const row = "1,2026-01-31,TRUE,-7,+1 2;+3 4,9,AQI=,x\n";
    const [entry] = await imported(await open(header + row));
    expect(entry).toEqual({
      kind: "object",
      anchor: "1",
      image: {
        objectType: "person",
        dn: "1",
        attributes: {
          id: "1",
          hired: { kind: "dateTime", ticks: 134_142_912_000_000_000n },
          active: true,
          grade: -7n,
          phones: ["+1 2", "+3 4"],
          manager: reference("9"),
          photo: Uint8Array.of(1, 2),
        },
      },
    });
  });

  test("a record that cannot be read is an error of its own, and the others go on", async () => {
    const rows = ["1,31.01.2026", "2,2026-01-31T10:00:00", "3,,maybe", "", "5", "5", "6"];
    const whole = rows.map((row) => row.padEnd(row.length + 8 - row.split(",").length, ","));
    const connector = await open(header + [...whole, "7,,,,,,", "8,,,,,,,"].join("\n"));
    const entries = await imported(connector);
    expect(entries.map((one) => [one.anchor, one.kind === "error" ? one.code : "object"])).toEqual([
      ["1", "invalid-attribute-value"],
      ["2", "invalid-attribute-value"],
      ["3", "invalid-attribute-value"],
      [undefined, "missing-anchor-component"],
      ["5", "object"],
      ["5", "duplicate-object"],
      ["6", "object"],
      [undefined, "staging-error"],
      ["8", "object"],
    ]);
    expect(JSON.stringify(entries)).not.toContain("31.01.2026");
  });

  test.each([
    ["hired", "2026-02-30"],
    ["hired", "2025-02-29T10:00:00Z"],
    ["hired", "2026-13-01"],
    ["photo", "not base64"],
    ["photo", "AQI"],
  ])("%s %s is no value: that record is an error, and nothing near it is taken", async (name, value) => {
    const columns = header.trim().split(",");
    const row = columns.map((column) => (column === "id" ? "1" : column === name ? value : "")).join(",");
    expect(await imported(await open(`${header}${row}\n`))).toMatchObject([
      { kind: "error", anchor: "1", code: "invalid-attribute-value" },
    ]);
  });

  test("of two records with one anchor or one name the first is the object, the later one an error", async () => {
    const rows = "1,,,,same,,,\n2,,,,SAME,,,\n1,,,,other,,,\n3,,,,,,,\n";
    const connector = await open(header + rows, { dn: "phones" });
    const entries = await imported(connector);
    expect(entries.map((one) => [one.anchor, one.kind === "error" ? one.code : "object"])).toEqual([
      ["1", "object"],
      ["2", "duplicate-object"],
      ["1", "duplicate-object"],
      ["3", "object"],
    ]);
    expect(entries[1]).toMatchObject({ message: expect.stringContaining("line 2 has the same phones") });
    expect(await connector.readAbsent(["1"])).toMatchObject([{ kind: "present" }]);
  });

  test("nobody is called gone while a record cannot be read", async () => {
    const connector = await open(`${header}1,,,,,,\n2,,,,,,,\n`);
    await expect(connector.readAbsent(["1"])).rejects.toMatchObject({ kind: "configuration" });
    expect(await connector.readAbsent(["2"])).toMatchObject([{ kind: "present" }]);
  });

  test("a missing column stops the import: its values were not cleared", async () => {
    const connector = await open("id,hired,active,grade,phone,manager,photo\n1,,,,,,\n");
    await expect(imported(connector)).rejects.toMatchObject({
      kind: "configuration",
      message: expect.stringMatching(/no column "phones"; did you mean "phone"/),
    });
  });

  test("text in another encoding is told, and read where it is named", async () => {
    const latin = Buffer.from(`${header}1,,,,Zoë,,,\n`, "latin1");
    await expect(imported(await open(latin))).rejects.toThrow(/not utf-8/);
    const [entry] = await imported(await open(latin, { encoding: "windows-1252" }));
    expect(entry).toMatchObject({ image: { attributes: { phones: ["Zoë"] } } });
  });

  test("an import that goes on after the file was replaced begins anew", async () => {
    const connector = await open(`${header}1,,,,,,,\n2,,,,,,,\n`, { pageSize: 1 });
    const pages = connector.importPages({ kind: "full" });
    const { value } = await pages.next();
    const other = await open(`${header}3,,,,,,,\n`, { pageSize: 1 });
    const cursor = String(value?.resumeAt);
    await expect(other.importPages({ kind: "resume", cursor }).next()).rejects.toMatchObject({
      kind: "watermark-expired",
    });
  });

  test("a file that was just written is read when it has come to rest", async () => {
    const connector = await open(`${header}1,,,,,,,\n`, { settleSeconds: 0.15 });
    const begun = Date.now();
    await imported(connector);
    expect(Date.now() - begun).toBeGreaterThan(100);
  });

  test("no more snapshots are kept than needed, and only the service may read them", async () => {
    const snapshots = join(folder, "snapshots");
    for (let id = 0; id < 8; id++) await imported(await open(`${header}${id},,,,,,,\n`, { snapshots }));
    expect(await readdir(snapshots)).toHaveLength(5);
  });

  test("an export keeps the columns, the line ends and the order of what it does not touch", async () => {
    const text = `\uFEFF${header}1,,,,,,,"a, b"\n2,,true,,,,,c\n`.replaceAll("\n", "\r\n");
    const connector = await open(text, { writable: true });
    await connector.exportBatch([update("phones", ["+1", "+2"])], context);
    expect(await readFile(join(folder, "hr.csv"), "utf8")).toBe(text.replace("1,,,,,", "1,,,,+1;+2,"));
    expect(await readdir(folder)).toEqual(["hr.csv"]);
  });

  test("a value that the file cannot hold is a result", async () => {
    const connector = await open(`${header}1,,,,,,,\n`, { writable: true });
    const renumbered = {
      ...update("id", "2"),
      attributes: [{ name: "id", before: "1", after: "2", rule: "test" }],
    };
    const results = await connector.exportBatch(
      [update("phones", ["a;b"]), update("grade", "seven"), update("unused", "x"), renumbered],
      context,
    );
    expect(results.map((one) => (one.kind === "failed" ? one.code : one.kind))).toEqual([
      "invalid-attribute-value",
      "invalid-attribute-value",
      "schema-violation",
      "modify-naming-attribute",
    ]);
  });

  test("a file is not written unless it is said to be ours", async () => {
    const connector = await open(`${header}1,,,,,,,\n`);
    expect(connector.capabilities).toMatchObject({ export: false, deltaImport: false });
    await expect(connector.exportBatch([update("grade", 1n)], context)).rejects.toThrow(/read only/);
  });
});
