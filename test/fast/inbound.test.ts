import { describe, expect, test } from "vitest";
import { projectedId } from "../../src/engine/core/identity.ts";
import {
  asDisconnector,
  contributionsOf,
  decideConnection,
  joinKey,
  joinLookups,
} from "../../src/engine/core/inbound.ts";
import { dateTimeFromMs } from "../../src/engine/core/values.ts";
import {
  configurationOf,
  constant,
  direct,
  expression,
  inbound,
  person,
  source,
  synchronized,
} from "./support/ruleWorld.ts";

const clock = { now: dateTimeFromMs(0), random: () => 0.5 };
const two = inbound({
  join: [
    [{ connectorAttribute: "id", metaverseAttribute: "uid", caseSensitive: false }],
    [{ connectorAttribute: "mail", metaverseAttribute: "mail", caseSensitive: true }],
  ],
});
const key = (group: number) => joinKey({ rule: "hr-in", group });

describe("placing an object", () => {
  const rules = configurationOf([two]);
  const ann = source({ id: "1", mail: "ann@x" });

  test("the join groups become lookups, in order, each with its values", () => {
    expect(joinLookups(ann, rules)).toEqual([
      {
        rule: "hr-in",
        group: 0,
        metaverseObjectType: "person",
        conditions: [{ metaverseAttribute: "uid", value: "1", caseSensitive: false }],
      },
      {
        rule: "hr-in",
        group: 1,
        metaverseObjectType: "person",
        conditions: [{ metaverseAttribute: "mail", value: "ann@x", caseSensitive: true }],
      },
    ]);
    expect(joinLookups(source({ id: "1" }), rules)).toHaveLength(1);
    expect(joinLookups(synchronized({ id: "1" }, { metaverseId: "0m" }), rules)).toEqual([]);
  });

  test("one match joins", () => {
    expect(decideConnection(ann, rules, new Map([[key(0), ["0a"]]]))).toMatchObject({
      kind: "join",
      metaverseId: "0a",
      rule: "hr-in",
    });
  });
  test("a later group may still find exactly one", () => {
    const candidates = new Map([
      [key(0), ["0a", "0b"]],
      [key(1), ["0b"]],
    ]);
    expect(decideConnection(ann, rules, candidates)).toMatchObject({ kind: "join", metaverseId: "0b" });
  });
  test("two matches for one join rule leave a disconnector, even where a rule could project", () => {
    expect(decideConnection(ann, rules, new Map([[key(0), ["0a", "0b"]]]))).toEqual({
      kind: "disconnector",
      reason: "ambiguous-join",
      rule: "hr-in",
    });
  });
  test("no match projects, to an id that is derived from the object", () => {
    expect(decideConnection(ann, rules, new Map())).toEqual({
      kind: "projection",
      metaverseId: projectedId(ann.id),
      metaverseObjectType: "person",
      rule: "hr-in",
    });
  });
  test("a rule that only joins never projects", () => {
    const joining = configurationOf([{ ...two, linkType: "join" }]);
    expect(decideConnection(ann, joining, new Map())).toEqual({ kind: "disconnector", reason: "no-rule" });
  });
  test("a projection needs a value to be found again by", () => {
    const nameless = {
      ...ann,
      pendingImport: { change: "add", image: { objectType: "user", dn: "CN=1", attributes: {} } },
    } as const;
    expect(decideConnection(nameless, rules, new Map())).toMatchObject({
      kind: "disconnector",
      reason: "no-rule",
    });
  });
  test("out of scope, filtered and explicit disconnectors stay out", () => {
    const scoped = configurationOf([
      { ...two, scope: [[{ attribute: "level", operator: "GREATERTHAN", value: "3" }]] },
    ]);
    expect(decideConnection(ann, scoped, new Map())).toEqual({ kind: "disconnector", reason: "filtered" });
    const filtered = configurationOf([two], {
      filter: [[{ attribute: "mail", operator: "ENDSWITH", value: "@x" }]],
    });
    expect(decideConnection(ann, filtered, new Map())).toEqual({ kind: "disconnector", reason: "filtered" });
    expect(decideConnection({ ...ann, disconnector: "explicit" }, rules, new Map())).toEqual({
      kind: "disconnector",
      reason: "explicit",
    });
  });
  test("a connected object stays", () => {
    const connected = synchronized({ id: "1" }, { metaverseId: "0m" });
    expect(decideConnection(connected, rules, new Map())).toEqual({ kind: "stay", metaverseId: "0m" });
  });
  test("a disconnector has its pending import behind it; a deleted one is gone", () => {
    expect(asDisconnector({ ...ann, linking: "0m" }, "filtered")).toMatchObject({
      synchronized: ann.pendingImport!.image,
      pendingImport: null,
      linking: null,
      disconnector: "filtered",
    });
    expect(
      asDisconnector({ ...ann, pendingImport: { change: "delete", image: null } }, "no-rule"),
    ).toBeNull();
  });
});

describe("contributions", () => {
  const contribute = (flows: ReturnType<typeof direct>[], values = {}, present = person()) => {
    const object = synchronized({ id: "1", ...values }, { metaverseId: "0m" });
    return contributionsOf(
      object,
      object.synchronized!,
      present,
      configurationOf([inbound({ flows })]),
      clock,
    ).map(({ attribute, offer }) => [attribute, offer]);
  };

  test("direct, constant and expression flows; an absent source offers nothing", () => {
    expect(contribute([direct("mail"), constant("7", "level"), expression('"x" & [id]', "uid")])).toEqual([
      ["level", { value: 7n }],
      ["uid", { value: "x1" }],
    ]);
  });
  test("AuthoritativeNull is offered, IgnoreThisFlow is not", () => {
    const flows = [expression("AuthoritativeNull", "mail"), expression("IgnoreThisFlow", "uid")];
    expect(contribute(flows)).toEqual([["mail", "authoritativeNull"]]);
    expect(contribute(flows, {}, person({ uid: "kept" }))).toEqual([
      ["mail", "authoritativeNull"],
      ["uid", { value: "kept" }],
    ]);
  });
  test("what is applied once keeps its first value", () => {
    const once = [direct("mail", "mail", { applyOnce: true })];
    expect(contribute(once, { mail: "new" })).toEqual([["mail", { value: "new" }]]);
    expect(contribute(once, { mail: "new" }, person({ mail: "first" }))).toEqual([
      ["mail", { value: "first" }],
    ]);
  });
  test("values take the target's shape or are refused", () => {
    expect(contribute([direct("mail", "tags")], { mail: "a" })).toEqual([["tags", { value: ["a"] }]]);
    expect(() => contribute([direct("mail", "level")], { mail: "a" })).toThrow(
      expect.objectContaining({ code: "cs-attribute-type-mismatch", rule: "hr-in", attribute: "level" }),
    );
    expect(() => contribute([direct("tags", "mail")], { tags: ["a", "b"] })).toThrow(
      expect.objectContaining({ code: "flow-multi-values-to-single-value" }),
    );
  });
  test("an expression that fails names rule and attribute, and no value", () => {
    const flows = [expression('Error("No mail.")', "mail")];
    expect(() => contribute(flows)).toThrow(
      expect.objectContaining({ code: "sync-rule-error-function-triggered", attribute: "mail" }),
    );
  });
  test("absence and absentSince can be read", () => {
    const object = synchronized(
      { id: "1" },
      { metaverseId: "0m", absence: { kind: "softDeleted", since: "2026-01-01T00:00:00.000Z" } },
    );
    const flows = [direct("absence", "mail"), expression('FormatDateTime([absentSince], "yyyy")', "uid")];
    const rules = configurationOf([inbound({ flows })]);
    expect(contributionsOf(object, object.synchronized!, person(), rules, clock)).toMatchObject([
      { attribute: "mail", offer: { value: "softDeleted" } },
      { attribute: "uid", offer: { value: "2026" } },
    ]);
  });
});
