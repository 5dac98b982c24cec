import fc from "fast-check";
import { expect, test } from "vitest";
import type { AdClient, SearchPage } from "../../src/engine/connectors/ad/adClient.ts";
import type { DomainController } from "../../src/engine/connectors/ad/domainController.ts";
import {
  importFrom,
  parsePosition,
  parseWatermark,
  requireSameDatabase,
  startPosition,
} from "../../src/engine/connectors/ad/import.ts";
import type { LdapEntry } from "../../src/engine/connectors/ad/ldapMessages.ts";
import { guidText } from "../../src/engine/connectors/ad/values.ts";
import type { ImportPage } from "../../src/engine/ports/connector.ts";
import { dc, schema } from "./support/domain.ts";

interface Stored {
  readonly usn: bigint;
  readonly container: string;
  /** `recycled`: removed from the recycle bin too. */
  readonly deleted?: boolean | "recycled";
}

/** Each control shows a kind of deleted objects, and none of the other. [MS-ADTS] 3.1.1.3.4.1 */
const shows = { deleted: "1.2.840.113556.1.4.417", recycled: "1.2.840.113556.1.4.2064" };

/** The bytes of a GUID that tells its number. */
const guid = (usn: bigint) => {
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64BE(usn, 8);
  return bytes;
};
const anchor = (usn: bigint) => guidText(guid(usn));

/** A directory that answers what the filter asks for, in an order of its own. */
function directory(stored: readonly Stored[], mix: (list: Stored[]) => Stored[] = (list) => list) {
  const queries: { readonly low: bigint; readonly high: bigint }[] = [];
  const client: Pick<AdClient, "search" | "list" | "dirSync"> = {
    dirSync: () => Promise.reject(new Error("not asked for")),
    async *list(base, options, toItem) {
      for await (const { entries, last } of client.search(base, options))
        yield { entries: entries.map(toItem), last };
    },
    async *search(base, { filter, controls = [], pageSize = 1000 }): AsyncGenerator<SearchPage> {
      const isShown = ({ deleted = false }: Stored) =>
        deleted === false ||
        controls.some(({ type }) => type === shows[deleted === "recycled" ? "recycled" : "deleted"]);
      const text = String(filter);
      const bound = (operator: string) => BigInt(new RegExp(`${operator}(\\d+)`).exec(text)![1]!);
      const [low, high] = [bound(">="), bound("<=")];
      queries.push({ low, high });
      const attribute = text.includes("uSNCreated") ? "usncreated" : "usnchanged";
      const found = mix(stored.filter(({ usn }) => usn >= low && usn <= high)).filter(
        (one) => isShown(one) && (base === "DC=x" || one.container === base),
      );
      for (let at = 0; at === 0 || at < found.length; at += pageSize) {
        const entries = found.slice(at, at + pageSize).map(
          ({ usn, container, deleted }): LdapEntry => ({
            dn: `CN=${usn},${container}`,
            attributes: new Map([
              ["objectclass", [Buffer.from("top"), Buffer.from("user")]],
              ["objectguid", [guid(usn)]],
              [attribute, [Buffer.from(String(usn))]],
              ...(deleted ? [["isdeleted", [Buffer.from("TRUE")]] as const] : []),
            ]),
          }),
        );
        yield { entries, last: at + pageSize >= found.length };
      }
    },
  };
  const requireContainers = () => Promise.resolve();
  const containers = ["OU=a,DC=x", "OU=b,DC=x"];
  const scope = { client, schema, baseDn: "DC=x", containers, pageSize: 3, requireContainers };
  return { scope, queries };
}

const directoryState = fc.record({
  usns: fc.uniqueArray(fc.bigInt({ min: 1n, max: 200_000n }), { maxLength: 60 }),
  clustered: fc.boolean(),
  seed: fc.integer(),
  crashEvery: fc.integer({ min: 1, max: 4 }),
});

test("an import is complete whatever the order of answers, and whoever ends it how often", async () => {
  await fc.assert(
    fc.asyncProperty(directoryState, async ({ usns, clustered, seed, crashEvery }) => {
      const stored = usns.map((usn, index) => ({
        usn: clustered ? BigInt(index) + 150_000n : usn,
        container: usn % 2n === 0n ? "OU=a,DC=x" : "OU=b,DC=x",
      }));
      const mix = (list: Stored[]) =>
        seed % 3 === 0 ? list.reverse() : seed % 3 === 1 ? list : shuffled(list, seed);
      const { scope } = directory(stored, mix);
      const seen = new Set<string>();
      let position = startPosition("full", 0n, { ...dc, highestUsn: 200_000n }, false);
      for (let processes = 1; ; processes++) {
        expect(processes).toBeLessThan(400);
        let last: ImportPage | undefined;
        let pages = 0;
        for await (const page of importFrom(scope, position)) {
          last = page;
          for (const one of page.entries) seen.add(one.anchor!);
          if (++pages === crashEvery) break;
        }
        if (last?.complete !== undefined) {
          expect(last.resumeAt).toBeNull();
          break;
        }
        position = parsePosition(last!.resumeAt!);
      }
      expect([...seen].sort()).toEqual(stored.map(({ usn }) => anchor(usn)).sort());
    }),
    { numRuns: 60 },
  );
});

function shuffled(list: Stored[], seed: number): Stored[] {
  const key = ({ usn }: Stored) => (usn * 2_654_435_761n + BigInt(seed)) % 1_000_003n;
  return list.sort((a, b) => Number(key(a) - key(b)));
}

test("windows grow over empty ranges, so a great update sequence number costs few queries", async () => {
  const { scope, queries } = directory([{ usn: 499_999_999n, container: "OU=b,DC=x" }]);
  const start = startPosition("full", 0n, { ...dc, highestUsn: 500_000_000n }, false);
  const pages: ImportPage[] = [];
  for await (const page of importFrom(scope, start)) pages.push(page);
  expect(pages.flatMap(({ entries }) => entries)).toHaveLength(1);
  expect(queries.length).toBeLessThan(16);
});

test("windows shrink where objects are dense", async () => {
  const stored = Array.from({ length: 60_000 }, (_, index) => ({
    usn: BigInt(index + 1),
    container: "OU=a,DC=x",
  }));
  const { scope, queries } = directory(stored);
  const start = startPosition("full", 0n, { ...dc, highestUsn: 60_000n }, false);
  let count = 0;
  for await (const page of importFrom({ ...scope, containers: ["OU=a,DC=x"], pageSize: 1000 }, start)) {
    count += page.entries.length;
  }
  expect(count).toBe(60_000);
  for (const { low, high } of queries) expect(high - low).toBeLessThanOrEqual(30_000n);
});

test("a delta import tells objects in scope, those outside, and deleted ones, the recycle bin's purged ones too", async () => {
  const { scope } = directory([
    { usn: 11n, container: "OU=a,DC=x" },
    { usn: 12n, container: "OU=elsewhere,DC=x" },
    { usn: 13n, container: "CN=Deleted Objects,DC=x", deleted: true },
    { usn: 14n, container: "CN=Deleted Objects,DC=x", deleted: "recycled" },
    { usn: 10n, container: "OU=a,DC=x" },
    { usn: 1001n, container: "OU=a,DC=x" },
  ]);
  const pages: ImportPage[] = [];
  for await (const page of importFrom(scope, startPosition("delta", 11n, dc, true))) pages.push(page);
  expect(pages.flatMap(({ entries }) => entries)).toMatchObject([
    { kind: "object", anchor: anchor(11n) },
    { kind: "absent", anchor: anchor(12n), absence: "outOfScope" },
    { kind: "absent", anchor: anchor(13n), absence: "deleted" },
    { kind: "absent", anchor: anchor(14n), absence: "deleted" },
  ]);
  expect(pages.at(-1)?.complete?.deletionsUnseen).toBe(true);
  expect(parseWatermark(pages.at(-1)!.complete!.watermark)).toMatchObject({
    usn: 1000n,
    invocationId: "one",
  });
});

test("a delta import after nothing is one query and one page", async () => {
  const { scope, queries } = directory([{ usn: 5n, container: "OU=a,DC=x" }]);
  const pages: ImportPage[] = [];
  for await (const page of importFrom(scope, startPosition("delta", 1001n, dc, false))) pages.push(page);
  expect(pages).toEqual([{ entries: [], resumeAt: null, complete: { watermark: expect.any(String) } }]);
  expect(queries).toHaveLength(1);
});

test.each<[string, Partial<DomainController>, string, RegExp]>([
  ["another domain controller", { invocationId: "two", dsServiceName: "CN=DC2" }, "", /CN=DC1.*CN=DC2/],
  ["a number that has gone back", { highestUsn: 999n }, "", /gone back/],
  ["a watermark of long ago", {}, "2020-01-01T00:00:00Z", /deletions are not remembered/],
])("%s needs a full import", (_, change, takenAt, message) => {
  const { watermark } = startPosition("full", 0n, dc, false);
  const old = takenAt === "" ? watermark : { ...watermark, takenAt };
  expect(() => requireSameDatabase(old, { ...dc, ...change })).toThrow(message);
  expect(() => requireSameDatabase(watermark, { ...dc, highestUsn: 2000n })).not.toThrow();
});

test.each(["", "{}", "null", '{"kind":"watermark"}', "https://graph.example/delta?token=1"])(
  "a foreign cursor %j needs a full import",
  (cursor) => {
    for (const parse of [parseWatermark, parsePosition]) {
      expect(() => parse(cursor)).toThrow(expect.objectContaining({ kind: "watermark-expired" }));
    }
  },
);
