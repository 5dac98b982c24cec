/** Whoever can write into the queues can send any message that is shaped like ours: what it can make the engine do. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { stepMessageSchema } from "../../src/api/stepMessage.ts";
import type { StepMessage } from "../../src/engine/ports/bus.ts";
import { RunWorld } from "../support/runWorld.ts";

const step = (connector: string, type: "deltaImport" | "deltaSync" | "export") => ({
  connector,
  profile: type,
  type,
});
const cycle = {
  cycle: "delta",
  steps: [step("AADMA", "deltaImport"), step("AADMA", "deltaSync"), step("ADMA", "export")],
  trigger: "http" as const,
  rulesVersion: "v1",
};
/** What one run owes, in this order, each once: two slices of each first shard, and the shards of the second step. */
const owed = ["1:main:0", "1:main:1", "2:main:0", "2:main:1", "2:0:0", "2:f:0", "3:main:0", "3:main:1"];

function recording(world: RunWorld): string[] {
  const worked: string[] = [];
  world.work = async ({ step: { number }, shard, cursor }) => {
    worked.push(`${number}:${shard}:${cursor ?? 0}`);
    if (shard !== "main") return { kind: "done", status: "success" };
    if (cursor === null) return { kind: "continue", cursor: "1" };
    return number === 2
      ? { kind: "done", status: "success", nextShards: ["0", "f"] }
      : { kind: "done", status: "success" };
  };
  return worked;
}

const forged = fc.record({
  step: fc.integer({ min: 0, max: 4 }),
  shard: fc.constantFrom("main", "0", "7", "f"),
  seq: fc.integer({ min: 0, max: 4 }),
  attempt: fc.integer({ min: 0, max: 1_000_000 }),
});

describe("forged messages", () => {
  test("never make a step run that is not its turn, nor anything twice; at worst the run ends and says so", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat({ max: 12 }), forged), { maxLength: 12 }),
        fc.boolean(),
        async (messages, detectsDuplicates) => {
          const world = new RunWorld(detectsDuplicates);
          const worked = recording(world);
          const { id } = await world.protocol.start(cycle);
          for (let turn = 0; turn <= 12; turn++) {
            for (const [at, message] of messages)
              if (at === turn) await world.receive({ runId: id, ...message });
            await world.deliver();
          }
          await world.quiet();
          const { run } = (await world.runs.get(id))!;
          expect(run.endedAt).not.toBeNull();
          if (run.status === "success") expect([...worked].sort()).toEqual([...owed].sort());
          else {
            expect(run.status).toBe("stopped-server");
            expect(run.steps.find(({ status }) => status === "stopped-server")?.detail).toContain(
              "older than",
            );
            expect(owed).toEqual(expect.arrayContaining(worked));
            expect(new Set(worked).size).toBe(worked.length);
          }
          const turns = worked.map((one) => Number(one[0]));
          expect(turns).toEqual([...turns].sort());
          expect(await world.runs.openIds()).toEqual([]);
        },
      ),
      { numRuns: 150 },
    );
  });

  test("of a run that has ended, or never was, do nothing and are not sent on", async () => {
    const world = new RunWorld(false);
    const worked = recording(world);
    const { id } = await world.protocol.start(cycle);
    await world.quiet();
    const [before, sent] = [[...worked], world.bus.sent.length];
    for (const runId of [id, "9999999999999-abcdef"])
      for (const message of fc.sample(forged, 50)) {
        expect(await world.protocol.receive({ runId, ...message })).toMatch(
          /^(the run has ended|no such run)/,
        );
        expect(await world.protocol.receiveDeadLetter({ runId, ...message }, "forged")).toBe(
          "the run has ended",
        );
      }
    expect(worked).toEqual(before);
    expect(world.bus.sent).toHaveLength(sent);
  });

  test("as dead letters end no run that goes on", async () => {
    const world = new RunWorld(false);
    const worked = recording(world);
    const { id } = await world.protocol.start(cycle);
    await world.deliver();
    for (const message of fc.sample(forged, 200)) {
      // The one that is owed now is the only one whose death would matter.
      if (message.step === 0 && message.shard === "main" && message.seq === 1 && message.attempt === 0)
        continue;
      await world.protocol.receiveDeadLetter({ runId: id, ...message }, "forged");
    }
    await world.quiet();
    expect((await world.runs.get(id))!.run.status).toBe("success");
    expect([...worked].sort()).toEqual([...owed].sort());
  });
});

test.each<[string, unknown]>([
  ["text", "run it"],
  ["nothing", null],
  ["a list", [{ runId: "8236000000000-abcdef" }]],
  ["a foreign id", { runId: "../runs", step: 0, shard: "main", seq: 0, attempt: 0 }],
  [
    "an id with a key's separators",
    { runId: "8236000000000-abcde|", step: 0, shard: "main", seq: 0, attempt: 0 },
  ],
  ["a shard that is none", { runId: "8236000000000-abcdef", step: 0, shard: "g", seq: 0, attempt: 0 }],
  ["a step below 0", { runId: "8236000000000-abcdef", step: -1, shard: "main", seq: 0, attempt: 0 }],
  ["half a step", { runId: "8236000000000-abcdef", step: 0.5, shard: "main", seq: 0, attempt: 0 }],
  ["an endless number", { runId: "8236000000000-abcdef", step: 0, shard: "main", seq: 1e300, attempt: 0 }],
  ["a number as text", { runId: "8236000000000-abcdef", step: "0", shard: "main", seq: 0, attempt: 0 }],
  ["a cursor", { runId: "8236000000000-abcdef", step: 0, shard: "main", seq: 0, attempt: 0, cursor: "x" }],
  ["less", { runId: "8236000000000-abcdef", step: 0, shard: "main", seq: 0 }],
])("%s is no message of ours", (_, message) => {
  expect(stepMessageSchema.safeParse(message).success).toBe(false);
});

test("a message of ours is one", () => {
  const message: StepMessage = { runId: "8236000000000-abcdef", step: 0, shard: "main", seq: 0, attempt: 0 };
  expect(stepMessageSchema.parse(message)).toEqual(message);
});
