import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { AttributeValue, Value } from "../../src/engine/core/values.ts";
import type {
  Connector,
  ConnectorContext,
  ConnectorErrorKind,
  Cursor,
  ExportChange,
  ExportResult,
  ImportEntry,
  ImportPage,
  ImportStart,
} from "../../src/engine/ports/connector.ts";

/** What can be wrong with the way to a directory. */
export type Flaw = "wrongPassword" | "untrustedCertificate" | "wrongServerName" | "unreachable";

/** An account that the tests export. `attributes` are those of the add; `displayName` must be among them. */
export interface NewAccount {
  readonly dn: string;
  readonly renamedDn: string;
  readonly attributes: Readonly<Record<string, AttributeValue>>;
}

/**
 * A connected directory under test. It holds few objects in scope or none, and nobody else changes it. Connectors
 * must read pages of at most five objects, so that the suite's dozen takes several.
 */
export interface ConformanceTarget {
  /** The type of the objects that `fixtures` makes; it has a text attribute `displayName`. */
  readonly objectType: string;
  /** What a direct look says of an object that `moveOut` has moved: it lives elsewhere, or is gone for the connector. */
  readonly outOfScope: "movedOutOfScope" | "gone";
  /** An attribute of `newAccount` that may be cleared; `displayName` unless said. */
  readonly clearable?: string;
  /** How messages name what to look at; an app setting such as AD_URL unless said. */
  readonly settingNamed?: RegExp;
  /** A connector as another process would make it, with a cache of its own. The suite closes it. */
  connect(flaw?: Flaw): Connector;
  /** Changes of the directory by other means than the connector. Objects are named by their anchor. */
  readonly fixtures: {
    /** @returns the anchor of a new object in scope. */
    add(displayName: string): Promise<string>;
    change(anchor: string, displayName: string): Promise<void>;
    delete(anchor: string): Promise<void>;
    restore(anchor: string): Promise<void>;
    moveOut(anchor: string): Promise<void>;
    /** The object as the directory shows it to its administrator, by attribute; undefined when it is gone. */
    read(anchor: string): Promise<Readonly<Record<string, readonly string[]>> | undefined>;
    /** An account that nobody has yet. */
    newAccount(name: string): NewAccount;
    /** A foreign object that keeps `account` from being created. */
    occupy(account: NewAccount): Promise<string>;
    /** A watermark that was good once and is no longer honoured. */
    expired(watermark: Cursor): Promise<Cursor>;
  };
  close(): Promise<void>;
}

const titles = [
  "the schema has the configured types and attributes",
  "a full import gives every object once, in several pages",
  "a full import goes on in another process after every page",
  "a chain of processes that end after one page each comes to the end",
  "what changes during a full import comes with the next delta import",
  "a delta import after nothing has no object",
  "a delta import gives what was added and changed, and says what was deleted",
  "a restored object comes back under its anchor",
  "an object that was moved out of scope is absent, and a direct look finds it",
  "the same watermark can be used twice",
  "a direct look tells the present from the gone",
  "a list of anchors names exactly the objects in scope",
  "an expired watermark asks for a full import",
  "an added account is there once, however often it is sent",
  "an update is done once, however often it is sent",
  "a rename is done once, however often it is sent",
  "a delete is done once, however often it is sent",
  "an add with an unknown outcome is settled by looking",
  "an update and a delete with an unknown outcome are settled by looking",
  "a foreign holder of the name is a result that names it, and the others go on",
  "a value that the directory refuses is a result, and the others go on",
  "an update of an object that is gone is a result",
  "a value that somebody else changed is not overwritten",
  "no write is begun when the time is over, and none is lost",
  "a ping proves the way in",
  "a wrong password is told as such",
  "an untrusted certificate is told as such",
  "a wrong server name is told as such",
  "a directory that does not answer is told as such",
  "a closed connector can be closed again",
] as const;
export type ConformanceTitle = (typeof titles)[number];

/**
 * What every connector promises.
 * @param open makes the directory; called once, before the first test.
 * @param skips why a test does not apply to this connector.
 */
export function connectorConformance(
  name: string,
  open: () => Promise<ConformanceTarget>,
  skips: Partial<Record<ConformanceTitle, string>> = {},
): void {
  describe(`${name}: connector conformance`, () => {
    let target: ConformanceTarget;
    let connector: Connector;
    const connectors: Connector[] = [];
    const log: string[] = [];
    const context: ConnectorContext = { log: (line) => log.push(line) };

    beforeAll(async () => {
      target = await open();
      connector = connect();
    });
    afterAll(async () => {
      await Promise.all(connectors.map((one) => one.close()));
      await target?.close();
    });

    function connect(flaw?: Flaw): Connector {
      const made = target.connect(flaw);
      connectors.push(made);
      return made;
    }

    function check(title: ConformanceTitle, work: () => Promise<void>): void {
      const reason = skips[title];
      if (reason === undefined) test(title, work);
      else test.skip(`${title} (${reason})`, work);
    }

    const importAll = (start: ImportStart, from = connector) => collect(from.importPages(start, context));
    const full = async () => (await importAll({ kind: "full" })).complete.watermark;
    const changesSince = async (watermark: Cursor) => (await importAll({ kind: "delta", watermark })).entries;

    async function addMany(prefix: string, count: number): Promise<string[]> {
      const anchors: string[] = [];
      for (let index = 0; index < count; index++) {
        anchors.push(await target.fixtures.add(`${prefix} ${index}`));
      }
      return anchors;
    }

    // ---- import ------------------------------------------------------------------------------------------------

    check("the schema has the configured types and attributes", async () => {
      const [type] = (await connector.schema()).filter((one) => one.name === target.objectType);
      expect(type?.attributes.get("displayName")).toMatchObject({ type: "string", multiValued: false });
      expect(connector.scopeHash).toBe(connect().scopeHash);
    });

    check("a full import gives every object once, in several pages", async () => {
      const anchors = await addMany("Listed", 12);
      const { pages, entries } = await importAll({ kind: "full" });
      expect(objectsOf(entries)).toEqual(expect.arrayContaining(anchors));
      const all = pages.flatMap((page) => page.entries).filter(({ kind }) => kind === "object");
      expect(all).toHaveLength(objectsOf(entries).length);
      expect(pages.length).toBeGreaterThan(2);
      for (const page of pages.slice(0, -1)) {
        expect(page.resumeAt).not.toBeNull();
        expect(page.complete).toBeUndefined();
        expect(page.entries.length).toBeLessThanOrEqual(5);
      }
      expect(pages.at(-1)?.resumeAt).toBeNull();
      const entry = entries.get(anchors[3]!);
      expect(entry).toMatchObject({ image: { objectType: target.objectType } });
      expect(displayNameOf(entry)).toBe("Listed 3");
    });

    check("a full import goes on in another process after every page", async () => {
      const { pages, entries } = await importAll({ kind: "full" });
      for (const [index, { resumeAt }] of pages.entries()) {
        if (resumeAt === null) continue;
        const rest = await importAll({ kind: "resume", cursor: resumeAt }, connect());
        const before = pages.slice(0, index + 1).flatMap((page) => page.entries);
        expect(objectsOf(byAnchor([...before, ...rest.entries.values()]))).toEqual(objectsOf(entries));
      }
    });

    check("a chain of processes that end after one page each comes to the end", async () => {
      const { pages, entries } = await importAll({ kind: "full" });
      const seen: ImportEntry[] = [];
      let start: ImportStart = { kind: "full" };
      for (let processes = 1; ; processes++) {
        expect(processes).toBeLessThan(20 * pages.length);
        const page = await firstPage(connect(), start, context);
        seen.push(...page.entries);
        if (page.resumeAt === null) break;
        start = { kind: "resume", cursor: page.resumeAt };
      }
      expect(objectsOf(byAnchor(seen))).toEqual(objectsOf(entries));
    });

    check("what changes during a full import comes with the next delta import", async () => {
      const [anchor] = await addMany("Changed Meanwhile", 1);
      let watermark: Cursor | undefined;
      for await (const page of connector.importPages({ kind: "full" }, context)) {
        await target.fixtures.change(anchor!, `Changed Meanwhile ${page.entries.length}`);
        watermark = page.complete?.watermark;
      }
      expect(displayNameOf((await changesSince(watermark!)).get(anchor!))).toMatch(/^Changed Meanwhile \d+$/);
    });

    check("a delta import after nothing has no object", async () => {
      const { entries, complete } = await importAll({ kind: "delta", watermark: await full() });
      expect(objectsOf(entries)).toEqual([]);
      expect(objectsOf(await changesSince(complete.watermark))).toEqual([]);
    });

    check("a delta import gives what was added and changed, and says what was deleted", async () => {
      const [changed, deleted, both] = await addMany("Delta", 3);
      const watermark = await full();
      const added = await target.fixtures.add("Delta Added");
      await target.fixtures.change(changed!, "Delta Changed");
      await target.fixtures.delete(deleted!);
      await target.fixtures.change(both!, "Delta Both");
      await target.fixtures.delete(both!);
      const brief = await target.fixtures.add("Delta Brief");
      await target.fixtures.delete(brief);

      const { entries, complete } = await importAll({ kind: "delta", watermark });
      expect(complete.deletionsUnseen).toBeUndefined();
      expect(objectsOf(entries)).toEqual([added, changed!].sort());
      expect(displayNameOf(entries.get(added))).toBe("Delta Added");
      expect(displayNameOf(entries.get(changed!))).toBe("Delta Changed");
      expect([entries.get(deleted!)?.kind, entries.get(both!)?.kind]).toEqual(["absent", "absent"]);
      expect(await changesSince(complete.watermark)).toEqual(new Map());
    });

    check("a restored object comes back under its anchor", async () => {
      const [anchor] = await addMany("Restored", 1);
      await target.fixtures.delete(anchor!);
      const watermark = await full();
      await target.fixtures.restore(anchor!);
      expect(objectsOf(await changesSince(watermark))).toEqual([anchor]);
      expect(await connector.readAbsent([anchor!], context)).toMatchObject([{ kind: "present" }]);
    });

    check("an object that was moved out of scope is absent, and a direct look finds it", async () => {
      const [anchor] = await addMany("Moved", 1);
      const watermark = await full();
      await target.fixtures.moveOut(anchor!);
      expect((await changesSince(watermark)).get(anchor!)).toEqual({
        kind: "absent",
        anchor,
        absence: "outOfScope",
      });
      expect(await connector.readAbsent([anchor!], context)).toMatchObject([{ kind: target.outOfScope }]);
      expect((await importAll({ kind: "full" })).entries.has(anchor!)).toBe(false);
    });

    check("the same watermark can be used twice", async () => {
      const watermark = await full();
      const anchor = await target.fixtures.add("Replayed");
      const first = await changesSince(watermark);
      expect(objectsOf(first)).toEqual([anchor]);
      expect(await changesSince(watermark)).toEqual(first);
    });

    check("a direct look tells the present from the gone", async () => {
      const [present, gone] = await addMany("Looked At", 2);
      await target.fixtures.delete(gone!);
      const never = "3f2b1c5e-0000-4000-8000-5a6b7c8d9e0f";
      const verdicts = await connector.readAbsent([gone!, present!, never], context);
      expect(verdicts).toMatchObject([
        { kind: "gone" },
        { kind: "present" },
        { kind: "gone", absence: "deleted" },
      ]);
      expect(verdicts[1]).toMatchObject({ image: { attributes: { displayName: "Looked At 0" } } });
    });

    check("a list of anchors names exactly the objects in scope", async () => {
      const listed: string[] = [];
      for await (const page of connector.listAnchors!(context)) listed.push(...page);
      expect(listed.sort()).toEqual(objectsOf((await importAll({ kind: "full" })).entries));
    });

    check("an expired watermark asks for a full import", async () => {
      const watermark = await target.fixtures.expired(await full());
      await expect(importAll({ kind: "delta", watermark })).rejects.toMatchObject({
        name: "ConnectorError",
        kind: "watermark-expired",
      });
    });

    // ---- export ------------------------------------------------------------------------------------------------

    const renames = skips["a rename is done once, however often it is sent"] === undefined;
    const send = (...changes: ExportChange[]) => connect().exportBatch(changes, context);

    async function create(name: string): Promise<{ account: NewAccount; anchor: string; dn: string }> {
      const account = target.fixtures.newAccount(name);
      const [result] = await send(addOf(account));
      const { anchor, dn } = exported(result);
      return { account, anchor, dn };
    }

    const addOf = (account: NewAccount): ExportChange => ({
      id: account.dn,
      objectType: target.objectType,
      change: "add",
      anchor: null,
      dn: account.dn,
      attributes: Object.entries(account.attributes).map(([name, after]) => ({ name, after, rule: "test" })),
      outcomeUnknown: false,
    });
    const updateOf = (
      { anchor, dn }: { anchor: string; dn: string },
      change: Partial<Pick<ExportChange, "attributes" | "newDn">>,
    ): ExportChange => ({
      id: anchor,
      objectType: target.objectType,
      change: "update",
      anchor,
      dn,
      attributes: [],
      outcomeUnknown: false,
      ...change,
    });
    const renamed = (before: string, after: string) => [{ name: "displayName", before, after, rule: "test" }];
    const deleteOf = ({ anchor, dn }: { anchor: string; dn: string }): ExportChange => ({
      ...updateOf({ anchor, dn }, {}),
      change: "delete",
    });

    check("an added account is there once, however often it is sent", async () => {
      const watermark = await full();
      const { account, anchor, dn } = await create("Added");
      expect(exported((await send(addOf(account)))[0])).toMatchObject({ anchor, dn, resumed: true });
      const entries = await changesSince(watermark);
      expect(objectsOf(entries)).toEqual([anchor]);
      const entry = entries.get(anchor);
      if (entry?.kind !== "object") throw new Error(`${anchor} is ${entry?.kind}`);
      const known = Object.keys(entry.image.attributes);
      for (const [name, value] of Object.entries(account.attributes)) {
        if (known.includes(name)) expect(entry.image.attributes[name]).toEqual(value);
      }
      expect(displayNameOf(entry)).toBe(account.attributes.displayName);
    });

    check("an update is done once, however often it is sent", async () => {
      const made = await create("Updated");
      const before = String(made.account.attributes.displayName);
      const change = updateOf(made, { attributes: renamed(before, "Updated Once") });
      expect(await send(change)).toMatchObject([{ kind: "exported", anchor: made.anchor }]);
      expect(await send(change)).toMatchObject([{ kind: "exported", anchor: made.anchor }]);
      expect((await target.fixtures.read(made.anchor))?.displayName).toEqual(["Updated Once"]);
      const { clearable = "displayName" } = target;
      const present = clearable === "displayName" ? "Updated Once" : made.account.attributes[clearable]!;
      const clear = updateOf(made, { attributes: [{ name: clearable, before: present, rule: "test" }] });
      for (const [result] of [await send(clear), await send(clear)]) exported(result);
      expect((await target.fixtures.read(made.anchor))?.[clearable]).toBeUndefined();
    });

    check("a rename is done once, however often it is sent", async () => {
      const made = await create("Renamed");
      const change = updateOf(made, { newDn: made.account.renamedDn });
      const [first] = await send(change);
      const [second] = await send(change);
      expect(exported(second)).toEqual(exported(first));
      expect(exported(first).dn).not.toBe(made.dn);
      // The old DN in a later change does not matter: the anchor finds the object.
      const [third] = await send(
        updateOf(made, { attributes: renamed(String(made.account.attributes.displayName), "After") }),
      );
      expect(exported(third)).toEqual(exported(first));
    });

    check("a delete is done once, however often it is sent", async () => {
      const made = await create("Deleted");
      expect(await send(deleteOf(made))).toMatchObject([{ kind: "exported", anchor: made.anchor }]);
      expect(await send(deleteOf(made))).toMatchObject([{ kind: "exported", anchor: made.anchor }]);
      expect(await target.fixtures.read(made.anchor)).toBeUndefined();
    });

    check("an add with an unknown outcome is settled by looking", async () => {
      const done = await create("Unknown Done");
      const account = target.fixtures.newAccount("Unknown Not Done");
      const results = await send(
        { ...addOf(done.account), outcomeUnknown: true },
        { ...addOf(account), outcomeUnknown: true },
      );
      expect(exported(results[0])).toEqual({
        kind: "exported",
        anchor: done.anchor,
        dn: done.dn,
        resumed: true,
      });
      expect(exported(results[1]).resumed).toBeUndefined();
      const [again] = await send({ ...addOf(account), outcomeUnknown: true });
      expect(exported(again)).toMatchObject({ anchor: exported(results[1]).anchor, resumed: true });
    });

    check("an update and a delete with an unknown outcome are settled by looking", async () => {
      const made = await create("Unknown Update");
      const before = String(made.account.attributes.displayName);
      const change = updateOf(made, {
        attributes: renamed(before, "Known Again"),
        ...(renames ? { newDn: made.account.renamedDn } : {}),
      });
      await send(change);
      exported((await send({ ...change, outcomeUnknown: true }))[0]);
      expect((await target.fixtures.read(made.anchor))?.displayName).toEqual(["Known Again"]);
      exported((await send({ ...deleteOf(made), outcomeUnknown: true }))[0]);
      exported((await send({ ...deleteOf(made), outcomeUnknown: true }))[0]);
      expect(await target.fixtures.read(made.anchor)).toBeUndefined();
    });

    check("a foreign holder of the name is a result that names it, and the others go on", async () => {
      const taken = target.fixtures.newAccount("Taken");
      const free = target.fixtures.newAccount("Free");
      const holder = await target.fixtures.occupy(taken);
      const before = await target.fixtures.read(holder);
      const results = await send(addOf(taken), addOf(free), { ...addOf(taken), outcomeUnknown: true });
      expect(results).toMatchObject([
        { kind: "failed", code: "cd-existing-object" },
        { kind: "exported" },
        { kind: "failed", code: "cd-existing-object" },
      ]);
      expect(results[0]).toMatchObject({ message: expect.stringContaining(taken.dn) });
      expect(await target.fixtures.read(holder)).toEqual(before);
    });

    check("a value that the directory refuses is a result, and the others go on", async () => {
      const wrong = target.fixtures.newAccount("Refused");
      const tooLong = { ...wrong, attributes: { ...wrong.attributes, displayName: "x".repeat(5000) } };
      const right = target.fixtures.newAccount("Accepted");
      const results = await send(addOf(tooLong), addOf(right));
      expect(results).toMatchObject([{ kind: "failed" }, { kind: "exported" }]);
      expect(results[0]).toMatchObject({ message: expect.stringMatching(/displayName/) });
    });

    check("an update of an object that is gone is a result", async () => {
      const made = await create("Gone");
      await target.fixtures.delete(made.anchor);
      const change = updateOf(made, { attributes: renamed("Gone", "Gone Again") });
      expect(await send(change)).toMatchObject([{ kind: "failed", code: "cd-missing-object" }]);
    });

    check("a value that somebody else changed is not overwritten", async () => {
      const made = await create("Contested");
      await target.fixtures.change(made.anchor, "By Hand");
      const before = String(made.account.attributes.displayName);
      const [result] = await send(updateOf(made, { attributes: renamed(before, "By Rule") }));
      expect(result).toMatchObject({ kind: "failed", message: expect.stringContaining("displayName") });
      expect((await target.fixtures.read(made.anchor))?.displayName).toEqual(["By Hand"]);
    });

    check("no write is begun when the time is over, and none is lost", async () => {
      const account = target.fixtures.newAccount("In Time");
      const made = await create("Too Late");
      const late = [
        addOf(account),
        updateOf(made, { attributes: renamed("Too Late", "In Time") }),
        ...(renames ? [updateOf(made, { newDn: made.account.renamedDn })] : []),
        deleteOf(made),
      ];
      const exporting = connect();
      for (const change of late) {
        await expect(
          exporting.exportBatch([change], { ...context, mayWrite: () => false }),
        ).rejects.toMatchObject({
          name: "ConnectorError",
          kind: "unreachable",
        });
      }
      expect((await target.fixtures.read(made.anchor))?.displayName).toEqual(["Too Late"]);
      const [result] = await send({ ...addOf(account), outcomeUnknown: true });
      expect(exported(result).resumed).toBeUndefined();
    });

    // ---- the way to the directory ------------------------------------------------------------------------------

    check("a ping proves the way in", async () => {
      await connect().ping();
    });

    const flaws: readonly [ConformanceTitle, Flaw, ConnectorErrorKind][] = [
      ["a wrong password is told as such", "wrongPassword", "access-denied"],
      ["an untrusted certificate is told as such", "untrustedCertificate", "unreachable"],
      ["a wrong server name is told as such", "wrongServerName", "unreachable"],
      ["a directory that does not answer is told as such", "unreachable", "unreachable"],
    ];
    for (const [title, flaw, kind] of flaws) {
      check(title, async () => {
        const flawed = connect(flaw);
        const named = target.settingNamed ?? /[A-Z]+_[A-Z_]+/;
        const failure = { name: "ConnectorError", kind, message: expect.stringMatching(named) };
        await expect(flawed.ping()).rejects.toMatchObject(failure);
        await expect(importAll({ kind: "full" }, flawed)).rejects.toMatchObject(failure);
        if (!connector.capabilities.export) return;
        const change = addOf(target.fixtures.newAccount("Never"));
        await expect(flawed.exportBatch([change], context)).rejects.toMatchObject(failure);
      });
    }

    check("a closed connector can be closed again", async () => {
      const unused = connect();
      await unused.close();
      const used = connect();
      await used.ping();
      await used.close();
      await used.close();
    });
  });
}

interface Imported {
  readonly pages: readonly ImportPage[];
  /** The last entry of each anchor. */
  readonly entries: ReadonlyMap<string, ImportEntry>;
  readonly complete: NonNullable<ImportPage["complete"]>;
}

async function collect(source: AsyncIterable<ImportPage>): Promise<Imported> {
  const pages: ImportPage[] = [];
  for await (const page of source) pages.push(page);
  const complete = pages.at(-1)?.complete;
  if (complete === undefined) throw new Error("The import ended without its last page.");
  return { pages, entries: byAnchor(pages.flatMap((page) => page.entries)), complete };
}

async function firstPage(
  connector: Connector,
  start: ImportStart,
  context: ConnectorContext,
): Promise<ImportPage> {
  for await (const page of connector.importPages(start, context)) return page;
  throw new Error("The import has no page.");
}

function byAnchor(entries: readonly ImportEntry[]): ReadonlyMap<string, ImportEntry> {
  return new Map(
    entries.map((entry) => {
      if (entry.kind === "error") throw new Error(`${entry.code}: ${entry.message}`);
      return [entry.anchor, entry];
    }),
  );
}

function objectsOf(entries: ReadonlyMap<string, ImportEntry>): string[] {
  return [...entries].flatMap(([anchor, { kind }]) => (kind === "object" ? [anchor] : [])).sort();
}

function displayNameOf(entry: ImportEntry | undefined): Value | readonly Value[] | undefined {
  return entry?.kind === "object" ? entry.image.attributes.displayName : undefined;
}

function exported(result: ExportResult | undefined): Extract<ExportResult, { kind: "exported" }> {
  if (result?.kind !== "exported") throw new Error(JSON.stringify(result));
  return result;
}
