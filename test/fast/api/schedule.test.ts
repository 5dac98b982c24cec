import { expect, test, vi } from "vitest";
import { bus, call, engine, work, world } from "../../support/apiWorld.ts";

vi.mock("../../../src/composition.ts", () => import("../../support/apiWorld.ts"));

const get = async () => (await call("GET", "/schedule")).body;
const suspend = (suspended: unknown, headers?: Record<string, string>) =>
  call("PUT", "/schedule", { suspended }, headers);

test("a new deployment runs, and begins with the initial cycle", async () => {
  expect(await get()).toEqual({
    suspended: false,
    changedAt: null,
    changedBy: null,
    cycleSchedule: "0 */30 * * * *",
    stagingMode: false,
    cycleInProgress: null,
    nextCycle: "initial",
  });
});

test("suspending is kept with who and when, and the timer then starts nothing", async () => {
  const { status, body } = await suspend(true, { "x-ms-client-principal-name": "ann@corp.example" });
  expect(status).toBe(200);
  expect(body).toMatchObject({
    suspended: true,
    changedAt: "2026-01-01T00:00:00.000Z",
    changedBy: "ann@corp.example",
  });
  expect(await get()).toEqual(body);
  expect(await engine.onTimer()).toBe("suspended");
  expect(bus.waiting).toEqual([]);
  expect((await suspend(false, { "x-vestibule-trigger": "cli" })).body).toMatchObject({
    suspended: false,
    changedBy: "cli",
  });
  expect((await call("GET", "/audit")).body.items).toMatchObject([
    { what: "resumeSchedule", who: "cli" },
    { what: "suspendSchedule", who: "ann@corp.example", at: "2026-01-01T00:00:00.000Z" },
  ]);
});

test("a cycle in progress is named, goes on while suspended, and the next one is a delta cycle", async () => {
  await engine.onTimer();
  const { cycleInProgress } = await get();
  expect((await call("GET", `/runs/${cycleInProgress}`)).body).toMatchObject({
    cycle: "initial",
    endedAt: null,
  });
  expect(await engine.onTimer()).toMatch(/waits/);
  await suspend(true);
  await work();
  expect((await call("GET", `/runs/${cycleInProgress}`)).body).toMatchObject({ status: "success" });
  // The cycle that waited was the timer's, and the timer is suspended.
  expect(await get()).toMatchObject({ cycleInProgress: null, nextCycle: "delta", suspended: true });
});

test("staging mode is shown as it is now", async () => {
  world.stagingMode = true;
  expect(await get()).toMatchObject({ stagingMode: true });
  world.stagingMode = false;
});

test.each([
  [{ suspended: "yes" }],
  [{ suspend: true }],
  [{}],
  [{ suspended: true, until: "tomorrow" }],
  ["{"],
])("%j is refused", async (body) => {
  const before = await get();
  expect(await call("PUT", "/schedule", body)).toMatchObject({ status: 400, body: { code: "bad-request" } });
  expect(await get()).toEqual(before);
});
