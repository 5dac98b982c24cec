import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { evaluationLimits } from "../../src/engine/core/expression/evaluate.ts";
import { compileExpression, ExpressionError } from "../../src/engine/core/expression/expression.ts";
import { parseLimits } from "../../src/engine/core/expression/parse.ts";
import type { AttributeValue } from "../../src/engine/core/values.ts";
import { anyText, contextOf } from "./expressionSupport.ts";

function codesOf(
  source: string,
  attributes: Record<string, AttributeValue> = {},
  language: "aadc" | "mim" = "aadc",
): string[] {
  const compiled = compileExpression(source, { language });
  let codes: string[];
  if (!compiled.ok) codes = compiled.problems.map((problem) => problem.code);
  else {
    try {
      compiled.expression.evaluate({ ...contextOf(), attribute: (name) => attributes[name] });
      codes = [];
    } catch (error) {
      if (!(error instanceof ExpressionError)) throw error;
      codes = [error.code];
    }
  }
  return codes;
}

const deep = 5_000;
/** `$v0` doubled again and again: two to the power of `times` characters. */
function doubled(times: number): string {
  let source = `$v${times}`;
  for (let i = times; i > 0; i--) source = `With($v${i}, $v${i - 1} & $v${i - 1}, ${source})`;
  return `With($v0, "0123456789", ${source})`;
}

describe("hostile expressions end in a clear error", () => {
  test.each([
    ["too long", `"${"x".repeat(parseLimits.sourceLengthMax)}"`, "source-too-long"],
    ["parentheses", "(".repeat(deep), "too-deep"],
    ["calls", `${"Trim(".repeat(deep)}"a"${")".repeat(deep)}`, "too-deep"],
    ["operators in a row", `1${"+1".repeat(deep)}`, "too-deep"],
    ["minus in a row", `${"-".repeat(deep)}[a]`, "too-deep"],
    [
      "operators in calls in operators",
      `${"Trim(".repeat(200)}"a"${`${'&"a"'.repeat(200)})`.repeat(20)}`,
      "too-deep",
    ],
    ["doubling text", doubled(60), "limit-exceeded"],
    ["padding", 'PadLeft("a", 9000000000000, "x")', "limit-exceeded"],
    [
      "replacing each by many",
      `Replace(PadLeft("", 1000000, "a"), "a", "${"b".repeat(1_000)}")`,
      "limit-exceeded",
    ],
    [
      "doubling lists",
      `Count(${"Split(Replace(".repeat(1)}PadLeft("", 900000, ","), ",", ",,,"), ","))`,
      "limit-exceeded",
    ],
  ])("%s", (_, source, code) => expect(codesOf(source)).toContain(code));

  test("at the depth limit, an expression still compiles and runs", () => {
    const calls = parseLimits.depthMax - 5;
    expect(codesOf(`${"Trim(".repeat(calls)}"a"${")".repeat(calls)}`)).toEqual([]);
    expect(codesOf(`"a"${' & "a"'.repeat(calls)}`)).toEqual([]);
  });
});

test("a long text is not searched for in many short ones, nor are bad DNs told apart by their stacks", () => {
  const mv = Array.from({ length: 100_000 }, (_, i) => `v${i}`);
  const long = "a".repeat(evaluationLimits.valueLengthMax);
  expect(codesOf("Contains([mv], [long])", { mv, long })).toEqual([]);
  expect(codesOf('Contains(CRef([mv]), CRef("cn=a"))', { mv })).toEqual([]);
});

describe("hostile values end in a clear error", () => {
  const many = Array.from({ length: 20_000 }, (_, i) => `value ${i}`);
  const long = "a".repeat(evaluationLimits.valueLengthMax);
  const patterned = { text: `${"a".repeat(500_000)}b`, match: `${"a".repeat(250_000)}c` };
  test.each<[string, string, Record<string, AttributeValue>]>([
    ["every pair of values", "Where($a, [mv], Contains([mv], $a) > 0)", { mv: many }],
    ["every triple", "Count(Select($a, [mv], Count(Select($b, [mv], Count([mv])))))", { mv: many }],
    ["long text for each value", "Select($a, [mv], UCase([long]))", { mv: many, long }],
    ["too long to join", "[long] & [long]", { long }],
    ["long list of long text", 'Join([mv], ",")', { mv: [long, long] }],
  ])("%s", (_, source, attributes) => expect(codesOf(source, attributes)).toEqual(["limit-exceeded"]));

  test.each<[string, string, Record<string, AttributeValue>]>([
    ["a search that would compare every pair of characters", "InStr([text], [match])", patterned],
    ["the same from the end", "InStrRev([text], [match])", patterned],
    ["the same to replace", 'Replace([text], [match], "x")', patterned],
    ["words with many delimiters", "Word([text], 400000, [match])", patterned],
    ["a reference that is no DN", "[ref] = [ref]", { ref: { kind: "reference", dn: "=,+\\" } }],
  ])("%s", (_, source, attributes) => expect(codesOf(source, attributes)).toEqual([]));

  test.each([
    [
      "a list of references of no sensible DN",
      'Contains([refs], "x")',
      { refs: [{ kind: "reference", dn: "\\" }] },
    ],
    [
      "a certificate cut short",
      "IsCert([cert])",
      { cert: new Uint8Array([0x30, 0x84, 0xff, 0xff, 0xff, 0xff]) },
    ],
    ["a certificate nested in itself", "IsCert([cert])", { cert: new Uint8Array(4_000).fill(0x30) }],
  ] as [string, string, Record<string, AttributeValue>][])("%s is only a value", (_, source, attributes) => {
    expect(codesOf(source, attributes)).toEqual([]);
  });
});

describe("whatever the text", () => {
  const pieces = fc.constantFrom(
    ...'( ) [ ] % $ , " \\ & && || = <> - + * / &H1F 12 NULL True [a] %P% $v "s" Trim( IIF( Select($v, Where($v, With($v, Error( IgnoreThisFlow // <fn <arg> </arg> </fn> id="+" é 𝒳 \n'.split(
      " ",
    ),
  );
  const soup = fc.array(pieces, { maxLength: 40 }).map((all) => all.join(" "));

  test.each(["aadc", "mim"] as const)("there is a result or problems with a place in it (%s)", (language) => {
    fc.assert(
      fc.property(fc.oneof(soup, anyText(60)), (source) => {
        const compiled = compileExpression(source, { language });
        const problems = compiled.ok ? compiled.warnings : compiled.problems;
        if (!compiled.ok) expect(problems.length).toBeGreaterThan(0);
        const lines = source.split("\n");
        for (const { line, column, length } of problems) {
          expect(line).toBeLessThanOrEqual(lines.length);
          expect(column).toBeLessThanOrEqual(lines[line - 1]!.length + 1);
          expect(length).toBeGreaterThan(0);
        }
        codesOf(source, { a: ["x", "y"] }, language);
      }),
      { numRuns: 400 },
    );
  });

  test("certificates of random bytes are no certificates", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(
          codesOf("CertSubject([c])", { c: new Uint8Array([0x30, 0x82, 0x00, bytes.length, ...bytes]) }),
        ).toEqual(["conversion-failed"]);
      }),
    );
  });
});
