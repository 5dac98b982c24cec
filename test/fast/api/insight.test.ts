import { beforeAll, expect, test, vi } from "vitest";
import { schemas } from "../../../src/api/schemas.ts";
import { call, run, world } from "../../support/apiWorld.ts";

vi.mock("../../../src/composition.ts", () => import("../../support/apiWorld.ts"));

const checked = async (name: string, method: string, path: string, body?: unknown) => {
  const answer = await call(method, path, body, { "x-ms-client-principal-name": "ann@corp.example" });
  expect(schemas.get(answer.status >= 400 ? "Problem" : name)!.parse(answer.body)).toEqual(answer.body);
  return answer;
};
let person: string;

beforeAll(async () => {
  await run("AADMA", "Full Import (Stage Only)");
  await run("AADMA", "Full Synchronization");
  person = (await call("GET", "/metaverse?where=accountName+equals+ann")).body.items[0].id;
});

test("a hold is shown with the person, the account and the plan, and keeps the change in the plan's margin", async () => {
  const until = new Date(world.now + 3_600_000).toISOString();
  const held = await checked("Hold", "POST", `/metaverse/${person}/hold`, { why: "Legal has asked.", until });
  expect(held.body).toEqual({
    metaverseId: person,
    why: "Legal has asked.",
    by: "ann@corp.example",
    since: new Date(world.now).toISOString(),
    until,
  });
  expect((await checked("MetaverseObject", "GET", `/metaverse/${person}`)).body.hold).toEqual(held.body);
  const plan = (await checked("ExportPlan", "GET", "/connectors/ADMA/export-plan")).body;
  expect(plan).toMatchObject({ counts: { add: 1 }, onHold: [{ change: "add", hold: held.body }] });
  const account = `/connectors/ADMA/objects/${plan.onHold[0].id}`;
  expect((await checked("ConnectorSpaceObject", "GET", account)).body.hold).toEqual(held.body);
  expect((await checked("HoldList", "GET", "/holds")).body).toEqual({ items: [held.body] });

  await run("ADMA", "Export");
  expect(world.exported.map(({ dn }) => dn)).toEqual([expect.stringMatching(/^CN=bob,/)]);
  expect((await checked("Released", "DELETE", `/metaverse/${person}/hold`)).body).toEqual({
    metaverseId: person,
    released: true,
  });
  await run("ADMA", "Export");
  expect(world.exported).toHaveLength(2);
});

test("holds that make no sense are refused", async () => {
  const path = `/metaverse/${person}/hold`;
  expect((await checked("Hold", "POST", path, { why: " " })).status).toBe(400);
  expect((await checked("Hold", "POST", path, { until: null })).status).toBe(400);
  for (const until of ["2020-01-01T00:00:00Z", "9999-12-31T23:59:59-10:00"])
    expect((await checked("Hold", "POST", path, { why: "x", until })).status).toBe(400);
  expect((await checked("Hold", "POST", `/metaverse/${"0".repeat(32)}/hold`, { why: "x" })).status).toBe(404);
  expect((await checked("Released", "DELETE", path)).status).toBe(404);
});

test("the history of a person in pages, and who did what", async () => {
  const path = `/metaverse/${person}/history`;
  const { items } = (await checked("HistoryList", "GET", path)).body;
  expect(items.map(({ kind }: { kind: string }) => kind)).toEqual([
    "exported",
    "released",
    "held",
    "created",
  ]);
  expect(items[0].attributes).toContainEqual({
    name: "adminDescription",
    before: null,
    after: "User_ann",
    connector: "ADMA",
    rule: "AD-B2B-OUT",
  });
  const first = (await checked("HistoryList", "GET", `${path}?limit=3`)).body;
  const rest = await checked(
    "HistoryList",
    "GET",
    `${path}?limit=3&continuation=${encodeURIComponent(first.continuation)}`,
  );
  expect([...first.items, ...rest.body.items]).toEqual(items);
  expect((await checked("HistoryList", "GET", `/metaverse/${"0".repeat(32)}/history`)).status).toBe(404);
  expect((await checked("HistoryList", "GET", "/metaverse/nobody/history")).status).toBe(404);

  const audit = (await checked("AuditList", "GET", "/audit?limit=1")).body;
  expect(audit).toMatchObject({
    items: [{ what: "release", who: "ann@corp.example", about: { metaverseId: person }, why: null }],
    continuation: expect.any(String),
  });
});

test("orphans are a list", async () => {
  expect((await checked("OrphanList", "GET", "/connectors/ADMA/orphans")).body).toEqual({ items: [] });
  expect((await checked("OrphanList", "GET", "/connectors/ADM/orphans")).status).toBe(404);
});

test("why: every value with connector, rule, expression and what it was made of", async () => {
  const { lineage } = (await checked("MetaverseObject", "GET", `/metaverse/${person}`)).body;
  expect(lineage.accountName).toEqual([
    {
      value: "ann",
      connector: "AADMA",
      rule: "AAD-B2B-IN",
      precedence: 100,
      since: expect.any(String),
      won: true,
      expression: "Left([id], 20)",
      inputs: { id: "ann" },
      reason: "It is the only offer.",
    },
  ]);
});
