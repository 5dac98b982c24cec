/** What somebody who may call the API, and means ill, would send. */
import { beforeAll, describe, expect, test, vi } from "vitest";
import { call, engine, httpFunctions, run, world } from "../../support/apiWorld.ts";

vi.mock("../../../src/composition.ts", () => import("../../support/apiWorld.ts"));

const functions = await httpFunctions();
const routes = functions.map(({ name, binding }) => ({
  name,
  method: String((binding.methods as string[])[0]).toUpperCase(),
  route: `/${String(binding.route)}`,
}));
const withParameters = routes.filter(({ route }) => route.includes("{"));
/** Stopping a run asks for nothing, so no body is read. */
const withBody = routes.filter(({ method, name }) => /^(POST|PUT)$/.test(method) && name !== "stopRun");

const hostile: readonly (readonly [what: string, text: string])[] = [
  ["LDAP filter", "*)(objectClass=*))(|(cn=*"],
  ["DN", "x,OU=Domain Controllers,DC=corp,DC=example"],
  ["OData", "' or PartitionKey ne '"],
  ["markup", `"><script>alert(1)</script>`],
  ["path", "../../../../etc/passwd"],
  ["keys of tables", "a|b\\c#d?e%2Ff"],
  ["controls", "\u0000\u0001\r\nSet-Cookie: a=b"],
  ["prototype", "__proto__"],
  ["constructor", "constructor"],
  ["directions", "\u202emoc.live\u2066"],
  ["half of a character", "\ud800"],
  ["length", "x".repeat(20_000)],
];
/** Answers of a service that understood that it was given nonsense. */
const refusals = [200, 202, 400, 404, 409, 413, 422];

beforeAll(async () => {
  await run("AADMA", "Full Import (Stage Only)");
  await run("AADMA", "Full Synchronization");
});

describe.each(hostile)("%s", (_, text) => {
  const encoded = encodeURIComponent(text.toWellFormed());

  test("in the place of a name or an id is not found, and nothing breaks", async () => {
    for (const { method, route } of withParameters) {
      const path = route.replace(/\{[^}]+\}/g, encoded);
      const { status, body } = await call(method, path, method === "GET" ? undefined : {});
      expect(refusals, `${method} ${route}: ${JSON.stringify(body)}`).toContain(status);
    }
  });

  test("in the place of an object's anchor, a clause or a page is refused or finds nothing", async () => {
    const queries = [
      `/connectors/ADMA/objects/${encoded}`,
      `/connectors/ADMA/objects?dn=${encoded}&anchor=${encoded}`,
      `/connectors/ADMA/objects?pendingExport=${encoded}`,
      `/metaverse?where=${encodeURIComponent("displayName contains ")}${encoded}`,
      `/metaverse?where=${encoded}`,
      `/metaverse?continuation=${encoded}`,
      `/runs?continuation=${encoded}&connector=${encoded}&status=${encoded}`,
      `/audit?continuation=${encoded}`,
      `/connectors/ADMA/export-plan?continuation=${encoded}`,
    ];
    for (const query of queries) {
      const { status, body } = await call("GET", query);
      expect(refusals, `${query.slice(0, 80)}: ${JSON.stringify(body)}`).toContain(status);
      if (status === 200 && body.items !== undefined && query !== queries[6]) expect(body.items).toEqual([]);
    }
  });
});

test.each(hostile.filter(([what]) => /LDAP|markup|controls|prototype|half|length/.test(what)))(
  "%s in a body is refused with its reason, and starts nothing",
  async (_, text) => {
    const before = await engine.runs.openIds();
    const bodies = [
      { cycle: text },
      { hash: text, metaverseId: text, why: text },
      { connector: "AADMA", anchor: "ann", rules: [{ file: text, text }] },
      { expression: text, attributes: { [text]: text }, parameters: { [text]: text } },
      JSON.parse(`{"cycle":"delta","__proto__":{"admin":true}}`),
      text,
    ];
    for (const { method, route } of withBody) {
      const path = route.replace("{name}", "ADMA").replace(/\{[^}]+\}/g, "none");
      for (const body of bodies) {
        const { status, body: answer } = await call(method, path, body);
        expect([400, 404, 409, 413, 422], `${method} ${route}: ${JSON.stringify(answer)}`).toContain(status);
      }
    }
    expect(await engine.runs.openIds()).toEqual(before);
    expect(world.exported).toEqual([]);
  },
);

describe("what is too large or too deep", () => {
  const rule = (text: string) => ({
    connector: "AADMA",
    anchor: "ann",
    rules: [{ file: "AAD-B2B-IN.yaml", text }],
  });
  const aliases = ["a: &a0 [x,x,x,x,x,x,x,x,x]"]
    .concat(Array.from({ length: 12 }, (_, n) => `b${n}: &a${n + 1} [${Array(9).fill(`*a${n}`).join(",")}]`))
    .join("\n");

  test.each(withBody)(
    "a body of a megabyte is refused by $method $route",
    async ({ name, method, route }) => {
      const path = route.replace("{name}", "ADMA").replace(/\{[^}]+\}/g, "none");
      const size = /rule|preview/i.test(name) ? 9 : 1;
      const { status, body } = await call(method, path, { why: "x".repeat(size * 1024 * 1024) });
      expect([status, body.code]).toEqual([413, "bad-request"]);
    },
  );

  test.each([
    ["aliases that multiply", aliases],
    ["an alias of what it stands in", "a: &a [*a]"],
    ["sequences in sequences", "[".repeat(20_000)],
    ["mappings in mappings", Array.from({ length: 1_500 }, (_, n) => `${" ".repeat(n)}a:`).join("\n")],
    ["tags", "!!js/function 'function(){}'"],
  ])("%s in a rule are a problem of the rule, soon", async (_, text) => {
    const since = performance.now();
    const { status, body } = await call("POST", "/preview", rule(text));
    expect([status, body.code], JSON.stringify(body)).toEqual([422, "invalid-rules"]);
    expect(performance.now() - since).toBeLessThan(5_000);
  });

  test("a body that is nested without end is no JSON of ours", async () => {
    const { status, body } = await call("POST", "/runs", `${"[".repeat(100_000)}`);
    expect([status, body.code]).toEqual([400, "bad-request"]);
    const whole = await call("POST", "/runs", `${"[".repeat(100_000)}${"]".repeat(100_000)}`);
    expect([whole.status, whole.body.code]).toEqual([400, "bad-request"]);
  });
});
