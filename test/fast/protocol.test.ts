import { describe, expect, test } from "vitest";
import { ConnectorError } from "../../src/engine/ports/connector.ts";
import { StoreError } from "../../src/engine/ports/tables.ts";
import { RunInTheWay, RunStore, type StepType } from "../../src/engine/stores/runs.ts";
import { Crash, RunWorld } from "../support/runWorld.ts";

const step = (connector: string, type: StepType) => ({ connector, profile: type, type });
const cycle = (...steps: ReturnType<typeof step>[]) => ({
  cycle: "delta",
  steps,
  trigger: "http" as const,
  rulesVersion: "v1",
});
const importAndExport = cycle(step("AADMA", "deltaImport"), step("ADMA", "export"));

describe("a run", () => {
  test("goes through its steps and ends with success", async () => {
    const world = new RunWorld();
    const worked: string[] = [];
    world.work = async ({ step: { connector }, shard }) => {
      worked.push(`${connector} ${shard}`);
      return { kind: "done", status: "success", statistics: { stageAdd: 2 } };
    };
    const { id } = await world.protocol.start(importAndExport);
    await world.quiet();
    expect(worked).toEqual(["AADMA main", "ADMA main"]);
    const run = (await world.runs.get(id))!.run;
    expect(run).toMatchObject({ status: "success", endedAt: expect.any(String) });
    expect(run.steps.map(({ status, statistics }) => [status, statistics])).toEqual([
      ["success", { stageAdd: 2 }],
      ["success", { stageAdd: 2 }],
    ]);
    expect(await world.runs.openIds()).toEqual([]);
  });

  test("goes on from its cursor, slice after slice, and through the shards of a second phase", async () => {
    const world = new RunWorld();
    const worked: string[] = [];
    world.work = async ({ shard, cursor }) => {
      worked.push(`${shard}:${cursor}`);
      if (shard !== "main") return { kind: "done", status: "success", statistics: { connectorFlow: 1 } };
      return cursor === "2"
        ? { kind: "done", status: "success", nextShards: ["0", "7"] }
        : { kind: "continue", cursor: String(Number(cursor ?? 0) + 1), statistics: { stageAdd: 1 } };
    };
    const { id } = await world.protocol.start(cycle(step("AADMA", "fullSync")));
    await world.quiet();
    expect(worked).toEqual(["main:null", "main:1", "main:2", "0:null", "7:null"]);
    expect((await world.runs.get(id))!.run.steps[0]!.statistics).toEqual({ stageAdd: 2, connectorFlow: 2 });
  });

  test.each([
    ["completed-discovery-errors", 1],
    ["stopped-deletion-threshold-exceeded", 1],
    ["completed-sync-errors", 2],
    ["completed-export-errors", 2],
  ])("that meets %s runs %i of its steps", async (status, expected) => {
    const world = new RunWorld();
    let worked = 0;
    world.work = async () => ({ kind: "done", status: ++worked === 1 ? status : "success" });
    const { id } = await world.protocol.start(importAndExport);
    await world.quiet();
    expect(worked).toBe(expected);
    expect((await world.runs.get(id))!.run.status).toBe(status);
  });
});

describe("one message", () => {
  const counting = (world: RunWorld) => {
    const worked: string[] = [];
    world.work = async ({ step: { number } }) => {
      worked.push(String(number));
      return { kind: "done", status: "success" };
    };
    return worked;
  };

  test("that comes again after its work is committed sends the successor again and does no work", async () => {
    const world = new RunWorld(false);
    const worked = counting(world);
    const { id } = await world.protocol.start(importAndExport);
    const [first] = world.bus.waiting;
    await world.deliver();
    world.bus.waiting.length = 0; // the successor was never sent
    expect(await world.receive(first!.message)).toBe("done before; successor sent again");
    await world.quiet();
    expect(worked).toEqual(["1", "2"]);
    expect((await world.runs.get(id))!.run.status).toBe("success");
  });

  test("whose work is committed when the tables fail is not worked on again", async () => {
    const world = new RunWorld(false);
    const worked = counting(world);
    const { id } = await world.protocol.start(importAndExport);
    const [first] = world.bus.waiting;
    const { createMissing } = world.checkpoints;
    world.checkpoints.createMissing = async () => {
      world.checkpoints.createMissing = createMissing;
      throw new StoreError("unreachable", "The tables did not answer.");
    };
    await expect(world.deliver()).rejects.toThrow("did not answer");
    expect(await world.receive(first!.message)).toBe("done before; successor sent again");
    await world.quiet();
    expect(worked).toEqual(["1", "2"]);
    expect((await world.runs.get(id))!.run.status).toBe("success");
  });

  test("to each of sixteen shards is sent once, and duplicates do not multiply", async () => {
    const world = new RunWorld(false);
    const shards = [..."0123456789abcdef"];
    world.work = async ({ shard }) =>
      shard === "main"
        ? { kind: "done", status: "success", nextShards: shards }
        : { kind: "done", status: "success" };
    const steps = Array.from({ length: 5 }, () => step("AADMA", "fullSync"));
    await world.protocol.start(cycle(...steps));
    await world.quiet();
    expect(world.bus.sent).toHaveLength(5 * 17);

    world.bus.sent.length = 0;
    await world.protocol.start(cycle(...steps));
    await world.deliver();
    const twice = [...world.bus.waiting];
    world.bus.waiting.push(...twice);
    await world.quiet();
    expect(world.bus.sent.length).toBeLessThanOrEqual(2 * 5 * 17);
  });

  test("to a shard that comes after all others is sent by one of them, and duplicates do not multiply", async () => {
    const world = new RunWorld(false);
    const shards = [..."0123456789abcdef"];
    world.work = async ({ shard }) =>
      shard === "main"
        ? { kind: "done", status: "success", nextShards: shards, lastShard: "last" }
        : { kind: "done", status: "success" };
    await world.protocol.start(cycle(...Array.from({ length: 5 }, () => step("AADMA", "fullSync"))));
    await world.deliver();
    for (const { message, queue, at } of [...world.bus.waiting])
      world.bus.waiting.push({ message, queue, at });
    await world.quiet(400);
    expect(world.bus.sent.length).toBeLessThanOrEqual(2 * 5 * 18);
  });

  test("that comes twice does not become a second chain of messages", async () => {
    const world = new RunWorld(false);
    let release = () => {};
    world.work = async ({ cursor }) => {
      if (cursor === null) return { kind: "continue", cursor: "1" };
      await new Promise<void>((resolve) => {
        release = resolve;
      });
      return { kind: "done", status: "success" };
    };
    await world.protocol.start(cycle(step("AADMA", "deltaImport")));
    const { message } = world.bus.waiting[0]!;
    await world.deliver();
    const working = world.deliver();
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(await world.receive(message)).toBe("done before; its successor is being worked on");
    release();
    await working;
    expect(world.bus.sent).toHaveLength(2);
    expect(world.bus.waiting).toEqual([]);
  });

  test("that meets a held lease is scheduled for the lease's end, never dropped", async () => {
    const world = new RunWorld();
    let release = () => {};
    let worked = 0;
    world.work = async ({ lease }) => {
      if (++worked > 1) return { kind: "done", status: "success" };
      await new Promise<void>((resolve) => {
        release = resolve;
      });
      await lease.verify();
      return { kind: "done", status: "success" };
    };
    const { id } = await world.protocol.start(cycle(step("AADMA", "deltaImport")));
    const { message } = world.bus.waiting.shift()!;
    const frozen = world.protocol.receive(message);
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(await world.receive(message)).toBe("the lease is held; scheduled for its end");
    expect(world.bus.waiting[0]!.at - world.now).toBe(90_000); // the lease of 60 s and the 30 s after it
    await world.quiet();
    expect(worked).toBe(2);
    release();
    expect(await frozen).toMatch(/taken over/);
    expect((await world.runs.get(id))!.run.status).toBe("success");
  });

  test("is worked on under a lease that is looked at once for all who ask at the same time, and again for each who asks later", async () => {
    const world = new RunWorld();
    let looks = 0;
    const get = world.tables.get.bind(world.tables);
    world.tables.get = async (...args) => {
      if (args[0] === "checkpoints") looks++;
      return get(...args);
    };
    world.work = async ({ lease }) => {
      looks = 0;
      const first = lease.verify();
      await Promise.resolve();
      // The first look may have read the row already.
      await Promise.all([first, ...Array.from({ length: 16 }, () => lease.verify())]);
      expect(looks).toBe(2);
      await lease.verify();
      expect(looks).toBe(3);
      return { kind: "done", status: "success" };
    };
    const { id } = await world.protocol.start(cycle(step("AADMA", "deltaImport")));
    await world.quiet();
    expect((await world.runs.get(id))!.run.status).toBe("success");
  });

  test("whose work is handed over while the answer is lost does not take the hand-over back", async () => {
    const world = new RunWorld(false);
    const worked: string[] = [];
    world.work = async ({ cursor }) => {
      worked.push(String(cursor));
      return cursor === null ? { kind: "continue", cursor: "1" } : { kind: "done", status: "success" };
    };
    const { id } = await world.protocol.start(cycle(step("AADMA", "deltaImport")));
    const [first] = world.bus.waiting;
    const transact = world.tables.transact.bind(world.tables);
    world.tables.transact = async (table, partition, operations) => {
      const etags = await transact(table, partition, operations);
      const [row] = operations;
      if (row?.kind !== "replace" || !String(row.properties.checkpoint).includes('"seq":1')) return etags;
      // The row has moved. While this process waits for the answer, a duplicate sends the successor.
      world.tables.transact = transact;
      await world.receive(first!.message);
      throw new StoreError("unreachable", "The tables did not answer.");
    };
    await expect(world.deliver()).rejects.toThrow("did not answer");
    world.bus.waiting.push(first!); // the platform delivers it again
    await world.quiet();
    expect(worked).toEqual(["null", "1"]);
    expect((await world.runs.get(id))!.run.status).toBe("success");
  });

  test("older than the run is stale, newer than the tables ends the run", async () => {
    const world = new RunWorld();
    counting(world);
    const { id } = await world.protocol.start(importAndExport);
    const message = { runId: id, step: 0, shard: "main", seq: 5, attempt: 0 };
    expect(await world.receive(message)).toBe("the tables are older than the queue");
    expect((await world.runs.get(id))!.run).toMatchObject({
      status: "stopped-server",
      endedAt: expect.any(String),
    });
    expect(await world.receive({ ...message, seq: 0 })).toBe("the run has ended");
    expect(await world.receive({ ...message, runId: "0000000000000-00000f" })).toMatch(/no such run/);
  });
});

describe("the world fails", () => {
  test("and the work is tried three times within two minutes, then the step ends with the reason", async () => {
    const world = new RunWorld();
    const begun = world.now;
    const tries: number[] = [];
    world.work = async () => {
      tries.push(world.now - begun);
      throw new ConnectorError("unreachable", "AD_URL does not answer.");
    };
    const { id } = await world.protocol.start(importAndExport);
    await world.quiet();
    expect(tries).toHaveLength(3);
    expect(tries[2]).toBeLessThan(120_000);
    const { run } = (await world.runs.get(id))!;
    expect(run.status).toBe("no-start-connection");
    expect(run.steps.map(({ status, detail }) => [status, detail])).toEqual([
      ["no-start-connection", "AD_URL does not answer."],
      ["not-run", null],
    ]);
  });

  test("once, and the run succeeds", async () => {
    const world = new RunWorld();
    let tries = 0;
    world.work = async () => {
      if (++tries === 1) throw new ConnectorError("throttled", "Later.", { retryAfterMs: 40_000 });
      return { kind: "done", status: "success" };
    };
    const begun = world.now;
    const { id } = await world.protocol.start(cycle(step("AADMA", "deltaImport")));
    await world.quiet();
    expect(world.now - begun).toBe(40_000);
    expect((await world.runs.get(id))!.run.status).toBe("success");
  });

  test("a bug is thrown on for the dead letters, which end the run with what it said", async () => {
    const world = new RunWorld();
    world.work = async () => {
      throw new TypeError("undefined is not a function");
    };
    const { id } = await world.protocol.start(cycle(step("AADMA", "deltaImport")));
    const { message } = world.bus.waiting[0]!;
    await expect(world.deliver()).rejects.toThrow("undefined is not a function");
    expect(await world.protocol.receiveDeadLetter({ ...message, seq: 7 }, "x")).toBe("stale");
    expect(await world.protocol.receiveDeadLetter(message, "x")).toBe("the run was ended");
    expect((await world.runs.get(id))!.run).toMatchObject({
      status: "stopped-unexpected-error",
      steps: [{ detail: "undefined is not a function" }],
    });
  });
});

describe("the watchdog", () => {
  test("sends a message again that was lost, whatever the step had come to", async () => {
    const world = new RunWorld();
    const { id } = await world.protocol.start(importAndExport);
    world.bus.waiting.length = 0;
    expect(await world.protocol.watch()).toEqual([]);
    world.now += 61_000;
    expect(await world.protocol.watch()).toHaveLength(1);
    await world.deliver();
    world.bus.waiting.length = 0; // between the steps
    world.now += 61_000;
    await world.protocol.watch();
    await world.quiet();
    expect((await world.runs.get(id))!.run.status).toBe("success");
  });

  test("cares for the other runs when the rows of one cannot be read", async () => {
    const world = new RunWorld();
    const broken = await world.protocol.start(cycle(step("AADMA", "deltaImport")));
    const other = await world.protocol.start(cycle(step("ADMA", "deltaImport")));
    world.bus.waiting.length = 0;
    const row = { kind: "replace", row: "c|000|main", properties: { checkpoint: "{" } } as const;
    await world.tables.transact("checkpoints", broken.id, [row]);
    world.now += 61_000;
    await expect(world.protocol.watch()).rejects.toThrow();
    await world.quiet();
    expect((await world.runs.get(other.id))!.run.status).toBe("success");
  });

  test("begins the cycle that waits, when whoever ended the run in its way died of it", async () => {
    const world = new RunWorld();
    await world.protocol.start(importAndExport);
    await world.protocol.startOrQueue(importAndExport);
    const { end } = RunStore.prototype;
    world.runs.end = async (...ended) => {
      await end.apply(world.runs, ended);
      throw new Crash();
    };
    await world.quiet();
    expect(await world.runs.openIds()).toEqual([]);
    expect(world.queued).toEqual([]);
    await world.protocol.watch();
    expect(world.queued).toEqual(["delta"]);
  });

  test("leaves a run alone that is being worked on", async () => {
    const world = new RunWorld();
    await world.protocol.start(importAndExport);
    world.now += 30_000;
    expect(await world.protocol.watch()).toEqual([]);
  });
});

describe("who may overlap", () => {
  const start = (world: RunWorld, connector: string, type: StepType) =>
    world.protocol.start({ ...cycle(step(connector, type)), cycle: null });

  test("imports of different connectors may, two runs of one connector may not", async () => {
    const world = new RunWorld();
    const first = await start(world, "AADMA", "deltaImport");
    await start(world, "ADMA", "deltaImport");
    await expect(start(world, "AADMA", "deltaImport")).rejects.toMatchObject({ runId: first.id });
  });

  test("a synchronisation excludes every other run", async () => {
    const world = new RunWorld();
    await start(world, "AADMA", "deltaSync");
    await expect(start(world, "ADMA", "export")).rejects.toBeInstanceOf(RunInTheWay);
    await world.quiet();
    await start(world, "ADMA", "export");
    await expect(start(world, "AADMA", "deltaSync")).rejects.toBeInstanceOf(RunInTheWay);
  });

  test("the timer's cycle waits for the run in the way, one of them", async () => {
    const world = new RunWorld();
    await world.protocol.start(importAndExport);
    expect(await world.protocol.startOrQueue(importAndExport)).toBeNull();
    expect(await world.protocol.startOrQueue(importAndExport)).toBeNull();
    await world.quiet();
    expect(world.queued).toEqual(["delta"]);
  });
});

test("a run that is asked to stop stops at its next checkpoint", async () => {
  const world = new RunWorld();
  world.work = async ({ run, save }) => {
    await world.protocol.requestStop(run.id);
    await save("page 1");
    return { kind: "done", status: "success" };
  };
  const { id } = await world.protocol.start(importAndExport);
  await world.quiet();
  expect((await world.runs.get(id))!.run.status).toBe("stopped-user");
});

/** Dies at the n-th write to the tables or the queue, for every n in turn, and is restarted. */
describe.each([true, false])("a crash at every point (duplicate detection %s)", (detects) => {
  test("ends in the same run, every step done", async () => {
    let crashes = 0;
    for (let point = 1; ; point++) {
      const world = new RunWorld(detects);
      let effects = 0;
      const counted = <A extends unknown[], R>(effect: (...given: A) => Promise<R>) => {
        return async (...given: A): Promise<R> => {
          if (++effects === point) throw new Crash();
          return effect(...given);
        };
      };
      world.work = async ({ shard, cursor, step: { type } }) => {
        if (type !== "deltaSync" || shard !== "main") return { kind: "done", status: "success" };
        return cursor === null
          ? { kind: "continue", cursor: "1" }
          : { kind: "done", status: "success", nextShards: ["3", "9"] };
      };
      const { id } = await world.protocol.start(
        cycle(step("A", "deltaImport"), step("A", "deltaSync"), step("B", "export")),
      );
      world.tables.transact = counted(world.tables.transact.bind(world.tables));
      world.bus.send = counted(world.bus.send.bind(world.bus));
      for (let restarts = 0; restarts < 20; restarts++) {
        await world.quiet();
        const { run } = (await world.runs.get(id))!;
        if (run.endedAt !== null) break;
        world.now += 120_000;
        await world.protocol.watch().catch((error) => {
          if (!(error instanceof Crash)) throw error;
        });
      }
      const { run } = (await world.runs.get(id))!;
      expect({ point, status: run.status, steps: run.steps.map(({ status }) => status) }).toEqual({
        point,
        status: "success",
        steps: ["success", "success", "success"],
      });
      if (effects < point) break;
      crashes++;
    }
    expect(crashes).toBeGreaterThan(20);
  });
});
