import { describe, expect, test } from "vitest";
import {
  asFlowValue,
  compileExpression,
  ExpressionError,
  type ExpressionSchema,
  type FlowTarget,
  renderProblem,
} from "../../src/engine/core/expression/expression.ts";
import { closest } from "../../src/engine/core/expression/problems.ts";
import { contextOf, outcome, problemsOf } from "./expressionSupport.ts";

describe("lexis", () => {
  test.each([
    ['"\\\\0ACNF:"', "\\0ACNF:"],
    ['"say \\"hi\\" or ""hi"""', 'say "hi" or "hi"'],
    ['"\\n is left to Replace"', "\\n is left to Replace"],
    ["9223372036854775807", { $int64: "9223372036854775807" }],
    ["-9223372036854775808", { $int64: "-9223372036854775808" }],
    ["&HFFFFFFFFFFFFFFFF", -1],
    ["-(5)", -5],
    ["1 - -1", 2],
    ['"a"&Hex', { $error: expect.stringContaining("unknown-name") }],
    ["True", true],
    ["CRLF", "\r\n"],
    ['IIF (\n  IsPresent( [a] ),\n\t"x", // a comment\n  "y" )', "y"],
    ["[msDS-cloudExtensionAttribute1] = NULL", true],
    ["%Domain.FQDN%", "contoso.com"],
  ])("%s", (source, expected) => {
    expect(outcome(source, { parameters: { "Domain.FQDN": "contoso.com" } })).toEqual(expected);
  });

  test.each([
    ['"open', "unterminated-string", 1],
    ['"\\\\srv\\"', "unterminated-string", 1],
    ["1.5", "invalid-number", 1],
    ["9223372036854775808", "invalid-number", 1],
    ["“text”", "unexpected-character", 1],
    ["[a] ! [b]", "unexpected-character", 5],
    ["[a b]", "unexpected-character", 1],
    ["Left([a], 3", "unexpected-token", 5],
    ["Left([a], 3))", "unexpected-token", 13],
    ["1 +", "unexpected-token", 4],
    ["", "unexpected-token", 1],
    ["1 2", "unexpected-token", 3],
    ["displayName", "unknown-name", 1],
  ])("%s is a problem: %s at column %i", (source, code, column) => {
    expect(problemsOf(source)).toMatchObject([{ code, column, line: 1, severity: "error" }]);
  });
});

describe("operators", () => {
  test.each([
    ["2+3*4", 20],
    ["2*5+3", 13],
    ["7/2", 3],
    ["-7/2", -3],
    ["1/0", { $error: "Division by zero." }],
    ["9223372036854775807 + 1", { $error: "The result does not fit into 64 bits." }],
    ["NULL + 1", { $error: "+ cannot compute with NULL." }],
    ["1 = 1 && 2 = 2", true],
    ["True || False && False", false],
    ['"a" & NULL & "b"', "ab"],
    ["NULL = NULL", true],
    ["[x] = True", false],
    ["[x] <> True", true],
    ["[x] < 5", false],
    ['"SMTP:" = "smtp:"', false],
    ['"a" < "b"', true],
    ["[b1] & [b2]", { $bin: "AQI=" }],
    ["[ref] = [dn]", true],
    ['[ref] = "cn=joe, dc=contoso"', true],
    ['True || Error("never")', true],
    ['False && Error("never")', false],
  ])("%s", (source, expected) => {
    const attributes = {
      b1: { $bin: "AQ==" },
      b2: { $bin: "Ag==" },
      ref: { $ref: "CN=Joe,DC=Contoso" },
      dn: "cn=joe,dc=contoso",
    };
    expect(outcome(source, { attributes })).toEqual(expected);
  });
});

describe("lists", () => {
  const attributes = { mv: ["a", "b", "c"], other: ["x", "y"], one: ["only"] };
  test.each([
    ['[mv] & "!"', ["a!", "b!", "c!"]],
    ["[mv] & [mv]", ["aa", "bb", "cc"]],
    ["[mv] & [other]", { $error: "A list of 3 and a list of 2 values cannot be combined value by value." }],
    ["UCase([one])", ["ONLY"]],
    ['IIF([mv] = "b", NULL, [mv])', ["a", "c"]],
    // A value taken out stays out, and the lists stay aligned.
    ['IIF([mv] = "b", NULL, [mv]) & "!"', ["a!", "c!"]],
    ['IIF([mv] = "a", NULL, IIF([mv] = "b", NULL, [mv]))', ["c"]],
    ['IIF([mv] = "a", NULL, NULL)', null],
    ['Count(IIF([mv] = "b", NULL, [mv]))', 2],
    ['IIF([mv] = "b", "B", [other])', { $error: expect.stringContaining("list of 3") }],
    ['IIF([mv] = "z", Error("not reached"), [mv])', ["a", "b", "c"]],
    ["Select($i, [mv], $i & Count([other]))", ["a2", "b2", "c2"]],
    ["Select($i, [mv], [other])", { $error: "Select: a list cannot stand in a list." }],
    ['Join(Select($i, [mv], With($j, UCase($i), $j & $i)), ",")', "Aa,Bb,Cc"],
    ["Where($i, [mv], Contains([other], $i) > 0)", null],
    ['[mv] = "a" || [one] = "only"', { $error: expect.stringContaining("list of 3") }],
    ['[mv] = "a" || [mv] = "b"', [true, true, false]],
  ])("%s", (source, expected) => {
    expect(outcome(source, { attributes })).toEqual(expected);
  });
});

test("flow markers are values of branches, and nothing can be computed with them", () => {
  expect(outcome('IIF(IsPresent([a]), "I", AuthoritativeNull)')).toEqual({ $flow: "AuthoritativeNull" });
  expect(outcome("AuthoritativeNull")).toEqual({ $flow: "AuthoritativeNull" });
  expect(problemsOf("Trim(IgnoreThisFlow)")).toMatchObject([{ code: "misplaced-flow-literal", column: 6 }]);
  expect(problemsOf('"a" & AuthoritativeNull')).toMatchObject([
    { code: "misplaced-flow-literal", column: 7 },
  ]);
});

test("a flow takes empty text and empty lists for no value", () => {
  expect(asFlowValue("")).toBeNull();
  expect(asFlowValue([""])).toBeNull();
  expect(asFlowValue(["", "a"])).toEqual(["a"]);
  expect(asFlowValue(new Uint8Array())).toBeNull();
  expect(asFlowValue(false)).toBe(false);
  expect(asFlowValue(0n)).toBe(0n);
  expect(asFlowValue({ flow: "IgnoreThisFlow" })).toEqual({ flow: "IgnoreThisFlow" });
});

test("an error says its code, its message and where in the source it arose", () => {
  const compiled = compileExpression('IIF(IsPresent([a]),\n  [a],\n  Error("a is required"))');
  if (!compiled.ok) throw new Error("expected to compile");
  const evaluate = () => compiled.expression.evaluate(contextOf());
  expect(evaluate).toThrow(ExpressionError);
  expect(evaluate).toThrow(
    expect.objectContaining({
      code: "sync-rule-error-function-triggered",
      message: "a is required",
      position: { line: 3, column: 3, length: 22 },
    }),
  );
});

test("the attributes and parameters that an expression reads are known before it runs", () => {
  const compiled = compileExpression(
    'IIF(ValueCount("member") > 0, ImportedValue("mail"), Select($i, [a-b], $i & %Forest.LDAP%))',
  );
  if (!compiled.ok) throw new Error("expected to compile");
  expect([...compiled.expression.attributes].sort()).toEqual(["a-b", "mail", "member"]);
  expect([...compiled.expression.parameters]).toEqual(["Forest.LDAP"]);
});

const schema: ExpressionSchema = {
  attributes: new Map([
    ["displayName", { type: "string", multiValued: false }],
    ["proxyAddresses", { type: "string", multiValued: true }],
    ["userAccountControl", { type: "integer", multiValued: false }],
    ["objectGUID", { type: "binary", multiValued: false }],
    ["whenCreated", { type: "dateTime", multiValued: false }],
    ["manager", { type: "reference", multiValued: false }],
    ["isCritical", { type: "boolean", multiValued: false }],
  ] as const),
  parameters: new Set(["Domain.FQDN"]),
};
const text: FlowTarget = { name: "title", type: "string", multiValued: false };

describe("the checker", () => {
  test.each<[string, string, string | undefined]>([
    ["Lft([displayName], 3)", "unknown-function", "Left"],
    ["left([displayName], 3)", "wrong-case", "Left"],
    ["UpperCase([displayName])", "unknown-function", "UCase"],
    ["Frobnicate([displayName])", "unknown-function", undefined],
    ["Trim([displayNme])", "unknown-attribute", "[displayName]"],
    ["Trim([displayname])", "wrong-case", "[displayName]"],
    ["%Domain.FQDM%", "unknown-parameter", "%Domain.FQDN%"],
    ["Select($item, [proxyAddresses], Trim($itm))", "unknown-variable", "$item"],
    ["Select([proxyAddresses], [proxyAddresses], 1)", "variable-expected", "$item"],
    ["Left([displayName])", "wrong-argument-count", "str Left(str text, num count)"],
    ["Switch(True, 1, False)", "wrong-argument-count", expect.any(String)],
    ["Trim([userAccountControl])", "type-mismatch", "CStr([userAccountControl])"],
    ["Trim([objectGUID])", "type-mismatch", "ConvertToBase64([objectGUID])"],
    ["Left([displayName], [displayName])", "type-mismatch", "CNum([displayName])"],
    ["[displayName] + 1", "type-mismatch", "&"],
    ['[userAccountControl] = "2"', "type-mismatch", "CStr([userAccountControl])"],
    ["[isCritical] = 1", "type-mismatch", undefined],
    ["[displayName] || True", "type-mismatch", "CBool([displayName])"],
    ["IIF(BitAnd([userAccountControl], 2), 1, 2)", "type-mismatch", "CBool(BitAnd([userAccountControl], 2))"],
    ["[displayName] & [objectGUID]", "type-mismatch", undefined],
    ['"at " & [whenCreated]', "type-mismatch", 'FormatDateTime([whenCreated], "yyyy-MM-dd")'],
    ["IIF([isCritical], 1, [displayName]) + 1", "type-mismatch", expect.any(String)],
    ['InStr("a", "b", 1, vbTextcompare)', "wrong-case", "vbTextCompare"],
    ['InStr("a", "b", 1, UTF8)', "wrong-option", undefined],
    ["ImportedValue([displayName])", "literal-expected", '"displayName"'],
    ['ImportedValue("mail")', "unknown-attribute", undefined],
    ['IIF([proxyAddresses] = "x", IgnoreThisFlow, "y")', "misplaced-flow-literal", "NULL"],
    ["vbTextCompare", "type-mismatch", undefined],
    ["null", "wrong-case", "NULL"],
    ["true", "wrong-case", "True"],
    [
      "[isCritical] || [isCritical] && [isCritical]",
      "mixed-operators",
      "([isCritical] || [isCritical]) && [isCritical]",
    ],
    ["2 * 5 + 3", "mixed-operators", "(2 * 5) + 3"],
    ['"n" & [userAccountControl]', "implicit-conversion", "CStr([userAccountControl])"],
    ["CStr([whenCreated])", "culture-format", undefined],
    ['CGuid("no guid")', "always-fails", undefined],
  ])("%s: %s", (source, code, suggestion) => {
    const [problem, ...others] = problemsOf(source, { schema });
    expect(problem).toMatchObject({ code });
    expect(problem?.suggestion).toEqual(suggestion);
    if (code !== "wrong-case") expect(others).toEqual([]);
  });

  test.each([
    "IIF(IsString([objectGUID]), CStr([objectGUID]), ConvertToBase64([objectGUID]))",
    "1 + 2 - 3",
    "([isCritical] || [isCritical]) && [isCritical]",
    'InStr([manager], "OU=Staff") > 0',
    "CNum(Mid([objectGUID], 1, 2))",
    'IIF(IsPresent([displayName]), [displayName], Error("none"))',
    "With($x, [objectGUID], IIF(IsPresent($x), $x & CBin(1, 1), NULL))",
  ])("has nothing to say of %s", (source) => expect(problemsOf(source, { schema })).toEqual([]));

  test.each<[string, FlowTarget, string]>([
    ["[displayName]", { ...text, readOnly: true }, "target-read-only"],
    ["[proxyAddresses]", text, "target-single-valued"],
    ["Trim([proxyAddresses])", text, "target-single-valued"],
    ["[userAccountControl]", text, "target-type"],
    ["IIF([isCritical], NULL, [objectGUID])", text, "target-type"],
  ])("%s cannot flow to %o", (source, target, code) => {
    expect(problemsOf(source, { schema, target })).toMatchObject([{ code }]);
  });

  test.each([
    ["Item([proxyAddresses], 1)", text],
    ["IIF([isCritical], AuthoritativeNull, [displayName])", text],
    ['"CN=" & [displayName]', { name: "dn", type: "reference", multiValued: false } as const],
  ])("%s can flow", (source, target) => expect(problemsOf(source, { schema, target })).toEqual([]));

  test("a problem is shown with its line and a caret", () => {
    const source = 'IIF(True,\n\tLft([displayName], 3), "")';
    const [problem] = problemsOf(source, { schema });
    expect(renderProblem(source, problem!)).toBe(
      [
        "error unknown-function at 2:2: There is no function Lft.",
        '   Lft([displayName], 3), "")',
        "   ^^^",
        "  suggestion: Left",
      ].join("\n"),
    );
  });

  test("names that are not alike are no suggestion", () => {
    expect(closest("mail", ["department", "sn"])).toBeUndefined();
    expect(closest("dispalyName", ["department", "displayName"])).toBe("displayName");
  });
});
