/** Limits, holds, approvals, refused changes: what an export may write, over the real engine. */
import { describe, expect, test, vi } from "vitest";
import { ByHand } from "../../src/engine/byHand.ts";
import type { ConnectorConfiguration } from "../../src/engine/core/configuration.ts";
import type { ExportPlan } from "../../src/engine/exportPlan.ts";
import { ConnectorError } from "../../src/engine/ports/connector.ts";
import type { Run } from "../../src/engine/stores/runs.ts";
import { recipe } from "../fast/support/guestWorld.ts";
import { EngineWorld, guestId, guestOu, type WorldOptions } from "../support/engineWorld.ts";
import { Crash } from "../support/runWorld.ts";

const hourMs = 3_600_000;
const disableStatus = "stopped-disable-threshold-exceeded";

type Changed = Partial<Pick<ConnectorConfiguration, "approval" | "limits" | "exportRetries">>;

/** The recipe with another ADMA. */
function recipeWith(changed: Changed) {
  const adma = recipe.connectors.get("ADMA")!;
  return { ...recipe, connectors: new Map(recipe.connectors).set("ADMA", { ...adma, ...changed }) };
}

async function worldOf(
  guests: number,
  changed: Changed = {},
  options: WorldOptions = {},
): Promise<EngineWorld> {
  const world = new EngineWorld({ configuration: recipeWith(changed), ...options });
  for (let number = 0; number < guests; number++) world.addGuest(number);
  await world.cycle("initial");
  if (changed.approval === "always") await world.approve();
  await world.cycle("delta");
  expect(world.wrong()).toEqual([]);
  world.accounts.writes.length = 0;
  return world;
}

const remove = (world: EngineWorld, from: number, count: number) => {
  for (let number = from; number < from + count; number++)
    world.guests.remove(guestId(number), "softDeleted");
};
const planOf = (world: EngineWorld, limit = 1000): Promise<ExportPlan> => world.plans.page("ADMA", limit);
const exportOf = (run: Run) => run.steps.find(({ type }) => type === "export")!;

describe("a limit that is exceeded", () => {
  test("holds everything, what is below its limit and what comes later too, while imports go on", async () => {
    const world = await worldOf(40);
    remove(world, 0, 6);
    world.addGuest(40);
    const run = await world.cycle("delta");
    expect(run).toMatchObject({ status: disableStatus, endedAt: expect.any(String) });
    expect(exportOf(run).detail).toContain("6 pending exports of kind disable");
    expect(await planOf(world)).toMatchObject({ state: "held", counts: { add: 1, disable: 6 } });

    // Five of the six come back: what is left is below every limit, and nobody has decided.
    for (let number = 0; number < 5; number++) world.guests.restore(guestId(number));
    world.guests.change(guestId(20), { displayName: "Renamed" });
    const later = await world.cycle("delta");
    expect(later.status).toBe(disableStatus);
    expect(exportOf(later).detail).toMatch(/Since .* the exports of ADMA are held; 3 are pending/);
    expect(later.steps.slice(0, 4).map(({ status }) => status)).toEqual(Array(4).fill("success"));
    expect(world.accounts.writes).toEqual([]);
    expect(await planOf(world)).toMatchObject({ state: "held", counts: { add: 1, update: 1, disable: 1 } });

    expect((await world.approve()).status).toBe("success");
    expect(world.accounts.writes).toHaveLength(3);
    expect((await world.cycle("delta")).status).toBe("success");
    expect(await planOf(world)).toMatchObject({ state: "done", items: [] });
    expect(world.wrong()).toEqual([]);
    expect(await world.outstanding()).toEqual([]);
  });

  test("counts what was exported in the last 24 hours, but for what somebody has approved", async () => {
    const world = await worldOf(40);
    remove(world, 0, 6);
    await world.cycle("delta");
    await world.approve();
    remove(world, 6, 4);
    expect((await world.cycle("delta")).status).toBe("success");
    remove(world, 10, 1);
    expect((await world.cycle("delta")).status).toBe(disableStatus);
  });

  test("of adds counts the absolute number only while the space is empty", async () => {
    const { limits } = recipe.connectors.get("ADMA")!;
    const add = (count: number | null, percent: number | null) => ({
      limits: { ...limits, export: { ...limits.export, add: { count, percent } } },
    });
    const percent = new EngineWorld({ configuration: recipeWith(add(null, 10)) });
    for (let number = 0; number < 30; number++) percent.addGuest(number);
    expect((await percent.cycle("initial")).status).toBe("success");
    for (let number = 30; number < 34; number++) percent.addGuest(number);
    expect((await percent.cycle("delta")).status).toBe("stopped-add-threshold-exceeded");

    const count = new EngineWorld({ configuration: recipeWith(add(3, null)) });
    for (let number = 0; number < 4; number++) count.addGuest(number);
    expect((await count.cycle("initial")).status).toBe("stopped-add-threshold-exceeded");
    expect(count.accounts.writes).toEqual([]);
  });
});

const anchorOf = (world: EngineWorld, number: number) => world.accountsOf(guestId(number))[0]!.anchor;
const addForeign = (world: EngineWorld, number: number) =>
  world.accounts.add(`CN=Foreign ${number},${guestOu}`, { displayName: `Foreign ${number}` });

describe("a limit on import", () => {
  const { limits } = recipe.connectors.get("ADMA")!;
  const unlimited = { count: null, percent: null };
  const noExportLimits = {
    limits: { ...limits, export: { ...limits.export, disable: unlimited, delete: unlimited } },
  };

  test.each([
    ["gone", "stopped-deletion-threshold-exceeded", (world: EngineWorld) => remove(world, 0, 5)],
    [
      "disabled",
      disableStatus,
      (world: EngineWorld) => {
        for (let number = 0; number < 5; number++)
          world.guests.change(guestId(number), { accountEnabled: false });
      },
    ],
  ])(
    "counts objects that an import sees %s: the plan can be seen, and waits",
    async (what, status, happen) => {
      const world = await worldOf(40, noExportLimits);
      happen(world);
      const run = await world.cycle("delta");
      expect(run.status).toBe(status);
      expect(run.steps[0]).toMatchObject({
        status: "completed-warnings",
        detail: `The import of AADMA saw 5 objects ${what}, more than the limit of 10 percent of 40 connected objects. The exports of ADMA are held until somebody approves their plan.`,
        statistics: { stageUpdate: 5 },
      });
      expect(world.accounts.writes).toEqual([]);
      expect(await planOf(world)).toMatchObject({ state: "held", counts: { disable: 5 } });
      await world.approve();
      // The confirming import sees five disabled accounts: our own doing.
      expect((await world.cycle("delta")).status).toBe("success");
      world.guests.change(guestId(20), { displayName: "Renamed" });
      expect((await world.cycle("delta")).status).toBe("success");
      expect(world.wrong()).toEqual([]);
    },
  );

  const oneOfEach = { count: 1, percent: null };
  test.each([
    ["new", "add", (world: EngineWorld, number: number) => void addForeign(world, number)],
    [
      "changed",
      "update",
      (world: EngineWorld, number: number) =>
        world.accounts.change(anchorOf(world, number), { info: "By hand." }),
    ],
    [
      "renamed",
      "rename",
      (world: EngineWorld, number: number) =>
        world.accounts.rename(anchorOf(world, number), `CN=Renamed ${number},${guestOu}`),
    ],
  ])(
    "counts objects that an import sees %s by others, never what we have exported",
    async (what, kind, happen) => {
      const kinds = { ...limits.import, [kind]: oneOfEach };
      const world = await worldOf(6, { limits: { ...limits, import: kinds } });
      // Our own: five new accounts, five changed ones.
      for (let number = 10; number < 15; number++) world.addGuest(number);
      for (let number = 0; number < 5; number++)
        world.guests.change(guestId(number), { displayName: `Other ${number}` });
      for (let cycle = 0; cycle < 2; cycle++) expect((await world.cycle("delta")).status).toBe("success");
      happen(world, 1);
      expect((await world.cycle("delta")).status).toBe("success");
      for (const number of [2, 3]) happen(world, number);
      world.guests.change(guestId(0), { displayName: "Waits" });
      const run = await world.cycle("delta");
      expect(run.status).toBe(`stopped-${kind}-threshold-exceeded`);
      expect(run.steps[2]).toMatchObject({
        status: "completed-warnings",
        detail: `The import of ADMA saw 2 objects ${what}, more than the limit of 1. The exports of ADMA are held until somebody approves their plan.`,
      });
      await world.approve();
      expect((await world.cycle("delta")).status).toBe("success");
      expect(world.accountsOf(guestId(0))[0]!.attributes.displayName).toBe("Waits");
    },
  );

  test("is none for what may just be, and its count survives the death of the process", async () => {
    const world = await worldOf(40, noExportLimits);
    remove(world, 0, 4);
    expect((await world.cycle("delta")).status).toBe("success");
    for (const effects of [2, 5, 8, 11, 14, 17, 20]) {
      const other = await worldOf(40, noExportLimits);
      remove(other, 0, 5);
      other.lifeOfEach = Number.POSITIVE_INFINITY;
      other.restart(effects);
      expect((await other.cycle("delta")).status).toBe("stopped-deletion-threshold-exceeded");
      expect(other.crashes).toBeGreaterThan(0);
      expect(other.accounts.writes).toEqual([]);
    }
  });
});

test("an object that was quarantined is tried again when somebody lets it go", async () => {
  const world = await worldOf(3, {
    exportRetries: { delayMs: hourMs, delayMaxMs: hourMs, quarantineAfter: 2 },
  });
  const account = world.accountsOf(guestId(1))[0]!;
  world.accounts.add(`CN=In The Way,${guestOu}`, { userPrincipalName: "taken@corp.example" });
  world.guests.change(guestId(1), { userPrincipalName: "taken@corp.example" });
  for (let count = 0; count < 3; count++) await world.cycle("delta");
  expect(exportOf(await world.lastRun()).detail).toContain("quarantined");
  const blocker = world.accounts.listed().find(({ dn }) => dn.startsWith("CN=In The Way"))!;
  world.accounts.change(blocker.anchor, { userPrincipalName: "other@corp.example" });
  await world.cycle("delta");
  expect(world.accounts.writes).toEqual([]);
  const caller = { who: "ann@corp.example", trigger: "http", why: "It was in the way." } as const;
  world.now += 1000;
  await new ByHand(world.engine).order("ADMA", account.anchor, { kind: "retry" }, caller);
  await world.settle();
  expect((await world.cycle("delta")).status).toBe("success");
  expect(account.attributes.userPrincipalName).toBe("taken@corp.example");
});

describe("an approval", () => {
  test("exports what was shown; what has changed since is left out and reported, what is new waits", async () => {
    const world = await worldOf(40);
    remove(world, 0, 6);
    world.guests.change(guestId(31), { displayName: "Shown" });
    await world.cycle("delta");
    const { hash } = await planOf(world);
    world.guests.restore(guestId(0));
    world.guests.change(guestId(31), { displayName: "Changed Meanwhile" });
    world.guests.change(guestId(30), { displayName: "New" });
    await world.cycle("delta");
    const run = await world.approve(hash);
    expect(run).toMatchObject({
      status: "completed-warnings",
      approval: { hash, why: "It is what we want.", by: "ann@corp.example" },
    });
    expect(exportOf(run).detail).toContain("2 changes had moved on");
    const errors = await world.engine.history.errors(run.id, 0, 10);
    expect(errors.map(({ code }) => code)).toEqual(["changed-since-approval", "changed-since-approval"]);
    expect(world.accounts.writes.toSorted()).toEqual(
      [1, 2, 3, 4, 5].map((number) => `update CN=${guestId(number)},${guestOu}`),
    );
    await expect(world.approve(hash)).rejects.toThrow("Read it again");
    expect((await world.engine.audit.page(10)).entries).toEqual([
      expect.objectContaining({
        what: "approvePlan",
        who: "ann@corp.example",
        about: { connector: "ADMA", runId: run.id },
      }),
    ]);
    // Somebody has decided: what is left is below the limits, and goes.
    expect((await world.cycle("delta")).status).toBe("success");
    expect(world.wrong()).toEqual([]);
  });

  test("of a plan that was shown lapses after 24 hours, or with another rule set", async () => {
    const world = await worldOf(40);
    remove(world, 0, 6);
    await world.cycle("delta");
    const { hash, createdAt, expiresAt } = await planOf(world);
    expect(Date.parse(expiresAt!) - Date.parse(createdAt)).toBe(24 * hourMs);
    const spy = vi.spyOn(world.engine.rules, "activeVersion").mockResolvedValue("another");
    await expect(world.approve(hash)).rejects.toThrow("lapsed");
    spy.mockRestore();
    world.now = Date.parse(expiresAt!);
    await expect(world.approve(hash)).rejects.toThrow("lapsed");
    const again = await planOf(world);
    expect(again.hash).toBe(hash);
    expect(Date.parse(again.createdAt)).toBe(world.now);
    expect((await world.approve(hash)).status).toBe("success");
  });

  test("that is carried out too late is not carried out", async () => {
    const world = await worldOf(40);
    remove(world, 0, 6);
    await world.cycle("delta");
    const { hash } = await planOf(world);
    world.now += 1000;
    await world.plans.approve("ADMA", { hash, why: null, by: null }, "http");
    world.now += 25 * hourMs;
    await world.settle();
    expect(await world.lastRun()).toMatchObject({ status: "stopped-approval-required" });
    expect(world.accounts.writes).toEqual([]);
    expect((await world.cycle("delta")).status).toBe(disableStatus);
  });

  test("is needed for every export where the connector says so, and imports go on", async () => {
    const world = await worldOf(3, { approval: "always" });
    world.guests.change(guestId(1), { displayName: "Renamed" });
    const run = await world.cycle("delta");
    expect(run.status).toBe("stopped-approval-required");
    expect(exportOf(run).detail).toContain("1 pending exports of ADMA wait");
    expect(world.accounts.writes).toEqual([]);
    expect(await planOf(world)).toMatchObject({ state: "held", counts: { update: 1 } });
    expect((await world.approve()).status).toBe("success");
    expect((await world.cycle("delta")).status).toBe("success");
    expect(world.wrong()).toEqual([]);
  });

  test("is refused in staging mode", async () => {
    const world = await worldOf(3);
    world.guests.change(guestId(1), { displayName: "Renamed" });
    world.stagingMode = true;
    const run = await world.cycle("delta");
    expect(run.status).toBe("success");
    expect(exportOf(run).detail).toBe("Staging mode: nothing was exported.");
    await expect(world.approve()).rejects.toThrow("STAGING_MODE is on");
    world.stagingMode = false;
    expect((await world.cycle("delta")).status).toBe("success");
    expect(world.wrong()).toEqual([]);
  });

  test("survives the death of the process at any write: its items are exported once, and nothing else", async () => {
    const deaths = async (effects: number) => {
      const { limits } = recipe.connectors.get("ADMA")!;
      const disable = { count: 2, percent: null };
      const world = await worldOf(
        5,
        { limits: { ...limits, export: { ...limits.export, disable } } },
        { connector: { exportBatchMax: 2 } },
      );
      remove(world, 0, 4);
      await world.cycle("delta");
      const { hash } = await planOf(world);
      world.guests.change(guestId(4), { displayName: "New" });
      await world.cycle("delta");
      world.restart(effects);
      const died = world.crashes;
      const run = await world.approve(hash);
      expect(run.approval?.hash).toBe(hash);
      expect(run.status).toBe("success");
      expect(world.accounts.writes.toSorted()).toEqual(
        [0, 1, 2, 3].map((number) => `update CN=${guestId(number)},${guestOu}`),
      );
      const heads = (await world.tables.rows("plans")).flatMap(({ properties }) =>
        properties.plan === undefined ? [] : [JSON.parse(String(properties.plan))],
      );
      expect(heads.find(({ runId }) => runId === run.id)).toMatchObject({
        state: "done",
        approved: true,
        exported: { disable: 4 },
      });
      expect((await world.cycle("delta")).status).toBe("success");
      expect(world.wrong()).toEqual([]);
      return world.crashes > died;
    };
    let effects = 0;
    while (await deaths(effects)) effects += 7;
    expect(effects).toBeGreaterThan(20);
  });
});

test.each(["beforeWrite", "afterWrite"] as const)(
  "a guest who is blocked while the outcome of an export is unknown has a disabled account (it died %s)",
  async (when) => {
    const world = new EngineWorld();
    world.addGuest(1);
    world.accounts[when] = () => {
      world.accounts[when] = () => undefined;
      throw new Crash();
    };
    await world.engine.startCycle("initial", "http");
    while ((await world.deliver()) !== "crashed");
    for (const id of await world.engine.runs.openIds()) await world.engine.protocol.requestStop(id);
    await world.settle();
    world.guests.change(guestId(1), { accountEnabled: false, displayName: "Changed" });
    for (let round = 0; round < 3; round++) await world.cycle("delta");
    expect([world.wrong(), await world.outstanding()]).toEqual([[], []]);
  },
);

describe("a change that the directory refuses", () => {
  const refused = "x".repeat(3000); // the directory takes no value that long
  const exportErrors = async (world: EngineWorld) => {
    const run = await world.lastRun();
    const index = run.steps.findIndex(({ type }) => type === "export");
    return world.engine.history.errors(run.id, index, 10);
  };

  test("is tried again later each time, while the others go, and is left alone at last", async () => {
    const world = await worldOf(3, {
      exportRetries: { delayMs: hourMs, delayMaxMs: 3 * hourMs, quarantineAfter: 6 },
    });
    world.guests.change(guestId(1), { displayName: refused });
    const firstAt = world.now;
    const tried: number[] = [];
    for (let quarter = 0; quarter < 60; quarter++) {
      world.guests.change(guestId(2), { displayName: `Other ${quarter}` });
      const run = await world.cycle("delta");
      const errors = await exportErrors(world);
      if (errors.length > 0) tried.push(quarter);
      expect(run.status).toBe(errors.length > 0 ? "completed-export-errors" : "success");
      if (errors.length === 0)
        expect(exportOf(run).detail).toContain("1 changes that were refused before wait for their next try");
      expect(world.accounts.writes).toHaveLength(quarter + 1);
      world.now += hourMs / 4;
    }
    // At once, at once, after 1, 2, 3 (the most) and 3 hours; then never again.
    expect(tried).toHaveLength(6);
    expect(tried.slice(0, 3)).toEqual([0, 1, 2]);
    const waits = tried.slice(1).map((one, index) => one - tried[index]!);
    expect(waits.slice(2)).toEqual([4, 8, 12]);

    const { id } = (await planItemsLeft(world))[0]!;
    const { object } = (await world.engine.connectorSpace.get("ADMA", id))!;
    expect(object.error).toMatchObject({
      phase: "export",
      code: "constraint-violation",
      retryCount: 5,
      retry: { at: null },
    });
    expect(Date.parse(object.error!.firstOccurred)).toBeLessThan(firstAt + hourMs);
    expect((await world.engine.connectorSpace.totals("ADMA")).quarantined).toBe(1);
    expect(await planOf(world)).toMatchObject({ state: "done" });

    // What is wanted now is something else: no refusal of the old stands against it.
    world.guests.change(guestId(1), { displayName: "Short" });
    expect((await world.cycle("delta")).status).toBe("success");
    expect((await world.cycle("delta")).status).toBe("success");
    expect(world.wrong()).toEqual([]);
    expect(await world.outstanding()).toEqual([]);
  });

  async function planItemsLeft(world: EngineWorld): Promise<{ id: string }[]> {
    const left: { id: string }[] = [];
    for (const shard of "0123456789abcdef")
      for await (const one of world.engine.connectorSpace.marked("ADMA", shard, "export")) left.push(one);
    return left;
  }
});

test("accounts that were left behind are adopted, apart from adds and updates; a disabled one counts as that", async () => {
  const world = new EngineWorld();
  for (let number = 0; number < 4; number++)
    world.addGuest(number, number === 3 ? { accountEnabled: false } : {});
  for (const number of [1, 2, 3])
    world.accounts.add(`CN=${guestId(number)},${guestOu}`, {
      sAMAccountName: guestId(number).slice(0, 20),
      userAccountControl: 262656n,
    });
  world.stagingMode = true;
  await world.cycle("initial");
  world.stagingMode = false;
  const plan = await planOf(world);
  expect(plan.counts).toMatchObject({ add: 1, adopt: 2, update: 0, disable: 1 });
  expect(plan.items.filter(({ change }) => change === "adopt")[0]?.attributes).toContainEqual(
    expect.objectContaining({ name: "adminDescription", before: null, rule: "AD-B2B-OUT" }),
  );
  await world.cycle("delta");
  await world.cycle("delta");
  expect(world.wrong()).toEqual([]);
  world.guests.change(guestId(1), { displayName: "Renamed" });
  world.stagingMode = true;
  await world.cycle("delta");
  expect((await planOf(world)).counts).toMatchObject({ adopt: 0, update: 1 });
});

test("an adopted account ends as one of ours: disabled when its guest goes, deleted after the grace", async () => {
  const world = new EngineWorld();
  for (let number = 0; number < 30; number++) world.addGuest(number);
  world.accounts.add(`CN=${guestId(1)},${guestOu}`, {
    sAMAccountName: guestId(1).slice(0, 20),
    userAccountControl: 262656n,
  });
  await world.cycle("initial");
  const control = () => world.accountsOf(guestId(1)).map(({ attributes }) => attributes.userAccountControl);
  expect([control(), world.accounts.listed().length]).toEqual([[262656n], 30]);
  world.guests.remove(guestId(1), "deleted");
  await world.cycle("delta");
  expect(control()).toEqual([262658n]);
  world.now += 31 * 86_400_000;
  await world.cycle("delta");
  expect([control(), world.accounts.listed().length]).toEqual([[], 29]);
});

test("an account that is moved before its creation was answered is taken up again, and left no second object", async () => {
  const world = new EngineWorld();
  world.addGuest(1);
  world.accounts.afterWrite = () => {
    // The add has reached the directory; neither its answer comes back, nor does anything else reach it in this run.
    world.accounts.failure = new ConnectorError("unreachable", "The directory did not answer.");
    throw world.accounts.failure;
  };
  await world.cycle("initial");
  Object.assign(world.accounts, { failure: null, afterWrite: () => undefined });
  const [account] = world.accountsOf(guestId(1));
  world.accounts.rename(account!.anchor, `CN=${guestId(1)},OU=Moved,${guestOu}`);
  await world.cycle("delta");
  await world.cycle("delta");
  expect([await world.outstanding(), world.wrong()]).toEqual([[], []]);
  expect(await world.countedAndHeld("ADMA")).toEqual([
    { objects: 1, connectors: 1 },
    { objects: 1, connectors: 1 },
  ]);
});
