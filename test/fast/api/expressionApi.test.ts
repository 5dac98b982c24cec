import { expect, test, vi } from "vitest";
import { call } from "../../support/apiWorld.ts";

vi.mock("../../../src/composition.ts", () => import("../../support/apiWorld.ts"));

const evaluate = (body: object) => call("POST", "/expressions/evaluate", body);

test.each<[string, object, unknown]>([
  ["text", { expression: "Left([id], 3)", attributes: { id: "abcdef" } }, "abc"],
  ["a number", { expression: "Len([id])", attributes: { id: "abc" } }, 3],
  ["no value", { expression: "[id]", attributes: { id: null } }, null],
  ["an absent name that every object has", { expression: "[constructor]" }, null],
  ["a list", { expression: "[proxyAddresses]", attributes: { proxyAddresses: ["a", "b"] } }, ["a", "b"]],
  ["an empty list", { expression: "[proxyAddresses]", attributes: { proxyAddresses: [] } }, null],
  ["a flow marker", { expression: 'IIF([id] = "x", 1, IgnoreThisFlow)' }, { $flow: "IgnoreThisFlow" }],
  ["binary", { expression: "[guid]", attributes: { guid: { $bin: "AAE=" } } }, { $bin: "AAE=" }],
  [
    "a date",
    { expression: "[d]", attributes: { d: { $dt: "2026-01-01T02:00:00+01:00" } } },
    { $dt: "2026-01-01T01:00:00Z" },
  ],
  [
    "a number beyond 2^53",
    { expression: "[n]", attributes: { n: { $int64: "9223372036854775807" } } },
    { $int64: "9223372036854775807" },
  ],
  ["a reference", { expression: "[manager]", attributes: { manager: { $ref: "CN=a" } } }, { $ref: "CN=a" }],
  ["the imported value", { expression: 'ImportedValue("mail")', attributes: { mail: "a@b" } }, "a@b"],
  [
    "an imported value of its own",
    {
      expression: '[mail] & ImportedValue("mail")',
      attributes: { mail: "new" },
      importedAttributes: { mail: "old" },
    },
    "newold",
  ],
  [
    "a parameter",
    { expression: "%Domain.FQDN%", parameters: { "Domain.FQDN": "corp.example" } },
    "corp.example",
  ],
  ["MIM's language", { expression: "Left(id, 2)", attributes: { id: "abc" }, language: "mim" }, "ab"],
])("%s", async (_, body, value) => {
  expect(await evaluate(body)).toMatchObject({ status: 200, body: { value } });
});

test("time and chance are real", async () => {
  const now = await evaluate({ expression: "Now()" });
  expect(Math.abs(Date.parse(now.body.value.$dt) - Date.now())).toBeLessThan(60_000);
  const random = await evaluate({ expression: "RandomNum(1, 1000000000)" });
  expect(random.body.value).toBeGreaterThanOrEqual(1);
});

test("what is wrong before it runs is told with its place and what would be right", async () => {
  const { status, headers, body } = await evaluate({ expression: 'UCase("a") &\n Lef([id], 2)' });
  expect([status, headers["content-type"]]).toEqual([422, "application/problem+json"]);
  expect(body).toMatchObject({
    code: "invalid-expression",
    problems: [
      {
        code: "unknown-function",
        message: expect.stringContaining("Lef"),
        line: 2,
        column: 2,
        length: 3,
        suggestion: "Left",
      },
    ],
  });
});

test("what fails for these values is told with its place, and without the values", async () => {
  const { status, body } = await evaluate({ expression: '"x" & CNum([id])', attributes: { id: "secret" } });
  expect(status).toBe(422);
  expect(body.problems).toMatchObject([{ code: "conversion-failed", line: 1, column: 7, length: 10 }]);
  expect(JSON.stringify(body)).not.toContain("secret");
});

const tooLarge = { expression: "1", attributes: { a: "x".repeat(300_000) } };
const attribute = (a: unknown) => ({ expression: "1", attributes: { a } });

test.each<[string, object, number, RegExp]>([
  ["no expression", { attributes: {} }, 400, /expression/],
  ["an unknown member", { expression: "1", attribute: {} }, 400, /attribute/],
  ["an unknown language", { expression: "1", language: "sql" }, 400, /language/],
  ["a fraction", attribute(1.5), 400, /attributes\.a/],
  ["a number beyond 64 bits", attribute({ $int64: "9223372036854775808" }), 400, /attributes\.a/],
  ["a date that is none", attribute({ $dt: "yesterday" }), 400, /attributes\.a/],
  ["binary that is none", attribute({ $bin: "*" }), 400, /attributes\.a/],
  ["a list of lists", attribute([["a"]]), 400, /attributes\.a/],
  ["a parameter with several values", { expression: "1", parameters: { p: ["a"] } }, 400, /parameters\.p/],
  ["a body beyond the limit", tooLarge, 413, /262144/],
])("%s is refused", async (_, request, status, detail) => {
  const answer = await evaluate(request);
  expect(answer).toMatchObject({
    status,
    body: { code: "bad-request", detail: expect.stringMatching(detail) },
  });
});

test.each([
  ["a source beyond the limit", { expression: `"${"x".repeat(40_000)}"` }, "source-too-long"],
  [
    "a list of long values that share their memory",
    {
      expression: "Select($i, [list], [long])",
      attributes: { list: Array.from({ length: 500 }, () => "a"), long: "x".repeat(20_000) },
    },
    "limit-exceeded",
  ],
])("%s is refused", async (_, request, code) => {
  const { status, body } = await evaluate(request);
  expect([status, body.problems[0].code]).toEqual([422, code]);
});
