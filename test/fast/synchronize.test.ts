import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { SyncConfiguration } from "../../src/engine/core/configuration.ts";
import { projectedId, provisionedId } from "../../src/engine/core/identity.ts";
import type { ConnectorSpaceObject, MetaverseObject } from "../../src/engine/core/model.ts";
import { type SyncDecision, synchronize } from "../../src/engine/core/synchronize.ts";
import { dateTimeFromMs } from "../../src/engine/core/values.ts";
import { GuestWorld, guest, guestOu, recipe } from "./support/guestWorld.ts";
import {
  configurationOf,
  direct,
  expression,
  inbound,
  outbound,
  person,
  source,
  synchronized,
} from "./support/ruleWorld.ts";

function worldWith(...ids: string[]): GuestWorld {
  const world = new GuestWorld();
  for (const id of ids) world.guests.set(id, guest(id));
  return world;
}

const ann = "6b0c1507-b488-41db-9000-000000000001";
const bob = "7c1d2618-c599-52ec-a111-111111111112";

describe("the life of a guest", () => {
  test("every guest gets one account, and a second cycle exports nothing", () => {
    const world = worldWith(ann, bob);
    world.cycle("initial");
    expect(world.created).toBe(2);
    const account = world.account(ann)!;
    expect(account.dn).toBe(`CN=${ann},${guestOu}`);
    expect(account.attributes).toMatchObject({
      sAMAccountName: "6b0c1507-b488-41db-9",
      userPrincipalName: `${ann}_example.org#EXT#@corp.example`,
      displayName: `Guest ${ann}`,
      givenName: "Guest",
      sn: ann,
      mail: `${ann}@example.org`,
      employeeType: "Guest",
      adminDescription: `User_${ann}`,
      userAccountControl: 262656n,
    });
    expect(account.attributes).not.toHaveProperty("info");
    expect(world.pendingExports()).toEqual([]);
    expect(world.pendingImports()).toEqual([]);

    world.cycle("initial");
    expect(world.export()).toEqual({});
    expect(world.created).toBe(2);
    expect(
      [...world.space.values()].every((object) => object.error === null && object.unconfirmed === null),
    ).toBe(true);
  });

  test.each([
    ["pending", { externalUserState: "PendingAcceptance" }],
    ["blocked", { accountEnabled: false }],
  ])("a guest who is %s when first seen gets a disabled account", (_state, changed) => {
    const world = new GuestWorld();
    world.guests.set(ann, guest(ann, changed));
    world.cycle("initial");
    expect(world.account(ann)!.attributes.userAccountControl).toBe(262658n);
    world.guests.set(ann, guest(ann));
    world.cycle("delta");
    expect(world.account(ann)!.attributes.userAccountControl).toBe(262656n);
  });

  test("a renamed guest and a new one change exactly their accounts", () => {
    const world = worldWith(ann, bob);
    world.cycle("initial");
    world.guests.set(ann, guest(ann, { displayName: "Ann Lee" }));
    const carl = "8d2e3729-d6aa-63fd-b222-222222222223";
    world.guests.set(carl, guest(carl));
    expect(world.import("AADMA")).toMatchObject({ stageAdd: 1, stageUpdate: 1, stageNoChange: 1 });
    const decisions = world.synchronize("AADMA", "delta");
    expect(decisions.map((decision) => decision.inbound)).toEqual(
      expect.arrayContaining([{ disconnectorProjectedFlow: 1 }, { connectorFlow: 1 }]),
    );
    expect(
      world
        .pendingExports()
        .map((object) => object.pendingExport!.change)
        .sort(),
    ).toEqual(["add", "update"]);
    expect(
      world.pendingExports().find(({ pendingExport }) => pendingExport!.change === "update")!.pendingExport,
    ).toEqual({
      change: "update",
      attributes: [{ name: "displayName", before: `Guest ${ann}`, after: "Ann Lee", rule: "AD-B2B-OUT" }],
      reason: "displayName by rule AD-B2B-OUT.",
    });
    expect(world.export()).toEqual({ add: 1, update: 1 });
    world.import("ADMA");
    world.synchronize("ADMA", "delta");
    expect(world.pendingExports()).toEqual([]);
    expect(world.pendingImports()).toEqual([]);
    expect(world.accounts.size).toBe(3);
  });

  test("a deleted guest's account is disabled with the reason, and goes after the grace", () => {
    const world = worldWith(ann, bob);
    world.cycle("initial");
    world.guests.delete(ann);
    world.gone.set(ann, "softDeleted");
    const decisions = world.cycle("delta");
    expect(world.account(ann)!.attributes).toMatchObject({
      userAccountControl: 262658n,
      displayName: `Guest ${ann}`,
      info: "Disabled: the guest is absent (softDeleted) since 2026-01-01 00:00 UTC.",
    });
    expect(world.account(ann)!.attributes).not.toHaveProperty("userPrincipalName");
    expect(decisions.map((decision) => decision.due)).toContain("2026-01-31T00:00:00.000Z");

    world.passDays(20);
    world.gone.set(ann, "deleted");
    world.cycle("delta");
    expect(world.account(ann)!.attributes.info).toContain("(softDeleted) since 2026-01-01");
    world.passDays(9);
    world.cycle("initial");
    expect(world.account(ann)).toBeDefined();
    world.passDays(1);
    world.cycle("delta");
    expect(world.account(ann)).toBeUndefined();
    expect(world.account(bob)!.attributes.userAccountControl).toBe(262656n);
    expect(world.metaverse.size).toBe(1);
    expect(world.space.size).toBe(2);
  });

  test("a guest who returns within the grace has the same account again", () => {
    const world = worldWith(ann);
    world.cycle("initial");
    const { guid } = world.account(ann)!;
    world.guests.delete(ann);
    world.gone.set(ann, "softDeleted");
    world.cycle("delta");
    world.passDays(3);
    world.gone.clear();
    world.guests.set(ann, guest(ann));
    world.cycle("delta");
    expect(world.account(ann)).toMatchObject({ guid });
    expect(world.account(ann)!.attributes).toMatchObject({
      userAccountControl: 262656n,
      userPrincipalName: `${ann}_example.org#EXT#@corp.example`,
    });
    expect(world.account(ann)!.attributes).not.toHaveProperty("info");
    expect(world.created).toBe(1);
  });

  test("a guest who becomes a member is absent, with the last values of the guest", () => {
    const world = worldWith(ann);
    world.cycle("initial");
    world.guests.set(ann, guest(ann, { userType: "Member", displayName: "Ann the Member" }));
    world.cycle("delta");
    expect(world.account(ann)!.attributes).toMatchObject({
      userAccountControl: 262658n,
      displayName: `Guest ${ann}`,
      employeeType: "Guest",
    });
    world.guests.set(ann, guest(ann, { displayName: "Ann the Guest" }));
    world.cycle("delta");
    expect(world.account(ann)!.attributes).toMatchObject({
      userAccountControl: 262656n,
      displayName: "Ann the Guest",
    });
    expect(world.created).toBe(1);
  });
});

describe("what people do in Active Directory", () => {
  test("a hand-made change is repaired by the synchronisation that sees it", () => {
    const world = worldWith(ann);
    world.cycle("initial");
    world.account(ann)!.attributes.displayName = "Changed by hand";
    world.cycle("delta");
    expect(world.account(ann)!.attributes.displayName).toBe(`Guest ${ann}`);
  });

  test("a hand-made disable is held, a hand-made enable repaired, and other bits are left alone", () => {
    const world = worldWith(ann);
    world.cycle("initial");
    world.account(ann)!.attributes.userAccountControl = 262656n | 2n | 65536n;
    const decisions = world.cycle("delta");
    expect(world.account(ann)!.attributes.userAccountControl).toBe(262656n | 2n | 65536n);
    expect(decisions.flatMap((decision) => decision.held)).toContainEqual(
      expect.objectContaining({ attribute: "userAccountControl" }),
    );
    // Blocked in Entra and unblocked: the hand-made disable outlasts ours.
    world.guests.set(ann, guest(ann, { accountEnabled: false }));
    world.cycle("delta");
    world.guests.set(ann, guest(ann));
    world.cycle("delta");
    expect(world.account(ann)!.attributes.userAccountControl).toBe(262656n | 2n | 65536n);
    // Whoever disabled it enables it again.
    world.account(ann)!.attributes.userAccountControl = 262656n | 65536n;
    world.guests.set(ann, guest(ann, { accountEnabled: false }));
    world.cycle("delta");
    expect(world.account(ann)!.attributes.userAccountControl).toBe(262658n | 65536n);
    world.account(ann)!.attributes.userAccountControl = 262656n;
    world.cycle("delta");
    expect(world.account(ann)!.attributes.userAccountControl).toBe(262658n);
  });

  test("a block and an unblock between two confirmations end enabled", () => {
    const world = worldWith(ann);
    world.cycle("initial");
    world.guests.set(ann, guest(ann, { accountEnabled: false }));
    world.import("AADMA");
    world.synchronize("AADMA", "delta");
    world.export();
    world.guests.set(ann, guest(ann));
    world.import("AADMA");
    world.import("ADMA");
    world.synchronize("AADMA", "delta");
    world.synchronize("ADMA", "delta");
    world.synchronize("AADMA", "full");
    world.export();
    world.cycle("delta");
    expect(world.account(ann)!.attributes.userAccountControl).toBe(262656n);
  });

  test("an account made by hand is a disconnector and left alone", () => {
    const world = worldWith(ann);
    const hand = world.addAccount(`CN=By Hand,${guestOu}`, { cn: "By Hand", displayName: "By Hand" });
    world.cycle("initial");
    world.cycle("initial");
    const object = [...world.space.values()].find(({ anchor }) => anchor === hand.guid)!;
    expect(object).toMatchObject({ metaverseId: null, disconnector: "normal", pendingExport: null });
    expect(hand.attributes.displayName).toBe("By Hand");
    expect(world.metaverse.size).toBe(1);
  });

  test("an account that MIM left behind is adopted by its CN, not made a second time", () => {
    const world = worldWith(ann);
    const old = world.addAccount(`CN=${ann},${guestOu}`, { cn: ann, userAccountControl: 262656n });
    world.cycle("initial");
    expect(world.created).toBe(0);
    expect(world.account(ann)).toBe(old);
    expect(world.pendingExports()).toEqual([]);
  });

  test("an account deleted by hand is made again for a guest who is still there", () => {
    const world = worldWith(ann);
    world.cycle("initial");
    world.accounts.clear();
    world.cycle("delta");
    expect(world.accounts.size).toBe(1);
    world.cycle("delta");
    expect(world.pendingExports()).toEqual([]);
    expect(world.space.size).toBe(2);
  });

  test("an export that the directory does not show again is reported and repeated", () => {
    const world = worldWith(ann);
    world.cycle("initial");
    world.guests.set(ann, guest(ann, { displayName: "Ann Lee" }));
    world.import("AADMA");
    world.synchronize("AADMA", "delta");
    world.export();
    world.account(ann)!.attributes.displayName = `Guest ${ann}`;
    world.import("ADMA");
    const [object] = world.pendingImports();
    expect(object!.error).toMatchObject({ code: "exported-change-not-reimported", attribute: "displayName" });
    world.synchronize("ADMA", "delta");
    expect(world.export()).toEqual({ update: 1 });
  });
});

describe("one decision", () => {
  const now = dateTimeFromMs(Date.parse("2026-01-02T00:00:00Z"));
  function decide(
    configuration: SyncConfiguration,
    objects: readonly ConnectorSpaceObject[],
    metaverse: MetaverseObject = person(),
    syncing = "hr",
  ): SyncDecision {
    return synchronize({ metaverse, objects, syncing, configuration, now, random: () => 0.5 });
  }
  const linking = { linking: "0m" };
  const linked = { metaverseId: "0m" };
  const stateAfter = (decision: SyncDecision, id: string) =>
    decision.objects.find((one) => one.id === id)?.after;

  test("a projection links, contributes and provisions, each counted and with its cause", () => {
    const ann = source({ id: "1", mail: "a@b" }, linking);
    const decision = decide(configurationOf([inbound(), outbound()]), [ann]);
    expect(decision).toMatchObject({
      metaverse: { attributes: { uid: { value: "1" } }, deleted: false },
      inbound: { disconnectorJoinedFlow: 1 },
      outbound: { ad: { provisionedAddFlow: 1 } },
      errors: [],
      due: null,
    });
    expect(decision.metaverse!.connectors).toHaveLength(2);
    expect(stateAfter(decision, "01")).toMatchObject({
      metaverseId: "0m",
      linking: null,
      pendingImport: null,
      synchronized: ann.pendingImport!.image,
    });
    expect(decision.causes).toContainEqual(
      expect.objectContaining({ step: "outbound", connector: "ad", rule: "ad-out" }),
    );
    const projected = projectedId("01");
    const projection = decide(
      configurationOf([inbound()]),
      [{ ...ann, linking: projected }],
      person({}, { id: projected }),
    );
    expect(projection.inbound).toEqual({ disconnectorProjectedFlow: 1 });
  });

  test("what AuthoritativeNull keeps empty stays so while another flow of the object fails", () => {
    const rules = configurationOf([
      inbound({
        flows: [
          direct("id", "uid"),
          expression("AuthoritativeNull", "mail"),
          expression('IIF([level] = 5, Error("No."), NULL)', "level"),
        ],
      }),
      inbound({
        name: "crm-in",
        connector: "crm",
        linkType: "join",
        precedence: 110,
        flows: [direct("mail")],
      }),
    ]);
    const crm = synchronized({ id: "2", mail: "crm@x" }, { ...linked, connector: "crm" });
    const bad = synchronized({ id: "1", level: 5n }, linked);
    const present = person({ uid: "1" }, { connectors: [{ connector: "hr", id: "01" }] });
    const decision = decide(rules, [bad, crm], present);
    expect(decision.errors).toMatchObject([{ id: "01" }]);
    expect(decision.metaverse!.attributes).not.toHaveProperty("mail");
    // What was tried in a full synchronisation is pending from then on.
    expect(decision.objects.find(({ id }) => id === "01")!.after!.pendingImport).toMatchObject({
      change: "update",
    });
  });

  test("a flow that fails is that object's error: what it gave before stays, and it stays pending", () => {
    const rules = configurationOf([
      inbound({
        flows: [direct("id", "uid"), expression('IIF([mail] = "bad", Error("No."), [mail])', "mail")],
      }),
      inbound({
        name: "crm-in",
        connector: "crm",
        linkType: "join",
        precedence: 110,
        flows: [direct("level")],
      }),
    ]);
    const bad = synchronized(
      { id: "1", mail: "a@b" },
      {
        ...linked,
        pendingImport: {
          change: "update",
          image: { objectType: "user", dn: "CN=1", attributes: { id: "1", mail: "bad" } },
        },
      },
    );
    const crm = synchronized({ id: "2", level: 5n }, { ...linked, connector: "crm" });
    const present = person({ uid: "1", mail: "a@b" }, { connectors: [{ connector: "hr", id: "01" }] });
    const decision = decide(rules, [bad, crm], present);
    expect(decision.errors).toMatchObject([
      {
        id: "01",
        error: {
          phase: "synchronization",
          code: "sync-rule-error-function-triggered",
          rule: "hr-in",
          attribute: "mail",
        },
      },
    ]);
    expect(decision.inbound).toEqual({ flowFailure: 1 });
    expect(decision.metaverse!.attributes).toMatchObject({
      uid: { value: "1" },
      mail: { value: "a@b", since: "2026-01-01T00:00:00.000Z" },
      level: { value: 5n, connector: "crm" },
    });
    expect(stateAfter(decision, "01")).toMatchObject({ pendingImport: bad.pendingImport, metaverseId: "0m" });
    const again = decide(rules, [stateAfter(decision, "01")!, crm], decision.metaverse!);
    expect(again.errors[0]!.error).toMatchObject({
      firstOccurred: "2026-01-02T00:00:00.000Z",
      retryCount: 1,
    });
  });

  test("a newcomer whose flow fails is not linked, and nothing comes into being", () => {
    const rules = configurationOf([inbound({ flows: [expression('Error("No.")', "mail")] })]);
    const decision = decide(rules, [source({ id: "1" }, linking)]);
    expect(decision.metaverse).toBeNull();
    expect(stateAfter(decision, "01")).toMatchObject({
      metaverseId: null,
      linking: null,
      pendingImport: { change: "add" },
      error: { code: "sync-rule-error-function-triggered" },
    });
  });

  test("a target that fails does not stop the others, and what was synchronised is tried again", () => {
    const rules = configurationOf([
      inbound(),
      outbound({ flows: [expression('Error("No place.")', "dn", { applyOnce: true })] }),
      outbound({ name: "crm-out", connector: "crm", precedence: 201 }),
    ]);
    const decision = decide(rules, [source({ id: "1", mail: "a@b" }, linking)]);
    expect(decision.provisioned).toMatchObject([{ connector: "crm" }]);
    expect(decision.outbound).toEqual({ ad: { flowFailure: 1 }, crm: { provisionedAddFlow: 1 } });
    expect(stateAfter(decision, "01")).toMatchObject({
      metaverseId: "0m",
      pendingImport: { change: "update" },
      synchronized: { attributes: { mail: "a@b" } },
      error: { code: "sync-rule-error-function-triggered", rule: "ad-out", attribute: "dn" },
    });
  });

  test("a second object of one connector is not let in; two that are in stop flowing", () => {
    const rules = configurationOf([inbound()]);
    const first = synchronized({ id: "1", mail: "a@b" }, linked);
    const newcomer = source({ id: "2" }, linking);
    const present = person({ uid: "1", mail: "a@b" });
    const decision = decide(rules, [first, newcomer], present);
    expect(decision.errors).toMatchObject([
      { id: "02", error: { code: "ambiguous-import-flow-from-multiple-connectors" } },
    ]);
    expect(stateAfter(decision, "02")).toMatchObject({ metaverseId: null, linking: null });
    expect(decision.metaverse!.connectors).toEqual([{ connector: "hr", id: "01" }]);
    const both = decide(rules, [first, { ...newcomer, metaverseId: "0m" }], present);
    expect(both.errors.map(({ id }) => id)).toEqual(["01", "02"]);
    expect(both.metaverse!.attributes).toEqual(present.attributes);
  });

  test("what was only provisioned yields to the account that was there", () => {
    const rules = configurationOf([
      inbound(),
      outbound(),
      inbound({ name: "ad-in", connector: "ad", linkType: "join", precedence: 110, flows: [] }),
    ]);
    const ann = synchronized({ id: "1", mail: "a@b" }, linked);
    const made = decide(rules, [ann], person({ uid: "1" }, { connectors: [{ connector: "hr", id: "01" }] }));
    const unsent = made.objects.find(({ connector }) => connector === "ad")!.after!;
    const found = source({ id: "9", mail: "old" }, { ...linking, connector: "ad" });
    const decision = decide(rules, [ann, unsent, found], made.metaverse!, "ad");
    expect(stateAfter(decision, unsent.id)).toBeNull();
    expect(stateAfter(decision, "09")).toMatchObject({
      metaverseId: "0m",
      pendingExport: { change: "update", attributes: [{ name: "mail", before: "old", after: "a@b" }] },
    });
    expect(decision.inbound).toEqual({ disconnectorJoinedNoFlow: 1 });
  });

  test("rules that let go of an object start its grace, and take it back", () => {
    const narrow = configurationOf([inbound({ scope: [[{ attribute: "level", operator: "ISNOTNULL" }]] })], {
      retainMs: 86_400_000,
    });
    const ann = synchronized({ id: "1", mail: "a@b" }, linked);
    const present = person({ uid: "1", mail: "a@b" }, { connectors: [{ connector: "hr", id: "01" }] });
    const decision = decide(narrow, [ann], present);
    expect(decision).toMatchObject({
      metaverse: { attributes: present.attributes },
      due: "2026-01-03T00:00:00.000Z",
    });
    const absent = stateAfter(decision, "01")!;
    expect(absent.absence).toEqual({ kind: "outOfScope", since: "2026-01-02T00:00:00.000Z", byRules: true });
    expect(
      stateAfter(decide(configurationOf([inbound()], { retainMs: 86_400_000 }), [absent], present), "01"),
    ).toMatchObject({
      absence: null,
    });
    const over = {
      ...absent,
      absence: { kind: "outOfScope", since: "2026-01-01T00:00:00.000Z", byRules: true },
    } as const;
    const gone = decide(narrow, [over], present);
    expect(gone.metaverse).toBeNull();
    expect(stateAfter(gone, "01")).toMatchObject({ metaverseId: null, disconnector: "filtered" });
    expect(gone.inbound).toEqual({ connectorFilteredRemoveMv: 1 });
  });

  test("a connector without retention lets a filtered object go at once; one joined by hand stays", () => {
    const narrow = configurationOf([inbound({ scope: [[{ attribute: "level", operator: "ISNOTNULL" }]] })]);
    const ann = synchronized({ id: "1", mail: "a@b" }, linked);
    const present = person({ uid: "1" }, { connectors: [{ connector: "hr", id: "01" }] });
    expect(decide(narrow, [ann], present).metaverse).toBeNull();
    expect(decide(narrow, [{ ...ann, explicitConnector: true }], present).metaverse!.connectors).toHaveLength(
      1,
    );
  });

  test("a tombstone waits for its targets, comes back to life with its person, and goes with the last target", () => {
    const rules = configurationOf([inbound(), outbound()], {
      deletionRule: { kind: "anyOf", connectors: ["hr"] },
    });
    const ann = synchronized({ id: "1", mail: "a@b" }, linked);
    const id = provisionedId("ad", "0m", "user");
    const account = synchronized({ id: "9", mail: "a@b" }, { ...linked, id, connector: "ad" });
    const present = person(
      { uid: "1", mail: "a@b" },
      {
        connectors: [
          { connector: "ad", id },
          { connector: "hr", id: "01" },
        ],
      },
    );
    const deletion = decide(
      rules,
      [{ ...ann, pendingImport: { change: "delete", image: null } }, account],
      present,
    );
    expect(deletion).toMatchObject({
      metaverse: { deleted: true, connectors: [{ connector: "ad", id }] },
      inbound: { connectorDeleteRemoveMv: 1 },
      outbound: { ad: { provisionedDisconnect: 1 } },
    });
    expect(stateAfter(deletion, "01")).toBeNull();
    const doomed = stateAfter(deletion, id)!;
    expect(doomed).toMatchObject({ pendingExport: { change: "delete" }, metaverseId: "0m" });
    const tombstone = deletion.metaverse!;
    expect(decide(rules, [doomed], tombstone, "ad").objects).toEqual([]);

    const revival = decide(rules, [doomed, source({ id: "1", mail: "a@b" }, linking)], tombstone);
    expect(revival.metaverse).toMatchObject({ deleted: false, attributes: { uid: { value: "1" } } });
    expect(stateAfter(revival, id)).toMatchObject({ pendingExport: null });

    const confirmed = {
      ...doomed,
      pendingExport: null,
      pendingImport: { change: "delete", image: null },
    } as const;
    const end = decide(rules, [confirmed], tombstone, "ad");
    expect(end.metaverse).toBeNull();
    expect(stateAfter(end, id)).toBeNull();
  });

  test("an account that is let go is not made again in the same breath: it may be the one that is meant", () => {
    const rules = configurationOf([
      inbound(),
      outbound(),
      inbound({
        name: "ad-in",
        connector: "ad",
        linkType: "join",
        precedence: 110,
        flows: [],
        scope: [[{ attribute: "level", operator: "ISNOTNULL" }]],
      }),
    ]);
    const ann = synchronized({ id: "1", mail: "a@b" }, linked);
    const id = provisionedId("ad", "0m", "user");
    const account = synchronized({ id: "9", mail: "a@b" }, { ...linked, id, connector: "ad" });
    const decision = decide(rules, [ann, account], person({ uid: "1" }), "ad");
    expect(decision.provisioned).toEqual([]);
    expect(stateAfter(decision, id)).toMatchObject({
      anchor: "9",
      metaverseId: null,
      disconnector: "filtered",
    });
  });

  test("an object whose type has changed is placed anew", () => {
    const retyped = synchronized(
      { id: "1" },
      {
        ...linked,
        pendingImport: {
          change: "deleteAdd",
          image: { objectType: "contact", dn: "CN=1", attributes: { id: "1" } },
        },
      },
    );
    const decision = decide(
      configurationOf([inbound()]),
      [retyped],
      person({ uid: "1" }, { connectors: [{ connector: "hr", id: "01" }] }),
    );
    expect(decision.inbound).toEqual({ connectorDeleteAddProcessed: 1 });
    expect(stateAfter(decision, "01")).toMatchObject({
      objectType: "contact",
      metaverseId: null,
      synchronized: null,
      pendingImport: { change: "add" },
    });
  });
});

describe("properties", () => {
  type Step = { readonly step: string; readonly guest: number; readonly value: number };
  const steps = fc.array(
    fc.record({
      step: fc.constantFrom(
        "import AADMA",
        "import ADMA",
        "full AADMA",
        "full ADMA",
        "delta AADMA",
        "delta ADMA",
        "export",
        "rename",
        "block",
        "delete",
        "return",
        "hand delete",
        "days",
        "crash",
        "cycle initial",
        "cycle delta",
      ),
      guest: fc.nat(2),
      value: fc.nat(3),
    }),
    { maxLength: 30 },
  );
  const ids = [ann, bob, "8d2e3729-d6aa-63fd-b222-222222222223"];

  function act(world: GuestWorld, { step, guest: index, value }: Step): void {
    const id = ids[index]!;
    const [verb, connector] = step.split(" ") as [string, string];
    if (verb === "cycle") world.cycle(connector as "initial" | "delta");
    else if (verb === "import") world.import(connector);
    else if (verb === "full" || verb === "delta") world.synchronize(connector, verb);
    else if (step === "export") world.export();
    else if (step === "rename" && world.guests.has(id))
      world.guests.set(id, guest(id, { displayName: `N${value}` }));
    else if (step === "block" && world.guests.has(id))
      world.guests.set(id, guest(id, { accountEnabled: value > 1 }));
    else if (step === "delete" && world.guests.delete(id)) world.gone.set(id, "softDeleted");
    else if (step === "return") {
      world.gone.delete(id);
      world.guests.set(id, guest(id, { displayName: `R${value}` }));
    } else if (step === "hand delete" && world.account(id)) world.accounts.delete(world.account(id)!.guid);
    else if (step === "crash") world.crashAfterWrites = value;
    else if (step === "days") world.passDays(value * 11);
  }

  test("in whatever order profiles run, no guest has two accounts, and two cycles bring the end", () => {
    fc.assert(
      fc.property(steps, (history) => {
        const world = worldWith(...ids);
        for (const step of history) act(world, step);
        world.crashAfterWrites = null;
        world.cycle("initial");
        world.cycle("initial");
        world.cycle("delta");
        expect(world.export()).toEqual({});
        expect(world.pendingImports()).toEqual([]);
        for (const id of ids) {
          const accounts = [...world.accounts.values()].filter(
            ({ attributes }) => attributes.adminDescription === `User_${id}`,
          );
          expect(accounts.length).toBeLessThanOrEqual(1);
          const present = world.guests.get(id);
          if (present === undefined) continue;
          expect(accounts).toHaveLength(1);
          expect(accounts[0]!.attributes).toMatchObject({
            displayName: present.displayName,
            userAccountControl: present.accountEnabled ? 262656n : 262658n,
          });
        }
      }),
      { numRuns: 150 },
    );
  });

  test("asked twice, a synchronisation decides nothing new", () => {
    fc.assert(
      fc.property(steps, fc.constantFrom("AADMA", "ADMA"), (history, syncing) => {
        const world = worldWith(...ids);
        for (const step of history) act(world, step);
        world.crashAfterWrites = null;
        for (const metaverse of [...world.metaverse.values()]) {
          world.flow(metaverse, syncing);
          const stored = world.metaverse.get(metaverse.id);
          if (stored === undefined) continue;
          const again = world.decide(stored, syncing);
          expect(again.objects).toEqual([]);
          expect(again.metaverseChanged).toBe(false);
        }
      }),
      { numRuns: 150 },
    );
  });

  test("delta synchronisation ends where full synchronisation ends", () => {
    fc.assert(
      fc.property(steps, (history) => {
        const ends = (["delta", "initial"] as const).map((kind) => {
          const world = worldWith(...ids);
          for (const step of history) act(world, step);
          world.crashAfterWrites = null;
          for (let i = 0; i < 3; i++) world.cycle(kind);
          const accounts = [...world.accounts.values()].map(({ dn, attributes }) => {
            const { objectGUID: _, ...rest } = attributes;
            return { dn, ...rest };
          });
          return accounts.sort((a, b) => (a.dn < b.dn ? -1 : 1));
        });
        expect(ends[0]).toEqual(ends[1]);
      }),
      { numRuns: 100 },
    );
  });
});

test("the recipe has no warnings", () => {
  expect(recipe.warnings).toEqual([]);
});
