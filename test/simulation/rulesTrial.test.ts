/** A set of rules is tried out on everybody before it is activated: what goes beyond a connector's limits waits. */
import { describe, expect, test } from "vitest";
import type { Configuration, ConfigurationFile, Limits } from "../../src/engine/core/configuration.ts";
import { compileRuleTexts } from "../../src/engine/core/readRules.ts";
import { ConnectorError } from "../../src/engine/ports/connector.ts";
import { RuleAdministration } from "../../src/engine/ruleAdministration.ts";
import { RulesDiffs } from "../../src/engine/rulesDiff.ts";
import { wholeRecipe } from "../fast/support/guestWorld.ts";
import { type CountedTables, EngineWorld, guestId, type WorldOptions } from "../support/engineWorld.ts";

const inFile = (name: string, from: string, to: string): ConfigurationFile[] => {
  const texts = wholeRecipe.ruleTexts.map(({ file, text }) => ({
    file,
    text: file.endsWith(`/${name}.yaml`) ? text.replace(from, to) : text,
  }));
  expect(texts).not.toEqual(wholeRecipe.ruleTexts);
  return texts;
};
const onlyGivenName = inFile(
  "AAD-B2B-IN",
  "- - { attribute: userType, operator: EQUAL, value: Guest }",
  "- - { attribute: userType, operator: EQUAL, value: Guest }\n    - { attribute: givenName, operator: EQUAL, value: Guest }",
);
const accountsOfGivenName = inFile(
  "AD-B2B-OUT",
  "- - { attribute: employeeType, operator: EQUAL, value: Guest }",
  "- - { attribute: employeeType, operator: EQUAL, value: Guest }\n    - { attribute: givenName, operator: EQUAL, value: Guest }",
);
const otherDisplayName = inFile("AD-B2B-OUT", "source: displayName", "source: cn");

function limited(exports: Partial<Limits["export"]>): Configuration {
  const adma = wholeRecipe.connectors.get("ADMA")!;
  const limits = { ...adma.limits, export: { ...adma.limits.export, ...exports } };
  return {
    ...wholeRecipe,
    connectors: new Map(wholeRecipe.connectors).set("ADMA", { ...adma, limits }),
  };
}

/** Guests with accounts; the first `others` are called otherwise. */
async function population(
  { guests, others }: { guests: number; others: number },
  options: WorldOptions = {},
): Promise<EngineWorld> {
  const world = new EngineWorld({ configuration: wholeRecipe, ...options });
  for (let number = 0; number < guests; number++)
    world.addGuest(number, number < others ? { givenName: "Other" } : {});
  await world.cycle("initial");
  await world.cycle("delta");
  expect(world.wrong()).toEqual([]);
  return world;
}

const head = (world: EngineWorld) => world.engine.rules.head();
const newest = async (world: EngineWorld) => (await world.engine.rules.versions(1)).versions[0]!;
const real = async (tables: CountedTables) => {
  const names = ["csindex", "metaverse", "mvindex", "plans", "objecthistory"];
  return Promise.all(names.map((name) => tables.rows(name)));
};

describe("a set whose effect goes beyond a limit", () => {
  test.each([
    ["disables", onlyGivenName, "disable", "The rules would disable 6 objects of ADMA"],
    ["deletes", accountsOfGivenName, "delete", "The rules would delete 6 objects of ADMA"],
  ])(
    "(%s) waits for approval with its numbers; cycles go on with the active version",
    async (_, rules, kind, says) => {
      const world = await population({ guests: 30, others: 6 });
      const before = await real(world.tables);
      world.ruleFiles = rules;
      const run = await world.cycle("delta");
      expect(run.status).toBe("stopped-approval-required");
      expect(run.steps[1]).toMatchObject({ connector: "MIMMA", status: "stopped-approval-required" });
      const reason = `${says}, more than its limit of 10 percent of 30 connected objects.`;
      expect(run.steps[1]!.detail).toContain(reason);
      expect(run.steps.slice(2).map(({ status }) => status)).toEqual(Array(7).fill("success"));
      expect(await real(world.tables)).toEqual(before);
      expect(await newest(world)).toMatchObject({
        version: 2,
        reasons: [reason],
        effect: { runId: run.id, counts: { ADMA: { [kind]: 6 } } },
        activated: null,
      });
      expect((await head(world)).active?.version).toBe(1);
      expect(await world.engine.rules.status()).toMatchObject({
        status: "warning",
        message: expect.stringContaining(reason),
      });
      const found = await new RulesDiffs(world.engine).found(run.id, { connector: "ADMA", kind }, 100);
      expect(found?.counts.ADMA).toMatchObject({ [kind]: 6, add: 0 });
      expect(found?.items).toHaveLength(6);

      // The next cycle neither works it out again nor makes another version.
      world.tables.reads = 0;
      expect((await world.cycle("delta")).status).toBe("success");
      expect((await newest(world)).version).toBe(2);

      const administration = new RuleAdministration(world.engine);
      await administration.activate("2", { by: "ann", why: "It is meant so." });
      expect((await head(world)).active?.version).toBe(2);
      const { entries } = await world.engine.audit.page(1);
      expect(entries[0]).toMatchObject({
        what: "activateRules",
        who: "ann",
        why: "It is meant so.",
        details: { version: 2, before: 1, reasons: reason },
      });
      // The export has limits of its own.
      const next = await world.cycle("delta");
      expect(next.status).toBe(`stopped-${kind === "delete" ? "deletion" : kind}-threshold-exceeded`);
      expect((await world.plans.page("ADMA", 1)).counts[kind as "disable"]).toBe(6);
    },
  );

  test("counts every kind, absolutely too", async () => {
    const none = { count: null, percent: null };
    const update = { count: 3, percent: null };
    const world = await population({ guests: 4, others: 0 }, { configuration: limited({ update }) });
    world.ruleFiles = otherDisplayName;
    expect((await world.cycle("delta")).status).toBe("stopped-approval-required");
    expect((await newest(world)).reasons).toEqual([
      "The rules would update 4 objects of ADMA, more than its limit of 3.",
    ]);

    const add = { count: 1, percent: null };
    const configuration = { ...limited({ add, update: none }) };
    const started = new EngineWorld({ configuration });
    started.ruleFiles = onlyGivenName;
    for (let number = 0; number < 3; number++)
      started.addGuest(number, number < 2 ? { givenName: "Other" } : {});
    await started.cycle("initial");
    started.ruleFiles = null;
    await started.cycle("delta");
    expect((await newest(started)).reasons).toEqual([
      "The rules would add 2 objects of ADMA, more than its limit of 1.",
    ]);
  });

  test("and that withdraws a rule says both", async () => {
    const world = await population({ guests: 30, others: 6 });
    world.ruleFiles = onlyGivenName.filter(({ file }) => !file.endsWith("/AD-B2B-OUT.yaml"));
    await world.cycle("delta");
    const { reasons, effect } = await newest(world);
    expect(reasons).toEqual(['The provision rule "AD-B2B-OUT" is gone.']);
    expect(effect?.counts).toEqual({});
  });
});

test("a set whose effect is within the limits is activated, and tells it", async () => {
  const world = await population({ guests: 30, others: 3 });
  world.ruleFiles = onlyGivenName;
  const run = await world.cycle("delta");
  expect(run.status).toBe("success");
  expect(run.steps[1]!.detail).toBe("Version 2 of the rules is active. Effect: ADMA 3 disable.");
  expect(await newest(world)).toMatchObject({ reasons: [], effect: { counts: { ADMA: { disable: 3 } } } });
  await world.cycle("delta");
  const disabled = world.accounts.listed().filter((one) => one.attributes.userAccountControl === 262658n);
  expect(disabled).toHaveLength(3);
});

test("what is pending anyway is no effect of the set", async () => {
  const world = await population({ guests: 30, others: 3 });
  for (let number = 10; number < 20; number++)
    world.guests.change(guestId(number), { accountEnabled: false });
  await world.profile("AADMA", "Delta Import (Stage Only)");
  world.ruleFiles = onlyGivenName;
  await world.profile("MIMMA", "Full Import (Stage Only)");
  await world.profile("MIMMA", "Full Synchronization");
  expect(await newest(world)).toMatchObject({ reasons: [], effect: { counts: { ADMA: { disable: 3 } } } });
  expect((await head(world)).active?.version).toBe(2);
});

test("words that no synchronisation reads are activated without looking at anybody", async () => {
  const world = await population({ guests: 3, others: 0 });
  world.ruleFiles = inFile("AD-B2B-OUT", "Every guest has an account", "Each guest has an account");
  await world.cycle("delta");
  expect(await newest(world)).toMatchObject({ version: 2, effect: null });
  expect((await head(world)).active?.version).toBe(2);
});

test("a version that somebody activates meanwhile stands", async () => {
  const world = await population({ guests: 3, others: 0 });
  world.ruleFiles = otherDisplayName;
  await world.cycle("delta");
  expect((await head(world)).active?.version).toBe(2);
  world.ruleFiles = onlyGivenName;
  await world.profile("MIMMA", "Full Import (Stage Only)");
  let isDone = false;
  world.beforeTransaction = async (table) => {
    if (isDone || table !== "diffs") return;
    isDone = true;
    await world.engine.rules.activate("1", { by: "ann", why: "Back." });
  };
  const run = await world.profile("MIMMA", "Full Synchronization");
  expect(isDone).toBe(true);
  expect(run.steps[0]).toMatchObject({
    status: "completed-warnings",
    detail: "Version 1 of the rules was activated by hand meanwhile; it stands.",
  });
  expect((await head(world)).active?.version).toBe(1);
  // Until the files change.
  world.ruleFiles = otherDisplayName;
  await world.cycle("delta");
  expect((await head(world)).active?.version).not.toBe(1);
});

test("while a directory does not say what it holds the active version stays, and a later cycle tries again", async () => {
  const world = await population({ guests: 3, others: 0 });
  world.ruleFiles = otherDisplayName;
  await world.profile("MIMMA", "Full Import (Stage Only)");
  world.restart(); // forgets the schemas
  world.accounts.failure = new ConnectorError("unreachable", "No route.");
  const run = await world.profile("MIMMA", "Full Synchronization");
  expect(run.status).toBe("no-start-connection");
  expect((await head(world)).active?.version).toBe(1);
  world.accounts.failure = null;
  await world.cycle("delta");
  expect((await head(world)).active?.version).toBe(2);
});

test("it may die at any write, works in slices, and decides the same", async () => {
  const before = await population({ guests: 25, others: 5 });
  const expected = {
    version: 2,
    reasons: [
      "The rules would disable 5 objects of ADMA, more than its limit of 10 percent of 25 connected objects.",
    ],
    effect: { counts: { ADMA: { disable: 5 } } },
  };
  let point = 1;
  let ended = false;
  for (; !ended; point += 9) {
    const world = new EngineWorld({
      configuration: wholeRecipe,
      tables: await before.tables.copy(),
      detectsDuplicates: point % 2 === 0,
      timings: { budgetMs: 0 },
    });
    world.now = before.now;
    world.ruleFiles = onlyGivenName;
    await world.profile("MIMMA", "Full Import (Stage Only)");
    const untouched = await real(world.tables);
    world.restart(point);
    await world.profile("MIMMA", "Full Synchronization");
    ended = world.crashes === 0;
    expect([point, await newest(world)]).toMatchObject([point, expected]);
    expect(await real(world.tables)).toEqual(untouched);
    expect((await world.engine.rules.versions(10)).versions).toHaveLength(2);
    const left = (await world.tables.rows("diffs")).map(({ row }) => row.split("|")[0]!);
    expect(left.filter((row) => row === "active" || row === "changed")).toEqual([]);
  }
  expect(point).toBeGreaterThan(60);
});

test("a deployment that the active rules do not check with activates those that it brings", async () => {
  const old = await population({ guests: 3, others: 0 });
  const person = wholeRecipe.metaverse.get("person")!;
  const attributes = new Map(person.attributes);
  attributes.set("shownName", { ...attributes.get("displayName")!, name: "shownName" });
  attributes.delete("displayName");
  const texts = wholeRecipe.ruleTexts.map(({ file, text }) => ({
    file,
    text: text
      .replace(
        "target: displayName, source: displayName }\n  - { target: givenName, source: givenName }\n  - { target: sn, source: surname",
        "target: shownName, source: displayName }\n  - { target: givenName, source: givenName }\n  - { target: sn, source: surname",
      )
      .replace("{ target: displayName, source: displayName }", "{ target: displayName, source: shownName }"),
  }));
  const deployment = {
    ...wholeRecipe,
    metaverse: new Map([["person", { ...person, attributes }]]),
    rulesVersion: `${wholeRecipe.rulesVersion.split(".")[0]}.other`,
  };
  const configuration = compileRuleTexts(texts, deployment);
  const world = new EngineWorld({ configuration, tables: old.tables });
  world.now = old.now;
  Object.assign(world.guests, old.guests);
  Object.assign(world.accounts, old.accounts);
  const run = await world.cycle("delta");
  expect(run.steps.slice(0, 3).map(({ status }) => status)).toEqual([
    "success",
    "success",
    "no-start-bad-ma-configuration", // it began with the old ones
  ]);
  expect(await newest(world)).toMatchObject({ version: 2, effect: { counts: {} } });
  expect((await world.cycle("delta")).status).toBe("success");
  expect(world.wrong()).toEqual([]);
});
