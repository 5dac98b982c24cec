import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { GuestWorld, guest, guestOu, recipe } from "./support/guestWorld.ts";

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
    else if (step === "days") world.passDays(value * 8);
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
