import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Run } from "../../cli/api.ts";
import { type SambaServer, sambaAvailable } from "../../sandbox/samba/samba.ts";
import { Chain, startTestSamba } from "../support/chain.ts";

const samba = sambaAvailable();
const skip = samba.ok ? false : samba.reason;
const guests = 150;

/** Kills the host with SIGKILL as soon as `moment` has come; the platform starts it again. */
async function killAt(chain: Chain, runId: string, moment: (run: Run) => boolean): Promise<void> {
  for (let tries = 0; tries < 3000; tries++) {
    const run = await chain.run(runId).catch(() => undefined);
    if (run !== undefined && moment(run)) return chain.killHost();
    if (run?.endedAt) throw new Error("The run ended before the moment came.");
    await sleep(20);
  }
  throw new Error("The moment never came.");
}

const inStep = (number: number, counter?: string) => (run: Run) => {
  const step = run.steps[number - 1]!;
  return step.status === "in-progress" && (counter === undefined || (step.statistics?.[counter] ?? 0) > 0);
};

describe.skipIf(skip)(`the function host is killed${skip ? ` (skipped: ${skip})` : ""}`, () => {
  let server: SambaServer;
  let chain: Chain;

  beforeAll(async () => {
    server = await startTestSamba("crash");
    chain = await Chain.start({
      guests,
      samba: server,
      name: "crash",
      lockDurationMs: 5_000,
      settings: { RUN_LEASE_SECONDS: "6" },
    });
  });
  afterAll(async () => {
    await chain?.stop();
    await server?.stop();
  });

  test("during import, synchronisation and export of one cycle, which ends as if nothing had happened", async () => {
    const { id } = await chain.start({ cycle: "initial" });
    await killAt(chain, id, inStep(3));
    await killAt(chain, id, inStep(4, "provisionedAddFlow"));
    await killAt(chain, id, inStep(7, "exportAdd"));
    const run = await chain.ended(id, 150_000);
    expect(run.steps.map(({ status, errors }) => [status, errors])).toEqual(
      run.steps.map(() => ["success", []]),
    );
    expect(await chain.verify()).toEqual({ guests, right: guests, problems: [] });
    expect(run.steps.map(({ statistics }) => statistics?.exportAdd ?? 0)).toEqual([
      ...[0, 0, 0, 0, 0, 0],
      ...[guests, 0, 0],
    ]);
    expect(run.steps[2]!.statistics).toEqual({ stageAdd: guests });

    const again = await chain.cycle("initial");
    expect(again.steps.map(({ statistics }) => statistics?.exportAdd ?? 0)).toEqual(Array(9).fill(0));
    expect(await chain.verify()).toEqual({ guests, right: guests, problems: [] });
  }, 240_000);
});
