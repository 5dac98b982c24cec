/** The stores of connector spaces, the metaverse and the histories of its objects. */
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import type { HistoryEntry } from "../../src/engine/core/history.ts";
import { importedId } from "../../src/engine/core/identity.ts";
import {
  type ConnectorSpaceObject,
  type Image,
  type MetaverseObject,
  newConnectorSpaceObject,
} from "../../src/engine/core/model.ts";
import { type Attributes, dateTimeFromMs, reference, type Value } from "../../src/engine/core/values.ts";
import { ConnectorSpaceStore, type ObjectDigest } from "../../src/engine/stores/connectorSpace.ts";
import type { Stored } from "../../src/engine/stores/connectorSpaceRows.ts";
import { LeaseLost } from "../../src/engine/stores/fence.ts";
import { isKey } from "../../src/engine/stores/limits.ts";
import { MetaverseStore } from "../../src/engine/stores/metaverse.ts";
import { invertedTime, ObjectHistoryStore } from "../../src/engine/stores/objectHistory.ts";
import { type StoreBackend, type StoreWorld, storeWorld, untilDone } from "../support/storeWorld.ts";

/**
 * What no key of Table Storage may hold, and what is taken for something else on the way. U+2028 is left out: to Azurite
 * it is the end of a line in a transaction.
 */
const awkward = [
  ...[
    "/",
    "\\",
    "#",
    "?",
    "%",
    "%2F",
    "'",
    '"',
    "+",
    "&",
    "=",
    "|",
    "~",
    "\u007f",
    "\u0000",
    "\u0085",
    "\t\r\n",
  ],
  ...["", " ", "é", "e\u0301", "漢字", "😀", "\ufffe", "a", "A", "ß", "İ"],
  "x".repeat(3000),
];

const image = (attributes: Attributes, dn = "CN=one"): Image => ({ objectType: "user", dn, attributes });
const idOf = (number: number, shard = "a") => shard + number.toString(16).padStart(31, "0");

function connected(number: number, changed: Partial<ConnectorSpaceObject> = {}): ConnectorSpaceObject {
  const dn = `CN=${number}`;
  const id = idOf(number);
  return newConnectorSpaceObject({
    id,
    connector: "AD",
    objectType: "user",
    anchor: `${number}`,
    dn,
    ...changed,
  });
}

/** Compared by hash where the values are long. */
const digest = (value: unknown) =>
  createHash("sha256")
    .update(
      JSON.stringify(value, (_key, inner) =>
        typeof inner === "bigint"
          ? String(inner)
          : inner instanceof Uint8Array
            ? Buffer.from(inner).toString("base64")
            : inner,
      ),
    )
    .digest("hex");

const members = (count: number): readonly Value[] =>
  Array.from({ length: count }, (_, index) => reference(`CN=member ${index},OU=Guests,DC=example,DC=org`));

export function objectStores(open: () => StoreBackend): void {
  describe("the connector space", () => {
    const spaceOf = ({ tables }: Pick<StoreWorld, "tables">, joins: readonly string[] = []) =>
      new ConnectorSpaceStore(tables, new Map([["AD", joins]]));

    test("gives an object back with everything that it has", async () => {
      const world = storeWorld(open());
      const space = spaceOf(world);
      const attributes: Attributes = {
        text: "Zoë 漢字 😀\u0000\r\n",
        lone: "\ud800",
        empty: "",
        list: ["b", "a", "B"],
        big: 9_223_372_036_854_775_807n,
        yes: true,
        bytes: new Uint8Array([0, 255, 7]),
        when: dateTimeFromMs(1_767_225_600_123),
        to: reference("CN=Bo,OU=x"),
      };
      const pendingExport = {
        change: "update",
        newDn: "CN=two",
        reason: "because",
        attributes: [
          { name: "list", before: ["a"], after: ["a", "b"], rule: "R" },
          { name: "gone", before: new Uint8Array([1]), rule: "R" },
          { name: "new", after: 5n, rule: "R" },
        ],
      } as const;
      const whole = connected(1, {
        synchronized: image(attributes),
        pendingImport: { change: "update", image: image({ ...attributes, text: "new" }) },
        pendingExport,
        escrow: { ...pendingExport, runId: "8232774399999-000001" },
        unconfirmed: {
          change: "update",
          newDn: "CN=3",
          expected: { a: null, list: ["x", 5n], b: attributes.bytes! },
        },
        metaverseId: idOf(7),
        linking: idOf(8),
        disconnector: "explicit",
        explicitConnector: true,
        absence: { kind: "softDeleted", since: "2026-01-01T00:00:00.000Z", byRules: true },
        wantedBits: { userAccountControl: 0x40002n },
        exported: true,
        recallable: { "AD-OUT": ["mail", "info"] },
        error: {
          ...{
            phase: "export",
            code: "permission",
            message: "No.",
            firstOccurred: "2026-01-01T00:00:00.000Z",
          },
          ...{ retryCount: 3, retry: { digest: "d", at: null } },
        },
      });
      const due = "2026-02-01T00:00:00.000Z";
      await space.write(world.writer(), [{ before: null, after: whole, due }]);
      const stored = (await space.get("AD", whole.id))!;
      expect(stored.object).toEqual(whole);
      expect(stored.due).toBe(due);
      const bare = connected(2, { anchor: null });
      await space.write(world.writer(), [{ before: null, after: bare }]);
      expect((await space.get("AD", bare.id))!.object).toEqual(bare);
      expect(await space.get("AD", idOf(3))).toBeUndefined();
    });

    test("finds objects whose anchor, DN, values and references no key could hold, and forgets them", async () => {
      const world = storeWorld(open());
      const space = spaceOf(world, ["mail"]);
      const objects = awkward.map((text, index) => {
        const anchor = `anchor ${text}`;
        const dn = `CN=${index} ${text}`;
        // Half came with an import; the others were provisioned, and their ids do not tell their anchors.
        const id = index % 2 === 0 ? importedId("AD", anchor) : idOf(index);
        const attributes = { mail: `${index}${text}`, to: reference(`CN=to ${index} ${text}`) };
        return newConnectorSpaceObject({
          ...{ id, connector: "AD", objectType: "user", anchor, dn },
          synchronized: image(attributes, dn),
        });
      });
      await space.write(
        world.writer(),
        objects.map((after) => ({ before: null, after })),
      );
      for (const [index, { id, anchor, dn }] of objects.entries()) {
        const text = awkward[index]!;
        const idsOf = (found: readonly Stored[]) => found.map(({ object }) => object.id);
        expect([index, (await space.findByAnchor("AD", anchor!))?.object.id]).toEqual([index, id]);
        expect([index, idsOf(await space.findByDn("AD", dn))]).toEqual([index, [id]]);
        expect([index, idsOf(await space.findUnlinked("AD", "mail", `${index}${text}`))]).toEqual([
          index,
          [id],
        ]);
        expect([index, idsOf(await space.findReferring("AD", `CN=to ${index} ${text}`))]).toEqual([
          index,
          [id],
        ]);
      }
      expect(await space.findByAnchor("AD", "ANCHOR A")).toBeUndefined();
      expect([...world.keys].filter((key) => !isKey(key) || !/^[\w|:.-]+$/.test(key))).toEqual([]);

      const stored = await space.getMany(
        "AD",
        objects.map(({ id }) => id),
      );
      await space.write(
        world.writer(),
        [...stored.values()].map((before) => ({ before, after: null })),
      );
      expect(await world.rest("connectorspace")).toEqual([]);
      expect(await world.rest("csindex")).toEqual([]);
    });

    test("reads thousands of objects, digests and markers through pages that end anywhere or are empty", async () => {
      const world = storeWorld(open());
      const space = spaceOf(world);
      const due = (number: number) => `2026-01-01T00:00:00.${String(number % 1000).padStart(3, "0")}Z`;
      const all = Array.from({ length: 1203 }, (_, number) =>
        connected(number, {
          synchronized: image({ n: String(number) }, `CN=${number}`),
          pendingImport: { change: number % 2 === 0 ? "add" : "update", image: image({}) },
          ...(number % 3 === 0 ? { metaverseId: idOf(number) } : {}),
        }),
      );
      await space.write(
        world.writer({ calm: true }),
        all.map((after, number) => ({ before: null, after, due: due(number) })),
      );
      const ids = all.map(({ id }) => id);
      const listed = async <T>(items: AsyncIterable<T>) => {
        const found: T[] = [];
        for await (const item of items) found.push(item);
        return found;
      };
      for (const pages of [[], [0, 1, 700, 0, 0, 3], [999, 0]]) {
        world.faults.pages(...pages);
        expect((await listed(space.range("AD", "a"))).map(({ object }) => object)).toEqual(all);
        expect((await listed(space.range("AD", "a", ids[5], ids[9]))).map(({ object }) => object.id)).toEqual(
          ids.slice(5, 9),
        );
        expect((await listed(space.marked("AD", "a", "import", ids[700]))).map(({ id }) => id)).toEqual(
          ids.slice(700),
        );
        const digests: ObjectDigest[] = [];
        await space.eachDigest("AD", (digest) => digests.push(digest));
        expect(digests.map(({ id }) => id).sort()).toEqual(ids);
        expect(new Set(digests.map((one) => one.anchorHash)).size).toBe(all.length);
        const unlinked = ids.filter((_, number) => number % 3 !== 0);
        expect((await listed(space.disconnectors("AD", "a"))).flat()).toEqual(unlinked);
        expect((await space.dueIds("AD", "a", due(500))).length).toBe(501 + 203);
        expect(await space.nextDue("AD")).toBe(due(0));
        const read: string[] = [];
        let continuation: string | undefined;
        do {
          const page = await space.page("AD", "a", 400, continuation);
          read.push(...page.objects.map(({ object }) => object.id));
          continuation = page.continuation;
        } while (continuation !== undefined);
        expect(read).toEqual(ids);
      }
    });

    test("knows who refers to an object, though the index answers with empty pages first", async () => {
      const world = storeWorld(open());
      const space = spaceOf(world);
      const group = connected(1, { metaverseId: idOf(9), synchronized: image({ member: members(3) }) });
      const other = connected(2, { linking: idOf(8), synchronized: image({ member: members(1) }) });
      await space.write(
        world.writer(),
        [group, other].map((after) => ({ before: null, after })),
      );
      world.faults.pages(0, 1);
      const dn = (members(1)[0] as { readonly dn: string }).dn;
      expect(await space.referringMetaverseIds("AD", [dn])).toEqual(new Set([idOf(9), idOf(8)]));
    });

    test("takes a value of 1 MiB, 300 attributes and letters of three bytes, and leaves no rest of them", async () => {
      const world = storeWorld(open());
      const space = spaceOf(world);
      const large = (seed: number): Attributes => ({
        photo: new Uint8Array(1_048_576).map((_, index) => (index * 31 + seed) % 251),
        story: "漢".repeat(524_288),
        faces: `x${"😀".repeat(262_144)}`,
        quotes: '"\\\n'.repeat(100_000),
        ...Object.fromEntries(
          Array.from({ length: 300 }, (_, index) => [`extra${index}`, `${seed} ${"ø".repeat(index)}`]),
        ),
      });
      const objectOf = (number: number, seed: number) =>
        connected(number, {
          synchronized: image(large(seed)),
          pendingExport: {
            change: "update",
            reason: "r",
            attributes: [{ name: "photo", after: large(seed).photo!, rule: "R" }],
          },
        });
      const first = [1, 2, 3].map((number) => objectOf(number, number));
      await space.write(
        world.writer(),
        first.map((after) => ({ before: null, after })),
      );
      const read = async (number: number) => (await space.get("AD", idOf(number)))!;
      for (const object of first)
        expect(digest((await read(1 + first.indexOf(object))).object)).toBe(digest(object));
      const held = (await world.rest("connectorspace")).length;

      const second = objectOf(1, 7);
      await space.write(world.writer(), [{ before: await read(1), after: second }]);
      expect(digest((await read(1)).object)).toBe(digest(second));
      expect(await world.rest("connectorspace")).toHaveLength(held);
      await space.write(world.writer(), [{ before: await read(1), after: connected(1) }]);
      for (const number of [2, 3])
        await space.write(world.writer(), [{ before: await read(number), after: null }]);
      expect(await world.rest("connectorspace")).toEqual([`o|${idOf(1)}`]);
    });

    test("writes any number of objects at once, each below what a row takes and together far above", async () => {
      const world = storeWorld(open());
      const space = spaceOf(world);
      // 100 of them would be 14 MiB as the service counts them, and half as much again on the way.
      const all = Array.from({ length: 150 }, (_, number) => {
        const long = image({ note: "漢".repeat(number % 2 === 0 ? 23_000 : 10) });
        return connected(number, { synchronized: long, pendingImport: { change: "update", image: long } });
      });
      await space.write(
        world.writer(),
        all.map((after) => ({ before: null, after, counters: { stageAdd: 1 } })),
      );
      expect(
        (
          await space.getMany(
            "AD",
            all.map(({ id }) => id),
          )
        ).size,
      ).toBe(150);
      expect(await space.totals("AD")).toEqual({ objects: 150, disconnectors: 150, "import.update": 150 });
      expect(await space.counted("AD", { runId: "8232774399999-000001", step: 0 })).toEqual({
        stageAdd: 150,
      });
    });

    test("takes an object of 50,000 members, and finds it by each of them", async () => {
      const world = storeWorld(open());
      const space = spaceOf(world);
      const all = members(50_000);
      const group = connected(1, { metaverseId: idOf(9), synchronized: image({ member: all }) });
      await space.write(world.writer(), [{ before: null, after: group }]);
      const stored = (await space.get("AD", group.id))!;
      expect(digest(stored.object)).toBe(digest(group));
      const dnOf = (index: number) => (all[index] as { readonly dn: string }).dn;
      for (const index of [0, 31_337, 49_999])
        expect(await space.referringMetaverseIds("AD", [dnOf(index).toUpperCase()])).toEqual(
          new Set([idOf(9)]),
        );
      const without = { ...group, synchronized: image({ member: all.slice(1, 49_950) }) };
      await space.write(world.writer(), [{ before: stored, after: without }]);
      expect(digest((await space.get("AD", group.id))!.object)).toBe(digest(without));
      for (const [index, found] of [
        [0, 0],
        [1, 1],
        [49_949, 1],
        [49_950, 0],
      ] as const)
        expect([index, (await space.findReferring("AD", dnOf(index))).length]).toEqual([index, found]);
    }, 600_000);

    test("refuses a change of what somebody else has changed meanwhile, markers and counters with it", async () => {
      const world = storeWorld(open());
      const space = spaceOf(world);
      const [one, other] = [connected(1), connected(2)];
      await space.write(
        world.writer(),
        [one, other].map((after) => ({ before: null, after })),
      );
      const before = (await space.get("AD", one.id))!;
      const pending = { pendingImport: { change: "update", image: image({ a: "1" }) } } as const;
      await space.write(world.writer(), [{ before, after: { ...one, ...pending } }]);
      const late = [
        {
          before: (await space.get("AD", other.id))!,
          after: { ...other, ...pending },
          counters: { stageUpdate: 1 },
        },
        { before, after: { ...one, dn: "CN=late" }, counters: { stageUpdate: 1 } },
      ];
      await expect(space.write(world.writer(), late)).rejects.toMatchObject({ kind: "conflict" });
      expect((await space.get("AD", other.id))!.object).toEqual(other);
      expect(await space.totals("AD")).toEqual({ objects: 2, disconnectors: 2, "import.update": 1 });
      expect(await space.counted("AD", { runId: "8232774399999-000001", step: 0 })).toEqual({});
      await expect(space.write(world.writer(), [{ before: null, after: one }])).rejects.toMatchObject({
        kind: "conflict",
      });
    });

    test("lets nothing commit of a worker that was frozen and whose lease is lost", async () => {
      const world = storeWorld(open());
      const space = spaceOf(world);
      let taken = false;
      const frozen = world.writer({ epoch: 1, isLost: () => taken });
      await space.write(frozen, [{ before: null, after: connected(1) }]);
      taken = true;
      await space.write(world.writer({ epoch: 2 }), [{ before: null, after: connected(2) }]);
      const late = space.write(frozen, [{ before: null, after: connected(3) }]);
      await expect(late).rejects.toThrow(LeaseLost);
      expect(await space.get("AD", idOf(3))).toBeUndefined();
    });

    test("lets it commit nothing where nobody has written yet, nor past an epoch that only the fence knows of", async () => {
      const world = storeWorld(open());
      const space = spaceOf(world);
      const lost = world.writer({ isLost: () => true });
      await expect(space.write(lost, [{ before: null, after: connected(1) }])).rejects.toThrow(LeaseLost);
      expect(await space.get("AD", idOf(1))).toBeUndefined();
      await space.write(world.writer({ epoch: 2 }), [{ before: null, after: connected(2) }]);
      const restored = space.write(world.writer({ epoch: 1 }), [{ before: null, after: connected(3) }]);
      await expect(restored).rejects.toThrow(LeaseLost);
      expect(await space.get("AD", idOf(3))).toBeUndefined();
    });

    test("does not delete a text that was obsolete and is wanted again, when a process comes too late", async () => {
      const world = storeWorld(open());
      const space = spaceOf(world);
      let owner = 1;
      const writer = (epoch: number) => world.writer({ epoch, isLost: () => owner > epoch });
      const withNote = (text: string) => connected(1, { synchronized: image({ note: text.repeat(50_000) }) });
      const read = async () => (await space.get("AD", idOf(1)))!;
      await space.write(writer(1), [{ before: null, after: withNote("1") }]);
      const slow = writer(1);
      const transact = world.tables.transact.bind(world.tables);
      world.tables.transact = async (table, partition, operations) => {
        if (owner === 1 && operations.some(({ kind, row }) => kind === "delete" && row.startsWith("s|"))) {
          owner = 2;
          await space.write(writer(2), [{ before: await read(), after: withNote("1") }]);
        }
        return transact(table, partition, operations);
      };
      const late = space.write(slow, [{ before: await read(), after: withNote("2") }]);
      await expect(late).rejects.toThrow(LeaseLost);
      expect((await read()).object).toEqual(withNote("1"));
    });

    test("counts each object once, however often it is throttled and answers are lost", async () => {
      const world = storeWorld(open());
      const space = spaceOf(world);
      const all = Array.from({ length: 12 }, (_, number) =>
        connected(number, { pendingImport: { change: "add", image: image({ to: members(2) }) } }),
      );
      const stage = async (
        wanted: (found: Stored | undefined, one: ConnectorSpaceObject) => ConnectorSpaceObject | null,
      ) => {
        for (const one of all)
          await untilDone(async () => {
            const before = (await space.get("AD", one.id)) ?? null;
            const after = wanted(before ?? undefined, one);
            if (after !== null)
              await space.write(world.writer(), [{ before, after, counters: { staged: 1 } }]);
          });
      };
      world.faults.transactions(null, "lost", "busy", null, "busy", "lost", null, "lost", null, null, "lost");
      world.faults.reads(null, "busy", null, null, "lost", "busy", "busy");
      await stage((found, one) => (found === undefined ? one : null));
      expect(world.faults.struck).toBeGreaterThan(9);
      world.faults.transactions("lost", null, "busy", "lost", null, null, "busy", "busy", "lost");
      await stage((found) =>
        found!.object.metaverseId === null
          ? { ...found!.object, pendingImport: null, metaverseId: idOf(1) }
          : null,
      );
      expect(await space.totals("AD")).toEqual({ objects: 12, connectors: 12 });
      expect(await space.counted("AD", { runId: "8232774399999-000001", step: 0 })).toEqual({ staged: 24 });
      expect((await world.rest("connectorspace")).filter((row) => !row.startsWith("o|"))).toEqual([]);
    });
  });

  describe("the metaverse", () => {
    const indexed = new Map([["person", ["accountName"]]]);
    const person = (
      number: number,
      values: Attributes,
      changed: Partial<MetaverseObject> = {},
    ): MetaverseObject => ({
      id: idOf(number),
      objectType: "person",
      deleted: false,
      attributes: Object.fromEntries(
        Object.entries(values).map(([name, value]) => [
          name,
          { value, connector: "AADMA", rule: "IN", precedence: 1, since: "2026-01-01T00:00:00.000Z" },
        ]),
      ),
      connectors: [{ connector: "AADMA", id: idOf(number) }],
      ...changed,
    });
    const add = (metaverse: MetaverseStore, world: StoreWorld, all: readonly MetaverseObject[]) =>
      metaverse.write(
        world.writer(),
        all.map((after) => ({ before: null, after, id: after.id })),
        indexed,
      );

    test("gives objects of any size back, tombstones included, and finds them by awkward values", async () => {
      const world = storeWorld(open());
      const metaverse = new MetaverseStore(world.tables);
      const all = [
        ...awkward.map((text, index) =>
          person(index, { accountName: `${index}${text}`, manager: reference(idOf(index + 1)) }),
        ),
        person(100, {
          accountName: "a group",
          otherMobile: Array.from({ length: 50_000 }, (_, index) => `+47 ${index}`),
          story: "漢".repeat(524_288),
        }),
        person(101, { accountName: "0", when: dateTimeFromMs(0), count: -5n }, { deleted: true }),
      ];
      await add(metaverse, world, all);
      for (const one of all) expect(digest((await metaverse.get(one.id))?.object)).toBe(digest(one));
      for (const { id, attributes } of all.slice(0, -1)) {
        const found = await metaverse.findByIndex("accountName", attributes.accountName!.value as Value);
        expect(found.map(({ object }) => object.id)).toEqual([id]);
      }
      expect(await metaverse.referring(idOf(3))).toEqual([idOf(2)]);
      expect([...world.keys].filter((key) => !/^[\w|:.-]+$/.test(key))).toEqual([]);
      const before = (await metaverse.get(idOf(100)))!;
      await metaverse.write(world.writer(), [{ before, after: null, id: idOf(100) }], indexed);
      expect((await world.rest("metaverse")).filter((row) => row.startsWith("s|"))).toEqual([]);
    }, 240_000);

    test("queues work and reads it through pages that end anywhere; a conflict leaves the queue as it is", async () => {
      const world = storeWorld(open());
      const metaverse = new MetaverseStore(world.tables);
      const ids = Array.from({ length: 230 }, (_, number) => idOf(number));
      await metaverse.addWork(world.writer(), ids);
      await metaverse.addWork(world.writer(), ids.slice(0, 5), "references");
      world.faults.pages(0, 100, 1, 0);
      const work = async (from?: string) => {
        const found: string[] = [];
        for await (const id of metaverse.work("a", from)) found.push(id);
        return found;
      };
      expect(await work()).toEqual(ids);
      expect(await work(ids[200])).toEqual(ids.slice(200));
      const one = person(0, { accountName: "x" });
      await add(metaverse, world, [one]);
      const before = (await metaverse.get(one.id))!;
      await metaverse.write(
        world.writer(),
        [{ before, after: { ...one, deleted: true }, id: one.id }],
        indexed,
      );
      const late = { before, after: one, id: one.id, work: "remove" } as const;
      await expect(metaverse.write(world.writer(), [late], indexed)).rejects.toMatchObject({
        kind: "conflict",
      });
      expect((await work())[0]).toBe(one.id);
      await metaverse.removeWork(world.writer(), ids);
      expect(await work()).toEqual([]);
    });
  });

  test("an object's history lists newest first, however it is written again, and ends when its time is over", async () => {
    const world = storeWorld(open());
    const history = new ObjectHistoryStore(world.tables);
    const id = idOf(1);
    const entry = (number: number, text: string): HistoryEntry => ({
      ...{
        at: `2026-01-01T00:00:${String(number).padStart(2, "0")}.000Z`,
        kind: "changed",
        runId: null,
        message: text,
      },
      ...{ attributes: [], connected: [], disconnected: [] },
    });
    const writes = Array.from({ length: 50 }, (_, number) => {
      const one = entry(number, number % 10 === 0 ? "漢".repeat(100_000) : `${number}`);
      return { metaverseId: id, order: invertedTime(Date.parse(one.at)), since: one.at, entry: one };
    });
    world.faults.transactions(null, "lost");
    await untilDone(() => history.add(writes));
    await history.add(writes.slice(7, 20));
    world.faults.pages(0, 7);
    const read = async () => {
      const entries: HistoryEntry[] = [];
      let continuation: string | undefined;
      do {
        const page = await history.page(id, 20, continuation);
        entries.push(...page.entries);
        continuation = page.continuation;
      } while (continuation !== undefined);
      return entries;
    };
    const newestFirst = writes.map(({ entry: one }) => one).reverse();
    expect(await read()).toEqual(newestFirst);
    expect(await history.removeBefore(writes[45]!.since, () => false)).toBe(45);
    expect(await read()).toEqual(newestFirst.slice(0, 5));
    expect((await world.rest("objecthistory")).filter((row) => row.startsWith("s|"))).toEqual([]);
  });
}
