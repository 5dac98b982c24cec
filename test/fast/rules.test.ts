import { describe, expect, test } from "vitest";
import { compileRules } from "../../src/engine/core/ruleCompiler.ts";
import type { AttributeInfo, RuleContext, SyncRule } from "../../src/engine/core/rules.ts";
import { compileScope, type ScopeOperator } from "../../src/engine/core/scope.ts";
import { type AttributeValue, dateTimeFromMs, reference } from "../../src/engine/core/values.ts";

describe("scope operators", () => {
  const absent = undefined;
  test.each<[AttributeValue | undefined, ScopeOperator, string | string[] | undefined, boolean]>([
    ["Guest", "EQUAL", "guest", true],
    ["Guest", "NOTEQUAL", "Guest", false],
    [absent, "EQUAL", "Guest", false],
    // Needed by Microsoft's own rules: cloudMastered NOTEQUAL True, adminDescription NOTSTARTSWITH User_.
    [absent, "NOTEQUAL", "True", true],
    [absent, "NOTSTARTSWITH", "User_", true],
    [absent, "NOTCONTAINS", "x", true],
    [absent, "NOTENDSWITH", "x", true],
    [absent, "ISNOTIN", ["a"], true],
    [absent, "ISBITNOTSET", "2", true],
    [absent, "ISNOTMEMBEROF", "CN=G,DC=x", true],
    [true, "EQUAL", "TRUE", true],
    [false, "NOTEQUAL", "True", true],
    ["User_1", "STARTSWITH", "user_", true],
    ["User_1", "NOTSTARTSWITH", "User_", false],
    ["abc", "ENDSWITH", "BC", true],
    ["abc", "CONTAINS", "b", true],
    // As text "6" < "50000" would be false.
    [6n, "LESSTHAN", "50000", true],
    [50000n, "LESSTHAN", "50000", false],
    [50000n, "LESSTHAN_OR_EQUAL", "50000", true],
    [7n, "GREATERTHAN", "6", true],
    [6n, "GREATERTHAN_OR_EQUAL", "6", true],
    [6n, "EQUAL", "6", true],
    [6n, "LESSTHAN", "many", false],
    ["b", "GREATERTHAN", "A", true],
    [absent, "LESSTHAN", "1", false],
    [absent, "ISNULL", undefined, true],
    ["", "ISNULL", undefined, true],
    ["x", "ISNULL", undefined, false],
    ["x", "ISNOTNULL", undefined, true],
    ["b", "ISIN", ["a", "B"], true],
    ["b", "ISIN", "a; b", true],
    ["c", "ISIN", ["a", "b"], false],
    ["c", "ISNOTIN", ["a", "b"], true],
    [514n, "ISBITSET", "2", true],
    [512n, "ISBITSET", "2", false],
    [512n, "ISBITNOTSET", "&H2", true],
    [[reference("CN=G,DC=x"), reference("CN=H,DC=x")], "ISMEMBEROF", "cn=h, dc=x", true],
    [[reference("CN=G,DC=x")], "ISNOTMEMBEROF", "CN=H,DC=x", true],
    [["a", "b"], "EQUAL", "b", true],
    [["a", "b"], "NOTEQUAL", "b", false],
    [dateTimeFromMs(0), "LESSTHAN", "2000-01-01T00:00:00Z", true],
    [new Uint8Array([0xab]), "EQUAL", "AB", true],
  ])("%s %s %s is %s", (value, operator, operand, expected) => {
    const test = compileScope([
      [{ attribute: "a", operator, ...(operand !== undefined && { value: operand }) }],
    ]);
    expect(test({ attribute: (name) => (name === "a" ? value : undefined) })).toBe(expected);
  });

  test("groups are alternatives, the conditions of a group must all hold, and no group is always true", () => {
    const scope = compileScope([
      [
        { attribute: "a", operator: "EQUAL", value: "1" },
        { attribute: "b", operator: "EQUAL", value: "1" },
      ],
      [{ attribute: "c", operator: "ISNOTNULL" }],
    ]);
    const ask = (values: Record<string, string>) => scope({ attribute: (name) => values[name] });
    expect(ask({ a: "1" })).toBe(false);
    expect(ask({ a: "1", b: "1" })).toBe(true);
    expect(ask({ c: "x" })).toBe(true);
    expect(compileScope([])({ attribute: () => undefined })).toBe(true);
  });

  test("parameters in a value are looked up", () => {
    const scope = compileScope([[{ attribute: "a", operator: "EQUAL", value: "%Connector.ID%" }]]);
    const parameter = (name: string) => (name === "Connector.ID" ? "AADMA" : undefined);
    expect(scope({ attribute: () => "aadma", parameter })).toBe(true);
  });
});

type Attributes = ReadonlyMap<string, AttributeInfo | null>;
const text = { type: "string", multiValued: false } as const;
const hrUser: Attributes = new Map<string, AttributeInfo | null>([
  ["id", null],
  ["mail", null],
  ["level", null],
]);
const adUser: Attributes = new Map<string, AttributeInfo | null>([
  ["mail", text],
  ["objectSid", { type: "binary", multiValued: false, readOnly: true }],
  ["userAccountControl", { type: "integer", multiValued: false }],
]);
const context: RuleContext = {
  connectorAttributes: new Map([
    ["hr", new Map([["user", hrUser]])],
    ["ad", new Map([["user", adUser]])],
  ]),
  metaverseAttributes: new Map([
    [
      "person",
      new Map<string, AttributeInfo>([
        ["uid", { ...text, indexed: true }],
        ["mail", { ...text, indexed: false }],
        ["level", { type: "integer", multiValued: false, indexed: false }],
      ]),
    ],
  ]),
  parameters: new Set(["Ou"]),
};

function rule(changed: Partial<SyncRule> = {}): SyncRule {
  return {
    name: "in",
    direction: "inbound",
    connector: "hr",
    connectorObjectType: "user",
    metaverseObjectType: "person",
    linkType: "provision",
    precedence: 100,
    enabled: true,
    scope: [],
    join: [],
    flows: [],
    ...changed,
  };
}
const flow = { applyOnce: false, mergeType: "update" } as const;

function problemsOf(...rules: SyncRule[]) {
  const compiled = compileRules(rules, context);
  return compiled.ok ? compiled.warnings : compiled.problems;
}

describe("compiling rules", () => {
  test("a set is compiled whole, in order of precedence, without the disabled rules", () => {
    const compiled = compileRules(
      [
        rule({ name: "b", precedence: 20 }),
        rule({ name: "a", precedence: 10 }),
        rule({ name: "off", enabled: false }),
      ],
      context,
    );
    expect(compiled.ok && compiled.rules.inbound("hr", "user").map(({ name }) => name)).toEqual(["a", "b"]);
    expect(compiled.ok && compiled.rules.hasInbound("ad")).toBe(false);
  });

  test.each<[string, Partial<SyncRule>, string, (string | number)[], RegExp]>([
    ["an unknown connector", { connector: "hhr" }, "unknown-connector", ["connector"], /"hr"/],
    [
      "an unknown object type",
      { connectorObjectType: "usr" },
      "unknown-object-type",
      ["connectorObjectType"],
      /"user"/,
    ],
    [
      "an unknown metaverse type",
      { metaverseObjectType: "persn" },
      "unknown-metaverse-object-type",
      ["metaverseObjectType"],
      /"person"/,
    ],
    [
      "an unknown target",
      { flows: [{ ...flow, kind: "direct", source: "mail", target: "mial" }] },
      "unknown-attribute",
      ["flows", 0, "target"],
      /"mail"/,
    ],
    [
      "an unknown source",
      { flows: [{ ...flow, kind: "direct", source: "mial", target: "mail" }] },
      "unknown-attribute",
      ["flows", 0, "source"],
      /"mail"/,
    ],
    [
      "an unknown attribute in an expression",
      { flows: [{ ...flow, kind: "expression", expression: "[mial]", target: "mail" }] },
      "unknown-attribute",
      ["flows", 0, "expression"],
      /"mail"/,
    ],
    [
      "an unknown attribute in a scope",
      { scope: [[{ attribute: "levl", operator: "ISNULL" }]] },
      "unknown-attribute",
      ["scope", 0, 0, "attribute"],
      /"level"/,
    ],
    [
      "a join on an attribute that is not indexed",
      { join: [[{ connectorAttribute: "mail", metaverseAttribute: "mail", caseSensitive: false }]] },
      "join-attribute-not-indexed",
      ["join", 0, 0, "metaverseAttribute"],
      /indexed: true/,
    ],
    [
      "a constant of the wrong type",
      { flows: [{ ...flow, kind: "constant", value: "much", target: "level" }] },
      "target-type",
      ["flows", 0, "constant"],
      /type/,
    ],
    [
      "two flows into one attribute",
      {
        flows: [
          { ...flow, kind: "direct", source: "mail", target: "mail" },
          { ...flow, kind: "direct", source: "id", target: "mail" },
        ],
      },
      "ambiguous-precedence",
      ["flows", 1, "target"],
      /one of them/,
    ],
    [
      "a flow into what the directory sets",
      {
        direction: "outbound",
        connector: "ad",
        linkType: "join",
        flows: [{ ...flow, kind: "direct", source: "uid", target: "objectSid" }],
      },
      "target-read-only",
      ["flows", 0, "target"],
      /Remove/,
    ],
    [
      "provisioning without a DN",
      { direction: "outbound", connector: "ad" },
      "no-dn-flow",
      ["linkType"],
      /dn/,
    ],
    [
      "an outbound sticky join",
      { direction: "outbound", connector: "ad", linkType: "stickyJoin" },
      "misplaced-link-type",
      ["linkType"],
      /join/,
    ],
  ])("%s is told with its place and a remedy", (_what, changed, code, path, remedy) => {
    const problem = problemsOf(rule(changed)).find((one) => one.code === code);
    expect(problem).toMatchObject({ rule: "in", path, severity: "error" });
    expect(problem!.remedy).toMatch(remedy);
  });

  test("a mistake in an expression has its place in the expression", () => {
    const [problem] = problemsOf(
      rule({
        flows: [
          { ...flow, kind: "expression", expression: "Left([mail], 3) & Lft([id], 1)", target: "mail" },
        ],
      }),
    );
    expect(problem).toMatchObject({ code: "unknown-function", position: { line: 1, column: 19 } });
  });

  test("rules of one precedence into one attribute, and different merges, are refused", () => {
    const flows = [{ ...flow, kind: "direct" as const, source: "mail", target: "mail" }];
    expect(problemsOf(rule({ flows }), rule({ name: "in2", flows }))).toEqual([
      expect.objectContaining({ rule: "in2", code: "ambiguous-precedence", path: ["precedence"] }),
    ]);
    const merging = [{ ...flows[0]!, mergeType: "merge" as const }];
    expect(problemsOf(rule({ flows }), rule({ name: "in2", precedence: 101, flows: merging }))).toEqual([
      expect.objectContaining({ rule: "in2", code: "merge-types-differ" }),
    ]);
    expect(problemsOf(rule({ flows }), rule({ name: "off", enabled: false, flows }))).toEqual([]);
  });

  test("a rule that falls due by the clock is warned of", () => {
    const flows = [
      { ...flow, kind: "expression" as const, expression: 'FormatDateTime(Now(), "yyyy")', target: "mail" },
    ];
    expect(problemsOf(rule({ flows }))).toEqual([
      expect.objectContaining({ code: "depends-on-the-clock", severity: "warning" }),
    ]);
  });
});
