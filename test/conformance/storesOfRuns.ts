/** The stores of runs and of what surrounds them: checkpoints, errors, connectors' state, plans, rules, the audit. */
import { describe, expect, test } from "vitest";
import type { PlanItem } from "../../src/engine/core/exportOrder.ts";
import { AuditStore } from "../../src/engine/stores/audit.ts";
import { anchorHash } from "../../src/engine/stores/connectorSpaceRows.ts";
import { ConnectorStateStore } from "../../src/engine/stores/connectorState.ts";
import { DiffStore } from "../../src/engine/stores/diffs.ts";
import { type Hold, HoldStore } from "../../src/engine/stores/holds.ts";
import { type PlanHead, PlanStore } from "../../src/engine/stores/plans.ts";
import { RulesStore, type RulesVersion } from "../../src/engine/stores/rules.ts";
import {
  CheckpointStore,
  freshCheckpoint,
  HistoryStore,
  newRunId,
  type Run,
  type RunError,
  RunInTheWay,
  RunStore,
} from "../../src/engine/stores/runs.ts";
import { ScheduleStore } from "../../src/engine/stores/schedule.ts";
import { anchorKey, SeenStore } from "../../src/engine/stores/seen.ts";
import { type StoreBackend, storeWorld, untilDone } from "../support/storeWorld.ts";

const at = (second: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, second));

function runOf(second: number, changed: Partial<Run> = {}): Run {
  return {
    id: newRunId(at(second), String(second).padStart(6, "0")),
    trigger: "http",
    startedBy: null,
    cycle: null,
    status: "in-progress",
    startedAt: at(second).toISOString(),
    endedAt: null,
    currentStep: 0,
    steps: [],
    rulesVersion: "v1",
    stopRequested: false,
    approval: null,
    ...changed,
  };
}

const occupancy = (run: Run, connectors: readonly string[], exclusive = false) => ({
  ...{ runId: run.id, connectors, exclusive },
});

const errorOf = (number: number): RunError => ({
  ...{ code: "missing-object", anchor: `/\\#? ${number}`, dn: null, rule: null, attribute: null },
  ...{ message: "漢".repeat(5000), firstOccurred: at(number).toISOString(), retryCount: 0 },
});

/** All items of a list that comes in pages. */
async function paged<T>(
  page: (continuation?: string) => Promise<{ readonly items: readonly T[]; readonly continuation?: string }>,
): Promise<T[]> {
  const all: T[] = [];
  let continuation: string | undefined;
  do {
    const { items, ...rest } = await page(continuation);
    all.push(...items);
    continuation = rest.continuation;
  } while (continuation !== undefined);
  return all;
}

export function runStores(open: () => StoreBackend): void {
  describe("runs", () => {
    const listed = (runs: RunStore, pageSize = 1000) =>
      paged(async (continuation) => {
        const { runs: items, ...rest } = await runs.page(pageSize, continuation);
        return { items, ...rest };
      });

    test("list newest first, open ones by themselves, through pages that end anywhere", async () => {
      const world = storeWorld(open());
      const runs = new RunStore(world.tables);
      const all = Array.from({ length: 12 }, (_, second) => runOf(second));
      for (const [index, run] of all.entries()) await runs.create(run, occupancy(run, [`C${index}`]));
      world.faults.pages(0, 5, 1);
      const newestFirst = [...all].reverse();
      expect(await listed(runs)).toEqual(newestFirst);
      expect(await runs.openIds()).toEqual(newestFirst.map(({ id }) => id));
      const ended = { ...all[3]!, endedAt: at(60).toISOString() };
      await runs.end((await runs.get(all[3]!.id))!, ended);
      expect((await runs.get(ended.id))!.run).toEqual(ended);
      expect(await runs.openIds()).not.toContain(ended.id);
      expect(await runs.get("no such/run")).toBeUndefined();
    });

    test("exclude each other, and leave their place in the transaction that ends them", async () => {
      const world = storeWorld(open());
      const runs = new RunStore(world.tables);
      const [imports, other, sync] = [runOf(1), runOf(2), runOf(3)];
      await runs.create(imports, occupancy(imports, ["A"]));
      await runs.create(other, occupancy(other, ["B"]));
      const again = runOf(4);
      await expect(runs.create(again, occupancy(again, ["A"]))).rejects.toEqual(new RunInTheWay(imports.id));
      await expect(runs.create(sync, occupancy(sync, ["C"], true))).rejects.toBeInstanceOf(RunInTheWay);
      for (const run of [imports, other])
        await runs.end((await runs.get(run.id))!, { ...run, endedAt: run.startedAt });
      await runs.create(sync, occupancy(sync, ["C"], true));
      await expect(runs.create(again, occupancy(again, ["A"]))).rejects.toMatchObject({ runId: sync.id });
    });

    test("change only as they were read, and begin once though the answer is lost", async () => {
      const world = storeWorld(open());
      const runs = new RunStore(world.tables);
      const run = runOf(1);
      world.faults.transactions("lost");
      await untilDone(() => runs.create(run, occupancy(run, ["A"])));
      expect(world.faults.struck).toBe(1);
      expect(await runs.openIds()).toEqual([run.id]);
      const stored = (await runs.get(run.id))!;
      const stopping = { ...run, stopRequested: true };
      const changed = await runs.update(stored, stopping);
      await expect(runs.update(stored, run)).rejects.toMatchObject({ kind: "conflict" });
      await expect(runs.end(stored, { ...run, endedAt: run.startedAt })).rejects.toMatchObject({
        kind: "conflict",
      });
      expect((await runs.get(run.id))!.run).toEqual(stopping);
      await runs.update(changed, run);
    });

    test("remember the one cycle that waits until it begins", async () => {
      const world = storeWorld(open());
      const runs = new RunStore(world.tables);
      const run = runOf(1);
      await runs.create(run, occupancy(run, ["A"], true));
      await runs.queueCycle("delta");
      await runs.queueCycle("initial");
      expect(await runs.waitingCycle()).toBe("delta");
      await runs.end((await runs.get(run.id))!, { ...run, endedAt: run.startedAt });
      expect(await runs.waitingCycle()).toBe("delta");
      const byHand = runOf(2, { cycle: "delta" });
      await runs.create(byHand, occupancy(byHand, ["A"]));
      expect(await runs.waitingCycle()).toBe("delta");
      await runs.end((await runs.get(byHand.id))!, { ...byHand, endedAt: run.startedAt });
      const begun = runOf(3, { trigger: "timer", cycle: "delta" });
      await runs.create(begun, occupancy(begun, ["A"]));
      expect(await runs.waitingCycle()).toBeNull();
    });

    test("may have 150 steps, each with much to say", async () => {
      const world = storeWorld(open());
      const runs = new RunStore(world.tables);
      const steps = Array.from({ length: 150 }, (_, index) => ({
        ...{ number: index + 1, connector: `C${index}`, profile: "Full Import", type: "fullImport" as const },
        ...{ status: "success", startedAt: at(1).toISOString(), endedAt: at(2).toISOString() },
        ...{ statistics: { stageAdd: index }, detail: "漢".repeat(1900) },
      }));
      const run = runOf(1, { steps });
      const stored = await runs.create(run, occupancy(run, ["A"]));
      expect((await runs.get(run.id))!.run).toEqual(run);
      await runs.update(stored, { ...run, steps: steps.slice(0, 2) });
      expect((await listed(runs))[0]!.steps).toEqual(steps.slice(0, 2));
    });
  });

  describe("checkpoints", () => {
    test("are made once, keep a cursor of any length, and change only as they were read", async () => {
      const world = storeWorld(open());
      const checkpoints = new CheckpointStore(world.tables);
      const { id: runId } = runOf(1);
      const shards = [..."0123456789abcdef"];
      await checkpoints.createMissing(runId, 1, shards.slice(0, 3), 7);
      world.faults.transactions("lost", "busy");
      await untilDone(() => checkpoints.createMissing(runId, 1, shards, 7));
      world.faults.clear();
      const stored = (await checkpoints.get({ runId, step: 1, shard: "3" }))!;
      const moved = { ...freshCheckpoint, seq: 1, cursor: `"${"漢".repeat(400_000)}`, lastError: "x" };
      const after = await checkpoints.update(stored, moved);
      await expect(checkpoints.update(stored, moved)).rejects.toMatchObject({ kind: "conflict" });
      await checkpoints.createMissing(runId, 1, shards, 8);
      world.faults.pages(0, 7);
      const all = await checkpoints.list(runId, 1);
      expect(all.map(({ key }) => key.shard)).toEqual(shards);
      expect(all[3]!.checkpoint).toEqual(moved);
      expect(all[3]!.etag).toBe(after.etag);
      expect(all[4]!.checkpoint).toEqual({ ...freshCheckpoint, updatedAt: 7 });
      expect(await checkpoints.list(runId, 2)).toEqual([]);
      await checkpoints.update(after, { ...moved, cursor: null });
      expect((await checkpoints.get(after.key))!.checkpoint.cursor).toBeNull();
    });

    test("errors of objects are kept by object, and read up to the number that is asked for", async () => {
      const world = storeWorld(open());
      const history = new HistoryStore(world.tables);
      const { id } = runOf(1);
      const errors = Array.from({ length: 130 }, (_, number) => ({
        object: number.toString(16).padStart(32, "0"),
        error: errorOf(number),
      }));
      await history.addErrors(id, 1, errors);
      await history.addErrors(id, 1, errors.slice(0, 60));
      await history.addErrors(id, 2, errors.slice(0, 1));
      world.faults.pages(0, 50, 3);
      const anchors = (found: readonly RunError[]) => found.map(({ anchor }) => anchor);
      expect(anchors(await history.errors(id, 1, 1000))).toEqual(anchors(errors.map(({ error }) => error)));
      expect(await history.errors(id, 1, 100)).toHaveLength(100);
      expect((await history.errors(id, 2, 10))[0]!.message).toHaveLength(2001);
    });
  });

  test("a connector's state takes the changes of two processes and a watermark of any length", async () => {
    const world = storeWorld(open());
    const state = new ConnectorStateStore(world.tables);
    world.faults.transactions(null, "lost", "busy", "lost");
    const shards = [..."0123456789abcdef"];
    await Promise.all([
      ...shards.map((shard) => untilDone(() => state.markDirty("AD", "importShards", [shard], "r1:1"))),
      untilDone(() => state.update("AD", (now) => ({ ...now, watermark: `/\\#?${"漢".repeat(90_000)}` }))),
    ]);
    const hold = { status: "stopped-approval-required", detail: "…", since: at(1).toISOString(), runId: "r" };
    await state.update("AD", (now) => ({ ...now, hold, acceptedPopulation: 7 }));
    const now = await state.get("AD");
    expect(now).toMatchObject({
      importShards: shards.join(""),
      exportShards: "",
      hold,
      acceptedPopulation: 7,
    });
    expect(now.watermark).toBe(`/\\#?${"漢".repeat(90_000)}`);
    const stored = await state.read("AD");
    await state.update("AD", (one) => ({ ...one, watermark: "short", hold: null }));
    expect(await state.replace("AD", stored, stored.state)).toBe(false);
    expect(await state.get("AD")).toMatchObject({ watermark: "short", hold: null });
    expect((await state.get("other")).watermark).toBeNull();
  });

  describe("export plans", () => {
    const item = (index: number, without: readonly string[] = []): PlanItem => ({
      ...{ id: String(index).padStart(32, "0"), kind: "disable", rank: 0, digest: "d".repeat(22) },
      ...(without.length === 0 ? {} : { without }),
    });
    const headOf = (second: number, items: number): PlanHead => ({
      ...{
        runId: runOf(second).id,
        hash: "h",
        state: "done",
        approved: false,
        createdAt: at(second).toISOString(),
      },
      ...{ items, counts: { disable: items }, exported: { disable: second }, countedUpTo: 0, endedAt: null },
    });

    test("of any length are frozen whole", async () => {
      const world = storeWorld(open());
      const plans = new PlanStore(world.tables);
      const items = Array.from({ length: 20_001 }, (_, index) => item(index));
      const long = Array.from({ length: 300 }, (_, index) =>
        item(index, ["manager", "secretary", "assistant", "seeAlso"]),
      );
      await plans.freeze("ADMA", headOf(1, items.length), items);
      await plans.freeze("ADMA", headOf(2, long.length), long);
      world.faults.pages(0, 30);
      expect(await plans.items("ADMA", headOf(1, 0).runId)).toEqual(items);
      expect(await plans.items("ADMA", headOf(2, 0).runId)).toEqual(long);
      expect((await plans.newest("ADMA"))!.runId).toBe(headOf(2, 0).runId);
    });

    test("count what was exported since a time, are offered until they lapse, and are forgotten whole", async () => {
      const world = storeWorld(open());
      const plans = new PlanStore(world.tables);
      for (let second = 0; second < 20; second++)
        await plans.freeze("ADMA", headOf(second, 1), [item(second)]);
      world.faults.pages(0, 3);
      expect(await plans.exportedSince("ADMA", at(17).toISOString())).toEqual({ disable: 17 + 18 + 19 });
      const hash = "0a".repeat(32);
      const offer = {
        hash,
        createdAt: at(5).toISOString(),
        rulesVersion: "v",
        items: 1,
        counts: { disable: 1 },
      };
      await plans.keepOffer("ADMA", offer, [item(1)]);
      expect(await plans.offer("ADMA", hash)).toEqual(offer);
      expect(await plans.offer("ADMA", "../x")).toBeUndefined();
      const ended = at(15).toISOString();
      world.faults.transactions("lost", null, "lost");
      await untilDone(() => plans.forget("ADMA", { offered: at(6).toISOString(), ended }));
      expect(await plans.offer("ADMA", hash)).toBeUndefined();
      expect((await world.rest("plans")).length).toBe(2 * 5);
    });
  });

  test("the largest page that a directory gives is remembered as seen, and twice is once", async () => {
    const world = storeWorld(open());
    const seen = new SeenStore(world.tables);
    const key = { runId: runOf(1).id, step: 2 };
    const hashes = Array.from({ length: 5000 }, (_, index) => anchorHash(`guid-${index}`));
    await seen.add(key, 0, hashes);
    await seen.add(key, 0, hashes);
    await seen.add(key, 1, []);
    world.faults.pages(0, 1);
    const loaded = await seen.load(key);
    expect(loaded.size).toBe(hashes.length);
    expect(hashes.every((hash) => loaded.find(anchorKey(hash)) >= 0)).toBe(true);
    world.faults.transactions("lost");
    await untilDone(() => seen.clear(key));
    expect((await seen.load(key)).size).toBe(0);
  });

  describe("rules", () => {
    test("of any size become a version by one compare and swap", async () => {
      const world = storeWorld(open());
      const rules = new RulesStore(world.tables);
      const texts = [{ file: "rules/a.yaml", text: "漢".repeat(400_000) }];
      await rules.add("set1", texts, at(1).toISOString());
      expect(await new RulesStore(world.tables).texts("set1")).toEqual(texts);
      expect(await rules.texts("set2")).toBeNull();
      const first = await rules.head();
      const versionOf = (version: number): RulesVersion => ({
        ...{
          version,
          set: `set${version}`,
          createdAt: at(version).toISOString(),
          author: "/\\#?",
          why: "because",
        },
        ...{ counts: {}, reasons: [], activated: null, effect: null },
      });
      let head = first;
      for (let version = 1; version <= 12; version++) {
        const next = { ...head.head, active: { version, set: `set${version}` }, last: version };
        head = (await rules.change(head, next, { versions: [versionOf(version)] }))!;
      }
      expect(await rules.change(first, first.head, { versions: [versionOf(99)] })).toBeNull();
      expect(await rules.version(99)).toBeNull();
      expect((await rules.head()).head.active).toEqual({ version: 12, set: "set12" });
      world.faults.pages(0, 5);
      const versions = await paged(async (continuation) => {
        const { versions: items, ...rest } = await rules.versions(1000, continuation);
        return { items, ...rest };
      });
      expect(versions.map(({ version }) => version)).toEqual(
        Array.from({ length: 12 }, (_, index) => 12 - index),
      );
    });

    test("edited through the API keep their names and texts, whatever they are", async () => {
      const world = storeWorld(open());
      const rules = new RulesStore(world.tables);
      const names = ["a", "A", "In from AAD – Join/#1?", "漢字", "x".repeat(900)];
      for (const [index, name] of names.entries()) {
        const stored = await rules.head();
        const text = index === 1 ? null : `${name} ${"漢".repeat(100_000)}`;
        const edit = { name, text, over: null, by: "ann", why: "so", at: at(index).toISOString() };
        await rules.change(stored, { ...stored.head, edits: stored.head.edits + 1 }, { edit });
      }
      world.faults.pages(0, 2);
      const edits = new Map((await rules.edits()).map((edit) => [edit.name, edit.text?.length]));
      expect(edits).toEqual(
        new Map(names.map((name, index) => [name, index === 1 ? undefined : name.length + 100_001])),
      );
    });
  });

  test("the audit lists newest first, loses nothing of one instant, and has no act twice when an answer is lost", async () => {
    const world = storeWorld(open());
    const audit = new AuditStore(world.tables);
    const entry = (second: number, what: string) => ({
      ...{ at: at(second).toISOString(), who: "ann@corp.example", what, why: "x".repeat(3000), details: {} },
      about: { connector: "ADMA" },
    });
    await audit.add(entry(1, "join"));
    world.faults.transactions("lost", null, null, "lost");
    await untilDone(() => audit.add(entry(2, "disconnect"), "one"));
    await untilDone(() => audit.add(entry(2, "disconnect"), "two"));
    await untilDone(() => audit.add(entry(2, "retry")));
    world.faults.pages(0, 1);
    const entries = await paged(async (continuation) => {
      const { entries: items, ...rest } = await audit.page(1000, continuation);
      return { items, ...rest };
    });
    expect(entries.map(({ what }) => what)).toEqual(["retry", "disconnect", "disconnect", "join"]);
    expect(new Set(entries.map(({ id }) => id)).size).toBe(4);
    expect(entries[0]!.why).toHaveLength(2000);
  });

  test("holds end with their time or by hand; the schedule is what was said last", async () => {
    const world = storeWorld(open());
    const holds = new HoldStore(world.tables);
    const hold = (metaverseId: string, until: string | null): Hold => ({
      ...{ metaverseId, why: "/\\#? 漢", by: "ann", since: at(0).toISOString(), until },
    });
    const all = [hold("a1", null), hold("a2", at(5).toISOString()), hold("a3", at(50).toISOString())];
    for (const one of all) await holds.set(one);
    world.faults.pages(0, 1);
    expect([...(await holds.active(at(10).toISOString())).values()]).toEqual([all[0], all[2]]);
    expect(await holds.get("a2", at(10).toISOString())).toBeNull();
    world.faults.transactions("lost");
    await untilDone(() => holds.remove("a1"));
    await holds.remove("a1");
    await holds.removeEnded(at(20).toISOString());
    expect(await world.rest("holds")).toEqual(["a3"]);

    const schedule = new ScheduleStore(world.tables);
    expect((await schedule.get()).suspended).toBe(false);
    const suspended = { suspended: true, changedAt: at(1).toISOString(), changedBy: "ann" };
    await schedule.set(suspended);
    expect(await schedule.get()).toEqual(suspended);
  });

  test("a comparison of rules keeps two worlds over the tables, and its effects when they are gone", async () => {
    const world = storeWorld(open());
    const diffs = new DiffStore(world.tables);
    const { id } = runOf(1);
    expect(await diffs.settleActive(id, async () => "v1")).toBe("v1");
    expect(await diffs.settleActive(id, async () => "v2")).toBe("v1");
    const side = diffs.tablesOf(id, "changed");
    for (let number = 0; number < 150; number++)
      await side.transact("connectorspace", "AD-a", [
        { kind: "insert", row: `o|a${String(number).padStart(3, "0")}`, properties: { text: "x" } },
      ]);
    world.faults.pages(0, 40);
    const touched: string[] = [];
    for await (const one of diffs.touched(id, "changed", "AD-a", "a100")) touched.push(one);
    expect(touched).toHaveLength(50);
    const effects = Array.from({ length: 60 }, (_, number) => ({
      ...{ connector: "AD", kind: "update", id: `a${String(number).padStart(3, "0")}` },
      effect: { number, text: number === 7 ? "漢".repeat(100_000) : "" },
    }));
    await diffs.addEffects(id, effects);
    world.faults.transactions(null, "lost");
    await untilDone(async () => {
      if (!(await diffs.forget(id, "changed", () => false))) throw new Error("not all of it");
    });
    const found = await paged(async (continuation) => {
      const { effects: items, ...rest } = await diffs.effects(id, { connector: "AD" }, 25, continuation);
      return { items, ...rest };
    });
    expect(found).toEqual(effects.map(({ effect }) => effect));
    expect((await world.rest("diffs")).filter((row) => row.startsWith("changed|"))).toEqual([]);
  });
}
