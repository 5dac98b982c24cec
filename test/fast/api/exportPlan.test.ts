import { beforeAll, expect, test, vi } from "vitest";
import { newConnectorSpaceObject } from "../../../src/engine/core/model.ts";
import { syntaxesOf } from "../../../src/engine/core/schema.ts";
import { planItem } from "../../../src/engine/exportPlan.ts";
import { call, engine, run, work, world } from "../../support/apiWorld.ts";

vi.mock("../../../src/composition.ts", () => import("../../support/apiWorld.ts"));

const plan = async (query = "") => (await call("GET", `/connectors/ADMA/export-plan${query}`)).body;
const approve = (body: unknown, headers: Record<string, string> = {}) =>
  call("POST", "/connectors/ADMA/export-plan/approve", body, headers);
const none = { add: 0, adopt: 0, update: 0, rename: 0, enable: 0, disable: 0, delete: 0 };

beforeAll(async () => {
  expect(await plan()).toMatchObject({ state: "done", counts: none, items: [], expiresAt: null });
  await run("AADMA", "Full Import (Stage Only)");
  await run("AADMA", "Full Synchronization");
});

test("what is pending is shown with values and rules, and nothing is written", async () => {
  const shown = await plan();
  expect(shown).toMatchObject({
    connector: "ADMA",
    hash: expect.stringMatching(/^[0-9a-f]{64}$/),
    state: "pending",
    createdAt: new Date(world.now).toISOString(),
    expiresAt: new Date(world.now + 24 * 60 * 60 * 1000).toISOString(),
    counts: { ...none, add: 2 },
  });
  expect(shown.items).toHaveLength(2);
  expect(shown.continuation).toBeUndefined();
  const ann = shown.items.find(({ dn }: { dn: string }) => dn.startsWith("CN=ann,"));
  expect(ann).toMatchObject({ anchor: null, change: "add", reason: expect.stringContaining("AD-B2B-OUT") });
  expect(ann.attributes).toContainEqual({
    name: "adminDescription",
    before: null,
    after: "User_ann",
    rule: "AD-B2B-OUT",
  });
  expect((await plan()).hash).toBe(shown.hash);
  expect(world.exported).toEqual([]);
});

test("pages are of one plan", async () => {
  const first = await plan("?limit=1");
  const second = await plan(`?limit=1&continuation=${first.continuation}`);
  expect([...first.items, ...second.items]).toEqual((await plan()).items);
  expect(second.hash).toBe(first.hash);
  expect(second.continuation).toBeUndefined();
  expect(await call("GET", "/connectors/ADMA/export-plan?continuation=abc")).toMatchObject({
    status: 400,
    body: { code: "bad-request" },
  });
});

test("an export that a limit stopped holds exactly its plan", async () => {
  const { hash } = await plan();
  const limits = engine.configuration.connectors.get("ADMA")!.limits.export as { add: object };
  const before = limits.add;
  limits.add = { count: 1, percent: null };
  await run("ADMA", "Export");
  limits.add = before;
  const frozenAt = world.now;
  expect((await call("GET", "/connectors/ADMA")).body.exportsHeld).toMatchObject({
    status: "stopped-add-threshold-exceeded",
    since: new Date(frozenAt).toISOString(),
  });
  world.now += 60_000;
  expect(await plan()).toMatchObject({
    hash,
    state: "held",
    createdAt: new Date(frozenAt).toISOString(),
    counts: { add: 2 },
  });
});

test("a page of a plan that has been exported meanwhile is refused", async () => {
  const { continuation } = await plan("?limit=1");
  const { hash } = await plan();
  const approved = await approve(
    { hash, why: "Both are expected." },
    { "x-ms-client-principal-name": "ann@corp.example" },
  );
  expect(approved).toMatchObject({
    status: 202,
    headers: { location: `/api/runs/${approved.body.id}` },
    body: {
      status: "in-progress",
      startedBy: "ann@corp.example",
      steps: [{ connector: "ADMA", type: "export" }],
      approval: { hash, why: "Both are expected.", by: "ann@corp.example" },
    },
  });
  expect(await plan()).toMatchObject({ hash, state: "approved", counts: { add: 2 } });
  expect(await approve({ hash })).toMatchObject({
    status: 409,
    body: { code: "run-in-progress", runId: approved.body.id },
  });
  await work();
  expect(world.exported).toHaveLength(2);
  expect((await call("GET", "/connectors/ADMA")).body.exportsHeld).toBeNull();
  expect(await approve({ hash })).toMatchObject({ status: 409, body: { code: "plan-not-current" } });
  expect(
    await call("GET", `/connectors/ADMA/export-plan?limit=1&continuation=${continuation}`),
  ).toMatchObject({
    status: 409,
    body: { code: "plan-not-current" },
  });
  expect(await plan()).toMatchObject({ state: "done", counts: none, items: [] });
});

test("what cannot be approved is refused", async () => {
  world.stagingMode = true;
  expect(await approve({ hash: "f".repeat(64), why: "?" })).toMatchObject({
    status: 409,
    body: { code: "plan-not-current" },
  });
  world.stagingMode = false;
  expect(await approve({ hash: "nonsense" })).toMatchObject({
    status: 409,
    body: { code: "plan-not-current" },
  });
  expect(await approve({ why: "no hash" })).toMatchObject({ status: 400, body: { code: "bad-request" } });
  expect(await call("POST", "/connectors/ADM/export-plan/approve", { hash: "x" })).toMatchObject({
    status: 404,
  });
});

test("a connector that there is not is a 404 with a suggestion", async () => {
  expect(await call("GET", "/connectors/ADM/export-plan")).toMatchObject({
    status: 404,
    body: { code: "unknown-connector", suggestions: ["ADMA", "AADMA"] },
  });
});

test("passwords are never shown, and a rename says where to", () => {
  const attribute = { name: "unicodePwd", type: "string", multiValued: false, writeOnly: true } as const;
  const schemas = [{ name: "user", attributes: new Map([["unicodePwd", attribute]]) }];
  const object = newConnectorSpaceObject({
    id: "1",
    connector: "ADMA",
    objectType: "user",
    anchor: "g",
    dn: "CN=a",
  });
  const pending = {
    change: "update",
    newDn: "CN=b",
    reason: "because",
    attributes: [
      { name: "unicodePwd", after: "a secret", rule: "r" },
      { name: "info", before: "x", rule: "r" },
    ],
  } as const;
  expect(planItem(object, pending, syntaxesOf(schemas, "user"))).toEqual({
    id: "1",
    anchor: "g",
    dn: "CN=a",
    newDn: "CN=b",
    change: "adopt",
    reason: "because",
    attributes: [{ name: "info", before: "x", after: null, rule: "r" }],
  });
});
