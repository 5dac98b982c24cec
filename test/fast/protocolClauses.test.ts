/** Clauses of the run protocol that a whole run seldom meets, each by itself; ARCHITECTURE.md lists the others. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { stepMessageSchema } from "../../src/api/stepMessage.ts";
import { messageId } from "../../src/engine/ports/bus.ts";
import { ConnectorError } from "../../src/engine/ports/connector.ts";
import type { StepType } from "../../src/engine/stores/runs.ts";
import { EngineWorld } from "../support/engineWorld.ts";
import { RunWorld } from "../support/runWorld.ts";

const step = (connector: string, type: StepType) => ({ connector, profile: type, type });
const oneImport = {
  ...{ cycle: null, steps: [step("AADMA", "deltaImport")], trigger: "http" as const, rulesVersion: "v1" },
};
const attempts = (world: RunWorld) => world.bus.sent.map((id) => Number(id.split(":").at(-1)));

test("the id of any message is far below the 128 characters that Service Bus takes", () => {
  const longest = stepMessageSchema.parse({
    ...{ runId: "9999999999999-ffffff", step: 999, shard: "main" },
    ...{ seq: Number.MAX_SAFE_INTEGER, attempt: Number.MAX_SAFE_INTEGER },
  });
  expect(messageId(longest).length).toBeLessThan(100);
});

test("what failed because the world did is tried again later and later, each time with a new attempt", async () => {
  const world = new RunWorld();
  const tries: number[] = [];
  world.work = async () => {
    tries.push(world.now);
    throw new ConnectorError("unreachable", "No answer.");
  };
  await world.protocol.start(oneImport);
  await world.quiet();
  expect(tries.map((at, index) => at - (tries[index - 1] ?? at))).toEqual([0, 15_000, 45_000]);
  expect(attempts(world)).toEqual([0, 1, 2]);
});

test("an earlier attempt of what is tried again later begins nothing, and the later one still comes", async () => {
  const world = new RunWorld(false);
  let worked = 0;
  world.work = async () => {
    if (++worked === 1) throw new ConnectorError("throttled", "Later.");
    return { kind: "done", status: "success" };
  };
  const { id } = await world.protocol.start(oneImport);
  const { message } = world.bus.waiting[0]!;
  await world.deliver();
  expect(await world.receive(message)).toBe("a later attempt is on its way");
  expect(await world.receive({ ...message, attempt: 1 })).toBe("too early; scheduled");
  expect(worked).toBe(1);
  await world.quiet();
  expect(worked).toBe(2);
  expect((await world.runs.get(id))!.run.status).toBe("success");
});

test("a function works until its time is used up, hands over, and the step goes on where it was", async () => {
  const world = new RunWorld();
  const slices: string[][] = [];
  world.work = async ({ cursor, overBudget, save }) => {
    const pages: string[] = [];
    slices.push(pages);
    for (let page = Number(cursor ?? 0); page < 7; page++) {
      if (overBudget()) return { kind: "continue", cursor: String(page) };
      pages.push(String(page));
      world.now += 50_000;
      await save(String(page + 1));
    }
    return { kind: "done", status: "success" };
  };
  await world.protocol.start(oneImport);
  await world.quiet();
  expect(slices).toEqual([["0", "1", "2"], ["3", "4", "5"], ["6"]]);
});

test("a lease is taken over half its length after its end, not before", async () => {
  const world = new RunWorld(false);
  let release = () => {};
  const owners: number[] = [];
  world.work = async ({ lease }) => {
    owners.push(lease.epoch);
    if (owners.length === 1) await new Promise<void>((resolve) => (release = resolve));
    return { kind: "done", status: "success" };
  };
  await world.protocol.start(oneImport);
  const { message } = world.bus.waiting.shift()!;
  const frozen = world.protocol.receive(message);
  await new Promise((resolve) => setTimeout(resolve, 5));
  world.now += 89_999;
  expect(await world.receive(message)).toBe("the lease is held; scheduled for its end");
  expect(owners).toEqual([1]);
  world.now += 1;
  await world.quiet();
  expect(owners).toEqual([1, 2]);
  release();
  expect(await frozen).toMatch(/taken over/);
});

test("no write is begun that could end after the lease: its time-out and 30 s more must be left", async () => {
  const world = new RunWorld();
  const may: boolean[] = [];
  world.work = async ({ mayWrite }) => {
    for (const pass of [0, 25_000, 1]) {
      world.now += pass;
      may.push(mayWrite(5000));
    }
    return { kind: "done", status: "success" };
  };
  await world.protocol.start(oneImport);
  await world.quiet();
  expect(may).toEqual([true, true, false]);
});

test("a checkpoint renews the lease: it is held as long again from there", async () => {
  const world = new RunWorld(false);
  let release = () => {};
  let worked = 0;
  const may: boolean[] = [];
  world.work = async ({ save, mayWrite }) => {
    if (++worked > 1) return { kind: "done", status: "success" };
    world.now += 50_000;
    may.push(mayWrite(5000));
    await save("page 1");
    may.push(mayWrite(5000));
    await new Promise<void>((resolve) => (release = resolve));
    return { kind: "done", status: "success" };
  };
  await world.protocol.start(oneImport);
  const { message } = world.bus.waiting.shift()!;
  const slow = world.protocol.receive(message);
  await new Promise((resolve) => setTimeout(resolve, 5));
  world.now += 89_999;
  expect(await world.receive(message)).toBe("the lease is held; scheduled for its end");
  expect(may).toEqual([false, true]);
  release();
  expect(await slow).toBe("done: success");
  await world.quiet();
  expect(worked).toBe(1);
});

describe("a dead letter ends its run only", () => {
  const held = async () => {
    const world = new RunWorld(false);
    const { id } = await world.protocol.start(oneImport);
    const { message } = world.bus.waiting.shift()!;
    const row = (await world.checkpoints.get(message))!;
    const dead = async () => {
      const outcome = await world.protocol.receiveDeadLetter(message, "too often");
      return [outcome, (await world.runs.get(id))!.run.endedAt !== null];
    };
    return { world, row, dead };
  };

  test("when nobody is at work", async () => {
    const { world, row, dead } = await held();
    const lease = { leaseOwner: "x", leaseUntil: world.now + 60_000, epoch: 1 };
    await world.checkpoints.update(row, { ...row.checkpoint, ...lease });
    world.now += 89_000;
    expect(await dead()).toEqual(["stale", false]);
    world.now += 2000;
    expect(await dead()).toEqual(["the run was ended", true]);
  });

  test("when its time has come", async () => {
    const { world, row, dead } = await held();
    await world.checkpoints.update(row, { ...row.checkpoint, notBefore: world.now + 15_000 });
    expect(await dead()).toEqual(["stale", false]);
    world.now += 15_000;
    expect(await dead()).toEqual(["the run was ended", true]);
  });

  test("when it is the current attempt", async () => {
    const { world, row, dead } = await held();
    await world.checkpoints.update(row, { ...row.checkpoint, attempt: 1 });
    expect(await dead()).toEqual(["stale", false]);
  });
});

test("a run whose checkpoints are gone, though it had some, is ended by the watchdog", async () => {
  const world = new RunWorld();
  world.work = async () => ({ kind: "done", status: "success" });
  const steps = [step("AADMA", "deltaImport"), step("ADMA", "export")];
  const { id } = await world.protocol.start({ ...oneImport, steps });
  await world.deliver();
  for (const { key } of await world.checkpoints.list(id, 1)) {
    const row = `c|${String(key.step).padStart(3, "0")}|${key.shard}`;
    await world.tables.transact("checkpoints", id, [{ kind: "delete", row }]);
  }
  await world.protocol.watch();
  expect((await world.runs.get(id))!.run).toMatchObject({
    status: "stopped-server",
    endedAt: expect.any(String),
  });
});

test("a run that is asked to stop while it waits to be tried again ends with its next message", async () => {
  const world = new RunWorld();
  world.work = async () => {
    throw new ConnectorError("unreachable", "No answer.");
  };
  const { id } = await world.protocol.start(oneImport);
  await world.deliver();
  await world.protocol.requestStop(id);
  await world.quiet();
  expect((await world.runs.get(id))!.run).toMatchObject({
    status: "stopped-user",
    steps: [{ status: "stopped-user" }],
  });
});

describe("timers", () => {
  const cyclesOf = async (world: EngineWorld) =>
    (await world.engine.runs.page(20)).runs.map(({ cycle, status }) => `${cycle} ${status}`);

  test("that fire while a cycle runs make one more of it, however many they are", async () => {
    const world = new EngineWorld();
    world.addGuest(1);
    await world.engine.onTimer();
    for (let tick = 0; tick < 5; tick++) expect(await world.engine.onTimer()).toMatch(/waits/);
    await world.quiet();
    expect(await cyclesOf(world)).toEqual(["initial success", "initial success"]);
    expect(await world.engine.runs.waitingCycle()).toBeNull();
    // A week without anybody: the first timer after it makes one cycle.
    world.now += 7 * 24 * 60 * 60 * 1000;
    world.restart();
    await world.engine.onTimer();
    await world.quiet();
    expect((await cyclesOf(world))[0]).toBe("delta success");
    expect(await cyclesOf(world)).toHaveLength(3);
  });

  test("start nothing while the schedule is suspended, and what waited is forgotten", async () => {
    const world = new EngineWorld();
    await world.engine.onTimer();
    await world.engine.onTimer();
    await world.engine.schedule.set({ suspended: true, changedAt: null, changedBy: null });
    await world.quiet();
    expect(await cyclesOf(world)).toEqual(["initial success"]);
    expect(await world.engine.onTimer()).toBe("suspended");
    await world.engine.schedule.set({ suspended: false, changedAt: null, changedBy: null });
    await world.engine.watch();
    await world.quiet();
    expect(await cyclesOf(world)).toHaveLength(1);
  });

  test("wait for a cycle that a deployment has taken away no longer than to its turn", async () => {
    const world = new EngineWorld();
    await world.engine.runs.queueCycle("no longer there");
    await world.engine.watch();
    expect(await world.engine.runs.waitingCycle()).toBeNull();
    expect(await cyclesOf(world)).toEqual([]);
  });
});

const root = join(import.meta.dirname, "..", "..");
const page = readFileSync(join(root, "ARCHITECTURE.md"), "utf8");
const clauses = page
  .slice(page.indexOf("### The clauses of the protocol"))
  .split("\n## ")[0]!
  .split("\n")
  .map((line) => line.split(" | ").map((cell) => cell.replace(/^\| | \|$/g, "").trim()))
  .filter((cells) => cells.length === 3 && cells[2]!.startsWith("`test/"));

test("the clauses in ARCHITECTURE.md name tests that are there", () => {
  expect(clauses.length).toBeGreaterThan(15);
  for (const [clause, , tests] of clauses) {
    const named = [...tests!.matchAll(/`(test\/[\w/.]+\.ts)`: ([^;]+)/g)];
    expect(named.length, clause).toBeGreaterThan(0);
    for (const [, file, title] of named) {
      expect(existsSync(join(root, file!)), file).toBe(true);
      expect(readFileSync(join(root, file!), "utf8"), clause).toContain(title!.trim());
    }
  }
});
