/**
 * What rules mean, each sentence as a test: from the files that an operator writes, through the pure steps, to the
 * metaverse object and the pending export. SEMANTICS.md 2.4 numbers the sentences (R1 …).
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type Configuration,
  ConfigurationError,
  type ConfigurationFile,
} from "../../src/engine/core/configuration.ts";
import {
  contributionsOf,
  decideConnection,
  inboundScope,
  joinKey,
  joinLookups,
  meets,
} from "../../src/engine/core/inbound.ts";
import { newMetaverseObject } from "../../src/engine/core/metaverse.ts";
import {
  type ConnectorSpaceObject,
  type MetaverseObject,
  newConnectorSpaceObject,
} from "../../src/engine/core/model.ts";
import { readConfiguration } from "../../src/engine/core/readConfiguration.ts";
import { type SyncDecision, synchronize } from "../../src/engine/core/synchronize.ts";
import { type AttributeValue, dateTimeFromMs, reference } from "../../src/engine/core/values.ts";
import { anyKinds } from "./support/guestWorld.ts";

// ---- a configuration of two sources and a target, as files ---------------------------------------------------------

type Json = Record<string, unknown>;
const objectTypes = ["user", "contact", "inetOrgPerson", "group", "device"];
const names = ["id", "mail", "title", "flag", "count", "bits", "when", "memberOf", "member", "tags"];
const metaverseAttributes = [
  { name: "uid", indexed: true },
  { name: "mail", indexed: true },
  { name: "title" },
  { name: "flag", type: "boolean" },
  { name: "count", type: "integer" },
  { name: "when", type: "dateTime" },
  { name: "member", type: "reference", multiValued: true },
  { name: "tags", multiValued: true },
  { name: "raw", type: "binary" },
];

function inbound(changed: Json = {}): Json {
  return {
    name: "hr in",
    direction: "inbound",
    connector: "hr",
    connectorObjectType: "user",
    metaverseObjectType: "person",
    linkType: "provision",
    precedence: 10,
    join: [[{ connectorAttribute: "id", metaverseAttribute: "uid" }]],
    flows: [{ target: "uid", source: "id" }],
    ...changed,
  };
}
/** One that only lets values flow. */
function flowing(changed: Json = {}): Json {
  return inbound({ name: "hr more", linkType: "join", precedence: 20, join: [], flows: [], ...changed });
}
function outbound(changed: Json = {}): Json {
  return inbound({
    name: "ad out",
    direction: "outbound",
    connector: "ad",
    precedence: 50,
    join: [],
    flows: [{ target: "dn", applyOnce: true, expression: '"CN=" & [uid] & ",DC=x"' }],
    ...changed,
  });
}

interface World {
  readonly deletionRule?: unknown;
  readonly filter?: unknown;
}
function filesOf(
  rules: readonly Json[],
  { deletionRule = "lastConnector", filter }: World = {},
): ConfigurationFile[] {
  const file = (path: string, content: unknown) => ({
    file: `config/${path}`,
    text: JSON.stringify(content),
  });
  return [
    ...["hr", "crm", "ad"].map((name) =>
      file(`connectors/${name}.yaml`, {
        name,
        kind: "graph",
        objectTypes: objectTypes.map((type) => ({ name: type, attributes: names })),
        deprovision: "delete",
        ...(name === "hr" && filter !== undefined && { filter }),
      }),
    ),
    ...rules.map((rule, index) => file(`rules/${index}.yaml`, rule)),
    file("metaverse.yaml", {
      parameters: { Company: "Contoso", Limit: "5" },
      objectTypes: ["person", "group", "device"].map((name) => ({
        name,
        deletionRule,
        attributes: metaverseAttributes,
      })),
    }),
  ];
}
function configurationOf(rules: readonly Json[], world?: World): Configuration {
  return readConfiguration(filesOf(rules, world), {}, anyKinds);
}
function mistakesOf(...rules: readonly Json[]): readonly string[] {
  try {
    return configurationOf(rules).warnings.map(({ code }) => `warning ${code}`);
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    return error.problems.map(({ code, message }) => code ?? message);
  }
}

// ---- objects, and the steps over them ------------------------------------------------------------------------------

function object(
  attributes: Record<string, AttributeValue>,
  { connector = "hr", objectType = "user", ...known }: Partial<ConnectorSpaceObject> = {},
): ConnectorSpaceObject {
  const id = String(attributes.id ?? "none");
  const image = { objectType, dn: `CN=${id}`, attributes };
  return newConnectorSpaceObject({
    id: `0${connector}${id}`,
    connector,
    objectType,
    anchor: id,
    dn: image.dn,
    pendingImport: { change: "add", image },
    ...known,
  });
}
/** Connected, and imported again with these values. */
function connected(attributes: Record<string, AttributeValue>, known: Partial<ConnectorSpaceObject> = {}) {
  return object(attributes, { metaverseId: "0m", ...known });
}
function person(
  attributes: Record<string, AttributeValue> = {},
  known: Partial<MetaverseObject> = {},
): MetaverseObject {
  const lineage = { connector: "hr", rule: "hr in", precedence: 10, since: "2026-01-01T00:00:00.000Z" };
  return {
    ...newMetaverseObject("0m", "person"),
    attributes: Object.fromEntries(
      Object.entries(attributes).map(([name, value]) => [name, { value, ...lineage }]),
    ),
    ...known,
  };
}

/** What a reference leads to is the business of references.test.ts: here each leads to its own name. */
const references = { toMetaverse: (_: string, to: string) => to, toConnector: (_: string, id: string) => id };
const clock = { now: dateTimeFromMs(Date.UTC(2026, 0, 2)), random: () => 0.5, references };

function placed(
  configuration: Configuration,
  of: ConnectorSpaceObject,
  present: readonly MetaverseObject[] = [],
) {
  const candidates = new Map(
    joinLookups(of, configuration).map((lookup) => [
      joinKey(lookup),
      present.filter((one) => meets(one, lookup)).map(({ id }) => id),
    ]),
  );
  return decideConnection(of, configuration, candidates);
}
function synchronized(
  configuration: Configuration,
  objects: readonly ConnectorSpaceObject[],
  metaverse: MetaverseObject = person(
    {},
    { connectors: objects.map(({ connector, id }) => ({ connector, id })) },
  ),
  syncing = "hr",
): SyncDecision {
  return synchronize({ metaverse, objects, syncing, configuration, ...clock });
}
/** The values of the metaverse object that these rules make of one connected object. */
function valuesOf(
  rules: readonly Json[],
  attributes: Record<string, AttributeValue>,
  metaverse?: MetaverseObject,
) {
  const decision = synchronized(configurationOf(rules), [connected({ id: "1", ...attributes })], metaverse);
  expect(decision.errors).toEqual([]);
  return Object.fromEntries(
    Object.entries(decision.metaverse!.attributes).map(([name, { value }]) => [name, value]),
  );
}

// ---- scope ---------------------------------------------------------------------------------------------------------

describe("scoping filter (R1, R2)", () => {
  const inScope = (scope: unknown, attributes: Record<string, AttributeValue>) =>
    inboundScope("hr", configurationOf([inbound({ scope })]))({ objectType: "user", dn: "CN=1", attributes });

  test("no group: always; groups are alternatives; all conditions of a group must hold", () => {
    const is = (value: string) => ({ attribute: "title", operator: "EQUAL", value });
    const hasMail = { attribute: "mail", operator: "ISNOTNULL" };
    expect(inScope([], {})).toBe(true);
    const scope = [[is("Boss"), hasMail], [is("Guest")]];
    expect(inScope(scope, { title: "boss" })).toBe(false);
    expect(inScope(scope, { title: "boss", mail: "a@x" })).toBe(true);
    expect(inScope(scope, { title: "guest" })).toBe(true);
  });
  test.each<[string, unknown, AttributeValue, boolean]>([
    ["EQUAL", "boss", "Boss", true],
    ["NOTEQUAL", "boss", "Boss", false],
    ["LESSTHAN", "b", "A", true],
    ["LESSTHAN_OR_EQUAL", "a", "A", true],
    ["GREATERTHAN", "a", "B", true],
    ["GREATERTHAN_OR_EQUAL", "b", "B", true],
    ["CONTAINS", "OS", "Boss", true],
    ["NOTCONTAINS", "OS", "Boss", false],
    ["STARTSWITH", "BO", "Boss", true],
    ["NOTSTARTSWITH", "BO", "Boss", false],
    ["ENDSWITH", "SS", "Boss", true],
    ["NOTENDSWITH", "SS", "Boss", false],
    ["ISNULL", undefined, "Boss", false],
    ["ISNOTNULL", undefined, "Boss", true],
    ["ISIN", ["clerk", "BOSS"], "Boss", true],
    ["ISIN", "clerk;boss", "Boss", true],
    ["ISNOTIN", ["clerk", "BOSS"], "Boss", false],
    ["ISBITSET", 2, 3n, true],
    ["ISBITNOTSET", 2, 3n, false],
    ["ISNOTBITSET", 4, 3n, true],
    ["NOTSTARTWITH", "BO", "Boss", false],
    ["ISMEMBEROF", "cn=G\\2C x, dc=x", [reference("CN=F,DC=x"), reference("CN=G\\, x,DC=x")], true],
    ["ISNOTMEMBEROF", "CN=F,DC=x", [reference("CN=G,DC=x")], true],
    ["EQUAL", "TRUE", true, true],
    ["LESSTHAN", "50000", 6n, true],
    ["GREATERTHAN", "&H10", 17n, true],
    ["LESSTHAN", "2026-01-01", dateTimeFromMs(0), true],
    ["EQUAL", "2024-02-29T13:05:09.1234567Z", { kind: "dateTime", ticks: 133536855091234567n }, true],
    ["GREATERTHAN", "2026-01-01 10:00", dateTimeFromMs(Date.UTC(2026, 0, 1, 10, 0, 1)), true],
  ])("%s %j of %s is %s", (operator, value, attribute, expected) => {
    const condition = { attribute: "title", operator, ...(value !== undefined && { value }) };
    expect(inScope([[condition]], { title: attribute })).toBe(expected);
  });
  test("a value of ISIN that holds a semicolon is also a value by itself", () => {
    const scoped = configurationOf([
      inbound({ scope: [[{ attribute: "title", operator: "ISIN", value: "a;b" }]] }),
    ]);
    const kinds = ["a", "b", "a;b", "c"].map((title) => placed(scoped, object({ id: "1", title })).kind);
    expect(kinds).toEqual(["projection", "projection", "projection", "disconnector"]);
  });
  test("for an absent attribute exactly the negative operators hold", () => {
    const holds = (operator: string, value = "2") => inScope([[{ attribute: "title", operator, value }]], {});
    for (const operator of [
      "EQUAL",
      "LESSTHAN",
      "LESSTHAN_OR_EQUAL",
      "GREATERTHAN",
      "GREATERTHAN_OR_EQUAL",
      "CONTAINS",
      "STARTSWITH",
      "ENDSWITH",
      "ISNOTNULL",
      "ISIN",
      "ISBITSET",
      "ISMEMBEROF",
    ])
      expect([operator, holds(operator)]).toEqual([operator, false]);
    for (const operator of [
      "NOTEQUAL",
      "NOTCONTAINS",
      "NOTSTARTSWITH",
      "NOTENDSWITH",
      "ISNULL",
      "ISNOTIN",
      "ISBITNOTSET",
      "ISNOTMEMBEROF",
    ])
      expect([operator, holds(operator)]).toEqual([operator, true]);
  });
  test("parameters stand for their values, the connector's own among them; an unknown one is a mistake", () => {
    const is = (value: string) => [[{ attribute: "title", operator: "EQUAL", value }]];
    expect(inScope(is("%Company% staff"), { title: "contoso staff" })).toBe(true);
    expect(inScope(is("%Connector.ID%"), { title: "HR" })).toBe(true);
    expect(inScope([[{ attribute: "count", operator: "LESSTHAN", value: "%Limit%" }]], { count: 4n })).toBe(
      true,
    );
    expect(mistakesOf(inbound({ scope: is("%Compny%") }))).toEqual(["unknown-parameter"]);
  });
  test("a condition that is the same for every object is a mistake", () => {
    const outScope = (condition: Json) => mistakesOf(inbound(), outbound({ scope: [[condition]] }));
    expect(outScope({ attribute: "flag", operator: "EQUAL", value: "yes" })).toEqual(["scope-value-type"]);
    expect(outScope({ attribute: "count", operator: "LESSTHAN", value: "many" })).toEqual([
      "scope-value-type",
    ]);
    expect(outScope({ attribute: "count", operator: "ISIN", value: "1; 2;" })).toEqual(["scope-value-type"]);
    expect(outScope({ attribute: "title", operator: "ISBITSET", value: "2" })).toEqual([
      "scope-operator-type",
    ]);
    expect(outScope({ attribute: "flag", operator: "LESSTHAN", value: "2" })).toEqual([
      "scope-operator-type",
    ]);
    expect(outScope({ attribute: "title", operator: "EQUAL" })).toEqual(["scope-value-missing"]);
    expect(outScope({ attribute: "count", operator: "ISBITSET", value: "two" })).toEqual([
      "scope-value-type",
    ]);
  });
  test("an outbound rule asks the metaverse object", () => {
    const rules = [
      inbound(),
      outbound({ scope: [[{ attribute: "uid", operator: "STARTSWITH", value: "1" }]] }),
    ];
    const provisioned = (id: string) => synchronized(configurationOf(rules), [connected({ id })]).provisioned;
    expect(provisioned("12")).toHaveLength(1);
    expect(provisioned("21")).toEqual([]);
  });
  test("an object that meets the connector's filter stays out, whatever the rules say; its attributes must be selected", () => {
    const filter = [[{ attribute: "title", operator: "EQUAL", value: "%Connector.ID%" }]];
    const configuration = configurationOf([inbound()], { filter });
    expect(placed(configuration, object({ id: "1", title: "hr" }))).toEqual({
      kind: "disconnector",
      reason: "filtered",
    });
    expect(placed(configuration, object({ id: "1", title: "x" })).kind).toBe("projection");
    expect(synchronized(configuration, [connected({ id: "1", title: "hr" })])).toMatchObject({
      metaverse: null,
      inbound: { connectorFilteredRemoveMv: 1 },
    });
    expect(() =>
      configurationOf([inbound()], { filter: [[{ attribute: "titel", operator: "ISNULL" }]] }),
    ).toThrow(/"titel" is not a selected attribute. Did you mean "title"/);
  });
});

// ---- joins ---------------------------------------------------------------------------------------------------------

describe("join rules (R3 to R8)", () => {
  const group = (connectorAttribute: string, metaverseAttribute: string, caseSensitive = false) => [
    { connectorAttribute, metaverseAttribute, caseSensitive },
  ];
  const of = (id: string, values: Record<string, AttributeValue>) => person(values, { id });
  const rules = configurationOf([inbound({ join: [group("id", "uid"), group("mail", "mail", true)] })]);

  test("groups count in their order; the first that finds exactly one wins", () => {
    const both = [of("0a", { mail: "a@x" }), of("0b", { uid: "1" })];
    expect(placed(rules, object({ id: "1", mail: "a@x" }), both)).toMatchObject({
      kind: "join",
      metaverseId: "0b",
    });
    const twice = [...both, of("0c", { uid: "1" })];
    expect(placed(rules, object({ id: "1", mail: "a@x" }), twice)).toMatchObject({
      kind: "join",
      metaverseId: "0a",
    });
    expect(placed(rules, object({ id: "1" }), twice)).toMatchObject({
      kind: "disconnector",
      reason: "ambiguous-join",
    });
    expect(placed(rules, object({ id: "9" }), twice)).toMatchObject({ kind: "projection", rule: "hr in" });
  });
  test("case counts where the condition says so", () => {
    const present = [of("0a", { mail: "A@x", uid: "ABC" })];
    expect(placed(rules, object({ id: "abc" }), present)).toMatchObject({ kind: "join" });
    expect(placed(rules, object({ id: "1", mail: "a@x" }), present)).toMatchObject({ kind: "projection" });
    expect(placed(rules, object({ id: "1", mail: "A@x" }), present)).toMatchObject({ kind: "join" });
  });
  test("all conditions of a group must hold; one without a single value finds nothing", () => {
    const both = configurationOf([inbound({ join: [[...group("id", "uid"), ...group("mail", "mail")]] })]);
    const present = [of("0a", { uid: "1", mail: "a@x" }), of("0b", { uid: "1", mail: "b@x" })];
    expect(placed(both, object({ id: "1", mail: "b@x" }), present)).toMatchObject({ metaverseId: "0b" });
    expect(placed(both, object({ id: "1" }), present)).toMatchObject({ kind: "projection" });
    expect(placed(both, object({ id: "1", mail: ["a@x", "b@x"] }), present)).toMatchObject({
      kind: "projection",
    });
  });
  test("values of any type are compared, and a tombstone is no match", () => {
    const raw = new Uint8Array([1, 2]);
    const lookup = { rule: "r", group: 0, metaverseObjectType: "person" };
    const asks = (value: AttributeValue) => ({
      ...lookup,
      conditions: [{ metaverseAttribute: "raw", value: value as Uint8Array, caseSensitive: true }],
    });
    expect(meets(of("0a", { raw }), asks(Buffer.from([1, 2])))).toBe(true);
    expect(meets(of("0a", { raw }), asks(new Uint8Array([1])))).toBe(false);
    expect(meets({ ...of("0a", { raw }), deleted: true }, asks(raw))).toBe(false);
    expect(meets({ ...of("0a", { raw }), objectType: "group" }, asks(raw))).toBe(false);
  });
  test("provision creates when nothing matches, join and stickyJoin never do", () => {
    for (const linkType of ["join", "stickyJoin"])
      expect(placed(configurationOf([inbound({ linkType })]), object({ id: "1" }))).toMatchObject({
        kind: "disconnector",
        reason: "no-rule",
      });
  });
  test("provision needs a value in one of the attributes of its join (R5), inbound and outbound", () => {
    expect(placed(rules, object({ title: "x" }))).toMatchObject({ kind: "disconnector", reason: "no-rule" });
    expect(placed(rules, object({ mail: "a@x" }))).toMatchObject({ kind: "projection" });
    const out = outbound({ join: [group("mail", "mail")] });
    const configuration = configurationOf([
      inbound({
        flows: [
          { target: "uid", source: "id" },
          { target: "mail", source: "mail" },
        ],
      }),
      out,
    ]);
    expect(synchronized(configuration, [connected({ id: "1" })]).provisioned).toEqual([]);
    expect(synchronized(configuration, [connected({ id: "1", mail: "a@x" })]).provisioned).toHaveLength(1);
  });
  test("a join is made once: other values later do not undo it, leaving scope does (R7)", () => {
    const scoped = configurationOf([inbound({ scope: [[{ attribute: "title", operator: "ISNOTNULL" }]] })]);
    expect(synchronized(scoped, [connected({ id: "other", title: "x" })])).toMatchObject({
      inbound: { connectorFlow: 1 },
    });
    expect(synchronized(scoped, [connected({ id: "other" })])).toMatchObject({ metaverse: null });
  });

  const everyone = flowing({ flows: [{ target: "title", source: "title" }] });
  test("a rule without a join lets values flow into what another rule linked, and links nothing itself (R8)", () => {
    expect(placed(configurationOf([everyone]), object({ id: "1" }))).toMatchObject({ reason: "no-rule" });
    expect(valuesOf([inbound(), everyone], { title: "x" })).toEqual({ uid: "1", title: "x" });
  });
  test("an object is not held in scope by rules that only flow", () => {
    const scoped = inbound({ scope: [[{ attribute: "title", operator: "NOTEQUAL", value: "gone" }]] });
    const configuration = configurationOf([scoped, everyone]);
    expect(placed(configuration, object({ id: "1", title: "gone" }))).toMatchObject({ reason: "filtered" });
    expect(synchronized(configuration, [connected({ id: "1", title: "gone" })])).toMatchObject({
      metaverse: null,
    });
  });
  test("what an outbound rule linked stays connected although its inbound rules only flow", () => {
    const crm = flowing({ connector: "crm", scope: [[{ attribute: "title", operator: "ISNOTNULL" }]] });
    const configuration = configurationOf([inbound(), crm]);
    const decision = synchronized(
      configuration,
      [connected({ id: "1" }), connected({ id: "2" }, { connector: "crm" })],
      undefined,
      "crm",
    );
    expect(decision.metaverse!.connectors).toHaveLength(2);
  });

  describe("several rules with a join in scope are the object's error (R6)", () => {
    const second = inbound({ name: "hr by mail", precedence: 11, flows: [], join: [group("mail", "mail")] });
    const both = configurationOf([inbound(), second]);

    test("whatever they would find: it is linked by neither, and the set is warned of", () => {
      expect(placed(both, object({ id: "1", mail: "a@x" }), [of("0a", { uid: "1" })])).toEqual({
        kind: "disconnector",
        reason: "several-join-rules-in-scope",
        rule: "hr in, hr by mail",
      });
      expect(mistakesOf(inbound(), second)).toEqual(["warning several-join-rules"]);
    });
    test("one that is connected keeps what it gave and flows no further, until the rules are mended", () => {
      const metaverse = person({ uid: "1", mail: "old" }, { connectors: [{ connector: "hr", id: "0hr1" }] });
      const decision = synchronized(both, [connected({ id: "1", mail: "new" })], metaverse);
      expect(decision.errors).toMatchObject([
        {
          id: "0hr1",
          error: { code: "several-join-rules-in-scope", rule: "hr in", message: /hr in, hr by mail/ },
        },
      ]);
      expect(decision.metaverse!.attributes.mail!.value).toBe("old");
      expect(decision.objects[0]!.after).toMatchObject({
        metaverseId: "0m",
        pendingImport: { change: "add" },
      });
    });
    test("one that was joined by hand is not asked", () => {
      expect(synchronized(both, [connected({ id: "1" }, { explicitConnector: true })]).errors).toEqual([]);
    });
    test("outbound too: nothing is provisioned or flowed", () => {
      const joining = (name: string, precedence: number, more: Json = {}) =>
        outbound({ name, precedence, join: [group("id", "uid")], ...more });
      const configuration = configurationOf([inbound(), joining("ad 1", 50), joining("ad 2", 51)]);
      const decision = synchronized(configuration, [connected({ id: "1" })]);
      expect(decision).toMatchObject({
        provisioned: [],
        errors: [{ error: { code: "several-join-rules-in-scope" } }],
      });
      expect(decision.errors[0]!.error).not.toHaveProperty("attribute");
    });
    test.each<[string, unknown, unknown, boolean]>([
      [
        "the same attribute EQUAL to different values",
        ["title", "EQUAL", "a"],
        ["title", "EQUAL", "B"],
        false,
      ],
      ["EQUAL to the same value", ["title", "EQUAL", "a"], ["title", "EQUAL", "A"], true],
      ["a condition and its negation", ["title", "STARTSWITH", "a"], ["title", "NOTSTARTSWITH", "A"], false],
      ["bits set and not set", ["bits", "ISBITSET", "2"], ["bits", "ISBITNOTSET", "2"], false],
      ["present and absent", ["title", "EQUAL", "a"], ["title", "ISNULL", undefined], false],
      ["different attributes", ["title", "EQUAL", "a"], ["mail", "EQUAL", "b"], true],
    ])("the warning looks at the scopes: %s", (_what, a, b, warned) => {
      const scope = (parts: unknown) => {
        const [attribute, operator, value] = parts as [string, string, string | undefined];
        return [[{ attribute, operator, ...(value !== undefined && { value }) }]];
      };
      const found = mistakesOf(inbound({ scope: scope(a) }), { ...second, scope: scope(b) });
      expect(found).toEqual(warned ? ["warning several-join-rules"] : []);
    });
    test("other connectors, other types, disabled rules and rules without a join are no rivals", () => {
      expect(
        mistakesOf(
          inbound(),
          flowing(),
          { ...second, name: "b", connector: "crm" },
          { ...second, name: "c", connectorObjectType: "contact" },
          { ...second, name: "d", enabled: false },
        ),
      ).toEqual([]);
    });
  });
});

// ---- flows ---------------------------------------------------------------------------------------------------------

describe("flows and precedence (R13 to R16)", () => {
  const low = (flows: Json[]) => flowing({ name: "low", precedence: 30, flows });
  const high = (flows: Json[]) => flowing({ name: "high", precedence: 5, flows });
  const title = (kind: Json) => [{ target: "title", ...kind }];

  test("direct, constant and expression; a constant takes the target's type", () => {
    const flows = [
      { target: "title", source: "title" },
      { target: "count", constant: "7" },
      { target: "flag", constant: "True" },
      { target: "mail", expression: 'LCase([title]) & "@" & %Company%' },
    ];
    expect(mistakesOf(inbound({ flows: [{ target: "count", constant: "x" }] }))).toEqual(["target-type"]);
    expect(valuesOf([inbound(), flowing({ flows })], { title: "Ann" })).toMatchObject({
      title: "Ann",
      count: 7n,
      flag: true,
      mail: "ann@Contoso",
    });
  });
  test("the lower number wins; NULL lets the next speak; without any the attribute goes", () => {
    const rules = [inbound(), high(title({ source: "mail" })), low(title({ constant: "low" }))];
    expect(valuesOf(rules, { mail: "high" }).title).toBe("high");
    expect(valuesOf(rules, {}).title).toBe("low");
    expect(valuesOf([inbound(), high(title({ expression: "NULL" }))], {}, person({ title: "old" }))).toEqual({
      uid: "1",
    });
  });
  test("AuthoritativeNull stops those below it", () => {
    const rules = [
      inbound(),
      high(title({ expression: "AuthoritativeNull" })),
      low(title({ constant: "low" })),
    ];
    expect(valuesOf(rules, {})).toEqual({ uid: "1" });
  });
  test("IgnoreThisFlow is as if the flow were not there, and what it gave before stays", () => {
    const ignoring = high(title({ expression: "IIF(IsPresent([mail]), [mail], IgnoreThisFlow)" }));
    expect(valuesOf([inbound(), ignoring, low(title({ constant: "low" }))], {}).title).toBe("low");
    const given = {
      title: {
        value: "kept",
        connector: "hr",
        rule: "high",
        precedence: 5,
        since: "2026-01-01T00:00:00.000Z",
      },
    };
    expect(valuesOf([inbound(), ignoring], {}, person({}, { attributes: given })).title).toBe("kept");
  });
  test("outbound, NULL removes the attribute and IgnoreThisFlow leaves it", () => {
    const exported = (expression: string) => {
      const configuration = configurationOf([
        inbound(),
        outbound({ linkType: "join", flows: [{ target: "mail", expression }] }),
      ]);
      const image = { objectType: "user", dn: "CN=1", attributes: { mail: "old" } };
      const account = connected({ id: "9" }, { connector: "ad", pendingImport: null, synchronized: image });
      const decision = synchronized(configuration, [connected({ id: "1" }), account]);
      return (
        decision.objects.find(({ connector }) => connector === "ad")?.after?.pendingExport?.attributes ?? null
      );
    };
    expect(exported("NULL")).toEqual([{ name: "mail", before: "old", rule: "ad out" }]);
    expect(exported("AuthoritativeNull")).toEqual([{ name: "mail", before: "old", rule: "ad out" }]);
    expect(exported("IgnoreThisFlow")).toBeNull();
  });
  test("apply once: outbound at creation only, inbound as first given", () => {
    const once = { target: "mail", applyOnce: true, expression: '"first"' };
    const out = outbound({ flows: [...(outbound().flows as Json[]), once] });
    const configuration = configurationOf([
      inbound({
        flows: [
          { target: "uid", source: "id" },
          { target: "title", source: "title", applyOnce: true },
        ],
      }),
      out,
    ]);
    const created = synchronized(configuration, [connected({ id: "1", title: "first" })]);
    const account = created.objects.find(({ connector }) => connector === "ad")!.after!;
    expect(account.pendingExport!.attributes).toMatchObject([{ name: "mail", after: "first" }]);
    const image = { objectType: "user", dn: account.dn, attributes: { mail: "changed by hand" } };
    const later = synchronized(
      configuration,
      [
        connected({ id: "1", title: "second" }),
        { ...account, anchor: "a", pendingExport: null, synchronized: image },
      ],
      created.metaverse!,
    );
    expect(later.metaverse!.attributes.title!.value).toBe("first");
    expect(
      later.objects.find(({ connector }) => connector === "ad")?.after?.pendingExport ?? null,
    ).toBeNull();
  });
  test("merge collects the values of all rules, by the letter or not; one attribute has one merge type", () => {
    const tags = (mergeType: string) => [
      inbound(),
      high([{ target: "tags", source: "tags", mergeType }]),
      low([{ target: "tags", source: "title", mergeType }]),
    ];
    expect(valuesOf(tags("update"), { tags: ["a", "b"], title: "A" }).tags).toEqual(["a", "b"]);
    expect(valuesOf(tags("merge"), { tags: ["a", "b"], title: "A" }).tags).toEqual(["a", "b", "A"]);
    expect(valuesOf(tags("mergeCaseInsensitive"), { tags: ["a", "b"], title: "A" }).tags).toEqual(["a", "b"]);
    expect(
      mistakesOf(
        inbound(),
        high([{ target: "tags", source: "tags", mergeType: "merge" }]),
        low([{ target: "tags", source: "tags" }]),
      ),
    ).toEqual(["merge-types-differ"]);
  });
  test("what an object has merged in stays while its flows fail, and the others go on", () => {
    const merging = (connector: string, precedence: number, target: string, more: Json[] = []) =>
      inbound({
        name: `${connector} in`,
        connector,
        precedence,
        flows: [
          { target: "uid", source: "id" },
          { target: "tags", source: target, mergeType: "merge" },
          ...more,
        ],
      });
    const failing = { target: "title", expression: 'IIF([title] = "bad", Error("no"), [title])' };
    for (const [hrPrecedence, crmPrecedence] of [
      [10, 20],
      [20, 10],
    ] as const) {
      const configuration = configurationOf([
        merging("hr", hrPrecedence, "tags", [failing]),
        merging("crm", crmPrecedence, "tags"),
      ]);
      const hr = connected({ id: "1", tags: ["h"] });
      const crm = connected({ id: "1", tags: ["c"] }, { connector: "crm" });
      const settled = [hr, crm].map((one) => ({
        ...one,
        pendingImport: null,
        synchronized: one.pendingImport!.image,
      }));
      const before = synchronized(configuration, settled).metaverse!;
      expect([...(before.attributes.tags!.value as string[])].sort()).toEqual(["c", "h"]);
      const bad = connected({ id: "1", tags: ["h", "new"], title: "bad" });
      const failed = synchronized(configuration, [bad, settled[1]!], before);
      expect(failed.errors).toHaveLength(1);
      expect([...(failed.metaverse!.attributes.tags!.value as string[])].sort()).toEqual(["c", "h"]);
      const more = {
        ...settled[1]!,
        synchronized: object({ id: "1", tags: ["c", "d"] }).pendingImport!.image,
      };
      const flowed = synchronized(configuration, [bad, more], before).metaverse!;
      expect([...(flowed.attributes.tags!.value as string[])].sort()).toEqual(["c", "d", "h"]);
    }
  });
  test("what a connector that goes has given is recalled, and the next in precedence speaks (R16)", () => {
    const crm = inbound({
      name: "crm in",
      connector: "crm",
      precedence: 1,
      flows: [{ target: "title", source: "title" }],
    });
    const configuration = configurationOf([
      inbound({
        flows: [
          { target: "uid", source: "id" },
          { target: "title", source: "title" },
        ],
      }),
      crm,
    ]);
    const hr = connected({ id: "1", title: "hr" });
    const other = connected({ id: "1", title: "crm" }, { connector: "crm" });
    const before = synchronized(
      configuration,
      [{ ...hr, synchronized: hr.pendingImport!.image }, other],
      undefined,
      "crm",
    ).metaverse!;
    expect(before.attributes.title).toMatchObject({ value: "crm", rule: "crm in" });
    const gone: ConnectorSpaceObject = { ...other, pendingImport: { change: "delete", image: null } };
    const after = synchronized(
      configuration,
      [{ ...hr, pendingImport: null, synchronized: hr.pendingImport!.image }, gone],
      before,
      "crm",
    ).metaverse!;
    expect(after.attributes.title).toMatchObject({ value: "hr", rule: "hr in" });
  });
  test("disabled rules do nothing", () => {
    expect(valuesOf([inbound(), { ...high(title({ constant: "x" })), enabled: false }], {})).toEqual({
      uid: "1",
    });
  });
});

// ---- metaverse -----------------------------------------------------------------------------------------------------

describe("metaverse schema", () => {
  test("values have the type of their attribute, or the object has an error", () => {
    const flows = [
      { target: "uid", source: "id" },
      { target: "count", source: "count" },
      { target: "when", source: "when" },
      { target: "member", source: "member" },
    ];
    const when = dateTimeFromMs(0);
    const member = [reference("CN=a"), reference("CN=b")];
    expect(valuesOf([inbound({ flows })], { count: 5n, when, member })).toEqual({
      uid: "1",
      count: 5n,
      when,
      member,
    });
    const wrong = synchronized(configurationOf([inbound({ flows })]), [
      connected({ id: "1", count: "five" }),
    ]);
    expect(wrong.errors).toMatchObject([
      { error: { code: "cs-attribute-type-mismatch", attribute: "count" } },
    ]);
  });
  test("one value fits a list, a list of one a single value; several do not", () => {
    const flows = [
      { target: "uid", source: "id" },
      { target: "tags", source: "title" },
      { target: "title", source: "tags" },
    ];
    expect(valuesOf([inbound({ flows })], { title: "a", tags: ["b"] })).toEqual({
      uid: "1",
      tags: ["a"],
      title: "b",
    });
    const several = synchronized(configurationOf([inbound({ flows })]), [
      connected({ id: "1", tags: ["a", "b"] }),
    ]);
    expect(several.errors).toMatchObject([{ error: { code: "flow-multi-values-to-single-value" } }]);
  });
  test("joins go over indexed attributes only", () => {
    const join = [[{ connectorAttribute: "title", metaverseAttribute: "title" }]];
    expect(mistakesOf(inbound({ join }))).toEqual(["join-attribute-not-indexed"]);
  });

  const gone = (connector: string) =>
    connected({ id: "1" }, { connector, pendingImport: { change: "delete", image: null } });
  const stays = (connector: string) => {
    const one = connected({ id: "1" }, { connector });
    return { ...one, pendingImport: null, synchronized: one.pendingImport!.image };
  };
  test.each<[unknown, string, string, boolean]>([
    ["lastConnector", "provision", "join", true],
    ["lastProvisioningRule", "provision", "join", false],
    ["lastProvisioningRule", "provision", "stickyJoin", true],
    ["lastProvisioningRule", "provision", "provision", true],
    [{ anyOf: ["hr"] }, "provision", "provision", false],
    [{ anyOf: ["ad"] }, "provision", "join", true],
  ])(
    "deletion rule %j: a person of a rule %s that goes, with crm connected by %s, lives on: %s",
    (deletionRule, linkType, other, lives) => {
      const crm = inbound({ name: "crm in", connector: "crm", linkType: other, precedence: 11 });
      const configuration = configurationOf([inbound({ linkType }), crm], { deletionRule });
      const decision = synchronized(configuration, [gone("hr"), stays("crm")]);
      expect(decision.metaverse !== null && !decision.metaverse.deleted).toBe(lives);
    },
  );
  test("when it goes, what is in the scope of a provisioning rule is deleted, what a rule only joins is let go (R10)", () => {
    const account = (linkType: string) => {
      const world = { deletionRule: { anyOf: ["hr"] } };
      const configuration = configurationOf([inbound(), outbound({ linkType })], world);
      const connectors = ["hr", "ad"].map((connector) => ({ connector, id: `0${connector}1` }));
      const metaverse = person({ uid: "1" }, { connectors });
      const decision = synchronized(configuration, [gone("hr"), stays("ad")], metaverse);
      return decision.objects.find(({ connector }) => connector === "ad")!.after!;
    };
    expect(account("provision").pendingExport).toMatchObject({ change: "delete" });
    expect(account("join")).toMatchObject({ metaverseId: null, disconnector: "normal", pendingExport: null });
  });
});

// ---- object types --------------------------------------------------------------------------------------------------

describe("any object type, not only user", () => {
  test.each([
    ["contact", "person"],
    ["inetOrgPerson", "person"],
    ["group", "group"],
    ["device", "device"],
  ])("%s becomes a %s, and an object of its type in the target", (type, metaverseObjectType) => {
    const configuration = configurationOf([
      inbound({
        connectorObjectType: type,
        metaverseObjectType,
        flows: [
          { target: "uid", source: "id" },
          { target: "member", source: "member" },
        ],
      }),
      inbound({ name: "users", precedence: 11 }),
      outbound({
        connectorObjectType: type,
        metaverseObjectType,
        flows: [...(outbound().flows as Json[]), { target: "member", source: "member" }],
      }),
    ]);
    const member = [reference("CN=m")];
    const of = object({ id: "1", member }, { objectType: type });
    expect(placed(configuration, of)).toMatchObject({
      kind: "projection",
      metaverseObjectType,
      rule: "hr in",
    });
    const decision = synchronized(
      configuration,
      [{ ...of, metaverseId: "0m" }],
      newMetaverseObject("0m", metaverseObjectType),
    );
    expect(decision.metaverse).toMatchObject({
      objectType: metaverseObjectType,
      attributes: { member: { value: member } },
    });
    expect(decision.provisioned).toMatchObject([{ connector: "ad", objectType: type }]);
    expect(
      decision.objects.find(({ connector }) => connector === "ad")!.after!.pendingExport!.attributes,
    ).toMatchObject([{ name: "member", after: member }]);
  });
  test("two types of one connector can become one metaverse type, each by its own rules", () => {
    const configuration = configurationOf([
      inbound({
        flows: [
          { target: "uid", source: "id" },
          { target: "title", constant: "user" },
        ],
      }),
      inbound({
        name: "contacts",
        precedence: 11,
        connectorObjectType: "contact",
        flows: [
          { target: "uid", source: "id" },
          { target: "title", constant: "contact" },
        ],
      }),
    ]);
    for (const objectType of ["user", "contact"])
      expect(
        synchronized(configuration, [connected({ id: "1" }, { objectType })]).metaverse!.attributes.title!
          .value,
      ).toBe(objectType);
  });
  test("a rule for * joins objects of whatever type, and gives them what their type has", () => {
    const any = inbound({
      metaverseObjectType: "*",
      linkType: "join",
      flows: [{ target: "title", source: "title" }],
    });
    const configuration = configurationOf([any]);
    for (const objectType of ["person", "group"]) {
      const present = {
        ...newMetaverseObject("0x", objectType),
        attributes: person({ uid: "1" }).attributes,
      };
      expect(placed(configuration, object({ id: "1" }), [present])).toMatchObject({
        kind: "join",
        metaverseId: "0x",
      });
      expect(
        synchronized(configuration, [connected({ id: "1", title: "x" })], {
          ...newMetaverseObject("0m", objectType),
        }).metaverse!.attributes.title!.value,
      ).toBe("x");
    }
    expect(mistakesOf(inbound({ metaverseObjectType: "*" }))).toEqual(["misplaced-any-type"]);
    expect(mistakesOf(inbound(), outbound({ metaverseObjectType: "*" }))).toContain(
      "unknown-metaverse-object-type",
    );
  });
});

// ---- properties ----------------------------------------------------------------------------------------------------

describe("whole rules", () => {
  const expressions = [
    "[title]",
    "IIF(IsPresent([mail]), LCase([mail]), NULL)",
    "IgnoreThisFlow",
    "AuthoritativeNull",
    "IIF([count] > 3, [title], IgnoreThisFlow)",
    "CStr(RandomNum(1, 100))",
    'FormatDateTime(Now(), "yyyy-MM-dd")',
  ];
  const flow = fc.record({
    target: fc.constantFrom("title", "mail"),
    expression: fc.constantFrom(...expressions),
  });
  const rules = fc
    .array(fc.uniqueArray(flow, { selector: ({ target }) => target, maxLength: 2 }), {
      minLength: 1,
      maxLength: 4,
    })
    .map((all) => all.map((flows, index) => flowing({ name: `r${index}`, precedence: 20 + index, flows })));
  const values = fc.record(
    { title: fc.constantFrom("a", "B"), mail: fc.constantFrom("A@x", ""), count: fc.bigInt(0n, 6n) },
    { requiredKeys: [] },
  );

  test("decide the same for the same object, clock and chance, in whatever order their files come", () => {
    fc.assert(
      fc.property(rules, values, fc.nat(), (all, attributes, seed) => {
        const chance = () => {
          let state = seed;
          return () => {
            state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
            return state / 2_147_483_648;
          };
        };
        const of = connected({ id: "1", ...attributes });
        const decide = (set: readonly Json[]) =>
          synchronize({
            metaverse: person(),
            objects: [of],
            syncing: "hr",
            configuration: configurationOf(set),
            now: clock.now,
            random: chance(),
          });
        const first = decide([inbound(), ...all]);
        expect(decide([inbound(), ...all])).toEqual(first);
        expect(decide([...all.toReversed(), inbound()])).toEqual(first);
      }),
      { numRuns: 40 },
    );
  });
  test("what a rule contributes depends on its own object alone", () => {
    fc.assert(
      fc.property(rules, values, (all, attributes) => {
        const configuration = configurationOf([inbound(), ...all]);
        const of = connected({ id: "1", ...attributes });
        const image = of.pendingImport!.image!;
        const before = contributionsOf(of, image, person(), configuration, clock);
        const alone = [inbound(), ...all].flatMap((rule) =>
          contributionsOf(of, image, person(), configurationOf([rule]), clock),
        );
        expect(before).toEqual(alone);
      }),
      { numRuns: 25 },
    );
  });
});
