/** The rules connector over the real engine: a set is activated whole or not at all, whatever dies on the way. */
import { describe, expect, test } from "vitest";
import type { ConfigurationFile } from "../../src/engine/core/configuration.ts";
import { Queries } from "../../src/engine/queries.ts";
import type { Run } from "../../src/engine/stores/runs.ts";
import { wholeRecipe } from "../fast/support/guestWorld.ts";
import { EngineWorld, guestId, type WorldOptions } from "../support/engineWorld.ts";

const importAll = "Full Import (Stage Only)";
const synchronizeAll = "Full Synchronization";
const outbound = "AD-B2B-OUT";

/** The files with one text replaced; "" takes the file away. */
function files(
  changes: Readonly<Record<string, string | ((text: string) => string)>> = {},
): ConfigurationFile[] {
  return wholeRecipe.ruleTexts.flatMap(({ file, text }) => {
    const change = changes[file.split("/").at(-1)!.replace(".yaml", "")];
    const changed = change === undefined ? text : typeof change === "string" ? change : change(text);
    return changed === "" ? [] : [{ file, text: changed }];
  });
}

const inFile = (name: string, from: string, to: string) => {
  const changed = files({ [name]: (text) => text.replace(from, to) });
  expect(changed).not.toEqual(files());
  return changed;
};
const otherDisplayName = () =>
  inFile("AD-B2B-OUT", "target: displayName, source: displayName", "target: displayName, source: cn");
const unknownAttribute = () => inFile("AD-B2B-OUT", "source: displayName", "source: displaName");

function worldOf(options: WorldOptions = {}): EngineWorld {
  const world = new EngineWorld({ configuration: wholeRecipe, ...options });
  world.ruleFiles = files();
  return world;
}

async function started(guests = 2, options: WorldOptions = {}): Promise<EngineWorld> {
  const world = worldOf(options);
  for (let number = 1; number <= guests; number++) world.addGuest(number);
  await world.cycle("initial");
  return world;
}

const ofRules = (run: Run) =>
  run.steps
    .filter(({ connector }) => connector === "MIMMA")
    .map(({ status, statistics }) => ({ status, statistics }));
const versions = async (world: EngineWorld) =>
  (await world.engine.rules.versions(100)).versions.map(({ version, author, reasons }) => ({
    version,
    author,
    reasons: reasons.length,
  }));
const active = async (world: EngineWorld) => (await world.engine.rules.head()).active?.version;
const stages = async (world: EngineWorld) => [
  await world.profile("MIMMA", importAll),
  await world.profile("MIMMA", synchronizeAll),
];

describe("the rules connector", () => {
  test("stages the files' rules, activates them as the first version, and costs an idle cycle no message", async () => {
    const world = await started();
    expect(world.wrong()).toEqual([]);
    expect(ofRules(await world.lastRun())).toEqual([
      { status: "success", statistics: { stageAdd: 3 } },
      { status: "success", statistics: { disconnectorProjectedFlow: 3 } },
    ]);
    expect(await versions(world)).toEqual([{ version: 1, author: "http", reasons: 0 }]);
    await world.cycle("delta");
    const { reads, transactions } = world.tables;
    world.bus.sent.length = 0;
    const idle = await world.cycle("delta");
    expect(ofRules(idle)).toEqual(Array(2).fill({ status: "success", statistics: {} }));
    expect(world.bus.sent).toHaveLength(7);
    const without = new EngineWorld();
    without.addGuest(1);
    await without.cycle("initial");
    await without.cycle("delta");
    const before = { reads: without.tables.reads, transactions: without.tables.transactions };
    await without.cycle("delta");
    expect(world.tables.reads - reads).toBeLessThanOrEqual(without.tables.reads - before.reads + 1);
    expect(world.tables.transactions - transactions).toBe(without.tables.transactions - before.transactions);
  });

  test("takes a changed file up with one cycle and synchronises with it in the next", async () => {
    const world = await started();
    world.ruleFiles = otherDisplayName();
    const first = await world.cycle("delta");
    expect(ofRules(first).map(({ statistics }) => statistics)).toEqual([
      { stageUpdate: 1 },
      { connectorFlow: 1 },
    ]);
    expect(first.steps[1]!.detail).toBe("Version 2 of the rules is active. Effect: ADMA 2 update.");
    expect(world.accounts.writes.filter((write) => write.startsWith("update"))).toEqual([]);
    const second = await world.cycle("delta");
    expect(second.rulesVersion).not.toBe(first.rulesVersion);
    const fullAnew = second.steps.flatMap(({ connector, detail }) =>
      detail?.includes("was made") ? connector : [],
    );
    expect(fullAnew).toEqual(["ADMA"]);
    for (const { attributes } of world.accounts.listed()) expect(attributes.displayName).toBe(attributes.cn);
    const third = await world.cycle("delta");
    expect(third.steps.every(({ statistics }) => Object.keys(statistics).length === 0)).toBe(true);
  });

  test("stages additions and deletions, and counts them", async () => {
    const world = await started();
    const added = { file: "config/rules/more.yaml", text: files()[0]!.text.replace("AAD-B2B-IN", "MORE") };
    world.ruleFiles = [...files(), { ...added, text: added.text.replace(/^linkType.*$/m, "linkType: join") }];
    const [imported] = await stages(world);
    expect(imported!.steps[0]!.statistics).toEqual({ stageAdd: 1, stageNoChange: 3 });
    world.ruleFiles = files();
    const [without, synchronised] = await stages(world);
    expect(without!.steps[0]!.statistics).toEqual({ stageDelete: 1, stageNoChange: 3 });
    expect(synchronised!.status).toMatch(/success|errors/);
  });
});

describe("a set that does not check", () => {
  test("is refused whole, each error on its rule, and the active version works on", async () => {
    const world = await started();
    world.ruleFiles = unknownAttribute();
    const run = await world.cycle("delta");
    expect(run.status).toBe("completed-sync-errors");
    const errors = await world.engine.history.errors(run.id, 1, 10);
    expect(errors).toMatchObject([{ anchor: outbound, rule: outbound, dn: outbound }]);
    expect(errors[0]!.message).toMatch(
      /config\/rules\/AD-B2B-OUT\.yaml:\d+:\d+ .*displaName.*Did you mean "displayName"\?/,
    );
    const object = (await world.engine.connectorSpace.findByAnchor("MIMMA", outbound))!.object;
    expect([object.pendingImport?.change, object.error?.code]).toEqual(["update", errors[0]!.code]);
    expect(await active(world)).toBe(1);
    expect(await world.engine.rules.status()).toMatchObject({ status: "failed" });
    world.addGuest(3);
    expect((await world.cycle("delta")).status).toBe("success");
    expect(world.wrong()).toEqual([]);
  });

  test("and is mended becomes active, without a trace on the rules", async () => {
    const world = await started();
    world.ruleFiles = unknownAttribute();
    await world.cycle("delta");
    world.ruleFiles = otherDisplayName();
    await world.cycle("delta");
    expect(await active(world)).toBe(2);
    expect(await world.outstanding(["MIMMA"])).toEqual([]);
    expect(await world.engine.rules.status()).toMatchObject({ status: "healthy" });
  });

  test("without a version before it starts nothing", async () => {
    const world = worldOf();
    world.ruleFiles = unknownAttribute();
    await expect(world.engine.startCycle("initial", "http")).rejects.toThrow(/displaName/);
    expect(await world.engine.runs.openIds()).toEqual([]);
  });
});

describe("a set that withdraws a rule", () => {
  test.each([
    ["drops", { "AD-B2B-OUT": "" }, /The provision rule "AD-B2B-OUT" is gone/],
    ["disables", { "AD-B2B-OUT": (text: string) => `${text}\nenabled: false\n` }, /is disabled/],
    [
      "makes it only join",
      { "AAD-B2B-IN": (text: string) => text.replace("linkType: provision", "linkType: join") },
      /of link type join now/,
    ],
  ])("(%s) waits for approval; cycles go on with the active version", async (_, changes, reason) => {
    const world = await started(3);
    world.ruleFiles = files(changes);
    const run = await world.cycle("delta");
    expect(run.status).toBe("stopped-approval-required");
    expect(run.steps[1]!.detail).toMatch(reason);
    expect(run.steps.slice(2).every(({ status }) => status === "success")).toBe(true);
    expect(await world.engine.rules.status()).toMatchObject({
      status: "warning",
      message: expect.stringMatching(reason),
    });
    world.addGuest(4);
    expect((await world.cycle("delta")).status).toBe("success");
    expect(world.wrong()).toEqual([]);
    expect(await active(world)).toBe(1);
    const approved = await world.engine.rules.activate("2", { by: "ann", why: "We leave." });
    expect(approved.activated).toMatchObject({ by: "ann", why: "We leave." });
    expect(await active(world)).toBe(2);
    const next = await world.cycle("delta");
    expect(ofRules(next)[1]!.statistics).not.toEqual({});
    expect(await world.outstanding(["MIMMA"])).toEqual([]);
  });
});

describe("a rollback", () => {
  test("is one call; it stands until the files change", async () => {
    const world = await started();
    world.ruleFiles = otherDisplayName();
    await world.cycle("delta");
    await world.cycle("delta");
    await world.engine.rules.activate("1", { by: "ann", why: "Names were wrong." });
    expect(await world.engine.rules.status()).toMatchObject({ status: "warning" });
    for (let cycle = 0; cycle < 2; cycle++) await world.cycle("delta");
    expect(world.wrong()).toEqual([]);
    expect(await active(world)).toBe(1);
    expect(await world.outstanding(["MIMMA"])).toEqual([]);
    world.ruleFiles = inFile(
      "AD-B2B-OUT",
      "target: displayName, source: displayName",
      "target: displayName, source: uid",
    );
    await world.cycle("delta");
    expect(await active(world)).toBe(3);
  });

  test("ends when the version of the files is activated", async () => {
    const world = await started();
    world.ruleFiles = otherDisplayName();
    await world.cycle("delta");
    await world.engine.rules.activate("1", { by: "ann", why: "Wait." });
    await world.engine.rules.activate("2", { by: "ann", why: "Go on." });
    expect(await world.engine.rules.status()).toMatchObject({ status: "healthy" });
    await world.cycle("delta");
    for (const { attributes } of world.accounts.listed()) expect(attributes.displayName).toBe(attributes.cn);
  });

  test("to a version that is not there is refused", async () => {
    const world = await started();
    await expect(world.engine.rules.activate("7", { by: "ann", why: "?" })).rejects.toThrow("no version 7");
  });
});

describe("a rule edited through the API", () => {
  const edited = () => otherDisplayName().find(({ file }) => file.includes(outbound))!.text;

  test("counts over its file, with who and why, until the file changes", async () => {
    const world = await started();
    expect(await world.engine.rules.edit(outbound, edited(), { by: "bob", why: "Names." })).toEqual([]);
    await world.cycle("delta");
    const { versions: all } = await world.engine.rules.versions(10);
    expect(all[0]).toMatchObject({ version: 2, author: "bob", why: "Names.", counts: { changed: 1 } });
    await world.cycle("delta");
    for (const { attributes } of world.accounts.listed()) expect(attributes.displayName).toBe(attributes.cn);
    world.ruleFiles = inFile(
      "AD-B2B-OUT",
      "target: displayName, source: displayName",
      "target: displayName, source: uid",
    );
    await world.cycle("delta");
    await world.cycle("delta");
    for (const { attributes } of world.accounts.listed())
      expect(attributes.displayName).toBe(String(attributes.adminDescription).slice(5));
    const [ofFile] = (await world.engine.rules.versions(1)).versions;
    expect(ofFile).toMatchObject({ version: 3, author: "http", counts: { changed: 1 } });
    expect(ofFile!.why).not.toBe("Names.");
  });

  test("at great length, with many others, makes one version that names as much as it can hold", async () => {
    const world = await started();
    for (let number = 10; number < 30; number++) {
      const text = edited()
        .replace(/^name: .*$/m, `name: OTHER-${number}`)
        .replace(/^precedence: .*$/m, `precedence: ${number}00`);
      const why = `${number} `.repeat(700);
      await world.engine.rules.edit(`OTHER-${number}`, `${text}\nenabled: false\n`, {
        by: `p${number}`,
        why,
      });
    }
    expect((await world.cycle("delta")).status).toBe("success");
    const [version] = (await world.engine.rules.versions(1)).versions;
    expect(version).toMatchObject({ version: 2, author: expect.stringMatching(/^p10, p11, .*p29$|^p/) });
    expect(version!.why).toMatch(/^(\d\d ){600}.*…$/);
  });

  test("that does not check says so, and is refused with the set", async () => {
    const world = await started();
    const wrong = unknownAttribute().find(({ file }) => file.includes(outbound))!.text;
    const problems = await world.engine.rules.edit(outbound, wrong, { by: "bob", why: "?" });
    expect(problems).toMatchObject([
      { file: "edited/AD-B2B-OUT.yaml", message: expect.stringContaining("displaName") },
    ]);
    expect((await world.cycle("delta")).status).toBe("completed-sync-errors");
    expect(await active(world)).toBe(1);
  });

  test("and deleted waits for approval, as a file that is gone", async () => {
    const world = await started();
    await world.engine.rules.edit(outbound, null, { by: "bob", why: "Away." });
    expect((await world.cycle("delta")).status).toBe("stopped-approval-required");
  });
});

describe("whatever dies on the way", () => {
  test("an activation is there whole, or not yet, and once", async () => {
    const before = await started(0);
    let point = 0;
    for (let ended = false; !ended; ) {
      point++;
      const tables = await before.tables.copy();
      const world = worldOf({ tables, detectsDuplicates: point % 2 === 0 });
      world.now = before.now;
      world.ruleFiles = otherDisplayName();
      world.restart(point);
      await stages(world);
      ended = world.crashes === 0;
      expect([point, ...(await versions(world))]).toEqual([
        point,
        { version: 2, author: "http", reasons: 0 },
        { version: 1, author: "http", reasons: 0 },
      ]);
      expect([point, await active(world), await world.outstanding(["MIMMA"])]).toEqual([point, 2, []]);
    }
    expect(point).toBeGreaterThan(20);
  });

  test("a first start is as if nothing had died", async () => {
    let point = 0;
    for (let ended = false; !ended; ) {
      point += 7;
      const world = worldOf();
      world.addGuest(1);
      world.restart(point);
      await world.cycle("initial");
      ended = world.crashes === 0;
      expect([point, world.wrong(), await versions(world)]).toEqual([
        point,
        [],
        [{ version: 1, author: "http", reasons: 0 }],
      ]);
    }
  });

  test("a set that waits has one version, however often it is met", async () => {
    const before = await started(0);
    for (let point = 1; point < 40; point += 2) {
      const world = worldOf({ tables: await before.tables.copy() });
      world.now = before.now;
      world.ruleFiles = files({ [outbound]: "" });
      world.restart(point);
      await stages(world);
      expect([point, ...(await versions(world))]).toEqual([
        point,
        { version: 2, author: "http", reasons: 1 },
        { version: 1, author: "http", reasons: 0 },
      ]);
    }
  });
});

describe("several at once", () => {
  test("two that start with the same files make one version", async () => {
    const world = worldOf();
    const [one, other] = [world.newEngine(), world.newEngine()];
    const doer = { by: "start", why: "The first set of rules." };
    const both = await Promise.all([one.rules.forRun(doer), other.rules.forRun(doer)]);
    expect(both[0].rulesVersion).toBe(both[1].rulesVersion);
    expect(await versions(world)).toEqual([{ version: 1, author: "start", reasons: 0 }]);
  });

  test("two with other files: one is first, the other's become the second version with its own import", async () => {
    const world = worldOf();
    const other = world.newEngine();
    const doer = { by: "start", why: "The first set of rules." };
    await world.engine.rules.forRun(doer);
    world.ruleFiles = otherDisplayName();
    expect((await other.rules.forRun(doer)).stored.head.active?.version).toBe(1);
    await world.cycle("delta");
    expect(await active(world)).toBe(2);
  });

  test("an approval beside a rollback: the last one counts, and nothing is half", async () => {
    const world = await started();
    world.ruleFiles = files({ [outbound]: "" });
    await world.cycle("delta");
    const ends = new Set<number | undefined>();
    for (const [first, second] of [
      ["2", "1"],
      ["1", "2"],
    ] as const) {
      const { rules } = world.engine;
      await Promise.all([
        rules.activate(first, { by: "ann", why: "Yes." }),
        world.newEngine().rules.activate(second, { by: "bob", why: "No." }),
      ]);
      const { active: now, pinnedAgainst } = await rules.head();
      expect(pinnedAgainst === null).toBe(now?.version === 2);
      ends.add(now?.version);
    }
    expect([...ends].every((version) => version === 1 || version === 2)).toBe(true);
  });
});

test("a run works to its end with the version that it began with", async () => {
  const world = await started();
  world.guests.change(guestId(1), { displayName: "Renamed" });
  world.ruleFiles = otherDisplayName();
  await world.engine.startCycle("delta", "http");
  const rulesSteps = 5;
  for (let message = 0; message < rulesSteps; message++) await world.deliver();
  await world.settle();
  expect(world.wrong()).toEqual([]);
  expect(await active(world)).toBe(2);
});

test("what is there can be looked at while the active rules do not check with a new deployment", async () => {
  const world = await started();
  const [person] = wholeRecipe.metaverse.values();
  const attributes = new Map(person!.attributes);
  attributes.delete("displayName");
  world.configuration = {
    ...wholeRecipe,
    rulesVersion: "0123456789abcdef.0123456789abcdef",
    metaverse: new Map([[person!.name, { ...person!, attributes }]]),
  };
  world.restart();
  const queries = new Queries(world.engine);
  expect((await queries.connectors()).items).toMatchObject([
    { name: "AADMA", counts: { objects: 2 }, fullSynchronizationRequired: true },
    { name: "ADMA", counts: { objects: 2 }, fullSynchronizationRequired: true },
    { name: "MIMMA" },
  ]);
  const { items } = await queries.metaverse([], 1);
  const { id } = items[0] as { readonly id: string };
  expect(await queries.metaverseObject(id)).toMatchObject({
    attributes: { cn: expect.any(String) },
    lineage: { cn: [{ connector: "AADMA", rule: "AAD-B2B-IN", won: true }] },
  });
  expect(await world.plans.page("ADMA", 10)).toMatchObject({ state: "done" });
});
