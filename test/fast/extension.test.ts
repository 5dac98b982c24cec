/** The entry points of rules extensions: when they are called, with what, and what becomes of what they answer. */
import { describe, expect, test } from "vitest";
import type { SyncConfiguration } from "../../src/engine/core/configuration.ts";
import type {
  ConnectorExtension,
  MetaverseExtension,
  ProvisioningAction,
} from "../../src/engine/core/extension.ts";
import { provisionedId } from "../../src/engine/core/identity.ts";
import { decideConnection, inboundScope, joinKey } from "../../src/engine/core/inbound.ts";
import {
  type ConnectorSpaceObject,
  type MetaverseObject,
  newConnectorSpaceObject,
} from "../../src/engine/core/model.ts";
import type { Flow, SyncRule } from "../../src/engine/core/rules.ts";
import { type SyncDecision, synchronize } from "../../src/engine/core/synchronize.ts";
import { dateTimeFromMs } from "../../src/engine/core/values.ts";
import {
  configurationOf,
  direct,
  inbound,
  outbound,
  person,
  source,
  synchronized,
} from "./support/ruleWorld.ts";

const now = dateTimeFromMs(Date.parse("2026-01-01T00:00:00Z"));
const mapped = (flowRuleName: string, target: string, more: Partial<Flow> = {}): Flow =>
  ({ kind: "extension", flowRuleName, target, applyOnce: false, mergeType: "update", ...more }) as Flow;

interface Extensions {
  readonly hr?: ConnectorExtension;
  readonly ad?: ConnectorExtension;
  readonly metaverse?: MetaverseExtension;
  readonly deprovision?: "disconnect" | "delete" | "extension";
  readonly endsByExtension?: boolean;
}

/** Sources hr and crm, target ad, with these rules and extensions. */
function world(rules: readonly SyncRule[], extensions: Extensions): SyncConfiguration {
  const { hr, ad, metaverse, deprovision = "delete", endsByExtension = false } = extensions;
  // The check that a mapped flow has an extension is that of the configuration, which is not read here.
  const plain = rules.map((rule) => ({
    ...rule,
    flows: rule.flows.filter(({ kind }) => kind !== "extension"),
  }));
  const flows = new Map(
    rules.map((rule) => [rule.name, rule.flows.filter(({ kind }) => kind === "extension")]),
  );
  const compiled = configurationOf(plain, {
    ...(endsByExtension && { deletionRule: { kind: "extension" as const } }),
  });
  const withMapped = (list: ReturnType<typeof compiled.rules.inbound>) =>
    list.map((rule) => ({ ...rule, flows: [...rule.flows, ...(flows.get(rule.name) as typeof rule.flows)] }));
  const extended = { hr, ad, crm: undefined };
  return {
    ...compiled,
    rules: {
      ...compiled.rules,
      inbound: (...asked) => withMapped(compiled.rules.inbound(...asked)),
      outbound: (...asked) => withMapped(compiled.rules.outbound(...asked)),
    },
    connectors: new Map(
      [...compiled.connectors].map(([name, connector]) => {
        const entryPoints = extended[name as "hr"];
        const extension = entryPoints && { extension: { file: `${name}.ts`, entryPoints } };
        return [name, { ...connector, ...(name === "ad" && { deprovision }), ...extension }];
      }),
    ),
    ...(metaverse && { metaverseExtension: { file: "mv.ts", entryPoints: metaverse } }),
  };
}

function sync(
  configuration: SyncConfiguration,
  objects: readonly ConnectorSpaceObject[],
  metaverse: MetaverseObject = person({}, { id: "0m" }),
  syncing = "hr",
): SyncDecision {
  return synchronize({ metaverse, objects, syncing, configuration, now, random: () => 0.5 });
}

const ann = source({ id: "1", mail: "ann@x" }, { linking: "0m" });
const joining = outbound({ linkType: "join", flows: [direct("mail")] });
const connect = (more: Partial<ProvisioningAction> = {}): ProvisioningAction =>
  ({ kind: "connect", connector: "ad", objectType: "user", dn: "CN=1,DC=x", ...more }) as ProvisioningAction;
/** The account of person 0m, as its directory shows it. */
function account(
  values: Record<string, string | bigint> = { mail: "ann@x" },
  known: Partial<ConnectorSpaceObject> = {},
) {
  const image = { objectType: "user", dn: "CN=1,DC=x", attributes: values };
  return newConnectorSpaceObject({
    id: provisionedId("ad", "0m", "user"),
    connector: "ad",
    objectType: "user",
    anchor: "g",
    dn: image.dn,
    metaverseId: "0m",
    synchronized: image,
    ...known,
  });
}
const stored = synchronized({ id: "1", mail: "ann@x" }, { metaverseId: "0m" });
const both = [
  { connector: "hr", id: stored.id },
  { connector: "ad", id: account().id },
];
const known = person({ uid: "1", mail: "ann@x" }, { id: "0m", connectors: both });
const adOf = ({ objects }: SyncDecision) => objects.find(({ connector }) => connector === "ad")?.after;

describe("mapAttributesForImport", () => {
  const rules = [inbound({ flows: [direct("id", "uid"), mapped("level", "level")] })];
  const give = (result: unknown) => ({ hr: { mapAttributesForImport: () => result as never } });

  test("gives the attribute its value: a number is an integer, nothing is nothing", () => {
    expect(sync(world(rules, give(7)), [ann]).metaverse!.attributes.level!.value).toBe(7n);
    for (const nothing of [null, undefined, [], { flow: "AuthoritativeNull" }, { flow: "IgnoreThisFlow" }])
      expect(sync(world(rules, give(nothing)), [ann]).metaverse!.attributes).not.toHaveProperty("level");
  });

  test("IgnoreThisFlow keeps what the flow gave before", () => {
    const before = person(
      { uid: "1", level: 5n },
      { id: "0m", connectors: [{ connector: "hr", id: ann.id }] },
    );
    const decision = sync(world(rules, give({ flow: "IgnoreThisFlow" })), [stored], before);
    expect(decision.metaverse!.attributes.level!.value).toBe(5n);
  });

  test("is given the flow rule name, frozen data, the instant and the same chance each time", () => {
    const seen: unknown[] = [];
    const configuration = world(rules, {
      hr: {
        mapAttributesForImport(name, csentry, mventry, context) {
          expect(() => ((csentry.attributes as Record<string, unknown>).mail = "x")).toThrow(TypeError);
          expect(Object.isFrozen(mventry.attributes)).toBe(true);
          seen.push([name, csentry, mventry.id, context.now, context.parameters, context.random()]);
          return null;
        },
      },
    });
    const absence = { kind: "softDeleted", since: "2025-12-31T00:00:00.000Z" } as const;
    const gone = { ...stored, absence };
    const withGrace = new Map(
      [...configuration.connectors].map(([name, one]) => [name, { ...one, retainMs: 1e9 }]),
    );
    for (let time = 0; time < 2; time++) sync({ ...configuration, connectors: withGrace }, [gone]);
    expect(seen[0]).toMatchObject([
      "level",
      { connector: "hr", dn: "CN=1", attributes: { id: "1", mail: "ann@x", absence: "softDeleted" } },
      "0m",
      now,
      { Ou: "DC=x" },
      expect.any(Number),
    ]);
    expect(seen[1]).toEqual(seen[0]);
  });

  test("a value of another type, and a list for a single value, are errors of the flow", () => {
    expect(sync(world(rules, give("seven")), [ann]).errors[0]!.error).toMatchObject({
      code: "cs-attribute-type-mismatch",
      rule: "hr-in",
      attribute: "level",
    });
    expect(sync(world(rules, give([1, 2])), [ann]).errors[0]!.error.code).toBe(
      "flow-multi-values-to-single-value",
    );
    for (const wrong of [1.5, Number.NaN, {}, Symbol("x"), [1, null], { kind: "dateTime", ticks: 1 }])
      expect(sync(world(rules, give(wrong)), [ann]).errors[0]!.error).toMatchObject({
        code: "extension-dll-exception",
        message: expect.stringMatching(/must return an attribute value/),
      });
  });
});

describe("an exception", () => {
  const rules = [inbound({ flows: [direct("id", "uid"), mapped("level", "level")] })];

  test("is the object's error, with where it happened, and what it had contributed stays", () => {
    const configuration = world(rules, {
      hr: {
        mapAttributesForImport() {
          throw new RangeError("no level for this one");
        },
      },
    });
    const changed = {
      ...stored,
      pendingImport: {
        change: "update" as const,
        image: { ...stored.synchronized!, attributes: { id: "2" } },
      },
    };
    const decision = sync(configuration, [changed, account()], known);
    const [{ error } = { error: null }] = decision.errors;
    expect(error).toMatchObject({
      phase: "synchronization",
      code: "extension-dll-exception",
      message: "mapAttributesForImport in hr.ts threw RangeError: no level for this one",
      rule: "hr-in",
      attribute: "level",
      retryCount: 0,
    });
    expect(error!.stack).toMatch(/^RangeError: no level[^\n]*\n\s+at .*mapAttributesForImport/);
    expect(error!.stack).not.toContain("callExtension");
    expect(decision.metaverse!.attributes.uid!.value).toBe("1");
    expect(decision.objects.find(({ connector }) => connector === "hr")!.after!.pendingImport).not.toBeNull();
  });

  test("whatever is thrown is told, and a long message is cut", () => {
    const hostile = {
      toString: () => {
        throw new Error("no");
      },
    };
    const thrown: [unknown, RegExp][] = [
      ["text", /threw text$/],
      [undefined, /threw undefined$/],
      [hostile, /threw something that cannot be shown$/],
      [Object.create(null), /threw something that cannot be shown$/],
      [new Error("x".repeat(9000)), /^.{501}$/],
    ];
    for (const [what, message] of thrown) {
      const hr = {
        mapAttributesForImport() {
          throw what;
        },
      };
      const { error } = sync(world(rules, { hr }), [ann]).errors[0]!;
      expect(error.message).toMatch(message);
      expect((error.stack ?? "").length).toBeLessThan(4100);
    }
  });

  test("a promise is refused, and its failure ends no process", async () => {
    const unhandled: unknown[] = [];
    const listen = (reason: unknown) => unhandled.push(reason);
    process.on("unhandledRejection", listen);
    const hr = { mapAttributesForImport: () => Promise.reject(new Error("late")) as never };
    expect(sync(world(rules, { hr }), [ann]).errors[0]!.error.message).toBe(
      "mapAttributesForImport in hr.ts must return its decision at once, and returned a promise.",
    );
    await new Promise((resolve) => setTimeout(resolve, 5));
    process.off("unhandledRejection", listen);
    expect(unhandled).toEqual([]);
  });
});

test("mapAttributesForExport gives a target's attribute its value, of the person and of the account as it is", () => {
  const rules = [inbound(), outbound({ linkType: "join", flows: [mapped("mail", "mail")] })];
  const seen: unknown[] = [];
  const configuration = world(rules, {
    ad: {
      mapAttributesForExport(name, mventry, csentry) {
        seen.push([name, csentry.dn, csentry.attributes.mail]);
        return String(mventry.attributes.mail).toUpperCase();
      },
    },
  });
  const decision = sync(configuration, [stored, account({ mail: "other@x" })], known);
  expect(seen).toEqual([["mail", "CN=1,DC=x", "other@x"]]);
  expect(adOf(decision)!.pendingExport!.attributes).toEqual([
    { name: "mail", before: "other@x", after: "ANN@X", rule: "ad-out" },
  ]);
});

describe("filterForDisconnection", () => {
  const hr: ConnectorExtension = {
    filterForDisconnection({ attributes }) {
      if (attributes.mail === undefined) throw new Error("no mail");
      return String(attributes.mail).startsWith("test");
    },
  };
  const configuration = world([inbound()], { hr });
  const tester = source({ id: "1", mail: "test@x" });

  test("keeps an object out, and lets a connected one go", () => {
    expect(decideConnection(tester, configuration, new Map())).toEqual({
      kind: "disconnector",
      reason: "filtered",
    });
    expect(decideConnection(source({ id: "1", mail: "a@x" }), configuration, new Map()).kind).toBe(
      "projection",
    );
    const image = tester.pendingImport!.image!;
    const changed = { ...stored, pendingImport: { change: "update" as const, image } };
    const decision = sync(configuration, [changed], person({}, { id: "0m", connectors: both.slice(0, 1) }));
    expect(decision.objects[0]!.after).toMatchObject({ metaverseId: null, disconnector: "filtered" });
  });

  test("that fails lets nobody go: a connected object stays with its error, an import begins no absence", () => {
    const image = { objectType: "user", dn: "CN=1", attributes: { id: "1" } };
    const changed = { ...stored, pendingImport: { change: "update" as const, image } };
    const decision = sync(
      configuration,
      [changed],
      person({ uid: "1" }, { id: "0m", connectors: both.slice(0, 1) }),
    );
    expect(decision.errors[0]!.error).toMatchObject({
      code: "extension-dll-exception",
      rule: "extension hr.ts",
    });
    expect(decision.objects[0]!.after).toMatchObject({
      metaverseId: "0m",
      pendingImport: { change: "update" },
    });
    expect(decision.metaverse!.attributes.uid!.value).toBe("1");
    expect(inboundScope("hr", configuration)(image)).toBe(true);
    expect(() => decideConnection(source({ id: "1" }), configuration, new Map())).toThrow(/no mail/);
  });
});

describe("resolveJoin", () => {
  const found = (id: string) => person({ uid: "1", level: id === "0a" ? 1n : 2n }, { id });
  const candidates = new Map([[joinKey({ rule: "hr-in", group: 0 }), ["0a", "0b"]]]);
  const decide = (resolveJoin: ConnectorExtension["resolveJoin"]) =>
    decideConnection(ann, world([inbound()], { hr: { resolveJoin: resolveJoin! } }), candidates, found);

  test("chooses among what a join group has found", () => {
    const decision = decide((rule, csentry, persons) => {
      expect([rule, csentry.attributes.id]).toEqual(["hr-in", "1"]);
      return persons.find(({ attributes }) => attributes.level === 2n) ?? null;
    });
    expect(decision).toMatchObject({ kind: "join", metaverseId: "0b", rule: "hr-in" });
  });

  test("null goes on to the next group, and then projects", () => {
    expect(decide(() => null)).toMatchObject({ kind: "projection" });
  });

  test("must answer with a candidate", () => {
    expect(() => decide(() => ({ id: "0c" }) as never)).toThrow(
      "resolveJoin in hr.ts must return one of the candidates or null, and returned an object.",
    );
  });
});

describe("shouldProjectToMV", () => {
  const decide = (answer: unknown) =>
    decideConnection(
      source({ id: "1" }),
      world([inbound({ linkType: "join" })], { hr: { shouldProjectToMV: () => answer as never } }),
      new Map(),
    );

  test("projects where no rule does, or leaves a disconnector", () => {
    expect(decide("person")).toMatchObject({
      kind: "projection",
      metaverseObjectType: "person",
      rule: "extension hr.ts",
    });
    expect(decide(null)).toEqual({ kind: "disconnector", reason: "no-rule" });
  });

  test("must name a metaverse object type", () => {
    for (const wrong of ["people", true, undefined])
      expect(() => decide(wrong)).toThrow(/must return a metaverse object type \(person\) or null/);
  });
});

describe("provision", () => {
  const rules = [inbound(), joining];
  const provision = (decide: NonNullable<MetaverseExtension["provision"]>, more: Partial<Extensions> = {}) =>
    world(rules, { metaverse: { provision: decide }, ...more });

  test("connects an account: derived id, initial values, and the flows of the rules before them", () => {
    const configuration = provision(({ connectors }) =>
      connectors.ad!.length > 0
        ? []
        : [connect({ attributes: { level: 3, mail: "initial@x", id: undefined } })],
    );
    const decision = sync(configuration, [ann]);
    expect(decision.outbound.ad).toEqual({ provisionedAddFlow: 1 });
    expect(decision.provisioned).toMatchObject([{ id: provisionedId("ad", "0m", "user"), dn: "CN=1,DC=x" }]);
    expect(adOf(decision)!.pendingExport).toEqual({
      change: "add",
      reason: "Provisioned by extension mv.ts.",
      attributes: [
        { name: "mail", after: "ann@x", rule: "ad-out" },
        { name: "level", after: 3n, rule: "extension mv.ts" },
      ],
    });
  });

  test("asked again before the account was sent, it decides anew: another DN, or no account", () => {
    const unsent = adOf(
      sync(
        provision(({ connectors }) => (connectors.ad![0] ? [] : [connect()])),
        [ann],
      ),
    )!;
    const moved = sync(
      provision(({ connectors }) => (connectors.ad![0] ? [] : [connect({ dn: "CN=2,DC=x" })])),
      [stored, unsent],
      known,
    );
    expect(adOf(moved)).toMatchObject({ dn: "CN=2,DC=x", pendingExport: { change: "add" } });
    const unwanted = sync(
      provision(() => []),
      [stored, unsent],
      known,
    );
    expect(unwanted.objects).toMatchObject([{ connector: "ad", after: null }]);
  });

  test("renames until the directory shows it, and then is at rest", () => {
    const configuration = provision(() => [{ kind: "rename", connector: "ad", dn: "CN=1,OU=new,DC=x" }]);
    const decision = sync(configuration, [stored, account()], known);
    expect(adOf(decision)!.pendingExport).toMatchObject({ change: "update", newDn: "CN=1,OU=new,DC=x" });
    expect(decision.outbound.ad).toEqual({ provisionedRenameFlow: 1 });
    const shown = { objectType: "user", dn: "cn=1,ou=NEW,dc=x", attributes: { mail: "ann@x" } };
    const quiet = sync(configuration, [stored, account({}, { synchronized: shown, dn: shown.dn })], known);
    expect(adOf(quiet)).toBeUndefined();
  });

  test("deprovisions as the connector says, or its extension", () => {
    const metaverse: MetaverseExtension = {
      provision: ({ connectors }) => (connectors.ad![0] ? [{ kind: "deprovision", connector: "ad" }] : []),
    };
    const decide = (more: Partial<Extensions>) =>
      adOf(sync(world(rules, { metaverse, ...more }), [stored, account()], known));
    expect(decide({})!.pendingExport).toMatchObject({
      change: "delete",
      reason: "Deprovisioned by extension mv.ts.",
    });
    expect(decide({ deprovision: "disconnect" })).toMatchObject({ metaverseId: null, pendingExport: null });
    const ad: ConnectorExtension = {
      deprovision: ({ dn }) => (dn.startsWith("CN=1") ? "explicitDisconnect" : "delete"),
    };
    expect(decide({ deprovision: "extension", ad })).toMatchObject({
      metaverseId: null,
      disconnector: "explicit",
    });
  });

  test("what contradicts itself ends at ten calls", () => {
    let calls = 0;
    const configuration = provision(({ connectors }) => {
      calls++;
      return [{ kind: "rename", connector: "ad", dn: `${connectors.ad![0]!.dn},DC=x` }];
    });
    const decision = sync(configuration, [stored, account()], known);
    expect(calls).toBe(10);
    expect(decision.errors).toMatchObject([
      {
        connector: "hr",
        error: { code: "extension-provisioning-call-limit-reached", rule: "extension mv.ts" },
      },
    ]);
    expect(adOf(decision)).toBeUndefined();
  });

  test("that fails changes no account and is tried again: the import stays pending", () => {
    const configuration = provision(() => {
      throw new Error("later");
    });
    const pendingExport = { change: "update" as const, attributes: [], reason: "from before" };
    const decision = sync(
      configuration,
      [ann, account({}, { pendingExport })],
      person({}, { id: "0m", connectors: both }),
    );
    expect(decision.errors).toMatchObject([{ id: ann.id, error: { code: "extension-dll-exception" } }]);
    expect(decision.objects.map(({ connector }) => connector)).toEqual(["hr"]);
    expect(decision.objects[0]!.after).toMatchObject({
      metaverseId: "0m",
      pendingImport: { change: "update" },
    });
    expect(decision.inbound.flowFailure).toBe(1);
  });

  test("a wrong answer is told with what it should be", () => {
    const answers: [unknown, RegExp][] = [
      [undefined, /a list of actions, and returned undefined/],
      [["connect"], /must return actions, and returned the text "connect"/],
      [[{ kind: "create" }], /actions of the kind connect, rename or deprovision/],
      [[connect({ connector: "AD" })], /a connector of the configuration \(hr, crm, ad\)/],
      [[connect({ dn: " " })], /a dn to connect with/],
      [[{ ...connect(), objectType: "" }], /an objectType/],
      [[connect({ attributes: { mail: Symbol("x") as never } })], /an attribute value for mail/],
      [
        [connect({ attributes: { email: "x" } })],
        /"email" has no place: it is not a selected attribute of user in ad/,
      ],
      [[connect({ attributes: { password: "x" } })], /"password" cannot be set: it is a secret/],
      [[connect({ attributes: { level: "x" } })], /"level": it gives a value of type string/],
      [[connect(), connect()], /connects to ad, where the metaverse object has one/],
      [
        [{ kind: "rename", connector: "ad", dn: "CN=x" }],
        /renames in ad, where the metaverse object has none/,
      ],
    ];
    for (const [answer, message] of answers) {
      const { errors } = sync(
        provision(({ connectors }) => (connectors.ad![0] ? [] : (answer as never))),
        [ann],
      );
      expect(errors[0]?.error.message).toMatch(message);
    }
  });

  test("when the person goes, its account is deprovisioned, an adopted one too; a foreign one is let go", () => {
    const gone = { ...stored, pendingImport: { change: "delete" as const, image: null } };
    const made: MetaverseExtension = {
      provision: ({ attributes, connectors }) =>
        attributes.uid === "1" && !connectors.ad![0] ? [connect()] : [],
    };
    const adopted = { ...account(), id: "0adopted" };
    const ending = (metaverse: MetaverseExtension, target: ConnectorSpaceObject) => {
      const configuration = world(rules, { metaverse });
      const anyOf = new Map([
        [
          "person",
          {
            ...configuration.metaverse.get("person")!,
            deletionRule: { kind: "anyOf" as const, connectors: ["hr"] },
          },
        ],
      ]);
      return sync({ ...configuration, metaverse: anyOf }, [gone, target], known);
    };
    expect(adOf(ending(made, account()))!.pendingExport!.change).toBe("delete");
    expect(adOf(ending(made, adopted))!.pendingExport!.change).toBe("delete");
    expect(adOf(ending({ provision: () => [] }, adopted))).toMatchObject({
      metaverseId: null,
      pendingExport: null,
    });
    const failing = ending(
      {
        provision: () => {
          throw new Error("x");
        },
      },
      adopted,
    );
    expect(adOf(failing)).toMatchObject({
      metaverseId: "0m",
      pendingExport: null,
      error: { code: "extension-dll-exception" },
    });
    expect(failing.metaverse).toMatchObject({ deleted: true });
  });
});

describe("shouldDeleteFromMV", () => {
  const gone = { ...stored, pendingImport: { change: "delete" as const, image: null } };
  const decide = (shouldDeleteFromMV: NonNullable<MetaverseExtension["shouldDeleteFromMV"]>) =>
    sync(
      world([inbound(), joining], { metaverse: { shouldDeleteFromMV }, endsByExtension: true }),
      [gone, account()],
      known,
    );

  test("says of what goes whether the metaverse object goes with it", () => {
    const ended = decide((csentry, mventry) => {
      expect([csentry.connector, csentry.attributes.id, mventry.connectors.ad!.length]).toEqual([
        "hr",
        "1",
        1,
      ]);
      return true;
    });
    expect(ended.metaverse).toBeNull();
    expect(ended.causes.some(({ message }) => message.includes("extension mv.ts ends it"))).toBe(true);
    const kept = decide(() => false);
    expect(kept.metaverse).toMatchObject({ deleted: false, connectors: [{ connector: "ad" }] });
  });

  test("that fails keeps the object, its values and the metaverse object", () => {
    for (const wrong of [
      () => {
        throw new Error("x");
      },
      () => "yes" as never,
    ]) {
      const decision = decide(wrong);
      expect(decision.errors).toMatchObject([
        { connector: "hr", error: { code: "extension-dll-exception" } },
      ]);
      expect(decision.metaverse).toMatchObject({ deleted: false, attributes: { uid: { value: "1" } } });
      expect(decision.objects[0]!.after).toMatchObject({
        metaverseId: "0m",
        pendingImport: { change: "delete" },
      });
    }
  });
});
