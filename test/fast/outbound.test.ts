import { describe, expect, test } from "vitest";
import { provisionedId } from "../../src/engine/core/identity.ts";
import type { ConnectorSpaceObject, Image, MetaverseObject } from "../../src/engine/core/model.ts";
import { decideDeprovisioning, decideOutbound } from "../../src/engine/core/outbound.ts";
import { dateTimeFromMs } from "../../src/engine/core/values.ts";
import {
  configurationOf,
  constant,
  direct,
  expression,
  inbound,
  outbound,
  person,
  synchronized,
} from "./support/ruleWorld.ts";

const clock = { now: dateTimeFromMs(0), random: () => 0.5 };
const rules = configurationOf([outbound()]);

function decide(metaverse: MetaverseObject, target: ConnectorSpaceObject | null, configuration = rules) {
  return decideOutbound(metaverse, "ad", target, configuration, clock);
}
/** The account of `person`, as provisioned and imported. */
function account(
  values: Image["attributes"],
  known: Partial<ConnectorSpaceObject> = {},
): ConnectorSpaceObject {
  return synchronized(
    { id: "1" },
    {
      id: provisionedId("ad", "0m", "user"),
      connector: "ad",
      dn: "CN=1,DC=x",
      metaverseId: "0m",
      synchronized: { objectType: "user", dn: "CN=1,DC=x", attributes: values },
      ...known,
    },
  );
}
function flowed(target: ConnectorSpaceObject, metaverse: MetaverseObject, configuration = rules) {
  const decision = decide(metaverse, target, configuration);
  if (decision.kind !== "flow") throw new Error(`${decision.kind} instead of a flow`);
  return decision;
}

describe("provisioning", () => {
  test("makes an export object with a derived id, the DN of the dn flow, and every value", () => {
    expect(decide(person({ uid: "1", mail: "a@b" }), null)).toMatchObject({
      kind: "provision",
      rule: "ad-out",
      object: {
        id: provisionedId("ad", "0m", "user"),
        anchor: null,
        dn: "CN=1,DC=x",
        metaverseId: "0m",
        pendingExport: {
          change: "add",
          attributes: [{ name: "mail", after: "a@b", rule: "ad-out" }],
          reason: "Provisioned by rule ad-out.",
        },
      },
    });
  });
  test("without a DN nothing is made, and that is the error of the object", () => {
    const placeless = configurationOf([
      outbound({ flows: [expression('IIF(IsPresent([mail]), NULL, "CN=x")', "dn"), direct("mail")] }),
    ]);
    expect(() => decide(person({ uid: "1", mail: "a@b" }), null, placeless)).toThrow(
      expect.objectContaining({ code: "missing-dn", rule: "ad-out", attribute: "dn" }),
    );
  });
  test("out of scope nothing is made", () => {
    const scoped = configurationOf([
      outbound({ scope: [[{ attribute: "level", operator: "EQUAL", value: "1" }]] }),
    ]);
    expect(decide(person({ uid: "1" }), null, scoped)).toEqual({ kind: "none" });
    expect(decide(person({ uid: "1", level: 1n }), null, scoped).kind).toBe("provision");
  });
  test("without a value to be found again by, nothing is made", () => {
    const joined = configurationOf([
      outbound({
        join: [[{ connectorAttribute: "mail", metaverseAttribute: "mail", caseSensitive: false }]],
      }),
    ]);
    expect(decide(person({ uid: "1" }), null, joined)).toEqual({ kind: "none" });
  });
  test("says how an account that is there already would be found", () => {
    const joining = configurationOf([
      outbound(),
      inbound({ name: "ad-in", connector: "ad", linkType: "join", precedence: 110 }),
    ]);
    expect(decide(person({ uid: "1" }), null, joining)).toMatchObject({
      lookups: [
        {
          rule: "ad-in",
          inbound: true,
          conditions: [{ connectorAttribute: "id", value: "1", caseSensitive: false }],
        },
        {
          rule: "ad-out",
          conditions: [{ connectorAttribute: "dn", value: "CN=1,DC=x", caseSensitive: false }],
        },
      ],
    });
  });
  test("what was never sent follows the values, and goes when nothing wants it", () => {
    const made = decide(person({ uid: "1", mail: "a@b" }), null);
    const unsent = made.kind === "provision" ? made.object : account({});
    expect(decide(person({ uid: "1", mail: "c@d" }), unsent)).toMatchObject({
      kind: "flow",
      object: { pendingExport: { change: "add", attributes: [{ name: "mail", after: "c@d" }] } },
    });
    expect(decide(person({ uid: "1", mail: "a@b" }), unsent)).toMatchObject({ object: unsent });
    const scoped = configurationOf([outbound({ scope: [[{ attribute: "level", operator: "ISNOTNULL" }]] })]);
    expect(decide(person({ uid: "1" }), unsent, scoped)).toMatchObject({ kind: "deprovision", object: null });
  });
});

describe("flows", () => {
  test("only what differs is exported, with before and after", () => {
    expect(
      flowed(account({ mail: "A@b" }), person({ uid: "1", mail: "a@B" })).object.pendingExport,
    ).toBeNull();
    expect(flowed(account({ mail: "old" }), person({ uid: "1", mail: "a@b" })).object.pendingExport).toEqual({
      change: "update",
      attributes: [{ name: "mail", before: "old", after: "a@b", rule: "ad-out" }],
      reason: "mail by rule ad-out.",
    });
    expect(flowed(account({ mail: "old" }), person({ uid: "1" })).object.pendingExport!.attributes).toEqual([
      { name: "mail", before: "old", rule: "ad-out" },
    ]);
  });
  test("what was sent and not seen again counts as there", () => {
    const sent = account({ mail: "old" }, { unconfirmed: { change: "update", expected: { mail: "a@b" } } });
    expect(flowed(sent, person({ uid: "1", mail: "a@b" })).object.pendingExport).toBeNull();
  });
  test("the newest import counts, synchronised or not", () => {
    const hand = account(
      { mail: "a@b" },
      {
        pendingImport: {
          change: "update",
          image: { objectType: "user", dn: "CN=1,DC=x", attributes: { mail: "hand" } },
        },
      },
    );
    expect(flowed(hand, person({ uid: "1", mail: "a@b" })).object.pendingExport!.attributes).toEqual([
      { name: "mail", before: "hand", after: "a@b", rule: "ad-out" },
    ]);
  });
  test("NULL lets the next rule speak, AuthoritativeNull and IgnoreThisFlow do not and do", () => {
    const of = (first: string) =>
      configurationOf([
        outbound({
          flows: [expression('"CN=1,DC=x"', "dn", { applyOnce: true }), expression(first, "mail")],
        }),
        outbound({ name: "second", linkType: "join", precedence: 201, flows: [constant("second", "mail")] }),
      ]);
    const changeBy = (first: string) =>
      flowed(account({ mail: "old" }), person({ uid: "1" }), of(first)).object.pendingExport?.attributes[0];
    expect(changeBy("NULL")).toMatchObject({ after: "second", rule: "second" });
    expect(changeBy("IgnoreThisFlow")).toMatchObject({ after: "second", rule: "second" });
    expect(changeBy("AuthoritativeNull")).toEqual({ name: "mail", before: "old", rule: "ad-out" });
    const ignored = configurationOf([
      outbound({ flows: [constant("x", "dn", { applyOnce: true }), expression("IgnoreThisFlow", "mail")] }),
    ]);
    expect(flowed(account({ mail: "old" }), person({ uid: "1" }), ignored).object.pendingExport).toBeNull();
  });
  test("a flow that is applied once, and a write-only attribute, are left alone later", () => {
    const once = configurationOf([
      outbound({
        flows: [
          expression('"CN=1,DC=x"', "dn", { applyOnce: true }),
          direct("mail", "mail", { applyOnce: true }),
          constant("secret", "password"),
        ],
      }),
    ]);
    expect(decide(person({ uid: "1", mail: "a" }), null, once)).toMatchObject({
      object: { pendingExport: { attributes: [{ name: "mail" }, { name: "password" }] } },
    });
    expect(
      flowed(account({ mail: "b" }), person({ uid: "1", mail: "a" }), once).object.pendingExport,
    ).toBeNull();
  });
  test("a lasting dn flow renames; another spelling of the same name does not", () => {
    const renaming = configurationOf([outbound({ flows: [expression('"cn=" & [uid] & ", dc=X"', "dn")] })]);
    expect(flowed(account({}), person({ uid: "1" }), renaming).object.pendingExport).toBeNull();
    expect(flowed(account({}), person({ uid: "2" }), renaming).object.pendingExport).toEqual({
      change: "update",
      newDn: "cn=2, dc=X",
      attributes: [],
      reason: "dn by rule ad-out.",
    });
  });
  test("an export's failure is forgotten when there is nothing left to export", () => {
    const error = { phase: "export", code: "x", message: "", firstOccurred: "", retryCount: 0 } as const;
    const failed = account({ mail: "a" }, { error });
    expect(flowed(failed, person({ uid: "1", mail: "a" })).object.error).toBeNull();
    expect(flowed(failed, person({ uid: "1", mail: "b" })).object.error).toEqual(error);
  });
});

describe("recall: a rule that lets go of the account takes its values back (R11)", () => {
  const scope = [[{ attribute: "level", operator: "EQUAL" as const, value: "1" }]];
  const flows = outbound({
    name: "ad-more",
    linkType: "join",
    precedence: 150,
    scope,
    flows: [direct("uid"), constant("x", "tags", { applyOnce: true }), direct("mail")],
  });
  const scoped = configurationOf([outbound({ flows: outbound().flows.slice(0, 1) }), flows]);
  const inScope = person({ uid: "1", mail: "a@b", level: 1n });
  const outOfScope = person({ uid: "1", mail: "a@b", level: 2n });
  const given = () => flowed(account({ uid: "1", mail: "a@b", tags: ["x"] }), inScope, scoped).object;

  test("not what was given once, and not what others have written", () => {
    const withHand = {
      ...given(),
      synchronized: {
        objectType: "user",
        dn: "CN=1,DC=x",
        attributes: { uid: "1", mail: "a@b", tags: ["x"], id: "hand" },
      },
    };
    const decision = flowed(withHand, outOfScope, scoped);
    expect(decision.object.pendingExport).toEqual({
      change: "update",
      attributes: [
        { name: "uid", before: "1", rule: "ad-more" },
        { name: "mail", before: "a@b", rule: "ad-more" },
      ],
      reason: "uid, mail recalled: it left the scope of rule ad-more.",
    });
  });
  test("asked again before it was sent, the same; back in scope, nothing", () => {
    const recalled = flowed(given(), outOfScope, scoped).object;
    expect(flowed(recalled, outOfScope, scoped).object).toEqual(recalled);
    expect(flowed(recalled, inScope, scoped).object.pendingExport).toBeNull();
  });
  test("until an import has shown that they are gone; then a value of somebody else's is left alone", () => {
    const recalled = { ...flowed(given(), outOfScope, scoped).object, pendingExport: null };
    const sent = {
      ...recalled,
      unconfirmed: { change: "update" as const, expected: { uid: null, mail: null } },
    };
    const stillThere = { ...flowed(sent, outOfScope, scoped).object, unconfirmed: null };
    expect(flowed(stillThere, outOfScope, scoped).object.pendingExport?.attributes).toHaveLength(2);
    const confirmed = flowed(
      { ...sent, synchronized: account({}).synchronized, unconfirmed: null },
      outOfScope,
      scoped,
    );
    expect(confirmed.object.recallable).toEqual({});
    const byHand = { ...confirmed.object, synchronized: account({ mail: "hand" }).synchronized };
    expect(flowed(byHand, outOfScope, scoped).object.pendingExport).toBeNull();
  });
  test("the next in precedence speaks", () => {
    const both = configurationOf([
      outbound({ flows: [...outbound().flows, constant("next", "uid")] }),
      flows,
    ]);
    const target = flowed(account({ uid: "1", mail: "a@b" }), inScope, both).object;
    expect(flowed(target, outOfScope, both).object.pendingExport?.attributes).toEqual([
      { name: "uid", before: "1", after: "next", rule: "ad-out" },
    ]);
  });
  test("a flow that is ignored meanwhile keeps its claim; a rule that is removed leaves what it gave", () => {
    const ignoring = configurationOf([
      outbound({ flows: outbound().flows.slice(0, 1) }),
      { ...flows, flows: [expression('IIF([uid] = "1", [mail], IgnoreThisFlow)', "mail")] },
    ]);
    const first = flowed(account({ mail: "a@b" }), inScope, ignoring).object;
    const ignored = flowed(first, person({ uid: "2", mail: "new", level: 1n }), ignoring).object;
    expect(ignored.pendingExport).toBeNull();
    expect(flowed(ignored, outOfScope, ignoring).object.pendingExport?.attributes).toMatchObject([
      { name: "mail", before: "a@b" },
    ]);
    const removed = configurationOf([outbound({ flows: outbound().flows.slice(0, 1) })]);
    expect(flowed(first, outOfScope, removed).object).toMatchObject({ pendingExport: null, recallable: {} });
  });
  test("what is provisioned is remembered from the start", () => {
    const made = decide(inScope, null, scoped);
    expect(made).toMatchObject({ object: { recallable: { "ad-more": ["uid", "mail"] } } });
  });
});

describe("an outbound rule that only joins (R4, R7)", () => {
  const joining = (scope: Parameters<typeof outbound>[0] = {}) =>
    configurationOf([
      outbound({
        name: "ad-join",
        linkType: "join",
        join: [
          [{ connectorAttribute: "id", metaverseAttribute: "uid", caseSensitive: false }],
          [{ connectorAttribute: "mail", metaverseAttribute: "mail", caseSensitive: true }],
        ],
        flows: [direct("mail")],
        ...scope,
      }),
    ]);
  const scope = [[{ attribute: "level", operator: "EQUAL" as const, value: "1" }]];

  test("says what it looks for, group after group, and makes nothing", () => {
    expect(decide(person({ uid: "1", mail: "a@b" }), null, joining())).toEqual({
      kind: "join",
      rule: "ad-join",
      objectType: "user",
      lookups: [
        {
          rule: "ad-join",
          conditions: [
            { connectorAttribute: "id", metaverseAttribute: "uid", value: "1", caseSensitive: false },
          ],
        },
        {
          rule: "ad-join",
          conditions: [
            { connectorAttribute: "mail", metaverseAttribute: "mail", value: "a@b", caseSensitive: true },
          ],
        },
      ],
    });
    expect(decide(person({}), null, joining())).toEqual({ kind: "none" });
    expect(decide(person({ uid: "1" }), null, joining({ scope }))).toEqual({ kind: "none" });
  });
  test("lets go when it no longer takes the object, after what it gave has been recalled", () => {
    const left = person({ uid: "1", mail: "a@b", level: 2n });
    const target = flowed(
      account({ mail: "a@b" }),
      person({ uid: "1", mail: "a@b", level: 1n }),
      joining({ scope }),
    ).object;
    const recalling = flowed(target, left, joining({ scope })).object;
    expect(recalling).toMatchObject({ metaverseId: "0m", pendingExport: { attributes: [{ name: "mail" }] } });
    const sent = {
      ...recalling,
      pendingExport: null,
      unconfirmed: { change: "update" as const, expected: { mail: null } },
    };
    expect(decide(left, sent, joining({ scope })).kind).toBe("flow");
    const confirmed = { ...sent, unconfirmed: null, synchronized: account({}).synchronized };
    expect(decide(left, confirmed, joining({ scope }))).toMatchObject({
      kind: "deprovision",
      object: { metaverseId: null, disconnector: "normal", pendingExport: null },
      reason: "It left the scope of rule ad-join.",
    });
    expect(decide(left, { ...confirmed, explicitConnector: true }, joining({ scope })).kind).toBe("flow");
  });
});

describe("work under way is left alone", () => {
  test.each<[string, Partial<ConnectorSpaceObject>]>([
    ["a deletion seen and not synchronised", { pendingImport: { change: "delete", image: null } }],
    ["an export being sent", { escrow: { change: "update", attributes: [], reason: "", runId: "r" } }],
    ["a deletion sent and not confirmed", { unconfirmed: { change: "delete", expected: {} } }],
  ])("%s", (_what, known) => {
    expect(decide(person({ uid: "1", mail: "x" }), account({}, known)).kind).toBe("leave");
    expect(decideDeprovisioning(person(), account({}, known), rules, clock, "x").kind).toBe("leave");
  });
});

describe("owned bits", () => {
  const bits = (value: bigint, keepHandMadeDisable = true) =>
    configurationOf(
      [
        outbound({
          flows: [
            expression('"CN=1,DC=x"', "dn", { applyOnce: true }),
            constant(value, "uac", { ownedBits: 0x40002n }),
          ],
        }),
      ],
      { keepHandMadeDisable },
    );
  const enabled = 262656n;
  const disabled = 262658n;
  const exported = (uac: bigint, wanted: bigint, wantedBits: Record<string, bigint>, keep = true) =>
    flowed(account({ uac }, { wantedBits }), person({ uid: "1" }), bits(wanted, keep));

  test("a new account gets the whole value; what was wanted is remembered", () => {
    expect(decide(person({ uid: "1" }), null, bits(disabled))).toMatchObject({
      object: {
        pendingExport: { attributes: [{ name: "uac", after: disabled }] },
        wantedBits: { uac: 0x40002n },
      },
    });
  });
  test("the other bits stay as the directory has them", () => {
    const { object } = exported(66048n, enabled, { uac: 0x40000n });
    expect(object.pendingExport!.attributes).toEqual([
      { name: "uac", before: 66048n, after: 66048n | 0x40000n, rule: "ad-out" },
    ]);
  });
  test("a hand-made disable is held, or repaired where the setting says so", () => {
    expect(exported(disabled, enabled, { uac: 0x40000n })).toMatchObject({
      held: ["uac"],
      object: { pendingExport: null },
    });
    expect(exported(disabled, enabled, { uac: 0x40000n }, false)).toMatchObject({
      held: [],
      object: { pendingExport: { attributes: [{ after: enabled }] } },
    });
  });
  test("our own disable is taken back, also when asked twice before it is sent", () => {
    const first = exported(disabled, enabled, { uac: 0x40002n });
    expect(first.object.pendingExport!.attributes[0]).toMatchObject({ after: enabled });
    const second = flowed(first.object, person({ uid: "1" }), bits(enabled));
    expect(second.object).toEqual(first.object);
    const sent = {
      ...first.object,
      pendingExport: null,
      unconfirmed: { change: "update" as const, expected: { uac: enabled } },
    };
    expect(flowed(sent, person({ uid: "1" }), bits(enabled))).toMatchObject({
      held: [],
      object: { pendingExport: null },
    });
  });
  test("a hand-made enable is repaired", () => {
    expect(exported(enabled, disabled, { uac: 0x40002n }).object.pendingExport!.attributes).toMatchObject([
      { after: disabled },
    ]);
  });
  test("an adopted account that is disabled stays so until somebody enables it", () => {
    expect(exported(disabled, enabled, {})).toMatchObject({
      held: ["uac"],
      object: { wantedBits: { uac: 0x40000n } },
    });
  });
});

describe("deprovisioning", () => {
  const alive = person({ uid: "1", level: 1n });
  const scope = [[{ attribute: "level", operator: "ISNOTNULL" as const }]];

  test.each([
    ["delete", { pendingExport: { change: "delete" }, metaverseId: "0m" }],
    ["disconnect", { pendingExport: null, metaverseId: null, disconnector: "normal" }],
    ["explicitDisconnect", { pendingExport: null, metaverseId: null, disconnector: "explicit" }],
  ] as const)("%s, when the metaverse object goes or the rule lets go", (deprovision, object) => {
    const configuration = configurationOf([outbound({ scope })], { deprovision });
    expect(decideDeprovisioning(alive, account({}), configuration, clock, "x")).toMatchObject({
      kind: "deprovision",
      object,
    });
    expect(decide(person({ uid: "1" }), account({}), configuration)).toMatchObject({
      kind: "deprovision",
      object,
    });
  });
  test("a joined account goes with a person in scope, and is let go by one who never was", () => {
    const configuration = configurationOf([outbound({ scope })]);
    const adopted = account({}, { id: "0adopted" });
    expect(decideDeprovisioning(alive, adopted, configuration, clock, "x")).toMatchObject({
      object: { pendingExport: { change: "delete" } },
    });
    expect(decideDeprovisioning(person({ uid: "1" }), adopted, configuration, clock, "x")).toMatchObject({
      object: { pendingExport: null, metaverseId: null },
    });
    expect(decide(person({ uid: "1" }), adopted, configuration)).toMatchObject({
      kind: "deprovision",
      object: { pendingExport: null, metaverseId: null },
    });
  });
  test("back in scope before the delete is sent, the account stays", () => {
    const pending = account(
      { mail: "a" },
      { pendingExport: { change: "delete", attributes: [], reason: "" } },
    );
    expect(flowed(pending, person({ uid: "1", mail: "a" })).object.pendingExport).toBeNull();
  });
});
