import { expect, test } from "vitest";
import type { AdClient, DirSyncAnswer, SearchPage } from "../../src/engine/connectors/ad/adClient.ts";
import {
  deltaPosition,
  type ImportPosition,
  importFrom,
  parsePosition,
  parseWatermark,
  startPosition,
} from "../../src/engine/connectors/ad/import.ts";
import { LdapError } from "../../src/engine/connectors/ad/ldapErrors.ts";
import type { LdapEntry } from "../../src/engine/connectors/ad/ldapMessages.ts";
import type { ImportPage } from "../../src/engine/ports/connector.ts";
import { dc, schema } from "./support/domain.ts";

const watermark = { ...startPosition("full", 0n, { ...dc, highestUsn: 900n }, false).watermark };
const refusal = (code: number) =>
  new LdapError({ code, message: "refused", matchedDn: "", referrals: [], controls: new Map() });

/** Answers by the number in the cookie; the objects that a search finds are those whose GUIDs it names. */
function directory(answer: (step: number, filter: string) => { count: number; more: boolean }) {
  const asked: { step: number; filter: string; attributes: readonly string[] }[] = [];
  const guid = (number: number) => Buffer.from(number.toString(16).padStart(32, "0"), "hex");
  const client: Pick<AdClient, "search" | "list" | "dirSync"> = {
    async *list(base, options, toItem) {
      for await (const { entries, last } of client.search(base, options))
        yield { entries: entries.map(toItem), last };
    },
    async dirSync(_, { cookie, filter, attributes }): Promise<DirSyncAnswer> {
      const step = Number(cookie.toString() || "0");
      asked.push({ step, filter: String(filter), attributes });
      const { count, more } = answer(step, String(filter));
      const entries = Array.from({ length: count }, (_, index): LdapEntry => {
        return { dn: "any", attributes: new Map([["objectguid", [guid(step * 1_000_000 + index)]]]) };
      });
      return { entries, more, cookie: Buffer.from(String(step + 1)) };
    },
    async *search(_, { filter }): AsyncGenerator<SearchPage> {
      const named = [...String(filter).matchAll(/objectGUID=((?:\\[0-9a-f]{2})+)/g)];
      const entries = named.map(([, escaped]): LdapEntry => {
        const bytes = Buffer.from(escaped!.replaceAll("\\", ""), "hex");
        const attributes = new Map([
          ["objectclass", [Buffer.from("user")]],
          ["objectguid", [bytes]],
        ]);
        return { dn: `CN=${bytes.toString("hex")},OU=a,DC=x`, attributes };
      });
      yield { entries, last: true };
    },
  };
  const requireContainers = () => Promise.resolve();
  const scope = { client, schema, baseDn: "DC=x", containers: ["OU=a,DC=x"], pageSize: 2, requireContainers };
  return { asked, scope };
}

async function collect(scope: ReturnType<typeof directory>["scope"], start: ImportPosition) {
  const pages: ImportPage[] = [];
  for await (const page of importFrom(scope, start)) pages.push(page);
  return pages;
}
const cookieOf = (page: ImportPage | undefined) =>
  Buffer.from(parseWatermark(page!.complete!.watermark).cookie ?? "", "base64").toString();

test("a full import takes the cookie of now, in steps that another process can continue", async () => {
  const { scope, asked } = directory((step) => ({ count: 0, more: step < 3 }));
  const start = startPosition("full", 0n, dc, false, "cookie");
  const pages = await collect(scope, start);
  expect(cookieOf(pages.at(-1))).toBe("4");
  expect(asked.map(({ step }) => step)).toEqual([0, 1, 2, 3, 4]);
  expect(asked[0]!.filter).toBe("(objectClass=domainDNS)");
  for (const { resumeAt } of pages.slice(0, -1)) {
    expect(cookieOf((await collect(scope, parsePosition(resumeAt!))).at(-1))).toBe("4");
  }
});

test.each([
  ["the account may not replicate", (): never => fail(50)],
  [
    "what delta imports would ask for is refused",
    (_: number, filter: string) => (filter.includes("domainDNS") ? { count: 0, more: false } : fail(53)),
  ],
])("without a cookie the numbers have to do: %s", async (_, answer) => {
  const { scope } = directory(answer);
  const pages = await collect(scope, startPosition("full", 0n, dc, false, "cookie"));
  expect(parseWatermark(pages.at(-1)!.complete!.watermark)).not.toHaveProperty("cookie");
});

function fail(code: number): never {
  throw refusal(code);
}

const start = (cookie: string) =>
  deltaPosition({ ...watermark, cookie: Buffer.from(cookie).toString("base64") }, dc, false);

test("a delta import reads what changed whole, in pages, and goes on in another process after any of them", async () => {
  const { scope, asked } = directory((step) => ({ count: step === 2 ? 1 : 5, more: step < 2 }));
  const anchors = (pages: readonly ImportPage[]) => [
    ...new Set(pages.flatMap(({ entries }) => entries.map((entry) => entry.anchor))),
  ];
  const whole = await collect(scope, start("0"));
  expect(anchors(whole)).toHaveLength(11);
  expect(Math.max(...whole.map(({ entries }) => entries.length))).toBe(2);
  expect(cookieOf(whole.at(-1))).toBe("3");
  expect(asked[0]!.attributes).toEqual(expect.arrayContaining(["isDeleted", "name", "parentGUID"]));
  for (const [index, { resumeAt }] of whole.entries()) {
    if (resumeAt === null) continue;
    const rest = await collect(scope, parsePosition(resumeAt));
    expect(anchors([...whole.slice(0, index + 1), ...rest]).sort()).toEqual(anchors(whole).sort());
    expect(cookieOf(rest.at(-1))).toBe("3");
  }
});

test.each([12, 50, 53])("a cookie that is refused (%i) asks for a full import", async (code) => {
  const { scope } = directory(() => fail(code));
  await expect(collect(scope, start("7"))).rejects.toMatchObject({ kind: "watermark-expired" });
});

test("very many changes at once ask for a full import, which can be continued in small pieces", async () => {
  const { scope } = directory(() => ({ count: 20_001, more: false }));
  await expect(collect(scope, start("1"))).rejects.toMatchObject({ kind: "watermark-expired" });
});
